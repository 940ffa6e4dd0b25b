"""Inputs that are broken or mean harm: nothing crashes or hangs, every bad sample has its reason,
every good one arrives."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zlib
from pathlib import Path

import pytest
from conftest import members, picture, samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from socialcli import shards
from socialcli.shards import tar
from socialcli.shards.sample import _group

CAPTION = ("caption", "--backend", "given", "--max-error-rate", "1")


def read(data: bytes) -> tuple[dict[str, shards.Sample], list[str]]:
    """Key -> sample, and the reasons of damage that belongs to no sample."""
    items = list(_group(io.BytesIO(data), shards.Checksum()))
    whole = [f for f in items if isinstance(f, shards.Sample)]
    return {s.key: s for s in whole}, [f.reason for f in items if isinstance(f, shards.Damage)]


def archive(rows) -> bytes:
    out = io.BytesIO()
    writer = shards.Writer(out)
    for key, body in rows:
        writer.added(key, body)
    writer.close()
    return out.getvalue()


def good(by_key: dict[str, shards.Sample]) -> set[str]:
    return {key for key, sample in by_key.items() if not sample.problem}


ROWS = samples(0, 4)
DATA = archive(ROWS)


# -- archives -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [512, 101])
def test_truncated_anywhere(step):
    """What is whole arrives, what is cut has a reason, and nothing is passed off as whole that
    lacks bytes, wherever the cut is."""
    for cut in range(0, len(DATA), step):
        by_key, damage = read(DATA[:cut])
        for key in good(by_key):
            expected = dict(ROWS)[key]
            got = by_key[key].members
            if got != expected:  # cut exactly between two members: only the missing end tells
                assert cut % 512 == 0 and damage and got.items() <= expected.items()
        if 0 < cut < len(DATA) - 1024:
            assert damage or any(s.problem for s in by_key.values()), cut
        assert len(good(by_key)) >= sum(
            (DATA.find(f"{n + 1:05d}.jpg".encode()) + 1 or len(DATA)) <= cut - 512 for n in range(4)
        )


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255)), max_size=12),
       st.integers(0, len(DATA)))  # fmt: skip
def test_any_bytes_may_be_wrong(changes, cut):
    data = bytearray(DATA)
    for where, value in changes:
        data[where] = value
    by_key, _ = read(bytes(data[:cut]))
    for sample in by_key.values():
        assert sample.problem or sample.members or not sample.key


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=4000))
def test_noise_is_not_an_archive(data):
    by_key, damage = read(data)
    assert not good(by_key) and (damage or not data.strip(b"\0"))


def test_a_broken_header_loses_one_member_not_the_rest():
    where = DATA.find(b"00002.jpg")
    data = DATA[:where] + b"XXXXX.jpg" + DATA[where + 9 :]
    by_key, damage = read(data)
    assert good(by_key) >= {"00000", "00001", "00003"}
    assert len(damage) == 1 and "not a tar header" in damage[0]
    # a broken header in the middle of a sample is that sample's own matter
    where = DATA.find(b"00001.txt") + 150
    data = DATA[:where] + b"9" + DATA[where + 1 :]
    by_key, damage = read(data)
    assert good(by_key) == {"00000", "00002", "00003"} and damage == []
    assert "may lack members" in by_key["00001"].problem


def with_size(name: str, field: bytes, data: bytes = b"x" * 100, kind: bytes = b"0") -> bytes:
    block = bytearray(tar.header(name, len(data)))
    block[124:136] = field.ljust(12, b"\0")
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data + bytes(-len(data) % 512)


@pytest.mark.parametrize(
    "field", [b"77777777777", b"\xff" * 12, b"\x80" + b"\xff" * 11, b"-7", b"9x", b"10000"]
)
def test_sizes_that_lie(field):
    data = DATA[:-1024] + with_size("liar.jpg", field) + archive([("last", {"jpg": b"1"})])
    by_key, damage = read(data)
    assert good(by_key) >= {f"{n:05d}" for n in range(4)}
    assert damage or ("liar" in by_key and by_key["liar"].problem)
    assert "liar" not in good(by_key)


@pytest.mark.parametrize("size", ["²", "9" * 5000, "-1", "1e3", "", "99999999999999999999"])
def test_pax_sizes_that_lie(size):
    record = f" size={size}\n".encode()
    length = len(record) + 1
    while len(str(length)) + len(record) != length:
        length += 1
    text = str(length).encode() + record
    pax = with_size("pax", b"%011o" % len(text), text, b"x")
    data = DATA[:-1024] + pax + with_size("next.jpg", b"%011o" % 100) + archive(ROWS[:0])
    by_key, _ = read(data)
    assert good(by_key) >= {f"{n:05d}" for n in range(4)}


def test_extension_headers_that_lie():
    more = archive([("junk", {"jpg": b"1"}), ("last", {"jpg": b"1"})])
    for kind in (b"x", b"g", b"L", b"K", b"X"):
        for field in (b"77777777777", b"-1", b"junk", b"0"):
            by_key, _ = read(DATA[:-1024] + with_size("long", field, b"", kind) + more)
            assert good(by_key) >= {f"{n:05d}" for n in range(4)} and "last" in by_key


def test_sparse_and_odd_members(tmp_path):
    odd = with_size("dev.jpg", b"0", b"", b"3") + with_size("odd.jpg", b"%o" % 100, kind=b"Q")
    sparse = with_size("holes.jpg", b"%o" % 100, kind=b"S")
    by_key, _ = read(DATA[:-1024] + odd + sparse + archive([("last", {"jpg": b"1"})]))
    assert good(by_key) == {*(f"{n:05d}" for n in range(4)), "last"}
    assert (
        "--sparse" in by_key["holes"].problem and "unknown tar member type" in by_key["odd"].problem
    )


def test_links_are_not_followed(tmp_path, run_cli):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive_:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            info = tarfile.TarInfo("00000.txt")
            info.type, info.linkname = kind, "/etc/passwd"
            archive_.addfile(info)
        info = tarfile.TarInfo("00000.jpg")
        info.size = 4
        archive_.addfile(info, io.BytesIO(b"1234"))
    (tmp_path / "a.tar").write_bytes(out.getvalue())
    done = run_cli(*CAPTION, tmp_path / "a.tar", "-o", tmp_path / "out")
    assert b"00000: txt: hard link to '/etc/passwd'" in done.stderr
    assert members(tmp_path / "out") == {"00000": {"jpg": b"1234"}}


def test_a_gzip_bomb_is_refused_a_member_at_a_time(tmp_path):
    """5 GB of zeros in 5 MB: one member over the limit, skipped in pieces."""
    import gzip

    head = tar.header("big.jpg", 5 * 2**30)
    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        out.write(archive(ROWS)[:-1024])
        out.write(head)
        for _ in range(40):
            out.write(bytes(2**20))
    items = list(shards.read_all(str(path)))
    assert sum(1 for s in items if isinstance(s, shards.Sample) and not s.problem) == 4
    assert "over the limit" in next(s.problem for s in items if getattr(s, "problem", None))


# -- names ----------------------------------------------------------------------------------------


def test_names_cannot_leave_the_folder_nor_the_line(run_cli, tmp_path):
    rows = [
        *ROWS,
        ("../../escape", {"jpg": b"1", "txt": b"x"}),
        ("/absolute", {"jpg": b"1", "txt": b"x"}),
        ("new\nline\x1b[31m", {"jpg": b"1"}),
        ("a" * 3000, {"jpg": b"1"}),
    ]
    (tmp_path / "a.tar").write_bytes(archive(rows))
    done = run_cli(*CAPTION, tmp_path / "a.tar", "-o", tmp_path / "out")
    assert b"\x1b" not in done.stderr
    lines = (tmp_path / "out" / "a.errors.jsonl").read_text().splitlines()
    reasons = {e["key"]: e["reason"] for e in map(json.loads, lines)}
    assert set(reasons) == {rows[i][0] for i in range(4, 8)}
    assert "unsafe" in reasons["../../escape"] and "unsafe" in reasons["/absolute"]
    assert set(members(tmp_path / "out")) == {k for k, _ in rows} - {"../../escape", "/absolute"}
    with tarfile.open(tmp_path / "out" / "a.tar") as result:
        assert not [m.name for m in result if m.name.startswith(("/", ".."))]


def test_duplicates_have_a_reason(run_cli, tmp_path):
    (tmp_path / "a.tar").write_bytes(
        archive([*ROWS, ROWS[1], ("twin", {"jpg": ROWS[0][1]["jpg"], "txt": b"2"})])
    )
    twice = archive([("same", {"jpg": b"1"})])[:-1024] + archive([("same", {"jpg": b"2"})])
    (tmp_path / "b.tar").write_bytes(twice)
    run_cli(*CAPTION, tmp_path / "a.tar", tmp_path / "b.tar", "-o", tmp_path / "out")
    for name, word in (("a", "duplicate key"), ("b", "two members are called jpg")):
        (line,) = (tmp_path / "out" / f"{name}.errors.jsonl").read_text().splitlines()
        assert word in json.loads(line)["reason"]
    assert json.loads((tmp_path / "out" / "a.stats.json").read_text())["counts"]["ok"] == 5


# -- nothing runs ---------------------------------------------------------------------------------


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.mark}",)


def test_pickles_pass_through_and_are_never_loaded(run_cli, tmp_path):
    import numpy

    mark = tmp_path / "ran"
    evil = pickle.dumps(Evil(mark))
    boxed = io.BytesIO()
    numpy.save(boxed, numpy.array([Evil(mark)], dtype=object), allow_pickle=True)
    body = dict.fromkeys(("pkl", "pyd", "pickle", "pth", "caption.json", "meta.json"), evil)
    body |= {"identity.npy": boxed.getvalue(), "jpg": evil}
    shards.write(tmp_path / "a.tar", [("0", {**body, "txt": b"a man"}), ("1", body)])
    run_cli(*CAPTION, tmp_path / "a.tar", "-o", tmp_path / "out")
    run_cli("merge", tmp_path / "out" / "a.tar", "-o", tmp_path / "merged")
    assert not mark.exists()
    assert members(tmp_path / "merged")["1"] == body
    pickle.loads(evil)
    assert mark.exists()  # the test itself can tell


def test_no_command_is_taken_from_anywhere(run_cli, tmp_path):
    mark = tmp_path / "ran"
    for location in (f"pipe:touch {mark}", f"pipe:touch {mark} #.tar", f"{{a,pipe:touch {mark}}}"):
        done = run_cli(*CAPTION, location, "-o", tmp_path / "out", code=2)
        assert b"no such shard" in done.stderr
    out = f"pipe:touch {mark} #{{index}}.tar"
    shards.write(tmp_path / "a.tar", [(f"pipe:touch {mark}", {"txt": b"`touch ran` $(touch ran)"})])
    run_cli(*CAPTION, tmp_path / "a.tar", "-o", out, cwd=tmp_path, code=None, env={
        "PYTHONPATH": str(Path(__file__).parents[2])})  # fmt: skip
    assert not mark.exists() and not (tmp_path / "ran").exists()


# -- pictures -------------------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + rows


def saved(image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def hostile_pictures() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """(good, bad) pictures by file name."""
    import numpy
    from PIL import Image

    small = Image.new("RGB", (40, 30), (200, 30, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(numpy.arange(1200, dtype=numpy.uint16).reshape(30, 40) * 50)
    frames = [Image.new("P", (40, 30), n) for n in range(4)]
    fine = {
        "plain.jpg": saved(small, "JPEG"),
        "cmyk.jpg": saved(small.convert("CMYK"), "JPEG"),
        "deep.png": saved(deep, "PNG"),
        "moving.gif": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "rotated.jpg": saved(small, "JPEG", exif=exif),
        "clear.png": saved(small.convert("RGBA"), "PNG"),
        "grey.webp": saved(small.convert("L"), "WEBP"),
    }
    broken = {
        "empty.jpg": b"",
        "page.jpg": b"<!DOCTYPE html><html><body>404 not found</body></html>",
        "huge.png": png_header(40_000, 40_000),
        "long.png": png_header(50_000, 10),
        "cut.jpg": picture(1, (300, 300))[:600],
        "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
    return fine, broken


def test_bad_pictures_are_named_and_good_ones_arrive(run_cli, tmp_path):
    """Through the command line: the importer, then a stage that decodes every pixel."""
    pytest.importorskip("mediapipe")
    fine, broken = hostile_pictures()
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, data in {**fine, **broken}.items():
        (folder / name).write_bytes(data)
    options = ("--max-error-rate", "1")
    run_cli("import", "folder", folder, "-o", tmp_path / "in", "--check-pixels", *options)
    arrived = members(tmp_path / "in")
    assert set(arrived) == {name.partition(".")[0] for name in fine}
    for name, data in fine.items():
        assert data in arrived[name.partition(".")[0]].values()
    lines = (tmp_path / "in" / "000000.errors.jsonl").read_text().splitlines()
    reasons = {e["key"]: e["reason"] for e in map(json.loads, lines)}
    assert set(reasons) == {name.partition(".")[0] for name in broken}
    assert all(reasons.values()) and "megapixels" in reasons["huge"]
    meta = json.loads(arrived["rotated"]["meta.json"])
    assert (meta["width"], meta["height"], meta["orientation"]) == (30, 40, 6)

    # the same pictures put into a shard by someone else, past the importer
    rows = [(n.partition(".")[0], {n.partition(".")[2]: d}) for n, d in {**fine, **broken}.items()]
    shards.write(tmp_path / "raw" / "0.tar", rows)
    run_cli("annotate-pose", tmp_path / "raw", "-o", tmp_path / "out", "--with", "pose",
            "--pose-backend", "mediapipe", "--face-backend", "mediapipe", *options)  # fmt: skip
    lines = (tmp_path / "out" / "0.errors.jsonl").read_text().splitlines()
    assert {json.loads(x)["key"] for x in lines} == {n.partition(".")[0] for n in broken}
    counts = json.loads((tmp_path / "out" / "0.stats.json").read_text())["counts"]
    assert (counts["ok"], counts["failed"]) == (len(fine), len(broken))
    assert list(members(tmp_path / "out")) == [key for key, _ in rows]
