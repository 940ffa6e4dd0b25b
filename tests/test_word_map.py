"""The map of learned words: t-SNE against its definition, and what is near to what."""

from __future__ import annotations

import numpy
import pytest

from socialcli.benchmarks import _tsne, table001


def clouds() -> tuple[numpy.ndarray, numpy.ndarray]:
    """Three clouds of twelve points in six dimensions, and whose is whose."""
    rng = numpy.random.default_rng(0)
    centres = numpy.eye(3, 6) * 4
    labels = numpy.repeat(numpy.arange(3), 12)
    return centres[labels] + rng.normal(size=(36, 6)) * 0.3, labels


def test_affinities_have_the_perplexity_that_was_asked_for():
    points, _ = clouds()
    joint = _tsne.affinities(points, 8.0)
    assert joint.sum() == pytest.approx(1) and numpy.allclose(joint, joint.T)
    assert (numpy.diag(joint) == 0).all()
    peer = pytest.importorskip("sklearn.manifold._t_sne")
    squares = ((points[:, None] - points[None]) ** 2).sum(-1).astype(numpy.float32)
    from scipy.spatial.distance import squareform

    wanted = squareform(peer._joint_probabilities(squares, 8.0, 0))
    assert numpy.abs(joint - wanted).max() < 1e-5


def test_the_slope_agrees_with_finite_differences():
    points, _ = clouds()
    joint = _tsne.affinities(points, 8.0)
    places = numpy.random.default_rng(1).normal(size=(36, 2))
    slope = _tsne.slope(places, joint)
    for at, axis in ((0, 0), (7, 1), (30, 0)):
        step = numpy.zeros_like(places)
        step[at, axis] = 1e-5
        up, down = (_tsne.divergence(places + s * step, joint) for s in (1, -1))
        assert slope[at, axis] == pytest.approx((up - down) / 2e-5, abs=1e-6)


def test_clouds_stay_apart_and_the_map_is_the_same_every_time():
    points, labels = clouds()
    placed = _tsne.embed(points, perplexity=8, steps=200, rate=20)
    assert numpy.array_equal(placed, _tsne.embed(points, perplexity=8, steps=200, rate=20))
    distance = ((placed[:, None] - placed[None]) ** 2).sum(-1) + numpy.eye(36) * 1e9
    assert (labels[distance.argmin(1)] == labels).all()


def test_neighbours_say_which_part_of_speech_a_learned_word_is_near():
    points, labels = clouds()
    names = [("verbs", "prepositions", "nouns")[n] for n in labels]
    learned = numpy.stack([points[0] + 0.1, points[13] + 0.1, points[1] - 0.1])
    words = ["with pose", "with relation", "without relation"]
    shares = table001.neighbours(numpy.concatenate([points, learned]), names + words)
    assert shares == {"with pose": 1.0, "with relation": 1.0, "without relation": 0.0}


def test_a_table_says_what_was_found_beside_the_papers(tmp_path):
    import json

    def cell(value, **more):
        return {"value": value, "low": value - 1, "high": value + 1, "bold": False, **more}

    one = {"difference": -3.0, "difference_low": -5.0, "difference_high": -1.0, "p": 0.002,
           "p_corrected": 0.01}  # fmt: skip
    cells = {
        "interaction": {name: cell(30.0, bold=True) for name in table001.FIGURES},
        "text": {name: cell(27.0, **one) for name in table001.FIGURES},
    }
    compared = tmp_path / "compared"
    compared.mkdir()
    columns = {name: {"title": title} for name, title in table001.FIGURES.items()}
    body = {"cells": cells, "units": 5, "resamples": 9, "baseline": "interaction", "tests": 4,
            "columns": columns}  # fmt: skip
    (compared / "compare.json").write_text(json.dumps(body))
    held = {f"{name}_held_out": {"value": 96.0} for name in ("pose_s", "pose_kp")}
    for row in ("interaction", "text", "scenes"):
        folder = tmp_path / "scores" / row
        folder.mkdir(parents=True)
        columns = {**{name: cell(70.0) for name in table001.FIGURES}, **held}
        (folder / "score.json").write_text(json.dumps({"columns": columns}))
        lines = [
            {"key": "hug/a", "pose_s": 100.0, "pose_kp": 0.0, "prompt": "a man hugs a boy"},
            {"key": "push/a", "pose_s": 0.0, "pose_kp": 0.0, "prompt": "a man pushes a cat"},
            {"key": "push/b", "pose_s": 100.0, "pose_kp": None, "prompt": "a boy pushes a girl"},
        ]
        (folder / "samples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    page = "\n".join(table001.table(compared, tmp_path / "scores"))
    assert "| Inverted Interaction | **30** [29, 31] |" in page
    assert "| ordinary words | -3 [-5, -1], p = 0.01 |" in page
    known, people = (page.split(f"## {title}")[1].split("## ")[0]
                     for title in ("Known and new", "Two people"))  # fmt: skip
    assert "| Inverted Interaction | 100.0 | 50.0 | 0.0 | 0.0 |" in known
    assert "| Inverted Interaction | 100.0 | 0.0 | 0.0 | 0.0 |" in people
    # Two effects are there, so Holm doubles the smaller p and keeps the larger at that.
    for title in ("Pose-S %", "Pose-KP %"):
        line = f"| {title}: text below interaction | paper | -3.0000 | [-5.0000, -1.0000] | 0.0040"
        assert f"{line} | holds |" in page
    assert page.count(" below interaction ") == 2
    assert "The judges get 96 % (Pose-S)" in page and "| ReVersion | 24.68 | 22.81 |" in page
    for row in ("interaction", "text"):  # with sentences of two people alone there are no halves
        (tmp_path / "scores" / row / "samples.jsonl").write_text(
            "\n".join(map(json.dumps, (lines[0], lines[2])))
        )
    page = "\n".join(table001.table(compared, tmp_path / "scores"))
    assert "Two people" not in page and "## Known and new" in page and "nan" not in page


def test_the_sheet_shows_many_interactions():
    """Sentences come interaction by interaction in turn; every fifteenth was one of the first."""
    keys = [f"{'abcdefghijklmno'[n % 15]}/sentence-{n:03d}" for n in range(120)]
    chosen = table001.spread(keys)
    assert len({key[0] for key in chosen}) == len(chosen) == table001.SHOWN
    assert len({int(key[-3:]) // 15 for key in chosen}) == table001.SHOWN  # and other places
    assert table001.spread(keys[:3]) == keys[:3]
    assert table001.spread(["a/0", "a/1"]) == ["a/0", "a/1"] and table001.spread([]) == []
