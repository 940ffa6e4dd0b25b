"""What the Slurm engine asks of Slurm's own programs: sbatch, squeue and scancel."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from socialcli.errors import SocialcliError


@dataclass(frozen=True)
class Request:
    """The engine options, checked."""

    number: int  # array tasks
    limit: int | None  # how many of them may run at once
    wait: bool
    sbatch: tuple[str, ...]  # for the array job
    collect: tuple[str, ...]  # for the collecting job


@dataclass(frozen=True)
class Submission:
    """The two jobs of one run. ``name`` is the array job's, and what its files start with."""

    name: str
    array: str
    collect: str

    @property
    def ids(self) -> str:
        return " ".join(i for i in (self.array, self.collect) if i)


def submit(file: Path, run_name: str, request: Request) -> Submission:
    """Submit the jobs of a plan's file: one that does its parts, and one that sums them up.

    Raises:
        SocialcliError: one is refused; there is none then.
    """
    job = f"{run_name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"
    work = f"{shlex.quote(sys.executable)} -m socialcli work {shlex.quote(str(file))}"
    part = f'--slice "$SLURM_ARRAY_TASK_ID/{request.number}" --submission {shlex.quote(job)}'
    throttle = f"%{request.limit}" if request.limit else ""
    logs = str(file.parent / "logs" / job).replace("%", "%%")
    array = _sbatch(
        f"{work} {part}",
        f"--job-name={job}",
        f"--array=0-{request.number - 1}{throttle}",
        f"--output={logs}_%a.log",
        "--requeue",
        *request.sbatch,
    )
    submission = Submission(job, array, "")
    try:
        collect = _sbatch(
            f"{work} --collect --of {request.number} --submission {shlex.quote(job)}",
            f"--job-name={job}-collect",
            f"--output={logs}_collect.log",
            f"--dependency=afterany:{array}",
            "--requeue",
            *request.collect,
        )
    except BaseException:
        cancel(submission)
        raise
    return dataclasses.replace(submission, collect=collect)


def _sbatch(line: str, *options: str) -> str:
    """Submit one line of shell as a job; returns the job's id."""
    command = [
        "sbatch", "--parsable", "--ntasks=1", "--open-mode=append", f"--chdir={Path.cwd()}",
        *options,
    ]  # fmt: skip
    done = subprocess.run(command, input=f"#!/bin/sh\n{line}\n", capture_output=True, text=True)
    if done.returncode:
        raise SocialcliError(f"slurm refused the job: {_first_line(done.stderr)}")
    return done.stdout.strip().splitlines()[-1].partition(";")[0]


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0].removeprefix("sbatch: ").removeprefix("error: ") if lines else "no reason given"


def cancel(submission: Submission) -> None:
    with contextlib.suppress(OSError):
        subprocess.run(["scancel", *submission.ids.split()], capture_output=True)


def rows() -> list[tuple[str, str, str, str]]:
    """(id, name, state, reason) of each of this user's jobs in the queue.

    Raises:
        SocialcliError: the controller did not answer.
    """
    command = ["squeue", "--noheader", f"--user={os.getuid()}", "--format=%F|%j|%T|%r"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SocialcliError(f"squeue: {_first_line(done.stderr)}")
    rows = (line.split("|", 3) for line in done.stdout.splitlines())
    return [(row[0].strip(), row[1], row[2], row[3]) for row in rows if len(row) == 4]


def queued(run_name: str) -> Submission | None:
    """The jobs of an earlier call of the same command that have not ended yet."""
    pattern = re.compile(re.escape(run_name) + r"-(\d{8}T\d{6}-\d+)(-collect)?")
    jobs: dict[str, dict[bool, str]] = {}
    for job, job_name, _, _ in rows():
        match = pattern.fullmatch(job_name)
        if match:
            jobs.setdefault(match[1], {})[bool(match[2])] = job
    for stamp, ids in sorted(jobs.items(), reverse=True):
        return Submission(f"{run_name}-{stamp}", ids.get(False, ""), ids.get(True, ""))
    return None
