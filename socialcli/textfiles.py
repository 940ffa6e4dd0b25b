"""Text files as people and editors of every system write them."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from socialcli.errors import UsageError

_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decoded(data: bytes) -> str:
    """A file's text: UTF-8, with a byte-order mark or without, or UTF-16 with one, which programs
    of Windows call "Unicode".

    Raises:
        UnicodeDecodeError: another encoding (a `ValueError`).
    """
    return data.decode("utf-16" if data.startswith(_WIDE) else "utf-8-sig")


def read(file: str | Path, named: str = "") -> str:
    """The text of a file that a user gave or wrote.

    Args:
        named: what it is called in the message (``--names FILE``) instead of by its path.

    Raises:
        UsageError: it cannot be read, or has another encoding.
    """
    named = named or str(file)
    try:
        return decoded(Path(file).expanduser().read_bytes())
    except OSError as error:
        raise UsageError(f"{named}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{named}: not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None


def lines(file: str | Path, named: str = "") -> list[str]:
    """The lines of such a file without the space around them; empty ones are left out."""
    return [line.strip() for line in split(read(file, named)) if line.strip()]


def split(text: str) -> list[str]:
    """The lines of a text as editors show them.

    What else Python takes for the end of a line (a page break, U+0085, U+2028) stands within
    sentences that were copied from documents and pages.
    """
    return re.split(r"\r\n|\r|\n", text)
