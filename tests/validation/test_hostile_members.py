"""Whatever `validate` accepts every command survives; what the door refuses every command refuses.

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
from socialcli.reports import overlay, page, sheet, table
from socialcli.reports.gather import Looked
from socialcli.reports.statistics import Statistics
from socialcli.reports.view import decode, view
from socialcli.shards import Sample
from socialcli.training import geometry
from socialcli.training.feedback import all_feedbacks
from socialcli.validation.members import check, read_members

annotate_pose, ground = part("stages", "annotate-pose"), part("stages", "ground")
segment, extract_entities = part("stages", "segment"), part("stages", "extract-entities")
layout = part("stages", "layout")
feedback = part("methods.train", "feedback")
plain_training = part("methods.train", "text-to-image")

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

        return [[Detection((0.1, 0.1, 0.5, 0.5), 0.5, n) for n in range(len(q))] for q in queries]


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


def _stage(stage: Any, config: Any, loaded: Any, sample: Sample) -> None:
    (made,) = outcomes(iter([sample]), stage, config, loaded, name="x", seed=0, batch_size=1)
    assert isinstance(made, Outcome)
    if isinstance(made.result, Exception):
        raise made.result
    assert isinstance(made.result, dict)
    for suffix, data in made.result.items():  # what a stage writes comes in by the door again
        if suffix in records.MEMBERS:
            records.load(records.MEMBERS[suffix], data, suffix)
        elif suffix == records.IDENTITY:
            records.load_identity(data)


def _inspect(sample: Sample) -> None:
    parsed, problems = read_members(sample)
    found = Looked()
    found.statistics = counted = Statistics()
    counted.add(sample, parsed, len(problems))
    shown = view(sample, "a.tar", parsed, problems)
    for pieces in page.page(page.Report("x", counted)):
        pieces.encode("utf-8", "replace")
    overlay.card(shown, decode(shown, 300))
    for made in sheet.pages([shown], 1, 1, "x"):
        made.tobytes()
    json.dumps(table.as_json(found))
    table.text(found, False)
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
    sample.check()
    good = Sample("k", hostile.valid())

    def reader(one: Sample) -> Callable[[type], Any]:
        suffixes = {kind: suffix for suffix, kind in records.MEMBERS.items()}
        return lambda kind: one.record(kind) if one.has(suffixes[kind]) else None

    for first, second in ((sample, good), (good, sample)):
        found = agreement.Agreement()
        found.add(reader(first), reader(second))
        agreement.markdown(found)


def _generate(sample: Sample) -> None:
    stage = GenerateStage(registry.load("methods.generate", "ssr"))
    ways: list[dict[str, Any]] = [
        {}, {"per_subject": True}, {"query": ["phrases"]}, {"query": ["caption"], "caption": 1},
        {"query_by": "mask"}, {"query_by": "mask", "per_subject": True},
    ]  # fmt: skip
    refused = []
    for way in ways:
        config = stage.config_type(**way)
        for made in stage._requests(config, sample):
            try:
                if made.problem:
                    raise SampleFailed(made.problem)
                stage.prepare(config, made)
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
    sample.check()
    config = feedback.Config()
    feedback.check(config, sample)
    plain_training.check(None, sample)
    for flip in (False, True):
        frame = geometry.Frame(96, 64, 16, 0, 64, flip)
        names = all_feedbacks()
        config = FeedbackConfig(query="phrases", least_face=0)
        found = scenes_of_training.read(sample, frame, config, names)
        scenes_of_training.tensors(found, names)


def _invert(sample: Sample) -> None:
    sample.check()
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
    sample.check()
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
# Stages do not look at members that they write anew; to `score` less of a generated.json will do.
NEW = {
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
    """Hold every command against what `validate` says; whether the door let the sample in."""
    sample = Sample("k", dict(members))
    said = [str(p) for p in check(sample)]
    for problem in said:
        assert not BARE.search(problem), f"{what}: {problem}"
    _, refused = read_members(sample)
    for command in commands:
        try:
            reason = verdict(command, members)
        except Exception as error:
            raise AssertionError(f"{command} on {what}: {type(error).__name__}: {error}") from error
        if not said:
            # Not every sample has what a command needs: a caption without a word of entities.
            lacks = reason is None or "list is empty" in reason or "no mask" in reason
            assert lacks or command in ("generate", "train"), f"{command} on {what}: {reason}"
        if refused and refused[0].member not in NEW.get(command, ()):
            assert reason is not None, f"{command} took {what}: {refused[0]}"
    return not refused


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


# ---------------------------------------------------------------- samples that are valid, but odd

number = st.floats(-1e4, 1e4, allow_nan=False, width=32).map(lambda v: round(v, 6))
share = st.floats(0, 1).map(lambda v: round(v, 6))
ident = st.integers(1, 2**31 - 1)
words = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=40)
box = st.tuples(share, share, share, share).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]))
)


def unique(items):
    return st.lists(items, max_size=4, unique_by=lambda item: item.id)


@st.composite
def odd_samples(draw) -> dict[str, bytes]:
    text = draw(words.filter(str.strip))
    entities = draw(unique(st.builds(
        records.Entity, ident, words, words, words, st.integers(0, 50), st.integers(1, 60),
        st.sampled_from(["person", "animal", "object"]), st.integers(0, 2**31 - 1))))  # fmt: skip
    link = st.none() | ident | st.sampled_from([e.id for e in entities] or [1])
    boxes = draw(unique(st.builds(records.Box, ident, box | st.tuples(*[number] * 4), words, link,
                                  st.none() | share)))  # fmt: skip
    body = st.none() | ident | st.sampled_from([b.id for b in boxes] or [1])
    points = st.lists(st.tuples(number, number, st.sampled_from([0.0, 1.0, 2.0])), min_size=17,
                      max_size=17)  # fmt: skip
    poses = st.builds(records.Keypoints, points) | st.builds(
        records.Keypoints, st.lists(st.tuples(number, number, st.just(2.0)), max_size=5),
        layout=st.just("hand21"),
    )  # fmt: skip
    people = draw(unique(st.builds(
        records.Person, ident, body, link, st.none() | box, st.none() | box,
        st.none() | st.builds(Face, box, st.none() | share, st.none() | st.lists(
            st.tuples(number, number), min_size=5, max_size=5)),
        st.none() | poses,
        st.none() | st.builds(Gaze, st.none() | st.tuples(number, number), st.none() | st.just(
            (0.6, 0.8)), st.none() | st.booleans(), st.none() | share),
        st.none() | words)))  # fmt: skip
    who = st.none() | ident | st.sampled_from([p.id for p in people] or [1])
    acts = draw(unique(st.builds(Interaction, ident, words, who, body, body, who, words,
                                 st.none() | ident, st.none() | share)))  # fmt: skip
    triples = draw(st.lists(st.builds(records.Triple, ident, words, link, words), max_size=3))
    found = {
        "caption.json": records.Caption(text, draw(st.lists(words, max_size=2))),
        "entities.json": records.Entities(entities, triples),
        "boxes.json": records.Boxes(120, 80, boxes),
        "people.json": records.People(120, 80, people),
        "interactions.json": records.Interactions(acts),
    }
    return scenes.members(0, {**found, records.IDENTITY: None})


# Without shrinking: a failing sample is told at once, and takes minutes to be made small.
@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(odd_samples())
def test_what_the_door_lets_in_every_command_survives(members):
    sample = Sample("k", dict(members))
    assert read_members(sample)[1] == []
    check(sample)
    for command in COMMANDS:
        if command != "extract-entities":  # a parser takes its time
            verdict(command, members)
