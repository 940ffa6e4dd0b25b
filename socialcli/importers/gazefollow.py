"""GazeFollow (extended): who looks where, with head boxes and every annotator's point."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from socialcli import records, shards
from socialcli.config import MISSING, option
from socialcli.errors import UsageError
from socialcli.importers import Entry, Importer, _picture
from socialcli.pipeline.stage import Noted

SPLITS = ("train", "test")
# Columns of the files, which have no header. The test files lack "inout".
_TRAIN = (
    "path", "id", "body_x", "body_y", "body_w", "body_h", "eye_x", "eye_y", "gaze_x", "gaze_y",
    "head_x1", "head_y1", "head_x2", "head_y2", "inout", "origin", "meta",
)  # fmt: skip
_TEST = tuple(name for name in _TRAIN if name != "inout")
_RESIZED = (
    "some annotated eyes lie far from their head boxes, which count pixels of the original "
    "pictures. Have these pictures been resized?"
)
_TEXT = ("path", "id", "origin", "meta")


@dataclass
class Config:
    source: str = option(MISSING, "Folder gazefollow_extended (train/, test2/ and two .txt in it).")
    split: str = option("all", "Part to import: train, test or all.")
    annotations: str | None = option(
        None, "An annotation file in the same format, when not SPLIT_annotations_release.txt.",
        file=True,
    )  # fmt: skip
    frame: str = option("auto", _picture.FRAME_HELP)
    check_pixels: bool = option(False, "Decode every picture fully, not only its header.")


@dataclass
class Row:
    """One annotation: one annotator's answer for one person."""

    id: str
    body: tuple[float, float, float, float]  # x, y, width, height, normalised
    eye: tuple[float, float]  # normalised
    gaze: tuple[float, float]  # normalised
    head: tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels, ends maybe swapped
    inout: int  # 1 in the picture, 0 outside, -1 invalid
    origin: str


@dataclass
class Work:
    """One picture and its people, each with the rows of its annotators."""

    path: str
    split: str
    people: list[list[Row]] = field(default_factory=list)


class GazefollowImporter(Importer):
    """See `Importer`."""

    VERSION = 2
    config_type = Config

    def files(self, config: Config) -> list[Path]:
        """The file of each split."""
        return [file for file, _ in _files(_picture.source_folder(config.source), config)]

    def entries(self, config: Config) -> Iterator[Entry]:
        """Every annotated picture, in the order of its first row.

        Rows with the same picture and the same eye position are one person seen by several
        annotators (about ten in the test set).

        Raises:
            UsageError: an annotation file is missing or has other columns.
        """
        _picture.check_frame(config.frame)
        root = _picture.source_folder(config.source)
        if config.split not in (*SPLITS, "all"):
            raise UsageError(f"--split {config.split}: expected train, test or all")
        files = _files(root, config)
        there = {split for _, split in files}
        missing = [s for s in SPLITS if s not in there and config.split == "all"]
        self.remarks = [
            f"{root}: {split}_annotations_release.txt is not here; nothing of {split} is imported"
            for split in missing
            if not config.annotations
        ]
        works: dict[str, Work] = {}
        people: dict[tuple[str, tuple[float, float]], list[Row]] = {}
        for file, split in files:
            for path, row in _rows(file):
                work = works.setdefault(
                    path, Work(path, split or path.partition("/")[0].rstrip("2"))
                )
                person = people.get((path, row.eye))
                if person is None:
                    person = people[path, row.eye] = []
                    work.people.append(person)
                person.append(row)
        for key, work in zip(shards.distinct_keys(list(works)), works.values(), strict=True):
            yield Entry(key, work)

    def build(self, config: Config, entry: Entry) -> dict[str, bytes]:
        """The picture, meta, boxes (bodies) and people (head, gaze).

        ``gaze.point`` is the mean of the annotators who said the target is in the picture,
        ``gaze.points`` all of theirs where there are several. ``gaze.vector`` starts at the
        centre of the head box, as Sharingan's does and Eq. 4 of Social Context Feedback (arXiv
        2507.16095) with it; at the annotated eye only where there is no head box. The eyes are in
        ``meta.extra``.
        A target outside the picture has no point and no vector, an invalid annotation no gaze.

        Raises:
            SampleFailed: the picture is missing or none.
        """
        work: Work = entry.work
        root = Path(config.source).expanduser()
        picture = _picture.read(root, work.path, check_pixels=config.check_pixels)
        frame = _picture.frame(picture.facts, None, config.frame)
        width, height = picture.facts.width, picture.facts.height
        boxes = records.Boxes(width, height, model=records.GROUND_TRUTH)
        people = records.People(width, height, models={"gaze": records.GROUND_TRUTH})
        eyes: dict[str, records.Point] = {}
        rows_of: dict[str, list[str]] = {}
        notes: list[dict[str, Any]] = []
        for number, rows in enumerate(work.people, start=1):
            row = rows[0]
            person = records.Person(number)
            x, y, w, h = row.body
            body = frame.normalised_box(x, y, x + w, y + h)
            if body is None:
                notes.append({"person": number, "what": "body", "why": "its box has no area"})
            else:
                person.box = number
                boxes.boxes.append(records.Box(number, body, "person"))
            person.head = _head(row, frame)
            if person.head is None:
                notes.append({"person": number, "what": "head", "why": "its box has no area"})
            eye = frame.normalised(*row.eye) if _inside(*row.eye) else None
            if eye is not None:
                eyes[str(number)] = eye
            person.gaze = _gaze(rows, _centre(person.head) or eye, frame, (width, height))
            if person.gaze is None:
                notes.append({"person": number, "what": "gaze", "why": "marked invalid"})
            rows_of[str(number)] = [r.id for r in rows]
            people.people.append(person)
        extra: dict[str, Any] = {"eyes": eyes, "rows": rows_of, "origin": work.people[0][0].origin}
        if notes:
            extra["dropped"] = notes
        members = {
            **picture.members(split=work.split, extra=extra),
            "boxes.json": records.dump(boxes),
            "people.json": records.dump(people),
        }
        noted = _picture.noted(members, frame.clipped)
        if any(_eye_is_far(rows[0], frame) for rows in work.people):
            return Noted(members, {**getattr(noted, "notes", {}), "with_eyes_off_heads": _RESIZED})
        return noted


def _files(root: Path, config: Config) -> list[tuple[Path, str]]:
    if config.annotations:
        return [
            (Path(config.annotations).expanduser(), "" if config.split == "all" else config.split)
        ]
    splits = SPLITS if config.split == "all" else (config.split,)
    files = [(root / f"{split}_annotations_release.txt", split) for split in splits]
    existing = [(file, split) for file, split in files if file.is_file()]
    if not existing or (config.split != "all" and len(existing) < len(files)):
        raise UsageError(f"{files[0][0]}: no such file; name it with --annotations")
    return existing


def _rows(file: Path) -> Iterator[tuple[str, Row]]:
    import csv

    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            for number, values in enumerate(csv.reader(stream), start=1):
                while len(values) > len(_TEST) and values[-1] == "":  # trailing commas
                    values.pop()
                if not values:
                    continue
                names = {len(_TRAIN): _TRAIN, len(_TEST): _TEST}.get(len(values))
                if names is None:
                    raise UsageError(
                        f"{file}: line {number} has {len(values)} columns, GazeFollow has "
                        f"{len(_TRAIN)} (train) or {len(_TEST)} (test)"
                    )
                try:
                    yield _row(dict(zip(names, values, strict=True)))
                except ValueError as error:
                    raise UsageError(f"{file}: line {number}: {error}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file}: cannot be read ({error})") from None


def _row(text: dict[str, str]) -> tuple[str, Row]:
    number = {name: float(value or "nan") for name, value in text.items() if name not in _TEXT}

    def take(*names: str) -> Any:
        return tuple(number[name] for name in names)

    inout = number.get("inout", 1.0)
    row = Row(
        id=text["id"],
        body=take("body_x", "body_y", "body_w", "body_h"),
        eye=take("eye_x", "eye_y"),
        gaze=take("gaze_x", "gaze_y"),
        head=take("head_x1", "head_y1", "head_x2", "head_y2"),
        inout=int(inout) if math.isfinite(inout) else -1,
        origin=text["origin"],
    )
    return text["path"], row


def _inside(x: float, y: float) -> bool:
    return 0.0 <= x <= 1.0 and 0.0 <= y <= 1.0


def _head(row: Row, frame: _picture.Frame) -> records.XYXY | None:
    """The head box; its ends come in either order and may lie outside the picture."""
    x1, y1, x2, y2 = row.head
    return frame.box(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))


def _eye_is_far(row: Row, frame: _picture.Frame) -> bool:
    """Whether the annotated eye lies more than half a head away from the annotated head box."""
    if not _inside(*row.eye):
        return False
    sides = zip(row.eye, row.head[:2], row.head[2:], (frame.width, frame.height), strict=True)
    for place, one, other, pixels in sides:
        low, high = sorted((one / pixels, other / pixels))
        if 2 * max(low - place, place - high) > high - low > 0:
            return True
    return False


def _centre(box: records.XYXY | None) -> records.Point | None:
    return ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) if box else None


def _gaze(
    rows: list[Row],
    start: records.Point | None,
    frame: _picture.Frame,
    size: tuple[int, int],
) -> records.Gaze | None:
    valid = [row for row in rows if row.inout in (0, 1)]
    if not valid:
        return None
    points = [frame.normalised(*row.gaze) for row in valid if row.inout == 1 and _finite(row.gaze)]
    if not points or 2 * len(points) < len(valid):  # most annotators saw the target outside
        return records.Gaze(inside=False)
    point = (sum(p[0] for p in points) / len(points), sum(p[1] for p in points) / len(points))
    vector = None
    if start is not None:
        dx, dy = (point[0] - start[0]) * size[0], (point[1] - start[1]) * size[1]
        length = math.hypot(dx, dy)
        vector = (dx / length, dy / length) if length > 0 else None
    if not (0 <= point[0] <= 1 and 0 <= point[1] <= 1):  # marked inside, and is not
        return records.Gaze(None, vector, False)
    return records.Gaze(point, vector, True, points=points if len(points) > 1 else None)


def _finite(point: tuple[float, float]) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])
