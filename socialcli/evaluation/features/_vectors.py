"""Embeddings as values: of whole pictures, of texts, of boxes cut out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from socialcli.errors import SampleFailed
from socialcli.evaluation.features import Look, Value
from socialcli.vision import boxes as geometry

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image


def array(rows: Any) -> numpy.ndarray:
    """A model's output as float32 on the CPU, whatever it came as."""
    import numpy

    if hasattr(rows, "detach"):
        rows = rows.detach().float().cpu().numpy()
    return numpy.asarray(rows, numpy.float32)


def of_pictures(model: Any, looks: list[Look]) -> list[Value | SampleFailed]:
    """``vector`` (D,) of each picture."""
    return _each(array(model.images([look.image for look in looks])))


def of_texts(model: Any, looks: list[Look]) -> list[Value | SampleFailed]:
    """``vector`` (D,) of each text."""
    return _each(array(model.texts([look.text for look in looks])))


def _each(rows: numpy.ndarray) -> list[Value | SampleFailed]:
    import numpy

    return [
        {"vector": row} if numpy.isfinite(row).all() else SampleFailed("its embedding is no number")
        for row in rows
    ]


def of_crops(
    model: Any, looks: list[Look], boxes: Sequence[Sequence[Sequence[float]]]
) -> list[Value | SampleFailed]:
    """``vector`` (K, D) of each picture: one row for each of its normalised xyxy boxes, cut out;
    the whole picture where it has none."""
    import numpy

    cut: list[list[Image]] = []
    for look, own_boxes in zip(looks, boxes, strict=True):
        assert look.image is not None
        width, height = look.image.size
        parts = []
        for left, top, right, bottom in map(geometry.clip, map(tuple, own_boxes)):  # type: ignore[arg-type]
            pixels = (
                int(left * width), int(top * height),
                max(int(right * width + 0.999), int(left * width) + 1),
                max(int(bottom * height + 0.999), int(top * height) + 1),
            )  # fmt: skip
            parts.append(look.image.crop(pixels))
        cut.append(parts or [look.image])
    rows = array(model.images([part for parts in cut for part in parts]))
    ends = numpy.cumsum([len(parts) for parts in cut])[:-1]
    return [{"vector": vectors} for vectors in numpy.split(rows, ends)]


def detected(looks: list[Look]) -> list[list[list[float]]]:
    """The boxes that ``subject-objects`` holds for each look."""
    return [[box for _, box in look.before["subject-objects"]["boxes"]] for look in looks]
