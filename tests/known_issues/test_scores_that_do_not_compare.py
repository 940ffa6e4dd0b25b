"""Scores were compared though what they had been measured with was not the same: other thresholds
of what is looked for in the pictures, other reference pictures of FID and KID. Only models and the
metrics' own options were looked at. One score given twice filled one row of the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest

from socialcli.errors import UsageError
from socialcli.evaluation import compare, metrics

RNG = numpy.random.default_rng(0)
CLOUD = RNG.normal(size=(12, 4)).astype(numpy.float32)
UNITS = numpy.array([f"u{n}" for n in range(6)])
CONFIG = {"box_threshold": 0.35, "face_threshold": 0.5, "fid_features": "clip"}


def folder(place: Path, metric: str, rows: dict[str, Any], **config: Any) -> str:
    (place / "rows").mkdir(parents=True)
    body = {"title": place.name, "metrics": {metric: ""}, "models": {}, "config": CONFIG | config}
    (place / "score.json").write_text(json.dumps(body))
    numpy.savez(place / "rows" / f"{metric}.npz", unit=UNITS, **rows)
    return str(place)


def counts(**changed: float) -> dict[str, numpy.ndarray]:
    names = ("heads", "right", "targets", "served", "able", "excluded")
    return {name: numpy.full(len(UNITS), changed.get(name, 1.0)) for name in names}


def clouds(reference: numpy.ndarray) -> dict[str, numpy.ndarray]:
    return {"generated": CLOUD[: len(UNITS)], "reference": reference}


def test_other_thresholds_of_what_is_looked_for(tmp_path):
    first = folder(tmp_path / "a", "gaze", counts())
    same = folder(tmp_path / "b", "gaze", counts(right=0.5), hoi_box_threshold=0.9)
    assert compare.compare([first, same], resamples=0)["units"] == len(UNITS)
    for name in ("box_threshold", "face_threshold"):  # of its objects, and of the faces below heads
        other = folder(tmp_path / name, "gaze", counts(), **{name: 0.1})
        flag = name.replace("_", "-")
        with pytest.raises(UsageError, match=f"were scored with different --{flag}"):
            compare.compare([first, other], resamples=0)


def test_other_number_types(tmp_path):
    """One of bfloat16, as every score on a GPU was once, and one of float32."""
    full, again, half = (
        folder(tmp_path / name, "gaze", counts(), dtype=dtype)
        for name, dtype in (("full", "float32"), ("again", "float32"), ("half", "bfloat16"))
    )
    early = folder(tmp_path / "early", "gaze", counts(), dtype="auto")  # says nothing of it
    for one, other in ((full, again), (early, half), (full, early)):
        assert compare.compare([one, other], resamples=0)["units"] == len(UNITS)
    for one, other in ((full, half), (half, full)):
        with pytest.raises(UsageError, match="were scored with different --dtype"):
            compare.compare([one, other], resamples=0)


@pytest.mark.parametrize("metric", ["fid", "kid"])
def test_other_reference_pictures_of_a_cloud(tmp_path, metric):
    first = folder(tmp_path / "a", metric, clouds(CLOUD))
    noise = RNG.normal(size=CLOUD.shape).astype(numpy.float32) * 1e-6
    for name, cloud in (("turned", CLOUD[::-1]), ("nearly", CLOUD + noise)):
        same = folder(tmp_path / name, metric, clouds(cloud))
        assert compare.compare([first, same], resamples=0)["units"] == len(UNITS)
    fewer = folder(tmp_path / "fewer", metric, clouds(CLOUD[:9]))
    with pytest.raises(UsageError, match=r"a and .*fewer: .id: .*to 12 reference .*other to 9;"):
        compare.compare([first, fewer], resamples=0)
    other = folder(tmp_path / "other", metric, clouds(CLOUD + 1))
    with pytest.raises(UsageError, match="measured to different reference pictures"):
        compare.compare([first, other], resamples=0)
    assert metrics.load(metric).apart(clouds(CLOUD), clouds(CLOUD[:, :3])) == ""


def test_one_judge_at_two_places_is_one(tmp_path):
    """Which one it was, its content says, and not what the option called it."""
    names = ("right", "judged", "bodies", "known", "held_out", "exemplars", "classes")
    rows = {name: numpy.ones(len(UNITS)) for name in names}
    places = ("judge", "../judge", "judge")
    first, same, other = (
        folder(tmp_path / str(n), "pose-s", rows, pose_judge=place)
        for n, place in enumerate(places)
    )
    for place, revision in ((first, "a"), (same, "a"), (other, "b")):
        body = json.loads((Path(place) / "score.json").read_text())
        body["models"] = {"pose-judged": [{"model": "pose-judge", "revision": revision}]}
        (Path(place) / "score.json").write_text(json.dumps(body))
    assert compare.compare([first, same], ["x", "y"], resamples=0)["units"] == len(UNITS)
    with pytest.raises(UsageError, match=r"different models \(pose-judged\)"):
        compare.compare([first, other], ["x", "y"], resamples=0)


def test_one_score_twice_needs_names(tmp_path):
    one = folder(tmp_path / "a", "gaze", counts())
    with pytest.raises(UsageError, match="one score is given twice; say with --names"):
        compare.compare([one, one], resamples=0)
    assert list(compare.compare([one, one], ["x", "y"], resamples=0)["cells"]) == ["x", "y"]
