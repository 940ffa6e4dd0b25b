"""Write other formats: COCO JSON with RLE masks, keypoints and captions; layouts to be edited."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from socialcli.cli import flags

if TYPE_CHECKING:
    from socialcli.exporters.coco import Numbers
    from socialcli.shards import ManyFiles, Sample

FORMATS = ("coco", "layout")


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Shards: paths, globs, folders, {000..099} ranges, URLs, - for stdin, "
            "a.tar+b.tar to join sidecars.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", show_default=False,
            help="FILE.json for one part, a folder for all three parts, or - for stdout.",
        ),
    ],
    format: Annotated[str, typer.Option(help="coco, or layout (a PNG and a TOML each).")] = "coco",
    part: Annotated[
        str,
        typer.Option(
            help="What FILE.json holds: instances (with keypoints), person_keypoints or captions."
        ),
    ] = "instances",
    name: Annotated[
        str, typer.Option(help="In a folder, files are called PART_NAME.json.")
    ] = "all",
    images: Annotated[
        str | None, typer.Option(help="Also write the pictures into this folder, byte for byte.")
    ] = None,
    categories: Annotated[
        str | None, typer.Option(help="Take category ids from this COCO JSON, by name.")
    ] = None,
    pose_style: Annotated[
        str, typer.Option(help="Of layouts: how skeletons are drawn, v11, v10 or scaled.")
    ] = "v11",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after the first N samples.")
    ] = None,
    max_error_rate: Annotated[
        float,
        typer.Option(min=0, max=1, help="Exit with 1, without annotations, if more samples fail."),
    ] = 0.05,
    dry_run: flags.DRY_RUN = False,
) -> None:  # fmt: skip
    """The files appear whole or not at all; a sample that cannot be exported is named on stderr."""
    import json
    import os
    import tempfile
    from contextlib import ExitStack
    from functools import partial

    from socialcli import shards
    from socialcli.errors import SampleFailed, SocialcliError, UnknownName, UsageError
    from socialcli.exporters import coco
    from socialcli.pipeline import plan as planning
    from socialcli.pipeline.dry_run import show
    from socialcli.pipeline.report import Report

    if format not in FORMATS:
        raise UnknownName("--format", format, FORMATS)
    if format == "layout":
        _layouts(inputs, output, pose_style, limit, max_error_rate, dry_run)
        return
    if part not in coco.PARTS:
        raise UnknownName("--part", part, coco.PARTS)
    if shards.safe_key(name + ".json") != name or "/" in name:
        raise UsageError(f"--name {name!r}: give a plain word, as in instances_WORD.json")
    targets = _targets(output, part, name)
    numbers = coco.Numbers()
    if categories is not None:
        numbers.categories = coco.known_categories(Path(categories))
    folder = Path(images) if images is not None else None
    locations = shards.expand(inputs)
    if dry_run:
        show("export", locations, [*targets.values(), *([f"{folder}/"] if folder else [])])
        return
    for target in targets.values():
        shards.check_output_file(target)
    if images is not None:
        shards.check_output_folder(images, "--images")
    report = Report()
    report.start("export", planning.samples(locations, limit) if report.has_bar else None)
    seen = failed = turned = 0
    files = shards.ManyFiles()
    with ExitStack() as stack:
        image_entries = stack.enter_context(tempfile.TemporaryFile())
        annotations: dict[str, IO[bytes]] = {
            wanted: stack.enter_context(tempfile.TemporaryFile()) for wanted in targets
        }
        for location, sample in _samples(locations, limit):
            seen += 1
            report.advance(1)
            if isinstance(sample, shards.Damage):
                failed += 1
                report.line(f"{shards.public(location)}: {sample.reason}")
                continue
            try:
                keep = partial(_extract, sample, folder, files)
                converted = coco.convert(sample, numbers, keep)
            except SampleFailed as error:
                failed += 1
                report.line(f"{shards.public(location)}: {sample.key}: {error}")
                continue
            turned += _is_turned(sample)
            coco.spool(image_entries, [converted.image])
            for wanted, stream in annotations.items():
                coco.spool(stream, _of(wanted, converted, numbers))
        report.finish()
        if failed > max_error_rate * seen:
            raise SocialcliError(
                f"export: {failed} of {seen} samples failed, more than --max-error-rate "
                f"{max_error_rate:g}; no annotations were written. `socialcli validate` says "
                "what is wrong"
            )
        if folder is not None:
            os.sync()  # the pictures are on the disk before a file that lists them
        _write(
            targets,
            lambda out, wanted: coco.write(
                out, wanted, image_entries, annotations[wanted], numbers
            ),
        )
    facts = {"images": numbers.images, "annotations": numbers.annotations, "failed": failed}
    listing = ", ".join(f"{count:,} {what}" for what, count in facts.items())
    where = "stdout" if output == "-" else json.dumps(output, ensure_ascii=False)
    print(f"export: {listing} -> {where}", file=sys.stderr)
    if turned:
        print(
            f"warning: {turned:,} pictures have an EXIF orientation; annotations are of the "
            "upright picture, so read them with a reader that applies it (cv2.imread does, "
            "PIL.Image.open does not)",
            file=sys.stderr,
        )


def _layouts(
    inputs: list[str], output: str, style: str, limit: int | None, most: float, dry_run: bool
) -> None:
    """Each sample's layout as files of its own in a folder."""
    import posixpath
    from pathlib import Path

    from socialcli import shards
    from socialcli.errors import SampleFailed, SocialcliError, UnknownName, UsageError
    from socialcli.exporters import layout
    from socialcli.pipeline.dry_run import show
    from socialcli.pipeline.report import Report
    from socialcli.vision import skeletons

    if style not in skeletons.STYLES:
        raise UnknownName("--pose-style", style, skeletons.STYLES)
    if output == "-":
        raise UsageError("-o -: layouts go into a folder")
    shards.refuse_file_name(output, "layouts")
    locations = shards.expand(inputs)
    if dry_run:
        show("export", locations, [f"{output.rstrip('/')}/*.png", f"{output.rstrip('/')}/*.toml"])
        return
    shards.check_output_folder(output)
    report = Report()
    seen = failed = 0
    written: set[str] = set()
    files = shards.ManyFiles()
    for location, sample in _samples(locations, limit):
        seen += 1
        try:
            if isinstance(sample, shards.Damage):
                raise SampleFailed(sample.reason)
            if sample.problem:
                raise SampleFailed(sample.problem)
            if (name := posixpath.normpath(sample.key)) in written:
                raise SampleFailed("another sample is called so too: its files would be replaced")
            layout.write(sample, Path(output), style, files)
            written.add(name)
        except SampleFailed as error:
            failed += 1
            key = getattr(sample, "key", "") or "-"
            report.line(f"{shards.public(location)}: {key}: {error}")
    print(f"export: {seen - failed:,} layouts, {failed:,} failed -> {output}", file=sys.stderr)
    if failed > most * seen:
        raise SocialcliError(
            f"export: {failed} of {seen} samples failed, more than --max-error-rate {most:g}; the "
            "other layouts were written. The lines above say what is wrong"
        )


def _targets(output: str, part: str, name: str) -> dict[str, str]:
    """Part -> where it is written.

    Raises:
        UsageError: a file's name that does not end in .json.
    """
    from socialcli import shards
    from socialcli.exporters import coco

    if output == "-" or output.lower().endswith(".json"):
        return {part: output}
    shards.refuse_file_name(output, "annotations that are no single .json")
    folder = output.rstrip("/")
    return {wanted: f"{folder}/{wanted}_{name}.json" for wanted in coco.PARTS}


def _write(targets: dict[str, str], write: Callable[[Any, str], None]) -> None:
    """Call ``write(stream, part)`` for each; local files appear when all of them are whole."""
    from socialcli import shards

    if len(targets) == 1 or any(shards.is_url(target) for target in targets.values()):
        for part, target in targets.items():
            if target == "-":
                write(sys.stdout.buffer, part)
                sys.stdout.buffer.flush()
            else:
                with shards.publish(target) as out:
                    write(out, part)
        return
    *_, last = places = [Path(target) for target in targets.values()]
    with shards.publish_files(last.parent, last.name) as folder:
        for part, place in zip(targets, places, strict=True):
            with open(folder / place.name, "wb") as stream:
                write(stream, part)


def _samples(locations: list[str], limit: int | None) -> Iterator[tuple[str, Any]]:
    """(location, sample or damage) of every shard in order, as far as the limit goes."""
    from socialcli import shards

    count = 0
    for location in locations:
        for item in shards.read_all(location):
            if isinstance(item, shards.Damage):
                yield location, item
            elif item.key and item.filtered is None:
                if count == limit:
                    return
                count += 1
                yield location, item


def _of(part: str, converted: Any, numbers: Numbers) -> list[dict[str, Any]]:
    from socialcli.exporters import coco

    if part == "captions":
        return converted.captions
    if part == "person_keypoints":
        return coco.person_keypoints(converted.instances, numbers)
    return converted.instances


def _is_turned(sample: Sample) -> bool:
    """Whether the stored pixels are not upright."""
    from socialcli.errors import SampleFailed
    from socialcli.vision import images

    try:
        return images.facts(sample.picture()).orientation != 1
    except SampleFailed:
        return False


def _extract(sample: Sample, folder: Path | None, files: ManyFiles, name: str) -> None:
    """The picture's bytes as ``folder/name``, whole or not at all, never outside the folder;
    nothing where no folder was named.

    Raises:
        SampleFailed: the sample has no picture, no file can have its name, or a link in the folder
            leads out of it.
    """
    from socialcli import shards
    from socialcli.errors import SampleFailed

    if folder is None:
        return
    data = sample.picture()
    target = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    root = folder.resolve()
    with shards.refuse_names(name):
        # What exists of the target's own folder is looked at before anything is made in it.
        if not target.parent.resolve().is_relative_to(root):
            raise SampleFailed(f"{name} would be written outside {folder}")
        files.write(str(target), data, synced=False)
