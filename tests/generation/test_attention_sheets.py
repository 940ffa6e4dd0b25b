"""`generate --attention-maps`: whose tokens, which steps, and what the sheet shows."""

from __future__ import annotations

import io
import json

import conftest
import numpy
import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from parts import part
from PIL import Image
from tiny import diffusion as tiny

from socialcli import records, registry
from socialcli.backends import ModelSpec
from socialcli.backends.diffusion import stable_diffusion
from socialcli.cli import profiles
from socialcli.cli.commands import generate
from socialcli.diffusion import conditioning, sampling
from socialcli.errors import SocialcliError, UsageError
from socialcli.generation import attention, attention_sheet
from socialcli.pipeline.run import RunOptions


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def diffusion(model):
    return stable_diffusion.load(ModelSpec("diffusion", "stable-diffusion", model, device="cpu"))


def run(model, out, **options):
    config = part("methods.generate", "text").Config
    given = {"model": model, "device": "cpu", "steps": 4, **options}
    values = profiles.values(None, "generate", config, given, "text")
    generate.run("text", values, [], str(out), RunOptions(quiet=True))


def test_words_are_found_among_the_tokens(diffusion):
    prompt = "A woman, (in red) holds zyxwv dog!"
    words = attention.words_of(diffusion, prompt)
    ids = diffusion.tokenizer(prompt, padding="max_length", max_length=tiny.TOKENS).input_ids
    assert [w.text for w in words] == ["A", "woman", "in", "red", "holds", "zyxwv", "dog"]
    decoded = ["".join(diffusion.tokenizer.decode(ids[t]) for t in w.tokens) for w in words]
    assert [d.replace(" ", "") for d in decoded] == [w.text.lower() for w in words]
    assert len(words[5].tokens) > 1  # the tokenizer has no such word


def test_words_beyond_the_window(diffusion):
    prompt = " ".join(["dog", "cat"] * 10)  # 20 tokens, of which 14 are read at once
    assert len(attention.words_of(diffusion, prompt)) == diffusion.window == 14
    words = attention.words_of(diffusion, prompt, long="chunks")
    ids = [w.tokens[0] for w in words]
    assert ids == [*range(1, 15), *range(17, 23)]
    # The same states stand there as where the words are a text of their own.
    with torch.inference_mode():
        states, alone = diffusion.windows(prompt), diffusion.prompts(["dog cat dog cat dog cat"])
    assert torch.allclose(states[17:23], alone[0, 1:7], atol=1e-5)


def test_a_word_with_more_tokens_than_it_shows(diffusion):
    """A learned word of several vectors is written out for the tokenizer."""
    words = attention.words_of(
        diffusion, "a <pet>, on a beach", lambda word: word.replace("<pet>", "dog cat dog")
    )
    assert [(w.text, w.tokens) for w in words] == [
        ("a", (1,)), ("<pet>", (2, 3, 4)), ("on", (6,)), ("a", (7,)), ("beach", (8,))
    ]  # fmt: skip


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_means_are_those_of_the_softmax(diffusion, monkeypatch, guidance):
    """By hand from diffusers' unfused processor: heads, layers, then steps; the prompt's rows."""
    prompts = ["a dog", "two men and a ball"]
    words = [attention.words_of(diffusion, prompt) for prompt in prompts]
    calls: list[list[torch.Tensor]] = []
    original = Attention.get_attention_scores

    def spy(self, query, key, mask=None):
        scores = original(self, query, key, mask)
        if self.is_cross_attention:
            calls[-1].append(scores.unflatten(0, (-1, self.heads)).mean(1)[-2:])
        return scores

    monkeypatch.setattr(Attention, "get_attention_scores", spy)
    before = diffusion.unet.attn_processors
    diffusion.unet.set_attn_processor(AttnProcessor())
    hook = diffusion.unet.register_forward_pre_hook(lambda *_: calls.append([]))
    scheduler = sampling.scheduler("DDIM", diffusion.scheduler)
    with torch.inference_mode():
        states = [diffusion.prompts(["", prompt]) for prompt in prompts]
        given = conditioning.of_text(guidance, *zip(*states, strict=True))
        with attention.Watch(diffusion.unet, words, (8, 8), 1000, guidance != 1) as watch:
            sampling.denoise(
                diffusion.unet, scheduler, [sampling.generator(n) for n in (1, 2)], (4, 8, 8),
                given, 3, guidance,
            )  # fmt: skip
    hook.remove()
    diffusion.unet.set_attn_processor(before)
    timesteps = [int(t) for t in scheduler.timesteps]
    assert timesteps == [667, 334, 1] and len(calls) == 3
    by_step = []
    for layers in calls:
        maps = []
        for one in layers:
            side = int(one.shape[1] ** 0.5)
            square = one.transpose(1, 2).unflatten(-1, (side, side))
            maps.append(torch.nn.functional.interpolate(square, (8, 8), mode="bilinear"))
        by_step.append(torch.stack(maps).mean(0))
    for number, of_picture in enumerate(words):
        means = watch.means(number)
        assert means.shape == (6, len(of_picture), 8, 8)
        for column, word in enumerate(of_picture):
            steps = [step[number, list(word.tokens)].sum(0) for step in by_step]
            assert torch.allclose(means[0, column], torch.stack(steps).mean(0), atol=1e-6)
            for row, step in ((2, 0), (4, 1), (5, 2)):  # 667, 334 and 1 of five stages
                assert torch.allclose(means[row, column], steps[step], atol=1e-6)
        assert means[[1, 3]].isnan().all()


def test_pictures_stay_and_get_a_sheet(model, tmp_path):
    prompt = ["a woman holds a dog", "a red ball"]
    run(model, tmp_path / "plain", prompt=prompt)
    run(model, tmp_path / "maps", prompt=prompt, attention_maps=str(tmp_path / "maps.png"))
    plain, with_maps = conftest.members(tmp_path / "plain"), conftest.members(tmp_path / "maps")
    for key, members in plain.items():
        more = with_maps[key]
        assert {s: b for s, b in more.items() if not s.startswith("attention.")} == members
        attention = json.loads(more["attention.json"])
        maps = records.load_npy(more["attention.npy"])
        assert attention["words"] == json.loads(members["generated.json"])["prompt"].split()
        assert attention["stages"] == [[999, 800], [799, 600], [599, 400], [399, 200], [199, 0]]
        assert maps.shape == (6, len(attention["words"]), 8, 8) and maps.dtype == numpy.float16
        whole = maps[0].astype(float)
        assert whole.min() > 0 and whole.sum(0).max() < 1  # the rest goes to marks and padding
    sheet = Image.open(tmp_path / "maps.png")
    assert sheet.width > 5 * attention_sheet.SIDE and sheet.height > 12 * attention_sheet.SIDE
    assert "00001" in sheet.text["socialcli"]
    # Pictures that have no maps are not kept as if they had.
    with pytest.raises(SocialcliError, match="attention maps was None, now True"):
        run(model, tmp_path / "plain", prompt=prompt, attention_maps=str(tmp_path / "x.png"))


def test_files_have_them_too(model, tmp_path):
    run(
        model, tmp_path / "files", prompt=["a dog"], format="files", guidance=1.0,
        attention_maps=str(tmp_path / "deep" / "sheet.png"), negative="", per_prompt=2,
    )  # fmt: skip
    names = sorted(p.name for p in (tmp_path / "files").iterdir() if p.name.startswith("00000-"))
    ends = ["attention.json", "attention.npy", "json", "png"]
    assert names == [f"00000-{n}.{end}" for n in (0, 1) for end in ends]
    assert (tmp_path / "deep" / "sheet.png").is_file()


def test_what_cannot_be_is_said_before_a_model_loads(tmp_path):
    with pytest.raises(UsageError, match=r"--attention-maps a.jpg: the name of a .png"):
        run("nowhere", tmp_path, prompt=["x"], attention_maps="a.jpg")
    with pytest.raises(UsageError, match="--attention-maps reads the pictures again"):
        run("nowhere", "-", prompt=["x"], attention_maps="a.png")


@pytest.mark.parametrize(
    ("method", "options", "line"),
    [
        ("composite", {}, "--method composite draws each segment by a text of its own"),
        ("multidiffusion", {}, "--method multidiffusion draws each segment by a text"),
        ("controlnet", {"attempts": 2}, "leave --attempts at 1"),
    ],
)
def test_what_has_no_map_of_its_words_is_refused(method, options, line):
    chosen = registry.load("methods.generate", method)
    config = chosen.config_type(prompt=["x"], attention_maps="a.png")
    for name, value in options.items():
        setattr(config, name, value)
    with pytest.raises(UsageError) as error:
        chosen.as_stage().check(config)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_heat_lies_where_the_attention_was():
    """The picture is grey, little attention is blue and much is red; a map is stretched over it."""
    picture = Image.new("RGB", (40, 20), (200, 200, 200))
    heat = numpy.zeros((4, 8), numpy.float32)
    heat[:, 4:] = 1
    shown = numpy.asarray(attention_sheet.overlay(picture, heat)).astype(int)
    assert shown.shape == (20, 40, 3)
    assert (shown[:, :15, 2] > shown[:, :15, 0]).all()
    assert (shown[:, 25:, 0] > shown[:, 25:, 2] + 60).all()
    out = io.BytesIO()
    attention_sheet.overlay(picture, numpy.ones((1, 1))).save(out, "PNG")
    assert out.getvalue()
