"""Who does what to whom: logits over verb-object classes for pairs of boxes, from the pixels.

Own network, in the place where CMMP stands in 000_742de2d20f4a0d3a.txt (section 3E) and built as
CMMP and UPT are: a CLIP tower reads the picture, features are cut out for human, object and their
union, a token that knows how the boxes lie reads them, and a verb is scored only where the
object's class allows it. A verb's logit does not depend on the object's name, so that a pair of
verb and object that was never trained together can be scored.

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
from socialcli.models import weights

CONFIG, WEIGHTS, KIND = "config.json", "model.safetensors", "pairwise-interactions"
IMPOSSIBLE = -20.0  # the logit of a class whose object is another one: a probability of 2e-9
GRID = 4  # features cut out of a box: GRID by GRID
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


def cut(features: Tensor, owners: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Features (B, D, h, w) at a ``side`` by ``side`` grid in each box, bilinear: (N, side², D).

    ``owners`` (N,) says from which picture; ``boxes`` (N, 4) are normalised xyxy. As RoIAlign with
    one sample a bin, differentiable in the features.
    """
    at = (torch.arange(side, device=boxes.device, dtype=boxes.dtype) + 0.5) / side
    xs = boxes[:, None, 0] + at * (boxes[:, 2] - boxes[:, 0])[:, None]
    ys = boxes[:, None, 1] + at * (boxes[:, 3] - boxes[:, 1])[:, None]
    grid = torch.stack(
        [xs[:, None, :].expand(-1, side, -1), ys[:, :, None].expand(-1, -1, side)], -1
    )
    found = F.grid_sample(
        features[owners], grid * 2 - 1, padding_mode="border", align_corners=False
    )
    return found.flatten(2).transpose(1, 2)


class Read(nn.Module):
    """One token reads many: cross-attention, then two linear layers, each before a sum."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.think = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, token: Tensor, memory: Tensor) -> Tensor:
        """(N, D) reads (N, T, D) -> (N, D)."""
        count, width = token.shape

        def split(x: Tensor) -> Tensor:
            return x.view(count, -1, self.heads, width // self.heads).transpose(1, 2)

        query = split(self.query(self.before(token)))
        scores = query @ split(self.key(memory)).transpose(-1, -2) / (width // self.heads) ** 0.5
        found = scores.softmax(-1) @ split(self.value(memory))
        token = token + self.out(found.transpose(1, 2).reshape(count, width))
        return token + self.think(self.after(token))


class InteractionNetwork(nn.Module):
    """Verb logits for human-object pairs.

    Args:
        config: ``trunk`` (the fields of a CLIPVisionConfig), ``image_mean``, ``image_std``,
            ``layers`` that read, ``heads``, ``classes`` ({"hoi", "verb", "object", "rare"} each)
            and ``aliases`` (other names of object classes: {"woman": "person"}).
    """

    image_mean: Tensor
    image_std: Tensor
    verb_of: Tensor  # (C,) int64: the verb of each class
    possible: Tensor  # (objects + 1, C) bool: the classes of each object; last row: an unknown one

    def __init__(self, config: dict[str, Any]) -> None:
        from transformers import CLIPVisionConfig, CLIPVisionModel

        super().__init__()
        self.config = config
        self.classes = tuple(Class(**c) for c in config["classes"])
        self.verbs = tuple(dict.fromkeys(c.verb for c in self.classes))
        self.objects = tuple(dict.fromkeys(c.object for c in self.classes))
        shape = CLIPVisionConfig(**config["trunk"])
        width = shape.hidden_size
        self.side: int = shape.image_size  # type: ignore[assignment]
        self.trunk = CLIPVisionModel(shape)
        self.map = nn.Linear(width, width)
        self.lie = nn.Sequential(nn.Linear(FACTS, width), nn.GELU(), nn.Linear(width, width))
        cells = 3 * GRID**2
        self.cells = nn.Parameter(torch.randn(cells, width) * 0.5)
        self.memory = nn.LayerNorm(width)
        self.read = nn.ModuleList(Read(width, config["heads"]) for _ in range(config["layers"]))
        self.last = nn.LayerNorm(width)
        self.verb = nn.Linear(width, len(self.verbs))
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
        """(B, 3, H, W) in [0, 1], any size -> (B, 3, S, S) as the tower wants it; squashed, as
        normalised boxes are. Differentiable."""
        pictures = pictures.to(self.image_mean.device, torch.float32)
        if pictures.shape[-2:] != (self.side, self.side):
            size = (self.side, self.side)
            pictures = F.interpolate(pictures, size, mode="bilinear", antialias=True)
        return (pictures - self.image_mean) / self.image_std

    def features(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) prepared pictures -> (B, patches, D) of the tower's last layer."""
        return self.trunk(pixel_values=pixels.to(self.verb.weight.dtype)).last_hidden_state[:, 1:]

    def forward(self, seen: Tensor, pairs: Sequence[Tensor]) -> Tensor:
        """Verb logits of every pair of every picture, one after the other.

        Args:
            seen: what `features` gave. pairs: per picture (n, 8): human and object box,
                normalised xyxy.

        Returns:
            (N, V) float32.
        """
        side = round(seen.shape[1] ** 0.5)
        maps = self.map(seen).transpose(1, 2).unflatten(2, (side, side))
        counts = torch.tensor([len(p) for p in pairs], device=seen.device)
        owners = torch.repeat_interleave(torch.arange(len(pairs), device=seen.device), counts)
        boxes = torch.cat([p.reshape(-1, 8) for p in pairs]).to(seen.device, torch.float32)
        human, thing = boxes[:, :4], boxes[:, 4:]
        union = torch.cat(
            [torch.minimum(human, thing)[:, :2], torch.maximum(human, thing)[:, 2:]], 1
        )
        cells = [cut(maps, owners, b.to(maps.dtype), GRID) for b in (human, thing, union)]
        memory = self.memory(torch.cat(cells, 1) + self.cells)
        token = self.lie(spatial(boxes).to(memory.dtype))
        for layer in self.read:
            token = layer(token, memory)
        return self.verb(self.last(token)).float()

    def object_rows(self, names: Sequence[str]) -> Tensor:
        """(n,) int64: which object class each name means; the number of classes for none.

        A name may be a phrase ("a red ball"): its first word that names a class counts.
        """
        aliases = self.config.get("aliases", {})
        rows = []
        for name in names:
            words = name.lower().replace("_", " ").split()
            known = (aliases.get(word, word) for word in (" ".join(words), *words))
            found = next((word for word in known if word in self.objects), None)
            rows.append(len(self.objects) if found is None else self.objects.index(found))
        return torch.tensor(rows, dtype=torch.int64, device=self.verb_of.device)

    def class_logits(self, verbs: Tensor, objects: Tensor) -> Tensor:
        """(N, V) verb logits and (N,) `object_rows` -> (N, C); `IMPOSSIBLE` for other objects."""
        return verbs[:, self.verb_of].masked_fill(~self.possible[objects], IMPOSSIBLE)


def save(network: InteractionNetwork, folder: Path) -> None:
    """Write ``config.json`` and half-precision ``model.safetensors``."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    body = {"model_type": KIND, **network.config}
    (folder / CONFIG).write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    state = {k: v.detach().half().cpu().contiguous() for k, v in network.state_dict().items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


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
