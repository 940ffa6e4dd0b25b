"""Names with dots and unsorted archives ended in messages that did not say what to do.

IMG.2023.01.jpg is the member "2023.01.jpg" of the sample "IMG" for every WebDataset reader, and
pictures first, texts later are two samples of one key; "no picture" and "duplicate key" were all
that was said.
"""

from __future__ import annotations

import io
import tarfile

import pytest
from conftest import picture

from socialcli import shards
from socialcli.errors import SampleFailed


def archive(path, names) -> None:
    with tarfile.open(path, "w") as stream:
        for name in names:
            data = picture(1) if name.endswith(".jpg") else b"a dog"
            info = tarfile.TarInfo(name)
            info.size = len(data)
            stream.addfile(info, io.BytesIO(data))


def test_a_key_ends_at_the_first_dot(tmp_path, run_cli):
    archive(tmp_path / "k.tar", ["IMG.2023.01.jpg", "IMG.2023.02.jpg", "b.jpg"])
    stdout = run_cli("validate", tmp_path / "k.tar", code=1).stdout.decode()
    assert "A key ends at the first dot" in stdout and "IMG.2023.01.jpg" in stdout
    assert "'2023.01.jpg' of the sample 'IMG'" in stdout
    first = next(shards.read(str(tmp_path / "k.tar")))
    with pytest.raises(SampleFailed, match="A key ends at the first dot"):  # what stages ask for
        first.picture()
    with pytest.raises(SampleFailed, match=r"expected one of [^A]*$"):
        shards.Sample("a", {"txt": b"", "caption.json": b""}).picture()


def test_unsorted_members_are_told_how_to_be_sorted(tmp_path, run_cli):
    archive(tmp_path / "k.tar", ["0.jpg", "1.jpg", "0.txt", "1.txt"])
    done = run_cli("caption", tmp_path / "k.tar", "-o", tmp_path / "o", "--backend", "given",
                   code=1)  # fmt: skip
    assert b"one after another" in done.stderr and b"--sort=name" in done.stderr
    assert "--sort=name" in (tmp_path / "o/k.errors.jsonl").read_text()
    assert b"--sort=name" in run_cli("validate", tmp_path / "k.tar", code=1).stdout
