"""A studio's folder: HEIC from telephones failed, Kohya's .caption files stayed behind, and contact
sheets of generated pictures did not say that they are generated."""

from __future__ import annotations

import io
import json

import pytest
from conftest import members, picture
from PIL import Image

from socialcli import records, shards
from socialcli.generation import grid
from socialcli.vision import images, provenance

MADE = records.Generated(
    prompt="a man walks a dog", seed=1, method="text", model=records.Model("x", "y"),
    scheduler="UniPC", steps=3, guidance=5.0, size=(16, 12),
)  # fmt: skip


@pytest.fixture
def heic() -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright: the stored pixels lie on their side
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(out, "HEIF", exif=exif.tobytes())
    return out.getvalue()


def test_heic_is_imported_upright_and_byte_for_byte(run_cli, tmp_path, heic):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/IMG_1.HEIC").write_bytes(heic)
    run_cli("import", "folder", tmp_path / "in", "-o", tmp_path / "out")
    sample = members(tmp_path / "out/000000.tar")["IMG_1"]
    assert sample["heic"] == heic
    meta = json.loads(sample["meta.json"])
    assert (meta["width"], meta["height"]) == images.decode(heic).size == (48, 64)
    assert images.decode(heic).getpixel((24, 32))[0] > 150
    run_cli("validate", tmp_path / "out", "--pixels")


def test_without_the_package_the_message_installs_it(monkeypatch):
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: None)
    assert "socialcli-toolkit[heic]" in images._guess(b"\0\0\0\x18ftypheic" + bytes(30))


def test_kohyas_captions_travel(run_cli, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"in/{name}.jpg").write_bytes(picture())
        (tmp_path / f"in/{name}.caption").write_text(f"kohya's {name}")
    (tmp_path / "in/b.txt").write_text("plain b")
    run_cli("import", "folder", tmp_path / "in", "-o", tmp_path / "out")
    by_key = members(tmp_path / "out/000000.tar")
    assert by_key["a"]["txt"] == b"kohya's a" and by_key["b"]["txt"] == b"plain b"
    run_cli("caption", tmp_path / "out", "-o", tmp_path / "captions", "--backend", "given")


def drawn(tmp_path) -> str:
    files = {"png": picture(kind="PNG"), "generated.json": records.dump(MADE)}
    shards.write(tmp_path / "drawn/0.tar", [("a", files), ("b", files)])
    return str(tmp_path / "drawn/0.tar")


def test_a_grid_says_what_its_pictures_are(tmp_path):
    assert grid.write([drawn(tmp_path)], str(tmp_path / "grid.png")) == 2
    with Image.open(tmp_path / "grid.png") as sheet:
        assert provenance.SOURCE_TYPE in sheet.text[provenance.XMP]
        note = json.loads(sheet.text["socialcli"])
    assert [(one["key"], one["prompt"]) for one in note] == [("a", MADE.prompt), ("b", MADE.prompt)]
    grid.write([drawn(tmp_path)], str(tmp_path / "plain.png"), marked=False)  # --no-provenance
    with Image.open(tmp_path / "plain.png") as sheet:
        assert set(sheet.text) == {"Software"}


def test_a_contact_sheet_does_too(run_cli, make_shards, tmp_path):
    run_cli("inspect", drawn(tmp_path), "--out", tmp_path / "page")
    with Image.open(tmp_path / "page/sheet-000.png") as sheet:
        assert provenance.SOURCE_TYPE in sheet.text[provenance.XMP]
    run_cli("inspect", make_shards(1, 1), "--out", tmp_path / "other")
    with Image.open(tmp_path / "other/sheet-000.png") as sheet:
        assert set(sheet.text) == {"Software"}
