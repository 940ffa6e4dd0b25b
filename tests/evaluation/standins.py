"""Models that need no weights: each answers from the colour of a picture, for every role."""

from __future__ import annotations

import io
import zlib

import numpy

from socialcli import records, shards
from socialcli.backends.roles import Detection
from socialcli.records import Face, Gaze, Interaction, Interactions, Keypoints, Model

LABELS = ("cup", "dog", "horse", "table")
ACTS = (("hold", "cup"), ("ride", "horse"), ("walk", "dog"), ("wash", "cup"))
FACE = [(0.2, 0.2), (0.3, 0.2), (0.25, 0.3), (0.2, 0.4), (0.3, 0.4)]


def png(colour, size=(16, 12)) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def colour_of(image) -> numpy.ndarray:
    return numpy.asarray(image, numpy.float32).mean((0, 1))


def _box(rng) -> tuple[float, float, float, float]:
    left, top = rng.uniform(0, 0.5, 2)
    return (left, top, left + rng.uniform(0.2, 0.5), top + rng.uniform(0.2, 0.5))


class Drawn:
    """A model of any role whose answers are drawn from a generator seeded by the picture.

    It fails on pictures that are pure white.
    """

    embeds = True

    def __init__(self, role: str) -> None:
        self.model = Model("stand-in", "", role=role)

    def _rng(self, image):
        colour = colour_of(image)
        if colour.min() == 255:
            raise ValueError("too bright")
        return numpy.random.default_rng([int(value) for value in colour])

    def images(self, images):
        return numpy.stack([self._rng(image).normal(size=4) + 0.3 for image in images])

    def texts(self, texts):
        return numpy.stack(
            [numpy.random.default_rng(zlib.crc32(t.encode())).normal(size=4) for t in texts]
        )

    def unread(self, text):
        return ""

    def detect(self, images):
        return [
            [Face(_box(rng), 0.9, FACE) for _ in range(rng.integers(0, 4))]
            for rng in map(self._rng, images)
        ]

    def embed(self, images, faces):
        return [
            self._rng(image).normal(size=(len(own_faces), 4))
            for image, own_faces in zip(images, faces, strict=True)
        ]

    def estimate(self, images, people):
        return [
            [
                Keypoints("coco17", [(*self._rng(image).uniform(size=2), 2.0)] * 17)
                for _ in own_people
            ]
            for image, own_people in zip(images, people, strict=True)
        ]

    def gaze(self, images, heads):
        return [
            [
                Gaze(point=tuple(rng.uniform(size=2)) if rng.random() < 0.8 else None)
                for _ in own_heads
            ]
            for rng, own_heads in zip(map(self._rng, images), heads, strict=True)
        ]

    def ground(self, images, phrases, box_threshold, text_threshold):
        return [
            [
                Detection(number, _box(rng), rng.random())
                for number, _ in enumerate(own_phrases)
                for _ in range(rng.integers(0, 3))
            ]
            for rng, own_phrases in zip(map(self._rng, images), phrases, strict=True)
        ]

    def interact(self, images, people, boxes, known):
        return [
            Interactions(
                [
                    Interaction(n + 1, verb, object_label=thing, score=rng.random())
                    for n, (verb, thing) in enumerate(rng.permutation(ACTS))
                ]
            )
            for rng in map(self._rng, images)
        ]


def annotated(rng, colour) -> dict[str, bytes]:
    """A picture with random annotations of every kind, of the things that `Drawn` answers with."""
    boxes = [records.Box(n + 1, _box(rng), label) for n, label in enumerate(LABELS)]
    people = [
        records.Person(n + 1, gaze=Gaze(point=tuple(rng.uniform(size=2)), inside=True))
        for n in range(rng.integers(1, 4))
    ]
    acts = [
        Interaction(n + 1, verb, object_label=thing)
        for n, (verb, thing) in enumerate(rng.permutation(ACTS)[: rng.integers(1, 4)])
    ]
    members = {
        "people.json": records.People(16, 12, people),
        "boxes.json": records.Boxes(16, 12, boxes),
        "interactions.json": Interactions(acts),
        "caption.json": records.Caption("a dog and a cup"),
    }
    return {"png": png(colour), **{name: records.dump(one) for name, one in members.items()}}


def write_random(folder, count: int, seed: int):
    """Generated and reference shards of ``count`` pictures; the fourth generated one is white."""
    import json

    rng = numpy.random.default_rng(seed)
    colours = rng.integers(0, 250, (2, count, 3)).tolist()
    keys = [f"s{number}" for number in range(count)]
    rows = []
    for number, (key, colour) in enumerate(zip(keys, colours[0], strict=True)):
        info = {
            "schema": 1,
            "method": "x",
            "prompt": f"a {'photo of the face' if number % 3 == 1 else 'thing'} of kind {number}",
            "seed": 1,
            "source_key": key,
        }
        picture = png((255, 255, 255) if number == 3 else tuple(colour))
        rows.append((key, {"png": picture, "generated.json": json.dumps(info).encode()}))
    shards.write(folder / "gen.tar", rows)
    sources = zip(keys, colours[1], strict=True)
    shards.write(folder / "ref.tar", [(key, annotated(rng, tuple(c))) for key, c in sources])
    return folder / "gen.tar", folder / "ref.tar"
