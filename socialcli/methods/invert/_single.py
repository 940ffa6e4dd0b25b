"""One picture of one thing: whether it is that, and the ways in which it is shown."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from socialcli.errors import SampleFailed, UsageError
from socialcli.methods.invert import _concepts
from socialcli.vision.people import distinct, kind_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from socialcli.shards import Sample
    from socialcli.shards.index import Index


def check_all(config: Any, index: Index) -> None:
    """Refuse concepts of several pictures, and pictures that are not of one person.

    Raises:
        UsageError: one line that names the pictures.
    """
    for concept in _concepts.find(config, index):
        if len(concept.samples) > 1:
            keys = [index.entries[number].key for number in concept.samples]
            shown = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
            raise UsageError(
                f"{concept.token}: {len(keys)} pictures ({shown}), and identity learns from one: "
                f"name it, as --concept '{concept.token}={keys[0]}'"
            )
        try:
            check(concept.initial, index.read(concept.samples[0]))
        except SampleFailed as error:
            raise UsageError(f"{index.entries[concept.samples[0]].key}: {error}") from None


def check(category: str, sample: Sample) -> None:
    """Whether a picture shows one person, as far as its records say; other categories always pass.

    ``people.json`` is asked for faces, without it ``boxes.json`` for persons. A picture without
    either is believed.

    Raises:
        SampleFailed: it shows several people, or no face.
    """
    from socialcli import records

    if kind_of(category) != "person":
        return
    if sample.has("people.json"):
        people = sample.record(records.People).people
        count = len(people)
        if all(person.face is None for person in people):
            raise SampleFailed("people.json has no face: identity wants a picture that shows one")
    elif sample.has("boxes.json"):
        boxes = sample.record(records.Boxes).boxes
        count = len(distinct([b for b in boxes if kind_of(b.label) == "person"]))
    else:
        return
    if count > 1:
        raise SampleFailed(f"it shows {count} people, and identity wants one: cut the picture")


def augmented(
    image: Image,
    side: int,
    rng: random.Random,
    crop: str,
    jitter: float,
    flip: float,
    smallest: float,
) -> tuple[Tensor, Tensor]:
    """A picture's square in other colours, mirrored or not, and smaller on a plain ground.

    Args:
        side: of the square, pixels. crop: see `training.geometry.choose`.
        jitter: brightness, contrast and saturation are multiplied by up to 1 -+ this.
        flip: probability of mirroring. smallest: least share of the side that the picture takes.

    Returns:
        (3, S, S) in [-1, 1], and (S, S) float32, 1 where the picture lies; around it is its mean
        colour, which no loss should ask for.
    """
    import numpy
    import torch
    from PIL import Image as Pictures
    from PIL import ImageEnhance

    from socialcli.diffusion import latents as common
    from socialcli.training import geometry

    frame = geometry.choose(image.width, image.height, side, rng, crop, flip)
    square = Pictures.fromarray(frame.picture(image))
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        square = enhance(square).enhance(1 + jitter * (2 * rng.random() - 1))
    size = max(1, round(side * (smallest + (1 - smallest) * rng.random())))
    left, top = (int(rng.random() * (side - size + 1)) for _ in range(2))
    small = square.resize((size, size), Pictures.Resampling.BILINEAR, reducing_gap=3.0)
    mean = numpy.asarray(square, numpy.float64).mean((0, 1)).round().astype(numpy.uint8)
    canvas = numpy.broadcast_to(mean, (side, side, 3)).copy()
    canvas[top : top + size, left : left + size] = numpy.asarray(small)
    shown = torch.zeros(side, side)
    shown[top : top + size, left : left + size] = 1
    return common.pixels(canvas), shown
