"""The contact sheet of a run: its pictures in order, each with its prompt."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from socialcli import records, shards
from socialcli.errors import SampleFailed
from socialcli.vision import provenance

MOST = 100  # pictures on a sheet
LEAST = 128  # small pictures are shown this wide
GAP, MARGIN, TEXT = 10, 16, 13.0
PAPER, INK, GREY = "#191A1C", "#EDEDEB", "#A9ACB1"  # as contact sheets: no glare on a dark page


def pictures(targets: list[str]) -> Iterator[tuple[str, Any, records.Generated]]:
    """(key, picture, what it was made with) of everything in shards or lists, in order."""
    from socialcli.vision import images

    for target in targets:
        for key, held in members(target):
            try:
                record = records.load(records.Generated, held["generated.json"])
                yield key, images.decode(held["png"]), record
            except (KeyError, SampleFailed):
                continue


def members(target: str, more: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, members) of every picture of a shard, or of a list of files.

    Args:
        more: members of a list's pictures that are read besides the picture and its record.
    """
    if target.endswith(".tar"):
        for sample in shards.read(target):
            yield sample.key, sample.members
        return
    folder = target.rpartition("/")[0] or "."
    for line in (shards.read_bytes(target) or b"").splitlines():
        name = json.loads(line)["file_name"]
        data = shards.read_bytes(f"{folder}/{name}")
        stem = name.rpartition(".")[0]
        others = {suffix: shards.read_bytes(f"{folder}/{stem}.{suffix}") for suffix in more}
        by_suffix = {"generated.json": line, "png": data, **others}
        yield stem, {suffix: body for suffix, body in by_suffix.items() if body}


def write(targets: list[str], file: str, marked: bool = True) -> int:
    """Draw the first `MOST` pictures of the finished targets on one sheet; returns how many.

    ``marked``: the sheet says of itself what its pictures say of themselves.
    """
    from itertools import islice

    done = [target for target in targets if shards.size(target) is not None]
    shown = list(islice(pictures(done), MOST))
    if not shown:
        return 0
    out = io.BytesIO()
    generated = [(key, record) for key, _, record in shown] if marked else []
    _sheet(shown).save(out, "PNG", pnginfo=provenance.of_sheet(generated))
    shards.write_bytes(file, out.getvalue())
    return len(shown)


def _sheet(shown: list[tuple[str, Any, records.Generated]]) -> Any:
    from PIL import Image, ImageDraw

    from socialcli.vision import text

    wide = max(LEAST, *(image.width for _, image, _ in shown))
    columns = min(len(shown), max(1, min(8, 2048 // wide)))
    tiles = []
    line = round(TEXT * 1.5)
    for key, image, record in shown:
        scale = wide / image.width
        sampling = Image.Resampling.NEAREST if image.width < LEAST else Image.Resampling.LANCZOS
        image = image.resize((wide, round(image.height * scale)), sampling)
        lines = text.wrap([(record.prompt, None)], TEXT, wide, 4)
        tile = Image.new("RGB", (wide, image.height + 4 + line * (len(lines) + 1)), PAPER)
        tile.paste(image, (0, 0))
        canvas = ImageDraw.Draw(tile)
        for number, pieces in enumerate(lines):
            text_line = "".join(piece for piece, _ in pieces)
            text.draw(canvas, 0, image.height + 4 + number * line, text_line, TEXT, INK)
        text.draw(canvas, 0, image.height + 4 + len(lines) * line, key, TEXT - 2, GREY)
        tiles.append(tile)
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    size = (
        2 * MARGIN + columns * (wide + GAP) - GAP,
        2 * MARGIN + sum(heights) + GAP * (len(rows) - 1),
    )
    sheet = Image.new("RGB", size, PAPER)
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        for number, tile in enumerate(row):
            sheet.paste(tile, (MARGIN + number * (wide + GAP), top))
        top += height + GAP
    return sheet
