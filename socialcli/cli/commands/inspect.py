"""Look at shards: a table of what is in them, contact sheets, and one HTML page."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from socialcli.cli import flags

if TYPE_CHECKING:
    from socialcli.reports.gather import Looked


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Shards: paths, globs, folders, {000..099} ranges, URLs, - for stdin, "
            "a.tar+b.tar to join sidecars.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            help="Write index.html with its samples and sheet-000.png... into this folder.",
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=0, help="Pictures on the sheets, chosen evenly by their key.")
    ] = 48,
    thumbnails: Annotated[
        int, typer.Option(min=0, help="Samples of the page's list that have their picture.")
    ] = 2000,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Look at the first N samples only.")
    ] = None,
    columns: Annotated[int, typer.Option(min=1, max=12, help="Pictures side by side.")] = 4,
    page_size: Annotated[int, typer.Option(min=1, max=200, help="Pictures on one sheet.")] = 24,
    per_shard: Annotated[
        bool, typer.Option("--per-shard", help="A line for each shard as well.")
    ] = False,
    title: Annotated[str | None, typer.Option(help="Heading of the page and the sheets.")] = None,
    link: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE: another page that this one leads to. Repeatable.", show_default=False
        ),
    ] = None,
    show: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE: a picture or Markdown that the page shows first. Repeatable.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The counts as JSON.")] = False,
    dry_run: flags.DRY_RUN = False,
) -> None:
    """The table goes to stdout; with --out the paths written go to stderr, the page's last.

    The page lists every sample, those that failed too. The sheets show the same pictures whenever
    the same samples are looked at, in whatever shards.
    Exits with 1 when a shard could not be read; what could be is shown.
    """
    from pathlib import Path

    from socialcli import shards
    from socialcli.pipeline import dry_run as dry
    from socialcli.pipeline import plan as planning
    from socialcli.pipeline.report import Report, one_line
    from socialcli.reports import cards, gather

    if out is not None:
        shards.refuse_file_name(out, "the page and its pictures")
    links = [_link(text, out) for text in link or []]
    sections = [_shown(text, out) for text in show or []]
    locations = shards.expand(inputs)
    if dry_run:
        files = [] if out is None else [f"{out}/index.html", f"{out}/sheet-*.png"]
        dry.show("inspect", locations, files)
        return
    if out is not None:
        shards.check_output_folder(out, "--out")
    report = Report()
    report.start("inspect", planning.samples(locations, limit) if report.has_bar else None)
    if out is None:
        looked = gather.look(locations, 0, limit, progress=report)
        _print(looked, as_json, per_shard)
    else:
        with cards.writing(Path(out), thumbnails) as written:
            looked = gather.look(locations, sample, limit, written, progress=report)
            _print(looked, as_json, per_shard)
            heading = title or one_line(", ".join(map(shards.public, inputs)))
            for path in gather.write(looked, out, heading, columns, page_size, links, sections):
                print(path, file=sys.stderr)
    for complaint in looked.complaints:
        print(f"warning: {one_line(complaint)}", file=sys.stderr)
    if looked.unread:
        raise typer.Exit(1)


def _print(looked: Looked, as_json: bool, per_shard: bool) -> None:
    import json

    from socialcli.reports import table

    if as_json:
        print(json.dumps(table.as_json(looked), ensure_ascii=True, indent=1))
    else:
        print(table.text(looked, per_shard))
    sys.stdout.flush()


def _link(text: str, out: str | None) -> tuple[str, str]:
    """NAME=FILE as the name and the way there from the page."""
    import os

    from socialcli import shards
    from socialcli.errors import UsageError

    name, file = _named("--link", text)
    if out is None:
        raise UsageError("--link leads from a page: give --out FOLDER")
    near = shards.is_url(file) or shards.is_url(out)
    return name, file if near else os.path.relpath(file, out).replace(os.sep, "/")


def _shown(text: str, out: str | None) -> tuple[str, str]:
    """NAME=FILE as the name and the page's section."""
    from pathlib import PurePosixPath

    from socialcli import shards
    from socialcli.errors import UsageError
    from socialcli.reports import shown

    name, file = _named("--show", text)
    if out is None:
        raise UsageError("--show is for the page: give --out FOLDER")
    suffix = PurePosixPath(file).suffix.lower()
    if suffix not in shown.PICTURES and suffix not in shown.TEXTS:
        known = ", ".join((*shown.PICTURES, *shown.TEXTS))
        raise UsageError(f"--show {text}: shown are files ending in {known}")
    try:
        data = shards.read_bytes(file)
        if data is None:
            raise UsageError(f"--show {text}: there is no such file")
        return name, shown.section(name, suffix, data)
    except (OSError, ValueError) as error:
        raise UsageError(f"--show {text}: {error}") from None


def _named(option: str, text: str) -> tuple[str, str]:
    from socialcli.errors import UsageError

    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise UsageError(f"{option} {text}: expected NAME=FILE")
    return name, file
