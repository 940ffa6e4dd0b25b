"""CMMP: verbs between the people and things that a detector finds, from CLIP with adapters.

Own implementation (Lei et al., "Exploring Conditional Multi-Modal Prompts for Zero-shot HOI
Detection", ECCV 2024) with the parameter names of the official HICO-DET checkpoints: DETR finds
people and things, each becomes a prior that the adapters of CLIP's tower read, and the features
under the person, the thing and both are compared with the verbs' sentences. Everything that DETR
finds is read without gradient; what the tower sees is differentiable in the picture.

Boxes are normalised xyxy here. The authors measure them in pixels of the picture that CLIP sees,
which is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from socialcli.errors import UsageError
from socialcli.networks import cmmp_clip, detr, weights
from socialcli.networks.roi_align import roi_align

MEAN = (0.485, 0.456, 0.406)  # of both pictures, CLIP's too
STD = (0.229, 0.224, 0.225)
SHORTER, LONGER = 800, 1333  # sides of the picture that DETR sees
LEAST_SCORE, OVERLAP = 0.2, 0.5  # of a detection; IoU from which the weaker of two boxes goes
FEWEST, MOST = 3, 15  # people, and things, that are looked at
POWER = 2.8  # of the detections' scores when pairs are ranked; 1 in training
CELLS = 7  # along each side of a box, of whose features the mean is taken
PERSON = 0  # number of the class
VERBS, OBJECTS = 117, 80

MEND = (
    "wanted is a checkpoint of CMMP for HICO-DET with 117 verbs, as scripts/hico_default.sh of "
    "github.com/ltttpku/CMMP trains it (--use_insadapter --prompt_learning, prior method 6)"
)


class Detections(NamedTuple):
    """What DETR sees in one picture: boxes (n, 4), scores (n,), classes (n,); people first."""

    boxes: Tensor
    scores: Tensor
    classes: Tensor

    @property
    def people(self) -> int:
        return int((self.classes == PERSON).sum())


class Fusion(nn.Module):
    """The layer in which the picture's priors read the general ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, 1)
        self.multihead_attn = nn.MultiheadAttention(width, 1)
        self.linear1, self.linear2 = nn.Linear(width, width), nn.Linear(width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, x: Tensor, general: Tensor, without: Tensor) -> Tensor:
        """(L, B, width) and (G, B, width); ``without`` (B, L) marks what is padding."""
        seen = self.self_attn(x, x, x, key_padding_mask=without, need_weights=False)[0]
        x = self.norm1(x + seen)
        x = self.norm2(x + self.multihead_attn(x, general, general, need_weights=False)[0])
        return self.norm3(x + self.linear2(torch.relu(self.linear1(x))))


class Shapes(NamedTuple):
    """Sizes that a checkpoint has; ``general`` is how many general priors there are and how wide,
    ``inner`` the widths inside of the two small networks that make priors."""

    detector: detr.Sizes
    vision: cmmp_clip.TowerSizes
    text: cmmp_clip.TextSizes
    prompts: tuple[tuple[int, ...], ...]
    general: tuple[int, int]
    inner: tuple[int, int]


class CMMP(nn.Module):
    """The whole network in eval mode.

    Args:
        shapes: of a checkpoint. valid: (objects, verbs) bool: which verbs an object allows.
        names: tokens of "a photo of a ..." for each object class.
    """

    valid: Tensor
    verbs: Tensor  # (verbs, D), the sentences
    objects: Tensor  # (objects, D), the names
    adapter_H_weight: Tensor
    adapter_O_weight: Tensor
    logit_scale_H: Tensor
    logit_scale_O: Tensor

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        width, output = shapes.vision.bottleneck, shapes.vision.output
        self.detector = detr.DETR(shapes.detector)
        prompts = cmmp_clip.Prompts(*shapes.prompts)
        self.clip_head = cmmp_clip.Clip(shapes.vision, shapes.text, prompts)
        for side in "HO":  # of the person, of the object
            setattr(self, f"adapter_{side}_weight", nn.Parameter(torch.zeros(output, output)))
            # In the checkpoints, but no part of the logits.
            setattr(self, f"adapter_{side}_bias", nn.Parameter(torch.zeros(VERBS)))
            setattr(self, f"logit_scale_{side}", nn.Parameter(torch.zeros(())))
        self.logit_scale_text = nn.Parameter(torch.zeros(()))
        one, two = shapes.inner
        self.priors_downproj = detr.MLP(output + 5, one, one, width)
        self.global_prior = nn.Parameter(torch.zeros(*shapes.general))
        self.priors_downproj_global = detr.MLP(shapes.general[1], two, two, width)
        self.fusion_attn = Fusion(width)

    def know(self, valid: Tensor, names: Sequence[Sequence[int]]) -> CMMP:
        """Tell it the objects: which verbs each allows (objects, verbs), and the tokens of the text
        that names it. Texts are computed once, here."""
        device = self.global_prior.device
        with torch.no_grad():
            verbs, objects = self.clip_head.verbs(), self.clip_head.text_encoder.texts(names)
        for name, value in (("valid", valid), ("verbs", verbs), ("objects", objects)):
            self.register_buffer(name, value.to(device), persistent=False)
        return self

    @torch.no_grad()
    def find(self, pictures: Tensor) -> list[Detections]:
        """People and things of (B, 3, H, W) pictures, as `for_detector` makes them."""
        logits, boxes = self.detector(pictures)
        scores, classes = logits.float().softmax(-1)[..., :-1].max(-1)
        every = zip(boxes.float(), scores, classes, strict=True)
        return [Detections(*(value[chosen(*one)] for value in one)) for one in every]

    def look(self, pictures: Tensor, detections: Sequence[Detections]) -> Tensor:
        """The tower's map (B, D, grid, grid) of (B, 3, side, side) pictures, differentiable."""
        content, without = self.priors(detections)
        return self.clip_head.image_encoder(pictures, (content.to(pictures.dtype), without))

    def priors(self, detections: Sequence[Detections]) -> cmmp_clip.Priors:
        """(B, L, width) of what was detected, and (B, L) bool where a picture has fewer."""
        facts = [
            torch.cat([one.scores[:, None], one.boxes, self.objects[one.classes]], 1)
            for one in detections
        ]
        counts = torch.tensor([len(one) for one in facts], device=self.global_prior.device)
        padded = nn.utils.rnn.pad_sequence(facts, batch_first=True).to(self.global_prior.dtype)
        places = torch.arange(padded.shape[1], device=counts.device)
        without = places >= counts[:, None]
        own = self.priors_downproj(padded).transpose(0, 1)
        general = self.priors_downproj_global(self.global_prior)[:, None]
        general = general.expand(-1, len(detections), -1)
        return self.fusion_attn(own, general, without).transpose(0, 1), without

    def judge(self, features: Tensor, pairs: Tensor) -> Tensor:
        """(D, grid, grid) features and (P, 2, 4) boxes of people and things -> (P, verbs) logits,
        differentiable in the features."""
        if not len(pairs):
            return features.new_zeros(0, len(self.verbs))
        both = torch.cat(
            [torch.minimum(pairs[:, 0], pairs[:, 1])[:, :2],
             torch.maximum(pairs[:, 0], pairs[:, 1])[:, 2:]], 1,
        )  # fmt: skip
        boxes, where = torch.unique(torch.cat([*pairs.unbind(1), both]), dim=0, return_inverse=True)
        seen = roi_align(features, boxes, CELLS, features.shape[-1]).mean((2, 3))
        human, thing, union = F.normalize(seen, dim=-1)[where].chunk(3)
        return (
            human @ self.adapter_H_weight @ self.verbs.T * self.logit_scale_H
            + thing @ self.adapter_O_weight @ self.verbs.T * self.logit_scale_O
            + union @ self.verbs.T * self.logit_scale_text
        )

    def prior(self, detections: Detections, pairs: Tensor, power: float = 1.0) -> Tensor:
        """(P, verbs) of (P, 2) `pairs`: the product of both scores for the verbs that the thing
        allows, else 0."""
        scores = detections.scores[pairs].pow(power).prod(1)
        return self.valid[detections.classes[pairs[:, 1]]] * scores[:, None]

    def for_detector(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> what DETR sees: the shorter side `SHORTER`, bicubic."""
        height, width = detector_size(*rgb.shape[-2:])
        return F.interpolate(rgb, (height, width), mode="bicubic", antialias=True).clamp(0, 1)

    def for_tower(self, rgb: Tensor) -> Tensor:
        """What `for_detector` made -> what CLIP's tower sees: a square, squashed; normalised."""
        side = self.clip_head.image_encoder.side
        small = F.interpolate(rgb, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        return normalised(small)


def normalised(rgb: Tensor) -> Tensor:
    """(..., 3, H, W) in [0, 1] by ImageNet's mean and deviation."""
    mean, std = (rgb.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    return (rgb - mean) / std


def detector_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the picture that DETR sees: the shorter side 800, the longer at most
    1333, fractions of a pixel cut off."""
    short, long = min(height, width), max(height, width)
    size = SHORTER if long / short * SHORTER <= LONGER else round(LONGER * short / long)
    if width < height:
        return int(size * height / width), size
    return size, int(size * width / height)


def chosen(boxes: Tensor, scores: Tensor, classes: Tensor) -> Tensor:
    """Which of a picture's queries are looked at, people first: of boxes of one class that overlap
    by more than half the surer, of these the people and the things that are sure enough; the three
    surest where there are fewer, the fifteen surest where there are more."""
    order = scores.argsort(descending=True, stable=True)
    kept: list[int] = []
    overlaps = iou(boxes, boxes) * (classes[:, None] == classes)
    for query in order.tolist():
        if not kept or float(overlaps[query, kept].max()) <= OVERLAP:
            kept.append(query)
    surest = torch.tensor(kept, device=scores.device)
    parts = []
    for group in (surest[classes[surest] == PERSON], surest[classes[surest] != PERSON]):
        sure = int((scores[group] >= LEAST_SCORE).sum())
        parts.append(group[: min(max(sure, FEWEST), MOST)])
    return torch.cat(parts)


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every pair of (N, 4) and (M, 4) boxes: (N, M)."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    areas = [(b[:, 2:] - b[:, :2]).prod(-1) for b in (first, second)]
    return common / (areas[0][:, None] + areas[1] - common).clamp(min=1e-12)


def all_pairs(detections: Detections) -> Tensor:
    """(P, 2): each person with everything else that was detected, people too."""
    count = len(detections.boxes)
    number = torch.arange(count, device=detections.boxes.device)
    people, things = torch.meshgrid(number, number, indexing="ij")
    return torch.nonzero((people != things) & (people < detections.people))


def load(path: str | Path, get: str = "") -> CMMP:
    """The network of an official checkpoint, float32, eval mode; `CMMP.know` makes it ready.

    Raises:
        ModelMissing: there is no such file. UsageError: it is no CMMP, or one trained otherwise.
    """
    state = weights.read(path, "CMMP", get)
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    with torch.device("meta"):
        network = CMMP(infer(state, path))
    try:
        weights.fill(network, state, path, "CMMP's")
    except UsageError as error:
        raise UsageError(f"{error}; {MEND}") from None
    return network


def infer(state: Mapping[str, Any], path: str | Path) -> Shapes:
    """The sizes of these weights (UsageError where they are others')."""
    learner = "clip_head.prompt_learner."
    try:
        prompts = tuple(
            tuple(state[f"{learner}{name}"].shape)
            for name in ("ctx", "token_prefix", "token_suffix")
        )
        vision, text = cmmp_clip.infer(state, "clip_head.")
        shapes = Shapes(
            detr.infer(state, "detector."), vision, text, prompts,
            tuple(state["global_prior"].shape),
            (len(state["priors_downproj.layers.0.weight"]),
             len(state["priors_downproj_global.layers.0.weight"])),
        )  # fmt: skip
    except (KeyError, ValueError) as error:
        raise UsageError(f"{path}: not a CMMP checkpoint (no {error.args[0]}); {MEND}") from None
    verbs, classes = prompts[1][0], shapes.detector.classes
    if (verbs, classes) != (VERBS, OBJECTS + 1):
        raise UsageError(
            f"{path}: for {verbs} verbs, and a detector with {classes} classes; {MEND}"
        )
    return shapes
