"""`socialcli validate`: schemas agree with dataclasses, and every kind of damage is told."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import scenes
from jsonschema import Draft202012Validator

from socialcli import records, shards
from socialcli.cli.commands import validate
from socialcli.shards import Sample
from socialcli.validation import members as checking
from socialcli.validation.members import check
from socialcli.vision import masks


def problems(changed=None, **kwargs) -> list[str]:
    return [str(p) for p in check(Sample("k", scenes.members(0, changed)), **kwargs)]


def only(changed, *words: str) -> None:
    """Exactly one problem, and it holds all the words."""
    lines = problems(changed)
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0]


def run(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "socialcli", "validate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


# ------------------------------------------------------------- schemas and dataclasses


def test_one_schema_for_each_member_and_no_other():
    files = {f.name for f in checking.SCHEMAS.glob("*.json")}
    assert files == set(records.MEMBERS)
    for suffix in files:
        Draft202012Validator.check_schema(checking.schema(suffix))
        assert checking.schema(suffix)["properties"]["schema"] == {
            "description": "Version of the record schema.",
            "const": records.SCHEMA_VERSION,
        }


def test_smallest_and_fullest_records_fit():
    """A record with defaults only, and one with every field filled, both pass."""
    assert problems() == []
    smallest = {
        "meta.json": records.Meta(scenes.WIDTH, scenes.HEIGHT),
        "caption.json": records.Caption("x"),
        "entities.json": records.Entities(),
        "boxes.json": records.Boxes(scenes.WIDTH, scenes.HEIGHT),
        "masks.json": records.Masks(scenes.WIDTH, scenes.HEIGHT),
        "people.json": records.People(scenes.WIDTH, scenes.HEIGHT, [records.Person(1)]),
        "interactions.json": records.Interactions([records.Interaction(1, "hold")]),
        "layout.json": records.Layout(
            scenes.WIDTH,
            scenes.HEIGHT,
            "x",
            [records.Segment(1, "#000000", "y", masks.encode(numpy.ones((80, 120))))],
        ),
    }
    assert problems(smallest) == []


def test_later_fields_are_welcome():
    body = json.loads(records.dump(scenes.all_records()["boxes.json"]))
    body["boxes"][0]["colour"] = "red"
    body["new"] = {}
    assert problems({"boxes.json": json.dumps(body).encode()}) == []


# ------------------------------------------------------------- one damage, one problem


def edited(suffix: str, edit) -> dict:
    """The sample's member ``suffix`` after ``edit(body)`` on its JSON."""
    body = json.loads(records.dump(scenes.all_records()[suffix]))
    edit(body)
    return {suffix: json.dumps(body).encode()}


def setting(*path):
    """An edit that sets the value at a path: setting("boxes", 0, "id", 7)."""
    *steps, last, value = path

    def edit(body):
        for step in steps:
            body = body[step]
        body[last] = value

    return edit


def removing(*path):
    *steps, last = path

    def edit(body):
        for step in steps:
            body = body[step]
        del body[last]

    return edit


def overlapping(body):
    body["segments"][2]["rle"] = masks.encode(numpy.ones((80, 120)))


def with_a_hole(body):
    del body["segments"][1]


def empty(body):
    body["segments"][1]["rle"] = masks.encode(numpy.zeros((80, 120)))


def strayed(body):
    for point in body["segments"][0]["keypoints"]["points"]:
        point[0] = 0.9


DAMAGE = [
    ("layout.json", overlapping, ["segments 1 and 3 overlap"]),
    ("layout.json", with_a_hole, ["belong to no segment", "--fill"]),
    ("layout.json", empty, ["segment 2 has no pixel"]),
    ("layout.json", strayed, ["skeleton of segment 1 stands outside"]),
    ("layout.json", setting("width", 121), ["segment 1 has size [80, 120]"]),
    ("layout.json", setting("segments", 1, "colour", "#e6194b"), ["have one colour, #e6194b"]),
    ("layout.json", setting("segments", 1, "colour", "red"), ["segments[1].colour"]),
    ("layout.json", setting("segments", 1, "prompt", " "), ["segment 2 (#3cb44b) has no prompt"]),
    ("layout.json", setting("segments", 1, "entity", 9), ["segment 2", "entity 9"]),
    ("meta.json", setting("width", 121), ["meta.json", "121x80", "120x80"]),
    ("meta.json", setting("orientation", 6), ["orientation 6", "1"]),
    ("meta.json", setting("orientation", 9), ["orientation", "9"]),
    ("meta.json", removing("width"), ["lacks width"]),
    ("meta.json", setting("schema", 2), ["newer", "upgrade"]),
    ("meta.json", removing("schema"), ["lacks schema"]),
    ("entities.json", setting("entities", 0, "start", 1), ["entity 1", "caption"]),
    ("entities.json", setting("entities", 0, "text", "A woman in blue"), ["in blue", "in red"]),
    ("entities.json", setting("entities", 0, "end", 0), ["entities[0].end"]),
    ("entities.json", setting("entities", 0, "kind", "robot"), ["entities[0].kind", "robot"]),
    ("entities.json", setting("triples", 0, "object", 9), ["triples[0].object", "entity 9"]),
    ("entities.json", setting("triples", 0, "subject", None), ["triples[0].subject", "integer"]),
    ("boxes.json", setting("boxes", 0, "xyxy", [0.4, 0.2, 0.1, 0.9]), ["box 1", "no area"]),
    ("boxes.json", setting("boxes", 0, "xyxy", [0.1, 0.2, 1.4, 0.9]), ["box 1", "leaves"]),
    ("boxes.json", setting("boxes", 0, "xyxy", [0.1, 0.2, 0.4]), ["boxes[0].xyxy", "3 items"]),
    ("boxes.json", setting("boxes", 3, "entity", 8), ["box 7", "entity 8"]),
    ("boxes.json", setting("boxes", 0, "score", 1.5), ["boxes[0].score"]),
    ("boxes.json", setting("boxes", 0, "id", 0), ["boxes[0].id"]),
    ("boxes.json", setting("height", 79), ["120x79", "120x80"]),
    ("masks.json", setting("masks", 0, "box", 9), ["mask 1", "box 9"]),
    ("masks.json", setting("masks", 0, "entity", 3), ["mask 1", "entity 3", "entity 1"]),
    ("masks.json", setting("masks", 1, "id", 1), ["id 1 is there twice"]),
    ("masks.json", setting("masks", 0, "rle", "size", [120, 80]), ["size [120, 80]", "[80, 120]"]),
    ("masks.json", setting("masks", 0, "rle", "counts", "5"), ["mask 1", "add up"]),
    ("masks.json", setting("masks", 0, "rle", "counts", "\u20ac"), ["mask 1", "run-length"]),
    ("people.json", setting("people", 0, "box", 9), ["person 1", "box 9"]),
    ("people.json", setting("people", 1, "entity", 9), ["person 2", "entity 9"]),
    ("people.json", setting("people", 1, "head", [0.9, 0, 0.8, 1]), ["person 2: head", "no area"]),
    ("people.json", setting("people", 0, "face", "xyxy", [-0.1, 0, 0.8, 1]), ["face box"]),
    ("people.json", setting("people", 0, "gaze", "vector", [0.8, 0.7]), ["gaze vector", "1.06"]),
    ("people.json", setting("people", 0, "gaze", "point", [1.2, 0.7]), ["gaze point"]),
    ("people.json", setting("people", 0, "keypoints", "points", 3, [3.0, 0.1, 2]), ["keypoint 3"]),
    ("people.json", setting("people", 0, "keypoints", "points", 3, [0.3, 0.1, 5]), ["points[3]"]),
    ("people.json", removing("people", 0, "keypoints", "points", 3), ["16 keypoints"]),
    ("people.json", removing("people", 0, "keypoints", "scores", 3), ["16 scores"]),
    ("interactions.json", setting("interactions", 0, "subject", 9), ["subject", "person 9"]),
    ("interactions.json", setting("interactions", 0, "object", 9), ["object", "box 9"]),
    ("interactions.json", setting("interactions", 0, "object_person", 9), ["person 9"]),
    ("interactions.json", setting("interactions", 0, "verb", ""), ["verb", "empty"]),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "edit", "words"), DAMAGE)
def test_damage_is_told_once(suffix, edit, words):
    changed = edited(suffix, edit)
    lines = problems(changed)
    matching = [p for p in lines if all(w in p for w in words)]
    # Sixteen keypoints have seventeen scores, and the other way round: two problems for one edit.
    assert matching and len(lines) <= 2, lines
    if "keypoints" not in " ".join(words) and "scores" not in " ".join(words):
        assert len(lines) == 1, lines
    assert lines[0].startswith(f"{suffix}: ")


def test_a_box_has_one_mask():
    record = scenes.all_records()["masks.json"]
    record.masks[1].box = record.masks[1].entity = 1
    only({"masks.json": scenes.raw(record)}, "mask 2", "box 1 has another mask")


def test_ids_may_not_repeat():
    def twice(body):
        body["boxes"][3]["id"] = 2

    only(edited("boxes.json", twice), "boxes.json", "id 2 is there twice")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"schema":1,"text":"x"', ["not valid JSON"]),
        (b'{"schema":1,"text":NaN}', ["caption.json", "not valid JSON", "NaN"]),
        (b"[]", ["not object"]),
        (b'{"schema":1,"text":3}', ["text is 3, not string"]),
        (b"[" * 100_000, ["is array, not object"]),
        (b'{"schema":1,"text":' + b"[" * 65 + b"]" * 65 + b"}", ["deeper than the limit of 64"]),
        (b'{"schema":1,"text":"\\ud800"}', ["not valid JSON", "surrogate"]),
        (b'{"schema":0,"text":"x"}', ["schema is 0, expected 1"]),
        (b"\xff\xfe{", ["not valid JSON"]),
    ],
)
def test_bytes_that_are_no_record(data, words):
    lines = problems({"caption.json": data})
    assert len(lines) == 1, lines
    assert all(word in lines[0] for word in words)


def test_infinite_numbers_are_refused():
    data = records.dump(scenes.all_records()["boxes.json"]).replace(b"0.91", b"1e999")
    only({"boxes.json": data}, "boxes.json", "boxes[0].score is 1e999, not a finite number")


def test_links_into_a_broken_member_are_not_told_twice():
    only({"boxes.json": b"{}x"}, "boxes.json")


def test_members_that_links_need():
    lines = problems({"boxes.json": None})
    assert lines and all("the sample has no boxes.json" in p for p in lines)
    assert all("a.tar+b.tar" in p for p in lines)
    # A sidecar has no picture; what it links to lies elsewhere.
    sidecar = {"masks.json": records.dump(scenes.all_records()["masks.json"])}
    assert check(Sample("k", sidecar)) == []


def npy(array, **kwargs) -> bytes:
    out = io.BytesIO()
    numpy.save(out, array, **kwargs)
    return out.getvalue()


def test_identity_is_never_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    pickled = npy(numpy.array([Evil()], dtype=object), allow_pickle=True)
    only({records.IDENTITY: pickled}, "identity.npy", "Python objects")
    assert not (tmp_path / "pwned").exists()


def test_identity_rows_refer_to_people():
    good = numpy.ones((1, 4), numpy.float32)
    for array, word in [
        (records.identity_array([5], good), "person 5"),
        (records.identity_array([1], good * numpy.nan), "not finite"),
        (records.identity_array([1], good * 0), "zero"),
        (records.identity_array([1, 1], numpy.ones((2, 4))), "one person"),
        (numpy.ones(3), "rows of person"),
        (numpy.array([(1, "x")], [("person", "<i4"), ("embedding", "<U4", (2,))]), "rows of"),
    ]:
        only({records.IDENTITY: npy(array)}, "identity.npy", word)


def test_pictures():
    only({"jpg": b""}, "picture", "zero bytes")
    only({"jpg": b"<html>not found</html>"}, "picture", "HTML")
    truncated = scenes.picture()[:-200]
    assert problems({"jpg": truncated}) == []  # its header is good
    lines = problems({"jpg": truncated}, pixels=True)
    assert len(lines) == 1 and "cannot be decoded" in lines[0]


# ------------------------------------------------------------- shards


def test_command(tmp_path):
    path = tmp_path / "a.tar"
    broken = edited("boxes.json", setting("boxes", 0, "xyxy", [0.4, 0.2, 0.1, 0.9]))
    shards.write(path, [(f"k{i}", scenes.members(i, broken if i == 1 else None)) for i in range(3)])
    done = run(path)
    assert done.returncode == 1
    expected = f"{path}: k1: boxes.json: box 1 [0.4, 0.2, 0.1, 0.9] has no area: boxes are "
    assert done.stdout == expected + "left, top, right, bottom\n"
    assert "3 samples in 1 shards: 1 problems in 1 samples" in done.stderr
    body = json.loads(run("--json", path).stdout)
    assert (body["shard"], body["key"], body["member"]) == (str(path), "k1", "boxes.json")
    done = run("--limit", "1", path)
    assert (done.returncode, done.stdout) == (0, "")


def found_in(location) -> tuple[list[tuple[str, str]], validate.Totals]:
    totals = validate.Totals()
    lines = [(key, str(problem)) for key, problem in validate.check_shard(str(location), totals)]
    return lines, totals


def test_a_damaged_shard(tmp_path):
    path = tmp_path / "a.tar"
    same = [("k0", scenes.members()), ("k1", scenes.members(1)), ("k0", scenes.members(2))]
    shards.write(path, same)
    lines, _ = found_in(path)
    assert [key for key, _ in lines] == ["k0"]
    assert "duplicate key" in lines[0][1]
    path.write_bytes(path.read_bytes()[:-5000])
    lines, totals = found_in(path)
    assert any("truncated" in text for _, text in lines)
    assert totals.samples == 3
    path.write_bytes(b"this is no archive" * 100)
    lines, totals = found_in(path)
    assert lines and totals.samples == 0
    lines, _ = found_in(tmp_path / "none.tar")
    assert "No such file" in lines[0][1]


def test_sidecars_and_missing_pictures(tmp_path):
    whole = scenes.members()
    pictures = {k: v for k, v in whole.items() if k in ("jpg", "meta.json")}
    others = {k: v for k, v in whole.items() if k not in pictures}
    shards.write(tmp_path / "images.tar", [("a", pictures), ("b", pictures)])
    shards.write(tmp_path / "side.tar", [("a", others), ("b", others)])
    assert found_in(tmp_path / "side.tar")[0] == []
    assert found_in(f"{tmp_path}/images.tar+{tmp_path}/side.tar")[0] == []
    shards.write(tmp_path / "mixed.tar", [("a", others), ("b", whole)])
    lines, totals = found_in(tmp_path / "mixed.tar")
    assert [(key, text.split(":")[0]) for key, text in lines] == [("a", "picture")]
    assert totals.bad_samples == 1


def test_stats_beside_the_shard(tmp_path):
    path = tmp_path / "a.tar"
    shards.write(path, [("a", scenes.members())])
    counts = {"total": 1, "ok": 1, "filtered": 0, "failed": 0}
    stats = {"output": {"bytes": path.stat().st_size}, "counts": counts}
    (tmp_path / "a.stats.json").write_text(json.dumps(stats))
    assert found_in(path)[0] == []
    stats["output"]["bytes"] += 512
    counts["total"] = 2
    (tmp_path / "a.stats.json").write_text(json.dumps(stats))
    texts = [text for _, text in found_in(path)[0]]
    assert len(texts) == 2 and "bytes" in texts[0] and "total 2" in texts[1]


def test_hostile_keys_cannot_write_on_the_terminal(tmp_path):
    shards.write(tmp_path / "a.tar", [("k\x1b[31m\nfake: line", {"jpg": b"x"})])
    lines = run(tmp_path / "a.tar").stdout.splitlines()
    assert len(lines) == 1 and "\x1b" not in lines[0]


def test_the_examples_in_the_documentation_are_a_valid_sample():
    page = (Path(__file__).parents[2] / "docs" / "records.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (\S+)\n\n```json\n(.*?)```", page, re.M | re.S)
    assert [name for name, _ in sections] == list(records.MEMBERS)
    members = {name: text.encode() for name, text in sections}
    assert check(Sample("k", {"jpg": scenes.picture(), **members})) == []
    for name, kind in records.MEMBERS.items():
        body = json.loads(members[name])
        shown = set(body) - {"schema"}
        assert shown == {f.name for f in dataclasses.fields(kind)}, name
