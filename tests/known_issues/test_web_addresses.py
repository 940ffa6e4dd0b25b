"""Shards behind web addresses: errors without their status, and signatures that were kept.

A 404 ended in a traceback or in "cannot be opened"; a connection that broke looked like a damaged
shard and was finished; a signed URL was written into stats files, reports and messages, and its
renewed signature was taken for another input.
"""

from __future__ import annotations

import http.server
import json
import threading
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import members, samples

from socialcli import shards

pytest.importorskip("aiohttp")

SECRET = "0123abcdef0123abcdef"


class Store(http.server.BaseHTTPRequestHandler):
    """Objects under /x.tar; /signed/ wants a signature, /broken/ breaks off, /500/ fails."""

    protocol_version = "HTTP/1.1"
    data = b""
    headers_of: dict[str, str] = {}  # noqa: RUF012
    asked: list[str] = []  # noqa: RUF012 - one server a test

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def log_message(self, *_):
        pass

    def answer(self, body: bool) -> None:
        url = urlsplit(self.path)
        self.asked.append(self.path)
        status = 200 if url.path.endswith("/x.tar") else 404
        if url.path.startswith("/signed/"):
            status = 200 if "sig" in self.path and parse_qs(url.query).get("v") == ["1"] else 403
        if url.path.startswith("/500/"):
            status = 500
        data = self.data if status == 200 else b"no"
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        for name, value in self.headers_of.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2] if "/broken/" in self.path else data)
        self.close_connection = True


@pytest.fixture
def store(tmp_path):
    shards.write(tmp_path / "x.tar", samples(0, 4))
    Store.data, Store.asked, Store.headers_of = (tmp_path / "x.tar").read_bytes(), [], {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def signed(store: str, name: str, signature: str) -> str:
    return f"{store}/signed/x.tar?v=1&{name}={signature}&Expires=1790000000"


@pytest.mark.parametrize(
    "path, message", [("none.tar", "404"), ("signed/x.tar", "403"), ("500/x.tar", "500")]
)
def test_the_status_is_told_in_one_line(store, tmp_path, run_cli, path, message):
    done = run_cli("caption", f"{store}/{path}", "-o", tmp_path / "o", "--backend", "given", code=1)
    assert done.stderr.count(b"\n") == 1 and message.encode() in done.stderr, done.stderr
    assert not list((tmp_path / "o").glob("*.tar"))
    done = run_cli("validate", f"{store}/{path}", code=1)
    assert message.encode() in done.stdout


def test_a_connection_that_breaks_finishes_nothing(store, tmp_path, run_cli):
    done = run_cli("caption", f"{store}/broken/x.tar", "-o", tmp_path / "o", "--backend", "given",
                   code=1)  # fmt: skip
    assert done.stderr.startswith(b"socialcli: error: ") and done.stderr.count(b"\n") == 1
    assert not list((tmp_path / "o").glob("*"))


@pytest.mark.parametrize("name", ["X-Amz-Signature", "sig"])
def test_a_renewed_signature_is_the_same_input_and_is_kept_nowhere(store, tmp_path, run_cli, name):
    command = ("-o", tmp_path / "o", "--backend", "given")
    done = run_cli("caption", signed(store, name, SECRET), *command)
    assert members(tmp_path / "o").keys() == {f"{n:05d}" for n in range(4)}
    again = run_cli("caption", signed(store, name, "9876" + SECRET), *command)
    assert b"finished already" in again.stderr
    looked = run_cli("inspect", signed(store, name, SECRET), "--out", tmp_path / "page")
    checked = run_cli("validate", signed(store, name, SECRET), "--json")
    failed = run_cli("caption", signed(store, name, SECRET).replace("v=1", "v=2"), *command, code=2)
    planned = run_cli("caption", signed(store, name, SECRET), *command, "--dry-run")
    for process in (done, again, looked, checked, failed, planned):
        assert SECRET.encode() not in process.stdout + process.stderr
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    noted = json.loads((tmp_path / "o/x.stats.json").read_text())["input"][0]["location"]
    assert noted == f"{store}/signed/x.tar?v=1"


def test_another_object_at_the_same_place_is_another_input(store, tmp_path, run_cli):
    command = ("-o", tmp_path / "o", "--backend", "given")
    run_cli("caption", f"{store}/x.tar?id=1", *command)
    done = run_cli("caption", f"{store}/x.tar?id=2", *command, code=2)
    assert b"id=1" in done.stderr and b"id=2" in done.stderr


@pytest.mark.parametrize("header", ["ETag", "Last-Modified"])
def test_other_content_of_the_same_size_is_noticed(store, tmp_path, run_cli, header):
    command = ("caption", f"{store}/x.tar", "-o", tmp_path / "o", "--backend", "given")
    Store.headers_of = {header: "one"}
    run_cli(*command)
    Store.headers_of = {header: "two"}  # a mirror's own name for the same bytes
    assert b"finished already" in run_cli(*command).stderr
    Store.data = Store.data.replace(b"a person holds 1", b"a person holds 7")
    done = run_cli(*command, code=2)
    assert b"has changed since (checksum" in done.stderr
    Store.headers_of = {header: "one"}  # what the store vouches for is not read again
    Store.asked.clear()
    assert b"finished already" in run_cli(*command).stderr


def test_a_server_without_ranges_is_read_as_one_stream(store, tmp_path):
    """It answered a range with the whole shard: "Got more bytes than requested"."""
    large = [(f"{n:03d}", {"bin": bytes([n]) * 900_000}) for n in range(11)]
    shards.write(tmp_path / "large.tar", large)
    Store.data = (tmp_path / "large.tar").read_bytes()
    assert [(s.key, s.members) for s in shards.read(f"{store}/x.tar")] == large


def test_a_plan_for_other_machines_holds_no_signature(tmp_path):
    """Jobs of Slurm read their plan from a file, perhaps days later."""
    from socialcli.errors import UsageError
    from socialcli.pipeline.engines import slurm
    from socialcli.pipeline.plan import Plan, Task

    url = f"https://h/x.tar?X-Amz-Signature={SECRET}"
    for source, config in ((url, {}), ("in/a.tar+" + url, {}), ("a.tar", {"captions": url})):
        tasks = (Task(0, source, "o.tar"),)
        plan = Plan("stages", "caption", config, tasks)
        with pytest.raises(UsageError, match="is signed") as error:
            slurm._request(plan, list(tasks), {})
        assert SECRET not in str(error.value)
    tasks = (Task(0, "s3://bucket/a.tar", "o.tar"),)
    assert slurm._request(Plan("stages", "caption", {}, tasks), list(tasks), {}).number == 1


@pytest.mark.parametrize(
    "given, kept",
    [
        ("https://me:secret@h/x.tar", "https://h/x.tar"),
        ("https://token@h/x.tar", "https://h/x.tar"),
        ("https://h/x.tar?se=2026-01-01&sp=r&sv=1&sr=b&sig=abc%3D", "https://h/x.tar"),
        ("https://h/x.tar?id=7&Expires=1&Signature=a&Key-Pair-Id=k", "https://h/x.tar?id=7"),
        ("https://h/x.tar?id=7&date=monday", "https://h/x.tar?id=7&date=monday"),
        ("https://h/x.tar?X-Goog-Date=1&X-Goog-Signature=a", "https://h/x.tar"),
        ("https://h/x.tar?access_token=a", "https://h/x.tar"),
        ("https://h/x.tar?api_key=1", "https://h/x.tar"),
        ("https://h/x.tar?author=bob", "https://h/x.tar?author=bob"),
        ("abfs://box@account.dfs.core.windows.net/x.tar",
         "abfs://box@account.dfs.core.windows.net/x.tar"),
        ("s3://bucket/a?b.tar", "s3://bucket/a?b.tar"),
        ("plain/a:b@c.tar", "plain/a:b@c.tar"),
    ],
)  # fmt: skip
def test_what_of_a_location_may_be_written_down(given, kept):
    assert shards.public(given) == kept
    assert "secret" not in shards.public_text(f"GET {given} failed")


@pytest.mark.parametrize(
    "given, kept",
    [
        ("ftp://me:secret@h/x.tar: no such shard", "ftp://h/x.tar: no such shard"),
        ("'s3://key:secret@b/x.tar', 's3://b/y.tar'", "'s3://b/x.tar', 's3://b/y.tar'"),
        ("a/x.tar+ftp://me:secret@h/x.tar", "a/x.tar+ftp://h/x.tar"),
        ("ftp://me:secret@h/x.tar+ftp://me:secret@h/y.tar and", "ftp://h/x.tar+ftp://h/y.tar and"),
        ("https://h/x.tar?sig=secret+https://h/y.tar?sig=secret", "https://h/x.tar+https://h/y.tar"),
        ("gs://b/a+b/x.tar -> out/x.tar", "gs://b/a+b/x.tar -> out/x.tar"),
        ("key: 'a b', see a://b", "key: 'a b', see a://b"),
        ("1.tar+ftp://me:secret@h/x", "1.tar+ftp://h/x"),
        ("a" * 1_000_000 + "://me:secret@h", "a" * 1_000_000 + "://h"),
    ],
)  # fmt: skip
def test_no_message_tells_a_password(given, kept):
    """Of whatever scheme: only web addresses in a message were looked at."""
    assert shards.public_text(given) == kept


def test_no_command_tells_a_password(tmp_path, capsys):
    from socialcli.cli import app
    from socialcli.cli.commands import merge
    from socialcli.errors import UsageError

    sources = [f"ftp://me:secret@h/{folder}/x.tar" for folder in "ab"]
    with pytest.raises(UsageError) as error:
        merge.command(sources, str(tmp_path / "out"))
    app._say(str(error.value))
    assert "ftp://h/a/x.tar and ftp://h/b/x.tar would both" in capsys.readouterr().err
    merge.command(["memory://me:secret@h/x.tar"], str(tmp_path / "out"), dry_run=True)
    assert capsys.readouterr().out.startswith("memory://h/x.tar -> ")
