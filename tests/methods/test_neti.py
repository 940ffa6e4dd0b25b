"""NeTI and P+: the mapper, nested dropout, files of the public code, restarts and processes."""

from __future__ import annotations

import dataclasses
import io
import json
import multiprocessing
import os
import signal
import sys
import time
import types
from pathlib import Path

import pytest
import torch
from parts import part
from safetensors.torch import load_file
from tiny import diffusion as tiny
from torch import nn
from toy_method import free_port

from socialcli import backends, shards
from socialcli.backends import ModelSpec
from socialcli.diffusion import word_files
from socialcli.diffusion.lexicon import Lexicon
from socialcli.diffusion.words.neti import NetiWord
from socialcli.errors import UsageError
from socialcli.networks.neti import HIDDEN, NeTIMapper
from socialcli.randomness import Draw

LAYERS = 5


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> str:
    from PIL import Image

    place = tmp_path_factory.mktemp("data") / "a.tar"
    samples = []
    for number in range(4):
        out = io.BytesIO()
        Image.new("RGB", (32, 32), (220, 40 + 30 * number, 30)).save(out, "PNG")
        meta = {"schema": 1, "width": 32, "height": 32, "extra": {"class": "dog"}}
        samples.append(
            (f"rex/{number}", {"png": out.getvalue(), "meta.json": json.dumps(meta).encode()})
        )
    shards.write(place, samples)
    return str(place)


def invert(name: str, output: Path, inputs: str, model: str, **changed) -> None:
    from socialcli.training import loop

    method = part("methods.invert", name)
    small = {
        "device": "cpu", "dtype": "float32", "steps": 4, "batch_size": 4, "micro_batch": 2,
        "model": model, "quiet": True,
    }  # fmt: skip
    config = dataclasses.asdict(method.Config(**{**small, **changed}))
    loop.run("invert", name, method, config, [inputs], str(output))


def test_the_mapper_is_the_papers(model):
    """Output for output in float64, with the public code's formulas written out."""
    torch.manual_seed(0)
    mapper = NeTIMapper(12, 3, 0.5).double()
    t, layer = torch.tensor([0.0, 437.0, 999.0]), torch.tensor([2.0, 0.0, 1.0])
    vectors = mapper(t.double(), layer.double(), torch.tensor([HIDDEN, 40, 7]))
    for row, cut in enumerate((HIDDEN, 40, 7)):
        angles = mapper.w[:, 0] * t[row] + mapper.w[:, 1] * layer[row]
        encoded = torch.cat([angles.sin(), angles.cos()])
        hidden = mapper.net[1](mapper.input_layer(encoded / encoded.square().sum().sqrt()))
        hidden = nn.functional.leaky_relu(mapper.net[2](hidden), 0.01)
        hidden = nn.functional.leaky_relu(mapper.net[5](mapper.net[4](hidden)), 0.01)
        hidden = torch.cat([hidden[:cut], torch.zeros(HIDDEN - cut)])
        out = mapper.output_layer[0](hidden)
        assert torch.allclose(vectors[row], out / out.norm() * 0.5, atol=1e-12)
    # The input layer starts as the encodings of ten timesteps in each of three layers.
    encoded = mapper.encoded(torch.tensor([700.0]).double(), torch.tensor([1.0]).double())
    assert torch.allclose(mapper.input_layer.weight[7 * 3 + 1], encoded[0], atol=1e-5)


def test_the_bypass_is_as_long_as_what_it_is_added_to():
    torch.manual_seed(0)
    word = NetiWord("<x>", NeTIMapper(16, LAYERS, 0.4))
    hidden = torch.randn(2, 1, 8) * 9
    changed = word.bypass([(3.0, 1, HIDDEN), (500.0, 4, 20)], hidden) - hidden
    assert torch.allclose(changed.norm(dim=-1), 0.2 * hidden.norm(dim=-1), rtol=1e-5)
    whole = word.mapper(torch.tensor([3.0]), torch.tensor([1.0]), torch.tensor([HIDDEN]))
    cosine = torch.cosine_similarity(changed[0, 0], whole[0, 8:], dim=0)
    assert cosine > 0.9999 and torch.equal(word.vectors([(3.0, 1, HIDDEN)])[0, 0], whole[0, :8])
    word.truncate(20)
    assert word.address(3.0, 1, "k") == (3.0, 1, 20)
    assert not NetiWord("<x>", NeTIMapper(8, LAYERS, None), 0.0).BYPASS


def test_nested_dropout_does_not_depend_on_how_the_batch_is_shared():
    state = types.SimpleNamespace(
        config=types.SimpleNamespace(nested_dropout=0.5),
        lexicon=types.SimpleNamespace(layers=16),
    )
    notes = part("methods.invert", "neti").notes
    whole = [notes(state, Draw(0, step, [0, 1, 2], ["a"] * 3)) for step in range(40)]
    parts = [
        notes(state, Draw(0, step, [0], ["a"])) + notes(state, Draw(0, step, [1, 2], ["a"] * 2))
        for step in range(40)
    ]
    assert whole == parts
    cuts = torch.tensor(whole)  # (steps, rows, layers)
    dropped = (cuts < HIDDEN).float()
    assert torch.equal(dropped.amin(1), dropped.amax(1))  # in all samples of a step or in none
    assert 0.42 < dropped.mean() < 0.58
    kept = cuts[cuts < HIDDEN].float()
    assert 58 < kept.mean() < 69 and kept.min() < 5 and kept.max() > 122
    assert (cuts[:, 0] != cuts[:, 1]).any()


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, pictures, model):
    same = {"steps": 6, "checkpoint_every": 1}
    invert("neti", tmp_path / "whole", pictures, model, **same)
    # Of more steps than a busy machine takes before the blow falls.
    process = multiprocessing.get_context("fork").Process(
        target=invert, args=("neti", tmp_path / "killed", pictures, model),
        kwargs={**same, "steps": 100_000},
    )  # fmt: skip
    process.start()
    written = tmp_path / "killed" / "log.jsonl"
    while process.is_alive() and (not written.exists() or written.read_text().count('"loss"') < 2):
        time.sleep(0.002)
    assert process.is_alive(), "it was to be killed on its way"
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (tmp_path / "killed" / "words.safetensors").exists()
    invert("neti", tmp_path / "killed", pictures, model, **same)
    both = [(tmp_path / name / "words.safetensors").read_bytes() for name in ("killed", "whole")]
    assert both[0] == both[1]


def quietly(rank: int, port: int, *args, **changed) -> None:
    os.environ.update(
        WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank),
        LOCAL_RANK=str(rank), ACCELERATE_USE_CPU="1",
    )  # fmt: skip
    sys.stderr = open(os.devnull, "w")
    invert(*args, **changed)


def test_two_processes_make_the_same_word(tmp_path, pictures, model):
    """The same global batch; other sums, so other last bits, which Adam would make larger where a
    gradient is nearly zero: plain descent does not."""
    same = {"steps": 3, "optimiser": "sgd", "learning_rate": 0.5, "micro_batch": 1}
    invert("neti", tmp_path / "one", pictures, model, **same)
    port = free_port()
    both = [
        multiprocessing.get_context("fork").Process(
            target=quietly, args=(rank, port, "neti", tmp_path / "two", pictures, model),
            kwargs=same,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    for process in both:
        process.start()
    for process in both:
        process.join(120)
        assert process.exitcode == 0
    one, two = (load_file(tmp_path / name / "words.safetensors") for name in ("one", "two"))
    start = part("methods.invert", "neti").word(
        part("methods.invert", "neti").Config(), "<rex>", torch.ones(1, tiny.WIDTH), LAYERS
    )
    moved = (one["<rex>/mapper.output_layer.0.weight"] - start.mapper.output_layer[0].weight).abs()
    assert moved.max() > 1e-4  # it did train
    for name, tensor in one.items():
        assert (tensor - two[name]).abs().max() < 1e-5, name


@pytest.mark.parametrize("word", ["golden retriever", "dog cat"])
def test_a_super_category_of_several_tokens_is_refused_before_a_model_is_loaded(
    tmp_path, pictures, model, word, monkeypatch
):
    monkeypatch.setattr(backends, "load", lambda spec: pytest.fail("a model was loaded"))
    with pytest.raises(UsageError, match="a super-category of one token") as error:
        invert("neti", tmp_path, pictures, model, initial_word=[word])
    assert "<rex>" in str(error.value) and "\n" not in str(error.value)


def test_words_of_several_methods_stand_in_one_prompt(tmp_path, pictures, model, run_cli):
    """The real command, the files that invert wrote, and a word of textual inversion."""
    invert("neti", tmp_path / "n", pictures, model, token="<n>", learning_rate=0.05)
    invert("p-plus", tmp_path / "p", pictures, model, token="<p>", learning_rate=0.05, steps=2)
    invert("textual-inversion", tmp_path / "t", pictures, model, token="<t>", steps=1)
    assert sorted(p.name for p in (tmp_path / "n").glob("*.safetensors")) == ["words.safetensors"]
    words = [w for name in "npt" for w in ("--words", tmp_path / name)]
    draw = ["--model", model, "--steps", 3, "--device", "cpu", "--format", "files"]
    text = "a <n> beside a <p> and a <t>"
    run_cli("generate", "--prompt", text, *words, *draw, "-o", tmp_path / "all")
    record = json.loads((tmp_path / "all" / "00000.json").read_text())
    assert record["plain_prompt"] == "a dog beside a dog and a dog"
    assert record["models"]["words"]["options"]["methods"] == {
        "<n>": "neti", "<p>": "p-plus", "<t>": "textual-inversion",
    }  # fmt: skip
    drawn = (tmp_path / "all" / "00000.png").read_bytes()
    run_cli("generate", "--prompt", record["plain_prompt"], *draw, "-o", tmp_path / "plain")
    assert drawn != (tmp_path / "plain" / "00000.png").read_bytes()
    cut = ["--truncation", 1]
    run_cli("generate", "--prompt", text, *words, *draw, *cut, "-o", tmp_path / "cut")
    assert drawn != (tmp_path / "cut" / "00000.png").read_bytes()


def test_layers_of_p_plus_start_alike_and_part(tmp_path, pictures, model):
    (tmp_path / "texts.txt").write_text("a {}\nthe {}\n")
    texts = {"templates": str(tmp_path / "texts.txt")}
    invert("p-plus", tmp_path / "out", pictures, model, vectors=2, learning_rate=0.05, **texts)
    (word,) = word_files.read(str(tmp_path / "out"))
    layers = word.word.layers
    assert layers.shape == (LAYERS, 2, tiny.WIDTH) and word.plain == "dog"
    (third,) = word_files.read(str(tmp_path / "out" / "tokens" / "rex-3.safetensors"))
    assert third.token == "<rex>-3" and torch.equal(third.word.new, layers[3])
    assert min((layers[n] - layers[n - 1]).abs().max() for n in range(LAYERS)) > 1e-4


def in_diffusers(model: str, tokens: Path, text: str, noisy, t):
    """Noise prediction of diffusers' pipeline: its loader, its text encoder, and, as P+ is defined,
    in each cross-attention layer the text with that layer's word. And the same with the layers in
    the opposite order, which is another one."""
    from diffusers import StableDiffusionPipeline
    from diffusers.models.attention_processor import AttnProcessor2_0

    pipe = StableDiffusionPipeline.from_pretrained(model, safety_checker=None)
    for layer in range(LAYERS):
        pipe.load_textual_inversion(str(tokens), weight_name=f"rex-{layer}.safetensors")
    names = [n for n in pipe.unet.attn_processors if n.endswith("attn2.processor")]
    order = [n for place in ("down", "mid", "up") for n in names if n.startswith(place)]
    usual = AttnProcessor2_0()

    def reading(states):
        return lambda attn, hidden, encoder_hidden_states=None, **more: usual(
            attn, hidden, states, **more
        )

    with torch.no_grad():
        encoded = [pipe.encode_prompt(text.format(f"<rex>-{n}"), "cpu", 1, False)[0] for n in
                range(LAYERS)]  # fmt: skip
        preds = []
        for texts in (encoded, encoded[::-1]):
            for name, states in zip(order, texts, strict=True):
                layer = pipe.unet.get_submodule(name.removesuffix(".processor"))
                layer.set_processor(reading(states))
            preds.append(pipe.unet(noisy, t, encoded[0]).sample)
        return preds


def test_diffusers_draws_with_the_layers_of_p_plus(tmp_path, pictures, model):
    """A word of two vectors a layer: the files that it loads say all that ours says."""
    invert("p-plus", tmp_path, pictures, model, vectors=2, learning_rate=0.05, steps=1)
    noisy, t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), 437
    expected, turned = in_diffusers(model, tmp_path / "tokens", "a photo of a {}", noisy, t)
    learned = word_files.read(str(tmp_path))
    with torch.no_grad():
        diffusion = backends.load(ModelSpec("diffusion", "stable-diffusion", model))
        lexicon = Lexicon(diffusion, [one.word for one in learned])
        arguments = lexicon.conditioning(["a photo of a <rex>"]).at(torch.tensor([t]))
        model_pred = diffusion.unet(noisy, t, **arguments).sample
        plain = diffusion.unet(noisy, t, diffusion.prompts(["a photo of a dog dog"])).sample
    assert (model_pred - expected).abs().max() < 1e-5
    assert (model_pred - turned).abs().max() > 1e-4 < (model_pred - plain).abs().max()


# --- files of the public code ---------------------------------------------------------------------


@pytest.fixture
def foreign(monkeypatch):
    """A class of a module that is gone when its objects are read."""
    module = types.ModuleType("models.positional_encoding")

    class NeTIPositionalEncoding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.num_w = 1024
            self.w = nn.Parameter(torch.randn(1024, 2))

    NeTIPositionalEncoding.__module__ = module.__name__
    NeTIPositionalEncoding.__qualname__ = "NeTIPositionalEncoding"
    module.NeTIPositionalEncoding = NeTIPositionalEncoding
    monkeypatch.setitem(sys.modules, "models", types.ModuleType("models"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return NeTIPositionalEncoding


def official(encoder, folder: Path, **more) -> Path:
    """A ``mapper-steps`` file as NeTI's code saves it."""
    torch.manual_seed(1)
    mapper = NeTIMapper(2 * tiny.WIDTH, LAYERS, 0.4)
    encoding = encoder()
    encoding.w.data.copy_(mapper.w)
    state = {name: tensor for name, tensor in mapper.state_dict().items() if name != "w"}
    state |= {f"net.0.{name}": state[f"input_layer.{name}"] for name in ("weight", "bias")}
    config = {
        "data": {"placeholder_token": "<x>", "super_category_token": "dog"},
        "model": {
            "use_positional_encoding": True, "num_pe_time_anchors": 10, "target_norm": 0.4,
            "output_bypass": True, "mapper_checkpoint_path": None,
        },
        "log": {"exp_dir": Path("out")},
    }  # fmt: skip
    content = {"state_dict": state, "cfg": config, "encoder": encoding, **more}
    torch.save(content, folder / "mapper-steps-500.pt")
    return folder / "mapper-steps-500.pt"


def test_a_mapper_of_the_public_code_is_read_without_its_classes(tmp_path, foreign, model):
    file = official(foreign, tmp_path)
    del sys.modules["models.positional_encoding"]
    (one,) = word_files.read(str(file))
    torch.manual_seed(1)
    expected = NeTIMapper(2 * tiny.WIDTH, LAYERS, 0.4)
    given = torch.tensor([7.0]), torch.tensor([3.0])
    assert torch.equal(one.word.mapper(*given), expected(*given))
    assert (one.token, one.plain, one.word.weight) == ("<x>", "dog", 0.2)
    diffusion = backends.load(ModelSpec("diffusion", "stable-diffusion", model, device="cpu"))
    Lexicon(diffusion, [one.word]).encode(["a <x>"], torch.tensor([4]))


def test_nothing_in_such_a_file_runs(tmp_path, foreign):
    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/ran",))

    for file in (
        official(foreign, tmp_path, extra=Evil()),
        official(lambda: foreign(), tmp_path, cfg=Evil()),
    ):
        try:
            word_files.read(str(file))
        except UsageError as error:
            assert "\n" not in str(error)
        assert not (tmp_path / "ran").exists()


def test_layers_of_the_public_p_plus_are_one_word(tmp_path):
    layers = {f"<cat-toy>-{n}": torch.full((8,), float(n)) for n in range(16)}
    torch.save(layers, tmp_path / "learned_embeds.bin")
    (one,) = word_files.read(str(tmp_path / "learned_embeds.bin"))
    assert one.token == "<cat-toy>" and one.word.kind == "p-plus"
    assert one.word.layers[:, 0, 0].tolist() == list(range(16))
    torch.save({"<R>": torch.ones(8)}, tmp_path / "r.bin")  # as ReVersion's
    (relation,) = word_files.read(str(tmp_path / "r.bin"))
    assert relation.token == "<R>" and relation.word.kind == "textual-inversion"
