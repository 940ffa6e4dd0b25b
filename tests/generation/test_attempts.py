"""The judge of ``--attempts`` on pictures of plain colours, and the seeds of further attempts."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import numpy
import pytest
from PIL import Image

from socialcli import records
from socialcli.backends.roles import Detection
from socialcli.generation import attempts
from socialcli.generation.references import Reference
from socialcli.vision import masks
from socialcli.vision.assignment import Verdict

RED, GREEN, BLUE, GREY = (250, 0, 0), (0, 250, 0), (0, 0, 250), (120, 120, 120)
LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
PRICES = {"missing": 1.0, "surplus": 0.25, "hybrid": 0.5, "swapped": 0.125}


class Grounder:
    """Finds each word at the boxes that it was given for it, as (box, score)."""

    def __init__(self, places, kinds=None) -> None:
        self.places, self.calls = places, []
        if kinds is not None:
            self.kinds = kinds

    def ground(self, images, phrases, box_threshold, text_threshold):
        self.calls.append((list(phrases[0]), box_threshold, text_threshold))
        return [
            [
                Detection(number, box, score)
                for number, word in enumerate(phrases[0])
                for box, score in self.places.get(word, [])
            ]
        ]


class Colour:
    """Embeds a picture as its mean colour, ten times as long as a unit."""

    def __init__(self) -> None:
        self.sizes = []

    def images(self, images):
        self.sizes += [image.size for image in images]
        return numpy.stack([numpy.asarray(image, float).mean((0, 1)) / 25 for image in images])


def judge(places, kinds=None, box_threshold=0.35) -> attempts.Judge:
    config = SimpleNamespace(
        box_threshold=box_threshold, **{f"price_{name}": price for name, price in PRICES.items()}
    )
    return attempts.Judge(Grounder(places, kinds), Colour(), config)


def halves(left, right, size=(40, 20)) -> Image.Image:
    image = Image.new("RGB", size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


def layout(*words: str) -> records.Layout:
    """A background, then one segment a word from left to right."""
    segments = [records.Segment(9, "#ffffff", "a lawn", _stripe(0, 1), background=True)]
    for number, word in enumerate(words):
        rle = _stripe(number / len(words), (number + 1) / len(words))
        segments.append(records.Segment(number + 1, f"#00000{number}", "", rle, word=word))
    return records.Layout(40, 20, "two things", segments)


def _stripe(left: float, right: float):
    mask = numpy.zeros((20, 40), bool)
    mask[:, round(40 * left) : round(40 * right)] = True
    return masks.encode(mask)


def shown(key: str, colour) -> Reference:
    return Reference(key, Image.new("RGB", (8, 8), colour), "", None)


def test_the_first_seed_is_the_pictures_own_and_others_follow_from_it():
    assert attempts.seed(7, 0) == 7
    for number in (1, 2):
        digest = hashlib.sha256(f"7 {number}".encode()).hexdigest()
        assert attempts.seed(7, number) == int(digest[:16], 16) // 2**11
    assert max(attempts.seed(n, 1) for n in range(50)) < 2**53


def test_drawing_once_asks_no_judge():
    config = SimpleNamespace(
        attempts=1, device="cpu", ground_backend="g", ground_model="gm", dino_backend="d",
        dino_model="dm",
    )  # fmt: skip
    assert attempts.specs(config) == [] == attempts.specs(SimpleNamespace())
    assert attempts.judge(config) is None
    config.attempts = 2
    named = [(s.role, s.backend, s.model, s.device) for s in attempts.specs(config)]
    assert named == [("ground", "g", "gm", "cpu"), ("dino", "d", "dm", "cpu")]


def test_a_picture_with_all_its_subjects_has_no_fault():
    both = judge({"man": [(LEFT, 0.9)], "dog": [(RIGHT, 0.8)]})
    pictures = [(), [shown("a", RED)], [shown("b", GREEN)]]
    verdict = both.verdict(halves(RED, GREEN), layout("man", "dog"), pictures)
    assert verdict.faultless and sorted(verdict.pairs) == [(0, 0), (1, 1)]
    assert verdict.price == pytest.approx(0, abs=1e-9)
    # The thing that is found best comes first, whatever was asked for first.
    turned = judge({"man": [(LEFT, 0.5)], "dog": [(RIGHT, 0.8)]})
    verdict = turned.verdict(halves(RED, GREEN), layout("man", "dog"), pictures)
    assert sorted(verdict.pairs) == [(0, 1), (1, 0)]
    assert verdict.price == pytest.approx(0, abs=1e-9)
    asked = both.grounder.calls[0]
    assert asked == (["man", "dog"], 0.35, 0.25)  # the background is not looked for


def test_subjects_of_one_kind_are_told_apart_by_their_own_pictures():
    """Two men: each stands at the other's place; without pictures nobody can know."""
    men = {"man": [(LEFT, 0.9), (RIGHT, 0.8)]}
    pictures = [(), [shown("a", GREEN)], [shown("b", RED)]]
    for own, swapped in ((pictures, [0, 1]), ((), []), ([(), pictures[1], ()], [])):
        verdict = judge(men).verdict(halves(RED, GREEN), layout("man", "man"), own)
        assert sorted(verdict.swapped) == swapped and not verdict.missing
        assert verdict.price == pytest.approx(PRICES["swapped"] * len(swapped), abs=1e-6)
    blend = tuple((a + b) // 2 for a, b in zip(RED, GREEN, strict=True))
    verdict = judge(men).verdict(halves(RED, blend), layout("man", "man"), pictures)
    assert verdict.hybrid == [1]  # what looks like both, the second best detection


def test_what_is_missing_and_what_is_too_much():
    none = judge({}).verdict(
        halves(RED, GREEN), layout("man", "dog"), [(), [shown("a", RED)], [shown("b", GREEN)]]
    )
    assert none.missing == [0, 1] and none.price == 2 * PRICES["missing"]
    twice = judge({"man": [(LEFT, 0.9), (RIGHT, 0.8)]})
    verdict = twice.verdict(halves(RED, GREEN), layout("man"), ())
    assert len(verdict.surplus) == 1
    assert verdict.price == pytest.approx(PRICES["surplus"] + 0.5)  # half of the place is covered


def test_each_word_is_asked_once_and_a_thing_is_found_once():
    nearly = (0.01, 0.0, 0.5, 1.0)
    doubled = judge({"man": [(nearly, 0.6), (LEFT, 0.9), (RIGHT, 0.5)]}, box_threshold=0.1)
    boxes = doubled.detect(halves(RED, GREEN), ["man", "dog", "man"])
    assert boxes == [("man", LEFT, 0.9), ("man", RIGHT, 0.5)]
    assert doubled.grounder.calls == [(["man", "dog"], 0.1, 0.1)]


def test_a_grounder_of_kinds_finds_each_word_of_a_kind():
    of_kinds = judge({"person": [(LEFT, 0.9)], "object": [(RIGHT, 0.7)]}, ("person", "object"))
    boxes = of_kinds.detect(halves(RED, GREEN), ["woman", "cup", "man"])
    assert boxes == [("cup", RIGHT, 0.7), ("woman", LEFT, 0.9), ("man", LEFT, 0.9)]
    assert of_kinds.grounder.calls[0][0] == ["object", "person"]
    people = judge({"person": [(LEFT, 0.9)]}, ("person",))
    assert people.detect(halves(RED, GREEN), ["cup"]) == [] and not people.grounder.calls


def test_a_subject_is_the_mean_of_its_pictures_cut_to_the_largest_thing():
    small = (0.0, 0.0, 0.25, 0.5)
    of_man = judge({"man": [(small, 0.9), (RIGHT, 0.4)]})
    pictures = [Reference("a", halves(GREY, RED), "", None), shown("b", GREEN)]
    mean = of_man.subject("man", pictures)
    assert mean == pytest.approx([0.5**0.5, 0.5**0.5, 0])
    assert of_man.dino.sizes == [(20, 20), (4, 8)]
    assert of_man.subject("man", pictures) == pytest.approx(mean)
    assert len(of_man.dino.sizes) == 2  # each is seen once
    assert numpy.linalg.norm(of_man.embed([image_of.image for image_of in pictures]), axis=1) == (
        pytest.approx([1, 1])
    )
    of_man.dino.sizes = of_man.dino.sizes[:2]
    assert of_man.subject("dog", pictures[1:]) == pytest.approx([0, 1, 0])
    assert of_man.dino.sizes[2:] == [(8, 8)]  # no dog found: the whole picture
    many = [shown(f"{n}", RED) for n in range(attempts.MOST_PICTURES)] + [shown("last", BLUE)]
    assert judge({}).subject("man", many) == pytest.approx([1, 0, 0])


def test_a_crop_is_at_least_a_pixel_of_the_picture():
    image = Image.new("RGB", (10, 20))
    image.putpixel((3, 0), RED)
    assert attempts.crop(image, (0.39, 0.0, 0.56, 0.5)).size == (3, 10)
    assert attempts.crop(image, (0.39, 0.0, 0.56, 0.5)).getpixel((0, 0)) == RED
    assert attempts.crop(image, (0.35, 0.01, 0.35, 0.01)).size == (1, 1)
    assert attempts.crop(image, (0.35, 0.01, 0.35, 0.01)).getpixel((0, 0)) == RED
    assert attempts.crop(image, (0.32, 0.0, 0.32, 0.53)).size == (1, 11)
    assert attempts.crop(image, (-0.5, 0.5, 1.5, 1.5)).size == (10, 10)


def test_the_record_counts_faults_and_attempts_from_one():
    verdict = Verdict(missing=[1], surplus=[0, 2], hybrid=[3, 4, 5], swapped=[0] * 4, price=2.5)
    assert attempts.record(3, 1, verdict) == records.Attempts(
        count=3, kept=2, price=2.5, missing=1, surplus=2, hybrid=3, swapped=4
    )
