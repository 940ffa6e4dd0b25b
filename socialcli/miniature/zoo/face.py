"""An SCRFD-layout face detector in miniature, as ONNX in an insightface pack.

Three strides (8, 16, 32), two anchors a cell, scores, box distances and five landmarks, on a fixed
input of 192 by 192: pictures of 96 are doubled by insightface itself. Anchor 0 takes the smaller
half of a stride's faces, anchor 1 the larger.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from socialcli.miniature.zoo import data, training

STEPS, BATCH, RATE = 600, 16, 4e-3
TEST = 400
INPUT = 192
STRIDES = (8, 16, 32)
EDGES = (0, 28, 40, 56, 80, 112, 10000)  # face sizes that anchors (stride, 0 | 1) take
FILE = "det_mini.onnx"
FILES = (FILE,)
NORMAL = ((127.5 / 255,) * 3, (128 / 255,) * 3)


def network() -> Any:
    """The untrained network, seeded; forward gives insightface's nine outputs, batched."""
    import torch
    from torch import nn

    torch.manual_seed(0)

    def conv(a: int, b: int, stride: int = 1, size: int = 3) -> Any:
        return nn.Sequential(
            nn.Conv2d(a, b, size, stride, size // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU()
        )

    class Residual(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.inner = nn.Sequential(conv(width, width), conv(width, width))

        def forward(self, x: Any) -> Any:
            return x + self.inner(x)

    class Detector(nn.Module):
        def __init__(self, width: int = 40) -> None:
            super().__init__()
            self.stem = nn.Sequential(conv(3, 12, 2), conv(12, 24, 2))
            self.downs = nn.ModuleList([
                nn.Sequential(conv(24, 40, 2), Residual(40)),
                nn.Sequential(conv(40, 64, 2), Residual(64)),
                nn.Sequential(conv(64, 96, 2), Residual(96)),
            ])  # fmt: skip
            self.sides = nn.ModuleList([conv(c, width, 1, 1) for c in (40, 64, 96)])
            self.heads = nn.ModuleList([conv(width, width) for _ in STRIDES])
            self.score = nn.ModuleList([nn.Conv2d(width, 2, 1) for _ in STRIDES])
            self.box = nn.ModuleList([nn.Conv2d(width, 8, 1) for _ in STRIDES])
            self.kps = nn.ModuleList([nn.Conv2d(width, 20, 1) for _ in STRIDES])
            for layer in self.score:
                nn.init.constant_(layer.bias, -4.5)  # type: ignore[arg-type]

        def forward(self, x: Any) -> tuple[Any, ...]:
            """(B, 3, 192, 192) -> 3 logits (B, n, 1), 3 distances (B, n, 4), 3 (B, n, 10)."""
            x = self.stem(x)
            levels = []
            for down in self.downs:
                x = down(x)
                levels.append(x)
            maps = [side(level) for side, level in zip(self.sides, levels, strict=True)]
            for i in (1, 0):
                maps[i] = maps[i] + nn.functional.interpolate(maps[i + 1], scale_factor=2.0)
            maps = [head(m) for head, m in zip(self.heads, maps, strict=True)]
            return tuple(
                layer(m).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, wide))
                for layers, wide in ((self.score, 1), (self.box, 4), (self.kps, 10))
                for layer, m in zip(layers, maps, strict=True)
            )

    return Detector()


def _batch(step: int) -> tuple[Any, ...]:
    """Pictures, and per anchor: target score (-1 = ignored), box distances, landmark offsets."""
    import torch

    rng = random.Random(f"face {step}")
    scenes = data.train_scenes(step, BATCH)
    raw = data.pixels(scenes, NORMAL)
    grown = torch.nn.functional.interpolate(
        raw, size=(INPUT, INPUT), mode="bilinear", align_corners=False
    )
    scale = INPUT / data.SIZE
    scores, distances, points = [], [], []
    anchors = _anchors()
    sizes = torch.tensor([s for s in STRIDES for _ in range((INPUT // s) ** 2 * 2)]).float()
    for scene in scenes:
        score = torch.zeros(len(anchors))
        distance, point = torch.zeros(len(anchors), 4), torch.zeros(len(anchors), 10)
        for person in scene.people:
            box = torch.tensor(person.face or person.head) * scale
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            if person.face is None:
                inside = ((anchors >= box[:2]) & (anchors <= box[2:])).all(1)
                score[inside & (score < 1)] = -1
                continue
            side = float(max(box[2] - box[0], box[3] - box[1])) * rng.uniform(0.95, 1.05)
            slot = next(i for i in range(6) if EDGES[i] <= side < EDGES[i + 1])
            near = (anchors - torch.stack([x, y])).abs().max(1).values <= sizes * 0.8
            assigned = near & (sizes == STRIDES[slot // 2])
            assigned[1 - slot % 2 :: 2] = False
            score[assigned] = 1
            at, unit = anchors[assigned], sizes[assigned, None]
            distance[assigned] = torch.cat([at - box[:2], box[2:] - at], 1) / unit
            five = torch.tensor(person.landmarks).float() * scale
            point[assigned] = (five[None] - at[:, None]).flatten(1) / unit
        scores.append(score)
        distances.append(distance)
        points.append(point)
    return grown, torch.stack(scores), torch.stack(distances), torch.stack(points)


def _anchors() -> Any:
    """(n, 2) anchor centres in input pixels, in the order of the outputs."""
    import torch

    rows = []
    for stride in STRIDES:
        at = torch.arange(INPUT // stride) * stride
        y, x = torch.meshgrid(at, at, indexing="ij")
        rows.append(torch.stack([x, y], -1).reshape(-1, 1, 2).expand(-1, 2, -1).reshape(-1, 2))
    return torch.cat(rows).float()


def _loss(model: Any, batch: tuple[Any, ...], step: int) -> Any:
    import torch
    from torch.nn import functional

    device = next(model.parameters()).device
    pictures, score, distance, point = (part.to(device) for part in batch)
    with torch.autocast(device.type, torch.bfloat16):
        out = [o.float() for o in model(pictures)]
    logits, boxes, five = (torch.cat(out[i : i + 3], 1) for i in (0, 3, 6))
    logits = logits[..., 0]
    counted, hit = score >= 0, score > 0
    count = hit.sum().clamp(min=1)
    p = logits.sigmoid()
    agree = torch.where(hit, p, 1 - p)
    cross = functional.binary_cross_entropy_with_logits(logits, hit.float(), reduction="none")
    focal = (cross * (1 - agree) ** 2 * counted).sum() / count
    a, b = boxes[hit].clamp(min=0), distance[hit]
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    both = (low[:, 0] + low[:, 2]) * (low[:, 1] + low[:, 3])
    area = lambda d: (d[:, 0] + d[:, 2]) * (d[:, 1] + d[:, 3])  # noqa: E731
    either = area(a) + area(b) - both
    hull = area(high)
    giou = both / (either + 1e-6) - (hull - either) / (hull + 1e-6)
    near = functional.smooth_l1_loss(boxes[hit], b, beta=0.2)
    marks = functional.smooth_l1_loss(five[hit], point[hit], beta=0.1)
    return focal + (1 - giou).sum() / count + near + 2 * marks


def train(work: Path, steps: int, minutes: float | None, device: str) -> training.Run:
    """Train, or go on training."""
    model = network().to(device).train()
    return training.fit(
        model, _batch, _loss, work, steps, rate=RATE, average=0.995, minutes=minutes
    )


def export(model: Any, folder: Path) -> None:
    """Write the detector as ONNX with the nine outputs of SCRFD, scores as probabilities."""
    import torch
    from torch import nn

    class Published(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.float().cpu()

        def forward(self, x: Any) -> tuple[Any, ...]:
            out = [o[0] for o in self.model(x)]
            return (*(o.sigmoid() for o in out[:3]), *out[3:])

    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{kind}_{s}" for kind in ("score", "bbox", "kps") for s in STRIDES]
    torch.onnx.export(
        Published().eval(), (torch.zeros(1, 3, INPUT, INPUT),), str(folder / FILE), dynamo=False,
        input_names=["input.1"], output_names=names,
    )  # fmt: skip


def measure(folder: Path) -> dict[str, float]:
    """Recall at IoU 0.5 and precision over the test scenes' faces, and landmark error."""
    import numpy

    from socialcli import backends
    from socialcli.backends import ModelSpec
    from socialcli.vision import boxes

    detector = backends.load(ModelSpec("face", "insightface", str(folder)))
    detected = total = wrong = 0
    errors = []
    for scene in data.test_scenes(TEST):
        [faces] = detector.detect([scene.image])
        boxes_found = [f.xyxy for f in faces]
        truth = [p for p in scene.people if p.face is not None]
        total += len(truth)
        hits = set()
        for person in truth:
            box = tuple(v / scene.size for v in person.face or ())
            overlap = (
                boxes.iou(numpy.array(box), numpy.array(boxes_found))[0]
                if boxes_found
                else numpy.zeros(0)
            )
            if len(overlap) and overlap.max() >= 0.5:
                best = int(overlap.argmax())
                detected += 1
                hits.add(best)
                five = numpy.array(faces[best].landmarks) * scene.size
                off = numpy.linalg.norm(five - numpy.array(person.landmarks), axis=1).mean()
                errors.append(off / (person.face[2] - person.face[0]))  # type: ignore[index]
        wrong += len(boxes_found) - len(hits)
    return {
        "recall50": round(detected / total, 4),
        "precision": round(detected / max(detected + wrong, 1), 4),
        "landmark_error": round(float(numpy.mean(errors or [9])), 4),
        "faces": total,
    }
