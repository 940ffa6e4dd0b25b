"""Make shards from a folder, a data set in its official layout, or other sources of pictures."""

from __future__ import annotations

from typing import Any


def group() -> Any:
    """The group of importers."""
    import typer

    from socialcli.cli.app import ImportGroup

    app = typer.Typer(
        cls=ImportGroup,
        no_args_is_help=True,
        help=__doc__,
        add_completion=False,
        rich_markup_mode=None,
    )
    app.callback()(lambda: None)
    return typer.main.get_command(app)
