"""Work that runs behind the main thread: checksums, writing, syncing, each in order on a thread.

All three release the interpreter while they run, so that reading the next sample overlaps with
them. Backlogs are bounded: memory stays flat, and a slow disk slows the reader down.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

CHUNK = 2**22  # bytes handed over at once; less than that is not worth a thread
_PARTS = 512  # buffers handed over at once: the system takes 1024
_SYNCED = 2**25  # bytes after which what is written is sent to the disk already


class Behind:
    """Calls in order on one thread; `do` waits while ``depth`` calls are pending.

    An exception of a call is raised by a later `do` or `wait`.
    """

    def __init__(self, depth: int = 2) -> None:
        self.depth = depth
        self.pending: deque[Future[Any]] = deque()
        self.pool = ThreadPoolExecutor(1)

    def do(self, function: Callable[..., Any], *arguments: Any) -> None:
        while len(self.pending) >= self.depth:
            self.pending.popleft().result()
        self.pending.append(self.pool.submit(function, *arguments))

    def wait(self) -> None:
        while self.pending:
            self.pending.popleft().result()

    def close(self) -> None:
        """Wait for what is pending; its exceptions are dropped."""
        self.pool.shutdown(wait=True)
        self.pending.clear()


class WriteBehind:
    """An open file that is written on a thread, and with ``syncs`` synced on one as it grows."""

    def __init__(self, file: BinaryIO, syncs: bool = True) -> None:
        self.file, self.syncs = file, syncs
        self.held: list[bytes] = []
        self.size = self.unsynced = 0
        self.writer: Behind | None = None
        self.syncer: Behind | None = None

    def write(self, data: bytes) -> int:
        if data:
            self.held.append(bytes(data))  # no copy of bytes; of what the caller may change, one
            self.size += len(data)
            if self.size >= CHUNK or len(self.held) >= _PARTS:
                self._hand_over()
        return len(data)

    def _hand_over(self) -> None:
        if self.writer is None:
            self.writer = Behind()
        self.writer.do(self._put, self.held, self.size)
        self.held, self.size = [], 0

    def _put(self, parts: list[bytes], left: int) -> None:
        views = [memoryview(part) for part in parts]
        self.unsynced += left
        while left:
            done = os.writev(self.file.fileno(), views)
            left -= done
            while left and done >= len(views[0]):
                done -= len(views.pop(0))
            if left:  # cut short: a disk nearly full, or a signal
                views[0] = views[0][done:]
        if self.syncs and self.unsynced >= _SYNCED:
            self.unsynced = 0
            if self.syncer is None:
                self.syncer = Behind(depth=1)
            self.syncer.do(os.fsync, self.file.fileno())

    def finish(self, synced: bool = True) -> None:
        """Write what is held and close; return when all of it is on the disk, if ``synced``."""
        if self.writer is not None:
            self.writer.wait()
        if self.held:
            self._put(self.held, self.size)
            self.held, self.size = [], 0
        if self.syncer is not None:
            self.syncer.wait()
        if synced:
            os.fsync(self.file.fileno())
        self.close()

    def close(self) -> None:
        for behind in (self.writer, self.syncer):
            if behind is not None:
                behind.close()
        self.writer = self.syncer = None
        self.held = []
        self.file.close()
