"""`validate` refused boxes without area, links to nothing, wrong spans: other commands took them.

They held members against their types alone. Stages also left links behind to what they had taken
away, so that the next command would have refused what the one before had written.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import scenes
from typer.testing import CliRunner

from socialcli import records, shards
from socialcli.cli import app
from socialcli.importers import _picture, coco, gazefollow
from socialcli.records.sources import ANNOTATION
from socialcli.shards import Sample
from socialcli.validation import mending
from socialcli.validation.members import check
from socialcli.vision import boxes


def socialcli(*arguments: Any) -> Any:
    return CliRunner().invoke(app.app, [str(a) for a in arguments])


def no_area(body: dict[str, Any]) -> None:
    body["boxes"][0]["xyxy"] = [0.4, 0.2, 0.1, 0.9]


def dangling(body: dict[str, Any]) -> None:
    body["boxes"][0]["entity"] = 9


def wrong_span(body: dict[str, Any]) -> None:
    body["entities"][0]["start"] = 1


def blank(body: dict[str, Any]) -> None:
    body["text"] = " "


CASES = [
    ("boxes.json", no_area, "box 1 [0.4, 0.2, 0.1, 0.9] has no area"),
    ("boxes.json", dangling, "box 1 links to entity 9, which entities.json does not have"),
    ("entities.json", wrong_span, "entity 1 is 'A woman in red', but characters 1 to 14"),
    ("caption.json", blank, "text is blank"),
]


@pytest.mark.parametrize(("suffix", "edit", "why"), CASES)
def test_they_refuse_it_and_say_why(tmp_path, suffix, edit, why):
    body = json.loads(records.dump(scenes.all_records()[suffix]))
    edit(body)
    bad = {suffix: json.dumps(body).encode()}
    source = tmp_path / "a.tar"
    shards.write(source, [(f"k{n}", scenes.members(n, bad if n == 1 else None)) for n in range(3)])
    assert socialcli("validate", source).exit_code == 1
    for command, *more in (["layout", "--max-error-rate", "1"], ["merge"]):
        done = socialcli(command, source, "-o", tmp_path / command, *more)
        assert done.exit_code == 0, done.output
        (line,) = (tmp_path / command / "a.errors.jsonl").read_text().splitlines()
        problem = json.loads(line)
        assert problem["key"] == "k1" and problem["reason"].startswith(f"{suffix}: {why}"), problem
    done = socialcli("export", source, "-o", tmp_path / "o.json", "--max-error-rate", "1")
    assert done.exit_code == 0 and f"k1: {suffix}: {why}" in done.output, done.output


def test_what_no_sample_is_refused_for_is_a_warning(tmp_path):
    shards.write(tmp_path / "a.tar", [("k", scenes.members(0, {"entities.json": None}))])
    done = socialcli("validate", "--json", tmp_path / "a.tar")
    problems = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.exit_code == 0 and problems
    assert {one["severity"] for one in problems} == {"warning"}
    assert all("the sample has no entities.json" in one["problem"] for one in problems)
    assert "no problems, " in done.output and "warnings" in done.output
    done = socialcli("export", tmp_path / "a.tar", "-o", tmp_path / "o.json")
    assert done.exit_code == 0, done.output


# ---------------------------------------------------------------- chains of stages


def errors(members: dict[str, bytes]) -> list[str]:
    return [str(p) for p in check(Sample("k", members)) if not p.warning]


def after(changed: dict[str, Any]) -> dict[str, Any]:
    """The records of the valid sample after a stage has written some of them anew."""
    members = scenes.members()
    new = {suffix: records.dump(record) for suffix, record in changed.items()}
    assert errors({**members, **new})  # what was written before
    members |= mending.settled(Sample("k", members), new)
    assert errors(members) == []
    return {s: records.load(kind, members[s], s) for s, kind in records.MEMBERS.items()
            if s in members}  # fmt: skip


def test_a_new_caption_takes_estimated_entities_and_links_with_it():
    parsed = after({"caption.json": records.Caption("A woman in red walks.")})
    assert [e.text for e in parsed["entities.json"].entities] == ["A woman in red"]
    assert parsed["entities.json"].triples == []
    assert [b.entity for b in parsed["boxes.json"].boxes] == [1, None, None, None]
    assert [m.entity for m in parsed["masks.json"].masks] == [1, None]
    assert [p.entity for p in parsed["people.json"].people] == [1, None]
    assert [s.entity for s in parsed["layout.json"].segments] == [1, None, None]


def test_new_boxes_take_masks_and_links_with_them():
    new = scenes.all_records()["boxes.json"]
    new.boxes = [new.boxes[0], records.Box(8, scenes.DOG, "dog", 2, source="grounding-dino")]
    parsed = after({"boxes.json": new})
    assert [m.box for m in parsed["masks.json"].masks] == [1]
    assert [p.box for p in parsed["people.json"].people] == [1, None]
    (act,) = parsed["interactions.json"].interactions  # it is annotated: only its link goes
    assert (act.subject, act.subject_box, act.object, act.source) == (1, 1, None, ANNOTATION)


def test_annotated_entities_are_not_taken_away():
    entities = scenes.all_records()["entities.json"]
    for one in entities.entities:
        one.source = ANNOTATION
    members = scenes.members(0, {"entities.json": entities})
    new = {"caption.json": records.dump(records.Caption("A lake."))}
    with pytest.raises(
        records.members.SampleFailed, match=r"annotated entity 1 .* another caption"
    ):
        mending.settled(Sample("k", members), new)


def test_what_fits_is_written_as_it_is():
    members = scenes.members()
    new = {"boxes.json": members["boxes.json"]}
    assert mending.settled(Sample("k", members), new) is new


def test_records_that_would_be_refused_are_not_written():
    thin = records.Boxes(120, 80, [records.Box(1, (0.5, 0.5, 0.5000001, 0.9))])
    with pytest.raises(records.members.SampleFailed, match=r"box 1 .* has no area"):
        records.dump(thin)


# ---------------------------------------------------------------- what others annotated


def test_annotations_beyond_the_picture_do_not_lose_the_sample():
    points = [0.5, 0.5, 2] * 16 + [120, 10, 2]
    frame = _picture.Frame(100, 50)
    keypoints = coco._keypoints(points, frame)
    assert coco._beyond(keypoints) == 1 and coco._beyond(keypoints) == 0
    assert keypoints.points[16] == (0.0, 0.0, 0.0) and keypoints.points[0] == (0.005, 0.01, 2.0)
    row = gazefollow.Row("1", (0, 0, 1, 1), (0.2, 0.2), (1.01, 0.2), (10, 5, 30, 15), 1, "coco")
    gaze = gazefollow._gaze([row], (0.2, 0.2), _picture.Frame(1, 1), (100, 50))
    assert gaze == records.Gaze(None, (1.0, 0.0), False)


def test_detections_are_clipped_and_those_outside_left_out():
    assert boxes.in_picture((-0.5, 0.1, 0.5, 2.0)) == (0.0, 0.1, 0.5, 1.0)
    assert boxes.in_picture((1.1, 0.1, 1.5, 0.5)) is None
    assert boxes.in_picture((0.5, 0.1, 0.5000004, 0.5)) is None
