"""One machine, a Ray cluster and a Slurm cluster give the same bytes, through the real engines.

The engines that are not installed are skipped with the reason; with SOCIALCLI_NEED_ENGINES=1 in
the environment that is a failure.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import slurm_node
from conftest import picture
from PIL import Image

from socialcli import registry, shards
from socialcli.errors import SocialcliError, UsageError
from socialcli.pipeline import plan as planning
from socialcli.pipeline.plan import Plan, Stats, Task
from socialcli.pipeline.report import Report

REPOSITORY = Path(__file__).parents[2]
# Starts as `socialcli` does, from this checkout; OpenMP threads of two workers would fight.
ENV = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
ENV.pop("RAY_ADDRESS", None)
# Ray's clusters know their own by a token; without one it would leave a new one in $HOME.
RAY_ENV = {
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONPATH": str(REPOSITORY),
}
ENV |= {**RAY_ENV, "RAY_AUTH_MODE": "token"}
HAVE_ENTITIES = (REPOSITORY / "socialcli/stages/extract_entities.py").exists()


def unavailable(why: str) -> None:
    if os.environ.get("SOCIALCLI_NEED_ENGINES"):
        pytest.fail(why)
    pytest.skip(why)


def socialcli(
    *words: str,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    ok: bool = True,
    python: Sequence[str] = (sys.executable,),
) -> subprocess.CompletedProcess[str]:
    command = [*python, "-m", "socialcli", *words]
    done = subprocess.run(
        command, env={**ENV, **(env or {})}, cwd=cwd, capture_output=True, text=True, timeout=120
    )
    if ok:
        assert done.returncode == 0, done.stderr
    return done


def chain(
    folder: Path,
    *flags: str,
    env: dict[str, str] | None = None,
    python: Sequence[str] = (sys.executable,),
) -> dict[str, bytes]:
    """import, caption, extract-entities from inside ``folder``'s parent, by relative names."""
    where, out = folder.parent, folder.name
    given = ["caption", f"{out}/a", "-o", f"{out}/b", "--backend", "given"]
    steps = [
        ["import", "folder", "pictures", "-o", f"{out}/a", "--shard-size", "3"],
        [*given, "--max-error-rate", "0.2"],
    ]
    if HAVE_ENTITIES:
        steps.append(["extract-entities", f"{out}/b", "-o", f"{out}/c", "--max-error-rate", "0.2"])
    for step in steps:
        done = socialcli(*step, *flags, env=env, cwd=where, python=python)
        assert "samples: 1" in done.stderr
    return content(folder)


def content(folder: Path) -> dict[str, bytes]:
    """Every shard and errors file below a folder."""
    files = [*folder.glob("*/*.tar"), *folder.glob("*/*.errors.jsonl")]
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``pictures``: eleven captioned ones and one that will fail."""
    folder = tmp_path_factory.mktemp("engines")
    (folder / "pictures").mkdir()
    for i in range(12):
        picture = folder / "pictures" / f"p{i:02d}.png"
        Image.new("RGB", (20 + i, 30), (20 * i, 90, 200)).save(picture)
        if i != 7:
            text = f"A man with {i} dogs is kissing a woman on a bench."
            picture.with_suffix(".txt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def expected(work: Path, python: list[str]) -> dict[str, bytes]:
    """What one process makes of the pictures."""
    files = chain(work / "local1", python=python)
    assert len(files) == (24 if HAVE_ENTITIES else 16)
    assert b"no given caption" in files["b/000002.errors.jsonl"]
    return files


def two_shards(folder: Path) -> Plan:
    """A plan over a shard that is there and a pipe, which gives what the test writes, when it
    does: whoever reads it can be killed in the middle of its work."""
    for name in ("one", "two"):
        drawn = picture(kind="PNG")
        samples = [(f"{name}{i}", {"txt": b"A cat.", "png": drawn}) for i in range(5)]
        shards.write(folder / f"{name}.tar", samples)
    os.mkfifo(folder / "pipe.tar")
    sources = [str(folder / "one.tar"), str(folder / "pipe.tar")]
    tasks = tuple(Task(i, s, str(folder / f"out/{i}.tar")) for i, s in enumerate(sources))
    return Plan("stages", "caption", {"backend": "given", "device": "cpu"}, tasks, quiet=True)


def reader(pipe: Path, seconds: float = 120) -> tuple[int, int]:
    """(our end of the pipe, id of the process that reads it), as soon as one does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            ours = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            assert error.errno == errno.ENXIO
            time.sleep(0.05)
            continue
        os.set_blocking(ours, True)
        while time.monotonic() < end:
            for entry in Path("/proc").glob("[0-9]*/fd/*"):
                with contextlib.suppress(OSError):
                    pid = int(entry.parts[2])
                    if pid != os.getpid() and entry.readlink() == pipe:
                        return ours, pid
    raise TimeoutError(f"nobody reads {pipe}")


def feed(folder: Path) -> None:
    """Give the next reader of the pipe the whole of two.tar."""
    ours, _ = reader(folder / "pipe.tar")
    with os.fdopen(ours, "wb") as stream:
        stream.write((folder / "two.tar").read_bytes())


def kill_reader(folder: Path) -> None:
    """Kill who reads the pipe, once the shard before it is finished: inputs are opened ahead."""
    ours, pid = reader(folder / "pipe.tar")
    end = time.monotonic() + 120
    while not (folder / "out/0.stats.json").exists() and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    gone(pid)
    os.close(ours)


def catches(pid: int, sign: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.M)
    return caught is not None and bool(int(caught[1], 16) >> (sign - 1) & 1)


def gone(pid: int) -> None:
    """Return when a process has closed its files: it would read on in a pipe that we close."""
    with contextlib.suppress(OSError):
        while any(Path(f"/proc/{pid}/fd").iterdir()):
            time.sleep(0.01)


class Told(Report):
    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []
        self.samples = 0

    def info(self, message: str, **facts: object) -> None:
        self.lines.append(message)

    def warn(self, message: str, **facts: object) -> None:
        self.lines.append(message)

    def advance(self, samples: int) -> None:
        self.samples += samples


def began(engine: str, plan: Plan, options: dict[str, str], report: Report) -> Future[Stats]:
    run = registry.load("engines", engine).run
    return ThreadPoolExecutor(1).submit(run, plan, list(plan.tasks), options, report)


# Plans and slices of them


def test_a_plan_survives_json() -> None:
    tasks = (Task(0, "a.tar+b.tar", "out/ü.tar", 7), Task(3, "0:100", "s3://x/000001.tar"))
    config = {"text": 'line\n"quoted" \udcff', "number": 0.1, "none": None, "list": ["a", 1]}
    plan = Plan("stages", "caption", config, tasks, 9, True, "drop", True, True, 0.5, 4, 3, True)
    text = plan.to_json()
    assert Plan.from_json(text) == plan
    assert json.loads(text)["tasks"][0]["limit"] == 7
    assert text.isascii()  # safe to read back under any locale


def test_work_does_its_slice_and_collect_sums(
    work: Path, tmp_path: Path, python: list[str]
) -> None:
    run = functools.partial(socialcli, python=python)
    run("import", "folder", "pictures", "-o", f"{tmp_path}/a", "--shard-size", "3", cwd=work)
    config = {"backend": "given", "device": "cpu"}
    sources = shards.expand([f"{tmp_path}/a"])
    targets = planning.targets(sources, f"{tmp_path}/b")
    tasks = tuple(Task(i, *pair) for i, pair in enumerate(zip(sources, targets, strict=True)))
    file = tmp_path / "x.plan.json"
    # One of three samples of slice 2 fails: too much for the slice, not for the whole.
    plan = Plan("stages", "caption", config, tasks, max_error_rate=0.1)
    file.write_text(plan.to_json())
    job = ["work", str(file), "--submission", "job"]
    for i in (0, 1, 3):
        run(*job, "--slice", f"{i}/4")
    early = run(*job, "--collect", "--of", "4", ok=False)
    assert early.returncode == 1 and "1 of 4 shards are not finished" in early.stderr
    assert json.loads((tmp_path / "logs/job.summary.json").read_text())["tasks"][2] is None
    assert run(*job, "--slice", "2/4").returncode == 0
    again = run(*job, "--slice", "2/4")
    assert "1 of 1 shards are finished already" in again.stderr
    summary = json.loads(run(*job, "--collect", "--of", "4").stdout)
    assert summary["stats"]["counts"] == {
        "total": 12, "ok": 11, "filtered": 0, "failed": 1, "damaged": 0,
    }  # fmt: skip
    assert summary["tasks"] == [{"exit": 0, "message": ""}] * 4
    assert json.loads((tmp_path / "logs/job.summary.json").read_text()) == summary
    file.write_text(file.read_text().replace('"max_error_rate": 0.1', '"max_error_rate": 0.05'))
    strict = run(*job, "--collect", ok=False)
    assert strict.returncode == 1 and "8.3% of the samples failed" in strict.stderr
    file.write_text("{}")
    assert run(*job, ok=False).returncode == 2


def test_two_workers_give_the_same(work: Path, expected: dict[str, bytes]) -> None:
    assert chain(work / "local2", "--workers", "2") == expected


# What an engine says when it cannot


@pytest.mark.parametrize(
    ("engine", "options", "message"),
    [
        ("ray", {"adress": "auto"}, "--engine-option adress: ray knows address"),
        ("ray", {"cpus": "many"}, "--engine-option cpus=many: expected a number"),
        ("local", {"partition": "gpu"}, "--engine-option partition: the local engine has no"),
        ("slurm", {"wrap": "rm"}, "--engine-option wrap: slurm knows account"),
        ("slurm", {"time": "1\n2"}, "--engine-option time: its value must be one line"),
        ("slurm", {"tasks": "0"}, "--engine-option tasks=0: expected a number from 1"),
        ("slurm", {"wait": "maybe"}, "wait=maybe: yes or no"),
        ("slurm", {"gres": "gpu:1"}, "add --device cuda"),
    ],
)
def test_bad_options(engine: str, options: dict[str, str], message: str) -> None:
    plan = Plan("stages", "caption", {"device": "cpu"}, (Task(0, "a.tar", "b/a.tar"),))
    with pytest.raises(UsageError, match=message):
        registry.load("engines", engine).run(plan, list(plan.tasks), options, Report(quiet=True))


@pytest.mark.parametrize("engine", ["ray", "slurm"])
@pytest.mark.parametrize(
    ("source", "target"), [("a.tar", "-"), ("-", "b.tar"), ("a.tar+-", "b.tar")]
)
def test_pipes_stay_here(engine: str, source: str, target: str) -> None:
    plan = Plan("stages", "caption", {}, (Task(0, source, target),))
    with pytest.raises(UsageError, match=f"--engine {engine}: a pipe ends on this machine"):
        registry.load("engines", engine).run(plan, list(plan.tasks), {}, Report(quiet=True))


def test_without_ray(work: Path, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('no ray')")
    env = {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    words = ["import", "folder", "pictures", "-o", f"{tmp_path}/o", "--engine", "ray"]
    done = socialcli(*words, cwd=work, env=env, ok=False)
    assert done.returncode == 2
    assert done.stderr == (
        "socialcli: error: Ray is not installed. Install it with: "
        "pip install 'socialcli-toolkit[ray]'\n"
    )


def test_without_slurm(work: Path, tmp_path: Path) -> None:
    words = ["import", "folder", "pictures", "-o", f"{tmp_path}/o", "--engine", "slurm"]
    done = socialcli(*words, cwd=work, env={"PATH": str(tmp_path)}, ok=False)
    assert done.returncode == 2
    assert done.stderr == (
        "socialcli: error: Slurm's sbatch is not on the PATH. Log in to a submit node of the "
        "cluster, or on Debian: apt-get install slurm-wlm munge\n"
    )


def test_slurm_wants_a_shared_folder_for_urls() -> None:
    plan = Plan("stages", "caption", {}, (Task(0, "a.tar", "memory://x/a.tar"),))
    from socialcli.pipeline.engines import slurm

    with pytest.raises(UsageError, match="--engine-option scratch=DIR"):
        slurm._folder(plan, None)
    assert slurm._folder(plan, "/shared") == Path("/shared")


def test_slurm_overwrites_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--overwrite must not reach the array: a requeued task would make all its shards again."""
    from socialcli.pipeline.engines import _slurm_jobs as jobs
    from socialcli.pipeline.engines import slurm

    submitted: list[tuple[str, ...]] = []
    monkeypatch.setattr(jobs, "_sbatch", lambda *words: submitted.append(words) or "17")
    shards.write(tmp_path / "one.tar", [("a", {"txt": b"A cat.", "png": picture(kind="PNG")})])
    task = Task(0, str(tmp_path / "one.tar"), str(tmp_path / "o/0.tar"))
    config = {"backend": "given", "device": "cpu"}
    plan = Plan("stages", "caption", config, (task,), workers=3, overwrite=True, quiet=True)
    registry.load("engines", "local").run(plan, [task], {}, Told())
    assert planning.load_stats(task.target) is not None
    request = slurm._request(plan, [task], {"mem": "4G", "partition": "p", "array-limit": "2"})
    slurm._submit(plan, [task], tmp_path / "50%", slurm.name(plan), request)
    assert planning.load_stats(task.target) is None
    (file,) = (tmp_path / "50%").glob("caption-*.plan.json")
    assert not Plan.from_json(file.read_text()).overwrite
    array, collect = submitted
    assert {"--array=0-0%2", "--requeue", "--mem=4G", "--partition=p"} < set(array)
    assert "--cpus-per-task=3" in array and "--mem=4G" not in collect
    assert "--dependency=afterany:17" in collect and "--partition=p" in collect
    assert any(word.startswith(f"--output={tmp_path}/50%%/logs/") for word in array)


# Ray


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[str]:
    """The address of a Ray cluster on this machine; this process is connected to it."""
    try:
        import ray
    except ImportError:
        unavailable("ray is not installed (pip install 'socialcli-toolkit[ray]')")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in RAY_ENV.items():
            patch.setenv(name, value)
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


def test_ray_gives_the_same(work: Path, expected: dict[str, bytes], ray_cluster: str) -> None:
    flags = ["--engine", "ray", "--workers", "2", "--engine-option", f"address={ray_cluster}"]
    assert chain(work / "ray", *flags) == expected


def test_ray_is_started_where_there_is_none(work: Path, expected: dict[str, bytes]) -> None:
    pytest.importorskip("ray")
    words = ["import", "folder", "pictures", "-o", "ray-own/a", "--shard-size", "3"]
    done = socialcli(*words, "--engine", "ray", cwd=work)
    assert done.stdout == "" and "Ray is started on this machine" in done.stderr
    imported = {name: data for name, data in expected.items() if name.startswith("a/")}
    assert content(work / "ray-own") == imported


def test_ray_replaces_an_actor_that_dies(tmp_path: Path, ray_cluster: str) -> None:
    plan, report = two_shards(tmp_path), Told()
    running = began("ray", plan, {}, report)
    kill_reader(tmp_path)
    feed(tmp_path)
    stats = running.result(60)
    assert stats.counts["ok"] == 10 and stats.tasks == 2
    assert report.samples == 10
    pipe = tmp_path / "pipe.tar"
    assert report.lines == [f"{pipe}: its actor died; trying this shard once more"]
    keys = [s.key for t in plan.tasks for s in shards.read(t.target)]
    assert keys == [f"{n}{i}" for n in ("one", "two") for i in range(5)]


def test_ray_gives_up_on_a_shard_that_kills_twice(tmp_path: Path, ray_cluster: str) -> None:
    running = began("ray", two_shards(tmp_path), {}, Told())
    kill_reader(tmp_path)
    kill_reader(tmp_path)
    with pytest.raises(SocialcliError, match=r"pipe\.tar: two actors died on this shard"):
        running.result(60)


def test_ray_passes_an_error_on_as_it_is(tmp_path: Path, ray_cluster: str) -> None:
    plan = two_shards(tmp_path)
    plan.config["captions"] = str(tmp_path / "absent.csv")
    with pytest.raises(UsageError) as local:
        registry.load("engines", "local").run(plan, list(plan.tasks), {}, Told())
    with pytest.raises(SocialcliError) as error:
        registry.load("engines", "ray").run(plan, list(plan.tasks), {}, Told())
    assert "absent.csv" in str(error.value)
    assert str(error.value) == str(local.value) and error.value.exit_code == 2


def test_ray_ends_as_it_is_told(
    work: Path, tmp_path: Path, ray_cluster: str, signals: None
) -> None:
    command = [sys.executable, "-m", "socialcli", "import", "folder", "pictures", "-o"]
    command += [f"{tmp_path}/a", "--engine", "ray", "--engine-option", f"address={ray_cluster}"]
    command += ["--engine-option", "cpus=1000"]  # never to be had, so that it waits
    process = subprocess.Popen(command, cwd=work, env=ENV)
    end = time.monotonic() + 120
    while not catches(process.pid, signal.SIGTERM):  # a busy machine is slow to start it
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    time.sleep(3)  # by now it waits; before that it ends in the same way
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 143


def test_ray_where_no_cluster_answers(work: Path) -> None:
    pytest.importorskip("ray")
    words = ["import", "folder", "pictures", "-o", "nowhere", "--engine", "ray"]
    done = socialcli(*words, cwd=work, env={"RAY_ADDRESS": "notanaddress"}, ok=False)
    assert done.returncode == 1
    assert done.stderr.startswith("socialcli: error: ray: no cluster at notanaddress: ")
    assert done.stderr.count("\n") == 1


# Slurm


@pytest.fixture(scope="module")
def slurm() -> Iterator[slurm_node.Node]:
    why = slurm_node.missing()
    if why:
        unavailable(why)
    with contextlib.ExitStack() as stack:
        try:
            node = stack.enter_context(slurm_node.running())
        except (RuntimeError, OSError) as error:
            unavailable(f"Slurm does not start here: {error}")
        yield node


def test_slurm_gives_the_same(
    work: Path, expected: dict[str, bytes], slurm: slurm_node.Node
) -> None:
    # A name that a careless shell would run, and that Slurm would fill in.
    folder = work / "slurm $(touch ran) ; touch ran 'q\" %a #"
    flags = ["--engine", "slurm", "--engine-option", "tasks=2"]
    assert chain(folder, *flags, env=slurm.env) == expected
    assert not (work / "ran").exists() and not (REPOSITORY / "ran").exists()
    logs = sorted(p.name for p in (folder / "b/.socialcli/logs").glob("*.log"))
    assert [name.rpartition("_")[2] for name in logs] == ["0.log", "1.log", "collect.log"]
    again = socialcli(
        "caption", f"{folder.name}/a", "-o", f"{folder.name}/b", "--backend", "given",
        "--max-error-rate", "0.2", *flags, env=slurm.env, cwd=work,
    )  # fmt: skip
    assert "4 of 4 shards are finished already" in again.stderr
    assert "11 ok, 0 filtered, 1 failed" in again.stderr


def test_slurm_names_the_log_of_a_task_that_failed(
    tmp_path: Path, slurm: slurm_node.Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    plan = two_shards(tmp_path)
    plan.config["captions"] = str(tmp_path / "absent.csv")
    with pytest.raises(SocialcliError) as error:
        registry.load("engines", "slurm").run(plan, list(plan.tasks), {"tasks": "1"}, Told())
    text = str(error.value)
    assert "absent.csv" in text and "2 of 2 shards are not finished" in text
    assert error.value.exit_code == 2
    log = text.partition("log: ")[2].partition(";")[0]
    assert "absent.csv" in Path(log).read_text()


def test_slurm_kills_requeues_and_goes_on(
    tmp_path: Path, slurm: slurm_node.Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    plan, report = two_shards(tmp_path), Told()
    running = began("slurm", plan, {"tasks": "1"}, report)
    kill_reader(tmp_path)
    with pytest.raises(SocialcliError, match=r"array task 0 .* it was killed .* 1 of 2 shards"):
        running.result(60)
    written_at = (tmp_path / "out/0.tar").stat().st_mtime_ns
    plan = Plan.from_json(plan.to_json())
    running = began("slurm", plan, {"tasks": "1"}, report)
    ours, pid = reader(tmp_path / "pipe.tar")
    job = slurm.command("squeue", "--noheader", "--states=RUNNING", "--format=%F").split()[0]
    slurm.command("scontrol", "requeue", f"{job}_0")
    gone(pid)
    os.close(ours)
    feed(tmp_path)
    stats = running.result(60)
    assert stats.counts["ok"] == 10 and stats.tasks == 2
    assert (tmp_path / "out/0.tar").stat().st_mtime_ns == written_at
    logs = [p.read_text() for p in (tmp_path / "out/.socialcli/logs").glob("*_0.log")]
    assert any("1 of 2 shards are finished already" in text for text in logs) or plan.quiet
    assert [s.key for s in shards.read(plan.tasks[1].target)] == [f"two{i}" for i in range(5)]


def test_slurm_jobs_are_left_and_found_again(
    work: Path, tmp_path: Path, expected: dict[str, bytes], slurm: slurm_node.Node
) -> None:
    words = ["import", "folder", "pictures", "-o", f"{tmp_path}/x/a", "--shard-size", "3"]
    words += ["--engine", "slurm", "--engine-option", "begin=now+2"]
    first = socialcli(*words, "--engine-option", "wait=no", cwd=work, env=slurm.env)
    ids = first.stdout.split()
    assert len(ids) == 2 and all(i.isdecimal() for i in ids)
    second = socialcli(*words, cwd=work, env=slurm.env)
    assert f"in the queue already ({ids[0]} {ids[1]})" in second.stderr
    assert "12 samples: 12 ok" in second.stderr
    assert content(tmp_path / "x") == {n: d for n, d in expected.items() if n.startswith("a/")}


def test_slurm_jobs_are_cancelled_with_the_command(
    work: Path, tmp_path: Path, slurm: slurm_node.Node, signals: None
) -> None:
    command = [sys.executable, "-m", "socialcli", "import", "folder", "pictures", "-o"]
    command += [f"{tmp_path}/a", "--engine", "slurm", "--engine-option", "begin=now+100"]
    process = subprocess.Popen(
        command, cwd=work, env={**ENV, **slurm.env}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None and "submitted array job" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130 and "cancelled jobs" in stderr
    assert slurm.command("squeue", "--noheader", "--states=PENDING,RUNNING") == ""


def test_slurm_refusals_are_one_line(work: Path, slurm: slurm_node.Node) -> None:
    words = ["import", "folder", "pictures", "-o", "refused", "--engine", "slurm"]
    words += ["--engine-option", "partition=--wrap=x"]
    done = socialcli(*words, cwd=work, env=slurm.env, ok=False)
    assert done.returncode == 1
    assert "slurm refused the job" in done.stderr and "partition" in done.stderr
    assert done.stderr.count("\n") == 1
