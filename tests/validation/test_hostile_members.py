"""Whatever `validate` accepts every command survives; whatever it refuses every command refuses.

Commands run in this process on one sample each, without models: what a model would give stands in.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import hostile
import numpy
import pytest
import scenes
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from parts import part

from socialcli import records, registry
from socialcli.errors import SampleFailed, SampleFiltered
from socialcli.evaluation import agreement, joining, samples
from socialcli.evaluation import settings as evaluation
from socialcli.evaluation.features import Subject
from socialcli.exporters import coco
from socialcli.exporters import layout as layouts
from socialcli.generation import references, sample_requests
from socialcli.generation.stage import GenerateStage
from socialcli.methods.invert import _templates
from socialcli.methods.train.feedback import Config as FeedbackConfig
from socialcli.methods.train.feedback import _scene as scenes_of_training
from socialcli.pipeline.batches import Outcome, outcomes
from socialcli.records import Face, Gaze, Interaction, Interactions, Model
from socialcli.records.consistency import free_id
from socialcli.reports import overlay, page, sheet, table
from socialcli.reports.gather import Looked
from socialcli.reports.statistics import Statistics
from socialcli.reports.view import decode, view
from socialcli.shards import Sample
from socialcli.training import geometry
from socialcli.training.feedback import all_feedbacks
from socialcli.validation.links import Problem
from socialcli.validation.members import check, read_members, refuse_malformed

annotate_pose, ground = part("stages", "annotate-pose"), part("stages", "ground")
segment, extract_entities = part("stages", "segment"), part("stages", "extract-entities")
layout = part("stages", "layout")
feedback = part("methods.train", "feedback")
plain_training = part("methods.train", "text-to-image")

LACKS = re.compile("list is empty|no mask|no layout.json")
BARE = re.compile(r"\b[A-Z]\w*(Error|Exception|Warning)\b|Traceback")


# ---------------------------------------------------------------- models that know the answers


class Captioner:
    model = Model("stand-in")

    def caption(self, images: list, *_: Any, **__: Any) -> list[str]:
        return ["a woman holds a dog"] * len(images)


class Grounder:
    model = Model("stand-in")

    def ground(self, images: list, queries: list[list[str]], *_: Any) -> list[list]:
        from socialcli.backends.roles import Detection

        return [[Detection(n, (0.1, 0.1, 0.5, 0.5), 0.5) for n in range(len(q))] for q in queries]


class Segmenter:
    model = Model("stand-in")

    def segment(self, images: list, boxes: list[list]) -> list[list]:
        from socialcli.backends.roles import Segment

        mask = scenes.mask(scenes.WOMAN)
        return [[Segment(mask, 0.5, 0.5) for _ in some] for some in boxes]


class Faces:
    model = Model("stand-in")
    embeds = True

    def detect(self, images: list) -> list[list[Face]]:
        marks = [(0.23, 0.26), (0.27, 0.26), (0.25, 0.29), (0.23, 0.32), (0.27, 0.32)]
        return [[Face((0.21, 0.22, 0.29, 0.34), 0.9, marks)] for _ in images]

    def embed(self, images: list, faces: list[list[Face]]) -> list[numpy.ndarray]:
        return [numpy.ones((len(some), 8), numpy.float32) for some in faces]


class Poses:
    model = Model("stand-in")

    def estimate(self, images: list, boxes: list[list]) -> list[list]:
        return [[scenes.keypoints(xyxy) for xyxy in some] for some in boxes]


class Gazes:
    model = Model("stand-in")

    def gaze(self, images: list, heads: list[list]) -> list[list[Gaze]]:
        return [[Gaze((0.5, 0.5), (1.0, 0.0), True, 0.5) for _ in some] for some in heads]


class Acts:
    model = Model("stand-in")

    def interact(self, images: list, people: list, boxes: list, known: list) -> list[Interactions]:
        return [Interactions([Interaction(1, "hold", p.people[0].id)] if p.people else [])
                for p in people]  # fmt: skip


# ---------------------------------------------------------------- commands on one sample


def errors(members: dict[str, bytes]) -> list[Problem]:
    return [p for p in check(Sample("k", dict(members))) if not p.warning]


def _stage(stage: Any, config: Any, loaded: Any, sample: Sample) -> None:
    (outcome,) = outcomes(iter([sample]), stage, config, loaded, name="x", seed=0, batch_size=1)
    assert isinstance(outcome, Outcome)
    if isinstance(outcome.result, Exception):
        raise outcome.result
    assert isinstance(outcome.result, dict)
    # What a stage writes is what the next command takes.
    assert errors({**sample.members, **outcome.result}) == []


def _inspect(sample: Sample) -> None:
    parsed, problems = read_members(sample)
    looked = Looked()
    looked.statistics = counted = Statistics()
    counted.add(sample, parsed, len(problems))
    shown = view(sample, "a.tar", parsed, problems)
    for pieces in page.page(page.Report("x", counted)):
        pieces.encode("utf-8", "replace")
    overlay.card(shown, decode(shown, 300))
    for drawn in sheet.pages([shown], 1, 1, "x"):
        drawn.tobytes()
    json.dumps(table.as_json(looked))
    table.text(looked, False)
    for problem in shown.problems:
        assert not BARE.search(problem), problem
    if problems:
        raise SampleFailed(str(problems[0]))


def _export(sample: Sample) -> None:
    numbers = coco.Numbers()
    converted = coco.convert(sample, numbers)
    spools = {part: io.BytesIO() for part in ("images", "instances", "captions")}
    coco.spool(spools["images"], [converted.image])
    coco.spool(spools["instances"], converted.instances)
    out = io.BytesIO()
    coco.write(out, "instances", spools["images"], spools["instances"], numbers)
    json.loads(out.getvalue())
    coco.person_keypoints(converted.instances, numbers)


def _compare(sample: Sample) -> None:
    refuse_malformed(sample)
    good = Sample("k", hostile.valid())

    def reader(one: Sample) -> Callable[[type], Any]:
        suffixes = {kind: suffix for suffix, kind in records.MEMBERS.items()}
        return lambda kind: one.record(kind) if one.has(suffixes[kind]) else None

    for first, second in ((sample, good), (good, sample)):
        agreed = agreement.Agreement()
        agreed.add(reader(first), reader(second))
        agreement.markdown(agreed)


def _generate(sample: Sample) -> None:
    stage = GenerateStage(registry.load("methods.generate", "ssr"))
    ways: list[dict[str, Any]] = [
        {}, {"per_subject": True}, {"query": ["phrases"]}, {"query": ["caption"], "caption": 1},
        {"query_by": "mask"}, {"query_by": "mask", "per_subject": True},
    ]  # fmt: skip
    refused = []
    for way in ways:
        config = stage.config_type(**way)
        for request in stage._requests(config, sample):
            try:
                if request.problem:
                    raise SampleFailed(request.problem)
                stage.prepare(config, request)
            except SampleFailed as error:
                refused.append(error)
    for error in refused:
        assert not BARE.search(str(error)), error
    if len(refused) == len(ways):
        raise refused[0]
    sample_requests.caption(sample, 0)
    references._topic(sample)


def _train(sample: Sample) -> None:
    """As `training.examples` does it: the door, the method's check, squares mirrored or not."""
    refuse_malformed(sample)
    config = feedback.Config()
    feedback.check(config, sample)
    plain_training.check(None, sample)
    for flip in (False, True):
        frame = geometry.Frame(96, 64, 16, 0, 64, flip)
        names = all_feedbacks()
        config = FeedbackConfig(query="phrases", least_face=0)
        scene = scenes_of_training.read(sample, frame, config, names)
        scenes_of_training.tensors(scene, names)


def _invert(sample: Sample) -> None:
    refuse_malformed(sample)
    _templates.of_sample(sample, "dog")


def _score(sample: Sample) -> None:
    samples._picture(sample)
    known = samples.Known(
        "k", "a.tar", "d", samples._info(sample), subject=samples._subject(sample)
    )
    str((known.source, known.references, known.prompt))
    for suffix in set(records.MEMBERS) - {samples.RECORD}:
        known.records[suffix] = sample.record(records.MEMBERS[suffix])
    joined = joining._with_references(known, {"k0": known, "k": known}, {known.subject: [known]},
                                      "auto")  # fmt: skip
    if isinstance(joined, joining.Joined):
        joined.source = known
        config, sources = evaluation.config_type()(), [joined.real]
        for name in registry.available("features"):
            feature = registry.load("features", name)
            shared = feature.prepare(config, sources)
            feature.target(config, Subject(joined.real, tuple(joined.queries), shared=shared))


def _export_layout(sample: Sample) -> None:
    layouts.files(sample, "v11")


@cache
def _spacy() -> Any:
    return extract_entities.load(extract_entities.Config(device="cpu", dtype="float32"))


COMMANDS: dict[str, Callable[[Sample], None]] = {
    "inspect": _inspect,
    "export": _export,
    "compare": _compare,
    "ground": lambda s: _stage(ground, ground.Config(), Grounder(), s),
    "segment": lambda s: _stage(segment, segment.Config(), Segmenter(), s),
    "annotate-pose": lambda s: _stage(
        annotate_pose, annotate_pose.Config(),
        annotate_pose.Loaded(Faces(), Faces(), Poses(), Gazes(), Acts()), s,
    ),
    "extract-entities": lambda s: _stage(extract_entities, extract_entities.Config(), _spacy(), s),
    "layout": lambda s: _stage(layout, layout.Config(), None, s),
    "export --format layout": _export_layout,
    "generate": _generate,
    "train": _train,
    "invert": _invert,
    "score": _score,
}  # fmt: skip
# Members that a stage makes anew, so that links in them are its business; to `score` less of a
# generated.json will do.
NEW = {
    "annotate-pose": annotate_pose.WRITES,
    "score": (samples.RECORD,),
    "ground": ground.WRITES,
    "segment": segment.WRITES,
    "extract-entities": extract_entities.WRITES,
    "layout": layout.WRITES,
}


def verdict(command: str, members: dict[str, bytes]) -> str | None:
    """Why a command refuses a sample, None where it does not.

    Anything but the one exception for it is a crash, and so is an exception's name as a reason.
    """
    try:
        COMMANDS[command](Sample("k", dict(members), [(s, b"", d) for s, d in members.items()]))
    except SampleFailed as reason:
        text = str(reason)
        assert not BARE.search(text), text
        return text
    except SampleFiltered:  # it is fine, and holds nothing that is wanted
        pass
    return None


def judge(what: str, members: dict[str, bytes], commands: list[str]) -> bool:
    """Hold every command against what `validate` says; whether that is nothing."""
    problems = errors(members)
    for problem in problems:
        assert not BARE.search(str(problem)), f"{what}: {problem}"
    for command in commands:
        try:
            reason = verdict(command, members)
        except Exception as error:
            raise AssertionError(f"{command} on {what}: {type(error).__name__}: {error}") from error
        if not problems:
            # Not every sample has what a command needs: a caption without a word of entities.
            lacks = reason is None or LACKS.search(reason)
            assert lacks or command in ("generate", "train"), f"{command} on {what}: {reason}"
        if any(problem.member not in NEW.get(command, ()) for problem in problems):
            assert reason is not None, f"{command} took {what}: {problems[0]}"
    return not problems


@pytest.mark.parametrize("seed", range(3))
def test_mutated_samples_end_in_words(seed):
    counts = {True: 0, False: 0}
    for what, members in hostile.mutants(seed, 36):
        counts[judge(what, members, list(COMMANDS))] += 1
    assert counts[True] > 3 and counts[False] > 15


def test_the_valid_sample_is_taken_by_every_command():
    assert judge("the valid sample", hostile.valid(), list(COMMANDS))
    for command in COMMANDS:
        assert verdict(command, hostile.valid()) is None


# ---------------------------------------------------------------- odd samples, right and wrong

number = st.floats(-1e4, 1e4, allow_nan=False, width=32).map(lambda v: round(v, 6))
share = st.floats(0, 1).map(lambda v: round(v, 6))
ident = st.integers(1, 2**31 - 1)
words = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=40)
some_words = words.filter(str.strip)
inside = st.tuples(share, share)
box = st.tuples(share, share, share, share).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]))
).filter(lambda v: v[0] < v[2] and v[1] < v[3])  # fmt: skip


def unique(items):
    return st.lists(items, max_size=4, unique_by=lambda item: item.id)


def point() -> st.SearchStrategy:
    """A keypoint: in the picture where it is labelled, anywhere else where not."""
    seen = st.tuples(share, share, st.sampled_from([1.0, 2.0]))
    return seen | st.tuples(number, number, st.just(0.0))


@st.composite
def odd_samples(draw) -> dict[str, Any]:
    """Records that fit each other, with values from all over their ranges."""
    text = draw(some_words)
    entities = []
    for id in draw(st.lists(ident, max_size=4, unique=True)):
        start = draw(st.integers(0, len(text) - 1))
        end = draw(st.integers(start + 1, len(text)))
        kind = draw(st.sampled_from(["person", "animal", "object"]))
        entities.append(records.Entity(id, text[start:end], draw(words), draw(words), start, end,
                                       kind, draw(st.integers(0, 2**31 - 1))))  # fmt: skip
    link = st.sampled_from([None, *(e.id for e in entities)])
    boxes = draw(unique(st.builds(records.Box, ident, box, words, link, st.none() | share)))
    body = st.sampled_from([None, *(b.id for b in boxes)])
    poses = st.builds(records.Keypoints, st.lists(point(), min_size=17, max_size=17)) | st.builds(
        records.Keypoints, st.lists(point(), max_size=5), layout=st.just("hand21")
    )
    to = st.none() | st.just((0.6, 0.8))
    gazes = st.builds(Gaze, st.none() | inside, to, st.just(True), st.none() | share)
    gazes |= st.builds(Gaze, st.tuples(number, number), to, st.just(False))
    people = draw(unique(st.builds(
        records.Person, ident, body, link, st.none() | box, st.none() | box,
        st.none() | st.builds(Face, box, st.none() | share, st.none() | st.lists(
            st.tuples(number, number), min_size=5, max_size=5)),
        st.none() | poses, st.none() | gazes, st.none() | words)))  # fmt: skip
    who = st.sampled_from([None, *(p.id for p in people)])
    acts = draw(unique(st.builds(Interaction, ident, words, who, body, body, who, words,
                                 st.none() | ident, st.none() | share)))  # fmt: skip
    named = st.sampled_from([e.id for e in entities]) if entities else st.nothing()
    triple = st.builds(records.Triple, named, words, link, words)
    return {
        "caption.json": records.Caption(text, draw(st.lists(words, max_size=2))),
        "entities.json": records.Entities(entities, draw(st.lists(triple, max_size=3))),
        "boxes.json": records.Boxes(120, 80, boxes),
        "masks.json": None,
        "people.json": records.People(120, 80, people),
        "interactions.json": records.Interactions(acts),
        "layout.json": None,
        records.IDENTITY: None,
    }


def free(items: list) -> int:
    return free_id(item.id for item in items)


def _no_area(r: dict[str, Any]) -> str:
    r["boxes.json"].boxes.append(records.Box(free(r["boxes.json"].boxes), (0.4, 0.2, 0.4, 0.9)))
    return "boxes.json"


def _outside(r: dict[str, Any]) -> str:
    r["people.json"].people.append(
        records.Person(free(r["people.json"].people), head=(-1, 0, 1, 1))
    )
    return "people.json"


def _dangling_box(r: dict[str, Any]) -> str:
    missing = free(r["boxes.json"].boxes)
    r["people.json"].people.append(records.Person(free(r["people.json"].people), box=missing))
    return "people.json"


def _dangling_entity(r: dict[str, Any]) -> str:
    missing, boxes = free(r["entities.json"].entities), r["boxes.json"].boxes
    boxes.append(records.Box(free(boxes), (0, 0, 1, 1), entity=missing))
    return "boxes.json"


def _dangling_person(r: dict[str, Any]) -> str:
    acts, missing = r["interactions.json"].interactions, free(r["people.json"].people)
    acts.append(Interaction(free(acts), "hold", missing))
    return "interactions.json"


def _wrong_span(r: dict[str, Any]) -> str:
    text, entities = r["caption.json"].text, r["entities.json"].entities
    entities.append(records.Entity(free(entities), text + "x", "x", "x", 0, len(text), "object"))
    return "entities.json"


def _blank(r: dict[str, Any]) -> str:
    r["caption.json"].text = " \u2003\n"
    r["entities.json"] = records.Entities()
    r["boxes.json"] = records.Boxes(120, 80)
    r["people.json"].people = []
    r["interactions.json"].interactions = []
    return "caption.json"


def _other_size(r: dict[str, Any]) -> str:
    r["boxes.json"].width = 121
    return "boxes.json"


def _nobodys_face(r: dict[str, Any]) -> str:
    row = numpy.ones((1, 8), numpy.float32)
    r[records.IDENTITY] = records.identity_array([free(r["people.json"].people)], row)
    return records.IDENTITY


def _long_gaze(r: dict[str, Any]) -> str:
    people = r["people.json"].people
    people.append(records.Person(free(people), gaze=Gaze(None, (0.9, 0.9))))
    return "people.json"


SPOILS = [_no_area, _outside, _dangling_box, _dangling_entity, _dangling_person, _wrong_span,
          _blank, _other_size, _nobodys_face, _long_gaze]  # fmt: skip


ALONE = {_no_area: "ground", _outside: "annotate-pose", _long_gaze: "annotate-pose"}


def written(changed: dict[str, Any]) -> dict[str, bytes]:
    """A sample of records that `records.dump` may refuse to write."""
    whole = hostile.valid()
    for suffix, record in changed.items():
        if record is None:
            del whole[suffix]
        elif suffix == records.IDENTITY:
            whole[suffix] = records.dump_identity(record)
        else:
            whole[suffix] = scenes.raw(record)
    return whole


# Without shrinking: a failing sample is told at once, and takes minutes to be made small.
once = settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate])


@once
@given(odd_samples())
def test_what_validate_accepts_every_command_survives(odd):
    members = written(odd)
    assert errors(members) == []
    judge("an odd sample", members, list(COMMANDS))


@pytest.mark.parametrize("spoil", SPOILS)
def test_what_validate_refuses_every_command_refuses(spoil):
    @settings(once, max_examples=2)
    @given(odd_samples())
    def refused(odd):
        member = spoil(odd)
        members = written(odd)
        problems = errors(members)
        assert problems and {problem.member for problem in problems} == {member}, problems
        judge(spoil.__name__, members, list(COMMANDS))
        if spoil in ALONE:  # its own writer refuses it too, for annotations in it must survive
            assert verdict(ALONE[spoil], members)

    refused()
