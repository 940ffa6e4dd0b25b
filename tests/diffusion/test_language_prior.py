"""Language priors: statistics against float64 by hand, gradients against finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from socialcli.diffusion import language_prior
from socialcli.errors import UsageError


def by_hand(vector: list[float], words: list[list[float]]) -> list[float]:
    """Eq. 3 number by number, in Python's own floats."""
    count, width = len(words), len(vector)
    middle = sum(vector) / width
    spread = math.sqrt(sum((v - middle) ** 2 for v in vector) / width)
    vectors = []
    for at in range(width):
        column = [word[at] for word in words]
        mean = sum(column) / count
        deviation = math.sqrt(sum((c - mean) ** 2 for c in column) / count)
        vectors.append(deviation * (vector[at] - middle) / spread + mean)
    return vectors


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * 0.02


def test_adain_is_equation_3_by_hand():
    words, vectors = numbers(12, 9), numbers(3, 9, seed=1) + 0.3
    mean, std = language_prior.statistics(words)
    moved = language_prior.adain(vectors, mean, std)
    for row, vector in zip(moved.tolist(), vectors.tolist(), strict=True):
        assert row == pytest.approx(by_hand(vector, words.tolist()), abs=1e-9)


def test_the_result_has_the_priors_statistics_whatever_the_vector():
    mean, std = language_prior.statistics(numbers(20, 8))
    vectors = numbers(2, 8, seed=3)
    moved = language_prior.adain(vectors, mean, std)
    plain = (moved - mean) / std
    assert plain.mean(-1).abs().max() < 1e-9
    assert (plain.square().mean(-1) - 1).abs().max() < 1e-6
    # Neither the mean nor the length of the vector matters.
    again = language_prior.adain(vectors * 7 + 2, mean, std)
    assert (again - moved).abs().max() < 1e-6


def test_gradients_agree_with_finite_differences():
    mean, std = language_prior.statistics(numbers(20, 8))
    vectors = numbers(2, 8, seed=5).requires_grad_()
    assert gradcheck(lambda v: language_prior.adain(v, mean, std), (vectors,), eps=1e-7)


class Tokenizer:
    """One token for a word it knows, letters for others."""

    unk_token_id = None

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [self.words.index(text)] if text in self.words else [0, 1]}


def test_words_of_several_tokens_are_left_out_and_too_few_are_refused():
    known = ["a", "b", "run", "sit", "stand", "walk", "jump"]
    table = nn.Embedding(7, 4).weight
    asked = ["somersaulting", *known[2:]]
    prior = language_prior.of_words(Tokenizer(known), table, asked, "verbs")
    assert prior.words == tuple(known[2:])
    rows = table[2:7].detach().double()
    assert torch.allclose(prior.mean.double(), rows.mean(0), atol=1e-6)
    assert torch.allclose(prior.std.double(), rows.std(0, correction=0), atol=1e-6)
    with pytest.raises(UsageError, match=r"of 4 verbs .* has 3 as one token.*--verbs FILE"):
        language_prior.of_words(Tokenizer(known), table, asked[:4], "verbs")


def test_the_lists_have_no_word_twice_and_a_file_takes_their_place(tmp_path):
    parts = ("verbs", "prepositions", "adjectives", "nouns", "conjunctions")
    for part in parts:
        words = language_prior.listed(part)
        assert len(words) == len(set(words)) >= 15, part
    assert {"stand", "kneel", "jump"} <= set(language_prior.listed("verbs"))
    assert {"toward", "with", "to", "over", "through"} <= set(language_prior.listed("prepositions"))
    (tmp_path / "mine.txt").write_text("hop\n\nskip\nhop\n")
    assert language_prior.listed("verbs", str(tmp_path / "mine.txt")) == ["hop", "skip"]
    (tmp_path / "empty.txt").write_text("\n")
    for name, message in (("none.txt", "no readable list of verbs"), ("empty.txt", "no verbs in")):
        with pytest.raises(UsageError, match=message):
            language_prior.listed("verbs", str(tmp_path / name))
