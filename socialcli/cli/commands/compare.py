"""Compare annotations with reference annotations of the same keys, kind by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
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
    """Prints one line a measure. Kinds that one side lacks are left out.

    Boxes and faces agree where they overlap by half (IoU 0.5). Exits with 1 when no key is common.
    """
    from socialcli import records, shards
    from socialcli.errors import SampleFailed, SocialcliError, UnknownName
    from socialcli.evaluation import agreement as comparing
    from socialcli.pipeline.report import one_line
    from socialcli.validation.members import refuse_malformed

    for option, wanted in (("--found-source", found_source), ("--truth-source", truth_source)):
        if wanted not in comparing.SOURCES:
            raise UnknownName(f"{option}: no source", wanted, comparing.SOURCES)
    for file in output or []:
        shards.check_output_file(file, "-o")
    reference = {}
    for location in shards.expand([truth]):
        for sample in shards.read(location):
            known = (*records.MEMBERS, records.IDENTITY)
            members = {n: d for n, d in sample.members.items() if n in known}
            reference[sample.key] = shards.Sample(sample.key, members)
    agreement = comparing.Agreement(found_source, truth_source)
    common = bad = 0
    for location in shards.expand([found]):
        for sample in shards.read(location):
            if limit is not None and agreement.samples >= limit:
                break
            if sample.key not in reference:
                continue
            common += 1
            try:
                refuse_malformed(sample)
                refuse_malformed(reference[sample.key])
                agreement.add(_reader(sample), _reader(reference[sample.key]))
            except SampleFailed as error:
                bad += 1
                typer.echo(one_line(f"{shards.public(location)}: {sample.key}: {error}"), err=True)
    if common and not agreement.samples:
        raise SocialcliError(f"none of the {common:,} samples in common can be read")
    if not agreement.samples:
        raise SocialcliError(f"{found} and {truth} have no key in common")
    rows = agreement.rates()
    typer.echo(f"{agreement.samples} samples compared" + (f", {bad} unreadable" if bad else ""))
    for kind, measure, value, count in rows:
        typer.echo(f"{kind:14} {measure:44} {value:8.3f}  of {count}")
    for side, kinds in agreement.sources.items():
        mixed = {what: counts for what, counts in kinds.items() if len(counts) > 1}
        for what, counts in mixed.items():
            listing = ", ".join(f"{number:,} {source}" for source, number in counts.most_common())
            typer.echo(f"{side}: {what} by source: {listing}; --{side}-source chooses")
    for file in output or []:
        table = file.lower().endswith(".md")
        text = comparing.markdown(agreement) if table else _json(agreement, rows)
        shards.write_bytes(file, text.encode())


def _json(agreement: Agreement, rows: list[tuple[str, str, float, int]]) -> str:
    import json

    measures = [{"kind": k, "measure": m, "value": round(v, 6), "count": n} for k, m, v, n in rows]
    body = {"samples": agreement.samples, "measures": measures, "sources": agreement.sources}
    return json.dumps(body, indent=1) + "\n"


def _reader(sample: Sample) -> Any:
    """Record type -> the sample's record, None where it has none."""
    from socialcli import records

    suffix_of = {kind: suffix for suffix, kind in records.MEMBERS.items()}
    return lambda kind: sample.record(kind) if sample.has(suffix_of[kind]) else None
