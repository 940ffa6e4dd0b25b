"""Training took estimated gazes and interactions for targets: of 6 annotated gazes `annotate-pose`
made 15. Social Context Feedback (arXiv 2507.16095), section 4.1, learns from annotations alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import scenes as given

from socialcli import records
from socialcli.errors import UsageError
from socialcli.methods.train.feedback import Config, FeedbackMethod, _scene, wanted
from socialcli.shards import Sample, index, write

ALL = {"gaze_source": "any", "interaction_source": "any"}
EVERY = frozenset({"gaze", "interaction"})
VERBS = ("walk", "pet")  # of a dog: the packaged recogniser knows both


def sample(gazes: tuple[str, str], acts: tuple[str, ...], key: str = "s") -> Sample:
    """The woman's and the man's gaze and any number of interactions, from these sources."""
    by_suffix = given.all_records((120, 120))
    people = by_suffix["people.json"]
    people.people = [
        replace(person, gaze=replace(person.gaze, source=source))
        for person, source in zip(people.people, gazes, strict=True)
    ]
    by_suffix["interactions.json"] = records.Interactions(
        [
            records.Interaction(n, VERBS[n - 1], 1, 1, 2, source=source)
            for n, source in enumerate(acts, 1)
        ]
    )
    members = {name: records.dump(record) for name, record in by_suffix.items()}
    return Sample(key, {"jpg": given.picture(0, size=(120, 120)), **members})


def read(one: Sample, **sources: str) -> _scene.Scene:
    config = Config(feedback="gaze,interaction", least_face=2.0, **sources)
    return _scene.read(one, _scene.whole(one, 120), config, wanted(config))


def test_only_annotations_are_targets_unless_estimates_are_asked_for() -> None:
    one = sample(("annotation", "sharingan"), ("annotation", "pairwise"))
    seen = read(one)
    gazers, pairs = seen.watched["gaze"], seen.watched["interaction"]
    assert [gaze is not None for _, gaze in gazers] == [True, False]  # both heads are shown
    assert [pair.verbs for pair in pairs] == [["walk"]]
    seen = read(one, **ALL)
    assert all(gaze is not None for _, gaze in seen.watched["gaze"])
    assert [pair.verbs for pair in seen.watched["interaction"]] == [["walk", "pet"]]


def test_estimates_alone_say_nothing() -> None:
    seen = read(sample(("sharingan", "sharingan"), ("pairwise",)))
    assert not seen.speaks("gaze") and not seen.speaks("interaction")


@pytest.mark.parametrize("name", ["gaze", "interaction"])
def test_a_feedback_without_annotations_is_refused_and_names_the_option(tmp_path, name) -> None:  # type: ignore[no-untyped-def]
    one = sample(("sharingan", "sharingan"), ("pairwise",))
    write(tmp_path / "a.tar", [(one.key, one.members)])
    method = FeedbackMethod()
    config = Config(feedback=name, ssr_model="new")
    opened = index.build([str(tmp_path / "a.tar")], tmp_path / "cache")
    with pytest.raises(UsageError, match=f"--{name}-source any"):
        method.select(config, opened)
    chosen = {f"{name}_source": "any"}
    assert len(method.select(replace(config, **chosen), opened)) == 1


def test_scores_take_annotations_of_references_alone(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from socialcli.evaluation import samples

    one = sample(("annotation", "sharingan"), ("annotation", "pairwise"))
    write(tmp_path / "a.tar", [(one.key, one.members)])
    asked = ([str(tmp_path / "a.tar")], {one.key}, {"people.json", "interactions.json"})
    for estimates, gazes, acts in ((frozenset(), 1, 1), (EVERY, 2, 2)):
        known, lost = samples.reference(*asked, estimates)
        of_sample = known[one.key].records
        assert not lost
        assert sum(p.gaze is not None for p in of_sample["people.json"].people) == gazes
        assert len(of_sample["interactions.json"].interactions) == acts


def test_the_options_of_scores() -> None:
    from socialcli.evaluation import settings

    config = settings.config_type()()
    assert settings.estimates(config) == frozenset()
    assert settings.estimates(replace(config, gaze_source="any")) == {"gaze"}
    assert settings.estimates(replace(config, interaction_source="any")) == {"interaction"}
