"""What every importer does with a picture file: read it, state its facts, place annotations on it.

The frame of annotations. Records hold annotations in the upright picture, but a file with an EXIF
orientation stores its pixels turned, and data sets differ in which of the two their annotators'
numbers mean. `frame` decides it per picture, and `Frame` turns points, boxes and masks upright.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.errors import SampleFailed, UnknownName, UsageError
from socialcli.pipeline.stage import Noted
from socialcli.vision import images

if TYPE_CHECKING:
    import numpy

# Pictures that cannot be decoded here. They are taken for pictures all the same, so that a folder
# that has them says so, file by file, instead of looking smaller than it is.
NOT_READ = {
    **dict.fromkeys(("jxl",), "JPEG XL"),
    **dict.fromkeys(("jp2", "j2k", "j2c", "jpc", "jpx", "jpf", "jxr"), "JPEG 2000 or XR"),
    **dict.fromkeys(("hif", "heics", "heifs", "avci", "avifs", "bpg"), "HEIF"),
    **dict.fromkeys((
        "3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "iiq", "kdc", "mrw", "nef", "nrw",
        "orf", "pef", "raf", "rw2", "sr2", "srf", "srw", "x3f",
    ), "camera raw"),
    **dict.fromkeys(("psd", "psb", "xcf", "kra"), "layered"),
    **dict.fromkeys(("svg", "svgz", "eps", "wmf", "emf"), "vector"),
    **dict.fromkeys(("exr", "hdr", "tga", "dds", "pcx", "qoi", "flif", "pfm", "pam"), "such"),
}  # fmt: skip
# What a file name may end in to be taken for a picture.
SUFFIXES = (
    *records.IMAGE_SUFFIXES, "jfif", "jpe", "pgm", "pnm", "pbm", *NOT_READ,
)  # fmt: skip
_MEMBER = {
    "JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp",
    "TIFF": "tif", "PPM": "ppm", "AVIF": "avif", "HEIF": "heic",
}  # fmt: skip
# Exporters round: a box that ends so little beyond its picture means the edge.
SLIGHT_PIXELS, SLIGHT_SHARE = 1.0, 0.01
_SLIGHTLY = (
    "some boxes end up to a pixel or 1 % of the side outside their picture; they are clipped to it"
)
_FAR = (
    "some boxes end far outside their picture; they are clipped to it. Do the annotations belong "
    "to these pictures?"
)
FRAMES = ("auto", "stored", "upright")
FRAME_HELP = (
    "Which pixels the annotations of EXIF-rotated pictures count: stored, upright, or auto "
    "(whichever the annotated size fits; stored where it fits both)."
)


@dataclass(frozen=True)
class Picture:
    """One picture file: its bytes, the suffix of its member, its header's facts."""

    data: bytes
    suffix: str
    facts: images.PictureFacts
    source: str  # path relative to what was imported, as text that JSON can hold

    def members(self, **meta: Any) -> dict[str, bytes]:
        """The picture and its ``meta.json``; ``meta`` fills `records.Meta` (split, extra...)."""
        record = records.Meta(
            width=self.facts.width,
            height=self.facts.height,
            orientation=self.facts.orientation,
            source=self.source,
            **meta,
        )
        return {self.suffix: self.data, "meta.json": records.dump(record)}


def printable(path: str) -> str:
    """A file name as text that JSON can hold: bytes that are no UTF-8 become ``\\xNN``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def natural(path: str) -> tuple[Any, ...]:
    """Sort key by which ``2.jpg`` comes before ``10.jpg``; never equal for two paths."""
    pieces = re.split(r"([0-9]+)", path)
    # Odd pieces are the digits, so text is only ever compared with text.
    return tuple(int(p) if i % 2 else p for i, p in enumerate(pieces)), path


def is_picture_name(name: str) -> bool:
    stem, dot, suffix = name.rpartition(".")
    return bool(dot and stem) and suffix.lower() in SUFFIXES


def parted(path: str) -> tuple[str, str]:
    """A path without its file's suffix, and the suffix in small letters: ("a.b/c", "") of a.b/c,
    whose dot is its folder's."""
    folder, slash, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    return (folder + slash + stem, suffix.lower()) if dot else (path, "")


def without_doubles(paths: list[str]) -> list[str]:
    """The pictures but those that cannot be read and lie beside one of the same name that can, as
    cameras write them (IMG_1.CR2, IMG_1.JPG)."""
    parts = [parted(path) for path in paths]
    read = {stem for stem, suffix in parts if suffix not in NOT_READ}
    return [
        path
        for path, (stem, suffix) in zip(paths, parts, strict=True)
        if suffix not in NOT_READ or stem not in read
    ]


def looks_like_picture(path: Path) -> bool:
    """Whether a file without a suffix begins as a picture does."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return False
            start = file.read(12)
    except OSError:
        return False
    return start.startswith(images.STARTS) or start[4:8] == b"ftyp"


def pictures_in(folder: Path) -> list[str]:
    """Names of the pictures directly in a folder, in natural order; hidden files are left out."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    names = [path.name for path in paths if is_picture_name(path.name) and not path.is_dir()]
    return sorted(without_doubles(names), key=natural)


def source_folder(source: str) -> Path:
    """The folder to import from.

    Raises:
        UsageError: there is no such folder.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "no such folder"
        raise UsageError(f"{source}: {what}")
    return folder


def check_frame(value: str) -> None:
    if value not in FRAMES:
        raise UnknownName("--frame", value, FRAMES)


def located(root: Path, name: str) -> str | None:
    """The path below ``root`` of a picture that an annotation file names, None where there is none.

    Other tools write backslashes (from Windows), other capitals, the place on the annotator's own
    machine, or an address: then the name's last part is looked for in ``root`` itself.
    """
    slashed = name.replace("\\", "/")
    for path in [last_part(name)] if leads_outside(name) else [name, slashed]:
        if path and "\0" not in path and (root / path).is_file():
            return path
        folder, _, base = path.rpartition("/")
        spellings = _by_folded_name(root / folder).get(base.casefold(), [])
        if len(spellings) == 1:
            return f"{folder}/{spellings[0]}" if folder else spellings[0]
    return None


def leads_outside(name: str) -> bool:
    """Whether a picture's name is an address or a place outside the imported folder."""
    parts = name.replace("\\", "/").split("/")
    return not parts[0] or ".." in parts or ":" in parts[0]


def last_part(name: str) -> str:
    """The file's own name, without what an address asks for."""
    return name.replace("\\", "/").rpartition("/")[2].partition("?")[0]


@functools.lru_cache(maxsize=64)
def _by_folded_name(folder: Path) -> dict[str, list[str]]:
    """Folded name -> the files of a folder that are called so, in whatever capitals."""
    spellings: dict[str, list[str]] = {}
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            spellings.setdefault(entry.name.casefold(), []).append(entry.name)
    return spellings


def read_file(root: Path, relative: str, limit: int = images.MAX_BYTES) -> bytes:
    """The bytes of a file named by data.

    Raises:
        SampleFailed: the name leaves ``root``, or the file is missing, unreadable, no regular
            file (a pipe would block for ever) or larger than ``limit``.
    """
    name = re.sub(r"[\x00-\x1f\x7f]", "_", printable(relative))  # a reason is one line
    parts = relative.replace("\\", "/").split("/")
    if "\0" in relative or ".." in parts or Path(relative).is_absolute():
        raise SampleFailed(f"unsafe file name {name!r}: it leaves the imported folder")
    path = root / relative
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SampleFailed(f"{name}: not a regular file")
            if status.st_size > limit:
                raise SampleFailed(
                    f"{name}: {status.st_size / 2**20:.0f} MB is over the limit of "
                    f"{limit // 2**20} MB"
                )
            return file.read()
    except FileNotFoundError:
        raise SampleFailed(f"{name}: no such file under {root}") from None
    except OSError as error:
        raise SampleFailed(f"{name}: cannot be read ({error.strerror or error})") from None


def read(root: Path, relative: str, *, check_pixels: bool = False) -> Picture:
    """One picture file by its path relative to ``root``.

    Args:
        check_pixels: decode it fully, so that one cut short is found now and not by a stage.

    Raises:
        SampleFailed: see `read_file`; or the bytes are no picture that can be decoded.
    """
    data = read_file(root, relative)
    suffix = relative.rpartition(".")[2].lower()
    try:
        facts = images.facts(data)
    except SampleFailed:
        if suffix not in NOT_READ:
            raise
        kind = f"{NOT_READ[suffix]} pictures (.{suffix})"
        raise SampleFailed(f"{kind} cannot be read here; convert it to JPEG or PNG") from None
    if check_pixels:
        images.decode(data)
    if suffix not in records.IMAGE_SUFFIXES:
        suffix = _MEMBER.get(facts.format, "jpg")
    return Picture(data, suffix, facts, printable(relative.replace("\\", "/")))


def slightly(beyond: float, side: float) -> bool:
    """Whether ``beyond``, a share of a side of ``side`` pixels, is a pixel or 1 % at most."""
    return beyond <= max(SLIGHT_SHARE, SLIGHT_PIXELS / side) + 1e-9


@dataclass(frozen=True)
class Frame:
    """The pixels in which annotations of one picture are counted.

    ``width`` and ``height`` are the size the annotations assume, in pixels; ``orientation`` is the
    EXIF orientation that still has to be applied to them (1: they are upright already).
    ``clipped`` has, for each box that was clipped, whether it ended but slightly outside.
    """

    width: float
    height: float
    orientation: int = 1
    clipped: list[bool] = field(default_factory=list, compare=False)

    def point(self, x: float, y: float) -> records.Point:
        """A point in annotated pixels -> normalised, in the upright picture; not clipped."""
        return self.normalised(x / self.width, y / self.height)

    def normalised(self, u: float, v: float) -> records.Point:
        """A point that is normalised already -> the same in the upright picture."""
        return {
            1: (u, v),
            2: (1 - u, v),
            3: (1 - u, 1 - v),
            4: (u, 1 - v),
            5: (v, u),
            6: (1 - v, u),
            7: (1 - v, 1 - u),
            8: (v, 1 - u),
        }[self.orientation]

    def box(self, left: float, top: float, right: float, bottom: float) -> records.XYXY | None:
        """A box in annotated pixels -> normalised upright xyxy, clipped to the picture.

        None when nothing of it is left, or it has no area.
        """
        return self.normalised_box(
            left / self.width, top / self.height, right / self.width, bottom / self.height
        )

    def normalised_box(self, *edges: float) -> records.XYXY | None:
        """`box` for edges that are normalised already."""
        left, top, right, bottom = (min(max(edge, 0.0), 1.0) for edge in edges)
        if not (left < right and top < bottom):  # also false for NaN
            return None
        across = max(-edges[0], edges[2] - 1)
        down = max(-edges[1], edges[3] - 1)
        if max(across, down) > 1e-6:  # what records round to
            self.clipped.append(slightly(across, self.width) and slightly(down, self.height))
        (x0, y0), (x1, y1) = self.normalised(left, top), self.normalised(right, bottom)
        box = tuple(round(v, 6) for v in (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
        return box if box[0] < box[2] and box[1] < box[3] else None  # type: ignore[return-value]

    @property
    def mirrored(self) -> bool:
        """Whether turning it upright swaps left and right hands."""
        return self.orientation in (2, 4, 5, 7)

    def mask(self, mask: numpy.ndarray) -> numpy.ndarray:
        """A (height, width) mask in annotated pixels -> turned upright."""
        import numpy

        return {
            1: lambda m: m,
            2: lambda m: m[:, ::-1],
            3: lambda m: m[::-1, ::-1],
            4: lambda m: m[::-1],
            5: lambda m: m.T,
            6: lambda m: numpy.rot90(m, -1),
            7: lambda m: m[::-1, ::-1].T,
            8: lambda m: numpy.rot90(m),
        }[self.orientation](mask)


def noted(members: dict[str, bytes], clipped: list[bool]) -> dict[str, bytes]:
    """The members of a sample and, where boxes were `Frame.clipped`, what is to be said of it."""
    notes = {}
    if any(clipped):
        notes["with_boxes_slightly_outside"] = _SLIGHTLY
    if not all(clipped):
        notes["with_boxes_far_outside"] = _FAR
    return Noted(members, notes) if notes else members


def frame(
    facts: images.PictureFacts, annotated: tuple[float, float] | None, choice: str = "auto"
) -> Frame:
    """The frame of one picture's annotations.

    Args:
        annotated: (width, height) that the annotation file states; None when it states none.
        choice: ``stored`` or ``upright`` where the user knows; ``auto`` takes the one whose size
            is the annotated one, and the stored pixels when both fit or no size is stated. That is
            how these data sets were made: browsers and MATLAB ignored the orientation then.

    Raises:
        SampleFailed: the annotated size has another shape than the picture (2 % tolerance).
    """
    stored, upright = facts.stored_size, (facts.width, facts.height)
    sizes = {"stored": stored, "upright": upright}
    order = ["stored", "upright"] if choice == "auto" else [choice]
    if annotated is None:
        width, height = sizes[order[0]]
        return Frame(width, height, facts.orientation if order[0] == "stored" else 1)
    aw, ah = annotated
    if aw > 0 and ah > 0:
        order.sort(key=lambda name: sizes[name] != (aw, ah))  # an exact fit goes first
        for name in order:
            w, h = sizes[name]
            # Resized copies of a data set keep its annotations: only the shape has to fit.
            if abs(aw * h - ah * w) <= 0.02 * aw * h:
                return Frame(aw, ah, facts.orientation if name == "stored" else 1)
    raise SampleFailed(
        f"the picture is {facts.width}x{facts.height} but its annotations are for "
        f"{aw:g}x{ah:g}: not the same picture"
    )
