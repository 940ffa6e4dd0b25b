"""A disk that was full ended `train` and `invert` with a traceback of safetensors or PyTorch.

Only Python's own error became a line. The weights that were written on a disk with room were
readable by their owner alone, whatever the umask said.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import disks
import pytest
from conftest import samples
from toy_method import train

from socialcli import shards
from socialcli.errors import SocialcliError


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KB."""
    with disks.mounted(tmp_path / "disk", "size=256k") as place:
        yield place


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix == ".safetensors")


@pytest.mark.parametrize("left", [4, 60])  # KB: for the log alone, for a checkpoint too
def test_training_says_so_in_one_line(tmp_path, disk, left):
    shards.write(tmp_path / "a.tar", samples(0, 4))
    (disk / "other").write_bytes(bytes((256 - left) << 10))
    more = {"steps": 2, "checkpoint_every": 1, "width": 700, "cache_memory": 0, "cache_disk": 0}
    with pytest.raises(SocialcliError, match="the disk is full") as error:
        train(disk / "o", [str(tmp_path / "a.tar")], **more)
    assert "\n" not in str(error.value) and str(disk / "o") in str(error.value)
    if left < 60:
        assert files(disk / "o") == []
    (disk / "other").unlink()
    subprocess.run(["mount", "-o", "remount,size=9m", disk], check=True)
    train(disk / "o", [str(tmp_path / "a.tar")], **more)
    train(tmp_path / "whole", [str(tmp_path / "a.tar")], **more)
    assert files(disk / "o") == files(tmp_path / "whole") != []


def test_pytorchs_writer_says_so_too(disk):
    import torch

    with (
        pytest.raises(SocialcliError, match="the disk is full"),
        shards.publish_folder(disk / "o") as folder,
    ):
        torch.save({"weight": torch.zeros(99_999)}, folder / "a.bin")
    assert list(disk.iterdir()) == []


def test_weights_are_as_readable_as_the_umask_says(tmp_path):
    shards.write(tmp_path / "a.tar", samples(0, 4))
    before = os.umask(0o022)
    try:
        train(tmp_path / "o", [str(tmp_path / "a.tar")], steps=2, checkpoint_every=1)
    finally:
        os.umask(before)
    modes = {p.stat().st_mode & 0o777 for p in (tmp_path / "o").rglob("*.safetensors")
             if "cache" not in p.parts}  # fmt: skip
    assert modes == {0o644}
