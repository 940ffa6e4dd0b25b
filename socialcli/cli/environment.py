"""What a process needs of its surroundings before anything else runs: open streams and a home."""

from __future__ import annotations

import os
import sys


def prepare() -> None:
    """Fill in what cron, schedulers and containers may leave out; harmless where nothing is."""
    _open_streams()
    _name_home()


def _open_streams() -> None:
    """Occupy closed standard streams, or the next file opened would become one of them.

    What is read from such a stdin, or written to such a stdout, is an error (each is open the
    other way round); what would be said on such a stderr is not heard.
    """
    for number, name, mode, way in (
        (0, "stdin", "r", os.O_WRONLY),
        (1, "stdout", "w", os.O_RDONLY),
        (2, "stderr", "w", os.O_WRONLY),
    ):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, way)  # the lowest free number, which is this one
        if getattr(sys, name) is None:
            stream = open(number, mode, closefd=False)
            setattr(sys, name, stream)
    _let_stderr_be_written()


def _let_stderr_be_written() -> None:
    """A shell script started with a closed stderr may leave itself open there, for reading."""
    if os.name == "posix":
        import fcntl

        if fcntl.fcntl(2, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            os.close(null)


def _name_home() -> None:
    """A container's user without HOME and without a line in passwd gets ``/``, as Docker does.

    Libraries ask for the home and the user's name on import and raise where there is neither.
    """
    if os.name != "posix":
        return
    import pwd

    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ["HOME"] = os.environ.get("HOME") or "/"
        if not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
            os.environ["USER"] = str(os.getuid())
