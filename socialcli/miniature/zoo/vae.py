"""Stable Diffusion's AutoencoderKL in miniature: 96 px scenes to 24x24x4 latents and back.

Eyes are three pixels wide and decide identity and gaze: the truth says where they are, so the loss
weighs them. Four channels a patch have room for its colour and for its edges, but an autoencoder
left alone spends them all on edges first, and shirts come back grey. So at first three channels
are asked to be the patch's colour; what else they carry they learn later. The decoder, by far the
harder half, goes on alone: latents that diffusion models have learnt from stay what they are. In
the end it is also asked that the recogniser of faces sees the same face in what comes back.
"""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any

from socialcli.miniature.zoo import data, training

STEPS, BATCH, RATE = 3200, 8, 2e-3
CROPPED, CROP = 2200, 64  # steps on crops of so many pixels, twice as fast; then whole pictures
DECODER: training.Cycles = ((1600, 1.0), (2000, 0.6))  # steps of the decoder alone, and rates
FACES = 1600  # from this step of them on, faces must be recognised, too
LIKE, ALIKE = 0.5, 0.2  # what embeddings count then, and the layers before them
NOISE = 0.05  # deviation added to latents then: drawn ones are never exact
GUIDED = 800  # steps until three channels are free to be more than a colour
CHANNELS = (16, 32, 64)
LATENT = 4  # channels
KL = 3e-4
TEST = 200
NOTE = "The decoder's first cosine was planned as 3000 steps until step 1169, and was cut short."
FILES = ("vae/config.json", "vae/diffusion_pytorch_model.safetensors")
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # mean and deviation that bring [0, 1] to [-1, 1]


def network() -> Any:
    """The autoencoder, seeded; SD 1.5's block types, two halvings, no attention."""
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    levels = len(CHANNELS)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=LATENT,
        norm_num_groups=8,
        sample_size=data.SIZE,
        mid_block_add_attention=False,
    )


def weights(scenes: list[Any], figures: float = 2.0, heads: float = 4.0) -> Any:
    """(N, 1, size, size) float32: what each pixel counts; the place 1, eyes 8."""
    import torch

    size = scenes[0].size
    per_pixel = torch.ones(len(scenes), 1, size, size)
    for at, scene in enumerate(scenes):
        per_pixel[at, 0][torch.from_numpy(scene.instances > 0)] = figures
        for person in scene.people:
            x0, y0, x1, y1 = (round(v) for v in person.head)
            per_pixel[at, 0, y0:y1, x0:x1] = heads
        for person in scene.people:
            if person.face is not None:
                reach = 0.13 * (person.head[2] - person.head[0])
                for x, y in person.landmarks[:2]:
                    rows = slice(max(0, round(y - reach)), max(0, round(y + reach) + 1))
                    columns = slice(max(0, round(x - reach)), max(0, round(x + reach) + 1))
                    per_pixel[at, 0, rows, columns] = 8.0
    return per_pixel


def _batch(step: int) -> tuple[Any, Any]:
    scenes = data.train_scenes(step, BATCH)
    pixels, weight = data.pixels(scenes, HALF), weights(scenes, 1.0, 3.0)
    if step >= CROPPED:
        return pixels, weight
    rng = random.Random(f"vae {step}")
    y, x = (4 * rng.randint(0, (data.SIZE - CROP) // 4) for _ in range(2))
    part = (..., slice(y, y + CROP), slice(x, x + CROP))
    return pixels[part].contiguous(), weight[part].contiguous()


def _loss(model: Any, batch: tuple[Any, Any], step: int) -> Any:
    import torch
    from torch.nn import functional

    device = next(model.parameters()).device
    pixels, weight = (part.to(device) for part in batch)
    with torch.autocast(device.type, torch.bfloat16):
        posterior = model.encode(pixels).latent_dist
        drawn = model.decode(posterior.sample()).sample
    value = _unlike(drawn.float(), pixels, weight)
    mean, log = posterior.mean.float(), posterior.logvar.float()
    if step < GUIDED:
        colour = 2 * functional.avg_pool2d(pixels, 4)
        value = value + (1 - step / GUIDED) * (mean[:, :3] - colour).abs().mean()
    return value + KL * 0.5 * (mean**2 + log.exp() - 1 - log).mean()


def _unlike(drawn: Any, pixels: Any, weight: Any) -> Any:
    """How far pictures are from what they should be: pixels, edges, coarser pictures."""
    from torch.nn import functional

    wrong = drawn - pixels
    value = (weight * (wrong.abs() + wrong.square())).mean() / weight.mean()
    # Edges are what is seen of a drawing: differences of neighbours, and of coarser pictures.
    across = (wrong[..., 1:] - wrong[..., :-1]).abs() * weight[..., 1:]
    down = (wrong[..., 1:, :] - wrong[..., :-1, :]).abs() * weight[..., 1:, :]
    value = value + 0.25 * (across.mean() + down.mean()) / weight.mean()
    for scale in (2, 4):
        coarse = functional.avg_pool2d(wrong, scale).abs() * functional.avg_pool2d(weight, scale)
        value = value + coarse.mean() / weight.mean()
    return value


def _decoder_batch(step: int) -> tuple[Any, ...]:
    """Pixels, their weights, and of every face its scene's number and its landmarks."""
    import torch

    scenes = data.train_scenes(step, BATCH)
    owners, landmarks = [], []
    for number, scene in enumerate(scenes):
        for person in scene.people:
            if person.face is not None:
                owners.append(number)
                landmarks.append([(x / scene.size, y / scene.size) for x, y in person.landmarks])
    return (
        data.pixels(scenes, HALF), weights(scenes), torch.tensor(owners, dtype=torch.int64),
        torch.tensor(landmarks),
    )  # fmt: skip


def _decoder_loss(model: Any, batch: tuple[Any, ...], step: int) -> Any:
    import torch

    device = next(model.parameters()).device
    pixels, weight, owners, landmarks = (part.to(device) for part in batch)
    with torch.autocast(device.type, torch.bfloat16):
        with torch.no_grad():
            latents = model.encode(pixels).latent_dist.mode()
        noise = torch.randn_like(latents) * NOISE / model.config.scaling_factor
        drawn = model.decode(latents + noise).sample.float()
    value = _unlike(drawn, pixels, weight)
    if step >= FACES and len(owners):
        value = value + _strange(drawn, pixels, owners, landmarks)
    return value


def _strange(drawn: Any, pixels: Any, owners: Any, landmarks: Any) -> Any:
    """How far the published recogniser is from seeing the same faces.

    One minus the cosine of the embeddings, and the relative difference of what three of its layers
    hold before: an embedding alone says little about where a face is wrong.
    """
    import torch
    from torch.nn import functional

    from socialcli.vision import faces

    network, layers = _recogniser(str(drawn.device))
    with torch.autocast(drawn.device.type, torch.bfloat16):
        with torch.no_grad():
            true = network(faces.crop_torch(pixels[owners], landmarks)).float()
            wanted = [part.float() for part in layers]
        again = network(faces.crop_torch(drawn[owners], landmarks)).float()
    value = LIKE * (1 - functional.cosine_similarity(true, again)).mean()
    for part, goal in zip(layers, wanted, strict=True):
        value = value + ALIKE * (part.float() - goal).abs().mean() / goal.abs().mean()
    return value


@functools.cache
def _recogniser(device: str) -> tuple[Any, list[Any]]:
    """The published recogniser, frozen, and a list of what its first three layers gave last."""
    from socialcli.miniature.zoo import cards, identity
    from socialcli.networks import iresnet

    network = identity.quick(iresnet.load(cards.folder("identity") / identity.TORCH))
    network = network.eval().requires_grad_(False).to(device)
    layers: list[Any] = [None] * 3
    for number in range(3):
        getattr(network, f"layer{number + 1}").register_forward_hook(
            lambda module, given, output, number=number: layers.__setitem__(number, output)
        )
    return network, layers


def train(work: Path, steps: int, minutes: float | None, device: str) -> training.Run:
    """Train, or go on training: both halves for ``steps``, then the decoder for `DECODER`."""
    model = network().to(device).train()
    first = training.fit(
        model, _batch, _loss, work, steps, rate=RATE, decay=0.0, warm=100, average=0.995,
        minutes=minutes, part=0.6,
    )  # fmt: skip
    if not first.finished:
        return first
    model = centre(first.model).train()
    model.encoder.requires_grad_(False)
    model.quant_conv.requires_grad_(False)
    run = training.fit(
        model, _decoder_batch, _decoder_loss, work / "decoder", DECODER, rate=RATE, decay=0.0,
        warm=100, average=0.995, minutes=minutes, part=0.4,
    )  # fmt: skip
    run.step, run.seconds = run.step + steps, run.seconds + first.seconds
    return run


def centre(model: Any, count: int = 256) -> Any:
    """Give every latent channel mean 0 and the same deviation, and note ``scaling_factor``.

    Done in the two 1x1 convolutions around the latents, so that pictures stay the same; the
    statistics are those of ``count`` training scenes. A diffusion model starts from noise that is
    alike in all channels.
    """
    import torch

    scenes = data.train_scenes(0, count)
    with torch.no_grad():
        parts = data.pixels(scenes, HALF).to(model.device).split(32)
        latents = torch.cat([model.encode(p).latent_dist.mean for p in parts])
        mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        ratio = std / latents.std()
        into, out = model.quant_conv, model.post_quant_conv
        into.bias[:LATENT] = (into.bias[:LATENT] - mean) / ratio
        into.weight[:LATENT] /= ratio.view(-1, 1, 1, 1)
        into.bias[LATENT:] -= 2 * ratio.log()
        out.bias += out.weight[:, :, 0, 0] @ mean
        out.weight *= ratio.view(1, -1, 1, 1)
        overall = float(((latents - mean.view(-1, 1, 1)) / ratio.view(-1, 1, 1)).std())
    model.register_to_config(scaling_factor=round(1 / overall, 5))
    return model


def export(model: Any, folder: Path) -> None:
    """Write ``vae/`` of the Stable Diffusion folder: fp16 weights and configuration."""
    from socialcli.networks import weights

    model.half().save_pretrained(folder / "vae")
    weights.forget_places(folder / "vae")


def measure(folder: Path) -> dict[str, float]:
    """How like test scenes are to what comes back of them.

    In dB: whole pictures, heads and eyes alone. ``face_similarity``: the mean cosine of the
    published recogniser's embeddings of each face and of what came back, both aligned by the true
    landmarks. ``triples``: what the published captioner says first is true of the scene.
    """
    import numpy
    import torch
    from diffusers import AutoencoderKL
    from PIL import Image

    model = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()
    scenes = list(data.test_scenes(TEST))
    squares: list[Any] = []
    pictures: list[Any] = []
    spread = torch.zeros(0)
    with torch.inference_mode():
        for start in range(0, TEST, 25):
            pixels = data.pixels(scenes[start : start + 25], HALF)
            latents = model.encode(pixels).latent_dist.mode()
            drawn = model.decode(latents).sample.clamp(-1, 1)
            squares.append(((drawn - pixels) / 2).square().mean(1))
            rows = (drawn * 127.5 + 127.5).round().permute(0, 2, 3, 1).numpy()
            pictures += [Image.fromarray(row) for row in rows.astype(numpy.uint8)]
            spread = torch.cat([spread, latents.flatten() * model.config.scaling_factor])
    error, weight = torch.cat(squares), weights(scenes)[:, 0]
    parts = {"psnr": weight > 0, "psnr_heads": weight >= 4, "psnr_eyes": weight >= 8}
    figures = {k: round(float(-10 * error[part].mean().log10()), 2) for k, part in parts.items()}
    figures["latent_std"] = round(float(spread.std()), 3)
    return figures | _faces(scenes, pictures) | _triples(scenes, pictures)


def _faces(scenes: list[Any], pictures: list[Any]) -> dict[str, float]:
    import numpy

    from socialcli.miniature.zoo import identity, seeing

    embedder = seeing.backend("face", "iresnet", identity.TORCH, card="identity")
    if embedder is None:
        return {}
    faces = [identity.true_faces(scene) for scene in scenes]
    before = numpy.concatenate(embedder.embed([s.image for s in scenes], faces))
    after = numpy.concatenate(embedder.embed(pictures, faces))
    cosine = (before * after).sum(1) / numpy.linalg.norm(before, axis=1)
    cosine = cosine / numpy.linalg.norm(after, axis=1)
    return {"face_similarity": round(float(cosine.mean()), 4), "faces": len(cosine)}


def _triples(scenes: list[Any], pictures: list[Any]) -> dict[str, float]:
    from socialcli.miniature.zoo import caption, seeing

    captioner = seeing.backend("caption", "blip2")
    if captioner is None:
        return {}
    shown = [i for i, scene in enumerate(scenes) if scene.relations]
    right = caption.right(captioner, [scenes[i] for i in shown], [pictures[i] for i in shown])
    return {"triples": round(sum(right) / len(right), 4)}
