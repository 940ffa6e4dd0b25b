"""One shard from input to published output: the same code under every engine."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from socialcli import records, shards
from socialcli.errors import SampleFailed, SampleFiltered, SocialcliError, UsageError
from socialcli.pipeline import domain
from socialcli.pipeline import plan as planning
from socialcli.pipeline.batches import Outcome, Result, outcomes
from socialcli.pipeline.plan import Plan, Stats, Task
from socialcli.pipeline.report import Report, one_line
from socialcli.pipeline.stage import Noted, Stage


def finished(plan: Plan, task: Task, read: bool = True) -> Stats | None:
    """The stats of an output shard that an equal run has finished, None if it is to be done.

    Standard input is the one it was made from if its checksum says so, so it is read to its end
    here, unless ``read`` is False.

    Raises:
        UsageError: the shard is there but was made with other options (they are named), and
            ``--overwrite`` was not given; another program's file is in its place; or the notes of
            another output are.
    """
    if task.target == "-":
        return None
    body = planning.load_stats(task.target, refuse_others=True)
    if plan.overwrite:
        return None
    if body is None:
        has_errors_file = shards.read_bytes(shards.errors_location(task.target)) is not None
        if not has_errors_file and shards.size(task.target) is not None:
            raise UsageError(
                f"{task.target} is there already and was not made by this program's stages; give "
                "--overwrite to replace it or another --output"
            )
        return None
    wanted = planning.identity(plan, task)
    if not planning.agree(plan, body.get("identity", {}), wanted):
        named = planning.difference(body.get("identity", {}), wanted)
        raise UsageError(
            f"{task.target} was made by another run ({named}); give --overwrite to replace it "
            "or another --output"
        )
    for known in body.get("files", []):
        _refuse(task, f"{known['name']}, which its samples name,", _other_file(known))
    again = plan.retry_failed and body["counts"].get("failed", 0)
    if not plan.numbered:
        archives = shards.parts(task.source)
        if "-" in archives:
            if read and not again:  # else it is compared when it has been read (see `make`)
                checksums: list[shards.Checksum] = []
                for _ in _samples(plan, task, checksums):
                    pass
                _refuse_changed(task, body, checksums)
        else:
            for part, known in zip(archives, body.get("input", []), strict=False):
                _refuse(task, _input(part), _changed(part, known, task.limit is None))
    if again:
        return None
    return Stats(dict(body["counts"]), 0.0, body["output"]["bytes"], 1, 1)


def adopt(plan: Plan, task: Task) -> None:
    """Let a finished shard without failures be one of the run that mends the others
    (``--retry-failed`` with corrected captions), or the next run would refuse it."""
    body = planning.load_stats(task.target) if plan.retry_failed else None
    wanted = planning.identity(plan, task)
    if body is None or body.get("identity") == wanted:
        return
    body |= {
        "identity": wanted, "fingerprint": planning.fingerprint(wanted),
        "config": planning.shown(plan.config), "made_as": body.get("identity"),
    }  # fmt: skip
    _write_stats(task, body)


def _samples(
    plan: Plan, task: Task, checksums: list[shards.Checksum]
) -> Iterator[shards.Sample | shards.Damage]:
    """What a task reads, as far as its limit goes."""
    samples = planning.stage(plan).samples(planning.config(plan), task.source, checksums)
    return samples if task.limit is None else _first(samples, task.limit)


def _refuse_changed(task: Task, body: dict[str, Any], checksums: list[shards.Checksum]) -> None:
    """Compare what has been read with what an earlier run noted of its input."""
    archives, noted = shards.parts(task.source), body.get("input", [])
    for part, known, checksum in zip(archives, noted, checksums, strict=False):
        if str(checksum) != known.get("checksum"):
            changed = f"checksum {known.get('checksum')} then, {checksum} now"
            _refuse(task, _input(part), changed)


def _input(part: str) -> str:
    return "standard input" if part == "-" else f"its input {shards.public(part)}"


def _refuse(task: Task, what: str, changed: str) -> None:
    if changed:
        raise UsageError(
            f"{task.target}: {what} has changed since ({changed}); give "
            "--overwrite to make it again"
        )


def _file(name: str) -> dict[str, Any]:
    """What a stats file notes of a file that a sample names."""
    place = str(Path(name).expanduser())
    size, modified = shards.size_and_modified(place)
    return {"name": name, "bytes": size, "modified": modified, "held": _held(place, size, modified)}


@functools.lru_cache(maxsize=4096)
def _held(place: str, size: int | None, modified: Any) -> str:
    """`planning.held`, once for the many samples that name one file as it is."""
    return planning.held(place)


def _other_file(known: dict[str, Any]) -> str:
    """What differs between such a file and its note; "" where nothing does. One of the same size
    and time is not read again."""
    size, modified = shards.size_and_modified(str(Path(known["name"]).expanduser()))
    if size != known["bytes"]:
        return f"{known['bytes']} bytes then, {'none' if size is None else size} now"
    if modified == known["modified"]:
        return ""
    now = _file(known["name"])["held"]
    return "" if now == known["held"] else f"{known['held']} then, {now} now"


def _with_files(
    stage: Stage, config: Any, samples: Iterator[Any], named: dict[str, list[dict[str, Any]]]
) -> Iterator[Any]:
    """The samples; what the files hold that one names is noted, by its key, before it is used."""
    for sample in samples:
        if isinstance(sample, shards.Sample) and sample.problem is None:
            with contextlib.suppress(OSError, SocialcliError):  # its sample will say why
                if files := stage.named_files(config, sample):
                    named[sample.key] = [_file(name) for name in files]
        yield sample


def _changed(part: str, known: dict[str, Any], whole: bool) -> str:
    """What differs between an input and its note in a stats file; "" where nothing does.

    An input of the same size is read again only if it was written since, or if its store gives
    another version of it.
    """
    size, now = shards.size_and_modified(part)
    if size is not None and known.get("file_bytes") not in (None, size):
        return f"{known['file_bytes']} bytes then, {size} now"
    then = known.get("modified")
    if not whole or then is None or now in (None, then):
        return ""
    checksums: list[shards.Checksum] = []
    for _ in shards.read_all(part, checksums):
        pass
    if str(checksums[0]) != known.get("checksum"):
        return f"checksum {known.get('checksum')} then, {checksums[0]} now"
    return ""


def run(plan: Plan, task: Task, loaded: Any, report: Report) -> Stats:
    """Make one output shard and publish it with its errors and stats; returns its stats."""
    return make(plan, task, loaded, report)()


def make(plan: Plan, task: Task, loaded: Any, report: Report) -> Callable[[], Stats]:
    """Make one output shard under a temporary name.

    Returns:
        What publishes it: syncs it, gives it its name, then writes its errors and stats. It has
        to be called, on any thread; the next shard can be made meanwhile.
    """
    started = time.perf_counter()
    stage = planning.stage(plan)
    config = planning.config(plan)
    earlier = _earlier_results(plan, task, report)
    checksums: list[shards.Checksum] = []
    inputs = [] if plan.numbered else shards.parts(task.source)
    before = [shards.size_and_modified(part) for part in inputs]
    named: dict[str, list[dict[str, Any]]] = {}  # by key
    files: dict[str, dict[str, Any]] = {}  # by name, those of all that went well
    samples = _with_files(stage, config, _samples(plan, task, checksums), named)
    where = one_line(task.target if plan.numbered else shards.public(task.source))
    counts = Stats().counts
    if earlier:  # what is counted besides is true of the samples that are taken over
        known_counts = earlier.stats["counts"].items()
        counts |= {what: number for what, number in known_counts if what not in counts}
    problems: list[dict[str, Any]] = []
    known = domain.limited(describe_models(plan)) if stage.DOMAIN else {}
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(output_stream(task.target))
        writer = stage.writer(config, task.target, stream)
        for outcome in outcomes(
            samples,
            stage,
            config,
            loaded,
            name=plan.command,
            seed=plan.seed,
            threads=plan.threads,
            batch_size=getattr(config, "batch_size", None),
            known=earlier.result if earlier else None,
            say=lambda message: report.warn(f"{where}: {message}"),
        ):
            problem = _write(plan, writer, outcome, counts)
            if problem is not None:
                problems.append(problem)
                if problem["status"] != "filtered" and len(problems) <= 3:
                    report.warn(f"{where}: {problem['key'] or '(no key)'}: {problem['reason']}")
            if isinstance(outcome, Outcome) and outcome.sample.key:
                report.advance(1)
                if (of_sample := named.pop(outcome.sample.key, None)) and problem is None:
                    files |= {one["name"]: one for one in of_sample}
                noted = outcome.result.notes if isinstance(outcome.result, Noted) else {}
                for what, line in noted.items():
                    counts[what] = counts.get(what, 0) + 1
                    report.warn_once(line)
                if known and (warning := domain.stranger(outcome.sample, known)):
                    report.warn_once(warning)
                    known = {}
        if earlier and "-" in inputs:
            _refuse_changed(task, earlier.stats, checksums)
        # Several shards on stdout are one archive: most readers stop at the first end mark.
        if task.target != "-" or task == plan.tasks[-1]:
            writer.close()
        if task.target == "-":
            stream.flush()
        else:
            # Until the new stats are there the shard is unfinished: the old ones, of other
            # options perhaps, must not vouch for it should we be killed in between.
            shards.remove(planning.stats_location(task.target))
        written = stack.pop_all()
    seconds = time.perf_counter() - started

    def publish() -> Stats:
        if task.target != "-":
            _publish_errors(task, problems)
        written.close()
        stats = Stats(counts, seconds, writer.bytes, 0, 1)
        _publish_stats(plan, task, stats, checksums, before, files)
        report.shard(where, counts, seconds)
        return stats

    return publish


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
        with (
            shards.explain_full_disk("stdout"),
            open(sys.stdout.fileno(), "wb", buffering=1 << 20, closefd=False) as stream,
        ):
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
        reason = shards.public_text(outcome.reason)
        return {"key": None, "status": "damaged", "stage": plan.command, "reason": reason}
    sample, result = outcome.sample, outcome.result
    if not sample.key:  # files that belong to no sample
        if not plan.sidecar:
            writer.passed(sample, {})
        return None
    counts["total"] += 1
    if isinstance(result, shards.Sample):  # as an earlier run wrote it
        counts["ok"] += 1
        writer.passed(result, {})
        return None
    if isinstance(result, dict):
        counts["ok"] += 1
        if plan.sidecar:
            # Nothing to add still needs its key, or the sidecar would not join.
            writer.added(sample.key, result or {shards.STATUS: b'{"status":"ok"}'})
        else:
            writer.passed(sample, result)
        return None
    status = "filtered" if isinstance(result, SampleFiltered) else "failed"
    counts[status] += 1
    line = {
        "key": sample.key,
        "status": status,
        "stage": plan.command,
        "reason": one_line(shards.public_text(str(result))),
    }
    if plan.sidecar:
        # A note under the same key, so that the sidecar still joins key by key.
        drop = status == "filtered" or plan.on_error == "drop" or not sample.whole
        note = {**line, "status": "filtered" if drop else status}
        writer.added(sample.key, {shards.STATUS: _encoded(json.dumps(note, ensure_ascii=False))})
    elif status == "failed" and plan.on_error == "keep" and sample.whole and sample.blocks:
        writer.passed(sample, {})
    return line


def _publish_errors(task: Task, problems: list[dict[str, Any]]) -> None:
    """The errors file, before the shard: a shard without one is not ours to replace."""
    lines = "".join(json.dumps(p, ensure_ascii=False) + "\n" for p in problems)
    shards.write_bytes(shards.errors_location(task.target), _encoded(lines), synced=bool(lines))


def _publish_stats(
    plan: Plan,
    task: Task,
    stats: Stats,
    checksums: list[shards.Checksum],
    before: list[tuple[int | None, int | str | None]],
    files: dict[str, dict[str, Any]],
) -> None:
    """The stats file, after the shard: its presence says that the shard is finished."""
    if task.target == "-":
        return
    identity = planning.identity(plan, task)
    archives = [] if plan.numbered else shards.parts(task.source)
    body = {
        "schema": records.SCHEMA_VERSION,
        "command": plan.command,
        "counts": stats.counts,
        "input": [
            {
                "location": shards.public(part),
                "checksum": str(c),
                "bytes": c.bytes,
                "file_bytes": size,
                "modified": modified,
            }
            for part, c, (size, modified) in zip(archives, checksums, before, strict=False)
        ],
        **({"files": [files[name] for name in sorted(files)]} if files else {}),
        "output": {"location": shards.public(task.target), "bytes": stats.bytes},
        "fingerprint": planning.fingerprint(identity),
        "identity": identity,
        "config": planning.shown(plan.config),
        "seed": plan.seed,
        "versions": planning.versions(),
        "timing": {
            "seconds": round(stats.seconds, 3),
            "samples_per_second": round(stats.counts["total"] / max(stats.seconds, 1e-9), 2),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    }
    _write_stats(task, body)


def _write_stats(task: Task, body: dict[str, Any]) -> None:
    text = json.dumps(body, indent=1, ensure_ascii=False) + "\n"
    # Stats that a power cut left empty say "not finished", so they need no sync of their own.
    shards.write_bytes(
        planning.stats_location(task.target), _encoded(text), synced=False, after_others=True
    )


def _encoded(text: str) -> bytes:
    """JSON as UTF-8; what a name has that is not UTF-8 becomes JSON's own escape, ``\\udc..``."""
    return text.encode("utf-8", "backslashreplace")


class _Earlier:
    """The output of the run before, for ``--retry-failed``: read in step with the input, so that
    what went well is taken over as it was written."""

    def __init__(
        self,
        samples: Iterator[shards.Sample],
        problems: list[dict[str, Any]],
        stats: dict[str, Any],
    ) -> None:
        self.samples, self.stats = samples, stats
        self.next = next(samples, None)
        self.filtered = {p["key"]: p["reason"] for p in problems if p["status"] == "filtered"}
        self.failed = {p["key"] for p in problems if p["status"] == "failed"}

    def result(self, sample: shards.Sample) -> Result | None:
        earlier = self.next if self.next is not None and self.next.key == sample.key else None
        if earlier is not None:
            self.next = next(self.samples, None)
        if sample.key in self.failed:
            return None
        if sample.key in self.filtered:
            return SampleFiltered(self.filtered[sample.key])
        return earlier


def _earlier_results(plan: Plan, task: Task, report: Report) -> _Earlier | None:
    """What an earlier run of the same task gave, when only its failures are to be done again; None
    where nobody can tell which these were."""
    if not plan.retry_failed or task.target == "-":
        return None
    stats = planning.load_stats(task.target)
    if stats is None:
        return None
    problems = _noted_problems(task.target, stats["counts"])
    if problems is None:
        place = shards.public(shards.errors_location(task.target))
        report.warn(f"{place} does not name the samples that failed: all are done again")
        return None
    samples = (
        entry
        for entry in shards.read_all(task.target)
        if isinstance(entry, shards.Sample) and entry.key
    )
    return _Earlier(samples, problems, stats)


def _noted_problems(target: str, counts: dict[str, int]) -> list[dict[str, Any]] | None:
    """The lines of an errors file; None where they are not those that its stats count: it may have
    been removed or cut, and what it does not name would pass for done."""
    data = shards.read_bytes(shards.errors_location(target)) or b""
    try:
        problems = [json.loads(line) for line in data.decode().split("\n") if line]
        ended = [p["status"] for p in problems if p["key"] is not None and "reason" in p]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    known = all(ended.count(status) == counts.get(status, 0) for status in ("filtered", "failed"))
    return problems if known else None


def load_models(plan: Plan) -> Any:
    """The plan's models, or the one line that says why they cannot be had."""
    stage = planning.stage(plan)
    try:
        return stage.load(planning.config(plan))
    except (SampleFailed, SampleFiltered) as error:
        raise SocialcliError(str(error)) from error


def describe_models(plan: Plan) -> list[Any]:
    return list(planning.stage(plan).models(planning.config(plan)))
