"""From a command line to finished shards: planning, the dry run, the engine, the exit code."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from socialcli import registry, shards
from socialcli.backends import devices
from socialcli.config import check_bounds, option
from socialcli.errors import SocialcliError, UsageError
from socialcli.pipeline import dry_run, shard
from socialcli.pipeline import plan as planning
from socialcli.pipeline.plan import Plan, Stats, Task
from socialcli.pipeline.report import Report


def _engines() -> list[str]:
    return list(registry.available("engines"))


@dataclass
class RunOptions:
    """Options of every command that makes shards; one flag each."""

    seed: int = option(
        0, "Global seed; a sample's own is a hash of it, the stage and the key.", at_least=0
    )
    limit: int | None = option(None, "Stop after the first N samples of the run.", at_least=1)
    workers: int = option(1, "Worker processes, each with its own copy of the models.", at_least=1)
    threads: int = option(2, "Threads per worker that decode ahead of the model.", at_least=1)
    engine: str = option("local", "Where tasks run: local, ray or slurm.", choices=_engines)
    engine_option: list[str] = option([], "KEY=VALUE for the engine (partition=gpu). Repeatable.")
    slice: str | None = option(None, "Do only every n-th shard: i/n, i from 0.")
    sidecar: bool = option(False, "Write only the new members, under the same keys.")
    on_error: str = option(
        "keep", "Failed samples: keep (pass through as they are) or drop.", choices=("keep", "drop")
    )
    max_error_rate: float = option(
        0.05, "Exit with 1 when a larger share of samples failed.", at_least=0, at_most=1
    )
    retry_failed: bool = option(False, "Do the failed samples of finished shards again.")
    overwrite: bool = option(False, "Replace finished shards, even of other options.")
    dry_run: bool = option(False, "Print what would run, and exit.")
    log_json: bool = option(False, "Messages on stderr as JSON lines.")
    quiet: bool = option(False, "Say only warnings and errors.")


def run_stage(
    kind: str,
    name: str,
    config: dict[str, Any],
    sources: list[str],
    output: str,
    options: RunOptions,
    shard_size: int = 1000,
) -> Stats:
    """Plan and run a stage, an importer or a method of generate (see `planned`, `carry_out`)."""
    plan = planned(kind, name, config, sources, output, options, shard_size)
    return carry_out(plan, options)


def carry_out(plan: Plan, options: RunOptions) -> Stats:
    """Run a plan, or print it where that is all that was asked for.

    Raises:
        SocialcliError: it could not be carried out, or more samples failed than
            ``max_error_rate`` allows.
    """
    report = Report(options.log_json, options.quiet)
    for remark in planning.stage(plan).remarks:
        report.warn(remark)
    if options.dry_run:
        dry_run.show_plan(plan)
        return Stats()
    return execute(plan, options.engine, _pairs(options.engine_option), report)


def planned(
    kind: str,
    name: str,
    config: dict[str, Any],
    sources: list[str],
    output: str,
    options: RunOptions,
    shard_size: int = 1000,
) -> Plan:
    """The plan of a run.

    Args:
        kind, name: of the part (see `Plan`).
        config: the configuration's values (see `profiles.values`).
        sources: input locations; unused where entries are numbered.
        output: folder, pattern, remote prefix or ``-``.
        shard_size: samples per shard where entries are numbered.

    Raises:
        UsageError: the request makes no sense.
    """
    check_bounds(RunOptions, vars(options))
    if options.overwrite and options.retry_failed:
        raise UsageError(
            "--overwrite makes every sample again and --retry-failed keeps those that went well; "
            "give one of the two"
        )
    if shard_size < 1:
        raise UsageError(f"--shard-size {shard_size}: at least 1")
    if output == "-" and sys.stdout.isatty() and not options.dry_run:
        raise UsageError("-o - writes an archive to stdout; pipe it on, or give a folder")
    plan = Plan(
        kind=kind,
        name=name,
        config=devices.resolved(config, elsewhere=options.engine != "local"),
        tasks=(),
        **{
            f.name: getattr(options, f.name)
            for f in dataclasses.fields(RunOptions)
            if f.name in {p.name for p in dataclasses.fields(Plan)}
        },
    )
    tasks = _tasks(plan, sources, output, options, shard_size)
    # Nothing is kept, and nothing noted, of what goes to standard output.
    noted = {} if output == "-" else planning.stage(plan).noted(planning.config(plan))
    return dataclasses.replace(plan, tasks=tasks, noted=noted)


def execute(plan: Plan, engine: str, engine_options: dict[str, str], report: Report) -> Stats:
    """Run a plan's unfinished tasks, say how it went, and raise if too much failed."""
    todo, total = [], Stats()
    with shards.listed(planning.places(plan)):
        for task, done in zip(plan.tasks, _finished(plan), strict=True):
            if done is None:
                todo.append(task)
            else:
                shard.adopt(plan, task)
                total.add(done)
        expected = planning.expected(plan, todo) if report.has_bar else None
    if not plan.tasks:
        report.info(f"{plan.command}: this slice has no shards; there are fewer than slices")
    if total.skipped:
        report.info(f"{total.skipped} of {len(plan.tasks)} shards are finished already")
    shards.check_output_files(task.target for task in todo)  # before models are loaded
    report.start(plan.command, expected)
    try:
        if todo:
            total.add(registry.load("engines", engine).run(plan, todo, engine_options, report))
    finally:
        report.finish()
    counts = total.counts
    if total.tasks:  # none when an engine was asked not to wait
        where = plan.tasks[0].target
        hint = "" if where == "-" else "; reasons are in *.errors.jsonl beside the shards"
        bad = counts["failed"] + counts["damaged"] + counts["filtered"]
        report.info(
            f"{plan.command}: {counts['total']} samples: {counts['ok']} ok, {counts['filtered']} "
            f"filtered, {counts['failed']} failed"
            + (f", {counts['damaged']} damaged places" if counts["damaged"] else "")
            + "".join(
                f", {n} {what.replace('_', ' ')}"
                for what, n in counts.items()
                if what not in Stats().counts
            )
            + (hint if bad else ""),
            counts=counts,
        )
    if total.error_rate > plan.max_error_rate:
        raise SocialcliError(
            f"{plan.command}: {total.error_rate:.1%} of the samples failed, more than "
            f"--max-error-rate {plan.max_error_rate:.1%}; the shards are written, see their "
            ".errors.jsonl, then --retry-failed"
        )
    return total


AT_ONCE = 16  # stats files that are fetched from a store at a time


def _finished(plan: Plan) -> Iterator[Stats | None]:
    """`shard.finished` of each task in order; several at once where each waits for a store."""
    if not any(shards.is_url(task.target) for task in plan.tasks):
        yield from (shard.finished(plan, task) for task in plan.tasks)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(lambda task: shard.finished(plan, task), plan.tasks)


def _tasks(
    plan: Plan, sources: list[str], output: str, options: RunOptions, shard_size: int
) -> tuple[Task, ...]:
    if plan.numbered:
        return planning.sliced(_entry_tasks(plan, output, options, shard_size), options.slice)
    expanded = shards.expand(sources, check=False)
    targets = planning.targets(expanded, output)
    whole = [Task(i, s, t) for i, (s, t) in enumerate(zip(expanded, targets, strict=True))]
    kept = planning.limited(whole, options.limit, lambda source: _results_of(plan, source))
    tasks = planning.sliced(tuple(kept), options.slice)
    shards.check_there(task.source for task in tasks)
    return tasks


def _results_of(plan: Plan, source: str) -> Iterator[Any]:
    """One item for each sample that an input shard makes."""
    part, config = planning.stage(plan), planning.config(plan)
    if part.each(config) == 1:
        return iter(planning.counted(source))  # without reading what samples hold
    return (one for one in part.samples(config, source, []) if getattr(one, "key", ""))


def _entry_tasks(plan: Plan, output: str, options: RunOptions, shard_size: int) -> tuple[Task, ...]:
    number = planning.stage(plan).count(planning.config(plan))
    if options.limit is not None:
        number = min(number, options.limit)
    if number == 0:
        raise UsageError(f"{plan.config.get('source', plan.command)}: nothing to import there")
    tasks = tuple(planning.entry_tasks(number, shard_size, output))
    if output != "-":
        if len({task.target for task in tasks}) < len(tasks):
            raise UsageError(
                f"{output}: several shards would be written to {tasks[0].target}; give a pattern "
                "with a number, such as -o out/%06d.tar"
            )
        *_, beyond = planning.entry_tasks(len(tasks) * shard_size + 1, shard_size, output)
        if beyond.target != tasks[-1].target and not shards.is_url(beyond.target):
            _warn_of_more(beyond.target, options)
    return tasks


def _warn_of_more(target: str, options: RunOptions) -> None:
    """Say that shards go on behind the last one of this run."""
    if shards.size(target) is not None:
        Report(options.log_json, options.quiet).warn(
            f"{target} is of an earlier run that had more shards, and who reads the folder reads "
            "it too: remove it and those after it, or give another --output"
        )


def _pairs(options: list[str]) -> dict[str, str]:
    pairs = {}
    for pair in options:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--engine-option {pair}: expected KEY=VALUE")
        pairs[key] = value
    return pairs
