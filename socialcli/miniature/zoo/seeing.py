"""What is in a generated picture, read by the published miniatures: for the zoo's own measures.

The colour of clothes is read off pixels: the grounder finds the person, the pose estimator the
shoulders and hips; of the pixels between them, a quarter must be nearest to the colour in question
among those that clothes have, in one of the world's lights. Of drawn test scenes, with the true
keypoints, 95 % pass with the true colour (arms and things hide the rest) and 2 % with another.
"""

from __future__ import annotations

from typing import Any

from socialcli.miniature.world.vocabulary import CLOTHES, COLOURS, LIGHTS, VERBS
from socialcli.miniature.zoo import cards

SHOULDERS, HIPS = (5, 6), (11, 12)  # COCO's numbers
SHARE = 0.25  # of the pixels
BOX, TEXT = 0.2, 0.2  # the grounder's thresholds


def backend(role: str, name: str, file: str = "", card: str = "") -> Any:
    """A published miniature through its production backend, or None where there is none yet.

    ``card`` is whose card tells that, where it is not the role's.
    """
    from socialcli import backends
    from socialcli.backends import ModelSpec

    if not cards.card(card or role).exists():
        return None
    return backends.load(ModelSpec(role, name, str(cards.folder(role) / file)))


def shares(pixels: Any, names: tuple[str, ...] = CLOTHES) -> dict[str, float]:
    """What part of (N, 3) pixels in 0 to 255 is nearest to each colour, whatever the light."""
    import numpy

    table = numpy.array([
        [channel * lamp for channel, lamp in zip(COLOURS[name], light, strict=True)]
        for light in LIGHTS.values()
        for name in names
    ])  # fmt: skip
    # Each light by itself, the one that explains the pixels best: white at night is no blue.
    apart = ((numpy.asarray(pixels, float)[:, None] - table) ** 2).sum(-1)
    apart = apart.reshape(len(pixels), len(LIGHTS), len(names))
    light = numpy.median(apart.min(2), axis=0).argmin()
    votes = numpy.bincount(apart[:, light].argmin(1), minlength=len(names))
    return dict(zip(names, (votes / len(pixels)).tolist(), strict=True))


def torso(picture: Any, points: Any) -> Any:
    """(N, 3) pixels of a picture between shoulders and hips, the outer parts left out.

    ``points`` are COCO keypoints (x, y, ...), normalised.
    """
    import numpy

    side = numpy.array(picture.size)
    (a, b), (c, d) = (
        [numpy.array(points[i][:2]) * side for i in pair] for pair in (SHOULDERS, HIPS)
    )
    across, down = numpy.meshgrid(numpy.linspace(0.25, 0.75, 8), numpy.linspace(0.15, 0.8, 8))
    across, down = across.reshape(-1, 1), down.reshape(-1, 1)
    at = (1 - down) * (a + across * (b - a)) + down * (c + across * (d - c))
    columns, rows = at.round().astype(int).clip(0, side - 1).T
    return numpy.asarray(picture)[rows, columns]


def wears(picture: Any, noun: str, colour: str, grounder: Any, posers: Any) -> bool:
    """Whether somebody the noun fits wears the colour in a picture."""
    detections = grounder.ground([picture], [[noun]], BOX, TEXT)[0]
    people = posers.estimate([picture], [[one.xyxy for one in detections]])[0]
    return any(
        shares(torso(picture, person.points))[colour] >= SHARE
        for person in people
        if person is not None
    )


def count(pictures: list[Any], grounder: Any) -> list[int]:
    """How many people the grounder finds in each picture."""
    detections = grounder.ground(pictures, [["person"]] * len(pictures), BOX, TEXT)
    return [len(boxes) for boxes in detections]


def looked_at(
    pictures: list[Any], nouns: list[str], grounder: Any, detector: Any, estimator: Any
) -> list[bool]:
    """Whether somebody in each picture looks at what its noun names.

    As in the gaze metric heads are made of detected faces, and a gaze point must lie in a box that
    the grounder finds for the noun. A picture without such a face or box is wrong.
    """
    from socialcli.vision.people import head_of

    heads = [[head_of(face.xyxy) for face in faces] for faces in detector.detect(pictures)]
    gazes = estimator.gaze(pictures, heads)
    boxes = grounder.ground(pictures, [[noun] for noun in nouns], BOX, TEXT)
    return [
        any(
            x0 <= gaze.point[0] <= x1 and y0 <= gaze.point[1] <= y1
            for gaze in seen
            if gaze is not None
            for x0, y0, x1, y1 in (box.xyxy for box in there)
        )
        for seen, there in zip(gazes, boxes, strict=True)
    ]


def box_colour(picture: Any, xyxy: tuple[float, ...], names: tuple[str, ...]) -> dict[str, float]:
    """`shares` of the middle quarter of a normalised box."""
    import numpy

    x0, y0, x1, y1 = (v * side for v, side in zip(xyxy, picture.size * 2, strict=True))
    rows = slice(int(y0 + (y1 - y0) / 4), int(y1 - (y1 - y0) / 4) + 1)
    columns = slice(int(x0 + (x1 - x0) / 4), int(x1 - (x1 - x0) / 4) + 1)
    return shares(numpy.asarray(picture)[rows, columns].reshape(-1, 3), names)


def acts(pictures: list[Any], asked: list[list[Any]]) -> dict[str, float]:
    """``interactions``: the share of the asked ones that are read in their boxes; nothing without a
    published recogniser.

    Args:
        asked: of each picture (boxes (2, 4) of subject and object, normalised; words of the
            subject, of the act as a participle and of the object).
    """
    import numpy
    import torch

    finder = backend("interaction", "pairwise")
    if finder is None:
        return {}
    pixels = torch.from_numpy(numpy.stack([numpy.asarray(p) for p in pictures]))
    names = {verb.ing: name for name, verb in VERBS.items()}
    with torch.inference_mode():
        logits = finder.logits(
            pixels.permute(0, 3, 1, 2).float() / 255,
            [torch.from_numpy(numpy.stack([boxes for boxes, _ in one])) for one in asked],
            [[words[2] for _, words in one] for one in asked],
        )  # fmt: skip
    right = []
    for rows, one in zip(logits, asked, strict=True):
        for row, (_, words) in zip(rows, one, strict=True):
            best = int(row.argmax())
            right.append(finder.classes[best].verb == names[words[1]] and float(row[best]) > 0)
    return {"interactions": round(sum(right) / len(right), 4)}


def overlap(pictures: list[Any], asked: list[list[Any]]) -> dict[str, float]:
    """``iou`` of the asked boxes with the best that is found for their noun, and of ``boxes`` those
    that are met by 0.5; nothing without a published grounder.

    Args:
        asked: see `acts`.
    """
    import numpy

    from socialcli.vision import boxes as geometry

    grounder = backend("ground", "grounding-dino")
    if grounder is None:
        return {}
    wanted = [
        [(box, word) for boxes, words in one
         for box, word in zip(boxes, (words[0], words[2]), strict=True)]
        for one in asked
    ]  # fmt: skip
    nouns = [list(dict.fromkeys(word for _, word in one)) for one in wanted]
    best = []
    seen = grounder.ground(pictures, nouns, BOX, TEXT)
    for detections, one, names in zip(seen, wanted, nouns, strict=True):
        for box, word in one:
            near = [found.xyxy for found in detections if names[found.phrase] == word]
            best.append(geometry.iou(box[None], numpy.array(near)).max() if near else 0.0)
    return {
        "iou": round(float(numpy.mean(best)), 4),
        "boxes": round(float(numpy.mean([one >= 0.5 for one in best])), 4),
    }
