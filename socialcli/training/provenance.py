"""Where a result comes from: what goes into ``run.json`` and the header of what is saved."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.backends import naming
from socialcli.config import flag
from socialcli.pipeline.plan import held, public, shown, usual, versions

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.shards.index import Index
    from socialcli.training.options import TrainingOptions

PACKAGES = ("diffusers", "accelerate", "safetensors")


def identity(command: str, name: str, method: Any, config: TrainingOptions, index: Index) -> dict:
    """Everything the result depends on: what two runs must agree on for one to resume the other.

    Without decay the learning rate does not know how long the run is: then ``steps`` may grow,
    unless the method itself goes by how far the run has come.
    """
    facts: dict[str, Any] = {
        "command": command,
        "method": name,
        "version": method.VERSION,
        "data": index.fingerprint(),
        "samples": len(index),
    }
    for f in dataclasses.fields(config):
        free = f.name == "steps" and config.schedule == "constant" and not method.paced(config)
        if f.metadata.get("affects_result", True) and not free:
            value = naming.contents({f.name: getattr(config, f.name)})[f.name]
            if f.metadata.get("file") and value:
                value = held(value)
            facts[flag(f.name)] = public(value)
    if not any(method.weights(config).values()):
        facts["weights"] = "all 0"  # it measures losses and trains nothing
    return facts


def agree(config: TrainingOptions, old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether two identities are of the same run. Options that are as usual, and that an earlier
    version did not have, make no difference."""
    unknown = {named for name in usual(config) if (named := flag(name)) not in old}
    return old == {name: value for name, value in new.items() if name not in unknown}


def describe(
    command: str, name: str, method: Any, config: TrainingOptions, index: Index
) -> dict[str, Any]:
    """The whole record: command, options, data, models, versions, commit."""
    return {
        "command": command,
        "method": name,
        "config": shown(dataclasses.asdict(config)),
        "seed": config.seed,
        "data": {
            "shards": public(_relative(index.shards)),
            "samples": len(index),
            "fingerprint": index.fingerprint(),
        },
        "models": [_model(spec) for spec in method.models(config)],
        "versions": {**versions(), **_packages()},
        "commit": commit(),
    }


def _model(spec: ModelSpec) -> dict[str, Any]:
    """A spec as results note it: without the folders of this machine."""
    options = {
        name: naming.label(value) if isinstance(value, str) else value
        for name, value in spec.options.items()
    }
    named = naming.describe(spec)
    return {
        **dataclasses.asdict(spec),
        "model": named.model,
        "revision": named.revision,
        "options": options,
    }


def _relative(places: list[str]) -> list[str]:
    """Local shards as seen from the folder that all of them are in, other locations as they are."""
    local = [place for place in places if "://" not in place]
    if not local:
        return places
    above = os.path.commonpath([Path(place).resolve().parent for place in local])
    return [
        place if "://" in place else Path(place).resolve().relative_to(above).as_posix()
        for place in places
    ]


def metadata(record: dict[str, Any], step: int) -> dict[str, str]:
    """A record as the header of a safetensors file: strings under ``socialcli.`` names.

    No time stands in it, so that the same training gives the same bytes.
    """
    header = {"format": "pt", "socialcli.step": str(step)}
    for name, value in record.items():
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            header[f"socialcli.{name}"] = text
    return header


@functools.cache
def commit() -> str | None:
    """The commit of this program's own checkout, with ``-dirty`` if files differ; None if it is
    installed otherwise."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    line = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _packages() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed
