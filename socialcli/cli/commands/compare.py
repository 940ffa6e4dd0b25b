"""Compare annotations with reference annotations of the same keys, kind by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from socialcli.errors import SocialcliError
    from socialcli.evaluation.agreement import Agreement
    from socialcli.shards import Sample


def command(
    found: Annotated[
        str,
        typer.Argument(
            help="Annotated shards: a path, glob, folder, or a/+b/ to join sidecars.",
            show_default=False,
        ),
    ],
    truth: Annotated[
        str, typer.Argument(help="Reference shards with the same keys.", show_default=False)
    ],
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            help="Also write the figures here: JSON, or a Markdown table where it ends in .md. "
            "Repeatable.",
            show_default=False,
        ),
    ] = None,
    found_source: Annotated[
        str,
        typer.Option(help="Of the annotated shards compare: any, annotation or estimate."),
    ] = "any",
    truth_source: Annotated[
        str,
        typer.Option(help="Of the reference shards compare: any, annotation or estimate."),
    ] = "any",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after the first N samples.")
    ] = None,
) -> None:
    """Prints one line a measure. Kinds that one side lacks are left out, and samples that one side
    lacks are counted.

    Boxes and faces agree where they overlap by half (IoU 0.5). Exits with 1 when no key is common,
    or a key is in two shards of one side. What is damaged is named on stderr and left out.
    """
    from socialcli import shards
    from socialcli.errors import SampleFailed, SocialcliError, UnknownName
    from socialcli.evaluation import agreement as comparing
    from socialcli.pipeline.report import one_line
    from socialcli.validation.members import refuse_malformed

    for option, wanted in (("--found-source", found_source), ("--truth-source", truth_source)):
        if wanted not in comparing.SOURCES:
            raise UnknownName(f"{option}: no source", wanted, comparing.SOURCES)
    for file in output or []:
        shards.check_output_file(file, "-o")
    reference = _by_key(truth)
    agreement = comparing.Agreement(found_source, truth_source)
    lost = alone = 0
    seen: dict[str, str] = {}  # key -> where it was
    for location, sample in _items(found):
        if limit is not None and agreement.samples >= limit:
            break
        if isinstance(sample, shards.Damage):
            lost += 1
            typer.echo(one_line(f"{shards.public(location)}: {sample.reason}"), err=True)
            continue
        if sample.key not in reference:
            alone += 1
            continue
        if (other := seen.setdefault(sample.key, location)) != location:
            raise _twice(sample.key, other, location)
        where = location
        try:
            for side in (reference[sample.key], sample):
                where = location if side is sample else side.archives[0]
                if side.problem:
                    raise SampleFailed(side.problem)
                refuse_malformed(side)
            agreement.add(_reader(sample), _reader(reference[sample.key]))
        except SampleFailed as error:
            lost += 1
            typer.echo(one_line(f"{shards.public(where)}: {sample.key}: {error}"), err=True)
    if seen and not agreement.samples:
        raise SocialcliError(f"none of the {len(seen):,} samples in common can be read")
    if not agreement.samples:
        raise SocialcliError(f"{found} and {truth} have no key in common")
    rows = agreement.rates()
    left_out = {"unreadable": lost, "in FOUND alone": alone}
    if limit is None:
        left_out["in TRUTH alone"] = len(reference) - len(seen)
    said = "".join(f", {count} {what}" for what, count in left_out.items() if count)
    typer.echo(f"{agreement.samples} samples compared{said}")
    for kind, measure, value, count in rows:
        typer.echo(f"{kind:14} {measure:44} {value:8.3f}  of {count}")
    for side, kinds in agreement.sources.items():
        mixed = {what: counts for what, counts in kinds.items() if len(counts) > 1}
        for what, counts in mixed.items():
            listing = ", ".join(f"{number:,} {source}" for source, number in counts.most_common())
            typer.echo(f"{side}: {what} by source: {listing}; --{side}-source chooses")
    for file in output or []:
        table = file.lower().endswith(".md")
        text = comparing.markdown(agreement, said) if table else _json(agreement, rows, left_out)
        shards.write_bytes(file, text.encode())


def _items(locations: str) -> Iterator[tuple[str, Any]]:
    """(location, sample or damage) of shards in order."""
    from socialcli import shards

    for location in shards.expand([locations]):
        for item in shards.read_all(location):
            if isinstance(item, shards.Damage) or (item.key and item.filtered is None):
                yield location, item


def _by_key(truth: str) -> dict[str, Sample]:
    """The reference samples by key, with the members that are compared; what damage took is said.

    Raises:
        SocialcliError: one key in two shards, so that nobody knows which one is meant.
    """
    from socialcli import records, shards
    from socialcli.pipeline.report import one_line

    known = (*records.MEMBERS, records.IDENTITY)
    reference: dict[str, Sample] = {}
    for location, sample in _items(truth):
        if isinstance(sample, shards.Damage):
            typer.echo(one_line(f"{shards.public(location)}: {sample.reason}"), err=True)
            continue
        members = {name: data for name, data in sample.members.items() if name in known}
        other = reference.get(sample.key)
        if other is not None and other.archives != (location,) and other.members != members:
            raise _twice(sample.key, other.archives[0], location)
        one = shards.Sample(sample.key, members, problem=sample.problem, archives=(location,))
        reference[sample.key] = one
    return reference


def _twice(key: str, first: str, second: str) -> SocialcliError:
    from socialcli import shards
    from socialcli.errors import SocialcliError

    return SocialcliError(
        f"the key '{key}' is in {shards.public(first)} and in {shards.public(second)}, so that "
        "nobody knows which of them is meant; compare them apart"
    )


def _json(
    agreement: Agreement, rows: list[tuple[str, str, float, int]], left_out: dict[str, int]
) -> str:
    import json

    measures = [{"kind": k, "measure": m, "value": round(v, 6), "count": n} for k, m, v, n in rows]
    counts = {what.replace(" ", "_").lower(): count for what, count in left_out.items()}
    body = {"samples": agreement.samples, "left_out": counts, "measures": measures,
            "sources": agreement.sources}  # fmt: skip
    return json.dumps(body, indent=1) + "\n"


def _reader(sample: Sample) -> Any:
    """Record type -> the sample's record, None where it has none."""
    from socialcli import records

    suffix_of = {kind: suffix for suffix, kind in records.MEMBERS.items()}
    return lambda kind: sample.record(kind) if sample.has(suffix_of[kind]) else None
