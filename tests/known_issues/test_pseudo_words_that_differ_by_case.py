"""Pseudo-words that differ by case only: `invert` advised the very name it refused.

CLIP's tokenizer reads lower case only, so that <Dog> and <dog> are one word. `generate` took two
such embeddings without a word.
"""

from __future__ import annotations

import pytest

from socialcli.diffusion.pseudo_words import another_name, check_case
from socialcli.errors import UsageError


class Tokenizer:
    def __init__(self, lower: bool) -> None:
        self.lower = lower

    def tokenize(self, text: str) -> list[str]:
        return list(text.lower() if self.lower else text)


def test_two_words_that_the_tokenizer_cannot_tell_apart():
    with pytest.raises(UsageError, match="'<Dog>' and '<dog>' differ by case only") as refused:
        check_case(Tokenizer(lower=True), ["<Dog>", "<cat>", "<dog>"])
    assert "rename one, to <dog-2>" in str(refused.value)
    check_case(Tokenizer(lower=False), ["<Dog>", "<dog>"])
    check_case(Tokenizer(lower=True), ["<dog>", "<cat>"])


def test_the_advised_name_is_another():
    assert another_name("dog") == "<dog>"
    assert another_name("<dog>") == "<dog-2>"
