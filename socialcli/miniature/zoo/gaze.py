"""Sharingan in miniature: where each person of the world looks, and in which direction.

The official network and checkpoint layout with a small transformer, head encoder and decoder, and
the original's losses: heat map, direction, in-picture score. Head crops of 224 pixels and maps of
112 cost far more than the transformer between them, so the head encoder learns the direction first
and is then left as it is, and the transformer learns mostly from two cheap heads of its own that
are not published: the person's token must find the patch that is looked at, and the picture's
tokens must say what they show.
"""

from __future__ import annotations

import functools
import math
import random
from pathlib import Path
from typing import Any

from socialcli.miniature.world.vocabulary import ANIMALS, THINGS
from socialcli.miniature.zoo import data, training

STEPS, BATCH, RATE = 1400, 32, 1.5e-3
HEAD_STEPS, HEAD_RATE = 400, 4e-3  # the head encoder's own run, before the rest
DECODED = (8, 24)  # pictures of a step that the decoder sees, in the first and the second half
TEST = 400
TOKEN, DEPTH, FEATURES = 128, 4, 128
HEAD_WIDTH, DECODER_WIDTH, DECODER_HIDDEN = 8, 16, (16, 16, 32, 32)
SIGMA = 3.0  # of the target's bump, heat map cells: the original's
CROWD = (0.25, 0.40, 0.28, 0.07)  # share of steps with 1, 2, 3 and 4 people a picture
LOOKED_THROUGH = 400  # scenes planned a step to find BATCH with as many people
FILE = "sharingan.pt"
FILES = (FILE,)
SHOWN = ("", "person", "face", *THINGS, *ANIMALS)  # what a patch may show
SIDE = 14  # patches a side


def network() -> Any:
    """The Sharingan network and its training heads, seeded."""
    import torch
    from torch import nn

    from socialcli.networks.sharingan import Sharingan

    torch.manual_seed(0)

    class Trained(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gaze = quick(
                Sharingan(
                    TOKEN, DEPTH, TOKEN // 64, FEATURES, HEAD_WIDTH, DECODER_WIDTH, DECODER_HIDDEN
                )
            )
            where = self.gaze.gaze_encoder.pos_proj  # so that near places get unlike tokens
            nn.init.normal_(where.weight, std=2.0)
            with torch.no_grad():
                where.bias.copy_(where.weight.sum(1) * -0.5)
            self.asks = nn.Linear(TOKEN, TOKEN)
            self.answers = nn.Linear(TOKEN, TOKEN)
            self.shows = nn.Linear(TOKEN, len(SHOWN))

    return Trained()


def quick(model: Any) -> Any:
    """Let two layers compute the same by other operations, for training in bfloat16 on CPUs.

    There torch 2.13 is slow in the backward of fused attention, and in that of a strided 1x1
    convolution it writes past its buffer. Names, weights and results stay.
    """
    from torch import nn
    from torch.nn import functional

    from socialcli.networks.sharingan import Attention

    def attend(layer: Any, x: Any) -> Any:
        q, k, v = layer.qkv(x).unflatten(-1, (3, layer.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        return layer.proj((weights.softmax(-1).to(v.dtype) @ v).transpose(1, 2).flatten(2))

    def strided(layer: Any, x: Any) -> Any:
        down, along = layer.stride
        return functional.conv2d(x[:, :, ::down, ::along], layer.weight, layer.bias)

    for layer in model.modules():
        if isinstance(layer, Attention):
            layer.forward = functools.partial(attend, layer)  # type: ignore[method-assign]
        elif isinstance(layer, nn.Conv2d) and (layer.kernel_size, layer.stride) == ((1, 1), (2, 2)):
            layer.forward = functools.partial(strided, layer)  # type: ignore[method-assign]
    return model


def crops(pictures: Any, squares: Any, owners: Any) -> Any:
    """Head crops as the backend's Pillow makes them, on whole pictures at once.

    Args:
        pictures: (B, 3, H, W). squares: (N, 4) in pixels, may leave the picture.
        owners: (N,) which picture a square belongs to.

    Returns:
        (N, 3, 224, 224): squares cut at whole pixels, black outside the picture, bilinear.
    """
    import torch
    from torch.nn import functional

    from socialcli.networks.sharingan import SIZE

    high, wide = pictures.shape[-2:]
    low, end = squares[:, :2].trunc(), squares[:, 2:].trunc()
    sides = (end - low).clamp(min=1)
    steps = (torch.arange(SIZE, device=squares.device) + 0.5) / SIZE
    at = steps * sides[..., None] - 0.5  # (N, 2, 224): inside the crop, its edge pixels repeated
    at = torch.minimum(at.clamp(min=0), sides[..., None] - 1) + low[..., None]
    x = (2 * at[:, 0] / (wide - 1) - 1)[:, None, :].expand(-1, SIZE, -1)
    y = (2 * at[:, 1] / (high - 1) - 1)[:, :, None].expand(-1, -1, SIZE)
    return functional.grid_sample(pictures[owners], torch.stack([x, y], -1), align_corners=True)


def shown(scene: Any) -> Any:
    """(196, number of `SHOWN`) bool: what covers a tenth of a patch, from the ground truth."""
    import numpy

    table = numpy.zeros(256, numpy.int64)
    for person in scene.people:
        table[person.id] = SHOWN.index("person")
    for thing in scene.things:
        table[thing.id] = SHOWN.index(thing.look.kind)
    kinds = table[scene.instances]
    for person in scene.people:
        if person.face is not None:
            x0, y0, x1, y1 = (int(v) for v in person.face)
            own = scene.instances[y0:y1, x0:x1] == person.id
            kinds[y0:y1, x0:x1][own] = SHOWN.index("face")
    side = numpy.arange(scene.size) * SIDE // scene.size
    patch = side[:, None] * SIDE + side[None]
    counts = numpy.bincount((patch * len(SHOWN) + kinds).ravel(), minlength=SIDE**2 * len(SHOWN))
    return counts.reshape(SIDE**2, -1) >= (scene.size / SIDE) ** 2 / 10


def _scenes(step: int, rng: random.Random) -> list[tuple[Any, list[Any]]]:
    """Scenes and the people that count, as many in each; now and then one goes unseen."""
    from socialcli.miniature.world.planning import plan
    from socialcli.miniature.world.scenes import paint

    people = rng.choices((1, 2, 3, 4), CROWD)[0]
    chosen_scenes: list[tuple[Any, list[Any]]] = []
    for index in range(step * LOOKED_THROUGH, (step + 1) * LOOKED_THROUGH):
        planned = plan(data.TRAIN_SEED, index, "train")
        if sum(len(p.who) for p in planned.placed) not in (people, people + 1):
            continue
        if sum(len(p.who) for p in planned.placed) > people and rng.random() < 0.9:
            continue
        scene = paint(planned, data.SIZE)
        if len(scene.people) >= people:
            chosen_scenes.append((scene, rng.sample(scene.people, people)))
        if len(chosen_scenes) == BATCH:
            break
    return chosen_scenes


def _heads(rows: list[tuple[Any, list[Any]]], rng: random.Random) -> tuple[Any, ...]:
    """Pictures, head crops (N, 3, 224, 224), both normalised; the crops' squares in pixels."""
    import torch

    from socialcli.networks import gaze_geometry

    heads = []
    for _, people in rows:
        for person in people:
            x0, y0, x1, y1 = person.head
            w, h = (x1 - x0) * 0.06, (y1 - y0) * 0.06
            heads.append([x0 + rng.uniform(-w, w), y0 + rng.uniform(-h, h),
                          x1 + rng.uniform(-w, w), y1 + rng.uniform(-h, h)])  # fmt: skip
    raw = data.pixels([scene for scene, _ in rows], (gaze_geometry.MEAN, gaze_geometry.STD))
    black = gaze_geometry.normalise(torch.zeros(3, 1, 1))
    normal = (torch.tensor(heads) / data.SIZE).clamp(0, 1)
    squares = gaze_geometry.head_squares(normal, data.SIZE, data.SIZE)
    owners = torch.tensor([i for i, (_, people) in enumerate(rows) for _ in people])
    cut = crops(raw - black, squares, owners) + black
    return raw, cut.to(torch.bfloat16, memory_format=torch.channels_last), squares


def _head_batch(step: int) -> tuple[Any, ...]:
    """Head crops and true directions, about two a scene."""
    import torch

    rows = [(scene, scene.people) for scene in data.train_scenes(step, BATCH)]
    _, cut, _ = _heads(rows, random.Random(f"heads {step}"))
    return cut, torch.tensor([p.gaze_vector for _, people in rows for p in people])


def _head_loss(encoder: Any, batch: tuple[Any, ...], step: int) -> Any:
    import torch
    from torch.nn import functional

    device = next(encoder.parameters()).device
    cut, vectors = (part.to(device) for part in batch)
    with torch.autocast(device.type, torch.bfloat16):
        seen = encoder.backbone(cut).flatten(1)
        predicted = encoder.gaze_predictor(seen)
    # The chord, not its square: near the truth a degree still counts as a degree.
    cosine = (functional.normalize(predicted.float(), dim=-1) * vectors).sum(-1)
    return (2 - 2 * cosine + 1e-4).sqrt().mean()


def _batch(step: int) -> tuple[Any, ...]:
    """Picture, head crops, head squares, target points, what patches show, one person a picture.

    Points are normalised, -1 where the target is out of the picture.
    """
    import numpy
    import torch
    from torch.nn import functional

    from socialcli.networks import sharingan

    rng = random.Random(f"gaze {step}")
    rows = _scenes(step, rng)
    many = len(rows[0][1])
    raw, cut, squares = _heads(rows, rng)
    points = [
        [(v / data.SIZE for v in p.gaze) if p.gaze else (-1.0, -1.0) for p in people]
        for _, people in rows
    ]
    whole = functional.interpolate(
        raw, size=(sharingan.SIZE, sharingan.SIZE), mode="bilinear", align_corners=False
    )
    return (
        whole.to(torch.bfloat16, memory_format=torch.channels_last),
        cut.unflatten(0, (-1, many)),
        (squares / data.SIZE).clamp(0, 1).unflatten(0, (-1, many)),
        torch.tensor([[tuple(p) for p in row] for row in points]),
        torch.from_numpy(numpy.stack([shown(scene) for scene, _ in rows])).float(),
        torch.tensor([rng.randrange(many) for _ in rows]),
    )


def bumps(points: Any, side: int, sigma: float, half: float = 0.0) -> Any:
    """(..., 2) normalised points -> (..., side, side) Gaussians of height 1 about index x * side.

    ``half`` is where in a cell its coordinate lies: 0 as in heat maps, 0.5 in the middle.
    """
    import torch

    cells = torch.arange(side, device=points.device) + half
    x, y = (points * side)[..., 0, None] - cells, (points * side)[..., 1, None] - cells
    return torch.exp(-(x[..., None, :] ** 2 + y[..., :, None] ** 2) / (2 * sigma**2))


def _loss(model: Any, batch: tuple[Any, ...], step: int) -> Any:
    import torch
    from torch.nn import functional

    device = next(model.parameters()).device
    image, heads, boxes, points, patches, chosen = (part.to(device) for part in batch)
    gaze, many = model.gaze, heads.shape[1]
    # The decoder works person by person: one person in some of the pictures has to do.
    some = torch.arange(min(len(image), DECODED[step >= STEPS / 2]), device=device)
    chosen = chosen[some]
    with torch.autocast(device.type, torch.bfloat16):
        persons, _ = gaze.gaze_encoder(heads, boxes)
        layers = gaze.encoder(torch.cat([gaze.image_tokenizer(image), persons], 1))
        last, own = layers[-1].split([SIDE**2, many], 1)
        one = [
            torch.cat([x[some, : SIDE**2], x[some, SIDE**2 + chosen][:, None]], 1) for x in layers
        ]
        heat = gaze.heatmap_decoder(one, 1)[:, 0].float()
        inside = gaze.inout_decoder(torch.cat([own, persons], -1).flatten(0, 1)).float()
        asked = (model.asks(own) @ model.answers(last).transpose(1, 2)).float() / TOKEN**0.5
        content = model.shows(last).float()
    within = points[..., 0] >= 0
    goal = bumps(points, SIDE, 0.6, 0.5).flatten(2)
    goal = goal / goal.sum(-1, keepdim=True).clamp(min=1e-6)
    seek = -(goal * asked.log_softmax(-1)).sum(-1)
    target_maps = within[some, chosen]
    wrong = ((heat - bumps(points[some, chosen], heat.shape[-1], SIGMA)) ** 2).sum((-1, -2))
    weight = torch.where(patches > 0, 4.0, 1.0)
    named = functional.binary_cross_entropy_with_logits(content, patches, weight)
    return (
        2 * (wrong * target_maps).sum() / target_maps.sum().clamp(min=1) / (math.pi * SIGMA**2)
        + 0.5 * (seek * within).sum() / within.sum().clamp(min=1)
        + 0.3 * functional.binary_cross_entropy_with_logits(inside, within.flatten().float())
        + 2 * named
    )


def train(work: Path, steps: int, minutes: float | None, device: str) -> training.Run:
    """Train, or go on training: first the head encoder, then the rest with it frozen."""
    import torch

    model = network().to(device).to(memory_format=torch.channels_last).train()
    encoder = model.gaze.gaze_encoder
    first = training.fit(
        encoder, _head_batch, _head_loss, work / "heads", HEAD_STEPS,
        rate=HEAD_RATE, warm=50, average=0.99, minutes=minutes,
    )  # fmt: skip
    if first.finished:
        encoder.backbone.requires_grad_(False)
        encoder.gaze_predictor.requires_grad_(False)
        run = training.fit(
            model, _batch, _loss, work, steps,
            rate=RATE, decay=1e-2, warm=100, average=0.995, minutes=minutes,
        )  # fmt: skip
    else:
        run = first
    run.model = model.gaze
    run.seconds += first.seconds if run is not first else 0
    return run


def export(model: Any, folder: Path) -> None:
    """Write the checkpoint as Lightning lays it out: fp16 tensors under ``model.``, no objects."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    state = {
        f"model.{name}": (v.half() if v.is_floating_point() else v).contiguous().cpu()
        for name, v in model.state_dict().items()
    }
    torch.save({"state_dict": state}, folder / FILE)


def measure(folder: Path) -> dict[str, float]:
    """Gaze of the test split's people from true head boxes, through the backend.

    ``point_in_box``: share of the people who look at something visible whose predicted point lies
    in its box (or in a person's, where that is looked at). ``median_degrees``: angle between the
    predicted and the true direction, over everybody. ``inside_right``: whether the target lies in
    the picture, over everybody.
    """
    import statistics

    from socialcli import backends
    from socialcli.backends import ModelSpec

    estimator = backends.load(ModelSpec("gaze", "sharingan", str(folder / FILE)))
    scenes = data.test_scenes(TEST)
    heads: list[Any] = [[tuple(v / s.size for v in p.head) for p in s.people] for s in scenes]
    estimates = estimator.gaze([s.image for s in scenes], heads)
    hits, angles, agree = [], [], []
    for scene, gazes in zip(scenes, estimates, strict=True):
        boxes = {other.id: other.box for other in scene.everything}
        for person, gaze in zip(scene.people, gazes, strict=True):
            cosine = sum(a * b for a, b in zip(gaze.vector, person.gaze_vector, strict=True))
            angles.append(math.degrees(math.acos(max(-1.0, min(1.0, cosine)))))
            agree.append(gaze.inside == (person.gaze is not None))
            if person.gaze_at is not None:
                x0, y0, x1, y1 = boxes[person.gaze_at]
                x, y = (v * scene.size for v in gaze.point)
                hits.append(x0 <= x <= x1 and y0 <= y <= y1)
    return {
        "point_in_box": round(statistics.mean(hits), 4),
        "median_degrees": round(statistics.median(angles), 2),
        "inside_right": round(statistics.mean(agree), 4),
        "people": len(angles),
    }
