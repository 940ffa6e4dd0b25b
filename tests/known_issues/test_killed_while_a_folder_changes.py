"""Killed while a folder was written or removed, a run ended with other folders than undisturbed.

`train` left checkpoints that it had no time to remove, and lacked the copy of the result of a step
whose checkpoint was there already; `export` left hidden files in its folder of pictures for ever.
Here runs are killed at every single change of a folder, and started again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import scenes
from conftest import samples
from toy_method import train

from socialcli import shards
from socialcli.shards import folders, publishing

SAME = {
    "steps": 10, "checkpoint_every": 2, "keep": 2, "save_every": 4, "validate_every": 5,
    "variants": 2, "unusable": "00004",
}  # fmt: skip


def die_at(count: int) -> None:
    """End this process without a word at the ``count``-th change of a name or of a folder."""
    left = [count]

    def counted(change):
        def wrapped(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)
            return change(*args, **kwargs)

        return wrapped

    Path.replace = counted(Path.replace)
    Path.mkdir = counted(Path.mkdir)
    Path.unlink = counted(Path.unlink)
    os.rmdir = counted(os.rmdir)
    os.unlink = counted(os.unlink)


def killed(count: int, run) -> bool:
    """Whether a run, in a process of its own, was killed at its ``count``-th change."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            die_at(count)
            run()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9)
    return code == 9


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every folder (None) and file below a folder; what tells the time as if it were empty."""
    contents: dict[str, bytes | None] = {}
    for path in folder.rglob("*"):
        if "cache" not in path.parts:
            timed = path.name in ("log.jsonl", "run.json")
            name = str(path.relative_to(folder))
            contents[name] = None if path.is_dir() else b"" if timed else path.read_bytes()
    return contents


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("data")
    shards.write(folder / "a.tar", samples(0, 11))
    return str(folder)


def test_training_ends_with_the_same_folders(tmp_path, data):
    whole = tmp_path / "whole"
    train(whole, [data], **SAME)
    wanted = tree(whole)
    names = sorted(name for name in wanted if "step-" in name and "/" not in name.strip("/"))
    assert names == ["step-000004", "step-000008"]
    assert {n for n in wanted if n.startswith("checkpoints/") and n.count("/") == 1} == {
        "checkpoints/step-000008", "checkpoints/step-000010",
    }  # fmt: skip
    count, step = 2, 7  # every change takes three minutes
    while killed(count, lambda n=count: train(tmp_path / f"{n}", [data], **SAME)):
        train(tmp_path / f"{count}", [data], **SAME)
        assert tree(tmp_path / f"{count}") == wanted, f"killed at change {count}"
        shutil.rmtree(tmp_path / f"{count}")
        count += step
    assert count > 40


def test_a_stop_in_between_leaves_no_checkpoint_of_its_own(tmp_path):
    import torch

    from socialcli.training import checkpoints

    module = torch.nn.Linear(2, 2)
    optimiser = torch.optim.SGD(module.parameters())
    for step in (2, 4, 5, 6, 8, 9):
        checkpoints.save(tmp_path, step, module, optimiser, {}, 2, every=2)
        assert checkpoints.latest(tmp_path).name == f"step-{step:06d}"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000008", "step-000009"]
    checkpoints.save(tmp_path, 10, module, optimiser, {}, 2, every=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000008", "step-000010"]


def exporting(source: Path, out: Path) -> None:
    from socialcli.cli.app import main

    sys.argv = ["socialcli", "export", str(source), "-o", str(out / "a.json"), "--images",
                str(out / "pictures")]  # fmt: skip
    try:
        main()
    except SystemExit as end:
        assert not end.code


def test_export_leaves_nothing_hidden(tmp_path):
    shards.write(tmp_path / "a.tar", [(f"k/{n}", scenes.members(n)) for n in range(3)])
    (tmp_path / "b").mkdir()
    shards.write(tmp_path / "b" / "a.tar", [("k/9", scenes.members(9))])
    exporting(tmp_path / "b" / "a.tar", tmp_path / "whole")
    wanted = sorted(p.name for p in (tmp_path / "whole" / "pictures" / "k").iterdir())
    count = 1
    while killed(count, lambda n=count: exporting(tmp_path / "a.tar", tmp_path / f"{n}")):
        # What is exported next has other names: nothing of the killed run is written over.
        exporting(tmp_path / "b" / "a.tar", tmp_path / f"{count}")
        there = {p.name for p in (tmp_path / f"{count}" / "pictures" / "k").iterdir()}
        assert set(wanted) <= there and not [name for name in there if name.startswith(".")]
        assert not [p for p in (tmp_path / f"{count}").iterdir() if p.name.startswith(".")]
        count += 1
    assert count > 5


def test_what_a_living_process_writes_is_not_swept(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from socialcli import shards\n"
        "with shards.publish_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'x').write_text('x'); print('ready', flush=True); sys.stdin.read()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "a")], text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert child.stdout.readline() == "ready\n"
    (hidden,) = tmp_path.iterdir()
    folders.sweep(tmp_path)
    assert (hidden / "x").exists() and not (tmp_path / "a").exists()
    child.communicate("")
    assert child.returncode == 0
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    other = tmp_path / ".a.tmp-another-machine-7-0"  # which may be writing it at this moment
    own = tmp_path / f".a.gone-{publishing.mark()}"
    for folder in (other, own):
        folder.mkdir()
    folders.sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a", other.name])


def test_a_folder_takes_the_place_of_another_whole(tmp_path):
    for text in ("one", "two"):
        with shards.publish_folder(tmp_path / "a") as folder:
            (folder / text).write_text(text)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["two"]
    with pytest.raises(ValueError), shards.publish_folder(tmp_path / "a") as folder:
        raise ValueError
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
