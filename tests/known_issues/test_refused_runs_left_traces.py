"""A training that was refused (samples that lack a member, options of another run) left a `.lock`
in the folder it was to write to, even in a folder of photographs, or new folders with nothing else.
Jobs that Slurm refused left a plan, folders, and with `--overwrite` finished shards without their
stats, which then counted as unfinished."""

import fcntl

import pytest
from conftest import samples
from toy_method import train

from socialcli import shards
from socialcli.errors import SocialcliError, UsageError
from socialcli.pipeline.engines import _slurm_jobs as jobs
from socialcli.pipeline.engines import slurm
from socialcli.pipeline.plan import Plan, Task
from socialcli.training.place import LOCK, sole_owner

FIRST = type("Place", (), {"first": True})


def entries(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_refused_training_leaves_nothing(tmp_path):
    data = tmp_path / "a.tar"
    shards.write(data, [(key, {"jpg": body["jpg"]}) for key, body in samples(0, 2)])
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    (photographs / "me.jpg").touch()
    before = entries(tmp_path)
    for output in (photographs, tmp_path / "new" / "run"):
        with pytest.raises(UsageError, match="no words"):
            train(output, [str(data)], steps=1)
    assert entries(tmp_path) == before


def test_folders_that_others_use_meanwhile_stay(tmp_path):
    with pytest.raises(UsageError), sole_owner(tmp_path / "new" / "run", FIRST):
        (tmp_path / "new" / "other").touch()
        raise UsageError("refused")
    assert entries(tmp_path) == ["new", "new/other"]
    with sole_owner(tmp_path / "run", FIRST):
        (tmp_path / "run" / "log.jsonl").touch()
    assert entries(tmp_path / "run") == [LOCK, "log.jsonl"]  # a run that wrote keeps its lock
    with pytest.raises(UsageError), sole_owner(tmp_path / "run", FIRST):
        raise UsageError("refused")
    assert entries(tmp_path / "run") == [LOCK, "log.jsonl"]


def test_a_lock_that_was_removed_meanwhile_holds_nobody_off(tmp_path, monkeypatch):
    """Who opened it before it went away, and locks it after, holds a file that nobody else sees."""
    opened = []

    def removed_once(handle, how):
        opened.append(handle)
        if len(opened) == 1:
            (tmp_path / LOCK).unlink()
        flock(handle, how)

    flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", removed_once)
    with sole_owner(tmp_path, FIRST):
        assert len(opened) == 2
        monkeypatch.undo()
        with (
            pytest.raises(UsageError, match="another run is writing there now"),
            sole_owner(tmp_path, FIRST),
        ):
            pass
    assert entries(tmp_path) == []


@pytest.mark.parametrize("refused", [0, 1])
def test_a_refused_job_leaves_all_as_it_was(tmp_path, monkeypatch, refused):
    """Whether it is the array that is refused, or the job after it."""
    submitted, cancelled = [], []

    def sbatch(line, *options):
        submitted.append(line)
        if len(submitted) > refused:
            raise SocialcliError("slurm refused the job: no such partition")
        return "17"

    monkeypatch.setattr(jobs, "_sbatch", sbatch)
    monkeypatch.setattr(jobs, "cancel", cancelled.append)
    (tmp_path / "0.stats.json").write_text("stats")
    tasks = tuple(Task(n, f"{n}.tar", str(tmp_path / f"{n}.tar")) for n in (0, 1))
    config = {"backend": "given", "device": "cpu"}
    plan = Plan("stages", "caption", config, tasks, overwrite=True)
    request = slurm._request(plan, list(tasks), {})
    with pytest.raises(SocialcliError, match="no such partition"):
        slurm._submit(plan, list(tasks), tmp_path / "new" / "plans", "name", request)
    assert len(submitted) == refused + 1 and len(cancelled) == refused
    assert entries(tmp_path) == ["0.stats.json"]
    assert (tmp_path / "0.stats.json").read_text() == "stats"
