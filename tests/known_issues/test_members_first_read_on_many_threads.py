"""The first members of a run were read on several threads at once, and the process died.

What reads a member is built from its type when the first one comes; `msgspec` must not build two
at a time. A stage reads its first samples on a pool of threads, so that a run could end with
SIGSEGV before its first sample.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent
PROGRAM = """
import sys, threading
sys.setswitchinterval(1e-6)
from scenes import all_records
from socialcli import records
written = {name: records.dump(record) for name, record in all_records().items()}
together = threading.Barrier(16)
def read():
    together.wait()
    for name, data in written.items():
        records.load(records.MEMBERS[name], data, name)
threads = [threading.Thread(target=read) for _ in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def test_many_threads_read_the_first_members() -> None:
    for _ in range(4):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=TESTS, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, (done.returncode, done.stderr)
        assert not done.stderr
