"""List the Makefiles of whole data sets, or print the path of one, for make -f."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# Parts of others, no pipelines themselves.
INCLUDED = ("chain", "identifiers", "interaction-words", "made-with", "needs")


def folder() -> Path:
    """Where the Makefiles are: in the package, or in the checkout it is used from."""
    package = Path(__file__).parents[2]
    shipped = package / "shipped_pipelines"
    return shipped if shipped.is_dir() else package.parent / "pipelines"


def available() -> dict[str, Path]:
    """Name -> Makefile, without the parts that others include."""
    files = sorted(folder().glob("*.mk"))
    return {file.stem: file for file in files if file.stem not in (*INCLUDED, "zoo")}


def command(
    name: Annotated[
        str | None, typer.Argument(help="Print the path of this one.", show_default=False)
    ] = None,
) -> None:
    from socialcli.errors import UnknownName

    files = available()
    if name is None:
        for one, file in files.items():
            with file.open(encoding="utf-8") as lines:
                about = lines.readline().strip("# \n")
            print(f"{one:<18} {about}")
    elif name not in files:
        raise UnknownName("no pipeline", name, files)
    else:
        print(files[name])
