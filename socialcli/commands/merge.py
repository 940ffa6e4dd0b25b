"""Merge sidecars back into their shards: images.tar+captions.tar+boxes.tar -> whole shards."""

from __future__ import annotations

from typing import Annotated

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
    """Samples a sidecar marks as filtered are left out, as the stage itself would have done."""
    import sys

    from socialcli import shards
    from socialcli.errors import UsageError
    from socialcli.running import plan as planning
    from socialcli.running.shard import output_stream

    sources = shards.expand(inputs)
    targets = planning.targets(sources, output)
    if output == "-" and sys.stdout.isatty():
        raise UsageError("-o - writes an archive to stdout; pipe it on, or give a folder")
    kept = dropped = 0
    for source, target in zip(sources, targets, strict=True):
        if target != "-" and shards.size(target) is not None and not overwrite:
            print(f"{target} is there already; --overwrite replaces it", file=sys.stderr)
            continue
        with output_stream(target) as stream:
            writer = shards.Writer(stream)
            for sample in shards.read_all(source):
                if isinstance(sample, shards.Damage) or not sample.whole:
                    why = getattr(sample, "reason", None) or getattr(sample, "problem", "")
                    print(f"{source}: {getattr(sample, 'key', '')}: {why}", file=sys.stderr)
                    dropped += 1
                elif sample.filtered is not None:
                    dropped += 1
                else:
                    writer.passed(sample, {})
                    kept += bool(sample.key)
            writer.close()
    print(f"merge: {kept} samples merged, {dropped} left out", file=sys.stderr)
