"""Stages from S3 to S3 through the real command line, against a server that fails when told.

Where a process of its own proves nothing more the command line runs in this one, whose client of
the store is made once: making one takes longer than all that a stage asks of it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import random
import signal
import subprocess
import tarfile
import tempfile
import threading
import time
import zlib
from collections import Counter

import pytest
from conftest import ENVIRONMENT, leftovers, picture, samples, tars
from typer.testing import CliRunner

from socialcli import shards
from socialcli.cli.app import app
from socialcli.errors import SocialcliError
from socialcli.shards import behind, ranges, uploads
from socialcli.shards.ranges import AT_ONCE, FIRST, Ranges

boto3 = pytest.importorskip("boto3")
s3fs = pytest.importorskip("s3fs")
pytest.importorskip("moto")

from socialcli.benchmarks import loopback  # noqa: E402

BUCKET, COUNT = "bucket", 5
TWO = f"s3://{BUCKET}/in/00[01].tar"  # of the shards, for what more of them prove no better


class Client:
    """What the store holds, seen by another client than ours."""

    def __init__(self, address: str, store: loopback.Store) -> None:
        self.store = store
        self.environment = {**loopback.environment(address), "AWS_MAX_ATTEMPTS": "2"}
        self.s3 = boto3.client(
            "s3", endpoint_url=address, aws_access_key_id="test", aws_secret_access_key="test",
            region_name="us-east-1",
        )  # fmt: skip
        self.s3.create_bucket(Bucket=BUCKET)

    def put(self, folder, prefix: str) -> str:
        for file in sorted(folder.glob("*.tar")):
            self.s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{file.name}", Body=file.read_bytes())
        return f"s3://{BUCKET}/{prefix}/"

    def names(self, prefix: str) -> list[str]:
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("Contents", [])
        return [one["Key"].rpartition("/")[2] for one in found]

    def get(self, prefix: str, name: str) -> bytes:
        return self.s3.get_object(Bucket=BUCKET, Key=f"{prefix}/{name}")["Body"].read()

    def tars(self, prefix: str) -> dict[str, bytes]:
        names = [name for name in self.names(prefix) if name.endswith(".tar")]
        return {name: self.get(prefix, name) for name in names}


@pytest.fixture(scope="module")
def running():
    s3fs.S3FileSystem.clear_instance_cache()  # a client keeps the address it was made with
    with loopback.store() as (address, store):
        yield Client(address, store)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def client(running):
    running.store.requests.clear()
    yield running
    running.store.fault = None


@pytest.fixture(scope="module")
def local(tmp_path_factory, run_cli):
    """Shards, and what the same stage makes of them on the local disk."""
    root = tmp_path_factory.mktemp("local")
    for at in range(COUNT):
        shards.write(root / "in" / f"{at:03d}.tar", samples(3 * at, 3 * at + 3))
    run_cli("caption", root / "in", "-o", root / "out", "--backend", "given")
    return root


@pytest.fixture(scope="module")
def source(running, local):
    """The same shards in the store."""
    return running.put(local / "in", "in")


@pytest.fixture(scope="module")
def two(local):
    """What becomes of the first two of them."""
    return {name: data for name, data in tars(local / "out").items() if name < "002"}


@contextlib.contextmanager
def reached(client, folder):
    """This process's clients talk to the store, and its temporary files lie in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in client.environment.items():
            patch.setenv(name, value)
        patch.setattr(tempfile, "tempdir", str(folder))
        yield


def captioned(source: str, prefix: str, *more: str, code: int = 0) -> tuple[str, str]:
    """The stage from one place of the store to another, in this process; what it wrote to stderr
    and stdout."""
    words = ["caption", source, "-o", f"s3://{BUCKET}/{prefix}/", "--backend", "given", *more]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == code, done.stderr
    assert isinstance(done.exception, SystemExit | None), done.exception
    return done.stderr, done.stdout


@pytest.fixture
def reaching(client, tmp_path):
    with reached(client, tmp_path):
        yield client


@pytest.fixture
def caption(reaching):
    return captioned


@pytest.fixture(scope="module")
def finished(running, source, tmp_path_factory):
    """What the stage makes of all shards, in the store."""
    folder = tmp_path_factory.mktemp("temporary")
    with reached(running, folder):
        captioned(source, "out")
    assert not leftovers(folder)
    return f"s3://{BUCKET}/out/"


@pytest.fixture
def impatient(monkeypatch):
    """Clients wait before they ask again, here a fiftieth of that."""
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds, *more: sleep(seconds / 50, *more))


def test_the_same_bytes_as_on_disk_and_found_finished_in_one_listing(
    client, local, source, finished, run_cli
):
    assert client.tars("out") == tars(local / "out")
    assert sum(name.endswith(".stats.json") for name in client.names("out")) == COUNT
    noted = json.loads(client.get("out", "000.stats.json"))["input"][0]
    assert noted["location"] == f"{source}000.tar" and noted["modified"]
    client.store.requests.clear()
    again = run_cli("caption", source, "-o", finished, "--backend", "given", env=client.environment)
    assert f"{COUNT} of {COUNT} shards are finished already".encode() in again.stderr
    kinds = Counter(request.kind for request in client.store.requests)
    # The input for its shards, then both folders for what is known of each shard.
    assert kinds == {"list": 3, "get": COUNT}, kinds
    assert all("stats.json" in r.path for r in client.store.requests if r.kind == "get")


def test_a_prefix_that_cannot_be_listed_is_asked_file_by_file(client, source, finished, caption):
    client.store.fault = lambda request: 403 if request.kind == "list" else None
    # As a range of names, which asks for no listing itself.
    said, _ = caption(f"{source}{{000..{COUNT - 1:03d}}}.tar", "out")
    assert f"{COUNT} of {COUNT} shards are finished already" in said
    assert client.store.count("list") > 0


def test_a_shard_is_asked_for_once_and_read_once(client, source, caption):
    """Whatever the store is asked takes its time to be answered. A shard and what is known of it
    are one question each; what is written is no question but the three files."""
    caption(source + "000.tar", "asked")
    asked = Counter(
        (one.kind, one.path) for one in client.store.requests if one.path != f"/{BUCKET}"
    )
    shard, made = f"/{BUCKET}/in/000.tar", f"/{BUCKET}/asked/000"
    files = {("put", f"{made}.{end}"): 1 for end in ("tar", "stats.json", "errors.jsonl")}
    assert {one: number for one, number in asked.items() if one[0] == "put"} == files
    assert {one: number for one, number in asked.items() if one[1] == shard} == {
        ("head", shard): 1, ("get", shard): 1,
    }, asked  # fmt: skip


@pytest.mark.parametrize("answer", [503, "cut"])
def test_what_a_store_fails_once_is_asked_again(client, source, two, caption, impatient, answer):
    """Every object's first download, upload and listing fails, a cut one in the middle."""
    failed = set()

    def fault(request):
        first = (request.method, request.path) not in failed
        failed.add((request.method, request.path))
        return answer if first and request.kind in ("get", "put", "list") else None

    client.store.fault = fault
    caption(TWO, f"mended-{answer}")
    client.store.fault = None
    assert client.tars(f"mended-{answer}") == two
    assert len(failed) > 3 * len(two)


@pytest.mark.parametrize("answer, kind", [(500, "put"), ("cut", "put"), ("cut", "get")])
def test_what_a_store_always_fails_ends_in_one_line(
    client, source, two, caption, impatient, tmp_path, answer, kind
):
    """The second shard cannot be read, or not be written: the one before stays, it is not there."""
    prefix = f"failed-{answer}-{kind}"

    def fault(request):
        return answer if request.kind == kind and request.path.endswith("001.tar") else None

    client.store.fault = fault
    said, _ = caption(TWO, prefix, code=1)
    assert said.count("\n") == 1 and "001.tar: " in said, said
    assert ("read" if kind == "get" else "written") in said or "500" in said
    there = client.names(prefix)
    assert "001.tar" not in there and "001.stats.json" not in there and "000.stats.json" in there
    assert not leftovers(tmp_path)
    client.store.fault = None
    said, _ = caption(TWO, prefix)
    assert "shards are finished already" in said
    assert client.tars(prefix) == two


def kill_at(reached, words, client, folder):
    """Start a command whose temporary files lie in a folder; kill -9 it once ``reached`` is set."""
    env = {**os.environ, **ENVIRONMENT, **client.environment, "TMPDIR": str(folder)}
    process = subprocess.Popen(words, env=env, stderr=subprocess.PIPE)
    assert reached.wait(60)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_killed_while_it_uploads(client, source, two, caption, program, tmp_path):
    """Killed without a chance to tidy up: nothing half written has a name, and the next run goes
    on, and removes what was left on the local disk."""
    reached, released = threading.Event(), threading.Event()

    def fault(request):
        if request.kind == "put" and request.path.endswith("killed/001.tar"):
            reached.set()
            released.wait(60)
            return 500
        return None

    client.store.fault = fault
    words = ["caption", TWO, "-o", f"s3://{BUCKET}/killed/", "--backend", "given"]
    kill_at(reached, [*program, *words], client, tmp_path)
    released.set()
    deadline = time.monotonic() + 30
    while not leftovers(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert leftovers(tmp_path)  # the shard that was under way
    there = client.names("killed")
    assert "001.tar" not in there and "001.stats.json" not in there and "000.stats.json" in there
    client.store.fault = None
    said, _ = caption(TWO, "killed")
    assert "1 of 2 shards are finished already" in said
    assert client.tars("killed") == two
    assert not leftovers(tmp_path)


@pytest.fixture(scope="module")
def in_parts(tmp_path_factory, running):
    """A folder in the store with one shard that is uploaded in two parts, and its bytes."""
    folder = tmp_path_factory.mktemp("large")
    drawn = picture(kind="PNG")
    noise = [(f"{n}", {"txt": b"A cat.", "png": drawn, "bin": os.urandom(6 << 20)}) for n in (1, 2)]
    shards.write(folder / "0.tar", noise)
    running.put(folder, "parts")
    return (folder / "0.tar").read_bytes()


def members(archive: bytes, suffix: str) -> list[bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return [tar.extractfile(one).read() for one in tar if one.name.endswith(suffix)]


def unfinished_uploads(client) -> list[str]:
    return [
        one["Key"] for one in client.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    ]


def test_killed_inside_an_upload_in_parts(client, in_parts, caption, program, tmp_path):
    """The parts that have arrived are seen by nobody, and the next run removes them."""
    reached, released = threading.Event(), threading.Event()

    def fault(request):
        if request.kind == "part" and "partNumber=1" not in request.query:
            reached.set()
            released.wait(60)
        return

    client.store.fault = fault
    words = ["caption", f"s3://{BUCKET}/parts/", "-o", f"s3://{BUCKET}/halves/"]
    words += ["--backend", "given"]
    kill_at(reached, [*program, *words], client, tmp_path)
    released.set()
    client.store.fault = None
    assert client.names("halves") == ["0.errors.jsonl"]
    assert unfinished_uploads(client) == ["halves/0.tar"]
    assert len(leftovers(tmp_path)) == 2  # the shard, and a note of its upload
    caption(f"s3://{BUCKET}/parts/", "halves")
    assert client.names("halves") == ["0.errors.jsonl", "0.stats.json", "0.tar"]
    assert not unfinished_uploads(client) and not leftovers(tmp_path)
    assert members(client.get("halves", "0.tar"), "bin") == members(in_parts, "bin")


def test_an_upload_in_parts_that_fails_is_aborted(client, in_parts, caption, impatient, tmp_path):
    client.store.fault = lambda one: (
        500 if one.kind == "part" and "partNumber=2" in one.query else None
    )
    said, _ = caption(f"s3://{BUCKET}/parts/", "aborted", code=1)
    assert said.count("\n") == 1 and "0.tar: cannot be written" in said
    assert client.store.count("abort") == 1 and not unfinished_uploads(client)
    assert client.names("aborted") == ["0.errors.jsonl"] and not leftovers(tmp_path)


def test_an_upload_in_parts_that_cannot_begin_ends(reaching, impatient):
    reaching.store.fault = lambda one: 500 if one.kind == "begin" else None
    with pytest.raises(SocialcliError, match=r"begins/0\.tar: cannot be written"):
        shards.write_bytes(f"s3://{BUCKET}/begins/0.tar", bytes(2 * uploads.LEAST))
    assert not reaching.names("begins") and not reaching.store.count("part")


def test_an_upload_in_parts_that_cannot_be_noted_is_aborted(reaching, monkeypatch, tmp_path):
    """As on a full disk: nobody would know of its parts, which are stored and paid for."""
    monkeypatch.setattr(uploads, "_note", lambda file: tmp_path / "missing" / "note")
    with pytest.raises(SocialcliError, match=r"notes/0\.tar: "):
        shards.write_bytes(f"s3://{BUCKET}/notes/0.tar", bytes(2 * uploads.LEAST))
    assert reaching.store.count("abort") == 1 and not unfinished_uploads(reaching)
    assert not reaching.names("notes") and not leftovers(tmp_path)


def test_an_object_replaced_while_it_is_read(client, caption, local):
    """The ranges of one shard are never of two versions of it."""
    large = [(f"{n:03d}", {"bin": os.urandom(400_000)}) for n in range(12)]
    shards.write(local / "large.tar", large)
    first = (local / "large.tar").read_bytes()
    client.s3.put_object(Bucket=BUCKET, Key="changing/0.tar", Body=first)
    seen = []

    def fault(request):
        if request.kind == "get" and request.path.endswith("changing/0.tar"):
            seen.append(request.range)
            if len(seen) == 2:
                client.s3.put_object(Bucket=BUCKET, Key="changing/0.tar", Body=first[::-1])
        return

    client.store.fault = fault
    said, _ = caption(f"s3://{BUCKET}/changing/0.tar", "changed", code=1)
    assert len(seen) > 1 and "changing/0.tar: cannot be read (it was replaced" in said
    assert said.count("\n") == 1 and not client.names("changed")


def test_the_first_sample_costs_one_range(client, caption, local):
    large = [(f"{n:03d}", {"txt": b"a horse", "bin": bytes(400_000)}) for n in range(12)]
    shards.write(local / "one.tar", large)
    client.s3.put_object(Bucket=BUCKET, Key="one/0.tar", Body=(local / "one.tar").read_bytes())
    client.store.requests.clear()
    said, _ = caption(f"s3://{BUCKET}/one/0.tar", "first", "--limit", "1")
    assert "1 samples: 1 ok" in said
    shard = [r for r in client.store.requests if "one/0.tar" in r.path and r.sent]
    # Once to see that there is more than one sample, once to make it.
    assert sum(r.sent for r in shard) <= 2 * FIRST, shard


def noise(reaching, key: str, size: int) -> bytes:
    """An object of so many bytes."""
    data = os.urandom(size)
    reaching.s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    reaching.store.requests.clear()
    return data


@pytest.mark.parametrize("size, requests", [(5000, 1), (FIRST, 1), (FIRST + 1, 2)])
def test_an_object_is_read_without_asking_for_its_size(reaching, size, requests):
    data = noise(reaching, f"sizes/{size}", size)
    with shards.open_read(f"s3://{BUCKET}/sizes/{size}") as stream:
        assert stream.read() == data
    assert [one.kind for one in reaching.store.requests] == ["get"] * requests


def test_an_empty_object_has_no_bytes(reaching):
    noise(reaching, "sizes/none", 0)
    with shards.open_read(f"s3://{BUCKET}/sizes/none") as stream:
        assert stream.read() == b""


def test_ranges_that_are_cut_are_asked_for_again(reaching, impatient):
    data, failed = noise(reaching, "sizes/cut", 3 * FIRST + 5), set()

    def fault(request):
        first = request.range not in failed
        failed.add(request.range)
        return "cut" if first else None

    reaching.store.fault = fault
    with shards.open_read(f"s3://{BUCKET}/sizes/cut") as stream:
        assert stream.read() == data
    assert len(failed) == 4 and "" not in failed
    assert len(reaching.store.requests) == 8


def encoded(*parts: bytes) -> str:
    """What S3 calls the CRC-32 of an object: of one part, or of the numbers of several."""
    sums = [zlib.crc32(part).to_bytes(4, "big") for part in parts]
    whole = zlib.crc32(b"".join(sums)).to_bytes(4, "big") if len(sums) > 1 else sums[0]
    return base64.b64encode(whole).decode()


@pytest.fixture
def wishing(reaching, monkeypatch):
    """``wishing(wish)``: from now on the client's settings say so of checksums."""

    def wish(wish: str) -> None:
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", wish)
        s3fs.S3FileSystem.clear_instance_cache()

    yield wish
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("size", [5000, 2 * uploads.LEAST + 2])
@pytest.mark.parametrize("wish", ["when_supported", "when_required"])
def test_that_an_upload_has_arrived_is_known(reaching, wishing, wish, size):
    """By the checksum in the answer, or by the size that the store gives. Stores without checksums
    are sent none where the client's settings say so."""
    wishing(wish)
    key, data = f"arrived/{wish}-{size}.tar", os.urandom(size)
    shards.write_bytes(f"s3://{BUCKET}/{key}", b"")  # the folder is known after it
    reaching.store.requests.clear()
    shards.write_bytes(f"s3://{BUCKET}/{key}", data)
    kinds = [request.kind for request in reaching.store.requests]
    head = reaching.s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
    assert head["ContentLength"] == size and head["ContentType"] == "application/x-tar"
    summed, half = wish == "when_supported", size // 2
    if size == 5000:
        assert kinds == (["put"] if summed else ["put", "head"])
        assert head.get("ChecksumCRC32") == (encoded(data) if summed else None)
    else:
        assert kinds == ["begin", "part", "part", "complete", *["head"] * (not summed)]
        of_both = encoded(data[:half], data[half:])
        assert head.get("ChecksumCRC32") == (of_both if summed else None)


@pytest.mark.parametrize("answer", ["a part's", "the object's"])
def test_another_answer_than_that_of_these_parts_is_no_proof(
    reaching, wishing, monkeypatch, answer
):
    """A store without checksums, or with tags that are no sums, is asked for the size."""
    wishing("when_supported")
    app, place = reaching.store.app, f"s3://{BUCKET}/proof/0.tar"

    def other(environ, start):
        def without(status, headers, *rest):
            kept = [one for one in headers if one[0].lower() != "x-amz-checksum-crc32"]
            return start(status, kept, *rest)

        query, method = environ["QUERY_STRING"], environ["REQUEST_METHOD"]
        if answer == "a part's" and "partNumber=2" in query:
            return app(environ, without)
        whole = b"".join(app(environ, start))
        if answer == "the object's" and method == "POST" and "uploadId" in query:
            assert b"-2&quot;" in whole or b'-2"' in whole, whole
            return [whole.replace(b"-2", b"-3")]
        return [whole]

    shards.write_bytes(place, b"")  # the folder is known after it
    reaching.store.requests.clear()
    monkeypatch.setattr(reaching.store, "app", other)
    shards.write_bytes(place, bytes(2 * uploads.LEAST))
    kinds = [request.kind for request in reaching.store.requests]
    assert kinds == ["begin", "part", "part", "complete", "head"]


def test_an_upload_of_which_less_arrives_is_an_error(reaching, wishing, monkeypatch):
    wishing("when_required")
    app = reaching.store.app

    def less(environ, start):
        if environ["REQUEST_METHOD"] == "PUT":
            environ["wsgi.input"].read(10)
            environ["CONTENT_LENGTH"] = str(int(environ["CONTENT_LENGTH"]) - 10)
        return app(environ, start)

    monkeypatch.setattr(reaching.store, "app", less)
    with pytest.raises(SocialcliError, match="uploaded 5000 bytes but 4990 arrived"):
        shards.write_bytes(f"s3://{BUCKET}/arrived/less.tar", bytes(5000))


@pytest.mark.parametrize("place, number", [("memory://unsynced/x.tar", 0), ("x.tar", 2)])
def test_the_disk_is_not_waited_for_where_a_file_goes_to_a_store(
    monkeypatch, tmp_path, place, number
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(behind, "_SYNCED", 5 << 20)
    calls, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append(handle) or fsync(handle))
    with shards.publish(place) as stream:
        stream.write(bytes(6 << 20))
    assert len(calls) == number and shards.size(place) == 6 << 20


@pytest.mark.parametrize("megabytes", [10, 11, 15, 32, 49.9, 50, 79, 80, 81, 1000, 100_000])
def test_parts_are_as_many_as_are_sent_at_once_and_as_long_as_they_must_be(megabytes):
    length = int(megabytes * (1 << 20)) + 1
    size = uploads.part_size(length)
    count = -(-length // size)
    assert size >= uploads.LEAST and count <= uploads.MOST
    assert size <= uploads.PART or count == uploads.MOST
    # One part more or less would be too small for S3, or would wait for a connection.
    assert count >= uploads.AT_ONCE or length // (count + 1) < uploads.LEAST


def test_what_was_written_since_is_listed(reaching, local):
    """By the same process, whose client would remember its first listing."""
    client = reaching
    source = client.put(local / "in", "growing")
    assert len(shards.expand([source])) == COUNT
    client.s3.put_object(Bucket=BUCKET, Key="growing/new.tar", Body=b"")
    assert len(shards.expand([source])) == COUNT + 1
    client.store.requests.clear()
    with shards.listed(f"{source}{at:03d}.tar" for at in range(COUNT + 1)):
        sizes = [shards.size(f"{source}{at:03d}.tar") for at in range(COUNT + 1)]
    assert sizes == [*(len(data) for data in tars(local / "in").values()), None]
    assert [request.kind for request in client.store.requests] == ["list"]


class Held:
    """A file of a store; ranges after the first are given once ``together`` of them are asked."""

    def __init__(self, data: bytes, together: int = 1, short: int | None = None) -> None:
        self.data, self.size, self.short = data, len(data), short
        self.asked: list[tuple[int, int]] = []
        self.gate = threading.Barrier(together)

    def _fetch_range(self, start, end):
        self.asked.append((start, end))
        if start:
            self.gate.wait(20)
        return self.data[start:end][: self.short if start else None]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(ranges, "FIRST", 1000)
    monkeypatch.setattr(ranges, "LARGEST", 8000)


@pytest.mark.parametrize(
    "left, number, length",
    [
        (8000 * AT_ONCE, AT_ONCE, 8000),
        (3000 * AT_ONCE - 7, AT_ONCE, 3000),  # all of them have the same share
        (3500, 4, 1000),
    ],
)
def test_ranges_come_in_order_and_several_at_once(small, left, number, length):
    held = Held(os.urandom(1000 + left), number)
    with Ranges(held) as stream:
        parts = [stream.read(6)]
        assert held.asked == [(0, 1000)]
        while part := stream.read(7001):
            parts.append(part)
    assert b"".join(parts) == held.data and stream.read(5) == b""
    lengths = [end - start for start, end in sorted(held.asked)[1:]]
    assert len(lengths) == number and set(lengths[:-1]) == {length}
    assert {len(part) for part in parts[1:-1]} <= {7001}


def test_a_short_answer_is_no_end(small):
    with Ranges(Held(bytes(9000), short=5)) as stream, pytest.raises(OSError, match="gave 5 bytes"):
        stream.read()


def asked(client, name: str) -> tuple[int, int]:
    """(requests, bytes) of downloads of one object since it was asked last."""
    gets = [r for r in client.store.requests if r.kind == "get" and r.path.endswith(name)]
    client.store.requests.clear()
    return len(gets), sum(r.sent for r in gets)


@pytest.mark.parametrize(
    "size, number, requests, read",
    [
        (3_000_000, 4, 5, FIRST + 4 * ranges.AFTER_FAR),  # one more for each picture passed over
        (300_000, 20, 3, 20 * 300_000),  # 1 and 2 and 4 MB: near places come with what is wanted
        (1000, 400, 2, 400 * 3072),
    ],
)
def test_keys_are_known_from_headers(reaching, tmp_path, size, number, requests, read):
    """What lies between headers is not fetched where another request costs less."""
    drawn = [(f"{n:03d}", {"jpg": os.urandom(size), "txt": b"a horse"}) for n in range(number)]
    shards.write(tmp_path / "0.tar", drawn)
    whole = (tmp_path / "0.tar").read_bytes()
    for name, data in (("whole", whole), ("cut", whole[: -size // 2])):
        reaching.s3.put_object(Bucket=BUCKET, Key=f"heads/{name}.tar", Body=data)
        reaching.store.requests.clear()
        keys = list(shards.scan(f"s3://{BUCKET}/heads/{name}.tar"))
        assert keys == [key for key, _ in drawn][: number if name == "whole" else len(keys)]
        assert keys == list(shards.scan(str(tmp_path / "0.tar")))[: len(keys)]
        asks, sent = asked(reaching, f"heads/{name}.tar")
        assert asks <= requests and sent <= read + 4096, (asks, sent)


def test_a_dry_run_asks_the_stats_and_not_the_shards(client, finished, caption):
    """Stats beside a shard say how many samples it has, to `--limit` too."""
    _, shown = caption(finished, "elsewhere", "--dry-run", "--limit", "8")
    assert "samples: 8" in shown or "3 samples" in shown, shown
    assert not [r for r in client.store.requests if r.kind == "get" and r.path.endswith(".tar")]


class Bytes:
    """A file of a store that notes which bytes are asked for."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size, self.asked = data, len(data), []

    def _fetch_range(self, start, end):
        self.asked.append((start, end))
        return self.data[start:end]


@pytest.mark.parametrize("seed", range(8))
def test_skipping_gives_the_bytes_that_are_there(small, monkeypatch, seed):
    monkeypatch.setattr(ranges, "FAR", 2500)
    monkeypatch.setattr(ranges, "AFTER_FAR", 300)
    draw = random.Random(seed)
    data = draw.randbytes(60_000)
    with Ranges(Bytes(data), skipping=True) as stream:
        at = 0
        while at < len(data):
            count = draw.choice([draw.randrange(1, 80), draw.randrange(1, 9000)])
            if draw.random() < 0.5:
                assert stream.skip(count) == len(data[at : at + count])
            else:
                assert stream.read(count) == data[at : at + count]
            at += count
        assert stream.skip(5) == 0 and stream.read(5) == b""
