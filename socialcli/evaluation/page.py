"""One HTML page about a score: intervals, distributions, best and worst pictures.

Like the page of `inspect` it forbids itself everything but its own style and the small pictures in
``pictures/`` beside it, and has no script at all.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.reports import charts
from socialcli.reports.overlay import told
from socialcli.reports.page import heads, wide

if TYPE_CHECKING:
    from socialcli.evaluation.run import Score

HERE = Path(__file__).parents[1] / "reports"
SIDE = 256  # longest side of an embedded picture in pixels
QUALITY = 82
BINS = 24
FOLDER = "pictures"  # beside the page
_STYLE = """
.scale { display: block; width: 100%; min-width: 160px; }
main h3 { margin: 20px 0 10px; }
.panel h3 { margin-top: 0; }
.scale .track { stroke: var(--line); stroke-width: 2; }
.scale .span { stroke: var(--bar2); stroke-width: 7; stroke-linecap: round; }
.scale .at { fill: var(--bar); }
.strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(205px, 1fr)); gap: 14px; }
.pair { margin: 0; background: var(--card); border: 1px solid var(--line); }
.pair { border-radius: 10px; overflow: hidden; }
.pair .shots { display: flex; background: #2a2b2d; }
.pair .shots div { flex: 1 1 0; min-width: 0; }
.pair img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; }
.pair .shots small { display: block; color: #ddd; padding: 2px 8px 4px; font-size: 11px; }
.pair b { font-variant-numeric: tabular-nums; }
figcaption { padding: 10px 14px 12px; }
figcaption p { margin: 0 0 4px; }
.panel.wide .facts-of { min-width: 0; }
.facts-of th { width: 190px; }
td.interval { width: 30%; }
@media (max-width: 720px) {
  .panel.wide .figures { min-width: 0; }
  .figures tr { display: block; padding: 8px 0; border-bottom: 1px solid var(--line); }
  .figures tr:first-child { display: none; }
  .figures td { display: flex; gap: 12px; border: 0; padding: 2px 0; width: auto; }
  .figures td.n { text-align: left; white-space: normal; }
  .figures td::before { content: attr(data-name); color: var(--soft); flex: 0 0 92px; }
  .figures td:first-child::before { content: none; }
  .figures td:first-child { font-weight: 600; }
  .figures td > svg { flex: 1; min-width: 0; }
  .facts-of th { width: 104px; }
  .strip { grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); }
}
"""


@dataclass
class Shot:
    """One generated picture beside its source, with its figure."""

    key: str
    prompt: str
    seed: str
    value: float
    picture: str = ""  # files in `FOLDER`, "" where the picture cannot be shown
    source: str = ""


@dataclass
class Shown:
    """Best and worst pictures of one figure, and how all pictures' figures are spread."""

    column: str
    best: list[Shot] = field(default_factory=list)
    worst: list[Shot] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def shown(score: Score) -> tuple[list[Shown], dict[str, bytes]]:
    """What to show of a score: the best and the worst pictures by each metric's first figure.

    Each picture's bytes are read again from where it is, once, whatever it is shown for.

    Returns:
        What to show, and the small pictures by their file names in `FOLDER`.
    """
    import numpy

    figures: list[Shown] = []
    wanted: dict[int, list[Shot]] = {}
    for name in (metric.COLUMNS[0].name for metric in score.metrics.values()):
        values, column = score.pictures.get(name, numpy.zeros(0)), score.columns[name]
        there = [int(i) for i in numpy.flatnonzero(numpy.isfinite(values))]
        if not there:
            continue
        sign = -1 if column["better"] == "lower" else 1
        order = sorted(there, key=lambda i: (-sign * values[i], score.cases[i].key))
        one = Shown(name, values=[float(values[i]) for i in there])
        count = min(score.options.show, len(order) // 2)
        for numbers, target in ((order[:count], one.best), (order[::-1][:count], one.worst)):
            for number in numbers:
                info = score.joined[number].generated
                seed = str(info.info.get("seed", ""))
                target.append(Shot(info.key, info.prompt, seed, float(values[number])))
                wanted.setdefault(number, []).append(target[-1])
        figures.append(one)
    return figures, _fill(score, wanted)


def _fill(score: Score, wanted: dict[int, list[Shot]]) -> dict[str, bytes]:
    """Put the pictures' file names into the shots; returns the pictures."""
    from socialcli.errors import SampleFailed
    from socialcli.evaluation import samples
    from socialcli.shards import Damage

    pictures: dict[str, bytes] = {}
    uses: dict[str, dict[str, list[tuple[Shot, str]]]] = {}
    for number, shots in wanted.items():
        joined = score.joined[number]
        source = joined.source or next((s for part in joined.subjects for s, _ in part), None)
        for known, name in ((joined.generated, "picture"), (source, "source")):
            if known is not None:
                same = uses.setdefault(known.location, {}).setdefault(known.digest, [])
                same += [(shot, name) for shot in shots]
    for location, digests in uses.items():
        for item in samples.read(location):
            if not digests:
                break
            if isinstance(item, Damage) or item.problem:
                continue
            try:
                data = item.picture()
                shots_of_picture = digests.pop(samples.digest(data), [])
                small = thumbnail(data) if shots_of_picture else b""
            except SampleFailed:
                continue
            for shot, name in shots_of_picture:
                file = f"{hashlib.sha256(small).hexdigest()[:16]}.jpg"
                pictures[file] = small
                setattr(shot, name, file)
    return pictures


def thumbnail(data: bytes) -> bytes:
    """A picture's bytes as those of a small JPEG.

    Raises:
        SampleFailed: it is no picture.
    """
    from PIL.Image import Resampling

    from socialcli.vision import images

    picture = images.decode(data)
    scale = min(SIDE / max(picture.size), 1.0)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    out = io.BytesIO()
    picture.resize(size, Resampling.LANCZOS).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def page(score: dict[str, Any], figures: list[Shown]) -> Iterator[str]:
    """The page in pieces.

    Args:
        score: what score.json holds. figures: from `shown`.
    """
    # A page opened from a disk is not always its own 'self', and a served one has no files.
    policy = "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; base-uri 'none'"
    style = (HERE / "page.css").read_text(encoding="utf-8") + _STYLE
    title = told(score["title"])
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>\n{style}</style></head><body>\n"
        f"<header><h1>{title}</h1><p>{score['pictures']:,} pictures from {score['units']:,} "
        f'sources, {told(", ".join(m for m in score["methods"] if m))}</p><nav aria-label="Page">'
        '<a href="#figures">Figures</a>'
    )
    for one in figures:
        yield f'<a href="#{one.column}">{told(score["columns"][one.column]["title"])}</a>'
    yield '<a href="#made">How it was made</a></nav></header>\n<main>'
    yield from _figures(score)
    for one in figures:
        yield from _gallery(score["columns"][one.column], one)
    yield from _made(score)
    yield "</main></body></html>\n"


def _figures(score: dict[str, Any]) -> Iterator[str]:
    level = f"{score['level']:.0%}"
    from socialcli.evaluation import tables

    names = ("figure", "value", "on its range", f"{level} interval", "pictures", "what it is")
    yield '<h2 id="figures">Figures</h2>' + wide("Figures", "figures")
    yield heads(*(f"#{n}" if n in ("value", names[3], "pictures") else n for n in names))

    for column in score["columns"].values():
        digits = column["digits"]
        arrow = tables.ARROWS[column["better"]]
        value = tables.number(column["value"], digits)
        cells = (
            f"<td>{told(column['title'])} {arrow}</td>",
            f'<td class="n" data-name="value"><b>{value}</b></td>',
            f'<td class="interval" data-name="range">{interval(column)}</td>',
            f'<td class="n" data-name="{names[3]}">'
            f"{tables.span(column['low'], column['high'], digits)}</td>",
            f'<td class="n" data-name="pictures">{column["n"]:,}</td>',
            f'<td data-name="what it is">{told(column["about"])}</td>',
        )
        yield f"<tr>{''.join(cells)}</tr>\n"
    yield "</table></div>\n"


def interval(column: dict[str, Any]) -> str:
    """A figure and its interval on the line of its range; a range without end is cut to twice the
    interval's own reach."""
    value, low, high = column["value"], column["low"], column["high"]
    if value is None:
        return ""
    left, right = column["range_low"], column["range_high"]
    reach = max(abs(v) for v in (value, low or value, high or value)) or 1.0
    left = -1.2 * reach if left is None else left
    right = 1.2 * reach if right is None else right
    # Cosines live in a small part of [-1, 1]: below zero is shown only when something is there.
    if left < 0 <= min(value, low if low is not None else value):
        left = 0.0

    def at(x: float) -> float:
        return 8 + 284 * min(max((x - left) / (right - left), 0.0), 1.0)

    span = ""
    if low is not None and high is not None:
        span = f'<line class="span" x1="{at(low):.1f}" x2="{at(high):.1f}" y1="13" y2="13"/>'
    label = f"{value:g} on a line from {left:g} to {right:g}"
    if span:
        label += f", interval from {low:g} to {high:g}"
    return (
        f'<svg class="scale" viewBox="0 0 300 26" role="img" aria-label="{label}">'
        f"<title>from {left:g} to {right:g}</title>"
        f'<line class="track" x1="8" x2="292" y1="13" y2="13"/>{span}'
        f'<circle class="at" cx="{at(value):.1f}" cy="13" r="4.5"/></svg>'
    )


def _gallery(column: dict[str, Any], one: Shown) -> Iterator[str]:
    yield f'<h2 id="{one.column}">{told(column["title"])}</h2><div class="panels">'
    yield '<section class="panel"><h3>Single pictures <small>'
    yield f"{told(column['about'])}</small></h3>"
    bins, edges = histogram(one.values, column["digits"])
    yield charts.columns(bins, "pictures", column["title"], edges) + "</section></div>\n"
    for name, shots in (("Best", one.best), ("Worst", one.worst)):
        if shots:
            yield f'<h3>{name}</h3><div class="strip">'
            for shot in shots:
                yield _pair(shot, column["digits"])
            yield "</div>\n"


def _pair(shot: Shot, digits: int) -> str:
    parts = "".join(
        f'<div><img alt="{told(f"{name} picture of {shot.key}")}" loading="lazy" '
        f'src="{FOLDER}/{file}"><small>{name}</small></div>'
        for file, name in ((shot.picture, "generated"), (shot.source, "reference"))
        if file
    )
    seed = f", seed {told(shot.seed)}" if shot.seed else ""
    return (
        f'<figure class="pair"><div class="shots">{parts}</div><figcaption>'
        f'<p><b>{shot.value:.{digits}f}</b></p><p class="caption">{told(shot.prompt[:400])}</p>'
        f'<p class="key">{told(shot.key)}{seed}</p></figcaption></figure>\n'
    )


def histogram(values: list[float], digits: int) -> tuple[list[tuple[str, int]], list[str]]:
    """((from to, how many) of equal bins from the least to the greatest value, the bins' borders);
    one bin where all values are the same."""
    low, high = min(values), max(values)
    count = 1 if math.isclose(low, high, abs_tol=1e-12) else BINS
    counts = [0] * count
    for value in values:
        place = int((value - low) / (high - low) * count) if count > 1 else 0
        counts[min(place, count - 1)] += 1
    places = max(2, digits - 2) if count > 1 else digits
    edges = [f"{low + i * (high - low) / count:.{places}f}" for i in range(count + 1)]
    return [(f"{a} to {b}", n) for a, b, n in zip(edges, edges[1:], counts, strict=False)], edges


def _made(score: dict[str, Any]) -> Iterator[str]:
    from socialcli.evaluation import tables

    yield '<h2 id="made">How it was made</h2>' + wide("How it was made", "facts-of")
    facts = [
        ("generated", ", ".join(score["generated"])),
        ("reference", ", ".join(score["reference"])),
        *(("training set", place) for place in score.get("training", [])),
        ("intervals", f"{score['resamples']:,} bootstrap resamples, seed {score['seed']}"),
        *(("note", note) for note in score["notes"]),
        *(("model", line) for line in tables.models(score)),
        *((f"definition of {name}", source) for name, source in score["metrics"].items()),
        ("not used whole", f"{score['lost']:,} pictures or features; see errors.jsonl"),
        ("made", f"socialcli {score['socialcli']}, {score['finished']}"),
    ]
    for name, text in facts:
        yield f'<tr><th scope="row">{told(name)}</th><td>{told(text)}</td></tr>\n'
    yield "</table></div>\n"
