"""A preloaded server runs commands as ``python -m socialcli`` does, without the imports."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path

import preloaded
import pytest
from conftest import COMMAND, ENVIRONMENT

LIKE = {**os.environ, **ENVIRONMENT}
LIKE.pop("PYTHONUNBUFFERED", None)  # what is printed is then written when the command ends


@pytest.fixture
def server():
    with preloaded.python(LIKE) as words:
        if len(words) == 1:
            pytest.skip("no preloaded server on this machine")
        yield [*words, "-m", "socialcli"]


def ask(words: list[str], *arguments: object, env: dict[str, str] = LIKE, **more: object):
    line = [*words, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, env=env, timeout=120, **more)  # type: ignore[call-overload]


def test_streams_folder_and_exit_code_are_the_callers(server, tmp_path: Path) -> None:
    for line in (["--help"], ["captoin"], ["inspect", "nothing"], ["merge", "-", "-o", "-"]):
        forked, really = (ask(w, *line, cwd=tmp_path, input=b"") for w in (server, COMMAND))
        assert forked.returncode == really.returncode
        assert (forked.stdout, forked.stderr) == (really.stdout, really.stderr), line


def test_what_one_command_imported_the_next_one_has(server, tmp_path: Path) -> None:
    package = tmp_path / "socialcli"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import sys, os\nprint('numpy' in sys.modules, os.getppid(), sys.argv[1:], flush=True)\n"
        "print(__name__, __spec__.name)\nimport numpy\nprint(numpy.random.rand(3))\n"
    )
    env = {**LIKE, "PYTHONPATH": str(tmp_path)}
    first, second, third = (
        ask(server, "a", "b c", env=env, cwd=tmp_path).stdout.decode().splitlines()
        for _ in range(3)
    )
    assert first[0].startswith("False ") and first[0].endswith("['a', 'b c']")
    assert second[0] == third[0] == first[0].replace("False", "True")
    assert second[1] == first[1] == "__main__ socialcli.__main__"
    assert second[2] != third[2]  # random numbers that nobody seeded are not the same


def test_modules_of_ours_are_kept_for_callers_of_the_same_package(server, tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(
        "import sys\nprint('socialcli.benchmarks.needs' in sys.modules)\n"
        "import socialcli\nprint(socialcli.__file__)\nimport socialcli.benchmarks.needs\n"
    )
    line = [*server[:-1], "probe"]
    first, second = (ask(line, cwd=tmp_path).stdout.split() for _ in range(2))
    assert (first[0], second[0], first[1]) == (b"False", b"True", second[1])
    done = ask([*server[:-1], "socialcli.benchmarks.needs"], "pose", cwd=tmp_path)
    assert done.returncode == 2 and b"Warning" not in done.stderr  # that it is imported already
    other = tmp_path / "other" / "socialcli"
    (other / "benchmarks").mkdir(parents=True)
    for file in ("__init__.py", "benchmarks/__init__.py", "benchmarks/needs.py"):
        (other / file).touch()
    seen = ask(line, env={**LIKE, "PYTHONPATH": str(tmp_path / "other")}, cwd=tmp_path)
    assert seen.stdout.decode().split() == ["False", str(other / "__init__.py")]
    added = {**LIKE, "PYTHONPATH": f"{LIKE.get('PYTHONPATH', '')}{os.pathsep}{tmp_path / 'parts'}"}
    assert ask(line, env=added, cwd=tmp_path).stdout.split() == [b"False", first[1]]


@pytest.mark.parametrize(
    "ending",
    ["", "sys.exit(3)", "sys.exit(-1)", "sys.exit('no')", "1 / 0", "sys.stdout.close()"],
)
def test_a_command_ends_as_the_interpreter_does(server, tmp_path: Path, ending: str) -> None:
    package = tmp_path / "socialcli"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import atexit, os, sys, threading, time\n"
        "print('not flushed', end='')\n"
        "atexit.register(lambda: open('ended', 'a').write('at exit'))\n"
        "def write():\n"
        "    time.sleep(0.05)\n"
        "    open('ended', 'a').write('thread ')\n"
        "threading.Thread(target=write).start()\n" + ending
    )
    env = {**LIKE, "PYTHONPATH": str(tmp_path)}
    for words in (server, COMMAND):
        done = ask(words, env=env, cwd=tmp_path)
        error = done.stderr.decode().splitlines()[-1:]
        seen = done.returncode, done.stdout, error, (tmp_path / "ended").read_text()
        (tmp_path / "ended").unlink()
        if words is server:
            forked = seen
    assert forked == seen


def test_output_that_cannot_be_written_is_reported(server, tmp_path: Path) -> None:
    package = tmp_path / "socialcli"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("print('words')")
    for words in (server, COMMAND):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                words,
                stdout=full,
                stderr=subprocess.PIPE,
                env={**LIKE, "PYTHONPATH": str(tmp_path)},
                cwd=tmp_path,
            )
        assert done.returncode == 120 and b"No space left" in done.stderr


def test_another_environment_gets_an_ordinary_process(server, tmp_path: Path) -> None:
    package = tmp_path / "socialcli"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import os\nprint(os.getppid(), os.environ.get('OUT'), os.environ.get('HF_HOME'))\n"
    )
    env = {**LIKE, "PYTHONPATH": str(tmp_path)}
    forked = ask(server, env={**env, "OUT": "1"}, cwd=tmp_path).stdout.split()
    ordinary = ask(server, env={**env, "HF_HOME": "1"}, cwd=tmp_path).stdout.split()
    assert forked[0] != str(os.getpid()).encode() and forked[1:] == [b"1", b"None"]
    assert ordinary == [str(os.getpid()).encode(), b"None", b"1"]


def test_variables_that_packages_set_while_they_are_imported_change_nothing(
    server, tmp_path: Path
) -> None:
    """A test that has imported cv2 or diffusers passes on what these have put into os.environ; once
    every later command of such a run was an ordinary process, seconds slower."""
    package = tmp_path / "socialcli"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import os\nprint(os.getppid(), os.environ['NAME'])\n")
    for name in preloaded.SET_BY_IMPORTS:
        env = {**LIKE, "PYTHONPATH": str(tmp_path), "NAME": name, name: str(tmp_path)}
        parent, asked = ask(server, env=env, cwd=tmp_path).stdout.decode().split()
        assert (parent != str(os.getpid()), asked) == (True, name)


def test_a_command_ends_with_its_caller(server, tmp_path: Path) -> None:
    package = tmp_path / "socialcli"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    env = {**LIKE, "PYTHONPATH": str(tmp_path)}
    caller = subprocess.Popen(server, env=env, cwd=tmp_path)
    until = time.monotonic() + 120
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    pid = int((tmp_path / "pid").read_text())
    caller.kill()
    caller.wait()
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_command_in_a_pipe_ends_before_the_one_that_reads_it(server, tmp_path: Path) -> None:
    """Each process held the other callers' sockets open: the first command of a pipe was waited for
    until the second had ended, which waited for the first."""
    package = tmp_path / "socialcli"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import os, sys, time\n"
        "if sys.argv[1] == 'write':\n"
        "    open('writing', 'w').close()\n"
        "    while not os.path.exists('reading'): time.sleep(0.01)\n"
        "    print('words', flush=True)\n"
        "else:\n"
        "    open('reading', 'w').close()\n"
        "    print(sys.stdin.read().upper(), end='')\n"
    )
    write, read = (f"{shlex.join(server)} {what}" for what in ("write", "read"))
    line = f"{write} | (while [ ! -e writing ]; do sleep 0.01; done; {read})"
    done = ask(["bash", "-c", line], env={**LIKE, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path)
    assert done.stdout == b"WORDS\n"
