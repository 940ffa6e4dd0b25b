"""`import folder`, and what all importers share: files, names, frames."""

from __future__ import annotations

import io
import json
import os

import numpy
import pytest
from parts import part
from PIL import Image

from socialcli import shards
from socialcli.errors import SampleFailed, UsageError
from socialcli.importers import _picture
from socialcli.vision.images import PictureFacts

folder = part("importers", "folder")


def jpeg(width: int = 32, height: int = 16, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.new("RGB", (width, height), (width, height, 99)).save(out, "JPEG", exif=exif.tobytes())
    return out.getvalue()


def run(source, **options) -> dict[str, dict[str, bytes] | str]:
    """Key -> members, or the reason it failed."""
    config = folder.Config(str(source), **options)
    imported: dict[str, dict[str, bytes] | str] = {}
    for entry in folder.entries(config):
        assert entry.key not in imported
        try:
            imported[entry.key] = folder.build(config, entry)
        except SampleFailed as error:
            imported[entry.key] = str(error)
    return imported


def test_members_are_the_files_byte_for_byte(tmp_path):
    (tmp_path / "trip").mkdir()
    picture = jpeg(32, 16, orientation=6)
    (tmp_path / "trip/a.jpg").write_bytes(picture)
    (tmp_path / "trip/a.txt").write_bytes(b"caption \xff not UTF-8\r\n")
    (tmp_path / "trip/a.JSON").write_bytes(b'{"any": 1}')
    (tmp_path / "trip/other.txt").write_text("belongs to nothing")
    imported = run(tmp_path)
    assert list(imported) == ["trip/a"]
    members = imported["trip/a"]
    assert list(members) == ["jpg", "meta.json", "txt", "json"]
    assert members["jpg"] == picture
    assert members["txt"] == b"caption \xff not UTF-8\r\n"
    assert members["json"] == b'{"any": 1}'
    assert json.loads(members["meta.json"]) == {
        "schema": 1, "width": 16, "height": 32, "orientation": 6, "source": "trip/a.jpg",
        "split": "", "license": "", "extra": {},
    }  # fmt: skip


def test_order_is_natural_and_the_same_every_time(tmp_path):
    for name in ("10.jpg", "2.jpg", "a10.jpg", "a9.jpg", "1.jpg", "b/1.jpg", "02.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(jpeg())
    assert list(run(tmp_path)) == ["1", "02", "2", "10", "a9", "a10", "b/1"]


def test_every_picture_suffix_becomes_one_that_readers_know(tmp_path):
    for name, format in [
        ("a.JPG", "JPEG"), ("b.jfif", "JPEG"), ("c.pgm", "PPM"), ("d.png", "PNG"),
        ("e.webp", "WEBP"), ("f.jpe", "JPEG"), ("g.TIFF", "TIFF"), ("h.avif", "AVIF"),
    ]:  # fmt: skip
        mode = "L" if format == "PPM" else "RGB"
        Image.new(mode, (8, 8)).save(tmp_path / name, format)
    imported = run(tmp_path)
    suffixes = [next(iter(members)) for members in imported.values()]
    assert suffixes == ["jpg", "jpg", "ppm", "png", "webp", "jpg", "tiff", "avif"]


def test_odd_names_become_keys_that_webdataset_splits_back(tmp_path):
    names = ["v1.2.final.jpg", "new\nline.jpg", "sp ace.jpg", "ünï.jpg", "__meta__.jpg", "q?*.jpg"]
    (tmp_path / "a.b").mkdir()
    for name in [*names, "a.b/x.jpg"]:
        (tmp_path / name).write_bytes(jpeg())
    with open(os.fsencode(tmp_path) + b"/\xff.jpg", "wb") as file:
        file.write(jpeg())
    (tmp_path / "v1.2.final.txt").write_text("dots")
    imported = run(tmp_path)
    assert len(imported) == 8
    for key, members in imported.items():
        assert isinstance(members, dict), members
        for suffix in members:
            assert shards.split_name(f"{key}.{suffix}") == (key, suffix)
            assert shards.is_safe(f"{key}.{suffix}")
            assert "\n" not in key
    assert imported["v1_2_final"]["txt"] == b"dots"
    sources = {json.loads(m["meta.json"])["source"] for m in imported.values()}
    assert "new\nline.jpg" in sources  # the true name is kept as data
    assert "\\xff.jpg" in sources


def test_two_files_of_one_key_stay_two_samples(tmp_path):
    for name in ("a.jpg", "a.png", "a.b.jpg", "a_b.jpg"):
        (tmp_path / name).write_bytes(jpeg())
    (tmp_path / "a.txt").write_text("both")
    imported = run(tmp_path)
    assert list(imported) == ["a_b", "a", "a-2", "a_b-2"]
    assert imported["a"]["txt"] == imported["a-2"]["txt"] == b"both"
    assert json.loads(imported["a-2"]["meta.json"])["source"] == "a.png"


def test_links_in_a_circle_end_and_nothing_comes_twice(tmp_path):
    real = tmp_path / "root/z-real"
    real.mkdir(parents=True)
    (real / "1.jpg").write_bytes(jpeg())
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "2.jpg").write_bytes(jpeg())
    (tmp_path / "root/a-link").symlink_to(real)  # sorts before the folder it leads to
    (real / "up").symlink_to(tmp_path / "root")
    (tmp_path / "root/out").symlink_to(outside)
    (outside / "back").symlink_to(tmp_path / "root")
    assert list(run(tmp_path / "root")) == ["out/2", "z-real/1"]
    assert list(run(tmp_path / "root", follow_links=False)) == ["z-real/1"]


def test_hidden_files_stay_out_unless_asked_for(tmp_path):
    (tmp_path / ".thumbs").mkdir()
    for name in ("a.jpg", "._a.jpg", ".thumbs/b.jpg", ".jpg"):
        (tmp_path / name).write_bytes(jpeg())
    assert list(run(tmp_path)) == ["a"]
    assert len(run(tmp_path, hidden=True)) == 3


def test_files_that_cannot_be_used_fail_one_by_one(tmp_path):
    good = jpeg(2000, 2000)  # large enough that the cut falls among the pixels
    (tmp_path / "good.jpg").write_bytes(good)
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "cut.jpg").write_bytes(good[: len(good) // 2])
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(30))
    os.mkfifo(tmp_path / "pipe.jpg")  # reading it would block for ever
    imported = run(tmp_path)
    assert isinstance(imported["good"], dict)
    assert "zero bytes" in imported["empty"]
    assert "HTML" in imported["page"]
    assert "no such file" in imported["gone"]
    assert "not a regular file" in imported["pipe"]
    assert "HEIC" in imported["phone"]
    assert isinstance(imported["cut"], dict)  # its header is whole
    assert "decoded" in run(tmp_path, check_pixels=True)["cut"]


def test_unreadable_and_outsized_files_fail(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    with pytest.raises(SampleFailed, match="over the limit"):
        _picture.read_file(tmp_path, "a.jpg", limit=100)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert "Permission denied" in run(tmp_path)["a"]


@pytest.mark.parametrize("name", ["../a.jpg", "x/../../a.jpg", "/etc/passwd", "a\0.jpg", "..\\a"])
def test_names_from_data_do_not_leave_the_folder(tmp_path, name):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    (tmp_path / "in").mkdir()
    with pytest.raises(SampleFailed, match="unsafe"):
        _picture.read_file(tmp_path / "in", name)


def test_a_reason_is_one_line(tmp_path):
    with pytest.raises(SampleFailed, match=r"a_b\.jpg: no such file"):
        _picture.read_file(tmp_path, "a\nb.jpg")


def test_nothing_to_import_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no pictures"):
        run(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        run(tmp_path / "none")
    (tmp_path / "a.jpg").write_bytes(jpeg())
    with pytest.raises(UsageError, match="a file"):
        run(tmp_path / "a.jpg")


# Frames: where stored pixels are in the upright picture


@pytest.mark.parametrize("orientation", range(1, 9))
def test_frame_turns_annotations_as_the_decoder_turns_pixels(orientation):
    from socialcli.vision import images

    stored = numpy.zeros((16, 32, 3), numpy.uint8)
    stored[2:6, 20:30] = 255  # a white block: left 20, top 2, right 30, bottom 6
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(stored).save(out, "PNG", exif=exif.tobytes())
    facts = images.facts(out.getvalue())
    upright = numpy.asarray(images.decode(out.getvalue()))[:, :, 0] > 128
    frame = _picture.frame(facts, (32, 16))
    assert numpy.array_equal(frame.mask(stored[:, :, 0] > 128), upright)
    rows, columns = upright.any(axis=1).nonzero()[0], upright.any(axis=0).nonzero()[0]
    height, width = upright.shape
    expected = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width,
                (rows[-1] + 1) / height)  # fmt: skip
    assert frame.box(20, 2, 30, 6) == pytest.approx(expected)
    x, y = frame.point(29.5, 2.5)  # the middle of a white pixel near one corner of the block
    assert upright[int(y * height), int(x * width)]
    assert frame.mirrored == (orientation in (2, 4, 5, 7))


def test_frame_is_chosen_by_the_annotated_size():
    facts = PictureFacts(48, 64, 6, "JPEG")  # stored 64x48
    assert _picture.frame(facts, (64, 48)).orientation == 6
    assert _picture.frame(facts, (48, 64)).orientation == 1
    assert _picture.frame(facts, None) == _picture.Frame(64, 48, 6)
    assert _picture.frame(facts, None, "upright") == _picture.Frame(48, 64, 1)
    assert _picture.frame(facts, (128, 96)) == _picture.Frame(128, 96, 6)  # a halved copy
    assert _picture.frame(facts, (127, 96)).orientation == 6  # rounded
    for wrong in ((64, 64), (100, 48), (0, 0)):
        with pytest.raises(SampleFailed, match="not the same picture"):
            _picture.frame(facts, wrong)
    with pytest.raises(SampleFailed, match="not the same picture"):
        _picture.frame(facts, (64, 48), "upright")
    nearly_square = PictureFacts(1000, 1001, 6, "JPEG")  # an exact fit beats a tolerable one
    assert _picture.frame(nearly_square, (1000, 1001)).orientation == 1
    assert _picture.frame(nearly_square, (1001, 1000)).orientation == 6
    square = PictureFacts(50, 50, 3, "JPEG")
    assert _picture.frame(square, (50, 50)).orientation == 3
    assert _picture.frame(square, (50, 50), "upright").orientation == 1


def test_boxes_are_clipped_and_empty_ones_dropped():
    frame = _picture.Frame(100, 50)
    assert frame.box(-10, 10, 50, 80) == (0.0, 0.2, 0.5, 1.0)
    nan = float("nan")
    for empty in ((10, 10, 10, 20), (20, 10, 10, 20), (100, 0, 120, 50), (nan, 0, 1, 1),
                  (0, nan, nan, 1), (-5, 0, 0, 50), (10, 10, 10.00001, 20)):  # fmt: skip
        assert frame.box(*empty) is None, empty
