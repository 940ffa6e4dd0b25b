"""Subcommands that are not stages: one file each, with a plain Typer function ``command``."""
