"""Members that Python's own tarfile cannot read again were passed on as ok, so that the next reader
stopped there without a word; and a changed bit in a gzip stream gave samples with other pictures.

A member of 1 GB of zeros, some kilobytes when compressed, took 2 GB of memory.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import subprocess
import sys
import tarfile
import zlib

import pytest
import scenes

from socialcli import shards
from socialcli.shards import Damage, Sample, tar


def member(name: str, data: bytes, kind: bytes = b"0", **fields: bytes) -> bytes:
    """Header and data of one member, whose header fields are as given."""
    block = bytearray(tar.header(name, len(data)))
    block[156:157] = kind
    for field, value in fields.items():
        place = tar._FIELDS[field]
        block[place] = value.ljust(place.stop - place.start, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data + tar.padding(len(data))


def record(key: str, value: str) -> bytes:
    text = f" {key}={value}\n"
    length = len(text)
    while len(f"{length}{text}") != length:
        length += 1
    return f"{length}{text}".encode()


GOOD = member("good.txt", b"x") + member("last.txt", b"y")
ODD = {
    "uid of many digits": member("p", record("uid", "9" * 5000), b"x") + member("odd.txt", b"z"),
    "size of many digits": member("p", record("size", "9" * 30), b"x") + member("odd.txt", b"z"),
    "mtime without end": member("p", record("mtime", "1e400"), b"x") + member("odd.txt", b"z"),
    "no number": member("p", record("gid", "many"), b"x") + member("odd.txt", b"z"),
    "no record": member("p", b"0 a=b\n", b"x") + member("odd.txt", b"z"),
    "length of many digits": member("p", b"9" * 5000 + b" a=b\n", b"x") + member("odd.txt", b"z"),
    "cut record": member("p", b"99 path=odd.txt\n", b"x") + member("odd.txt", b"z"),
    "global header": member("p", record("mtime", "nan"), b"g") + member("odd.txt", b"z"),
    "nested headers": member("p", record("comment", "c"), b"x") * 3000 + member("odd.txt", b"z"),
    "nested long names": member("p", b"odd.txt\0", b"L") * 3000 + member("odd.txt", b"z"),
    "uid": member("odd.txt", b"z", uid=b"12x4567"),
    "mtime": member("odd.txt", b"z", mtime=b"\xff\xfe\xfd"[1:] + b"1"),
    "device": member("odd.txt", b"z", devmajor=b"8"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_tarfile_stops_at_is_a_failed_sample(tmp_path, name):
    source = tmp_path / "in.tar"
    source.write_bytes(GOOD[: len(GOOD) // 2] + ODD[name] + GOOD[len(GOOD) // 2 :] + bytes(1024))
    samples = [s for s in shards.read_all(str(source)) if isinstance(s, Sample)]
    assert [s.key for s in samples] == ["good", "odd", "last"]
    assert [bool(s.problem) for s in samples] == [False, True, False], samples[1].problem
    assert not samples[1].whole and ": damaged: " in samples[1].problem
    with open(tmp_path / "out.tar", "wb") as out:
        writer = shards.Writer(out)
        for sample in samples:
            if sample.whole:
                writer.passed(sample, {})
        writer.close()
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert archive.getnames() == ["good.txt", "last.txt"]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_what_tarfile_writes_is_right(tmp_path, form):
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        for name in ("a.txt", "b" * 90 + ".txt", "d/" * 60 + "c.txt"):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid, info.uname = 1, 1.7e9, 100_000, "somebody"
            if form != tarfile.USTAR_FORMAT:
                info.uid = 3_000_000  # more than seven octal digits
                info.mtime += 0.123456789
            archive.addfile(info, io.BytesIO(b"x"))
    samples = list(shards.read_all(str(tmp_path / "a.tar")))
    assert len(samples) == 3 and not any(s.problem for s in samples)


PACK = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("form", PACK)
def test_a_changed_bit_never_gives_a_sample_that_is_ok(tmp_path, form):
    plain = tmp_path / "a.tar"
    shards.write(plain, [(f"k{n}", scenes.members(n)) for n in range(4)])
    packed = PACK[form](plain.read_bytes())
    keys = [s.key for s in shards.read(str(plain))]
    (tmp_path / "b.tar").write_bytes(packed)
    assert [(s.key, s.problem) for s in shards.read(str(tmp_path / "b.tar"))] == [
        (key, None) for key in keys
    ]
    rng = random.Random(form)
    for _ in range(25):
        changed = bytearray(packed)
        changed[rng.randrange(12, len(packed))] ^= 1 << rng.randrange(8)
        try:
            if gzip.decompress(bytes(changed)) == plain.read_bytes():
                continue  # a bit that means nothing
        except (OSError, EOFError, zlib.error):
            pass
        (tmp_path / "b.tar").write_bytes(changed)
        for item in shards.read_all(str(tmp_path / "b.tar")):
            assert isinstance(item, Damage) or (item.problem and not item.whole)


def test_a_gigabyte_of_zeros_takes_no_memory(tmp_path):
    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        out.write(tar.header("a.txt", 2**30))
        for _ in range(64):
            out.write(bytes(2**24))
        out.write(tar.header("b.txt", 1) + b"x" + bytes(511) + tar.END_OF_ARCHIVE)
    # Not getrusage: a process begins with the peak of the one that started it.
    script = (
        "import re, sys; from socialcli import shards\n"
        "for s in shards.read(sys.argv[1]): print(s.key, s.problem)\n"
        "status = open('/proc/self/status').read()\n"
        "print(int(re.search('VmHWM:[^0-9]*([0-9]+)', status)[1]) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    first, second, memory = done.stdout.splitlines()
    assert first == f"a txt: member of {2**30} bytes is over the limit of {tar.MAX_MEMBER}"
    assert second == "b None" and int(memory) < 400, memory
    assert path.stat().st_size < 2**24
