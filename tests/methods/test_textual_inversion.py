"""Textual inversion: what trains, what does not, and who can load what comes out."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from parts import part
from tiny import diffusion as tiny

from socialcli import records, shards
from socialcli.errors import UsageError
from socialcli.methods.invert import _concepts, _initial, _templates
from socialcli.randomness import Draw, Variant
from socialcli.shards import index as indexing

method = part("methods.invert", "textual-inversion")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("model")))


def picture(number: int) -> bytes:
    """Of a square whose colour and place depend on the number."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (40, 32), (200, 220, 240))
    box = (5 + number % 3 * 6, 6, 18 + number % 3 * 6, 20)
    ImageDraw.Draw(image).rectangle(box, fill=(220, 40 + 30 * (number % 4), 30))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def sample(key: str, number: int, caption: str = "", **extra: str) -> tuple[str, dict[str, bytes]]:
    meta = {"schema": 1, "width": 40, "height": 32, "extra": extra}
    members = {"png": picture(number), "meta.json": json.dumps(meta).encode()}
    if caption:
        members["caption.json"] = json.dumps({"schema": 1, "text": caption}).encode()
    return key, members


@pytest.fixture(scope="module")
def subjects(tmp_path_factory) -> str:
    """Two subjects as `import dreambooth` gives them, with captions."""
    place = tmp_path_factory.mktemp("data") / "a.tar"
    samples = [
        sample(f"{name}/{n}", n, f"a {word} on the beach", subject=name, **{"class": word})
        for name, word in (("red_ball", "ball"), ("spot", "dog"))
        for n in range(4)
    ]
    shards.write(place, samples)
    return str(place)


def invert(output: Path, inputs: str, model: str, **changed):
    import dataclasses

    from socialcli.training import loop

    values = {
        f.name: f.default if f.default is not dataclasses.MISSING else f.default_factory()
        for f in dataclasses.fields(method.Config)
    }
    small = {"device": "cpu", "dtype": "float32", "steps": 3, "model": model, "quiet": True}
    loop.run(
        "invert", "textual-inversion", method, {**values, **small, **changed}, [inputs], str(output)
    )


def config(**changed) -> method.Config:
    return method.Config(**changed)


def state(model: str, inputs: str, tmp_path: Path, **changed):
    """The method's state, as the loop makes it."""
    import torch

    from socialcli.training.place import Clock, Place

    cpu = torch.device("cpu")
    settings = config(model=model, device="cpu", dtype="float32", **changed)
    index = method.select(settings, indexing.build([inputs], tmp_path / "cache"))
    return method.load(settings, Place(cpu, torch.float32, Clock(cpu), index=index))


# --- files ----------------------------------------------------------------------------------------


def pipeline(model: str):
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(model, safety_checker=None)


def test_diffusers_loads_and_uses_what_was_learnt(tmp_path, subjects, model):
    """One concept of three vectors: the text states of a prompt are those it was trained with."""
    import torch
    from safetensors.torch import load_file

    invert(tmp_path, subjects, model, concept=["<ball>=red_ball/*"], vectors=3, learning_rate=0.05)
    file = tmp_path / "learned_embeds.safetensors"
    learnt = load_file(file)
    assert list(learnt) == ["<ball>"] and learnt["<ball>"].shape == (3, tiny.WIDTH)
    pipe = pipeline(model)
    before = pipe.text_encoder.get_input_embeddings().weight.detach().clone()
    pipe.load_textual_inversion(str(tmp_path), weight_name=file.name)
    after = pipe.text_encoder.get_input_embeddings().weight.detach()
    assert torch.equal(after[: len(before)], before)
    ids = pipe.tokenizer.convert_tokens_to_ids(["<ball>", "<ball>_1", "<ball>_2"])
    assert torch.equal(after[ids], learnt["<ball>"])
    expected = pipe.encode_prompt("a photo of a <ball>", "cpu", 1, False)[0]

    loaded = state(model, subjects, tmp_path, concept=["<ball>=red_ball/*"], vectors=3)
    with torch.no_grad():
        loaded.words[0].new.copy_(learnt["<ball>"])
        states = loaded.lexicon.encode(["a photo of a <ball>"], torch.tensor([7])).keys(0)
    assert (states - expected).abs().max() < 1e-5
    initial = loaded.diffusion.prompts(["a photo of a ball ball ball"])
    assert (states - initial).abs().max() > 1e-3  # it did learn something


def test_the_web_ui_layout_holds_one_tensor(tmp_path, subjects, model):
    from safetensors import safe_open
    from safetensors.torch import load_file

    invert(tmp_path, subjects, model, vectors=2)
    tensors = load_file(tmp_path / "learned_embeds.safetensors")
    assert sorted(tensors) == ["<red_ball>", "<spot>"]
    for token, name in (("<red_ball>", "red_ball"), ("<spot>", "spot")):
        alone = load_file(tmp_path / "a1111" / f"{name}.safetensors")
        assert list(alone) == ["emb_params"]
        assert alone["emb_params"].shape == (2, tiny.WIDTH)
        assert (alone["emb_params"] == tensors[token]).all()
        assert list(load_file(tmp_path / "tokens" / f"{name}.safetensors")) == [token]
    with safe_open(tmp_path / "learned_embeds.safetensors", "pt") as file:
        header = file.metadata()
    assert json.loads(header["initial_words"]) == {"<red_ball>": "ball", "<spot>": "dog"}
    assert header["socialcli.method"] == "textual-inversion"
    assert json.loads(header["socialcli.models"])[0]["model"] == Path(model).name


def test_generate_takes_it(tmp_path, subjects, model, run_cli):
    invert(tmp_path / "words", subjects, model)
    run_cli(
        "generate", "--method", "textual-inversion", "--embedding", tmp_path / "words", "--model",
        model, "--prompt", "a photo of a <spot>", "--steps", 2, "-o", tmp_path / "drawn",
    )  # fmt: skip
    (drawn,) = shards.read(shards.expand([str(tmp_path / "drawn")])[0])
    assert drawn.picture()[:4] == b"\x89PNG"


# --- what trains ----------------------------------------------------------------------------------


def test_only_the_new_words_train(tmp_path, subjects, model):
    import torch

    loaded = state(model, subjects, tmp_path)
    parts = (loaded.diffusion.unet, loaded.diffusion.vae, loaded.diffusion.text_encoder)
    assert not [p for part in parts for p in part.parameters() if p.requires_grad]
    assert [name for name, _ in method.trainable(loaded).named_parameters()] == ["0.new", "1.new"]
    example = {"pixels": torch.rand(3, 32, 32), "concepts": [1], "texts": [""]}
    (features,) = method.features(loaded, [example])
    batch = {name: [value] for name, value in features.items()}
    batch |= {name: features[name].detach()[None] for name in ("mean", "deviation")}
    method.losses(loaded, batch, Draw(0, 0, [0], ["k"]))["denoise"].sum().backward()
    first, second = (word.new.grad for word in loaded.words)
    assert first is None and second.abs().sum() > 0  # only the word used


def test_what_is_learnt_lowers_the_loss(tmp_path, subjects, model):
    """Same samples, noise, timesteps and texts; before and after."""
    import torch
    from safetensors.torch import load_file

    from socialcli.training import examples

    invert(
        tmp_path, subjects, model, concept=["<ball>=red_ball/*"], steps=60, learning_rate=0.05,
        batch_size=8, micro_batch=8,
    )  # fmt: skip
    loaded = state(model, subjects, tmp_path, concept=["<ball>=red_ball/*"])
    index = loaded.place.index
    prepared = [
        method.prepare(loaded, index.read(n % 4), Variant(0, str(n), n % 2, 2)) for n in range(16)
    ]
    batch = examples.collate(method.features(loaded, prepared), "cpu")
    batch |= {name: batch[name].detach() for name in ("mean", "deviation")}

    def loss() -> float:
        with torch.no_grad():
            draws = [Draw(99, s, list(range(16)), [""] * 16) for s in range(4)]
            return sum(float(method.losses(loaded, batch, d)["denoise"].mean()) for d in draws)

    first = loss()
    with torch.no_grad():
        loaded.words[0].new.copy_(load_file(tmp_path / "learned_embeds.safetensors")["<ball>"])
    assert loss() < first - 0.001


def test_the_loss_is_diffusers_own(tmp_path, subjects, model):
    """Against diffusers' scheduler and a plain mean squared error, on the same numbers."""
    import torch
    from diffusers import DDPMScheduler

    from socialcli.diffusion import latents as common
    from socialcli.diffusion.conditioning import Conditioning

    loaded = state(model, subjects, tmp_path)
    draw = Draw(4, 2, [0, 1, 2], ["a", "b", "c"])
    pictures = torch.rand(3, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        mean, deviation = common.moments(loaded.diffusion, pictures)
        states = loaded.diffusion.prompts(["a dog", "a ball", "a cat"])
        loss = common.denoising(
            loaded.diffusion,
            loaded.alphas_cumprod,
            loaded.prediction_type,
            mean,
            deviation,
            Conditioning({"encoder_hidden_states": states}),
            draw,
        )
        posterior = loaded.diffusion.vae.encode(pictures).latent_dist
        latents = posterior.mean + posterior.std * draw.normal("posterior", 4, 8, 8)
        latents = latents * loaded.diffusion.vae.config.scaling_factor
        noise, steps = draw.normal("noise", 4, 8, 8), draw.integers("timestep", 1000)
        scheduler = DDPMScheduler.from_pretrained(model, subfolder="scheduler")
        model_pred = loaded.diffusion.unet(
            scheduler.add_noise(latents, noise, steps), steps, states
        ).sample
    wanted = (model_pred - noise).square().mean((1, 2, 3))
    assert torch.allclose(loss, wanted, rtol=1e-4)


def test_gone_on_with_it_ends_with_the_same_bits(tmp_path, subjects, model):
    from safetensors.torch import load_file

    invert(tmp_path / "halves", subjects, model, steps=2)
    invert(tmp_path / "halves", subjects, model, steps=5)
    invert(tmp_path / "whole", subjects, model, steps=5)
    halves, whole = (
        load_file(tmp_path / name / "learned_embeds.safetensors") for name in ("halves", "whole")
    )
    assert all((halves[token] == whole[token]).all() for token in whole)


def test_a_lean_unet_teaches_the_same_word(tmp_path, subjects, model, monkeypatch):
    """Its layers are those of `diffusion.lean_training`, whose numbers are diffusers' own."""
    from safetensors.torch import load_file

    from socialcli.diffusion import lean_training

    attach, attached = lean_training.attach, []

    def noted(network):
        attach(network)
        attached.append(any("forward" in vars(layer) for layer in network.modules()))

    for name, how in (("lean", noted), ("plain", lambda network: None)):
        monkeypatch.setattr(lean_training, "attach", how)
        invert(tmp_path / name, subjects, model)
    assert attached == [True]
    lean, plain = (
        load_file(tmp_path / name / "learned_embeds.safetensors") for name in ("lean", "plain")
    )
    assert lean.keys() == plain.keys()
    assert all((lean[token] == plain[token]).all() for token in plain)


def test_new_rows_lie_behind_the_old_table():
    import torch

    from socialcli.diffusion.pseudo_words import Words

    old = torch.nn.Embedding(5, 3)
    words = Words(old, torch.arange(6.0).reshape(2, 3), 5)
    ids = torch.tensor([[0, 5, 4], [6, 6, 1]])
    vectors = words(ids)
    assert torch.equal(vectors[0, 0], old.weight[0]) and torch.equal(vectors[0, 2], old.weight[4])
    assert vectors[0, 1].tolist() == [0, 1, 2] and vectors[1, 0].tolist() == [3, 4, 5]
    assert list(words.state_dict()) == ["new"]


def test_vectors_start_from_the_words_tokens():
    import torch

    rows = torch.arange(4.0).reshape(4, 1)
    assert _initial.spread(rows, 1).tolist() == [[1.5]]
    assert _initial.spread(rows, 2).tolist() == [[0.5], [2.5]]
    assert _initial.spread(rows[:2], 5).tolist() == [[0], [1], [0], [1], [0]]


def test_every_second_version_is_mirrored(tmp_path, subjects, model):
    import torch

    loaded = state(model, subjects, tmp_path)
    first, second = (
        method.prepare(loaded, loaded.place.index.read(0), Variant(0, "k", n, 2)) for n in (0, 1)
    )
    assert torch.equal(first["pixels"].flip(2), second["pixels"])
    assert not torch.equal(first["pixels"], second["pixels"])


def test_pictures_of_each_concept_are_drawn(tmp_path, subjects, model):
    invert(tmp_path, subjects, model, steps=1, validate_every=1, sampling_steps=2)
    assert (tmp_path / "pictures" / "step-000001.png").exists()


# --- concepts, templates --------------------------------------------------------------------------


def index(tmp_path: Path, samples: list) -> indexing.Index:
    shards.write(tmp_path / "x.tar", samples)
    return indexing.build([str(tmp_path / "x.tar")], tmp_path / "cache")


def named(concepts: list) -> list[tuple[str, str, int]]:
    return [(c.token, c.initial, len(c.samples)) for c in concepts]


def test_concepts_are_found_by_field_folder_or_glob(tmp_path, subjects):
    both = indexing.build([subjects], tmp_path / "cache")
    assert named(_concepts.find(config(), both)) == [
        ("<red_ball>", "ball", 4),
        ("<spot>", "dog", 4),
    ]
    one = config(by="none", token="<x>", initial_word=["thing"])
    assert named(_concepts.find(one, both)) == [("<x>", "thing", 8)]
    globs = config(concept=["<a>=red*", "<b>=*/0", "<b>=*/1"], initial_word=["<a>=stone", "cat"])
    assert named(_concepts.find(globs, both)) == [("<a>", "stone", 4), ("<b>", "cat", 4)]
    plain = index(tmp_path, [sample("my cats/0", 0), sample("dogs/1", 1), sample("dogs/2", 2)])
    concepts = _concepts.find(config(initial_word=["pet"]), plain)
    assert named(concepts) == [("<dogs>", "pet", 2), ("<my-cats>", "pet", 1)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"by": "none"}, r"<concept>: the samples have no class; give an ordinary word near to it"),
        ({"by": "colour"}, r"--by colour: no sample's meta.json has a word there"),
        ({"concept": ["<a>"]}, r"--concept <a>: expected TOKEN=GLOB"),
        ({"concept": ["<a>=cats/*"]}, r"no key matches; the first is 'x/0'"),
        ({"initial_word": ["<z>=dog"]}, r"--initial-word <z>=dog: the concepts are <x>, <y>"),
        ({"initial_word": ["dog"], "token": "<a>"}, r"two concepts are called <a>"),
        ({"initial_word": ["dog"], "token": "my {name}"}, r"one word without spaces"),
    ],
)
def test_concepts_that_cannot_be_are_told(tmp_path, changed, message):
    two = index(tmp_path, [sample("x/0", 0), sample("y/1", 1)])
    with pytest.raises(UsageError, match=message):
        _concepts.find(config(**changed), two)


def test_a_token_that_is_a_word_already_is_refused(tmp_path, subjects, model):
    with pytest.raises(UsageError, match="'ball' is a word of this model already"):
        invert(tmp_path, subjects, model, concept=["ball=*"], initial_word=["ball"])
    with pytest.raises(UsageError, match="differ by case only"):
        invert(tmp_path, subjects, model, concept=["<B>=red*", "<b>=spot*"], initial_word=["ball"])


def test_templates(tmp_path):
    assert len(_templates.OBJECT) == len(set(_templates.OBJECT)) == 27
    assert all(t.count("{}") == 1 for t in (*_templates.OBJECT, *_templates.STYLE))
    (tmp_path / "mine.txt").write_text("a {} here\n\nthe {}\n")
    assert _templates.read(str(tmp_path / "mine.txt")) == ["a {} here", "the {}"]
    (tmp_path / "bad.txt").write_text("a thing\n")
    for name, message in (("bad.txt", "'a thing' has no {}"), ("none.txt", "no readable file")):
        with pytest.raises(UsageError, match=message):
            _templates.read(str(tmp_path / name))


def test_captions_can_be_the_texts(tmp_path, subjects, model):
    from socialcli import records

    loaded = state(model, subjects, tmp_path, templates="captions", vectors=2)
    example = method.prepare(loaded, loaded.place.index.read(5), Variant(0, "k", 0, 2))
    assert example["concepts"] == [1] and example["texts"] == ["a {} on the beach"]
    assert loaded.lexicon.expand("a <spot> on") == "a <spot> <spot>_1 on"

    def template(caption: str, **more: bytes) -> str:
        members = {"caption.json": records.dump(records.Caption(caption)), **more}
        return _templates.of_sample(shards.Sample("k", members), "dog")

    assert template("A Dog and a dog") == "A {} and a dog"
    assert template("two dogs") == "" and _templates.of_sample(shards.Sample("k"), "dog") == ""
    caption = "a man walks an ugly grey dog home"
    phrase = records.Entity(2, "an ugly grey dog", "dog", "dog", 12, 28, "animal")
    entities = records.dump(records.Entities([phrase]))
    assert template(caption, **{"entities.json": entities}) == "a man walks a {} home"


@pytest.mark.parametrize(
    ("caption", "initial", "expected"),
    [
        ("an orange on a plate", "orange", "a {} on a plate"),
        ("An  Orange, a pear", "orange", "A  {}, a pear"),
        ("man orange", "orange", "man {}"),
        ("red dogs and a dog", "dog", "red dogs and a {}"),
        ("dog", "dog", ""), ("The dog.", "dog", ""), ("an orange", "orange", ""),
        ("{}", "dog", "{}"),  # as its author wrote it
    ],
)  # fmt: skip
def test_templates_of_captions_without_entities(caption, initial, expected):
    """The article fits, and a caption that is but the word says nothing that a template would."""
    members = {"caption.json": records.dump(records.Caption(caption))}
    assert _templates.of_sample(shards.Sample("k", members), initial) == expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"vectors": 0}, "--vectors 0: at least 1"),
        ({"crop": "left"}, "--crop 'left'. There are: random, centre"),
        ({"prompt": ["a dog"]}, r"--prompt 'a dog': write \{\} where"),
        ({"templates": "none"}, "--templates none: not object, style, face or captions"),
        ({"size": 30}, "multiples of"),
        (
            {"vectors": 12},
            r"'a photo of a \{\}' with .* is 16 tokens, longer than the 14 tokens that "
            "the text encoder reads; give its words fewer vectors",
        ),
        ({"model": "/nowhere"}, "/nowhere"),
    ],
)
def test_options_that_make_no_sense_are_told(tmp_path, subjects, model, changed, message):
    with pytest.raises(UsageError, match=message):
        invert(tmp_path, subjects, changed.pop("model", model), **changed)


def test_templates_of_captions_are_those_that_are_trained_on(tmp_path, subjects, model):
    """Of a sample's own caption with --templates captions, of the list without."""
    from socialcli.randomness import Draw, Variant

    for templates, own in (("captions", "a {} on the beach"), ("object", "")):
        loaded = state(model, subjects, tmp_path, templates=templates)
        index = loaded.place.index
        read = next(index.read(n) for n, e in enumerate(index.entries) if e.key == "spot/1")
        example = method.prepare(loaded, read, Variant(0, read.key, 0))
        assert example["texts"] == [own]
        batch = {"concepts": [example["concepts"]], "texts": [example["texts"]]}
        (text,) = part("methods.invert", "textual-inversion").texts(
            loaded, batch, Draw(0, 0, [0], ["spot/1"])
        )
        assert "<spot>" in text and ("on the beach" in text) == bool(own)
