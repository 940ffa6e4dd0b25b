"""COCO: instances JSON, with person keypoints and captions where there are any."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from socialcli import records, shards
from socialcli.config import MISSING, option
from socialcli.errors import SampleFailed, UsageError
from socialcli.importers import Entry, Importer, _picture
from socialcli.records import limits
from socialcli.vision import masks as rle
from socialcli.vision.images import MAX_PIXELS
from socialcli.vision.people import kind_of

# Indices into COCO_KEYPOINTS after left and right have changed places (eyes, ears, shoulders...).
_MIRROR = [0, *(i + 1 if i % 2 else i - 1 for i in range(1, 17))]


@dataclass
class Config:
    source: str = option(MISSING, "COCO's folder: annotations/ and the folders of pictures.")
    split: str | None = option(None, "Part to import, as in instances_SPLIT.json (val2017).")
    annotations: str | None = option(
        None, "Instances JSON, when it is not annotations/instances_SPLIT.json.", file=True
    )
    keypoints: str | None = option(
        None, "Person keypoints JSON; annotations/person_keypoints_SPLIT.json if that is there.",
        file=True,
    )  # fmt: skip
    captions: str | None = option(
        None, "Captions JSON; annotations/captions_SPLIT.json if that is there.", file=True
    )
    images: str | None = option(None, "Folder of the pictures, when it is not SPLIT/.")
    masks: bool = option(True, "Write masks.json from the segmentations.")
    frame: str = option("auto", _picture.FRAME_HELP)
    check_pixels: bool = option(False, "Decode every picture fully, not only its header.")


@dataclass
class Work:
    """One picture of the data set with everything that is annotated on it."""

    folder: str
    image: dict[str, Any]  # its entry in "images"
    split: str
    license: str
    annotations: list[dict[str, Any]] = field(default_factory=list)
    captions: list[tuple[str, str | None]] = field(default_factory=list)  # text, source
    labels: dict[Any, str] = field(default_factory=dict)  # category id -> name
    people: frozenset[int] = frozenset()  # categories with COCO's 17 keypoints
    namesakes: int = 1  # entries with other names that are looked for under the same one


class CocoImporter(Importer):
    """See `Importer`."""

    VERSION = 3
    config_type = Config

    def files(self, config: Config) -> list[Path]:
        """Instances, person keypoints, captions."""
        return list(_find_files(_picture.source_folder(config.source), config)[0].values())

    def entries(self, config: Config) -> Iterator[Entry]:
        """Every picture of the instances JSON in its order, annotated or not.

        Raises:
            UsageError: no annotations, several splits and none chosen, JSON that is not COCO's, or
                a picture folder that cannot be found.
        """
        _picture.check_frame(config.frame)
        root = _picture.source_folder(config.source)
        files, split = _find_files(root, config)
        bodies = {part: _load(file) for part, file in files.items()}
        main, body = files["instances"], bodies["instances"]
        if not body["images"]:
            raise UsageError(f"{main}: its list of images is empty")
        for part in ("person_keypoints", "captions"):
            if part in bodies:
                _pictures_alike(bodies[part], body["images"])
        if "person_keypoints" in bodies:
            _number_alike(bodies["person_keypoints"], body["categories"])
        folder = _find_pictures(root, main, split, body["images"], config)
        self.remarks = _unknown(bodies, main)
        annotations = _by_image(bodies)
        texts = _captions_by_image(bodies)
        labels = {c["id"]: _text(c.get("name")) for c in body["categories"]}
        people = _keypoint_categories(bodies)
        licenses = {_license_id(x.get("id")): _license(x) for x in body["licenses"]}
        names = [_text(image["file_name"]) for image in body["images"]]
        namesakes = _namesakes(names)
        for key, image in zip(shards.distinct_keys(names), body["images"], strict=True):
            of_image = annotations.get(image["id"], [])
            work = Work(
                folder=str(folder),
                image={k: v for k, v in image.items() if k not in ("segments_info",)},
                split=split,
                license=licenses.get(_license_id(image.get("license")), ""),
                annotations=of_image,
                captions=texts.get(image["id"], []),
                labels={
                    a["category_id"]: labels[a["category_id"]]
                    for a in of_image
                    if a.get("category_id") in labels
                },
                people=people,
                namesakes=namesakes.get(_text(image["file_name"]), 1),
            )
            yield Entry(key, work)

    def build(self, config: Config, entry: Entry) -> dict[str, bytes]:
        """The picture, meta, boxes, masks, people and captions.

        Box, mask and person ids count the annotations of the picture from 1; ``meta.extra`` maps
        box
        ids to COCO's annotation ids, names the crowd regions, and lists what was dropped and why.

        Raises:
            SampleFailed: the picture is missing or none, or is not the annotated one.
        """
        work: Work = entry.work
        image = work.image
        folder, stated = Path(work.folder), _text(image["file_name"])
        if not stated:
            raise SampleFailed("its entry in the list of images has no file_name")
        if work.namesakes > 1:
            raise SampleFailed(
                f"{stated}: {work.namesakes} entries of the list of images end in this name, and "
                "nobody can tell whose picture lies here; write places below the folder of "
                "pictures into file_name"
            )
        path = _picture.located(folder, stated) or stated
        picture = _picture.read(folder, path, check_pixels=config.check_pixels)
        size = _size(image)
        frame = _picture.frame(picture.facts, size, config.frame)
        width, height = picture.facts.width, picture.facts.height
        boxes = records.Boxes(width, height, model=records.GROUND_TRUTH)
        masks = records.Masks(width, height, model=records.GROUND_TRUTH)
        people = records.People(width, height)
        if work.people:
            people.models["pose"] = records.GROUND_TRUTH
        extra: dict[str, Any] = {"image_id": image["id"], "annotations": {}}
        dropped: list[dict[str, Any]] = []
        crowd: list[int] = []
        for number, annotation in enumerate(work.annotations, start=1):
            name = number if annotation["id"] is None else annotation["id"]
            mask = None
            if annotation.get("segmentation"):
                try:
                    mask = _mask(annotation["segmentation"], frame, (width, height))
                except SampleFailed as error:
                    dropped.append({"annotation": name, "what": "mask", "why": str(error)})
            box = _box(annotation, frame, mask)
            if box is None:
                dropped.append({"annotation": name, "what": "all", "why": "its box has no area"})
                continue
            category = annotation.get("category_id")
            label = work.labels.get(category, "")
            if not label:
                why = f"no category has the id {category}"
                if category in work.labels:
                    why = f"category {category} has no name"
                elif category is None:
                    why = "no category"
                dropped.append({"annotation": name, "what": "label", "why": why})
            by = _sources(annotation)
            boxes.boxes.append(records.Box(number, box, label, source=by.get("box")))
            extra["annotations"][str(number)] = name
            if mask is not None and config.masks:
                one = records.Mask(number, rle.encode(mask), box=number, source=by.get("mask"))
                masks.masks.append(one)
            if _is_crowd(annotation.get("iscrowd")):
                crowd.append(number)
            elif kind_of(label) == "person" or category in work.people:
                person = records.Person(len(people.people) + 1, box=number)
                person.source = by.get("person")
                if category in work.people:
                    try:
                        person.keypoints = _keypoints(annotation.get("keypoints"), frame)
                    except SampleFailed as error:
                        why = str(error)
                        dropped.append({"annotation": name, "what": "keypoints", "why": why})
                    if person.keypoints is not None and (beyond := _beyond(person.keypoints)):
                        why = f"{beyond} keypoints outside the picture count as not labelled"
                        dropped.append({"annotation": name, "what": "keypoints", "why": why})
                    if person.keypoints is not None:
                        person.keypoints.source = by.get("keypoints")
                people.people.append(person)
        if crowd:
            extra["crowd_boxes"] = crowd
        if dropped:
            extra["dropped"] = dropped
        if size is not None and size not in (picture.facts.stored_size, (width, height)):
            extra["annotated_size"] = [int(v) if v == v // 1 else v for v in size]
        for source in ("flickr_url", "coco_url"):
            if image.get(source):
                extra["url"] = str(image[source])
                break
        members = picture.members(split=work.split, license=work.license, extra=extra)
        members["boxes.json"] = records.dump(boxes)
        if config.masks:
            members["masks.json"] = records.dump(masks)
        members["people.json"] = records.dump(people)
        if work.captions:
            (first, source_of), *more = work.captions
            others = [text for text, _ in more]
            caption = records.Caption(first, others, records.GROUND_TRUTH, source_of)
            members["caption.json"] = records.dump(caption)
        return _picture.noted(members, frame.clipped)


def _sources(annotation: dict[str, Any]) -> dict[str, str]:
    """Whose the parts of an annotation are, where `socialcli export` wrote it; else nothing, since
    what a data set says is annotated."""
    stated = annotation.get("sources")
    if not isinstance(stated, dict):
        return {}
    return {k: v for k, v in stated.items() if isinstance(v, str) and 0 < len(v) <= limits.MAX_NAME}


def _find_files(root: Path, config: Config) -> tuple[dict[str, Path], str]:
    """The JSON files by part, instances first, and the split they are of."""
    main, split = _find_annotations(root, config)
    files = {"instances": main}
    for part, given in (("person_keypoints", config.keypoints), ("captions", config.captions)):
        file = Path(given).expanduser() if given else main.with_name(f"{part}_{split}.json")
        if given or (split and file.is_file()):
            files[part] = file
    return files, split


def _find_annotations(root: Path, config: Config) -> tuple[Path, str]:
    """The instances JSON and the split it is of ("" when its name does not say)."""
    if config.annotations:
        file = Path(config.annotations).expanduser()
        file = file if file.is_file() else root / config.annotations
        if not file.is_file():
            raise UsageError(f"{config.annotations}: no such file")
        return file, config.split or file.stem.partition("instances_")[2]
    folder = root / "annotations" if (root / "annotations").is_dir() else root
    if config.split:
        file = folder / f"instances_{config.split}.json"
        if file.is_file():
            return file, config.split
    files = sorted(folder.glob("instances_*.json"))
    splits = [file.stem.removeprefix("instances_") for file in files]
    if not files:
        raise UsageError(
            f"{folder}: no instances_SPLIT.json here; name the file with --annotations"
        )
    if config.split or len(files) > 1:
        raise UsageError(f"{config.source}: choose one with --split: {', '.join(splits)}")
    return files[0], splits[0]


def _load(file: Path) -> dict[str, Any]:
    try:
        body = json.loads(file.expanduser().read_bytes())
        if not isinstance(body, dict) or not isinstance(body.get("images"), list):
            raise ValueError("no list called images")
        for name in ("images", "annotations", "categories", "licenses"):
            _objects(name, body)
        for number, image in enumerate(body["images"]):
            for name in ("id", "file_name"):
                if name not in image:
                    raise ValueError(f"images[{number}] lacks {name}")
            image["id"] = _id(image["id"])
        if len({image["id"] for image in body["images"]}) != len(body["images"]):
            raise ValueError("two images have one id")
        for annotation in body["annotations"]:
            for name in ("id", "image_id", "category_id"):
                if annotation.setdefault(name, None) is not None:
                    annotation[name] = _id(annotation[name])
        for number, category in enumerate(body["categories"]):
            if "id" not in category:
                raise ValueError(f"categories[{number}] lacks id")
            category["id"] = _id(category["id"])
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror or error})") from None
    except RecursionError:
        raise UsageError(f"{file}: not COCO JSON (nested too deep)") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file}: not COCO JSON ({error})") from None
    return body


def _objects(name: str, body: dict[str, Any]) -> None:
    """See that a part is a list of objects; where it is not there it becomes an empty one.

    Raises:
        ValueError: it is something else.
    """
    listed = body[name] = body.get(name) or []
    if not isinstance(listed, list):
        raise ValueError(f"{name} is {_kind(listed)}, not a list")
    for number, entry in enumerate(listed):
        if not isinstance(entry, dict):
            raise ValueError(f"{name}[{number}] is {_kind(entry)}, not an object")


def _kind(value: Any) -> str:
    """What a JSON value is, in JSON's own words."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    kinds: dict[type, str] = {dict: "an object", list: "a list", str: "a text"}
    return kinds.get(type(value), "a number")


def _text(value: Any) -> str:
    """A name or a caption; null is none, and not the word "None"."""
    return "" if value is None else str(value)


def _id(value: Any) -> int | str:
    """An id as a number where it is one: some tools write "9" or 9.0 in one place and 9 in another.

    Raises:
        TypeError: neither text nor a number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"an id is a number or text, not {value!r}")
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.removeprefix("-").isdecimal() and len(text) < 20 else value
    return int(value) if value == value // 1 else str(value)


def _unknown(bodies: dict[str, dict[str, Any]], main: Path) -> list[str]:
    """A line for each file some of whose annotations belong to no picture of the instances.

    Raises:
        UsageError: none of the instances' annotations does.
    """
    pictures = {image["id"] for image in bodies["instances"]["images"]}
    warnings = []
    for part, body in bodies.items():
        lost = [a for a in body["annotations"] if a["image_id"] not in pictures]
        if not lost:
            continue
        example = f"image_id {lost[0]['image_id']!r}; the first picture is {next(iter(pictures))!r}"
        what = f"{len(lost):,} of its {len(body['annotations']):,} {part} annotations"
        if part == "instances" and len(lost) == len(body["annotations"]):
            raise UsageError(
                f"{main}: {what} belong to a picture that it does not have ({example})"
            )
        warnings.append(
            f"{main.parent}: {what} are left out: their pictures are not in it ({example})"
        )
    return warnings


def _find_pictures(
    root: Path, main: Path, split: str, images: list[dict[str, Any]], config: Config
) -> Path:
    if config.images:
        given = Path(config.images).expanduser()
        given = given if given.is_dir() else root / config.images
        if not given.is_dir():
            raise UsageError(f"{config.images}: no such folder")
        return given
    candidates = [root / split, root / "images" / split, root / "images", root, main.parent]
    folders = [folder for folder in dict.fromkeys(candidates) if folder.is_dir()]
    for image in images:
        for folder in folders:
            if _picture.located(folder, _text(image["file_name"])) is not None:
                return folder
    raise UsageError(
        f"{config.source}: none of the {len(images)} pictures found in "
        f"{', '.join(str(f) for f in folders)}; name their folder with --images"
    )


def _pictures_alike(body: dict[str, Any], images: list[dict[str, Any]]) -> None:
    """Give a file's annotations the picture ids that the instances' file, whose ``images`` these
    are, has for the same file names, since tools number the pictures of each file by themselves.
    Those of a picture that is not among ``images`` get its name in place of an id."""
    stated = {image["id"]: _text(image["file_name"]) for image in images}
    exactly = {name: number for number, name in stated.items()}
    plain = {number: _plain_path(name) for number, name in stated.items()}
    numbers = {name: number for number, name in plain.items()}
    bases: dict[str, list[Any]] = {}
    for number, name in plain.items():
        bases.setdefault(_base(name), []).append(number)
    new: dict[Any, Any] = {}
    for image in body["images"]:
        old, written = image["id"], _text(image["file_name"])
        if not written or stated.get(old) == written:
            continue
        name = _plain_path(written)
        same = bases.get(_base(name), [])
        if written in exactly:
            new[old] = exactly[written]
        elif plain.get(old) == name:
            continue
        elif name in numbers:
            new[old] = numbers[name]
        elif old not in same:
            new[old] = same[0] if len(same) == 1 else written
    for annotation in body["annotations"]:
        annotation["image_id"] = new.get(annotation["image_id"], annotation["image_id"])


def _plain_path(name: Any) -> str:
    """A file name in one spelling, without suffix: copies of a set have others."""
    return _picture.parted(_text(name).replace("\\", "/").casefold().removeprefix("./"))[0]


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _number_alike(keypoints: dict[str, Any], categories: list[dict[str, Any]]) -> None:
    """Give the categories of the keypoints' file the numbers that the instances' file has for their
    names, since tools number each file by itself; ``categories`` are the latter, and get those that
    they lack."""
    numbers = {_text(c.get("name")).casefold(): c["id"] for c in categories}
    new: dict[Any, Any] = {}
    for category in keypoints["categories"]:
        name, old = _text(category.get("name")).casefold(), category["id"]
        new[old] = numbers.get(name, f"keypoints {old}" if old in numbers.values() else old)
        category["id"] = new[old]
        if name not in numbers:
            categories.append(category)
    alone = next(iter(new.values())) if len(new) == 1 else None
    for annotation in keypoints["annotations"]:
        old = annotation["category_id"]
        annotation["category_id"] = alone if old is None else new.get(old, old)


def _is_one(instance: dict[str, Any], person: dict[str, Any]) -> bool:
    """Whether annotations of one id in two files are of one thing: they are of the same picture and
    category, and have the same box to a pixel where both state one."""
    if instance["image_id"] != person["image_id"]:
        return False
    if person["category_id"] not in (None, instance["category_id"]):
        return False
    apart = _apart(instance, person)
    return apart is None or apart <= 1


def _apart(instance: dict[str, Any], person: dict[str, Any]) -> float | None:
    """How far the numbers of two boxes differ at most; None where not both are stated."""
    one, other = _numbers(instance.get("bbox")), _numbers(person.get("bbox"))
    if not one or not other:
        return None
    return max(abs(a - b) for a, b in zip(one, other, strict=False))


def _by_image(bodies: dict[str, dict[str, Any]]) -> dict[Any, list[dict[str, Any]]]:
    """Image id -> its annotations, keypoints merged into the instance of the same id, else of the
    same category and box, since tools number the annotations of each file by themselves."""
    grouped: dict[Any, list[dict[str, Any]]] = {}
    by_id: dict[Any, dict[str, Any]] = {}
    for annotation in bodies["instances"]["annotations"]:
        grouped.setdefault(annotation["image_id"], []).append(annotation)
        if annotation["id"] is not None:
            by_id[annotation["id"]] = annotation
    left: list[dict[str, Any]] = []
    taken: set[int] = set()  # of Python: of the instances that have their keypoints
    for person in bodies.get("person_keypoints", {}).get("annotations", []):
        instance = by_id.get(person.get("id"))
        if instance is not None and _is_one(instance, person):
            instance["keypoints"] = person.get("keypoints")
            taken.add(id(instance))
        else:
            left.append(person)
    of_instances = {image: list(some) for image, some in grouped.items()}
    for person in left:
        found = [
            (apart, number, instance)
            for number, instance in enumerate(of_instances.get(person["image_id"], []))
            if id(instance) not in taken and person["category_id"] == instance["category_id"]
            if (apart := _apart(instance, person)) is not None and apart <= 1
        ]
        if found:
            _, _, instance = min(found, key=lambda one: one[:2])
            instance["keypoints"] = person.get("keypoints")
            taken.add(id(instance))
        else:
            grouped.setdefault(person["image_id"], []).append(person)
    return grouped


def _namesakes(names: list[str]) -> dict[str, int]:
    """How many different names are looked for in one place: of those that lead outside only the
    last part is looked for. Names that lead nowhere else are left out."""
    outside = {name for name in names if _picture.leads_outside(name)}
    at: dict[str, set[str]] = {}
    for name in names:
        place = _picture.last_part(name) if name in outside else name.replace("\\", "/")
        at.setdefault(place.casefold(), set()).add(name.replace("\\", "/"))
    return {n: len(at[_picture.last_part(n).casefold()]) for n in outside}


def _captions_by_image(
    bodies: dict[str, dict[str, Any]],
) -> dict[Any, list[tuple[str, str | None]]]:
    grouped: dict[Any, list[tuple[str, str | None]]] = {}
    for annotation in bodies.get("captions", {}).get("annotations", []):
        text = " ".join(_text(annotation.get("caption")).split())
        if text:
            source = _sources({"sources": {"caption": annotation.get("source")}})
            grouped.setdefault(annotation["image_id"], []).append((text, source.get("caption")))
    return grouped


def _keypoint_categories(bodies: dict[str, dict[str, Any]]) -> frozenset[int]:
    categories = [c for body in bodies.values() for c in body.get("categories") or []]
    wanted = list(records.COCO_KEYPOINTS)
    return frozenset(c["id"] for c in categories if _plain_names(c.get("keypoints")) == wanted)


def _plain_names(names: Any) -> list[str]:
    """Names of keypoints in one spelling: ``Left Eye`` is ``left_eye``."""
    listed = names if isinstance(names, list) else []
    return [str(name).strip().lower().replace(" ", "_").replace("-", "_") for name in listed]


def _license_id(value: Any) -> int | str | None:
    """A licence's id, None where it is none."""
    try:
        return _id(value)
    except TypeError:  # some tools write the whole licence in its place
        return None


def _license(entry: dict[str, Any]) -> str:
    name, url = str(entry.get("name") or ""), str(entry.get("url") or "")
    return f"{name} ({url})" if name and url else name or url


def _size(image: dict[str, Any]) -> tuple[float, float] | None:
    """(width, height) that the file states; None where it states none: 0 or -1 is no size."""
    try:
        width, height = float(image["width"]), float(image["height"])
    except (KeyError, TypeError, ValueError):
        return None
    return (width, height) if 0 < width < math.inf and 0 < height < math.inf else None


def _box(annotation: dict[str, Any], frame: _picture.Frame, mask: Any) -> records.XYXY | None:
    """The box (COCO: x, y, width, height from 0), else the mask's extent."""
    box = annotation.get("bbox")
    if isinstance(box, list) and len(box) == 4:
        numbers = _numbers(box)
        if numbers is None:
            return None
        x, y, w, h = numbers
        return frame.box(x, y, x + w, y + h)
    if mask is None or not mask.any():
        return None
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    height, width = mask.shape
    upright = _picture.Frame(width, height)
    return upright.box(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


def _is_crowd(value: Any) -> bool:
    """Whether ``iscrowd`` says so: 1, which tools also write as text or as true."""
    numbers = _numbers([value])
    return numbers[0] != 0 if numbers else str(value).strip().lower() in ("true", "yes")


def _numbers(values: Any) -> list[float] | None:
    """A list of numbers, which tools also write as text; None for anything else."""
    if not isinstance(values, list):
        return None
    try:
        return [float(v) for v in values]
    except (TypeError, ValueError, OverflowError):
        return None


def _mask(segmentation: Any, frame: _picture.Frame, size: tuple[int, int]) -> Any:
    """Polygons, or run lengths compressed or not -> upright bool mask of the picture's size.

    Raises:
        SampleFailed: the segmentation is malformed.
    """
    import numpy
    from PIL import Image

    width, height = round(frame.width), round(frame.height)
    if isinstance(segmentation, dict):
        if segmentation.get("size") != [height, width]:
            stated = json.dumps(segmentation.get("size"))
            raise SampleFailed(f"its size {stated} is not {[height, width]}")
        try:
            mask = rle.decode(segmentation)
        except OverflowError as error:  # a negative run
            raise SampleFailed(f"a mask is not a COCO run-length code ({error})") from None
    else:
        mask = _polygons(segmentation, width, height)
    mask = frame.mask(mask)
    if mask.shape != (size[1], size[0]):  # annotations of a resized picture
        scaled = Image.fromarray(numpy.ascontiguousarray(mask)).resize(
            size, Image.Resampling.NEAREST
        )
        mask = numpy.asarray(scaled)
    return mask


def _polygons(polygons: Any, width: int, height: int) -> Any:
    from pycocotools import mask as coco

    # pycocotools draws in C whatever it is given: far-off points cost memory, few crash.
    limit = 2 * max(width, height)
    if width * height > MAX_PIXELS:
        raise SampleFailed(f"annotations for {width}x{height} pixels")
    try:
        checked = [[float(v) for v in polygon] for polygon in polygons]
    except (TypeError, ValueError, OverflowError):
        raise SampleFailed("a polygon is not a list of numbers") from None
    for polygon in checked:
        if len(polygon) < 6 or len(polygon) % 2:
            raise SampleFailed(f"a polygon of {len(polygon)} numbers")
        if not all(-limit <= v <= limit for v in polygon):
            raise SampleFailed("a polygon has points far outside the picture")
    return coco.decode(coco.merge(coco.frPyObjects(checked, height, width))).astype(bool)


def _keypoints(values: Any, frame: _picture.Frame) -> records.Keypoints | None:
    """COCO's 51 numbers (x, y, visibility from 0 to 2), None when no point is labelled.

    Raises:
        SampleFailed: they are something else.
    """
    if not values:
        return None
    numbers, wanted = _numbers(values), 3 * len(records.COCO_KEYPOINTS)
    if numbers is None or not all(math.isfinite(v) for v in numbers):
        raise SampleFailed("they are not a list of numbers")
    if len(numbers) != wanted:
        raise SampleFailed(f"{len(numbers)} numbers, expected {wanted}")
    points = []
    for x, y, visibility in zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=True):
        if visibility not in (0, 1, 2):
            raise SampleFailed(f"a visibility of {visibility:g}, expected 0, 1 or 2")
        # An unlabelled point is (0, 0, 0): no place, so it must not be turned with the picture.
        place = frame.point(x, y) if visibility else (0.0, 0.0)
        points.append((*place, visibility))
    if frame.mirrored:  # what the annotator saw as a left hand is a right hand upright
        points = [points[i] for i in _MIRROR]
    return records.Keypoints(points) if any(p[2] for p in points) else None


def _beyond(keypoints: records.Keypoints) -> int:
    """Take the label off points outside the picture; how many these are."""
    inside = [not v or (0 <= x <= 1 and 0 <= y <= 1) for x, y, v in keypoints.points]
    keypoints.points = [
        point if seen else (0.0, 0.0, 0.0)
        for point, seen in zip(keypoints.points, inside, strict=True)
    ]
    return inside.count(False)
