"""A learnt word of another method was drawn as if it were constant, and nothing said so.

The file's header names the method. Who reads a word of another one refuses it in one line, before
any model is loaded; files that do not say (from other trainers) are taken as they were.
"""

from __future__ import annotations

import pytest
import torch
from parts import part

from socialcli.diffusion import embeddings
from socialcli.errors import UsageError
from socialcli.networks import weights


def word(tmp_path, header: dict[str, str]) -> str:
    file = tmp_path / "word.safetensors"
    weights.write(file, {"<rex>": torch.ones(1, 8)}, header)
    return str(file)


def test_a_word_of_another_method_is_refused_in_one_line(tmp_path) -> None:
    method = part("methods.generate", "textual-inversion")
    file = word(tmp_path, {"socialcli.method": "p-plus"})
    with pytest.raises(UsageError, match="learnt by --method p-plus") as error:
        method.load(method.Config(embedding=[file]))
    assert file in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("method", ["", "textual-inversion"])
def test_a_word_says_its_method_if_its_file_does(tmp_path, method) -> None:
    header = {"socialcli.method": method} if method else {}
    (learned,) = embeddings.read(word(tmp_path, header))
    assert learned.method == method
