"""Eleven subjects in pictures of their own, and layouts that put several together."""

from __future__ import annotations

import io

import numpy
from PIL import Image

from socialcli import records
from socialcli.miniature.world import compositions
from socialcli.vision import layouts

SIZE = 48


def test_a_subjects_pictures_show_the_subject_and_say_so():
    names = [one.name for one in compositions.subjects(0)]
    assert len(set(names)) == 11 and names != [one.name for one in compositions.subjects(1)]
    for number in (0, 3, 4 * 11 + 2):  # two pictures of the woman, one of the dog
        parts = compositions.picture(0, number, SIZE)
        meta = records.load(records.Meta, parts["meta.json"])
        subject = compositions.subjects(0)[number // 11]
        assert (meta.extra["subject"], meta.extra["class"]) == (subject.name, subject.kind)
        boxes = records.load(records.Boxes, parts["boxes.json"])
        assert subject.kind in [box.label for box in boxes.boxes]
        assert compositions.picture(0, number, SIZE) == parts
    pixels = [compositions.picture(0, n, SIZE)["png"] for n in range(3)]
    assert len(set(pixels)) == 3


def test_compositions_are_layouts_of_one_to_four():
    counts = []
    for number in range(0, compositions.COMPOSITIONS, 5):
        parts = compositions.composition(0, number, SIZE, "a <{name}>")
        layout = records.load(records.Layout, parts["layout.json"])
        layouts.check(layout)
        subjects = [s for s in layout.segments if not s.background]
        counts.append(len(subjects))
        assert compositions.composition_key(number).startswith(f"{len(subjects)}-subjects-")
        for segment in subjects:
            assert f"a <{segment.subject}>" == segment.prompt and segment.prompt in layout.prompt
            people = segment.word in compositions.PEOPLE
            assert (segment.keypoints is not None) == people
        drawing = numpy.asarray(Image.open(io.BytesIO(parts["png"])))
        assert len(numpy.unique(drawing.reshape(-1, 3), axis=0)) == len(layout.segments)
    assert sorted(counts) == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4]
    assert "in the park" in records.load(records.Layout, parts["layout.json"]).prompt
