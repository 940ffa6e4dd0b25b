"""A word for one person out of one picture: what trains, by which losses, and what is refused."""

from __future__ import annotations

import dataclasses
import io
import json
import random
from pathlib import Path

import conftest
import numpy
import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from parts import part
from PIL import Image
from safetensors import safe_open
from tiny import diffusion as tiny

from socialcli import backends, records, registry, shards
from socialcli.cli import profiles
from socialcli.cli.commands import generate
from socialcli.diffusion import schedule, word_files
from socialcli.errors import SampleFailed, UsageError
from socialcli.methods.invert import _single
from socialcli.pipeline.run import RunOptions
from socialcli.randomness import Draw
from socialcli.records import Box, Boxes, Face, People, Person
from socialcli.shards import Sample
from socialcli.shards import index as indexing
from socialcli.training import loop
from socialcli.training.place import Clock, Place

method = part("methods.invert", "identity")
FACE = Face(
    (0.2, 0.2, 0.4, 0.5), 0.9, [(0.25, 0.3), (0.35, 0.3), (0.3, 0.4), (0.26, 0.45), (0.34, 0.45)]
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("model")))


def picture(number: int) -> bytes:
    colours = numpy.random.default_rng(number).integers(0, 255, (4, 5, 3), numpy.uint8)
    out = io.BytesIO()
    Image.fromarray(colours).resize((40, 32), Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()


def sample(key: str, *people: Person, boxes: tuple[str, ...] = ()) -> tuple[str, dict[str, bytes]]:
    members = {"png": picture(len(key))}
    if people:
        members["people.json"] = records.dump(People(40, 32, list(people)))
    if boxes:
        listed = [Box(n + 1, (0.3 * n, 0, 0.3 * n + 0.3, 1), b) for n, b in enumerate(boxes)]
        members["boxes.json"] = records.dump(Boxes(40, 32, listed))
    return key, members


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> str:
    place = tmp_path_factory.mktemp("data") / "a.tar"
    shards.write(place, [sample("anna/a", Person(1, face=FACE)), sample("berta/bb")])
    return str(place)


def invert(output: Path, inputs: str, model: str, **changed) -> None:
    values = {
        f.name: f.default if f.default is not dataclasses.MISSING else f.default_factory()
        for f in dataclasses.fields(method.Config)
    }
    small = {"device": "cpu", "dtype": "float32", "steps": 4, "model": model, "quiet": True,
             "batch_size": 2, "micro_batch": 2, "pairs": 2, "checkpoint_every": 2}  # fmt: skip
    loop.run("invert", "identity", method, {**values, **small, **changed}, [inputs], str(output))


@pytest.fixture(scope="module")
def learned(tmp_path_factory, people, model) -> Path:
    out = tmp_path_factory.mktemp("learned")
    invert(out, people, model, validate_every=4, sampling_steps=2, prompt=["a {} holds a cup"])
    return out


def state(model: str, inputs: str, tmp_path: Path, **changed):
    cpu = torch.device("cpu")
    given = {"pairs": 3, "model": model, "device": "cpu", "dtype": "float32", **changed}
    settings = method.Config(**given)
    index = method.select(settings, indexing.build([inputs], tmp_path / "cache"))
    return method.load(settings, Place(cpu, torch.float32, Clock(cpu), index=index))


def batch(rows: int, side: int = 8):
    random_ = torch.Generator().manual_seed(4)
    shown = torch.zeros(rows, side, side)
    shown[0, 2:6, 1:7], shown[1:] = 1, 1
    return {
        "mean": torch.randn(rows, 4, side, side, generator=random_),
        "deviation": torch.full((rows, 4, side, side), 0.1), "shown": shown,
        "concepts": [[0], [1]][:rows],
    }  # fmt: skip


def draw(rows: int) -> Draw:
    return Draw(0, 5, list(range(rows)), [f"k{n}" for n in range(rows)], 10)


def stir(state) -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in state.words.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    state.words.eval()


# --- files ----------------------------------------------------------------------------------------


def test_it_keeps_the_pairs_alone_and_says_what_they_are(learned):
    with safe_open(learned / "words.safetensors", framework="pt") as file:
        assert sorted(file.keys()) == ["<anna>/stages", "<berta>/stages"]
        assert file.get_tensor("<anna>/stages").shape == (2, 2, 1, tiny.WIDTH)
        notes = file.metadata()
    assert json.loads(notes["initial_words"]) == {"<anna>": "person", "<berta>": "person"}
    assert notes["socialcli.method"] == "identity"
    words = {one.token: one.word for one in word_files.read(str(learned))}
    moved = [(w.stages - w.stages[:1, :1]).abs().max() for w in words.values()]
    assert min(float(m.detach()) for m in moved) > 0  # stages and parts have become different
    assert list(learned.glob("validation*/*")) or list(learned.glob("**/*.png"))


def test_textual_inversion_with_stages(people, model, tmp_path):
    """The paper's Fig. 12: vectors for each stage, without the block and the attention loss."""
    plain = part("methods.invert", "textual-inversion")
    values = {
        f.name: f.default if f.default is not dataclasses.MISSING else f.default_factory()
        for f in dataclasses.fields(plain.Config)
    }
    small = {"device": "cpu", "dtype": "float32", "steps": 6, "model": model, "quiet": True,
             "stages": 3, "vectors": 2, "initial_word": ["person"]}  # fmt: skip
    loop.run("invert", "textual-inversion", registry.load("methods.invert", "textual-inversion"),
             {**values, **small}, [people], str(tmp_path))  # fmt: skip
    words = {one.token: one.word for one in word_files.read(str(tmp_path))}
    for word in words.values():
        assert word.kind == "staged" and word.stages.shape == (3, 1, 2, tiny.WIDTH)
    assert any((w.stages[0] - w.stages[2]).abs().max() > 0 for w in words.values())


def test_it_goes_on_to_the_same_bits(learned, people, model, tmp_path, monkeypatch):
    kind, done = type(registry.load("methods.invert", "identity")), []
    original = kind.after_step

    def stop(self, state):
        done.append(1)
        if len(done) == 4:
            raise KeyboardInterrupt
        original(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "after_step", stop)
        with pytest.raises(BaseException):  # noqa: B017
            invert(tmp_path, people, model)
    assert not (tmp_path / "words.safetensors").exists()
    invert(tmp_path, people, model)
    names = ("words.safetensors",)
    read = [{o.token: o.word.stages for o in word_files.read(str(p / names[0]))}
            for p in (tmp_path, learned)]  # fmt: skip
    assert all(torch.equal(read[0][token], read[1][token]) for token in read[0])


def drawn(model, out, **options):
    config = part("methods.generate", "text").Config
    given = {"model": model, "device": "cpu", "steps": 4, "guidance": 3.0, **options}
    values = profiles.values(None, "generate", config, given, "text")
    generate.run("text", values, [], str(out), RunOptions(quiet=True))
    drawn = conftest.members(out)  # a file's bytes also say what it was drawn with
    pixels = {k: Image.open(io.BytesIO(m["png"])).tobytes() for k, m in drawn.items()}
    return pixels, drawn


def test_several_people_in_a_prompt_and_stages_of_them(learned, model, tmp_path):
    prompt = ["<anna> holds <berta>'s dog", "a dog"]
    words = [str(learned)]
    plain, members = drawn(model, tmp_path / "plain", prompt=prompt, words=words,
                           attention_maps=str(tmp_path / "maps.png"))  # fmt: skip
    record = records.load(records.Generated, members["00000"]["generated.json"])
    assert record.plain_prompt == "person holds person's dog"
    attention = json.loads(members["00000"]["attention.json"])
    assert attention["words"] == ["<anna>", "holds", "<berta>'s", "dog"]
    swapped, members = drawn(model, tmp_path / "v", prompt=prompt, words=words,
                             stages=["<anna>=v2:<berta>"])  # fmt: skip
    assert swapped["00000"] != plain["00000"] and swapped["00001"] == plain["00001"]
    record = records.load(records.Generated, members["00000"]["generated.json"])
    assert record.models["words"].options["stages"] == ["<anna>=v2:<berta>"]
    every = [f"{token}=1-2" for token in ("<anna>", "<berta>")]
    same, _ = drawn(model, tmp_path / "all", prompt=prompt, words=words, stages=every)
    assert same == plain
    one, _ = drawn(model, tmp_path / "one", prompt=["a <anna>"], words=words, stages=["<anna>=1"])
    none, _ = drawn(model, tmp_path / "none", prompt=["a person"])
    whole, _ = drawn(model, tmp_path / "two", prompt=["a <anna>"], words=words)
    assert len({one["00000"], none["00000"], whole["00000"]}) == 3


# --- losses ---------------------------------------------------------------------------------------


def by_hand(state, values_at: str):
    """What `losses` should say, from diffusers' unfused processor and plain arithmetic."""
    unet, given, dice = state.diffusion.unet, batch(2), draw(2)
    text = state.templates[0]
    texts = [text.replace("{}", t) for t in ("<anna>", "<berta>")]
    latents = given["mean"] + given["deviation"] * dice.normal("posterior", 4, 8, 8)
    noise, t = dice.normal("noise", 4, 8, 8), dice.integers("timestep", 1000)
    noisy = schedule.noisy(latents, noise, t, state.alphas_cumprod)
    arguments = state.lexicon.conditioning(texts).at(t)
    ordinary = state.diffusion.prompts([text.replace("{}", "person")] * 2)
    with_keys, with_others = {}, {}
    original = Attention.get_attention_scores

    def spy(self, query, key, mask=None):
        if self.is_cross_attention:
            with_keys[self] = original(self, query, key, mask)
            other = self.head_to_batch_dim(self.to_k(ordinary))
            with_others[self] = original(self, query, other, mask)
        return original(self, query, key, mask)

    state.more["maps"].close()
    inner = dict(unet.attn_processors)
    for processor in inner.values():
        processor.inner = AttnProcessor()
    Attention.get_attention_scores = spy
    try:
        predicted = unet(noisy, t, **arguments).sample
    finally:
        Attention.get_attention_scores = original
        for processor in inner.values():
            processor.inner = AttnProcessor2_0()
        state.more["maps"].attach()
    covered = given["shown"][:, None].expand_as(noise).bool()
    denoise = [float((predicted - noise)[n][covered[n]].square().mean()) for n in range(2)]

    def together(maps):
        sized = []
        for module, one in maps.items():
            side = int(one.shape[1] ** 0.5)
            square = one.unflatten(0, (2, module.heads)).transpose(2, 3).unflatten(-1, (side, side))
            flat = torch.nn.functional.interpolate(
                square.mean(1) if config_mean(maps) else square.flatten(1, 2), (32, 32),
                mode="bilinear",
            )  # fmt: skip
            sized.append(flat)
        return torch.stack(sized).mean(0)

    def config_mean(maps):
        return len({module.heads for module in maps}) > 1

    difference = (together(with_keys) - together(with_others)).square().flatten(2).sum(2)
    heads = 1 if config_mean(with_keys) else next(iter(with_keys)).heads
    difference = difference.unflatten(1, (heads, -1)).sum(1)
    places = [
        state.lexicon.places(x)[w][0] for x, w in zip(texts, ("<anna>", "<berta>"), strict=True)
    ]
    if values_at == "word":
        attention = [float(difference[n, places[n]]) for n in range(2)]
    elif values_at == "prompt":
        attention = [float(difference[n, 1 : places[n] + 1].sum()) for n in range(2)]
    else:
        attention = [float(difference[n].sum()) for n in range(2)]
    return denoise, attention


@pytest.mark.parametrize("which", ["word", "prompt", "all"])
def test_losses_are_eq_4_and_5(model, people, tmp_path, monkeypatch, which):
    loaded = state(model, people, tmp_path, attention_tokens=which)
    start = method.losses(loaded, batch(2), draw(2))
    assert float(start["attention"].max()) < 1e-8  # the word still is "person"
    stir(loaded)
    with torch.no_grad():
        with monkeypatch.context() as patch:  # what the reference says is encoded once
            patch.setattr(loaded.diffusion, "prompts", None)
            values = method.losses(loaded, batch(2), draw(2))
        denoise, attention = by_hand(loaded, which)
    assert values["denoise"].tolist() == pytest.approx(denoise, rel=1e-4)
    assert values["attention"].tolist() == pytest.approx(attention, rel=1e-3)
    assert min(attention) > 1e-3
    loaded.more["maps"].close()


def test_only_the_block_has_gradient_and_it_agrees_with_finite_differences(
    model, people, tmp_path, monkeypatch
):
    """The reference's maps are a target: they stay where they are while the word moves."""
    loaded = state(model, people, tmp_path, attention_weight=0.3)
    stir(loaded)
    for network in (loaded.diffusion.unet, loaded.diffusion.text_encoder, loaded.words):
        network.double()
    weights, given = method.weights(loaded.config), batch(2)
    given = {k: v.double() if torch.is_tensor(v) else v for k, v in given.items()}

    def total() -> torch.Tensor:
        values = method.losses(loaded, given, draw(2))
        return sum(weights[name] * value.sum() for name, value in values.items())

    total().backward()
    moved = {n for n, p in loaded.words.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved and all(".block." in name for name in moved)
    assert not any(p.grad is not None for p in loaded.diffusion.unet.parameters())
    target, attention = dict(loaded.more["maps"].others), method.module._attention

    def held(config, maps):
        maps.others = target
        return attention(config, maps)

    monkeypatch.setattr(method.module, "_attention", held)
    bias = loaded.words[0].block.ff.net[2].bias
    place = int(bias.grad.abs().argmax())
    with torch.no_grad():
        sides = []
        for step in (1e-4, -1e-4):
            bias[place] += step
            sides.append(float(total()))
            bias[place] -= step
    assert float(bias.grad[place]) == pytest.approx((sides[0] - sides[1]) / 2e-4, rel=1e-2)
    loaded.more["maps"].close()


def test_a_batch_may_be_divided(model, people, tmp_path):
    """Gradients of two rows are those of each alone: micro-batches and processes agree."""
    loaded = state(model, people, tmp_path)
    stir(loaded)
    loaded.words.train()
    weights, whole = method.weights(loaded.config), batch(2)

    def gradients(given, dice) -> list[torch.Tensor]:
        loaded.words.zero_grad()
        values = method.losses(loaded, given, dice)
        sum(weights[name] * value.sum() for name, value in values.items()).backward()
        return [p.grad.clone() for p in loaded.words.parameters() if p.grad is not None]

    together = gradients(whole, draw(2))
    apart = [torch.zeros_like(g) for g in together]
    for row in range(2):
        one = {k: v[row : row + 1] for k, v in whole.items()}
        dice = Draw(0, 5, [row], [f"k{row}"], 10)
        loaded.words.zero_grad()
        values = method.losses(loaded, one, dice)
        sum(weights[name] * value.sum() for name, value in values.items()).backward()
        for total, parameter in zip(apart, loaded.words.parameters(), strict=True):
            total += 0 if parameter.grad is None else parameter.grad
    for a, b in zip(together, apart, strict=True):
        assert torch.allclose(a, b, atol=1e-5 + 1e-3 * float(a.abs().max()))
    loaded.more["maps"].close()


def test_without_attention_nothing_is_recorded(model, people, tmp_path):
    loaded = state(model, people, tmp_path, attention_weight=0.0)
    assert (
        set(method.losses(loaded, batch(2), draw(2)))
        == {"denoise"}
        == set(method.weights(loaded.config))
    )
    assert not any(m._forward_hooks for m in loaded.diffusion.unet.modules())


# --- pictures -------------------------------------------------------------------------------------


def test_the_picture_is_smaller_mirrored_and_in_other_colours():
    image = Image.open(io.BytesIO(picture(3))).convert("RGB").crop((4, 0, 36, 32))
    sizes, mirrored = [], 0
    for seed in range(60):
        pixels, shown = _single.augmented(image, 32, random.Random(seed), "centre", 0.0, 0.5, 0.25)
        rows, columns = shown.amax(1).nonzero().flatten(), shown.amax(0).nonzero().flatten()
        top, left = int(rows[0]), int(columns[0])
        size = len(rows)
        assert len(columns) == size and shown.sum() == size * size
        outside = pixels[:, shown == 0]
        assert outside.numel() == 0 or torch.equal(outside, outside[:, :1].expand_as(outside))
        small = image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0)
        expected = torch.from_numpy(numpy.array(small)).permute(2, 0, 1) / 127.5 - 1
        flipped = numpy.array(
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize(
                (size, size), Image.Resampling.BILINEAR, reducing_gap=3.0
            )
        )
        there = pixels[:, top : top + size, left : left + size]
        turned = torch.from_numpy(flipped).permute(2, 0, 1) / 127.5 - 1
        assert torch.allclose(there, expected, atol=0.02) or torch.allclose(
            there, turned, atol=0.02
        )
        mirrored += not torch.allclose(there, expected, atol=0.02)
        sizes.append(size)
    assert min(sizes) < 12 and max(sizes) > 28 and min(sizes) >= 8 and 15 < mirrored < 45
    plain, _ = _single.augmented(image, 32, random.Random(1), "centre", 0.0, 0.0, 1.0)
    other, shown = _single.augmented(image, 32, random.Random(1), "centre", 0.3, 0.0, 1.0)
    assert shown.all() and 0.01 < float((plain - other).abs().mean()) < 0.4


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "line"),
    [
        ([sample("anna/a"), sample("anna/b")], r"<anna>: 2 pictures .* --concept '<anna>=anna/a'"),
        ([sample("anna/a", Person(1, face=FACE), Person(2, face=FACE))], "it shows 2 people"),
        ([sample("anna/a", Person(1, head=(0, 0, 1, 1)))], "people.json has no face"),
        ([sample("anna/a", boxes=("man", "dog", "young woman"))], "it shows 2 people"),
    ],
)
def test_a_picture_that_is_no_portrait_ends_in_one_line(tmp_path, samples, line):
    """Before any model is loaded: there is none at this place."""
    shards.write(tmp_path / "a.tar", samples)
    with pytest.raises(UsageError, match=line) as error:
        invert(tmp_path / "out", str(tmp_path / "a.tar"), "nowhere")
    assert "\n" not in str(error.value)


def test_other_categories_and_pictures_without_records_pass():
    key, members = sample("rex/a", boxes=("man", "woman"))
    _single.check("dog", Sample(key, members))
    _single.check("person", Sample("x", {"png": picture(1)}))
    with pytest.raises(SampleFailed):
        _single.check("woman", Sample(key, members))


def test_a_category_of_several_tokens_is_refused_before_a_model_is_loaded(
    model, people, tmp_path, monkeypatch
):
    monkeypatch.setattr(backends, "load", lambda spec: pytest.fail("a model was loaded"))
    with pytest.raises(UsageError, match=r"--category 'zyxwv' is . tokens of this model"):
        state(model, people, tmp_path, category="zyxwv")
    with pytest.raises(UsageError, match="a caption says what else"):
        method.check_options(method.Config(templates="captions"))
