"""IP-Adapter and InteractDiffusion in miniature: how they begin, and that they do what they say."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.generation import interactions
from socialcli.miniature.world import ground_truth, scene
from socialcli.miniature.zoo import (
    attention,
    cards,
    data,
    interactdiffusion,
    ip_adapter,
    latents,
    references,
    seeing,
)
from socialcli.shards import Sample


def _base(backend: str = "stable-diffusion") -> Any:
    return backends.load(ModelSpec("diffusion", backend, str(cards.folder("diffusion"))))


def _noisy() -> torch.Tensor:
    return torch.randn(2, 4, 24, 24, generator=torch.Generator().manual_seed(0))


# --- IP-Adapter ---


def test_what_is_written_draws_as_what_was_trained(tmp_path: Path) -> None:
    """The trained network and the file read by diffusers give the same noise."""
    base = _base()
    text, width = base.prompts(["a man holding a cup"] * 2), 128
    model = ip_adapter.network(base.unet, width)
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            rng = torch.Generator().manual_seed(number)
            weight += 0.05 * torch.randn(weight.shape, generator=rng)
    seen = torch.randn(2, 1, width, generator=torch.Generator().manual_seed(7))

    def noise(unet: Any) -> torch.Tensor:
        with torch.no_grad():
            given = {"image_embeds": [seen]}
            found: torch.Tensor = unet(_noisy(), 500, text, added_cond_kwargs=given).sample
            return found

    wanted = noise(base.unet)
    model.names = list(base.unet.attn_processors)
    model.tower = str(cards.folder("ip_adapter") / ip_adapter.TOWER)
    ip_adapter.export(model, tmp_path)
    other = _base()
    with torch.no_grad():
        plain = other.unet(_noisy(), 500, text).sample
    adapter: Any = backends.load(
        ModelSpec("adapter", "ip-adapter", str(tmp_path / ip_adapter.FILE))
    )
    other.pipeline().load_ip_adapter(
        adapter.parts, subfolder="", weight_name="", image_encoder_folder=None
    )
    read = noise(other.unet)
    does = float((plain - wanted).abs().max())
    assert does > 0.05 and float((read - wanted).abs().max()) < 0.1 * does


def test_what_is_shown_is_what_is_denoised_and_some_of_it_is_left_out() -> None:
    scenes = 20
    number = torch.arange(scenes)
    cache = {
        "latents": number[:, None, None, None].expand(-1, 4, 24, 24),
        "embeddings": 1.0 + number[:, None].expand(-1, 3).float(),
        "ids": number[:, None, None].expand(-1, latents.TEXTS, latents.LENGTH) + 1000,
        "weight": torch.full((scenes, 24, 24), 100),
    }
    batch = ip_adapter.batches(cache)
    silent = blind = both = count = 0
    for step in range(60):
        clean, ids, shown, *_ = batch(step)
        target, hidden = clean[:, 0, 0, 0].long(), shown[:, 0, 0] == 0
        assert bool((shown[:, 0, 0].long() - 1 == target)[~hidden].all())
        unread = ids[:, 0] != target + 1000
        silent += int((unread & ~hidden).sum())
        blind += int((hidden & ~unread).sum())
        both, count = both + int((hidden & unread).sum()), count + len(ids)
    for one in (silent, blind, both):
        assert 0.03 < one / count < 0.07


# --- InteractDiffusion ---


def test_it_is_told_what_the_command_tells_it_of_the_same_scene() -> None:
    """Boxes, words and masks of annotated scenes, as `generate --method interactdiffusion`."""
    base = _base("interactdiffusion")
    texts = interactdiffusion.phrases(base)
    for number in (4, 5, 6):  # two interactions, a mutual one, one
        one = scene(0, number, 96)
        sample = Sample(one.key, ground_truth.members(one))
        with torch.inference_mode():
            wanted = interactions.tokens(
                base.phrase, interactions.of_sample(sample, interactions.MOST)
            )
        boxes = torch.zeros(1, interactdiffusion.PLACED, 2, 4)
        words = torch.full((1, interactdiffusion.PLACED, 3), -1)
        for at, (where, names) in enumerate(interactdiffusion.placed(one)):
            boxes[0, at] = torch.from_numpy(where)
            words[0, at] = torch.tensor([interactdiffusion.PHRASES.index(n) for n in names])
        given = interactdiffusion.arguments(texts, boxes, words)
        assert given.keys() == wanted.keys()
        for name, tensor in wanted.items():
            assert torch.allclose(given[name][0], tensor, atol=1e-5), name


def test_fresh_gates_change_nothing_and_trained_ones_are_read_by_the_backend(
    tmp_path: Path,
) -> None:
    """In training the gates compute for the pixels alone; the backend's give the same noise."""
    base = _base("interactdiffusion")
    text = base.prompts(["a man holding a cup"] * 2)
    with torch.no_grad():
        plain = base.unet(_noisy(), 500, text).sample
    model = interactdiffusion.network(base)
    boxes = torch.tensor([[0.1, 0.2, 0.5, 0.9], [0.5, 0.4, 0.7, 0.6]]).expand(2, 1, 2, 4)
    words = torch.tensor([[[0, 40, 20]], [[-1, -1, -1]]])
    told = interactdiffusion.arguments(interactdiffusion.phrases(base), boxes, words)

    def noise(unet: Any) -> torch.Tensor:
        with torch.no_grad():
            given = {"gligen": told}
            found: torch.Tensor = unet(_noisy(), 500, text, cross_attention_kwargs=given).sample
            return found

    assert torch.allclose(noise(base.unet), plain, atol=1e-5)
    with torch.no_grad():
        for number, weight in enumerate(model["gates"].parameters()):
            rng = torch.Generator().manual_seed(number)
            weight += 0.05 * torch.randn(weight.shape, generator=rng)
    wanted = noise(base.unet)
    assert float((wanted - plain).abs().max()) > 0.05 * float(plain.abs().max())
    model.unet = [base.unet]
    interactdiffusion.export(model, tmp_path)
    other = _base("interactdiffusion")
    other.add(str(tmp_path / interactdiffusion.FILE))
    assert float((noise(other.unet) - wanted).abs().max()) < 0.01 * float(wanted.abs().max())


def test_places_are_asked_to_read_the_boxes_that_they_lie_in() -> None:
    """By hand: a map of 2 x 2 places and two tokens, of which one has a box."""
    boxes = torch.tensor([[[0.5, 0.0, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0]]])
    there = torch.tensor([[1.0, 0.0]])
    # Places in rows: the second lies in the box. Shares that they read of both tokens.
    read = torch.tensor([[[0.5, 0.1], [0.2, 0.7], [0.25, 0.0], [0.0, 0.0]]])
    inside = -math.log(0.2)
    outside = -(math.log(0.5) + math.log(0.75) + math.log(1.0)) / 3
    value = float(attention.outside([read], boxes, there))
    assert value == pytest.approx(inside + outside, abs=1e-3)
    assert float(attention.outside([read, read], boxes, there)) == pytest.approx(value)


def test_who_is_in_the_asked_box_is_found_there() -> None:
    """The two rulers, on scenes themselves and on those of others."""
    scenes = [s for s in data.test_scenes(14) if s.relations]
    asked = [interactdiffusion.placed(s) for s in scenes]
    own, others = [s.image for s in scenes], [s.image for s in scenes[1:] + scenes[:1]]
    assert seeing.acts(own, asked)["interactions"] > 0.7
    assert seeing.acts(others, asked)["interactions"] < 0.3
    right, wrong = (seeing.overlap(p, asked) for p in (own, others))
    assert right["iou"] > 0.7 > 0.3 > wrong["iou"]
    assert right["boxes"] > 0.8 > 0.3 > wrong["boxes"]


# --- the published ones ---


def test_published_adapters_change_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few pictures and few steps: with the gates things come nearer to the asked boxes, with a
    picture what is drawn comes nearer to it."""
    monkeypatch.setattr(references, "SAMPLING", 8)
    scenes, _, rows = interactdiffusion._drawn(cards.folder("interactdiffusion"), 6)
    asked = [interactdiffusion.placed(s) for s in scenes]
    told, alone = (seeing.overlap(row, asked)["iou"] for row in rows)
    assert told > alone + 0.05
    cases, rows = ip_adapter._drawn(cards.folder("ip_adapter"), 6)
    with_it, without = ip_adapter.likeness(cases, rows)
    assert with_it > without + 0.05
