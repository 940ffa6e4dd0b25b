"""Merge sidecars back into their shards: images.tar+captions.tar+boxes.tar -> whole shards."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Joined shards: images/+captions/+boxes/, or a.tar+b.tar."),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="A folder, a pattern, or - for stdout.")
    ],
    overwrite: Annotated[bool, typer.Option(help="Replace shards that are there.")] = False,
) -> None:
    """Samples a sidecar marks as filtered are left out, as the stage itself would have done.
    NAME.errors.jsonl gathers what the stages said of the samples that did not end well."""
    import json
    import sys

    from socialcli import shards
    from socialcli.errors import UsageError
    from socialcli.pipeline import plan as planning
    from socialcli.pipeline.report import one_line
    from socialcli.pipeline.shard import output_stream

    sources = shards.expand(inputs)
    targets = planning.targets(sources, output)
    if output == "-" and sys.stdout.isatty():
        raise UsageError("-o - writes an archive to stdout; pipe it on, or give a folder")
    kept = dropped = 0
    for source, target in zip(sources, targets, strict=True):
        if target != "-" and shards.size(target) is not None and not overwrite:
            print(f"{target} is there already; --overwrite replaces it", file=sys.stderr)
            continue
        notes: list[dict[str, Any]] = []  # what every stage of the chain has said of a sample
        with output_stream(target) as stream:
            writer = shards.Writer(stream)
            for sample in shards.read_all(source):
                if isinstance(sample, shards.Damage) or not sample.whole:
                    why = getattr(sample, "reason", None) or getattr(sample, "problem", "")
                    key = getattr(sample, "key", None)
                    print(
                        one_line(f"{shards.public(source)}: {key or '(no key)'}: {why}"),
                        file=sys.stderr,
                    )
                    notes.append({"key": key, "status": "failed", "stage": "merge", "reason": why})
                    dropped += 1
                    continue
                notes += sample.notes
                if sample.filtered is not None:
                    dropped += 1
                else:
                    writer.passed(sample, {})
                    kept += bool(sample.key)
            if target != "-" or source == sources[-1]:  # one archive on stdout, one end mark
                writer.close()
            if target != "-":
                lines = "".join(json.dumps(note, ensure_ascii=True) + "\n" for note in notes)
                shards.write_bytes(planning.errors_location(target), lines.encode())
    print(f"merge: {kept} samples merged, {dropped} left out", file=sys.stderr)
