"""A scene as the members of a sample: the same records that the stages write."""

from __future__ import annotations

import io

from socialcli import records
from socialcli.miniature.world.captions import Written, captions
from socialcli.miniature.world.scenes import Scene, ScenePerson
from socialcli.records import GROUND_TRUTH
from socialcli.vision import masks as rle


def members(scene: Scene, written: list[Written] | None = None) -> dict[str, bytes]:
    """All members of the scene's sample, picture included.

    Args:
        written: its captions, where they are not the scene's own.

    The picture is PNG: lossless, so that its pixels are the drawing's and the same bytes decode
    alike everywhere, and at these sizes flat colours make it no larger than a good JPEG. One
    instance has one number, which is its box id, its mask id and, for a person, its person id.
    """
    out = io.BytesIO()
    scene.image.save(out, "PNG", compress_level=6)
    written = written or captions(scene)
    entity_of = {m.instance: n + 1 for n, m in enumerate(written[0].mentions)}
    parts = {
        "meta.json": _meta(scene),
        "caption.json": records.Caption(
            written[0].text, [w.text for w in written[1:]], GROUND_TRUTH
        ),
        "entities.json": _entities(written[0], entity_of),
        "boxes.json": _boxes(scene, entity_of),
        "masks.json": _masks(scene, entity_of),
        "people.json": records.People(
            scene.size,
            scene.size,
            [_person(scene, p, entity_of) for p in scene.people],
            dict.fromkeys(("face", "identity", "pose", "gaze"), GROUND_TRUTH),
        ),
        "interactions.json": _interactions(scene),
    }
    return {"png": out.getvalue(), **{name: records.dump(part) for name, part in parts.items()}}


def _meta(scene: Scene) -> records.Meta:
    return records.Meta(
        width=scene.size,
        height=scene.size,
        source=scene.key,
        split=scene.split,
        license="Apache-2.0",
        extra={
            "place": scene.place,
            "light": scene.light,
            "subjects": {str(t.id): t.look.name for t in scene.things},
            "clothes": {
                str(p.id): {"top": p.wear.top, "bottom": p.wear.bottom} for p in scene.people
            },
        },
    )


def _entities(written: Written, entity_of: dict[int, int]) -> records.Entities:
    return records.Entities(
        [
            records.Entity(entity_of[m.instance], m.phrase, m.head, m.head, m.start, m.end, m.kind)
            for m in written.mentions
        ],
        [
            records.Triple(entity_of[s], verb, entity_of[o], text, passive)
            for s, verb, o, text, passive in written.triples
        ],
        GROUND_TRUTH,
    )


def _all_boxes(scene: Scene) -> list[tuple[int, str, records.XYXY]]:
    """Instance number, class word and normalised box of everything visible, in number order."""
    rows = [(p.id, p.who.noun, p.box) for p in scene.people]
    rows += [(t.id, t.look.kind, t.box) for t in scene.things]
    return [(n, word, _norm(box, scene.size)) for n, word, box in sorted(rows)]


def _norm(box: records.XYXY, size: int) -> records.XYXY:
    x0, y0, x1, y1 = box
    return x0 / size, y0 / size, x1 / size, y1 / size


def _boxes(scene: Scene, entity_of: dict[int, int]) -> records.Boxes:
    boxes = [records.Box(n, box, word, entity_of.get(n)) for n, word, box in _all_boxes(scene)]
    return records.Boxes(scene.size, scene.size, boxes, GROUND_TRUTH)


def _masks(scene: Scene, entity_of: dict[int, int]) -> records.Masks:
    masks = [
        records.Mask(n, rle.encode(scene.instances == n), n, entity_of.get(n))
        for n, _, _ in _all_boxes(scene)
    ]
    return records.Masks(scene.size, scene.size, masks, GROUND_TRUTH)


def _person(scene: Scene, person: ScenePerson, entity_of: dict[int, int]) -> records.Person:
    size = scene.size
    face = None
    if person.face is not None:
        five = [(x / size, y / size) for x, y in person.landmarks]
        face = records.Face(_norm(person.face, size), None, five)
    gaze = person.gaze
    return records.Person(
        id=person.id,
        box=person.id,
        entity=entity_of.get(person.id),
        head=_norm(person.head, size),
        face=face,
        keypoints=records.Keypoints([(x / size, y / size, v) for x, y, v in person.keypoints]),
        gaze=records.Gaze(
            point=None if gaze is None else (gaze[0] / size, gaze[1] / size),
            vector=person.gaze_vector,
            inside=gaze is not None,
        ),
        identity=person.who.name,
    )


def _interactions(scene: Scene) -> records.Interactions:
    people = {p.id for p in scene.people}
    return records.Interactions(
        [
            records.Interaction(
                id=n + 1,
                verb=r.pair.verb,
                subject=r.subject,
                subject_box=r.subject,
                object=r.object,
                object_person=r.object if r.object in people else None,
                object_label=r.pair.object,
                hoi=r.pair.hoi or None,
            )
            for n, r in enumerate(scene.relations)
        ],
        GROUND_TRUTH,
    )
