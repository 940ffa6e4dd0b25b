"""A folder half of JPEG XL files looked half as large: they were passed over without a word."""

from __future__ import annotations

import json

import pytest
from conftest import members, picture

from socialcli.importers import _picture

KINDS = {
    "a.jxl": b"\xff\x0a" + bytes(60),
    "b.jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
    "c.CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(60),
    "d.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "e.psd": b"8BPS" + bytes(60),
    "f.heic": b"\0\0\0\x18ftypheic" + bytes(60),
}


def errors(folder) -> dict[str, str]:
    lines = (folder / "000000.errors.jsonl").read_text().splitlines()
    return {line["key"]: line["reason"] for line in map(json.loads, lines)}


def test_they_are_listed_with_the_mend(tmp_path, run_cli):
    (tmp_path / "d").mkdir()
    for name, data in KINDS.items():
        (tmp_path / "d" / name).write_bytes(data)
    for name in ("1.jpg", "2.JPG"):
        (tmp_path / "d" / name).write_bytes(picture(1))
    done = run_cli("import", "folder", tmp_path / "d", "-o", tmp_path / "o", "--max-error-rate", 1)
    assert b"8 samples: 2 ok, 0 filtered, 6 failed" in done.stderr
    reasons = errors(tmp_path / "o")
    assert reasons.keys() == {name[0] for name in KINDS}
    assert all("cannot be read here" in reason for reason in reasons.values()), reasons


def test_a_camera_s_pair_is_one_picture(tmp_path, run_cli):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/IMG_1.CR2").write_bytes(KINDS["c.CR2"])
    (tmp_path / "d/IMG_1.JPG").write_bytes(picture(1))
    run_cli("import", "folder", tmp_path / "d", "-o", tmp_path / "o")
    assert list(members(tmp_path / "o")) == ["IMG_1"]


def test_a_picture_without_a_suffix_is_one(tmp_path, run_cli):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/0a1b2c").write_bytes(picture(1))
    (tmp_path / "d/README").write_text("no picture")
    run_cli("import", "folder", tmp_path / "d", "-o", tmp_path / "o")
    assert members(tmp_path / "o")["0a1b2c"]["jpg"] == picture(1)


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("x.jpg", KINDS["a.jxl"], "JPEG XL"),
        ("x.jpg", KINDS["b.jp2"], "JPEG 2000"),
        ("x.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ],
)
def test_a_wrong_suffix_does_not_hide_what_it_is(tmp_path, name, data, message):
    from socialcli.errors import SampleFailed

    (tmp_path / name).write_bytes(data)
    with pytest.raises(SampleFailed, match=message):
        _picture.read(tmp_path, name)
