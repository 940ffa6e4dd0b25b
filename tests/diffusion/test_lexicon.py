"""Learned words in texts: which states each layer reads, and that all else stays as it was."""

from __future__ import annotations

import pytest
import torch
from tiny import diffusion as tiny
from torch import nn

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.diffusion import layered, sampling, word_files
from socialcli.diffusion.conditioning import of_text
from socialcli.diffusion.lexicon import Lexicon, as_arguments
from socialcli.diffusion.words import KEY, VALUE, Word
from socialcli.diffusion.words.p_plus import PPlusWord
from socialcli.diffusion.words.textual_inversion import TextualInversionWord
from socialcli.errors import UsageError

LAYERS = 5  # of the tiny UNet: 1 + 1 down, 1 in the middle, 2 up


class Everywhere(Word):
    """Differs by timestep, layer and part, takes two places and changes values behind the
    encoder; counts what it is asked."""

    kind = "everywhere"
    BYPASS = True

    def __init__(self, token: str = "<all>", width: int = tiny.WIDTH) -> None:
        super().__init__(token, 2, width)
        generator = torch.Generator().manual_seed(5)
        self.table = nn.Parameter(torch.randn(2, LAYERS, 2, width, generator=generator))
        self.asked = 0

    def address(self, timestep, layer, part, note=None):
        return (timestep >= 500, layer, note)

    def vectors(self, addresses):
        self.asked += len(addresses)
        return torch.stack([self.table[int(late), layer] for late, layer, _ in addresses])

    def bypass(self, addresses, hidden):
        return hidden + self.vectors(addresses).flip(1)


class Final(Word):
    """Stands in the encoder's final states, other ones for values."""

    kind = "final"

    def __init__(self) -> None:
        super().__init__("<fin>", 1, tiny.WIDTH)

    def address(self, timestep, layer, part, note=None):
        return part

    def vectors(self, addresses):
        return torch.zeros(len(addresses), 1, tiny.WIDTH)

    def states(self, addresses):
        value = {KEY: 1.0, VALUE: 2.0}
        return torch.stack([torch.full((1, tiny.WIDTH), value[a]) for a in addresses])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("model")))


@pytest.fixture
def model(folder):
    return backends.load(ModelSpec("diffusion", "stable-diffusion", folder, device="cpu"))


def by_hand(model, embeddings: torch.Tensor, places: list[int], text: str, bypass=None):
    """States of a text whose embeddings at some places are given, without any of our code."""
    ids = model.tokenizer(
        text, padding="max_length", max_length=tiny.TOKENS, return_tensors="pt"
    ).input_ids
    encoder = model.text_encoder
    rows = encoder.embeddings.token_embedding(ids).clone()
    rows[0, places] = embeddings
    rows = rows + encoder.embeddings.position_embedding.weight[: tiny.TOKENS]
    mask = torch.full((tiny.TOKENS, tiny.TOKENS), -torch.inf).triu(1)[None, None]
    hidden = encoder.encoder(inputs_embeds=rows, attention_mask=mask).last_hidden_state
    if bypass is not None:
        hidden = hidden.clone()
        hidden[0, places] += bypass
    return encoder.final_layer_norm(hidden)[0]


def test_each_layer_reads_the_states_of_its_own_vectors(model):
    """Keys and values of a word of two places, before and behind the encoder."""
    word = Everywhere()
    with torch.no_grad():
        expected = {
            (late, layer, bypass): by_hand(
                model, word.table[late, layer], [4, 5], "a dog holds dog dog on a hill",
                word.table[late, layer].flip(0) if bypass else None,
            )
            for late in (0, 1)
            for layer in range(LAYERS)
            for bypass in (False, True)
        }  # fmt: skip
        lexicon = Lexicon(model, [word])
        assert lexicon.expand("a <all> here") == "a <all> <all>_1 here"
        texts = ["a dog holds <all> on a hill"] * 2
        states = lexicon.encode(texts, torch.tensor([10, 800]))
    for row, late in enumerate((0, 1)):
        for layer in range(LAYERS):
            assert (states.keys(layer)[row] - expected[late, layer, False]).abs().max() < 1e-5
            assert (states.values(layer)[row] - expected[late, layer, True]).abs().max() < 1e-5
    assert (states.keys(0) - states.values(0)).abs().max() > 0.1


def test_equal_states_are_encoded_once(model):
    word = Everywhere()
    lexicon = Lexicon(model, [word])
    rows = []
    forward = model.text_encoder.forward
    model.text_encoder.forward = lambda ids: rows.append(len(ids)) or forward(ids)
    texts = ["a <all>", "a <all>", "a dog", "the <all>"]
    states = lexicon.encode(texts, torch.tensor([700, 900, 20, 20]))
    assert rows == [LAYERS + 1 + LAYERS]  # late "a", the plain text, early "the"; one call
    assert len(states.table) == 2 * 2 * LAYERS + 1  # a bypass for each, none for the plain text
    assert torch.equal(states.keys(2)[0], states.keys(2)[1])


def test_several_words_in_one_text(model):
    """Two kinds: the address is that of both, and each stands in its places."""
    one = TextualInversionWord("<one>", torch.ones(1, tiny.WIDTH))
    many = PPlusWord("<many>", torch.randn(LAYERS, 1, tiny.WIDTH))
    with torch.no_grad():
        expected = [
            by_hand(
                model, torch.stack([many.layers[n, 0], one.new[0]]), [2, 4], "a dog holds dog a"
            )
            for n in range(LAYERS)
        ]
        lexicon = Lexicon(model, [one, many])
        states = lexicon.encode(["a <many> holds <one> a"], torch.tensor([3]))
    for layer in range(LAYERS):
        assert (states.keys(layer)[0] - expected[layer]).abs().max() < 1e-5
    assert states.value_index is states.key_index and not states.same
    assert lexicon.places("a <many> holds <one> a", ["holds", "a"]) == {
        "<many>": [2], "<one>": [4], "holds": [3], "a": [1, 5],
    }  # fmt: skip
    assert lexicon.used("a <one>") == ["<one>"] and not lexicon.depends("a <one>")
    assert lexicon.unknown("a <two> <one>") == ["<two>"]


def test_states_behind_the_encoder(model):
    lexicon = Lexicon(model, [Final()])
    states = lexicon.encode(["a <fin> dog"], torch.tensor([3]))
    assert (states.keys(1)[0, 2] == 1).all() and (states.values(1)[0, 2] == 2).all()
    assert torch.equal(states.keys(0)[0, 1], states.values(4)[0, 1])


def noised(model, arguments):
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return model.unet(x, torch.tensor([30, 800]), **arguments).sample


def test_the_unet_is_as_it_was_without_layered_words(model, folder):
    before = dict(model.unet.attn_processors)
    lexicon = Lexicon(model, [TextualInversionWord("<one>", torch.ones(1, tiny.WIDTH))])
    assert dict(model.unet.attn_processors) == before  # not even wrapped
    arguments = lexicon.conditioning(["a <one>", "a dog"]).at(torch.tensor([30, 800]))
    assert list(arguments) == ["encoder_hidden_states"]
    other = backends.load(ModelSpec("diffusion", "stable-diffusion", folder, device="cpu"))
    Lexicon(other, [PPlusWord("<p>", torch.zeros(LAYERS, 1, tiny.WIDTH))])
    assert torch.equal(noised(model, arguments), noised(other, arguments))  # wrapped, no words


def test_each_layer_of_the_unet_gets_its_own_states(model):
    """Against attention computed layer by layer from what the layers project."""
    word = Everywhere()
    lexicon = Lexicon(model, [word])
    modules = dict(model.unet.named_modules())
    seen = {}
    for number, name in enumerate(layered.layers(model.unet)):
        layer = modules[name.removesuffix(".processor")]
        for part in "kv":
            getattr(layer, f"to_{part}").register_forward_hook(
                lambda _, given, out, key=(number, part): seen.__setitem__(key, given[0])
            )
    texts, t = ["a <all> dog", "a cat"], torch.tensor([30, 800])
    states = lexicon.encode(texts, t)
    out = noised(model, as_arguments(states))
    for number in range(LAYERS):
        assert torch.equal(seen[number, "k"], states.table[states.key_index[number]])
        assert torch.equal(seen[number, "v"], states.table[states.value_index[number]])
    out.square().sum().backward()
    assert (word.table.grad[0].abs().sum((1, 2)) > 0).all()  # each layer's vectors, early
    assert (word.table.grad[1] == 0).all()  # no row of a late timestep has the word


def test_the_gradient_is_that_of_finite_differences(model):
    model.unet.double(), model.text_encoder.double()
    word = Everywhere().double()
    lexicon = Lexicon(model, [word])
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()

    def value() -> torch.Tensor:
        arguments = lexicon.conditioning(["a <all> dog"]).at(torch.tensor([30]))
        return model.unet(x, torch.tensor([30]), **arguments).sample.square().sum()

    value().backward()
    gradient = word.table.grad[0, 3, 1, 7].item()
    with torch.no_grad():
        both = []
        for step in (1e-4, -1e-4):
            word.table[0, 3, 1, 7] += step
            both.append(value().item())
            word.table[0, 3, 1, 7] -= step
    assert gradient == pytest.approx((both[0] - both[1]) / 2e-4, rel=1e-5)


def test_all_is_encoded_before_the_first_step(model):
    word = Everywhere()
    lexicon = Lexicon(model, [word])
    scheduler = sampling.scheduler("DDIMScheduler", model.scheduler)
    timesteps = sampling.timesteps(scheduler, 6)
    with torch.inference_mode():
        empty, text = model.prompts([""])[0], lexicon.ahead("a <all>", timesteps)
        asked = word.asked
        conditioning = of_text(3.0, [empty, empty], [text, model.prompts(["a cat"])[0]])
        drawn = sampling.denoise(
            model.unet, scheduler, [sampling.generator(n) for n in (1, 2)], (4, 8, 8),
            conditioning, 6, 3.0,
        )  # fmt: skip
        assert word.asked == asked
        # Another timestep than those of the sampler is encoded when it is asked for.
        arguments = conditioning.at(torch.tensor([499, 501, 501, 3.0]))
        states = arguments["cross_attention_kwargs"]["words"]
        once = lexicon.encode(["a <all>"], torch.tensor([501]))
        assert (states.values(1)[2] - once.values(1)[0]).abs().max() < 1e-5
        alone = sampling.denoise(
            model.unet, scheduler, [sampling.generator(2)], (4, 8, 8),
            of_text(3.0, [empty], [model.prompts(["a cat"])[0]]), 6, 3.0,
        )  # fmt: skip
    assert (drawn[1] - alone[0]).abs().max() < 1e-4  # the row without the word takes no notice


def test_subjects_and_words_are_read_together(model, folder):
    """SSR-Encoder's processors inside: P+ with equal vectors in all layers is textual inversion."""
    from transformers import CLIPVisionConfig

    from socialcli.networks.ssr_encoder import SSREncoder

    vector = torch.randn(1, tiny.WIDTH)
    config = CLIPVisionConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=2)
    encoder = SSREncoder.create(model.unet, config, tiny.WIDTH, scales=2, heads=2, dim_head=8)
    encoder.attach(model.unet)
    subject = torch.randn(2, 3, tiny.WIDTH)

    def drawn(diffusion, word):
        lexicon = Lexicon(diffusion, [word])
        rows = [lexicon.state("a <w> dog", [30, 800]), diffusion.prompts(["a cat"])[0]]
        conditioning = of_text(1, [], rows).adding(
            lambda given: encoder.condition(given["encoder_hidden_states"], [subject], [0.7])
        )
        return noised(diffusion, conditioning.at(torch.tensor([30, 800])))

    other = backends.load(ModelSpec("diffusion", "stable-diffusion", folder, device="cpu"))
    encoder.attach(other.unet)
    third = backends.load(ModelSpec("diffusion", "stable-diffusion", folder, device="cpu"))
    encoder.attach(third.unet)
    with torch.inference_mode():
        constant = drawn(model, TextualInversionWord("<w>", vector))
        layered_alike = drawn(other, PPlusWord("<w>", vector.expand(LAYERS, 1, -1)))
        layers = vector.expand(LAYERS, 1, -1) * torch.arange(LAYERS)[:, None, None]
        apart = drawn(third, PPlusWord("<w>", layers))
    assert (constant - layered_alike).abs().max() < 1e-5
    assert (constant[0] - apart[0]).abs().max() > 1e-3
    assert (constant[1] - apart[1]).abs().max() < 1e-5  # the row without the word


def test_long_texts_are_read_window_by_window(model):
    lexicon = Lexicon(model, [PPlusWord("<p>", torch.randn(LAYERS, 1, tiny.WIDTH))])
    text = " ".join(["a dog"] * 8 + ["<p>"])  # 17 tokens, 14 a window
    whole = lexicon.ahead(text, [5.0], whole=True)
    assert len(whole) == 2 * tiny.TOKENS
    second = lexicon.encode(["a dog <p>"], torch.tensor([5]))
    key, _ = whole.columns(5.0)
    assert (whole.table[key[2], tiny.TOKENS :] - second.keys(2)[0]).abs().max() < 1e-4
    longer = whole.followed(torch.zeros(tiny.TOKENS, tiny.WIDTH))
    assert len(longer) == 3 * tiny.TOKENS and len(whole) == 2 * tiny.TOKENS
    assert (longer.table[:, 2 * tiny.TOKENS :] == 0).all()


@pytest.mark.parametrize(
    ("word", "line"),
    [
        (PPlusWord("<p>", torch.zeros(16, 1, tiny.WIDTH)), "16 cross-attention layers.* has 5"),
        (PPlusWord("<p>", torch.zeros(LAYERS, 1, 768)), "768 wide, this model's .* 32"),
        (TextualInversionWord("dog", torch.zeros(1, tiny.WIDTH)), "word of this model already"),
    ],
)
def test_a_word_of_another_model_is_refused_in_one_line(model, word, line):
    with pytest.raises(UsageError, match=line) as refusal:
        Lexicon(model, [word], {word.token: "some.safetensors"})
    assert str(refusal.value).startswith("some.safetensors: ") and "\n" not in str(refusal.value)


# --- files ---


HEADER = {
    "socialcli.method": "p-plus",
    "socialcli.models": '[{"role": "diffusion", "model": "sd", "revision": "sha256:12"}]',
}


def test_words_say_what_they_are(tmp_path):
    words = [
        PPlusWord("<a.b/c>", torch.randn(4, 2, 8)),
        TextualInversionWord("<t>", torch.randn(1, 8)),
        PPlusWord("<a>", torch.randn(4, 1, 8)),
    ]
    word_files.write(tmp_path, words, {"<a>": "dog"}, HEADER)
    for given in (str(tmp_path), str(tmp_path / "words.safetensors")):
        read = {one.token: one for one in word_files.read(given)}
        assert read["<a>"].plain == "dog" and read["<a>"].base == ("sd", "sha256:12")
        assert read["<a>"].method == "p-plus" and read["<a>"].word.kind == "p-plus"
        assert torch.equal(read["<a.b/c>"].word.layers, words[0].layers)
    (constant,) = word_files.read(str(tmp_path / "learned_embeds.safetensors"))
    assert constant.token == "<t>" and torch.equal(constant.word.new, words[1].new)
    assert set(read) == {"<a.b/c>", "<a>"}
    with pytest.raises(UsageError, match="there is no <x>"):
        word_files.read(f"{tmp_path}:<x>")
    (named,) = word_files.read(f"{tmp_path}:<a>")
    assert named.token == "<a>"


@pytest.mark.parametrize(
    ("kinds", "line"),
    [
        ('{"<a>": {"kind": "none", "settings": {}}}', "no kind of word"),
        ('{"<a>": {"kind": "p-plus", "settings": {}}}', "no word of p-plus"),
        ("[1]", "cannot be read as learned words"),
    ],
)
def test_a_file_that_lies_is_refused_in_one_line(tmp_path, kinds, line):
    from socialcli.networks import weights

    file = tmp_path / "words.safetensors"
    weights.write(file, {"<a>/layers": torch.zeros(3, 4)}, {"socialcli.words": kinds})
    with pytest.raises(UsageError, match=line) as refusal:
        word_files.read(str(file))
    assert str(file) in str(refusal.value) and "\n" not in str(refusal.value)
