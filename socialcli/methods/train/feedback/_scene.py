"""What one annotated sample says, in the square that is trained on: words, and what each feedback
watches.

Records and numpy, no network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.training import geometry
from socialcli.training.feedback import Feedback, View
from socialcli.vision import images

if TYPE_CHECKING:
    from socialcli.shards import Sample
    from socialcli.training.geometry import Frame

QUERIES = ("nouns", "phrases", "caption")


@dataclass
class Scene:
    """One sample in its square; ``watched`` has what each feedback's `read` returned, of those that
    have anything to watch."""

    caption: str
    query: str
    watched: dict[str, Any] = field(default_factory=dict)

    def speaks(self, name: str) -> bool:
        """Whether a feedback has anything to say of this sample."""
        return name in self.watched


def read(sample: Sample, frame: Frame, config: Any, wanted: dict[str, Feedback]) -> Scene:
    """The sample's records in the frame.

    Args:
        wanted: the feedbacks that will be asked; members that only others need are not read.

    Raises:
        SampleFailed: no caption, no entities, or a member that cannot be read.
    """
    caption = sample.record(records.Caption).text.strip()
    if not caption:
        raise SampleFailed("caption.json: the caption is empty")
    listed = sample.record(records.Boxes) if sample.has("boxes.json") else None
    all_boxes = listed.boxes if listed else []
    boxes = {box.id: box for box in frame.boxes(all_boxes)}
    scene = Scene(caption, _query(sample, caption, config.query, all_boxes, boxes))
    view = View(sample, frame, boxes)
    for name, feedback in wanted.items():
        part = feedback.read(config, view)
        if part is not None and len(part):
            scene.watched[name] = part
    return scene


def tensors(scene: Scene, wanted: dict[str, Feedback]) -> dict[str, Any]:
    """What the feedbacks need of a scene, as tensors and lists: ``NAME_part`` for each feedback
    that has something to say."""
    merged: dict[str, Any] = {}
    for name, part in scene.watched.items():
        merged |= wanted[name].tensors(part)
    return merged


def _query(
    sample: Sample,
    caption: str,
    query: str,
    all_boxes: list[records.Box],
    boxes: dict[int, records.Box],
) -> str:
    """The words for the subjects: entities with a box in the square, in the caption's order.

    Entities whose boxes all left the square are left out, those that never had one too, unless
    that leaves none.
    """
    if query == "caption":
        return caption
    entities = sample.record(records.Entities).entities
    if not entities:
        raise SampleFailed("entities.json: the entity list is empty, there is no subject to name")
    shown = {box.entity for box in boxes.values()}
    boxed = {box.entity for box in all_boxes}
    chosen = [e for e in entities if e.id in shown]
    chosen = chosen or [e for e in entities if e.id in boxed] or entities
    words = [e.text if query == "phrases" else e.head for e in chosen]
    return ", ".join(dict.fromkeys(w.strip() for w in words if w.strip()))


def whole(sample: Sample, size: int) -> Frame:
    """The centre square, unmirrored, without decoding the picture: to look at records alone."""
    import random

    facts = images.facts(sample.picture())
    return geometry.choose(facts.width, facts.height, size, random.Random(0), "centre", 0.0)
