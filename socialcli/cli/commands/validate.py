"""Check shards: pictures, members against the record schema, ids, links; one line per problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

# Keys without a picture that are remembered until a shard shows whether it is a sidecar.
_PENDING = 1000


@dataclass
class Totals:
    """What was looked at, and how much of it has problems; warnings are counted apart."""

    shards: int = 0
    samples: int = 0
    bad_samples: int = 0
    problems: int = 0
    warnings: int = 0
    members: Counter[str] = field(default_factory=Counter)
    bad_members: Counter[str] = field(default_factory=Counter)


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Shards: paths, globs, folders, {000..099} ranges, URLs, - for stdin, "
            "a.tar+b.tar to check sidecars with what they link to.",
            show_default=False,
        ),
    ],
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Decode every picture fully, not only its header.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after the first N samples.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per problem and line.")
    ] = False,
) -> None:
    """Prints `SHARD: KEY: MEMBER: PROBLEM: MEND` for each problem, totals to stderr.

    Exits with 0 when all is well, or there are warnings only, and with 1 when there is a problem:
    something for which every command refuses the sample, or a shard that lacks what it should have.
    """
    import json
    import sys

    from socialcli import shards
    from socialcli.pipeline.report import one_line

    totals = Totals()
    for location in shards.expand(inputs):
        if limit is not None and totals.samples >= limit:
            break
        for key, problem in check_shard(location, totals, pixels=pixels, limit=limit):
            totals.problems += not problem.warning
            totals.warnings += problem.warning
            if as_json:
                line = {
                    "shard": shards.public(location),
                    "key": key,
                    "member": problem.member,
                    "problem": problem.what,
                    "mend": problem.mend,
                    "severity": "warning" if problem.warning else "error",
                }
                print(json.dumps(line, ensure_ascii=True))
            else:
                print(one_line(f"{shards.public(location)}: {key or '-'}: {problem}"))
    sys.stdout.flush()
    print(table(totals), file=sys.stderr)
    if totals.problems:
        raise typer.Exit(1)


def check_shard(
    location: str, totals: Totals, *, pixels: bool = False, limit: int | None = None
) -> Iterator[tuple[str, Any]]:
    """(key, problem) of everything wrong in one shard or join; ``totals`` is counted up.

    The key is empty for what concerns no single sample. A shard in which no sample has a picture
    is a sidecar: that is no problem, and its links are followed only as far as it goes itself.
    """
    from socialcli import records, shards
    from socialcli.errors import SocialcliError
    from socialcli.validation.members import PICTURE, Problem, check

    totals.shards += 1
    pictures = more = more_bad = 0
    without: list[tuple[str, str, bool]] = []  # key, what to say of its name, whether it is bad
    try:
        for item in shards.read_all(location):
            if isinstance(item, shards.Damage):
                yield "", Problem("tar", item.reason, "write the shard again from its source")
                continue
            if not item.key or item.filtered is not None:
                continue
            if limit is not None and totals.samples >= limit:
                break
            totals.samples += 1
            problems = check(item, pixels=pixels)
            totals.members.update(item.members.keys())
            malformed = {problem.member for problem in problems if not problem.warning}
            totals.bad_members.update(malformed)
            totals.bad_samples += bool(malformed)
            for problem in problems:
                yield item.key, problem
            if any(suffix in item.members for suffix in records.IMAGE_SUFFIXES):
                pictures += 1
            elif item.whole and pictures:
                totals.bad_samples += not malformed
                yield item.key, _no_picture(item.dotted(), totals)
            elif item.whole and len(without) < _PENDING:
                without.append((item.key, item.dotted(), bool(malformed)))
            elif item.whole:
                more += 1
                more_bad += not malformed
    except SocialcliError as error:
        what = str(error).removeprefix(f"{shards.public(location)}: ")
        yield "", Problem("tar", what, "give an archive that can be read from start to end")
    if pictures:  # nobody can tell before the first one
        for key, dotted, bad in without:
            totals.bad_samples += not bad
            yield key, _no_picture(dotted, totals)
        if more:
            totals.bad_samples += more_bad
            totals.bad_members[PICTURE] += more - 1
            yield "", _no_picture(f" from {more:,} more samples before the first picture", totals)
    for part in shards.parts(location):
        yield from (("", problem) for problem in check_beside(part))


def _no_picture(where: str, totals: Totals) -> Any:
    """The problem of a sample without a picture among others with one, which is counted."""
    from socialcli.validation.members import PICTURE, Problem

    totals.bad_members[PICTURE] += 1
    return Problem(PICTURE, f"missing{where}", "import the sample again, or leave it out")


def check_beside(part: str) -> Iterator[Any]:
    """Whether an archive is what its stats file says was published."""
    from socialcli import shards
    from socialcli.reports import beside
    from socialcli.validation.links import Problem

    stats = beside.stats(part)
    if stats is None:
        return
    output = stats.get("output")
    stated = output.get("bytes") if isinstance(output, dict) else None
    packed = shards.stem(part) + ".tar" != part.partition("?")[0]  # since: it has other bytes
    there = None if packed else shards.size(part)
    if isinstance(stated, int) and there is not None and there != stated:
        what = f"has {there} bytes, its stats file says {stated}"
        yield Problem("tar", what, "it was changed or cut since; run the stage again")
    counts = beside.counts(stats)
    if counts is not None:
        ended = sum(counts.get(name, 0) for name in ("ok", "filtered", "failed"))
        if counts.get("total", ended) != ended:
            what = f"total {counts['total']}, but ok + filtered + failed = {ended}"
            yield Problem("stats.json", what, "run the stage again with --overwrite")


def table(totals: Totals) -> str:
    """The totals for people, several lines."""
    from socialcli import records
    from socialcli.validation.members import PICTURE

    if totals.problems:
        end = f"{totals.problems:,} problems in {totals.bad_samples:,} samples"
    else:
        end = "no problems"
    if totals.warnings:
        end += f", {totals.warnings:,} warning{'s' if totals.warnings > 1 else ''}"
    lines = [f"validate: {totals.samples:,} samples in {totals.shards:,} shards: {end}"]
    known = [*records.MEMBERS, records.IDENTITY]
    images = sum(totals.members[suffix] for suffix in records.IMAGE_SUFFIXES)
    rows = [(PICTURE, images)]
    rows += [(suffix, totals.members[suffix]) for suffix in known]
    others = sum(totals.members.values()) - sum(count for _, count in rows)
    lines.append(f"  {'member':<20}{'checked':>10}{'with problems':>16}")
    for name, count in rows:
        if count or totals.bad_members[name]:
            lines.append(f"  {name:<20}{count:>10,}{totals.bad_members[name]:>16,}")
    if totals.bad_members["tar"]:
        lines.append(f"  {'tar':<20}{'':>10}{totals.bad_members['tar']:>16,}")
    if others:
        lines.append(f"  {'others':<20}{others:>10,}{'not checked':>16}")
    return "\n".join(lines)
