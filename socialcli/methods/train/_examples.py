"""One training picture of a subject: whole, or cut out and placed on a background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.errors import SampleFailed
from socialcli.methods.train import _augment, _subjects

if TYPE_CHECKING:
    from socialcli.methods.train._augment import Backgrounds
    from socialcli.methods.train._subjects import Subject
    from socialcli.randomness import Variant
    from socialcli.shards import Sample


def example(
    sample: Sample, variant: Variant, config: Any, side: int, subjects: list[Subject],
    shown: list[int], behind: Backgrounds, masked: bool,
) -> dict[str, Any]:  # fmt: skip
    """One training picture of one of the subjects that a sample shows.

    Args:
        config: `SubjectOptions`. side: pixels. shown: numbers of the subjects it shows.
        masked: whether its mask is needed, whatever the augmentation.

    Returns:
        ``pixels`` (3, S, S) float32 in [-1, 1], ``subject`` (number), with ``masked`` ``mask``
        (1, S, S) float32 in [0, 1].

    Raises:
        SampleFailed: a mask is needed, and none says where the subject is.
    """
    import numpy
    import torch

    from socialcli.diffusion import latents
    from socialcli.training import geometry
    from socialcli.vision import images

    rng = variant.random
    number = rng.choice(shown)
    image = images.decode(sample.picture())
    frame = geometry.choose(image.width, image.height, side, rng, config.crop, config.flip)
    placed = rng.random() < config.augment
    where = _subjects.mask(sample, subjects[number]) if placed or masked else None
    if where is None and (placed or masked):
        raise SampleFailed(f"no mask of {subjects[number].name}; `socialcli segment` makes masks")
    if placed and where is not None:
        pixels, share = _augment.place(image, where, side, rng, behind, config.flip)
    else:
        pixels = frame.picture(image)
        share = frame.mask(where) if where is not None else numpy.zeros(())
    made: dict[str, Any] = {"pixels": latents.pixels(pixels), "subject": number}
    if masked:
        made["mask"] = torch.from_numpy(share.astype("float32"))[None]
    return made
