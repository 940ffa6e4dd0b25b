"""Slurm gives jobs a long TMPDIR; Ray's sockets did not fit into it, and nothing ran."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from socialcli.errors import SocialcliError
from socialcli.pipeline.engines import ray as engine


@pytest.fixture
def long(tmp_path, monkeypatch) -> str:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("d" * 90)))
    return str(tmp_path)


def test_a_folder_with_a_short_name_is_used_and_removed(long):
    with contextlib.ExitStack() as stack:
        folder = engine._short_folder(stack)
        assert folder is not None and len(folder) + engine._SOCKET <= 107
        (Path(folder) / "socket").touch()
    assert not Path(folder).exists()


def test_the_usual_folder_is_kept_where_it_fits(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert engine._short_folder(contextlib.ExitStack()) is None


def test_where_there_is_none_the_line_says_what_to_set(long, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(SocialcliError, match=r"set RAY_TMPDIR to a folder of at most \d\d "):
        engine._short_folder(contextlib.ExitStack())
