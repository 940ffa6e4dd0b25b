"""One sample whose key is longer than a file's name, or whose ``crowd_boxes`` are no list, ended a
whole export; a layout of a key that came twice was replaced; and layouts of keys with folders, as
most imports give them, were written where `import layout` did not look. A sample whose picture
could not be written was counted all the same. A URL as a folder became a local folder
called ``s3:``."""

from __future__ import annotations

import json

import numpy
import pytest
from conftest import members, picture

from socialcli import records, shards
from socialcli.cli.commands import compare, export, inspect
from socialcli.errors import SocialcliError, UsageError
from socialcli.exporters import coco
from socialcli.pipeline import run
from socialcli.pipeline.run import RunOptions
from socialcli.registry import load
from socialcli.vision import masks

LONG = "L" * 300


def pictured(**extra):
    meta = records.Meta(16, 12, extra=extra)
    boxes = records.Boxes(16, 12, [records.Box(1, (0.1, 0.1, 0.5, 0.5), "dog")])
    dumped = {"meta.json": records.dump(meta), "boxes.json": records.dump(boxes)}
    return {"jpg": picture(1), **dumped}


def planned(prompt):
    whole = masks.encode(numpy.ones((12, 16)))
    layout = records.Layout(16, 12, prompt, [records.Segment(1, "#112233", prompt, whole)])
    return {"layout.json": records.dump(layout)}


@pytest.mark.parametrize("crowd", [None, 5, "1", {"1": 1}])
def test_crowd_boxes_that_are_no_list_are_none(tmp_path, crowd):
    shards.write(tmp_path / "a.tar", [("a", pictured(crowd_boxes=crowd))])
    export.command([str(tmp_path / "a.tar")], str(tmp_path / "a.json"))
    (annotation,) = json.loads((tmp_path / "a.json").read_text())["annotations"]
    assert annotation["iscrowd"] == 0


def test_a_picture_that_cannot_be_written_fails_alone_and_counts_for_nothing(tmp_path, capsys):
    bare = {k: v for k, v in pictured().items() if k != "jpg"}
    shards.write(tmp_path / "a.tar", [("b", pictured()), ("no", bare), ("b.jpg/a", pictured())])
    export.command(
        [str(tmp_path / "a.tar")], str(tmp_path / "a.json"), images=str(tmp_path / "p"),
        max_error_rate=1.0,
    )  # fmt: skip
    assert "1 images, 1 annotations, 2 failed" in capsys.readouterr().err
    body = json.loads((tmp_path / "a.json").read_text())
    assert [(i["id"], i["file_name"]) for i in body["images"]] == [(1, "b.jpg")]
    assert [p.name for p in (tmp_path / "p").iterdir()] == ["b.jpg"]


def test_layouts_come_back_whatever_their_keys(tmp_path, capsys):
    shards.write(tmp_path / "0.tar", [("d/a", planned("one")), ("b", planned("first"))])
    shards.write(tmp_path / "1.tar", [("b", planned("second")), (LONG, planned("long"))])
    out = tmp_path / "drawn"
    inputs = [str(tmp_path / f"{n}.tar") for n in range(2)]
    with pytest.raises(SocialcliError, match="2 of 4 samples failed"):
        export.command(inputs, str(out), format="layout")
    said = capsys.readouterr().err
    assert "b: another sample is called so too" in said
    assert "(File name too long); give the sample a shorter key" in said
    assert sorted(p.name for p in out.rglob("*") if p.is_file()) == [
        "a.png", "a.toml", "b.png", "b.toml"
    ]  # fmt: skip
    (out / ".hidden").mkdir()
    (out / ".hidden" / "c.toml").write_text("")
    config = vars(load("importers", "layout").config_type(source=str(out)))
    run.run_stage("importers", "layout", config, [], str(tmp_path / "back"), RunOptions(quiet=True))
    found = members(tmp_path / "back")
    prompts = {key: json.loads(sample["caption.json"])["text"] for key, sample in found.items()}
    assert prompts == {"b": "first", "d/a": "one"}
    assert json.loads(found["d/a"]["meta.json"])["source"] == "d/a.toml"


def test_no_folder_is_called_like_a_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shards.write("a.tar", [("a", {**pictured(), **planned("one")})])
    for call in (
        lambda: inspect.command(["a.tar"], out="s3://bucket/report"),
        lambda: export.command(["a.tar"], "s3://bucket/drawn", format="layout"),
        lambda: export.command(["a.tar"], "a.json", images="s3://bucket/pictures"),
    ):
        with pytest.raises(UsageError, match=r"s3://bucket/.* not to a URL"):
            call()
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize("ids", ["[" * 100_000, '{"categories": [{"name": "a", "id": 1e999}]}'])
def test_categories_that_are_none(tmp_path, ids):
    (tmp_path / "a.json").write_text(ids)
    with pytest.raises(UsageError, match="no COCO categories in it"):
        coco.known_categories(tmp_path / "a.json")


def test_samples_that_cannot_be_compared_are_common_all_the_same(tmp_path):
    shards.write(tmp_path / "a.tar", [("a", {"boxes.json": b"{}"})])
    with pytest.raises(SocialcliError, match="none of the 1 samples in common can be read"):
        compare.command(str(tmp_path / "a.tar"), str(tmp_path / "a.tar"))


@pytest.mark.parametrize(
    ("options", "words", "written"),
    [
        ([], "no annotations were written. `socialcli validate` says what is wrong", set()),
        (["--format", "layout"], "the other layouts were written. The lines above say what is "
         "wrong", {"b.png", "b.toml"}),
    ],
)  # fmt: skip
def test_the_words_of_too_many_failures(tmp_path, run_cli, options, words, written):
    """Each names the flag, its value, and what is there and what not; layouts' said neither."""
    bad = {"jpg": picture(1), "layout.json": b"{}", "boxes.json": b"{}"}
    good = {**pictured(), **planned("one")}
    shards.write(tmp_path / "a.tar", [("a", bad), ("b", good), ("c", bad)])
    out = tmp_path / "out"
    line = ["export", tmp_path / "a.tar", "-o", out, *options]

    for rate, more in (("0.05", []), ("0.6", ["--max-error-rate", "0.6"])):
        said = run_cli(*line, *more, code=1).stderr.decode()
        assert said.splitlines()[-1] == (
            "socialcli: error: export: 2 of 3 samples failed, more than --max-error-rate "
            f"{rate}; {words}"
        )
        assert {p.name for p in out.rglob("*") if p.is_file()} == written
    for rate in ("0.67", "1"):
        said = run_cli(*line, "--max-error-rate", rate).stderr.decode()
        assert "2 failed" in said and "--max-error-rate" not in said
    assert len(list(out.iterdir())) == (2 if written else 3)
    assert (
        b"--max-error-rate 1.5: at most 1"
        in run_cli(*line, "--max-error-rate", "1.5", code=2).stderr
    )
