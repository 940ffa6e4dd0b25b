"""One sample as HTML: its picture, everything drawn over it as SVG by layers, its caption."""

from __future__ import annotations

import base64
import io
from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from socialcli.reports import draw
from socialcli.reports.marks import LAYERS, Mark, Scale, marks
from socialcli.reports.view import View, decode
from socialcli.vision import text

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

SIDE = 720  # longest side of a large picture; lines and names are laid out for it
SMALL = 320  # longest side of a thumbnail
QUALITY = 80  # of the JPEGs
MOST_TEXT = 2000  # characters of a caption that are shown
LEFT_OUT = "left out or failed"
HAS = (
    "captions", "boxes", "masks", "layout", "people", "faces", "skeletons", "gaze", "interactions",
    "problems", LEFT_OUT,
)  # fmt: skip
LOST = ("key", "status", "stage", "reason", "shard")


def told(value: str) -> str:
    """Text from data as it may stand in HTML: escaped, and without characters that do not show
    themselves (line breaks, terminal controls, marks that turn the writing direction)."""
    return escape(value if value.isprintable() else text.clean(value))


def thumbnail(view: View) -> Image | None:
    """The sample's picture, small; None where there is none that can be shown."""
    return decode(view, SMALL)


def large(view: View) -> str | None:
    """The picture at `SIDE` as a data URI; None where it is no larger than the thumbnail."""
    picture = decode(view, SIDE)
    return None if picture is None or max(picture.size) <= SMALL else _uri(_jpeg(picture), "jpeg")


def card(view: View, picture: Image | None) -> str:
    """What the page shows of a sample, as HTML. Everything that comes from data is escaped.

    Args:
        picture: its thumbnail, None to list it without.
    """
    if picture is None:
        shot = f'<div class="shot none"><p>{told(_why_none(view))}</p></div>'
    else:
        shot = (
            f'<div class="shot" style="--ratio:{picture.width / picture.height:.4f}">'
            f'<div class="frame"><img alt="{told(describe(view))}" '
            f'src="{_uri(_jpeg(picture), "jpeg")}">{svg(view, picture.size)}</div></div>'
        )
    relations = "".join(f"<span>{told(r)}</span>" for r in view.relations()[:8])
    problems = "".join(f'<p class="problem">{told(p[:300])}</p>' for p in view.problems[:4])
    return (
        f'{shot}<div class="about"><p class="caption">{_caption(view)}</p>'
        f'{problems}<p class="relations">{relations}</p>{_key(view.key, view.shard)}</div>'
    )


def lost_card(entry: dict[str, str]) -> str:
    """The same for a sample that is not there, or not whole: which stage, and why.

    Args:
        entry: the names of `LOST`; any may be missing.
    """
    status, stage, reason = (entry.get(name) or "" for name in ("status", "stage", "reason"))
    heading = f"{status or 'failed'}{f' in {stage}' if stage else ''}"
    return (
        f'<div class="shot none"><p><b>{told(heading)}</b></p>'
        f'<p>{told(reason[:MOST_TEXT]) or "no reason was noted"}</p></div><div class="about">'
        f"{_key(entry.get('key') or '(no key)', entry.get('shard') or '')}</div>"
    )


def _key(key: str, shard: str) -> str:
    return f'<p class="key">{told(key)}</p><p class="key from">{told(shard)}</p>'


def _why_none(view: View) -> str:
    if view.picture is None:
        return "no picture in this shard"
    return view.problems[-1] if view.problems else "The picture is not drawn: see --thumbnails."


def describe(view: View) -> str:
    """A picture in words, for those who do not see it: what is in it, or whose it is."""
    counts = Counter(view.label(box) for box in view.boxes)
    things = [f"{name} ({count} times)" if count > 1 else name for name, count in counts.items()]
    if not things and view.caption is not None:
        return view.caption.text[:160]
    return f"{view.key}: {', '.join(things[:8]) or 'picture without boxes'}"


def has(view: View) -> list[str]:
    """What the sample has, in the words of `HAS`, for the page's filter."""
    people = view.people
    annotated = {
        "captions": view.caption is not None,
        "boxes": bool(view.boxes),
        "masks": bool(view.masks),
        "layout": view.layout is not None,
        "people": bool(people),
        "faces": any(p.face is not None for p in people),
        "skeletons": any(p.keypoints is not None for p in people)
        or any(box.keypoints is not None for box in view.boxes),
        "gaze": any(p.gaze is not None for p in people),
        "interactions": bool(view.interactions),
        "problems": bool(view.problems),
    }
    return [name for name, there in annotated.items() if there]


def _caption(view: View) -> str:
    parts = []
    room = MOST_TEXT
    for part, id in view.phrases():
        if len(part) > room:
            parts.append(told(part[:room]) + "…")
            break
        room -= len(part)
        colour = view.colour("entity", id)
        entity = view.entity(id)
        shown = told(part)
        if entity is None:
            parts.append(shown)
        else:
            title = told(f"entity {entity.id}: {entity.lemma}, {entity.kind}")
            style = f' style="--c:{colour}"' if colour else ' class="unseen"'
            parts.append(f'<mark{style} title="{title}">{shown}</mark>')
    return "".join(parts)


def svg(view: View, size: tuple[int, int]) -> str:
    """Everything over the picture, one ``<g>`` per layer of `marks.LAYERS`.

    Args:
        size: of the thumbnail. Lines and names are laid out for a picture of `SIDE` all the
            same, since it is shown enlarged too.
    """
    enlarged = SIDE / max(size)
    scale = Scale(max(1, round(size[0] * enlarged)), max(1, round(size[1] * enlarged)))
    layers: dict[str, list[str]] = {name: [] for name in LAYERS}
    for id, colour, mask in draw.layout(view, size):
        layers["layout"].append(_mask(mask, colour, f"segment {id}", enlarged))
    for id, colour, mask in draw.masks(view, size):
        layers["masks"].append(_mask(mask, colour, f"mask {id}", enlarged))
    drawn = marks(view, scale, text.width)
    for name in LAYERS:
        in_layer = [m for m in drawn if m.layer == name and m.kind != "label"]
        if in_layer:
            layers[name].append(f'<path class="case" d="{"".join(map(_outline, in_layer))}"/>')
            layers[name] += [_shape(mark) for mark in in_layer]
    groups = "".join(f'<g class="{n}">{"".join(p)}</g>' for n, p in layers.items() if p)
    for name in LAYERS:  # names last, over the lines of every layer
        tags = [_tag(m, scale) for m in drawn if m.layer == name and m.kind == "label"]
        groups += f'<g class="{name}">{"".join(tags)}</g>' if tags else ""
    style = f"--w:{scale.line:.2f}px;font-size:{scale.text:.1f}px"
    view_box = f"0 0 {scale.width} {scale.height}"
    return f'<svg aria-hidden="true" viewBox="{view_box}" style="{style}">{groups}</svg>'


def _mask(mask: numpy.ndarray, colour: str, title: str, enlarged: float) -> str:
    """A mask as a small palette picture, placed over the part of the picture it covers."""
    import numpy
    from PIL import Image

    rows, cols = (numpy.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return ""
    top, bottom, left, right = rows[0], rows[-1] + 1, cols[0], cols[-1] + 1
    levels = (mask.astype(numpy.uint8) + draw.edge(mask))[top:bottom, left:right]
    image = Image.fromarray(numpy.ascontiguousarray(levels)).convert("P")
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    image.putpalette(rgb * 3)
    out = io.BytesIO()
    image.save(out, "PNG", transparency=bytes((0, 70, 235)), bits=2)
    x, y, wide, high = (v * enlarged for v in (left, top, right - left, bottom - top))
    return (
        f'<image x="{x:.2f}" y="{y:.2f}" width="{wide:.2f}" height="{high:.2f}" '
        f'preserveAspectRatio="none" href="{_uri(out.getvalue(), "png")}">'
        f"<title>{escape(title)}</title></image>"
    )


def _outline(mark: Mark) -> str:
    """A mark as SVG path data, in one line of thought with `draw`."""
    if mark.kind in ("dot", "ring"):
        x, y, r = mark.at
        half = f"a{r:.1f} {r:.1f} 0 1 0"
        return f"M{x - r:.1f} {y:.1f}{half} {2 * r:.1f} 0{half} {-2 * r:.1f} 0z"
    x, y, end_x, end_y = mark.at
    if mark.kind == "rect":
        return f"M{x:.1f} {y:.1f}H{end_x:.1f}V{end_y:.1f}H{x:.1f}z"
    path = f"M{x:.1f} {y:.1f}L{end_x:.1f} {end_y:.1f}"
    if mark.kind == "arrow":
        a, b, tip_x, tip_y, c, d = draw.arrow_head(mark.at, 1.6)
        path += f"M{a:.1f} {b:.1f}L{tip_x:.1f} {tip_y:.1f}L{c:.1f} {d:.1f}"
    return path


def _shape(mark: Mark) -> str:
    title = f"<title>{told(mark.title)}</title>" if mark.title else ""
    dash = ' stroke-dasharray="6 4"' if mark.dashed else ""
    if mark.kind == "dot":
        look = f'class="dot" style="fill:{mark.colour}"'
    else:
        look = f'stroke="{mark.colour}"{dash}'
    return f'<path {look} d="{_outline(mark)}">{title}</path>'


def _tag(mark: Mark, scale: Scale) -> str:
    left, top, right, bottom = mark.at
    ground, ink = draw.tag_colours(mark)
    wide, pad = right - left, 0.35 * scale.text
    return (
        f'<rect class="tag" x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" '
        f'height="{bottom - top:.1f}" rx="{scale.text * 0.25:.1f}" fill="{ground}"/>'
        f'<text x="{left + pad:.1f}" y="{top + scale.text * 1.02:.1f}" fill="{ink}" '
        f'textLength="{max(wide - 2 * pad, 1):.1f}" lengthAdjust="spacingAndGlyphs">'
        f"{told(mark.text)}</text>"
    )


def _jpeg(picture: Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()


def _uri(data: bytes, form: str) -> str:
    return f"data:image/{form};base64,{base64.b64encode(data).decode('ascii')}"
