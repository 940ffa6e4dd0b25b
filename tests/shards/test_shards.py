"""Shards against the three other programs that read and write them: tarfile and GNU tar,
webdataset, and Hugging Face datasets."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile

import pytest
from conftest import members, picture, samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from socialcli import shards
from socialcli.errors import SocialcliError, UsageError
from socialcli.shards import tar

NAMES = [
    "plain.jpg", "dir/under.jpg", "a b c.jpg", "日本.jpg", "é" * 40 + ".jpg", "x" * 180 + ".jpg",
    "d" * 90 + "/" + "e" * 90 + ".jpg", "up.JPG", "two.seg.png",
]  # fmt: skip


def content(name: str) -> bytes:
    return name.encode() * 37


def passed_through(data: bytes) -> bytes:
    """The archive as the writer gives it back when no sample changes."""
    out = io.BytesIO()
    writer = shards.Writer(out)
    for sample in reading(data):
        assert isinstance(sample, shards.Sample) and sample.problem is None
        writer.passed(sample, {})
    writer.close()
    return out.getvalue()


def reading(data: bytes) -> list:
    from socialcli.shards.sample import _group

    return list(_group(io.BytesIO(data), shards.Checksum()))


def names_of(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive if m.isreg()}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_and_passes_what_tarfile_writes(format):
    out = io.BytesIO()
    names = [n for n in NAMES if format != tarfile.USTAR_FORMAT or len(n.encode()) <= 100]
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = len(content(name)), 1.5e9 + number / 3, "jürgen"
            if format == tarfile.USTAR_FORMAT:
                info.mtime = 1_500_000_000
            archive.addfile(info, io.BytesIO(content(name)))
    data = out.getvalue()
    read = reading(data)
    assert [
        f"{s.key}." + name.partition(".")[2] for s, name in zip(read, names, strict=True)
    ] == names
    for name, sample in zip(names, read, strict=True):
        assert list(sample.members.values()) == [content(name)]
    through = passed_through(data)
    assert data.startswith(through.rstrip(b"\0"))  # all but how much zero padding ends it
    assert names_of(through) == names_of(data)


@pytest.mark.parametrize("format", ["ustar", "gnu", "oldgnu", "pax", "v7"])
def test_reads_what_gnu_tar_writes(tmp_path, format):
    if shutil.which("tar") is None:
        pytest.skip("no tar program here")
    folder = tmp_path / "files"
    (folder / "sub").mkdir(parents=True)
    names = ["a.jpg", "a.txt", "sub/b.jpg", "sub/b.txt"]
    if format not in ("v7", "ustar"):
        names += ["日本.jpg", "x" * 180 + ".jpg"]
    for name in names:
        (folder / name).write_bytes(content(name))
    (folder / "link.jpg").symlink_to("a.jpg")
    (folder / "hard.jpg").hardlink_to(folder / "a.jpg")
    archive = tmp_path / "a.tar"
    subprocess.run(
        ["tar", f"--format={format}", "--sort=name", "-cf", archive, "-C", folder, "."], check=True
    )
    contents = {}
    for sample in shards.read(str(archive)):
        assert (sample.problem is None) == (sample.key != "./link")  # a symbolic link has no bytes
        for suffix, data in sample.members.items():
            contents[f"{sample.key}.{suffix}"] = data
    # tarfile as the judge, which follows hard links as well
    assert contents == names_of(archive.read_bytes()) | {"./hard.jpg": content("a.jpg")}
    assert {"./" + n for n in names} <= set(contents)


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
def test_compressed_shards_are_recognised_by_their_bytes(tmp_path, mode):
    plain = tmp_path / "plain.tar"
    shards.write(plain, samples(0, 4))
    packed = tmp_path / "packed.tar"  # the name does not say it
    with tarfile.open(packed, f"w:{mode}") as out, tarfile.open(plain) as source:
        for info in source:
            out.addfile(info, source.extractfile(info))
    assert members(packed) == members(plain)
    # cut short: what was still whole arrives, what was not is named, nothing raises
    packed.write_bytes(packed.read_bytes()[:-40])
    read = list(shards.read_all(str(packed)))
    whole = {s.key: s.members for s in read if isinstance(s, shards.Sample) and not s.problem}
    assert all(members(plain)[key] == body for key, body in whole.items())
    assert any(isinstance(s, shards.Damage) or s.problem for s in read)


def test_reads_what_webdataset_writes(tmp_path):
    wds = pytest.importorskip("webdataset")
    rows = [
        {"__key__": f"{n:06d}", "jpg": picture(n), "json": {"n": n}, "cls": n} for n in range(9)
    ]
    with wds.TarWriter(str(tmp_path / "one.tar"), encoder=True) as sink:
        for row in rows:
            sink.write(row)
    read = members(tmp_path / "one.tar")
    assert list(read) == [row["__key__"] for row in rows]
    assert read["000003"] == {"jpg": rows[3]["jpg"], "json": b'{"n": 3}', "cls": b"3"}
    pattern = str(tmp_path / "many-%04d.tar")
    with wds.ShardWriter(pattern, maxcount=4, verbose=0) as sink:
        for row in rows:
            sink.write(row)
    (tmp_path / "one.tar").unlink()
    assert members(tmp_path) == read
    with wds.TarWriter(str(tmp_path / "packed.tar.gz")) as sink:
        sink.write(rows[0])
    assert members(tmp_path / "packed.tar.gz")["000000"]["jpg"] == rows[0]["jpg"]


def test_webdataset_reads_what_we_write(tmp_path):
    wds = pytest.importorskip("webdataset")
    rows = [*samples(0, 5), ("日本/" + "x" * 120, {"jpg": picture(9), "caption.json": b"{}"})]
    shards.write(tmp_path / "ours.tar", rows)
    read = list(wds.WebDataset(str(tmp_path / "ours.tar"), shardshuffle=False))
    assert len(read) == len(rows)
    for (key, expected), sample in zip(rows, read, strict=True):
        assert sample["__key__"] == key
        assert {k: v for k, v in sample.items() if not k.startswith("__")} == expected


def test_datasets_reads_what_we_write(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from datasets import load_dataset

    rows = samples(0, 5)
    shards.write(tmp_path / "ours.tar", rows)
    read = load_dataset(
        "webdataset",
        data_files={"train": str(tmp_path / "ours.tar")},
        split="train",
        cache_dir=str(tmp_path / "cache"),
    ).cast_column("jpg", __import__("datasets").Image(decode=False))
    assert [row["__key__"] for row in read] == [key for key, _ in rows]
    for (_, expected), row in zip(rows, read, strict=True):
        assert row["jpg"]["bytes"] == expected["jpg"]
        assert row["bin"] == expected["bin"]
        text = row["txt"]
        assert (text if isinstance(text, bytes) else text.encode()) == expected["txt"]


NAME = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0/.\\"),
    min_size=1,
    max_size=120,
).filter(lambda t: not t.startswith("__"))
SUFFIX = st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,8})?", fullmatch=True)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(
        st.tuples(st.lists(NAME, max_size=2), NAME).map(lambda t: "/".join([*t[0], t[1]])),
        st.dictionaries(SUFFIX, st.binary(max_size=1500), min_size=1, max_size=4),
        max_size=5,
    )
)
def test_any_names_and_sizes_come_back(rows):
    out = io.BytesIO()
    writer = shards.Writer(out)
    for key, body in rows.items():
        writer.added(key, body)
    writer.close()
    data = out.getvalue()
    assert writer.bytes == len(data)
    assert {s.key: s.members for s in reading(data)} == rows
    assert passed_through(data) == data
    assert names_of(data) == {f"{k}.{s}": d for k, m in rows.items() for s, d in m.items()}


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.characters(min_codepoint=1, blacklist_categories=["Cs"]), min_size=1, max_size=130),
    st.integers(0, 2**40),
)
def test_headers_are_those_of_tarfile(name, size):
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    assert tar.header(name, size) == info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def test_names_that_are_not_utf8_keep_their_bytes():
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as t:
        info = tarfile.TarInfo("café.jpg")
        info.size = 3
        t.addfile(info, io.BytesIO(b"abc"))
    assert reading(out.getvalue())[0].key + ".jpg" == name
    again = tar.header(name, 3) + b"abc".ljust(512, b"\0") + tar.END_OF_ARCHIVE
    assert reading(again)[0].key + ".jpg" == name


def test_concatenated_archives_are_one_stream():
    def archive(first, last):
        out = io.BytesIO()
        writer = shards.Writer(out)
        for key, body in samples(first, last):
            writer.added(key, body)
        writer.close()
        return out.getvalue()

    data = archive(0, 3) + archive(3, 5) + bytes(10240) + archive(5, 6)
    assert [s.key for s in reading(data)] == [f"{n:05d}" for n in range(6)]
    assert passed_through(data) == archive(0, 6)
    # the last sample of one and the first of the next are two, though they share a key
    twice = reading(archive(0, 1) + archive(0, 1))
    assert [s.problem for s in twice] == [None, twice[1].problem]
    assert "duplicate key" in twice[1].problem


def test_large_numbers_in_headers():
    """Sizes above 8 GB are written base 256 by GNU tar and in pax records by others."""
    info = tarfile.TarInfo("a.jpg")
    info.size = 2**40
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        read = [f for f in reading(info.tobuf(format)) if isinstance(f, shards.Sample)]
        assert read[0].key == "a" and "over the limit" in read[0].problem


def test_a_global_header_holds_for_members_that_do_not_say_otherwise():
    """POSIX pax: type g is of all that follow, type x of the next one, and goes first."""
    general = tarfile.TarInfo.create_pax_global_header({"path": "all/of.jpg", "comment": "x"})
    long = tarfile.TarInfo("x" * 120 + ".jpg")
    own = long.tobuf(tarfile.PAX_FORMAT)
    plain = tarfile.TarInfo("plain.jpg").tobuf(tarfile.PAX_FORMAT)
    data = plain + general + own + plain + bytes(1024)
    assert [s.key for s in reading(data)] == ["plain", "x" * 120, "all/of"]


@pytest.mark.parametrize("blank", [b" " * 12, bytes(12)])
def test_a_blank_size_is_none_and_an_empty_extension_says_nothing(blank):
    """As tarfile, which is the judge, reads them."""

    def header(name, kind):
        block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
        block[124:136], block[156:157], block[148:156] = blank, kind, b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block)

    other = tarfile.TarInfo("b.txt").tobuf(tarfile.USTAR_FORMAT)
    data = header("a.jpg", b"0") + header("more", b"x") + other + bytes(1024)
    assert names_of(data) == {"a.jpg": b"", "b.txt": b""}
    assert [(s.key, s.members, s.problem) for s in reading(data)] == [
        ("a", {"jpg": b""}, None), ("b", {"txt": b""}, None),
    ]  # fmt: skip


# -- where shards are -----------------------------------------------------------------------------


def test_expand(make_shards, tmp_path, monkeypatch):
    folder = make_shards(3, 1)
    every = [str(folder / f"{n:03d}.tar") for n in range(3)]
    assert shards.expand([str(folder)]) == every
    assert shards.expand([f"{folder}/*.tar"]) == every
    assert shards.expand([f"{folder}/{{000..002}}.tar"]) == every
    assert shards.expand([every[2], every[0]]) == [every[2], every[0]]
    assert shards.expand([f"{folder}/+{folder}/"]) == [f"{s}+{s}" for s in every]
    monkeypatch.chdir(tmp_path)
    assert shards.expand(["in/{000..001}.tar+in/{001..002}.tar"]) == [
        "in/000.tar+in/001.tar", "in/001.tar+in/002.tar",
    ]  # fmt: skip
    assert shards.expand(["in/*.tar+in"]) == [f"in/{n:03d}.tar+in/{n:03d}.tar" for n in range(3)]
    for wrong, word in [
        ("nowhere.tar", "no such shard"),
        ("in/{000..005}.tar", "no such shard"),
        ("in/{000.tar", "unbalanced"),
        ("in/*.tar+in/000.tar", "3 and 1 shards"),
        ("pipe:cat in/000.tar", "no such shard"),
    ]:
        with pytest.raises(UsageError, match=word):
            shards.expand([wrong])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no \.tar files"):
        shards.expand(["empty"])


def test_a_plus_sign_in_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shards.write("men+women.tar", [("a", {"jpg": b"1"})])
    shards.write("caps.tar", [("a", {"txt": b"2"})])
    assert shards.expand(["men+women.tar"]) == ["men+women.tar"]
    assert shards.parts("men+women.tar+caps.tar") == ["men+women.tar", "caps.tar"]
    assert members("men+women.tar+caps.tar") == {"a": {"jpg": b"1", "txt": b"2"}}
    assert shards.parts("a+b/*.tar+c/*.tar") == ["a+b/*.tar", "c/*.tar"]
    assert shards.parts("s3://x/a+b.tar+s3://x/c.tar") == ["s3://x/a+b.tar", "s3://x/c.tar"]
    assert shards.parts("-+caps.tar") == ["-", "caps.tar"]
    assert shards.parts("new.tar+newer.tar+x/") == ["new.tar", "newer.tar", "x/"]


def test_remote_shards():
    fsspec = pytest.importorskip("fsspec")
    shards.write("memory://bucket/in/0.tar", samples(0, 2))
    shards.write("memory://bucket/in/1.tar", samples(2, 4))
    every = ["memory://bucket/in/0.tar", "memory://bucket/in/1.tar"]
    for named in (
        "memory://bucket/in/{0..1}.tar",
        "memory://bucket/in/*.tar",
        "memory://bucket/in/",
    ):
        assert [s.replace(":///", "://") for s in shards.expand([named])] == every
    assert list(members(every[1])) == ["00002", "00003"]
    with pytest.raises(SocialcliError, match="in/9"):
        list(shards.read("memory://bucket/in/9.tar"))
    with pytest.raises(UsageError, match="nothing-like-it"):
        list(shards.read("nothing-like-it://a.tar"))
    with pytest.raises(UsageError, match="under this prefix"):
        shards.expand(["memory://bucket/none/"])
    assert fsspec.filesystem("memory").info("/bucket/in/0.tar")["size"] > 1024


def test_publishing_is_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a.tar"
    target.write_bytes(b"before")
    with pytest.raises(RuntimeError):
        with shards.publish(str(target)) as file:
            file.write(b"half")
            raise RuntimeError
    assert target.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def test_joins_that_do_not_match_are_refused(tmp_path):
    first, other = str(tmp_path / "a.tar"), str(tmp_path / "b.tar")
    shards.write(first, [("k1", {"jpg": b"1"}), ("k2", {"jpg": b"2"})])
    for keys, word in [
        (["k1", "k3"], "at key 'k2' of the first the second has 'k3'"),
        (["k1"], "at key 'k2' of the first the second has its end"),
        (["k1", "k2", "k3"], "goes on with key 'k3'"),
        (["k2", "k1"], "at key 'k1' of the first the second has 'k2'"),
    ]:
        shards.write(other, [(key, {"txt": b"x"}) for key in keys])
        with pytest.raises(SocialcliError, match=word):
            list(shards.read(f"{first}+{other}"))


def test_keys():
    assert shards.split_name("a/b.c/000.Caption.JSON") == ("a/b.c/000", "caption.json")
    assert shards.split_name("./000.jpg") == ("./000", "jpg")  # as webdataset has it
    for none in ("a/.hidden", "noending", "__meta__.x__", "a/", "a."):
        assert shards.split_name(none) is None
    for bad in ("../a.jpg", "/a.jpg", "a/../../b.jpg", "..\\a.jpg", "\\\\host\\a.jpg"):
        assert not shards.is_safe(bad)
    assert shards.is_safe("a/..b/c.jpg")
    assert shards.safe_key("../../etc/pass.wd.jpg") == "etc/pass_wd"
    assert shards.safe_key("a\nb\x1b[31m.jpg") == "a_b__31m"
    assert shards.distinct_keys(["a.jpg", "a.png", "a-2.jpg"]) == ["a", "a-2", "a-2-2"]


def test_webdataset_groups_dotted_folders_as_we_do(tmp_path):
    wds = pytest.importorskip("webdataset")
    folder = tmp_path / "f"
    (folder / "v1.5").mkdir(parents=True)
    for name in ("v1.5/0.jpg", "v1.5/0.seg.png", "1.jpg"):
        (folder / name).write_bytes(name.encode())
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(folder, ".", recursive=True)
    theirs = {
        s["__key__"]: {k: v for k, v in s.items() if not k.startswith("__")}
        for s in wds.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False)
    }
    assert members(tmp_path / "a.tar") == theirs
