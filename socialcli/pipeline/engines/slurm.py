"""Run as a Slurm array job, followed by a job that sums up what the array has done.

The plan is saved as JSON in ``.socialcli`` beside the output; every array task runs
``socialcli work`` on its slice of it. Tasks may be requeued or killed at any time: finished shards
are skipped. Job names carry the run's fingerprint, which is how the same command, given again,
finds jobs of its own that are still in the queue and waits for them instead of doubling them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

from socialcli import shards
from socialcli.errors import SocialcliError, UsageError
from socialcli.pipeline import plan as planning
from socialcli.pipeline.engines import Engine
from socialcli.pipeline.engines import _slurm_jobs as jobs
from socialcli.pipeline.engines._slurm_jobs import Request, Submission
from socialcli.pipeline.plan import Plan, Stats, Task
from socialcli.pipeline.report import Report

# Options handed on to sbatch under the same name; those that say where a job may run also go to
# the collecting job, which needs one CPU and a minute.
PLACE = ("partition", "account", "qos", "reservation", "constraint", "time")
SIZE = (
    "cpus-per-task", "mem", "mem-per-cpu", "gres", "gpus", "gpus-per-node", "nodelist", "exclude",
    "exclusive", "nice", "comment", "mail-type", "mail-user", "begin", "tmp", "licenses",
)  # fmt: skip
OWN = ("tasks", "array-limit", "scratch", "wait")
GPU_OPTIONS = ("gres", "gpus", "gpus-per-node")
SLOWEST_POLL = 15.0  # seconds between two looks at the queue, once a run has gone on for a while
VISIBLE_WITHIN = 30.0  # seconds a network file system may take to show the summary
INSTALL = (
    "Slurm's sbatch is not on the PATH. Log in to a submit node of the cluster, or on Debian: "
    "apt-get install slurm-wlm munge"
)


class SlurmEngine(Engine):
    """See `Engine`."""

    def run(self, plan: Plan, tasks: list[Task], options: dict[str, str], report: Report) -> Stats:
        """Every task, as an array job; waits for it and returns the summed stats of the tasks.

        With ``wait=no`` in the options it returns empty stats as soon as the jobs are submitted and
        prints their ids (array, collecting job) to stdout.

        Raises:
            UsageError: sbatch is not here, an unknown option, or a pipe as input or output.
            SocialcliError: a job was refused, or an array task failed; its log file is named.
        """
        request = _request(plan, tasks, options)
        if shutil.which("sbatch") is None:
            raise UsageError(INSTALL)
        folder = _folder(plan, options.get("scratch"))
        run_name = name(plan)
        queued = jobs.queued(run_name)
        if queued is not None:
            report.info(f"slurm: {run_name}: its jobs are in the queue already ({queued.ids})")
            if request.wait:
                _wait(plan, tasks, queued, report)
                _result(folder, queued)
                # Those jobs may have had more to do than what was missing when we came.
                return planning.collected(dataclasses.replace(plan, tasks=tuple(tasks)))
            print(queued.ids, flush=True)
            return Stats()
        submission = _submit(plan, tasks, folder, run_name, request)
        try:
            report.info(
                f"slurm: {run_name}: submitted array job {submission.array} ({request.number} "
                f"for {len(tasks)} shards) and collecting job {submission.collect}; logs in "
                f"{folder / 'logs'}"
            )
            if request.wait:
                _wait(plan, tasks, submission, report)
                return _result(folder, submission)
        except (KeyboardInterrupt, SystemExit):
            jobs.cancel(submission)
            report.warn(f"slurm: cancelled jobs {submission.ids} (wait=no leaves them running)")
            raise
        print(submission.ids, flush=True)
        return Stats()


def _request(plan: Plan, tasks: list[Task], options: dict[str, str]) -> Request:
    for task in tasks:
        if task.target == "-" or "-" in shards.parts(task.source):
            raise UsageError("--engine slurm: a pipe ends on this machine; give shard files")
    places = [place for t in tasks for place in (*shards.parts(t.source), t.target)]
    for value in (*places, *plan.config.values()):
        if planning.public(value) != value:
            raise UsageError(
                f"--engine slurm: {planning.public(value)} is signed: its signature would lie in "
                "the plan that all jobs read, and may have run out when they start; give an "
                "address that the nodes may read (s3://, gs://), or copy the shards first"
            )
    for key, value in options.items():
        if key not in PLACE + SIZE + OWN:
            known = ", ".join(sorted(PLACE + SIZE + OWN))
            raise UsageError(f"--engine-option {key}: slurm knows {known}")
        if not value.isprintable() or not value:
            raise UsageError(f"--engine-option {key}: its value must be one line of text")
    if options.get("wait", "yes") not in ("yes", "no"):
        raise UsageError(f"--engine-option wait={options['wait']}: yes or no")
    if str(plan.config.get("device")) == "cpu" and any(o in options for o in GPU_OPTIONS):
        raise UsageError(
            "the job asks for GPUs, but --device is cpu (auto looks at this machine only); add "
            "--device cuda"
        )
    sbatch = {o: options[o] for o in PLACE + SIZE if o in options}
    if plan.workers > 1:
        sbatch.setdefault("cpus-per-task", str(plan.workers))
    return Request(
        number=min(_count(options, "tasks") or min(len(tasks), 100), len(tasks)),
        limit=_count(options, "array-limit"),
        wait=options.get("wait", "yes") == "yes",
        sbatch=tuple(f"--{o}={v}" for o, v in sbatch.items()),
        collect=tuple(f"--{o}={options[o]}" for o in PLACE if o in options),
    )


def _count(options: dict[str, str], name: str) -> int | None:
    if name not in options:
        return None
    if not options[name].isdecimal() or int(options[name]) < 1:
        raise UsageError(f"--engine-option {name}={options[name]}: expected a number from 1")
    return int(options[name])


def _folder(plan: Plan, scratch: str | None) -> Path:
    """Where the plan and the logs go: ``scratch``, or ``.socialcli`` beside the output."""
    target = plan.tasks[0].target
    if scratch is None and shards.is_url(target):
        raise UsageError(
            f"{target}: with --engine slurm and a URL as output, give a folder that all nodes "
            "share for the plan and the logs: --engine-option scratch=DIR"
        )
    base = Path(scratch) if scratch is not None else Path(target).parent / ".socialcli"
    folder = base.absolute()
    if not str(folder).isprintable() or "\\" in str(folder):
        raise UsageError(f"{folder}: Slurm cannot write logs under such a name; rename the folder")
    return folder


def name(plan: Plan) -> str:
    """A name for this very run: its command, and a hash of its options, inputs and outputs."""
    facts = {
        **planning.identity(plan),
        "tasks": [dataclasses.asdict(task) for task in plan.tasks],
        "folder": str(Path.cwd()),
    }
    return f"{plan.command.replace(' ', '-')}-{planning.fingerprint(facts)}"


def _submit(
    plan: Plan, tasks: list[Task], folder: Path, run_name: str, request: Request
) -> Submission:
    new_folders = [p for p in (folder / "logs", folder, *folder.parents) if not p.exists()]
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    removed: dict[str, bytes] = {}
    if plan.overwrite:
        # What is to be replaced counts as unfinished from here on, so that a requeued task can
        # tell the shards it has made already from the old ones.
        for place in (planning.stats_location(task.target) for task in tasks):
            if (body := shards.read_bytes(place)) is not None:
                removed[place] = body
                shards.remove(place)
    file = folder / f"{run_name}.plan.json"
    saved = dataclasses.replace(plan, tasks=tuple(tasks), overwrite=False)
    shards.write_bytes(str(file), saved.to_json().encode())
    try:
        return jobs.submit(file, run_name, request)
    except SocialcliError:  # refused: all is as it was
        for place, body in removed.items():
            shards.write_bytes(place, body)
        file.unlink()
        for path in new_folders:
            with contextlib.suppress(OSError):  # it has been filled meanwhile
                path.rmdir()
        raise


def _wait(plan: Plan, tasks: list[Task], submission: Submission, report: Report) -> None:
    """Return when both jobs have left the queue; report shards as they appear meanwhile."""
    # Stats of the run before would look like progress; those are told at the end.
    watched = [] if plan.retry_failed else [t for t in tasks if not shards.is_url(t.target)]
    pause, silent = 0.5, 0
    while True:
        try:
            waiting = [row for row in jobs.rows() if row[1].startswith(submission.name)]
            silent = 0
        except SocialcliError as error:
            silent += 1  # controllers restart; the jobs go on without them
            if silent == 3:
                report.warn(f"slurm: {error} (still waiting)")
            waiting = [("", "", "", "")]
        for task in list(watched):
            body = planning.load_stats(task.target)
            if body is not None:
                watched.remove(task)
                report.advance(body["counts"]["total"])
                report.shard(task.source, body["counts"], body["timing"]["seconds"])
        if not waiting:
            return
        for job, _, state, reason in waiting:
            if state == "PENDING" and reason.startswith(("JobHeld", "Partition", "Assoc", "QOS")):
                report.warn_once(f"slurm: job {job} is waiting: {reason}")
        time.sleep(pause)
        pause = min(pause * 1.2, SLOWEST_POLL)


def _result(folder: Path, submission: Submission) -> Stats:
    """What the collecting job found on disk."""
    logs = folder / "logs"
    file = logs / f"{submission.name}.summary.json"
    until = time.monotonic() + VISIBLE_WITHIN
    while (data := shards.read_bytes(str(file))) is None:
        if time.monotonic() > until:
            raise SocialcliError(
                f"slurm: the collecting job {submission.collect} left no summary "
                f"({_last_line(logs / f'{submission.name}_collect.log')}); see "
                f"{logs}/{submission.name}_*.log, then run the same command again"
            )
        time.sleep(0.5)
    summary: dict[str, Any] = json.loads(data)
    ends = summary["tasks"]
    bad = [i for i, end in enumerate(ends) if end is None or end["exit"] != 0]
    unfinished = summary["expected"] - summary["stats"]["tasks"]
    if not bad and not unfinished:
        return Stats(**summary["stats"])
    where = f"{unfinished} of {summary['expected']} shards are not finished"
    if not bad:
        raise SocialcliError(f"slurm: {where}; run the same command again")
    end = ends[bad[0]]
    why = end["message"] if end else "it was killed (time limit, memory, cancelled, lost node?)"
    others = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    error = SocialcliError(
        f"slurm: array task {bad[0]} of job {submission.array}{others} failed: {why}; {where}; "
        f"log: {logs}/{submission.name}_{bad[0]}.log; mend it and run the same command again"
    )
    error.exit_code = end["exit"] if end else 1
    raise error


def _last_line(log: Path) -> str:
    """What a job said last."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return "it never began"
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "without a word")
