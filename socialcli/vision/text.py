"""Text on pictures: Pillow's own font, other fonts of this machine for what it lacks, wrapping.

The bundled font knows English. For everything else the fonts installed here are searched,
well-known ones first. Where none has a character, an accented letter is drawn without its accent;
any other is drawn as an empty box, and `missing` collects it so that the command can say which
font to install.
"""

from __future__ import annotations

import os
import unicodedata
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_FOLDERS = (
    "/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts",
    "/System/Library/Fonts", "/Library/Fonts", "C:/Windows/Fonts",
)  # fmt: skip
# Fonts with many scripts, in the order they are tried. Colour emoji fonts cannot be drawn here.
_PREFERRED = (
    "dejavusans", "notosans-regular", "notosanscjk", "sourcehansans", "wqy", "droidsansfallback",
    "unifont", "arialuni", "arial unicode", "pingfang", "hiragino", "msyh", "malgun", "yugoth",
    "notosansarabic", "notosanshebrew", "notosansdevanagari", "notosans", "freesans", "symbola",
)  # fmt: skip
_STYLES = ("bold", "italic", "oblique", "mono", "serif", "light", "thin", "condensed")
_PLAIN = {
    "…": "...", "·": "-", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "ß": "ss",
    "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "æ": "ae", "Æ": "AE", "œ": "oe", "•": "*", "×": "x",
    "→": ">",
}  # fmt: skip
_MOST_FONTS = 60  # opened in search of one character

missing: set[str] = set()


@cache
def _fonts() -> list[Path]:
    """Font files of this machine that are tried, preferred ones first."""
    paths = []
    for folder in _FOLDERS:
        for root, _, files in os.walk(Path(folder).expanduser()):
            names = [n for n in files if n.lower().endswith((".ttf", ".otf", ".ttc"))]
            paths += [Path(root) / name for name in names if "emoji" not in name.lower()]

    def rank(path: Path) -> tuple[int, int, str]:
        name = path.name.lower()
        known = [i for i, word in enumerate(_PREFERRED) if name.startswith(word)]
        styled = any(word in name for word in _STYLES)
        return (known[0] if known else len(_PREFERRED), int(styled), name)

    return sorted(paths, key=rank)[:_MOST_FONTS]


@cache
def _load(path: Path | None, size: int) -> Any:
    """A font at a size; None for the path is the one Pillow carries."""
    from PIL import ImageFont

    if path is None:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(str(path), size)
    except (OSError, ValueError):
        return None


@cache
def _unknown(path: Path | None) -> bytes:
    """How a font draws a character it does not have."""
    return bytes(_load(path, 16).getmask("\U0010fffe"))


@lru_cache(maxsize=20_000)
def _font_of(character: str) -> Path | bool | None:
    """The font that has a character: None the bundled one, False no font at all."""
    if character.isascii() or character.isspace():
        return None
    for path in (None, *_fonts()):
        font = _load(path, 16)
        if font is not None:
            try:
                drawn = bytes(font.getmask(character))
            except (OSError, ValueError):
                continue
            if drawn and any(drawn) and drawn != _unknown(path):
                return path
    return False


def _runs(text: str) -> list[tuple[Path | bool | None, str]]:
    shown = "".join(map(_drawable, clean(text)))
    return [(font, "".join(run)) for font, run in groupby(shown, key=_font_of)]


@lru_cache(maxsize=20_000)
def _drawable(character: str) -> str:
    """The character, or what it is nearest to where no font here has it."""
    if _font_of(character) is not False:
        return character
    plain = _PLAIN.get(character) or unicodedata.normalize("NFKD", character)[:1]
    return plain if plain.isascii() else character


def clean(text: str) -> str:
    """Text that can stand on one line: control and formatting characters become spaces."""
    return "".join(c if c.isprintable() else " " for c in text)


@lru_cache(maxsize=20_000)
def width(text: str, size: float) -> float:
    """Width of a text in pixels as `draw` puts it."""
    whole = max(1, round(size))
    total = 0.0
    for font, run in _runs(text):
        if isinstance(font, bool):
            total += len(run) * whole * 0.8
        else:
            total += _load(font, whole).getlength(run)
    return total


def draw(
    canvas: ImageDraw, x: float, y: float, text: str, size: float, fill: Any, halo: Any = None
) -> None:
    """Text whose line box begins at (x, y): the baseline is one ``size`` below y.

    Args:
        halo: colour of an outline that keeps the text legible on a picture; None for no outline.
    """
    whole = max(1, round(size))
    stroke = max(1, round(whole / 8)) if halo is not None else 0
    for font, run in _runs(text):
        if isinstance(font, bool):
            missing.update(run)
            for _ in run:
                box = (x + 0.1 * whole, y + 0.2 * whole, x + 0.7 * whole, y + whole)
                canvas.rectangle(box, outline=fill, width=max(1, whole // 14))
                x += whole * 0.8
            continue
        loaded = _load(font, whole)
        canvas.text(
            (x, y + whole), run, font=loaded, fill=fill, anchor="ls",
            stroke_width=stroke, stroke_fill=halo,
        )  # fmt: skip
        x += loaded.getlength(run)


Piece = tuple[str, str | None]  # a text and the colour it is marked with


def wrap(pieces: list[Piece], size: float, room: float, lines: int) -> list[list[Piece]]:
    """Pieces of text broken into at most ``lines`` lines of ``room`` pixels; the last one ends in
    an ellipsis where text is left over. Text without spaces (Chinese, URLs) breaks anywhere.

    Text is looked at as far as a character of 2 pixels would go: what comes after that many is
    left over, however long it is."""
    words: list[Piece] = []
    left = max(int(lines * room / 2), 1)
    cut = False
    for text, colour in pieces:
        word = ""
        cut = cut or len(text) > left
        text, left = text[:left], max(left - len(text), 0)
        for character in clean(text):
            word += character
            if character == " " or ord(character) >= 0x2E80:
                words.append((word, colour))
                word = ""
        if word:
            words.append((word, colour))
    rows: list[list[Piece]] = [[]]
    used = 0.0
    for text, colour in words:
        while text:
            need = width(text.rstrip(), size)
            if used + need <= room:
                rows[-1].append((text, colour))
                used += width(text, size)
                break
            if used == 0:  # a word wider than a line
                fit = _fitting(text, size, room)
                rows[-1].append((text[:fit], colour))
                text = text[fit:]
            if text:
                rows.append([])
                used = 0.0
            if len(rows) > lines:
                return _ended(rows[:lines], size, room)
    return _ended(rows, size, room) if cut else rows


def _fitting(text: str, size: float, room: float) -> int:
    """How many characters of a word fit into ``room`` pixels, at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if width(text[:middle], size) <= room:
            low = middle
        else:
            high = middle - 1
    return low


def _ended(lines: list[list[Piece]], size: float, room: float) -> list[list[Piece]]:
    last = lines[-1]
    while last and width("".join(t for t, _ in last).rstrip() + "…", size) > room:
        text, colour = last.pop()
        if len(text) > 1:
            last.append((text[:-1], colour))
    if last:
        last[-1] = (last[-1][0].rstrip() + "…", last[-1][1])
    return lines
