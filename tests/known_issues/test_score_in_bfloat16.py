"""On a GPU `score` ran its models in bfloat16, which moved CLIP-T by as much as the rows of a table
differ. `--dtype auto` means float32 there."""

from __future__ import annotations

import pytest

from socialcli.backends import devices
from socialcli.evaluation import settings


@pytest.mark.parametrize(
    ("asked", "used"), [("auto", "float32"), ("bfloat16", "bfloat16"), ("float32", "float32")]
)
def test_figures_are_of_float32_on_a_gpu(monkeypatch, asked: str, used: str) -> None:
    monkeypatch.setattr(devices, "_best", lambda: "cuda")
    values = settings.resolved(vars(settings.config_type()(dtype=asked)))
    assert values["device"] == "cuda"
    assert settings.config_type()(**values).dtype == used


def test_the_command_asks_for_it(monkeypatch, tmp_path) -> None:
    from typer.testing import CliRunner

    from socialcli.cli.app import app
    from socialcli.errors import UsageError
    from socialcli.evaluation import run

    given = {}

    def stop(inputs, output, config, options):
        given.update(vars(config))
        raise UsageError("enough")

    monkeypatch.setattr(devices, "_best", lambda: "cuda")
    monkeypatch.setattr(run, "score", stop)
    done = CliRunner().invoke(app, ["score", "in.tar", "-o", str(tmp_path)])
    assert "enough" in done.stderr
    assert (given["device"], given["dtype"]) == ("cuda", "float32")
