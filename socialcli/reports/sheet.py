"""Contact sheets: pages of annotated pictures with their captions, as PNG."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from socialcli.reports.draw import annotate
from socialcli.reports.marks import LAYERS
from socialcli.reports.view import View, decode
from socialcli.vision import text

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

TILE = 480  # width of a picture in pixels
GAP, MARGIN, INSET = 20, 28, 14
CAPTION, SMALL, TITLE = 17.0, 12.0, 26.0  # text sizes in pixels
# Dark, as a lightbox is: a white sheet glares on a page that is dark, a dark one suits both.
PAPER, CARD, INK, GREY, BORDER = "#191A1C", "#242629", "#EDEDEB", "#A9ACB1", "#3A3D42"
WRONG = "#FF8A80"
TALLEST = 1.35  # a picture's height over the tile's width; taller ones are fitted into it


def pages(
    views: list[View],
    columns: int,
    page_size: int,
    title: str = "",
    layers: tuple[str, ...] = LAYERS,
) -> Iterator[Image]:
    """One picture per page of the sheet, made as it is asked for.

    Args:
        columns: tiles side by side; tiles of different heights close up.
        page_size: pictures on one page.
    """
    count = max(1, -(-len(views) // page_size))
    for number in range(count):
        part = views[number * page_size : (number + 1) * page_size]
        heading = f"{title}  ({number + 1} of {count})" if count > 1 else title
        yield _page([_tile(view, layers) for view in part], columns, heading)


def _page(tiles: list[Image], columns: int, title: str) -> Image:
    from PIL import Image, ImageDraw

    columns = max(1, min(columns, len(tiles)))
    step = TILE + 2 * INSET + GAP
    top = MARGIN + (round(TITLE * 2.1) if title else 0)
    heights = [top] * columns
    places = []
    for tile in tiles:  # each goes where the page is shortest
        column = heights.index(min(heights))
        places.append((MARGIN + column * step, heights[column]))
        heights[column] += tile.height + GAP
    size = (2 * MARGIN + columns * step - GAP, max(heights) - GAP + MARGIN)
    page = Image.new("RGB", size, PAPER)
    if title:
        canvas = ImageDraw.Draw(page)
        room = size[0] - 2 * MARGIN
        for line in text.wrap([(title, None)], TITLE, room, 1):
            text.draw(canvas, MARGIN, MARGIN, "".join(t for t, _ in line), TITLE, INK)
    for tile, place in zip(tiles, places, strict=True):
        page.paste(tile, place)
    return page


def _tile(view: View, layers: tuple[str, ...]) -> Image:
    """A card: the annotated picture, the caption with its entities marked, relations, the key."""
    from PIL import Image, ImageDraw

    picture = _picture(view, layers)
    caption: list[text.Piece] = [(part, view.colour("entity", id)) for part, id in view.phrases()]
    lines = text.wrap(caption, CAPTION, TILE, 4) if caption else []
    pieces: list[text.Piece] = [(f"{r}   ", None) for r in view.relations()[:6]]
    relations = text.wrap(pieces, SMALL + 1, TILE, 2) if pieces else []
    caption_high, small_high = round(CAPTION * 1.55), round(SMALL * 1.6)
    wrong: list[list[text.Piece]] = [[(p, None)] for p in view.problems[:2]]
    below = 10 + len(lines) * caption_high + (len(relations) + 1 + len(wrong)) * small_high
    tile = Image.new("RGB", (TILE + 2 * INSET, picture.height + below + 2 * INSET), CARD)
    canvas = ImageDraw.Draw(tile)
    canvas.rectangle((0, 0, tile.width - 1, tile.height - 1), outline=BORDER)
    tile.paste(picture, (INSET + (TILE - picture.width) // 2, INSET))
    y: float = INSET + picture.height + 10
    for line in lines:
        _line(canvas, INSET, y, line)
        y += caption_high
    for line in relations:
        text.draw(canvas, INSET, y, "".join(t for t, _ in line), SMALL + 1, GREY)
        y += small_high
    for piece in wrong:
        for line in text.wrap(piece, SMALL, TILE, 1):
            text.draw(canvas, INSET, y, "! " + "".join(t for t, _ in line), SMALL, WRONG)
        y += small_high
    text.draw(canvas, INSET, y, _middle_cut(view.key), SMALL, GREY)
    return tile


def _picture(view: View, layers: tuple[str, ...]) -> Image:
    from PIL import Image, ImageDraw

    picture = decode(view, 2 * TILE)
    if picture is None:
        picture = Image.new("RGB", (TILE, TILE // 2), "#3A3D42")
        reason = view.problems[-1] if view.problems else "no picture in this shard"
        canvas = ImageDraw.Draw(picture)
        for number, line in enumerate(text.wrap([(reason, None)], SMALL + 2, TILE - 40, 6)):
            words = "".join(t for t, _ in line)
            text.draw(canvas, 20, 20 + number * 22, words, SMALL + 2, "#FFFFFF")
        return picture
    # Small pictures are enlarged too: marks need room.
    scale = min(TILE / picture.width, TALLEST * TILE / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    return annotate(picture, view, layers)


def _line(canvas: ImageDraw, x: float, y: float, line: list[text.Piece]) -> None:
    """One line of caption; what a colour belongs to stands on a tint of it, underlined with it."""
    high = CAPTION * 1.3
    merged: list[text.Piece] = []
    for part, colour in line:
        if merged and merged[-1][1] == colour:
            merged[-1] = (merged[-1][0] + part, colour)
        else:
            merged.append((part, colour))
    start = x
    for part, colour in merged:
        if colour is not None:
            end = x + text.width(part.rstrip(), CAPTION)
            canvas.rectangle((x - 1, y, end + 1, y + high), fill=_tinted(colour))
            canvas.rectangle((x - 1, y + high - 2, end + 1, y + high), fill=colour)
        x += text.width(part, CAPTION)
    for part, _ in merged:
        text.draw(canvas, start, y - 1, part, CAPTION, INK)
        start += text.width(part, CAPTION)


def _tinted(colour: str) -> str:
    """The colour at three tenths on the card; near white it turns grey, to be told from the ink."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    if min(parts) > 220:
        parts = [180, 180, 180]
    card = [int(CARD[i : i + 2], 16) for i in (1, 3, 5)]
    mixed = (round(c + (v - c) * 0.3) for v, c in zip(parts, card, strict=True))
    return "#" + "".join(f"{value:02X}" for value in mixed)


def _middle_cut(key: str) -> str:
    """A key that fits the tile, cut in its middle: both its ends tell keys apart."""
    key = text.clean(key)
    if len(key) <= TILE and text.width(key, SMALL) <= TILE:
        return key
    keep = min(len(key) // 2, TILE // 2)
    while keep > 1 and text.width(f"{key[:keep]}…{key[-keep:]}", SMALL) > TILE:
        keep -= 1
    return f"{key[:keep]}…{key[-keep:]}"
