"""Florence-2 as a grounder: it writes the boxes of a phrase, as positions among its words.

A box is four words ``<loc_0>`` to ``<loc_999>``: left, top, right and bottom in thousandths of the
picture. Florence-2 gives them no scores, so each has 1, in the order in which it is written, and
thresholds leave out none. Source: Xiao et al., Florence-2 (arXiv 2311.06242); Towards More Accurate
Personalized Image Generation makes the masks of subjects of its boxes, by SAM 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from socialcli.backends import BackendInfo
from socialcli.backends.roles import Detection, Generation
from socialcli.errors import UsageError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from socialcli.backends import ModelSpec
    from socialcli.records import XYXY

INFO = BackendInfo(
    summary="Florence-2: boxes that a language model writes for each phrase; they have no scores",
    licence="MIT",
    model="florence-community/Florence-2-base",
    get="hf download florence-community/Florence-2-base",
    size="0.5 GB",
    packages=("torch", "transformers"),
)
# What the model was trained to read for <CAPTION_TO_PHRASE_GROUNDING>.
INSTRUCTION = "Locate the phrases in the caption: {}"
BINS = 1000  # positions along a side
HOW = Generation(beams=3, max_tokens=256)


def load(spec: ModelSpec) -> Florence2Grounder:
    """See `Florence2Grounder`.

    Raises:
        UsageError: a Florence-2 whose words have no positions.
    """
    return Florence2Grounder(spec)


class Florence2Grounder:
    """A `roles.Grounder`. Each phrase of each picture is asked for by itself, so that a result does
    not depend on what else is looked for."""

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends.caption import florence2

        self.writer = florence2.load(spec)
        self.model = self.writer.model
        words = self.writer.tokenizer.get_vocab()
        self.positions = {words.get(f"<loc_{n}>"): n for n in range(BINS)}
        if None in self.positions:
            raise UsageError(
                f"{self.model.model}: its words have no positions <loc_0> to <loc_{BINS - 1}>; "
                f"take a Florence-2: {INFO.get}"
            )

    def ground(
        self,
        images: list[Image],
        phrases: list[list[str]],
        box_threshold: float,
        text_threshold: float,
    ) -> list[list[Detection]]:
        """Boxes of each phrase, in the order in which they are written, each with a score of 1."""
        return [
            self._of_picture(image, asked) if asked else []
            for image, asked in zip(images, phrases, strict=True)
        ]

    def _of_picture(self, image: Image, phrases: list[str]) -> list[Detection]:
        seen = self.writer.see([image.convert("RGB")])
        return [
            Detection(number, box, 1.0)
            for number, phrase in enumerate(phrases)
            for box in self._boxes(seen, phrase)
        ]

    def _boxes(self, seen: torch.Tensor, phrase: str) -> list[XYXY]:
        written = self.writer.write(seen, INSTRUCTION.format(phrase), HOW, [0])
        return boxes([self.positions.get(word) for word in written[0].tolist()])


def boxes(positions: Sequence[int | None]) -> list[XYXY]:
    """Boxes, normalised xyxy, of the words that a picture's answer has; None is another word.

    Four positions that follow each other are a box; a position is the middle of its thousandth.
    What is left over, and a box without area, is none.
    """
    corners: list[XYXY] = []
    run: list[float] = []
    for position in positions:
        if position is None:
            run = []
            continue
        run.append((position + 0.5) / BINS)
        if len(run) == 4:
            left, top, right, bottom = run
            if left < right and top < bottom:
                corners.append((left, top, right, bottom))
            run = []
    return corners
