"""Model cards: where each miniature came from and what it reaches, as JSON beside its weights."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any

from socialcli.errors import UsageError

WEIGHTS = Path(__file__).parents[1] / "weights"  # the package's, unless `publish_in` names others
LARGEST, ALL = 32 * 2**20, 96 * 2**20  # bytes of one committed file, and of all
# What each miniature should reach on the test split: role, its card's name for it, words, at least
# (or, for an angle, at most).
ASKED = (
    ("face", "recall50", "faces found at IoU 0.5", 0.95),
    ("identity", "tar_at_far_1", "verified at 1 % false accepts", 0.90),
    ("pose", "pck", "keypoints within 0.1 of the height", 0.92),
    ("gaze", "point_in_box", "gaze point in the right thing's box", 0.85),
    ("gaze", "median_degrees", "median error of the gaze, degrees", 12.0),
    ("interaction", "map_full", "mAP, all pairs", 0.80),
    ("interaction", "map_rare", "mAP, rare pairs", 0.50),
    ("ground", "ap50", "AP50 of all entities", 0.92),
    ("segment", "mean_iou", "mean IoU from true boxes", 0.88),
    ("dino", "map", "mAP of same-subject retrieval", 0.70),
    ("clip", "r1", "R@1 of 100 captions to pictures", 0.70),
    ("caption", "triples", "subject, verb and object right", 0.90),
    ("caption", "unseen_triples", "the same, pairs never trained on", 0.75),
    ("vae", "triples", "the same, read after the autoencoder", 0.87),
    ("vae", "face_similarity", "face similarity of a picture to itself after it", 0.85),
    ("vae", "psnr_heads", "PSNR on heads, dB", 25.0),
    ("vae", "psnr_eyes", "PSNR on eyes, dB", 23.0),
    ("decoder", "psnr", "PSNR to what the autoencoder's own decoder draws, dB", None),
    ("decoder", "gradient", "cosine of gradients to those through its own decoder", None),
    ("diffusion", "triples", "triples read in generated pictures", 0.60),
    ("diffusion", "seen_pairs", "the same, pairs trained on", 0.70),
    ("diffusion", "subject", "subject right", 0.90),
    ("diffusion", "verb", "verb right", 0.80),
    ("diffusion", "object", "object right", 0.75),
    ("diffusion", "clothes", "colour of clothes right", 0.93),
    ("diffusion", "people", "at least as many people as the caption names", 0.85),
    ("diffusion", "gaze", "somebody looks at what the caption says", 0.60),
    ("ssr", "face_gain", "face similarity gained", 0.35),
    ("ssr", "face_gain_low", "the same, at least (95 %)", 0.0),
    ("controlnet", "pck", "keypoints where the skeleton has them", None),
    ("ip_adapter", "face_gain", "face similarity gained", None),
    ("ip_adapter", "thing_colour", "colour of things right", None),
    ("interactdiffusion", "interactions", "interactions read in the asked boxes", None),
    ("interactdiffusion", "iou", "IoU of what is drawn with the asked boxes", None),
)
AT_MOST = ("median_degrees",)


def publish_in(weights: Path) -> None:
    """Let weights and cards be read and written there; a new folder begins as a copy of the
    package's.

    Two processes may ask for the same new folder at once.
    """
    global WEIGHTS
    if not weights.exists():
        weights.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=weights.parent, prefix=".weights-") as part:
            shutil.copytree(WEIGHTS, Path(part) / "copy")
            try:
                (Path(part) / "copy").rename(weights)
            except OSError:
                if not weights.is_dir():
                    raise
    WEIGHTS = weights


def folder(role: str) -> Path:
    """Where a role's weights lie; some roles make one folder between them."""
    shared = {"identity": "face", "vae": "diffusion"}
    return WEIGHTS / shared.get(role, role)


def card(role: str) -> Path:
    """The role's card."""
    return folder(role) / f"{role}.card.json"


def weights(role: str, names: tuple[str, ...] = ()) -> list[Path]:
    """A role's files, sub-folders included: those of ``names`` (relative), else all but cards."""
    target = folder(role)
    if names:
        return sorted(target / name for name in names)
    return sorted(p for p in target.rglob("*") if p.is_file() and not p.name.endswith(".card.json"))


def write(
    role: str, module: Any, run: Any, metrics: dict[str, float], command: str = "", device: str = ""
) -> None:
    """Write the role's card beside its weights; ``command`` and ``device`` where not the usual.

    Raises:
        ValueError: a file, or all of them, are larger than may be committed.
    """
    import torch

    target = folder(role)
    files = weights(role, getattr(module, "FILES", ()))
    for file in files:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"{file.name} has {file.stat().st_size} bytes; 32 MiB at most")
    total = sum(p.stat().st_size for p in target.parent.rglob("*") if p.is_file())
    if total > ALL:
        raise ValueError(f"all weights have {total} bytes; 96 MiB at most")
    facts = {
        "role": role,
        "summary": (module.__doc__ or "").splitlines()[0],
        "command": command or f"python -m socialcli.miniature.zoo {role}",
        "data": "socialcli.world, train split, seed 0, 96 px, drawn on the fly",
        "seed": 0,
        "steps": run.step,
        **({"cycles": module.CYCLES} if hasattr(module, "CYCLES") and not command else {}),
        "batch": module.BATCH,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "minutes": round(run.seconds / 60, 1),
        "hardware": device or f"{torch.get_num_threads()} CPU thread(s), {platform.machine()}",
        "packages": {"torch": torch.__version__},
        "licence": "Apache-2.0",
        **({"note": module.NOTE} if hasattr(module, "NOTE") else {}),
        "test": metrics,
        "sha256": {p.relative_to(target).as_posix(): _sha256(p) for p in files},
    }
    card(role).write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps({role: metrics}))


def grown(role: str, module: Any) -> dict[str, Any]:
    """The card whose weights a longer recipe begins with.

    Raises:
        UsageError: the role's cycles do not begin with the card's and go on.
    """
    facts = json.loads(card(role).read_text()) if card(role).exists() else {}
    had = [tuple(one) for one in facts.get("cycles", [])]
    cycles = getattr(module, "CYCLES", ())
    if not had or len(cycles) <= len(had) or list(cycles[: len(had)]) != had:
        raise UsageError(f"the recipe of {role} does not go on from its card's cycles, {had}")
    return facts


def remeasure(role: str, metrics: dict[str, float]) -> None:
    """Write into a role's card what its unchanged weights reach now.

    For cards whose measures other miniatures read, when one of those was published anew.

    Raises:
        UsageError: the weights are not those of the card.
    """
    target = folder(role)
    facts = json.loads(card(role).read_text())
    for name, sha in facts["sha256"].items():
        if _sha256(target / name) != sha:
            raise UsageError(f"{name} is not the file that the card of {role} is about")
    facts["test"] = metrics
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


def table() -> str:
    """What was asked and what the cards say was reached, a line each in Markdown."""
    lines = ["| role | on the test split | asked | reached | |", "|---|---|---|---|---|"]
    for role, name, words, asked in ASKED:
        if not card(role).exists():
            continue
        reached = json.loads(card(role).read_text())["test"][name]
        short = asked is not None and (
            reached > asked if name in AT_MOST else reached < asked or not reached
        )
        wanted = "" if asked is None else f"{'at most ' if name in AT_MOST else ''}{asked:g}"
        mark = "missed" if short else "met" if wanted else ""
        lines.append(f"| {role} | {words} | {wanted} | {reached:.3f} | {mark} |")
    return "\n".join(lines)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
