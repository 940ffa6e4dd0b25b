"""An S3 server on the loopback interface that counts, waits and fails as it is told.

The server is moto's. Between it and the client lies `Store`: it notes every request, may wait
before each answer as a distant store does, and may answer with an error or cut the connection in
the middle. ``python -m socialcli.benchmarks.loopback [SECONDS [RATE]]`` runs one in a process of
its own, prints its address, and ends when its standard input does; ``GET /-/requests`` gives what
was noted since the last such call as JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qs

from socialcli.errors import MissingPackage

NOTED = "/-/requests"
_PIECE = 1 << 18  # bytes between two looks at the clock


@dataclass
class Request:
    """One request as the store saw it.

    Attributes:
        method: GET, HEAD, PUT, POST or DELETE. path: ``/bucket/key``. query: of the URL.
        range: of the ``Range`` header, "" where all is asked for. received, sent: bytes of the
            bodies. begun, ended: seconds of the store's clock.
    """

    method: str
    path: str
    query: str = ""
    range: str = ""
    received: int = 0
    sent: int = 0
    begun: float = 0.0
    ended: float = 0.0

    @property
    def kind(self) -> str:
        """What S3 calls it: list, head, get, put, part, begin, complete, abort, delete, copy."""
        asked = parse_qs(self.query, keep_blank_values=True)
        if self.method == "GET" and ("list-type" in asked or "prefix" in asked):
            return "list"
        if "uploadId" in asked:
            return {"PUT": "part", "POST": "complete", "DELETE": "abort"}.get(self.method, "parts")
        if "uploads" in asked:
            return "begin"
        return self.method.lower()


# What a fault does to a request: nothing, an HTTP status instead of the answer, or (as "cut") the
# connection cut before the answer, or in the middle of it where it has a body.
Fault = Callable[[Request], int | str | None]


@dataclass
class Store:
    """The middle layer, a WSGI application around moto's.

    Attributes:
        delay: seconds before each answer. rate: bytes a second of one connection, 0 for as many as
            there can be. fault: asked before each request is carried out.
        requests: noted so far.
    """

    app: Any
    delay: float = 0.0
    rate: float = 0.0
    fault: Fault | None = None
    requests: list[Request] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == NOTED:
            return self._tell(start)
        request = Request(
            environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", ""),
            environ.get("HTTP_RANGE", ""), int(environ.get("CONTENT_LENGTH") or 0),
            begun=time.monotonic(),
        )  # fmt: skip
        with self._lock:
            self.requests.append(request)
        if self.rate and request.received:
            environ["wsgi.input"] = self._taken(environ["wsgi.input"], request.received)
            environ["wsgi.input_terminated"] = True  # it ends by itself: it can be read at once
        time.sleep(self.delay)
        fault = self.fault(request) if self.fault else None
        if isinstance(fault, int):
            self._read(environ)
            start(f"{fault} told to fail", [("Content-Length", "0")])
            return [b""]
        if fault == "cut" and request.method != "GET":
            return self._cut(environ)
        return self._answer(environ, start, request, cut=fault == "cut")

    def _answer(
        self, environ: dict[str, Any], start: Any, request: Request, cut: bool
    ) -> Iterator[bytes]:
        whole = b"".join(self.app(environ, start))
        half = whole[: len(whole) // 2] if cut else whole
        begun = time.monotonic()
        for at in range(0, len(half), _PIECE):
            request.sent += len(half[at : at + _PIECE])
            yield half[at : at + _PIECE]
            self._wait(begun, request.sent)
        request.ended = time.monotonic()
        if cut:
            yield from self._cut(environ)

    def _taken(self, stream: Any, size: int) -> io.BytesIO:
        """A body of so many bytes, as fast as a connection gives it."""
        body, begun = io.BytesIO(), time.monotonic()
        while body.tell() < size and (piece := stream.read(min(_PIECE, size - body.tell()))):
            body.write(piece)
            self._wait(begun, body.tell())
        body.seek(0)
        return body

    def _wait(self, begun: float, passed: int) -> None:
        """Wait until a connection that has been open since then may have passed so many bytes."""
        if self.rate:
            time.sleep(max(0.0, begun + passed / self.rate - time.monotonic()))

    def _cut(self, environ: dict[str, Any]) -> Iterable[bytes]:
        with contextlib.suppress(OSError):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError("told to cut")

    def _read(self, environ: dict[str, Any]) -> None:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))

    def _tell(self, start: Any) -> Iterable[bytes]:
        with self._lock:
            noted, self.requests = self.requests, []
        body = json.dumps([asdict(one) for one in noted]).encode()
        start("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    def count(self, kind: str) -> int:
        return sum(request.kind == kind for request in self.requests)


def environment(address: str) -> dict[str, str]:
    """Variables with which every client of S3 talks to the store at this address."""
    return {
        "AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip


@contextlib.contextmanager
def store(delay: float = 0.0, rate: float = 0.0) -> Iterator[tuple[str, Store]]:
    """A store in threads of this process, and its address (``http://127.0.0.1:PORT``).

    Raises:
        MissingPackage: moto or what its server needs is not installed.
    """
    try:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server
    except ImportError as error:
        raise MissingPackage(f"a loopback S3 server ({error})", "dev") from None

    _keep_values()

    class Silent(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, type: str, message: str, *args: Any) -> None:
            pass

    between = Store(DomainDispatcherApplication(create_backend_app), delay, rate)
    server = make_server("127.0.0.1", 0, between, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}", between
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _keep_values() -> None:
    """moto reads all of an object from a file for each range of it, and a store does not: have it
    keep every object's bytes as they came."""
    from moto.s3.models import FakeKey

    stored: Any = FakeKey.value
    if hasattr(stored.fget, "keeps"):
        return

    def get(key: Any) -> bytes:
        value: bytes = key.kept
        return value

    def put(key: Any, value: bytes) -> None:
        stored.fset(key, value)
        key.kept = value if isinstance(value, bytes) else stored.fget(key)

    get.keeps = True  # type: ignore[attr-defined]
    FakeKey.value = property(get, put)  # type: ignore[assignment]


@contextlib.contextmanager
def elsewhere(delay: float = 0.0, rate: float = 0.0) -> Iterator[str]:
    """The address of a store in a process of its own."""
    words = [sys.executable, "-m", "socialcli.benchmarks.loopback", str(delay), str(rate)]
    environment = {**os.environ, "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(1 << 30)}  # no files
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        address = process.stdout.readline().decode().strip()
        if not address:
            raise SystemExit("the loopback store did not start")
        try:
            yield address
        finally:
            process.stdin.close()


def noted(address: str) -> list[Request]:
    """What the store at this address has noted since it was asked last."""
    with urllib.request.urlopen(address + NOTED) as answer:
        return [Request(**one) for one in json.load(answer)]


def main() -> None:
    with store(*map(float, sys.argv[1:])) as (address, _):
        print(address, flush=True)
        sys.stdin.read()
        os._exit(0)  # connections that clients keep open hold threads


if __name__ == "__main__":
    main()
