"""A whole Slurm cluster of one node on this machine, for the length of a test.

munged, slurmctld and slurmd run as child processes with their state in a temporary folder, on
ports of their own, so that nothing of a Slurm installed here is touched. Needs root (slurmd does)
and, on Debian: apt-get install slurm-wlm munge
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port_a}
SlurmdPort={port_b}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,sched_interval=1,bf_interval=1
KillWait=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@dataclass
class Node:
    folder: Path
    env: dict[str, str]  # what makes sbatch and its kin talk to this cluster

    def command(self, *words: str) -> str:
        """stdout of a Slurm client command."""
        env = {**os.environ, **self.env}
        return subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout

    def log(self) -> str:
        return "\n".join(
            f"{p.name}: {line}"
            for p in sorted(self.folder.glob("*.log"))
            for line in p.read_text(errors="replace").splitlines()[-5:]
        )


def missing() -> str:
    """Why there can be no Slurm here; empty if there can."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    absent = [
        p
        for p in ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
        if not shutil.which(p, path=path)
    ]
    if absent:
        return f"{', '.join(absent)} not installed (apt-get install slurm-wlm munge)"
    if os.getuid() != 0:
        return "slurmd runs as root only"
    return ""


@contextlib.contextmanager
def running(cpus: int = 2) -> Iterator[Node]:
    """A cluster whose one node is ready for jobs.

    Raises:
        RuntimeError: it did not come up; the message holds the ends of the daemons' logs.
    """
    # munge wants a socket that everybody can reach, which pytest's own folders are not.
    folder = Path(tempfile.mkdtemp(prefix="slurm-node-"))
    folder.chmod(0o755)
    node = Node(folder, {"SLURM_CONF": str(folder / "slurm.conf")})
    started: list[subprocess.Popen[bytes]] = []
    try:
        _configure(folder, cpus)
        started.append(_munged(folder))
        _until(lambda: (folder / "munge.socket").exists(), node, "munged")
        started.append(_start(folder, "slurmctld", "-D", "-f", str(folder / "slurm.conf")))
        started.append(_start(folder, "slurmd", "-D", "-f", str(folder / "slurm.conf")))
        _until(lambda: _idle(node), node, "the node")
        yield node
    finally:
        with contextlib.suppress(Exception):
            node.command("scancel", "--user=root")
        for process in reversed(started):
            process.terminate()
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path, cpus: int) -> None:
    host = socket.gethostname().partition(".")[0]
    with socket.socket() as a, socket.socket() as b:
        a.bind(("127.0.0.1", 0))
        b.bind(("127.0.0.1", 0))
        ports = {"port_a": a.getsockname()[1], "port_b": b.getsockname()[1]}
    text = CONFIG.format(host=host, folder=folder, cpus=cpus, **ports)
    (folder / "slurm.conf").write_text(text)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)


def _munged(folder: Path) -> subprocess.Popen[bytes]:
    return _start(
        folder,
        "munged",
        "--foreground",
        "--force",
        f"--key-file={folder}/munge.key",
        f"--socket={folder}/munge.socket",
        f"--pid-file={folder}/munge.pid",
        f"--seed-file={folder}/munge.seed",
        f"--log-file={folder}/munged-own.log",
    )


def _start(folder: Path, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    executable = shutil.which(program, path=path) or program
    with (folder / f"{program}-out.log").open("wb") as log:
        return subprocess.Popen([executable, *arguments], stdout=log, stderr=log, stdin=-3)


def _idle(node: Node) -> bool:
    try:
        return node.command("sinfo", "--noheader", "--format=%T").strip() == "idle"
    except subprocess.CalledProcessError:
        return False


def _until(ready: object, node: Node, what: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not ready():  # type: ignore[operator]
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not start:\n{node.log()}")
        time.sleep(0.1)
