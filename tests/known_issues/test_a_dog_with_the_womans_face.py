"""`score --metrics bystanders --against layout` took the largest face of the source for every
subject that has no pictures of its own, a dog too: a stranger in the generated picture was then
assigned to the dog and was no bystander."""

from __future__ import annotations

import numpy
import pytest
import scenes
from parts import part

from socialcli.evaluation.metrics import Case, Picture

bystanders = part("metrics", "bystanders")
ADA, STRANGER = [1.0, 0.0], [0.6, 0.8]


def seen(*faces, key: str = "g", records=None) -> Picture:
    """A picture with (embedding, box) faces."""
    value = {"embeddings": numpy.array([row for row, _ in faces], float).reshape(-1, 2),
             "boxes": [box for _, box in faces], "embedded": list(range(len(faces)))}  # fmt: skip
    return Picture(key, {"faces": value}, records or {})


def case(*faces, own: list[Picture] | None = None) -> Case:
    """Ada and a stranger, drawn of a layout of Ada and a dog whose source shows these faces."""
    source = seen(*faces, key="s", records={"layout.json": scenes.layout()})
    drawn = seen((ADA, [0.1, 0.2, 0.3, 0.4]), (STRANGER, [0.7, 0.2, 0.8, 0.4]))
    return Case("g", "s", "a", drawn, source=source, subjects=[own or [source], [source]])


IN_ADA, OF_THE_MAN = [0.2, 0.25, 0.3, 0.4], [0.72, 0.2, 0.9, 0.5]  # the man is in no segment


def test_who_has_no_face_is_nobody():
    one = case((ADA, IN_ADA), own=[seen((ADA, [0, 0, 1, 1]), key="ada/0")])
    assert bystanders.of_case(one) == pytest.approx([0.6])


def test_a_subjects_face_is_the_one_in_its_part():
    one = case((STRANGER, OF_THE_MAN), (ADA, IN_ADA))
    assert bystanders.of_case(one) == pytest.approx([0.6])
    assert bystanders.of_case(case((STRANGER, OF_THE_MAN))) is None  # nobody is shown
