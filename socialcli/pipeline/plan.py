"""What a run is: which stage with which options over which shards, as plain data.

A `Plan` can be written as JSON and read back, which is how Slurm tasks, Ray tasks and worker
processes all come to run the same code on the same decision.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from socialcli import __version__, records, registry, shards
from socialcli.backends import naming
from socialcli.config import default
from socialcli.errors import SocialcliError, UsageError

if TYPE_CHECKING:
    from socialcli.pipeline.stage import Stage

# Packages whose version is written into every stats file, when they are in use.
_RECORDED = (
    "numpy", "pillow", "torch", "transformers", "spacy", "insightface", "onnxruntime", "mediapipe",
    "pycocotools", "scipy",
)  # fmt: skip


# Names of facts: the files beside an import's pictures, those that rows of prompt files name, and
# reference shards that a pattern names.
ANNOTATION_FILES, ROW_FILES = "annotation files", "files that rows name"
REFERENCE_SHARDS = "shards of references"


@dataclass(frozen=True)
class Task:
    """One output shard: what goes in, where it comes out, and at most how many samples."""

    index: int
    source: str  # a location; where entries are numbered, "first:last"
    target: str  # a location, "-" for stdout
    limit: int | None = None


@dataclass(frozen=True)
class Plan:
    """A whole run of the part ``name`` of a ``kind`` of part (`socialcli.registry`) that can be
    seen as a stage: "stages", "importers", "methods.generate"."""

    kind: str
    name: str
    config: dict[str, Any]
    tasks: tuple[Task, ...]
    seed: int = 0
    sidecar: bool = False
    on_error: str = "keep"
    overwrite: bool = False
    retry_failed: bool = False
    max_error_rate: float = 0.05
    workers: int = 1
    threads: int = 2
    log_json: bool = False
    quiet: bool = False
    noted: dict[str, Any] = field(default_factory=dict)  # `Stage.noted`

    @property
    def command(self) -> str:
        """The subcommand as typed: ``extract-entities``."""
        return stage(self).command

    @property
    def numbered(self) -> bool:
        """Whether tasks are ranges of numbered entries (pictures, prompts), and not shards."""
        return stage(self).numbered(self.config)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> Plan:
        body = json.loads(text)
        body["tasks"] = tuple(Task(**task) for task in body["tasks"])
        return Plan(**body)


def stage(plan: Plan) -> Stage:
    """The stage that the plan names."""
    loaded: Stage = registry.load(plan.kind, plan.name).as_stage()
    return loaded


def config(plan: Plan) -> Any:
    """The stage's Config object."""
    return stage(plan).config_type(**plan.config)


def identity(plan: Plan, task: Task | None = None) -> dict[str, Any]:
    """Everything a finished shard's content depends on besides its input: what two runs must
    agree on before one may keep the other's shards."""
    part = stage(plan)
    values = {}
    for f in dataclasses.fields(part.config_type):
        if f.metadata.get("affects_result", True):
            values[f.name] = plan.config.get(f.name)
            if naming.is_model(f.name, values[f.name]):
                values[f.name] = naming.content(plan.config[f.name])
            elif f.metadata.get("file") and (named := values[f.name]):
                values[f.name] = held(named)
            values[f.name] = public(values[f.name])
    facts: dict[str, Any] = {
        "command": plan.command,
        "version": part.VERSION,
        "schema": records.SCHEMA_VERSION,
        "seed": plan.seed,
        "sidecar": plan.sidecar,
        "on_error": plan.on_error,
        **{f"option {name}": value for name, value in values.items()},
    }
    facts |= part.facts(config(plan)) | plan.noted
    if task is not None:
        facts["limit"] = task.limit
        if plan.numbered:
            facts["entries"] = task.source
        else:
            names = [PurePosixPath(shards.public(p)).name for p in shards.parts(task.source)]
            facts["input"] = "+".join(names)
    return facts


def agree(plan: Plan, old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether two identities are of the same run; for ``--retry-failed`` also where a file that
    can mend the failed samples (given captions, an import's texts, a row's picture) is another
    now."""
    mending: set[str] = set()
    if plan.retry_failed:
        fields = dataclasses.fields(stage(plan).config_type)
        mending = {f"option {f.name}" for f in fields if f.metadata.get("mends")}
        mending |= {ANNOTATION_FILES, ROW_FILES}
    # Earlier versions did not note them.
    later = (ANNOTATION_FILES, ROW_FILES, REFERENCE_SHARDS)
    mending |= {name for name in later if name not in old}
    mending |= {n for f in usual(config(plan)) if (n := f"option {f}") not in old}
    return fingerprint({k: v for k, v in old.items() if k not in mending}) == fingerprint(
        {k: v for k, v in new.items() if k not in mending}
    )


def usual(config: Any) -> set[str]:
    """The options that are as usual: where an earlier version noted nothing of one, it did not have
    it yet, and its results are those of the usual value (`Stage.VERSION` would be another else)."""
    fields = dataclasses.fields(config)
    return {f.name for f in fields if getattr(config, f.name) == default(f)}


def public(value: Any) -> Any:
    """An option's value as it may be written down: signatures and passwords of URLs go."""
    if isinstance(value, str):
        return shards.public(value)
    if isinstance(value, list):
        return [public(one) for one in value]
    return value


def shown(options: dict[str, Any]) -> dict[str, Any]:
    """Options as results note them: models by name and content, URLs without signatures, other
    places of this machine by their last component."""
    return {name: _bare(public(value)) for name, value in naming.labels(options).items()}


def _bare(value: Any) -> Any:
    if isinstance(value, list):
        return [_bare(one) for one in value]
    if isinstance(value, str) and value.startswith(("/", "~")):
        return PurePosixPath(value).name or value
    return value


def held(named: str | list[str]) -> str:
    """The file of an option, or its files: names, and what they hold in a word."""
    return ", ".join(_held(str(one)) for one in (named if isinstance(named, list) else [named]))


def _held(location: str) -> str:
    """A file's name and what it holds in a word; where there is none, its location."""
    place = location if shards.is_url(location) else str(Path(location).expanduser())
    if Path(place).is_dir():
        return location
    content = _content(place, *shards.size_and_modified(place))
    public = shards.public(location)
    return PurePosixPath(public).name + content if content else public


@functools.cache
def _content(location: str, size: int | None, modified: int | str | None) -> str:
    """Read once as long as the file's size and time stay the same."""
    crc = shards.crc32_of(location)
    return "" if crc is None else f" (crc32 {crc:08x})"


def fingerprint(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The first differences between two identities, for people."""
    changes = []
    for name in sorted(set(old) | set(new)):
        if old.get(name) != new.get(name):
            changes.append(f"{name.replace('_', '-')} was {old.get(name)!r}, now {new.get(name)!r}")
    return "; ".join(changes[:3]) + ("; ..." if len(changes) > 3 else "")


def stats_location(target: str) -> str:
    return shards.stem(target) + ".stats.json"


def targets(sources: list[str], output: str) -> list[str]:
    """Where each input shard's output goes.

    ``output`` is ``-``, a folder or remote prefix (shards keep their names), one ``.tar`` for
    one input, or a pattern holding ``%06d`` or ``{index}`` (shard number) or ``{name}`` (the
    input's name without .tar).

    Raises:
        UsageError: two inputs would be written to the same place, or over an input or its notes.
    """
    if output == "-":
        return ["-"] * len(sources)
    _plain_tar(output)
    places = []
    for index, source in enumerate(sources):
        name = input_name(source)
        target = _from_pattern(output, index, name)
        if target is None and output.endswith(".tar"):
            target = output
        elif target is None:
            target = output.rstrip("/") + f"/{name}.tar"
        places.append(target)
    first: dict[str, str] = {}
    inputs = {part for source in sources for part in shards.parts(source)}
    files: set[tuple[int, int] | None] = set()  # looked up when the first output is there already
    real = functools.cache(os.path.realpath)
    noted = {_notes(part, real): part for part in inputs}
    for source, target in zip(sources, places, strict=True):
        if target in first:
            raise UsageError(
                f"{first[target]} and {source} would both be written to {target}; give a pattern "
                "with a number, such as -o out/%06d.tar"
            )
        first[target] = source
        there = _file(target)
        if there is not None and not files:
            files = {_file(part) for part in inputs}
        if target in inputs or (there is not None and there in files):
            raise UsageError(f"{target} is also an input; write to another folder")
        if (packed := noted.get(_notes(target, real))) is not None:
            raise UsageError(
                f"{target} would have the notes of its input {shards.public(packed)} "
                f"({PurePosixPath(stats_location(target)).name}); write to another folder"
            )
    return places


def _notes(archive: str, real: Callable[[str], str]) -> str:
    """What the files beside an archive begin with, whatever its folder is called here."""
    stem = shards.stem(archive)
    folder, name = os.path.split(stem)
    return stem if shards.is_url(stem) else f"{real(folder)}/{name}"


def _plain_tar(output: str) -> None:
    """Refuse an output whose name asks for what is not written (it would become a folder)."""
    if shards.is_tar(output) and not output.endswith(".tar"):
        raise UsageError(f"{output}: shards are written as plain .tar; end the name so")
    pattern = re.search(r"%\d*d|\{.*\}", output)
    if not output.endswith(".tar") and not pattern and not shards.is_url(output):
        shards.refuse_file_name(output, "shards")


def _from_pattern(output: str, index: int, name: str) -> str | None:
    """A pattern filled in; None where ``output`` is none.

    Raises:
        UsageError: it cannot be filled in, or what comes of it does not end in .tar.
    """
    filled = output
    try:
        if re.search(r"%\d*d", output):
            filled = filled % index
        if re.search(r"\{.*\}", output):
            filled = filled.format(name=name, index=index)
    except (TypeError, ValueError, LookupError, AttributeError):
        raise UsageError(
            f"{output}: a pattern holds one number, as shard-%06d.tar or shard-{{index:06d}}.tar, "
            "or the input's {name}.tar"
        ) from None
    if filled == output:
        return None
    if not filled.endswith(".tar"):
        raise UsageError(f"{output}: an output shard's name must end in .tar")
    return filled


def _file(location: str) -> tuple[int, int] | None:
    """What tells a local file from all others, whatever its name; None where there is none."""
    if location == "-" or shards.is_url(location):
        return None
    with contextlib.suppress(OSError):
        status = Path(location).stat()
        return status.st_dev, status.st_ino
    return None


def input_name(source: str) -> str:
    """The name of an input shard without folder and suffix; ``stdin`` for ``-``."""
    first = shards.parts(source)[0]
    if first == "-":
        return "stdin"
    name = PurePosixPath(first.partition("?")[0] if shards.is_url(first) else first).name
    return shards.without_suffix(name)


def limited(
    tasks: list[Task], limit: int | None, results: Callable[[str], Iterable[Any]] = shards.scan
) -> list[Task]:
    """The tasks cut to the first ``limit`` samples of the run, whatever the engine or order;
    ``results`` gives one item for each sample that comes of an input shard.

    Raises:
        UsageError: nobody knows how many are left for what comes after standard input.
    """
    if limit is None:
        return tasks
    kept = []
    left = limit
    for task in tasks:
        if left <= 0:
            break
        if shards.parts(task.source)[0] == "-":
            if task != tasks[-1]:
                raise UsageError(
                    "--limit: how many samples standard input has is known at its end; give - as "
                    "the last input"
                )
            kept.append(dataclasses.replace(task, limit=left))
            break
        count = 0
        for _ in results(task.source):
            count += 1
            if count > left:
                break
        cut = left if count > left else None
        kept.append(dataclasses.replace(task, limit=cut))
        left -= count
    return kept


def sliced(tasks: tuple[Task, ...], part: str | None) -> tuple[Task, ...]:
    """Every n-th task, for ``--slice i/n`` (i from 0)."""
    if part is None:
        return tasks
    try:
        number, of = (int(piece) for piece in part.split("/"))
        if not 0 <= number < of:
            raise ValueError
    except ValueError:
        raise UsageError(f"--slice {part}: expected i/n with 0 <= i < n, as in 0/4") from None
    return tasks[number::of]


@cache
def versions() -> dict[str, str]:
    """Versions of this program and of the packages results may depend on."""
    from importlib.metadata import PackageNotFoundError, version

    by_package = {"socialcli": __version__}
    for package in _RECORDED:
        try:
            by_package[package] = version(package)
        except PackageNotFoundError:
            continue
    return by_package


@dataclass
class Stats:
    """What is known about one finished output shard; also the sum over many."""

    counts: dict[str, int] = field(
        default_factory=lambda: {"total": 0, "ok": 0, "filtered": 0, "failed": 0, "damaged": 0}
    )
    seconds: float = 0.0
    bytes: int = 0
    skipped: int = 0  # shards that were finished before this run
    tasks: int = 0

    def add(self, other: Stats) -> None:
        for name, value in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + value
        self.seconds += other.seconds
        self.bytes += other.bytes
        self.skipped += other.skipped
        self.tasks += other.tasks

    @property
    def error_rate(self) -> float:
        bad = self.counts["failed"] + self.counts["damaged"]
        return bad / max(1, self.counts["total"] + self.counts["damaged"])


def load_stats(target: str, refuse_others: bool = False) -> dict[str, Any] | None:
    """The stats file of an output shard, None if the shard is not finished, or the file is none of
    ours: those of other programs may have its name too.

    Args:
        refuse_others: where it is another output's, which would lose it.

    Raises:
        UsageError: it is; one line that names both.
    """
    data = shards.read_bytes(stats_location(target))
    if data is None:
        return None
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not _is_stats(body):
        return None
    if shards.size(target) == body["output"].get("bytes"):
        return body
    if refuse_others:
        _refuse_others(target, str(body["output"].get("location", "")).rpartition("/")[2])
    return None


def _refuse_others(target: str, made: str) -> None:
    """Refuse what is to be made where its stats are those of ``made``: pictures are there as files
    and are to be shards, or the other way round."""
    folder, slash, name = target.rpartition("/")
    other = f"{folder}{slash}{made}"
    if made == name or shards.stem(other) != shards.stem(target) or shards.size(other) is None:
        return
    raise UsageError(
        f"{shards.public(target)} would replace the notes of {made} beside it "
        f"({PurePosixPath(stats_location(target)).name}); give another --output"
    )


def _is_stats(body: Any) -> bool:
    kinds = {"output": dict, "counts": dict, "identity": dict, "timing": dict, "input": list}
    if not isinstance(body, dict) or any(not isinstance(body.get(n), k) for n, k in kinds.items()):
        return False
    return all(isinstance(body["counts"].get(name), int) for name in Stats().counts)


def places(plan: Plan) -> Iterator[str]:
    """Every archive that the plan reads, and every shard that it writes."""
    for task in plan.tasks:
        yield task.target
        if not plan.numbered:
            yield from shards.parts(task.source)


def collected(plan: Plan) -> Stats:
    """The totals of a run, recomputed from the stats files on disk."""
    total = Stats()
    with shards.listed(places(plan)):
        for task in plan.tasks:
            body = load_stats(task.target)
            if body is not None:
                seconds, size = body["timing"]["seconds"], body["output"]["bytes"]
                total.add(Stats(dict(body["counts"]), seconds, size, 0, 1))
    return total


SCANNED = 2**31  # bytes of shards that are looked through just to know how many samples will come
FETCHED = 2**26  # the same of shards in a store, where a request counts as `REQUEST` bytes
REQUEST = 2**20


def counted(location: str) -> Iterable[Any]:
    """One item for each sample of the first archive of a shard or join.

    Their number is known from the stats file beside it where this program wrote it, else its
    headers are read, as far as they are asked for.
    """
    source = shards.parts(location)[0]
    known = _noted(source)
    return shards.scan(source) if known is None else range(known)


def samples(locations: list[str], limit: int | None = None) -> int | None:
    """How many samples shards have, for a progress bar; None where it costs too much to know.

    See `counted`; headers are read while the shards are small.
    """
    total, allowed = 0, {False: SCANNED, True: FETCHED}
    for location in locations:
        source = shards.parts(location)[0]
        if source == "-":  # what is read of it is gone
            return None
        remote = shards.is_url(source)
        allowed[remote] -= REQUEST if remote else 0
        if allowed[remote] < 0:
            return None
        known = _noted(source)
        if known is None:
            size = shards.size(source)
            if size is None or size > allowed[remote]:
                return None
            allowed[remote] -= size
            known = sum(1 for _ in shards.scan(source))
        total += known
    return total if limit is None else min(total, limit)


def _noted(shard: str) -> int | None:
    """How many samples a finished shard holds by the stats beside it; None where none are, or they
    do not say. Failed samples are passed through only as far as their stage had something to
    pass."""
    stats = None
    with contextlib.suppress(SocialcliError):  # only the shard itself may be ours to read
        stats = load_stats(shard)
    if stats is None:
        return None
    counts, run = stats["counts"], stats.get("identity", {})
    if run.get("sidecar"):
        return int(counts["total"])
    if counts["failed"] and run.get("on_error") != "drop":
        return None
    return int(counts["ok"])


def expected(plan: Plan, tasks: list[Task]) -> int | None:
    """How many samples the tasks will make, for the progress bar; None where it costs too much."""
    if plan.numbered:
        ranges = [task.source.split(":") for task in tasks]
        return sum(int(last) - int(first) for first, last in ranges)
    limited = sum(task.limit for task in tasks if task.limit is not None)
    whole = [task.source for task in tasks if task.limit is None]
    each = stage(plan).each(config(plan))
    if each is None and whole:
        return None
    known = samples(whole)
    return None if known is None else limited + (each or 1) * known


def entry_tasks(count: int, shard_size: int, output: str) -> Iterator[Task]:
    """Tasks of an import: ``count`` entries in shards of ``shard_size``."""
    _plain_tar(output)
    for index, start in enumerate(range(0, count, shard_size)):
        stop = min(start + shard_size, count)
        target = "-" if output == "-" else _from_pattern(output, index, f"{index:06d}")
        if target is None and output.endswith(".tar"):
            target = output if count <= shard_size else output[:-4] + f"-{index:06d}.tar"
        elif target is None:
            target = output.rstrip("/") + f"/{index:06d}.tar"
        yield Task(index, f"{start}:{stop}", target)
