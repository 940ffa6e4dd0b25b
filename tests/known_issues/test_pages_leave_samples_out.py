"""The page of `inspect` held the 48 samples it showed, and the first 200 that failed.

Its search reached no other sample; a sample that failed as the 201st was named nowhere; and asking
for 2,000 pictures made one file of 36 MB.
"""

from __future__ import annotations

import json

import scenes
from typer.testing import CliRunner

from socialcli import shards
from socialcli.cli import app
from socialcli.reports import cards

SAMPLES, FAILED = 60, 250


def inspected(folder, *arguments):
    (folder / "in").mkdir()
    samples = [(f"k{n:03}", scenes.members(n % 4)) for n in range(SAMPLES)]
    shards.write(folder / "in" / "a.tar", samples)
    lost = [
        {"key": f"x{n}", "status": "failed", "stage": "ground", "reason": f"reason {n}"}
        for n in range(FAILED)
    ]
    (folder / "in" / "a.errors.jsonl").write_text("".join(json.dumps(e) + "\n" for e in lost))
    command = ["inspect", str(folder / "in"), "--out", str(folder / "out"), *arguments]
    done = CliRunner().invoke(app.app, command)
    assert done.exit_code == 0, done.output
    (beside,) = (folder / "out").glob("samples-*")
    return beside


def test_every_sample_is_listed_and_can_be_searched(tmp_path):
    beside = inspected(tmp_path, "--sample", "2")
    words = [text for text, _ in cards.read(beside, "index")]
    shown = cards.read(beside, "cards")
    assert len(words) == len(shown) == SAMPLES + FAILED
    for number in range(SAMPLES):
        assert words[number].startswith(f"k{number:03} a woman in red holds a small dog")
        assert f">k{number:03}<" in shown[number] and "<img alt=" in shown[number]
    for number in range(FAILED):
        text, card = words[SAMPLES + number], shown[SAMPLES + number]
        assert f"x{number} failed ground reason {number} " in text
        assert f">reason {number}<" in card and ">failed in ground<" in card


def test_the_page_itself_stays_small(tmp_path):
    inspected(tmp_path, "--sample", "60")
    assert (tmp_path / "out" / "index.html").stat().st_size < 150_000


def test_pictures_of_the_list_are_bounded(tmp_path):
    beside = inspected(tmp_path, "--sample", "0", "--thumbnails", "5")
    shown = cards.read(beside, "cards")
    assert ["<img" in card for card in shown] == [True] * 5 + [False] * (SAMPLES - 5 + FAILED)
    assert "--thumbnails" in shown[5] and "woman" in shown[5]
    assert len(cards.read(beside, "index")) == SAMPLES + FAILED
