"""A picture whose file has no suffix lost the caption beside it, and one in a folder with a dot in
its name got the text of another file: the last dot of the whole path was taken for the suffix's."""

from __future__ import annotations

import conftest

from socialcli.importers import _picture


def test_captions_are_those_that_lie_beside_the_picture(run_cli, tmp_path):
    folder = tmp_path / "pictures"
    (folder / "v1.5").mkdir(parents=True)
    for name in ("plain", "v1.5/inner", "v1.5/other"):
        (folder / name).write_bytes(conftest.picture())
        (folder / f"{name}.txt").write_text(f"of {name}")
    (folder / "v1.5/other.txt").unlink()
    (folder / "v1.txt").write_text("of no picture")
    done = run_cli("import", "folder", folder, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = conftest.members(tmp_path / "out")
    assert {key: members.get("txt") for key, members in found.items()} == {
        "plain": b"of plain", "v1.5/inner": b"of v1.5/inner", "v1.5/other": None,
    }  # fmt: skip


def test_a_raw_picture_is_no_double_of_one_in_a_folder_called_alike():
    assert _picture.without_doubles(["v1.cr2", "v1.5/shot"]) == ["v1.cr2", "v1.5/shot"]
    assert _picture.without_doubles(["a.CR2", "a.JPG"]) == ["a.JPG"]
