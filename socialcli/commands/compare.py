"""Compare annotations with reference annotations of the same keys, kind by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
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
        str | None, typer.Option("--output", "-o", help="Also write the figures as JSON here.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after the first N samples.")
    ] = None,
) -> None:
    """Prints one line a measure. Kinds that one side lacks are left out.

    Boxes and faces agree where they overlap by half (IoU 0.5). Exits with 1 when no key is common.
    """
    import json

    from socialcli import comparing, shards
    from socialcli.errors import SampleFailed, SocialcliError
    from socialcli.running.report import one_line

    reference = {}
    for location in shards.expand([truth]):
        for sample in shards.read(location):
            members = {n: d for n, d in sample.members.items() if n.endswith(".json")}
            reference[sample.key] = shards.Sample(sample.key, members)
    agreement = comparing.Agreement()
    bad = 0
    for location in shards.expand([found]):
        for sample in shards.read(location):
            if limit is not None and agreement.samples >= limit:
                break
            if sample.key not in reference:
                continue
            try:
                agreement.add(_reader(sample), _reader(reference[sample.key]))
            except SampleFailed as error:
                bad += 1
                typer.echo(one_line(f"{location}: {sample.key}: {error}"), err=True)
    if not agreement.samples:
        raise SocialcliError(f"{found} and {truth} have no key in common")
    rows = agreement.rates()
    typer.echo(f"{agreement.samples} samples compared" + (f", {bad} unreadable" if bad else ""))
    for kind, measure, value, count in rows:
        typer.echo(f"{kind:14} {measure:44} {value:8.3f}  of {count}")
    if output is not None:
        body = {
            "samples": agreement.samples,
            "measures": [
                {"kind": k, "measure": m, "value": round(v, 6), "count": n} for k, m, v, n in rows
            ],
        }
        shards.write_bytes(output, (json.dumps(body, indent=1) + "\n").encode())


def _reader(sample: Sample) -> Any:
    """Record type -> the sample's record, None where it has none."""
    from socialcli import records

    suffix_of = {kind: suffix for suffix, kind in records.MEMBERS.items()}
    return lambda kind: sample.record(kind) if sample.has(suffix_of[kind]) else None
