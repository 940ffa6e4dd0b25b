"""Shards in a store of S3: how many requests a run costs, and how fast bytes come and go.

The store is a server on the loopback interface in a process of its own (`loopback`) that behaves
as a distant one does: it waits before each answer and gives each connection so many bytes a second.
Peers are boto3's managed transfers, which use ten threads, and a file that s3fs opens.

A store takes nothing of our processor, this server does: from the `NEAR` one, on a busy machine
above all, transfers wait for Python, in the client and in the server. What the line allows is seen
with the `FAR` one, four times slower; how much of the processor a client takes stands beside it.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from socialcli import shards
from socialcli.benchmarks import Figure, Section, in_turns, loopback, ratio, table
from socialcli.benchmarks import io as through
from socialcli.pipeline import run as running
from socialcli.pipeline.report import Report

NEAR, FAR = (0.05, 20e6), (0.2, 5e6)  # seconds before an answer, bytes a second of a connection
SHARDS, MEMBER, MEMBERS = 1000, 160_000, 200
BUCKET, STAGE = "bucket", "benchmark_remote"


def run(turns: int, count: int = SHARDS, members: int = MEMBERS) -> Section:
    """Requests of looking for finished shards, and Markdown tables of the speed of transfers."""
    with loopback.elsewhere(*NEAR) as address, _reached(address):
        client = _client(address)
        client.create_bucket(Bucket=BUCKET)
        kinds, seconds = _finished(address, client, count)
        near, ratios, first = _transfers(address, client, turns, members)
    with loopback.elsewhere(*FAR) as address, _reached(address):
        client = _client(address)
        client.create_bucket(Bucket=BUCKET)
        far, far_ratios, _ = _transfers(address, client, turns, members)
    megabytes = MEMBER * members / 1e6
    asked = ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items()))
    head = (
        "## Shards in a store\n\nA loopback S3 server that waits 50 ms before each answer and gives"
        f" a connection 20 MB a second. A run that finds {count:,} shards finished asks: {asked}; "
        f"it takes {seconds:.1f} s. Of a shard of {megabytes:.0f} MB its first sample costs "
        f"{first / 1e6:.1f} MB.\n\n"
    )
    columns = ["MB/s", "times boto3", "seconds of the client's processor"]
    text = head + table([f"{megabytes:.0f} MB in one shard", *columns], near)
    text += "\n\nThe same from a server that waits 200 ms and gives a connection 5 MB a second:\n\n"
    text += table([f"{megabytes:.0f} MB in one shard", *columns], far)
    pages = f"requests for listings, {count:,} shards finished"
    return Section(text, [
        Figure(pages, kinds["list"], 2 + -(-4 * count // 1000), lower=True),
        Figure("reading a shard over boto3's download", ratios["read"], 1),
        Figure("uploading a shard over boto3's upload", ratios["upload"], 1),
        Figure("reading a shard from a slow store, the same", far_ratios["read"], 1),
        Figure("uploading a shard to a slow store, the same", far_ratios["upload"], 1),
    ])  # fmt: skip


@contextlib.contextmanager
def _reached(address: str) -> Iterator[None]:
    """This process's clients talk to the store at this address."""
    import fsspec

    before = dict(os.environ)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # a client keeps its address
    os.environ.update(loopback.environment(address))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _client(address: str) -> Any:
    try:
        import boto3
    except ImportError:
        raise SystemExit("the benchmark of stores needs boto3: pip install moto[s3]") from None
    return boto3.client("s3", endpoint_url=address)


def _finished(address: str, client: Any, count: int) -> tuple[Counter[str], float]:
    """Requests by kind, and seconds, of a run over so many shards that finds all finished."""
    name, source, out = through.stage(STAGE), f"s3://{BUCKET}/in/", f"s3://{BUCKET}/out/"
    shard = _bytes([("000", {"txt": b"a horse"})])
    client.put_object(Bucket=BUCKET, Key="in/000000.tar", Body=shard)
    options = running.RunOptions(quiet=True)
    running.run_stage("stages", name, {}, [source], out, options)
    made = {
        end: client.get_object(Bucket=BUCKET, Key=f"out/000000.{end}")["Body"].read()
        for end in ("tar", "stats.json", "errors.jsonl")
    }
    from concurrent.futures import ThreadPoolExecutor

    from socialcli.benchmarks.growth import renamed

    def fill(at: int) -> None:
        stem = f"{at:06d}"
        client.put_object(Bucket=BUCKET, Key=f"in/{stem}.tar", Body=shard)
        for end, data in made.items():
            body = renamed(data.decode(), stem).encode() if end == "stats.json" else data
            client.put_object(Bucket=BUCKET, Key=f"out/{stem}.{end}", Body=body)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fill, range(1, count)))
    loopback.noted(address)
    started = time.perf_counter()
    plan = running.planned("stages", name, {}, [source], out, options)
    total = running.execute(plan, "local", {}, Report(quiet=True))
    seconds = time.perf_counter() - started
    if total.skipped != count:
        raise SystemExit(f"{total.skipped} of {count} shards finished: the benchmark is wrong")
    return Counter(request.kind for request in loopback.noted(address)), seconds


def _bytes(samples: list[tuple[str, dict[str, bytes]]]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        shards.write(Path(folder) / "x.tar", samples)
        return (Path(folder) / "x.tar").read_bytes()


def _noting(run: Callable[[], Any], processor: list[float]) -> Callable[[], None]:
    """The same, which notes how many seconds of this process's processor it takes."""

    def noted() -> None:
        started = time.process_time()
        run()
        processor.append(time.process_time() - started)

    return noted


def _transfers(
    address: str, client: Any, turns: int, members: int
) -> tuple[list[list[str]], dict[str, float], int]:
    """Rows of the table, ratios to boto3 by name, and bytes read for the first sample."""
    import fsspec

    data = _bytes([(f"{n:06d}", {"jpg": os.urandom(MEMBER)}) for n in range(members)])
    client.put_object(Bucket=BUCKET, Key="large/0.tar", Body=data)
    place = f"s3://{BUCKET}/large/0.tar"
    megabytes = len(data) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "0.tar"

        def read() -> None:
            with shards.open_read(place) as stream:
                while stream.read(1 << 20):
                    pass

        def plain() -> None:
            fs, path = fsspec.core.url_to_fs(place)
            with fs.open(path, "rb", block_size=8 << 20) as stream:
                while stream.read(1 << 20):
                    pass

        def write() -> None:
            shards.write_bytes(f"s3://{BUCKET}/up/ours.tar", data, synced=False)

        def theirs() -> None:
            local.write_bytes(data)
            client.upload_file(str(local), BUCKET, "up/theirs.tar")

        fetch, send = "boto3, download to a file", "boto3, write a file and upload it"
        ours, up = "socialcli, read", "socialcli, write and upload"
        runs = {
            ours: read,
            fetch: lambda: client.download_file(BUCKET, "large/0.tar", str(local) + ".got"),
            "s3fs, read of an opened file": plain,
            up: write,
            send: theirs,
        }
        processor: dict[str, list[float]] = {name: [] for name in runs}
        seconds = in_turns(
            {name: _noting(run, processor[name]) for name, run in runs.items()}, turns,
            before=lambda: None,
        )  # fmt: skip
    if client.get_object(Bucket=BUCKET, Key="up/ours.tar")["Body"].read() != data:
        raise SystemExit("what was uploaded is not what was written: the benchmark is wrong")
    loopback.noted(address)
    next(iter(shards.read(place)))
    first = sum(request.sent for request in loopback.noted(address))
    rows = []
    for peer, names in ((fetch, list(runs)[:3]), (send, list(runs)[3:])):
        for name in names:
            speed = megabytes / statistics.median(seconds[name])
            own = f"{statistics.median(processor[name][1:]):.2f}"
            rows.append([name, f"{speed:.0f}", f"{ratio(seconds, name, peer):.2f}", own])
    return rows, {"read": ratio(seconds, ours, fetch), "upload": ratio(seconds, up, send)}, first
