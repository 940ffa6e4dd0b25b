"""A remote file read from front to back as ranges, of which several are fetched at once."""

from __future__ import annotations

import errno
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

FIRST, LARGEST = 1 << 20, 8 << 20  # bytes of a range
AT_ONCE = 8  # ranges fetched ahead of the reader
# Bytes that a store sends in about the time it takes to answer (50 ms at 20 MB a second): what is
# skipped beyond them is cheaper not to fetch, whatever is nearer comes with what is wanted.
FAR = 1 << 20
AFTER_FAR = 1 << 16  # bytes of the first range behind such a place: a few headers


class Ranges:
    """The bytes of an fsspec file in order, fetched ahead on threads.

    One connection to a distant store gives a part of what the line carries, and none while its
    answer is waited for. The first range is small and fetched alone, so that who wants only the
    first sample fetches little. What is left is fetched in `AT_ONCE` ranges of one length, between
    `FIRST` and `LARGEST`, so that all connections are busy until the end.

    Args:
        file: a buffered fsspec file whose ``size`` is known, or an `S3Object`.
        skipping: the reader wants the headers of an archive and skips the rest. Bytes that are
            skipped are not fetched where a new request costs less, and fewer ranges are fetched
            ahead: 1, 2, 4, ... while nothing far is skipped, each twice as long as the one before.

    Raises:
        OSError: while reading, where the store gives fewer bytes than there are.
    """

    def __init__(self, file: Any, skipping: bool = False) -> None:
        self._file, self._size, self._skipping = file, int(file.size), skipping
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ranges")
        self._ahead: deque[Future[bytes]] = deque()
        self._have: bytes = getattr(file, "first", b"")
        self._position = self._start = 0  # in `_have`; of `_have` in the file
        self._asked, self._length, self._wanted = len(self._have), FIRST, 1  # ranges fetched ahead
        if self._have:
            self._length = 2 * FIRST
            self._go_faster()

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

    def skip(self, count: int) -> int:
        """Pass over up to ``count`` bytes, fewer at the end only; says how many they were."""
        here = self._start + self._position
        there = min(here + count, self._size)
        loaded = self._start + len(self._have)
        if there - loaded > FAR:
            self._wanted, self._length = 1, AFTER_FAR
            self._begin_anew(there)
        elif there > self._asked:
            self._begin_anew(there)
        else:
            while there > self._start + len(self._have):
                self._next()
            self._position = there - self._start
        return there - here

    def _begin_anew(self, start: int) -> None:
        """Go on from here; what was fetched ahead lies before it."""
        for range_ in self._ahead:
            range_.cancel()
        self._ahead.clear()
        self._asked = self._start = start
        self._have, self._position = b"", 0

    def _next(self) -> bool:
        """Have the next range; False at the end."""
        while len(self._ahead) < self._wanted and self._ask():
            pass
        if not self._ahead:
            return False
        self._start += len(self._have)
        self._have, self._position = self._ahead.popleft().result(), 0
        self._go_faster()
        return True

    def _go_faster(self) -> None:
        """More ranges at once, now that one more was wanted."""
        if self._skipping:
            self._wanted = min(2 * self._wanted, AT_ONCE)
        elif self._wanted < AT_ONCE:
            self._wanted = AT_ONCE
            share = -(-(self._size - self._asked) // AT_ONCE)
            self._length = min(max(share, FIRST), LARGEST)

    def _ask(self) -> bool:
        start, end = self._asked, min(self._asked + self._length, self._size)
        if start == end:
            return False
        self._asked = end
        if self._skipping:
            self._length = min(2 * self._length, LARGEST)
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


class S3Object:
    """An object of S3 whose first bytes come with its size, in one request instead of two.

    Attributes:
        first: its first `FIRST` bytes, fewer where there are no more. size: bytes of all of it.

    Raises:
        OSError: with EINVAL where there are no ranges: of an empty object, or from this store.
        Exception: whatever else the client raises.
    """

    def __init__(self, fs: Any, path: str) -> None:
        self._fs, self._tag = fs, None
        bucket, key, version = fs.split_path(path)
        self._which = {"Bucket": bucket, "Key": key, **fs.req_kw}
        if version:
            self._which["VersionId"] = version
        self.first, answer = self._get(0, FIRST)
        self.size, self._tag = int(answer["ContentRange"].rpartition("/")[2]), answer.get("ETag")
        if fs.version_aware and answer.get("VersionId"):
            self._which["VersionId"] = answer["VersionId"]
        if len(self.first) != min(FIRST, self.size):
            raise OSError(f"the store gave {len(self.first)} bytes of the first {FIRST}")

    def _fetch_range(self, start: int, end: int) -> bytes:
        """These bytes.

        Raises:
            OSError: it is another object now than the one whose first bytes were given.
        """
        return self._get(start, end)[0]

    def _get(self, start: int, end: int) -> tuple[bytes, dict[str, Any]]:
        from fsspec.asyn import sync

        answer: tuple[bytes, dict[str, Any]] = sync(self._fs.loop, self._ask, start, end)
        return answer

    async def _ask(self, start: int, end: int) -> tuple[bytes, dict[str, Any]]:
        """These bytes, and what is said of them. The client asks again where it has no answer, and
        we where a connection ends in the middle of one."""
        import asyncio

        for left in reversed(range(max(self._fs.retries, 1))):
            answer = await self._fs._call_s3(
                "get_object", Range=f"bytes={start}-{end - 1}", **self._which
            )
            try:
                self._check(answer)
                return await answer["Body"].read(), answer
            except OSError:
                raise
            except Exception:  # of the connection: each client has exceptions of its own
                if not left:
                    raise
            finally:
                answer["Body"].close()
            await asyncio.sleep(0.2)
        raise AssertionError("the last try returns or raises")

    def _check(self, answer: dict[str, Any]) -> None:
        if "ContentRange" not in answer:
            raise OSError(errno.EINVAL, "the store gives no ranges")
        if self._tag not in (None, answer.get("ETag")):
            raise OSError(errno.ESTALE, "it was replaced while it was read")


def gives_ranges(file: Any) -> bool:
    """Whether a store gives parts of this file; a plain web server may give all of it instead."""
    try:
        return file.size <= FIRST or len(file._fetch_range(1, 2)) == 1
    except ValueError:
        return False
