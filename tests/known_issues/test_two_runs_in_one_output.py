"""What a second run did to the output, or to the input, of a first one.

``--retry-failed`` took what a removed ``errors.jsonl`` did not name for done, and with
``--overwrite`` beside it kept the samples of other options under the new options' name; a pattern
with numbers wrote over an input that another output was made from.
"""

from __future__ import annotations

import pytest
from conftest import members, samples, tars

from socialcli import shards
from socialcli.cli.commands import merge
from socialcli.errors import UsageError
from socialcli.pipeline import run
from socialcli.pipeline.run import RunOptions
from socialcli.registry import load


def caption(source, captions, out, **options):
    config = vars(load("stages", "caption").config_type(captions=str(captions)))
    options = RunOptions(**{"quiet": True, "max_error_rate": 1, **options})
    return run.run_stage("stages", "caption", config, [str(source)], str(out), options).counts


@pytest.fixture
def failing(tmp_path):
    """A shard of three, captions for two of them, and the output of a first run."""
    shards.write(tmp_path / "in.tar", samples(0, 3))
    keys = [sample.key for sample in shards.read(str(tmp_path / "in.tar"))]
    file = tmp_path / "captions.csv"
    file.write_text("file_name,caption\n" + "".join(f"{k},a dog\n" for k in keys[:2]))
    assert caption(tmp_path / "in.tar", file, tmp_path / "out")["failed"] == 1
    return tmp_path, file, keys


@pytest.mark.parametrize("left", [None, "", "[", '{"key": null, "status": "failed"}', "[1]"])
def test_a_failed_sample_is_not_done_because_nobody_names_it(failing, left, capsys):
    place, file, keys = failing
    errors = place / "out" / "in.errors.jsonl"
    if left is None:
        errors.unlink()
    else:
        errors.write_text(left)
    counts = caption(place / "in.tar", file, place / "out", retry_failed=True)
    assert (counts["ok"], counts["failed"]) == (2, 1)
    assert "does not name the samples that failed" in capsys.readouterr().err
    with open(file, "a") as stream:
        stream.write(f"{keys[2]},a cat\n")
    counts = caption(place / "in.tar", file, place / "out", retry_failed=True)
    assert (counts["ok"], counts["failed"]) == (3, 0)
    assert all("caption.json" in sample for sample in members(place / "out").values())


def test_overwriting_is_no_retrying(failing):
    place, file, _ = failing
    before = tars(place / "out")
    with pytest.raises(UsageError, match="give one of the two"):
        caption(place / "in.tar", file, place / "out", overwrite=True, retry_failed=True)
    assert tars(place / "out") == before


def inputs(tmp_path):
    for number in (1, 2):
        shards.write(tmp_path / f"{number:06}.tar", samples(number, number + 1))
    return [str(tmp_path / f"{number:06}.tar") for number in (1, 2)]


def test_no_output_is_an_input_of_another(tmp_path):
    sources = inputs(tmp_path)
    before = tars(tmp_path)
    with pytest.raises(UsageError, match=r"000001\.tar is also an input"):
        merge.command(sources, str(tmp_path / "%06d.tar"), overwrite=True)
    assert tars(tmp_path) == before


def test_nor_under_another_name(tmp_path):
    sources = inputs(tmp_path)
    (tmp_path / "out").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is also an input"):
        merge.command(sources, str(tmp_path / "out" / "%06d.tar"), overwrite=True)
