"""Pictures that a GroundingDINO looks at with several texts: each passes its image backbone once.

The image backbone does not see the text. What it says of the pictures of one search is kept until
the search has ended: a picture whose phrases fill more than one text would pass it once for each
text. With `Remembered.keep` it is kept until other pictures come, so that a second search in the
same pictures costs the rest of the model only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
        processor: pictures -> pixels, as transformers' own processors do.

    Attributes:
        keep: keep what is known of pictures when their search has ended.
    """

    def __init__(self, processor: Any) -> None:
        self.keep = False
        self.processor = processor
        self._kept: dict[int, _Kept] = {}
        self._rows: list[_Kept] = []

    def pixels(self, images: Sequence[Image]) -> list[torch.Tensor]:
        """Pixels of each picture; all others are forgotten."""
        kept = {}
        for image in images:
            known = self._kept.get(id(image))
            if known is None:
                prepared = self.processor(images=image, return_tensors="pt")["pixel_values"][0]
                known = _Kept(image, prepared)
            kept[id(image)] = known
        self._kept = kept
        return [kept[id(image)].pixels for image in images]

    def next(self, images: Sequence[Image]) -> None:
        """Tell which pictures the rows of the next batch are."""
        self._rows = [self._kept[id(image)] for image in images]

    def maps(
        self, pixels: torch.Tensor, compute: Callable[[torch.Tensor], Sequence[torch.Tensor]]
    ) -> list[torch.Tensor]:
        """The backbone's feature maps of a batch.

        Args:
            pixels: (N, 3, height, width), of the pictures that were told to be next; where none
                were, nothing is known of them and nothing is kept.
            compute: pixels -> feature maps, (N, channels, height, width) each.
        """
        import torch

        rows, self._rows = self._rows, []
        if not rows:
            return list(compute(pixels))
        fresh = {id(row): at for at, row in enumerate(rows) if not row.maps}
        if len(fresh) == len(rows):
            levels = compute(pixels)
        elif fresh:
            levels = compute(pixels[sorted(fresh.values())])
        for number, at in enumerate(sorted(fresh.values())):
            rows[at].maps = tuple(level[number] for level in levels)
        return [torch.stack(level) for level in zip(*(row.maps for row in rows), strict=True)]

    def end(self) -> None:
        """The search has ended."""
        if not self.keep:
            self._kept = {}
