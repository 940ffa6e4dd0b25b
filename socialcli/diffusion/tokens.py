"""How a concept's name becomes a learned word's token."""

from __future__ import annotations

import re


def file_name(text: str) -> str:
    """A name for files and tokens: letters, digits, dashes and dots of a text."""
    return re.sub(r"[^\w.-]+", "-", text.strip("<>")).strip("-.") or "concept"


def named(pattern: str, name: str, **more: object) -> str:
    """A pattern such as ``<{name}>`` with a concept's name in it, and others after their names."""
    for field, value in (("name", file_name(name)), *more.items()):
        pattern = pattern.replace(f"{{{field}}}", str(value))
    return pattern
