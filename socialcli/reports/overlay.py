"""One sample as HTML: its picture, everything drawn over it as SVG by layers, its caption."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from socialcli.reports import draw
from socialcli.reports.marks import LAYERS, Mark, Scale, marks
from socialcli.reports.view import View, decode
from socialcli.vision import text

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

SIDE = 720  # longest side of an embedded picture in pixels
QUALITY = 80  # of its JPEG


def told(value: str) -> str:
    """Text from data as it may stand in HTML: escaped, and without characters that do not show
    themselves (line breaks, terminal controls, marks that turn the writing direction)."""
    return escape(text.clean(value))


def card(view: View) -> str:
    """One ``<figure>`` of the gallery. Everything that comes from data is escaped."""
    picture = decode(view, SIDE)
    if picture is None:
        reason = view.problems[-1] if view.problems else "no picture in this shard"
        shot = f'<div class="shot none"><p>{told(reason)}</p></div>'
    else:
        shot = (
            f'<div class="shot" style="--ratio:{picture.width / picture.height:.4f}">'
            f'<img alt="" loading="lazy" src="{_uri(_jpeg(picture), "jpeg")}">'
            f"{svg(view, picture.size)}</div>"
        )
    words = " ".join([view.key, *(t for t, _ in view.phrases()), *view.relations()])
    words += " ".join(view.label(box) for box in view.boxes)
    relations = "".join(f"<span>{told(r)}</span>" for r in view.relations()[:8])
    key, shard = told(view.key), told(view.shard)
    problems = "".join(f'<p class="problem">{told(p[:300])}</p>' for p in view.problems[:4])
    return (
        f'<figure class="card" data-words="{told(words.lower()[:2000])}" '
        f'data-has="{_has(view)}">{shot}<figcaption><p class="caption">{_caption(view)}</p>'
        f'<p class="relations">{relations}</p>{problems}'
        f'<p class="key" title="{shard}">{key}</p></figcaption></figure>\n'
    )


def _has(view: View) -> str:
    """What the sample has, for the page's filter."""
    people = view.people
    found = {
        "captions": view.caption is not None,
        "boxes": bool(view.boxes),
        "masks": bool(view.masks),
        "people": bool(people),
        "faces": any(p.face is not None for p in people),
        "skeletons": any(p.keypoints is not None for p in people),
        "gaze": any(p.gaze is not None for p in people),
        "interactions": bool(view.interactions),
        "problems": bool(view.problems),
    }
    return " ".join(name for name, there in found.items() if there)


def _caption(view: View) -> str:
    parts = []
    for part, id in view.phrases():
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
        size: of the embedded picture. A small one is shown enlarged, so lines and names are laid
            out for a picture of `SIDE` all the same.
    """
    enlarged = SIDE / max(size)
    scale = Scale(max(1, round(size[0] * enlarged)), max(1, round(size[1] * enlarged)))
    layers: dict[str, list[str]] = {name: [] for name in LAYERS}
    for id, colour, mask in draw.masks(view, size):
        layers["masks"].append(_mask(mask, colour, f"mask {id}", enlarged))
    drawn = marks(view, scale, text.width)
    for name in LAYERS:
        mine = [m for m in drawn if m.layer == name and m.kind != "label"]
        if mine:
            layers[name].append(f'<path class="case" d="{"".join(map(_outline, mine))}"/>')
            layers[name] += [_shape(mark) for mark in mine]
    groups = "".join(f'<g class="{n}">{"".join(p)}</g>' for n, p in layers.items() if p)
    for name in LAYERS:  # names last, over the lines of every layer
        tags = [_tag(m, scale) for m in drawn if m.layer == name and m.kind == "label"]
        groups += f'<g class="{name}">{"".join(tags)}</g>' if tags else ""
    style = f"--w:{scale.line:.2f}px;font-size:{scale.text:.1f}px"
    return f'<svg viewBox="0 0 {scale.width} {scale.height}" style="{style}">{groups}</svg>'


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
    image.save(out, "PNG", transparency=bytes((0, 70, 235)), bits=2, optimize=True)
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
    picture.save(out, "JPEG", quality=QUALITY, optimize=True, progressive=True)
    return out.getvalue()


def _uri(data: bytes, form: str) -> str:
    return f"data:image/{form};base64,{base64.b64encode(data).decode('ascii')}"
