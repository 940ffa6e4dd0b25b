"""Pictures from prompts, samples, subjects and learnt words; the same ones whatever the run."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import time
from xml.etree import ElementTree

import conftest
import numpy
import pytest
import scenes
import torch
from parts import part
from PIL import Image
from tiny import diffusion as tiny

from socialcli import records, registry, shards
from socialcli.cli import profiles
from socialcli.cli.commands import generate
from socialcli.diffusion import embeddings, sampling
from socialcli.errors import SampleFailed, SocialcliError, UsageError
from socialcli.generation import drawing, grid, references, requests, sample_requests
from socialcli.pipeline.run import RunOptions

STEPS = 4  # enough to see that two ways of computing agree
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of tiny models with random weights: sd, vision (CLIP's tower), ssr, adapter."""
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        CLIPVisionModel,
        CLIPVisionModelWithProjection,
    )

    from socialcli.networks import ssr_layouts
    from socialcli.networks.ssr_encoder import SSREncoder

    place = tmp_path_factory.mktemp("models")
    tiny.stable_diffusion(place / "sd")
    torch.manual_seed(1)
    _, _, unet, _ = tiny.networks()
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=6, num_attention_heads=2,
        image_size=32, patch_size=8, projection_dim=12,
    )  # fmt: skip
    CLIPVisionModel(config).save_pretrained(place / "vision")
    CLIPVisionModelWithProjection(config).save_pretrained(place / "encoder")
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    processor.save_pretrained(place / "vision")
    processor.save_pretrained(place / "encoder")
    encoder = SSREncoder.create(unet, config, tiny.WIDTH, heads=2, dim_head=8)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.3)
    ssr_layouts.save(encoder, place / "ssr")
    tiny.ip_adapter(unet, place)
    return place


def run(models, out, *inputs, method="text", **options):
    """The command without a process of its own; returns key -> members."""
    config = part("methods.generate", method).Config
    running = {k: options.pop(k) for k in list(options) if k in RunOptions.__dataclass_fields__}
    given = {"model": str(models / "sd"), "steps": STEPS, "device": "cpu", **options}
    values = profiles.values(None, "generate", config, given, method)
    if method == "ssr":
        values |= {"ssr_model": str(models / "ssr"), "clip_model": str(models / "vision")}
    if method == "ip-adapter":
        values["image_encoder_model"] = str(models / "encoder")
        values["adapter_model"] = values["adapter_model"] or str(models / "adapter.safetensors")
    generate.run(
        method, values, [str(i) for i in inputs], str(out), RunOptions(quiet=True, **running)
    )
    return conftest.members(out) if values["format"] == "shards" else {}


def record(members) -> records.Generated:
    return records.load(records.Generated, members["generated.json"])


def pixels(png: bytes) -> numpy.ndarray:
    return numpy.asarray(Image.open(io.BytesIO(png))).astype(int)


# ------------------------------------------------------------- the same picture every time


TEXTS = ["a woman holds a dog", "a man walks", "a dog", "two men and a cat", "a red ball"]


def test_a_key_gives_the_same_bytes_whatever_the_batch_and_the_shards(models, tmp_path):
    one = run(models, tmp_path / "1", prompt=TEXTS, batch_size=1, shard_size=2)
    many = run(models, tmp_path / "4", prompt=TEXTS, batch_size=4)
    assert list(one) == list(many) == [f"{n:05d}" for n in range(5)]
    assert one == many
    assert len({m["png"] for m in one.values()}) == 5
    # Alone, after others, in another file under the same key: still the same.
    (tmp_path / "two.jsonl").write_text(
        json.dumps({"prompt": "another"}) + "\n" + json.dumps({"prompt": "a dog", "key": "00002"})
    )
    again = run(models, tmp_path / "j", tmp_path / "two.jsonl")
    assert again["00002"]["png"] == one["00002"]["png"]
    other = run(models, tmp_path / "s", prompt=TEXTS, seed=1, limit=3)
    assert list(other) == list(one)[:3] and other["00002"]["png"] != one["00002"]["png"]


def test_not_a_bit_depends_on_the_batch(models, tmp_path, monkeypatch):
    """Before rounding to 8 bits, where batches of other sizes do differ."""
    seen = []
    rounded = drawing.pictures

    def pictures(pixels):
        seen.append(pixels)
        return rounded(pixels)

    monkeypatch.setattr(drawing, "pictures", pictures)
    run(models, tmp_path / "1", prompt=TEXTS, batch_size=1)
    alone = torch.stack([part[0] for part in seen])
    seen.clear()
    run(models, tmp_path / "4", prompt=TEXTS, batch_size=4)
    assert [len(part) for part in seen] == [4, 4]
    assert torch.equal(alone, torch.cat(seen)[:5])


def test_a_killed_run_goes_on_and_workers_change_nothing(models, tmp_path):
    whole = run(models, tmp_path / "whole", prompt=TEXTS * 2, shard_size=2)
    command = [
        *conftest.COMMAND, "generate", *[w for t in TEXTS * 2 for w in ("--prompt", t)],
        "--model", models / "sd", "--steps", STEPS, "--shard-size", 2, "--device", "cpu",
        "-o", tmp_path / "out",
    ]  # fmt: skip
    environment = {**os.environ, **conftest.ENVIRONMENT}
    out = tmp_path / "out"
    for _ in range(10):  # a busy machine may look when it has come to its end
        shutil.rmtree(out, ignore_errors=True)
        started = subprocess.Popen(list(map(str, command)), env=environment)
        while not list(out.glob("*.stats.json")):
            assert started.poll() in (None, 0)
            time.sleep(0.01)
        started.send_signal(signal.SIGKILL)
        started.wait()
        done = len(list(out.glob("*.stats.json")))
        if done < 5:
            break
    assert 1 <= done < 5, "it was not killed on its way"
    ended = subprocess.run(
        [*map(str, command), "--workers", "2"], env=environment, capture_output=True, timeout=200
    )
    assert ended.returncode == 0, ended.stderr
    assert b"of 5 shards are finished already" in ended.stderr
    assert conftest.members(tmp_path / "out") == whole
    assert conftest.tars(tmp_path / "out") == conftest.tars(tmp_path / "whole")


def test_other_weights_in_the_same_folder_are_another_run(models, tmp_path):
    shutil.copytree(models / "sd", tmp_path / "sd")
    run(models, tmp_path / "out", prompt=["a dog"], model=str(tmp_path / "sd"))
    run(models, tmp_path / "out", prompt=["a dog"], model=str(tmp_path / "sd"))
    file = tmp_path / "sd/unet/diffusion_pytorch_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-2000] ^= 1
    file.write_bytes(data)
    with pytest.raises(UsageError, match="weights of diffusion was 'sha256:"):
        run(models, tmp_path / "out", prompt=["a dog"], model=str(tmp_path / "sd"))


# ------------------------------------------------------------- against diffusers' own pipelines


def pipeline(models, **more):
    from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler

    pipe = StableDiffusionPipeline.from_pretrained(models / "sd", safety_checker=None, **more)
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn(pipe, seed: int, prompt: str, **more) -> numpy.ndarray:
    latents = torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(seed))[None]
    result = pipe(
        prompt, num_inference_steps=STEPS, guidance_scale=5.0, latents=latents, **more
    ).images[0]
    return numpy.asarray(result).astype(int)


def test_text_draws_what_a_diffusers_pipeline_draws(models, tmp_path):
    members = run(models, tmp_path, prompt=["a woman holds a dog"], negative="a cat")["00000"]
    expected = drawn(
        pipeline(models), record(members).seed, "a woman holds a dog", negative_prompt="a cat"
    )
    assert numpy.abs(pixels(members["png"]) - expected).max() <= 1
    without = run(models, tmp_path / "n", prompt=["a woman holds a dog"])["00000"]
    assert numpy.abs(pixels(without["png"]) - expected).max() > 5


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_ip_adapter_draws_what_a_diffusers_pipeline_draws(models, tmp_path, suffix):
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    picture = tmp_path / "dog.png"
    Image.effect_mandelbrot((50, 40), (-2, -1, 1, 1), 20).convert("RGB").save(picture)
    members = run(
        models, tmp_path / "out", method="ip-adapter", prompt=["a dog"], scale=[0.8],
        reference=[str(picture)], adapter_model=str(models / f"adapter.{suffix}"),
    )["00000"]  # fmt: skip
    pipe = pipeline(
        models,
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(models / "encoder"),
        feature_extractor=CLIPImageProcessorPil.from_pretrained(models / "encoder"),
    )
    name = f"adapter.{suffix}"
    pipe.load_ip_adapter(str(models), subfolder="", weight_name=name, image_encoder_folder=None)
    pipe.set_ip_adapter_scale(0.8)
    image = Image.open(picture)
    expected = drawn(pipe, record(members).seed, "a dog", ip_adapter_image=image)
    assert numpy.abs(pixels(members["png"]) - expected).max() <= 1
    assert record(members).references == [records.Shown("dog.png", "", 0.8)]
    pipe.set_ip_adapter_scale(0.0)
    other = drawn(pipe, record(members).seed, "a dog", ip_adapter_image=image)
    assert numpy.abs(other - expected).max() > 5


def test_a_lora_acts_beside_references(models, tmp_path):
    """As in a diffusers pipeline that has both; and with the SSR-Encoder it changes the picture."""
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    from socialcli.networks import lora, lora_files

    _, encoder, unet, _ = tiny.networks()
    torch.manual_seed(3)
    networks = {lora.UNET: unet, lora.TEXT: encoder}
    names = {lora.UNET: lora.UNET_TARGETS, lora.TEXT: lora.TEXT_TARGETS}
    chosen = {
        (part, path): layer
        for part, network in networks.items()
        for path, layer in lora.targets(network, names[part]).items()
    }
    layers = lora.fresh(chosen, 2, 3.0)
    for layer in layers.values():
        layer.up.normal_(std=0.2)
    file = tmp_path / lora_files.FILE
    lora_files.write(file, layers, {})
    picture = tmp_path / "dog.png"
    Image.effect_mandelbrot((50, 40), (-2, -1, 1, 1), 20).convert("RGB").save(picture)
    shown = {"prompt": ["a dog"], "reference": [str(picture)], "scale": [0.8]}
    by_method = {
        (method, bool(given)): run(
            models, tmp_path / f"{method}{len(given)}", method=method, lora=given, **shown,
            **({"query": ["dog"]} if method == "ssr" else {}),
        )["00000"]
        for method in ("ip-adapter", "ssr") for given in ([], [str(file)])
    }  # fmt: skip
    for method in ("ip-adapter", "ssr"):
        without, beside = (pixels(by_method[method, given]["png"]) for given in (False, True))
        assert numpy.abs(without - beside).max() > 8
    pipe = pipeline(
        models,
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(models / "encoder"),
        feature_extractor=CLIPImageProcessorPil.from_pretrained(models / "encoder"),
    )
    name = "adapter.safetensors"
    pipe.load_ip_adapter(str(models), subfolder="", weight_name=name, image_encoder_folder=None)
    pipe.set_ip_adapter_scale(0.8)
    pipe.load_lora_weights(tmp_path)
    beside_lora = by_method["ip-adapter", True]
    expected = drawn(pipe, record(beside_lora).seed, "a dog", ip_adapter_image=Image.open(picture))
    assert numpy.abs(pixels(beside_lora["png"]) - expected).max() <= 1


def test_textual_inversion_draws_what_a_diffusers_pipeline_draws(models, tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(5)
    vectors = torch.randn(3, tiny.WIDTH)
    notes = {"initial_words": json.dumps({"<gnome>": "toy"})}  # as socialcli invert says it
    save_file({"<gnome>": vectors}, tmp_path / "learned_embeds.safetensors", notes)
    save_file({"emb_params": vectors[:1]}, tmp_path / "hat.safetensors")
    members = run(
        models, tmp_path / "out", method="textual-inversion",
        prompt=["a <gnome> holds a <hat>"], plain_word=["<hat>=hat"],
        embedding=[f"{tmp_path}/learned_embeds.safetensors", f"{tmp_path}/hat.safetensors:<hat>"],
    )["00000"]  # fmt: skip
    pipe = pipeline(models)
    pipe.load_textual_inversion(str(tmp_path / "learned_embeds.safetensors"))
    pipe.load_textual_inversion(str(tmp_path / "hat.safetensors"), token="<hat>")
    expected = drawn(pipe, record(members).seed, "a <gnome> holds a <hat>")
    assert numpy.abs(pixels(members["png"]) - expected).max() <= 1
    assert record(members).plain_prompt == "a toy holds a hat"
    assert json.loads(members["caption.json"])["text"] == "a toy holds a hat"
    assert record(members).models["embedding"].options == {"tokens": {"<gnome>": 3, "<hat>": 1}}


def test_ssr_draws_what_its_parts_draw_one_by_one(models, tmp_path):
    """Two subjects with a scale each, against a loop written out here over the two halves."""
    from diffusers import UniPCMultistepScheduler
    from transformers import CLIPImageProcessorPil, CLIPVisionModel

    from socialcli.networks import ssr_layouts
    from socialcli.networks.ssr_encoder import image_features

    names, scales = ["woman", "dog"], [0.9, 0.3]
    images = [Image.new("RGB", (40, 30), c) for c in ("red", "green")]
    for name, image in zip(names, images, strict=True):
        image.save(tmp_path / f"{name}.png")
    members = run(
        models, tmp_path / "out", method="ssr", prompt=["a man walks"], query=names, scale=scales,
        reference=[f"{tmp_path}/{n}.png" for n in names],
    )["00000"]  # fmt: skip
    pipe = pipeline(models)
    encoder = ssr_layouts.load(models / "ssr")
    encoder.attach(pipe.unet)
    vision = CLIPVisionModel.from_pretrained(models / "vision").eval()
    processor = CLIPImageProcessorPil.from_pretrained(models / "vision")

    def text(words):
        ids = pipe.tokenizer(words, padding="max_length", max_length=16, return_tensors="pt")
        return pipe.text_encoder(ids.input_ids)[0]

    def tokens(words, image):
        shown = processor(images=[image], return_tensors="pt").pixel_values
        shown = shown if words else torch.zeros_like(shown)
        return encoder.subject_tokens(image_features(vision, shown), text(words))

    with torch.inference_mode():
        halves = [
            encoder.condition(text(""), [tokens("", images[0])] * 2, scales),
            encoder.condition(
                text("a man walks"), [tokens(*p) for p in zip(names, images, strict=True)], scales
            ),
        ]
        generator = torch.Generator().manual_seed(record(members).seed)
        latents = torch.randn((4, 8, 8), generator=generator)[None]
        scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
        scheduler.set_timesteps(STEPS)
        for t in scheduler.timesteps:
            without, of = (pipe.unet(latents, t, **half).sample for half in halves)
            latents = scheduler.step(without + 5 * (of - without), t, latents).prev_sample
        expected = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample[0]
    expected = ((expected.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy()
    assert numpy.abs(pixels(members["png"]) - expected).max() <= 1
    assert record(members).references == [
        records.Shown("woman.png", "woman", 0.9), records.Shown("dog.png", "dog", 0.3),
    ]  # fmt: skip
    assert record(members).models["ssr"].backend == "ssr-encoder"


def test_a_mask_finds_the_subject(models, tmp_path, people):
    """From masks.json and from a file: what the encoder reads off the picture where the mask is."""
    from transformers import CLIPImageProcessorPil, CLIPVisionModel

    from socialcli.networks import ssr_layouts
    from socialcli.networks.ssr_encoder import image_features

    def ready(name, **values):
        options = config(
            ssr_model=str(models / "ssr"), clip_model=str(models / "vision"),
            model=str(models / "sd"), device="cpu", dtype="float32", **values,
        )  # fmt: skip
        stage = registry.load("methods.generate", "ssr").as_stage()
        stage.check(options)
        given = stage.entries(options) if name is None else [(name, request(people, options, name))]
        return options, [stage.prepare(options, shards.Sample(k, work=r)) for k, r in given]

    method = part("methods.generate", "ssr")
    state = method.load(ready("a")[0])
    encoder = ssr_layouts.load(models / "ssr")
    vision = CLIPVisionModel.from_pretrained(models / "vision").eval()
    processor = CLIPImageProcessorPil.from_pretrained(models / "vision")

    def expected(words, image, mask, weight=5.0):
        pixels = torch.zeros(1, 3, 32, 32)
        if image is not None:
            pixels = processor(images=[image], return_tensors="pt").pixel_values
        # By hand: 120x80 to 48x32, of which the middle 32 columns are seen.
        seen = Image.fromarray(mask).convert("L").resize((48, 32), Image.Resampling.BICUBIC)
        seen = torch.from_numpy(numpy.asarray(seen)[:, 8:40] / 255.0)[None]
        with torch.inference_mode():
            query = state.text(words)[None]
            features = image_features(vision, pixels)
            return encoder.subject_tokens(features, query, seen, weight)[0]

    def tokens(options, one):
        return [of for _, of in method.embed(options, state, one)[2]]

    both = scenes.mask(scenes.WOMAN) | scenes.mask(scenes.DOG)
    options, [one] = ready("a", query_by="mask")
    assert one.references[0].query == scenes.TEXT
    truth = expected(scenes.TEXT, one.references[0].image, both)
    assert torch.allclose(tokens(options, one)[0], truth, atol=1e-5)
    # The official code masks the unconditional branch too: no picture and no words, masked.
    pairs = method.embed(options, state, one)[2]
    black = expected("", None, both)
    assert torch.allclose(pairs[0][0], black, atol=1e-5)
    assert not torch.allclose(state.nothing, black, atol=1e-3)
    drawn = method.condition(options, state, [method.embed(options, state, one)])
    rows = drawn.arguments["encoder_hidden_states"][:, -len(black) :]
    assert torch.allclose(rows, torch.stack([black, truth]), atol=1e-4)
    _, [other] = ready("a", query=["caption"])
    assert method.embed(options, state, other)[2][0][0] is state.nothing
    assert not torch.allclose(tokens(options, other)[0], truth, atol=1e-3)

    with pytest.raises(SampleFailed, match=r"masks.json: no mask of the subject"):
        ready("a", query_by="mask", per_subject=True)  # the man has none
    body = scenes.all_records()["entities.json"]
    two = {"entities.json": records.Entities(body.entities[:2], [])}
    shards.write(people, [("a", scenes.members(0, two)), ("b", scenes.members(1))])
    options, [one] = ready("a", query_by="mask", per_subject=True, query=["nouns"], mask_weight=1.0)
    tokens_of = tokens(options, one)
    for which, words, box in ((0, "woman", scenes.WOMAN), (1, "dog", scenes.DOG)):
        image = one.references[which].image
        truth = expected(words, image, scenes.mask(box), 1.0)
        assert torch.allclose(tokens_of[which], truth, atol=1e-5)

    options, [one] = ready("a", query_by="mask", references=[str(people)], match="identity")
    assert (one.references[0].mask == scenes.mask(scenes.WOMAN)).all()  # Ada's, in another picture

    (tmp_path / "r.jpg").write_bytes(scenes.picture(3))
    Image.fromarray(scenes.mask(scenes.DOG)).save(tmp_path / "m.png")
    (tmp_path / "p.csv").write_text("prompt,reference,query,mask\na dog,r.jpg,dog,m.png\n")
    flags = {"reference": [str(tmp_path / "r.jpg")], "query": ["dog"], "prompt": ["a dog"]}
    _, [by_flag] = ready(None, query_by="mask", mask=[str(tmp_path / "m.png")], **flags)
    options, [by_row] = ready(None, query_by="mask", prompts=[str(tmp_path / "p.csv")])
    truth = expected("dog", by_row.references[0].image, scenes.mask(scenes.DOG))
    for one in (by_flag, by_row):
        assert torch.allclose(tokens(options, one)[0], truth, atol=1e-5)


def test_masks_that_are_not_there_or_do_not_fit(models, tmp_path, people):
    bare = [(s.key, {n: m for n, m in s.members.items() if n != "masks.json"})
            for s in shards.read(str(people))]  # fmt: skip
    shards.write(tmp_path / "bare.tar", bare)
    (tmp_path / "r.jpg").write_bytes(scenes.picture(3))
    for name, mask in (("small", numpy.ones((9, 9), bool)), ("none", numpy.zeros((80, 120), bool))):
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    asked = {"method": "ssr", "query_by": "mask", "max_error_rate": 1.0}
    assert run(models, tmp_path / "a", tmp_path / "bare.tar", **asked) == {}
    lines = (tmp_path / "a/bare.errors.jsonl").read_text()
    assert lines.count("no masks.json: run `socialcli segment` first") == 4
    rows = [{"prompt": "x", "reference": "r.jpg", "query": "dog", **more} for more in (
        {}, {"mask": "nowhere.png"}, {"mask": "small.png"}, {"mask": "none.png"})]  # fmt: skip
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert run(models, tmp_path / "b", tmp_path / "p.jsonl", **asked) == {}
    lines = (tmp_path / "b/000000.errors.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in lines] == [
        "the reference r.jpg has no mask: give --mask FILE, or a column 'mask'",
        "the mask 'nowhere.png' is not there: no such file",
        "small.png: a mask of 9x9 pixels for a picture of 120x80",
        "the mask of the reference r.jpg is empty in the square that CLIP sees",
    ]
    for values, line in (
        ({"mask": ["m.png"]}, "--mask goes with --query-by mask"),
        ({"mask": ["m.png"], "query_by": "mask"}, "give one for each --reference"),
        ({"query_by": "eye"}, "--query-by 'eye'. There are: text, mask"),
    ):
        with pytest.raises(UsageError, match=line):
            part("methods.generate", "ssr").check_options(config(**values))


# ------------------------------------------------------------- the loop


class Linear(torch.nn.Module):
    """A UNet that multiplies: what it was called with can be read off what it gives."""

    dtype, device = torch.float32, torch.device("cpu")

    def forward(self, x, t, encoder_hidden_states):
        from types import SimpleNamespace

        return SimpleNamespace(sample=x * encoder_hidden_states.mean((1, 2))[:, None, None, None])


def loop(conditioning, guidance=3.0, steps=2, name="DDIMScheduler"):
    _, _, _, scheduler = tiny.networks()
    return sampling.denoise(
        Linear(), sampling.scheduler(name, scheduler), [sampling.generator(s) for s in (1, 2)],
        (4, 8, 8), conditioning, steps, guidance,
    )  # fmt: skip


def states(*values):
    return {"encoder_hidden_states": torch.tensor(values)[:, None, None].float()}


def test_guidance_leads_from_the_first_half_to_the_second():
    same = loop(sampling.Conditioning(states(0.2, 0.1, 0.2, 0.1)))
    alone = loop(sampling.Conditioning(states(0.2, 0.1)), guidance=1)
    assert torch.allclose(same, alone)
    # 0.1 + 3 (0.2 - 0.1) = 0.4
    guided = loop(sampling.Conditioning(states(0.1, 0.1, 0.2, 0.2)))
    assert torch.allclose(guided, loop(sampling.Conditioning(states(0.4, 0.4)), guidance=1))


def test_a_method_can_change_every_step():
    seen = []

    def arguments(timesteps):
        assert timesteps.shape == (2,) and timesteps[0] == timesteps[1]
        seen.append(int(timesteps[0]))
        return states(0.1, 0.1)

    def after(step, latents):
        assert int(step.timestep) == seen[step.number] and step.count == 3
        return latents * 0 + step.number

    last = loop(sampling.Conditioning(arguments, after=after), guidance=1, steps=3)
    assert len(seen) == 3 and seen == sorted(seen, reverse=True)
    assert torch.equal(last, torch.full_like(last, 2))

    def guide(step):
        return step.latents * step.arguments["encoder_hidden_states"].mean()

    own = loop(sampling.Conditioning(states(0.4), guide=guide))
    assert torch.allclose(own, loop(sampling.Conditioning(states(0.4, 0.4)), guidance=1))


@pytest.mark.parametrize(
    "name", ["UniPCMultistepScheduler", "EulerAncestralDiscreteScheduler", "DDPMScheduler",
             "DPMSolverMultistepScheduler", "LMSDiscreteScheduler", "ddim"]
)  # fmt: skip
def test_schedulers_by_name_and_their_noise_by_key(name):
    both = loop(sampling.Conditioning(states(0.2, 0.2)), guidance=1, steps=5, name=name)
    torch.rand(3)
    again = loop(sampling.Conditioning(states(0.2, 0.2)), guidance=1, steps=5, name=name)
    assert torch.isfinite(both).all() and torch.equal(both, again)


def test_an_unknown_scheduler_is_told_with_names_near_it(models, tmp_path):
    for name, near in (("UniPC3", "UniPCMultistepScheduler"), ("EulerScheduler", "EulerDiscrete")):
        with pytest.raises(UsageError, match=rf"--scheduler {name} is not .*{near}"):
            run(models, tmp_path, prompt=["x"], scheduler=name)
    with pytest.raises(UsageError, match="FlowMatchEulerDiscreteScheduler does not fit this"):
        run(models, tmp_path, prompt=["x"], scheduler="FlowMatchEulerDiscreteScheduler")


# ------------------------------------------------------------- what a picture says of itself


def test_every_picture_says_that_it_is_generated(models, tmp_path):
    members = run(models, tmp_path / "a", prompt=["a <man> & a dog"], negative="snow")["00000"]
    info = Image.open(io.BytesIO(members["png"])).info
    root = ElementTree.fromstring(info["XML:com.adobe.xmp"].split("?>", 1)[1].rsplit("<?", 1)[0])
    iptc = {e.tag.removeprefix(IPTC): e.text for e in root.iter() if e.text and e.text.strip()}
    assert iptc["DigitalSourceType"] == (
        "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    )
    assert iptc["AIPromptInformation"] == "a <man> & a dog; not: snow"
    assert iptc["AISystemUsed"] == "sd"
    generated = record(members)
    assert f"Seed: {generated.seed}, Size: 32x32" in info["parameters"]
    assert info["parameters"].startswith("a <man> & a dog\nNegative prompt: snow\nSteps: 4, ")
    assert json.loads(info["socialcli"])["seed"] == generated.seed
    assert str(models) not in str(info)  # nobody's folders
    assert generated.model.model == "sd" and generated.model.revision.startswith("sha256:")
    plain = run(models, tmp_path / "b", prompt=["a <man> & a dog"], negative="snow",
                provenance=False)["00000"]  # fmt: skip
    assert not Image.open(io.BytesIO(plain["png"])).info
    assert numpy.array_equal(pixels(plain["png"]), pixels(members["png"]))


def test_what_is_written_is_valid_and_can_be_read_from_a_folder(models, tmp_path, run_cli):
    (tmp_path / "p.csv").write_text('prompt,key,seed\n"a man, a dog",a/b.c,7\na cat,,\n')
    sheet = tmp_path / "sheet.png"
    run(models, tmp_path / "files", tmp_path / "p.csv", format="files", per_prompt=2,
        grid=str(sheet))  # fmt: skip
    names = sorted(p.relative_to(tmp_path / "files").as_posix()
                   for p in (tmp_path / "files").rglob("*.png"))  # fmt: skip
    assert names == ["00001-0.png", "00001-1.png", "a/b_c-0.png", "a/b_c-1.png"]
    seeds = [json.loads((tmp_path / f"files/a/b_c-{n}.json").read_text())["seed"] for n in (0, 1)]
    assert seeds == [7, 8]
    listed = [json.loads(x) for x in (tmp_path / "files/000000.jsonl").read_text().splitlines()]
    assert [x["file_name"] for x in listed] == names[2:] + names[:2]
    from socialcli.evaluation import samples

    known, *lost = samples.generated([str(tmp_path / "files")], None, False)
    assert len(known) == 4 and lost == [[], []]
    by_key = run(models, tmp_path / "shards", tmp_path / "p.csv", per_prompt=2)
    for key, members in by_key.items():
        assert members["png"] == (tmp_path / f"files/{key}.png").read_bytes()
    run_cli("validate", tmp_path / "shards")
    assert Image.open(sheet).width > 4 * 128
    assert [key for key, _, _ in grid.pictures([str(tmp_path / "files/000000.jsonl")])] == list(
        by_key
    )
    # Finished is finished, and nothing that was there is overwritten by another run.
    run(models, tmp_path / "files", tmp_path / "p.csv", format="files", per_prompt=2)
    with pytest.raises(UsageError, match="steps was 4, now 5"):
        run(models, tmp_path / "files", tmp_path / "p.csv", format="files", per_prompt=2, steps=5)


# ------------------------------------------------------------- samples and references


@pytest.fixture
def people(tmp_path):
    """A shard: Ada in a, b and c, Bob in d; e has no caption."""
    body = scenes.all_records()["people.json"]
    bob = records.People(body.width, body.height, [*body.people])
    bob.people = [records.Person(1, 1, 1, identity="Bob")]
    rows = [(key, scenes.members(n)) for n, key in enumerate("abc")]
    rows += [("d", scenes.members(4, {"people.json": bob}))]
    rows += [("e", scenes.members(5, {"caption.json": None, "layout.json": None}))]
    shards.write(tmp_path / "people.tar", rows)
    return tmp_path / "people.tar"


def request(people, config, key):
    sample = next(s for s in shards.read(str(people)) if s.key == key)
    masks = part("methods.generate", "ssr").masks(config) if hasattr(config, "mask") else None
    return sample_requests.of_sample(config, sample, masks)


def config(method="ssr", **values):
    kind = part("methods.generate", method).Config
    return kind(**profiles.values(None, "generate", kind, values, method))


def test_captions_of_samples_are_prompts(models, tmp_path, people):
    by_key = run(models, tmp_path / "out", people, per_prompt=2, max_error_rate=0.5)
    assert list(by_key) == [f"{k}-{n}" for k in "abcd" for n in (0, 1)]
    assert record(by_key["b-1"]).source_key == "b" and record(by_key["b-1"]).prompt == scenes.TEXT
    line = json.loads((tmp_path / "out/people.errors.jsonl").read_text())
    assert line["key"] == "e" and line["reason"].startswith("no caption.json: run `socialcli cap")
    with pytest.raises(SampleFailed, match=r"no caption 9: caption.json has \d, counted from 0"):
        request(people, config("text", caption=9), "a")
    stats = json.loads((tmp_path / "out/people.stats.json").read_text())
    assert stats["input"][0]["checksum"].startswith("crc32:")


def test_references_of_samples(people):
    there = (str(people),)
    own = request(people, config(), "a").references
    assert [(w.name, w.query, w.scale) for w in own] == [("a", "woman, dog, man", None)]
    assert references.find(own[0], (), "a", "").image.size == (120, 80)
    each = request(people, config(per_subject=True, query=["phrases"], scale=[0.5]), "a").references
    assert [w.query for w in each] == ["A woman in red", "a small dog", "a man"]
    assert [w.scale for w in each] == [0.5] * 3
    key = request(people, config(references=list(there), query=["caption"]), "b").references[0]
    assert (key.own, key.name, key.query) == (None, "b", scenes.TEXT)
    assert references.find(key, there, "b", "").key == "b"
    wanted = config(references=list(there), match="identity")
    for sample, others in (("a", "bce"), ("b", "ace"), ("c", "abe")):
        wanted_ones = request(people, wanted, sample).references
        assert [(w.query, w.identity) for w in wanted_ones] == [("woman", "Ada")]
        assert references.find(wanted_ones[0], there, sample, "").key in others
    with pytest.raises(SampleFailed, match="no other picture of 'Bob' among the references"):
        references.find(request(people, wanted, "d").references[0], there, "d", "")
    with pytest.raises(UsageError, match="--match identity looks into --references"):
        from socialcli.generation import options

        options.check(config(match="identity"))


def test_rows_name_references_beside_them(models, tmp_path, people):
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (20, 20), "red").save(tmp_path / "sub/hat.png")
    rows = [
        {"prompt": "a man", "reference": "hat.png", "query": "hat"},
        {"prompt": "a man", "references": [{"key": "b", "query": "nouns", "scale": 0.2}]},
        {"prompt": "a man", "reference": "nowhere.png", "query": "hat"},
        {"prompt": "a man", "reference": "hat.png"},
        {"prompt": "a man"},
        {"prompt": " ", "reference": "hat.png", "query": "hat"},
    ]
    (tmp_path / "sub/p.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def again(**more):
        return run(models, tmp_path / "out", tmp_path / "sub/p.jsonl", method="ssr",
                   references=[str(people)], max_error_rate=1.0, **more)  # fmt: skip

    by_key = again()
    assert {k: record(m).references for k, m in by_key.items()} == {
        "00000": [records.Shown("hat.png", "hat", 0.65)],
        "00001": [records.Shown("b", "woman, dog, man", 0.2)],
    }
    lines = (tmp_path / "out/000000.errors.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in lines] == [
        "the reference picture 'nowhere.png' is not there, no file and no key or subject of "
        "--references",
        "what is meant in the reference hat.png? Give --query WORDS, or a column 'query'",
        "no reference picture: give --reference, or a column 'reference'",
        "the prompt is empty",
    ]
    shutil.copy(tmp_path / "sub/hat.png", tmp_path / "sub/nowhere.png")
    retried = again(retry_failed=True)
    assert list(retried) == ["00000", "00001", "00002"]
    assert retried["00000"] == by_key["00000"]


# ------------------------------------------------------------- bad input, one line each


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.csv", "key,text2\n1,x\n", "no column 'prompt'; its first line names key, text2"),
        ("a.csv", "prompt\nx,y\n", "line 2: more cells than the first line has"),
        ("a.csv", "prompt,seed\nx,-2\n", "line 2: 'seed' is '-2', expected a number"),
        ("a.csv", "prompt,key\nx,k\ny,k\n", "line 3: the key 'k' is there twice"),
        ("a.txt", "\n \n", "no prompts in it"),
        ("a.jsonl", '{"prompt": 3}', "line 1: the prompt is no text"),
        ("a.jsonl", "[1]", "line 1: expected an object with a prompt"),
        ("a.jsonl", '{"prompt": "x", "references": "y"}', "'references' is a list"),
    ],
)
def test_a_prompt_file_that_cannot_be_used(tmp_path, name, text, line):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=line):
        requests.entries(config(prompts=[str(tmp_path / name)]))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ((), "no prompt: give --prompt TEXT"),
        (("--prompt", " "), "--prompt is empty"),
        (("--prompt", "x", "shards/"), "not both"),
        (("--prompt", "x", "--guidance", "0.5"), "--guidance 0.5: at least 1"),
        (("--prompt", "x", "--size", "big"), "--size big: pixels as 512 or 768x512"),
        (("--prompt", "x", "--format", "jpeg"), "--format 'jpeg'. There are: shards, files"),
        (("--prompt", "x", "--method", "magic"), "has no method 'magic'. There are: composite"),
        (("--prompt", "x", "--method", "textual-inversion"), "needs --embedding FILE"),
    ],
)
def test_a_request_that_makes_no_sense(given, line, capsys, tmp_path):
    from socialcli.cli import app

    with pytest.raises(SystemExit) as ended:
        app.app(["generate", *given, "-o", str(tmp_path / "out")])
    assert ended.value.code == 2
    stderr = capsys.readouterr().err
    assert line in stderr and stderr.count("\n") == 1, stderr
    assert not (tmp_path / "out").exists()


def test_new_samples_have_no_sidecars(capsys, tmp_path):
    from socialcli.cli import app

    with pytest.raises(SystemExit):
        app.app(["generate", "--help"])
    stdout = capsys.readouterr().out
    assert "--dry-run" in stdout and "--sidecar" not in stdout
    with pytest.raises(SystemExit) as ended:
        app.app(["generate", "--prompt", "x", "--sidecar", "-o", str(tmp_path / "out")])
    assert ended.value.code == 2 and "--sidecar" in capsys.readouterr().err


def test_models_that_are_not_there_or_do_not_fit(models, tmp_path):
    with pytest.raises(SocialcliError, match="no such folder"):
        run(models, tmp_path, prompt=["x"], model=str(tmp_path / "none"))
    with pytest.raises(UsageError, match="33x32 pixels: this model draws multiples of"):
        run(models, tmp_path, prompt=["x"], size="33x32")
    wide = tiny.stable_diffusion(tmp_path / "wide", width=24)
    (tmp_path / "r.jpg").write_bytes(scenes.picture())
    shown = {"prompt": ["x"], "reference": [str(tmp_path / "r.jpg")], "query": ["dog"]}
    with pytest.raises(UsageError, match=r"/ssr: made for a UNet with"):
        run(models, tmp_path, method="ssr", model=str(wide), **shown)
    with pytest.raises(UsageError, match="does not fit this diffusion model"):
        run(models, tmp_path, method="ip-adapter", model=str(wide), **shown)
    torch.save({"a": 1}, tmp_path / "x.bin")
    with pytest.raises(UsageError, match=r"x.bin: not an IP-Adapter"):
        run(models, tmp_path, method="ip-adapter", adapter_model=str(tmp_path / "x.bin"), **shown)


def test_no_model_is_loaded_for_nothing(models, tmp_path, people, monkeypatch):
    """Where no request can be drawn, one line says why; one that can be is enough."""
    monkeypatch.setattr(drawing.backends, "load", lambda spec: pytest.fail("a model was loaded"))
    linked = ("boxes", "masks", "people", "interactions", "layout")
    nobody = {"entities.json": records.Entities(), **{f"{name}.json": None for name in linked}}
    for name, changed, line in (
        ("empty", nobody, "none of the 2 pictures can be drawn: entities.json: the entity list is"),
        (
            "silent",
            {"caption.json": None, "layout.json": None},
            "can be drawn: no caption.json: run `socialcli caption`",
        ),
        (
            "bare",
            {"masks.json": None},
            "can be drawn: no masks.json: run `socialcli segment` first",
        ),
    ):
        file = tmp_path / f"{name}.tar"
        shards.write(file, [(key, scenes.members(0, changed)) for key in "ab"])
        with pytest.raises(UsageError, match=line) as why:
            run(models, tmp_path / name, file, method="ssr",
                query_by="mask" if name == "bare" else "text")  # fmt: skip
        assert "\n" not in str(why.value) and not (tmp_path / name / f"{name}.tar").exists()
    stage = registry.load("methods.generate", "ssr").as_stage()
    stage.look(config(), [str(tmp_path / "silent.tar"), str(people)])
    with pytest.raises(SocialcliError, match=r"gone: no such folder or file \(diffusion model\)"):
        run(models, tmp_path / "x", prompt=["x"], model=str(tmp_path / "gone"))


def test_embeddings_that_cannot_be_used(models, tmp_path):
    from safetensors.torch import save_file

    def learnt(*files, prompt="a <x>"):
        return run(models, tmp_path / "out", method="textual-inversion", prompt=[prompt],
                   embedding=[str(f) for f in files], max_error_rate=1.0)  # fmt: skip

    good = tmp_path / "x.safetensors"
    save_file({"<x>": torch.zeros(tiny.WIDTH)}, good)
    save_file({"<x>": torch.zeros(7)}, tmp_path / "w.safetensors")
    save_file({"dog": torch.zeros(tiny.WIDTH)}, tmp_path / "dog.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    for file, line in (
        (tmp_path / "none.bin", "no embedding at"),
        (tmp_path / "bad.safetensors", "bad.safetensors: not a safetensors file"),
        (tmp_path / "w.safetensors", "vectors 7 wide, this model's text encoder has 32"),
        (tmp_path / "dog.safetensors", "'dog' is a word of this model already"),
    ):
        with pytest.raises(SocialcliError, match=line):
            learnt(file)
    with pytest.raises(UsageError, match=r"the token <x> is in .* too"):
        learnt(good, good)
    save_file({"<X>": torch.zeros(tiny.WIDTH)}, tmp_path / "capital.safetensors")
    with pytest.raises(UsageError, match="'<x>' and '<X>' differ by case only"):
        learnt(good, tmp_path / "capital.safetensors")
    learnt(good, prompt="a <y> and a <x>")
    line = json.loads((tmp_path / "out/000000.errors.jsonl").read_text())
    assert line["reason"] == "unknown token <y>: the words are <x>"
    shutil.rmtree(tmp_path / "out")
    learnt(good, prompt="a dog")
    line = json.loads((tmp_path / "out/000000.errors.jsonl").read_text())
    assert line["reason"].startswith("the prompt has none of <x>")


def test_layouts_of_learnt_words(tmp_path):
    vectors = torch.randn(2, 8)
    torch.save({"<a>": vectors}, tmp_path / "learned_embeds.bin")
    torch.save({"string_to_param": {"*": vectors}, "name": "old"}, tmp_path / "o.pt")
    for given, token in (
        (tmp_path, "<a>"),
        (tmp_path / "o.pt", "old"),
        (f"{tmp_path}/o.pt:<z>", "<z>"),
    ):
        words = embeddings.read(str(given))
        assert [w.token for w in words] == [token]
        assert torch.equal(words[0].vectors, vectors)


@pytest.mark.parametrize("method", ["text", "ssr", "ip-adapter"])
def test_half_precision_draws_nearly_the_same(models, tmp_path, method):
    Image.new("RGB", (20, 20), "red").save(tmp_path / "hat.png")
    options = {"prompt": ["a man"]}
    if method != "text":
        options |= {"reference": [str(tmp_path / "hat.png")], "query": ["hat"]}
    whole = run(models, tmp_path / "f", method=method, **options)["00000"]
    half = run(models, tmp_path / "h", method=method, dtype="bfloat16", **options)["00000"]
    assert record(half).model.options["dtype"] == "bfloat16"
    assert 0 < numpy.abs(pixels(whole["png"]) - pixels(half["png"])).mean() < 20


def test_a_mask_is_queried_with_the_caption_and_words_with_nouns(people):
    """Where a mask says which subject is meant, the whole caption goes with it unless words do."""
    by_text = request(people, config("ssr"), "a").references[0]
    by_mask = request(people, config("ssr", query_by="mask"), "a").references[0]
    asked = request(people, config("ssr", query_by="mask", query=["dog"]), "a").references[0]
    assert by_mask.query == scenes.TEXT and by_mask.by_mask
    assert by_text.query != scenes.TEXT and not by_text.by_mask
    assert asked.query == "dog"


def test_a_request_of_a_sample_carries_the_sample(people):
    asked = request(people, config("text"), "a")
    assert asked.sample.key == "a" and asked.sample.has("masks.json")
    assert requests.entries(config("text", prompt=["a dog"]))[0][1].sample is None
