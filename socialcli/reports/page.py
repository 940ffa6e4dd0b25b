"""One self-contained HTML page about shards: no network, nothing from data that is not escaped.

The page forbids itself everything but its own inline style, its own script (by hash) and embedded
pictures, so that a caption could not run anything even if an escape were forgotten.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from pathlib import Path

from socialcli import records
from socialcli.reports import charts
from socialcli.reports.marks import LAYERS
from socialcli.reports.overlay import card, told
from socialcli.reports.shown import anchor
from socialcli.reports.statistics import AREAS, Statistics, quantile, spread
from socialcli.reports.view import View
from socialcli.vision.text import clean

HERE = Path(__file__).parent
MOST_LOST = 200  # samples listed with their reason


@dataclass
class ShardRow:
    """One shard as the page's last table shows it."""

    location: str
    samples: int
    size: int | None  # bytes of its archives
    ended: dict[str, int] | None = None  # ok, filtered, failed, damaged, where a run left it
    made: str = ""  # by which command, how fast


@dataclass
class Report:
    """Everything the page shows but the pictures."""

    title: str
    statistics: Statistics
    shards: list[ShardRow] = field(default_factory=list)
    lost: list[dict[str, str]] = field(default_factory=list)  # key, status, stage, reason, shard
    lost_count: int = 0
    chosen: str = ""  # how the pictures shown were chosen
    links: list[tuple[str, str]] = field(default_factory=list)  # name, where: other pages
    shown: list[tuple[str, str]] = field(default_factory=list)  # name, section of `shown`


def page(report: Report, views: Iterable[View]) -> Iterator[str]:
    """The page in pieces, each card made when it is asked for."""
    script = (HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    style = (HERE / "page.css").read_text(encoding="utf-8") + "".join(
        f"body:has(#layer-{name}:not(:checked)) .shot g.{name} {{ display: none; }}\n"
        for name in LAYERS
    )
    title = told(report.title)
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>\n{style}</style></head><body>\n"
    )
    s = report.statistics
    yield f"<header><h1>{title}</h1><p>{s.samples:,} samples in {len(report.shards):,} shards"
    yield f", {human(s.size)}</p>"
    yield '<nav><a href="#counts">What is in it</a><a href="#gallery">Pictures</a>'
    if report.lost:
        yield '<a href="#lost">Left out</a>'
    yield '<a href="#made">How it was made</a>'
    for name, _ in report.shown:
        yield f'<a href="#{escape(anchor(name))}">{told(name)}</a>'
    for name, where in report.links:
        yield f'<a href="{escape(where)}">{told(name)}</a>'
    yield "</nav></header>\n<main>"
    yield _facts(report)
    for _, section in report.shown:
        yield section
    yield '<h2 id="counts">What is in it</h2><div class="panels">'
    yield from _panels(s)
    yield "</div>\n"
    yield from _gallery(report, views)
    if report.lost:
        yield from _lost(report)
    yield from _made(report)
    yield f"<footer>{told(report.chosen)}</footer></main>\n"
    yield f"<script>{script}</script></body></html>\n"


def human(size: float) -> str:
    """A number of bytes for people: 1.3 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def _facts(report: Report) -> str:
    """Cards with a number each, and a bar for the share of samples that have the member."""
    s = report.statistics
    found = []
    for name, suffix in (
        ("captions", "caption.json"), ("entities", "entities.json"), ("boxes", "boxes.json"),
        ("masks", "masks.json"), ("people", "people.json"), ("faces", "people.json"),
        ("poses", "people.json"), ("gazes", "people.json"), ("identities", records.IDENTITY),
        ("interactions", "interactions.json"),
    ):  # fmt: skip
        member = s.members.get(suffix)
        if member is None or not s.things[name]:
            continue
        share = member.samples / max(s.samples, 1)
        says = f"{name}, in {member.samples:,} of {s.samples:,} samples"
        if name in ("faces", "poses", "gazes"):
            says = f"{name} of {s.things['people']:,} people"
            share = s.things[name] / max(s.things["people"], 1)
        found.append(
            f'<div class="fact"><b>{s.things[name]:,}</b><span>{says}</span>'
            f'<i style="--share:{share:.1%}"></i></div>'
        )
    wrong = (("left out or failed", report.lost_count), ("unreadable members", s.problems))
    for name, count in (*wrong, ("damaged samples", s.unusable)):
        if count:
            found.append(f'<div class="fact bad"><b>{count:,}</b><span>{name}</span></div>')
    return f'<div class="facts">{"".join(found)}</div>\n'


def _panels(s: Statistics) -> Iterator[str]:
    """A panel with a chart per annotation that there is."""

    def panel(title: str, note: str, chart: str) -> str:
        small = f" <small>{escape(note)}</small>" if note else ""
        return f'<section class="panel"><h3>{title}{small}</h3>{chart}</section>\n'

    def named(pairs: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        return [(clean(name), count) for name, count in pairs]

    if s.words:
        note = f"words; half have at most {quantile(s.words, 0.5)}"
        yield panel("Caption length", note, charts.columns(spread(s.words, 24), "captions"))
    if s.entities:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in s.kinds.most_common())
        chart = charts.columns(spread(s.entities, 20), "pictures")
        yield panel("Entities per picture", kinds, chart)
    for title, tally, unit in (
        ("Nouns", s.nouns, "entities"), ("Verbs", s.verbs, "triples"),
        ("Who does what", s.triples, "triples"), ("Interactions", s.interactions, "interactions"),
    ):  # fmt: skip
        if tally.total:
            top = tally.top(12)
            note = f"the {len(top)} most frequent of {len(tally.counts):,}"
            yield panel(title, note, charts.bars(named(top), unit))
    if s.boxes:
        yield panel("Boxes per picture", "", charts.columns(spread(s.boxes, 20), "pictures"))
    if s.box_areas:
        bounds = [0.0, *AREAS, 1.0]
        names = [f"{a:.0%}–{b:.0%}" for a, b in pairwise(bounds)]
        areas = [(name, s.box_areas[number]) for number, name in enumerate(names)]
        yield panel("Box area", "share of the picture", charts.columns(areas, "boxes"))
    if s.box_scores:
        tenths = [(f"{n / 10:.1f}", s.box_scores[n]) for n in range(10)]
        yield panel("Box score", "from", charts.columns(tenths, "boxes"))
    if s.mask_ious:
        twentieths = [(f"{n / 20:.2f}", s.mask_ious[n]) for n in range(20)]
        note = "as the segmenter estimates it, from"
        yield panel("Mask IoU", note, charts.columns(twentieths, "masks"))
    if s.people:
        yield panel("People per picture", "", charts.columns(spread(s.people, 20), "pictures"))
    if s.things["poses"]:
        rows = [
            (name.replace("_", " "), [counts[2], counts[1], counts[0]])
            for name, counts in zip(records.COCO_KEYPOINTS, s.keypoints, strict=True)
        ]
        chart = charts.stacked(rows, ("visible", "hidden", "not labelled"))
        yield panel("Keypoints", f"of {s.things['poses']:,} poses", chart)
    if s.gaze:
        ends = ", ".join(f"{s.gaze_ends[k]:,} {k}" for k in ("inside", "outside", "unknown")
                         if s.gaze_ends[k])  # fmt: skip
        sectors = [s.gaze[n] for n in range(max(16, max(s.gaze) + 1))]
        yield panel("Gaze direction", f"target: {ends}", charts.rose(sectors, "gazes"))


def _gallery(report: Report, views: Iterable[View]) -> Iterator[str]:
    yield '<h2 id="gallery">Pictures</h2><div class="tools">'
    yield '<input type="search" id="words" placeholder="words in caption, labels or key" '
    yield 'aria-label="Filter by words"><select id="has" aria-label="Filter by annotation">'
    yield '<option value="">all pictures</option>'
    for name in ("captions", "boxes", "masks", "people", "faces", "skeletons", "gaze",
                 "interactions", "problems"):  # fmt: skip
        yield f'<option value="{name}">with {name}</option>'
    yield "</select>"
    for name in LAYERS:
        yield f'<label><input type="checkbox" id="layer-{name}" checked>{name}</label>'
    yield '<output id="shown"></output></div><div class="gallery">\n'
    for view in views:
        yield card(view)
    yield "</div>\n"


def _lost(report: Report) -> Iterator[str]:
    count = f"{report.lost_count:,} samples"
    if report.lost_count > len(report.lost):
        count = f"the first {len(report.lost):,} of {count}"
    yield f'<h2 id="lost">Left out <small>({count})</small></h2><div class="panel wide"><table>'
    yield "<tr><th>key</th><th>what</th><th>stage</th><th>reason</th><th>shard</th></tr>\n"
    for entry in report.lost:
        cells = (entry.get(name, "") for name in ("key", "status", "stage", "reason", "shard"))
        yield "<tr>" + "".join(f"<td>{told(cell)}</td>" for cell in cells) + "</tr>\n"
    yield "</table></div>\n"


def _made(report: Report) -> Iterator[str]:
    s = report.statistics
    yield '<h2 id="made">How it was made</h2><div class="panel wide"><table>'
    yield '<tr><th>member</th><th>model</th><th class="n">samples</th></tr>\n'
    for role, counts in s.models.items():
        for model, count in counts.most_common():
            yield f"<tr><td>{told(role)}</td><td>{told(model)}</td>"
            yield f'<td class="n">{count:,}</td></tr>\n'
    yield '</table></div>\n<div class="panel wide"><table><tr><th>shard</th>'
    yield '<th class="n">samples</th><th class="n">ok</th><th class="n">filtered</th>'
    yield '<th class="n">failed</th><th class="n">size</th><th>last command</th></tr>\n'
    for row in report.shards[:500]:
        ended = [f"{row.ended[k]:,}" if row.ended and k in row.ended else "" for k in
                 ("ok", "filtered", "failed")]  # fmt: skip
        cells = [f"{row.samples:,}", *ended, human(row.size) if row.size is not None else ""]
        yield f"<tr><td>{told(row.location)}</td>"
        yield "".join(f'<td class="n">{cell}</td>' for cell in cells)
        yield f"<td>{told(row.made)}</td></tr>\n"
    if len(report.shards) > 500:
        yield f'<tr><td colspan="7">and {len(report.shards) - 500:,} more shards</td></tr>'
    yield "</table></div>\n"
