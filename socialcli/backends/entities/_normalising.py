"""Captions as the web writes them, in the plain characters that a parser knows.

HTML entities and tags, typographic quotation marks and dashes, full-width letters, ligatures,
combining accents, zero-width and non-breaking characters, emoji, control characters and ANSI
escapes are read as the plain characters they stand for. Every character of the result knows which
characters of the caption it comes from, so that spans can be told in the caption as it is written.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass

_ENTITY = re.compile(r"&(?:amp;)*(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_TAG = re.compile(
    r"</?(?:a|b|i|u|em|strong|br|p|div|span|sub|sup|small|font|h[1-6])\b[^<>]{0,200}>"
)
_ESCAPE = re.compile(r"\x1b\[[0-9;]{0,16}[A-Za-z]")
_SPECIAL = re.compile(rf"{_ESCAPE.pattern}|{_TAG.pattern}|{_ENTITY.pattern}", re.IGNORECASE)
_UNUSUAL = re.compile(r"[&<`]|  ")  # of printable ASCII
_PLAIN = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc\u00b4`", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u2039\u203a\u300c\u300d", '"'),
    **dict.fromkeys("\u2010\u2011\u2212", "-"),
    **dict.fromkeys("\u2014\u2015", ", "),  # a dash parts clauses, as a comma does
    "\u2026": "...",
    "\u200b": " ",  # the zero-width space marks where a word ends
}


@dataclass(frozen=True)
class Normal:
    """Lower-case plain text; ``places[i]`` is (start, end) in the caption of its character i.

    Without ``places`` the text has the caption's own characters, one for one.
    """

    text: str
    places: list[tuple[int, int]] | None = None

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Where ``text[start:end]``, one character or more, lies in the caption."""
        if self.places is None:
            return start, end
        return self.places[start][0], self.places[end - 1][1]


def normal(caption: str) -> Normal:
    """The caption in lower-case plain characters, runs of white space as one space."""
    if caption.isascii() and caption.isprintable() and not _UNUSUAL.search(caption):
        return Normal(caption.lower())
    characters: list[str] = []
    places: list[tuple[int, int]] = []
    for piece, start, end in _pieces(caption):
        for character in piece:
            space = character.isspace()
            if space and characters and characters[-1] == " ":
                continue
            characters.append(" " if space else character)
            places.append((start, end))
    return Normal("".join(characters), places)


def _pieces(caption: str) -> list[tuple[str, int, int]]:
    """(plain characters, start, end) for each entity, tag or character with its accents."""
    pieces = []
    at = 0
    for match in _SPECIAL.finditer(caption):
        pieces += _clusters(caption, at, match.start())
        at = match.end()
        pieces.append((_of_markup(match.group()), match.start(), at))
    return pieces + _clusters(caption, at, len(caption))


def _of_markup(markup: str) -> str:
    if markup.startswith("\x1b"):
        return ""
    if markup.startswith("<"):
        return " "
    # Entities of entities ("&amp;quot;") come from texts that were escaped twice.
    character = html.unescape(re.sub(r"(?<=&)(?:amp;)+(?=[#\w])", "", markup))
    return markup if len(character) > 2 else "".join(c for c, _, _ in _clusters(character, 0, None))


def _clusters(text: str, start: int, end: int | None) -> list[tuple[str, int, int]]:
    end = len(text) if end is None else end
    clusters = []
    while start < end:
        after = start + 1
        while after < end and unicodedata.combining(text[after]):
            after += 1
        clusters.append((_plain(text[start:after]), start, after))
        start = after
    return clusters


def _plain(cluster: str) -> str:
    if cluster.isascii() and cluster.isprintable():
        return cluster.lower()
    if cluster in _PLAIN:
        return _PLAIN[cluster]
    category = unicodedata.category(cluster[0])
    if cluster.isspace() or category in ("So", "Zs", "Zl", "Zp"):  # So: emoji and other signs
        return " "
    # Cc, Cf: control and invisible characters; Cs: halves of a pair; Sk over emoji: skin tones
    if category in ("Cc", "Cf", "Cs", "Co", "Cn") or cluster[0] > "\U0001f000":
        return ""
    if unicodedata.combining(cluster[0]) or category == "Mn":  # an accent without its letter
        return ""
    return "".join(c for c in unicodedata.normalize("NFKC", cluster).lower() if c != "\u0307")
