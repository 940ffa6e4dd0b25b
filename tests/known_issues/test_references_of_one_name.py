"""Reference files of one name in two folders (ada/1.jpg, eve/1.jpg) were one picture to the judge
of --attempts: it remembered what it had seen by the file's name, so that two subjects of one word
looked the same to it, and what it called hybrid or swapped was by chance."""

from __future__ import annotations

from types import SimpleNamespace

import numpy
from PIL import Image

from socialcli.generation.attempts import Judge
from socialcli.generation.references import Reference


def test_two_pictures_of_one_name_are_two(tmp_path):
    seen = []

    def embed(images):
        seen.append(len(images))
        return numpy.stack([numpy.asarray(image, float).mean((0, 1)) for image in images])

    grounder = SimpleNamespace(ground=lambda images, *_: [[] for _ in images])
    judge = Judge(grounder, SimpleNamespace(images=embed), SimpleNamespace(box_threshold=0.3))
    ada, eve = (
        Reference("1.jpg", Image.new("RGB", (8, 8), colour), "woman", None)
        for colour in ("red", "blue")
    )
    red, blue = judge.subject("woman", [ada]), judge.subject("woman", [eve])
    assert red @ blue < 0.1
    assert (judge.subject("woman", [ada]) == red).all() and len(seen) == 2  # kept all the same
