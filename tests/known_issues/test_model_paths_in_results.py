"""Records, stats, pictures and saved weights named a local model by this machine's folders.

The same run on another machine gave other bytes, a user's folders travelled in published shards,
and a model that was moved counted as another one.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from parts import part
from PIL import Image
from tiny import diffusion as tiny

from socialcli.backends import ModelSpec, naming
from socialcli.cli import profiles
from socialcli.cli.commands import generate
from socialcli.errors import UsageError
from socialcli.pipeline.run import RunOptions
from socialcli.training import provenance

HERE = Path(__file__).parents[2] / "socialcli" / "miniature" / "weights"


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> list[Path]:
    """Two copies of one model folder."""
    place = tmp_path_factory.mktemp("homes")
    tiny.stable_diffusion(place / "ann" / "sd")
    shutil.copytree(place / "ann" / "sd", place / "bob" / "sd")
    return [place / "ann" / "sd", place / "bob" / "sd"]


def draw(model: Path, output: Path) -> bytes:
    """`socialcli generate` of one picture; the shard's bytes."""
    config = part("methods.generate", "text").Config
    given = {"model": str(model), "steps": 2, "device": "cpu", "prompt": ["a dog"]}
    values = profiles.values(None, "generate", config, given, "text")
    generate.run("text", values, [], str(output), RunOptions(quiet=True))
    return (output / "000000.tar").read_bytes()


def test_the_same_run_from_two_copies_gives_the_same_bytes(copies, tmp_path):
    first, second = (draw(copy, tmp_path / copy.parent.name) for copy in copies)
    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first)) as shard:
        members = {name: shard.extractfile(name).read() for name in shard.getnames()}
    written = json.loads(next(v for k, v in members.items() if k.endswith("generated.json")))
    assert written["model"]["model"] == "sd"
    assert written["model"]["revision"] == naming.revision(str(copies[0]))
    with Image.open(io.BytesIO(next(v for k, v in members.items() if k.endswith(".png")))) as png:
        texts = png.text
    stats = json.loads((tmp_path / "ann" / "000000.stats.json").read_text())
    parts = [stats["identity"], stats["config"], list(map(str, texts.values())), written]
    assert str(copies[0].parent) not in json.dumps(parts) and "homes" not in json.dumps(parts)


def test_a_model_that_was_moved_is_the_same_and_another_at_its_place_is_not(copies, tmp_path):
    moved = tmp_path / "sd"
    shutil.copytree(copies[0], moved)
    draw(moved, tmp_path / "out")
    before = (tmp_path / "out" / "000000.tar").stat().st_mtime_ns
    draw(copies[1], tmp_path / "out")  # finished already, whatever its folder
    assert (tmp_path / "out" / "000000.tar").stat().st_mtime_ns == before
    file = moved / "unet" / "diffusion_pytorch_model.safetensors"
    status = file.stat()
    changed = bytearray(file.read_bytes())
    changed[-4] ^= 1
    file.write_bytes(changed)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, same time
    with pytest.raises(UsageError, match="was made by another run"):
        draw(moved, tmp_path / "out")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32"),
        ("buffalo_l", "buffalo_l"),
        (str(HERE / "caption"), "mini/caption"),
        (str(HERE / "gaze" / "sharingan.pt"), "mini/gaze/sharingan.pt"),
        ("/home/me/run 7/", "run 7"),
        ("~/models/sd.safetensors", "sd.safetensors"),
        ("", ""),
    ],
)
def test_names(model, name):
    assert naming.name(model) == name


def test_a_fingerprint_is_of_content_alone(tmp_path):
    import hashlib

    one = tmp_path / "a.safetensors"
    one.write_bytes(b"weights")
    assert naming.fingerprint(str(one)) == hashlib.sha256(b"weights").hexdigest()[:16]
    for folder in ("x", "y"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub" / "w.bin").write_bytes(b"weights")
        (tmp_path / folder / "README.md").write_text(folder)
    x, y = (naming.fingerprint(str(tmp_path / folder)) for folder in ("x", "y"))
    assert x == y != ""
    (tmp_path / "y" / "sub" / "w.bin").rename(tmp_path / "y" / "sub" / "v.bin")
    assert naming.fingerprint(str(tmp_path / "y")) != x
    assert naming.fingerprint("owner/name") == naming.fingerprint(str(tmp_path / "none")) == ""


def test_digests_of_large_files_are_kept_between_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(naming._LARGE))
    digest = naming.fingerprint(str(large))
    (note,) = (tmp_path / "cache" / "socialcli" / "sha256").iterdir()
    assert note.read_text().startswith(digest)
    naming._digest.cache_clear()
    note.write_text("f" * 64)
    assert naming.fingerprint(str(large)) == "f" * 16
    monkeypatch.setenv("XDG_CACHE_HOME", str(large / "no folder"))
    naming._digest.cache_clear()
    assert naming.fingerprint(str(large)) == digest


def test_the_header_of_saved_weights(tmp_path):
    spec = ModelSpec("ssr", "ssr-encoder", str(HERE / "ssr"), options={"clip": str(HERE / "clip")})
    noted = provenance._model(spec)
    assert noted["model"] == "mini/ssr" and noted["options"]["clip"].startswith("mini/clip (sha256")
    places = [str(tmp_path / "a" / "0.tar"), str(tmp_path / "b" / "1.tar"), "s3://bucket/2.tar"]
    assert provenance._relative(places) == ["a/0.tar", "b/1.tar", "s3://bucket/2.tar"]
    assert naming.contents({"steps": 3, "pose_model": "a/b", "model": None}) == {
        "steps": 3, "pose_model": "a/b", "model": None,
    }  # fmt: skip


def test_other_files_in_the_options_are_named_without_their_folders():
    from socialcli.pipeline.plan import shown

    options = {"captions": "/home/ann/c.csv", "references": ["/data/r.tar", "s3://b/r.tar"], "n": 3}
    assert shown(options) == {"captions": "c.csv", "references": ["r.tar", "s3://b/r.tar"], "n": 3}
