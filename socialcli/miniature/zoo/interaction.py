"""An interaction recogniser in miniature: logits over the world's verb-object classes.

The network of `socialcli.networks.interactions`; focal loss over the verbs that the object allows,
as CMMP and UPT have it. Pairs of verb and object that only val and test show are left out of the
loss, not learnt as wrong. A trunk of CLIP's kind was tried first: within minutes of training a
residual network learns to read small drawn limbs, a vision transformer does not.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from socialcli.miniature.world.vocabulary import PAIRS
from socialcli.miniature.zoo import data, labels, training
from socialcli.miniature.zoo.clip import CLIP

STEPS, BATCH, RATE = 650, 64, 3e-3
IDLE = 0.6  # of the pairs that do nothing are left out of a step
JITTER = 0.04  # of a box's sides: detectors are not exact
ALPHA, GAMMA = 0.5, 0.2  # CMMP's focal loss
TEST = 1600
NOUNS = ("man", "woman", "boy", "girl")


def network(window: int = 48, widths: tuple[int, ...] = (32, 64, 128, 192)) -> Any:
    """The untrained network for the world's classes, seeded."""
    import torch

    from socialcli.networks.interactions import InteractionNetwork

    torch.manual_seed(0)
    table = [
        {"hoi": p.hoi, "verb": p.verb, "object": p.object, "rare": p.tier == "r"} for p in PAIRS
    ]
    return InteractionNetwork({
        "image_size": data.SIZE, "window": window, "widths": list(widths),
        "image_mean": list(CLIP[0]), "image_std": list(CLIP[1]), "classes": table,
        "aliases": dict.fromkeys((*NOUNS, "child", "people"), "person"),
    })  # fmt: skip


def candidates(scene: Any) -> list[tuple[Any, Any, str]]:
    """(person, other, object class) of every person with everything else that is visible."""
    pairs = []
    for person in scene.people:
        for other in scene.everything:
            if other.id != person.id:
                pairs.append((person, other, labels.noun(other)))
    return pairs


def _pairs(network: Any, tiers: str) -> Any:
    """(objects, verbs) bool: the pairs of these tiers."""
    import torch

    table = torch.zeros(len(network.objects), len(network.verbs), dtype=torch.bool)
    for pair in PAIRS:
        if pair.tier in tiers:
            table[network.objects.index(pair.object), network.verbs.index(pair.verb)] = True
    return table


LEARNT, HELD_OUT = "cmr", "vt"  # tiers that training shows, and those it does not


def _batch(step: int, network: Any) -> tuple[Any, ...]:
    import torch

    rng = random.Random(f"interaction {step}")
    scenes = data.train_scenes(step, BATCH)
    boxes, owners, things, verbs = [], [], [], []

    def loose(box: tuple[float, ...], size: int) -> list[float]:
        w, h = (box[2] - box[0]) * JITTER, (box[3] - box[1]) * JITTER
        return [(v + rng.gauss(0, s)) / size for v, s in zip(box, (w, h, w, h), strict=True)]

    for number, scene in enumerate(scenes):
        true = labels.relations(scene)
        acting = {(subject, target) for subject, _, target in true}
        for person, other, name in candidates(scene):
            # Most pairs have nothing to do with each other: most of those are left out.
            if (person.id, other.id) not in acting and rng.random() < IDLE:
                continue
            boxes.append(loose(person.box, scene.size) + loose(other.box, scene.size))
            owners.append(number)
            things.append(network.objects.index(name))
            verbs.append([(person.id, verb, other.id) in true for verb in network.verbs])
    return (
        data.pixels(scenes, CLIP), torch.tensor(owners), torch.tensor(boxes), torch.tensor(things),
        torch.tensor(verbs),
    )  # fmt: skip


def _loss(model: Any, batch: tuple[Any, ...], step: int) -> Any:
    import torch
    from torch.nn import functional

    from socialcli.networks import interactions

    device = next(model.parameters()).device
    pictures, owners, boxes, things, verbs = (part.to(device) for part in batch)
    seen = interactions.cut(pictures, owners, boxes, model.window)
    with torch.autocast(device.type, torch.bfloat16):
        logits = model.judge(seen, boxes)
    truth, possible = verbs.float(), _pairs(model, LEARNT).to(device)[things]
    cross = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = (truth - logits.sigmoid()).abs() + 1e-6
    focal = (1 - truth - ALPHA).abs() * wrong**GAMMA * cross
    value = (focal * possible).sum() / (truth * possible).sum().clamp(min=1)
    # Which of all verbs a pair that does something does: without it the table of possible verbs
    # leaves little to learn for objects that are used in one way only.
    acting = truth.any(1)
    others = logits.masked_fill(_pairs(model, HELD_OUT).to(device)[things], -1e4)
    return value + 0.5 * functional.cross_entropy(others[acting], truth[acting].argmax(1))


def train(work: Path, steps: int, minutes: float | None, device: str) -> training.Run:
    """Train, or go on training."""
    import torch

    model = network().to(device, memory_format=torch.channels_last).train()
    return training.fit(
        model, lambda step: _batch(step, model), _loss, work, steps,
        rate=RATE, decay=2e-2, warm=60, average=0.99, minutes=minutes,
    )  # fmt: skip


def export(model: Any, folder: Path) -> None:
    """Write ``config.json`` and half-precision ``model.safetensors``."""
    from socialcli.networks import interactions

    interactions.save(model, folder)


def measure(folder: Path) -> dict[str, float]:
    """Mean average precision over the world's classes, through the backend's logits.

    Ranked per class are all pairs of a person and anything else visible in the test scenes, with
    true boxes and the object's true name; the score is the class's probability. A pair is right
    when the scene has that relation (mutual acts either way). 11-point interpolation, as HICO-DET's
    code in Python. ``full`` is the mean over all classes that occur, ``rare`` over those with fewer
    than ten training scenes, ``unseen`` over those with none.
    """
    import numpy
    import torch

    from socialcli import backends
    from socialcli.backends import ModelSpec

    finder = backends.load(ModelSpec("interaction", "pairwise", str(folder)))
    scores: list[list[tuple[float, bool]]] = [[] for _ in finder.classes]
    scenes = data.test_scenes(TEST)
    for start in range(0, len(scenes), 32):
        part = [s for s in scenes[start : start + 32] if candidates(s)]
        asked = [candidates(s) for s in part]
        pictures = torch.from_numpy(numpy.stack([numpy.asarray(s.image) for s in part]))
        boxes = [
            torch.tensor([(*p.box, *o.box) for p, o, _ in pairs], dtype=torch.float32) / s.size
            for s, pairs in zip(part, asked, strict=True)
        ]
        with torch.inference_mode():
            logits = finder.logits(
                pictures.permute(0, 3, 1, 2).float() / 255, boxes,
                [[name for _, _, name in pairs] for pairs in asked],
            )  # fmt: skip
        for scene, pairs, rows in zip(part, asked, logits, strict=True):
            true = labels.relations(scene)
            for (person, other, name), row in zip(pairs, rows.sigmoid().tolist(), strict=True):
                for number, which in enumerate(finder.classes):
                    if which.object == name:
                        right = (person.id, which.verb, other.id) in true
                        scores[number].append((row[number], right))
    tiers = {p.hoi: p.tier for p in PAIRS}
    precision = {
        which.hoi: eleven_points(scored)
        for which, scored in zip(finder.classes, scores, strict=True)
        if any(right for _, right in scored)
    }

    def mean(kinds: str) -> float:
        chosen = [v for hoi, v in precision.items() if tiers[hoi] in kinds]
        return round(float(numpy.mean(chosen)), 4) if chosen else 0.0

    return {
        "map_full": mean("cmrvt"), "map_rare": mean("r"), "map_unseen": mean("vt"),
        "map_seen": mean("cm"), "classes": len(precision),
        "pairs": sum(right for scored in scores for _, right in scored),
    }  # fmt: skip


def eleven_points(rows: list[tuple[float, bool]]) -> float:
    """Average precision of (score, right) rows: the best precision at recalls 0, 0.1, ..., 1."""
    import numpy

    rows = sorted(rows, key=lambda r: -r[0])
    hits = numpy.cumsum([right for _, right in rows])
    if not len(hits) or not hits[-1]:
        return 0.0
    recall, precision = hits / hits[-1], hits / numpy.arange(1, len(hits) + 1)
    points = [precision[recall >= at - 1e-9].max() for at in numpy.arange(11) / 10]
    return float(numpy.mean(points))
