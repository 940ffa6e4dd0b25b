"""Do a slice of a saved plan (what cluster engines start; not meant to be typed)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from socialcli.pipeline.plan import Plan


def command(
    plan: Annotated[str, typer.Argument(help="A plan file, as an engine wrote it.")],
    slice: Annotated[str | None, typer.Option(help="Every n-th task of the plan: i/n.")] = None,
    collect: Annotated[
        bool, typer.Option(help="Do nothing but sum up the finished shards.")
    ] = False,
    submission: Annotated[
        str | None,
        typer.Option(help="Leave word of how it ended in logs/ beside the plan, under this name."),
    ] = None,
    of: Annotated[int, typer.Option(help="With --collect: how many slices there were.")] = 0,
) -> None:
    from pathlib import Path

    from socialcli.errors import UsageError
    from socialcli.pipeline.plan import Plan

    file = Path(plan)
    try:
        whole = Plan.from_json(file.read_text(encoding="utf-8"))
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{plan}: not a plan of this version of socialcli ({error})") from None
    words = file.parent / "logs" / submission if submission else None
    if collect:
        _collect(whole, words, of)
    else:
        _work(whole, slice, words)


def _work(whole: Plan, slice: str | None, words: Path | None) -> None:
    """The slice's unfinished shards; how it ended goes to ``<words>_<i>.end.json``.

    A task that is killed leaves no word, which is a word too.
    """
    import dataclasses

    from socialcli import shards
    from socialcli.errors import SocialcliError
    from socialcli.pipeline import plan as planning
    from socialcli.pipeline.report import Report
    from socialcli.pipeline.run import execute

    end = None if words is None else f"{words}_{(slice or '0/1').partition('/')[0]}.end.json"
    if end:
        shards.remove(end)  # a requeued task starts afresh
    # One slice may hold all the bad samples of a good run: the whole is judged when it is summed.
    part = dataclasses.replace(whole, tasks=planning.sliced(whole.tasks, slice), max_error_rate=1.0)
    try:
        execute(part, "local", {}, Report(whole.log_json, whole.quiet))
    except SocialcliError as error:
        _leave(end, {"exit": error.exit_code, "message": str(error)})
        raise
    except Exception as error:
        _leave(end, {"exit": 1, "message": f"{type(error).__name__}: {error}"})
        raise
    _leave(end, {"exit": 0, "message": ""})


def _collect(whole: Plan, words: Path | None, of: int) -> None:
    """The sum of what is on disk, to stdout and to ``<words>.summary.json``."""
    import dataclasses
    import json

    from socialcli import shards
    from socialcli.errors import SocialcliError
    from socialcli.pipeline import plan as planning

    total = planning.collected(whole)
    ends = [shards.read_bytes(f"{words}_{i}.end.json") for i in range(of if words else 0)]
    summary = {
        "command": whole.command,
        "expected": len(whole.tasks),
        "stats": dataclasses.asdict(total),
        "tasks": [None if end is None else json.loads(end) for end in ends],
    }
    print(json.dumps(summary))
    _leave(f"{words}.summary.json" if words else None, summary)
    if total.tasks < len(whole.tasks):
        raise SocialcliError(
            f"{len(whole.tasks) - total.tasks} of {len(whole.tasks)} shards are not finished; "
            "run the same command again"
        )
    if total.error_rate > whole.max_error_rate:
        raise SocialcliError(
            f"{whole.command}: {total.error_rate:.1%} of the samples failed, more than "
            f"--max-error-rate {whole.max_error_rate:.1%}; see the shards' .errors.jsonl"
        )


def _leave(location: str | None, body: dict[str, Any]) -> None:
    import json

    from socialcli import shards

    if location:
        shards.write_bytes(location, json.dumps(body, ensure_ascii=False).encode())
