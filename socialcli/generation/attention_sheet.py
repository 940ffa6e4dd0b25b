"""The contact sheet of `generate --attention-maps`: each word's attention over its picture."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from socialcli import records, shards
from socialcli.errors import SampleFailed
from socialcli.generation import attention, grid
from socialcli.generation.grid import GAP, GREY, INK, MARGIN, PAPER, TEXT
from socialcli.vision import provenance

if TYPE_CHECKING:
    import numpy

MOST = 16  # pictures on a sheet
SIDE = 112  # pixels of a tile's longer side
MOST_WORDS = 16  # of a prompt
# From little to much: dark and transparent blue, over green and yellow, to red.
_COLOURS = ((20, 24, 90), (20, 120, 190), (90, 200, 110), (250, 220, 60), (220, 40, 30))


def write(targets: list[str], file: str, marked: bool = True) -> int:
    """Draw the first `MOST` pictures of the finished targets; returns how many.

    ``marked``: the sheet says of itself what its pictures say of themselves.
    """
    from itertools import islice

    done = [target for target in targets if shards.size(target) is not None]
    shown = list(islice(_pictures(done), MOST))
    if not shown:
        return 0
    out = io.BytesIO()
    generated = [(key, record) for key, _, record, _, _ in shown] if marked else []
    sheet(shown).save(out, "PNG", pnginfo=provenance.of_sheet(generated))
    shards.write_bytes(file, out.getvalue())
    return len(shown)


Shown = tuple[str, Any, records.Generated, dict[str, Any], "numpy.ndarray"]


def _pictures(targets: list[str]) -> Iterator[Shown]:
    """(key, picture, its record, what its maps are, the maps) of everything that has maps."""
    from socialcli.vision import images

    for target in targets:
        for key, members in grid.members(target, (attention.ARRAY, attention.RECORD)):
            try:
                record = records.load(records.Generated, members["generated.json"])
                facts = json.loads(members[attention.RECORD])
                maps = records.load_npy(members[attention.ARRAY], attention.ARRAY)
                yield key, images.decode(members["png"]), record, facts, maps
            except (KeyError, ValueError, SampleFailed):
                continue


def sheet(shown: list[Shown]) -> Any:
    """All pictures' blocks under each other: a row for all steps and one for each stage, a column
    for each word. Every word has a scale of its own, from 0 to its largest value in any row, which
    stands under its name."""
    from PIL import Image

    blocks = [_block(*one) for one in shown]
    width = 2 * MARGIN + max(block.width for block in blocks)
    height = 2 * MARGIN + sum(block.height + 2 * GAP for block in blocks) - 2 * GAP
    canvas = Image.new("RGB", (width, height), PAPER)
    top = MARGIN
    for block in blocks:
        canvas.paste(block, (MARGIN, top))
        top += block.height + 2 * GAP
    return canvas


def _block(
    key: str, image: Any, record: records.Generated, facts: dict[str, Any], maps: numpy.ndarray
) -> Any:
    import numpy
    from PIL import Image, ImageDraw

    from socialcli.vision import text

    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    picture = image.resize(size, Image.Resampling.LANCZOS)
    words = [str(word) for word in facts["words"]][:MOST_WORDS]
    line, left = round(TEXT * 1.5), 84
    rows = ["all steps", *(f"t {high} to {low}" for high, low in facts["stages"])]
    wide = left + (len(words) + 1) * (size[0] + GAP)
    block = Image.new("RGB", (wide, 3 * line + len(rows) * (size[1] + GAP)), PAPER)
    canvas = ImageDraw.Draw(block)
    for pieces in text.wrap([(f"{key}   {record.prompt}", None)], TEXT, wide, 1):
        text.draw(canvas, 0, 0, "".join(piece for piece, _ in pieces), TEXT, INK)
    for row, name in enumerate(rows):
        text.draw(canvas, 0, 3 * line + row * (size[1] + GAP), name, TEXT - 2, GREY)
    block.paste(picture, (left, 3 * line))
    for column, word in enumerate(words, start=1):
        at = left + column * (size[0] + GAP)
        of_word = maps[:, column - 1].astype(numpy.float32)
        top = float(numpy.nanmax(of_word)) if numpy.isfinite(of_word).any() else 0.0
        (pieces,) = text.wrap([(word, None)], TEXT, size[0], 1)
        text.draw(canvas, at, line, "".join(piece for piece, _ in pieces), TEXT, INK)
        text.draw(canvas, at, 2 * line, f"to {top:.3f}", TEXT - 2, GREY)
        for row in range(len(rows)):
            if numpy.isfinite(of_word[row]).all():
                place = (at, 3 * line + row * (size[1] + GAP))
                block.paste(overlay(picture, of_word[row] / max(top, 1e-12)), place)
    return block


def overlay(picture: Any, heat: numpy.ndarray) -> Any:
    """A picture in grey under a heat map.

    Args:
        picture: RGB. heat: (h, w) in [0, 1], of the whole picture, at any size.
    """
    import numpy
    from PIL import Image

    grey = numpy.asarray(picture.convert("L"), numpy.float32)[..., None]
    large = Image.fromarray(heat.astype(numpy.float32)).resize(
        picture.size, Image.Resampling.BILINEAR
    )
    value = numpy.asarray(large).clip(0, 1)
    steps = numpy.linspace(0, 1, len(_COLOURS))
    colours = numpy.asarray(_COLOURS, numpy.float32)
    colour = numpy.stack([numpy.interp(value, steps, colours[:, c]) for c in range(3)], -1)
    share = (0.35 + 0.4 * value)[..., None]
    mixed = (1 - share) * grey + share * colour
    return Image.fromarray(mixed.round().clip(0, 255).astype(numpy.uint8))
