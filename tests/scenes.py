"""Small, fully annotated samples for tests: a real picture and every member, all consistent.

A woman (person 1, box 1) holds a dog (box 2) and looks at it; a man (person 2, box 3) looks out of
the picture. Everything that is drawn is where the records say it is.
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy
from PIL import Image, ImageDraw

from socialcli import records
from socialcli.records.members import _plain
from socialcli.vision import layouts, masks

WIDTH, HEIGHT = 120, 80
TEXT = "A woman in red holds a small dog while a man walks."
WOMAN = (0.1, 0.2, 0.4, 0.95)
DOG = (0.35, 0.45, 0.6, 0.75)
MAN = (0.7, 0.15, 0.9, 0.9)


def picture(index: int = 0, form: str = "JPEG", size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    """Three coloured shapes on a background that differs from index to index."""
    image = Image.new("RGB", size, (30 + 37 * index % 200, 90, 140))
    draw = ImageDraw.Draw(image)
    for xyxy, colour in ((WOMAN, "crimson"), (DOG, "sienna"), (MAN, "navy")):
        draw.ellipse([v * size[i % 2] for i, v in enumerate(xyxy)], fill=colour)
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


def mask(xyxy: records.XYXY, size: tuple[int, int] = (WIDTH, HEIGHT)) -> numpy.ndarray:
    """(height, width) bool: the ellipse in a box."""
    image = Image.new("1", size)
    ImageDraw.Draw(image).ellipse([v * size[i % 2] for i, v in enumerate(xyxy)], fill=1)
    return numpy.asarray(image)


def keypoints(xyxy: records.XYXY) -> records.Keypoints:
    """Seventeen points spread over a box: the last hidden, the one before not labelled."""
    left, top, right, bottom = xyxy
    points = []
    for n in range(17):
        x = left + (right - left) * (0.5 + 0.3 * (-1) ** n * min(n, 1))
        y = top + (bottom - top) * (0.05 + 0.9 * n / 16)
        points.append((round(x, 6), round(y, 6), 2.0))
    points[15] = (0.0, 0.0, 0.0)
    points[16] = (*points[16][:2], 1.0)
    return records.Keypoints(points, scores=[0.9] * 17)


def layout(size: tuple[int, int] = (WIDTH, HEIGHT)) -> records.Layout:
    """The woman with her skeleton, the dog before her, and what is left over."""
    (woman, dog), rest = layouts.partition([mask(WOMAN, size), mask(DOG, size)], ["", ""])
    return records.Layout(
        *size,
        TEXT,
        [
            records.Segment(
                1, "#e6194b", "a woman in red", masks.encode(woman), word="woman",
                subject="Ada",
                keypoints=keypoints(WOMAN), depth=1.0, entity=1, person=1,
                references=[records.SegmentReference("ada.jpg", "woman", 0.7)],
            ),
            records.Segment(
                2, "#3cb44b", "a small dog", masks.encode(dog), word="dog", depth=0.0, entity=2
            ),
            records.Segment(3, "#303030", "a lawn", masks.encode(rest), background=True),
        ],
        "blurry",
        records.Model("layout"),
    )  # fmt: skip


def all_records(size: tuple[int, int] = (WIDTH, HEIGHT)) -> dict[str, Any]:
    """The sample's records by suffix, to be changed and then dumped."""
    width, height = size

    def entity(id: int, text: str, head: str, kind: str) -> records.Entity:
        start = TEXT.index(text)
        return records.Entity(id, text, head, head, start, start + len(text), kind)

    detector = records.Model("grounding-dino", "tiny", "abc123", "ground", {"box_threshold": 0.3})
    return {
        "meta.json": records.Meta(width, height, source="made/up.jpg", license="CC0"),
        "caption.json": records.Caption(TEXT, ["Two people."], records.Model("blip2", "tiny")),
        "entities.json": records.Entities(
            [
                entity(1, "A woman in red", "woman", "person"),
                entity(2, "a small dog", "dog", "animal"),
                entity(3, "a man", "man", "person"),
            ],
            [records.Triple(1, "hold", 2, "holds"), records.Triple(3, "walk", None, "walks")],
            records.Model("spacy"),
        ),
        "boxes.json": records.Boxes(
            width,
            height,
            [
                records.Box(1, WOMAN, "woman", 1, 0.91),
                records.Box(2, DOG, "dog", 2, 0.84),
                records.Box(3, MAN, "man", 3, 0.77),
                records.Box(7, (0.0, 0.9, 1.0, 1.0), "floor", None, 0.4),
            ],
            detector,
        ),
        "masks.json": records.Masks(
            width,
            height,
            [
                records.Mask(1, masks.encode(mask(WOMAN, size)), 1, 1, 0.95, 0.97),
                records.Mask(2, masks.encode(mask(DOG, size)), 2, 2, 0.88, 0.9),
            ],
            records.Model("sam", "tiny"),
        ),
        "people.json": records.People(
            width,
            height,
            [
                records.Person(
                    1, 1, 1,
                    head=(0.2, 0.2, 0.3, 0.35),
                    face=records.Face(
                        (0.21, 0.22, 0.29, 0.34), 0.99,
                        [(0.23, 0.26), (0.27, 0.26), (0.25, 0.29), (0.23, 0.32), (0.27, 0.32)],
                    ),
                    keypoints=keypoints(WOMAN),
                    gaze=records.Gaze((0.5, 0.6), (0.8, 0.6), True, 0.9),
                    identity="Ada",
                ),
                records.Person(
                    2, 3, 3,
                    head=(0.75, 0.15, 0.85, 0.3),
                    gaze=records.Gaze(None, (1.0, 0.0), False, 0.2),
                ),
            ],
            {"face": records.Model("insightface"), "gaze": records.Model("sharingan")},
        ),
        "layout.json": layout(size),
        "interactions.json": records.Interactions(
            [records.Interaction(1, "hold", 1, 1, 2, object_label="dog", hoi=233, score=0.8)],
            records.GROUND_TRUTH,
        ),
    }  # fmt: skip


def identity() -> numpy.ndarray:
    return records.identity_array([1], numpy.linspace(-1, 1, 8, dtype=numpy.float32)[None])


def raw(record: Any) -> bytes:
    """A record that `records.dump` may refuse to write, as another program would write it."""
    body = {"schema": records.SCHEMA_VERSION, **_plain(records.sources.stated(record))}
    return json.dumps(body, allow_nan=False).encode()


def members(index: int = 0, changed: dict[str, Any] | None = None) -> dict[str, bytes]:
    """One whole sample as bytes. ``changed`` replaces members (records or bytes; None drops)."""
    by_suffix: dict[str, Any] = {"jpg": picture(index), **all_records()}
    by_suffix[records.IDENTITY] = records.dump_identity(identity())
    by_suffix["note.txt"] = b"a member nobody knows"
    by_suffix.update(changed or {})
    return {
        suffix: value if isinstance(value, bytes) else records.dump(value)
        for suffix, value in by_suffix.items()
        if value is not None
    }
