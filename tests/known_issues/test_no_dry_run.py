"""Half of the commands had no dry run, and three that take long said nothing while they worked."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios

import pytest

LINES = {
    "merge": ["merge", "IN", "-o", "OUT"],
    "inspect": ["inspect", "IN", "--out", "OUT"],
    "export": ["export", "IN", "-o", "OUT", "--images", "PICTURES"],
    "train": ["train", "IN", "-o", "OUT", "--profile", "mini", "--steps", "7"],
    "invert": ["invert", "IN", "-o", "OUT", "--profile", "mini"],
    "score": ["score", "IN", "--reference", "IN", "-o", "OUT", "--profile", "mini"],
    "generate": ["generate", "IN", "-o", "OUT", "--profile", "mini"],
    "caption": ["caption", "IN", "-o", "OUT", "--profile", "mini"],
}


@pytest.mark.parametrize("command", LINES)
def test_it_says_what_would_be_done_and_does_nothing(run_cli, make_shards, tmp_path, command):
    folder = make_shards(2, 3)
    places = {"IN": folder, "OUT": tmp_path / "out", "PICTURES": tmp_path / "pictures"}
    line = [places.get(word, word) for word in LINES[command]]
    text = run_cli(*line, "--dry-run").stdout.decode()
    assert f"{folder}/001.tar" in text and str(tmp_path / "out") in text
    if command not in ("merge", "generate"):
        assert "3 samples" in text
    if command in ("train", "invert", "score", "generate", "caption"):
        assert "found at" in text and "--device cpu" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_a_model_that_is_not_here_is_no_error_then(run_cli, make_shards, tmp_path):
    line = ["train", make_shards(1, 1), "-o", tmp_path / "o", "--method", "text-to-image"]
    text = run_cli(*line, "--dry-run").stdout.decode()
    assert "not found here; get it with: hf download" in text


@pytest.mark.parametrize("line", [["inspect", "IN"], ["export", "IN", "-o", "OUT"]])
def test_on_a_terminal_a_bar_counts_the_samples(make_shards, tmp_path, line):
    places = {"IN": str(make_shards(2, 3)), "OUT": str(tmp_path / "out")}
    reader, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    command = [sys.executable, "-m", "socialcli", *(places.get(word, word) for word in line)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=terminal, check=False)
    os.close(terminal)
    text = b""
    try:
        while part := os.read(reader, 1 << 16):
            text += part
    except OSError:  # the terminal's other end is closed
        pass
    os.close(reader)
    assert b"6/6" in text and line[0].encode() in text
