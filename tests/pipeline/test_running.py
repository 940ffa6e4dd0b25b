"""Runs of the cheapest stage (given captions): resuming, refusing, retrying, streaming."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import COMMAND, ENVIRONMENT, leftovers, members, picture, samples, tars

from socialcli import shards
from socialcli.errors import SampleFailed, SampleFiltered, SocialcliError
from socialcli.pipeline.batches import outcomes, sample_seed

CAPTION = ("caption", "--backend", "given")


def stats(out: Path, name: str = "000") -> dict:
    return json.loads((out / f"{name}.stats.json").read_text())


def errors(out: Path, name: str = "000") -> list[dict]:
    return [json.loads(line) for line in (out / f"{name}.errors.jsonl").read_text().splitlines()]


def write_mixed(path: Path) -> None:
    """One shard of which 00002 and 00004 have no caption to take."""
    rows = samples(0, 6)
    del rows[2][1]["txt"], rows[4][1]["txt"]
    shards.write(path, rows)


# -- one run --------------------------------------------------------------------------------------


def test_members_pass_byte_identical_and_in_order(run_cli, make_shards, tmp_path):
    folder = make_shards(2, 5)
    run_cli(*CAPTION, folder, "-o", tmp_path / "out")
    before = b"".join(p.read_bytes().rstrip(b"\0") for p in sorted(folder.glob("*.tar")))
    written = members(tmp_path / "out")
    assert list(written) == [f"{n:05d}" for n in range(10)]
    for key, expected in samples(0, 10):
        caption = json.loads(written[key].pop("caption.json"))
        assert written[key] == expected
        assert caption["text"] == expected["txt"].decode()
    # without the new members the shards are, header by header, what they were
    for name, data in tars(tmp_path / "out").items():
        out = io.BytesIO()
        writer = shards.Writer(out)
        for sample in shards.read(str(tmp_path / "out" / name)):
            sample.blocks = [b for b in sample.blocks if b[0] != "caption.json"]
            writer.passed(sample, {})
        writer.close()
        assert out.getvalue().rstrip(b"\0") == (folder / name).read_bytes().rstrip(b"\0")
        assert len(data) > len(before) // 2
    assert stats(tmp_path / "out")["counts"] == {
        "total": 5, "ok": 5, "filtered": 0, "failed": 0, "damaged": 0,
    }  # fmt: skip
    assert leftovers(tmp_path / "out") == []


def test_failures_have_reasons_and_counts_sum(run_cli, tmp_path):
    write_mixed(tmp_path / "000.tar")
    out = tmp_path / "out"
    done = run_cli(*CAPTION, tmp_path / "000.tar", "-o", out, code=1)
    assert b"33.3% of the samples failed" in done.stderr and b"--retry-failed" in done.stderr
    assert [(e["key"], e["status"], e["stage"]) for e in errors(out)] == [
        ("00002", "failed", "caption"), ("00004", "failed", "caption"),
    ]  # fmt: skip
    assert all("no given caption" in e["reason"] for e in errors(out))
    counts = stats(out)["counts"]
    assert counts["total"] == counts["ok"] + counts["filtered"] + counts["failed"] == 6
    assert list(members(out)) == [f"{n:05d}" for n in range(6)]
    assert "caption.json" not in members(out)["00002"]
    run_cli(*CAPTION, tmp_path / "000.tar", "-o", out, "--max-error-rate", "0.4")
    dropped = tmp_path / "dropped"
    options = ("--on-error", "drop", "--max-error-rate", "1")
    run_cli(*CAPTION, tmp_path / "000.tar", "-o", dropped, *options)
    assert list(members(dropped)) == ["00000", "00001", "00003", "00005"]
    assert stats(dropped)["counts"]["failed"] == 2


def test_rerun_skips_and_refuses(run_cli, make_shards, tmp_path):
    folder, out = make_shards(2, 3), tmp_path / "out"
    run_cli(*CAPTION, folder, "-o", out)
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.iterdir()}
    done = run_cli(*CAPTION, folder, "-o", out)
    assert b"2 of 2 shards are finished already" in done.stderr
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.iterdir()} == before
    # options that cannot change a result may differ
    run_cli(*CAPTION, folder, "-o", out, "--batch-size", "2", "--threads", "1")
    for changed, named in [
        (("--keep-existing",), "keep-existing was False, now True"),
        (("--seed", "5"), "seed was 0, now 5"),
        (("--sidecar",), "sidecar was False, now True"),
        (("--on-error", "drop"), "on-error was 'keep', now 'drop'"),
    ]:
        done = run_cli(*CAPTION, folder, "-o", out, *changed, code=2)
        assert named in done.stderr.decode() and b"--overwrite" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.iterdir()} == before
    run_cli(*CAPTION, folder, "-o", out, "--seed", "5", "--overwrite")
    assert stats(out)["seed"] == 5


def test_a_changed_input_is_refused(run_cli, make_shards, tmp_path):
    folder, out = make_shards(1, 3), tmp_path / "out"
    run_cli(*CAPTION, folder, "-o", out)
    shard = folder / "000.tar"
    good = shard.read_bytes()
    os.utime(shard, ns=(1, 1))  # only copied
    run_cli(*CAPTION, folder, "-o", out)
    shard.write_bytes(good.replace(b"holds 1", b"takes 1"))  # as many bytes as before
    done = run_cli(*CAPTION, folder, "-o", out, code=2)
    assert b"000.tar has changed since" in done.stderr and b"checksum" in done.stderr
    shards.write(shard, samples(0, 4))
    done = run_cli(*CAPTION, folder, "-o", out, code=2)
    assert b"000.tar has changed since" in done.stderr and b"bytes then" in done.stderr
    run_cli(*CAPTION, folder, "-o", out, "--overwrite")
    assert stats(out)["counts"]["total"] == 4


def test_a_lost_or_shortened_output_is_made_again(run_cli, make_shards, tmp_path):
    folder, out = make_shards(2, 3), tmp_path / "out"
    run_cli(*CAPTION, folder, "-o", out)
    expected = tars(out)
    (out / "000.tar").unlink()
    (out / "001.tar").write_bytes(expected["001.tar"][:-512])
    run_cli(*CAPTION, folder, "-o", out)
    assert tars(out) == expected


@pytest.mark.parametrize("how", [{}, {"sidecar": True}, {"on_error": "drop"}])
def test_retry_failed_gives_the_bytes_of_a_clean_run(tmp_path, monkeypatch, how):
    """Failures whose cause goes away without any option changing; the others are not touched."""
    from parts import part

    from socialcli.pipeline.run import RunOptions, run_stage

    caption = part("stages", "caption")

    rows = samples(0, 8)
    rows[5][1]["caption.json"] = b'{"schema":1,"text":"old"}'  # replaced, so it moves to the end
    shards.write(tmp_path / "000.tar", rows)
    config = {"backend": "given"}
    options = RunOptions(max_error_rate=1.0, quiet=True, **how)

    def run(out, **more):
        changed = RunOptions(**{**options.__dict__, **more})
        run_stage("stages", "caption", dict(config), [str(tmp_path / "000.tar")], str(out), changed)

    run(tmp_path / "clean")
    original = caption.prepare

    def broken(settings, sample):
        if sample.key in ("00002", "00005"):
            raise SampleFailed("the network was away")
        if sample.key == "00006":
            raise SampleFiltered("not wanted")
        return original(settings, sample)

    monkeypatch.setattr(caption, "prepare", broken)
    run(tmp_path / "retried")
    assert stats(tmp_path / "retried")["counts"]["failed"] == 2
    seen = []

    def mended(settings, sample):
        seen.append(sample.key)
        return original(settings, sample)

    monkeypatch.setattr(caption, "prepare", mended)
    run(tmp_path / "retried", retry_failed=True)
    assert sorted(seen) == ["00002", "00005"]  # nothing else was computed again
    counts = stats(tmp_path / "retried")["counts"]
    assert counts == {"total": 8, "ok": 7, "filtered": 1, "failed": 0, "damaged": 0}
    monkeypatch.setattr(caption, "prepare", lambda c, s: broken(c, s) if s.key == "00006"
                        else original(c, s))  # fmt: skip
    run(tmp_path / "clean", overwrite=True)
    assert tars(tmp_path / "retried") == tars(tmp_path / "clean")
    assert errors(tmp_path / "retried") == errors(tmp_path / "clean")


def test_limit_and_slice(run_cli, make_shards, tmp_path):
    folder = make_shards(4, 5)
    run_cli(*CAPTION, folder, "-o", tmp_path / "limited", "--limit", "7")
    assert list(members(tmp_path / "limited")) == [f"{n:05d}" for n in range(7)]
    run_cli(*CAPTION, folder, "-o", tmp_path / "whole", "--limit", "10")
    assert sorted(tars(tmp_path / "whole")) == ["000.tar", "001.tar"]
    for part in (0, 1, 2):
        run_cli(*CAPTION, folder, "-o", tmp_path / "sliced", "--slice", f"{part}/3")
        assert len(tars(tmp_path / "sliced")) == (2, 3, 4)[part]
    run_cli(*CAPTION, folder, "-o", tmp_path / "all")
    assert tars(tmp_path / "sliced") == tars(tmp_path / "all")
    assert (
        b"--slice 3/3"
        in run_cli(*CAPTION, folder, "-o", tmp_path / "x", "--slice", "3/3", code=2).stderr
    )


def test_results_do_not_depend_on_workers_or_shard_size(run_cli, picture_folder, tmp_path):
    pictures = picture_folder(23)
    for size in (3, 10):
        run_cli("import", "folder", pictures, "-o", tmp_path / f"in{size}", "--shard-size", size)
        for workers in (1, 2, 3):
            out = tmp_path / f"out{size}-{workers}"
            run_cli(*CAPTION, tmp_path / f"in{size}", "-o", out, "--workers", workers)
            assert tars(out) == tars(tmp_path / f"out{size}-1")
            assert leftovers(out) == []
    assert members(tmp_path / "out3-1") == members(tmp_path / "out10-1")
    assert len(members(tmp_path / "out3-1")) == 23


def test_dry_run_writes_nothing(run_cli, make_shards, tmp_path):
    folder = make_shards(2, 5)
    done = run_cli(*CAPTION, folder, "-o", tmp_path / "out", "--dry-run")
    text = done.stdout.decode()
    assert "2 shards" in text and "samples: 10" in text and "given" in text and "to do" in text
    assert not (tmp_path / "out").exists()


def test_log_json(run_cli, tmp_path):
    write_mixed(tmp_path / "000.tar")
    done = run_cli(*CAPTION, tmp_path / "000.tar", "-o", tmp_path / "o", "--log-json", code=1)
    lines = [json.loads(line) for line in done.stderr.decode().splitlines()]
    assert [x["counts"]["ok"] for x in lines if x["event"] == "shard"] == [4]
    assert lines[-1]["event"] == "error" and done.stdout == b""


# -- sidecars -------------------------------------------------------------------------------------


def test_sidecar_joined_and_merged_is_the_inline_output(run_cli, tmp_path):
    """Failed, filtered, doubled and unsafe samples included, byte for byte."""
    folder = tmp_path / "in"
    folder.mkdir()
    rows = samples(0, 6)
    del rows[2][1]["txt"]
    rows[3][1]["caption.json"] = b'{"schema":1,"text":"old"}'
    rows.append(rows[0])
    rows.append(("../evil", {"jpg": picture(1), "txt": b"x"}))
    rows.append((b"caf\xe9".decode("utf-8", "surrogateescape"), {"jpg": picture(1)}))
    rows.append(("line\u2028break", {"jpg": picture(1)}))
    rows += samples(10, 12)
    shards.write(folder / "000.tar", rows)
    shards.write(folder / "001.tar", samples(20, 23))
    for extra in ((), ("--on-error", "drop")):
        for out in ("inline", "side", "merged"):
            shutil.rmtree(tmp_path / out, ignore_errors=True)
        options = ("--max-error-rate", "1", *extra)
        run_cli(*CAPTION, folder, "-o", tmp_path / "inline", *options)
        run_cli(*CAPTION, folder, "-o", tmp_path / "side", "--sidecar", *options)
        side = shards.read(str(tmp_path / "side" / "000.tar"))
        assert all(set(s.members) <= {"caption.json", "status.json"} for s in side)
        merge = ("merge", f"{folder}/+{tmp_path}/side/", "-o", tmp_path / "merged")
        run_cli(*merge, "--max-error-rate", 1)
        assert tars(tmp_path / "merged") == tars(tmp_path / "inline")
        # what went wrong is told beside the merged shard as beside the stage's own
        failed_keys = [
            {json.loads(line)["key"] for line in (tmp_path / out / "000.errors.jsonl").open()}
            for out in ("merged", "inline")
        ]
        assert failed_keys[0] == failed_keys[1] != set()
        # a second stage on the join gives what it gives on the inline output
        second = ("--keep-existing", "--max-error-rate", "1", "--on-error", "drop")
        join = f"{folder}/+{tmp_path}/side/"
        run_cli(*CAPTION, join, "-o", tmp_path / f"join2{len(extra)}", *second)
        run_cli(*CAPTION, tmp_path / "inline", "-o", tmp_path / f"inline2{len(extra)}", *second)
        assert tars(tmp_path / f"join2{len(extra)}") == tars(tmp_path / f"inline2{len(extra)}")


def test_sidecars_of_other_shards_are_refused(run_cli, make_shards, tmp_path):
    folder = make_shards(2, 3)
    run_cli(*CAPTION, folder, "-o", tmp_path / "side", "--sidecar")
    wrong = f"{folder}/000.tar+{tmp_path}/side/001.tar"
    done = run_cli(*CAPTION, wrong, "-o", tmp_path / "out", code=1)
    assert b"do not match: at key '00000' of the first the second has '00003'" in done.stderr
    assert tars(tmp_path / "out") == {} and leftovers(tmp_path / "out") == []


# -- pipes and endings ----------------------------------------------------------------------------


def test_pipes_give_what_files_give(run_cli, make_shards, tmp_path):
    folder = make_shards(3, 4)
    run_cli(*CAPTION, folder, "-o", tmp_path / "files")
    data = b"".join(p.read_bytes() for p in sorted(folder.glob("*.tar")))
    first = run_cli(*CAPTION, "-", "-o", "-", stdin=data)
    second = run_cli(*CAPTION, "-", "-o", "-", "--keep-existing", stdin=first.stdout)
    (tmp_path / "piped.tar").write_bytes(second.stdout)
    assert members(tmp_path / "piped.tar") == members(tmp_path / "files")
    done = run_cli(*CAPTION, folder, "-o", "-")
    (tmp_path / "all.tar").write_bytes(done.stdout)
    assert members(tmp_path / "all.tar") == members(tmp_path / "files")


def test_a_closed_pipe_ends_quietly(make_shards):
    folder = make_shards(2, 400)
    process = subprocess.Popen(
        [*COMMAND, *CAPTION, folder, "-o", "-"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    assert process.stdout.read(1000)
    process.stdout.close()
    stderr = process.stderr.read()
    assert process.wait(300) == 0
    assert stderr == b""


@pytest.mark.parametrize("sign, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted(make_shards, tmp_path, signals, sign, code, workers):
    folder, out = make_shards(2, 3000), tmp_path / "out"
    process = subprocess.Popen(
        [*COMMAND, *CAPTION, folder, "-o", out, "--workers", str(workers)],
        stderr=subprocess.PIPE, env={**os.environ, **ENVIRONMENT}, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(lambda: out.exists() and leftovers(out), process)
        if sign == signal.SIGINT:
            os.killpg(process.pid, sign)  # as a terminal does
        else:
            process.send_signal(sign)
        stderr = process.communicate(timeout=300)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, stderr
    assert b"Traceback" not in stderr
    assert leftovers(out) == []
    for tar in out.glob("*.tar"):
        assert len(members(tar)) == 3000


def wait_for(condition, process, seconds: float = 300) -> None:
    """Poll until the condition holds; fails when the process ended before."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.01)


def test_usage_errors(run_cli, make_shards, tmp_path):
    folder = make_shards(1, 2)
    for arguments, word in [
        ((folder,), "output"),
        (("nowhere.tar", "-o", tmp_path / "x"), "no such shard"),
        ((folder, "-o", tmp_path / "x", "--workers", "0"), "--workers"),
        ((folder, "-o", tmp_path / "x", "--batch-size", "0"), "--batch-size"),
        ((folder, "-o", tmp_path / "x", "--max-error-rate", "5"), "--max-error-rate"),
        ((folder, "-o", tmp_path / "x", "--on-error", "explode"), "There are: keep, drop"),
        ((folder, "-o", tmp_path / "x", "--engine", "abacus"), "abacus"),
        ((folder, "-o", folder), "also an input"),
        ((folder, folder, "-o", tmp_path / "x"), "both be written"),
        ((folder, "-o", tmp_path / "x" / "{nome}.tar"), "{name}"),
    ]:
        done = run_cli(*CAPTION, *arguments, code=2)
        assert word in done.stderr.decode(), done.stderr
    assert not (tmp_path / "x").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(run_cli, make_shards, tmp_path):
    folder = make_shards(3, 60)
    run_cli(*CAPTION, folder, "-o", tmp_path / "enough")
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(map(len, tars(tmp_path / "enough").values())) * 2 // 3
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True
        ).returncode
    )
    if mounted:
        try:
            done = run_cli(*CAPTION, folder, "-o", disk / "out", code=1)
            assert b"the disk is full" in done.stderr and len(done.stderr.splitlines()) == 1
            assert leftovers(disk) == []
            written = tars(disk / "out")
            assert written and written.items() <= tars(tmp_path / "enough").items()
            subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
            done = run_cli(*CAPTION, folder, "-o", disk / "out")
            assert b"shards are finished already" in done.stderr
            assert tars(disk / "out") == tars(tmp_path / "enough")
        finally:
            subprocess.run(["umount", disk], check=True)
    if Path("/dev/full").exists():
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [*COMMAND, *CAPTION, folder, "-o", "-"], stdout=full, stderr=subprocess.PIPE,
                env={**os.environ, **ENVIRONMENT},
            )  # fmt: skip
        assert done.returncode == 1 and b"the disk is full" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_full_disk_without_root(tmp_path, monkeypatch):
    import errno

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SocialcliError, match="the disk is full"):
        shards.write(tmp_path / "a.tar", samples(0, 1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_stays_flat_through_pipes(make_shards):
    """The peak of a stream of 300 shards is that of 30."""
    shard = (make_shards(1, 40) / "000.tar").read_bytes()
    per_shard = 40
    peaks = []
    for count in (30, 300):
        process = subprocess.Popen(
            [sys.executable, "-c", PEAK, *CAPTION, "-", "-o", "-"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT},
        )  # fmt: skip
        feeder = subprocess.Popen(
            [sys.executable, "-c", FEED, str(count)], stdin=subprocess.PIPE, stdout=process.stdin
        )
        process.stdin.close()
        feeder.stdin.write(shard)
        feeder.stdin.close()
        while process.stdout.read(1 << 20):
            pass
        stderr = process.stderr.read().decode()
        assert process.wait(60) == 0 and feeder.wait(60) == 0, stderr
        assert f"{count * per_shard} samples: {count * per_shard} ok" in stderr
        peaks.append(int(re.search(r"VmHWM:\s+(\d+) kB", stderr)[1]))
    assert peaks[1] < peaks[0] + 8_000, peaks  # kB; the stream is ten times 30 shards of 0.3 MB


# The keys of each copy are made distinct by rewriting the members' names.
FEED = """
import sys
from socialcli import shards
import io
data = sys.stdin.buffer.read()
from socialcli.shards.sample import _group
found = _group(io.BytesIO(data), shards.Checksum())
found = [(s.key, {**s.members, "pad": bytes(9000)}) for s in found]
out = sys.stdout.buffer
for copy in range(int(sys.argv[1])):
    writer = shards.Writer(out)
    for key, members in found:
        writer.added(f"{copy:03d}-{key}", members)
    writer.close()
"""
PEAK = """
import atexit, sys
atexit.register(lambda: sys.stderr.write(open("/proc/self/status").read()))
from socialcli.cli.app import main
sys.argv[0] = "socialcli"
main()
"""


# -- batches --------------------------------------------------------------------------------------


def run_batches(process, count=10, batch_size=4, prepare=lambda config, sample: sample.key, **more):
    messages = []
    stage = SimpleNamespace(name="fake", WRITES=(), prepare=prepare, process=process)
    source = iter([shards.Sample(f"{n:02d}") for n in range(count)])
    results = list(
        outcomes(source, stage, None, None, name="fake", seed=0, batch_size=batch_size,
                 say=messages.append, **more)
    )  # fmt: skip
    assert [o.sample.key for o in results] == [f"{n:02d}" for n in range(count)]
    return {o.sample.key: o.result for o in results}, messages


def good(items):
    return [{"x": item.work.encode()} for item in items]


def test_out_of_memory_halves_the_batch():
    import torch

    sizes = []

    def process(config, loaded, items):
        sizes.append(len(items))
        if len(items) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return good(items)

    results, messages = run_batches(process, count=16, batch_size=8)
    assert all(results[key] == {"x": key.encode()} for key in results)
    assert sizes[:3] == [8, 4, 2] and max(sizes[2:]) == 2  # and stays there
    assert messages == [f"out of memory: the batch size is now {n}" for n in (4, 2)]


def test_out_of_memory_even_alone_fails_that_sample():
    def process(config, loaded, items):
        if any(item.key == "05" for item in items):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return good(items)

    results, _ = run_batches(process)
    assert "out of memory" in str(results.pop("05"))
    assert all(result == {"x": key.encode()} for key, result in results.items())


def test_one_bad_item_does_not_fail_its_batch():
    def process(config, loaded, items):
        if any(item.key == "06" for item in items):
            raise ValueError("cannot think about this")
        return good(items)

    results, _ = run_batches(process)
    assert str(results.pop("06")) == "ValueError: cannot think about this"
    assert all(result == {"x": key.encode()} for key, result in results.items())


def test_prepare_may_fail_or_filter():
    def prepare(config, sample):
        if sample.key == "01":
            raise SampleFailed("no")
        if sample.key == "02":
            raise SampleFiltered("unwanted")
        if sample.key == "03":
            raise KeyError("boom")
        if sample.key == "04":
            raise MemoryError
        return sample.key

    results, _ = run_batches(lambda c, m, items: good(items), prepare=prepare, batch_size=3)
    assert isinstance(results["02"], SampleFiltered)
    assert [str(results[k]) for k in ("01", "03", "04")] == [
        "no", "KeyError: 'boom'", "out of memory while preparing it",
    ]  # fmt: skip
    assert results["09"] == {"x": b"09"}


def test_a_stage_that_loses_items_is_caught():
    with pytest.raises(SocialcliError, match="returned 3 results for 4 items"):
        run_batches(lambda c, m, items: good(items)[1:])


def test_seeds_hang_on_seed_stage_and_key_alone():
    seeds = {sample_seed(s, t, k) for s in (0, 1) for t in ("a", "b") for k in ("x", "y")}
    assert len(seeds) == 8 and all(0 <= s < 2**63 for s in seeds)
    assert sample_seed(0, "caption", "00001") == sample_seed(0, "caption", "00001")
    collected: dict[str, int] = {}

    def process(config, loaded, items):
        collected.update({item.key: item.seed for item in items})
        return good(items)

    run_batches(process, batch_size=1)
    before = dict(collected)
    run_batches(process, batch_size=7)
    assert collected == before


def test_batches_are_full():
    """The model is not starved: full batches as long as there are samples."""
    sizes = []

    def process(config, loaded, items):
        sizes.append(len(items))
        return good(items)

    run_batches(process, count=22, batch_size=5)
    assert sizes == [5, 5, 5, 5, 2]


def test_a_file_of_somebody_else_is_not_replaced(run_cli, tmp_path) -> None:
    shards.write(tmp_path / "in.tar", samples(0, 3))
    theirs = tmp_path / "out.tar"
    theirs.write_bytes(b"a year of somebody's work")
    done = run_cli("caption", tmp_path / "in.tar", "--backend", "given", "-o", theirs, code=2)
    assert b"--overwrite" in done.stderr
    assert theirs.read_bytes() == b"a year of somebody's work"
    run_cli("caption", tmp_path / "in.tar", "--backend", "given", "-o", theirs, "--overwrite")
    assert len(list(shards.read(str(theirs)))) == 3


def test_several_shards_on_stdout_are_one_archive(run_cli, tmp_path) -> None:
    """tarfile, like webdataset, stops at the first end mark."""
    import tarfile

    for n in range(3):
        shards.write(tmp_path / "in" / f"{n}.tar", samples(10 * n, 10 * n + 4))
    for command in ([*CAPTION, tmp_path / "in"], ["merge", tmp_path / "in"]):
        done = run_cli(*command, "-o", "-")
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            pictures = [m.name for m in archive if m.name.endswith(".jpg")]
        assert len(pictures) == 12
        assert done.stdout.endswith(bytes(1024)) and len(done.stdout) % 512 == 0


def test_an_import_reads_its_annotations_once(monkeypatch, tmp_path) -> None:
    """However many shards it makes; and any shard alone is the same."""
    from parts import part

    folder = part("importers", "folder")
    from socialcli.importers._stage import ImportStage

    for n in range(10):
        (tmp_path / f"{n}.jpg").write_bytes(picture(n))
    calls = []
    entries = folder.entries
    monkeypatch.setattr(folder, "entries", lambda config: calls.append(1) or entries(config))
    stage, config = ImportStage(folder), folder.Config(source=str(tmp_path))
    parts = ["0:3", "3:6", "9:12"]
    keys = [[s.key for s in stage.samples(config, part)] for part in parts]
    assert keys == [["0", "1", "2"], ["3", "4", "5"], ["9"]]
    assert len(calls) == 1
    assert [s.key for s in stage.samples(config, "1:2")] == ["1"]  # back again
