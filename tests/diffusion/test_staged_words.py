"""Words with stages: which vectors stand where, what is kept of them, and how they are mixed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from socialcli.diffusion import mixed_words, word_files
from socialcli.diffusion.words import KEY, VALUE
from socialcli.diffusion.words.staged import IdentityWord, StagedWord
from socialcli.diffusion.words.textual_inversion import TextualInversionWord
from socialcli.errors import UsageError

WIDTH = 6


def numbered(token: str, base: float, count: int = 5, parts: int = 2, slots: int = 1) -> StagedWord:
    """A word whose vector in stage s for part p is base + 10 s + p everywhere."""
    table = torch.arange(count)[:, None] * 10.0 + torch.arange(parts) + base
    return StagedWord(token, table[:, :, None, None].expand(-1, -1, slots, WIDTH))


def read(word, timestep: float, part: str) -> float:
    vectors = word.vectors([word.address(timestep, 3, part)])
    assert vectors.shape == (1, word.slots, WIDTH) and bool((vectors == vectors[0, 0, 0]).all())
    return float(vectors[0, 0, 0])


def test_every_timestep_has_its_pair():
    word = numbered("<a>", 100)
    for timestep in range(1000):
        stage = 4 - timestep // 200
        assert read(word, timestep, KEY) == 100 + 10 * stage
        assert read(word, timestep, VALUE) == 101 + 10 * stage
    assert word.address(10, 0, KEY) == word.address(199.5, 15, KEY) != word.address(10, 0, VALUE)
    alike = numbered("<a>", 100, parts=1)
    assert alike.address(10, 0, KEY) == alike.address(10, 0, VALUE)


def test_an_identity_word_starts_as_its_category_and_keeps_its_pairs(tmp_path):
    torch.manual_seed(0)
    initial = torch.randn(WIDTH)
    word = IdentityWord("<anna>", initial, 3, "clean-first")
    assert torch.equal(word.table(), initial.expand(3, 2, 1, WIDTH))
    assert {n.split(".")[0] for n, p in word.named_parameters() if p.requires_grad} == {"block"}
    with torch.no_grad():
        for parameter in word.parameters():
            parameter.normal_(std=0.3)
    word.train()
    lengths = word.table().norm(dim=-1)
    assert torch.allclose(lengths, initial.norm().expand_as(lengths), atol=1e-5)
    free = IdentityWord("<anna>", initial, 3, scaled=False)
    free.load_state_dict(word.state_dict())
    assert torch.allclose(free.block(initial).view(3, 2, 1, WIDTH), free.table())
    assert float((free.table().norm(dim=-1) - lengths).abs().min()) > 1e-3
    kept = word.kept()
    assert word.training and kept.stages.shape == (3, 2, 1, WIDTH)
    assert len({float(x) for x in kept.stages.sum(-1).flatten()}) == 6
    word.eval()
    for timestep, part in ((0, KEY), (400, VALUE), (999, KEY)):
        address = word.address(timestep, 0, part)
        assert torch.equal(word.vectors([address]), kept.vectors([address]))
        assert address[0] == timestep * 3 // 1000
    word_files.write(tmp_path, [kept], {"<anna>": "person"}, {"socialcli.method": "identity"})
    (again,) = word_files.read(str(tmp_path))
    assert torch.equal(again.word.stages, kept.stages) and again.word.order == "clean-first"
    assert (again.plain, again.method, again.word.kind) == ("person", "identity", "staged")


@pytest.mark.parametrize(
    ("text", "kept", "swapped"),
    [
        ("<a>=2", {(1, KEY), (1, VALUE)}, {}),
        ("<a>=1-2,k5", {(0, KEY), (0, VALUE), (1, KEY), (1, VALUE), (4, KEY)}, {}),
        ("<a>=v4-5:<b>", set(), {(3, VALUE): "<b>", (4, VALUE): "<b>"}),
        ("<a>=k1, 3:<b>", {(0, KEY)}, {(2, KEY): "<b>", (2, VALUE): "<b>"}),
    ],
)
def test_changes_are_read(text, kept, swapped):
    change = mixed_words.parse(text)
    assert (change.token, change.kept, change.swapped) == ("<a>", kept, swapped)


@pytest.mark.parametrize("text", ["<a>", "<a>=", "=1", "<a>=x", "<a>=1-", "<a>=0", "<a>=3-2",
                                  "<a>=6", "<a>=1-2:"])  # fmt: skip
def test_what_is_no_change_is_refused(text):
    with pytest.raises(UsageError, match=r"--stages .*(write it as|has stages 1 to 5)"):
        mixed_words.parse(text)


class Model:
    """A text encoder whose word "person" is 7 everywhere."""

    def __init__(self):
        table = torch.full((3, WIDTH), 7.0)
        network = SimpleNamespace(get_input_embeddings=lambda: SimpleNamespace(weight=table))
        tokenizer = lambda text, **_: {"input_ids": [1]}  # noqa: E731
        self.encoders = [SimpleNamespace(tokenizer=tokenizer, network=network)]


def mixed(changes, *words, plain=None):
    learned = [word_files.Learned(word) for word in words]
    changed_words = mixed_words.apply(changes, learned, plain or {}, Model())
    return {word.token: word for word in changed_words}


def test_stages_are_added_one_after_the_other():
    """Fig. 4, "progressively adding": elsewhere the ordinary word stands."""
    for last in range(1, 6):
        word = mixed([f"<a>=1-{last}"], numbered("<a>", 100), plain={"<a>": "person"})["<a>"]
        for stage in range(5):
            expected = (100 + 10 * stage, 101 + 10 * stage) if stage < last else (7, 7)
            timestep = 999 - 200 * stage
            assert (read(word, timestep, KEY), read(word, timestep, VALUE)) == expected


def test_values_of_another_word_are_put_in():
    """Fig. 4, "progressively substituting"."""
    a, b = numbered("<a>", 100), numbered("<b>", 500)
    words = mixed(["<a>=v4-5:<b>"], a, b)
    assert words["<b>"] is b
    keys = [read(words["<a>"], 999 - 200 * s, KEY) for s in range(5)]
    values = [read(words["<a>"], 999 - 200 * s, VALUE) for s in range(5)]
    assert keys == [100, 110, 120, 130, 140] and values == [101, 111, 121, 531, 541]
    addresses = [words["<a>"].address(t, 0, p) for t in (10, 990) for p in (KEY, VALUE)]
    assert words["<a>"].vectors(addresses)[:, 0, 0].tolist() == [140, 541, 100, 101]


def test_constant_words_have_stages_too():
    constant = TextualInversionWord("<c>", torch.full((1, WIDTH), 3.0))
    word = mixed(["<c>=4-5"], constant, plain={"<c>": "person"})["<c>"]
    assert [read(word, t, KEY) for t in (999, 400, 399, 0)] == [7, 7, 3, 3]
    assert not word.CONSTANT


def test_what_cannot_be_mixed_is_said():
    a, wide = numbered("<a>", 1), numbered("<w>", 1, slots=2)
    for changes, line in (
        (["<x>=1"], "<x> is not among <a>, <w>"),
        (["<a>=1:<x>"], "<x> is not among"),
        (["<a>=1:<w>"], "<w> has 2 vectors of 6, <a> 1 of 6"),
        (["<a>=1"], "--plain-word '<a>=WORD'"),
        (["<a>=1:<a>", "<a>=2:<a>"], "<a> is changed twice"),
    ):
        with pytest.raises(UsageError) as error:
            mixed(changes, a, wide)
        assert line in str(error.value) and "\n" not in str(error.value)
