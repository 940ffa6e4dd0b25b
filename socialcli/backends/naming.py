"""How results name a model: what it is, and never the folders of the machine that it lay on.

A hub id stays as it is. A miniature of this package is ``mini/caption``, another local folder or
file its last component, and what lies there is told by a fingerprint of its content. So the same
run on another machine gives the same bytes, the same model at another place counts as the same,
and another model at the same place does not.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.backends import is_path
from socialcli.records import Model

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec

MINIATURES = Path(__file__).resolve().parents[1] / "miniature" / "weights"
DIGITS = 16  # hexadecimal digits of a fingerprint
# What `train` and `invert` leave beside their result: times, checkpoints, pictures of validation;
# and after how many steps a checkpoint, or a copy of the result, was written.
RUN, LOG, CHECKPOINTS, CACHE, PICTURES = "run.json", "log.jsonl", "checkpoints", "cache", "pictures"
TENSORBOARD, WANDB = "tensorboard", "wandb"
BESIDE = {RUN, LOG, CHECKPOINTS, CACHE, PICTURES, TENSORBOARD, WANDB}
STEP = re.compile(r"step-(\d+)")
_LARGE = 1 << 24  # bytes; the digests of larger files are kept between runs


def describe(spec: ModelSpec, default: str = "", options: dict[str, Any] | None = None) -> Model:
    """What a record says of a model that has no revision but its content."""
    model = spec.model or default
    return Model(
        backend=spec.backend,
        model=name(model),
        revision=revision(model) or spec.revision,
        role=spec.role,
        options=dict(options or {}),
    )


def after(step: int) -> str:
    """The folder of what a training has after a step, which `STEP` reads."""
    return f"step-{step:06d}"


def name(model: str) -> str:
    """A model in a word: a hub id, ``mini/ROLE``, or the last component of its place."""
    if not model or not is_path(model):
        return model
    place = Path(model).expanduser()
    whole = place.resolve()
    if whole.is_relative_to(MINIATURES) and whole != MINIATURES:
        return f"mini/{whole.relative_to(MINIATURES).as_posix()}"
    return whole.name if place.name in ("", "..") else place.name


def revision(model: str) -> str | None:
    """``sha256:`` and the fingerprint of a local model; None where there is none."""
    digest = fingerprint(model)
    return f"sha256:{digest}" if digest else None


def fingerprint(model: str) -> str:
    """The first digits of a SHA-256 over a file, or over the names and the content of a folder's
    files; "" where nothing local is named.

    Hidden files, read-me files and the miniatures' cards say nothing of the model and do not count;
    nor, in the folder of a training, what is not its result.
    """
    if not model or not is_path(model):
        return ""
    place = Path(model).expanduser()
    if place.is_file():
        return _sha256(place)[:DIGITS]
    if not place.is_dir():
        return ""
    whole = hashlib.sha256()
    for file in sorted(
        p for p in place.rglob("*") if _counts(place, p.relative_to(place)) and p.is_file()
    ):
        whole.update(f"{file.relative_to(place).as_posix()}\0{_sha256(file)}\n".encode())
    return whole.hexdigest()[:DIGITS]


def labels(options: dict[str, Any]) -> dict[str, Any]:
    """Options as results note them: each model by its name, with the fingerprint of a local one."""
    return {key: label(value) if is_model(key, value) else value for key, value in options.items()}


def contents(options: dict[str, Any]) -> dict[str, Any]:
    """Options as runs are compared: of a local model only its content counts."""
    return {
        key: content(value) if is_model(key, value) else value for key, value in options.items()
    }


def content(model: str) -> str:
    """What a local model holds in a word, the name of any other."""
    return revision(model) or model


def label(model: str) -> str:
    """``name (sha256:...)`` of a local model, the name of any other."""
    content = revision(model)
    return f"{name(model)} ({content})" if content else name(model)


def is_model(option: str, value: Any) -> bool:
    """Whether an option's value names a model: ``model``, ``face_model``."""
    return bool(value) and isinstance(value, str) and option.rpartition("_")[2] == "model"


def _counts(place: Path, file: Path) -> bool:
    """Whether a file of the folder ``place``, named from there, says anything of the model."""
    if any(part.startswith((".", "__pycache__")) for part in file.parts):
        return False
    beside = any(
        (part in BESIDE or STEP.fullmatch(part)) and (place / parent / RUN).is_file()
        for part, parent in zip(file.parts, reversed(file.parents), strict=True)
    )
    return not beside and not file.name.endswith((".md", ".card.json"))


def _sha256(file: Path) -> str:
    file = file.resolve()
    status = file.stat()
    return _digest(file, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@functools.cache
def _digest(file: Path, size: int, *times: int) -> str:
    """Read once as long as the file's size and times stay the same."""
    note = _note(f"{file} {size} {times}") if size >= _LARGE else None
    if note is not None:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            kept = note.read_text(encoding="ascii")
            if len(kept) == 64:
                return kept
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if note is not None:
        with contextlib.suppress(OSError):  # a cache: without it the file is read again
            note.parent.mkdir(parents=True, exist_ok=True)
            beside = note.with_name(f".{note.name}.{os.getpid()}")
            beside.write_text(digest, encoding="ascii")
            beside.replace(note)
    return digest


def _note(key: str) -> Path | None:
    """Where a large file's digest is kept between runs; None where there is no home."""
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:
        return None
    digest = hashlib.sha256(key.encode()).hexdigest()
    return root / "socialcli" / "sha256" / digest[:32] if root.is_absolute() else None
