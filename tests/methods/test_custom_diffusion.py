"""Custom Diffusion: both public layouts, read and written; and several concepts merged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import subjects as data
import torch
from parts import part
from tiny import diffusion as tiny

from socialcli import shards
from socialcli.errors import UsageError
from socialcli.generation import concepts
from socialcli.networks import custom_diffusion as files
from socialcli.randomness import Draw
from socialcli.shards import index as indexing

method = part("methods.train", "custom-diffusion")
BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> str:
    place = tmp_path_factory.mktemp("data") / "a.tar"
    shards.write(place, data.samples())
    return str(place)


def train(output: Path, pictures: str, model: str, **changed) -> Path:
    from socialcli.training import loop

    small = {
        "model": model, "device": "cpu", "dtype": "float32", "steps": 3, "class_count": 2,
        "class_steps": 1, "quiet": True, "learning_rate": 0.01,
    }  # fmt: skip
    config = method.Config(**{**small, **changed})
    name = "custom-diffusion"
    loop.run("train", name, method, dataclasses.asdict(config), [pictures], str(output))
    return output


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pictures, model) -> dict[str, Path]:
    """Keys and values of each subject alone, and all projections of both."""
    root = tmp_path_factory.mktemp("runs")
    by_parts = {
        name: train(root / name, pictures, model, subject=[f"{name}={name}/*"])
        for name in ("rex", "tom")
    }
    by_parts["all"] = train(root / "all", pictures, model, parts="all", prior_weight=0.0)
    return by_parts


def pipeline(model: str):
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(model, safety_checker=None)


def predicted(unet, text) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(len(text), 4, 8, 8, generator=generator)
    with torch.no_grad():
        return unet(x, torch.tensor(300), text).sample


@pytest.mark.parametrize("name", ["rex", "all"])
def test_diffusers_loads_what_is_written(trained, model, name):
    """Its own processors and tokens; what the UNet then says is what ours says."""
    pipe = pipeline(model)
    folder = trained[name]
    plain = predicted(pipe.unet, torch.ones(1, tiny.TOKENS, tiny.WIDTH))
    pipe.unet.load_attn_procs(
        folder, weight_name="pytorch_custom_diffusion_weights.bin", _pipeline=pipe
    )
    pipe.load_textual_inversion(folder, weight_name="<new1>.safetensors")
    text = pipe.encode_prompt("a photo of a <new1> dog", "cpu", 1, False)[0]
    expected = predicted(pipe.unet, text)

    diffusion = pipeline(model)
    config = type("Config", (), {"custom_diffusion": [str(folder)], "merge_captions": ""})
    diffusion.prompts = lambda texts: None
    assert "<new1>" in concepts.attach(config, diffusion)
    states = diffusion.encode_prompt("a photo of a <new1> dog", "cpu", 1, False)[0]
    assert torch.allclose(states, text, atol=1e-6)
    assert torch.allclose(predicted(diffusion.unet, states), expected, atol=1e-5)
    changed = predicted(diffusion.unet, torch.ones(1, tiny.TOKENS, tiny.WIDTH))
    assert (changed - plain).abs().max() > 1e-3


def test_the_authors_layout_holds_the_same(trained, model):
    _, _, unet, _ = tiny.networks()
    for name, per_layer in (("rex", 2), ("all", 5)):
        delta = torch.load(trained[name] / "delta.bin", weights_only=True)
        one = files.read(str(trained[name] / "delta.bin"), unet)
        two = files.read(str(trained[name] / "pytorch_custom_diffusion_weights.bin"), unet)
        assert set(delta) == {"unet", "modifier_token"}
        assert set(delta["unet"]) == set(one.weights) == set(two.weights)
        assert len(one.weights) == per_layer * len(files.layers(unet, ("to_k",)))
        for weight, value in one.weights.items():
            assert torch.equal(value, two.weights[weight])
        assert one.tokens.keys() == two.tokens.keys()
        assert one.tokens["<new1>"].shape == (tiny.WIDTH,)
        assert files.classes(one.notes)["<new1>"] == "dog"


def test_compressed_and_older_files_are_read(tmp_path, trained, model):
    """The authors' compressed deltas, and the names of CompVis."""
    _, _, unet, _ = tiny.networks()
    whole = files.read(str(trained["rex"]), unet)
    own = dict(unet.named_parameters())
    compressed = {}
    for name, value in whole.weights.items():
        u, s, v = torch.linalg.svd(value - own[name].detach(), full_matrices=False)
        compressed[name] = {"u": u * s, "v": v}
    state = {"unet": compressed, "modifier_token": {"<v>": whole.tokens["<new1>"]}}
    torch.save(state, tmp_path / "compressed_delta.bin")
    again = files.read(str(tmp_path / "compressed_delta.bin"), unet)
    assert list(again.tokens) == ["<v>"]
    assert all(torch.allclose(again.weights[n], w, atol=1e-5) for n, w in whole.weights.items())

    places = {
        "down_blocks.0.attentions.0": "input_blocks.1.1",
        "down_blocks.1.attentions.0": "input_blocks.4.1",
        "mid_block.attentions.0": "middle_block.1",
        "up_blocks.0.attentions.0": "output_blocks.0.1",
        "up_blocks.0.attentions.1": "output_blocks.10.1",
    }
    older = {"embed": whole.tokens["<new1>"][None]}
    for name, value in whole.weights.items():
        place, _, rest = name.partition(".transformer_blocks")
        older[f"model.diffusion_model.{places[place]}.transformer_blocks{rest}"] = value
    shuffled = dict(reversed(list(older.items())))
    torch.save({"state_dict": shuffled}, tmp_path / "delta.ckpt")
    again = files.read(str(tmp_path / "delta.ckpt"), unet)
    assert all(torch.equal(again.weights[n], w) for n, w in whole.weights.items())
    assert torch.equal(again.tokens["<new1>"], whole.tokens["<new1>"])


def test_generate_draws_with_merged_concepts(tmp_path, trained, model):
    import conftest

    from socialcli.cli import profiles
    from socialcli.cli.commands import generate
    from socialcli.pipeline.run import RunOptions

    given = {
        "model": model, "steps": 2, "device": "cpu",
        "prompt": ["a photo of a <new1> dog and a <tom> cat"],
        "custom_diffusion": [str(trained["rex"]), f"{trained['tom']}:<tom>"],
    }  # fmt: skip
    config = part("methods.generate", "text").Config
    values = profiles.values(None, "generate", config, given, "text")
    generate.run("text", values, [], str(tmp_path / "out"), RunOptions(quiet=True))
    (sample,) = conftest.members(tmp_path / "out").values()
    record = json.loads(sample["generated.json"])
    assert record["plain_prompt"] == "a photo of a dog and a cat"
    assert record["models"]["concepts"]["backend"] == "custom-diffusion"


# --- merging --------------------------------------------------------------------------------------


def test_merging_is_the_constrained_minimum():
    """Against the solution of the optimality conditions, written out as one linear system."""
    torch.manual_seed(0)
    width, out, count, few = 6, 4, 40, 2
    weight, inputs = torch.randn(out, width).double(), torch.randn(count, width).double()
    targets, values = torch.randn(few, width).double(), torch.randn(few, out).double()
    merged = files.merge(weight, inputs, targets, values)
    assert torch.allclose(merged @ targets.T, values.T, atol=1e-9)
    gram = inputs.T @ inputs
    top = torch.cat([2 * gram, targets.T], 1)
    system = torch.cat([top, torch.cat([targets, torch.zeros(few, few).double()], 1)])
    wanted = torch.cat([2 * gram @ weight.T, values])
    solved = torch.linalg.solve(system, wanted)[:width].T
    assert torch.allclose(merged, solved, atol=1e-8)


def test_a_merged_model_does_for_each_word_what_its_own_does(trained, model):
    import types

    pipe = pipeline(model)
    ids = {
        "padding": "max_length", "max_length": tiny.TOKENS, "truncation": True,
        "return_tensors": "pt",
    }  # fmt: skip
    diffusion = types.SimpleNamespace(
        unet=pipe.unet, tokenizer=pipe.tokenizer, text_encoder=pipe.text_encoder,
        prompts=lambda texts: pipe.text_encoder(
            pipe.tokenizer(texts, **ids).input_ids
        ).last_hidden_state,
    )  # fmt: skip
    own = {n: files.read(str(trained[n]), pipe.unet).weights for n in ("rex", "tom")}
    given = [str(trained["rex"]), f"{trained['tom']}:<tom>=cat"]
    config = type("Config", (), {"custom_diffusion": given, "merge_captions": ""})
    concepts.attach(config, diffusion)
    with torch.no_grad():
        for name, text in (("rex", "<new1> dog"), ("tom", "photo of a <tom> cat")):
            states = concepts._states(diffusion, text)
            for weight, value in own[name].items():
                merged = pipe.unet.get_parameter(weight).double()
                assert torch.allclose(merged @ states.T, value.double() @ states.T, atol=1e-3)


# --- what trains ----------------------------------------------------------------------------------


def test_only_keys_values_and_words_train_and_the_first_mark_teaches_nothing(
    tmp_path, pictures, model
):
    from socialcli.training.place import Clock, Place

    cpu = torch.device("cpu")
    config = method.Config(
        model=model, device="cpu", dtype="float32", prior_weight=0.0, identifier=["tom=<t>", "<r>"]
    )
    index = method.select(config, indexing.build([pictures], tmp_path / "cache"))
    place = Place(cpu, torch.float32, Clock(cpu), index=index, folder=tmp_path)
    state = method.load(config, place)
    trains = {n for n, p in state.module.named_parameters() if p.requires_grad}
    layers = files.layers(state.diffusion.unet)
    assert trains == {f"unet.{path}.weight" for path in layers} | {"words.new"}
    from socialcli.randomness import Variant

    features = method.features(state, [method.prepare(state, index.read(0), Variant(0, "a", 0))])
    loss = method.losses(state, method.collate(state, features), Draw(0, 0, [0], ["a"]))["denoise"]
    loss.sum().backward()
    gradient = state.diffusion.unet.get_parameter(f"{BLOCK}.attn2.to_k.weight").grad
    assert gradient.abs().sum() > 0
    assert state.words.new.grad[0].abs().sum() > 0 and state.words.new.grad[1].abs().sum() == 0
    layer = state.diffusion.unet.get_submodule(f"{BLOCK}.attn2.to_k")
    states = torch.randn(1, 3, tiny.WIDTH)
    out = layer(states)
    (gradient,) = torch.autograd.grad(out.sum(), layer.weight)
    assert torch.allclose(gradient[0], states[0, 1:].sum(0))


def test_zoom_says_what_it_did():
    import random

    from socialcli.methods.train import _augment

    seen = set()
    for seed in range(200):
        picture = torch.ones(3, 64, 64)
        pixels, mask, before = _augment.zoom(picture, random.Random(seed))
        shown = float((pixels[0] > 0).float().mean())
        if before in ("a far away", "very small"):
            assert shown < 0.4 and float(mask.mean()) < shown
            assert (pixels[:, mask[0] > 0] > 0).all()
        else:
            assert shown == 1 and mask.min() == 1
        seen.add(before)
    assert seen == {"", "a far away", "very small", "zoomed in", "close up"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["{rex}", "{tom}"], "the token <new1> is in .* too; rename one"),
        (
            ["{rex}", "{bare}:<b>"],
            "merging asks what it is: .* FILE:<b>=CLASS",
        ),
        (["{rex}:dog"], "'dog' is a word of this model already"),
        (["{wide}"], "this model's is"),
        (["{rex}", "{all}:<new2>"], "there is no|is in|only keys and values"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, trained, model, given, message):
    _, _, unet, _ = tiny.networks()
    own = files.read(str(trained["rex"]), unet)
    bare = {"unet": own.weights, "modifier_token": {"<x>": own.tokens["<new1>"]}}
    torch.save(bare, tmp_path / "bare.bin")
    wide = {"unet": {n: torch.ones(3, 3) for n in own.weights}, "modifier_token": {}}
    torch.save(wide, tmp_path / "wide.bin")
    places = {**trained, "bare": tmp_path / "bare.bin", "wide": tmp_path / "wide.bin"}
    named = [one.format(**places) for one in given]
    pipe = pipeline(model)
    pipe.prompts = lambda texts: torch.randn(len(texts), tiny.TOKENS, tiny.WIDTH)
    config = type("Config", (), {"custom_diffusion": named, "merge_captions": ""})
    with pytest.raises(UsageError, match=message) as error:
        concepts.attach(config, pipe)
    assert "\n" not in str(error.value)
