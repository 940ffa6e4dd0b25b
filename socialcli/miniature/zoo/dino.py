"""DINO in miniature: a class token that stays alike when a subject changes its scene.

Transformers' `ViTModel`. The world knows its subjects, so a particular dog, cup or person is drawn
into two scenes, and the class token learns by contrast (Khosla et al. 2020, supervised contrastive
loss) that pictures of one subject belong together, whatever else has changed: place, light, act,
size, and a person's clothes. A layer that is thrown away reads kind and colours from it besides.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.miniature.world.identity import COATS, FEMALE_HAIR, HAIRS, MALE_HAIR, Identity, Look
from socialcli.miniature.world.planning import Placed, Plan, plan
from socialcli.miniature.world.vocabulary import ANIMALS, COLOURS, THINGS
from socialcli.miniature.zoo import data, training

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.miniature.world.scenes import Scene

STEPS, BATCH, RATE = 3000, 32, 1.5e-3  # a batch is so many scenes
CROPS, WHOLE = 48, 8  # subjects' crops and whole pictures a step
HEAT = 0.1  # temperature of the contrast
TEST = 128  # subjects of the test: each fourth a person, the others of every kind in turn
SCENES = 4  # of each of them
KINDS = (*ANIMALS, *THINGS)
COLOUR_WORDS = tuple(sorted({*COLOURS, *COATS}))
PATTERNS = ("plain", "stripes", "dots", "star", "band", "patches", "spots", "socks")
STYLES = tuple(dict.fromkeys((*MALE_HAIR, *FEMALE_HAIR)))
# What the layer that is thrown away reads from a crop, and how many answers there are.
ASKED = {
    "kind": len(KINDS) + 4, "colour": len(COLOUR_WORDS), "pattern": len(PATTERNS), "skin": 8,
    "style": len(STYLES), "hair": len(HAIRS), "glasses": 4, "beard": 5, "hat": 4,
}  # fmt: skip


def network() -> Any:
    """The untrained network, seeded; ``auxiliary`` is for training only."""
    import torch
    from torch import nn
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(  # type: ignore[call-arg]
        hidden_size=128, num_hidden_layers=5, num_attention_heads=4, intermediate_size=256,
        image_size=data.SIZE, patch_size=8, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        # Quicker here than the fused kernel, whose backward pass is slow on a CPU.
        attn_implementation="eager",
    )  # fmt: skip
    model = training.widen(ViTModel(config, add_pooling_layer=False))
    model.add_module("auxiliary", nn.Linear(config.hidden_size, sum(ASKED.values())))
    return model


Slot = tuple[Placed, str, int]  # whose person ("person") or thing ("prop"), and which


def slots(plan: Plan) -> list[tuple[Any, Slot]]:
    """The places for subjects in a plan, each with what may take it.

    A thing can stand for one of its kind, a person for one of the same sex and age (the pose
    depends on the stature, the clothes on the sex).
    """
    slots_of_kind: list[tuple[Any, Slot]] = []
    for placed in plan.placed:
        slots_of_kind += [
            ((w.female, w.child), (placed, "person", i)) for i, w in enumerate(placed.who)
        ]
        slots_of_kind += [
            (p.look.kind, (placed, "prop", i)) for i, p in enumerate(placed.act.props)
        ]
    return slots_of_kind


def subject(slot: Slot) -> Identity | Look:
    """Who or what has the place."""
    placed, sort, i = slot
    return placed.who[i] if sort == "person" else placed.act.props[i].look


def put(slot: Slot, who: Any) -> None:
    """Give the place to another."""
    placed, sort, i = slot
    if sort == "person":
        placed.who[i] = who
    else:
        placed.act.props[i].look = who


def pair_up(plans: list[Plan], rng: random.Random) -> set[str]:
    """Make two subjects of one sort, in different scenes, one and the same, as often as can be.

    Returns:
        The names of the subjects that now occur twice.
    """
    groups: dict[Any, list[tuple[int, Slot]]] = {}
    for number, one in enumerate(plans):
        for sort, slot in slots(one):
            groups.setdefault(sort, []).append((number, slot))
    twice: set[str] = set()
    for group in groups.values():
        rng.shuffle(group)
        while len(group) > 1:
            number, slot = group.pop()
            name = subject(slot).name
            other = next((k for k, (n, s) in enumerate(group) if n != number), None)
            if other is None or name in twice:
                continue
            put(group.pop(other)[1], subject(slot))
            twice.add(name)
    return twice


def crop(scene: Scene, box: tuple[float, ...], margins: tuple[float, ...] = (0, 0, 0, 0)) -> Image:
    """A box of the picture (pixels), squeezed into a square as the processor does.

    ``margins`` (left, top, right, bottom) widen it by parts of its width and height.
    """
    from PIL import Image

    x0, y0, x1, y1 = box
    left, top, right, bottom = margins
    wide, high, size = x1 - x0, y1 - y0, scene.size
    area = (max(x0 - left * wide, 0), max(y0 - top * high, 0),
            min(x1 + right * wide, size), min(y1 + bottom * high, size))  # fmt: skip
    return scene.image.resize((data.SIZE,) * 2, Image.Resampling.BICUBIC, area)


def _named(scene: Scene) -> list[tuple[str, Any]]:
    return [(p.who.name, p) for p in scene.people] + [(t.look.name, t) for t in scene.things]


def _answers(one: Any) -> list[int]:
    """The right answers to `ASKED`; -100 where the question makes no sense."""
    if hasattr(one, "who"):
        w = one.who
        return [len(KINDS) + 2 * w.female + w.child, -100, -100, w.skin, STYLES.index(w.hair),
                list(HAIRS).index(w.hair_colour), w.glasses, w.beard, w.hat]  # fmt: skip
    look = one.look
    return [KINDS.index(look.kind), COLOUR_WORDS.index(look.colour), PATTERNS.index(look.pattern),
            *[-100] * 6]  # fmt: skip


def _batch(step: int) -> tuple[Any, ...]:
    import numpy
    import torch

    from socialcli.miniature.world.scenes import paint

    rng = random.Random(f"dino {step}")
    plans = [plan(data.TRAIN_SEED, step * BATCH + i, "train") for i in range(BATCH)]
    twice = pair_up(plans, rng)
    scenes = [paint(p, data.SIZE) for p in plans]
    views: list[tuple[Image, set[str], list[int]]] = []
    crops = [(s, name, one) for s in scenes for name, one in _named(s) if name in twice]
    for name in rng.sample(sorted(twice), len(twice)):
        for scene, _, one in [c for c in crops if c[1] == name]:
            margins = tuple(rng.uniform(-0.04, 0.2) for _ in range(4))
            views.append((crop(scene, one.box, margins), {name}, _answers(one)))
        if len(views) >= CROPS:
            break
    for scene in rng.sample(scenes, min(WHOLE, len(scenes))):
        names = {name for name, _ in _named(scene)}
        views.append((scene.image, names, [-100] * len(ASKED)))
    column = {name: i for i, name in enumerate(sorted(set().union(*(v[1] for v in views))))}
    shows = torch.zeros(len(views), len(column))
    for row, (_, names, _) in enumerate(views):
        shows[row, [column[n] for n in names]] = 1
    pixels = torch.from_numpy(numpy.stack([numpy.asarray(v[0]) for v in views]))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in data.IMAGENET)
    pixels = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
    flipped = torch.tensor([rng.random() < 0.5 for _ in views])
    pixels = torch.where(flipped[:, None, None, None], pixels.flip(-1), pixels)
    return pixels.contiguous(), shows, torch.tensor([v[2] for v in views])


def _loss(model: Any, batch: tuple[Any, ...], step: int) -> Any:
    import torch
    from torch.nn import functional

    device = next(model.parameters()).device
    pixels, shows, answers = (part.to(device) for part in batch)
    with torch.autocast(device.type, torch.bfloat16):
        token = model(pixel_values=pixels).last_hidden_state[:, 0]
        auxiliary = model.auxiliary(token)
    value = contrast(functional.normalize(token.float(), dim=-1), shows)
    for question, logits in enumerate(auxiliary.float().split([*ASKED.values()], dim=1)):
        if (answers[:, question] >= 0).any():
            value = value + 0.2 * functional.cross_entropy(logits, answers[:, question])
    return value


def contrast(vectors: Any, shows: Any) -> Any:
    """Supervised contrastive loss (Khosla et al. 2020, Eq. 2), pictures with several subjects.

    Args:
        vectors: (N, D) of length 1.
        shows: (N, S) 0/1: which subjects each picture shows. Two pictures belong together where
            they share one.

    Returns:
        Scalar, mean over the pictures that have a partner.
    """
    alike = vectors @ vectors.T / HEAT
    itself = alike.new_zeros(alike.shape).fill_diagonal_(1).bool()
    alike = alike.masked_fill(itself, -1e4)
    partner = ((shows @ shows.T > 0) & ~itself).float()
    log = alike - alike.logsumexp(1, keepdim=True)
    counts = partner.sum(1)
    each = -(log * partner).sum(1) / counts.clamp(min=1)
    return each.sum() / (counts > 0).sum().clamp(min=1)


def train(work: Path, steps: int, minutes: float | None, device: str) -> training.Run:
    """Train, or go on training."""
    model = network().to(device).train()
    return training.fit(model, _batch, _loss, work, steps, rate=RATE, decay=1e-2, minutes=minutes)


def export(model: Any, folder: Path) -> None:
    """Write the Hugging Face folder: fp16 weights and the image processor."""
    from transformers import BitImageProcessorPil

    if hasattr(model, "auxiliary"):
        del model.auxiliary
    model.half().save_pretrained(folder)
    square = {"height": data.SIZE, "width": data.SIZE}
    mean, std = map(list, data.IMAGENET)
    # Squeezed into a square of which all is cut out: nothing of a picture is lost.
    BitImageProcessorPil(
        size=square, crop_size=square, image_mean=mean, image_std=std
    ).save_pretrained(folder)


def gallery(split: str, subjects: int) -> list[tuple[str, Scene, Any]]:
    """Subjects of a split in `SCENES` scenes each: (name, scene, the person or thing in it).

    Subjects come in turn from every kind of thing and animal and, each fourth, from the people.
    A scene that shows a subject is one of the split's own, whose main thing of that kind (or whose
    person of that sex and age) is this one instead.
    """
    from socialcli.miniature.world.scenes import paint

    chosen: dict[str, Any] = {}
    waiting: dict[Any, list[str]] = {}  # sort -> names with scenes to come
    shown: list[tuple[str, Scene, Any]] = []
    wanted = _turns(subjects)
    index = 0
    while wanted or any(waiting.values()):
        one = plan(data.TEST_SEED, index, split)
        index += 1
        for sort, slot in slots(one):
            who: Any = subject(slot)
            turn = "person" if isinstance(sort, tuple) else sort
            if wanted.get(turn) and who.name not in chosen:
                chosen[who.name] = who
                waiting.setdefault(sort, []).append(who.name)
                wanted[turn] -= 1
                if not wanted[turn]:
                    del wanted[turn]
            elif waiting.get(sort):
                who = chosen[waiting[sort][0]]
                put(slot, who)
            else:
                continue
            scene = paint(one, data.SIZE)
            instance = next((o for name, o in _named(scene) if name == who.name), None)
            if instance is not None:  # else something hides it: it waits for other scenes
                shown.append((who.name, scene, instance))
                if sum(name == who.name for name, _, _ in shown) == SCENES:
                    waiting[sort].remove(who.name)
            break  # one subject a scene
    return shown


def _turns(subjects: int) -> dict[str, int]:
    """How many subjects of each kind: each fourth is a person."""
    wanted: dict[str, int] = {}
    for i in range(subjects):
        kind = "person" if i % 4 == 3 else KINDS[(i - i // 4) % len(KINDS)]
        wanted[kind] = wanted.get(kind, 0) + 1
    return wanted


def measure(folder: Path) -> dict[str, float]:
    """Same-subject retrieval among `TEST` subjects of the test split in `SCENES` scenes each.

    Every picture asks once, all others answer, ranked by the cosine of the backend's vectors.
    ``map`` is the mean average precision on the crops of the subjects' boxes, as ``score --crops``
    cuts them; ``map_people`` and ``map_things`` are its parts by who asks, and ``map_whole`` is the
    same with whole pictures, as DINO scores are usually taken: those show other subjects too.
    """
    import numpy

    from socialcli import backends
    from socialcli.backends import ModelSpec

    dino = backends.load(ModelSpec("dino", "vit", str(folder)))
    shown = gallery("test", TEST)
    names = [name for name, _, _ in shown]
    crops = [s.image.crop(one.box) for _, s, one in shown]
    precise = average_precisions(dino.images(crops), names)
    whole = average_precisions(dino.images([s.image for _, s, _ in shown]), names)
    people = numpy.array([name.startswith("person-") for name in names])
    return {
        "map": round(float(precise.mean()), 4),
        "map_people": round(float(precise[people].mean()), 4),
        "map_things": round(float(precise[~people].mean()), 4),
        "map_whole": round(float(whole.mean()), 4),
        "pictures": len(names),
    }


def average_precisions(vectors: Any, names: list[str]) -> Any:
    """(N,) average precision of each picture's query for the others of its name.

    Args:
        vectors: (N, D) numpy, of length 1. names: N, each at least twice.
    """
    import numpy

    alike = vectors @ vectors.T
    numpy.fill_diagonal(alike, -numpy.inf)
    order = numpy.argsort(-alike, axis=1, kind="stable")[:, :-1]
    label = numpy.unique(names, return_inverse=True)[1]
    right = label[order] == label[:, None]
    ranks = numpy.arange(1, right.shape[1] + 1)
    precision = right.cumsum(1) / ranks
    return (precision * right).sum(1) / right.sum(1)
