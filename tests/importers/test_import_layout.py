"""Which files `import layout` takes; stages/test_layout.py has what it reads of them."""

from __future__ import annotations

import os

import pytest
from conftest import picture

from socialcli.errors import UsageError
from socialcli.importers import layout
from socialcli.registry import load

TEXT = "prompt: a dog on grass\nleft: a dog\n"


def imported(root, **options):
    """Key -> path of each layout."""
    importer = load("importers", "layout")
    config = importer.config_type(source=str(root), **options)
    return {entry.key: entry.work for entry in importer.entries(config)}


@pytest.fixture
def root(tmp_path):
    """A folder with a file in a folder, links to a folder beside it, to a file, and in a circle."""
    for folder in ("root/z-real", "outside"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "root/z-real/1.txt").write_text(TEXT)
    (tmp_path / "outside/2.txt").write_text(TEXT)
    (tmp_path / "root/a-link").symlink_to(tmp_path / "root/z-real")
    (tmp_path / "root/z-real/up").symlink_to(tmp_path / "root")
    (tmp_path / "root/out").symlink_to(tmp_path / "outside")
    (tmp_path / "outside/back").symlink_to(tmp_path / "root")
    (tmp_path / "root/3.txt").symlink_to(tmp_path / "outside/2.txt")
    return tmp_path / "root"


def test_links_are_followed_once_or_not_at_all(root):
    assert imported(root) == {name: f"{name}.txt" for name in ("3", "out/2", "z-real/1")}
    assert list(imported(root, follow_links=False)) == ["z-real/1"]


def test_hidden_files_stay_out_unless_asked_for(tmp_path):
    (tmp_path / ".old").mkdir()
    for name in ("a.txt", "._a.txt", ".old/b.txt"):
        (tmp_path / name).write_text(TEXT)
    assert list(imported(tmp_path)) == ["a"]
    assert len(imported(tmp_path, hidden=True)) == 3


def test_a_drawing_behind_a_link_is_none_where_links_are_not_followed(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a.toml").write_text(
        'prompt = "a dog"\n[[segments]]\ncolour = "#112233"\nprompt = "a dog"\n'
    )
    (tmp_path / "other.png").write_bytes(picture(1, kind="PNG"))
    (tmp_path / "root/a.png").symlink_to(tmp_path / "other.png")
    assert layout._drawing(tmp_path / "root", "a", True)[0] is not None
    assert layout._drawing(tmp_path / "root", "a", False) == (None, None)


def test_a_folder_that_cannot_be_listed_is_named(root, monkeypatch):
    real = os.scandir

    def scandir(place):
        if str(place).endswith("out"):
            raise PermissionError(13, "Permission denied")
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UsageError, match=r"root/out: cannot be listed \(Permission denied\); make"):
        imported(root)
