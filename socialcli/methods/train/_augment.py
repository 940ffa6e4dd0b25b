"""A subject cut out by its mask, scaled, and placed on a background.

Multi-Subject Personalization (arXiv 2405.12742), A.1: subjects are zoomed to 0.4 to 0.5, with
probability 0.1 cropped to 0.65 to 0.95 of their size, placed at random on the canvas, and merged
with one of 100 backgrounds.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from socialcli.errors import SampleFailed, UsageError

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image
    from torch import Tensor

ZOOM = (0.4, 0.5)  # the longer side of what is pasted, as a share of the canvas
CROP_SHARE = (0.65, 0.95)  # of each side, where a subject is cropped
CROP_PROBABILITY = 0.1
WORLD = "world"
KEPT_BYTES = 256 << 20  # of backgrounds that stay decoded


@dataclass
class Backgrounds:
    """Pictures that subjects are placed on: of a folder, or places of the rendered world."""

    files: list[Path]  # empty: of the world
    count: int
    side: int
    _kept: dict[int, numpy.ndarray] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def picture(self, number: int) -> numpy.ndarray:
        """(side, side, 3) uint8; the middle square of a file's picture."""
        known = self._kept.get(number)
        if known is not None:
            return known
        import numpy

        if self.files:
            from socialcli.training import geometry
            from socialcli.vision import images

            file = self.files[number % len(self.files)]
            try:
                image = images.decode(file.read_bytes())
            except (SampleFailed, OSError) as error:
                raise UsageError(f"{file}: not a background picture ({error})") from None
            rng = random.Random(0)
            frame = geometry.choose(image.width, image.height, self.side, rng, "centre", 0.0)
            pixels = frame.picture(image)
        else:
            from socialcli.miniature.world.backgrounds import background

            pixels = numpy.asarray(background(number, self.side))
        with self._lock:
            if (len(self._kept) + 1) * pixels.nbytes <= KEPT_BYTES:
                self._kept[number] = pixels
        return pixels


def backgrounds(folder: str, count: int, side: int) -> Backgrounds:
    """Those of ``--backgrounds`` and ``--background-count``.

    Raises:
        UsageError: a folder without pictures.
    """
    pictures = files(folder)[:count]
    return Backgrounds(pictures, len(pictures) or count, side)


def files(folder: str) -> list[Path]:
    """The pictures of a folder, by name; none of the world.

    Raises:
        UsageError: there is no such folder, or no picture in it.
    """
    if folder == WORLD:
        return []
    from PIL import Image

    place = Path(folder).expanduser()
    if not place.is_dir():
        raise UsageError(f"{folder}: no such folder of pictures")
    known = Image.registered_extensions()
    pictures = [p for p in sorted(place.rglob("*")) if p.suffix.lower() in known and p.is_file()]
    if not pictures:
        raise UsageError(f"{folder}: no pictures in this folder")
    return pictures


def place(
    image: Image, mask: numpy.ndarray, side: int, rng: random.Random, behind: Backgrounds,
    flip: float,
) -> tuple[numpy.ndarray, numpy.ndarray]:  # fmt: skip
    """A subject on a background.

    Args:
        image: RGB, the upright picture. mask: (H, W) bool, not empty; any size of the picture's
            shape. side: of the canvas, pixels. flip: probability of mirroring the subject.

    Returns:
        (side, side, 3) uint8 and (side, side) float32 in [0, 1]: how much of each pixel is the
        subject's.
    """
    import numpy
    from PIL import Image as pillow
    from PIL.Image import Resampling

    cut_out = pillow.fromarray(mask.astype(numpy.uint8) * 255)
    if cut_out.size != image.size:
        cut_out = cut_out.resize(image.size, Resampling.NEAREST)
    left, top, right, bottom = map(float, cut_out.getbbox() or (0, 0, *image.size))
    if rng.random() < CROP_PROBABILITY:
        width, height = (
            max(1.0, share * rng.uniform(*CROP_SHARE)) for share in (right - left, bottom - top)
        )
        left += rng.uniform(0, right - left - width)
        top += rng.uniform(0, bottom - top - height)
        right, bottom = left + width, top + height
    scale = rng.uniform(*ZOOM) * side / max(right - left, bottom - top)
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    box = (left, top, right, bottom)
    pixels = numpy.asarray(image.resize(size, Resampling.BILINEAR, box=box), numpy.float32)
    alpha = numpy.asarray(cut_out.resize(size, Resampling.BILINEAR, box=box), numpy.float32) / 255
    if rng.random() < flip:
        pixels, alpha = pixels[:, ::-1], alpha[:, ::-1]
    x, y = rng.randint(0, side - size[0]), rng.randint(0, side - size[1])
    canvas = behind.picture(rng.randrange(behind.count)).astype(numpy.float32)
    part = (slice(y, y + size[1]), slice(x, x + size[0]))
    canvas[part] = alpha[..., None] * pixels + (1 - alpha[..., None]) * canvas[part]
    placed = numpy.zeros((side, side), numpy.float32)
    placed[part] = alpha
    return canvas.round().astype(numpy.uint8), placed


def zoom(pixels: Tensor, rng: random.Random) -> tuple[Tensor, Tensor, str]:
    """A picture farther away or nearer, as Custom Diffusion trains (arXiv 2212.04488, section 4.2).

    Two in three are scaled by 1/3 to 1, the others by 1.2 to 1.4. Below 0.6 the picture stands on
    black and only its place counts, without its rim; up to 1 it is left as it is.

    Args:
        pixels: (3, S, S).

    Returns:
        (3, S, S) pixels, (1, S, S) float32 mask of the loss, what the text begins with.
    """
    import torch
    import torch.nn.functional as F

    side = pixels.shape[-1]
    scale = rng.uniform(1 / 3, 1) if rng.random() < 2 / 3 else rng.uniform(1.2, 1.4)
    size = round(scale * side)
    x, y = (rng.random() for _ in range(2))
    mask = torch.ones(1, side, side)
    if 0.6 <= scale <= 1:
        return pixels, mask, ""
    scaled = F.interpolate(
        pixels[None], (size, size), mode="bilinear", antialias=True, align_corners=False
    )[0]
    if scale > 1:
        left, top = (int(share * (size - side + 1)) for share in (x, y))
        shown = scaled[:, top : top + side, left : left + side].clone()
        return shown, mask, rng.choice(("zoomed in", "close up"))
    left, top = (int(share * (side - size + 1)) for share in (x, y))
    canvas = torch.full_like(pixels, -1.0)
    canvas[:, top : top + size, left : left + size] = scaled
    rim = max(1, side // 64)  # a latent of Stable Diffusion's pictures
    mask.zero_()
    mask[:, top + rim : top + size - rim, left + rim : left + size - rim] = 1
    return canvas, mask, rng.choice(("a far away", "very small"))
