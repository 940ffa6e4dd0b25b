"""InteractDiffusion in miniature: who does what to what, each in its box, on the small UNet.

Gates and position net of `socialcli.networks.interact_diffusion`, as `train --method
interactdiffusion` has them; UNet and text encoder stay as they are. Half the captions are left
out, so that who does what must be read off the interactions.

Two things make it quick. Closed gates, as InteractDiffusion begins, hardly moved in 190 steps; here
they begin open, and what comes through them as zero. And each place in the picture is asked to read
the tokens of the boxes that it lies in (see `attention`).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from socialcli.miniature.world.captions import captions
from socialcli.miniature.world.vocabulary import VERBS
from socialcli.miniature.zoo import (
    attention,
    cards,
    data,
    diffusion,
    labels,
    latents,
    references,
    seeing,
    sheets,
    training,
)  # fmt: skip

STEPS, BATCH, RATE = 850, 32, 1e-3
CHUNKS = 8  # of the diffusion miniature's cache
SILENT, ALONE = 0.5, 0.1  # captions, and interactions, left out; InteractDiffusion's own shares
NOISY = 0.5  # of the timesteps are drawn from the noisier half, where things find their places
LOOK = 0.03  # of what places do not read of the boxes that they lie in
PLACED = 4  # interactions of a scene at most
FILE = "interactdiffusion.safetensors"
TEST = 64
NOTE = (
    "The first 93 steps of the published run were those of a cosine over 1,000. A run from nothing "
    "follows the recipe from the start."
)
# What subjects, acts and objects are called: as boxes are labelled, and verbs as participles.
PHRASES = (*labels.KINDS[1:], *(verb.ing for verb in VERBS.values()))


def placed(scene: Any) -> list[tuple[Any, tuple[str, str, str]]]:
    """(boxes (2, 4) of subject and object in [0, 1], their words and the act's between them) of a
    scene's interactions, the largest first."""
    import numpy

    shown = {one.id: one for one in scene.everything}
    rows = []
    for relation in scene.relations[:PLACED]:
        both = [shown[relation.subject], shown[relation.object]]
        boxes = numpy.array([one.box for one in both], numpy.float32) / scene.size
        subject, thing = (one.who.noun if hasattr(one, "who") else one.look.kind for one in both)
        rows.append((boxes, (subject, VERBS[relation.pair.verb].ing, thing)))
    return sorted(rows, key=lambda row: -float((row[0][:, 2:] - row[0][:, :2]).prod(1).sum()))


def chunk(folder: Path, number: int) -> dict[str, Any]:
    """The interactions of a chunk's training scenes, from disk where they lie there.

    Returns:
        ``boxes`` (n, `PLACED`, 2, 4) float16; ``words`` (n, `PLACED`, 3) int16, places in
        `PHRASES`, -1 where there is no interaction.
    """
    import numpy

    file = folder / f"placed-{number:03d}.npz"
    if file.exists():
        return dict(numpy.load(file))
    count = latents.CHUNK
    boxes = numpy.zeros((count, PLACED, 2, 4), numpy.float16)
    words = numpy.full((count, PLACED, 3), -1, numpy.int16)
    for row, scene in enumerate(data.train_scenes(number, count)):
        for at, (where, names) in enumerate(placed(scene)):
            boxes[row, at] = where
            words[row, at] = [PHRASES.index(name) for name in names]
    folder.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part.npz")
    with part.open("wb") as out:
        numpy.savez(out, allow_pickle=False, boxes=boxes, words=words)
    part.replace(file)
    return {"boxes": boxes, "words": words}


def arguments(phrases: Any, boxes: Any, words: Any) -> dict[str, Any]:
    """What the position net is told of B pictures, with as many rows as its tables have.

    Args:
        phrases: (V, D) pooled states of `PHRASES`. boxes: (B, N, 2, 4). words: (B, N, 3), see
            `chunk`.
    """
    from socialcli.networks.interact_diffusion import INTERACTIONS

    there = (words[..., 0] >= 0).float()
    states = phrases[words.clamp(min=0)] * there[..., None, None]
    told = {
        "subject_boxes": boxes[:, :, 0] * there[..., None],
        "object_boxes": boxes[:, :, 1] * there[..., None],
        "masks": there,
        "subject_phrases": states[:, :, 0],
        "action_phrases": states[:, :, 1],
        "object_phrases": states[:, :, 2],
    }
    full = {}
    for name, tensor in told.items():
        full[name] = tensor.new_zeros(len(tensor), INTERACTIONS, *tensor.shape[2:])
        full[name][:, : tensor.shape[1]] = tensor
    return full


def phrases(base: Any) -> Any:
    """(V, D): `PHRASES` as the position net is told them."""
    import torch

    with torch.inference_mode():
        return torch.stack([base.phrase(text).float().cpu() for text in PHRASES]).clone()


def network(base: Any) -> Any:
    """Gates that add nothing yet and a fresh position net in the UNet, in one module."""
    import torch
    from diffusers.models.attention_processor import AttnProcessor

    from socialcli.networks import interact_diffusion

    torch.manual_seed(0)
    unet = base.unet
    net = interact_diffusion.PositionNet(
        base.text_encoder.config.hidden_size, unet.config.cross_attention_dim
    )
    interact_diffusion.attach(unet, net)
    base.gated = True
    gates = torch.nn.ModuleList(interact_diffusion.gates(unet))
    with torch.no_grad():
        for gate in gates:
            parts: Any = gate
            parts.alpha_attn.fill_(1.0)
            parts.alpha_dense.fill_(1.0)
            for last in (parts.attn.to_out[0], parts.ff.net[-1]):
                last.weight.zero_()
                last.bias.zero_()
    tokens = len(interact_diffusion.ROLES) * interact_diffusion.INTERACTIONS
    looks = attention.GateRecorder(tokens)
    # Plain ones are faster than fused on CPUs, as in `diffusion`.
    unet.set_attn_processor({
        name: looks if ".fuser." in name else AttnProcessor() for name in unet.attn_processors
    })  # fmt: skip
    model: Any = torch.nn.ModuleDict({"net": net, "gates": gates}).requires_grad_(True)
    model.looks = looks
    return model


def batches(cache: dict[str, Any], texts: Any) -> Any:
    """step -> latents, token ids, weights, noise, timesteps, arguments of the position net."""
    import torch

    nothing = latents.nothing()

    def batch(step: int) -> tuple[Any, ...]:
        rng = torch.Generator().manual_seed(step)
        rows, ids = latents.captioned(cache, BATCH, SILENT, nothing, rng)
        words = cache["words"][rows].long()
        words[torch.rand(BATCH, generator=rng) < ALONE] = -1
        told = arguments(texts, cache["boxes"][rows].float(), words)
        clean, weight, noise, t = diffusion.noised(cache, rows, NOISY, rng)
        return clean, ids, weight, noise, t, told

    return batch


def losses(base: Any) -> Any:
    """(trained parts, batch, step) -> scalar: error of the noise."""
    import torch

    from socialcli.networks import interact_diffusion

    usual, alphas = diffusion.usual(), diffusion.alphas()

    def loss(model: Any, batch: tuple[Any, ...], step: int) -> Any:
        device = next(model.parameters()).device
        clean, ids, weight, noise, t = (part.to(device) for part in batch[:-1])
        told = {name: tensor.to(device) for name, tensor in batch[-1].items()}
        alpha = alphas.to(device)[t].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        model.looks.maps.clear()
        with torch.autocast(device.type, torch.bfloat16):
            with torch.no_grad():
                text = base.text_encoder(ids).last_hidden_state
            guess = base.unet(noisy, t, text, cross_attention_kwargs={"gligen": told}).sample
        share = weight / weight.mean() * 0.15 / usual.to(device)[t].view(-1, 1, 1, 1)
        value = (share * (guess.float() - noise).square()).mean()
        who, what = told["subject_boxes"], told["object_boxes"]
        boxes = torch.cat([who, interact_diffusion.between(who, what), what], dim=1)
        return value + LOOK * attention.outside(
            model.looks.maps, boxes, told["masks"].repeat(1, len(interact_diffusion.ROLES))
        )

    return loss


def train(work: Path, steps: int, minutes: float | None, device: str) -> training.Run:
    """Train, or go on training; draws and encodes the diffusion miniature's scenes where it has
    not."""
    import numpy
    import torch

    from socialcli import backends
    from socialcli.backends import ModelSpec

    cached = work.parent / "diffusion" / "cache"  # what the UNet learnt from, where it lies there
    cache = latents.everything(
        cached if cached.is_dir() else work / "cache", CHUNKS, cards.folder("vae") / "vae", device,
        training.workers(),
    )  # fmt: skip
    drawn = functools.partial(chunk, work / "placed")
    parts = list(latents.in_order(drawn, range(CHUNKS), training.workers()))
    for name in ("boxes", "words"):
        cache[name] = torch.from_numpy(numpy.concatenate([part[name] for part in parts]))
    base: Any = backends.load(
        ModelSpec("diffusion", "interactdiffusion", str(cards.folder("diffusion")))
    )
    texts = phrases(base)
    model = network(base).train()
    for part in base.networks:
        part.to(device)
    run = training.fit(
        model, batches(cache, texts), losses(base), work, steps, rate=RATE, decay=1e-2, warm=30,
        average=0.99, minutes=minutes,
    )  # fmt: skip
    run.model.unet = [base.unet]  # in a list: what it is made of is no part of the model
    return run


def export(model: Any, folder: Path) -> None:
    """Write gates and position net in fp16, as `train --method interactdiffusion` writes them."""
    from socialcli.networks import interact_diffusion, weights

    tensors = interact_diffusion.tensors_of(model.unet[0])
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: tensor.half() for name, tensor in tensors.items()}
    weights.write(folder / FILE, half, {"trained_on": "socialcli.world"})


def measure(folder: Path) -> dict[str, float]:
    """Whether who does what to what stands where it was asked for, in pictures of test captions.

    ``interactions``: of the interactions, the share for which the published recogniser, shown the
    asked boxes and told what the object is, holds the asked act for likelier than not, and for the
    likeliest with such an object. ``iou``: mean IoU of the asked boxes of subjects and objects with
    the best of those that the published grounder finds for the noun, 0 where it finds none;
    ``boxes``: the share of at least 0.5. ``..._without``: the same of pictures of the same captions
    and noise with the gates closed, ``..._scene`` of the scenes themselves.
    """
    scenes, _, rows = _drawn(folder, TEST)
    asked = [placed(s) for s in scenes]
    figures: dict[str, float] = {}
    shown = (*rows, [s.image for s in scenes])
    for pictures, suffix in zip(shown, ("", "_without", "_scene"), strict=True):
        both = seeing.acts(pictures, asked) | seeing.overlap(pictures, asked)
        figures |= {name + suffix: value for name, value in both.items()}
    return figures | {"asked": sum(map(len, asked)), "pictures": len(scenes)}


def draw(base: Any, texts: Any, prompts: list[str], scenes: list[Any], gate: float) -> list[Any]:
    """One picture a prompt, told the interactions of its scene.

    Args:
        base: with the gates in its UNet. texts: of `phrases`. gate: how far the gates are open.
    """
    import numpy
    import torch

    from socialcli.networks import interact_diffusion

    interact_diffusion.weigh(base.unet, gate)
    boxes = torch.zeros(len(scenes), PLACED, 2, 4)
    words = torch.full((len(scenes), PLACED, 3), -1)
    for row, scene in enumerate(scenes):
        for at, (where, names) in enumerate(placed(scene)):
            boxes[row, at] = torch.from_numpy(numpy.asarray(where))
            words[row, at] = torch.tensor([PHRASES.index(name) for name in names])

    def told(part: slice, count: int) -> dict[str, Any]:
        given = arguments(texts, boxes[part], words[part])
        both = {name: torch.cat([torch.zeros_like(one), one]) for name, one in given.items()}
        return {
            "encoder_hidden_states": base.prompts([""] * count + prompts[part]),
            "cross_attention_kwargs": {"gligen": both},
        }

    return references.sample(base, len(prompts), told)


def _drawn(folder: Path, count: int) -> tuple[list[Any], list[str], list[list[Any]]]:
    """Test scenes with interactions, captions, and pictures drawn with open and closed gates."""
    from socialcli import backends
    from socialcli.backends import ModelSpec

    base: Any = backends.load(
        ModelSpec("diffusion", "interactdiffusion", str(cards.folder("diffusion")))
    )
    base.add(str(folder / FILE))
    texts = phrases(base)
    scenes = [s for s in data.test_scenes(2 * count) if s.relations][:count]
    prompts = [captions(s)[0].text for s in scenes]
    return scenes, prompts, [draw(base, texts, prompts, scenes, gate) for gate in (1.0, 0.0)]


def sheet(folder: Path, file: Path, across: int = 8) -> None:
    """Write a sheet of test captions: the boxes that are asked for in the scene that they are
    taken from, drawn in these, drawn of the words alone."""
    from PIL import ImageDraw

    scenes, texts, rows = _drawn(folder, across)
    marked = []
    for scene in scenes:
        page = scene.image.convert("RGB")
        pen = ImageDraw.Draw(page)
        for boxes, _ in placed(scene):
            for box, colour in zip(boxes * (scene.size - 1), ("red", "blue"), strict=True):
                pen.rectangle([float(v) for v in box], outline=colour)
        marked.append(page)
    sheets.write(file, [marked, *rows], texts, across)
