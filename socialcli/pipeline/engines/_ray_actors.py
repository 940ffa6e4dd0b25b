"""What runs inside Ray's actors, on whichever node Ray chose: the hands that make shards, and the
ear that keeps what they say until the driver asks for it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from typing import Any

from socialcli import __version__
from socialcli.errors import SocialcliError
from socialcli.pipeline import shard
from socialcli.pipeline.plan import Plan, Task
from socialcli.pipeline.report import Report

SAID_EVERY = 0.3  # seconds between two relays of progress


class Ear:
    """An actor that keeps what the others say until the driver asks for it."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def tell(self, messages: list[tuple[Any, ...]]) -> None:
        self.heard += messages

    def hear(self) -> list[tuple[Any, ...]]:
        heard, self.heard = self.heard, []
        return heard


class Relay(Report):
    """An actor's report: said to the ear, a few times a second at most."""

    def __init__(self, ear: Any) -> None:
        super().__init__(quiet=True)
        self.ear = ear
        self.samples = 0
        self.waiting: list[tuple[Any, ...]] = []
        self.said = time.monotonic()
        self.last: Any = None  # what the ear will answer to the latest messages
        self.lock = threading.Lock()

    def _add(self, *message: Any) -> None:
        with self.lock:
            self.waiting.append(message)
        self.flush(SAID_EVERY)

    def flush(self, since: float = 0.0) -> Any:
        """Say what has gathered, if the last time was ``since`` seconds ago.

        Returns what can be waited for until the ear has all that was said so far; None before
        anything was.
        """
        with self.lock:
            if time.monotonic() - self.said < since:
                return self.last
            messages, self.waiting = self.waiting, []
            if self.samples:
                messages.append(("advance", self.samples))
            self.samples, self.said = 0, time.monotonic()
            if messages:  # calls of one actor to another arrive in their order
                self.last = self.ear.tell.remote(messages)
            return self.last

    def advance(self, samples: int) -> None:
        with self.lock:
            self.samples += samples
        self.flush(SAID_EVERY)

    def shard(self, shard: str, counts: dict[str, int], seconds: float) -> None:
        self._add("shard", shard, counts, seconds)

    def info(self, message: str, **facts: Any) -> None:
        self._add("info", message)

    def warn(self, message: str, **facts: Any) -> None:
        self._add("warn", message)

    def warn_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._add("warn_once", message)


class Hand:
    """An actor with one copy of the models. Every method returns ("error", line, exit code) or
    ("ok", result), so that no exception has to travel."""

    def __init__(self, ear: Any) -> None:
        self.report = Relay(ear)

    def load(self, plan: str, folder: str, version: str) -> tuple[Any, ...]:
        """Become ready for the tasks of a plan whose relative paths start at ``folder``."""
        return self._said(self._load, plan, folder, version)

    def do(self, task: dict[str, Any]) -> tuple[Any, ...]:
        """One task; the result is its stats as a dict."""
        return self._said(self._do, task)

    def _load(self, plan: str, folder: str, version: str) -> None:
        node = os.uname().nodename
        if version != __version__:
            raise SocialcliError(
                f"node {node} has socialcli {__version__}, this machine {version}; install the "
                "same version everywhere"
            )
        try:
            os.chdir(folder)
        except OSError as error:
            raise SocialcliError(
                f"node {node} cannot enter {folder} ({error.strerror}); run from a folder that "
                "every node shares"
            ) from None
        self.plan = Plan.from_json(plan)
        self.loaded = shard.load_models(self.plan)

    def _do(self, task: dict[str, Any]) -> dict[str, Any]:
        stats = shard.run(self.plan, Task(**task), self.loaded, self.report)
        return dataclasses.asdict(stats)

    def _said(self, function: Any, *args: Any) -> tuple[Any, ...]:
        import ray

        try:
            result: tuple[Any, ...] = ("ok", function(*args))
        except SocialcliError as error:
            result = ("error", str(error), error.exit_code)
        except Exception as error:
            result = ("error", f"{type(error).__name__}: {error}", 1)
        last = self.report.flush()
        if last is not None:  # the driver reads the ear after our result, so it must be there
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(last)
        return result
