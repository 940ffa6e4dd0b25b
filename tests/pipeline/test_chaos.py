"""kill -9 at random moments, then the same command again, until it is done: the final shards are
byte for byte those of an undisturbed run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import COMMAND, ENVIRONMENT, leftovers, members, samples, tars

from socialcli import shards

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="finds the workers in /proc")

SHARDS, PER_SHARD = 20, 40


@pytest.fixture
def source(tmp_path):
    """20 shards; some samples have no caption, so that failures have to survive as well."""
    for number in range(SHARDS):
        rows = samples(number * PER_SHARD, (number + 1) * PER_SHARD)
        del rows[number % PER_SHARD][1]["txt"]
        shards.write(tmp_path / "in" / f"{number:03d}.tar", rows)
    return tmp_path / "in"


def start(arguments: list) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **ENVIRONMENT},
        start_new_session=True,
    )


def group_of(leader: int) -> list[int]:
    """Processes of the run, zombies left out."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == leader and fields[0] != "Z":
                    members.append(int(entry.name))
    return members


def kill(process: subprocess.Popen, victim: str, choice: random.Random) -> None:
    with contextlib.suppress(ProcessLookupError):
        if victim == "all":
            os.killpg(process.pid, signal.SIGKILL)
        elif victim == "parent":
            process.kill()
        else:
            workers = [pid for pid in group_of(process.pid) if pid != process.pid]
            if workers:
                os.kill(choice.choice(workers), signal.SIGKILL)


def gone(leader: int) -> None:
    """Wait until nothing of a killed run is left."""
    until = time.monotonic() + 300
    while group_of(leader):
        assert time.monotonic() < until, "a worker outlived its parent"
        time.sleep(0.02)


def finish(arguments: list, limit: int = 10) -> None:
    for _ in range(limit):
        process = start(arguments)
        if process.wait(300) == 0:
            return
    pytest.fail(f"exit code {process.returncode} from {arguments}")


def disturb(arguments: list, out: Path, kills: int, seconds: float, seed: int) -> dict[str, int]:
    """Run with ``kills`` kills, none of which comes while it still imports what it needs; when the
    run gets to its end in between, it is begun anew."""
    choice = random.Random(seed)
    happened = {"all": 0, "parent": 0, "worker": 0}
    while sum(happened.values()) < kills:
        process = start(arguments)
        try:
            process.wait(choice.uniform(0.3, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            victim = choice.choice(["all", "all", "parent", "worker"])
            kill(process, victim, choice)
            happened[victim] += 1
            if victim != "worker":
                process.wait()
                gone(process.pid)
                continue
            assert process.wait(300) in (0, 1)  # the parent goes on, or says why it cannot
        if process.returncode == 0:
            for file in choice.sample(sorted(out.glob("*.stats.json")), SHARDS // 2):
                file.unlink()  # half of it is to be done again
    return happened


def check(out: Path, clean: Path) -> None:
    assert tars(out) == tars(clean)
    assert leftovers(out) == []
    for file in clean.glob("*.errors.jsonl"):
        assert (out / file.name).read_bytes() == file.read_bytes()
    counted = 0
    for file in sorted(out.glob("*.stats.json")):
        counts = json.loads(file.read_text())["counts"]
        assert counts["total"] == counts["ok"] + counts["filtered"] + counts["failed"]
        counted += counts["total"]
    assert counted == SHARDS * PER_SHARD == len(members(out))


@pytest.mark.slow
def test_twenty_five_kills(source, tmp_path):
    stage = ["caption", "--backend", "given", source, "--workers", "2"]
    began = time.monotonic()
    finish([*stage, "-o", tmp_path / "clean"], limit=1)
    whole = time.monotonic() - began
    out = tmp_path / "out"
    happened = disturb([*stage, "-o", out], out, 25, whole, seed=1)
    assert min(happened.values()) > 0
    finish([*stage, "-o", out])
    check(out, tmp_path / "clean")


@pytest.mark.slow
def test_a_chain_of_sidecars_that_is_killed(run_cli, source, tmp_path):
    """Two stages, the second over shards joined with the first's sidecars, kills in both. The
    second is `caption` once more, which loads no model."""

    def chain(name: str) -> tuple[list, list]:
        first, second = tmp_path / name / "captions", tmp_path / name / "again"
        common = ["--backend", "given", "--workers", "2", "--sidecar"]
        return (
            ["caption", source, "-o", first, *common],
            ["caption", f"{source}/+{first}/", "-o", second, *common],
        )

    for step in chain("clean"):
        run_cli(*step)
    for number, (step, kills) in enumerate(zip(chain("killed"), (4, 3), strict=True)):
        disturb(step, Path(step[step.index("-o") + 1]), kills, 1.0, seed=number)
        finish(step)
    for part in ("captions", "again"):
        check(tmp_path / "killed" / part, tmp_path / "clean" / part)
