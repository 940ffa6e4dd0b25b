"""Picture bytes to pixels, safely: the only place that decodes a picture from a shard.

What is refused, and why it is refused before anything is allocated: a header may promise 40,000 x
40,000 pixels in 60 bytes, so sizes are read from the header alone and checked first. Pillow's own
limits on compressed text and colour profiles in PNG files stay on. Colours are taken as they are
stored: an embedded colour profile is not applied, as no model in the chain was trained that way.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from socialcli.errors import SampleFailed, install

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

MAX_PIXELS = 100_000_000  # a 10,000 x 10,000 picture; above it decoding costs 300 MB and more
MAX_SIDE = 20_000
MAX_ASPECT = 50  # a picture longer than this many times its width leaves nothing to look at
LEAST_SIDE = 4
MAX_BYTES = 512 * 2**20  # of one picture file
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "HEIF")
# Decoders that Pillow runs in Python, a step per byte or row: bounded harder, or they take minutes.
_MAX_SLOW_PIXELS = 16_000_000
_SLOW_DECODERS = ("bmp_rle", "ppm_plain", "ppm")
# A progressive JPEG is decoded once over for each of its scans: some ten in a photograph, but a
# file of 60 kB may hold thousands.
_MAX_SCANNED_PIXELS = 4_000_000_000
_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
STARTS = tuple(_MAGIC)  # how files of the common formats begin


@dataclass(frozen=True)
class PictureFacts:
    """What a header says: upright size in pixels, EXIF orientation (1 to 8), format.

    ``orientation`` is what the stored pixels need; ``width`` and ``height`` are those after it.
    """

    width: int
    height: int
    orientation: int
    format: str

    @property
    def stored_size(self) -> tuple[int, int]:
        """(width, height) of the pixels as stored, before the orientation is applied."""
        if self.orientation >= 5:
            return self.height, self.width
        return self.width, self.height


@cache
def _prepare_pillow() -> tuple[str, ...]:
    """Let Pillow refuse at our limit, not at its own; returns those of `FORMATS` it can read."""
    from PIL import Image, PngImagePlugin

    with contextlib.suppress(ImportError):  # an extra: HEIC, as telephones write it
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    Image.init()  # without it, naming a format whose reader is not loaded yet is a KeyError
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow's error comes at twice this number
    # Filters are process-wide: set once, since decoding runs on threads.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", module=r"PIL\b")
    # Photoshop's XMP notes often pass the default of 1 MB and made good pictures fail.
    PngImagePlugin.MAX_TEXT_CHUNK = 8 * 2**20
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _open(data: bytes) -> Image:
    import io

    from PIL import Image, UnidentifiedImageError

    if not data:
        raise SampleFailed("the picture has zero bytes")
    if len(data) > MAX_BYTES:
        raise SampleFailed(
            f"picture refused: {len(data) / 2**20:.0f} MB is over the limit of "
            f"{MAX_BYTES // 2**20} MB"
        )
    try:
        picture = Image.open(io.BytesIO(data), formats=_prepare_pillow())
    except UnidentifiedImageError:
        raise SampleFailed(_guess(data)) from None
    except Image.DecompressionBombError as error:
        pixels = next((int(word) for word in re.findall(r"\d+", str(error))), 0)
        raise SampleFailed(
            f"picture refused: {pixels} pixels are over the limit of {MAX_PIXELS // 1_000_000} "
            "megapixels"
        ) from None
    except Exception as error:  # a hostile header may raise anything; it is the sample's fault
        raise SampleFailed(f"the picture's header cannot be read ({_why(error)})") from None
    _check_size(picture)
    return picture


def _check_size(picture: Image) -> None:
    width, height = picture.size
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise SampleFailed(
            f"picture refused: {width}x{height} pixels is over the limit of {MAX_SIDE} a side "
            f"and {MAX_PIXELS // 1_000_000} megapixels"
        )
    if width <= 0 or height <= 0:
        raise SampleFailed("the picture is empty (0 pixels)")
    tiles = getattr(picture, "tile", None) or []
    if any(tile[0] in _SLOW_DECODERS for tile in tiles) and width * height > _MAX_SLOW_PIXELS:
        raise SampleFailed(
            f"picture refused: {width}x{height} pixels in a rarely used coding that is slow to "
            f"decode (limit {_MAX_SLOW_PIXELS // 1_000_000} megapixels); save it as PNG"
        )
    if picture.format == "TIFF":
        _check_tiff(picture)


def _check_tiff(picture: Image) -> None:
    """A TIFF states the size of its tiles apart from its own: one tile may claim gigabytes."""
    tags = getattr(picture, "tag_v2", {})
    try:
        tile = int(tags.get(322, 1)) * int(tags.get(323, 1))
    except (TypeError, ValueError):
        raise SampleFailed("the picture's header cannot be read (TIFF tile size)") from None
    # Tiles at the edges overhang, so a tile may be larger than a small picture; not by much.
    if tile > max(4 * picture.size[0] * picture.size[1], 2**20):
        raise SampleFailed(f"picture refused: it claims tiles of {tile} pixels")


def _check_scans(picture: Image, data: bytes) -> None:
    scans = data.count(b"\xff\xda")  # within the pixel data a 0xFF is always followed by 0
    if scans * picture.size[0] * picture.size[1] > _MAX_SCANNED_PIXELS:
        raise SampleFailed(f"picture refused: a JPEG of {scans} scans takes minutes to decode")


def _why(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _guess(data: bytes) -> str:
    start = data[:256].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")):
        return "not a picture (it is an HTML or XML page, perhaps a download error)"
    if start.startswith(b"version https://git-lfs"):
        return "not a picture but git-lfs's note of one; fetch them with: git lfs pull"
    for magic, name in _MAGIC.items():
        if data.startswith(magic):
            return f"the picture's header cannot be read (damaged or truncated {name})"
    if data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "a JPEG XL file, which cannot be read here; convert it to JPEG or PNG"
    if data.startswith((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")):
        return "a JPEG 2000 file, which cannot be read here; convert it to JPEG or PNG"
    if data.startswith(b"8BPS"):
        return "a Photoshop file, which cannot be read here; export it as JPEG or PNG"
    if data[4:8] == b"ftyp":
        if importlib.util.find_spec("pillow_heif") is None:
            return f"a HEIC or AVIF file: {install('heic')}, or convert it to JPEG"
        return "a HEIC or AVIF file that cannot be read here; convert it to JPEG"
    return f"not a picture (it starts with {data[:8]!r})"


def facts(data: bytes) -> PictureFacts:
    """Size and orientation from the header alone; no pixel is decoded.

    Raises:
        SampleFailed: not a picture, or one that is refused for its size.
    """
    picture = _open(data)
    orientation = _orientation(picture, data)
    width, height = picture.size
    # Pillow gives a TIFF's size upright already, everyone else's as stored.
    if orientation >= 5 and picture.format != "TIFF":
        width, height = height, width
    return PictureFacts(width, height, orientation, picture.format or "")


def _orientation(picture: Image, data: bytes) -> int:
    """The EXIF orientation, 1 when there is none or it makes no sense.

    Only EXIF counts, as in every browser; Pillow would also believe an XMP note. Of a PNG the
    chunk is looked up here, because Pillow decodes the whole picture to find it.
    """
    from PIL import Image

    try:
        if picture.format == "TIFF":
            value = getattr(picture, "tag_v2", {}).get(0x0112, 1)
        else:
            block = _png_exif(data) if picture.format == "PNG" else picture.info.get("exif")
            if not block:
                return 1
            exif = Image.Exif()
            exif.load(block)
            value = exif.get(0x0112, 1)
        return int(value) if value in range(1, 9) else 1
    except Exception:  # a broken EXIF block says nothing about orientation
        return 1


def _png_exif(data: bytes) -> bytes | None:
    """The body of a PNG's eXIf chunk, which may stand before or after the pixels."""
    position = 8
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        if kind == b"eXIf":
            return data[position + 8 : position + 8 + length]
        if kind == b"IEND":
            return None
        position += 12 + length
    return None


def decode(data: bytes) -> Image:
    """The upright picture in RGB, 8 bits a channel.

    EXIF orientation is applied, the first frame of an animation is taken, 16-bit grey is scaled
    to 8 bits, transparency is laid over white, CMYK is converted.

    Returns:
        A picture of exactly the size `facts` gives, without metadata.

    Raises:
        SampleFailed: not a picture, truncated, or refused for its size.
    """
    picture = _open(data)
    if picture.format in ("JPEG", "MPO"):  # MPO: JPEGs one behind the other
        _check_scans(picture, data)
    # Before loading: Pillow turns a TIFF upright while it loads, and drops the tag.
    orientation = 1 if picture.format == "TIFF" else _orientation(picture, data)
    try:
        picture.load()
        _check_size(picture)
        return _upright(_rgb(picture), orientation)
    except SampleFailed:
        raise
    except Exception as error:  # truncated or corrupt data: Pillow raises many kinds
        raise SampleFailed(f"the picture cannot be decoded ({_why(error)})") from None


def decode_file(file: Path) -> Image:
    """`decode` of a picture file that was named; what is wrong with it is said with its name.

    Raises:
        SampleFailed: it cannot be read, or as `decode`.
    """
    try:
        return decode(file.read_bytes())
    except OSError as error:
        raise SampleFailed(f"{file}: cannot be read ({error.strerror})") from None
    except SampleFailed as error:
        raise SampleFailed(f"{file}: {error}") from None


def decode_to_look(data: bytes) -> Image:
    """`decode` for a model that is to see what the picture shows.

    Raises:
        SampleFailed: as `decode`; or there is nothing to see, see `refuse_sliver`.
    """
    picture = decode(data)
    refuse_sliver(picture)
    return picture


def refuse_sliver(picture: Image) -> None:
    """Refuse a picture in which there is nothing to see.

    What prepares pictures for networks scales a thin one to no pixels at all, and takes the rows
    of one that is 1 or 3 pixels high for channels.

    Raises:
        SampleFailed: a side is shorter than `LEAST_SIDE`, or than the other's `MAX_ASPECT`-th part.
    """
    short, long = sorted(picture.size)
    if short < LEAST_SIDE or long > MAX_ASPECT * short:
        size = f"{picture.width}x{picture.height} pixels"
        raise SampleFailed(f"a picture of {size} is too narrow to show anything; leave it out")


def _rgb(picture: Image) -> Image:
    from PIL import Image

    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _grey_to_8_bit(picture)
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, rgba)
    result = picture.convert("RGB")
    if result is picture:
        result = picture.copy()
    result.info = {}
    return result


def _upright(picture: Image, orientation: int) -> Image:
    from PIL.Image import Transpose

    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,  # Pillow turns anticlockwise
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return picture.transpose(methods[orientation]) if orientation in methods else picture


def _grey_to_8_bit(picture: Image) -> Image:
    """High-depth grey to 8 bits.

    16-bit files span 0 to 65535 by definition, whatever this picture uses of it. 32-bit and float
    files have no such rule: the smallest of 1 (float), 255 and 65535 that holds their values.
    """
    import numpy
    from PIL import Image

    values = numpy.nan_to_num(numpy.asarray(picture).astype(numpy.float32))
    top = 65535.0 if picture.mode.startswith("I;16") else _white(values, picture.mode)
    return Image.fromarray(numpy.clip(values * (255.0 / top) + 0.5, 0, 255).astype(numpy.uint8))


def _white(values: numpy.ndarray, mode: str) -> float:
    high = float(values.max(initial=0))
    if mode == "F" and high <= 1.0:
        return 1.0
    return 255.0 if high <= 255.0 else 65535.0
