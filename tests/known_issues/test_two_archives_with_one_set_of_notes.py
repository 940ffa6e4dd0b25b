"""Two archives of one folder had the same notes, and the later run took those of the earlier one.

Beside ``x.jsonl.tar`` lay ``x.stats.json``, as beside ``x.tar``; and a shard that had been packed
(``x.tar.gz``) lost what its run had noted when a command wrote ``x.tar`` into its folder.
"""

from __future__ import annotations

import gzip
import shutil

import pytest
from conftest import samples
from tiny import diffusion as tiny

from socialcli import shards
from socialcli.cli.commands import generate as command
from socialcli.cli.commands import merge, validate
from socialcli.errors import UsageError
from socialcli.pipeline import plan as planning
from socialcli.pipeline import run
from socialcli.pipeline.run import RunOptions
from socialcli.registry import load


def caption(sources, captions, out):
    config = vars(load("stages", "caption").config_type(backend="given", captions=str(captions)))
    options = RunOptions(quiet=True, max_error_rate=1)
    return run.run_stage("stages", "caption", config, [*map(str, sources)], str(out), options)


@pytest.fixture
def given(tmp_path):
    """Captions for the first of each shard's two samples; `caption` fails on the others."""
    file = tmp_path / "captions.csv"
    file.write_text("file_name,caption\n00000,a dog\n00002,a cat\n")
    shards.write(tmp_path / "in" / "x.tar", samples(0, 2))
    shards.write(tmp_path / "in" / "x.jsonl.tar", samples(2, 4))
    return file


def failed(archive):
    return [line["key"] for line in shards.read_errors(str(archive))]


def test_each_shard_has_notes_of_its_own(tmp_path, given):
    out = tmp_path / "out"
    for skipped in (0, 2):
        assert caption([tmp_path / "in"], given, out).skipped == skipped
    assert failed(out / "x.tar") == ["00001"]
    assert failed(out / "x.jsonl.tar") == ["00003"]
    assert {file.name for file in out.iterdir()} == {
        f"{n}.{end}" for n in ("x", "x.jsonl") for end in ("tar", "stats.json", "errors.jsonl")
    }
    with open(out / "x.jsonl.tar", "ab") as stream:
        stream.write(bytes(512))
    (problem,) = validate.check_beside(str(out / "x.jsonl.tar"))
    assert "its stats file says" in problem.what


def test_a_list_of_pictures_has_the_notes_of_its_name():
    assert shards.errors_location("out/x.jsonl") == "out/x.errors.jsonl"
    assert shards.errors_location("s3://b/x.jsonl.tar.gz?v=1") == "s3://b/x.jsonl.errors.jsonl"


@pytest.mark.parametrize("aside", ["", "aside/+"])
def test_a_packed_input_keeps_its_notes(tmp_path, given, aside):
    out = tmp_path / "out"
    caption([tmp_path / "in" / "x.tar"], given, out)
    packed = out / "x.tar.gz"
    packed.write_bytes(gzip.compress((out / "x.tar").read_bytes()))
    (out / "x.tar").unlink()
    (tmp_path / "link").symlink_to(out)
    source = packed
    if aside:
        (tmp_path / "aside").mkdir()
        shutil.copy(packed, tmp_path / "aside" / "x.tar.gz")
        source = f"{tmp_path}/aside/+{out}/"
    for target in (out, tmp_path / "link", tmp_path / "out" / "{name}.tar"):
        with pytest.raises(UsageError, match=r"would have the notes of its input .*tar\.gz"):
            merge.command([str(source)], str(target))
        with pytest.raises(UsageError, match=r"\(x\.stats\.json\); write to another folder"):
            caption([source], given, target)
    assert failed(packed) == ["00001"] and not (out / "x.tar").exists()
    merge.command([str(source)], str(tmp_path / "elsewhere"))


def test_a_packed_input_in_a_store_keeps_its_notes():
    with pytest.raises(UsageError, match=r"would have the notes of its input .*\.tar\.gz \("):
        planning.targets(["memory://b/x.tar.gz"], "memory://b/")
    assert planning.targets(["memory://b/x.tar.gz"], "memory://c") == ["memory://c/x.tar"]


def test_pictures_as_files_and_as_shards_have_each_a_folder(tmp_path):
    """Both lists are finished by ``000000.stats.json``: shards would be drawn again and again."""
    tiny.stable_diffusion(tmp_path / "sd")
    config_type = load("methods.generate", "text").config_type

    def generate(out, form, **options):
        config = vars(config_type(model=str(tmp_path / "sd"), prompt=["a dog"], steps=1,
                                  device="cpu", format=form))  # fmt: skip
        command.run("text", config, [], str(out), RunOptions(quiet=True, **options))
        return {file.name: file.read_bytes() for file in out.iterdir()}

    for out, form, other in (("a", "shards", "files"), ("b", "files", "shards")):
        made = generate(tmp_path / out, form)
        named = "000000.tar" if form == "shards" else "000000.jsonl"
        for options in ({}, {"overwrite": True}):
            with pytest.raises(UsageError, match=f"replace the notes of {named}"):
                generate(tmp_path / out, other, **options)
        assert generate(tmp_path / out, form) == made
    (tmp_path / "b" / "000000.jsonl").unlink()  # nobody's notes any more
    assert "000000.tar" in generate(tmp_path / "b", "shards")
