"""What a run says while it works: a progress bar for people, JSON lines for machines, on stderr."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from socialcli.shards.urls import public_text


class Report:
    """Messages and progress of one process. stdout is never touched: it carries data only.

    ``quiet`` leaves warnings; ``mute`` leaves nothing, for a process beside one that says it all.
    """

    def __init__(self, log_json: bool = False, quiet: bool = False, mute: bool = False) -> None:
        self.log_json = log_json and not mute
        self.quiet = quiet or mute
        self.mute = mute
        self._bar: Any = None
        self._said: set[str] = set()

    @property
    def has_bar(self) -> bool:
        """Whether somebody watches: a terminal, and neither --quiet nor --log-json."""
        return not self.log_json and not self.quiet and sys.stderr.isatty()

    def start(self, what: str, total: int | None) -> None:
        """Begin progress over ``total`` samples (None: not known)."""
        if self.log_json:
            self._json("start", what, total=total)
        elif self.has_bar:
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=what, unit="sample", file=sys.stderr, leave=True)

    def advance(self, samples: int) -> None:
        if self._bar is not None:
            self._bar.update(samples)

    def shard(self, shard: str, counts: dict[str, int], seconds: float) -> None:
        """One shard has been published."""
        if self.log_json:
            self._json("shard", shard, counts=counts, seconds=round(seconds, 3))

    def info(self, message: str, **facts: Any) -> None:
        if self.log_json:
            self._json("info", message, **facts)
        elif not self.quiet:
            self._line(message)

    def warn(self, message: str, **facts: Any) -> None:
        if self.mute:
            return
        if self.log_json:
            self._json("warning", message, **facts)
        else:
            self._line(f"warning: {message}")

    def warn_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self.warn(message)

    def line(self, message: str) -> None:
        """One plain line, whatever was asked to be quiet."""
        self._line(message)

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _line(self, text: str) -> None:
        text = one_line(public_text(text))
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def _json(self, event: str, message: str, **facts: Any) -> None:
        line = {
            "time": round(time.time(), 3),
            "event": event,
            "message": public_text(message),
            **facts,
        }
        print(json.dumps(line, ensure_ascii=False), file=sys.stderr, flush=True)


def one_line(text: str) -> str:
    """Control characters escaped, so that a hostile key cannot write on somebody's terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
