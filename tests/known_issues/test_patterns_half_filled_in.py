"""Patterns of outputs that were taken and then not followed: ``{name}-%06d.tar`` wrote a shard that
was called ``{name}-000000.tar``; an import wrote shards without ``.tar``, which no command finds in
their folder, or all of them, one over the other, into one file."""

from __future__ import annotations

import pytest

from socialcli.errors import UsageError
from socialcli.pipeline import plan as planning
from socialcli.pipeline import run
from socialcli.pipeline.run import RunOptions
from socialcli.registry import load


def imported(folder, output, shard_size=2):
    config = vars(load("importers", "folder").config_type(source=str(folder)))
    options = RunOptions(quiet=True)
    return run.run_stage("importers", "folder", config, [], str(output), options, shard_size)


def test_names_and_numbers_go_into_one_pattern(tmp_path):
    sources = ["in/a.tar", "in/b.tar.gz"]
    assert planning.targets(sources, "o/{name}-%02d.tar") == ["o/a-00.tar", "o/b-01.tar"]
    assert planning.targets(["in/50%d.tar"], "o/{name}-%d.tar") == ["o/50%d-0.tar"]
    (first,) = planning.entry_tasks(1, 2, "o/{index}-%d.tar")
    assert first.target == "o/0-0.tar"


@pytest.mark.parametrize("pattern", ["%06d", "{name}", "{index}.tar.gz"])
def test_shards_are_called_tar(picture_folder, tmp_path, pattern):
    with pytest.raises(UsageError, match=r"\.tar"):
        imported(picture_folder(3), tmp_path / "out" / pattern)
    with pytest.raises(UsageError, match=r"\.tar"):
        planning.targets(["a.tar"], pattern)
    assert not (tmp_path / "out").exists()


def test_no_shard_is_written_over_another(picture_folder, tmp_path):
    folder = picture_folder(3)
    with pytest.raises(UsageError, match=r"several shards would be written to .*/0\.tar; give a"):
        imported(folder, tmp_path / "{name:.1}.tar")
    assert not (tmp_path / "0.tar").exists()
    assert imported(folder, tmp_path / "{name:.1}.tar", shard_size=3).counts["ok"] == 3
