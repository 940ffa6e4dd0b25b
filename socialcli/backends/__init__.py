"""Backends: one file per model family, in a folder per role. This file finds and loads them.

``socialcli/backends/<role>/<name>.py`` holds a literal ``INFO = BackendInfo(...)``, read without
importing the file, and a function ``load(spec: ModelSpec) -> role object`` (see `roles`). Packages
outside this project add a backend with an entry point::

    [project.entry-points."socialcli.backends"]
    "caption.mycaptioner" = "my_package.captioner"
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from socialcli.errors import MissingPackage, ModelMissing, UnknownName, UsageError

ROLES = ("caption", "entities", "ground", "segment", "face", "pose", "gaze", "interaction",
         "diffusion", "decoder", "controlnet", "adapter", "ssr", "clip", "dino")  # fmt: skip
_FILES = (".pt", ".pth", ".bin", ".ckpt", ".onnx", ".safetensors")


@dataclass(frozen=True)
class BackendInfo:
    """What one backend is, as literals that can be read without importing it."""

    summary: str  # one line
    licence: str  # of the default checkpoint
    model: str = ""  # the default checkpoint: hub id, folder or file
    get: str = ""  # the exact command that fetches the default checkpoint
    size: str = ""  # of the default checkpoint, for people: "15 GB"
    packages: tuple[str, ...] = ()  # import names it needs
    extra: str = ""  # pip extra that brings them
    method: str = ""  # of a diffusion model: the only method of generate that draws with it
    text_encoders: int = 1  # of a diffusion model
    detects: bool = False  # of an interaction recogniser: it finds people and things by itself
    fixed: bool = False  # of a grounder: it finds a fixed list of things, see `coverage.unknown`
    role: str = ""  # filled in from the folder
    name: str = ""  # filled in from the file
    module: str = ""  # filled in: dotted path to import


@dataclass(frozen=True)
class ModelSpec:
    """Which model a role uses in this run: a profile's table overridden by flags."""

    role: str
    backend: str
    model: str = ""  # hub id, folder or file; "" = the backend's default
    revision: str | None = None
    device: str = "cpu"  # "cpu", "cuda", "cuda:1", "mps"
    dtype: str = "float32"  # "float32", "bfloat16", "float16"
    options: dict[str, Any] = field(default_factory=dict)  # what only this backend understands


@cache
def available() -> dict[str, dict[str, BackendInfo]]:
    """Every backend by role and name, found by its file or entry point; nothing is imported."""
    by_role: dict[str, dict[str, BackendInfo]] = {role: {} for role in ROLES}
    here = Path(__file__).parent
    for role in ROLES:
        for file in sorted((here / role).glob("[a-z]*.py")):
            module = f"{__name__}.{role}.{file.stem}"
            info = read_info(file, role, file.stem.replace("_", "-"), module)
            if info is not None:
                by_role[role][info.name] = info
    for point in _entry_points():
        role, _, name = point.name.partition(".")
        if role in by_role and name:
            spec = importlib.util.find_spec(point.value.partition(":")[0])
            if spec is not None and spec.origin:
                info = read_info(Path(spec.origin), role, name, point.value.partition(":")[0])
                if info is not None:
                    by_role[role][name] = info
    return by_role


def _entry_points() -> list[Any]:
    from importlib.metadata import entry_points

    return sorted(entry_points(group="socialcli.backends"), key=lambda p: p.name)


def read_info(file: Path, role: str, name: str, module: str) -> BackendInfo | None:
    """The literal ``INFO = BackendInfo(...)`` of a file, without running it."""
    for node in ast.parse(file.read_bytes()).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        if [getattr(t, "id", "") for t in node.targets] == ["INFO"]:
            values = {k.arg: ast.literal_eval(k.value) for k in node.value.keywords if k.arg}
            return BackendInfo(**{**values, "role": role, "name": name, "module": module})
    return None


def info(role: str, name: str) -> BackendInfo:
    """The backend ``name`` of ``role``.

    Raises:
        UsageError: no such backend; the message lists those there are.
    """
    backends = available().get(role, {})
    if name not in backends:
        raise UnknownName(f"no {role} backend", name, backends)
    return backends[name]


def missing_packages(backend: BackendInfo) -> list[str]:
    """Import names this backend needs that are not installed."""
    return [name for name in backend.packages if importlib.util.find_spec(name) is None]


def is_path(model: str) -> bool:
    """Whether a model is named by its place, and not by a hub id or a package's name."""
    if model.startswith(("/", ".", "~")) or model.count("/") > 1 or "\\" in model:
        return True
    return model.endswith(_FILES) or Path(model).exists()


def require(specs: Iterable[ModelSpec]) -> None:
    """See that what is to be loaded can be here, before any of it is: no network is asked and
    nothing imported.

    Raises:
        UsageError: no such backend. MissingPackage: its packages are not installed.
        ModelMissing: nothing lies at the place that names a model.
    """
    for spec in specs:
        backend = info(spec.role, spec.backend)
        _packaged(backend)
        if is_path(spec.model) and not Path(spec.model).expanduser().exists():
            mend = f". Get it with: {backend.get}" if backend.get else ""
            raise ModelMissing(f"{spec.model}: no such folder or file ({spec.role} model){mend}")


def check_text_encoders(specs: Iterable[ModelSpec], method: str, several: bool) -> None:
    """See that a method knows diffusion models of as many text encoders as are asked for.

    Args:
        method: as it is called for. several: whether it knows models of more than one.

    Raises:
        UsageError: it does not.
    """
    for spec in specs:
        if spec.role == "diffusion" and not several:
            count = info(spec.role, spec.backend).text_encoders
            if count > 1:
                raise UsageError(
                    f"{method} is for models with one text encoder (--backend stable-diffusion); "
                    f"--backend {spec.backend} has {count}"
                )


def check_any_method(specs: Iterable[ModelSpec], label: str, name: str = "") -> None:
    """See that what is trained is no model that only another method of `generate` draws with.

    Args:
        label: what is called: "train --method text-to-image". name: of that method.

    Raises:
        UsageError: it is one.
    """
    for spec in specs:
        own = info(spec.role, spec.backend).method if spec.role == "diffusion" else ""
        if own not in ("", name):
            raise UsageError(
                f"{label}: --backend {spec.backend} is for generate --method {own} alone"
            )


def _packaged(backend: BackendInfo) -> None:
    missing = missing_packages(backend)
    if missing:
        raise MissingPackage(f"{', '.join(missing)} (for --backend {backend.name})", backend.extra)


def load(spec: ModelSpec) -> Any:
    """Load one model; returns the role's object (see `roles`).

    Raises:
        UsageError: unknown backend. MissingPackage: its packages are not installed.
        ModelMissing: its checkpoint is not here and could not be fetched.
        UsageError: the device is not in this machine.
    """
    from socialcli.backends import devices, quiet

    backend = info(spec.role, spec.backend)
    _packaged(backend)
    quiet.without_noise()
    devices.check(spec.device)  # a plan may have been made on another machine
    return importlib.import_module(backend.module).load(spec)


def where(model: str) -> str | None:
    """Where a checkpoint is on this machine: a path as given, an installed package that is a
    model (spaCy's are), an insightface pack, or a hub id in the local cache.

    Nothing is fetched, nothing heavy imported. None when it is not here (or ``model`` is "").
    """
    import os

    if not model:
        return None
    if Path(model).expanduser().exists():
        return str(Path(model).expanduser())
    if model.isidentifier() and (package := importlib.util.find_spec(model)) is not None:
        return package.origin
    packs = Path(os.environ.get("INSIGHTFACE_HOME", "~/.insightface")).expanduser() / "models"
    if (packs / model).is_dir():
        return str(packs / model)
    hub = os.environ.get("HF_HUB_CACHE") or str(
        Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "hub"
    )
    snapshots = Path(hub) / ("models--" + model.replace("/", "--")) / "snapshots"
    if snapshots.is_dir():
        for snapshot in sorted(snapshots.iterdir()):
            return str(snapshot)
    return None
