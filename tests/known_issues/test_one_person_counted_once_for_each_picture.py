"""`score --metrics face` took each picture of a subject for another person: of somebody who was
learnt from five pictures no generated picture could show more than a fifth, whatever it showed, and
the greedy pair was the likest of the five."""

from __future__ import annotations

import numpy
import pytest
from parts import part

from socialcli.evaluation.metrics import Case, Context, Picture

face = part("metrics", "face")


def picture(*embeddings) -> Picture:
    boxes = [[0.0, 0.0, 0.5 / (n + 1), 0.5] for n in range(len(embeddings))]  # the first is largest
    rows = numpy.array(embeddings, numpy.float32).reshape(-1, 2)
    value = {"embeddings": rows, "boxes": boxes, "embedded": list(range(len(rows)))}
    return Picture("k", {"faces": value})


def figures(*cases: Case) -> dict[str, float]:
    rows = face.rows(list(cases), Context(None))
    values = face.estimate(rows, numpy.ones((1, len(cases))))
    return {name: float(value[0]) for name, value in values.items()}


def drawn(*subjects: list[Picture], of: Picture | None = None) -> Case:
    return Case("k", "k", "a man", of or picture((1, 0)), subjects=list(subjects))


def test_a_subject_of_several_pictures_is_one_person():
    five = [picture((1, 0)) for _ in range(5)]
    assert figures(drawn(five)) == {"face": 1, "face_all": 1, "face_found": 1}
    assert figures(drawn(five, [picture((0, 1))]))["face_found"] == 0.5
    assert figures(drawn(five, of=picture()))["face_found"] == 0


def test_it_is_the_mean_of_its_pictures_and_not_the_likest():
    own = [picture((1, 0)), picture((0, 3), (1, 0)), picture()]  # the second has a bystander
    assert figures(drawn(own))["face"] == pytest.approx(2**-0.5)


def test_a_single_picture_shows_all_that_are_in_it():
    assert figures(drawn([picture((1, 0), (0, 1))]))["face_found"] == 0.5


def test_a_score_of_an_earlier_version_does_not_compare():
    new = face.rows([drawn([picture((1, 0))] * 2)], Context(None))
    old = {name: values for name, values in new.items() if name != "several"}
    assert "score it again" in face.apart(new, old) and "score it again" in face.apart(old, new)
    same = face.rows([drawn([picture((1, 0))])], Context(None))
    assert face.apart(same, old) == face.apart(new, new) == ""
