"""Which reference pictures, and which boxes in them, each generated picture is compared with."""

from __future__ import annotations

from typing import Any

import pytest

from socialcli import records
from socialcli.errors import UsageError
from socialcli.evaluation import joining
from socialcli.evaluation.joining import Joined
from socialcli.evaluation.metrics import Needs
from socialcli.evaluation.samples import Known

WHERE = "drawn", "shown"
PAIRED = {"face": Needs(paired=True)}
MAN, DOG, HAT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0), (0.1, 0.0, 0.3, 0.2)


def reference(key: str, subject: str = "", **members: Any) -> Known:
    named = {f"{name}.json": member for name, member in members.items()}
    return Known(key, "shown.tar", key, records=named, subject=subject)


def generated(key: str, **info: Any) -> Known:
    return Known(key, "drawn.tar", key, info)


def scene(key: str = "s") -> Known:
    """A man (by the phrase of his entity), a dog (by its label) and a box that nothing names."""
    entity = records.Entity(4, "an old sailor", "sailor", "sailor", 0, 13, "person")
    boxes = [records.Box(1, MAN, "man", 4), records.Box(2, DOG, "Dog"), records.Box(3, HAT)]
    return reference(
        key, boxes=records.Boxes(10, 10, boxes), entities=records.Entities([entity])
    )  # fmt: skip


def joined(samples: list[Known], *known: Known, against: str = "auto", needs=PAIRED):
    return joining.join(samples, {one.key: one for one in known}, needs, against, WHERE)


def keys(one: Joined) -> list[list[str]]:
    return [[picture.key for picture, _ in pictures] for pictures in one.subjects]


# ------------------------------------------------------------------ what needs references


def test_metrics_of_the_picture_alone_need_none():
    sample = generated("a", source_key="gone")
    for known in ([], [scene()]):
        (one,), lost = joined([sample], *known, needs={"clip-t": Needs()})
        assert (one.generated, one.source, one.subjects, one.real, lost) == (
            sample,
            None,
            [],
            None,
            [],
        )


@pytest.mark.parametrize("need", [Needs(paired=True), Needs(everything=("inception",))])
def test_others_ask_for_references(need):
    with pytest.raises(UsageError, match="fid: compared with reference pictures: give --reference"):
        joined([generated("a")], needs={"clip-t": Needs(), "fid": need})
    if not need.paired:
        (one,), lost = joined([generated("a")], scene(), needs={"fid": need})
        assert one.source is None and not lost


# ------------------------------------------------------------------ what joins


def test_a_source_and_the_things_that_were_asked_for():
    sample = generated("a", source_key="s", references=[{"key": "r", "query": "a dog, old sailor"}])
    for against in ("auto", "source"):
        (one,), lost = joined([sample], scene(), against=against)
        assert one.real is not None and one.real.key == "s" and one.unit == "s" and not lost
        assert one.queries == ["a dog", "old sailor"] and keys(one) == [["s"]]
        assert one.subjects[0][0][1] == [list(MAN), list(DOG)]


def test_references_alone_or_all_pictures_of_their_subjects():
    rex = [reference(f"rex-{n}", "rex") for n in range(2)]
    asked = [{"key": "rex-0", "query": "dog"}, {"key": "s", "query": ""}, {"query": "nothing"}]
    for source in ({}, {"source_key": "s"}):
        sample = generated("a", references=asked, **source)
        (one,), _ = joined([sample], scene(), *rex, against="references")
        assert keys(one) == [["rex-0"], ["s"]] and one.queries == ["dog"]
        (one,), _ = joined([sample], scene(), *rex, against="subject")
        assert keys(one) == [["rex-0", "rex-1"], ["s"]]
        assert [boxes for _, boxes in one.subjects[1]] == [[list(MAN), list(DOG), list(HAT)]]


def test_the_name_of_a_file_stands_for_its_key():
    sample = generated("a", references=[{"key": "my dog.jpg", "query": "dog"}])
    safe = next(iter(joining.wanted([sample], {}) - {"my dog.jpg"}))
    (one,), _ = joined([sample], reference(safe), against="references")
    assert keys(one) == [[safe]]


def test_all_pictures_of_the_subject_that_the_source_shows():
    """Of a picture that was made from a caption, without reference pictures."""
    known = [reference("rex/0", "rex"), reference("rex/1", "rex"), reference("ann/0", "ann")]
    (one,), _ = joined([generated("a", source_key="rex/1")], *known, against="subject")
    assert keys(one) == [["rex/0", "rex/1"]] and one.source.key == "rex/1"
    (one,), _ = joined([generated("a", source_key="rex/1")], *known, against="references")
    assert keys(one) == []


def test_a_learned_word_is_the_subject_that_is_called_so():
    known = [reference("d", "my dog"), reference("e", "cat"), reference("f", "my dog")]
    (one,), _ = joined([generated("a", prompt="a <my-dog> on <sand>")], *known)
    assert keys(one) == [["d", "f"]] and one.source is None
    assert one.unit == "a <my-dog> on <sand>"


def test_what_does_not_join_is_lost_with_its_reason():
    samples = [
        generated("a", source_key="s"), generated("b", source_key="t"),
        generated("c", references=[{"key": "u"}]), generated("d", prompt="a <cat>"),
    ]  # fmt: skip
    (one,), lost = joined(samples, scene())
    assert one.generated.key == "a"
    assert [(miss.key, miss.location) for miss in lost] == [(k, "drawn.tar") for k in "bcd"]
    for miss, reason in zip(lost, ("its source 't'", "its reference 'u'", "neither source_key"),
                            strict=True):  # fmt: skip
        assert reason in miss.reason
    with pytest.raises(UsageError, match=r"no picture of drawn joins with shown: first b: its sou"):
        joined(samples[1:], scene())


# ------------------------------------------------------------------ boxes


@pytest.mark.parametrize(
    ("queries", "expected"),
    [
        ([], [MAN, DOG, HAT]),
        (["dog"], [DOG]),
        (["sailor"], [MAN]),
        (["an old sailor"], [MAN]),
        (["the old man"], [MAN]),  # names what one of its words names
        (["the hat"], []),
        (["man", "dog"], [MAN, DOG]),
        (["old"], []),
    ],
)
def test_boxes_of_the_things_that_queries_name(queries, expected):
    assert joining.boxes_of(scene(), queries) == [list(box) for box in expected]


def test_boxes_without_entities_or_without_boxes():
    one = scene()
    del one.records["entities.json"]
    assert joining.boxes_of(one, ["man"]) == [list(MAN)]
    assert joining.boxes_of(one, ["sailor"]) == []
    assert joining.boxes_of(reference("x"), []) == []


# ------------------------------------------------------------------ what sources must have


def test_one_source_with_the_members_is_enough():
    needs = {"gaze": Needs(paired=True, members=("people.json",))}
    samples = [generated(key, source_key=key) for key in "st"]
    with pytest.raises(UsageError, match=r"gaze: no sample of shown .* has people\.json"):
        joined(samples, scene(), scene("t"), needs=needs)
    watched = reference("t", people=records.People(10, 10, []))
    assert len(joined(samples, scene(), watched, needs=needs)[0]) == 2


def test_sources_must_have_something_to_say():
    def speaks(picture) -> bool:
        return len(picture.records["boxes.json"].boxes) > 2

    need = Needs(paired=True, members=("boxes.json",), speaks=speaks, lacks="no crowd")
    few = reference("t", boxes=records.Boxes(10, 10, []))
    samples = [generated(key, source_key=key) for key in "tsu"]
    assert len(joined(samples, few, scene(), reference("u"), needs={"hoi": need})[0]) == 3
    with pytest.raises(UsageError, match="hoi: nothing in shown to compare with: no crowd"):
        joined(samples[:1], few, needs={"hoi": need})
