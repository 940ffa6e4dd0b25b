"""The ControlNet miniature: it begins by adding nothing, and ends by putting people where told."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy
import torch

from socialcli.miniature.world import scene
from socialcli.miniature.zoo import cards, controlnet, data, diffusion, latents


def test_skeletons_lie_on_the_people_and_latents_are_their_scenes(tmp_path, monkeypatch):
    monkeypatch.setattr(latents, "CHUNK", 8)
    vae = cards.folder("vae") / "vae"
    cache = latents.everything(tmp_path, 3, vae)
    clean, _, drawn, *_ = controlnet.batches(cache)(5)
    assert drawn.shape == (controlnet.BATCH, 3, data.SIZE, data.SIZE)
    assert 0 <= float(drawn.min()) < float(drawn.max()) <= 1
    rows = [data.rows([scene(data.TRAIN_SEED, n, 96)]) for n in range(24)]
    known = {latents.encode(latents.autoencoder(vae), row).tobytes(): n
             for n, row in enumerate(rows)}  # fmt: skip
    inside = []
    for latent, hint in zip(clean, drawn, strict=True):
        # Encoded in another batch the last bit may differ.
        errors = [(float((torch.from_numpy(numpy.frombuffer(k, numpy.float16).reshape(4, 24, 24)
                   .astype(numpy.float32)) - latent).abs().max()), n)
                  for k, n in known.items()]  # fmt: skip
        error, number = min(errors)
        assert error < 0.1
        people = {p.id for p in scene(data.TRAIN_SEED, number, 96).people}
        shown = hint.amax(0).numpy() > 0
        if shown.any():
            inside.append(
                numpy.isin(scene(data.TRAIN_SEED, number, 96).instances[shown], list(people)).mean()
            )
    assert numpy.mean(inside) > 0.7  # things are held before people


def test_a_fresh_one_changes_nothing(tmp_path):
    base = diffusion.published(cards.folder("diffusion"))
    fresh = controlnet.network(base.unet).eval()
    noisy = torch.randn(2, 4, 24, 24, generator=torch.Generator().manual_seed(0))
    text = base.text_encoder(torch.ones(2, 40, dtype=torch.long)).last_hidden_state
    hints = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        down, middle = fresh(noisy, 500, text, controlnet_cond=hints, return_dict=False)
        assert not any(part.any() for part in (*down, middle))
        plain = base.unet(noisy, 500, text).sample
        conditioned = base.unet(
            noisy, 500, text, down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample  # fmt: skip
    assert torch.equal(plain, conditioned)


def test_the_published_one_puts_people_where_the_skeletons_are(monkeypatch):
    monkeypatch.setattr(controlnet, "TEST", 4)
    measured = controlnet.measure(cards.folder("controlnet"))
    assert measured["pck_scene"] > 0.9  # the ruler
    assert measured["pck"] > measured["pck_without"] + 0.25
