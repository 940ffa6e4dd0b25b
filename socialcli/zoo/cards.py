"""Model cards: where each miniature came from and what it reaches, as JSON beside its weights."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

LARGEST = 16 * 2**20  # bytes of one committed file


def folder(role: str) -> Path:
    """Where a role's weights lie in the package; some roles make one folder between them."""
    shared = {"identity": "face", "vae": "diffusion"}
    return Path(__file__).parents[1] / "weights" / shared.get(role, role)


def card(role: str) -> Path:
    """The role's card."""
    return folder(role) / f"{role}.card.json"


def weights(role: str, names: tuple[str, ...] = ()) -> list[Path]:
    """A role's files, sub-folders included: those of ``names`` (relative), else all but cards."""
    target = folder(role)
    if names:
        return sorted(target / name for name in names)
    return sorted(p for p in target.rglob("*") if p.is_file() and not p.name.endswith(".card.json"))


def write(role: str, module: Any, run: Any, metrics: dict[str, float]) -> None:
    """Write the role's card beside its weights.

    Raises:
        ValueError: a file is larger than may be committed.
    """
    import torch

    target = folder(role)
    files = weights(role, getattr(module, "FILES", ()))
    for file in files:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"{file.name} has {file.stat().st_size} bytes; 16 MiB at most")
    facts = {
        "role": role,
        "summary": (module.__doc__ or "").splitlines()[0],
        "command": f"python -m socialcli.zoo {role}",
        "data": "socialcli.world, train split, seed 0, 96 px, drawn on the fly",
        "seed": 0,
        "steps": run.step,
        "batch": module.BATCH,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "minutes": round(run.seconds / 60, 1),
        "hardware": f"{torch.get_num_threads()} CPU thread(s), {platform.machine()}",
        "packages": {"torch": torch.__version__},
        "licence": "Apache-2.0",
        **({"note": module.NOTE} if hasattr(module, "NOTE") else {}),
        "test": metrics,
        "sha256": {p.relative_to(target).as_posix(): _sha256(p) for p in files},
    }
    card(role).write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps({role: metrics}))


def check(role: str, metrics: dict[str, float]) -> int:
    """Compare freshly measured metrics and file hashes with the card; 0 when they agree."""
    target = folder(role)
    facts = json.loads(card(role).read_text())
    wrong = [name for name, sha in facts["sha256"].items() if _sha256(target / name) != sha]
    wrong += [
        k for k, v in facts["test"].items() if abs(metrics.get(k, 9e9) - v) > 0.005 + 0.01 * abs(v)
    ]
    print(json.dumps({role: metrics}))
    if wrong:
        print(f"{role}: differs from its card: {', '.join(wrong)}")
    return 1 if wrong else 0


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
