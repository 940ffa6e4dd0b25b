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
    failed: int = 0  # of those that were dropped: the ones that nothing asked to leave out
    malformed: int = 0  # of those that were kept: the ones that other commands refuse
    suffixes: dict[str, set[str]] = field(default_factory=dict)  # target -> of its members


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Joined shards: images/+captions/+boxes/, or a.tar+b.tar."),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="A folder, a pattern, or - for stdout.")
    ],
    max_error_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Exit with 1 if more samples are damaged.")
    ] = 0.05,
    overwrite: Annotated[bool, typer.Option(help="Replace shards that are there.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be merged, and exit.")
    ] = False,
) -> None:
    """Samples that a sidecar marks as filtered are left out, as the stage would have done, and so
    are damaged ones, which are named. Malformed ones are named, counted and passed on.
    NAME.errors.jsonl gathers what the stages said of the samples that did not end well. In a
    folder, README.md says to Hugging Face datasets what is in its shards, those of earlier calls
    too."""
    import sys

    from socialcli import shards
    from socialcli.errors import SocialcliError, UsageError
    from socialcli.pipeline import dry_run as dry
    from socialcli.pipeline import plan as planning
    from socialcli.pipeline.report import one_line

    sources = shards.expand(inputs)
    targets = planning.targets(sources, output)
    if dry_run:
        for source, target in zip(sources, targets, strict=True):
            there = target != "-" and shards.size(target) is not None
            state = ("to be replaced" if overwrite else "kept as it is") if there else "to do"
            dry.say([f"{source} -> {target} ({state})"])
        return
    if output == "-" and sys.stdout.isatty():
        raise UsageError("-o - writes an archive to stdout; pipe it on, or give a folder")
    shards.check_output_files(targets)
    done = Merged()
    for source, target in zip(sources, targets, strict=True):
        if target != "-" and shards.size(target) is not None and not overwrite:
            said = shards.public_text(f"{target} is there already; --overwrite replaces it")
            print(one_line(said), file=sys.stderr)
            _count(done, target)
            continue
        _merge(done, source, target, last=source == sources[-1])
    if output != "-":
        _write_cards(done, wanted=not output.endswith(".tar"))
    said = f"merge: {done.kept} samples merged, {done.dropped} left out"
    if done.malformed:
        said += f"; {done.malformed} of the merged ones are malformed: other commands refuse them"
    print(said, file=sys.stderr)
    if done.failed > max_error_rate * (done.kept + done.dropped):
        raise SocialcliError(
            f"merge: {done.failed} of {done.kept + done.dropped} samples are damaged and left out, "
            f"more than --max-error-rate {max_error_rate:g}; the shards are written, see their "
            ".errors.jsonl, make the damaged inputs again, then --overwrite"
        )


def _write_cards(done: Merged, wanted: bool) -> None:
    """The card of the one folder that was written in; otherwise of those that have one already,
    which would be wrong of the new shards."""
    from socialcli.exporters import card

    folders: dict[str, dict[str, set[str]]] = {}
    for target, suffixes in done.suffixes.items():
        folder, _, name = target.rpartition("/")
        folders.setdefault(folder or ".", {})[name] = suffixes
    for folder, known in folders.items():
        if (wanted and len(folders) == 1) or card.is_there(folder):
            card.write(folder, known)


def _count(done: Merged, target: str) -> None:
    """Add what an earlier call merged, how much of it is malformed, and what it left out for being
    damaged."""
    from socialcli import shards

    keys, done.suffixes[target] = shards.contents(target)
    notes = list(shards.read_errors(target))
    own = [note for note in notes if (note["stage"], note["status"]) == ("merge", "failed")]
    gone = [note for note in notes if note["key"] not in keys]
    failed = sum(note["key"] not in keys for note in own)
    done.malformed += len({note["key"] for note in own if note["key"] in keys})
    done.kept += len(keys)
    done.dropped += failed + len({note["key"] for note in gone if note["status"] == "filtered"})
    done.failed += failed


def _merge(done: Merged, source: str, target: str, last: bool) -> None:
    """One shard, whole or not at all, with the notes of its stages beside it."""
    import json
    import sys

    from socialcli import shards
    from socialcli.pipeline.report import one_line
    from socialcli.pipeline.shard import output_stream

    suffixes = done.suffixes.setdefault(target, set())
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
                done.failed += 1
                continue
            notes += sample.notes
            if sample.filtered is not None:
                done.dropped += 1
                continue
            if sample.key and (why := _malformed(sample)):  # named, and passed on: it can be mended
                print(one_line(f"{shards.public(source)}: {sample.key}: {why}"), file=sys.stderr)
                note = {"key": sample.key, "status": "failed", "stage": "merge", "reason": why}
                notes.append(note)
                done.malformed += 1
            writer.passed(sample, {})
            if sample.key:
                done.kept += 1
                suffixes |= set(sample.members)
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
