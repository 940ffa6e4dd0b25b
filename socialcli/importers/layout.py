"""Layouts that a person drew or wrote: a PNG with a TOML, or a plain text file, each."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import records, shards, textfiles
from socialcli.config import MISSING, option
from socialcli.errors import SampleFailed, UsageError
from socialcli.importers import Entry, Importer, _picture, _walk
from socialcli.vision import layouts

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

SIDE = 512  # pixels of a layout that says none
MAX_PIXELS = 10**9  # of all segments' masks together
PLACES = {
    "left": (0.0, 0.0, 0.5, 1.0), "right": (0.5, 0.0, 1.0, 1.0),
    "top": (0.0, 0.0, 1.0, 0.5), "bottom": (0.0, 0.5, 1.0, 1.0),
    "left third": (0.0, 0.0, 1 / 3, 1.0), "middle third": (1 / 3, 0.0, 2 / 3, 1.0),
    "right third": (2 / 3, 0.0, 1.0, 1.0), "centre": (0.25, 0.25, 0.75, 0.75),
    "all": (0.0, 0.0, 1.0, 1.0),
}  # fmt: skip
_FIELDS = {
    "colour", "box", "place", "prompt", "negative", "word",
    "subject", "depth", "keypoints", "references",
    "background",
}  # fmt: skip
_NUMBER = re.compile(r"-?[0-9]*\.?[0-9]+")


@dataclass
class Config:
    source: str = option(MISSING, "Folder of NAME.png with NAME.toml, of NAME.toml, or NAME.txt.")
    hidden: bool = option(False, _walk.HIDDEN)
    follow_links: bool = option(True, _walk.FOLLOW_LINKS)
    overlap: str = option(
        "front", "Where boxes overlap: front gives the pixels to the nearer one, error.",
        choices=layouts.OVERLAPS,
    )  # fmt: skip
    fill: str = option(
        "background", "What no segment covers: a segment of its own with the background's prompt, "
        "the nearest one's, error.", choices=layouts.FILLS,
    )  # fmt: skip


@dataclass
class Planned:
    """A layout as somebody wrote it, before it has pixels."""

    prompt: str
    segments: list[dict[str, Any]]
    background: str = ""
    negative: str = ""
    size: tuple[int, int] | None = None  # width, height
    clipped: list[bool] = field(default_factory=list)  # see `_picture.Frame`


class LayoutImporter(Importer):
    """See `Importer`."""

    config_type = Config

    def files(self, config: Config) -> list[Path]:
        """The text of each layout, and its drawing."""
        root = _picture.source_folder(config.source)
        stated = [str(entry.work) for entry in self.entries(config)]
        drawings = [f"{_picture.parted(name)[0]}.png" for name in stated]
        files = [root / name for pair in zip(stated, drawings, strict=True) for name in pair]
        return [file for file in dict.fromkeys(files) if file.is_file()]

    def entries(self, config: Config) -> Iterator[Entry]:
        """Every ``.toml`` and ``.txt`` of the folder and below, in natural order.

        Raises:
            UsageError: no such folder, one that cannot be listed, or none of them in it.
        """
        root = _picture.source_folder(config.source)
        files = _walk.files(root, config.hidden, config.follow_links)
        names = [name for name in files if _picture.parted(name)[1] in ("toml", "txt")]
        if not names:
            raise UsageError(f"{config.source}: no .toml and no .txt of a layout in this folder")
        names = sorted(names, key=_picture.natural)
        keys = shards.distinct_keys([_picture.printable(name) for name in names])
        for key, name in zip(keys, names, strict=True):
            yield Entry(key, name)

    def build(self, config: Config, entry: Entry) -> dict[str, bytes]:
        """The drawing, `layout.json`, the prompt as `caption.json`, and `meta.json`.

        Raises:
            SampleFailed: it cannot be read, or is no layout; the line names what is wrong in it.
        """
        from socialcli.vision import images

        root, name = Path(config.source).expanduser(), str(entry.work)
        text = _text(_picture.read_file(root, name))
        plan = of_toml(text) if name.lower().endswith(".toml") else of_text(text)
        drawing, data = _drawing(root, _picture.parted(name)[0], config.follow_links)
        layout = made(plan, drawing, config.overlap, config.fill)
        if data is None:
            out = io.BytesIO()
            layouts.picture(layout).save(out, "PNG")
            data = out.getvalue()
        caption = records.Caption(layout.prompt, model=records.Model("layout"))
        turned = images.facts(data).orientation
        source = _picture.printable(name)
        meta = records.Meta(layout.width, layout.height, turned, source)
        members = {
            "png": data,
            "layout.json": records.dump(layout),
            "caption.json": records.dump(caption),
            "meta.json": records.dump(meta),
        }
        return _picture.noted(members, plan.clipped)


def _text(data: bytes) -> str:
    try:
        return textfiles.decoded(data)
    except UnicodeDecodeError as error:
        raise SampleFailed(f"not UTF-8 at byte {error.start}") from None


def _drawing(root: Path, stem: str, follow_links: bool) -> tuple[Image | None, bytes | None]:
    """The drawing beside a TOML, and its bytes; ``stem`` is the TOML's path without suffix."""
    from socialcli.vision import images

    place = root / f"{stem}.png"
    if not place.is_file() or (place.is_symlink() and not follow_links):
        return None, None
    data = _picture.read_file(root, f"{stem}.png")
    return images.decode(data), data


def of_text(text: str) -> Planned:
    """A layout in plain text: lines of ``prompt: ...``, ``background: ...``, ``negative: ...``,
    ``size: 512x512``, and ``PLACE: what stands there``.

    A place is one of `PLACES`, or a box as four numbers from 0 to 1 (left, top, right, bottom).
    What stands further down in the file is nearer. ``#`` begins a comment.

    Raises:
        SampleFailed: a line that is none of these; the message has its number.
    """
    settings: dict[str, str] = {}
    segments: list[dict[str, Any]] = []
    for number, line in enumerate(textfiles.split(text), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        place, colon, what = line.partition(":")
        place, what = " ".join(place.lower().split()), what.strip()
        numbers = _NUMBER.findall(place)
        if not colon or not what:
            raise SampleFailed(f"line {number}: expected PLACE: WORDS, not {line[:60]!r}")
        if place in settings:
            raise SampleFailed(f"line {number}: a second '{place}:'")
        if place in ("prompt", "background", "negative", "size"):
            settings[place] = what
        elif place in PLACES:
            segments.append({"place": place, "prompt": what})
        elif len(numbers) == 4 and not _NUMBER.sub("", place).strip(" ,"):
            segments.append({"box": [float(n) for n in numbers], "prompt": what})
        else:
            raise SampleFailed(
                f"line {number}: {place!r} is no place: {', '.join(PLACES)}, or a box as four "
                "numbers from 0 to 1"
            )
    if "prompt" not in settings:
        raise SampleFailed("no line 'prompt: ...' that says what the whole picture shows")
    for depth, segment in enumerate(reversed(segments)):
        segment["depth"] = depth
    size = (
        re.fullmatch(r"(\d{1,6}) *x *(\d{1,6})", settings["size"]) if "size" in settings else None
    )
    if "size" in settings and size is None:
        raise SampleFailed(f"size: {settings['size'][:40]}: expected WIDTHxHEIGHT, as 512x512")
    return Planned(
        settings["prompt"], segments, settings.get("background", ""), settings.get("negative", ""),
        (int(size[1]), int(size[2])) if size else None,
    )  # fmt: skip


def of_toml(text: str) -> Planned:
    """A layout in TOML: ``prompt``, ``background``, ``negative``, ``size = [512, 512]``, and a
    table ``[[segments]]`` each with ``prompt`` and ``colour`` (of the drawing), ``box`` or
    ``place``; besides `records.Segment`'s subject, depth, negative, keypoints and references.

    Raises:
        SampleFailed: not TOML, or a field that is not what it should be.
    """
    import tomllib

    try:
        body = tomllib.loads(text)
    except ValueError as error:
        raise SampleFailed(f"not TOML ({error})") from None
    except RecursionError:
        raise SampleFailed("not TOML (arrays or tables are nested too deeply)") from None
    unknown = set(body) - {"prompt", "background", "negative", "size", "segments"}
    segments = body.get("segments")
    if unknown:
        raise SampleFailed(f"'{min(unknown)}' is no field of a layout")
    if not isinstance(segments, list) or not all(isinstance(s, dict) for s in segments):
        raise SampleFailed("there is no [[segments]]")
    for number, segment in enumerate(segments, 1):
        if odd := set(segment) - _FIELDS:
            raise SampleFailed(f"segment {number}: '{min(odd)}' is no field of a segment")
        if sum(name in segment for name in ("colour", "box", "place")) != 1:
            raise SampleFailed(f"segment {number}: give it a colour, a box or a place")
        depth = segment.get("depth", 0)
        if isinstance(depth, bool) or not isinstance(depth, (int, float)):
            raise SampleFailed(f"segment {number}: depth is no number")
    texts = {name: body.get(name, "") for name in ("prompt", "background", "negative")}
    for name, value in texts.items():
        if not isinstance(value, str) or (name == "prompt" and not value.strip()):
            raise SampleFailed(f"{name}: expected text")
    size = body.get("size")
    if size is not None and not (
        isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) for n in size)
    ):
        raise SampleFailed("size: expected [WIDTH, HEIGHT] in pixels")
    return Planned(
        texts["prompt"].strip(), segments, texts["background"], texts["negative"],
        (size[0], size[1]) if size else None,
    )  # fmt: skip


def made(
    plan: Planned, drawing: Image | None, overlap: str = "front", fill: str = "background"
) -> records.Layout:
    """The layout that a plan and a drawing are.

    Raises:
        SampleFailed: they do not fit each other, or are no layout; see `layouts`.
    """
    from socialcli.vision import masks

    size = plan.size or (drawing.size if drawing is not None else (SIDE, SIDE))
    if drawing is not None and drawing.size != size:
        raise SampleFailed(
            f"the drawing has {drawing.width}x{drawing.height} pixels, size says "
            f"{size[0]}x{size[1]}: draw it in that size, or leave size out"
        )
    if not all(8 <= n <= records.limits.MAX_SIDE for n in size):
        raise SampleFailed(f"size: {size[0]}x{size[1]} pixels is no size of a picture")
    count = len(plan.segments)
    if count > records.limits.MAX_SEGMENTS:
        raise SampleFailed(f"{count:,} segments, the limit is {records.limits.MAX_SEGMENTS}")
    if count * size[0] * size[1] > MAX_PIXELS:  # a few words may ask for any number of pixels
        raise SampleFailed(
            f"{count} segments of {size[0]}x{size[1]} pixels, over the limit of "
            f"{MAX_PIXELS // 10**6:,} megapixels in all: give a smaller size"
        )
    shapes = _shapes(plan, drawing, size)
    names = [f"segment {n + 1} ({s.get('prompt', '')!r})" for n, s in enumerate(plan.segments)]
    depths = [segment.get("depth") for segment in plan.segments]
    parts, rest = layouts.partition(shapes, names, depths, overlap, fill)
    free = (c for c in layouts.colours(255) if c not in {s.get("colour") for s in plan.segments})
    body: dict[str, Any] = {"width": size[0], "height": size[1], "prompt": plan.prompt}
    body |= {"negative": plan.negative, "model": {"backend": "layout"}, "segments": []}
    for number, (segment, part) in enumerate(zip(plan.segments, parts, strict=True), 1):
        if not str(segment.get("prompt", "")).strip():
            raise SampleFailed(f"segment {number} has no prompt")
        if not part.any():
            raise SampleFailed(f"{names[number - 1]} lies wholly behind others, or out of sight")
        fields = {k: v for k, v in segment.items() if k not in ("box", "place", "keypoints")}
        if "keypoints" in segment:
            fields["keypoints"] = {"points": segment["keypoints"]}
        colour = str(segment.get("colour") or next(free)).lower()
        fields |= {"id": number, "colour": colour, "rle": masks.encode(part)}
        body["segments"].append(fields)
    if rest.any():
        body["segments"].append(
            {"id": len(parts) + 1, "colour": layouts.BACKGROUND, "background": True,
             "prompt": plan.background or plan.prompt, "rle": masks.encode(rest)}
        )  # fmt: skip
    layout = _read(body)
    layouts.check(layout)
    return layout


def _read(body: dict[str, Any]) -> records.Layout:
    """Through the door that members come in by, so that its limits hold."""
    import json

    try:
        data = json.dumps({"schema": records.SCHEMA_VERSION, **body}).encode()
    except (TypeError, ValueError) as error:
        raise SampleFailed(f"a value that no layout can have ({error})") from None
    return records.load(records.Layout, data, "layout")


def _shapes(plan: Planned, drawing: Image | None, size: tuple[int, int]) -> list[numpy.ndarray]:
    """(height, width) bool of each segment, of its colour or its box."""
    import numpy

    if not plan.segments:
        raise SampleFailed("no segment: say what stands where")
    colours = [str(s["colour"]).lower() for s in plan.segments if "colour" in s]
    for number, segment in enumerate(plan.segments, 1):
        if "colour" in segment and not re.fullmatch("#[0-9a-f]{6}", str(segment["colour"]).lower()):
            raise SampleFailed(f"segment {number}: colour {segment['colour']!r}, expected #rrggbb")
    if colours and drawing is None:
        raise SampleFailed("its segments have colours, but no drawing (NAME.png) lies beside it")
    if len(set(colours)) < len(colours):
        twice = next(c for c in colours if colours.count(c) > 1)
        raise SampleFailed(f"two segments have the colour {twice}")
    if colours and len(colours) < len(plan.segments):
        raise SampleFailed("some segments have colours and others boxes: give all the same")
    if colours and drawing is not None:
        return layouts.of_picture(drawing, colours)
    width, height = size
    shapes = []
    for number, segment in enumerate(plan.segments, 1):
        box = _box(segment, size)
        if box is None:
            raise SampleFailed(
                f"segment {number}: a box is left, top, right, bottom from 0 to 1; a place one of "
                f"{', '.join(PLACES)}"
            )
        mask = numpy.zeros((height, width), bool)
        left, top, right, bottom = box
        mask[
            round(top * height) : round(bottom * height), round(left * width) : round(right * width)
        ] = True
        shapes.append(mask)
        plan.clipped += [True] if any(v < 0 or v > 1 for v in segment.get("box", ())) else []
    return shapes


def _box(segment: dict[str, Any], size: tuple[int, int]) -> records.XYXY | None:
    """A segment's box; what ends slightly outside is clipped, None where it is no box."""
    box = PLACES.get(str(segment.get("place"))) or segment.get("box")
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        return None
    if not all(isinstance(v, (int, float)) for v in box):
        return None
    beyond = (max(-v, v - 1) for v in box)
    if not all(_picture.slightly(*one) for one in zip(beyond, size * 2, strict=True)):
        return None
    left, top, right, bottom = (min(max(v, 0), 1) for v in box)
    return (left, top, right, bottom) if left < right and top < bottom else None
