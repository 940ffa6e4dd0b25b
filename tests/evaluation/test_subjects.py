"""Who is in a picture: one optimal assignment, each fault priced; blends of two known subjects."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy
import pytest
import scenes
from parts import part
from PIL import Image

from socialcli import backends, records, registry
from socialcli.backends import ModelSpec
from socialcli.errors import UsageError
from socialcli.evaluation import joining
from socialcli.evaluation.cases import Case, Picture
from socialcli.evaluation.samples import Known
from socialcli.vision import assignment
from socialcli.vision.assignment import Prices, judge

subjects = part("metrics", "subjects")
WEIGHTS = Path(backends.__file__).parents[1] / "miniature" / "weights"
ALIKE = numpy.array([[1.0, 0.2], [0.2, 1.0]])  # two subjects


def verdict(likeness, places, kinds=None, prices=None):
    likeness, places = numpy.array(likeness, float), numpy.array(places, float)
    kinds = numpy.ones(places.shape, bool) if kinds is None else numpy.array(kinds, bool)
    return judge(kinds, places, likeness, ALIKE, prices)


LEFT, RIGHT = [0.9, 0.0], [0.0, 0.9]  # where a thing stands
ADA, BOB, BLEND, STRANGER = [0.95, 0.2], [0.2, 0.95], [0.6, 0.55], [0.1, 0.1]


@pytest.mark.parametrize(
    ("likeness", "places", "faults"),
    [
        ([ADA, BOB], [LEFT, RIGHT], {}),
        ([BOB, ADA], [RIGHT, LEFT], {}),  # in whatever order they are found
        ([ADA], [LEFT], {"missing": [1]}),
        ([ADA, BOB, ADA], [LEFT, RIGHT, [0.0, 0.1]], {"surplus": [2]}),
        ([ADA, BOB], [RIGHT, LEFT], {"swapped": [0, 1]}),
        ([ADA, BLEND], [LEFT, RIGHT], {"hybrid": [1]}),
        ([ADA, STRANGER], [LEFT, [0.0, 0.0]], {}),  # it is taken for Bob: better than nobody
        ([], [], {"missing": [0, 1]}),
    ],
)
def test_faults(likeness, places, faults):
    judged = verdict(
        numpy.array(likeness, float).reshape(-1, 2), numpy.array(places, float).reshape(-1, 2)
    )
    names = ("missing", "surplus", "hybrid", "swapped")
    assert {n: getattr(judged, n) for n in names if getattr(judged, n)} == faults
    assert judged.faultless == (not faults)


def test_kinds_never_mix_and_prices_decide():
    dog = [[True, False], [True, False]]  # two dogs found, a dog and a man wanted
    judged = verdict([ADA, BOB], [LEFT, RIGHT], dog)
    assert (judged.pairs, judged.missing, judged.surplus) == ([(0, 0)], [1], [1])
    assert judged.price == pytest.approx(0.05 / 0.8 + 1.0 + 0.5)
    dear = verdict([ADA, BOB], [LEFT, RIGHT], dog, Prices(missing=10, surplus=3))
    assert dear.price == pytest.approx(0.05 / 0.8 + 13)


def test_every_fault_has_its_price():
    pair = 0.05 / 0.8  # of Ada or Bob with a picture like it
    swapped = verdict([ADA, BOB], [RIGHT, LEFT], prices=Prices(swapped=0.3))
    assert swapped.price == pytest.approx(2 * pair + 2 * 0.3)
    blend = verdict([ADA, BLEND], [LEFT, RIGHT], prices=Prices(hybrid=0.2))
    assert blend.price == pytest.approx(pair + 0.45 / 0.8 + 0.2)
    placed = judge(numpy.ones((2, 2), bool), numpy.array([LEFT, RIGHT]))  # what place leaves open
    assert placed.price == pytest.approx(0.1 + 0.1)
    alone = judge(*(numpy.array([[v]]) for v in (True, 0.9, 0.7, 1.0)))
    assert alone.price == pytest.approx(0.3)


def test_the_assignment_is_the_best_of_all():
    """Against every way of pairing three things with three subjects."""
    rng = numpy.random.default_rng(0)
    known = numpy.eye(3) * 0.6 + 0.4
    for _ in range(30):
        likeness, places = rng.uniform(0.3, 1, (3, 3)), rng.uniform(0, 1e-6, (3, 3))
        judged = judge(numpy.ones((3, 3), bool), places, likeness, known, Prices(hybrid=0))
        unlike = numpy.clip((1 - likeness) / 0.6, 0, 1)
        best = min(
            sum(unlike[n, order[n]] for n in range(3)) for order in itertools.permutations(range(3))
        )
        assert sum(unlike[pair] for pair in judged.pairs) == pytest.approx(best, abs=1e-4)


def test_a_thing_found_by_two_words_is_one():
    boxes = numpy.array([[0, 0, 0.5, 1], [0.02, 0, 0.5, 1], [0.5, 0, 1, 1]])
    things = assignment.things(boxes, ["man", "woman", "dog"], [0.4, 0.9, 0.5])
    assert things == [(1, {"man", "woman"}), (2, {"dog"})]
    assert assignment.things(numpy.zeros((0, 4)), [], []) == []
    # So one person cannot be the man and the woman too.
    both = [["woman", WOMAN], ["dog", WOMAN], ["dog", DOG]]
    vectors = [[1, 0], [1, 0], [0, 1]]
    assert subjects.of_case(case(both, vectors, vectors), Prices())["missing"] == 0
    lone = subjects.of_case(case(both[:2], vectors[:2], vectors[:2]), Prices())
    assert (lone["missing"], lone["surplus"]) == (1, 0)


def test_without_pictures_of_them_place_tells_subjects_apart():
    judged = judge(numpy.ones((2, 2), bool), numpy.array([RIGHT, LEFT]))
    assert sorted(judged.pairs) == [(0, 1), (1, 0)] and judged.faultless


@pytest.fixture(scope="module")
def people():
    """Crops of people of the world, and DINO."""
    from socialcli.miniature.world import scene

    crops = []
    for number in itertools.count():
        one = scene(3, number, 96, "train")
        for person in one.people:
            rows, columns = numpy.nonzero(one.instances == person.id)
            if len(rows) > 400 and len(one.people) == 1:
                box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                crops.append(one.image.crop(tuple(map(int, box))).resize((48, 72)))
        if len(crops) >= 10:
            break
    return crops, backends.load(ModelSpec("dino", "vit", str(WEIGHTS / "dino")))


def test_blends_of_two_known_subjects_are_hybrids(people):
    """The published features: most half-and-half blends are told, hardly any subject itself."""
    crops, dino = people

    def seen(images):
        rows = numpy.asarray(dino.images(images), float)
        return rows / numpy.linalg.norm(rows, axis=1, keepdims=True)

    known = seen([crop.crop((3, 3, 45, 69)).resize((48, 72)) for crop in crops])
    pairs = list(zip(range(len(crops)), [*range(1, len(crops)), 0], strict=True))
    blends = seen([Image.blend(crops[a], crops[b], 0.5) for a, b in pairs])
    itself = seen(crops)

    def hybrid(row, a, b):
        both = known[[a, b]]
        return assignment.is_hybrid(row @ both.T, both @ both.T)

    assert numpy.mean([hybrid(r, *p) for r, p in zip(blends, pairs, strict=True)]) >= 0.5
    assert numpy.mean([hybrid(itself[a], a, b) for a, b in pairs]) <= 0.2


# ------------------------------------------------------------------ the metric


def case(boxes, clip, dino, own=None) -> Case:
    """A picture of the scene's layout (a woman, a dog) with boxes, and vectors of each."""
    source = Picture("k", records={"layout.json": scenes.layout()})
    own = own or [[1.0, 0.0], [0.0, 1.0]]
    galleries = [
        [Picture("g", {"clip-subjects": {"vector": numpy.array([v])},
                       "dino-subjects": {"vector": numpy.array([v])}})]
        for v in own
    ]  # fmt: skip
    features = {
        "subject-objects": {"boxes": boxes, "scores": [0.9] * len(boxes)},
        "clip-found": {"vector": numpy.array(clip)},
        "dino-found": {"vector": numpy.array(dino)},
    }
    return Case("k", "k", "x", Picture("k", features), source=source, subjects=galleries)


WOMAN, DOG = [*map(float, scenes.WOMAN)], [*map(float, scenes.DOG)]


def test_a_picture_is_judged_by_its_layout():
    both = [["woman", WOMAN], ["dog", DOG]]
    good = subjects.of_case(case(both, [[1, 0], [0, 1]], [[1, 0], [0, 1]]), Prices())
    assert good == {"wanted": 2, "price": 0, "cosine": pytest.approx(2), "missing": 0,
                    "surplus": 0, "hybrid": 0, "swapped": 0}  # fmt: skip
    lone = subjects.of_case(case([["dog", DOG]], [[0.6, 0.8]], [[0, 1]]), Prices())
    assert (lone["missing"], lone["cosine"]) == (1, pytest.approx(0.8))
    none = subjects.of_case(case([], [[1, 0]], [[1, 0]]), Prices())  # the whole picture's vector
    assert (none["missing"], none["price"], none["cosine"]) == (2, 2, 0)
    unseen = case(both, [[1, 0]], [[1, 0]])
    unseen.generated.features = {}
    assert subjects.of_case(unseen, Prices()) is None


def test_shares_are_of_all_subjects():
    metric = registry.load("metrics", "subjects")
    rows = {name: numpy.array([2.0, 1.0, numpy.nan]) for name in ("wanted", "cosine", "price")}
    rows |= {name: numpy.array([1.0, 0.0, numpy.nan]) for name in ("missing", "surplus")}
    rows |= {name: numpy.zeros(3) for name in ("hybrid", "swapped")}
    shares = metric.estimate(rows, numpy.array([[1.0, 1, 1], [0, 1, 0]]))
    assert shares["subjects_missing"].tolist() == pytest.approx([1 / 3, 0])
    assert shares["subject_clip_i"].tolist() == [1, 1]
    assert numpy.isnan(metric.pictures(rows)["subjects"][2])
    config = subjects.Options()
    config.against = "auto"
    with pytest.raises(UsageError, match="--against layout"):
        metric.check_options(config)


def test_a_segments_subject_is_looked_up_among_the_references():
    """Ada has pictures of her own; the dog has the source's part of it."""
    source = Known("k", "a.tar", "1", records={"layout.json": scenes.layout()})
    ada = [Known(f"a{n}", "b.tar", f"{n}", subject="Ada") for n in range(2)]
    sample = Known("g", "c.tar", "9", {"source_key": "k"})
    joined = joining._with_references(sample, {"k": source}, {"Ada": ada}, "layout")
    assert joined.queries == ["woman", "dog"]
    assert [[one.key for one, _ in pictures] for pictures in joined.subjects] == [
        ["a0", "a1"],
        ["k"],
    ]
    ((_, boxes),) = joined.subjects[1]
    assert boxes[0] == pytest.approx(scenes.DOG, abs=0.02)
    source.records = {}
    reason = joining._with_references(sample, {"k": source}, {}, "layout")
    assert reason == "its source 'k' has no layout.json"


def test_records_carry_the_word(tmp_path):
    layout = scenes.layout()
    again = records.load(records.Layout, records.dump(layout))
    assert [s.word for s in again.segments] == ["woman", "dog", None]


# ------------------------------------------------------------------ bystanders


def test_bystanders_are_the_faces_that_are_nobodys():
    bystanders = part("metrics", "bystanders")

    def seen(*rows):
        boxes = [[0, 0, 0.5, 0.5]] * len(rows)
        faces = {"embeddings": numpy.array(rows, float).reshape(-1, 2), "boxes": boxes}
        return Picture("p", {"faces": {**faces, "embedded": list(range(len(rows)))}})

    ada = [[seen([1, 0]), seen([1, 0.1])]]
    own, like, unlike = [0.99, 0.05], [0.8, 0.6], [0.0, 1.0]
    pictured = Case("k", "k", "x", seen(like, own, unlike), subjects=ada)
    assert bystanders.of_case(pictured) == pytest.approx([0.829, 0.05], abs=0.01)
    assert bystanders.of_case(Case("k", "k", "x", seen(own), subjects=ada)) == []
    assert bystanders.of_case(Case("k", "k", "x", seen(), subjects=ada)) == []
    assert bystanders.of_case(Case("k", "k", "x", seen(own), subjects=[[seen()]])) is None
    metric = registry.load("metrics", "bystanders")
    rows = metric.rows([pictured, Case("k", "k", "x", seen(own), subjects=ada)], None)
    shares = metric.estimate(rows, numpy.ones((1, 2)))
    assert shares["bystanders"][0] == pytest.approx(0.44, abs=0.01)
    assert shares["bystanders_faces"][0] == 1.0
