"""What several test files share: the command line as a process, and small shards to give it."""

from __future__ import annotations

import gc
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import preloaded
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Where the environment forbids bytecode, each of a thousand commands would compile the package.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
gc.disable()  # until all test modules are imported

# Modules that take longest, the longest first: two processes then end at about the same time. A
# module stays in one process, so that what it makes once (a demo, a node) is made once.
LONGEST = (
    "test_demo", "test_pipelines", "test_paper_tables", "test_docs_site", "test_generate",
    "test_engines", "test_chaos", "test_train_command", "test_feedback", "test_score",
    "test_documents", "test_sdxl_training", "test_table_001", "test_benchmarks", "test_layouts",
    "test_face_adapters", "test_sdxl", "test_dreambooth", "test_subject_segmentation",
    "test_zoo_controlnet", "test_template", "test_detections_replaced_annotations",
    "test_long_prompts", "test_zoo_gpu", "test_zoo_diffusion", "test_training", "test_running",
    "test_annotate_pose", "test_browser",
)  # fmt: skip

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
COMMAND = [sys.executable, "-m", "socialcli"]
# What nearly every command that runs a model imports.
HEAVY = ("torch", "transformers.modeling_utils", "diffusers.models")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))  # stable within a module


def pytest_collection_finish() -> None:
    gc.enable()
    _keep()


@pytest.fixture(scope="module", autouse=True)
def kept_after_a_module() -> Iterator[None]:
    """What a module's tests imported is looked through once, and not by every later collection."""
    yield
    _keep()


def _keep() -> None:
    """Collect garbage, and never again look at what is left. torch, transformers and diffusers are
    half a million objects: to look through them took a tenth of the time of tests of training."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def python() -> Iterator[list[str]]:
    """The words before ``-m MODULE`` that start it in a process of its own, soon (`preloaded`)."""
    before = {**os.environ, **ENVIRONMENT}
    # The whole suite needs these: else the first command imports them, and after it the server.
    ahead = HEAVY if "PYTEST_XDIST_WORKER" in before else ()
    with preloaded.python(before, ahead) as words:
        yield words
    chosen, now = map(preloaded.read_at_import, (before, {**os.environ, **ENVIRONMENT}))
    # What a package put there made ordinary processes of all later commands, which start slowly.
    assert now == chosen, "name it in preloaded.SET_BY_IMPORTS"


@pytest.fixture(scope="session")
def program(python: list[str]) -> list[str]:
    """The words that start the command line in a process of its own, soon."""
    return [*python, "-m", "socialcli"]


@pytest.fixture(scope="session")
def torchrun(python: list[str], tmp_path_factory: pytest.TempPathFactory):
    """``torchrun("train", ...)``: the command line in two processes of torch's launcher."""
    start = tmp_path_factory.mktemp("torchrun") / "python"
    start.write_text(f'#!/bin/sh\n[ "$1" != -u ] || shift\nexec {shlex.join(python)} "$@"\n')
    start.chmod(0o755)
    launch = [*python, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone",
              "-m", "socialcli"]  # fmt: skip

    def run(*args: Any) -> None:
        done = subprocess.run(
            [*launch, *map(str, args)], capture_output=True, timeout=300,
            env={**os.environ, **ENVIRONMENT, "PYTHON_EXEC": str(start)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()

    return run


@pytest.fixture(scope="session")
def run_cli(program: list[str]):
    """``run_cli("caption", shard, "-o", out, stdin=bytes, env={...}, code=0)`` in a process of its
    own; fails the test when the exit code is another than ``code`` (None: any)."""

    def run(
        *args: Any,
        stdin: bytes | None = None,
        env: dict[str, str] | None = None,
        code: int | None = 0,
        **more: Any,
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [*program, *map(str, args)],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env={**os.environ, **ENVIRONMENT, **(env or {})},
            timeout=300,
            **more,
        )
        message = done.stderr.decode("utf-8", "replace")
        assert code is None or done.returncode == code, f"exit {done.returncode}: {message}"
        assert b"Traceback" not in done.stderr, message
        return done

    return run


def picture(number: int = 0, size: tuple[int, int] = (16, 12), kind: str = "JPEG") -> bytes:
    """A small picture file whose pixels depend on ``number``."""
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", size, (number * 37 % 256, number * 11 % 256, 90)).save(out, kind)
    return out.getvalue()


def samples(first: int, last: int, prefix: str = "") -> list[tuple[str, dict[str, bytes]]]:
    """Pictures with captions, keyed by number."""
    return [
        (
            f"{prefix}{n:05d}",
            {
                "jpg": picture(n),
                "txt": f"a person holds {n} things".encode(),
                "bin": bytes([n % 256]),
            },
        )
        for n in range(first, last)
    ]


@pytest.fixture
def signals():
    """Signals as a terminal gives them to a program. A script's background jobs and nohup ignore
    some from the start, and whatever is started from there ignores them too."""
    import signal

    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def make_shards(tmp_path: Path):
    """``make_shards(count, per_shard)`` -> folder ``in`` of shards 000.tar, 001.tar, ..."""

    def make(count: int = 2, per_shard: int = 5, folder: str = "in") -> Path:
        from socialcli import shards

        for number in range(count):
            first = number * per_shard
            shards.write(tmp_path / folder / f"{number:03d}.tar", samples(first, first + per_shard))
        return tmp_path / folder

    return make


@pytest.fixture
def picture_folder(tmp_path: Path):
    """``picture_folder(n)`` -> a folder of n pictures with captions beside them."""

    def make(count: int = 10, name: str = "pictures") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:03d}.jpg").write_bytes(picture(number))
            (folder / f"{number:03d}.txt").write_text(f"a person holds {number} things")
        return folder

    return make


def tars(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of every shard of a folder."""
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.tar"))}


def members(location: Any) -> dict[str, dict[str, bytes]]:
    """Key -> members of everything in a shard, a join or a folder of shards."""
    from socialcli import shards

    by_key: dict[str, dict[str, bytes]] = {}
    for shard in shards.expand([str(location)]):
        for sample in shards.read(shard):
            assert sample.key not in by_key
            by_key[sample.key] = sample.members
    return by_key


def leftovers(folder: Path) -> list[str]:
    """Hidden files, which is what unfinished ones are."""
    return [p.name for p in folder.rglob(".*")]


@pytest.fixture
def disk_events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """("on disk" or "named", name without what is hidden about it), as it happens."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    seen: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def name(path: str) -> str:
        return re.sub(r"^\.(.+)\.tmp-.*", r"\1", Path(path).name)

    def synced(handle: int) -> None:
        seen.append(("on disk", name(os.readlink(f"/proc/self/fd/{handle}"))))
        fsync(handle)

    def renamed(path: Path, target: Any) -> Path:
        seen.append(("named", name(str(target))))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    return seen
