"""Run on this machine: in this process, or in N worker processes with one model copy each."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from multiprocessing.connection import Connection, wait
from typing import Any

from socialcli import shards
from socialcli.errors import SocialcliError, UsageError
from socialcli.pipeline import shard
from socialcli.pipeline.engines import Engine
from socialcli.pipeline.plan import Plan, Stats, Task
from socialcli.pipeline.report import Report


class LocalEngine(Engine):
    """See `Engine`."""

    def run(self, plan: Plan, tasks: list[Task], options: dict[str, str], report: Report) -> Stats:
        """Every task; returns their summed stats.

        Raises:
            UsageError: an option, of which this engine has none. SocialcliError: a shard could not
                be read or written, or a worker died twice on one.
        """
        for name in options:
            raise UsageError(
                f"--engine-option {name}: the local engine has no options; say --engine slurm or "
                "ray with it, or use --workers and --threads"
            )
        if plan.workers <= 1 or len(tasks) <= 1 or any(t.target == "-" for t in tasks):
            return _here(plan, tasks, report)
        return _Workers(plan, tasks, report).run()


def _here(plan: Plan, tasks: list[Task], report: Report) -> Stats:
    """One shard after the other; each is synced and published while the next is being made."""
    loaded = shard.load_models(plan)
    total = Stats()
    behind = shards.Behind(depth=1)
    try:
        for task in tasks:
            publish = shard.make(plan, task, loaded, report)
            try:
                behind.do(lambda publish=publish: total.add(publish()))
            except BaseException:  # the shard before could not be published, or an interrupt
                with contextlib.suppress(Exception):
                    publish()  # this one is whole: keep it, or let it clear its own file away
                raise
        behind.wait()
    finally:
        behind.close()  # an interrupted run still finishes the shard that was all there
    return total


def device_of(config: dict[str, Any], worker: int) -> dict[str, Any]:
    """The configuration of one worker: with ``cuda``, GPUs are dealt out in turn."""
    if config.get("device") != "cuda":
        return config
    import torch

    count = torch.cuda.device_count()
    return {**config, "device": f"cuda:{worker % count}"} if count > 1 else config


class _Relay(Report):
    """A worker's report: everything goes to the parent, which owns the terminal."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(quiet=True)
        self.connection = connection

    def send(self, *message: Any) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def advance(self, samples: int) -> None:
        self.send("advance", samples)

    def shard(self, shard: str, counts: dict[str, int], seconds: float) -> None:
        self.send("shard", shard, counts, seconds)

    def info(self, message: str, **facts: Any) -> None:
        self.send("info", message)

    def warn(self, message: str, **facts: Any) -> None:
        self.send("warn", message)

    def warn_once(self, message: str) -> None:
        self.send("warn_once", message)  # once of all workers


def _worker(number: int, plan: Plan, connection: Connection) -> None:
    """Body of a worker process: load the models once, then do tasks until told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent acts
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    threading.Thread(target=_die_with_parent, daemon=True).start()
    report = _Relay(connection)
    try:
        plan = dataclasses.replace(plan, config=device_of(plan.config, number))
        loaded = shard.load_models(plan)
        report.send("ready")
        while (task := _next_task(connection)) is not None:
            stats = shard.run(plan, task, loaded, report)
            report.send("done", stats)
    except SocialcliError as error:
        report.send("error", str(error), error.exit_code)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"
        report.send("error", text, 1)
    finally:
        shards.discard_unfinished()


def _next_task(connection: Connection) -> Task | None:
    """The next task; None when there is none, or nobody any more to give one."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


def _die_with_parent() -> None:
    """A worker whose parent was killed must not go on writing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@dataclasses.dataclass
class _Hand:
    process: Any
    connection: Connection
    task: Task | None = None
    number: int = 0


class _Workers:
    """Hands out tasks; a worker that dies is replaced, and its task tried once more."""

    def __init__(self, plan: Plan, tasks: list[Task], report: Report) -> None:
        self.plan, self.report = plan, report
        self.todo = deque(tasks)
        self.left = len(tasks)
        self.died: dict[int, int] = {}
        self.hands: list[_Hand] = []
        self.total = Stats()
        self.context = multiprocessing.get_context("spawn")

    def run(self) -> Stats:
        try:
            for number in range(min(self.plan.workers, len(self.todo))):
                self._start(number)
            while self.left:
                ready = wait([h.connection for h in self.hands])
                for hand in [h for h in self.hands if h.connection in ready]:
                    self._hear(hand)
        finally:
            for hand in self.hands:
                self._stop(hand)
        return self.total

    def _start(self, number: int) -> None:
        our_end, worker_end = self.context.Pipe()
        process = self.context.Process(
            target=_worker, args=(number, self.plan, worker_end), daemon=True
        )
        # Held back until the worker is there, and never let through to it: Ctrl-C reaches the
        # whole group, also a worker that is still importing and would die with a traceback.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        worker_end.close()
        self.hands.append(_Hand(process, our_end, None, number))

    def _hear(self, hand: _Hand) -> None:
        try:
            kind, *rest = hand.connection.recv()
        except (EOFError, OSError):
            self._died(hand)
            return
        if kind == "done":
            self.total.add(rest[0])
            self.left -= 1
            hand.task = None
        elif kind == "error":
            error = SocialcliError(rest[0])
            error.exit_code = rest[1]
            raise error
        elif kind != "ready":
            getattr(self.report, kind)(*rest)
            return
        hand.task = self.todo.popleft() if self.todo else None
        with contextlib.suppress(OSError):
            hand.connection.send(hand.task)

    def _died(self, hand: _Hand) -> None:
        self.hands.remove(hand)
        hand.process.join()
        task = hand.task
        if task is None:
            if self.left and not self.hands:
                raise SocialcliError(
                    f"a worker ended (exit code {hand.process.exitcode}) before its first shard"
                )
            return
        self.died[task.index] = self.died.get(task.index, 0) + 1
        if self.died[task.index] > 1:
            raise SocialcliError(
                f"{task.source}: the worker was killed twice on this shard (exit code "
                f"{hand.process.exitcode}); is the machine out of memory? Try fewer --workers"
            )
        self.report.warn(f"{task.source}: its worker was killed; trying this shard once more")
        self.todo.appendleft(task)
        self._start(hand.number)

    def _stop(self, hand: _Hand) -> None:
        hand.connection.close()
        if hand.process.is_alive() and (hand.task is not None or self.left):
            hand.process.terminate()
        hand.process.join(10)
        if hand.process.is_alive():
            hand.process.kill()
            hand.process.join()
