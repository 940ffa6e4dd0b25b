"""Fine-tune a diffusion model with feedback from detectors (not there yet)."""

from __future__ import annotations


def command() -> None:
    from socialcli.errors import SocialcliError

    raise SocialcliError(
        "train is not there yet: "
        "it will fine-tune a diffusion model on annotated shards with feedback from detectors"
    )
