"""What ``--dry-run`` prints: shards and their samples, models and options; nothing is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from socialcli import backends, shards
from socialcli.config import flag
from socialcli.errors import install
from socialcli.pipeline import plan as planning
from socialcli.pipeline import shard
from socialcli.pipeline.plan import Plan
from socialcli.pipeline.report import one_line

MOST = 20  # shards that are named


def show_plan(plan: Plan) -> None:
    """The dry run of a stage, an importer or a method of generate."""
    lines = [f"{plan.command}: {len(plan.tasks)} shards"]
    samples = 0
    shown = plan.tasks[:MOST]
    with shards.listed(planning.places(plan)):
        for task in shown:
            is_done = shard.finished(plan, task, read=False) is not None
            state = "finished" if is_done else "to do"
            known = ""
            if not plan.numbered and "-" not in shards.parts(task.source):
                count = sum(1 for _ in planning.counted(task.source))
                samples += count
                known = f", {count} samples"
            lines.append(f"  {shards.public(task.source)} -> {task.target} ({state}{known})")
    if len(plan.tasks) > MOST:
        lines.append(f"  ... and {len(plan.tasks) - MOST} more")
    if samples:
        more = " in those shown" if len(plan.tasks) > MOST else ""
        batch = plan.config.get("batch_size")
        calls = f", about {-(-samples // batch)} model calls" if batch else ""
        lines.append(f"samples{more}: {samples}{calls}, {plan.workers} worker(s)")
    lines += models(shard.describe_models(plan))
    lines += options(plan.config)
    say(lines)


def say(lines: Iterable[str]) -> None:
    """Print lines; a name may hold what no terminal should be sent, and bytes that are no text."""
    for line in lines:
        print(one_line(shards.public_text(line)))


def show(
    what: str,
    locations: list[str],
    writes: Iterable[str],
    specs: Iterable[backends.ModelSpec] = (),
    values: Mapping[str, Any] | None = None,
) -> None:
    """The dry run of a command that makes no shards.

    Args:
        what: the command. locations: its shards. writes: what it would write, one line each.
        specs: models it would load. values: its options.
    """
    lines = [f"{what}: {len(locations)} shards", *sources(locations)]
    lines += [f"would write {place}" for place in writes]
    lines += models(specs)
    lines += options(values or {})
    say(lines)


def sources(locations: list[str]) -> list[str]:
    """One line for each of the first shards, with its samples where they can be counted."""
    lines, shown = [], locations[:MOST]
    with shards.listed(shards.parts(location)[0] for location in shown):
        for location in shown:
            known = "its samples are not counted"
            if "-" not in shards.parts(location):
                known = f"{sum(1 for _ in planning.counted(location))} samples"
            lines.append(f"  {shards.public(location)} ({known})")
    if len(locations) > MOST:
        lines.append(f"  ... and {len(locations) - MOST} more")
    return lines


def models(specs: Iterable[backends.ModelSpec]) -> list[str]:
    """One line for each model: which, and where it is or how it is had."""
    lines = []
    for spec in specs:
        backend = backends.info(spec.role, spec.backend)
        missing = backends.missing_packages(backend)
        state = f"needs: {install(backend.extra)}" if missing else _place(spec, backend)
        lines.append(f"{spec.role}: {backend.name} {spec.model or backend.model} ({state})")
    return lines


def _place(spec: backends.ModelSpec, backend: backends.BackendInfo) -> str:
    place = backends.where(spec.model or backend.model)
    if place is None:
        return f"not found here; get it with: {backend.get}" if backend.get else "comes with it"
    return f"found at {place}"


def options(values: Mapping[str, Any]) -> list[str]:
    """One line for each option, as it would be given."""
    return [f"  {flag(key)} {planning.public(value)}" for key, value in values.items()]
