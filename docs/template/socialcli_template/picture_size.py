"""A captioner that writes the picture's size: a backend of the role `caption` at its smallest."""

from __future__ import annotations

from typing import Any

from socialcli.backends import BackendInfo, ModelSpec
from socialcli.records import Model

# Read without importing this file, so literals only.
INFO = BackendInfo(summary="Says how large a picture is.", licence="Apache-2.0")


class Sizes:
    """A `roles.Captioner`."""

    def __init__(self, spec: ModelSpec) -> None:
        self.model = Model(spec.backend)

    def caption(self, images: list[Any], how: Any, seeds: list[int]) -> list[str]:
        return [f"A picture of {image.width} by {image.height} pixels." for image in images]


def load(spec: ModelSpec) -> Sizes:
    return Sizes(spec)
