"""Misspelt names were told in twenty ways, and none of them named the one that was meant."""

from __future__ import annotations

import sys

import pytest

from socialcli.cli.app import app


@pytest.mark.parametrize(
    "line, meant",
    [
        ("capton IN -o OUT", "caption"),
        ("import foldr x -o OUT", "folder"),
        ("caption --bakend given IN -o OUT", "--backend"),
        ("caption --backend givn IN -o OUT", "given"),
        ("caption --engine lokal IN -o OUT", "local"),
        ("caption --on-error kep IN -o OUT", "keep"),
        ("caption --profile mni IN -o OUT", "mini"),
        ("annotate-pose --with identity,gase IN -o OUT", "gaze"),
        ("annotate-pose --gaze-backend sharingam IN -o OUT", "sharingan"),
        ("train --method fedback IN -o OUT", "feedback"),
        ("train --feedback boundery IN -o OUT --profile mini", "boundary"),
        ("train --optimiser adamww IN -o OUT --profile mini", "adamw"),
        ("invert --method textual IN -o OUT", "textual-inversion"),
        ("generate --method sr --prompt x -o OUT", "ssr"),
        ("generate --format file --prompt x -o OUT", "files"),
        ("score --metrics clip-t,dyno IN -o OUT", "dino"),
        ("score --against sources IN -o OUT", "source"),
        ("export --format cocoa IN -o OUT", "coco"),
        ("export --part instance IN -o OUT", "instances"),
        ("models captions", "caption"),
        ("import coco x -o OUT --frame upwright", "upright"),
        ("import world tset -o OUT", "test"),
        ("score --device cud IN -o OUT", "cuda"),
    ],
)
def test_the_message_names_it(line, meant, make_shards, tmp_path, monkeypatch, capsys):
    places = {"IN": str(make_shards(1, 1)), "OUT": str(tmp_path / "out")}
    words = [places.get(word, word) for word in line.split()]
    monkeypatch.setattr(sys, "argv", ["socialcli", *words])
    with pytest.raises(SystemExit) as end:
        app()
    assert end.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"Did you mean '{meant}'?" in last, last
