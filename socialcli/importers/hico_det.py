"""HICO-DET: anno_bbox.mat or instances JSON, with people, objects and what they do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from socialcli import records, shards
from socialcli.config import MISSING, option
from socialcli.errors import SampleFiltered, UsageError
from socialcli.importers import Entry, Importer, _picture
from socialcli.records.hico import classes

SPLITS = ("train", "test")
PERSON = "person"


@dataclass
class Config:
    source: str = option(MISSING, "Folder hico_20160224_det (anno_bbox.mat and images/ in it).")
    split: str = option("all", "Part to import: train, test or all.")
    annotations: str | None = option(
        None,
        "anno_bbox.mat or instances_SPLIT2015.json (either object order), when not in the folder.",
        file=True,
    )
    images: str | None = option(None, "Folder that holds train2015/ and test2015/.")
    empty: bool = option(True, "Keep pictures without any annotated pair.")
    frame: str = option("auto", _picture.FRAME_HELP)
    check_pixels: bool = option(False, "Decode every picture fully, not only its header.")


class Pair(NamedTuple):
    """One annotated pair: class number, the person's and the object's box as the file has them."""

    hoi: int
    human: tuple[float, float, float, float]  # x1, y1, x2, y2, counted from 1
    object: tuple[float, float, float, float]


@dataclass
class Work:
    """One picture with its annotated pairs."""

    path: str  # below the pictures' folder: train2015/HICO_train2015_00000001.jpg
    split: str
    size: tuple[int, int]  # width, height as annotated
    pairs: list[Pair] = field(default_factory=list)
    invisible: list[int] = field(default_factory=list)  # classes present without boxes
    loose: int = 0  # pairs whose connection points at no box


class HicoDetImporter(Importer):
    """See `Importer`."""

    VERSION = 2
    config_type = Config

    def files(self, config: Config) -> list[Path]:
        """anno_bbox.mat, or the JSON of each split."""
        root = _picture.source_folder(config.source)
        return [file for file, _ in _annotation_files(root, _splits(config), config)]

    def entries(self, config: Config) -> Iterator[Entry]:
        """Every picture of the chosen split(s), in the annotation file's order.

        Raises:
            UsageError: no annotations, a file of another kind, or classes that are not HICO-DET's.
        """
        _picture.check_frame(config.frame)
        root = _picture.source_folder(config.source)
        splits = _splits(config)
        _images(config)
        works: list[Work] = []
        for file, of in _annotation_files(root, splits, config):
            if file.suffix == ".mat":
                works += _from_mat(file, of)
            else:
                listed = _from_json(file)
                wanted = [work for work in listed if work.split in ("", *of)]
                if listed and not wanted:
                    raise UsageError(
                        f"{file}: none of its {len(listed):,} pictures is of --split {config.split}"
                    )
                works += wanted
        names = [Path(work.path).name for work in works]
        for key, work in zip(shards.distinct_keys(names), works, strict=True):
            yield Entry(key, work)

    def build(self, config: Config, entry: Entry) -> dict[str, bytes]:
        """The picture, meta, boxes, people and interactions.

        Equal boxes of one label become one box, so a person in three pairs is one person. Boxes
        that differ by a pixel stay apart, as annotated.

        Raises:
            SampleFailed: the picture is missing or none, or is not the annotated one.
            SampleFiltered: it has no annotated pair and ``empty`` is off.
        """
        work: Work = entry.work
        if not work.pairs and not config.empty:
            raise SampleFiltered("no annotated pair")
        picture = _picture.read(_images(config), work.path, check_pixels=config.check_pixels)
        frame = _picture.frame(picture.facts, work.size, config.frame)
        width, height = picture.facts.width, picture.facts.height
        boxes = records.Boxes(width, height, model=records.GROUND_TRUTH)
        people = records.People(width, height)
        interactions = records.Interactions(model=records.GROUND_TRUTH)
        ids: dict[tuple[str, records.XYXY], int] = {}
        persons: dict[int, int] = {}  # box id -> person id

        def box_id(label: str, box: tuple[float, float, float, float]) -> int | None:
            # Pixels are counted from 1 and both ends belong to the box: (1, 1) is the corner (0,
            # 0).
            xyxy = frame.box(box[0] - 1, box[1] - 1, box[2], box[3])
            if xyxy is None:
                return None
            number = ids.get((label, xyxy))
            if number is None:
                number = ids[label, xyxy] = len(ids) + 1
                boxes.boxes.append(records.Box(number, xyxy, label))
                if label == PERSON:
                    persons[number] = len(persons) + 1
                    people.people.append(records.Person(persons[number], box=number))
            return number

        dropped: list[dict[str, Any]] = []
        for number, pair in enumerate(work.pairs, start=1):
            known = classes()[pair.hoi - 1]
            human, thing = box_id(PERSON, pair.human), box_id(known.object, pair.object)
            if human is None or thing is None:
                dropped.append({"pair": number, "hoi": pair.hoi, "why": "a box has no area"})
                continue
            interaction = records.Interaction(
                number,
                known.verb,
                subject=persons[human],
                subject_box=human,
                object=thing,
                object_person=persons.get(thing),
                object_label=known.object,
                hoi=pair.hoi,
            )
            interactions.interactions.append(interaction)
        extra: dict[str, Any] = {}
        if work.invisible:
            extra["invisible_hoi"] = work.invisible
        if work.loose:
            extra["pairs_without_boxes"] = work.loose
        if dropped:
            extra["dropped"] = dropped
        if work.size not in (picture.facts.stored_size, (width, height)):
            extra["annotated_size"] = list(work.size)
        members = {
            **picture.members(split=work.split, extra=extra),
            "boxes.json": records.dump(boxes),
            "people.json": records.dump(people),
            "interactions.json": records.dump(interactions),
        }
        return _picture.noted(members, frame.clipped)


def _splits(config: Config) -> tuple[str, ...]:
    if config.split not in (*SPLITS, "all"):
        raise UsageError(f"--split {config.split}: expected train, test or all")
    return SPLITS if config.split == "all" else (config.split,)


def _images(config: Config) -> Path:
    if config.images:
        return _picture.source_folder(config.images)
    folder = Path(config.source).expanduser() / "images"
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; name the one with train2015/ with --images")
    return folder


def _annotation_files(
    root: Path, splits: tuple[str, ...], config: Config
) -> list[tuple[Path, tuple[str, ...]]]:
    """Annotation files, each with the splits to take from it."""
    if config.annotations:
        file = Path(config.annotations).expanduser()
        if not file.is_file():
            raise UsageError(f"{config.annotations}: no such file")
        return [(file, splits)]
    if (root / "anno_bbox.mat").is_file():
        return [(root / "anno_bbox.mat", splits)]
    files: list[tuple[Path, tuple[str, ...]]] = []
    for split in splits:
        name = f"instances_{split}2015.json"
        here = [f for f in (root / name, root / "annotations" / name) if f.is_file()]
        if not here:
            raise UsageError(f"{root}: neither anno_bbox.mat nor {name} is here (--annotations)")
        files.append((here[0], (split,)))
    return files


def _split_of(filename: str) -> str:
    """HICO_train2015_00000001.jpg -> train."""
    return next((split for split in SPLITS if f"{split}2015" in filename), "")


def _from_json(file: Path) -> list[Work]:
    """`instances_{train,test}2015.json`, in HICO's own object order or in COCO's.

    The file numbers its objects by its own list, which exists in two orders. The class number
    does not depend on it, so it alone says what the object is; the file's list is only checked.
    """
    try:
        body = json.loads(file.read_bytes())
        for hoi, thing, verb in body["correspondence"]:
            stated = (_words(body["verbs"][verb]), _words(body["objects"][thing]))
            if stated != classes()[hoi][1:3]:
                raise UsageError(
                    f"{file}: its class {hoi + 1} is {' '.join(stated)!r}, HICO-DET's is "
                    f"{' '.join(classes()[hoi][1:3])!r}: objects and correspondence do not match"
                )
        works = []
        columns = (body["filenames"], body["size"], body["annotation"])
        for name, size, annotation in zip(*columns, strict=True):
            split = _split_of(name)
            shown = (int(size[0]), int(size[1]))
            work = Work(f"{split}2015/{name}" if split else name, split, shown)
            lists = (annotation["hoi"], annotation["boxes_h"], annotation["boxes_o"])
            for hoi, human, thing in zip(*lists, strict=True):
                work.pairs.append(Pair(_number(hoi + 1), _xyxy(human), _xyxy(thing)))
            works.append(work)
        return works
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror or error})") from None
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{file}: not HICO-DET's instances JSON ({type(error).__name__}: {error})"
        ) from None


def _words(name: str) -> str:
    return str(name).replace("_", " ")


def _number(hoi: int) -> int:
    if not 1 <= int(hoi) <= len(classes()):
        raise ValueError(f"class number {hoi} is not in 1 to {len(classes())}")
    return int(hoi)


def _xyxy(box: Any) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(v) for v in box)
    return x1, y1, x2, y2


def _from_mat(file: Path, splits: tuple[str, ...]) -> list[Work]:
    """The official ``anno_bbox.mat``: structs ``bbox_train`` and ``bbox_test``.

    MATLAB has no list of one: a single hoi, box or connection arrives as itself, none as an empty
    array. Boxes are structs, read by field name: their fields stand in the order x1, x2, y1, y2.
    """
    from scipy.io import loadmat

    try:
        body = loadmat(
            str(file),
            squeeze_me=True,
            struct_as_record=False,
            variable_names=[f"bbox_{split}" for split in splits] + ["list_action"],
        )
        _check_actions(file, _listed(body.get("list_action")))
        works = []
        for split in splits:
            for image in _listed(body[f"bbox_{split}"]):
                works.append(_from_struct(image, split))
        return works
    except NotImplementedError:
        raise UsageError(f"{file}: MATLAB 7.3 (HDF5); save it with '-v7' or use the JSON") from None
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror or error})") from None
    except UsageError:
        raise
    except Exception as error:  # loadmat raises whatever a damaged file makes it stumble over
        raise UsageError(
            f"{file}: not HICO-DET's anno_bbox.mat ({type(error).__name__}: {error})"
        ) from None


def _check_actions(file: Path, actions: list[Any]) -> None:
    for action, known in zip(actions, classes(), strict=False):
        stated = (_words(action.vname), _words(action.nname))
        if stated != known[1:3]:
            raise UsageError(
                f"{file}: its class {known.number} is {' '.join(stated)!r}, HICO-DET's is "
                f"{' '.join(known[1:3])!r}"
            )


def _listed(value: Any) -> list[Any]:
    """What `loadmat` made of a struct array: none, one or many."""
    import numpy

    if value is None:
        return []
    return list(value.flat) if isinstance(value, numpy.ndarray) else [value]


def _from_struct(image: Any, split: str) -> Work:
    import numpy

    size = (int(image.size.width), int(image.size.height))
    work = Work(f"{split}2015/{image.filename}", split, size)
    for hoi in _listed(image.hoi):
        number = _number(hoi.id)
        # Squeezing made [[1, 1]] into [1, 1] and left nothing of an empty one.
        links = numpy.asarray(hoi.connection, dtype=float).reshape(-1, 2)
        if numpy.any(numpy.asarray(hoi.invis) == 1) or not len(links):
            work.invisible.append(number)
            continue
        humans, things = _listed(hoi.bboxhuman), _listed(hoi.bboxobject)
        for human, thing in links.astype(int).tolist():
            if 1 <= human <= len(humans) and 1 <= thing <= len(things):
                pair = Pair(number, _struct_box(humans[human - 1]), _struct_box(things[thing - 1]))
                work.pairs.append(pair)
            else:
                work.loose += 1
    return work


def _struct_box(box: Any) -> tuple[float, float, float, float]:
    return float(box.x1), float(box.y1), float(box.x2), float(box.y2)
