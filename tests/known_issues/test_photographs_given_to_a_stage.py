"""A folder of photographs given to a stage was "no .tar files"; nothing said that they are imported
first. A picture given by its name was read as a damaged archive."""

from __future__ import annotations

import pytest

MEND = "socialcli import folder {} -o shards/images"


@pytest.mark.parametrize("inner", ["", "inner"])
@pytest.mark.parametrize("command", ["caption", "inspect"])
def test_a_folder_of_photographs_names_the_import(run_cli, picture_folder, command, inner):
    folder = picture_folder(2)
    if inner:
        (folder / inner).mkdir()
        for file in folder.glob("*.*"):
            file.rename(folder / inner / file.name)
    more = [] if command == "inspect" else ["-o", folder.parent / "o"]
    done = run_cli(command, folder, *more, code=2)
    assert MEND.format(folder) in done.stderr.decode() and done.stderr.count(b"\n") == 1


def test_a_picture_is_no_shard(run_cli, picture_folder):
    folder = picture_folder(1)
    done = run_cli("caption", folder / "000.jpg", "-o", folder.parent / "o", code=2)
    assert f"a picture, not a shard; first make shards: {MEND.format(folder)}" in (
        done.stderr.decode()
    )


def test_a_folder_of_other_files_does_not(run_cli, tmp_path):
    (tmp_path / "a.txt").write_text("x")
    done = run_cli("inspect", tmp_path, code=2)
    assert b"no .tar files in this folder\n" in done.stderr
