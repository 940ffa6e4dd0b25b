"""`inspect`, `export` and `compare` did not say what was annotated and what estimated: an exported
estimate came back from `import coco` as an annotation, and a comparison counted what the stages had
only passed on as found.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import picture

from socialcli import records, shards
from socialcli.evaluation import agreement
from socialcli.exporters import coco
from socialcli.importers.coco import CocoImporter, Config
from socialcli.records import (
    Box,
    Boxes,
    Caption,
    Face,
    Gaze,
    Keypoints,
    Mask,
    Masks,
    People,
    Person,
    sources,
)
from socialcli.reports import gather, table
from socialcli.reports.page import Report, page
from socialcli.shards import Sample
from socialcli.vision import masks

BOXES = Boxes(
    16, 12,
    [Box(1, (0.0, 0.0, 0.5, 1.0), "person", source="annotation"),
     Box(2, (0.5, 0.5, 1.0, 1.0), "dog", score=0.5, source="a-detector")],
)  # fmt: skip
POSE = Keypoints([(0.2, 0.2, 2)] * 17, source="a-pose")
PEOPLE = People(
    16, 12,
    [Person(1, box=1, keypoints=POSE, source="annotation",
            face=Face((0.1, 0.1, 0.3, 0.3), source="annotation"),
            gaze=Gaze(point=(0.7, 0.7), source="a-gaze")),
     Person(2, face=Face((0.6, 0.1, 0.8, 0.3), source="a-face"), source="a-face")],
)  # fmt: skip


def mask() -> Masks:
    import numpy

    drawn = numpy.zeros((12, 16), bool)
    drawn[2:8, 2:6] = True
    return Masks(16, 12, [Mask(1, masks.encode(drawn), box=1, source="a-segmenter")])


def members() -> dict[str, bytes]:
    by_suffix: dict[str, Any] = {
        "boxes.json": BOXES, "people.json": PEOPLE, "masks.json": mask(),
        "caption.json": Caption("A person and a dog.", source="a-captioner"),
    }  # fmt: skip
    return {"jpg": picture(), **{name: records.dump(record) for name, record in by_suffix.items()}}


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    shards.write(tmp_path / "in.tar", [("a", members()), ("b", members())])
    return tmp_path / "in.tar"


def test_inspect_counts_whose_things_are(shard: Path) -> None:
    looked = gather.look([str(shard)], 0)
    assert "boxes by source: 2 a-detector, 2 annotation" in table.text(looked, False).replace(
        "2 annotation, 2 a-detector", "2 a-detector, 2 annotation"
    )
    counted = table.as_json(looked)["sources"]
    assert counted["poses"] == {"a-pose": 2} and counted["captions"] == {"a-captioner": 2}
    assert counted["faces"] == {"annotation": 2, "a-face": 2}
    html = "".join(
        page(Report("t", looked.statistics, looked.shards, [], 0, "", 0, 0, "", [], [], []))
    )
    assert '<tr><td>gazes</td><td>a-gaze</td><td class="n">2</td></tr>' in html


def test_an_exported_estimate_comes_back_as_one(tmp_path: Path) -> None:
    numbers = coco.Numbers()
    converted = coco.convert(Sample("a", members()), numbers)
    body = {
        "images": [converted.image], "annotations": converted.instances,
        "categories": coco._categories("instances", numbers),
    }  # fmt: skip
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / converted.image["file_name"]).write_bytes(picture())
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(body))
    edited = {**body, "annotations": converted.captions}
    (tmp_path / "annotations" / "captions_val.json").write_text(json.dumps(edited))
    importer, config = CocoImporter(), Config(source=str(tmp_path))
    [entry] = importer.entries(config)
    back = Sample("a", importer.build(config, entry))
    boxes = back.record(Boxes).boxes
    assert [(b.label, b.source) for b in boxes] == [("person", "annotation"), ("dog", "a-detector")]
    assert [m.source for m in back.record(Masks).masks] == ["a-segmenter"]
    [person] = back.record(People).people
    assert person.source == "annotation" and person.keypoints.source == "a-pose"
    assert back.record(Caption).source == "a-captioner"


def compared(estimate: str, truth: str) -> agreement.Agreement:
    sample = Sample("a", members())
    kinds = {kind: name for name, kind in records.MEMBERS.items()}

    def reader(kind: type) -> Any:
        return sample.record(kind) if sample.has(kinds[kind]) else None

    agreed = agreement.Agreement(estimate, truth)
    agreed.add(reader, reader)
    return agreed


def test_a_comparison_can_leave_annotations_out() -> None:
    same = compared("any", "any")
    assert same.counts["boxes"] == {"found": 2, "wanted": 2, "right": 2, "named": 2}
    assert same.sources["found"]["boxes"] == {"annotation": 1, "a-detector": 1}
    against = compared("estimate", "annotation")
    assert against.counts["boxes"] == {"found": 1, "wanted": 1, "right": 0, "named": 0}
    assert against.counts["faces"] == {"found": 1, "wanted": 1, "right": 0}
    assert compared("estimate", "estimate").counts["keypoints"] == {"wanted": 17, "right": 17}


def test_what_is_left_of_a_person() -> None:
    annotated, estimated = (sources.only(PEOPLE, annotated=which) for which in (True, False))
    assert [(p.id, p.face is not None, p.gaze is not None) for p in annotated.people] == [
        (1, True, False)
    ]
    assert [(p.id, p.face is not None, p.gaze is not None) for p in estimated.people] == [
        (1, False, True), (2, True, False),
    ]  # fmt: skip
    nobody = replace(PEOPLE, people=[replace(PEOPLE.people[1])])
    assert sources.only(nobody, annotated=True).people == []


def test_an_unknown_source_is_told_with_the_one_that_is_meant(shard: Path, run_cli: Any) -> None:
    done = run_cli("compare", shard, shard, "--found-source", "estimates", code=2)
    assert b"estimate" in done.stderr.splitlines()[-1]
