"""Drawing again what came out wrong: a judge of pictures, and the seeds of further attempts.

A picture of a layout is looked at by a detector: who is missing, there twice, blended with another
or at another's place (`socialcli.vision.assignment`). One that has a fault is drawn again from
another seed, up to ``--attempts`` times, and the attempt of the lowest price is kept, the earliest
of equal ones. Seeds follow from the picture's own, so that a key gives one picture whatever the
run. Subjects that the detector has no kind for are left out of all that, which is said once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli import backends, records
from socialcli.backends import ModelSpec, coverage
from socialcli.vision import assignment, layouts
from socialcli.vision import boxes as geometry
from socialcli.vision.people import kind_of

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

    from socialcli.generation.references import Reference

SAME_OBJECT = 0.7  # IoU from which two boxes of one word are one thing
MOST_PICTURES = 12  # of one subject that are looked at
NOT_LOOKED_FOR = "subjects_not_looked_for"  # what pictures with such subjects are counted as


def seed(first: int, attempt: int) -> int:
    """The seed of attempt number ``attempt`` (from 0) at a picture whose own seed is ``first``."""
    if attempt == 0:
        return first
    digest = hashlib.sha256(f"{first} {attempt}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11  # 53 bits, as every seed here


def specs(config: Any) -> list[ModelSpec]:
    """The judge's models; none where pictures are drawn once."""
    if getattr(config, "attempts", 1) == 1:
        return []
    return [
        ModelSpec("ground", config.ground_backend, config.ground_model, None, config.device),
        ModelSpec("dino", config.dino_backend, config.dino_model, None, config.device),
    ]


@dataclass
class Judge:
    """A grounder and an embedder, and what they saw of subjects' own pictures."""

    grounder: Any
    dino: Any
    config: Any
    remark: str = ""  # what is to be said of a verdict with `unasked` words
    _seen: dict[tuple[str, str], numpy.ndarray] = field(default_factory=dict)

    def verdict(
        self,
        image: Image,
        layout: records.Layout,
        pictures: Sequence[Sequence[Reference]],
    ) -> assignment.Verdict:
        """What a picture has of its layout's subjects, as far as the grounder knows such things.

        Args:
            pictures: of each segment, its subject's own; where some segment has none, things are
                told apart by kind and place alone.
        """
        import numpy

        named = {n: layouts.word(s) for n, s in enumerate(layout.segments) if not s.background}
        unasked = coverage.unknown(self.grounder, named.values())
        chosen = [n for n, word in named.items() if word not in unasked]
        if unasked:
            self._say(unasked[0])
        if not chosen:
            return assignment.Verdict(unasked=unasked)
        segments, words = [layout.segments[n] for n in chosen], [named[n] for n in chosen]
        detected = self.detect(image, words)
        boxes = numpy.array([box for _, box, _ in detected], float).reshape(-1, 4)
        things, kinds, places = assignment.compared(
            boxes, [w for w, _, _ in detected], [s for _, _, s in detected], words,
            [layouts.box(dict(s.rle)) for s in segments],
        )  # fmt: skip
        own = [pictures[n] if pictures else () for n in chosen]
        likeness = known = None
        if all(own):
            means = numpy.stack(
                [self.subject(word, some) for word, some in zip(words, own, strict=True)]
            )
            known = means @ means.T
            crops = [crop(image, box) for box in boxes[things].tolist()]
            likeness = self.embed(crops) @ means.T if crops else numpy.zeros((0, len(means)))
        verdict = assignment.judge(kinds, places, likeness, known, _prices(self.config))
        verdict.unasked = unasked
        return verdict

    def _say(self, word: str) -> None:
        """One line for all such words, so that it is said once."""
        self.remark = self.remark or (
            f"the detector of --attempts knows no such thing as '{word}': subjects of which it has "
            "no kind are not looked for; name another with --ground-backend"
        )

    def detect(self, image: Image, words: Sequence[str]) -> list[tuple[str, records.XYXY, float]]:
        """(word, box, score) of all that the grounder finds for some words, each word once."""
        asked = list(dict.fromkeys(words))
        kinds = getattr(self.grounder, "kinds", None)
        phrases = asked if kinds is None else sorted({kind_of(w) for w in asked} & set(kinds))
        threshold = self.config.box_threshold
        boxes: list[tuple[str, records.XYXY, float]] = []
        if not phrases:
            return boxes
        detections = self.grounder.ground([image], [phrases], threshold, min(threshold, 0.25))[0]
        for number, phrase in enumerate(phrases):
            named_so = [d for d in detections if d.phrase == number]
            places: Any = [d.xyxy for d in named_so]
            scores: Any = [d.score for d in named_so]
            for kept in geometry.nms(places, scores, SAME_OBJECT):
                named = [w for w in asked if kinds is not None and kind_of(w) == phrase]
                best = named_so[kept]
                boxes += [(word, best.xyxy, best.score) for word in named or [phrase]]
        return boxes

    def subject(self, word: str, pictures: Sequence[Reference]) -> numpy.ndarray:
        """(D,) unit embedding of a subject: the mean over its own pictures, cut to the thing that
        its word names where the grounder finds it."""
        rows = []
        for one in pictures[:MOST_PICTURES]:
            # By its pixels: files of several folders may have one name, "1.jpg".
            name = hashlib.sha256(one.image.tobytes()).hexdigest(), word
            if name not in self._seen:
                inside = self.detect(one.image, [word])
                largest = max((box for _, box, _ in inside), key=geometry.area, default=None)
                part = one.image if largest is None else crop(one.image, largest)
                self._seen[name] = self.embed([part])[0]
            rows.append(self._seen[name])
        return _unit(sum(rows)[None])[0]  # type: ignore[index]

    def embed(self, images: Sequence[Image]) -> numpy.ndarray:
        """(N, D) unit embeddings."""
        return _unit(self.dino.images(list(images)))


def judge(config: Any) -> Judge | None:
    """The judge of a run; None where pictures are drawn once.

    Raises:
        ModelMissing: a model is not here.
    """
    if not specs(config):
        return None
    grounder, dino = (backends.load(spec) for spec in specs(config))
    return Judge(grounder, dino, config)


def record(count: int, kept: int, verdict: assignment.Verdict) -> records.Attempts:
    """What the record says."""
    return records.Attempts(
        count=count, kept=kept + 1, price=verdict.price, missing=len(verdict.missing),
        surplus=len(verdict.surplus), hybrid=len(verdict.hybrid), swapped=len(verdict.swapped),
    )  # fmt: skip


def crop(image: Image, box: Sequence[float]) -> Image:
    """The part of a picture in a normalised box, at least a pixel."""
    left, top, right, bottom = geometry.clip(tuple(box))  # type: ignore[arg-type]
    x, y = int(left * image.width), int(top * image.height)
    return image.crop(
        (x, y, max(round(right * image.width), x + 1), max(round(bottom * image.height), y + 1))
    )


def _prices(config: Any) -> assignment.Prices:
    return assignment.Prices(
        config.price_missing, config.price_surplus, config.price_hybrid, config.price_swapped
    )


def _unit(rows: Any) -> numpy.ndarray:
    import numpy

    vectors = numpy.asarray(rows, numpy.float64)
    return vectors / numpy.maximum(numpy.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
