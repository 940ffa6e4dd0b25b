"""HICO-DET's 600 interaction classes: what the number ``hoi`` of an interaction stands for.

Source: Chao et al., Learning to Detect Human-Object Interactions, 2018 (the list of verbs and
objects that comes with the annotations).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple


class HoiClass(NamedTuple):
    """One of the classes; ``number`` is from 1 to 600."""

    number: int
    verb: str
    object: str
    rare: bool  # fewer than 10 annotated pairs in the training set


@cache
def classes() -> tuple[HoiClass, ...]:
    """The 600 classes in order; ``classes()[0]`` is number 1. No spelling has underscores."""
    body = json.loads(Path(__file__).with_name("hico_classes.json").read_text())
    rare = set(body["rare"])
    return tuple(
        HoiClass(number, verb, thing, number in rare)
        for number, (verb, thing) in enumerate(body["classes"], start=1)
    )
