"""Sheets of pictures above their captions, as the documentation shows them."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

GAP, LINES, LETTERS = 8, 4, 32  # pixels; lines of a caption, letters of a line
BELOW = 36  # pixels for a caption


def write(
    file: Path, rows: list[list[Any]], texts: list[str], across: int, cell: int = 160
) -> None:
    """Write a PNG: of each text the pictures that ``rows`` have of it, one below the other.

    Args:
        rows: lists of as many pictures as there are texts.
        across: texts beside each other.
        cell: side of a picture in pixels.
    """
    from PIL import Image, ImageDraw

    high = len(rows) * (cell + GAP) + BELOW
    down = -(-len(texts) // across)
    page = Image.new("RGB", (across * (cell + GAP) + GAP, down * high + GAP), "white")
    pen = ImageDraw.Draw(page)
    for i, text in enumerate(texts):
        x, y = GAP + i % across * (cell + GAP), GAP + i // across * high
        for row, pictures in enumerate(rows):
            large = pictures[i].resize((cell, cell), Image.Resampling.BICUBIC)
            page.paste(large, (x, y + row * (cell + GAP)))
        pen.multiline_text(
            (x, y + len(rows) * (cell + GAP) - 6),
            "\n".join(textwrap.wrap(text, LETTERS)[:LINES]), "black", spacing=0, font_size=9.5,
        )  # fmt: skip
    page.quantize(256).save(file, optimize=True)
