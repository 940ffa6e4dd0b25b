"""Training files that hold weights only: what is around them comes from the model they began with.

Configurations, tokenizer and scheduler are those of ``options["config"]``, a diffusers folder or
hub id that is here (default: Stable Diffusion 1.5's).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from socialcli.backends import ModelSpec, where
from socialcli.backends.diffusion import stable_diffusion
from socialcli.errors import ModelMissing


@dataclass(frozen=True)
class Below:
    """The model below, in the folder ``place``, of a file for the backend ``backend``."""

    place: str
    backend: str

    def part(self, cls: Any, name: str) -> Any:
        """One of its parts by diffusers' class: a network with random weights, or a scheduler."""
        settings = cls.load_config(self.place, subfolder=name, local_files_only=True)
        return cls.from_config(settings)

    def tokenizer(self) -> Any:
        from socialcli.backends import checkpoints

        own = ModelSpec("diffusion", self.backend, self.place)
        return checkpoints.pretrained("CLIPTokenizer", own, self.place, "", subfolder="tokenizer")

    def scheduler(self) -> Any:
        import diffusers

        return self.part(diffusers.UniPCMultistepScheduler, "scheduler")


def below(spec: ModelSpec, named: str | Path) -> Below:
    """The model below the file ``named``.

    Raises:
        ModelMissing: it is not here.
    """
    model = str(spec.options.get("config") or stable_diffusion.INFO.model)
    place = where(model)
    if place is None:
        raise ModelMissing(
            f"{named} is weights only; their configuration, {model}, is not here. "
            f"Get it with: hf download {model} --include '*.json' '*.txt'"
        )
    return Below(place, spec.backend)


def filled(network: Any, state: Mapping[str, Any], file: Path, what: str) -> Any:
    """The network with exactly these weights.

    Raises:
        UsageError: they are not its own.
    """
    from socialcli.networks import weights

    return weights.fill(network, state, file, f"{type(network).__name__} ({what})")
