"""Prompt, ID, Detect, ID (P), ID (F), Detect (F) and People against computations by hand."""

from __future__ import annotations

import itertools
import json

import numpy
import pytest
from parts import part
from standins import Drawn, png

from socialcli import backends, records, shards
from socialcli.errors import UsageError
from socialcli.evaluation import run, settings
from socialcli.evaluation.metrics import Case, Context, Picture, _identities
from socialcli.evaluation.metrics.people import count

Config = settings.config_type()
CONTEXT = Context(Config(prompt_threshold=0.5))
SCENE, FACE = "a man holds a cup", "A photo of the face of <anna>."
prompt, id_, id_f, id_p, detect, detect_f, people = (
    part("metrics", name)
    for name in ("prompt", "id", "id-f", "id-p", "detect", "detect-f", "people")
)


def faces(*rows, boxes=None):
    """Of faces with 2-d embeddings, in boxes from left to right."""
    width = 0.05
    boxes = boxes or [[0.1 * n, 0.2, 0.1 * n + width, 0.3] for n in range(len(rows))]
    return {
        "faces": {
            "embeddings": numpy.array(rows, numpy.float32).reshape(-1, 2),
            "boxes": boxes,
            "embedded": list(range(len(rows))),
        }
    }


def case(generated, source=None, subjects=(), text=SCENE, clip=None):
    clips = {} if clip is None else {"clip": {"vector": numpy.array([clip, (1 - clip**2) ** 0.5])}}
    return Case(
        "k", "k", text, Picture("k", {**generated, **clips}),
        {} if clip is None else {"clip-text": {"vector": numpy.array([1.0, 0.0])}},
        None if source is None else Picture("k", source),
        [[Picture("r", one) for one in pictures] for pictures in subjects],
    )  # fmt: skip


def figures(metric, cases, context=CONTEXT):
    rows = metric.rows(cases, context)
    counted = metric.estimate(rows, numpy.ones((1, len(cases))))
    return {name: float(values[0]) for name, values in counted.items()}, metric.pictures(rows)


ONE = [
    case(faces((1, 0)), faces((1, 0)), clip=0.9),  # the person, and the prompt
    case(faces((1, 0)), faces((1, 0)), clip=0.2),  # the person, and nothing of the prompt
    case(faces((0, 1), (3, 4)), faces((1, 0)), clip=0.5),  # the better of two faces: 0.6
    case(faces(), faces((1, 0)), clip=0.8),  # nobody
    case({}, faces((1, 0))),  # not readable
    case(faces((1, 0)), faces((0, 1)), text=FACE, clip=0.9),  # a photo of the face
    case(faces((4, 3)), faces((0, 1)), text=FACE, clip=0.9),
    case(faces(), faces((0, 1)), text=FACE, clip=0.9),
]


def test_figures_of_one_person_by_hand():
    assert figures(prompt, ONE)[0] == pytest.approx({"prompt_score": (0.9 + 0.2 + 0.5 + 0.8) / 4})
    assert figures(id_, ONE)[0] == pytest.approx({"id": 2.6 / 3, "id_all": 2.6 / 4})
    assert figures(detect, ONE)[0] == pytest.approx({"detect": 3 / 4})
    values, each = figures(id_p, ONE)
    assert values == pytest.approx({"id_p": 1.6 / 3, "id_p_all": 1.6 / 4, "id_p_fit": 3 / 4})
    assert each["id_p"][:3] == pytest.approx([1, 0, 0.6]) and numpy.isnan(each["id_p"][3])
    assert figures(id_f, ONE)[0] == pytest.approx({"id_f": 0.6 / 2, "id_f_all": 0.6 / 3})
    assert figures(detect_f, ONE)[0] == pytest.approx({"detect_f": 2 / 3})


def test_a_picture_at_the_threshold_fits():
    exactly = [case(faces((1, 0)), faces((1, 0)), clip=1.0)]
    assert figures(id_p, exactly, Context(Config(prompt_threshold=1.0)))[0]["id_p"] == 1
    below = [case(faces((1, 0)), faces((1, 0)), clip=0.499999)]
    assert figures(id_p, below)[0]["id_p"] == 0
    assert Config().prompt_threshold == 0.23


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("a photo of the face of <anna>", True), ("A photo of the face of a woman.", True),
        ("a photo of the face of", False), ("a photo of the face of ", False),
        ("a man and a photo of the face of <anna>", False),
        ("a photo of the faces of two men", False),
    ],
)  # fmt: skip
def test_face_photos_are_told_from_others(text, fits):
    assert _identities.of_a_face(text, "a photo of the face of {}") is fits


def test_a_template_needs_a_place_for_the_person():
    with pytest.raises(UsageError, match=r"write \{\} for the person"):
        settings.chosen(Config(metrics="id", face_prompt="a face"))


def test_assignment_is_the_best_of_all():
    rng = numpy.random.default_rng(1)
    for _ in range(60):
        table = rng.normal(size=rng.integers(1, 6, 2))
        wide = table if table.shape[0] <= table.shape[1] else table.T
        best = max(
            sum(wide[n, at] for n, at in enumerate(order))
            for order in itertools.permutations(range(wide.shape[1]), len(wide))
        )
        pairs = _identities.assign(table)
        assert sum(table[pair] for pair in pairs) == pytest.approx(best)
        assert len({p for p, _ in pairs}) == len({f for _, f in pairs}) == min(table.shape)


def counted(table, same):
    return count(numpy.asarray(table, float), same)


def test_greedy_pairs_report_less():
    """Two alike: the best pair first leaves the second person a stranger's face."""
    faults = counted([[0.9, 0.8], [0.7, 0.1]], 0.3)
    assert faults.cosine == pytest.approx(1.5) and faults.greedy == pytest.approx(1.0)
    assert (faults.missing, faults.surplus, faults.doubled) == (0, 0, 0)


@pytest.mark.parametrize(
    ("table", "missing", "surplus", "doubled"),
    [
        ([[0.9, 0.0], [0.0, 0.9]], 0, 0, 0),  # both are there
        ([[0.9], [0.1]], 1, 0, 0),  # only the first
        ([[0.9, 0.8], [0.2, 0.1]], 1, 0, 1),  # the first, twice, and never the second
        ([[0.9, 0.0, 0.1], [0.0, 0.9, 0.2]], 0, 1, 0),  # both, and a stranger
        ([[0.9, 0.0, 0.8], [0.0, 0.9, 0.2]], 0, 0, 1),  # both, and the first again
        ([[0.1, 0.2], [0.2, 0.1]], 2, 0, 0),  # two strangers in their places
        ([[0.2, 0.5], [-0.3, 0.1]], 2, 0, 0),  # like the first, who is recognised nowhere
        (numpy.zeros((2, 0)), 2, 0, 0),  # nobody
    ],
)
def test_what_is_wrong_is_priced_once(table, missing, surplus, doubled):
    faults = counted(table, 0.3)
    assert (faults.missing, faults.surplus, faults.doubled) == (missing, surplus, doubled)


def test_swapped_people_are_those_at_each_others_place():
    a, b, c = (1, 0), (0, 1), (0.7, 0.7)
    straight = case(faces(a, b), faces(a, b))
    swapped = case(faces(b, a), faces(a, b))
    shifted = case(faces(a, b, boxes=[[0.5, 0, 0.6, 0.1], [0.8, 0, 0.9, 0.1]]), faces(a, b))
    alone = case(faces(a), faces(a, b))  # who is not there is not swapped
    with_stranger = case(faces(a, (-1, -1)), faces(a, b))
    anywhere = case(faces(b, a), subjects=[[faces(a)], [faces(b)]])  # nobody has a place
    three = case(faces(b, a, c), faces(a, b, c))
    for one, expected in (
        (straight, 0), (swapped, 1), (shifted, 0), (alone, None), (with_stranger, None),
        (anywhere, None), (three, 2 / 3),
    ):  # fmt: skip
        value = figures(people, [one], Context(Config(same_person=0.9)))[0]["people_swapped"]
        assert value == pytest.approx(expected) if expected is not None else numpy.isnan(value)
    together = figures(people, [straight, swapped, alone], Context(Config(same_person=0.9)))[0]
    assert together["people_swapped"] == 2 / 4 and together["people_missing"] == 1 / 6
    assert together["people"] == pytest.approx(5 / 6)


def test_a_subject_is_its_main_face_in_all_its_pictures():
    small, large = [0, 0, 0.1, 0.1], [0.2, 0.2, 0.9, 0.9]
    first = faces((0, -1), (2, 0), boxes=[small, large])
    one = case(faces((1, 1)), subjects=[[first, faces((0, 5))]])
    assert _identities.similarities(one) == pytest.approx(numpy.array([[1.0]]))
    # A person whose face is not found in any picture cannot be compared with.
    assert _identities.similarities(case(faces((1, 1)), subjects=[[faces()], [first]])) is None


def test_learned_words_name_their_subjects(tmp_path, monkeypatch):
    """A prompt with <anna-b> is compared with the pictures of the subject "anna b"."""
    monkeypatch.setattr(backends, "load", lambda spec: Drawn(spec.role))
    monkeypatch.setattr(
        backends, "info", lambda role, name: backends.BackendInfo("stand-in", "none")
    )
    rng = numpy.random.default_rng(3)
    colours = rng.integers(0, 250, (8, 3)).tolist()
    rows = []
    for number, text in enumerate(("<anna-b> and <carl>", "<carl> sits", "a <dog>")):
        info = json.dumps({"schema": 1, "prompt": text, "plain_prompt": f"people {number}"})
        members = {"png": png(tuple(colours[number])), "generated.json": info.encode()}
        rows.append((f"g{number}", members))
    shards.write(tmp_path / "gen.tar", rows)
    meta = records.dump(records.Meta(16, 12, extra={"subject": "anna b"}))
    shards.write(tmp_path / "ref.tar", [
        ("x/0", {"png": png(tuple(colours[5])), "meta.json": meta}),
        ("carl/0", {"png": png(tuple(colours[6]))}), ("carl/1", {"png": png(tuple(colours[7]))}),
    ])  # fmt: skip
    config = Config(metrics="dino", device="cpu", dtype="float32")
    options = run.Options([str(tmp_path / "ref.tar")], resamples=0, quiet=True, max_error_rate=1)
    score = run.score([str(tmp_path / "gen.tar")], str(tmp_path / "out"), config, options)
    shown = {c.key: [[p.key for p in s] for s in c.subjects] for c in score.cases}
    assert shown == {"g0": [["x/0"], ["carl/0", "carl/1"]], "g1": [["carl/0", "carl/1"]]}
    assert [lost.key for lost in score.lost] == ["g2"]
