"""Do a slice of a saved plan (what cluster engines start; not meant to be typed)."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    plan: Annotated[str, typer.Argument(help="A plan file, as an engine wrote it.")],
    slice: Annotated[str | None, typer.Option(help="Every n-th unfinished task: i/n.")] = None,
    collect: Annotated[
        bool, typer.Option(help="Do nothing but sum up the finished shards.")
    ] = False,
) -> None:
    import dataclasses
    import json
    from pathlib import Path

    from socialcli.errors import SocialcliError
    from socialcli.running import plan as planning
    from socialcli.running.plan import Plan
    from socialcli.running.report import Report
    from socialcli.running.start import execute

    whole = Plan.from_json(Path(plan).read_text(encoding="utf-8"))
    if collect:
        total = planning.collected(whole)
        print(json.dumps({**dataclasses.asdict(total), "expected": len(whole.tasks)}))
        if total.tasks < len(whole.tasks):
            raise SocialcliError(
                f"{len(whole.tasks) - total.tasks} of {len(whole.tasks)} shards are not finished; "
                "run the same command again"
            )
        return
    part = dataclasses.replace(whole, tasks=planning.sliced(whole.tasks, slice))
    execute(part, "local", {}, Report(whole.log_json, whole.quiet))
