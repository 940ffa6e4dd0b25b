"""annotate-pose for what is nobody: keypoints of animals and things, in their boxes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from socialcli import records
from socialcli.records import keypoint_layouts
from socialcli.records.sources import is_annotation, of
from socialcli.vision import boxes as geometry

if TYPE_CHECKING:
    from socialcli.stages._people import Scene
    from socialcli.stages.annotate_pose import Config, Loaded


def add_keypoints(config: Config, loaded: Loaded, batch: list[Scene]) -> None:
    """Keypoints of the boxes of animals and things that have a layout, where the backend knows it;
    what is annotated stays, estimates of earlier runs unless they are to be replaced."""
    batch = [scene for scene in batch if scene.problem is None]
    wanted = [_things(scene, config.replace) for scene in batch]
    asked = [[(geometry.clip(box.xyxy), *kind) for box, kind in own] for own in wanted]
    estimated = loaded.pose.things([s.work.image for s in batch], asked) if any(asked) else asked
    source = of(loaded.pose.model)
    for scene, own, skeletons in zip(batch, wanted, estimated, strict=True):
        if not own or scene.work.boxes is None:
            continue
        new = {
            box.id: None if keypoints is None else replace(keypoints, source=source)
            for (box, _), keypoints in zip(own, skeletons, strict=True)
        }
        boxes = [replace(b, keypoints=new.get(b.id, b.keypoints)) for b in scene.work.boxes.boxes]
        if boxes != scene.work.boxes.boxes:
            scene.boxes = replace(scene.work.boxes, boxes=boxes)
        gained = any(keypoints is not None for keypoints in new.values())
        scene.credit("pose", loaded.pose.model, not gained, gained)


def _things(scene: Scene, again: bool) -> list[tuple[records.Box, tuple[str, str]]]:
    """Boxes whose keypoints are to be looked for, with what is in them and their layout."""
    people = {box.id for box in scene.work.bodies}
    entities = scene.work.entities or {}
    things = []
    for box in scene.work.boxes.boxes if scene.work.boxes else []:
        open_ = box.keypoints is None or (again and not is_annotation(box.keypoints))
        kind = keypoint_layouts.of_box(box, entities.get(box.entity or 0))
        there = geometry.area(geometry.clip(box.xyxy)) > 0
        if open_ and kind is not None and there and box.id not in people:
            things.append((box, kind))
    return things
