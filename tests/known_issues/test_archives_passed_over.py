"""Archives in a folder were passed over without a word, or were none and were read.

Only names in small letters with five suffixes counted: ``1.tar.zst`` and ``2.TAR`` beside
``0.tar`` were left out, exit code 0; a Mac's ``._0.tar`` failed as a shard.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import socket

import pytest
from conftest import members, samples

from socialcli import shards
from socialcli.errors import UsageError

APPLE_DOUBLE = b"\0\5\26\7\0\2\0\0Mac OS X        " + bytes(100)


def plain(tmp_path, first: int = 0) -> bytes:
    shards.write(tmp_path / "one", samples(first, first + 2))
    return (tmp_path / "one").read_bytes()


def packers():
    zstandard = pytest.importorskip("zstandard")
    return {
        "0.tar": bytes, "1.TAR": bytes, "2.tgz": gzip.compress, "3.Tar.Gz": gzip.compress,
        "4.tar.bz2": bz2.compress, "5.tbz2": bz2.compress, "6.tar.xz": lzma.compress,
        "7.txz": lzma.compress, "8.tar.zst": zstandard.compress, "9.tzst": zstandard.compress,
    }  # fmt: skip


def test_every_archive_of_a_folder_is_read_whatever_its_suffix(tmp_path, run_cli):
    (tmp_path / "d").mkdir()
    for number, (name, pack) in enumerate(packers().items()):
        (tmp_path / "d" / name).write_bytes(pack(plain(tmp_path, 10 * number)))
    (tmp_path / "d/._0.tar").write_bytes(APPLE_DOUBLE)
    (tmp_path / "d/0.stats.json").write_text("{}")
    run_cli("caption", tmp_path / "d", "-o", tmp_path / "o", "--backend", "given")
    assert sorted(p.name for p in (tmp_path / "o").glob("*.tar")) == [f"{n}.tar" for n in range(10)]
    assert not list((tmp_path / "o").glob("._*"))
    assert len(members(tmp_path / "o")) == 20
    stderr = run_cli("validate", tmp_path / "d").stderr.decode()
    assert "20 samples in 10 shards" in stderr


def test_zstd_that_is_cut_off_is_damage(tmp_path):
    pack = packers()["8.tar.zst"]
    (tmp_path / "x.tar").write_bytes(pack(plain(tmp_path))[:-30])
    items = list(shards.read_all(str(tmp_path / "x.tar")))
    assert any(isinstance(item, shards.Damage) or item.problem for item in items)


@pytest.mark.parametrize("name", ["1.tar.lz4", "1.tar.Z", "1.tar.part", "1.tar.crdownload"])
def test_what_cannot_be_read_is_named(tmp_path, run_cli, name):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/0.tar").write_bytes(plain(tmp_path))
    (tmp_path / "d" / name).write_bytes(b"?" * 1000)
    for command in (["caption", "-o", tmp_path / "o"], ["validate"], ["inspect"]):
        done = run_cli(command[0], tmp_path / "d", *command[1:], code=2)
        assert name.encode() in done.stderr and b"*.tar" in done.stderr


def test_two_archives_of_one_name_are_not_written_over_each_other(tmp_path, run_cli):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/0.tar").write_bytes(plain(tmp_path))
    (tmp_path / "d/0.tgz").write_bytes(gzip.compress(plain(tmp_path)))
    done = run_cli("caption", tmp_path / "d", "-o", tmp_path / "o", code=2)
    assert b"0.tar and " in done.stderr and b"0.tgz" in done.stderr


def test_what_is_no_plain_file_is_refused_at_once(tmp_path, monkeypatch):
    """A pipe would wait for ever for somebody to write to it."""
    os.mkfifo(tmp_path / "p.tar")
    (tmp_path / "f.tar").mkdir()
    (tmp_path / "f.tar/g.tar").mkdir()
    (tmp_path / "l.tar").symlink_to("nowhere.tar")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)
        listener.bind("s.tar")
        for name, reason in {
            "p.tar": "a pipe",
            "f.tar": "g.tar: a folder",
            "l.tar": "no such shard (a link to nowhere.tar)",
            "s.tar": "a socket",
            "/dev/null": "a device",
            "[pl].tar": "l.tar: no such shard",
            "none.tar": "none.tar: no such shard",
        }.items():
            with pytest.raises(UsageError) as error:
                shards.expand([name])
            assert reason in str(error.value)


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz", "x.TAR"])
def test_an_output_that_would_become_a_folder_is_refused(tmp_path, run_cli, name):
    (tmp_path / "0.tar").write_bytes(plain(tmp_path))
    done = run_cli("caption", tmp_path / "0.tar", "-o", tmp_path / name, code=2)
    assert b"plain .tar" in done.stderr
