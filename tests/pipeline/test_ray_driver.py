"""What the Ray engine asks of a cluster, whom it waits for and what it does when an actor dies:
with a stand-in for the package `ray`, whose actors are objects of this process."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from socialcli import __version__
from socialcli.errors import MissingPackage, SocialcliError, UsageError
from socialcli.pipeline.engines import _ray_actors as actors
from socialcli.pipeline.engines import ray as engine
from socialcli.pipeline.plan import Plan, Stats, Task
from socialcli.pipeline.report import Report


class RayError(Exception):
    pass


class RayActorError(RayError):
    pass


class Told(Report):
    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[Any] = []
        self.samples = 0

    def info(self, message: str, **facts: object) -> None:
        self.lines.append(message)

    warn = info

    def warn_once(self, message: str) -> None:
        if message not in self.lines:
            self.lines.append(message)

    def shard(self, shard: str, counts: dict[str, int], seconds: float) -> None:
        self.lines.append((shard, counts, seconds))

    def advance(self, samples: int) -> None:
        self.samples += samples


class Ray:
    """Calls are made where they are waited for. ``ends[n]`` says what comes of the n-th call of a
    hand: None for what the hand gives, or the error that is raised."""

    exceptions = SimpleNamespace(RayError=RayError, RayActorError=RayActorError)

    def __init__(self, cpus: float = 4, gpus: float = 0, ends: Any = ()) -> None:
        self.resources = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
        self.ends = deque(ends)
        self.started: list[Any] = []
        self.killed: list[Any] = []
        self.options: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.initialised: dict[str, Any] | None = None
        self.shut_down = 0

    def is_initialized(self) -> bool:
        return self.initialised is not None

    def init(self, **more: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.initialised = more

    def shutdown(self) -> None:
        self.shut_down += 1

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def available_resources(self) -> dict[str, float]:
        return {"CPU": 0.5}

    def remote(self, kind: type) -> Any:
        def options(**asked: Any) -> Any:
            if kind is actors.Ear:  # or it would take the one CPU that a hand waits for
                assert asked == {"num_cpus": 0}
            else:
                self.options.append(asked)
            return SimpleNamespace(remote=lambda *args: Actor(self, kind(*args)))

        return SimpleNamespace(options=options)

    def wait(self, references: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        assert references and timeout <= 1
        references[0].run()
        return references[:1], references[1:]

    def get(self, reference: Any) -> Any:
        reference.run()
        if isinstance(reference.answer, Exception):
            raise reference.answer
        return reference.answer

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor.of)


class Actor:
    def __init__(self, ray: Ray, of: Any) -> None:
        self._ray, self.of = ray, of
        ray.started.append(of)

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *args: self._call(name, args))

    def _call(self, name: str, args: tuple[Any, ...]) -> Any:
        if isinstance(self.of, actors.Ear):
            return Reference(getattr(self.of, name)(*args))

        def call() -> Any:
            self._ray.calls.append(name)
            end = self._ray.ends.popleft() if self._ray.ends else None
            return getattr(self.of, name)(*args) if end is None else end

        return Reference(call=call)


class Reference:
    def __init__(self, answer: Any = None, call: Any = None) -> None:
        self.answer, self.call = answer, call

    def run(self) -> None:
        if self.call is not None:
            self.answer, self.call = self.call(), None


def plan(count: int = 3, workers: int = 2, **config: Any) -> Plan:
    tasks = tuple(Task(n, f"{n}.tar", f"out/{n}.tar") for n in range(count))
    return Plan("stages", "caption", config, tasks, workers=workers)


def driver(ray: Ray, one: Plan, report: Report | None = None, **numbers: float) -> engine._Actors:
    return engine._Actors(ray, one, list(one.tasks), numbers, report or Told())


@pytest.fixture
def works(monkeypatch) -> list[Task]:
    """Shards are made at once, of two samples each; the tasks that were done."""
    done: list[Task] = []

    def run(one: Plan, task: Task, loaded: str, report: Report) -> Stats:
        assert loaded == f"models of {one.config}"
        done.append(task)
        report.advance(2)
        report.info(f"{task.source} is done")
        return Stats({"total": 2, "ok": 2}, 1.5, 10, 0, 1)

    monkeypatch.setattr(actors.shard, "load_models", lambda one: f"models of {one.config}")
    monkeypatch.setattr(actors.shard, "run", run)
    monkeypatch.setattr(engine, "_must_be_visible", lambda task, stats: None)
    return done


def run(monkeypatch, ray: Ray, one: Plan, report: Report | None = None) -> Stats:
    monkeypatch.setitem(sys.modules, "ray", ray)
    return driver(ray, one, report).run()


# What is asked of the cluster


@pytest.mark.parametrize(
    "cpus, device, given, number, needs",
    [
        (8, "cpu", {}, 2, (0.5, 0.0)),
        (1, "cpu", {}, 2, (0.25, 0.0)),  # fractions, so that two actors fit where one CPU is
        (0.001, "cpu", {}, 2, (0.01, 0.0)),
        (8, "cuda", {}, 2, (0.5, 1.0)),
        (8, "cuda:1", {"gpus": 0.25}, 2, (0.5, 0.25)),
        (8, "cpu", {"cpus": 0.0, "gpus": 2.0}, 2, (0.0, 2.0)),
    ],
)  # fmt: skip
def test_what_an_actor_reserves(cpus, device, given, number, needs):
    one = driver(Ray(cpus), plan(device=device), **given)
    assert one.number == number
    assert (one.needs["num_cpus"], one.needs["num_gpus"]) == needs
    # Ray shows an actor only its own GPUs: each of them is the first there.
    assert one.plan.config["device"] == ("cuda" if device.startswith("cuda") else "cpu")


def test_no_more_actors_than_shards():
    assert driver(Ray(1), plan(1, workers=5)).needs["num_cpus"] == 0.5
    assert driver(Ray(), plan(7, workers=5)).number == 5


@pytest.mark.parametrize(
    "gpus, config, told", [(2, {"device": "cpu"}, 1), (0, {"device": "cpu"}, 0),
                           (2, {"device": "cuda"}, 0), (2, {}, 0)],
)  # fmt: skip
def test_gpus_that_nobody_uses_are_told(gpus, config, told):
    report = Told()
    driver(Ray(gpus=gpus), plan(**config), report)
    assert report.lines == ["ray: the cluster has GPUs; --device cuda makes use of them"] * told


@pytest.mark.parametrize("value", ["-1", "1e6", "nan", "inf", "many", ""])
def test_numbers_that_make_no_sense(value):
    for name in ("cpus", "gpus"):
        with pytest.raises(UsageError, match=rf"--engine-option {name}={value}: expected a number"):
            engine._check([], {name: value})
    assert engine._check([], {"cpus": "0", "gpus": "0.5", "address": "auto"}) == {
        "cpus": 0.0, "gpus": 0.5,
    }  # fmt: skip


# Who is waited for


def test_shards_are_handed_out_until_none_is_left(works, monkeypatch):
    ray, report = Ray(), Told()
    total = run(monkeypatch, ray, plan(3, device="cpu"), report)
    assert sorted(task.index for task in works) == [0, 1, 2]
    assert total.counts["ok"] == 6 and total.tasks == 3 and total.seconds == 4.5
    assert report.samples == 6
    assert sorted(report.lines) == [f"{n}.tar is done" for n in range(3)]
    ear, *hands = ray.started
    assert len(hands) == 2 and ray.calls.count("load") == 2 and ray.calls.count("do") == 3
    assert all(asked["scheduling_strategy"] == "SPREAD" for asked in ray.options)
    assert all(asked["num_cpus"] == 0.5 for asked in ray.options)
    assert set(map(id, hands)) | {id(ear)} == set(map(id, ray.killed))


def test_an_actor_that_dies_while_it_loads(works, monkeypatch):
    dies, report = RayActorError("The actor died.\n\nout of memory\n"), Told()
    total = run(monkeypatch, Ray(ends=[dies]), plan(3, device="cpu"), report)
    assert total.tasks == 3
    why = "ray: an actor died while it loaded its models (out of memory)"
    assert [line for line in report.lines if "died" in line] == [why]
    with pytest.raises(SocialcliError, match=r"no actor lived long enough .*\(out of memory\)"):
        run(monkeypatch, Ray(ends=[dies, dies]), plan(3, device="cpu"))


def test_a_shard_is_tried_once_more(works, monkeypatch):
    dies, report = RayActorError(""), Told()
    ray = Ray(ends=[None, dies, None, None, dies])  # the second death is another shard's
    total = run(monkeypatch, ray, plan(3, workers=1, device="cpu"), report)
    assert total.tasks == 3 and total.counts["ok"] == 6
    assert [task.index for task in works] == [0, 1, 2]
    told = [line for line in report.lines if "died" in line]
    assert told == [f"{n}.tar: its actor died; trying this shard once more" for n in (0, 1)]
    assert len(ray.started) == 1 + 3
    with pytest.raises(SocialcliError, match=r"^0\.tar: two actors died .* \(RayActorError\); is"):
        run(monkeypatch, Ray(ends=[None, dies, None, dies]), plan(3, workers=1))


def test_errors_end_the_run_and_every_actor(works, monkeypatch):
    for raised, why, code in (
        (UsageError("no such model"), r"^no such model$", 2),
        (KeyError("x"), "^KeyError: 'x'$", 1),
    ):

        def fails(one: Plan, error: Exception = raised) -> None:
            raise error

        ray = Ray()
        with monkeypatch.context() as patch, pytest.raises(SocialcliError, match=why) as ended:
            patch.setattr(actors.shard, "load_models", fails)
            run(monkeypatch, ray, plan(3))
        assert ended.value.exit_code == code
        # The one that said so is gone with its process; the others and the ear are told.
        assert ray.started[0] in ray.killed and ray.started[2] in ray.killed
    with pytest.raises(SocialcliError, match=r"^ray: the network is down$"):
        run(monkeypatch, Ray(ends=[RayError("many\nwords\nthe network is down")]), plan(3))


@pytest.mark.parametrize("ready", [True, False])
def test_where_no_actor_starts_it_is_told_once(works, monkeypatch, ready):
    ray, report, waited = Ray(), Told(), []

    def wait(references: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        waited.append(timeout)
        late = len(waited) < 4 and (not ready or ray.calls)
        return ([], references) if late else Ray.wait(ray, references, timeout)

    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(engine, "PATIENCE", -1.0)
    run(monkeypatch, ray, plan(2, device="cpu"), report)
    told = [line for line in report.lines if "no actor is ready" in line]
    assert told == [] if ready else told == [
        "ray: no actor is ready yet; each needs 0.5 CPUs and 0 GPUs, free are 0.5 CPUs and 0 GPUs "
        "(still waiting)"
    ]  # fmt: skip
    monkeypatch.setattr(engine, "PATIENCE", 1000.0)
    patient = Told()
    waited.clear()
    run(monkeypatch, ray, plan(2, device="cpu"), patient)
    assert not any("no actor is ready" in line for line in patient.lines)


def test_a_shard_must_be_here_when_it_is_done(monkeypatch):
    now, sizes, stats = [0.0], deque([None, 9, 10]), deque([None, {}])
    monkeypatch.setattr(engine.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(engine.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    monkeypatch.setattr(engine.shards, "size", lambda _: sizes[0] if len(sizes) == 1
                        else sizes.popleft())  # fmt: skip
    monkeypatch.setattr(engine.planning, "load_stats", lambda _: stats[0] if len(stats) == 1
                        else stats.popleft())  # fmt: skip
    made = Stats({}, 1.0, 10, 0, 1)
    engine._must_be_visible(Task(0, "a.tar", "out/a.tar"), made)  # a network file system is late
    assert now[0] == pytest.approx(3 * 0.2)  # not there, not whole, without its stats
    sizes[0] = 11
    with pytest.raises(SocialcliError, match=r"out/a\.tar was written by a node but is not here"):
        engine._must_be_visible(Task(0, "a.tar", "out/a.tar"), made)
    assert engine.VISIBLE_WITHIN < now[0] < engine.VISIBLE_WITHIN + 2


def test_a_socket_has_a_short_name(monkeypatch):
    longest = 107 - engine._SOCKET
    with contextlib.ExitStack() as stack:
        for length, other in ((longest, False), (longest + 1, True)):
            monkeypatch.setenv("RAY_TMPDIR", "/" + "t" * (length - 1))
            assert (engine._short_folder(stack) is not None) == other


def test_the_last_line_says_what_is_wrong():
    assert engine._last_line(ValueError("a\n b \n\n")) == "b"
    assert engine._last_line(ValueError("")) == "ValueError"
    assert engine._last_line(ValueError("x" * 999)) == "x" * 300


# Inside an actor


class Ear:
    """Of which each answer can be waited for."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.tell = SimpleNamespace(remote=lambda messages: self.messages.extend(messages) or 7)


def test_an_actor_becomes_ready_where_it_can(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", Ray())
    monkeypatch.setattr(actors.shard, "load_models", lambda one: "models")
    monkeypatch.chdir(tmp_path)
    hand, text = actors.Hand(Ear()), plan(device="cpu").to_json()
    node = os.uname().nodename
    kind, line, code = hand.load(text, str(tmp_path), "0.0.0")
    assert (kind, code) == ("error", 1) and line.startswith(f"node {node} has socialcli ")
    assert f"{__version__}, this machine 0.0.0" in line
    kind, line, code = hand.load(text, f"{tmp_path}/gone", __version__)
    assert (kind, code) == ("error", 1)
    assert f"node {node} cannot enter {tmp_path}/gone (No such file" in line
    (tmp_path / "there").mkdir()
    assert hand.load(text, f"{tmp_path}/there", __version__) == ("ok", None)
    assert os.getcwd() == str(tmp_path / "there")
    assert hand.plan == plan(device="cpu") and hand.loaded == "models"


def test_what_is_said_goes_together_and_in_order(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(actors.time, "monotonic", lambda: now[0])
    ear = Ear()
    relay = actors.Relay(ear)
    relay.advance(2)
    relay.advance(3)
    relay.shard("a.tar", {"ok": 5}, 1.5)
    relay.warn_once("once")
    relay.warn_once("once")
    relay.info("info", count=1)
    assert ear.messages == []  # all of it came at once
    now[0] += 1.01 * actors.SAID_EVERY
    relay.warn("warn")
    assert ear.messages == [
        ("shard", "a.tar", {"ok": 5}, 1.5), ("warn_once", "once"), ("info", "info"),
        ("warn", "warn"), ("advance", 5),
    ]  # fmt: skip
    ear.messages.clear()
    relay.advance(1)
    assert ear.messages == [] and relay.flush() == 7 and ear.messages == [("advance", 1)]
    ear.messages.clear()
    assert relay.flush() == 7 and ear.messages == []
    real = actors.Ear()
    real.tell([1, 2])
    real.tell([3])
    assert real.hear() == [1, 2, 3] and real.hear() == []


# A cluster, or one of our own


@pytest.mark.parametrize("address", [None, "auto"])
def test_where_it_connects_to(monkeypatch, works, signals, address):
    ray = Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    monkeypatch.setattr(engine, "_short_folder", lambda stack: "/tmp/short")
    report, one = Told(), plan(1, device="cpu")
    options = {"address": address} if address else {}
    before = signal.getsignal(signal.SIGTERM)
    engine.RayEngine().run(one, list(one.tasks), options, report)
    assert signal.getsignal(signal.SIGTERM) == before  # Ray's own is taken away
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    own = {"address": "local", "include_dashboard": False, "_temp_dir": "/tmp/short"}
    assert ray.initialised == {**quiet, **({"address": "auto"} if address else own)}
    assert ray.shut_down == 1 and os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert any("Ray is started on this machine" in line for line in report.lines) != bool(address)
    engine.RayEngine().run(one, list(one.tasks), options, report)
    assert ray.shut_down == 1, "a cluster that was connected to before stays so"


def test_the_environment_names_a_cluster_too(monkeypatch, works, signals):
    ray = Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("RAY_ADDRESS", "here:1")
    one = plan(1)
    engine.RayEngine().run(one, list(one.tasks), {}, Told())
    assert ray.initialised["address"] == "here:1"


@pytest.mark.parametrize("address", [None, "there:1"])
def test_no_cluster_is_one_line(monkeypatch, signals, address):
    ray = Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def fails(**more: Any) -> None:
        raise ConnectionError("trace\nno route")

    monkeypatch.setattr(ray, "init", fails)
    one = plan(1)
    with pytest.raises(SocialcliError) as ended:
        engine.RayEngine().run(
            one, list(one.tasks), {"address": address} if address else {}, Told()
        )
    assert str(ended.value) == (
        "ray: no cluster at there:1: no route; if it asks for a token, set RAY_AUTH_MODE=token and "
        "RAY_AUTH_TOKEN" if address else "ray: it does not start on this machine: no route"
    )  # fmt: skip


def test_ray_is_not_installed_or_told_to_end(monkeypatch, works, signals):
    one, ray = plan(1), Ray()
    with monkeypatch.context() as patch, pytest.raises(MissingPackage):
        patch.setitem(sys.modules, "ray", None)
        engine.RayEngine().run(one, list(one.tasks), {}, Told())
    monkeypatch.setitem(sys.modules, "ray", ray)

    def ends(*_: Any, **more: Any) -> Any:
        raise SystemExit  # whose code Ray has lost

    monkeypatch.setattr(ray, "wait", ends)
    with pytest.raises(SystemExit) as ended:
        engine.RayEngine().run(one, list(one.tasks), {}, Told())
    assert ended.value.code == 143 and ray.shut_down == 1
