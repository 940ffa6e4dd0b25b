"""Eleven subjects with eleven pictures each, and layouts that put several of them together.

Source: Multi-Subject Personalization (arXiv 2405.12742), A.1: eleven subjects (people, pets,
things) with eleven pictures each, and eleven compositions of one, two, three and more of them with
five prompts each. The subjects are of the world's test split, which no training sees. Their
pictures are scenes whose person or thing was recast as the subject; acts and places are the
scene's.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from socialcli import records
from socialcli.miniature.world import ground_truth
from socialcli.miniature.world.identity import Look, draw_identity, draw_look, outfit
from socialcli.miniature.world.planning import Plan, plan
from socialcli.miniature.world.scenes import paint
from socialcli.miniature.world.vocabulary import ANIMALS, PLACES

KINDS = (
    "woman", "man", "girl", "boy", "dog", "cat", "horse", "umbrella", "ball", "bicycle", "guitar",
)  # fmt: skip
PEOPLE = ("woman", "man", "girl", "boy")
PICTURES = 11
# Words that mean nothing yet, for DreamBooth: of the subjects in the order of their names.
IDENTIFIERS = (
    "sks", "ktn", "pll", "ucd", "zwx", "olis", "mth", "vbr", "qel", "hta", "wjd",
)  # fmt: skip
# Which subjects stand together, from left to right.
TOGETHER = (
    (0,), (4,), (9,),
    (0, 4), (1, 0), (3, 8),
    (0, 1, 4), (2, 5, 3), (1, 6, 0),
    (0, 1, 4, 5), (2, 0, 1, 3),
)  # fmt: skip
COMPOSITIONS = 55  # layouts: eleven, in five places each
SCENERY = ("park", "beach", "street", "snow", "meadow")
WHOLE = (0.0, 0.3, 1.0, 0.97)  # of the picture, where subjects stand
HIGH = {"woman": 1.0, "man": 1.0, "girl": 0.85, "boy": 0.85, "horse": 0.9, "bicycle": 0.7}
LOW = 0.55  # of other things


@dataclass(frozen=True)
class Subject:
    """One subject: its name, the noun for it, and how its pictures are cast."""

    kind: str
    name: str
    who: Any = None  # an Identity
    wear: Any = None
    look: Look | None = None


@cache
def subjects(seed: int) -> tuple[Subject, ...]:
    """The eleven; people keep their clothes, as comic figures do."""
    rng = random.Random(f"eleven subjects {seed}")
    taken: set[int] = set()
    eleven = []
    for kind in KINDS:
        if kind not in PEOPLE:
            one = draw_look(rng, "test", kind)
            eleven.append(Subject(kind, one.name, look=one))
            continue
        while True:
            who = draw_identity(rng, "test", taken, kind in ("girl", "boy"))
            if who.noun == kind:
                break
        eleven.append(Subject(kind, f"{kind}-{who.number:05d}", who, outfit(rng, who.female)))
    return tuple(eleven)


@cache
def plans(seed: int, number: int) -> tuple[Plan, ...]:
    """The plans of a subject's pictures, each of which shows it clearly."""
    one = subjects(seed)[number]
    clear: list[Plan] = []
    index = 0
    while len(clear) < PICTURES:
        candidate = plan(8_000_000 + seed, number * 1_000_000 + index, "test")
        index += 1
        main = candidate.placed[candidate.main]
        if one.look is not None:
            kinds = [prop.look.kind for placed in candidate.placed for prop in placed.act.props]
            if kinds.count(one.kind) != 1 or not main.act.props:
                continue
            if main.act.props[0].look.kind != one.kind:
                continue
            main.act.props[0].look = one.look
        elif len(main.who) == 1 and main.who[0].child == one.who.child:
            main.who[0], main.wear[0] = one.who, one.wear
        else:
            continue
        if _is_clear(candidate, one):
            clear.append(candidate)
    return tuple(clear)


def _is_clear(candidate: Plan, one: Subject) -> bool:
    drawn = paint(candidate, 48)
    if one.look is not None:
        thing = next((t for t in drawn.things if t.look == one.look), None)
        return thing is not None and float(thing.mask.mean()) >= 0.02
    person = next((p for p in drawn.people if p.who == one.who), None)
    if person is None or person.face is None or float(person.mask.mean()) < 0.04:
        return False
    return all(visible for _, _, visible in person.keypoints)


def picture(seed: int, number: int, size: int) -> dict[str, bytes]:
    """All members of picture ``number`` (0 to 120): those of its scene, and in ``meta.json``'s
    extra ``subject`` and ``class``."""
    which, shot = divmod(number, PICTURES)
    one = subjects(seed)[which]
    scene = dataclasses.replace(
        paint(plans(seed, which)[shot], size), key=picture_key(seed, number)
    )
    parts = ground_truth.members(scene)
    meta = records.load(records.Meta, parts["meta.json"], "meta.json")
    meta.extra |= {"subject": one.name, "class": one.kind, "live": one.kind in (*PEOPLE, *ANIMALS)}
    return {**parts, "meta.json": records.dump(meta)}


def picture_key(seed: int, number: int) -> str:
    which, shot = divmod(number, PICTURES)
    return f"{subjects(seed)[which].name}/{shot:02d}"


def composition_key(number: int) -> str:
    """``3-subjects-06/park``: how many stand together, which composition, where."""
    which, place = divmod(number, len(SCENERY))
    return f"{len(TOGETHER[which])}-subjects-{which:02d}/{SCENERY[place]}"


def composition(seed: int, number: int, size: int, called: str) -> dict[str, bytes]:
    """The layout of composition ``number`` (0 to 54), its drawing, prompt and meta.

    Args:
        called: how prompts name a subject: ``{class}``, ``{name}`` and ``{identifier}`` are filled
            in, as in "a {class}", "a <{name}>" or "a {identifier} {class}".
    """
    import io

    import numpy

    from socialcli.vision import layouts, masks

    which, place = divmod(number, len(SCENERY))
    chosen = [subjects(seed)[n] for n in TOGETHER[which]]
    where = PLACES[SCENERY[place]]
    order = sorted(one.name for one in subjects(seed))
    texts = [
        called.replace("{class}", s.kind)
        .replace("{name}", s.name)
        .replace("{identifier}", IDENTIFIERS[order.index(s.name)])
        for s in chosen
    ]
    texts = [text.replace("a umbrella", "an umbrella") for text in texts]
    shapes, skeletons = [], []
    left, top, right, bottom = WHOLE
    width = min((right - left) / len(chosen), 0.5)
    start = (left + right - width * len(chosen)) / 2
    for at, one in enumerate(chosen):
        tall = (bottom - top) * HIGH.get(one.kind, LOW)
        box = (start + at * width + 0.01, bottom - tall, start + (at + 1) * width - 0.01, bottom)
        mask = numpy.zeros((size, size), bool)
        x, y, end_x, end_y = (round(v * size) for v in box)
        mask[y:end_y, x:end_x] = True
        shapes.append(mask)
        skeletons.append(_standing(seed, TOGETHER[which][at], box) if one.who else None)
    parts, rest = layouts.partition(shapes, texts)
    segments = [
        records.Segment(
            at + 1, colour, text, masks.encode(part), word=one.kind, subject=one.name,
            keypoints=skeleton,
        )
        for at, (one, text, part, skeleton, colour) in enumerate(
            zip(chosen, texts, parts, skeletons, layouts.colours(len(chosen)), strict=True)
        )
    ]  # fmt: skip
    segments.append(
        records.Segment(
            len(chosen) + 1,
            layouts.BACKGROUND,
            _scenery(where),
            masks.encode(rest),
            background=True,
        )
    )
    whole = " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
    layout = records.Layout(size, size, f"{whole} {where}", segments, model=records.GROUND_TRUTH)
    drawing = io.BytesIO()
    layouts.picture(layout).save(drawing, "PNG")
    extra = {"subjects": [one.name for one in chosen], "count": len(chosen)}
    return {
        "png": drawing.getvalue(),
        "layout.json": records.dump(layout),
        "caption.json": records.dump(records.Caption(layout.prompt)),
        "meta.json": records.dump(records.Meta(size, size, split="test", extra=extra)),
    }


def _scenery(where: str) -> str:
    """ "in the park" as what a picture shows: "the park"."""
    return where.split(" ", 1)[1]


def _standing(seed: int, number: int, box: records.XYXY) -> records.Keypoints:
    """The skeleton of a subject's first picture, put into a box without being stretched."""
    one = subjects(seed)[number]
    drawn = paint(plans(seed, number)[0], 96)
    person = next(p for p in drawn.people if p.who == one.who)
    left, top, right, bottom = person.box
    scale = min((box[2] - box[0]) / (right - left), (box[3] - box[1]) / (bottom - top))
    middle = (box[0] + box[2]) / 2 - scale * (left + right) / 2
    # Ankles reach a little below what is seen of a person, but never out of the picture.
    points = [
        (_within(middle + scale * x), _within(box[3] - scale * (bottom - y)), float(visible))
        for x, y, visible in person.keypoints
    ]
    return records.Keypoints(points, source="annotation")


def _within(value: float) -> float:
    return min(max(value, 0.0), 1.0)
