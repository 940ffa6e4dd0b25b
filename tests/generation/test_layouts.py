"""Methods that draw layouts: segments act in their own place, and agree with plain generation."""

from __future__ import annotations

import dataclasses
import io

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny import diffusion as tiny

from socialcli import records, registry, shards
from socialcli.cli import profiles
from socialcli.cli.commands import generate
from socialcli.diffusion import control, sampling
from socialcli.diffusion.regions import Regions
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import references, requests, sample_requests
from socialcli.generation.stage import Ready
from socialcli.pipeline.run import RunOptions
from socialcli.shards import Sample
from socialcli.vision import masks

STEPS, SIZE = 4, tiny.SIZE
NEAR = 1e-5


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    tiny.stable_diffusion(place / "sd")
    tiny.controlnet(place / "net")
    encoder(place)
    words = {"<gnome>": torch.randn(1, tiny.WIDTH, generator=torch.Generator().manual_seed(0))}
    save_file(words, place / "gnome.safetensors")
    for name, colour in (("gnome", "navy"), ("rose", "crimson"), ("leaf", "green")):
        Image.new("RGB", (32, 32), colour).save(place / f"{name}.png")
    return place


def encoder(place):
    """A tiny SSR-Encoder and an IP-Adapter, and the towers that they look through."""
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        CLIPVisionModel,
        CLIPVisionModelWithProjection,
    )

    from socialcli.networks import ssr_layouts
    from socialcli.networks.ssr_encoder import SSREncoder

    torch.manual_seed(1)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=6, num_attention_heads=2,
        image_size=32, patch_size=8, projection_dim=12,
    )  # fmt: skip
    CLIPVisionModel(config).save_pretrained(place / "vision")
    CLIPVisionModelWithProjection(config).save_pretrained(place / "encoder")
    for tower in ("vision", "encoder"):
        CLIPImageProcessorPil(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ).save_pretrained(place / tower)
    unet = tiny.networks()[2]
    tiny.ip_adapter(unet, place)
    ssr = SSREncoder.create(unet, config, tiny.WIDTH, heads=2, dim_head=8)
    with torch.no_grad():
        for parameter in ssr.parameters():
            parameter.normal_(std=0.3)
    ssr_layouts.save(ssr, place / "ssr")


@pytest.fixture(scope="module")
def loaded():
    """States by method and options: a model is loaded once."""
    return {}


def skeleton(x: float) -> records.Keypoints:
    points = [(x + 0.02 * (n % 3), 0.2 + 0.04 * n, 2.0) for n in range(17)]
    return records.Keypoints(points)


def halves(*prompts: str, skeletons: bool = False, size: int = SIZE) -> records.Layout:
    """Stripes from left to right, one a prompt."""
    width = size // len(prompts)
    segments = []
    for number, prompt in enumerate(prompts):
        mask = numpy.zeros((size, size), bool)
        last = number == len(prompts) - 1
        mask[:, number * width : size if last else (number + 1) * width] = True
        middle = (number + 0.4) / len(prompts)
        segments.append(
            records.Segment(
                number + 1, f"#0000{number:02x}", prompt, masks.encode(mask),
                keypoints=skeleton(middle) if skeletons else None,
            )
        )  # fmt: skip
    return records.Layout(size, size, "two people in a park", segments)


def sample(layout: records.Layout, key: str = "k") -> Sample:
    return Sample(key, {"layout.json": records.dump(layout)})


def configured(models, name: str, **options):
    method = registry.load("methods.generate", name)
    given = {"model": str(models / "sd"), "steps": STEPS, "device": "cpu", "dtype": "float32"}
    given |= options
    values = profiles.values(None, "generate", method.config_type, given, name)
    config = method.config_type(**values)
    method.as_stage().check(config)
    return method, config


def latents(models, loaded, name: str, plans, seeds=(7,), **options) -> torch.Tensor:
    """What a method draws of layouts (or of prompts), before it is decoded."""
    method, config = configured(models, name, **options)
    own = ("controlnet_model", "words", "ssr_model", "adapter_model")
    key = (name, *(str(getattr(config, field, "")) for field in own))
    if key not in loaded:
        loaded[key] = method.load(config)
    state, embedded = loaded[key], []
    for one in plans:
        if isinstance(one, str):
            request = requests.Request(one)
        else:
            request = sample_requests.of_sample(config, sample(one))
        ready = Ready(request, (), method.prepare(config, request))
        embedded.append(method.embed(config, state, ready))
    conditioning = method.condition(config, state, embedded)
    with torch.no_grad():
        return sampling.denoise(
            state.diffusion.unet, sampling.scheduler(config.scheduler, state.diffusion.scheduler),
            [sampling.generator(seed) for seed in seeds],
            state.diffusion.latent_shape(SIZE, SIZE), conditioning, config.steps, config.guidance,
        )  # fmt: skip


SCHEDULERS = ["UniPCMultistepScheduler", "EulerAncestralDiscreteScheduler"]
APART = {"guidance": 3.0, "global_steps": 0, "kappa": 0.5}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_layout_of_one_segment_is_plain_generation(models, loaded, scheduler):
    plain = latents(models, loaded, "text", ["a man"], guidance=3.0, scheduler=scheduler)
    how = {"scheduler": scheduler, "guidance": 3.0}
    one = halves("a man")
    composite = latents(models, loaded, "composite", [one], **{**APART, **how})
    assert (composite - plain).abs().max() < NEAR
    fused = latents(models, loaded, "multidiffusion", [one], bootstrap=0.0, **how)
    assert (fused - plain).abs().max() < NEAR
    one.prompt = "a man"  # the global diffuser's prompt is the whole picture's
    whole = latents(models, loaded, "composite", [one], **{**APART, **how, "global_steps": 2})
    assert (whole - plain).abs().max() < NEAR


def test_two_segments_with_one_prompt_are_one(models, loaded):
    one = latents(models, loaded, "composite", [halves("a man")], **APART)
    two = latents(models, loaded, "composite", [halves("a man", "a man")], **APART)
    assert (one - two).abs().max() < NEAR
    other = latents(models, loaded, "composite", [halves("a man", "a dog")], **APART)
    assert (one - other).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("composite", {**APART, "global_steps": 1, "scaffold": "layout"}),
        ("multidiffusion", {"guidance": 3.0, "bootstrap": 0.0}),
    ],
)
def test_the_order_of_segments_changes_nothing(models, loaded, name, options):
    layout = halves("a man", "a dog", "a red ball")
    turned = dataclasses.replace(layout, segments=layout.segments[::-1])
    first, second = (latents(models, loaded, name, [one], **options) for one in (layout, turned))
    assert (first - second).abs().max() < NEAR


def test_neighbours_in_a_batch_change_nothing(models, loaded):
    """All segments of all pictures are one batch, also of layouts of different sizes."""
    several = [halves("a man", "a dog"), halves("a cat", "a red ball", "a woman"), halves("a man")]
    for name, options in (("composite", APART), ("multidiffusion", {"guidance": 3.0})):
        together = latents(models, loaded, name, several, (1, 2, 3), **options)
        for number, layout in enumerate(several):
            alone = latents(models, loaded, name, [layout], (number + 1,), **options)
            assert (together[number] - alone[0]).abs().max() < NEAR


def test_a_prompt_acts_in_its_own_segment_while_they_develop_apart(models, loaded):
    """With the last step of kappa 1 nothing of the other segment has been seen."""
    apart = {**APART, "kappa": 1.0}
    first = latents(models, loaded, "composite", [halves("a man", "a dog")], **apart)
    second = latents(models, loaded, "composite", [halves("a man", "a red ball")], **apart)
    half = first.shape[-1] // 2
    assert torch.equal(first[..., :half], second[..., :half])
    assert (first[..., half:] - second[..., half:]).abs().max() > 1e-2
    harmony = [
        latents(models, loaded, "composite", [halves("a man", other)], **APART)
        for other in ("a dog", "a red ball")
    ]
    assert (harmony[0] - harmony[1])[..., :half].abs().max() > 1e-4


def test_merging_is_by_mask():
    owner = torch.tensor([[0, 1], [1, 0]])
    parts = torch.stack([owner == 0, owner == 1])[:, None]
    regions = Regions((2, 1), torch.cat([parts, torch.ones(1, 1, 2, 2, dtype=torch.bool)]))
    rows = torch.arange(3 * 4.0).reshape(3, 1, 2, 2)
    assert regions.merge(rows)[:, 0].tolist() == [[[0, 5], [6, 3]], [[8, 9], [10, 11]]]
    assert regions.pictures.tolist() == [0, 0, 1] and regions.firsts == [0, 2]


def fused_by_hand(models, layout, guidance) -> torch.Tensor:
    """The region fusion of MultiDiffusion's authors: a step of DDIM for each region by itself on
    the shared latents, what comes out averaged by the masks."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(models / "sd", safety_checker=None)
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(STEPS)
    texts = [s.prompt for s in layout.segments]
    with torch.no_grad():
        ids = pipe.tokenizer(["", *texts], padding="max_length", return_tensors="pt").input_ids
        states = pipe.text_encoder(ids).last_hidden_state
        x = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(7))[None]
        cells = [torch.from_numpy(m) for m in layouts_shrunk(layout)]
        for t in scheduler.timesteps:
            total, count = torch.zeros_like(x), torch.zeros_like(x)
            for number, mask in enumerate(cells, 1):
                uncond = pipe.unet(x, t, states[:1]).sample
                cond = pipe.unet(x, t, states[number : number + 1]).sample
                eps = uncond + guidance * (cond - uncond)
                total += mask * scheduler.step(eps, t, x).prev_sample
                count += mask
            x = total / count
    return x


def layouts_shrunk(layout):
    from socialcli.vision import layouts as pixels

    return pixels.shrunk(pixels.decoded(layout), SIZE // 4, SIZE // 4)


def test_multidiffusion_is_the_published_fusion(models, loaded):
    layout = halves("a man", "a dog")
    fused = latents(models, loaded, "multidiffusion", [layout], guidance=3.0, bootstrap=0.0)
    assert (fused - fused_by_hand(models, layout, 3.0)).abs().max() < NEAR
    begun = latents(models, loaded, "multidiffusion", [layout], guidance=3.0, bootstrap=0.5)
    assert (fused - begun).abs().max() > 1e-2
    layout.segments[0].background = layout.segments[1].background = True
    alone = latents(models, loaded, "multidiffusion", [layout], guidance=3.0, bootstrap=0.5)
    assert (fused - alone).abs().max() < NEAR  # backgrounds are not bootstrapped


def test_controlnets_are_those_of_diffusers(models, loaded):
    """One net, and two with scales, starts and ends of their own, and guess mode."""
    from diffusers import ControlNetModel, DDIMScheduler, StableDiffusionControlNetPipeline

    layout = halves("a man", skeletons=True)
    layout.prompt = "a man"
    hint = control.hint([layout.segments[0].keypoints.points], (SIZE, SIZE), "v11")[None]
    noise = sampling.noise([sampling.generator(7)], (4, SIZE // 4, SIZE // 4))
    net = ControlNetModel.from_pretrained(models / "net")
    cases = [
        ({}, net, {"controlnet_conditioning_scale": 0.7}, {"control_scale": [0.7]}),
        ({}, net, {"guess_mode": True}, {"guess": True}),
        (
            {}, [net, net],
            {"controlnet_conditioning_scale": [0.7, 0.3], "control_guidance_start": [0.0, 0.5],
             "control_guidance_end": [0.5, 1.0]},
            {"control_scale": [0.7, 0.3], "control_start": [0.0, 0.5], "control_end": [0.5, 1.0]},
        ),
    ]  # fmt: skip
    results = []
    for _, nets, theirs, ours in cases:
        pipe = StableDiffusionControlNetPipeline.from_pretrained(
            models / "sd", controlnet=nets, safety_checker=None
        )
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        count = len(nets) if isinstance(nets, list) else 1
        known = pipe(
            "a man", image=[hint] * count if count > 1 else hint, latents=noise,
            num_inference_steps=STEPS, guidance_scale=3.0, output_type="latent", **theirs,
        ).images  # fmt: skip
        guided = latents(
            models, loaded, "controlnet", [layout], guidance=3.0, scheduler="ddim",
            controlnet_model=[str(models / "net")] * count, **ours,
        )  # fmt: skip
        assert (guided - known).abs().max() < NEAR
        results.append(guided)
    assert all((a - results[0]).abs().max() > 1e-3 for a in results[1:])


def test_each_segment_sees_its_own_skeleton(models, loaded):
    nets = {"controlnet_model": [str(models / "net")]}
    apart = {**APART, **nets, "kappa": 1.0}
    layout = halves("a man", "a dog", skeletons=True)
    both = latents(models, loaded, "composite", [layout], **apart)
    layout.segments[1].keypoints = None
    one = latents(models, loaded, "composite", [layout], **apart)
    half = both.shape[-1] // 2
    assert torch.equal(both[..., :half], one[..., :half])
    assert (both - one)[..., half:].abs().max() > 1e-3
    # A layout without people is drawn too: the net sees nothing, which is no prompt of its own.
    layout.segments[0].keypoints = None
    nobody = latents(models, loaded, "composite", [layout], **apart)
    assert torch.isfinite(nobody).all() and (nobody - one)[..., :half].abs().max() > 1e-3
    # One segment with its skeleton is the ControlNet method.
    alone = halves("a man", skeletons=True)
    alone.prompt = "a man"
    plain = latents(models, loaded, "controlnet", [alone], guidance=3.0, **nets)
    composite = latents(models, loaded, "composite", [alone], **{**APART, **nets})
    assert (composite - plain).abs().max() < NEAR


def test_words_and_references_act_in_the_segment_that_names_them(models, loaded):
    """While segments develop apart, the other half is the same to the last bit."""
    apart = {**APART, "kappa": 1.0}
    half = SIZE // 8
    word = {"words": [str(models / "gnome.safetensors")]}
    ssr = {"ssr_model": str(models / "ssr"), "clip_model": str(models / "vision")}
    for how in (word, ssr):
        plain = halves("a dog", "a man")
        named = halves("a dog", "a <gnome>" if "words" in how else "a man")
        if "words" not in how:
            reference = records.SegmentReference(str(models / "gnome.png"), "man", 0.9)
            named.segments[1].references = [reference]
        without, with_it = (
            latents(models, loaded, "composite", [one], **apart, **how) for one in (plain, named)
        )
        assert (without - with_it)[..., :half].abs().max() < NEAR
        assert (without - with_it)[..., half:].abs().max() > 1e-2
    # The reference matters by its scale, and not at all at none.
    named.segments[1].references[0].scale = 0.0
    nothing = latents(models, loaded, "composite", [named], **apart, **how)
    assert (nothing - without).abs().max() < NEAR


def named(models, layout, **references):
    """Segment 0, 1... as ``_0``, ``_1``: the names of its pictures."""
    for at, names in references.items():
        layout.segments[int(at[1:])].references = [
            records.SegmentReference(str(models / f"{name}.png"), "man", 0.9) for name in names
        ]
    return layout


def readers(models) -> list[dict[str, str]]:
    """What reads references: an SSR-Encoder, an IP-Adapter."""
    adapter = {"adapter_model": str(models / "adapter.safetensors")}
    return [
        {"ssr_model": str(models / "ssr"), "clip_model": str(models / "vision")},
        {**adapter, "image_encoder_model": str(models / "encoder")},
    ]


@pytest.mark.parametrize("reader", [0, 1])
def test_references_act_in_their_segments_of_multidiffusion(models, loaded, reader):
    """It shares one latent: after one step nobody has seen the neighbour's yet. Batches of layouts
    with and without references draw what each draws alone."""
    how, third = readers(models)[reader], SIZE // 12
    fused = {"guidance": 3.0, "bootstrap": 0.0, **how}

    def drawn(several, steps=1, **options):
        seeds = tuple(range(len(several)))
        changed = {**fused, "steps": steps, **options}
        return latents(models, loaded, "multidiffusion", several, seeds, **changed)

    plain = halves("a dog", "a man", "a cat")
    one = named(models, halves("a dog", "a man", "a cat"), _1=["gnome"])
    more = named(models, halves("a dog", "a man", "a cat"), _1=["gnome"], _2=["rose", "leaf"])
    without, first, second = (drawn([layout]) for layout in (plain, one, more))
    alone = drawn([plain], ssr_model="", clip_model="", adapter_model="", image_encoder_model="")
    assert (without - alone).abs().max() < NEAR
    middle = slice(third, 2 * third)
    assert (first - without)[..., :third].abs().max() < NEAR
    assert (first - without)[..., 2 * third + 1 :].abs().max() < NEAR
    assert (first - without)[..., middle].abs().max() > 1e-2
    assert (second - first)[..., : 2 * third].abs().max() < NEAR
    assert (second - first)[..., 2 * third + 1 :].abs().max() > 1e-2
    apart = [
        latents(models, loaded, "composite", [layout], **{**APART, "kappa": 1.0, **how})
        for layout in (one, more)
    ]
    assert (apart[1] - apart[0])[..., : 2 * third].abs().max() < NEAR
    together = drawn([plain, one, more], STEPS)
    apart = [drawn([layout] * 3, STEPS)[n] for n, layout in enumerate((plain, one, more))]
    assert (together - torch.stack(apart)).abs().max() < NEAR


def test_image_prompts_act_in_the_segment_that_names_them(models, loaded):
    """By an IP-Adapter: in rows of one, two and no references, each sees its own alone, and a
    segment of the whole picture is what the method of that name draws."""
    adapter = readers(models)[1]
    apart, third = {**APART, "kappa": 1.0, **adapter}, SIZE // 12

    def drawn(**references):
        layout = named(models, halves("a dog", "a man", "a cat"), **references)
        return latents(models, loaded, "composite", [layout], **apart)

    without = latents(
        models, loaded, "composite", [halves("a dog", "a man", "a cat")], **{**APART, "kappa": 1.0}
    )
    assert (drawn() - without).abs().max() < NEAR
    one, two = drawn(_1=["gnome"]), drawn(_1=["gnome"], _2=["rose", "leaf"])
    middle = slice(third, 2 * third)
    assert (one - without)[..., :third].abs().max() < NEAR
    assert (one - without)[..., middle].abs().max() > 1e-2
    assert (two - one)[..., : 2 * third].abs().max() < NEAR
    assert (two - one)[..., 2 * third + 1 :].abs().max() > 1e-2
    # Three pictures beside two: what is repeated weighs no more.
    three = drawn(_1=["gnome", "rose"], _2=["rose", "leaf", "gnome"])
    again = drawn(_1=["gnome", "rose", "gnome", "rose"], _2=["rose", "leaf", "gnome"])
    assert (three - again).abs().max() < NEAR
    # The method itself, and the global diffuser, which sees no picture.
    whole = named(models, halves("a man"), _0=["gnome"])
    whole.prompt = "a man"
    one_segment = [
        latents(models, loaded, "composite", [whole], **{**APART, **adapter}),
        latents(models, loaded, "multidiffusion", [whole], guidance=3.0, bootstrap=0.0,
                scheduler="UniPCMultistepScheduler", **adapter),
    ]  # fmt: skip
    method, config = configured(models, "ip-adapter", guidance=3.0, **adapter, scale=[0.9])
    state = method.load(config)
    request = requests.Request("a man")
    seen = [references.Reference("gnome", Image.open(models / "gnome.png"), "man", 0.9, None)]
    embedded = method.embed(config, state, Ready(request, tuple(seen), None))
    with torch.no_grad():
        known = sampling.denoise(
            state.diffusion.unet, sampling.scheduler(config.scheduler, state.diffusion.scheduler),
            [sampling.generator(7)], state.diffusion.latent_shape(SIZE, SIZE),
            method.condition(config, state, [embedded]), config.steps, config.guidance,
        )  # fmt: skip
    assert all((one - known).abs().max() < NEAR for one in one_segment)
    every = {**APART, **adapter, "global_steps": STEPS}
    plain = latents(models, loaded, "text", ["a man"], guidance=3.0)
    assert (latents(models, loaded, "composite", [whole], **every) - plain).abs().max() < NEAR


def test_references_that_nobody_can_read_are_refused(models, loaded):
    layout = named(models, halves("a man", "a dog"), _1=["gnome", "rose"])
    layout.segments[1].references[0].scale = 0.2
    adapter = readers(models)[1]
    for name in ("composite", "multidiffusion"):
        with pytest.raises(SampleFailed, match="give them one scale"):
            latents(models, loaded, name, [layout], guidance=3.0, **adapter)
        with pytest.raises(UsageError, match="--ssr-model and --adapter-model: give the one"):
            configured(models, name, ssr_model="a", **adapter)
        with pytest.raises(SampleFailed, match="give --ssr-model or --adapter-model"):
            latents(models, loaded, name, [layout])
        # Without a reader they may still be what `--attempts` tells the subjects apart by.
        method, config = configured(models, name, attempts=2)
        request = sample_requests.of_sample(config, sample(layout))
        assert [len(of) for of in method.prepare(config, request)[1]] == [0, 2]


def test_scaffolds_and_the_global_diffuser_change_the_picture(models, loaded):
    layout = halves("a man", "a dog")
    pictures = [
        latents(models, loaded, "composite", [layout], **{**APART, **changed})
        for changed in (
            {}, {"scaffold": "#ff0000"}, {"scaffold": "layout"},
            {"scaffold": "#ff0000", "scaffold_as": "start"}, {"global_steps": 2},
            {"global_steps": 2, "global_at": "end"}, {"kappa": 0.0},
        )
    ]  # fmt: skip
    for number, one in enumerate(pictures):
        assert torch.isfinite(one).all()
        assert all((one - other).abs().max() > 1e-3 for other in pictures[:number])
    with_global = {**APART, "global_steps": STEPS}
    all_global = latents(models, loaded, "composite", [layout], **with_global)
    plain = latents(models, loaded, "text", [layout.prompt], guidance=3.0)
    assert (all_global - plain).abs().max() < NEAR


def test_defaults_are_the_papers(models):
    net = {"controlnet_model": [str(models / "net")]}
    for options, steps, whole in (({}, 80, 2), ({"scaffold": "layout"}, 80, 8), (net, 50, 2)):
        _, config = configured(models, "composite", **{**options, "steps": 0})
        assert (config.steps, config.global_steps, config.guidance) == (steps, whole, 7.5)


BAD = [
    ("composite", {"global_steps": 9}, "--global-steps 9: there are 4 steps"),
    ("composite", {"attention_maps": "maps.png"}, "--attention-maps shows the words of one prompt"),
    ("composite", {"scaffold": "nowhere.png"}, "--scaffold nowhere.png"),
    ("composite", {"scaffold": "#12"}, "a colour is #rrggbb"),
    ("controlnet", {}, "needs --controlnet-model"),
    ("controlnet", {"controlnet_model": ["a", "b"], "control_scale": [1.0, 2.0, 3.0]}, "3 times"),
    (
        "controlnet",
        {"controlnet_model": ["a"], "control_start": [0.7], "control_end": [0.3]},
        "below",
    ),
    ("controlnet", {"controlnet_model": ["a"], "control": ["nowhere.png"]}, "there is none"),
]


@pytest.mark.parametrize(("name", "options", "words"), BAD)
def test_options_that_make_no_sense_are_refused(models, name, options, words):
    with pytest.raises(UsageError, match=words):
        configured(models, name, **options)


def test_layouts_that_cannot_be_drawn_are_refused(models, loaded):
    wide = records.Layout(64, 32, "x", halves("a man", size=64).segments)
    wide.segments[0].rle = masks.encode(numpy.ones((32, 64)))
    with pytest.raises(SampleFailed, match=r"64x32 pixels, the picture shall have 32x32"):
        latents(models, loaded, "composite", [wide])
    # A size that was asked for is compared before a model is loaded.
    method, config = configured(models, "multidiffusion", size="64x32")
    request = sample_requests.of_sample(config, sample(halves("a man")))
    with pytest.raises(SampleFailed, match=r"32x32 pixels, the picture shall have 64x32"):
        method.prepare(config, request)
    with pytest.raises(SampleFailed, match="draws layouts: give it shards"):
        latents(models, loaded, "composite", ["a man"])
    holed = halves("a man", "a dog")
    del holed.segments[0]
    with pytest.raises(SampleFailed, match="belong to no segment"):
        latents(models, loaded, "multidiffusion", [holed])
    named = halves("a man")
    named.segments[0].references = [records.SegmentReference("a.png")]
    with pytest.raises(SampleFailed, match="--ssr-model"):
        latents(models, loaded, "composite", [named])


def test_by_the_command_the_layout_goes_with_the_picture(models, tmp_path):
    """The same bytes whatever the batch; the layout in the picture's size; no layout, a line."""
    layout = halves("a man", "a dog", size=64)
    rows = [(f"{n}", {"layout.json": records.dump(layout)}) for n in range(2)]
    shards.write(tmp_path / "in.tar", [*rows, ("9", {"txt": b"no layout"})])
    by_batch = []
    for batch in (1, 4):
        method = registry.load("methods.generate", "composite")
        given = {"model": str(models / "sd"), "steps": 2, "device": "cpu", "batch_size": batch}
        values = profiles.values(None, "generate", method.config_type, given, "composite")
        running = RunOptions(quiet=True, max_error_rate=1)
        out = tmp_path / f"{batch}.tar"
        generate.run("composite", values, [str(tmp_path / "in.tar")], str(out), running)
        by_batch.append({s.key: s.members for s in shards.read(str(out))})
    assert by_batch[0] == by_batch[1] and set(by_batch[0]) == {"0", "1"}
    again = records.load(records.Layout, by_batch[0]["0"]["layout.json"])
    assert (again.width, again.height, len(again.segments)) == (SIZE, SIZE, 2)
    record = records.load(records.Generated, by_batch[0]["0"]["generated.json"])
    assert (record.prompt, record.method, record.steps) == ("two people in a park", "composite", 2)
    assert Image.open(io.BytesIO(by_batch[0]["0"]["png"])).size == (SIZE, SIZE)


# What the middle of three segments is shown: a name, and its weight.
SHOWN = {
    "nothing": None, "file": ("gnome.png", 0.9), "subject": ("Gnome", 0.9), "other": ("Rose", 0.9),
    "weightless": ("gnome.png", 0.0),
}  # fmt: skip


@pytest.fixture(scope="module")
def by_hand(models, run_cli, tmp_path_factory):
    """`SHOWN` as folders of one shard each, all with the key that decides the noise, and
    ``refs.tar``, whose folders are called Gnome and Rose."""
    place = tmp_path_factory.mktemp("by-hand")
    refs = []
    for name in ("gnome", "rose"):
        refs.append((f"{name.title()}/0", {"png": (models / f"{name}.png").read_bytes()}))
    shards.write(place / "refs.tar", refs)
    for name, shown in SHOWN.items():
        lines = [f'prompt = "three in a park"\nsize = [{SIZE}, {SIZE}]']
        for part, prompt in (("left", "a dog"), ("middle", "a man"), ("right", "a woman")):
            lines.append(f'[[segments]]\nplace = "{part} third"\nprompt = "{prompt}"')
            if shown and part == "middle":
                own = str(models / shown[0]) if "." in shown[0] else shown[0]
                lines.append(
                    f'references = [{{name = "{own}", query = "man", scale = {shown[1]}}}]'
                )
        (place / name).mkdir()
        (place / name / "one.toml").write_text("\n".join(lines))
        run_cli("import", "layout", place / name, "-o", place / f"{name}.tar", "--fill", "nearest")
    return place


@pytest.mark.parametrize("reader", [0, 1])
def test_references_of_a_layout_by_hand_by_the_commands(models, by_hand, run_cli, tmp_path, reader):
    """From a text to pictures: a reference is a file or a subject of ``--references``; another one
    gives another picture, and one that weighs nothing gives what none does."""
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in readers(models)[reader].items()]
    inputs = [by_hand / f"{name}.tar" for name in SHOWN]
    run_cli(
        "generate", *inputs, "-o", tmp_path, "--method", "multidiffusion", "--steps", 2,
        "--model", models / "sd", "--device", "cpu", "--references", by_hand / "refs.tar", *flags,
    )  # fmt: skip
    pictures = {}
    for name, shown in SHOWN.items():
        (one,) = shards.read(str(tmp_path / f"{name}.tar"))
        layout = records.load(records.Layout, one.members["layout.json"])
        assert [len(s.references) for s in layout.segments] == [0, 1 if shown else 0, 0]
        pictures[name] = numpy.asarray(Image.open(io.BytesIO(one.members["png"]))).astype(int)

    def apart(first, second):
        return numpy.abs(pictures[first] - pictures[second]).max()

    assert apart("file", "subject") == 0
    assert apart("weightless", "nothing") <= 1
    assert apart("file", "nothing") > 1 and apart("file", "other") > 1


# ------------------------------------------------------------------ drawing again


class Grounder:
    """Finds what a picture's brightness says: a stand-in that finds a fault in some pictures."""

    def __init__(self) -> None:
        self.model = records.Model("stand-in", role="ground")
        self.seen = 0

    def ground(self, images, phrases, box_threshold, text_threshold):
        from socialcli.backends.roles import Detection

        detections = []
        for image, asked in zip(images, phrases, strict=True):
            self.seen += 1
            even = int(numpy.asarray(image).astype(int).sum()) % 2 == 0
            boxes = [(0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)]
            some = range(len(asked)) if even else range(len(asked) - 1)
            detections.append([Detection(n, boxes[n], 0.9) for n in some])
        return detections


def tried(models, tmp_path, monkeypatch, name: str, batch: int, attempts: int, **options):
    from socialcli import backends

    grounder, load = Grounder(), backends.load
    monkeypatch.setattr(
        backends, "load", lambda s: grounder if s.role in ("ground", "dino") else load(s)
    )
    layout = halves("a man", "a dog")
    for segment, word in zip(layout.segments, ("man", "dog"), strict=True):
        segment.word = word
    shards.write(
        tmp_path / "in.tar", [(f"{n}", {"layout.json": records.dump(layout)}) for n in range(5)]
    )
    method = registry.load("methods.generate", "multidiffusion")
    given = {"model": str(models / "sd"), "steps": 1, "device": "cpu", "batch_size": batch}
    given |= {"attempts": attempts, "bootstrap": 0.0, **options}
    values = profiles.values(None, "generate", method.config_type, given, "multidiffusion")
    out = tmp_path / f"{name}.tar"
    generate.run("multidiffusion", values, [str(tmp_path / "in.tar")], str(out),
                 RunOptions(quiet=True))  # fmt: skip
    return {s.key: s.members for s in shards.read(str(out))}, grounder


def test_pictures_with_faults_are_drawn_again(models, tmp_path, monkeypatch):
    """The same whatever the batch; the first without a fault is kept; the record says which."""
    once, _ = tried(models, tmp_path, monkeypatch, "once", 4, 1)
    some, grounder = tried(models, tmp_path, monkeypatch, "some", 4, 4)
    again, _ = tried(models, tmp_path, monkeypatch, "again", 1, 4)
    assert some == again
    drawn_records = {
        k: records.load(records.Generated, m["generated.json"]) for k, m in some.items()
    }
    first = {k: records.load(records.Generated, m["generated.json"]) for k, m in once.items()}
    assert all(one.attempts is None for one in first.values())
    assert grounder.seen == sum(one.attempts.count for one in drawn_records.values())
    for key, one in drawn_records.items():
        tries = one.attempts
        pixels = numpy.asarray(Image.open(io.BytesIO(some[key]["png"])))
        faultless = int(pixels.astype(int).sum()) % 2 == 0
        assert (tries.missing == 0) == faultless == (tries.price == 0)
        assert tries.kept == tries.count if faultless else (tries.kept, tries.count) == (1, 4)
        same = once[key]["png"] == some[key]["png"] or one.seed == first[key].seed
        assert same == (tries.kept == 1)
    assert any(one.attempts.kept > 1 for one in drawn_records.values())  # another seed was better


# ------------------------------------------------------------------ LoRAs, subject-aware guidance


def test_a_lora_acts_in_the_segments_that_call_its_subject(models, loaded, tmp_path):
    """In their rows and in their texts; one that names nobody acts everywhere."""
    import json

    from socialcli.networks import lora, lora_files

    _, text_encoder, unet, _ = tiny.networks()
    places = {(lora.UNET, p): m for p, m in lora.targets(unet, lora.UNET_TARGETS).items()}
    places |= {(lora.TEXT, p): m for p, m in lora.targets(text_encoder, lora.TEXT_TARGETS).items()}
    torch.manual_seed(0)
    layers = lora.fresh(places, 2, 2.0)
    for one in layers.values():
        one.up.normal_(0, 0.5)
    subject = {"subjects": json.dumps([{"identifier": "sks", "name": "Ada", "class": "man"}])}
    lora_files.write(tmp_path / "named.safetensors", layers, subject)
    lora_files.write(tmp_path / "bare.safetensors", layers, {})
    apart = {**APART, "kappa": 1.0}
    layout, half = halves("a dog", "a sks man"), SIZE // 8
    without = latents(models, loaded, "composite", [layout], **apart)

    def drawn(file, **options):
        how = {**apart, "lora": [str(tmp_path / file)], **options}
        return latents(models, {}, "composite", [layout], **how)

    named = drawn("named.safetensors")
    assert (named - without)[..., :half].abs().max() < NEAR
    assert (named - without)[..., half:].abs().max() > 1e-3
    assert (drawn("bare.safetensors") - without)[..., :half].abs().max() > 1e-3
    whole = drawn("named.safetensors", global_steps=2)  # all adapters draw the whole picture
    alone = latents(models, loaded, "composite", [layout], **{**apart, "global_steps": 2})
    assert (whole - alone)[..., :half].abs().max() > 1e-3
    # MultiDiffusion shares one latent: after one step nobody has seen the neighbour's yet.
    step = {"guidance": 3.0, "bootstrap": 0.0, "steps": 1}
    plain = latents(models, {}, "multidiffusion", [layout], **step)
    fused, bare = (
        latents(models, {}, "multidiffusion", [layout], **step, lora=[str(tmp_path / file)])
        for file in ("named.safetensors", "bare.safetensors")
    )
    assert (fused - plain)[..., :half].abs().max() < NEAR
    assert (fused - plain)[..., half:].abs().max() > 1e-3
    assert (bare - plain)[..., :half].abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_guidance_moves_the_estimate_down_the_loss(kind):
    """By its share of the estimate's length, in the subject's segment alone."""
    from types import SimpleNamespace

    from diffusers import DDIMScheduler

    from socialcli.diffusion.conditioning import Step
    from socialcli.methods.generate import _subject_aware

    scheduler = DDIMScheduler(prediction_type=kind, clip_sample=False)
    scheduler.set_timesteps(4)
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[0, :, :, :4], mask[1, :, :, 4:] = True, True
    regions = Regions((2,), mask)
    weight = torch.randn(2, 3, 1, 1, generator=torch.Generator().manual_seed(0))

    def decode(z):
        return torch.nn.functional.interpolate(z[:, :3], scale_factor=4) / 3

    def network(pictures):
        return torch.nn.functional.conv2d(pictures, weight)

    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)).expand(
        2, -1, -1, -1
    )
    pred = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2)).expand(2, -1, -1, -1)
    step = Step(1, 4, scheduler.timesteps[1], latents, {}, SimpleNamespace(), scheduler, 1.0)
    push = _subject_aware.push(network, decode, regions, [1, None], "segment", 0.1)
    with torch.inference_mode():
        moved = push(step, pred)
        before, after = (regions.merge(step.estimate(p, latents)) for p in (pred, moved))
    change = after - before
    assert change[..., 4:].abs().max() < 1e-5  # the other segment shows no subject
    share = (change.square().mean() / before.square().mean()).sqrt()
    assert share == pytest.approx(0.1, rel=0.01)

    def loss(z):
        return _subject_aware._loss(network, decode, regions, [0], [1], "segment", z)

    assert loss(after) < loss(before)
    untouched = _subject_aware.push(network, decode, regions, [None, None], "segment", 0.1)
    assert untouched(step, pred) is pred


def test_which_subject_a_segment_shows():
    from socialcli.methods.generate import _subject_aware

    known = [{"name": "Ada", "identifier": "sks"}, {"name": "Rex", "identifier": "ktn"}]
    one = halves("a ktn dog").segments[0]
    assert _subject_aware.channel(one, known) == 1
    one.subject = "Ada"
    assert _subject_aware.channel(one, known) == 0
    assert _subject_aware.channel(halves("a dog").segments[0], known) is None


def test_a_subject_network_guides_each_segment(models, loaded, tmp_path):
    """A network of `train --method subject-segmentation`, whose header names its subjects."""
    import json
    from pathlib import Path

    from socialcli.networks import subject_unet

    torch.manual_seed(0)
    network = subject_unet.SubjectUNet(2).eval()
    named = [{"name": "Ada", "identifier": "sks", "class": "man"},
             {"name": "Rex", "identifier": "ktn", "class": "dog"}]  # fmt: skip
    subject_unet.save(network, Path(tmp_path), {"subjects": json.dumps(named), "side": "32"})
    layout, half = halves("a sks man", "a dog"), SIZE // 8
    apart = {**APART, "kappa": 1.0, "sal_model": str(tmp_path), "sal_weight": 0.05}
    drawn = {
        form: latents(models, {}, "composite", [layout], **apart, sal=form)
        for form in ("entropy", "printed")
    }
    free = latents(models, loaded, "composite", [layout], **{**APART, "kappa": 1.0})
    for one in drawn.values():
        assert (one - free)[..., half:].abs().max() < NEAR  # "a dog" is none of the subjects
        assert (one - free)[..., :half].abs().max() > 1e-3
    assert (drawn["entropy"] - drawn["printed"])[..., :half].abs().max() > 1e-3
    with pytest.raises(UsageError, match="--sal and --sal-model go together"):
        configured(models, "composite", sal="entropy")
    subject_unet.save(network, Path(tmp_path), {})
    with pytest.raises(UsageError, match="does not name its subjects"):
        latents(models, {}, "composite", [layout], **apart, sal="entropy")
