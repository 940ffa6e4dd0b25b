"""Stages from S3 to S3 through the real command line, against a server that fails when told."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import tarfile
import threading
import time
from collections import Counter

import pytest
from conftest import ENVIRONMENT, leftovers, picture, samples, tars

from socialcli import shards
from socialcli.shards import ranges
from socialcli.shards.ranges import AT_ONCE, FIRST, Ranges

boto3 = pytest.importorskip("boto3")
pytest.importorskip("s3fs")
pytest.importorskip("moto")

from socialcli.benchmarks import loopback  # noqa: E402

BUCKET, COUNT = "bucket", 5


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
    with loopback.store() as (address, store):
        yield Client(address, store)


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


@pytest.fixture
def caption(run_cli, client, tmp_path):
    def run(source: str, prefix: str, *more, **options):
        env = {**client.environment, "TMPDIR": str(tmp_path)}
        words = ("caption", source, "-o", f"s3://{BUCKET}/{prefix}/", "--backend", "given")
        return run_cli(*words, *more, env=env, **options)

    return run


def test_the_same_bytes_as_on_disk_and_found_finished_in_one_listing(
    client, local, caption, tmp_path
):
    source = client.put(local / "in", "in")
    caption(source, "out")
    assert client.tars("out") == tars(local / "out")
    assert sum(name.endswith(".stats.json") for name in client.names("out")) == COUNT
    noted = json.loads(client.get("out", "000.stats.json"))["input"][0]
    assert noted["location"] == f"{source}000.tar" and noted["modified"]
    assert not leftovers(tmp_path)
    client.store.requests.clear()
    again = caption(source, "out")
    assert f"{COUNT} of {COUNT} shards are finished already".encode() in again.stderr
    kinds = Counter(request.kind for request in client.store.requests)
    # The input for its shards, then both folders for what is known of each shard.
    assert kinds == {"list": 3, "get": COUNT}, kinds
    assert all("stats.json" in r.path for r in client.store.requests if r.kind == "get")


def test_a_prefix_that_cannot_be_listed_is_asked_file_by_file(client, local, caption):
    client.put(local / "in", "in")
    sources = f"s3://{BUCKET}/in/{{000..{COUNT - 1:03d}}}.tar"
    caption(sources, "unlisted")
    client.store.fault = lambda request: 403 if request.kind == "list" else None
    done = caption(sources, "unlisted")
    assert f"{COUNT} of {COUNT} shards are finished already".encode() in done.stderr


@pytest.mark.parametrize("answer", [503, "cut"])
def test_what_a_store_fails_once_is_asked_again(client, local, caption, answer):
    """Every object's first download, upload and listing fails, a cut one in the middle."""
    source, failed = client.put(local / "in", "in"), set()

    def fault(request):
        first = (request.method, request.path) not in failed
        failed.add((request.method, request.path))
        return answer if first and request.kind in ("get", "put", "list") else None

    client.store.fault = fault
    caption(source, f"mended-{answer}")
    client.store.fault = None
    assert client.tars(f"mended-{answer}") == tars(local / "out")
    assert len(failed) > 3 * COUNT


@pytest.mark.parametrize("answer, kind", [(500, "put"), ("cut", "put"), ("cut", "get")])
def test_what_a_store_always_fails_ends_in_one_line(client, local, caption, tmp_path, answer, kind):
    """The third shard cannot be read, or not be written: those before it stay, it is not there."""
    source, prefix = client.put(local / "in", "in"), f"failed-{answer}-{kind}"

    def fault(request):
        return answer if request.kind == kind and request.path.endswith("002.tar") else None

    client.store.fault = fault
    done = caption(source, prefix, code=1)
    assert done.stderr.count(b"\n") == 1 and b"002.tar: " in done.stderr, done.stderr
    assert (b"read" if kind == "get" else b"written") in done.stderr or b"500" in done.stderr
    there = client.names(prefix)
    assert "002.tar" not in there and "002.stats.json" not in there and "001.stats.json" in there
    assert not leftovers(tmp_path)
    client.store.fault = None
    again = caption(source, prefix)
    assert b"shards are finished already" in again.stderr
    assert client.tars(prefix) == tars(local / "out")


def kill_at(reached, words, client, folder):
    """Start a command whose temporary files lie in a folder; kill -9 it once ``reached`` is set."""
    env = {**os.environ, **ENVIRONMENT, **client.environment, "TMPDIR": str(folder)}
    process = subprocess.Popen(words, env=env, stderr=subprocess.PIPE)
    assert reached.wait(60)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_killed_while_it_uploads(client, local, caption, program, tmp_path):
    """Killed without a chance to tidy up: nothing half written has a name, and the next run goes
    on, and removes what was left on the local disk."""
    source, reached = client.put(local / "in", "in"), threading.Event()
    released = threading.Event()

    def fault(request):
        if request.kind == "put" and request.path.endswith("killed/002.tar"):
            reached.set()
            released.wait(60)
            return 500
        return None

    client.store.fault = fault
    words = ["caption", source, "-o", f"s3://{BUCKET}/killed/", "--backend", "given"]
    kill_at(reached, [*program, *words], client, tmp_path)
    released.set()
    deadline = time.monotonic() + 30
    while not leftovers(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert leftovers(tmp_path)  # the shard that was under way
    there = client.names("killed")
    assert "002.tar" not in there and "002.stats.json" not in there and "001.stats.json" in there
    client.store.fault = None
    done = caption(source, "killed")
    assert f"2 of {COUNT} shards are finished already".encode() in done.stderr
    assert client.tars("killed") == tars(local / "out")
    assert not leftovers(tmp_path)


@pytest.fixture(scope="module")
def in_parts(tmp_path_factory, running):
    """A folder in the store with one shard that is uploaded in three parts, and its bytes."""
    folder = tmp_path_factory.mktemp("large")
    drawn = picture(kind="PNG")
    noise = [
        (f"{n}", {"txt": b"A cat.", "png": drawn, "bin": os.urandom(6 << 20)}) for n in (1, 2, 3)
    ]
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
    words = [
        "caption",
        f"s3://{BUCKET}/parts/",
        "-o",
        f"s3://{BUCKET}/halves/",
        "--backend",
        "given",
    ]
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


def test_an_upload_in_parts_that_fails_is_aborted(client, in_parts, caption, tmp_path):
    client.store.fault = lambda one: (
        500 if one.kind == "part" and "partNumber=2" in one.query else None
    )
    done = caption(f"s3://{BUCKET}/parts/", "aborted", code=1)
    assert done.stderr.count(b"\n") == 1 and b"0.tar: cannot be written" in done.stderr
    assert client.store.count("abort") == 1 and not unfinished_uploads(client)
    assert client.names("aborted") == ["0.errors.jsonl"] and not leftovers(tmp_path)


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
    done = caption(f"s3://{BUCKET}/changing/0.tar", "changed", code=1)
    assert len(seen) > 1 and b"changing/0.tar: " in done.stderr
    assert done.stderr.count(b"\n") == 1 and not client.names("changed")


def test_the_first_sample_costs_one_range(client, caption, local):
    large = [(f"{n:03d}", {"txt": b"a horse", "bin": bytes(400_000)}) for n in range(12)]
    shards.write(local / "one.tar", large)
    client.s3.put_object(Bucket=BUCKET, Key="one/0.tar", Body=(local / "one.tar").read_bytes())
    client.store.requests.clear()
    with_keys = caption(f"s3://{BUCKET}/one/0.tar", "first", "--limit", "1")
    assert b"1 samples: 1 ok" in with_keys.stderr
    shard = [r for r in client.store.requests if r.kind == "get" and "one/0.tar" in r.path]
    # Once to see that there is more than one sample, once to make it.
    assert sum(r.sent for r in shard) <= 2 * FIRST, shard


def test_what_was_written_since_is_listed(client, local, monkeypatch):
    """By the same process, whose client would remember its first listing."""
    for name, value in client.environment.items():
        monkeypatch.setenv(name, value)
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


def test_ranges_come_in_order_and_several_at_once(small):
    # 1 and 2 and 4 and 8 kB and so on: after the first range there are as many as come at once.
    held = Held(os.urandom(1000 * (1 + 2 + 4 + 8 * (AT_ONCE - 2))), AT_ONCE)
    with Ranges(held) as stream:
        parts = [stream.read(6)]
        assert held.asked == [(0, 1000)]
        while part := stream.read(7001):
            parts.append(part)
    assert b"".join(parts) == held.data and stream.read(5) == b""
    assert max(end - start for start, end in held.asked) == 8000 and len(held.asked) == AT_ONCE + 1
    assert {len(part) for part in parts[1:-1]} == {7001}


def test_a_short_answer_is_no_end(small):
    with Ranges(Held(bytes(9000), short=5)) as stream, pytest.raises(OSError, match="gave 5 bytes"):
        stream.read()


@pytest.fixture
def reaching(client, monkeypatch):
    """This process's clients talk to the store."""
    for name, value in client.environment.items():
        monkeypatch.setenv(name, value)
    return client


def asked(client, name: str) -> tuple[int, int]:
    """(requests, bytes) of downloads of one object since it was asked last."""
    gets = [r for r in client.store.requests if r.kind == "get" and r.path.endswith(name)]
    client.store.requests.clear()
    return len(gets), sum(r.sent for r in gets)


@pytest.mark.parametrize(
    "size, number, requests, read",
    [
        (3_000_000, 6, 7, FIRST + 6 * ranges.AFTER_FAR),  # one more for each picture passed over
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


def test_a_dry_run_asks_the_stats_and_not_the_shards(client, caption, local):
    """Stats beside a shard say how many samples it has, to `--limit` too."""
    caption(client.put(local / "in", "in"), "counted")
    client.store.requests.clear()
    source = f"s3://{BUCKET}/counted/"
    done = caption(source, "elsewhere", "--dry-run", "--limit", "8")
    assert b"samples: 8" in done.stdout or b"3 samples" in done.stdout, done.stdout
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
