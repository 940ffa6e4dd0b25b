"""Which archives are read where they lie, and that an index gives what reading gives."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from socialcli import shards
from socialcli.shards import index as indexing
from socialcli.shards import tar


def archive(*members: tuple[str, bytes] | tarfile.TarInfo, format=tarfile.GNU_FORMAT) -> bytes:
    """What tarfile writes, without the zeros that end it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member)
                continue
            name, data = member
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
        length = file.offset
    return out.getvalue()[:length]


def entry(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


END = bytes(1024)
ONE = archive(("a.jpg", b"1234"), ("a.txt", b"one"))
TWO = archive(("b.jpg", bytes(700)))
LONG = "folder/" + "x" * 150


def with_pax(name: str, data: bytes, **headers: str) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.pax_headers = len(data), headers
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)


def without_time(name: str, data: bytes) -> bytes:
    block = bytearray(archive((name, data)))
    block[136:148] = b"noon".ljust(12, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block)


PLAIN = {
    "as it is written": ONE + TWO + END,
    "without an end mark's second block": ONE + TWO + bytes(512),
    "long names of GNU tar": archive((f"{LONG}.jpg", b"1"), (f"{LONG}.txt", b"2"), ("c.jpg", b"3"))
    + END,
    "long names of pax": archive((f"{LONG}ü.jpg", b"1"), ("c.jpg", b"3"), format=tarfile.PAX_FORMAT)
    + END,
    "folders, with long names too": archive(entry("d", tarfile.DIRTYPE), ("d/a.jpg", b"1"),
                                            entry(LONG, tarfile.DIRTYPE), ("e.jpg", b"2")) + END,
    "files of no sample": archive(("notes/README", b"x"), ("a.jpg", b"1"), (".b", b"y"),
                                  ("a.txt", b"2")) + END,
    "zeros behind the end": ONE + END + bytes(20 * 512),
    "empty members": archive(("a.jpg", b""), ("a.txt", b"1")) + END,
    "nothing": END,
}  # fmt: skip
COPIED = {
    "a key that comes back": ONE + TWO + ONE + END,
    "a member twice": archive(("a.jpg", b"1"), ("a.jpg", b"2")) + END,
    "a name that leads out": archive(("../a.jpg", b"1"), ("b.jpg", b"2")) + END,
    "a hard link": ONE + archive(entry("b.jpg", tarfile.LNKTYPE, "a.jpg")) + END,
    "a symbolic link": ONE + archive(entry("b.jpg", tarfile.SYMTYPE, "a.jpg")) + END,
    "sparse": ONE + archive(entry("s.jpg", tarfile.GNUTYPE_SPARSE)) + END,
    "sparse in pax": ONE + with_pax("s.jpg", b"1", **{"GNU.sparse.major": "1"}) + END,
    "a size in pax": ONE + with_pax("s.jpg", b"12", size="2") + END,
    "a time in pax that is none": ONE + with_pax("s.jpg", b"1", mtime="noon") + TWO + END,
    "a time that is none": ONE + without_time("s.jpg", b"1") + TWO + END,
    "more headers than others read": ONE + 17 * with_pax("s", b"", comment="x")[:1024] + TWO + END,
    "another archive behind the end": ONE + END + TWO + END,
    "bytes behind the end": ONE + END + b"x",
    "cut in a header": ONE + TWO[:300],
    "cut in a member": ONE + TWO[:1024],
    "no end": ONE + TWO,
    "a broken checksum": ONE + b"x" + TWO[1:] + END,
}  # fmt: skip


def agrees(folder: Path, data: bytes) -> bool:
    """Whether it was read where it lies; what is read is what reading gives either way."""
    (folder / "a.tar").write_bytes(data)
    lines: list[str] = []
    index = indexing.build([str(folder / "a.tar")], folder / "cache", lines.append)
    usable = [s for s in shards.read(str(folder / "a.tar")) if s.problem is None and s.whole]
    indexed = [index.read(number) for number in range(len(index))]
    assert [(s.key, s.members) for s in indexed] == [(s.key, s.members) for s in usable]
    return not lines


@pytest.mark.parametrize("name", PLAIN)
def test_plain_archives_are_read_where_they_lie(tmp_path, name):
    assert agrees(tmp_path, PLAIN[name])


@pytest.mark.parametrize("name", COPIED)
def test_others_are_copied(tmp_path, name):
    assert not agrees(tmp_path, COPIED[name])


@pytest.mark.parametrize(("limit", "least"), [("MAX_MEMBER", 700), ("MAX_EXTENSION", 162)])
def test_what_is_at_a_limit_is_plain(tmp_path, monkeypatch, limit, least):
    data = TWO + archive((f"{LONG}.jpg", b"1")) + END  # a name of 161 letters and a zero
    monkeypatch.setattr(tar, limit, least - 1)
    assert not agrees(tmp_path, data)
    monkeypatch.setattr(tar, limit, least)
    assert agrees(tmp_path, data)


def test_what_is_copied_is_copied_again_when_it_changes(tmp_path):
    """By its length and time of change; what was left out is said each time."""
    place, lines = tmp_path / "a.tar", []
    place.write_bytes(COPIED["a member twice"])

    def build() -> indexing.Index:
        return indexing.build([str(place)], tmp_path / "cache", lines.append)

    first = build()
    assert len(first) == 0 and list(first.unusable) == ["a"] and len(lines) == 1
    assert build().unusable == first.unusable and len(lines) == 1
    place.write_bytes(COPIED["a hard link"])
    assert [one.key for one in build().entries] == ["a", "b"] and len(lines) == 2
    for copy in (tmp_path / "cache").glob("*.tar"):
        copy.unlink()
    assert len(build()) == 2 and len(lines) == 3


def test_a_file_that_becomes_shorter_is_no_sample(tmp_path):
    place = tmp_path / "a.tar"
    place.write_bytes(TWO + END)
    index = indexing.build([str(place)], tmp_path / "cache")
    place.write_bytes(TWO[:700])
    with pytest.raises(OSError, match="became shorter"):
        index.read(0)


def test_a_fingerprint_is_of_keys_and_sizes_and_not_of_places(tmp_path):
    def of(*parts: bytes) -> str:
        for number, part in enumerate(parts):
            (tmp_path / f"{number}.tar").write_bytes(part + END)
        places = [str(tmp_path / f"{number}.tar") for number in range(len(parts))]
        return indexing.build(places, tmp_path / "cache").fingerprint()

    whole = of(ONE + TWO)
    assert whole == of(ONE, TWO) == of(archive(("a.txt", b"two"), ("a.jpg", b"4321")), TWO)
    other = [
        of(TWO, ONE), of(ONE), of(ONE, archive(("b.jpg", bytes(701)))),
        of(ONE, archive(("b.png", bytes(700)))), of(ONE, archive(("c.jpg", bytes(700)))),
    ]  # fmt: skip
    assert len({whole, *other}) == 6
