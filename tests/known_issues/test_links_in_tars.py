"""Hard links and other members without bytes of their own vanished from shards without a word.

GNU tar writes the second name of a file as a link; the reader skipped every link, so a sample lost
its picture and the stage ended with 0.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile

import pytest
from conftest import members, picture

from socialcli import shards
from socialcli.shards import index, tar

LINKS = {
    "sym": (tarfile.SYMTYPE, "symbolic link to 'a.jpg'"),
    "pipe": (tarfile.FIFOTYPE, "named pipe"),
    "device": (tarfile.CHRTYPE, "character device"),
    "lost": (tarfile.LNKTYPE, "hard link to 'b.jpg', which does not come"),
}


def archive(long: bool = False) -> bytes:
    """A picture, a hard link to it, a folder, and one member of each kind that has no bytes."""
    out = io.BytesIO()
    first = "f" * 120 + "/a.jpg" if long else "a.jpg"
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as stream:
        add(stream, first, data=picture(1))
        add(stream, "folder", tarfile.DIRTYPE)
        add(stream, "a label, as tar -V writes it", b"V")
        add(stream, "hard.jpg", tarfile.LNKTYPE, first)
        add(stream, "hard.txt", data=b"a dog")
        for key, (kind, _) in LINKS.items():
            add(stream, f"{key}.jpg", kind, "b.jpg" if key == "lost" else "a.jpg")
            add(stream, f"{key}.txt", data=b"a cat")
    return out.getvalue()


def add(stream, name, kind=tarfile.REGTYPE, target="", data=b""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(data)
    stream.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("packed", ["plain", "gzip", "pipe"])
@pytest.mark.parametrize("long", [False, True])
def test_a_hard_link_is_the_file_it_names_and_other_links_are_named(
    tmp_path, run_cli, packed, long
):
    """In a file, where the reader goes back, and from a pipe, where it remembers."""
    data = archive(long)
    (tmp_path / "in.tar").write_bytes(gzip.compress(data) if packed == "gzip" else data)
    run_cli("caption", "-" if packed == "pipe" else tmp_path / "in.tar",
            "-o", tmp_path / "out/in.tar", "--backend", "given", "--max-error-rate", 1,
            stdin=data if packed == "pipe" else None)  # fmt: skip
    imported = members(tmp_path / "out/in.tar")
    assert imported["hard"]["jpg"] == picture(1) and "caption.json" in imported["hard"]
    with tarfile.open(tmp_path / "out/in.tar") as again:  # a file of its own for every reader
        assert again.getmember("hard.jpg").isreg()
    lines = (tmp_path / "out/in.errors.jsonl").read_text().splitlines()
    reasons = {line["key"]: line["reason"] for line in map(json.loads, lines)}
    for key, (_, reason) in LINKS.items():
        assert reason in reasons[key]
        assert imported[key] == {"txt": b"a cat"}  # the rest of the sample is not lost with it
    stdout = run_cli("validate", tmp_path / "in.tar", code=1).stdout.decode()
    assert all(f": {key}: " in stdout for key in LINKS)


def test_a_packed_archive_is_read_again_for_its_links_but_not_without_end(tmp_path):
    """Targets in turn from its end and from its start ask for a new reading each."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as stream:
        add(stream, "a.bin", data=b"a" * 3_000_000)
        add(stream, "b.bin", data=b"b" * 3_000_000)
        for number in range(30):
            add(stream, f"{number:02d}.bin", tarfile.LNKTYPE, "ba"[number % 2] + ".bin")
    (tmp_path / "x.tar").write_bytes(gzip.compress(out.getvalue()))
    links = list(shards.read_all(str(tmp_path / "x.tar")))[2:]
    good = [sample for sample in links if sample.problem is None]
    assert 8 <= len(good) < 30 and all(sample.problem for sample in links[len(good) :])
    for number, sample in enumerate(good):
        assert sample.members["bin"] == b"ba"[number % 2 :][:1] * 3_000_000


def test_training_reads_what_a_hard_link_stands_for(tmp_path):
    (tmp_path / "in.tar").write_bytes(archive())
    built = index.build([str(tmp_path / "in.tar")], tmp_path / "cache")
    by_key = {entry.key: n for n, entry in enumerate(built.entries)}
    assert built.read(by_key["hard"]).members["jpg"] == picture(1)
    assert set(built.unusable) == set(LINKS)
    (tmp_path / "empty.tar").write_bytes(b"")
    built = index.build([str(tmp_path / "empty.tar")], tmp_path / "cache")
    assert list(built.unusable.values()) == ["empty: 0 bytes, no archive"]


def test_links_cannot_multiply_bytes_without_end(monkeypatch):
    """Five hundred bytes must not stand for a gigabyte as often as somebody likes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as stream:
        add(stream, "a.bin", data=bytes(1000))
        for number in range(5):
            add(stream, f"{number}.bin", tarfile.LNKTYPE, "a.bin")
    monkeypatch.setattr(tar, "MAX_LINKED", 2500)
    read = [m for m in tar.members(io.BytesIO(out.getvalue())) if isinstance(m, tar.TarMember)]
    assert [bool(m.problem) for m in read] == [False] * 4 + [True] * 2
    monkeypatch.setattr(tar, "LINKED", 500)  # and a stream does not hold what it cannot
    read = [m for m in tar.members(io.BytesIO(out.getvalue())) if isinstance(m, tar.TarMember)]
    assert "does not come in the" in str(read[1].problem)


def test_a_link_keeps_the_archive_joinable(tmp_path):
    """Keys of a shard with links are those of its sidecars."""
    (tmp_path / "in.tar").write_bytes(archive())
    assert list(shards.scan(str(tmp_path / "in.tar"))) == ["a", "hard", *LINKS]
