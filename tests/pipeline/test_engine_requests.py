"""What engines make of a plan and their options before anything runs, and whom they wait for."""

from __future__ import annotations

import pytest

from socialcli.errors import SocialcliError, UsageError
from socialcli.pipeline.engines import _slurm_jobs as jobs
from socialcli.pipeline.engines import local, slurm
from socialcli.pipeline.plan import Plan, Stats, Task
from socialcli.pipeline.report import Report


def plan(count: int = 3, **options) -> Plan:
    tasks = tuple(Task(n, f"{n}.tar", f"out/{n}.tar") for n in range(count))
    return Plan(
        "stages", "caption", {"device": "auto", **options.pop("config", {})}, tasks, **options
    )


def request(one: Plan, **options: str) -> slurm.Request:
    return slurm._request(
        one, list(one.tasks), {k.replace("_", "-"): v for k, v in options.items()}
    )


@pytest.mark.parametrize(
    "count, options, number",
    [(3, {}, 3), (250, {}, 100), (250, {"tasks": "120"}, 120), (3, {"tasks": "9"}, 3),
     (3, {"tasks": "1"}, 1)],
)  # fmt: skip
def test_array_tasks_are_as_many_as_asked_and_never_more_than_shards(count, options, number):
    assert request(plan(count), **options).number == number


def test_what_goes_to_which_job():
    asked = request(plan(workers=3), time="5", mem="4G", array_limit="2", wait="no", tasks="2")
    assert asked.sbatch == ("--time=5", "--mem=4G", "--cpus-per-task=3")
    assert asked.collect == ("--time=5",)
    assert asked.limit == 2 and not asked.wait
    assert request(plan()).wait and request(plan()).limit is None
    assert request(plan()).sbatch == () and request(plan(workers=1)).sbatch == ()
    own = request(plan(workers=3), cpus_per_task="8")
    assert own.sbatch == ("--cpus-per-task=8",)


@pytest.mark.parametrize(
    "options, config, why",
    [
        ({"tasks": "0"}, {}, "tasks=0: expected a number from 1"),
        ({"array_limit": "two"}, {}, "array-limit=two: expected a number from 1"),
        ({"wait": "maybe"}, {}, "wait=maybe: yes or no"),
        ({"comment": "a\nb"}, {}, "its value must be one line of text"),
        ({"comment": ""}, {}, "its value must be one line of text"),
        ({"gpus": "1"}, {"device": "cpu"}, "the job asks for GPUs, but --device is cpu"),
    ],
)
def test_requests_that_make_no_sense(options, config, why):
    with pytest.raises(UsageError, match=why):
        request(plan(config=config), **options)
    assert request(plan(config={"device": "cuda"}), gpus="1").sbatch == ("--gpus=1",)


def test_jobs_of_the_same_run_are_known_by_their_names(monkeypatch):
    rows = [
        ("7", "run-20260101T000000-11", "RUNNING", ""),
        ("9", "run-20260102T000000-12", "RUNNING", ""),
        ("10", "run-20260102T000000-12-collect", "PENDING", "Dependency"),
        ("11", "run-2-20260103T000000-13", "RUNNING", ""),
    ]
    monkeypatch.setattr(jobs, "rows", lambda: rows)
    assert jobs.queued("run") == jobs.Submission("run-20260102T000000-12", "9", "10")
    assert jobs.queued("ru") is None
    assert jobs.Submission("n", "9", "").ids == "9"


def test_a_controller_that_is_silent_is_waited_for(monkeypatch):
    """It is told after the third time in a row, once, and the end is still seen."""
    down, busy = SocialcliError("down"), [("5", "n", "RUNNING", "QOSMax")]
    answers = [down, down, busy, *[down] * 4, [("5", "n", "PENDING", "QOSMax")], []]
    said: list[str] = []

    def rows():
        if len(answers) >= 4:
            assert not said
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    report = Report(quiet=True)
    monkeypatch.setattr(jobs, "rows", rows)
    monkeypatch.setattr(slurm.time, "sleep", lambda _: None)
    monkeypatch.setattr(report, "warn", said.append)
    monkeypatch.setattr(report, "warn_once", said.append)
    slurm._wait(plan(0), [], jobs.Submission("n", "5", "6"), report)
    assert said == ["slurm: down (still waiting)", "slurm: job 5 is waiting: QOSMax"]


def test_one_worker_or_one_shard_or_a_pipe_runs_here(monkeypatch):
    ran: list[str] = []
    monkeypatch.setattr(local, "_here", lambda *_: ran.append("here") or Stats())

    class Workers:
        def __init__(self, *_) -> None:
            ran.append("workers")

        def run(self) -> Stats:
            return Stats()

    monkeypatch.setattr(local, "_Workers", Workers)
    piped = Plan("stages", "caption", {}, (Task(0, "-", "-"), Task(1, "b", "-")), workers=2)
    for one in (plan(workers=1), plan(1, workers=2), piped, plan(2, workers=2)):
        local.LocalEngine().run(one, list(one.tasks), {}, Report(quiet=True))
    assert ran == ["here", "here", "here", "workers"]


def test_a_worker_that_dies_twice_on_a_shard_ends_the_run(monkeypatch):
    said: list[str] = []
    report = Report(quiet=True)
    monkeypatch.setattr(report, "warn", said.append)
    one = plan(2, workers=2)
    workers = local._Workers(one, list(one.tasks), report)
    monkeypatch.setattr(workers, "_start", lambda number: None)

    class Process:
        exitcode = -9

        def join(self) -> None:
            pass

    for task in one.tasks:  # once each is no reason to give up
        workers.todo.remove(task)
        hand = local._Hand(Process(), None, task, task.index)
        workers.hands.append(hand)
        workers._died(hand)
        assert workers.todo[0] == task and not workers.hands
    assert said == [f"{n}.tar: its worker was killed; trying this shard once more" for n in (0, 1)]
    again = local._Hand(Process(), None, one.tasks[0], 0)
    workers.hands.append(again)
    with pytest.raises(SocialcliError, match=r"0\.tar: the worker was killed twice .* code -9"):
        workers._died(again)
    idle = local._Hand(Process(), None, None, 0)
    workers.hands = [idle]
    with pytest.raises(SocialcliError, match="before its first shard"):
        workers._died(idle)
