"""One self-contained HTML page about a score: intervals, distributions, best and worst pictures.

Like the page of `inspect` it forbids itself everything but its own style and embedded pictures, and
has no script at all.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.reports import charts
from socialcli.reports.overlay import told

if TYPE_CHECKING:
    from socialcli.evaluation.run import Score

HERE = Path(__file__).parents[1] / "reports"
SIDE = 256  # longest side of an embedded picture in pixels
QUALITY = 82
BINS = 24
_STYLE = """
.scale { display: block; width: 100%; min-width: 240px; }
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
.pair img { display: block; width: 100%; }
.pair .shots small { display: block; color: #ddd; padding: 2px 8px 4px; font-size: 11px; }
.pair b { font-variant-numeric: tabular-nums; }
td.interval { width: 34%; }
"""


@dataclass
class Shot:
    """One generated picture beside its source, with its figure."""

    key: str
    prompt: str
    seed: str
    value: float
    picture: str = ""  # data URIs, "" where the picture cannot be shown
    source: str = ""


@dataclass
class Shown:
    """Best and worst pictures of one figure, and how all pictures' figures are spread."""

    column: str
    best: list[Shot] = field(default_factory=list)
    worst: list[Shot] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def shown(made: Score) -> list[Shown]:
    """What to show of a score: the best and the worst pictures by each metric's first figure.

    Each picture's bytes are read again from where it is, once, whatever it is shown for.
    """
    import numpy

    found: list[Shown] = []
    wanted: dict[int, list[Shot]] = {}
    for name in (module.COLUMNS[0].name for module in made.modules.values()):
        values, column = made.pictures.get(name, numpy.zeros(0)), made.columns[name]
        there = [int(i) for i in numpy.flatnonzero(numpy.isfinite(values))]
        if not there:
            continue
        sign = -1 if column["better"] == "lower" else 1
        order = sorted(there, key=lambda i: (-sign * values[i], made.cases[i].key))
        one = Shown(name, values=[float(values[i]) for i in there])
        count = min(made.options.show, len(order) // 2)
        for numbers, target in ((order[:count], one.best), (order[::-1][:count], one.worst)):
            for number in numbers:
                info = made.joined[number].generated
                seed = str(info.info.get("seed", ""))
                target.append(Shot(info.key, info.prompt, seed, float(values[number])))
                wanted.setdefault(number, []).append(target[-1])
        found.append(one)
    _fill(made, wanted)
    return found


def _fill(made: Score, wanted: dict[int, list[Shot]]) -> None:
    """Put the pictures into the shots."""
    from socialcli.errors import SampleFailed
    from socialcli.evaluation import samples
    from socialcli.shards import Damage

    uses: dict[str, dict[str, list[tuple[Shot, str]]]] = {}
    for number, shots in wanted.items():
        joined = made.joined[number]
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
                mine = digests.pop(samples.digest(data), [])
                uri = thumbnail(data) if mine else ""
            except SampleFailed:
                continue
            for shot, name in mine:
                setattr(shot, name, uri)


def thumbnail(data: bytes) -> str:
    """A picture's bytes as a small JPEG in a data URI.

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
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def page(score: dict[str, Any], figures: list[Shown]) -> Iterator[str]:
    """The page in pieces.

    Args:
        score: what score.json holds. figures: from `shown`.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"
    style = (HERE / "page.css").read_text(encoding="utf-8") + _STYLE
    title = told(score["title"])
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>\n{style}</style></head><body>\n"
        f"<header><h1>{title}</h1><p>{score['pictures']:,} pictures from {score['units']:,} "
        f"sources, {told(', '.join(m for m in score['methods'] if m))}</p><nav>"
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
    yield '<h2 id="figures">Figures</h2><div class="panel wide"><table>'
    yield f'<tr><th>figure</th><th class="n">value</th><th>{level} interval</th><th></th>'
    yield '<th class="n">pictures</th><th>what it is</th></tr>\n'
    from socialcli.evaluation import tables

    for column in score["columns"].values():
        digits = column["digits"]
        arrow = tables.ARROWS[column["better"]]
        value = tables.number(column["value"], digits)
        yield f"<tr><td>{told(column['title'])} {arrow}</td><td class='n'><b>{value}</b></td>"
        yield f'<td class="interval">{interval(column)}</td>'
        yield f'<td class="n">{tables.span(column["low"], column["high"], digits)}</td>'
        yield f'<td class="n">{column["n"]:,}</td><td>{told(column["about"])}</td></tr>\n'
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
    return (
        f'<svg class="scale" viewBox="0 0 300 26" role="img">'
        f"<title>from {left:g} to {right:g}</title>"
        f'<line class="track" x1="8" x2="292" y1="13" y2="13"/>{span}'
        f'<circle class="at" cx="{at(value):.1f}" cy="13" r="4.5"/></svg>'
    )


def _gallery(column: dict[str, Any], one: Shown) -> Iterator[str]:
    yield f'<h2 id="{one.column}">{told(column["title"])}</h2><div class="panels">'
    yield '<section class="panel"><h3>Single pictures <small>'
    yield f"{told(column['about'])}</small></h3>"
    yield charts.columns(histogram(one.values, column["digits"]), "pictures") + "</section></div>\n"
    for name, shots in (("Best", one.best), ("Worst", one.worst)):
        if shots:
            yield f'<h3>{name}</h3><div class="strip">'
            for shot in shots:
                yield _pair(shot, column["digits"])
            yield "</div>\n"


def _pair(shot: Shot, digits: int) -> str:
    parts = "".join(
        f'<div><img alt="" loading="lazy" src="{uri}"><small>{name}</small></div>'
        for uri, name in ((shot.picture, "generated"), (shot.source, "reference"))
        if uri
    )
    seed = f", seed {told(shot.seed)}" if shot.seed else ""
    return (
        f'<figure class="pair"><div class="shots">{parts}</div><figcaption>'
        f'<p><b>{shot.value:.{digits}f}</b></p><p class="caption">{told(shot.prompt[:400])}</p>'
        f'<p class="key">{told(shot.key)}{seed}</p></figcaption></figure>\n'
    )


def histogram(values: list[float], digits: int) -> list[tuple[str, int]]:
    """(from, how many) of equal bins from the least to the greatest value."""
    low, high = min(values), max(values)
    if math.isclose(low, high, abs_tol=1e-12):
        return [(f"{low:.{digits}f}", len(values))]
    counts = [0] * BINS
    for value in values:
        counts[min(int((value - low) / (high - low) * BINS), BINS - 1)] += 1
    places = max(2, digits - 2)
    return [(f"{low + i * (high - low) / BINS:.{places}f}", n) for i, n in enumerate(counts)]


def _made(score: dict[str, Any]) -> Iterator[str]:
    from socialcli.evaluation import tables

    yield '<h2 id="made">How it was made</h2><div class="panel wide"><table>'
    facts = [
        ("generated", ", ".join(score["generated"])),
        ("reference", ", ".join(score["reference"])),
        ("intervals", f"{score['resamples']:,} bootstrap resamples, seed {score['seed']}"),
        *(("note", note) for note in score["notes"]),
        *(("model", line) for line in tables.models(score)),
        *((f"definition of {name}", source) for name, source in score["metrics"].items()),
        ("not used whole", f"{score['lost']:,} pictures or features; see errors.jsonl"),
        ("made", f"socialcli {score['socialcli']}, {score['finished']}"),
    ]
    for name, text in facts:
        yield f"<tr><td>{told(name)}</td><td>{told(text)}</td></tr>\n"
    yield "</table></div>\n"
