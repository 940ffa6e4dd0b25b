"""Tone feedback: the mean colour of the picture stays."""

from __future__ import annotations

from typing import Any

from socialcli.training.feedback import Feedback, View


class Tone(Feedback):
    """See `Feedback`."""

    MEMBER, STAGE = "caption.json", "caption"  # every sample has a picture; captions are needed
    LACKS = "no picture"
    GATE = "0-300"

    def read(self, config: Any, view: View) -> list[str]:
        """Something for every sample; boxes, people and masks are read from ``view`` here."""
        return [view.sample.key]

    def tensors(self, scene: list[str]) -> dict[str, Any]:
        """Names begin with that of the feedback."""
        return {"tone_key": scene}

    def load(self, config: Any, loaded: Any) -> Watcher:
        return Watcher()


class Watcher:
    """Needs no network."""

    def targets(self, pictures: Any, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """(3,) of each original (3, H, W) in [-1, 1], made once."""
        return [{"tone_colour": picture.mean((1, 2)).cpu()} for picture in pictures.float()]

    def values(self, pictures: Any, examples: list[dict[str, Any]]) -> Any:
        """(B,): squared distance of the estimates' mean colours from those."""
        import torch

        goal = torch.stack([e["tone_colour"] for e in examples]).to(pictures.device)
        return (pictures.mean((2, 3)) - goal).square().sum(1)
