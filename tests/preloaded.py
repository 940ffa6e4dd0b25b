"""The command line without the seconds that importing torch, transformers and diffusers takes.

A server keeps those packages imported and forks one process for each command: a process of its own,
with the caller's streams, folder and environment, that runs ``python -m MODULE`` from its start.
No model is kept. `python` gives the words that stand in the place of ``python`` before ``-m
socialcli`` in a test or a Makefile.

What a command imported that others will need is imported in the server before the next command, so
a test run that calls only light commands pays nothing. This goes for the modules of socialcli too:
importing them reads nothing of the environment, and `test_layering` holds that they can be imported
in any order. A caller with another PYTHONPATH imports them anew. An ordinary process is started for
a command whose environment differs in a variable that packages may read while they are imported,
and for every command where a process cannot be forked safely (no Linux, or a GPU).

All commands of a server share one seed of ``hash()``. Tests of kills, signals, memory, engines and
of imports themselves start ordinary processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator, Sequence

HEAVY = {
    "PIL", "accelerate", "cv2", "diffusers", "en_core_web_sm", "huggingface_hub", "numpy",
    "safetensors", "scipy", "skimage", "sklearn", "spacy", "thinc", "tokenizers", "torch",
    "torchmetrics", "transformers",
    "aiobotocore", "aiohttp", "botocore", "fsspec", "s3fs",
}  # fmt: skip
# They start threads, which a forked process lacks; diffusers imports onnxruntime in one module.
THREADED = ("insightface", "onnxruntime", "pyarrow")
LIGHT = {
    "annotated_types", "click", "markdown_it", "mdurl", "pydantic", "pydantic_core", "pygments",
    "rich", "shellingham", "typer", "typing_extensions", "typing_inspection", "yaml",
}  # fmt: skip

OURS = "socialcli"
PYTHONPATH = os.environ.get("PYTHONPATH")  # the server's

# Variables that packages may read while they are imported.
READ_AT_IMPORT = (
    r"(HF|HUGGINGFACE|TRANSFORMERS|DIFFUSERS|ACCELERATE|SAFETENSORS|TORCH(?!ELASTIC_|_NCCL_)|PYTORCH"
    r"|ATEN|OMP|GOMP|KMP|MKL|OPENBLAS|NUMPY|SCIPY|SKLEARN|SPACY|CUDA|TF|USE|XDG|LC|LD"
    r"|PYTHON(?!PATH|_EXEC)\w)\w*|HOME|LANG"
)

# Of these, what packages set themselves while they are imported (cv2, diffusers, ray, sklearn), or
# we where the user has no name: a caller that has them passes them on and means nothing by it.
SET_BY_IMPORTS = {
    "LD_LIBRARY_PATH", "TORCHINDUCTOR_CACHE_DIR", "KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK",
    "PYTHONBREAKPOINT", "USER",
}  # fmt: skip


def _client(place: str, words: list[str]) -> None:
    """Have the server at socket ``place`` run a command on our streams; end as it ends."""
    import signal

    try:
        for number in range(3):
            os.fstat(number)
        server = socket.socket(socket.AF_UNIX)
        server.connect(place)
    except OSError:
        os.execv(sys.executable, [sys.executable, *words])
    request = json.dumps([words, os.getcwd(), dict(os.environ), os.umask(0o022)]).encode()
    os.umask(json.loads(request)[3])
    socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(request)
    answer = server.makefile().read()
    if not answer:
        os.execv(sys.executable, [sys.executable, *words])
    code = int(answer)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


class _Server:
    """Forks a process for each command until its standard input ends."""

    def __init__(self, place: str, wanted: list[str]) -> None:
        import selectors
        import signal

        self.environment = read_at_import(dict(os.environ))
        self.path = list(sys.path[1:])  # without the folder of this file
        self.wanted = wanted
        self.running: dict[int, tuple[socket.socket, int]] = {}
        self.ended, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(place)
        self.listener.listen(16)
        self.selector = selectors.DefaultSelector()
        for part in (0, self.ended, self.listener):
            self.selector.register(part, selectors.EVENT_READ)

    def serve(self) -> None:
        import signal

        while True:
            for key, _ in self.selector.select():
                if key.fileobj == 0:  # nobody is left who could ask
                    for pid in self.running:
                        os.kill(pid, signal.SIGKILL)
                    return
                if key.fileobj is self.listener:
                    self._accept()
                elif key.fileobj == self.ended:
                    os.read(self.ended, 4096)
                    self._reap()
                else:  # a caller that was killed, or went
                    self.selector.unregister(key.fileobj)
                    for pid, (caller, _) in self.running.items():
                        if caller is key.fileobj:
                            os.kill(pid, signal.SIGKILL)

    def _accept(self) -> None:
        import gc
        import selectors

        caller, _ = self.listener.accept()
        head, streams, _, _ = socket.recv_fds(caller, 8, 3)
        request = b""
        while len(request) < int.from_bytes(head, "big"):
            request += caller.recv(1 << 20)
        words, folder, environment, mask = json.loads(request)
        self._import()
        alone = len(os.listdir("/proc/self/task")) == 1  # or a fork would miss the other threads
        if not alone or read_at_import(environment) != self.environment:
            caller.close()
            for number in streams:
                os.close(number)
            return
        gc.freeze()
        report = os.memfd_create("imported")
        pid = os.fork()
        if not pid:
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            caller.close()
            for other, its_report in self.running.values():
                other.close()  # whose caller waits for the end of what it reads
                os.close(its_report)
            self._run(words, folder, environment, mask, report)
        for number in streams:
            os.close(number)
        self.running[pid] = (caller, report)
        self.selector.register(caller, selectors.EVENT_READ)

    def _import(self) -> None:
        import importlib

        apart = [name for name in THREADED if name not in sys.modules]
        sys.modules.update(dict.fromkeys(apart))  # None: whoever imports it fails
        for name in self.wanted:
            if name not in sys.modules:
                with contextlib.suppress(Exception):  # some only their own package can import
                    importlib.import_module(name)
        for name in apart:
            del sys.modules[name]
        with contextlib.suppress(KeyError, AttributeError):  # a thousand patterns, which it keeps
            sys.modules["transformers.conversion_mapping"].get_checkpoint_conversion_mapping("")
        self.wanted = []

    def _reap(self) -> None:
        while self.running:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            caller, report = self.running.pop(pid)
            with open(report, "rb") as names:
                names.seek(0)
                self.wanted += names.read().decode().split()
            if caller in [key.fileobj for key in self.selector.get_map().values()]:
                self.selector.unregister(caller)
                caller.sendall(str(os.waitstatus_to_exitcode(status)).encode())
            caller.close()

    def _run(self, words: list, folder: str, environment: dict, mask: int, report: int) -> None:
        """In the child: what ``python -m MODULE WORDS`` does, whose words begin with ``-m``."""
        import random
        import runpy
        import signal
        import tempfile

        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.listener.close()
        self.selector.close()
        os.close(self.ended)
        os.chdir(folder)
        os.umask(mask)
        os.environ.clear()
        os.environ.update(environment)
        tempfile.tempdir = None
        random.seed()
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()
        if "torch" in sys.modules:
            sys.modules["torch"].seed()
        added = [p for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p]
        sys.path[:] = [folder, *added, *(p for p in self.path if p not in added)]
        sys.argv[1:] = words[2:]
        _only_the_callers(words[1], environment)
        there = set(sys.modules)
        code: object = None
        try:
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
        finally:
            kept = HEAVY | LIGHT | {OURS}
            new = [m for m in sys.modules if m not in there and m.partition(".")[0] in kept]
            os.write(report, " ".join(new).encode())
        if code is None or isinstance(code, int):
            _end(code or 0)
        sys.exit(code)  # type: ignore[arg-type]


def _only_the_callers(module: str, environment: dict[str, str]) -> None:
    """Leave out what the server has of ours where the caller's path may lead to another socialcli
    or to parts that others added to it, and the module that is about to run under another name."""
    import importlib.machinery

    spec = importlib.machinery.PathFinder.find_spec(OURS)
    another = spec is None or spec.origin != getattr(sys.modules.get(OURS), "__file__", None)
    if another or environment.get("PYTHONPATH") != PYTHONPATH:
        for name in [m for m in sys.modules if m.partition(".")[0] == OURS]:
            del sys.modules[name]
    if not hasattr(sys.modules.get(module), "__path__"):
        sys.modules.pop(module, None)


def _end(code: int) -> None:
    """End as the interpreter does, but leave its objects to the system: to take apart one after the
    other what the imported packages hold costs four times what a light command costs. Returns only
    where the output cannot be written, which the interpreter reports when it ends."""
    import atexit
    import threading

    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)


def read_at_import(environment: dict[str, str]) -> dict[str, str]:
    """What of an environment decides how packages are imported, where a caller chose it."""
    import re

    return {
        name: value
        for name, value in environment.items()
        if re.fullmatch(READ_AT_IMPORT, name) and name not in SET_BY_IMPORTS
    }


@contextlib.contextmanager
def python(environment: dict[str, str], ahead: Sequence[str] = ()) -> Iterator[list[str]]:
    """The words that start ``-m MODULE`` from a preloaded server, for as long as it is needed.

    Args:
        environment: of the server. ahead: packages that are imported before the first command.
    """
    import subprocess
    import tempfile
    import time

    if sys.platform != "linux" or os.path.exists("/dev/nvidia0"):
        yield [sys.executable]
        return
    with tempfile.TemporaryDirectory(prefix="preloaded-") as folder:
        place = os.path.join(folder, "socket")
        line = [sys.executable, __file__, "--serve", place, *ahead]
        server = subprocess.Popen(line, env=environment, stdin=subprocess.PIPE)
        while not os.path.exists(place):
            assert server.poll() is None
            time.sleep(0.01)
        yield [sys.executable, "-S", "-E", __file__, place]
        threads = len(os.listdir(f"/proc/{server.pid}/task"))
        server.communicate()  # its standard input ends, and so does it
        # Every later command would have been an ordinary process, which takes seconds to import.
        assert threads == 1, "a package that the server imported started a thread"


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        _Server(sys.argv[2], sys.argv[3:]).serve()
    else:
        _client(sys.argv[1], sys.argv[2:])
