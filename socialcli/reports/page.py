"""One HTML page about shards: no network, nothing from data that is not escaped.

The page holds the counts; the samples lie in small files beside it (see `cards`). It forbids itself
everything but its own inline style, its own script (by hash), scripts that this one loads, and
embedded pictures, so that a caption could not run anything even if an escape were forgotten.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from pathlib import Path

from socialcli import records
from socialcli.reports import charts
from socialcli.reports.marks import LAYERS
from socialcli.reports.overlay import HAS, LEFT_OUT, told
from socialcli.reports.shown import anchor
from socialcli.reports.statistics import AREAS, Statistics, quantile, spread
from socialcli.vision.text import clean

HERE = Path(__file__).parent
MOST_LOST = 200  # samples in the page's own table; the list has all of them


@dataclass(slots=True)
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
    chosen: str = ""  # how the pictures on the sheets were chosen
    enlarged: int = 0  # samples of the list that have a large picture too
    listed: int = 0  # samples in the page's list, whole or not
    folder: str = ""  # beside the page, of the files with the samples
    sheets: list[tuple[str, str]] = field(default_factory=list)  # name, where: contact sheets
    links: list[tuple[str, str]] = field(default_factory=list)  # name, where: other pages
    shown: list[tuple[str, str]] = field(default_factory=list)  # name, section of `shown`


def page(report: Report) -> Iterator[str]:
    """The page in pieces."""
    script = (HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}' 'strict-dynamic'; base-uri 'none'; form-action 'none'"
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
    heading = title.replace("/", "/<wbr>")  # a path may break between its folders
    yield f"<header><h1>{heading}</h1><p>{summary(s, report.shards)}</p>"
    panels = list(_panels(s))
    yield '<nav aria-label="Page">'
    if panels:
        yield '<a href="#counts">What is in it</a>'
    yield '<a href="#samples">Samples</a>'
    if report.lost:
        yield '<a href="#lost">Left out</a>'
    yield '<a href="#made">How it was made</a>'
    for name, _ in report.shown:
        yield f'<a href="#{escape(anchor(name))}">{told(name)}</a>'
    for name, where in (*report.sheets, *report.links):
        yield f'<a href="{escape(where)}">{told(name)}</a>'
    yield "</nav></header>\n<main>"
    yield _facts(report)
    for _, section in report.shown:
        yield section
    if panels:
        yield '<h2 id="counts">What is in it</h2><div class="panels">'
        yield from panels
        yield "</div>\n"
    yield from _browser(report)
    if report.lost:
        yield from _lost(report)
    yield from _made(report)
    yield f"<footer>{told(report.chosen)}</footer></main>\n"
    yield f"<script>{script}</script></body></html>\n"


def summary(s: Statistics, shards: Sequence[ShardRow]) -> str:
    """How much there is, in one line: of the page, and of what `inspect` prints."""
    archives = sum(row.size or 0 for row in shards)
    noun = "shard" if len(shards) == 1 else "shards"
    return f"{s.samples:,} samples in {len(shards):,} {noun}, {sizes(archives, s.size)}"


def sizes(archives: int, members: int) -> str:
    """The size of the archives, and of the members in them: headers and padding are not theirs."""
    if not archives or human(archives) == human(members):
        return human(archives or members)
    return f"{human(archives)} (members: {human(members)})"


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
    facts = []
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
        facts.append(
            f'<div class="fact"><b>{s.things[name]:,}</b><span>{says}</span>'
            f'<i style="--share:{share:.1%}"></i></div>'
        )
    wrong = (("left out or failed", report.lost_count), ("unreadable members", s.problems))
    for name, count in (*wrong, ("damaged samples", s.unusable)):
        if count:
            facts.append(f'<div class="fact bad"><b>{count:,}</b><span>{name}</span></div>')
    return f'<div class="facts">{"".join(facts)}</div>\n'


def _panels(s: Statistics) -> Iterator[str]:
    """A panel with a chart per annotation that there is."""

    def panel(title: str, note: str, chart: str) -> str:
        small = f" <small>{escape(note)}</small>" if note else ""
        return f'<section class="panel"><h3>{title}{small}</h3>{chart}</section>\n'

    def named(pairs: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        return [(clean(name), count) for name, count in pairs]

    def binned(counts: Mapping[int, int], edges: list[str], unit: str, axis: str) -> str:
        bins = [(f"{a}–{b}", counts.get(n, 0)) for n, (a, b) in enumerate(pairwise(edges))]
        return charts.columns(bins, unit, axis, edges)

    if s.words:
        note = f"words; half have at most {quantile(s.words, 0.5)}"
        yield panel(
            "Caption length", note, charts.columns(spread(s.words, 24), "captions", "words")
        )
    if s.entities:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in s.kinds.most_common())
        chart = charts.columns(spread(s.entities, 20), "pictures", "entities")
        yield panel("Entities per picture", kinds, chart)
    for title, tally, unit in (
        ("Nouns", s.nouns, "entities"), ("Verbs", s.verbs, "triples"),
        ("Who does what", s.triples, "triples"), ("Interactions", s.interactions, "interactions"),
    ):  # fmt: skip
        if tally.total:
            top = tally.top(12)
            more = len(tally.counts) - len(top)
            note = f"the {len(top)} most frequent of {len(tally.counts):,}" if more else ""
            yield panel(title, note, charts.bars(named(top), unit))
    if s.boxes:
        chart = charts.columns(spread(s.boxes, 20), "pictures", "boxes")
        yield panel("Boxes per picture", "", chart)
    if s.box_areas:
        edges = [f"{bound:.0%}" for bound in (0.0, *AREAS, 1.0)]
        yield panel("Box area", "", binned(s.box_areas, edges, "boxes", "share of the picture"))
    if s.box_scores:
        edges = [f"{n / 10:.1f}" for n in range(11)]
        yield panel("Box score", "", binned(s.box_scores, edges, "boxes", "score"))
    if s.mask_ious:
        edges = [f"{n / 20:.2f}" for n in range(21)]
        chart = binned(s.mask_ious, edges, "masks", "IoU")
        yield panel("Mask IoU", "as the segmenter estimates it", chart)
    if s.people:
        chart = charts.columns(spread(s.people, 20), "pictures", "people")
        yield panel("People per picture", "", chart)
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


def _browser(report: Report) -> Iterator[str]:
    """The list of samples with its filters; the script fills it."""
    from socialcli.reports.cards import SIZES

    yield '<h2 id="samples">Samples</h2>'
    yield "<noscript><p>The list of samples needs JavaScript"
    yield "; the contact sheets do not.</p></noscript>" if report.sheets else ".</p></noscript>"
    yield '<a class="skip" href="#after-samples">Skip the samples</a>'
    yield '<div class="tools" id="tools"><input type="search" id="words" '
    yield 'placeholder="search all samples" aria-label="Search captions, labels, keys and reasons">'
    yield '<select id="has" aria-label="Filter"><option value="">all samples</option>'
    for group, sign in (("with", ""), ("without", "-")):
        yield f'<optgroup label="{group}">'
        for number, name in enumerate(HAS):
            if name != LEFT_OUT:
                yield f'<option value="{sign}{number}">{group} {name}</option>'
        yield "</optgroup>"
    number = HAS.index(LEFT_OUT)
    yield f'<option value="{number}">{LEFT_OUT}</option><option value="-{number}">whole samples'
    yield '</option></select><fieldset id="layers"><legend class="spoken">Layers</legend>'
    for name in LAYERS:
        yield f'<label><input type="checkbox" id="layer-{name}" checked>{name}</label>'
    yield '</fieldset><span id="stretches" hidden><select aria-label="Stretch of samples">'
    yield '</select></span><output id="shown"></output></div>\n'
    facts = {"count": report.listed, "folder": report.folder, "index": SIZES["index"]}
    facts |= {"large": report.enlarged, "cards": SIZES["cards"], "lost": HAS.index(LEFT_OUT)}
    data = " ".join(f'data-{name}="{value}"' for name, value in facts.items())
    yield f'<div id="list" role="list" aria-label="Samples" {data}></div>\n'
    yield '<dialog id="viewer" aria-labelledby="viewer-title"><header><h2 id="viewer-title"></h2>'
    for name, words, sign in (("before", "Sample before", "←"), ("next", "Next sample", "→"),
                              ("close", "Close", "✕")):  # fmt: skip
        yield f'<button type="button" id="{name}" aria-label="{words}">{sign}</button>'
    yield '</header><div id="slot"></div><div id="one"></div></dialog>\n'
    yield '<div id="after-samples" tabindex="-1"></div>\n'


def _lost(report: Report) -> Iterator[str]:
    count = f"{report.lost_count:,} samples"
    if report.lost_count > len(report.lost):
        count = f"the first {len(report.lost):,} of {count}; the list of samples has all"
    yield f'<h2 id="lost">Left out or failed <small>({count})</small></h2>'
    yield wide("Samples left out or failed")
    yield heads("key", "what", "stage", "reason", "shard")
    for entry in report.lost:
        cells = (entry.get(name, "") for name in ("key", "status", "stage", "reason", "shard"))
        yield "<tr>" + "".join(f"<td>{told(cell[:500])}</td>" for cell in cells) + "</tr>\n"
    yield "</table></div>\n"


def wide(label: str, name: str = "") -> str:
    """The start of a panel with a table, which a keyboard can scroll where it is too wide.

    Args:
        name: the table's class.
    """
    panel = f'<div class="panel wide" role="region" tabindex="0" aria-label="{label}">'
    return f'{panel}<table class="{name}">' if name else f"{panel}<table>"


def heads(*names: str) -> str:
    """A table's first row; numbers stand below names that begin with "#"."""
    return "<tr>" + "".join(
        f'<th scope="col"{" class=n" if name[0] == "#" else ""}>{name.removeprefix("#")}</th>'
        for name in names
    ) + "</tr>\n"  # fmt: skip


def _made(report: Report) -> Iterator[str]:
    s = report.statistics
    yield '<h2 id="made">How it was made</h2>'
    yield wide("Models") + heads("member", "model", "#samples")
    for role, counts in s.models.items():
        for model, count in counts.most_common():
            yield f"<tr><td>{told(role)}</td><td>{told(model)}</td>"
            yield f'<td class="n">{count:,}</td></tr>\n'
    yield "</table></div>\n" + wide("Sources") + heads("things", "source", "#how many")
    for what, counts in s.sources.items():
        for source, count in counts.most_common():
            yield f"<tr><td>{what}</td><td>{told(source)}</td>"
            yield f'<td class="n">{count:,}</td></tr>\n'
    yield "</table></div>\n" + wide("Shards")
    yield heads("shard", "#samples", "#ok", "#filtered", "#failed", "#size", "last command")
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
