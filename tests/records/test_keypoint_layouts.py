"""Keypoints by name: counts as their data sets have them, mirrors, and which thing has which."""

from __future__ import annotations

import pytest

from socialcli.records import COCO_KEYPOINTS, Box, Entity
from socialcli.records import keypoint_layouts as layouts

# 300W, COCO, hands, AP-10K, Animal Kingdom, Vinegar Fly, Desert Locust, DeepFashion2.
COUNTS = {
    "coco17": 17, "face": 68, "hand": 21, "animal": 17, "animal_in_AnimalKindom": 23,
    "animal_face": 9, "fly": 32, "locust": 35, "car": 14, "table": 8, "chair": 10, "bed": 10,
    "sofa": 14, "swivelchair": 13, "short_sleeved_shirt": 25, "long_sleeved_shirt": 33,
    "short_sleeved_outwear": 31, "long_sleeved_outwear": 39, "vest": 15, "sling": 15, "shorts": 10,
    "trousers": 14, "skirt": 8, "short_sleeved_dress": 29, "long_sleeved_dress": 37,
    "vest_dress": 19, "sling_dress": 19,
}  # fmt: skip


def test_each_layout_has_its_keypoints():
    assert set(layouts.names()) == set(COUNTS)
    for name, count in COUNTS.items():
        layout = layouts.layout(name)
        assert len(layout.names) == count, name
        assert all(0 <= end < count for limb in layout.limbs for end in limb), name
        assert len(set(layout.names)) == count or name == "car"
    body = layouts.layout("coco17").names
    assert [n.replace(" ", "_") for n in body] == list(COCO_KEYPOINTS)
    assert layouts.layout("face").names[10:13] == (
        "left cheek 5", "left cheek 4", "left cheek 3"
    )  # fmt: skip
    assert layouts.layout("openpose18") is None


@pytest.mark.parametrize("name", COUNTS)
def test_a_mirror_changes_sides_and_twice_is_none(name):
    layout = layouts.layout(name)
    order = layout.mirror()
    assert sorted(order) == list(range(len(order)))
    assert [order[at] for at in order] == list(range(len(order)))
    for at, other in enumerate(order):
        swap = {"left": "right", "right": "left"}
        first = next((side for side in swap if side in layout.names[at]), None)
        if other != at:
            assert first is not None and swap[first] in layout.names[other]


def test_mirrored_names_by_hand():
    animal = layouts.layout("animal")
    assert animal.mirror() == [1, 0, 2, 3, 4, 8, 9, 10, 5, 6, 7, 14, 15, 16, 11, 12, 13]
    assert layouts.layout("animal_face").mirror() == [3, 2, 1, 0, 4, 6, 5, 7, 8]
    assert layouts.layout("hand").mirror() == list(range(21))
    assert [n for n, real in enumerate(layouts.layout("car").real()) if not real] == [8, 13]


@pytest.mark.parametrize(
    ("label", "kind", "wanted"),
    [
        ("a brown chair", "object", "chair"), ("dining tables", "object", "table"),
        ("couches", "object", "sofa"), ("office chair", "object", "swivelchair"),
        ("short sleeved shirt", "object", "short_sleeved_shirt"), ("hand", "object", "hand"),
        ("puppy", "animal", "animal"), ("dog", "object", "animal"), ("fly", "animal", "fly"),
        ("a bench", "object", None), ("person", "person", None), ("", "object", None),
    ],
)  # fmt: skip
def test_what_a_thing_is_called(label, kind, wanted):
    assert layouts.of_thing(label, kind) == wanted


def test_what_a_box_holds():
    whole = (0.0, 0.0, 1.0, 1.0)
    dogs = Entity(2, "two small dogs", "dogs", "dog", 0, 14, "animal")
    assert layouts.of_box(Box(1, whole, "Car"), None) == ("car", "car")
    assert layouts.of_box(Box(1, whole, "pets", 2), dogs) == ("dog", "animal")
    waiter = Entity(3, "a chair", "chair", "chair", 0, 7, "person")  # as in "the chair of a board"
    assert layouts.of_box(Box(1, whole, "chair", 3), waiter) is None
