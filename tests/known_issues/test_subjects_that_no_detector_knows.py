"""A detector with a fixed list of kinds never finds what is none of them: MediaPipe finds people
only, DETR the 80 classes of COCO. Such a subject counted as missing, in each attempt of
`generate --attempts`, which so drew every picture again for nothing, and in `score --metrics
subjects`. It is left out of the question, and that is said once."""

from __future__ import annotations

from types import SimpleNamespace

import numpy
import pytest
from PIL import Image

from socialcli import backends, records, registry
from socialcli.backends import coverage
from socialcli.backends.ground._detectors import ClassDetector
from socialcli.backends.roles import Detection
from socialcli.evaluation.cases import Case, Context, Picture
from socialcli.evaluation.features import Look
from socialcli.generation import attempts, stage
from socialcli.generation.requests import Request
from socialcli.generation.stage import GenerateStage, Ready
from socialcli.pipeline.report import Report
from socialcli.pipeline.stage import Item, Noted
from socialcli.vision import masks
from socialcli.vision.assignment import Prices

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
HALVES = [numpy.arange(40)[None].repeat(20, 0) < 20, numpy.arange(40)[None].repeat(20, 0) >= 20]


class Grounder:
    """Finds at the left whatever it is asked for."""

    def __init__(self, *kinds: str) -> None:
        self.asked: list[list[str]] = []
        if kinds:
            self.kinds = kinds

    def ground(self, images, phrases, box_threshold, text_threshold):
        self.asked += phrases
        return [[Detection(n, LEFT, 0.9) for n in range(len(asked))] for asked in phrases]


class Classes(Grounder):
    """As DETR: it says of a phrase whether it is one of its classes."""

    def knows(self, phrase):
        return ClassDetector.knows(SimpleNamespace(labels=["person", "dog"]), phrase)


class Colour:
    def images(self, images):
        return numpy.ones((len(images), 3))


def layout(*words: str) -> records.Layout:
    parts = zip(words, HALVES, strict=True)
    segments = [
        records.Segment(n, f"#0000{n:02x}", "it", masks.encode(mask), word=word)
        for n, (word, mask) in enumerate(parts, 1)
    ]
    return records.Layout(40, 20, "two things", segments)


def judge(grounder) -> attempts.Judge:
    config = SimpleNamespace(
        box_threshold=0.35, price_missing=1.0, price_surplus=0.5, price_hybrid=0.5,
        price_swapped=0.5,
    )  # fmt: skip
    return attempts.Judge(grounder, Colour(), config)


def verdict(grounder, *words: str):
    return judge(grounder).verdict(Image.new("RGB", (40, 20)), layout(*words), ())


@pytest.mark.parametrize("grounder", [Grounder("person"), Classes()], ids=["kinds", "classes"])
def test_a_subject_of_no_kind_is_not_missing(grounder):
    seen = verdict(grounder, "old man", "sofa cushion")
    assert seen.faultless and seen.pairs == [(0, 0)]
    assert all("sofa cushion" not in asked for asked in grounder.asked)
    neither = verdict(grounder, "cake", "sofa cushion")
    assert neither.faultless and neither.price == 0 and neither.pairs == []
    twice = verdict(grounder, "man", "man")  # whom it knows it still misses
    assert len(twice.missing) == 1


def test_detectors_that_read_are_asked_for_everything():
    grounder = Grounder()
    assert len(verdict(grounder, "old man", "sofa cushion").missing) == 1  # both at the left
    assert grounder.asked == [["old man", "sofa cushion"]]


def test_those_with_a_fixed_list_say_so():
    fixed = {name for name, info in backends.available()["ground"].items() if info.fixed}
    assert fixed == {"detr", "rt-detr", "mediapipe"}
    assert coverage.unknown(Grounder(), ["sofa cushion"]) == []
    assert coverage.unknown(Grounder("person"), ["dog", "man", "dog"]) == ["dog"]
    assert coverage.unknown(Classes(), ["a wet dog", "women", "cake"]) == ["cake"]


class Method:
    name, VERSION, config_type = "toy", 1, object
    WHOLE = REFERENCES = False

    def embed(self, config, loaded, ready):
        return ready.prompt

    def alike(self, embedded):
        return 0

    def part(self, config, loaded):
        return 1

    def condition(self, config, loaded, embedded):
        return embedded

    def layout(self, ready):
        return layout(*ready.prompt.split()), ()


def test_no_picture_is_drawn_again_for_it_and_it_is_said_once(monkeypatch, capsys):
    draws = []

    def draw(config, loaded, given, seeds):
        draws.append(given)
        return [Image.new("RGB", (40, 20)) for _ in given]

    def of(method, config, loaded, work, image, seed, unread, more, tried=None):
        return {"txt": f"{tried.count} {tried.missing}".encode()}

    monkeypatch.setattr(stage.drawing, "draw", draw)
    monkeypatch.setattr(stage.members, "of", of)
    loaded = SimpleNamespace(
        unread=[], lexicon=None, remarks={}, judge=judge(Grounder("person")),
        diffusion=SimpleNamespace(window=75),
    )  # fmt: skip
    prompts = ["man dog", "man cat", "man woman"]
    items = [Item(prompt, 1, Ready(Request(prompt))) for prompt in prompts]
    config = SimpleNamespace(attention_maps=None, attempts=4)
    results = GenerateStage(Method()).process(config, loaded, items)
    assert [one["txt"] for one in results] == [b"1 0", b"1 0", b"4 1"]
    assert len(draws) == 6
    noted = [one.notes if isinstance(one, Noted) else {} for one in results]
    assert [set(one) for one in noted] == [{"subjects_not_looked_for"}] * 2 + [set()]
    report = Report()
    for one in noted:
        for line in one.values():
            report.warn_once(line)
    (line,) = capsys.readouterr().err.splitlines()
    assert "'dog'" in line and "--ground-backend" in line


# ------------------------------------------------------------------ score --metrics subjects


def case(grounder, *words: str) -> Case:
    feature = registry.load("features", "subject-objects")
    config = SimpleNamespace(box_threshold=0.35, text_threshold=0.25, ground_backend="detr")
    look = Look(Image.new("RGB", (40, 20)), extra=list(dict.fromkeys(words)))
    (value,) = feature.run(config, [grounder], [look])
    vectors = {"vector": numpy.ones((max(1, len(value["boxes"])), 3))}
    features = {"subject-objects": value, "clip-found": vectors, "dino-found": vectors}
    own = {f"{name}-subjects": {"vector": numpy.ones((1, 3))} for name in ("clip", "dino")}
    source = Picture("k", records={"layout.json": layout(*words)})
    subjects = [[Picture("g", own)] for _ in words]
    return Case("k", "k", "x", Picture("k", features), source=source, subjects=subjects)


def test_score_leaves_it_out_as_well():
    metric = registry.load("metrics", "subjects")
    prices = {f"price_{name}": value for name, value in vars(Prices()).items()}
    cases = [case(Classes(), "man", "cake"), case(Classes(), "cake", "sofa"),
             case(Classes(), "man", "dog")]  # fmt: skip
    rows = metric.rows(cases, Context(SimpleNamespace(**prices)))
    assert rows["wanted"][[0, 2]].tolist() == [1, 2] and numpy.isnan(rows["wanted"][1])
    assert rows["missing"][[0, 2]].tolist() == [0, 1]  # the dog and the man are one thing
    (note,) = metric.notes(rows)
    assert "3 of 6 subjects" in note and "'cake'" in note and "'sofa'" in note
    whole = metric.rows(cases[2:], Context(SimpleNamespace(**prices)))
    assert metric.notes(whole) == [] and metric.notes({"wanted": whole["wanted"]}) == []
    both = metric.joined(whole, rows)  # a score of before has no such count
    assert len(both["wanted"]) == 4
    shares = metric.estimate(both, numpy.ones((1, 4)))
    assert shares["subjects_missing"].tolist() == [pytest.approx(2 / 5)]


def test_what_was_kept_of_a_detector_that_reads_is_still_good():
    """Only values of those with a fixed list are others now."""
    feature = registry.load("features", "subject-objects")
    for backend, fixed in (("grounding-dino", False), ("rt-detr", True), ("mediapipe", True)):
        config = SimpleNamespace(box_threshold=0.35, text_threshold=0.25, ground_backend=backend)
        assert ("unknown" in feature.options(config)) is fixed
        assert backends.info("ground", backend).fixed is fixed
