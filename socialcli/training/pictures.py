"""Grids of validation pictures, each with its caption."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from socialcli import shards
from socialcli.vision import text

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

LINE, SIZE = 14, 11  # pixels of a line of caption, and of its letters
SMALLEST = 128  # pixels a side at least, so that a miniature's picture can be looked at


def grid(pictures: list[tuple[str, Image]], columns: int = 4) -> Image:
    """Captioned pictures in rows, each scaled to the largest.

    Small ones are enlarged by a whole number without smoothing, so that what one sees is what
    the model drew.
    """
    from PIL import Image, ImageDraw
    from PIL.Image import Resampling

    side = max(max(p.size) for _, p in pictures)
    side *= max(1, math.ceil(SMALLEST / side))
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (side + 2), rows * (side + 2 * LINE + 2)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (caption, picture) in enumerate(pictures):
        left, top = number % columns * (side + 2), number // columns * (side + 2 * LINE + 2)
        sheet.paste(picture.convert("RGB").resize((side, side), Resampling.NEAREST), (left, top))
        for row, line in enumerate(text.wrap([(caption, None)], SIZE, side - 4, 2)):
            words = "".join(word for word, _ in line)
            text.draw(pen, left + 2, top + side + row * LINE, words, SIZE, "black")
    return sheet


def write(picture: Image, file: Path) -> None:
    """A PNG that appears whole or not at all."""
    out = io.BytesIO()
    picture.save(out, "PNG")
    shards.write_bytes(str(file), out.getvalue(), synced=False)
