"""Under nohup or in the background of a script three tests failed.

There SIGINT is ignored from the start, and programs started from there ignore it too, so a test
that interrupts one waited in vain. Such tests set the signals they need.
"""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

ASK = (
    "import signal, sys; from socialcli.training.loop import Run; "
    "loop = Run.__new__(Run); loop.stopping = None\n"
    "with loop._signals():\n    print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
)


@pytest.fixture
def background():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def test_what_is_started_hears_ctrl_c_again(background, signals):
    done = subprocess.run(["sh", "-c", "kill -INT $$; echo deaf"], capture_output=True)
    assert done.returncode == -signal.SIGINT and done.stdout == b""


def test_training_stays_deaf_where_it_was_started_deaf(background):
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
