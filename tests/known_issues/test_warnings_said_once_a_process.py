"""Each process of a training that `torchrun` started warned of the same samples: eight processes
named those that are left out eight times. The first says all of it, the others' included."""

from __future__ import annotations

import dataclasses

import pytest
import toy_method
from conftest import samples

from socialcli import shards
from socialcli.training import loop


@pytest.mark.parametrize("log_json", [False, True])
@pytest.mark.parametrize("process", [0, 1])
def test_only_the_first_process_says_something(tmp_path, monkeypatch, capsys, process, log_json):
    shards.write(tmp_path / "data.tar", samples(0, 6))
    here = loop.here
    monkeypatch.setattr(
        loop, "here", lambda config: dataclasses.replace(here(config), process=process)
    )
    same = {
        "steps": 2,
        "warm_up": 5,
        "unusable": "00001,00003,00005",
        "quiet": False,
        "log_json": log_json,
    }
    toy_method.train(tmp_path / "out", [str(tmp_path / "data.tar")], **same)
    said = capsys.readouterr().err
    assert ("samples could not be used" in said) == ("--warm-up 5" in said) == (process == 0)
    assert bool(said) == (process == 0)
