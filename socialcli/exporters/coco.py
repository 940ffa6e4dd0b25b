"""Samples as COCO JSON: instances with RLE masks and keypoints, person keypoints, captions.

Everything is in pixels of the upright picture, as COCO has it: ``bbox`` is x, y, width, height;
``segmentation`` the mask's compressed run-length code, left out where nothing was segmented;
``keypoints`` are x, y, visibility of each (51 numbers of a person), all three 0 where not
labelled. ``ids`` on an annotation says which box, mask, person and entity of the sample it came
from, ``sources`` whose each of them is (`socialcli.records.sources`).

Every person is category ``person`` (id 1) and keeps the word for it in ``label``; other things are
named by their entity's lemma or their box's label. A category of animals or things has the
keypoints of the first layout that one of them has (`records.keypoint_layouts`); those of another
layout are left out, since a category can name its keypoints only once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from socialcli import records
from socialcli.errors import SampleFailed, UsageError
from socialcli.records import keypoint_layouts
from socialcli.validation.members import read_members
from socialcli.vision import images, masks
from socialcli.vision.people import crowds

if TYPE_CHECKING:
    from pathlib import Path

    from socialcli.records import XYXY
    from socialcli.shards import Sample

PERSON = "person"
PARTS = ("instances", "person_keypoints", "captions")
_NO_KEYPOINTS = [0] * (3 * len(records.COCO_KEYPOINTS))


@dataclass
class Numbers:
    """What is counted over a whole export: names and ids that no two samples may share."""

    categories: dict[str, int] = field(default_factory=lambda: {PERSON: 1})
    groups: dict[str, str] = field(default_factory=lambda: {PERSON: PERSON})  # supercategory
    layouts: dict[str, str] = field(default_factory=lambda: {PERSON: keypoint_layouts.BODY})
    licenses: dict[str, int] = field(default_factory=dict)
    models: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    file_names: set[str] = field(default_factory=set)
    images: int = 0
    annotations: int = 0
    captions: int = 0


@dataclass
class Converted:
    """One sample: its ``images`` entry and its annotations."""

    image: dict[str, Any]
    instances: list[dict[str, Any]]
    captions: list[dict[str, Any]]


def known_categories(file: Path) -> dict[str, int]:
    """Category name -> id of an existing COCO file, so that both can be evaluated together.

    Raises:
        UsageError: not such a file, or two categories share a name or an id.
    """
    try:
        listed = json.loads(file.read_bytes())["categories"]
        ids = {str(c["name"]): int(c["id"]) for c in listed}
    except RecursionError:
        raise UsageError(f"{file}: no COCO categories in it (nested too deep)") from None
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise UsageError(f"{file}: no COCO categories in it ({error})") from None
    if len(ids) != len(listed) or len(set(ids.values())) != len(ids):
        raise UsageError(f"{file}: two categories have one name or one id")
    if PERSON not in ids:
        ids[PERSON] = max(ids.values(), default=0) + 1
    return ids


def convert(
    sample: Sample, numbers: Numbers, keep: Callable[[str], None] = lambda name: None
) -> Converted:
    """One sample in COCO's terms; ids go on where ``numbers`` stands.

    Args:
        keep: called with the picture's file name before the sample is counted.

    Raises:
        SampleFailed: its members cannot be read, do not fit together, or give no size; or ``keep``
            raised it. Then ``numbers`` is as it was, but for categories and licences already named.
    """
    if sample.problem:
        raise SampleFailed(sample.problem)
    members, problems = read_members(sample)
    if problems:
        raise SampleFailed(str(problems[0]))
    width, height = _size(sample, members)
    name = _file_name(sample, numbers)
    image: dict[str, Any] = {
        "id": numbers.images + 1,
        "file_name": name,
        "width": width,
        "height": height,
        "key": sample.key,
    }
    meta = members.get("meta.json")
    if meta is not None:
        if meta.license:
            image["license"] = numbers.licenses.setdefault(meta.license, len(numbers.licenses) + 1)
        if meta.split:
            image["split"] = meta.split
        if isinstance(meta.extra.get("url"), str):
            image["coco_url"] = meta.extra["url"]
    annotations = list(_annotations(members, (width, height), numbers))
    for number, annotation in enumerate(annotations, start=numbers.annotations + 1):
        annotation.update(id=number, image_id=image["id"])
    caption = members.get("caption.json")
    texts = [caption.text, *caption.others] if caption is not None else []
    captions = [
        {"id": number, "image_id": image["id"], "caption": text, "source": caption.source}  # type: ignore[union-attr]
        for number, text in enumerate(texts, start=numbers.captions + 1)
    ]
    keep(name)
    numbers.images += 1
    numbers.annotations += len(annotations)
    numbers.captions += len(captions)
    numbers.file_names.add(name)
    _note_models(members, numbers)
    return Converted(image, annotations, captions)


def _size(sample: Sample, members: dict[str, Any]) -> tuple[int, int]:
    """Width and height of the upright picture; every member must agree."""
    stated = {
        suffix: (record.width, record.height)
        for suffix, record in members.items()
        if hasattr(record, "width")
    }
    if any(suffix in sample.members for suffix in records.IMAGE_SUFFIXES):
        facts = images.facts(sample.picture())
        stated["picture"] = (facts.width, facts.height)
    if not stated:
        raise SampleFailed("no member says how large the picture is")
    if len(set(stated.values())) > 1:
        sizes = ", ".join(f"{name} {w}x{h}" for name, (w, h) in stated.items())
        raise SampleFailed(f"the members are of different sizes ({sizes})")
    return next(iter(stated.values()))


def _file_name(sample: Sample, numbers: Numbers) -> str:
    """A relative file name from the key that no file system misreads."""
    from socialcli import shards

    suffix = next((s for s in records.IMAGE_SUFFIXES if s in sample.members), "jpg")
    name = f"{shards.file_stem(shards.safe_key(f'{sample.key}.{suffix}'))}.{suffix}"
    if name in numbers.file_names:
        raise SampleFailed(f"another sample is called {name} too")
    return name


@dataclass
class _Parts:
    """What one annotation is made of."""

    box: records.Box | None = None
    mask: records.Mask | None = None
    person: records.Person | None = None


def _annotations(
    members: dict[str, Any], size: tuple[int, int], numbers: Numbers
) -> Iterator[dict[str, Any]]:
    """One annotation per box, then per mask and per person that has no box."""
    parts: list[_Parts] = []
    boxes = (
        {b.id: _Parts(box=b) for b in members["boxes.json"].boxes}
        if "boxes.json" in members
        else {}
    )
    parts += boxes.values()
    for mask in members["masks.json"].masks if "masks.json" in members else []:
        if mask.box in boxes and boxes[mask.box].mask is None:
            boxes[mask.box].mask = mask
        else:
            parts.append(_Parts(mask=mask))
    for person in members["people.json"].people if "people.json" in members else []:
        if person.box in boxes and boxes[person.box].person is None:
            boxes[person.box].person = person
        else:
            parts.append(_Parts(person=person))
    entities = (
        {e.id: e for e in members["entities.json"].entities} if "entities.json" in members else {}
    )
    crowd = crowds(members.get("meta.json"))
    for part in parts:
        annotation = _annotation(part, entities, size, numbers)
        if annotation is not None:
            in_crowd = part.box is not None and part.box.id in crowd
            yield {**annotation, "iscrowd": int(in_crowd)}


def _annotation(
    part: _Parts,
    entities: dict[int, records.Entity],
    size: tuple[int, int],
    numbers: Numbers,
) -> dict[str, Any] | None:
    """None for a person of whom neither body nor keypoints are known: COCO has no place for it."""
    linked = {"box": part.box, "mask": part.mask, "person": part.person}
    ids = {name: item.id for name, item in linked.items() if item is not None}
    named = next((i.entity for i in linked.values() if i is not None and i.entity), None)  # type: ignore[attr-defined]
    entity = entities.get(named) if named is not None else None
    if entity is not None:
        ids["entity"] = entity.id
    bbox = _bbox(part, size)
    if bbox is None:
        return None
    label = part.box.label if part.box is not None else ""
    category, group = _category(label, entity, part.person is not None)
    annotation: dict[str, Any] = {
        "category_id": _category_id(category, group, numbers),
        "bbox": bbox,
        "area": round(bbox[2] * bbox[3], 2),
    }
    if part.mask is not None:
        if list(part.mask.rle["size"]) != [size[1], size[0]]:
            raise SampleFailed(f"mask {part.mask.id} is not of the picture's size")
        annotation["segmentation"] = part.mask.rle
        annotation["area"] = masks.area(part.mask.rle)
    owner = part.person if part.person is not None else part.box
    seen = owner.keypoints if owner is not None else None
    if seen is not None and (points := _keypoints(seen, size, category, numbers)) is not None:
        annotation["keypoints"] = points
        annotation["num_keypoints"] = sum(v > 0 for v in points[2::3])
    if part.box is not None and part.box.score is not None:
        annotation["score"] = part.box.score
    if label or entity is not None:
        annotation["label"] = entity.text if entity is not None else label
    annotation["ids"] = ids
    annotation["sources"] = {name: item.source for name, item in linked.items() if item is not None}
    if seen is not None and "keypoints" in annotation:
        annotation["sources"]["keypoints"] = seen.source
    return annotation


def _bbox(part: _Parts, size: tuple[int, int]) -> list[float] | None:
    """x, y, width, height in pixels: of the box, else the mask, the body, the keypoints."""
    if part.box is not None:
        return _pixels(part.box.xyxy, size)
    if part.mask is not None:
        from pycocotools import mask as coco

        masks.check(part.mask.rle)  # refuses a code that pycocotools would read past its end
        return [float(v) for v in coco.toBbox(part.mask.rle)]
    if part.person is None:
        return None
    if part.person.xyxy is not None:
        return _pixels(part.person.xyxy, size)
    points = part.person.keypoints.points if part.person.keypoints is not None else []
    seen = [(x, y) for x, y, visibility in points if visibility > 0]
    if not seen:
        return None
    xs, ys = [x for x, _ in seen], [y for _, y in seen]
    return _pixels((min(xs), min(ys), max(xs), max(ys)), size)


def _pixels(xyxy: XYXY, size: tuple[int, int]) -> list[float]:
    (left, top, right, bottom), (width, height) = xyxy, size
    x, y = left * width, top * height
    return [round(v, 2) for v in (x, y, right * width - x, bottom * height - y)]


def _keypoints(
    keypoints: records.Keypoints, size: tuple[int, int], category: str, numbers: Numbers
) -> list[float] | None:
    """Three numbers a keypoint, as COCO has them; None for another layout than the category's."""
    layout = keypoint_layouts.layout(keypoints.layout)
    if layout is None or len(keypoints.points) != len(layout.names):
        return None
    if numbers.layouts.setdefault(category, keypoints.layout) != keypoints.layout:
        return None
    flat: list[float] = []
    for x, y, visibility in keypoints.points:
        if visibility > 0:
            flat += [round(x * size[0], 2), round(y * size[1], 2), int(visibility)]
        else:
            flat += [0, 0, 0]
    return flat


def _category(label: str, entity: records.Entity | None, person: bool) -> tuple[str, str]:
    """Category and supercategory of what a box, an entity and a person say it is."""
    from socialcli.vision.people import kind_of

    word = " ".join((entity.lemma if entity is not None else label).lower().split()) or "object"
    kind = entity.kind if entity is not None else kind_of(word)
    if person or kind == PERSON:
        return PERSON, PERSON
    return word, kind


def _category_id(name: str, group: str, numbers: Numbers) -> int:
    if name not in numbers.categories:
        numbers.categories[name] = max(numbers.categories.values(), default=0) + 1
    if numbers.groups.get(name, "object") == "object":  # a caption may know it is an animal
        numbers.groups[name] = group
    return numbers.categories[name]


def _note_models(members: dict[str, Any], numbers: Numbers) -> None:
    """Which models made what, once each, for ``info``."""
    for suffix, record in members.items():
        models = dict(getattr(record, "models", {}))
        if getattr(record, "model", None) is not None:
            models[suffix.partition(".")[0]] = record.model
        for role, model in models.items():
            fact = {"backend": model.backend, "model": model.model, "revision": model.revision}
            known = numbers.models.setdefault(role, [])
            if fact not in known and len(known) < 20:
                known.append(fact)


# ---------------------------------------------------------------- writing


def person_keypoints(instances: Iterable[dict[str, Any]], numbers: Numbers) -> list[dict[str, Any]]:
    """The annotations of people, those without known keypoints with none labelled, as COCO does."""
    person = numbers.categories[PERSON]
    unknown = {"keypoints": _NO_KEYPOINTS, "num_keypoints": 0}
    return [{**unknown, **a} for a in instances if a["category_id"] == person]


def write(
    stream: IO[bytes], part: str, images: IO[bytes], items: IO[bytes], numbers: Numbers
) -> None:
    """One COCO file: head, then the spooled image and annotation entries, then categories."""
    from socialcli import __version__

    info = {
        "description": f"{part} exported by socialcli {__version__}",
        "version": str(records.SCHEMA_VERSION),
        "models": numbers.models,
    }
    licenses = []
    for text, number in numbers.licenses.items():
        name, _, url = text.rstrip(")").partition(" (") if text.endswith(")") else (text, "", "")
        licenses.append({"id": number, "name": name, "url": url if "://" in url else ""})
    head = f'{{"info":{_json(info)},"licenses":{_json(licenses)},"images":['
    stream.write(head.encode())
    _copy(images, stream)
    stream.write(b'],"annotations":[')
    _copy(items, stream)
    stream.write(b"]")
    if part != "captions":  # pycocotools takes a file with categories for one of instances
        stream.write(f',"categories":{_json(_categories(part, numbers))}'.encode())
    stream.write(b"}\n")


def _categories(part: str, numbers: Numbers) -> list[dict[str, Any]]:
    listed = []
    for name, number in sorted(numbers.categories.items(), key=lambda item: item[1]):
        group = numbers.groups.get(name, "object")
        category: dict[str, Any] = {"id": number, "name": name, "supercategory": group}
        layout = keypoint_layouts.layout(numbers.layouts.get(name, ""))
        if layout is not None:
            category["keypoints"] = [word.replace(" ", "_") for word in layout.names]
            category["skeleton"] = [[a + 1, b + 1] for a, b in layout.limbs]
        if part != "person_keypoints" or name == PERSON:
            listed.append(category)
    return listed


def spool(stream: IO[bytes], entries: Iterable[dict[str, Any]]) -> None:
    """Append entries to a JSON array being collected in a temporary file."""
    for entry in entries:
        if stream.tell():
            stream.write(b",\n")
        stream.write(_json(entry).encode())


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    import shutil

    source.seek(0)
    shutil.copyfileobj(source, target, 1 << 20)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
