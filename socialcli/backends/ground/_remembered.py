"""Pictures that a GroundingDINO looks at again with other phrases: their features are kept.

The image backbone does not see the text. What it says of the pictures of one batch is kept until
other pictures come, so that a second search in the same pictures costs the rest of the model only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


@dataclass
class _Kept:
    """What is kept of a picture: itself (so that no other one has its identity), its pixels, and
    its feature maps, (channels, height, width) each, once they are known."""

    image: Image
    pixels: torch.Tensor
    maps: tuple[torch.Tensor, ...] = ()


class Remembered:
    """The pictures of the last search.

    Args:
        backbone: the image backbone; its ``forward`` is replaced by one that remembers.
        processor: pictures -> pixels.
    """

    def __init__(self, backbone: Any, processor: Any) -> None:
        self._compute, self._processor = backbone.forward, processor
        self._kept: dict[int, _Kept] = {}
        self._rows: list[_Kept] = []
        backbone.forward = self._forward

    def pixels(self, images: Sequence[Image]) -> list[torch.Tensor]:
        """Pixels of each picture; all others are forgotten."""
        kept = {}
        for image in images:
            known = self._kept.get(id(image))
            if known is None:
                prepared = self._processor(images=image, return_tensors="pt")["pixel_values"][0]
                known = _Kept(image, prepared)
            kept[id(image)] = known
        self._kept = kept
        return [kept[id(image)].pixels for image in images]

    def next(self, images: Sequence[Image]) -> None:
        """Tell which pictures the rows of the next batch are."""
        self._rows = [self._kept[id(image)] for image in images]

    def _forward(self, pixel_values: Any, **options: Any) -> Any:
        import torch

        fresh = {id(row): at for at, row in enumerate(self._rows) if not row.maps}
        if fresh:
            maps = self._compute(pixel_values[list(fresh.values())], **options).feature_maps
            for number, at in enumerate(fresh.values()):
                self._rows[at].maps = tuple(level[number] for level in maps)
        levels = zip(*(row.maps for row in self._rows), strict=True)
        return SimpleNamespace(feature_maps=tuple(torch.stack(level) for level in levels))
