"""An interaction recogniser in miniature: logits over the world's verb-object classes.

The network of `socialcli.models.interactions` on CLIP's tower; focal loss over the verbs that the
object allows, as CMMP and UPT have it. Pairs of verb and object that only val and test show are
left out of the loss, not learnt as wrong.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from socialcli.world.vocabulary import PAIRS
from socialcli.zoo import cards, data, labels, training
from socialcli.zoo.clip import CLIP, quicken

STEPS, BATCH, RATE = 800, 48, 1.2e-3
PATCH = 8
JITTER = 0.04  # of a box's sides: detectors are not exact
ALPHA, GAMMA = 0.5, 0.2  # CMMP's focal loss
TEST = 1600
NOUNS = ("man", "woman", "boy", "girl")


def configuration(trunk: dict[str, Any]) -> dict[str, Any]:
    """What `InteractionNetwork` is made from, for the world's classes."""
    table = [
        {"hoi": p.hoi, "verb": p.verb, "object": p.object, "rare": p.tier == "r"} for p in PAIRS
    ]
    return {
        "trunk": trunk, "image_mean": list(CLIP[0]), "image_std": list(CLIP[1]),
        "layers": 2, "heads": 4, "classes": table,
        "aliases": dict.fromkeys((*NOUNS, "child", "people"), "person"),
    }  # fmt: skip


def network(clip: Any) -> Any:
    """The recogniser with the tower of a `CLIPModel`, seeded."""
    import torch

    from socialcli.models.interactions import InteractionNetwork

    torch.manual_seed(0)
    ours = clip.config.vision_config
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
             "image_size", "patch_size", "hidden_act", "layer_norm_eps")  # fmt: skip
    made = InteractionNetwork(configuration({name: getattr(ours, name) for name in names}))
    made.trunk.load_state_dict(clip.vision_model.state_dict())
    return made


def _trained() -> Any:
    """The network with the head that only training has."""
    import torch
    from torch import nn
    from transformers import CLIPModel

    class Trained(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network(clip)
            self.network.trunk.set_attn_implementation("eager")  # twice as fast on CPUs
            self.patches = nn.Linear(self.network.map.in_features, PATCHES)

    clip: Any = CLIPModel.from_pretrained(cards.folder("clip"), dtype=torch.float32)
    return Trained()


PATCHES = sum(labels.PATCH_FACTS)


def candidates(scene: Any) -> list[tuple[Any, Any, str]]:
    """(person, other, object class) of every person with everything else that is visible."""
    found = []
    for person in scene.people:
        for other in scene.everything:
            if other.id != person.id:
                found.append((person, other, labels.noun(other)))
    return found


def _learnt(network: Any) -> Any:
    """(objects, verbs) bool: the pairs that training shows."""
    import torch

    table = torch.zeros(len(network.objects), len(network.verbs), dtype=torch.bool)
    for pair in PAIRS:
        if pair.tier in "cmr":
            table[network.objects.index(pair.object), network.verbs.index(pair.verb)] = True
    return table


def _batch(step: int, network: Any) -> tuple[Any, ...]:
    import numpy
    import torch

    rng = random.Random(f"interaction {step}")
    scenes = data.train_scenes(step, BATCH)
    pairs, things, verbs = [], [], []

    def loose(box: tuple[float, ...], size: int) -> list[float]:
        w, h = (box[2] - box[0]) * JITTER, (box[3] - box[1]) * JITTER
        return [(v + rng.gauss(0, s)) / size for v, s in zip(box, (w, h, w, h), strict=True)]

    for scene in scenes:
        true, mine = labels.relations(scene), []
        for person, other, name in candidates(scene):
            mine.append(loose(person.box, scene.size) + loose(other.box, scene.size))
            things.append(network.objects.index(name))
            verbs.append([(person.id, verb, other.id) in true for verb in network.verbs])
        pairs.append(torch.tensor(mine).reshape(-1, 8))
    facts = torch.from_numpy(numpy.stack([labels.patches(s, PATCH) for s in scenes]))
    return data.pixels(scenes, CLIP), pairs, torch.tensor(things), torch.tensor(verbs), facts


def _loss(model: Any, batch: tuple[Any, ...], step: int, learnt: Any) -> Any:
    import torch
    from torch.nn import functional

    device = next(model.parameters()).device
    pixels, pairs, things, verbs, facts = batch
    with torch.autocast(device.type, torch.bfloat16):
        seen = model.network.trunk(pixel_values=pixels.to(device)).last_hidden_state[:, 1:]
        logits = model.network(seen, pairs)
        dense = model.patches(seen)
    truth, possible = verbs.to(device).float(), learnt[things].to(device)
    cross = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = (truth - logits.sigmoid()).abs() + 1e-6
    focal = (1 - truth - ALPHA).abs() * wrong**GAMMA * cross
    value = (focal * possible).sum() / (truth * possible).sum().clamp(min=1)
    for i, part in enumerate(dense.split(labels.PATCH_FACTS, -1)):
        value = value + 0.2 * functional.cross_entropy(
            part.float().flatten(0, 1), facts[..., i].to(device).flatten()
        )
    return value


def train(work: Path, steps: int, minutes: float | None, device: str) -> training.Run:
    """Train, or go on training; CLIP's miniature must be there."""
    model = _trained().to(device).train()
    quicken(model.network.trunk)
    learnt = _learnt(model.network)
    run = training.fit(
        model, lambda step: _batch(step, model.network),
        lambda m, batch, step: _loss(m, batch, step, learnt), work, steps,
        rate=RATE, decay=2e-2, warm=60, average=0.99, minutes=minutes,
        rates=lambda name: 0.4 if "trunk" in name else 1.0,
    )  # fmt: skip
    run.model = run.model.network
    return run


def export(model: Any, folder: Path) -> None:
    """Write ``config.json`` and half-precision ``model.safetensors``."""
    from socialcli.models import interactions

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
            torch.tensor([(*p.box, *o.box) for p, o, _ in mine], dtype=torch.float32) / s.size
            for s, mine in zip(part, asked, strict=True)
        ]
        with torch.inference_mode():
            found = finder.logits(
                pictures.permute(0, 3, 1, 2).float() / 255, boxes,
                [[name for _, _, name in mine] for mine in asked],
            )  # fmt: skip
        for scene, mine, rows in zip(part, asked, found, strict=True):
            true = labels.relations(scene)
            for (person, other, name), row in zip(mine, rows.sigmoid().tolist(), strict=True):
                for number, which in enumerate(finder.classes):
                    if which.object == name:
                        right = (person.id, which.verb, other.id) in true
                        scores[number].append((row[number], right))
    tiers = {p.hoi: p.tier for p in PAIRS}
    precision = {
        which.hoi: eleven_points(mine)
        for which, mine in zip(finder.classes, scores, strict=True)
        if any(right for _, right in mine)
    }

    def mean(kinds: str) -> float:
        chosen = [v for hoi, v in precision.items() if tiers[hoi] in kinds]
        return round(float(numpy.mean(chosen)), 4) if chosen else 0.0

    return {
        "map_full": mean("cmrvt"), "map_rare": mean("r"), "map_unseen": mean("vt"),
        "map_seen": mean("cm"), "classes": len(precision),
        "pairs": sum(right for mine in scores for _, right in mine),
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
