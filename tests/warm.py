"""Many commands of a Makefile without many starts of Python: each is a fork of one warm process.

A command line costs four seconds of imports before it does anything; a Makefile of thirty commands
would be two minutes of nothing else. The server has torch and its friends imported. The program
that `program` names stands for `python`: it hands its words, folder, environment, and its standard
input, output and error to the server, which forks a process that runs the module named by ``-m``.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def program(folder: Path) -> Iterator[str]:
    """What a Makefile may call in place of `python`, as words for a shell."""
    import subprocess

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, __file__, "serve", "socket"], cwd=folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=log,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )  # fmt: skip
        try:
            assert server.stdout and server.stdout.readline() == b"ready\n"
            yield f'"{sys.executable}" -S "{__file__}" call "{folder}"'
        finally:
            server.terminate()
            server.wait()


def serve(name: str) -> None:
    """Fork a process for every connection to the socket ``name``, until somebody ends this one."""
    import signal

    sys.path.remove(str(Path(__file__).parent))  # the tests' folders are no packages of a command
    import diffusers  # noqa: F401
    import scipy.optimize  # noqa: F401
    import torch
    import transformers  # noqa: F401

    import socialcli.cli.app  # noqa: F401

    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(name)
        listening.listen(16)
        print("ready", flush=True)
        while True:
            connection, _ = listening.accept()
            if os.fork():
                connection.close()
                continue
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            code = 1
            try:
                code = _work(connection)
            finally:
                with contextlib.suppress(OSError):
                    connection.sendall(str(code).encode())
                os._exit(code)


def _work(connection: socket.socket) -> int:
    """Run what a connection asks for, in this process; the exit code."""
    import runpy
    import traceback

    message, files, _, _ = socket.recv_fds(connection, 2**20, 3)
    asked = json.loads(message)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    option, module, *words = asked["words"]
    assert option == "-m", asked["words"]
    sys.argv = [module, *words]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code: object = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code if isinstance(code, int) else 0 if code is None else 1


def call(folder: str, words: list[str]) -> int:
    """Hand a command to the server in ``folder``; its exit code."""
    asked = {"folder": os.getcwd(), "environment": dict(os.environ), "words": words}
    with socket.socket(socket.AF_UNIX) as connection:
        # The path of a Unix socket may have 107 characters only: the name is a relative one.
        os.chdir(folder)
        connection.connect("socket")
        socket.send_fds(connection, [json.dumps(asked).encode()], [0, 1, 2])
        answer = connection.recv(16)
    return int(answer or b"1")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(call(sys.argv[2], sys.argv[3:]))
