"""Merge sidecars back into their shards: images.tar+captions.tar+boxes.tar -> whole shards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from socialcli.shards import Sample


@dataclass
class Merged:
    """What merging has done so far."""

    kept: int = 0
    dropped: int = 0
    suffixes: set[str] = field(default_factory=set)  # of the members of whole samples


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Joined shards: images/+captions/+boxes/, or a.tar+b.tar."),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="A folder, a pattern, or - for stdout.")
    ],
    overwrite: Annotated[bool, typer.Option(help="Replace shards that are there.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be merged, and exit.")
    ] = False,
) -> None:
    """Samples a sidecar marks as filtered are left out, as the stage itself would have done.
    NAME.errors.jsonl gathers what the stages said of the samples that did not end well. In a
    folder, README.md says to Hugging Face datasets what is in the shards."""
    import sys

    from socialcli import shards
    from socialcli.errors import UsageError
    from socialcli.exporters import card
    from socialcli.pipeline import plan as planning

    sources = shards.expand(inputs)
    targets = planning.targets(sources, output)
    if dry_run:
        for source, target in zip(sources, targets, strict=True):
            there = target != "-" and shards.size(target) is not None
            state = ("to be replaced" if overwrite else "kept as it is") if there else "to do"
            print(f"{shards.public(source)} -> {target} ({state})")
        return
    if output == "-" and sys.stdout.isatty():
        raise UsageError("-o - writes an archive to stdout; pipe it on, or give a folder")
    shards.check_output_files(targets)
    done = Merged()
    for source, target in zip(sources, targets, strict=True):
        if target != "-" and shards.size(target) is not None and not overwrite:
            print(f"{target} is there already; --overwrite replaces it", file=sys.stderr)
            for sample in shards.read(target):
                done.suffixes |= set(sample.members)
            continue
        _merge(done, source, target, last=source == sources[-1])
    folders = {target.rpartition("/")[0] or "." for target in targets}
    if output != "-" and len(folders) == 1 and not output.endswith(".tar"):
        card.write(folders.pop(), done.suffixes)
    print(f"merge: {done.kept} samples merged, {done.dropped} left out", file=sys.stderr)


def _merge(done: Merged, source: str, target: str, last: bool) -> None:
    """One shard, whole or not at all, with the notes of its stages beside it."""
    import json
    import sys

    from socialcli import shards
    from socialcli.pipeline.report import one_line
    from socialcli.pipeline.shard import output_stream

    notes: list[dict[str, Any]] = []  # what every stage of the chain has said of a sample
    with output_stream(target) as stream:
        writer = shards.Writer(stream)
        for sample in shards.read_all(source):
            if isinstance(sample, shards.Damage) or not sample.whole:
                why = getattr(sample, "reason", None) or getattr(sample, "problem", "")
                key = getattr(sample, "key", None)
                where = shards.public(source)
                print(one_line(f"{where}: {key or '(no key)'}: {why}"), file=sys.stderr)
                notes.append({"key": key, "status": "failed", "stage": "merge", "reason": why})
                done.dropped += 1
                continue
            notes += sample.notes
            if sample.filtered is not None:
                done.dropped += 1
                continue
            if sample.key and (why := _malformed(sample)):  # named, and passed on: it can be mended
                print(one_line(f"{shards.public(source)}: {sample.key}: {why}"), file=sys.stderr)
                note = {"key": sample.key, "status": "failed", "stage": "merge", "reason": why}
                notes.append(note)
            writer.passed(sample, {})
            if sample.key:
                done.kept += 1
                done.suffixes |= set(sample.members)
        if target != "-" or last:  # one archive on stdout, one end mark
            writer.close()
        if target != "-":
            lines = "".join(json.dumps(note, ensure_ascii=True) + "\n" for note in notes)
            shards.write_bytes(shards.errors_location(target), lines.encode())


def _malformed(sample: Sample) -> str:
    """Why other commands refuse a sample, "" where they do not."""
    from socialcli.errors import SampleFailed
    from socialcli.validation.members import refuse_malformed

    try:
        refuse_malformed(sample)
    except SampleFailed as error:
        return str(error)
    return sample.problem or ""
