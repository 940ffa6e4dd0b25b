"""What is added to the diffusion model of a run, whichever method draws: LoRAs and concepts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import backends
from socialcli.backends import naming
from socialcli.generation import concepts

if TYPE_CHECKING:
    from socialcli.generation.drawing import Studio


def attach(config: Any, studio: Studio) -> None:
    """Add to the studio's model what ``--custom-diffusion`` and ``--lora`` name.

    Raises:
        ModelMissing: a file that is not there. UsageError: one for another model, or of another
            kind.
    """
    from socialcli.networks import lora, lora_files
    from socialcli.records import Model

    diffusion = studio.diffusion
    studio.identifiers = identifiers(_model_notes(config))
    if config.custom_diffusion:
        studio.identifiers += concepts.attach(config, diffusion)
        files = [concepts.split(given)[0] for given in config.custom_diffusion]
        names = ", ".join(naming.label(place) for place in files)
        studio.models["concepts"] = Model("custom-diffusion", names, role="concepts")
    networks = {lora.UNET: diffusion.unet, lora.TEXT: diffusion.text_encoder}
    for given in config.lora:
        place, scale = lora_files.split(given)
        layers, notes = lora_files.read(place, networks)
        adapter = lora.Lora(networks, layers).requires_grad_(False)
        adapter.to(diffusion.unet.dtype).weigh(scale)
        studio.loras.append(adapter)
        studio.identifiers += identifiers(notes)
    if config.lora:
        named = [lora_files.split(given) for given in config.lora]
        names = ", ".join(naming.label(str(lora_files.find(place))) for place, _ in named)
        scales = [scale for _, scale in named]
        studio.models["lora"] = Model("lora", names, role="lora", options={"scales": scales})


def facts(config: Any) -> dict[str, Any]:
    """What the files hold, in place of where they lie."""
    from socialcli.networks import lora_files

    named = [lora_files.split(given) for given in config.lora]
    held = [[naming.content(str(lora_files.find(place))), scale] for place, scale in named]
    found: dict[str, Any] = {"option lora": held} if held else {}
    if config.custom_diffusion:
        split = [concepts.split(given) for given in config.custom_diffusion]
        found["option custom_diffusion"] = [[naming.content(p), *rest] for p, *rest in split]
    return found


def identifiers(notes: dict[str, str]) -> list[str]:
    """The words before classes that a file's header names: "sks"."""
    try:
        subjects = json.loads(notes.get("subjects", "[]"))
        return [str(one["identifier"]) for one in subjects if one.get("identifier")]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []


def in_plain_words(prompt: str, identifiers: Iterable[str]) -> str | None:
    """The prompt without identifiers: "a sks dog" -> "a dog"; None where it has none."""
    plain = prompt
    for word in sorted(set(identifiers), key=len, reverse=True):
        plain = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)\s*", "", plain, flags=re.IGNORECASE)
    plain = " ".join(plain.split())
    return plain if plain and plain != " ".join(prompt.split()) else None


def _model_notes(config: Any) -> dict[str, str]:
    """The notes in the header of a model's UNet, where it is a folder that has one."""
    from safetensors import SafetensorError, safe_open

    place = backends.where(config.model)
    file = Path(place or ".") / "unet" / "diffusion_pytorch_model.safetensors"
    if place is None or not file.is_file():
        return {}
    try:
        with safe_open(str(file), framework="pt") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError):  # the backend says what is wrong with it
        return {}
