"""Pseudo-words that differ by case only: `invert` advised the very name it refused.

CLIP's tokenizer reads lower case only, so that <Dog> and <dog> are one word. `generate` took two
such embeddings without a word.
"""

from __future__ import annotations

import pytest
from tiny import diffusion as tiny

from socialcli.diffusion.pseudo_words import add, another_name, check_case
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


def test_a_word_in_capitals_and_the_name_of_a_second_vector_are_taken():
    words, encoder = tiny.tokenizer(), tiny.networks()[1]
    assert add(words, encoder, {"<pet>_1": (1, tiny.WIDTH)}) == {"<pet>_1": ["<pet>_1"]}
    for token, vectors in (("DOG", 1), ("<pet>", 2)):
        with pytest.raises(UsageError, match=f"'{token}' is a word of this model already"):
            add(words, encoder, {token: (vectors, tiny.WIDTH)})
    assert add(words, encoder, {"<pet>": (1, tiny.WIDTH)}) == {"<pet>": ["<pet>"]}
