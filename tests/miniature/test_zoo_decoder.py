"""The miniature decoder: its recipe in short, and what its card says of it."""

from __future__ import annotations

import json

import torch

from socialcli.miniature.zoo import cards, decoder
from socialcli.networks import tiny_decoder


def test_the_card_says_what_it_does(monkeypatch):
    monkeypatch.setattr(decoder, "TEST", 10)
    measured = json.loads(cards.card("decoder").read_text())["test"]
    again = decoder.measure(cards.folder("decoder"))
    assert abs(again["psnr"] - measured["psnr"]) < 1.5
    assert abs(again["gradient"] - measured["gradient"]) < 0.1
    assert measured["gradient"] > 0.5  # it corrects in about the same direction


def test_the_recipe_trains_and_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(decoder, "BATCH", 1)
    run = decoder.train(tmp_path / "work", 2, None, "cpu")
    assert run.finished and run.step == 2
    decoder.export(run.model, tmp_path / "out")
    again = tiny_decoder.load(tmp_path / "out")
    latents = torch.randn(1, 4, 6, 6)
    with torch.no_grad():
        assert torch.allclose(again(latents), run.model(latents), atol=0.02)
    assert again.factor == 4 and again.channels == 4
