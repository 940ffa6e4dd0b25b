"""What is added to the diffusion model of a run, whichever method draws: LoRAs and concepts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import backends
from socialcli.backends import naming
from socialcli.errors import UsageError
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
    networks = lora.networks_of(diffusion)
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
    options: dict[str, Any] = {"option lora": held} if held else {}
    if config.custom_diffusion:
        split = [concepts.split(given) for given in config.custom_diffusion]
        options["option custom_diffusion"] = [[naming.content(p), *rest] for p, *rest in split]
    return options


def identifiers(notes: dict[str, str]) -> list[str]:
    """The words before classes that a file's header names: "sks"."""
    return [str(one["identifier"]) for one in _subjects(notes)]


def _subjects(notes: dict[str, str]) -> list[dict[str, Any]]:
    """What a header says of subjects that have an identifier."""
    from socialcli.networks import weights

    subjects = weights.stated(notes, "subjects")
    listed = subjects if isinstance(subjects, list) else []
    return [one for one in listed if isinstance(one, dict) and one.get("identifier")]


def called(config: Any) -> dict[str, str]:
    """A subject's name -> its identifier, of all that the run's files know ("rex" -> "sks").

    Raises:
        ModelMissing, UsageError: a LoRA that is not there, or no such file.
    """
    files = (tuple(config.lora), tuple(config.custom_diffusion))
    return _called(*files) | _names(_model_notes(config))


@cache
def _called(loras: tuple[str, ...], customized: tuple[str, ...]) -> dict[str, str]:
    from socialcli.networks import lora_files

    known: dict[str, str] = {}
    for given in loras:
        known |= _names(_notes(lora_files.find(lora_files.split(given)[0])))
    for given in customized:
        place, token, _ = concepts.split(given)
        folder = Path(place).expanduser()
        words = sorted((folder if folder.is_dir() else folder.parent).glob("<*>.safetensors"))
        names = _names(_notes(words[0])) if words else {}
        known |= dict.fromkeys(names, token) if token and len(names) == 1 else names
    return known


def _names(notes: dict[str, str]) -> dict[str, str]:
    return {str(one["name"]): str(one["identifier"]) for one in _subjects(notes) if "name" in one}


def calls(prompt: str, identifier: str) -> bool:
    """Whether a prompt has an identifier ("sks", "<new1>", "rex-2"), as a word of its own."""
    match = re.search(rf"(?<!\w){re.escape(identifier)}(?!\w)", prompt, re.IGNORECASE)
    return match is not None


def in_plain_words(prompt: str, identifiers: Iterable[str]) -> str | None:
    """The prompt without identifiers: "a sks dog" -> "a dog"; None where it has none."""
    plain = prompt
    for word in sorted(set(identifiers), key=len, reverse=True):
        plain = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)\s*", "", plain, flags=re.IGNORECASE)
    plain = " ".join(plain.split())
    return plain if plain and plain != " ".join(prompt.split()) else None


def _model_notes(config: Any) -> dict[str, str]:
    """The notes in the header of a model's UNet, where it is a folder that has one."""
    place = backends.where(config.model)
    file = Path(place or ".") / "unet" / "diffusion_pytorch_model.safetensors"
    return {} if place is None or not file.is_file() else _notes(file)


def _notes(file: Path) -> dict[str, str]:
    """The header of a file, {} of one that cannot be read."""
    from socialcli.networks import weights

    try:
        return weights.notes(file)
    except UsageError:  # the backend says what is wrong with it
        return {}
