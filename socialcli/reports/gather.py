"""Read shards once: count everything, keep a few samples to show, and write what shows them."""

from __future__ import annotations

import hashlib
import heapq
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.errors import SocialcliError
from socialcli.reports import beside
from socialcli.reports.page import MOST_LOST, Report, ShardRow
from socialcli.reports.statistics import Statistics
from socialcli.reports.view import View, view
from socialcli.validation.members import read_members

if TYPE_CHECKING:
    from socialcli.pipeline.report import Report as Progress
    from socialcli.reports.cards import Cards

MOST_SHEETS = 12  # that the page leads to


@dataclass
class Looked:
    """What looking at some shards gave."""

    statistics: Statistics = field(default_factory=Statistics)
    shards: list[ShardRow] = field(default_factory=list)
    per_shard: list[dict[str, int]] = field(default_factory=list)  # members of each
    distinct: dict[tuple[tuple[str, int], ...], dict[str, int]] = field(default_factory=dict)
    lost: list[dict[str, str]] = field(default_factory=list)  # the first of them
    lost_by: dict[str, int] = field(default_factory=dict)  # status -> samples
    views: list[View] = field(default_factory=list)
    limited: bool = False
    complaints: list[str] = field(default_factory=list)
    cards: Cards | None = None
    unread: int = 0  # shards that could not be read, to their end or at all


def look(
    locations: list[str],
    pictures: int,
    limit: int | None = None,
    cards: Cards | None = None,
    progress: Progress | None = None,
) -> Looked:
    """Count every sample and keep the ``pictures`` whose keys' hashes are smallest.

    The hash spreads the choice over all shards without knowing how many samples are to come, and
    gives the same choice again. Memory holds the chosen samples' bytes and no others.

    Args:
        cards: where every sample is written for the page, and every one that was lost.
        progress: what is told of each sample that was looked at.
    """
    looked = Looked(cards=cards)
    chosen: list[tuple[int, int, View]] = []  # a heap: the largest hash on top, negated
    for location in locations:
        if limit is not None and looked.statistics.samples >= limit:
            looked.limited = True
            break
        _one_shard(looked, location, chosen, pictures, limit, progress)
    if progress is not None:
        progress.finish()
    chosen.sort(key=lambda item: item[1])
    looked.views = [one for _, _, one in chosen]
    if cards is not None:
        cards.enlarge([(number, one) for _, number, one in chosen])
    return looked


def _one_shard(
    looked: Looked,
    location: str,
    chosen: list[tuple[int, int, View]],
    pictures: int,
    limit: int | None,
    progress: Progress | None = None,
) -> None:
    from socialcli import shards

    statistics = looked.statistics
    shown = shards.public(location)
    before = statistics.samples
    filtered: dict[str, str] = {}  # key -> why, as a sidecar says it
    members: dict[str, int] = {}
    try:
        for item in shards.read_all(location):
            if isinstance(item, shards.Damage):
                _lose(looked, location, {"status": "damaged", "reason": item.reason})
                continue
            if not item.key:
                continue
            if progress is not None:
                progress.advance(1)
            if item.filtered is not None:
                statistics.filtered += 1
                filtered[item.key] = item.filtered
                continue
            if limit is not None and statistics.samples >= limit:
                looked.limited = True
                break
            parsed, problems = read_members(item)
            statistics.add(item, parsed, len({p.member for p in problems}))
            for suffix in item.members:
                members[suffix] = members.get(suffix, 0) + 1
            if item.problem:
                entry = {"key": item.key, "status": "damaged", "reason": item.problem}
                _lose(looked, location, entry)
            rank = -int.from_bytes(hashlib.sha256(_bytes(item.key)).digest()[:8], "big")
            keep = len(chosen) < pictures or (chosen and rank > chosen[0][0])
            if not keep and looked.cards is None:
                continue
            one = view(item, shown, parsed, problems)
            number = statistics.samples if looked.cards is None else looked.cards.add(one)
            if keep:
                entry_ = (rank, number, one)
                push = heapq.heappush if len(chosen) < pictures else heapq.heapreplace
                push(chosen, entry_)
    except SocialcliError as error:
        looked.unread += 1
        looked.complaints.append(f"{shown}: {str(error).removeprefix(f'{shown}: ')}")
    row = ShardRow(shown, statistics.samples - before, _size(location))
    stats = beside.stats(shards.parts(location)[-1])
    row.ended = _once(looked, beside.counts(stats))
    row.made = _made(stats)
    for part, entry in _ended(location, filtered):
        _lose(looked, part, entry)
    looked.shards.append(row)
    looked.per_shard.append(_once(looked, members) or {})


def _ended(location: str, filtered: dict[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each sample of a shard or join that did not end well, once: where it was noted first, and
    what.

    Every later stage of a chain notes it too, for want of what the first one did not write. Of what
    they say only other reasons are told.

    Args:
        filtered: key -> reason of samples that a sidecar marks as filtered.
    """
    from socialcli import shards

    first: dict[str, tuple[str, dict[str, str]]] = {}
    reasons: dict[str, list[str]] = {}
    said: set[tuple[str, str, str]] = set()
    for part in shards.parts(location):
        for entry in shards.read_errors(part):
            key, stage = entry["key"], entry["stage"]
            if not key or (part, key, stage) in said:  # damage, or another sample of this key
                yield part, entry
                continue
            said.add((part, key, stage))
            told = reasons.setdefault(key, [])
            if key not in first:
                first[key] = (part, entry)
            elif not any(reason in entry["reason"] for reason in told):
                first[key][1]["reason"] += f"; {stage}: {entry['reason']}"
            told.append(entry["reason"])
    for key, reason in filtered.items():
        first.setdefault(key, (location, {"key": key, "status": "filtered", "reason": reason}))
    yield from first.values()


def _once(looked: Looked, counts: dict[str, int] | None) -> dict[str, int] | None:
    """The same counts as an object that all shards with these share: most of ten thousand do."""
    return None if counts is None else looked.distinct.setdefault(tuple(counts.items()), counts)


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _lose(looked: Looked, location: str, entry: dict[str, str]) -> None:
    from socialcli import shards

    status = entry.get("status") or "failed"
    looked.lost_by[status] = looked.lost_by.get(status, 0) + 1
    entry = {**entry, "status": status, "shard": shards.public(location)}
    if len(looked.lost) < MOST_LOST:
        looked.lost.append(entry)
    if looked.cards is not None:
        looked.cards.lose(entry)


def _size(location: str) -> int | None:
    from socialcli import shards

    sizes = [shards.size(part) for part in shards.parts(location)]
    return sum(s for s in sizes if s is not None) if any(s is not None for s in sizes) else None


def _made(stats: dict[str, Any] | None) -> str:
    """The run that made a shard, in a few words."""
    if stats is None:
        return ""
    timing = stats.get("timing")
    timing = timing if isinstance(timing, dict) else {}
    parts = [str(stats.get("command") or "")]
    if isinstance(timing.get("samples_per_second"), int | float):
        parts.append(f"{timing['samples_per_second']:g} samples/s")
    if timing.get("finished"):
        parts.append(str(timing["finished"]))
    return ", ".join(part for part in parts if part)


def write(
    looked: Looked,
    out: str,
    title: str,
    columns: int,
    page_size: int,
    links: list[tuple[str, str]] | None = None,
    sections: list[tuple[str, str]] | None = None,
) -> Iterator[str]:
    """Write ``sheet-NNN.png``, the folder of samples and ``index.html``; yields the paths when all
    are there. The folder is as it was until then, and if they cannot be written.

    The page leads to the ``links`` (name, where) and contains the ``sections`` (name, HTML made by
    `shown.section`). Sheets and samples that an earlier report left in the folder are removed.

    Args:
        looked: from `look` with ``cards`` that write into ``out``.
    """
    from socialcli import shards
    from socialcli.reports import cards, sheet
    from socialcli.reports.page import page
    from socialcli.vision import provenance, text

    written = looked.cards
    assert written is not None
    text.missing.clear()
    shown, total = len(looked.views), looked.statistics.samples
    sheets = []
    if looked.views:
        heading = f"{title}: {shown:,} of {total:,} pictures" if shown < total else title
        drawn_from = [
            (view.key, view.generated) for view in looked.views if view.generated is not None
        ]
        info = provenance.of_sheet(drawn_from)
        for number, image in enumerate(sheet.pages(looked.views, columns, page_size, heading)):
            file = f"sheet-{number:03}.png"
            with shards.explain_full_disk(f"{out}/{file}"):
                # Run lengths only: less than half the time of the default, a tenth more bytes.
                image.save(written.folder / file, compress_type=zlib.Z_RLE, pnginfo=info)
            sheets.append((f"Sheet {number + 1}", file))
    if shown < total:
        chosen = (
            f"The contact sheets show {shown:,} of {total:,} samples, chosen by the hash of their "
            "keys."
        )
    else:
        chosen = f"The contact sheets show all {total:,} samples."
    if written.drawn < looked.statistics.pictures:
        chosen += f" The list shows {written.drawn:,} pictures: --thumbnails says how many."
    if looked.limited:
        chosen += " The shards hold more: --limit left the rest unread."
    lost = sum(looked.lost_by.values())
    name = written.finish()
    report = Report(title, looked.statistics, looked.shards, looked.lost, lost, chosen,
                    written.enlarged, written.count, name,
                    sheets[:MOST_SHEETS], links or [], sections or [])  # fmt: skip
    with (
        shards.explain_full_disk(f"{out}/index.html"),
        open(written.folder / "index.html", "wb") as stream,
    ):
        for piece in page(report):
            stream.write(piece.encode("utf-8", "replace"))
    written.publish()
    folder, files = Path(out), [file for _, file in sheets]
    for old in folder.glob("sheet-[0-9][0-9][0-9].png"):
        if old.name not in files:
            old.unlink()
    cards.sweep(folder, name)
    yield from (str(folder / file) for file in (*files, "index.html"))
    if text.missing:
        some = "".join(sorted(text.missing)[:12])
        looked.complaints.append(
            f"no font on this machine has {some!r}; on Debian: apt-get install fonts-noto-cjk "
            "fonts-noto-core (the page uses the reader's own fonts)"
        )
