"""People's boxes by MediaPipe, whose models come with the package: works without a hub.

It finds people and nothing else, so that objects and animals stay without boxes, and it cannot
read: it knows a person, not "the woman in red". The stage asks it for ``person`` only, and links
its boxes to an entity where the caption names one person entity alone.

A person is found by the face (on overlapping windows, `socialcli.backends.face.mediapipe`). The
pose model, which sees one person at a time, then looks at windows about the face, from wide to
narrow, until the pose it finds has its nose in that face; the box spans the keypoints it sees and
the head. Where no pose fits, the box is the head and shoulders that the face implies. A person
whose face is hidden is found only if the pose model picks them from the whole picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli import backends
from socialcli.backends import BackendInfo
from socialcli.backends.roles import Detection
from socialcli.records import Model
from socialcli.vision import boxes, close_ups

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.backends import ModelSpec
    from socialcli.records import XYXY, Keypoints

INFO = BackendInfo(
    summary="MediaPipe: boxes of people only, by face and pose. No objects, reads no phrases.",
    licence="Apache-2.0",
    model="face and pose models in the package",
    size="in the package",
    packages=("mediapipe",),
    extra="mediapipe",
    fixed=True,
)
# Windows about a face in which to look for its body: sideways from its middle and downwards from
# its top, in faces' widths and heights. A standing adult is about nine face boxes tall.
WINDOWS = ((4.0, 10.0), (2.5, 6.0), (1.75, 3.5))
CROWN = 0.6  # of a face box's height: the hair above it
HIPS = (11, 12)  # in records.COCO_KEYPOINTS
ALONE = 8  # keypoints the pose model must see to claim a person without a face


class MediaPipePeople:
    """A `roles.Grounder` that answers every phrase with the people it sees."""

    kinds = ("person",)

    def __init__(self, spec: ModelSpec) -> None:
        from dataclasses import replace

        options = {"threshold": 0.5}
        self.faces = backends.load(replace(spec, role="face", backend="mediapipe", options=options))
        self.pose = backends.load(replace(spec, role="pose", backend="mediapipe", options=options))
        self.model = Model(
            backend="mediapipe",
            model=f"{self.faces.model.model}; {self.pose.model.model}",
            role=spec.role,
            options=options,
        )

    def ground(
        self,
        images: list[Image],
        phrases: list[list[str]],
        box_threshold: float,
        text_threshold: float,
    ) -> list[list[Detection]]:
        """Everybody, for every phrase; ``text_threshold`` has no meaning here."""
        return [
            [
                Detection(number, xyxy, score)
                for number in range(len(asked))
                for xyxy, score in people
                if score > box_threshold
            ]
            for people, asked in zip(self.people(images), phrases, strict=True)
        ]

    def people(self, images: list[Image]) -> list[list[tuple[XYXY, float]]]:
        """Boxes of the people of each picture with scores, largest face first."""
        return [
            self._people(image, [(f.xyxy, f.score or 0.0) for f in faces])
            for image, faces in zip(images, close_ups.detect(self.faces, images), strict=True)
        ]

    def _people(self, image: Image, faces: list[tuple[XYXY, float]]) -> list[tuple[XYXY, float]]:
        people = []
        for face, score in faces:
            body = self._body(image, face)
            people.append((_span(body, face) if body else shoulders(face), score))
        [[whole]] = self.pose.estimate([image], [[(0.0, 0.0, 1.0, 1.0)]])
        if whole is not None and len(seen(whole)) >= ALONE:
            nose = whole.points[0]
            if not any(_inside(nose, box) for box, _ in people):
                scores = whole.scores or [0.0]
                people.append((_span(whole, None), sum(scores) / len(scores)))
        return people

    def _body(self, image: Image, face: XYXY) -> Keypoints | None:
        """The pose whose nose lies in this face, from the widest window that shows it."""
        width, height = face[2] - face[0], face[3] - face[1]
        middle = (face[0] + face[2]) / 2
        head = (face[0], face[1] - height / 4, face[2], face[3])
        for across, down in WINDOWS:
            window = (
                middle - across * width,
                face[1] - height,
                middle + across * width,
                face[1] + down * height,
            )
            [[body]] = self.pose.estimate([image], [[boxes.clip(window)]])
            if body is not None and len(seen(body)) >= 4 and _inside(body.points[0], head):
                return body
        return None


def seen(body: Keypoints) -> list[tuple[float, float]]:
    """The keypoints that are visible and lie in the picture."""
    return [(x, y) for x, y, visible in body.points if visible == 2 and 0 <= x <= 1 and 0 <= y <= 1]


def shoulders(face: XYXY) -> XYXY:
    """Head and shoulders: all that a face alone says about its person's box."""
    width, height = face[2] - face[0], face[3] - face[1]
    middle = (face[0] + face[2]) / 2
    return boxes.clip(
        (middle - 1.4 * width, face[1] - CROWN * height, middle + 1.4 * width, face[3] + height)
    )


def _span(body: Keypoints, face: XYXY | None) -> XYXY:
    """The box about a body's visible keypoints, with room for the flesh about them, and its head.

    Hips that lie below the picture mean that the trunk reaches its lower edge.
    """
    points = seen(body)
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    top, bottom = min(p[1] for p in points), max(p[1] for p in points)
    across, down = 0.12 * (right - left), 0.05 * (bottom - top)
    box = (left - across, top - down, right + across, bottom + down)
    if any(body.points[hip][1] > 1 for hip in HIPS):
        box = (*box[:3], 1.0)
    if face is not None:
        width, height = face[2] - face[0], face[3] - face[1]
        box = (
            min(box[0], face[0] - 0.2 * width),
            min(box[1], face[1] - CROWN * height),
            max(box[2], face[2] + 0.2 * width),
            max(box[3], face[3]),
        )
    return boxes.clip(box)


def _inside(point: tuple[float, ...], box: XYXY) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def load(spec: ModelSpec) -> MediaPipePeople:
    return MediaPipePeople(spec)
