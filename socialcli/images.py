"""Picture bytes to pixels, safely: the only place that decodes a picture from a shard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from socialcli.errors import SampleFailed

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 100_000_000  # a 10,000 x 10,000 picture; above it decoding costs 300 MB and more
MAX_SIDE = 20_000
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")


@dataclass(frozen=True)
class PictureFacts:
    """What a header says: upright size in pixels, EXIF orientation (1 to 8), format."""

    width: int
    height: int
    orientation: int
    format: str


def _open(data: bytes) -> Image:
    import io

    from PIL import Image, UnidentifiedImageError

    if not data:
        raise SampleFailed("the picture has zero bytes")
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise SampleFailed(f"not a picture ({_guess(data)})") from None
    except Image.DecompressionBombError:
        raise SampleFailed("picture refused: far more pixels than any photograph") from None
    except Exception as error:  # a hostile header may raise anything; it is the sample's fault
        raise SampleFailed(f"the picture's header cannot be read ({error})") from None
    width, height = picture.size
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise SampleFailed(
            f"picture refused: {width}x{height} pixels is over the limit of {MAX_SIDE} a side "
            f"and {MAX_PIXELS // 1_000_000} megapixels"
        )
    if width == 0 or height == 0:
        raise SampleFailed("the picture is empty (0 pixels)")
    return picture


def _guess(data: bytes) -> str:
    start = data[:256].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "it is an HTML or XML page, perhaps a download error"
    return f"it starts with {data[:8]!r}"


def facts(data: bytes) -> PictureFacts:
    """Size and orientation from the header alone.

    Raises:
        SampleFailed: not a picture, or one that is refused for its size.
    """
    picture = _open(data)
    orientation = _orientation(picture)
    width, height = picture.size
    if orientation >= 5:
        width, height = height, width
    return PictureFacts(width, height, orientation, picture.format or "")


def _orientation(picture: Image) -> int:
    try:
        value = picture.getexif().get(0x0112, 1)
    except Exception:  # a broken EXIF block says nothing about orientation
        return 1
    return value if value in range(1, 9) else 1


def decode(data: bytes) -> Image:
    """The upright picture in RGB, 8 bits a channel.

    EXIF orientation is applied, the first frame of an animation is taken, 16-bit grey is scaled
    to 8 bits, transparency is laid over white, CMYK is converted.

    Raises:
        SampleFailed: not a picture, truncated, or refused for its size.
    """
    from PIL import Image, ImageOps

    picture = _open(data)
    try:
        picture.load()
        if _orientation(picture) != 1:
            picture = ImageOps.exif_transpose(picture)
        if picture.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
            picture = _grey_to_8_bit(picture)
        if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            rgba = picture.convert("RGBA")
            white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
            picture = Image.alpha_composite(white, rgba)
        return picture.convert("RGB")
    except SampleFailed:
        raise
    except Exception as error:  # truncated or corrupt data: Pillow raises many kinds
        raise SampleFailed(f"the picture cannot be decoded ({error})") from None


def _grey_to_8_bit(picture: Image) -> Image:
    """High-depth grey to 8 bits: 16-bit by its range, float and 32-bit by what it holds."""
    import numpy
    from PIL import Image

    values = numpy.asarray(picture).astype(numpy.float64)
    top = 65535.0 if values.max(initial=0) > 255 else 255.0
    return Image.fromarray(numpy.clip(values * (255.0 / top) + 0.5, 0, 255).astype(numpy.uint8))
