"""What `inspect` prints: a table for people, or the same counts as JSON."""

from __future__ import annotations

from typing import Any

from socialcli import records
from socialcli.reports.gather import Looked
from socialcli.reports.page import human, summary
from socialcli.reports.statistics import Member, quantile

_STAGE = {
    "caption.json": "caption",
    "entities.json": "extract-entities",
    "boxes.json": "ground",
    "masks.json": "segment",
    "people.json": "annotate-pose",
}


def text(looked: Looked, per_shard: bool) -> str:
    """The table, with a line per shard if asked for."""
    s = looked.statistics
    lines = [summary(s, looked.shards)]
    if looked.lost_by:
        statuses = ", ".join(
            f"{count:,} {status}" for status, count in sorted(looked.lost_by.items())
        )
        lines[0] += f"; not among them or not whole: {statuses}"
    rows: list[tuple[str, ...]] = [("member", "samples", "missing", "size", "holds")]
    for name, member in _members(looked).items():
        missing = s.samples - member.samples
        rows.append(
            (name, f"{member.samples:,}", f"{missing:,}" if missing else "-",
             human(member.size), _holds(looked, name))
        )  # fmt: skip
    lines += ["", *_aligned(rows)]
    lines += _sources(looked)
    absent = [f"{name} (`socialcli {stage}`)" for name, stage in _STAGE.items()
              if name not in s.members]  # fmt: skip
    if absent and s.samples:
        lines += ["", "not there: " + ", ".join(absent)]
    if s.problems:
        lines += ["", f"{s.problems:,} members cannot be read; `socialcli validate` says why"]
    if per_shard:
        lines += ["", *_aligned(_shard_rows(looked))]
    for entry in looked.lost[:5]:
        key = entry.get("key") or "-"
        lines += [f"{entry['status']}: {entry['shard']}: {key}: {entry.get('reason', '')}"]
    if sum(looked.lost_by.values()) > 5:
        lines += ["... and more; the page that --out writes lists them"]
    from socialcli.pipeline.report import one_line

    return "\n".join(one_line(line) for line in lines)


def _ordered(looked: Looked) -> list[str]:
    """Members present: the picture, the known ones in the chain's order, then the others."""
    there = set(looked.statistics.members)
    known = [*records.IMAGE_SUFFIXES, *records.MEMBERS, records.IDENTITY]
    return [name for name in known if name in there] + sorted(there - set(known))


def _members(looked: Looked) -> dict[str, Member]:
    """Members by suffix; pictures of several formats are one."""
    s = looked.statistics
    images = [name for name in _ordered(looked) if name in records.IMAGE_SUFFIXES]
    rows = {}
    if len(images) > 1:
        size = sum(s.members[name].size for name in images)
        rows[f"picture ({', '.join(images)})"] = Member(s.pictures, size)
    for name in _ordered(looked):
        if len(images) < 2 or name not in images:
            rows[name] = s.members[name]
    return rows


def _holds(looked: Looked, suffix: str) -> str:
    s = looked.statistics
    things = s.things
    if suffix == "caption.json" and s.words:
        return f"{quantile(s.words, 0.5)} words in the middle one, at most {max(s.words)}"
    if suffix == "entities.json":
        return f"{things['entities']:,} entities, {things['triples']:,} triples"
    if suffix == "people.json":
        names = ("people", "faces", "poses", "gazes")
        return ", ".join(f"{things[name]:,} {name}" for name in names)
    if suffix == records.IDENTITY:
        return f"{things['identities']:,} identities"
    if suffix == "layout.json":
        return f"{things['segments']:,} segments"
    name = suffix.partition(".")[0]
    return f"{things[name]:,} {name}" if suffix in records.MEMBERS and name in things else ""


def _sources(looked: Looked) -> list[str]:
    """Where a member holds annotations, or estimates of several backends: whose parts are whose."""
    lines = []
    for what, counts in looked.statistics.sources.items():
        if len(counts) > 1 or records.sources.ANNOTATION in counts:
            shares = ", ".join(f"{count:,} {name}" for name, count in counts.most_common())
            lines.append(f"{what} by source: {shares}")
    return ["", *lines] if lines else []


def _shard_rows(looked: Looked) -> list[tuple[str, ...]]:
    members = _ordered(looked)
    rows: list[tuple[str, ...]] = [
        ("shard", "samples", "ok", "filtered", "failed", "size", *members)
    ]
    for row, counts in zip(looked.shards, looked.per_shard, strict=True):
        ended = row.ended or {}
        outcomes = [f"{ended[k]:,}" if k in ended else "-" for k in ("ok", "filtered", "failed")]
        size = human(row.size) if row.size is not None else "-"
        cells = [f"{counts.get(name, 0):,}" for name in members]
        rows.append((row.location, f"{row.samples:,}", *outcomes, size, *cells))
    return rows


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns under each other: the first to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    last_is_text = rows[0][-1] == "holds"
    lines = []
    for row in rows:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            left = i == 0 or (last_is_text and i == len(row) - 1)
            cells.append(cell.ljust(width) if left else cell.rjust(width))
        lines.append("  ".join(cells).rstrip())
    return lines


def as_json(looked: Looked) -> dict[str, Any]:
    """The same, and every histogram, for machines."""
    s = looked.statistics
    return {
        "schema": records.SCHEMA_VERSION,
        "samples": s.samples,
        "pictures": s.pictures,
        "bytes": s.size,
        "lost": looked.lost_by,
        "unreadable_members": s.problems,
        "damaged_samples": s.unusable,
        "members": {
            name: {
                "samples": s.members[name].samples,
                "missing": s.samples - s.members[name].samples,
                "bytes": s.members[name].size,
            }
            for name in _ordered(looked)
        },
        "counts": dict(s.things),
        "models": {role: dict(counts) for role, counts in s.models.items()},
        "sources": {what: dict(counts) for what, counts in s.sources.items()},
        "histograms": {
            "caption_words": _numbers(s.words),
            "entities_per_picture": _numbers(s.entities),
            "entity_kinds": dict(s.kinds),
            "nouns": dict(s.nouns.top(100)),
            "verbs": dict(s.verbs.top(100)),
            "triples": dict(s.triples.top(100)),
            "boxes_per_picture": _numbers(s.boxes),
            "people_per_picture": _numbers(s.people),
            "interactions": dict(s.interactions.top(100)),
            "gaze_targets": dict(s.gaze_ends),
        },
        "shards": [
            {
                "location": row.location,
                "samples": row.samples,
                "bytes": row.size,
                "ended": row.ended,
                "members": counts,
            }
            for row, counts in zip(looked.shards, looked.per_shard, strict=True)
        ],
    }


def _numbers(counts: Any) -> dict[str, int]:
    return {str(number): counts[number] for number in sorted(counts)}
