"""With ``--mixed-precision bf16``, usual on a GPU, NeTI trained with the timesteps of bfloat16:
507 different ones of 1000, while it draws with all of them. ReVersion's steering became 0 where a
text's words are far from the prepositions, and with it its pull. Losses are float32 or wider, and
what a word is made of is the same in training as in drawing."""

from __future__ import annotations

import pytest
import torch

from socialcli.losses import contrast, steering
from socialcli.networks.neti import NeTIMapper

TIMES = torch.arange(1000).float()


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def steered(words: torch.Tensor) -> torch.Tensor:
    near = words.detach()[:, None] + random(4, 5, 96)
    return steering.loss(words, near, random(4, 7, 96), torch.ones(4, 7, dtype=torch.bool)).sum()


def contrasted(words: torch.Tensor) -> torch.Tensor:
    return contrast.loss(words + 3 * random(96), random(6, 96) + random(96), 0.2)


@pytest.mark.parametrize("loss", [steered, contrasted])
def test_a_loss_and_its_gradient_are_those_of_float32(loss):
    words = random(4, 96).requires_grad_()
    values = []
    for mixed in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            value = loss(words)
        assert value.dtype == torch.float32
        values.append((value.detach(), *torch.autograd.grad(value, words)))
    assert all(torch.equal(*pair) for pair in zip(*values, strict=True))


def test_a_word_of_neti_tells_timesteps_apart_in_training():
    torch.manual_seed(0)
    mapper = NeTIMapper(8, 16, 1.0)
    layers = torch.full_like(TIMES, 5.0)
    exact = mapper.encoded(TIMES, layers)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mapper.encoded(TIMES, layers), exact)
        assert mapper(TIMES, layers).shape == (1000, 8)
