"""Metrics against other people's code (torchmetrics, pycocotools, scikit-learn) and by hand."""

from __future__ import annotations

import contextlib
import io
import json
from types import SimpleNamespace

import numpy
import pytest
from parts import part
from standins import Drawn, write_random

from socialcli import backends, records, registry
from socialcli.errors import UsageError
from socialcli.evaluation import bootstrap, gaze_targets, hoi_classes, metrics, run, settings
from socialcli.evaluation.metrics import Case, Context, Picture
from socialcli.evaluation.metrics._average_precision import average_precision

Config = settings.config_type()
CONFIG = Config()
ONES = numpy.ones
METRICS = sorted(registry.available("metrics"))
# What needs more than random pictures and default options: judges that were trained, layouts, a
# split of the references. Each has a test file of its own, and here rows in place of pictures.
ELSEWHERE = {"bystanders", "clip-i-train", "clip-s", "dino-train", "hoi-det", "pose-kp", "pose-s",
             "sas", "subjects"}  # fmt: skip
RANDOM = [name for name in METRICS if name not in ELSEWHERE]

clip_t, clip_i, dino, face, gaze, hoi, fid, kid = (
    part("metrics", name)
    for name in ("clip-t", "clip-i", "dino", "face", "gaze", "hoi", "fid", "kid")
)


def case(name, generated, source=None, subjects=None, text=None, records_=None, prompt="a man"):
    real = Picture(name, source, records_ or {}) if source is not None else None
    subjects = [[Picture(name, source)]] if subjects is None and source is not None else subjects
    return Case(name, name, prompt, Picture(name, generated), text or {}, real, subjects or [])


def vector(*values):
    return {"vector": numpy.array(values, numpy.float32)}


# ---- all metrics --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_is(name: str) -> None:
    metric = metrics.load(name)
    assert registry.module_of(metric).__doc__ and metric.SOURCE
    names = [column.name for column in metric.COLUMNS]
    assert len(set(names)) == len(names)
    for column in metric.COLUMNS:
        assert column.low < column.high and column.better in ("higher", "lower", "")
        assert column.about and column.title and column.unit
    assert set(metric.OPTIONS) <= set(vars(CONFIG))
    needs = metric.needs(CONFIG)
    asked = (*needs.generated, *needs.references, *needs.everything, *needs.text)
    assert asked and set(asked) <= set(registry.available("features"))


@pytest.mark.parametrize("name", sorted(registry.available("features")))
def test_every_feature_says_what_it_is(name: str) -> None:
    feature = registry.load("features", name)
    assert registry.available("features")[name].summary
    assert set(feature.AFTER) <= set(registry.available("features"))
    assert feature.models(CONFIG) or feature.has("load")


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(UsageError) as error:
        metrics.load("clip")
    assert str(error.value).startswith("no metric 'clip'. ")
    assert str(error.value).endswith(f"There are: {', '.join(METRICS)}")


def test_columns_are_distinct_over_all_metrics() -> None:
    names = [c.name for name in METRICS for c in metrics.load(name).COLUMNS]
    assert len(set(names)) == len(names)


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """A metric's name -> the score of twelve random pictures, of which one cannot be judged."""
    monkeypatch.setattr(backends, "load", lambda spec: Drawn(spec.role))
    monkeypatch.setattr(
        backends, "info", lambda role, name: backends.BackendInfo("stand-in", "none")
    )
    generated, reference = write_random(tmp_path, 12, seed=5)

    def score(name: str) -> run.Score:
        config = Config(metrics=name, device="cpu", dtype="float32")
        options = run.Options([str(reference)], resamples=0, quiet=True, max_error_rate=1)
        return run.score([str(generated)], str(tmp_path / "out"), config, options)

    return score


@pytest.mark.parametrize("name", [n for n in RANDOM if n != "kid"])
def test_counting_a_picture_twice_is_having_it_twice(name: str, scored) -> None:
    """What a bootstrap rests on: resampling by counts is resampling the pictures themselves.

    KID is no such figure: it never compares a picture with itself, even when it was drawn twice.
    """
    metric, score = metrics.load(name), scored(name)
    n = len(score.cases)
    rng = numpy.random.default_rng(5)
    counts = numpy.array([rng.multinomial(n, ONES(n) / n) for _ in range(4)])
    counted = metric.estimate(score.rows[name], counts.astype(float))
    assert set(counted) == {column.name for column in metric.COLUMNS}
    numbers = [value for values in counted.values() for value in values]
    assert any(numpy.isfinite(numbers)) and len(set(numbers)) > 1
    for number, row in enumerate(counts):
        repeated = [score.cases[i] for i in numpy.repeat(numpy.arange(n), row)]
        rows = metric.rows(repeated, score.contexts[name])
        plain = metric.estimate(rows, ONES((1, n)))
        for column, values in counted.items():
            assert values.shape == (4,)
            assert values[number] == pytest.approx(plain[column][0], rel=1e-4, nan_ok=True), column


@pytest.mark.parametrize("name", RANDOM)
def test_nothing_counted_is_no_number(name: str, scored) -> None:
    score = scored(name)
    nothing = numpy.zeros((1, len(score.cases)))
    for values in metrics.load(name).estimate(score.rows[name], nothing).values():
        assert numpy.isnan(values).all()


# What the rows of those that are tested elsewhere hold, a number a picture.
ROWS = {
    "bystanders": ("total", "faces"),
    "clip-i-train": ("cosine", "gap"),
    "clip-s": ("cosine",),
    "dino-train": ("cosine", "gap"),
    "sas": ("cosine",),
    "subjects": ("wanted", "price", "missing", "surplus", "hybrid", "swapped", "cosine"),
    **dict.fromkeys(
        ("pose-kp", "pose-s"),
        ("right", "judged", "bodies", "known", "held_out", "exemplars", "classes"),
    ),
}


def test_every_metric_is_resampled_in_some_test() -> None:
    # The rows of hoi-det are pairs, not pictures; test_hoi_det.py resamples it.
    assert set(ROWS) == ELSEWHERE - {"hoi-det"}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_counting_a_row_twice_is_having_it_twice(name: str) -> None:
    """The same of those that need more than random pictures, from random rows. The judge's own
    accuracy is the same whatever is counted."""
    metric, n, rng = metrics.load(name), 12, numpy.random.default_rng(7)
    rows = {key: rng.uniform(0.1, 3, n) for key in ROWS[name]}
    if "held_out" in rows:
        rows |= {"judged": numpy.arange(n) % 3 > 0, "held_out": numpy.full(n, 0.9)}
        rows["right"] = rows["judged"] & (rng.uniform(size=n) > 0.5)
    else:
        for values in rows.values():
            values[3] = numpy.nan  # a picture that could not be judged
    rows = {key: values.astype(float) for key, values in rows.items()}
    counts = numpy.array([*(rng.multinomial(n, ONES(n) / n) for _ in range(4)), [0] * n])
    counted = metric.estimate(rows, counts.astype(float))
    assert set(counted) == {column.name for column in metric.COLUMNS}
    for column, values in counted.items():
        assert values.shape == (5,)
        if not column.endswith("_held_out"):
            assert numpy.isnan(values[4]) and len(set(values[:4])) == 4, column
        for number, row in enumerate(counts[:4]):
            repeated = {key: numpy.repeat(value, row) for key, value in rows.items()}
            plain = metric.estimate(repeated, ONES((1, n)))[column]
            assert values[number] == pytest.approx(plain[0], rel=1e-9), column


@pytest.mark.parametrize("name", RANDOM)
def test_a_picture_that_no_model_could_see_is_left_out(name: str, scored) -> None:
    score = scored(name)
    assert {one.key for one in score.lost} == {"s3"}
    for column in metrics.load(name).COLUMNS:
        assert score.columns[column.name]["n"] <= 11


# ---- CLIP-T, CLIP-I, DINO -----------------------------------------------------------------------


def test_clip_t_by_hand() -> None:
    half = vector(1, numpy.sqrt(3))  # at 60 degrees of (1, 0), not of length 1
    cases = [
        case("a", {"clip": vector(2, 0)}, text={"clip-text": half}),
        case("b", {"clip": vector(-1, 0)}, text={"clip-text": vector(1, 0)}),
        case("c", {}, text={"clip-text": half}),
    ]
    rows = clip_t.rows(cases, Context(CONFIG))
    assert rows["cosine"][:2] == pytest.approx([0.5, -1])
    assert numpy.isnan(rows["cosine"][2])
    values = clip_t.estimate(rows, ONES((1, 3)))
    assert values["clip_t"][0] == pytest.approx(-0.25)
    assert values["clip_t_score"][0] == pytest.approx((2.5 * 0.5 + 0) / 2)


def test_likeness_is_over_pairs_then_subjects() -> None:
    subjects = [
        [Picture("1", {"clip": vector(1, 0)}), Picture("2", {"clip": vector(0, 1)})],
        [Picture("3", {"clip": vector(-1, 0)}), Picture("4", {})],
        [Picture("5", {})],
    ]
    rows = clip_i.rows([case("a", {"clip": vector(3, 0)}, subjects=subjects)], Context(CONFIG))
    assert rows["cosine"][0] == pytest.approx(((1 + 0) / 2 + -1) / 2)


def test_crops_ask_for_other_features() -> None:
    config = Config(crops="both")
    assert dino.needs(config).generated == ("dino-found",)
    assert dino.needs(config).references == ("dino-subjects",)
    both = {"vector": numpy.array([[1, 0], [0, 1]], numpy.float32)}
    real = [[Picture("r", {"dino-subjects": {"vector": numpy.array([[0, 2.0]])}})]]
    rows = dino.rows([case("a", {"dino-found": both}, subjects=real)], Context(config))
    assert rows["cosine"][0] == pytest.approx(1)  # the crop that is this subject


def test_clip_score_is_torchmetrics_definition() -> None:
    """torchmetrics' CLIPScore is 100 * max(cosine, 0): the same but for the factor."""
    rng = numpy.random.default_rng(0)
    pictures, texts = rng.normal(size=(2, 50, 16)).astype(numpy.float32)
    cases = [
        case(str(n), {"clip": {"vector": p}}, text={"clip-text": {"vector": t}})
        for n, (p, t) in enumerate(zip(pictures, texts, strict=True))
    ]
    values = clip_t.estimate(clip_t.rows(cases, Context(CONFIG)), ONES((1, 50)))
    import torch

    cosine = torch.nn.functional.cosine_similarity(
        torch.from_numpy(pictures), torch.from_numpy(texts)
    )
    assert values["clip_t"][0] == pytest.approx(float(cosine.mean()), abs=1e-6)
    assert values["clip_t_score"][0] == pytest.approx(float(2.5 * cosine.clamp(0).mean()), abs=1e-6)


# ---- faces --------------------------------------------------------------------------------------


def test_greedy_matching_takes_the_best_pair_first() -> None:
    # The best assignment in sum would be 0.8 + 0.7; greedy takes 0.9 first, and 0.1 is left.
    assert face.match(numpy.array([[0.9, 0.8], [0.7, 0.1]])) == [(0, 0), (1, 1)]
    assert face.match(numpy.array([[0.1], [0.5], [0.2]])) == [(1, 0)]
    assert face.match(numpy.zeros((0, 3))) == []


def test_greedy_matching_agrees_with_the_slow_way() -> None:
    rng = numpy.random.default_rng(1)
    for _ in range(50):
        table = rng.normal(size=rng.integers(1, 6, 2))
        left, slow = table.copy(), []
        while numpy.isfinite(left).any():
            row, column = numpy.unravel_index(numpy.argmax(left), left.shape)
            slow.append((row, column))
            left[row], left[:, column] = -numpy.inf, -numpy.inf
        assert face.match(table) == slow


def faces(*rows):
    return {"faces": {"embeddings": numpy.array(rows, numpy.float32).reshape(-1, 2)}}


def test_faces_by_hand() -> None:
    cases = [
        case("a", faces((1, 0), (0, 2)), faces((5, 0), (3, 4))),  # 1 and 0.8
        case("b", faces(), faces((1, 0))),  # nobody was drawn
        case("c", faces((1, 0)), faces()),  # nobody was there
        case("d", faces((-1, 0), (0, 1)), faces((1, 0), (1, 0), (1, 0))),  # 0, then -1
        case("e", {}, faces((1, 0))),  # not readable
    ]
    rows = face.rows(cases, Context(CONFIG))
    values = {k: v[0] for k, v in face.estimate(rows, ONES((1, 5))).items()}
    assert values["face"] == pytest.approx((1 + 0.8 + 0 - 1) / 4)
    assert values["face_all"] == pytest.approx((1 + 0.8 + 0 - 1) / 6)
    assert values["face_found"] == pytest.approx(4 / 6)
    own = face.pictures(rows)["face"]
    assert own[[0, 3]] == pytest.approx([0.9, -0.5])
    assert numpy.isnan(own[[1, 2, 4]]).all()
    assert "in 1 pictures that should show a face none was found" in face.notes(rows)[0]


# ---- gaze ---------------------------------------------------------------------------------------


def scene(targets, boxes, own=None):
    """A source picture: gaze points, and (label, xyxy) boxes numbered from 1."""
    people = [
        records.Person(n + 1, box=own, gaze=records.Gaze(point=point, inside=True))
        for n, point in enumerate(targets)
    ]
    numbered = [records.Box(n + 1, xyxy, label) for n, (label, xyxy) in enumerate(boxes)]
    return {
        "people.json": records.People(8, 8, people),
        "boxes.json": records.Boxes(8, 8, numbered),
    }


def looking(points, objects):
    return {"gaze": {"points": points}, "gaze-objects": {"boxes": objects}}


WHOLE, LEFT, RIGHT = (0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)


def test_a_gaze_target_is_the_smallest_box_around_it() -> None:
    one = scene([(0.2, 0.5)], [("Table", WHOLE), ("cup", LEFT), ("dog", RIGHT)])
    assert gaze_targets.targets(one["people.json"], one["boxes.json"]) == ["cup"]
    beside = scene([(0.7, 0.5)], [("Table", WHOLE)])
    assert gaze_targets.targets(beside["people.json"], beside["boxes.json"]) == ["table"]
    own = scene([(0.2, 0.5)], [("man", LEFT)], own=1)  # inside the looker's own body only
    assert gaze_targets.targets(own["people.json"], own["boxes.json"]) == []


def test_a_target_outside_the_picture_is_left_out() -> None:
    one = scene([(0.2, 0.5)], [("cup", LEFT)])
    one["people.json"].people[0].gaze.inside = False
    assert gaze_targets.targets(one["people.json"], one["boxes.json"]) == []


def test_an_unlabelled_box_goes_by_its_entity() -> None:
    one = scene([(0.2, 0.5)], [("", LEFT)])
    assert gaze_targets.targets(one["people.json"], one["boxes.json"]) == []
    one["boxes.json"].boxes[0].entity = 4
    entities = records.Entities([records.Entity(4, "two Cups", "Cups", "cup", 0, 8, "object")])
    assert gaze_targets.targets(one["people.json"], one["boxes.json"], entities) == ["cup"]


def test_gaze_by_hand() -> None:
    cup = scene([(0.2, 0.5)], [("cup", LEFT), ("dog", RIGHT)])
    both = scene([(0.2, 0.5), (0.9, 0.5)], [("cup", LEFT), ("dog", RIGHT)])
    none = scene([(0.2, 0.5)], [("cup", RIGHT)])
    cases = [
        # three heads: at the cup (which stands on the right here), at nothing, not readable
        case("a", looking([[0.9, 0.1], [0.1, 0.1], None], [["cup", RIGHT]]), {}, records_=cup),
        # two targets, one head, and it looks at both things at once
        case("b", looking([[0.6, 0.1]], [["cup", RIGHT], ["dog", RIGHT]]), {}, records_=both),
        case("c", looking([], [["cup", LEFT]]), {}, records_=cup),  # nobody was drawn
        case("d", looking([[0.1, 0.1]], [["cup", LEFT]]), {}, records_=none),  # no target in a box
        case("e", looking([[0.1, 0.1]], [["dog", LEFT]]), {}, records_=cup),  # at a wrong thing
        case("f", {}, {}, records_=cup),  # the detector failed
    ]
    rows = gaze.rows(cases, Context(CONFIG))
    values = {k: v[0] for k, v in gaze.estimate(rows, ONES((1, 6))).items()}
    assert values["gaze"] == pytest.approx(100 * (1 + 1 + 0) / (3 + 1 + 1))
    assert values["gaze_targets"] == pytest.approx(100 * (1 + 1 + 0 + 0) / (1 + 2 + 1 + 1))
    assert values["gaze_heads"] == pytest.approx(100 * (1 + 1 + 0 + 1) / 5)
    assert rows["excluded"].sum() == 1


def test_each_head_serves_one_target() -> None:
    # Greedy would give the first head to "cup" and leave "dog" without one.
    assert gaze.served([{"cup", "dog"}, {"cup"}], ["cup", "dog"]) == 2
    assert gaze.served([{"cup"}], ["cup", "cup"]) == 1
    assert gaze.served([set(), {"cat"}], ["cup"]) == 0
    from itertools import permutations

    rng = numpy.random.default_rng(2)
    for _ in range(60):
        looks = [set(rng.choice(list("abc"), rng.integers(0, 3))) for _ in range(3)]
        wanted = list(rng.choice(list("abc"), rng.integers(1, 4)))
        best = max(
            sum(w in looks[h] for w, h in zip(wanted, order, strict=False))
            for order in permutations(range(3))
        )
        assert gaze.served(looks, wanted) == best


# ---- HOI ----------------------------------------------------------------------------------------


def hoi_rows(rng, pictures: int, classes: int, points: int = 11) -> dict[str, numpy.ndarray]:
    predicted, true = rng.integers(0, 40, 2) + 30
    return {
        "found_picture": rng.integers(0, pictures, predicted),
        "found_class": rng.integers(0, classes, predicted),
        "found_score": rng.permutation(predicted) / predicted,  # no two are equal
        "true_picture": rng.integers(0, pictures, true),
        "true_class": rng.integers(0, classes, true),
        "rare": numpy.arange(classes) < 2,
        "people": numpy.arange(classes) == 1,
        "has_rare": numpy.array(True),
        "floats": numpy.array(False),
        "judged": ONES(pictures, bool),
        "unknown": numpy.array(0),
        "points": numpy.array(points),
    }


def test_eleven_point_ap_by_hand() -> None:
    # Ranked: right, wrong, right, wrong; three are to be found.
    # Recalls 1/3, 1/3, 2/3, 2/3 at precisions 1, 1/2, 2/3, 1/2.
    # Recalls 0, .1, .2, .3 -> 1; .4, .5, .6 -> 2/3; .7 ... 1 -> 0.
    args = (numpy.array([0.9, 0.8, 0.7, 0.1]), numpy.array([True, False, True, False]))
    eleven = average_precision(*args, ONES((1, 4)), numpy.array([3.0]))
    assert eleven[0] == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)
    every = average_precision(*args, ONES((1, 4)), numpy.array([3.0]), 0)
    assert every[0] == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)


def test_a_recall_that_is_just_reached_counts() -> None:
    """3 of 10 found is a recall of 0.3, although 3/10 is smaller than 0.1 * 3 in floats."""
    precision = average_precision(numpy.ones(1), ONES(1, bool), 3 * ONES((1, 1)), numpy.array([10]))
    assert precision[0] == pytest.approx(4 / 11)


def test_order_of_equal_scores_decides_nothing() -> None:
    right = numpy.array([True, False, False, True])
    values = {
        float(average_precision(numpy.ones(4), r, ONES((1, 4)), numpy.array([2.0]))[0])
        for r in (right, right[::-1], numpy.sort(right))
    }
    assert values == {0.5}


def test_ap_agrees_with_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = numpy.random.default_rng(3)
    for _ in range(30):
        n = int(rng.integers(5, 60))
        scores = rng.integers(0, 8, n) / 8  # many equal ones
        right = rng.random(n) < 0.4
        right[0] = True
        precision, recall, _ = sklearn.precision_recall_curve(right, scores)
        eleven = [
            precision[:-1][recall[:-1] >= t - 1e-9].max(initial=0)
            for t in numpy.arange(11) / 10
        ]  # fmt: skip
        got = average_precision(scores, right, ONES((1, n)), numpy.array([right.sum()]))
        assert got[0] == pytest.approx(numpy.mean(eleven))
        # Without interpolation its average precision can only be lower.
        every = average_precision(scores, right, ONES((1, n)), numpy.array([right.sum()]), 0)
        assert every[0] >= sklearn.average_precision_score(right, scores) - 1e-9


def every_recall(scores, right, counts, positives) -> float:
    """11-point AP of one way of counting, by the definition: each prediction as often as counted,
    the best precision at each recall or more."""
    points = []
    for least in sorted(set(scores.tolist()), reverse=True):
        there = scores >= least
        hits, asked = counts[there & right].sum(), counts[there].sum()
        points.append((hits, hits / asked if asked else 0.0))
    best = [
        max((p for hits, p in points if 10 * hits >= step * positives), default=0.0)
        for step in range(11)
    ]
    return sum(best) / 11


def test_every_way_of_counting_is_as_if_it_were_the_only_one() -> None:
    rng = numpy.random.default_rng(5)
    for trial in range(40):
        n = int(rng.integers(1, 30))
        scores = rng.integers(0, 9, n) / 9
        right = rng.random(n) < (0.0, 0.2, 0.6)[trial % 3]
        counts = rng.integers(0, 3, (6, n)).astype(float)
        positives = (counts * right).sum(1) + rng.integers(0, 3)
        got = average_precision(scores, right, counts, positives)
        for row, value in enumerate(got):
            if positives[row]:
                own = every_recall(scores, right, counts[row], positives[row])
                assert value == pytest.approx(own, abs=1e-12)
            else:
                assert numpy.isnan(value)


def coco_ap(predicted, true, pictures: int, classes: int) -> numpy.ndarray:
    """11-point AP of each class by pycocotools, with every box in the same place: detections and
    annotations of a picture match whatever they are, each once, the best-scored first."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    box = {"bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0}
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": n + 1} for n in range(pictures)],
        "categories": [{"id": c + 1} for c in range(classes)],
        "annotations": [
            {"id": n + 1, "image_id": int(p) + 1, "category_id": int(c) + 1, **box}
            for n, (p, c) in enumerate(true)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        detected = truth.loadRes(
            [
                {"image_id": int(p) + 1, "category_id": int(c) + 1, "score": float(s), **box}
                for p, c, s in predicted
            ]
        )
        judge = COCOeval(truth, detected, "bbox")
        judge.params.iouThrs = numpy.array([0.5])
        judge.params.recThrs = numpy.linspace(0, 1, 11) - 1e-9  # 3 of 10 is a recall of 0.3
        judge.params.maxDets = [1000]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e5]], ["all"]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][0, :, :, 0, 0]
    return numpy.where(precision.min(0) < 0, numpy.nan, precision.mean(0))


@pytest.mark.parametrize("seed", range(6))
def test_hoi_agrees_with_pycocotools(seed: int) -> None:
    rng = numpy.random.default_rng(seed)
    n, classes = 12, 5
    rows = hoi_rows(rng, n, classes)
    predicted = list(
        zip(rows["found_picture"], rows["found_class"], rows["found_score"], strict=True)
    )  # fmt: skip
    true = list(zip(rows["true_picture"], rows["true_class"], strict=True))
    pairs = hoi.per_class(rows, ONES((1, n)), "pair")[0]
    assert pairs == pytest.approx(coco_ap(predicted, true, n, classes), nan_ok=True)
    best: dict = {}
    for p, c, s in predicted:
        best[p, c] = max(s, best.get((p, c), 0))
    single = [(p, c, s) for (p, c), s in best.items()]
    pictures = hoi.per_class(rows, ONES((1, n)), "picture")[0]
    assert pictures == pytest.approx(coco_ap(single, sorted(set(true)), n, classes), nan_ok=True)
    total = {k: v[0] for k, v in hoi.estimate(rows, ONES((1, n))).items()}
    assert total["hoi_pairs"] == pytest.approx(100 * numpy.nanmean(pairs))
    assert total["hoi_pairs_rare"] == pytest.approx(100 * numpy.nanmean(pairs[:2]))
    assert total["hoi_nonrare"] == pytest.approx(100 * numpy.nanmean(pictures[2:]))
    assert total["hoi_people"] == pytest.approx(100 * pictures[1], nan_ok=True)


def interactions(*named, numbers=None):
    acts = [
        records.Interaction(n + 1, verb, object_label=thing, hoi=numbers[n] if numbers else None)
        for n, (verb, thing) in enumerate(named)
    ]
    return {"interactions.json": records.Interactions(acts)}


def test_hoi_rows_from_records() -> None:
    seen = {"interactions": {"pairs": [["ride", "horse", None, 0.9], ["eat", "car", None, 0.8]]}}
    ride = interactions(("ride", "horse"), ("ride", "horse"), ("fly", "pig"))
    cases = [
        case("a", seen, {}, records_=ride),
        case("b", seen, {}, records_=interactions()),  # nothing annotated: left out
        case("c", {}, {}, records_=ride),  # the recogniser failed: left out
    ]
    table = hoi_classes.Classes([("ride", "horse"), ("eat", "apple")], {1}, "file")
    context = Context(SimpleNamespace(hoi_ap="11"), classes=table)
    rows = hoi.rows(cases, context)
    assert rows["judged"].tolist() == [True, False, False]
    assert list(rows["true_class"]) == [0, 0]
    assert list(rows["found_class"]) == [0]  # "eat car" is no class
    assert rows["unknown"] == 1
    values = {k: v[0] for k, v in hoi.estimate(rows, ONES((1, 3))).items()}
    assert values["hoi"] == pytest.approx(100)
    assert values["hoi_pairs"] == pytest.approx(100 * 6 / 11)  # one of two pairs found
    assert numpy.isnan(values["hoi_rare"])
    assert hoi.pictures(rows)["hoi"][0] == pytest.approx(90)
    notes = hoi.notes(rows)
    assert "1 pictures, 2 annotated and 1 predicted pairs" in notes[0]
    assert "1 annotated pairs belong to no class" in notes[1]


def test_hoi_classes_are_recognised() -> None:
    from socialcli.miniature.world.vocabulary import PAIRS
    from socialcli.records import hico

    ride = next(c for c in hico.classes() if (c.verb, c.object) == ("ride", "horse"))
    known = interactions(("ride", "horse"), numbers=[ride.number])["interactions.json"]
    table = hoi_classes.classes("auto", [known.interactions])
    assert table.known == "hico-det" and len(table.names) == 600 and len(table.rare) == 138
    pair = next(p for p in PAIRS if p.verb == "kick")
    known = interactions(("kick", pair.object), numbers=[pair.hoi])["interactions.json"]
    assert hoi_classes.classes("auto", [known.interactions]).known == "world"
    other = interactions(("ride_on", "Dragon"))["interactions.json"]
    table = hoi_classes.classes("auto", [other.interactions])
    assert table.names == [("ride on", "dragon")] and not table.has_rare
    with pytest.raises(UsageError, match="no such file"):
        hoi_classes.classes("coco", [])


def test_hoi_classes_from_a_file(tmp_path) -> None:
    file = tmp_path / "classes.json"
    file.write_text('{"classes": [["ride", "horse"], ["eat", "apple"]], "rare": [2]}')
    table = hoi_classes.classes(str(file), [])
    assert table.rare == {1} and table.of("eat", "apple", None) == 1
    assert table.of("devour", "apple", 2) == 1  # other words, the same number
    file.write_text('{"classes": 3}')
    with pytest.raises(UsageError, match="expected"):
        hoi_classes.classes(str(file), [])


@pytest.mark.parametrize(
    ("classes", "rare", "why"),
    [
        ([["ride", "horse"], ["eat", "apple"]], [0], "rare classes are numbers from 1 to 2"),
        ([["ride", "horse"], ["eat", "apple"]], [3], "rare classes are numbers from 1 to 2"),
        ([["ride_on", "horse"], ["Ride on", "horse"]], [1], "ride on horse is there twice"),
        ([], [], "no classes"),
    ],
)
def test_hoi_classes_that_would_be_other_ones(tmp_path, classes, rare, why) -> None:
    """Counted from 0, or named twice: figures of rare classes were of none, or of others."""
    file = tmp_path / "classes.json"
    file.write_text(json.dumps({"classes": classes, "rare": rare}))
    with pytest.raises(UsageError, match=why):
        hoi_classes.classes(str(file), [])


# ---- FID and KID --------------------------------------------------------------------------------


def clouds(n=60, m=80, width=12, seed=0):
    rng = numpy.random.default_rng(seed)
    mixing = rng.normal(size=(width, width))
    drawn = (rng.normal(size=(n, width)) @ mixing + 0.5).astype(numpy.float32)
    return drawn, rng.normal(size=(m, width)).astype(numpy.float32)


@pytest.mark.parametrize("n", [60, 8])  # more and fewer pictures than features
def test_fid_agrees_with_the_definition(n: int) -> None:
    scipy_linalg = pytest.importorskip("scipy.linalg")
    drawn, theirs = clouds(n)
    a, b = (numpy.cov(x.astype(float), rowvar=False) for x in (drawn, theirs))
    root = scipy_linalg.sqrtm(a @ b).real
    apart = drawn.astype(float).mean(0) - theirs.astype(float).mean(0)
    want = apart @ apart + numpy.trace(a + b - 2 * root)
    assert fid.weighted(drawn, theirs, ONES(n)) == pytest.approx(want, rel=1e-4)


def test_fid_agrees_with_torchmetrics() -> None:
    pytest.importorskip("torchmetrics")
    drawn, theirs = clouds()
    got = fid.by_library(drawn, theirs, ONES(len(drawn)))
    assert fid.weighted(drawn, theirs, ONES(len(drawn))) == pytest.approx(got, rel=1e-4)
    rows = {"generated": drawn, "reference": theirs}
    assert fid.estimate(rows, ONES((1, len(drawn))))["fid"][0] == pytest.approx(got)


@pytest.mark.parametrize("sizes", [(50, 50), (40, 70)])
def test_kid_agrees_with_torchmetrics(sizes) -> None:
    pytest.importorskip("torchmetrics")
    drawn, theirs = clouds(*sizes)
    got = kid.by_library(drawn, theirs)
    again = kid.by_library(drawn, theirs)
    want = kid.weighted(drawn, theirs, ONES((1, len(drawn))))[0]
    assert got == again  # its subsets come from a fixed seed
    assert want == pytest.approx(got, rel=1e-9 if sizes[0] == sizes[1] else 0.1)


def test_kid_is_unbiased_under_resampling() -> None:
    """The mean over bootstrap resamples stays at the estimate, where FID's rises."""
    drawn, theirs = clouds(40, 200, 4)
    rows = {"generated": drawn, "reference": theirs}
    counts = numpy.random.default_rng(0).multinomial(40, ONES(40) / 40, 400).astype(float)
    plain = kid.weighted(drawn, theirs, ONES((1, 40)))[0]
    spread = kid.estimate(rows, counts)["kid"]
    assert abs(spread.mean() - plain) < 3 * spread.std() / 20
    distances = fid.estimate(rows, counts[:100])["fid"]
    assert distances.mean() > fid.weighted(drawn, theirs, ONES(40))


def test_fid_of_too_few_pictures_is_none() -> None:
    drawn, theirs = clouds(1, 5)
    for metric, name in ((fid, "fid"), (kid, "kid")):
        rows = {"generated": drawn, "reference": theirs}
        assert numpy.isnan(metric.estimate(rows, ONES((2, 1)))[name]).all()


def test_fid_says_when_pictures_are_few() -> None:
    drawn, theirs = clouds(8, 80)
    assert "far too high" in fid.notes({"generated": drawn, "reference": theirs})[1]


# ---- bootstrap ----------------------------------------------------------------------------------


def mean_of(values):
    from socialcli.evaluation.metrics import _means

    return lambda counts: {"x": _means.mean(values, counts)}


def test_intervals_are_scipys() -> None:
    from scipy import stats

    values = numpy.random.default_rng(7).gamma(2, size=37)
    drawn = bootstrap.resampled(mean_of(values), numpy.arange(37), 37, 1000, seed=11)["x"]
    got = bootstrap.interval(drawn, values.mean())
    want = stats.bootstrap(
        (values,), numpy.mean, n_resamples=1000, method="percentile", vectorized=True,
        rng=numpy.random.default_rng(11),
    )  # fmt: skip
    assert got.low == pytest.approx(want.confidence_interval.low, abs=1e-12)
    assert got.high == pytest.approx(want.confidence_interval.high, abs=1e-12)
    assert drawn.std(ddof=1) == pytest.approx(want.standard_error)


def test_a_centred_interval_is_about_the_figure() -> None:
    """A biased statistic: the resamples of a variance lie below it by (n - 1) / n."""
    values = numpy.random.default_rng(7).gamma(2, size=12)

    def variance(counts):
        n = counts.sum(1)
        mean = counts @ values / n
        return {"x": counts @ values**2 / n - mean**2}

    drawn = bootstrap.resampled(variance, numpy.arange(12), 12, 2000, 0)["x"]
    assert drawn.mean() < 0.97 * values.var()
    plain = bootstrap.interval(drawn, values.var())
    got = bootstrap.interval(drawn, values.var(), "centred")
    moved = values.var() - drawn.mean()
    assert got.low == pytest.approx(plain.low + moved)
    assert got.high == pytest.approx(plain.high + moved)
    apart = bootstrap.difference(numpy.zeros(2000), drawn, values.var(), numpy.zeros(2), "centred")
    assert apart.low == pytest.approx(got.low) and apart.high == pytest.approx(got.high)
    assert got.within(0.5, 0.6) == bootstrap.Interval(0.5, 0.6, 2000)


def test_paired_differences_are_scipys() -> None:
    from scipy import stats

    rng = numpy.random.default_rng(8)
    first = rng.normal(size=50)
    second = first + 0.1 + 0.2 * rng.normal(size=50)
    drawn = [
        bootstrap.resampled(mean_of(v), numpy.arange(50), 50, 2000, seed=3)["x"]
        for v in (first, second)
    ]
    by_chance = exchanged(first, second, 2000, seed=3)
    got = bootstrap.difference(*drawn, second.mean() - first.mean(), by_chance)
    want = stats.bootstrap(
        (first, second), lambda a, b, axis: b.mean(axis) - a.mean(axis), n_resamples=2000,
        method="percentile", paired=True, vectorized=True, rng=numpy.random.default_rng(3),
    )  # fmt: skip
    assert got.low == pytest.approx(want.confidence_interval.low, abs=1e-12)
    assert got.high == pytest.approx(want.confidence_interval.high, abs=1e-12)
    far = (numpy.abs(by_chance) >= got.value).sum()
    assert got.p == pytest.approx((1 + far) / 2001)


def test_chunks_change_nothing() -> None:
    whole = numpy.random.default_rng(0).integers(0, 9, (bootstrap.CHUNK + 50, 9))
    drawn = numpy.concatenate(list(bootstrap.draws(9, bootstrap.CHUNK + 50, 0)))
    assert (drawn == [numpy.bincount(row, minlength=9) for row in whole]).all()


def test_pictures_of_one_source_are_drawn_together() -> None:
    values = numpy.array([0.0, 0.0, 1.0, 1.0])
    alone = bootstrap.resampled(mean_of(values), numpy.arange(4), 4, 500, 0)["x"]
    together = bootstrap.resampled(mean_of(values), numpy.array([0, 0, 1, 1]), 2, 500, 0)["x"]
    assert set(together) == {0.0, 0.5, 1.0}
    assert together.std() > 1.3 * alone.std()
    left_out = bootstrap.resampled(mean_of(values), numpy.array([0, -1, 1, -1]), 2, 100, 0)["x"]
    assert set(left_out) == {0.0, 0.5, 1.0}


def exchanged(first: numpy.ndarray, second: numpy.ndarray, times: int, seed: int) -> numpy.ndarray:
    """Differences of means once pictures have changed sides, each of a source of its own."""
    both = mean_of(numpy.concatenate([first, second]))
    places = (numpy.arange(len(first)), numpy.arange(len(second)))
    return bootstrap.exchanged(both, places, len(first), times, seed)["x"]


def test_p_values_are_those_of_all_exchanges() -> None:
    """Of nine pairs there are 512: scipy goes through them all, ours draws many of them."""
    from scipy import stats

    rng = numpy.random.default_rng(5)
    for shift in (0.3, 0.9):
        first = rng.normal(size=9)
        second = first + shift + rng.normal(size=9)
        want = stats.permutation_test(
            (first, second), lambda a, b, axis: b.mean(axis) - a.mean(axis), vectorized=True,
            permutation_type="samples", n_resamples=numpy.inf,
        )  # fmt: skip
        by_chance = exchanged(first, second, 20_000, seed=1)
        got = bootstrap.difference(first, second, want.statistic, by_chance).p
        assert got == pytest.approx(want.pvalue, abs=0.012)


def test_pictures_of_one_source_change_sides_together() -> None:
    values = numpy.array([0.0, 0.0, 4.0, 1.0, 1.0, 8.0])  # two pictures of source 0, one of 1
    places = (numpy.array([0, 0, 1]), numpy.array([0, 0, 1]))
    drawn = bootstrap.exchanged(mean_of(values), places, 2, 400, 0)["x"]
    assert set(numpy.round(drawn, 6)) == {2.0, -2.0, 0.666667, -0.666667}
    alone = (numpy.array([0, -1, 1]), numpy.array([0, -1, 1]))
    drawn = bootstrap.exchanged(mean_of(values), alone, 2, 400, 0)["x"]
    assert set(numpy.round(drawn, 6)) == {2.5, -2.5, 1.5, -1.5}, "left out is left out"


def test_p_values_are_uniform_without_a_difference() -> None:
    """Of methods that are equal, about one in twenty is called different, not more."""
    rng = numpy.random.default_rng(0)
    low = 0
    for seed in range(120):
        pair = rng.normal(size=(2, 40))
        drawn = [
            bootstrap.resampled(mean_of(v), numpy.arange(40), 40, 200, seed)["x"] for v in pair
        ]
        by_chance = exchanged(*pair, 200, seed)
        p = bootstrap.difference(*drawn, pair[1].mean() - pair[0].mean(), by_chance).p
        low += p is not None and p < 0.05
    assert low <= 14  # 6 expected; more than 14 has a chance of 0.1 %


def test_half_of_the_resamples_suffice_and_ties_count() -> None:
    nan = numpy.nan
    half, fewer = numpy.array([1.0, 2.0, nan, nan]), numpy.array([1.0, nan])
    assert bootstrap.interval(half, 1.5).resamples == 2
    assert bootstrap.interval(half, 1.5).low == pytest.approx(1.025)
    assert bootstrap.difference(numpy.zeros(4), half, 1.5, half).low == pytest.approx(1.025)
    assert bootstrap.interval(fewer, 1.0).low is None  # one value has no spread
    assert bootstrap.difference(numpy.zeros(2), fewer, 1.0, half).low is None
    assert bootstrap.difference(numpy.zeros(4), half, 1.5, half).p == pytest.approx(2 / 3)
    assert bootstrap.difference(numpy.zeros(4), half, 1.5, fewer).p is None
    assert bootstrap.difference(numpy.zeros(9), numpy.zeros(9), 0.0, numpy.zeros(9)).p == 1.0


def test_nothing_to_judge_is_no_interval() -> None:
    nothing = numpy.full(10, numpy.nan)
    assert bootstrap.interval(nothing, numpy.nan).low is None
    assert bootstrap.difference(nothing, numpy.zeros(10), 0.0, nothing).p is None


def test_holm_by_hand() -> None:
    assert bootstrap.holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert bootstrap.holm([0.6, 0.7]) == [1.0, 1.0]
