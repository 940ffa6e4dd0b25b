"""A remote file read from front to back as ranges, of which several are fetched at once."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

FIRST, LARGEST = 1 << 20, 8 << 20  # bytes of a range
AT_ONCE = 8  # ranges fetched ahead of the reader


class Ranges:
    """The bytes of an fsspec file in order, fetched ahead on threads.

    One connection to a distant store gives a part of what the line carries, and none while its
    answer is waited for. The first range is small and fetched alone, so that who wants only the
    first sample fetches little; each range is twice as long as the one before, up to `LARGEST`.

    Args:
        file: a buffered fsspec file whose ``size`` is known.

    Raises:
        OSError: while reading, where the store gives fewer bytes than there are.
    """

    def __init__(self, file: Any) -> None:
        self._file, self._size = file, int(file.size)
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ranges")
        self._ahead: deque[Future[bytes]] = deque()
        self._asked, self._length = 0, FIRST
        self._have, self._position = b"", 0

    def read(self, count: int = -1) -> bytes:
        """Up to ``count`` bytes, fewer at the end only; all that is left for -1."""
        pieces = []
        while count != 0:
            if self._position == len(self._have) and not self._next():
                break
            end = len(self._have) if count < 0 else self._position + count
            piece = self._have[self._position : end]
            self._position += len(piece)
            count -= len(piece) if count > 0 else 0
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _next(self) -> bool:
        """Have the next range; False at the end."""
        wanted = AT_ONCE if self._have else 1
        while len(self._ahead) < wanted and self._ask():
            pass
        if not self._ahead:
            return False
        self._have, self._position = self._ahead.popleft().result(), 0
        return True

    def _ask(self) -> bool:
        start, end = self._asked, min(self._asked + self._length, self._size)
        if start == end:
            return False
        self._asked, self._length = end, min(2 * self._length, LARGEST)
        self._ahead.append(self._pool.submit(self._fetch, start, end))
        return True

    def _fetch(self, start: int, end: int) -> bytes:
        data: bytes = self._file._fetch_range(start, end)
        if len(data) != end - start:
            raise OSError(f"the store gave {len(data)} bytes of {end - start} from byte {start}")
        return data

    def __enter__(self) -> Ranges:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def gives_ranges(file: Any) -> bool:
    """Whether a store gives parts of this file; a plain web server may give all of it instead."""
    try:
        return file.size <= FIRST or len(file._fetch_range(1, 2)) == 1
    except ValueError:
        return False
