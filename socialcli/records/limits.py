"""How large a member and its parts may be: the limits that the types of `socialcli.records` state.

They are far above what real data needs and far below what hurts: a member within them is read in
well under a second, and no number in it overflows where pictures are drawn or arrays are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

MAX_BYTES = 1 << 26  # of one JSON member
MAX_ARRAY_BYTES = 1 << 28  # of one .npy member
MAX_DEPTH = 64  # arrays and objects within one another
MAX_ITEMS = 5_000  # boxes, masks, people... of one sample
MAX_SEGMENTS = 256  # of one layout
MAX_TEXT = 1 << 15  # characters of a caption or a prompt
MAX_NAME = 1 << 12  # characters of a label, a path, the name of a model
MAX_MASK_CODE = 1 << 22  # characters of a mask's run-length code
MAX_WHOLE = 2**31 - 1  # ids and counts: what a 32-bit integer holds
MAX_SIDE = 20_000  # pixels
MAX_PIXELS = 100_000_000  # of a mask
MAX_COORDINATE = 10_000  # pictures: a point may lie outside, but not anywhere
MAX_NUMBER = 1_000_000_000  # of numbers without a scale of their own
MAX_DIMENSIONS = 1 << 16  # of a face embedding


@dataclass(frozen=True)
class Limit:
    """What a value must keep to, beside its type in an ``Annotated``.

    It becomes `msgspec.Meta`, whose names these are, when the first member is decoded
    (`members.with_limits`): who asks for `--help` decodes none.
    """

    ge: float | None = None
    le: float | None = None
    multiple_of: float | None = None
    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None


Id = Annotated[int, Limit(ge=1, le=MAX_WHOLE)]
Count = Annotated[int, Limit(ge=0, le=MAX_WHOLE)]
Positive = Annotated[int, Limit(ge=1, le=MAX_WHOLE)]
Pixels = Annotated[int, Limit(ge=1, le=MAX_SIDE)]
Seed = Annotated[int, Limit(ge=0, le=2**63 - 1)]
Orientation = Annotated[int, Limit(ge=1, le=8)]
Coordinate = Annotated[float, Limit(ge=-MAX_COORDINATE, le=MAX_COORDINATE)]
Direction = Annotated[float, Limit(ge=-1.001, le=1.001)]
Visibility = Annotated[float, Limit(ge=0, le=2, multiple_of=1)]
Score = Annotated[float, Limit(ge=0, le=1)]
Number = Annotated[float, Limit(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Text = Annotated[str, Limit(max_length=MAX_TEXT)]
SomeText = Annotated[str, Limit(min_length=1, max_length=MAX_TEXT)]
Name = Annotated[str, Limit(max_length=MAX_NAME)]
SomeName = Annotated[str, Limit(min_length=1, max_length=MAX_NAME)]
MaskCode = Annotated[str, Limit(max_length=MAX_MASK_CODE)]
Colour = Annotated[str, Limit(pattern="^#[0-9a-f]{6}$")]
Kind = Annotated[str, Limit(pattern="^(person|animal|object)$")]
ITEMS = Limit(max_length=MAX_ITEMS)
SEGMENTS = Limit(min_length=1, max_length=MAX_SEGMENTS)
PAIR = Limit(min_length=2, max_length=2)
FIVE = Limit(min_length=5, max_length=5)
