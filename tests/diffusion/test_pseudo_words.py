"""New words in a tokenizer and their rows behind a table of embeddings."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny import diffusion as tiny

from socialcli.diffusion import pseudo_words
from socialcli.diffusion.pseudo_words import Words
from socialcli.errors import UsageError


@pytest.fixture
def model():
    """A tokenizer and a text encoder of its own."""
    return tiny.tokenizer(), tiny.networks()[1]


def rows(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None].expand(-1, tiny.WIDTH).clone()


def test_old_ids_give_the_old_rows_whatever_lies_behind_the_table():
    """A table of 9 rows of which the tokenizer uses 6: new words stand from 6 on."""
    old = torch.nn.Embedding(9, 3)
    words = Words(old, torch.arange(6.0).reshape(2, 3), 6)
    embedded = words(torch.tensor([5, 6, 7]))
    assert torch.equal(embedded[0], old.weight[5]) and embedded[1:].tolist() == [
        [0, 1, 2],
        [3, 4, 5],
    ]
    # A table that is smaller than the tokenizer: every id below the first is as it was.
    words = Words(torch.nn.Embedding(4, 3), torch.ones(1, 3), 6)
    assert torch.equal(words(torch.tensor([3])), words.weight[3:4])
    assert words(torch.tensor([6])).tolist() == [[1, 1, 1]]


def test_only_new_rows_train_in_float32_and_are_nobodys_copy():
    given = torch.ones(1, 3, dtype=torch.float16)
    old = torch.nn.Embedding(5, 3).to(torch.bfloat16)
    words = Words(old, given, 5)
    embedded = words(torch.tensor([[1, 5, 5]]))
    assert embedded.dtype == torch.bfloat16 and words.weight is old.weight
    embedded.float().sum().backward()
    assert words.new.dtype == torch.float32 and words.new.grad.tolist() == [[2, 2, 2]]
    assert [name for name, _ in words.named_parameters()] == ["new"]
    same = torch.ones(1, 3)
    words = Words(old, same, 5)
    words.new.data += 1
    assert same.tolist() == [[1, 1, 1]]


def test_each_vector_has_a_word_and_all_stand_in_a_row(model):
    tokenizer, encoder = model
    old = encoder.get_input_embeddings()
    size = len(tokenizer)
    inserted = pseudo_words.insert(tokenizer, encoder, {"<a>": rows(1, 2, 3), "<b>": rows(4)})
    assert inserted.names == {"<a>": ["<a>", "<a>_1", "<a>_2"], "<b>": ["<b>"]}
    assert encoder.get_input_embeddings() is inserted.words and inserted.words.first == size
    ids = tokenizer("a <b> <a>_2 <a>", add_special_tokens=False)["input_ids"]
    embedded = inserted.words(torch.tensor(ids))
    assert torch.equal(embedded[0], old.weight[ids[0]])
    assert embedded[1:, 0].tolist() == [4, 3, 1]


@pytest.mark.parametrize("width", [tiny.WIDTH - 1, tiny.WIDTH + 1])
def test_vectors_of_another_width_are_refused(model, width):
    with pytest.raises(UsageError, match=f"f.pt: '<a>': vectors {width} wide, .* has 32"):
        pseudo_words.insert(*model, {"<a>": torch.ones(1, width)}, {"<a>": "f.pt"})


def test_the_width_of_several_encoders_is_that_of_all(model):
    assert pseudo_words.add(*model, {"<a>": (1, 50)}, total=50) == {"<a>": ["<a>"]}
    with pytest.raises(UsageError, match="vectors 32 wide, this model's text encoder has 50"):
        pseudo_words.add(*model, {"<b>": (1, tiny.WIDTH)}, total=50)


def test_names_that_are_taken(model):
    """By the model, by a word before it, or by the number of another's vector."""
    tokenizer, encoder = model
    for shapes, taken in (
        ({"dog": (1, tiny.WIDTH)}, "dog"),
        ({"<a>": (2, tiny.WIDTH), "<a>_1": (1, tiny.WIDTH)}, "<a>_1"),
    ):
        with pytest.raises(UsageError, match=f"'{taken}' is a word of this model already"):
            pseudo_words.add(tokenizer, encoder, shapes)
    tokenizer, encoder = tiny.tokenizer(), encoder
    shapes = {"<c>_1": (1, tiny.WIDTH), "<c>": (2, tiny.WIDTH)}
    with pytest.raises(UsageError, match="'<c>' is a word of this model already"):
        pseudo_words.add(tokenizer, encoder, shapes)
    with pytest.raises(UsageError, match="'<D>' and '<d>' differ by case only"):
        pseudo_words.add(tokenizer, encoder, {"<D>": (1, tiny.WIDTH), "<d>": (1, tiny.WIDTH)})


def test_names_that_are_a_word_inside_words_are_taken():
    """A vocabulary has a word's end as dog</w>, and its beginning as dog: both are the model's."""

    class Tokenizer:
        def __init__(self, *words):
            self.words = words

        def get_vocab(self):
            return dict.fromkeys(self.words, 0)

        def tokenize(self, text):
            return list(text)

    encoder = tiny.networks()[1]
    for word in ("dog", "dog</w>"):
        with pytest.raises(UsageError, match="'dog' is a word of this model already"):
            pseudo_words.add(Tokenizer(word), encoder, {"dog": (1, tiny.WIDTH)})


def test_an_ordinary_word_is_the_rows_of_its_tokens(model):
    tokenizer, first = model
    second = tiny.networks(seed=1)[1]
    ids = tokenizer("dog man", add_special_tokens=False)["input_ids"]
    encoders = [SimpleNamespace(network=one, tokenizer=tokenizer) for one in (first, second)]
    word_rows = pseudo_words.ordinary(SimpleNamespace(encoders=encoders), "dog man")
    tables = [one.get_input_embeddings().weight for one in (first, second)]
    assert len(ids) == 2 and word_rows.shape == (2, 2 * tiny.WIDTH) and not word_rows.requires_grad
    assert torch.equal(word_rows, torch.cat([table[ids] for table in tables], dim=1))
    alone = pseudo_words.ordinary(SimpleNamespace(encoders=encoders[:1]), "dog")
    assert torch.equal(alone, tables[0][ids[:1]])
