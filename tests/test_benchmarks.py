"""Benchmarks: the page is what the JSON says, goals are judged, and counts are right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import torch
from conftest import ENVIRONMENT

from socialcli.benchmarks import (
    Figure,
    Section,
    compiled,
    entities,
    gpu,
    growth,
    operations,
    publishing,
    signals,
)
from socialcli.benchmarks import __main__ as command

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_is_made_of_the_json():
    body = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))
    assert (DOCS / "benchmarks.md").read_text(encoding="utf-8") == publishing.page(body)


def test_a_measurement_replaces_all_but_the_notes(tmp_path):
    file = tmp_path / "b.json"
    publishing.record(file, {"io": Section("## One\n\n| a |", [Figure("speed", 2.0, 3.0)])})
    body = json.loads(file.read_text())
    body["io"]["notes"] = "Tried and lost."
    file.write_text(json.dumps(body))
    publishing.record(file, {"io": Section("## Two", [Figure("cost", 1.5, 1.6, lower=True)])})
    page = file.with_suffix(".md").read_text()
    assert "## Two" in page and "## One" not in page and "Tried and lost." in page
    assert "| cost | 1.5 | at most 1.6 | reached |" in page


def test_a_run_that_was_stopped_goes_on_and_says_all_goals(tmp_path, monkeypatch, capsys):
    """The second of two is interrupted: the next run measures it alone, and judges both."""
    asked, file = [], tmp_path / "new" / "b.json"

    def measured(name: str, stops: bool):
        def run(turns: int) -> Section:
            asked.append(name)
            if stops:
                raise KeyboardInterrupt if turns == 5 else SystemExit("no such package")
            return Section(f"## {name}", [Figure(f"speed of {name}", 2.0, 3.0)])

        return SimpleNamespace(run=run)

    def start(stopping: str, turns: int = 5) -> str:
        find = lambda full: measured(full.rpartition(".")[2], full.endswith(stopping))  # noqa: E731
        monkeypatch.setattr(command.importlib, "import_module", find)
        monkeypatch.setattr(sys, "argv", ["x", "io", "score", "--record", str(file),
                                          "--turns", str(turns)])  # fmt: skip
        command.main()
        return capsys.readouterr().out

    with pytest.raises(KeyboardInterrupt):
        start("score")
    with pytest.raises(SystemExit, match="not measured: score"):
        start("score", turns=1)
    said = start("none")
    assert asked == ["io", "score", "score", "score"] and "measured already: io" in said
    assert "speed of io" in said and "speed of score" in said and "All of it took" in said
    assert not list(file.parent.glob("*.run"))
    start("none")
    assert asked[4:] == ["io", "score"], "a complete run begins anew"


@pytest.mark.parametrize(
    ("value", "goal", "lower", "reached"),
    [(1.3, 1.3, False, True), (1.29, 1.3, False, False), (1.6, 1.6, True, True),
     (1.61, 1.6, True, False)],
)  # fmt: skip
def test_goals(value, goal, lower, reached):
    assert Figure("", value, goal, lower).reached == reached


def test_operations_are_counted_as_by_hand():
    """A linear layer of 5 to 7 of 3 rows: 2 * 3 * 5 * 7 forward, as many back to its input."""
    with torch.device("meta"):
        layer = torch.nn.Linear(5, 7).requires_grad_(False)
        rows = torch.randn(3, 5, requires_grad=True)
        assert operations.counted(lambda: layer(rows)) == 2 * 2 * 3 * 5 * 7


def test_gates_let_through_what_the_paper_says():
    """Below 500 twice as likely: [0, 200] has 201 * 2 of 1500 parts."""
    shares = operations.openings()
    parts = {"boundary": 1500, "identity": 802, "gaze": 402, "pose": 1201, "interaction": 1001}
    assert shares.keys() >= parts.keys()
    for name, part in parts.items():
        assert shares[name] == pytest.approx(part / 1500, abs=1e-3)


def test_a_step_costs_its_parts():
    cost = {"plain": 10.0, "decoder, full": 8.0, "decoder, tiny": 1.0, "a": 4.0, "b": 2.0}
    open_ = {"a": 0.5, "b": 0.25}
    assert operations.step(cost, open_, "full", 1.0) == 10 + 0.5 * 8 + 0.5 * 4 + 0.25 * 2
    assert operations.step(cost, open_, "tiny", 0.5) == 10 + 0.5 * (0.5 + 2 + 0.5)


def test_growth_runs(monkeypatch, tmp_path):
    """In small: both numbers of shards are planned, found finished, added up and looked at."""
    monkeypatch.setattr(growth, "alone", growth._measured)  # not two processes for each
    monkeypatch.setattr(growth, "FILES", 50)
    section = growth.run(1, 20)
    assert "| planning |" in section.text and len(section.figures) == 5
    assert section.figures[0].reached


def test_shards_go_through_both_programs_with_the_same_result(monkeypatch, tmp_path):
    """Its pictures were random bytes, which a stage refuses since every command checks them."""
    through = growth.through
    monkeypatch.setattr(through, "SHARDS", 2)
    monkeypatch.setattr(through, "SAMPLES", 5)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(through.tempfile, "tempdir", None)
    section = through.run(1)
    assert "| socialcli, until on disk |" in section.text and len(section.figures) == 2


def test_captions_go_through_spacy_and_through_the_stages_rules():
    section = entities.run(1, 30)
    assert "| spaCy |" in section.text and "| extract-entities |" in section.text
    assert section.figures[0].value > 0


def test_growth_is_measured_in_a_process_of_its_own(tmp_path):
    growth.make(tmp_path, 2, growth.through.stage(growth.STAGE))
    filled = b"x" * 300_000_000
    seconds, megabytes = growth.alone(growth.FINISHED, tmp_path, 2)
    assert 0 < seconds < 60 and 10 < megabytes < len(filled) / 1e6


def test_steps_with_and_without_compiling_are_timed(monkeypatch):
    """In small, with nothing compiled: both are as fast, and what the first call took is told."""
    from socialcli.backends import devices

    monkeypatch.setattr(devices, "compile_network", lambda network, device: None)
    monkeypatch.setattr(compiled, "ROWS", 1)
    monkeypatch.setattr(compiled, "SIDE", 8)
    rows = [line.split(" | ") for line in compiled.run(1).text.splitlines()[4:]]
    assert [row[0] for row in rows] == ["| generate, one step", "| train, one step"]
    assert all(0.2 < float(row[3]) < 5 for row in rows)


def test_every_line_for_a_card_runs_on_the_processor(tmp_path):
    record = tmp_path / "b.json"
    done = subprocess.run(
        [DOCS.parent / gpu.COMMAND, "--dry", "--record", record], capture_output=True, text=True,
        timeout=600, env={**os.environ, **ENVIRONMENT, "PYTHON": sys.executable},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = json.loads(record.read_text())["gpu"]["text"]
    for wanted in ("the same bits", "| plain step |", "half of the samples", "times diffusers"):
        assert wanted in text


def test_what_pictures_agree_on() -> None:
    """Gradients that are one vector and noise: the length and the number of pictures after which
    the vector is as long as a mean's noise follow from how they were made."""
    rng = numpy.random.default_rng(3)
    agreed = numpy.zeros(50)
    agreed[0] = 2.0
    gradients = signals.Gradients()
    for _ in range(4000):
        gradients.add(torch.from_numpy(agreed + rng.normal(0, 0.8, 50)))
    assert gradients.length == pytest.approx((4 + 50 * 0.64) ** 0.5, rel=0.01)
    assert gradients.pictures == pytest.approx(50 * 0.64 / 4, rel=0.05)
    opposed = signals.Gradients()
    for sign in (1, -1):
        opposed.add(torch.from_numpy(sign * agreed))
    assert opposed.length == 2 and opposed.pictures == numpy.inf
