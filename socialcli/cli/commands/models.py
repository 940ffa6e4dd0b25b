"""List backends and profiles: what is installed, where checkpoints are, how to get them."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    role: Annotated[
        str | None, typer.Argument(help="Only this role: caption, ground, segment, face...")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    import dataclasses
    import json

    from socialcli import backends
    from socialcli.cli import profiles
    from socialcli.errors import UnknownName, install

    if role is not None and role not in backends.ROLES:
        raise UnknownName("no role", role, backends.ROLES)
    rows = []
    for name, by_name in backends.available().items():
        if role not in (None, name):
            continue
        for info in by_name.values():
            missing = backends.missing_packages(info)
            rows.append(
                {
                    **dataclasses.asdict(info),
                    "role": name,
                    "installed": not missing,
                    "missing_packages": missing,
                    "found_at": backends.where(info.model),
                }
            )
    if as_json:
        body = {"backends": rows, "profiles": {k: str(v) for k, v in profiles.names().items()}}
        print(json.dumps(body, indent=1))
        return
    last = ""
    for row in rows:
        if row["role"] != last:
            last = row["role"]
            print(f"{last}")
        print(f"  {row['name']:<22} {row['summary']}")
        model = f"{row['model']} ({row['licence']}{', ' + row['size'] if row['size'] else ''})"
        print(
            f"  {'':<22}   checkpoint: {model}"
            if row["model"]
            else f"  {'':<22}   {row['licence']}"
        )
        if row["missing_packages"]:
            needs = ", ".join(row["missing_packages"])
            print(f"  {'':<22}   needs {needs}: {install(row['extra'])}")
        if row["found_at"]:
            print(f"  {'':<22}   found at {row['found_at']}")
        elif row["get"]:
            print(f"  {'':<22}   get it: {row['get']}")
    print("profiles")
    for name, path in profiles.names().items():
        print(f"  {name:<22} {path}")
