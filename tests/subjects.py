"""Pictures of a few subjects with masks, as tests of `train` use them."""

from __future__ import annotations

import io
import json

import numpy
from PIL import Image, ImageDraw

from socialcli import records
from socialcli.vision import masks as rle

SHAPES = {"rex": ("dog", (200, 40, 30)), "tom": ("cat", (30, 60, 200))}


def sample(name: str, number: int, size: tuple[int, int] = (48, 40)):
    """(key, members): a square of the subject's colour on a grey picture, and its mask."""
    word, colour = SHAPES[name]
    image = Image.new("RGB", size, (120 + number, 120, 120))
    left, top = 6 + 3 * (number % 4), 8 + 2 * (number % 3)
    ImageDraw.Draw(image).rectangle((left, top, left + 15, top + 11), fill=colour)
    mask = numpy.zeros(size[::-1], bool)
    mask[top : top + 12, left : left + 16] = True
    out = io.BytesIO()
    image.save(out, "PNG")
    meta = {"schema": 1, "width": size[0], "height": size[1],
            "extra": {"subject": name, "class": word}}  # fmt: skip
    masks = records.Masks(*size, [records.Mask(1, rle.encode(mask), 1)])
    return f"{name}/{number}", {
        "png": out.getvalue(),
        "meta.json": json.dumps(meta).encode(),
        "masks.json": records.dump(masks),
    }


def samples(count: int = 3) -> list:
    """``count`` pictures of each of two subjects."""
    return [sample(name, n) for name in SHAPES for n in range(count)]
