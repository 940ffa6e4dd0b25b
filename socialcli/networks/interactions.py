"""Who does what to whom: logits over verb-object classes for pairs of boxes, from the pixels.

Own network, in the place where CMMP stands in Social Context Feedback (section 3E). Around each
human-object pair a square window is cut out of the picture, with two more channels that say where
the human and the object are; a small residual network and the geometry of the boxes (as UPT
encodes it) give one logit a verb. As in CMMP a verb counts only where the object's class allows
it; it does not depend on the object's name otherwise, so that a pair of verb and object that was
never trained together can be scored.

On disk: ``config.json`` (the shape and the table of classes) and ``model.safetensors``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from socialcli.errors import ModelMissing, UsageError
from socialcli.networks import weights

CONFIG, WEIGHTS, KIND = "config.json", "model.safetensors", "pairwise-interactions"
IMPOSSIBLE = -20.0  # the logit of a class whose object is another one: a probability of 2e-9
ROOM = 1.2  # side of the window over the larger side of the boxes' union
FACTS = 20  # numbers that say how two boxes lie


@dataclass(frozen=True)
class Class:
    """One verb-object class; ``hoi`` is the data set's own number."""

    hoi: int
    verb: str
    object: str
    rare: bool


def spatial(pairs: Tensor) -> Tensor:
    """(N, 8) human and object box, normalised xyxy -> (N, 20): places, sizes, relations."""
    human, thing = pairs[:, :4], pairs[:, 4:]
    size_h = (human[:, 2:] - human[:, :2]).clamp(min=1e-3)
    size_o = (thing[:, 2:] - thing[:, :2]).clamp(min=1e-3)
    mid_h, mid_o = (human[:, :2] + human[:, 2:]) / 2, (thing[:, :2] + thing[:, 2:]) / 2
    apart = (mid_o - mid_h) / size_h
    low, high = torch.maximum(human[:, :2], thing[:, :2]), torch.minimum(human[:, 2:], thing[:, 2:])
    common = (high - low).clamp(min=0).prod(1, keepdim=True)
    area_h, area_o = size_h.prod(1, keepdim=True), size_o.prod(1, keepdim=True)
    facts = [
        mid_h, mid_o, size_h, size_o, apart, apart.abs(), (size_o / size_h).log(),
        common / area_h, common / area_o, common / (area_h + area_o - common),
        (thing[:, 1:2] - human[:, 1:2]) / size_h[:, 1:],
        (thing[:, 3:] - human[:, 3:]) / size_h[:, 1:],
        (size_o[:, :1] / size_o[:, 1:]).log(),
    ]  # fmt: skip
    return torch.cat(facts, 1)


def windows(pairs: Tensor) -> Tensor:
    """(N, 8) boxes -> (N, 3): middle x, y and side of the square around both, with `ROOM`."""
    low = torch.minimum(pairs[:, :2], pairs[:, 4:6])
    high = torch.maximum(pairs[:, 2:4], pairs[:, 6:])
    side = ((high - low).amax(1, keepdim=True) * ROOM).clamp(min=0.05)
    return torch.cat([(low + high) / 2, side], 1)


def cut(pictures: Tensor, owners: Tensor, pairs: Tensor, side: int) -> Tensor:
    """The window of every pair with the places of both: (N, 5, side, side).

    Args:
        pictures: (B, 3, h, w). owners: (N,) whose pair it is. pairs: (N, 8), normalised xyxy.

    Returns:
        The picture (bilinear, 0 outside, differentiable), then 1 inside the human's box and 0
        elsewhere, then the same for the object's.
    """
    at = (torch.arange(side, device=pairs.device, dtype=pairs.dtype) + 0.5) / side - 0.5
    middle = windows(pairs)
    xs = (middle[:, :1] + at * middle[:, 2:])[:, None, :].expand(-1, side, -1)
    ys = (middle[:, 1:2] + at * middle[:, 2:])[:, :, None].expand(-1, -1, side)
    grid = torch.stack([xs, ys], -1) * 2 - 1
    seen = F.grid_sample(pictures[owners], grid.to(pictures.dtype), align_corners=False)
    inside = [
        (xs >= box[:, 0, None, None]) & (ys >= box[:, 1, None, None])
        & (xs <= box[:, 2, None, None]) & (ys <= box[:, 3, None, None])
        for box in (pairs[:, :4], pairs[:, 4:])
    ]  # fmt: skip
    return torch.cat([seen, torch.stack(inside, 1).to(seen.dtype)], 1)


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; ``stride`` 2 halves the map."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        seen: Tensor = self.body(x)  # in place: no gradient needs what a batch norm gave
        seen += self.skip(x)
        return seen.relu_()


class InteractionNetwork(nn.Module):
    """Verb logits for human-object pairs.

    Args:
        config: ``image_size`` S to which pictures are brought, ``window`` in pixels, ``widths`` of
            the residual network's levels, ``image_mean``, ``image_std``, ``classes`` ({"hoi",
            "verb", "object", "rare"} each) and ``aliases`` (other names of object classes:
            {"woman": "person"}).
    """

    image_mean: Tensor
    image_std: Tensor
    verb_of: Tensor  # (C,) int64: the verb of each class
    possible: Tensor  # (objects + 1, C) bool: the classes of each object; last row: an unknown one

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.classes = tuple(Class(**c) for c in config["classes"])
        self.verbs = tuple(dict.fromkeys(c.verb for c in self.classes))
        self.objects = tuple(dict.fromkeys(c.object for c in self.classes))
        self.side, self.window = int(config["image_size"]), int(config["window"])
        first, *more = config["widths"]
        levels: list[nn.Module] = [
            nn.Conv2d(5, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first),
            nn.ReLU(inplace=True), Block(first, first, 1),
        ]  # fmt: skip
        for before, width in zip(config["widths"], more, strict=False):
            levels += [Block(before, width, 2), Block(width, width, 1)]
        self.trunk = nn.Sequential(*levels)
        last = config["widths"][-1]
        self.lie = nn.Sequential(nn.Linear(FACTS, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.think = nn.Sequential(nn.Linear(last + 64, 2 * last), nn.ReLU())
        self.verb = nn.Linear(2 * last, len(self.verbs))
        for name in ("image_mean", "image_std"):
            values = torch.tensor(config[name]).view(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)
        verb_of = [self.verbs.index(c.verb) for c in self.classes]
        self.register_buffer("verb_of", torch.tensor(verb_of), persistent=False)
        table = torch.zeros(len(self.objects) + 1, len(self.classes), dtype=torch.bool)
        for number, one in enumerate(self.classes):
            table[self.objects.index(one.object), number] = True
        self.register_buffer("possible", table, persistent=False)

    def prepared(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], any size -> (B, 3, S, S), normalised; squashed, as normalised
        boxes are. Differentiable."""
        pictures = pictures.to(self.image_mean.device, torch.float32)
        if pictures.shape[-2:] != (self.side, self.side):
            size = (self.side, self.side)
            pictures = F.interpolate(pictures, size, mode="bilinear", antialias=True)
        return (pictures - self.image_mean) / self.image_std

    def forward(self, pictures: Tensor, pairs: Sequence[Tensor]) -> Tensor:
        """Verb logits of every pair of every picture, one after the other.

        Args:
            pictures: (B, 3, S, S), `prepared`. pairs: per picture (n, 8): human and object box,
                normalised xyxy.

        Returns:
            (N, V) float32.
        """
        counts = torch.tensor([len(p) for p in pairs], device=pictures.device)
        owners = torch.repeat_interleave(torch.arange(len(pairs), device=pictures.device), counts)
        boxes = torch.cat([p.reshape(-1, 8) for p in pairs]).to(pictures.device, torch.float32)
        return self.judge(cut(pictures, owners, boxes, self.window), boxes)

    def judge(self, seen: Tensor, boxes: Tensor) -> Tensor:
        """(N, 5, window, window) from `cut` and their (N, 8) boxes -> (N, V) verb logits."""
        seen = seen.contiguous(memory_format=torch.channels_last)
        features = self.trunk(seen).mean((2, 3))
        return self.verb(self.think(torch.cat([features, self.lie(spatial(boxes))], 1))).float()

    def object_rows(self, names: Sequence[str]) -> Tensor:
        """(n,) int64: which object class each name means; the number of classes for none.

        A name may be a phrase ("a red ball"): its first word that names a class counts.
        """
        aliases = self.config.get("aliases", {})
        rows = []
        for name in names:
            words = name.lower().replace("_", " ").split()
            known = (aliases.get(word, word) for word in (" ".join(words), *words))
            index = next((word for word in known if word in self.objects), None)
            rows.append(len(self.objects) if index is None else self.objects.index(index))
        return torch.tensor(rows, dtype=torch.int64, device=self.verb_of.device)

    def class_logits(self, verbs: Tensor, objects: Tensor) -> Tensor:
        """(N, V) verb logits and (N,) `object_rows` -> (N, C); `IMPOSSIBLE` for other objects."""
        return verbs[:, self.verb_of].masked_fill(~self.possible[objects], IMPOSSIBLE)


def save(network: InteractionNetwork, folder: Path) -> None:
    """Write ``config.json`` and half-precision ``model.safetensors``."""
    folder.mkdir(parents=True, exist_ok=True)
    body = {"model_type": KIND, **network.config}
    (folder / CONFIG).write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    state = {
        k: (v.half() if v.is_floating_point() else v).cpu().contiguous()
        for k, v in network.state_dict().items()
    }
    weights.write(folder / WEIGHTS, state, {"format": "pt"})


def load(folder: str | Path, get: str) -> InteractionNetwork:
    """The network in a folder that `save` wrote; float32, eval mode.

    Raises:
        ModelMissing: there is no such folder. UsageError: it holds something else.
    """
    folder = Path(folder).expanduser()
    if not (folder / CONFIG).is_file():
        raise ModelMissing(f"no interaction recogniser at '{folder}'. Get it with: {get}")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if config.pop("model_type", None) != KIND:
            raise UsageError(f"{folder}: not an interaction recogniser (model_type is not {KIND})")
        network = InteractionNetwork(config)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder}/{CONFIG}: not a recogniser's configuration ({error})") from None
    state = weights.read(folder / WEIGHTS, "interaction recogniser", get)
    weights.fill(network, state, folder / WEIGHTS, "interaction recogniser's")
    return network
