"""On a terminal the progress bar counted the samples to come, of standard input too: what it read
was gone, and every `cat a.tar | socialcli STAGE - -o out` there ended with "standard input ended
early". So did it download a whole shard whose store does not say how large it is."""

import os
import pty
import subprocess
import sys

from conftest import members

from socialcli import shards
from socialcli.pipeline import plan as planning


def test_a_stage_in_a_pipe_is_watched_on_a_terminal(make_shards, tmp_path):
    source, target = make_shards(1, 3) / "000.tar", tmp_path / "out.tar"
    command = ["caption", "-", "-o", str(target), "--backend", "given"]
    watched, terminal = pty.openpty()
    with source.open("rb") as stream:
        run = subprocess.run(
            [sys.executable, "-m", "socialcli", *command], stdin=stream, stderr=terminal
        )
    os.close(terminal)
    output = os.read(watched, 1 << 16).decode()
    os.close(watched)
    assert run.returncode == 0, output
    assert "3 samples: 3 ok" in output and len(members(target)) == 3


def test_what_costs_too_much_to_know_is_not_known(make_shards, monkeypatch):
    folder = make_shards(2, 5)
    places = [str(folder / "000.tar"), str(folder / "001.tar")]
    assert planning.samples(places) == 10
    assert planning.samples([places[0], "-"]) is None
    monkeypatch.setattr(shards, "size", lambda place: None)
    assert planning.samples(places[:1]) is None
