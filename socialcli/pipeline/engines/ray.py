"""Run on a Ray cluster: actors that hold the models, shards handed out as actors become free.

Only plain data crosses between machines (the plan as JSON, a task's fields, counts, messages), so
nothing of a stage is ever pickled. Every node needs socialcli installed and must see the shards
under the same names: a shared file system, or URLs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from socialcli import __version__, shards
from socialcli.errors import MissingPackage, SocialcliError, UsageError
from socialcli.pipeline import plan as planning
from socialcli.pipeline.engines import Engine
from socialcli.pipeline.engines._ray_actors import SAID_EVERY, Ear, Hand
from socialcli.pipeline.plan import Plan, Stats, Task
from socialcli.pipeline.report import Report

OPTIONS = {
    "address": "cluster to connect to: auto, HOST:PORT or ray://HOST:PORT",
    "cpus": "CPUs an actor reserves (default 0.5, less when the cluster is small)",
    "gpus": "GPUs an actor reserves (default 1 with --device cuda, else 0)",
}
VISIBLE_WITHIN = 30.0  # seconds a network file system may take to show a finished shard
# What Ray puts behind its folder for its longest socket, with the longest process number.
_SOCKET = len("/ray/session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store")
PATIENCE = 30.0  # seconds before we say why no actor has started


class RayEngine(Engine):
    """See `Engine`."""

    def run(self, plan: Plan, tasks: list[Task], options: dict[str, str], report: Report) -> Stats:
        """Every task, on ``plan.workers`` actors; returns their summed stats.

        Connects to ``options["address"]`` or $RAY_ADDRESS, else starts Ray on this machine for as
        long as the run takes.

        Raises:
            MissingPackage: Ray is not installed.
            UsageError: an unknown option, or a pipe as input or output.
            SocialcliError: no cluster there, a shard could not be made, an actor died twice on one,
                or what an actor wrote cannot be seen from here.
        """
        numbers = _check(tasks, options)
        try:
            import ray
        except ImportError:
            raise MissingPackage("Ray", "ray") from None
        started_here = not ray.is_initialized()
        with contextlib.ExitStack() as stack:
            try:
                if started_here:
                    address = options.get("address") or os.environ.get("RAY_ADDRESS")
                    _connect(ray, address, report, stack)
                return _Actors(ray, plan, tasks, numbers, report).run()
            except SystemExit:
                sys.exit(143)  # SIGTERM; an exit while Ray starts or waits loses its code
            finally:
                if started_here:
                    ray.shutdown()


def _check(tasks: list[Task], options: dict[str, str]) -> dict[str, float]:
    """The numbers among the options, once everything the user asked for makes sense."""
    for name in options:
        if name not in OPTIONS:
            raise UsageError(f"--engine-option {name}: ray knows {', '.join(OPTIONS)}")
    for task in tasks:
        if task.target == "-" or "-" in shards.parts(task.source):
            raise UsageError("--engine ray: a pipe ends on this machine; give shard files or URLs")
    numbers = {}
    for name in ("cpus", "gpus"):
        if name in options:
            try:
                numbers[name] = float(options[name])
                if not 0 <= numbers[name] < 1e6:
                    raise ValueError
            except ValueError:
                text = f"--engine-option {name}={options[name]}: expected a number from 0"
                raise UsageError(text) from None
    return numbers


def _connect(ray: Any, address: str | None, report: Report, stack: contextlib.ExitStack) -> None:
    """Join the cluster at ``address``, or start one here when there is none given; ``stack`` then
    removes what is left of it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Worker output would go to our stdout, which carries data only; actors report by themselves.
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    here = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if here else None
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            report.info("ray: no address given, so Ray is started on this machine")
            folder = _short_folder(stack)
            more = {} if folder is None else {"_temp_dir": folder}
            ray.init(address="local", include_dashboard=False, **quiet, **more)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        token = "; if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
        raise SocialcliError(
            f"ray: no cluster at {address}: {_last_line(error)}{token}"
            if address
            else f"ray: it does not start on this machine: {_last_line(error)}"
        ) from None
    finally:
        if before is not None:  # Ray puts its own handler there
            signal.signal(signal.SIGTERM, before)


def _short_folder(stack: contextlib.ExitStack) -> str | None:
    """A folder for Ray's sockets where the usual one has too long a name; None where it has not.

    Schedulers give jobs a TMPDIR of their own, and a socket's path may have 107 bytes.
    """
    usual = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(os.fsencode(usual)) + _SOCKET <= 107:
        return None
    try:
        folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    except OSError as error:
        raise SocialcliError(
            f"ray: {usual} is too long a name for its sockets, and /tmp cannot be used "
            f"({error.strerror}); set RAY_TMPDIR to a folder of at most {107 - _SOCKET} characters"
        ) from None
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


@dataclasses.dataclass
class _Member:
    actor: Any
    task: Task | None = None
    ready: bool = False


class _Actors:
    """Hands out tasks; an actor that dies is replaced, and its task tried once more."""

    def __init__(
        self, ray: Any, plan: Plan, tasks: list[Task], numbers: dict[str, float], report: Report
    ) -> None:
        self.ray, self.report = ray, report
        # Ray shows each actor its own GPUs only, so that all of them are called "cuda" there.
        on_gpu = str(plan.config.get("device", "")).startswith("cuda")
        self.plan = dataclasses.replace(
            plan, config={**plan.config, "device": "cuda"} if on_gpu else plan.config
        )
        self.todo = deque(tasks)
        self.left = len(tasks)
        self.number = min(plan.workers, len(tasks))
        self.died: dict[int, int] = {}
        self.busy: dict[Any, _Member] = {}  # what an actor will answer -> the actor
        self.total = Stats()
        cluster = ray.cluster_resources()
        if cluster.get("GPU") and not on_gpu and "device" in plan.config:
            report.info("ray: the cluster has GPUs; --device cuda makes use of them")
        # Whole CPUs could leave actors waiting for ever on a small cluster; a fraction cannot.
        share = min(0.5, cluster.get("CPU", 1.0) / (2 * self.number))
        self.needs = {
            "num_cpus": numbers.get("cpus", round(max(share, 0.01), 4)),
            "num_gpus": numbers.get("gpus", 1.0 if on_gpu else 0.0),
        }

    def run(self) -> Stats:
        self.ear = self.ray.remote(Ear).options(num_cpus=0).remote()
        started, heard_of_one = time.monotonic(), False
        try:
            for _ in range(self.number):
                self._start()
            while self.left:
                done, _ = self.ray.wait(list(self.busy), timeout=SAID_EVERY)
                self._relay()
                for reference in done:
                    self._hear(reference, self.busy.pop(reference))
                heard_of_one = heard_of_one or any(m.ready for m in self.busy.values())
                if not heard_of_one and time.monotonic() - started > PATIENCE:
                    self._say_what_is_missing()
        finally:
            for member in self.busy.values():
                self._kill(member)
            self._kill(_Member(self.ear))
        return self.total

    def _start(self) -> None:
        remote = self.ray.remote(Hand).options(scheduling_strategy="SPREAD", **self.needs)
        member = _Member(remote.remote(self.ear))
        reference = member.actor.load.remote(self.plan.to_json(), str(Path.cwd()), __version__)
        self.busy[reference] = member

    def _relay(self) -> None:
        with contextlib.suppress(self.ray.exceptions.RayError):
            for kind, *rest in self.ray.get(self.ear.hear.remote()):
                getattr(self.report, kind)(*rest)

    def _hear(self, reference: Any, member: _Member) -> None:
        try:
            kind, *rest = self.ray.get(reference)
        except self.ray.exceptions.RayActorError as error:
            self._died(member, _last_line(error))
            return
        except self.ray.exceptions.RayError as error:
            raise SocialcliError(f"ray: {_last_line(error)}") from None
        if kind == "error":
            failed = SocialcliError(rest[0])
            failed.exit_code = rest[1]
            raise failed
        if member.task is not None:
            stats = Stats(**rest[0])
            _must_be_visible(member.task, stats)
            self.total.add(stats)
            self.left -= 1
        member.ready = True
        member.task = self.todo.popleft() if self.todo else None
        if member.task is not None:
            self.busy[member.actor.do.remote(dataclasses.asdict(member.task))] = member
        else:
            self._kill(member)  # its models' memory is wanted elsewhere

    def _died(self, member: _Member, why: str) -> None:
        task = member.task
        if task is None:
            if not self.busy:
                raise SocialcliError(
                    f"ray: no actor lived long enough to take a shard ({why}); is socialcli "
                    "installed on every node, and is there memory for the models?"
                )
            self.report.warn(f"ray: an actor died while it loaded its models ({why})")
            return
        self.died[task.index] = self.died.get(task.index, 0) + 1
        if self.died[task.index] > 1:
            raise SocialcliError(
                f"{task.source}: two actors died on this shard ({why}); is the node out of "
                "memory? Try fewer --workers"
            )
        self.report.warn(f"{task.source}: its actor died; trying this shard once more")
        self.todo.appendleft(task)
        self._start()

    def _say_what_is_missing(self) -> None:
        free = self.ray.available_resources()
        self.report.warn_once(
            f"ray: no actor is ready yet; each needs {self.needs['num_cpus']:g} CPUs and "
            f"{self.needs['num_gpus']:g} GPUs, free are {free.get('CPU', 0):g} CPUs and "
            f"{free.get('GPU', 0):g} GPUs (still waiting)"
        )

    def _kill(self, member: _Member) -> None:
        with contextlib.suppress(Exception):
            self.ray.kill(member.actor)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def _must_be_visible(task: Task, stats: Stats) -> None:
    """What an actor wrote on a disk of its own would be lost to everybody else."""
    until = time.monotonic() + VISIBLE_WITHIN
    while shards.size(task.target) != stats.bytes or planning.load_stats(task.target) is None:
        if time.monotonic() > until:
            raise SocialcliError(
                f"{task.target} was written by a node but is not here; with --engine ray the "
                "output must be on a file system that all nodes share, or a URL"
            )
        time.sleep(0.2)
