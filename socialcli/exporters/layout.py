"""Layouts as files that a person edits: a PNG of colours and a TOML of prompts each.

`socialcli import layout` reads them again.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from socialcli import records
from socialcli.validation import members
from socialcli.vision import layouts, skeletons

if TYPE_CHECKING:
    from socialcli.shards import ManyFiles, Sample


def files(sample: Sample, style: str) -> dict[str, bytes]:
    """``.png`` (colours), ``.toml`` (prompts) and, of a layout with skeletons, ``.pose.png``
    (they as OpenPose draws them, see `skeletons.draw`): suffix -> bytes.

    Raises:
        SampleFailed: the sample has no layout, or is malformed.
    """
    members.refuse_malformed(sample)
    layout = sample.record(records.Layout)
    layouts.check(layout)
    contents = {".png": _png(layouts.picture(layout)), ".toml": toml(layout).encode()}
    people = [s.keypoints.points for s in layout.segments if s.keypoints is not None]
    if people:
        size = layout.width, layout.height
        contents[".pose.png"] = _png(skeletons.draw(people, size, style=style))
    return contents


def _png(picture: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")  # type: ignore[attr-defined]
    return out.getvalue()


def toml(layout: records.Layout) -> str:
    """The layout without its pixels, as TOML."""
    lines = [f"prompt = {_text(layout.prompt)}"]
    if layout.negative:
        lines.append(f"negative = {_text(layout.negative)}")
    lines.append(f"size = [{layout.width}, {layout.height}]")
    for segment in layout.segments:
        lines += ["", "[[segments]]", f"colour = {_text(segment.colour)}"]
        lines.append(f"prompt = {_text(segment.prompt)}")
        for name in ("negative", "word", "subject"):
            if getattr(segment, name):
                lines.append(f"{name} = {_text(getattr(segment, name))}")
        if segment.depth is not None:
            lines.append(f"depth = {segment.depth:g}")
        if segment.background:
            lines.append("background = true")
        if segment.references:
            lines.append(f"references = [{', '.join(map(_reference, segment.references))}]")
        if segment.keypoints is not None:
            points = ", ".join(f"[{x:g}, {y:g}, {v:g}]" for x, y, v in segment.keypoints.points)
            lines.append(f"keypoints = [{points}]")
    return "\n".join(lines) + "\n"


def _reference(reference: records.SegmentReference) -> str:
    fields = [f"name = {_text(reference.name)}"]
    fields += [f"query = {_text(reference.query)}"] if reference.query else []
    fields += [f"scale = {float(reference.scale)}"] if reference.scale is not None else []
    return f"{{{', '.join(fields)}}}"


def _text(value: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, but for the solidus and DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def write(sample: Sample, folder: Path, style: str, written: ManyFiles) -> int:
    """Write a sample's files into a folder, all of them or none; how many there are.

    Args:
        written: what writes all of a run.

    Raises:
        SampleFailed: as `files`; or no file can have its name.
    """
    from socialcli import shards

    contents = files(sample, style)
    place = folder / sample.key
    with (
        shards.refuse_names(sample.key),
        written.together(place.parent, f"{place.name}.toml") as beside,
    ):
        for suffix, data in contents.items():
            (beside / f"{place.name}{suffix}").write_bytes(data)
    return len(contents)
