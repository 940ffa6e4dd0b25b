"""How long a call takes, in a unit of the machine and of the moment that it runs in."""

from __future__ import annotations

import time
from collections.abc import Callable


def loops(call: Callable[[], object]) -> float:
    """Processor time of ``call()`` over that of a plain Python loop of a million steps.

    A bound in seconds says as much of the machine as of the code. The loop is timed on both sides
    of the call, and the slower of the two counts: a neighbour may come or go in between. It is
    0.02 to 0.06 seconds.
    """
    before = _loop()
    started = time.process_time()
    call()
    spent = time.process_time() - started
    return spent / max(before, _loop())


def _loop() -> float:
    started, odd = time.process_time(), 0
    for step in range(1_000_000):
        odd += step & 1
    return time.process_time() - started
