"""An import into the folder of an earlier one that had more shards left the rest of these there in
silence, so that the next stage read every sample twice."""

from __future__ import annotations

import pytest

from socialcli.pipeline import run
from socialcli.pipeline.run import RunOptions
from socialcli.registry import load


@pytest.fixture
def again(picture_folder, tmp_path, capsys):
    """What is said when the same pictures are imported in shards of a size."""
    config = vars(load("importers", "folder").config_type(source=str(picture_folder(6))))

    def do(size: int, output: str, **more) -> str:
        options = RunOptions(quiet=True, **more)
        run.run_stage("importers", "folder", config, [], str(tmp_path / output), options, size)
        return capsys.readouterr().err

    return do


@pytest.mark.parametrize(
    ("output", "first"),
    [("out", "out/000003.tar"), ("%03d.tar", "003.tar"), ("a.tar", "a-000003.tar")],
)
def test_shards_behind_the_last_one_are_named(again, output, first):
    assert again(1, output) == ""
    said = again(2, output, overwrite=True)
    assert f"{first} is of an earlier run that had more shards" in said
    assert "earlier run" in again(2, output)  # as long as they are there


def test_shards_of_this_run_are_no_earlier_ones(again):
    assert again(2, "out", slice="0/3") == again(2, "out", slice="1/3") == again(2, "out") == ""
    assert again(2, "out") == ""
