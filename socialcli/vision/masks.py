"""Binary masks as COCO's compressed run-length code, the form `records.Mask.rle` keeps.

The code runs down the columns (Fortran order) and compresses the run lengths into ASCII text;
`pycocotools` reads and writes it, and so does every COCO tool.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from socialcli.errors import SampleFailed
from socialcli.records import rle as rle_code
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

    return coco.decode(check(rle)).astype(bool)


def check(rle: Mapping[str, Any]) -> dict[str, Any]:
    """The compressed code, once it is certain that its runs fill its size.

    Nothing of the mask's size is reserved here, so a code may be looked at whatever size it claims.

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
            if not all(isinstance(n, int) and 0 <= n <= MAX_PIXELS for n in counts):
                raise ValueError("a run that is no number of pixels")
            code = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        else:
            code = {"size": [height, width], "counts": counts}
        rle_code.check(code["counts"], height * width)
        return code
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SampleFailed(f"a mask is not a COCO run-length code ({error})") from None


def area(rle: Mapping[str, Any]) -> int:
    """Pixels inside the mask, counted from its runs.

    Raises:
        SampleFailed: not such a code, or its runs do not fill its size.
    """
    from pycocotools import mask as coco

    return int(coco.area(check(rle)))


def overlaps(predicted: list[Mapping[str, Any]], truth: list[Mapping[str, Any]]) -> numpy.ndarray:
    """(N, M) intersection over union of masks of one size, computed from their runs.

    Raises:
        SampleFailed: a code that is none.
    """
    import numpy
    from pycocotools import mask as coco

    first, second = [check(rle) for rle in predicted], [check(rle) for rle in truth]
    if not first or not second:
        return numpy.zeros((len(first), len(second)))
    return numpy.asarray(coco.iou(first, second, [0] * len(second)))
