"""Tables as spreadsheets and pandas write them: their encoding, their delimiter, their numbers."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from typing import Any

from socialcli import textfiles
from socialcli.errors import UsageError

DELIMITERS = ",;\t|"
NOTHING = ("", "nan", "none", "null", "na", "n/a", "<na>")  # how a missing number is written
_EXACT = 2**53  # above it a float has lost digits of a whole number


def decoded(data: bytes, where: str) -> str:
    """A table's text: UTF-8, or the UTF-16 that Excel calls "Unicode text".

    Raises:
        UsageError: another encoding; ``where`` begins the line.
    """
    try:
        return textfiles.decoded(data)
    except UnicodeDecodeError as error:
        mend = "save it as CSV UTF-8"
        raise UsageError(f"{where}: not UTF-8 text (byte {error.start}); {mend}") from None


def delimited(text: str, suffix: str, columns: Iterable[str]) -> tuple[str, str]:
    """(delimiter, the table's text) of a CSV or TSV file.

    Where half of Europe sits, spreadsheets divide the cells of a CSV by semicolons, since the comma
    is in their numbers; Excel may say so in a first line ``sep=;``, which goes.

    Args:
        suffix: of the file, such as ``.csv``. columns: names that its first line may have.
    """
    first, end, rest = text.partition("\n")
    lowered = first.strip().lower()
    if lowered.startswith("sep=") and len(first.strip("\r")) == 5:
        return first[4], rest
    if suffix == ".tsv":
        return "\t", text
    known = set(columns)
    for delimiter in DELIMITERS:
        cells = {cell.strip().lower() for cell in _cells(first, delimiter)}
        # A header of one column says nothing of what divides the others.
        if cells & known and (len(cells) > 1 or not end):
            return delimiter, text
    name = _cells(first, ",")[0] if first else ""
    if not {cell.strip().lower() for cell in _cells(first, ",")} & known:
        for delimiter in DELIMITERS[1:]:  # no header: a name has none of them in it
            if delimiter in name:
                return delimiter, text
    return ",", text


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [""]) or [""]


def number(value: Any, whole: bool) -> int | float | None:
    """A cell's number; None where it says that there is none.

    pandas writes a column of whole numbers as 42.0 when one of its cells is empty, and a
    spreadsheet with decimal commas writes 0,65.

    Raises:
        ValueError: no number, no whole one where ``whole``, or one whose digits a float has lost.
    """
    if isinstance(value, bool):
        raise ValueError("true or false")
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in NOTHING:
            return None
        if whole and text.lstrip("+-").isdigit():
            return int(text)
        value = float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a finite number")
    if not whole:
        return float(value)
    if isinstance(value, float):
        if value != int(value):
            raise ValueError("not a whole number")
        if abs(value) > _EXACT:
            raise ValueError("it has lost digits: write the column as whole numbers")
    return int(value)
