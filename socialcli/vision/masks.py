"""Binary masks as COCO's compressed run-length code, the form `records.Mask.rle` keeps.

The code runs down the columns (Fortran order) and compresses the run lengths into ASCII text;
`pycocotools` reads and writes it, and so does every COCO tool.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from socialcli.errors import SampleFailed
from socialcli.vision.images import MAX_PIXELS

if TYPE_CHECKING:
    import numpy

    from socialcli.records import RLE


def encode(mask: numpy.ndarray) -> RLE:
    """A (height, width) mask -> ``{"size": [height, width], "counts": "..."}``; non-zero is in."""
    import numpy
    from pycocotools import mask as coco

    code = coco.encode(numpy.asfortranarray(numpy.asarray(mask) != 0, dtype=numpy.uint8))
    return {"size": [int(n) for n in code["size"]], "counts": code["counts"].decode("ascii")}


def decode(rle: Mapping[str, Any]) -> numpy.ndarray:
    """The (height, width) bool mask of a code that `encode` or any COCO tool wrote.

    ``counts`` may also be a plain list of run lengths, COCO's uncompressed form.

    Raises:
        SampleFailed: not such a code, or its runs do not fill its size.
    """
    from pycocotools import mask as coco

    try:
        height, width = (int(n) for n in rle["size"])
        counts = rle["counts"]
        if not 0 < height * width <= MAX_PIXELS:
            raise ValueError(f"a size of {height}x{width}")
        if isinstance(counts, list):
            code = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        else:
            code = {"size": [height, width], "counts": counts}
        # pycocotools trusts the runs: too many of them write past the end of its array.
        if _length(code["counts"]) != height * width:
            raise ValueError("its runs do not add up to its size")
        return coco.decode(code).astype(bool)
    except (KeyError, TypeError, ValueError) as error:
        raise SampleFailed(f"a mask is not a COCO run-length code ({error})") from None


def area(rle: Mapping[str, Any]) -> int:
    """Pixels inside the mask."""
    return int(decode(rle).sum())


def _length(counts: str | bytes) -> int:
    """Sum of the runs of a compressed code: base 32, 6 bits a character, each run from the
    fourth on stored as the difference to the run two before it.

    Raises:
        ValueError: a character or a run that the code cannot have.
    """
    text = counts.encode("ascii") if isinstance(counts, str) else counts
    runs: list[int] = []
    value = shift = 0
    for byte in text:
        digit = byte - 48
        if not 0 <= digit < 64:
            raise ValueError("a character that the code does not use")
        value |= (digit & 31) << shift
        shift += 5
        if shift > 50:
            raise ValueError("a run longer than any picture")
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            raise ValueError("a negative run")
        runs.append(value)
        value = shift = 0
    if shift:
        raise ValueError("it ends in the middle of a run")
    return sum(runs)
