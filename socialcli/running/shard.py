"""One shard from input to published output: the same code under every engine."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from socialcli import records, shards
from socialcli.errors import SampleFailed, SampleFiltered, SocialcliError, UsageError
from socialcli.running import plan as planning
from socialcli.running.batches import Outcome, Result, outcomes
from socialcli.running.plan import Plan, Stats, Task
from socialcli.running.report import Report, one_line


def finished(plan: Plan, task: Task) -> Stats | None:
    """The stats of an output shard that an equal run has finished, None if it is to be done.

    Raises:
        UsageError: the shard is there but was made with other options (they are named), and
            ``--overwrite`` was not given.
    """
    if task.target == "-" or plan.overwrite:
        return None
    body = planning.load_stats(task.target)
    if body is None:
        return None
    wanted = planning.identity(plan, task)
    if body.get("fingerprint") != planning.fingerprint(wanted):
        named = planning.difference(body.get("identity", {}), wanted)
        raise UsageError(
            f"{task.target} was made by another run ({named}); give --overwrite to replace it "
            "or another --output"
        )
    stated = body.get("input", [])
    if plan.kind == "stages":
        for part, known in zip(shards.parts(task.source), stated, strict=False):
            size = shards.size(part)
            if size is not None and known.get("file_bytes") not in (None, size):
                raise UsageError(
                    f"{task.target}: its input {part} has changed since ({known['file_bytes']} "
                    f"bytes then, {size} now); give --overwrite to make it again"
                )
    if plan.retry_failed and body["counts"].get("failed", 0):
        return None
    return Stats(dict(body["counts"]), 0.0, body["output"]["bytes"], 1, 1)


def run(plan: Plan, task: Task, loaded: Any, report: Report) -> Stats:
    """Make one output shard and publish it with its errors and stats; returns its stats."""
    started = time.perf_counter()
    stage = planning.module(plan)
    config = planning.config(plan)
    earlier = _earlier_results(plan, task)
    checksums: list[shards.Checksum] = []
    sizes = [] if plan.kind == "importers" else [shards.size(p) for p in shards.parts(task.source)]
    samples: Iterator[shards.Sample | shards.Damage]
    if plan.kind == "importers":
        samples = stage.samples(config, task.source)
    else:
        samples = shards.read_all(task.source, checksums)
    if task.limit is not None:
        samples = _first(samples, task.limit)
    where = one_line(task.source if plan.kind == "stages" else task.target)
    counts = Stats().counts
    problems: list[dict[str, Any]] = []
    with output_stream(task.target) as stream:
        writer = shards.Writer(stream)
        for outcome in outcomes(
            samples,
            stage,
            config,
            loaded,
            name=plan.command,
            seed=plan.seed,
            threads=plan.threads,
            batch_size=getattr(config, "batch_size", 1),
            known=earlier.pop_result if earlier else None,
            say=lambda message: report.warn(f"{where}: {message}"),
        ):
            problem = _write(plan, writer, outcome, counts)
            if problem is not None:
                problems.append(problem)
                if problem["status"] != "filtered" and len(problems) <= 3:
                    report.warn(f"{where}: {problem['key'] or '(no key)'}: {problem['reason']}")
            if isinstance(outcome, Outcome) and outcome.sample.key:
                report.advance(1)
        writer.close()
        if task.target == "-":
            stream.flush()
    seconds = time.perf_counter() - started
    stats = Stats(counts, seconds, writer.bytes, 0, 1)
    _publish_stats(plan, task, stats, problems, checksums, sizes)
    report.shard(where, counts, seconds)
    return stats


def _first(samples: Iterator[Any], limit: int) -> Iterator[Any]:
    keyed = 0
    for sample in samples:
        keyed += bool(getattr(sample, "key", ""))
        if keyed > limit:
            return
        yield sample


@contextlib.contextmanager
def output_stream(target: str) -> Iterator[BinaryIO]:
    """Where an output shard is written: published whole, or straight to stdout."""
    if target == "-":
        with open(sys.stdout.fileno(), "wb", buffering=1 << 20, closefd=False) as stream:
            yield stream
    else:
        with shards.publish(target) as stream:
            yield stream


def _write(
    plan: Plan, writer: shards.Writer, outcome: Outcome | shards.Damage, counts: dict[str, int]
) -> dict[str, Any] | None:
    """Write one outcome, count it, and return its line for errors.jsonl if it has one."""
    if isinstance(outcome, shards.Damage):
        counts["damaged"] += 1
        return {"key": None, "status": "damaged", "stage": plan.command, "reason": outcome.reason}
    sample, result = outcome.sample, outcome.result
    if not sample.key:  # files that belong to no sample
        if not plan.sidecar:
            writer.passed(sample, {})
        return None
    counts["total"] += 1
    if isinstance(result, dict):
        counts["ok"] += 1
        if plan.sidecar:
            writer.added(sample.key, result)
        else:
            writer.passed(sample, result)
        return None
    status = "filtered" if isinstance(result, SampleFiltered) else "failed"
    counts[status] += 1
    line = {
        "key": sample.key,
        "status": status,
        "stage": plan.command,
        "reason": one_line(str(result)),
    }
    if plan.sidecar:
        # A note under the same key, so that the sidecar still joins key by key.
        drop = status == "filtered" or plan.on_error == "drop" or not sample.whole
        note = {**line, "status": "filtered" if drop else status}
        writer.added(sample.key, {shards.STATUS: json.dumps(note, ensure_ascii=False).encode()})
    elif status == "failed" and plan.on_error == "keep" and sample.whole and sample.blocks:
        writer.passed(sample, {})
    return line


def _publish_stats(
    plan: Plan,
    task: Task,
    stats: Stats,
    problems: list[dict[str, Any]],
    checksums: list[shards.Checksum],
    sizes: list[int | None],
) -> None:
    """The errors file, then the stats file: its presence says that the shard is finished."""
    if task.target == "-":
        return
    lines = "".join(json.dumps(p, ensure_ascii=False) + "\n" for p in problems)
    shards.write_bytes(
        planning.errors_location(task.target), lines.encode("utf-8", "surrogateescape")
    )
    identity = planning.identity(plan, task)
    archives = [] if plan.kind == "importers" else shards.parts(task.source)
    body = {
        "schema": records.SCHEMA_VERSION,
        "command": plan.command,
        "counts": stats.counts,
        "input": [
            {"location": part, "checksum": str(c), "bytes": c.bytes, "file_bytes": size}
            for part, c, size in zip(archives, checksums, sizes, strict=False)
        ],
        "output": {"location": task.target, "bytes": stats.bytes},
        "fingerprint": planning.fingerprint(identity),
        "identity": identity,
        "config": plan.config,
        "seed": plan.seed,
        "versions": planning.versions(),
        "timing": {
            "seconds": round(stats.seconds, 3),
            "samples_per_second": round(stats.counts["total"] / max(stats.seconds, 1e-9), 2),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    }
    shards.write_bytes(
        planning.stats_location(task.target),
        (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode(),
    )


class _Earlier:
    """Results of the samples that went well in the run before, for ``--retry-failed``."""

    def __init__(self, results: Iterator[tuple[str, Result]]) -> None:
        self.by_key: dict[str, list[Result]] = {}
        for key, result in results:
            self.by_key.setdefault(key, []).append(result)

    def pop_result(self, sample: shards.Sample) -> Result | None:
        found = self.by_key.get(sample.key)
        result = found.pop(0) if found else None
        return None if isinstance(result, SampleFailed) else result


def _earlier_results(plan: Plan, task: Task) -> _Earlier | None:
    """What an earlier run of the same task gave, when only its failures are to be done again."""
    if not plan.retry_failed or task.target == "-":
        return None
    body = planning.load_stats(task.target)
    if body is None:
        return None
    data = shards.read_bytes(planning.errors_location(task.target)) or b""
    problems = {}
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        entry = json.loads(line)
        problems[entry["key"]] = entry
    writes = planning.module(plan).WRITES

    def results() -> Iterator[tuple[str, Result]]:
        written = set()
        for sample in shards.read_all(task.target):
            if isinstance(sample, shards.Damage) or not sample.key or sample.key in problems:
                continue
            written.add(sample.key)
            members = {
                suffix: data
                for suffix, data in sample.members.items()
                if plan.kind == "importers" or suffix in writes
            }
            yield sample.key, members
        for key, entry in problems.items():
            if entry["status"] == "filtered" and key not in written:
                yield key, SampleFiltered(entry["reason"])

    return _Earlier(results())


def load_models(plan: Plan) -> Any:
    """The plan's models, or the one line that says why they cannot be had."""
    stage = planning.module(plan)
    try:
        return stage.load(planning.config(plan))
    except (SampleFailed, SampleFiltered) as error:
        raise SocialcliError(str(error)) from error


def describe_models(plan: Plan) -> list[Any]:
    return list(planning.module(plan).models(planning.config(plan)))
