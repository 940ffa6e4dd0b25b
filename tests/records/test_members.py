"""The door that members come in by: what it lets in is what the JSON Schemas say, and no more."""

from __future__ import annotations

import copy
import json
import random
import struct

import msgspec
import numpy
import pytest
import scenes
from jsonschema import Draft202012Validator

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.records import limits, members
from socialcli.records.consistency import free_id, inconsistencies
from socialcli.validation.members import schema
from socialcli.vision import images

# ------------------------------------------------------------- types and schemas

_NOTES = {"description", "title", "default", "$schema", "$id", "$defs"}


def shape(body: dict, defs: dict) -> dict:
    """A JSON Schema in one spelling: references resolved, nulls apart, tuples as lists of items."""
    if "$ref" in body:
        return shape(defs[body["$ref"].rpartition("/")[2]], defs)
    if "anyOf" in body:
        (rest,) = [part for part in body["anyOf"] if part.get("type") != "null"]
        return {**shape(rest, defs), "null": True}
    reduced = {k: v for k, v in body.items() if k not in _NOTES}
    if isinstance(reduced.get("type"), list):
        reduced["type"], null = reduced["type"]
        assert null == "null"
        reduced["null"] = True
    if "pattern" in reduced:
        reduced["enum"] = reduced.pop("pattern").removeprefix("^(").removesuffix(")$").split("|")
    if "properties" in reduced:
        named = reduced["properties"]
        reduced["properties"] = {k: shape(v, defs) for k, v in named.items() if k != "schema"}
        reduced["required"] = sorted(set(reduced.get("required", [])) - {"schema"})
    if isinstance(reduced.get("additionalProperties"), dict):
        reduced["additionalProperties"] = shape(reduced["additionalProperties"], defs)
    if "prefixItems" in reduced:
        reduced["prefixItems"] = [shape(part, defs) for part in reduced["prefixItems"]]
        reduced["items"] = False
    elif isinstance(reduced.get("items"), dict):
        reduced["items"] = shape(reduced["items"], defs)
        if reduced.get("minItems") == reduced.get("maxItems") and "maxItems" in reduced:
            reduced["prefixItems"] = [reduced["items"]] * reduced["maxItems"]
            reduced["items"] = False
    return reduced


@pytest.mark.parametrize("suffix", records.MEMBERS)
def test_the_schema_files_say_what_the_types_say(suffix):
    """Fields, what is required, and every limit: none in one that the other lacks."""
    stated = msgspec.json.schema(members.with_limits(records.MEMBERS[suffix]))
    (own,) = [shape(stated, stated["$defs"])]
    written = schema(suffix)
    assert shape(written, written.get("$defs", {})) == own
    assert written["properties"]["schema"]["const"] == records.SCHEMA_VERSION
    assert "schema" in written["required"]


def test_pictures_and_records_have_one_limit():
    assert limits.MAX_SIDE == images.MAX_SIDE
    assert limits.MAX_PIXELS == images.MAX_PIXELS


def places(value, path=()):
    yield path
    inner = enumerate(value) if isinstance(value, list) else ()
    for key, item in value.items() if isinstance(value, dict) else inner:
        yield from places(item, (*path, key))


def test_the_door_judges_as_the_schemas_do():
    """Over a thousand random edits of good records: the same verdict, and the place it lies."""
    rng = random.Random(5)
    values = [None, True, False, -1, 0, 1, 2, 0.5, 1.5, "", "x", [], {}, [0.1, 0.2], 10**30, 1e19]
    refused = 0
    for suffix, record in scenes.all_records().items():
        judge = Draft202012Validator(schema(suffix))
        for _ in range(150):
            body = json.loads(records.dump(record))
            for _ in range(rng.randint(1, 2)):
                *steps, last = rng.choice([p for p in places(body) if p])
                at = body
                for step in steps:
                    at = at[step]
                if rng.random() < 0.2:
                    del at[last]
                else:
                    at[last] = rng.choice(values)
            paths = [e.json_path for e in judge.iter_errors(body)]
            try:
                records.load(records.MEMBERS[suffix], json.dumps(body).encode(), suffix)
            except records.Refused as reason:
                if not paths:  # what no schema can say
                    decoded = members._decoder(type(record)).decode(json.dumps(body))
                    assert list(inconsistencies(decoded)), f"{reason} of {body}"
                assert reason.member == suffix
                refused += 1
            else:
                assert not paths, body
    assert refused > 300


def test_what_is_written_is_let_in():
    for suffix, record in scenes.all_records().items():
        again = records.load(type(record), records.dump(record), suffix)
        assert again == records.sources.stated(record)
        assert records.dump(again) == records.dump(record)


# ------------------------------------------------------------- limits and messages


def edited(suffix: str, old: bytes, new: bytes) -> bytes:
    data = records.dump(scenes.all_records()[suffix])
    assert old in data
    return data.replace(old, new, 1)


REFUSED = [
    ("boxes.json", b"0.1,0.2,", b"1e19,0.2,", "boxes[0].xyxy[0] is 1e19, over the limit of 10000"),
    ("boxes.json", b'"id":1', b'"id":12345678901234567890123', "boxes[0].id is 123456789012"),
    ("boxes.json", b"0.1,0.2,", b"[0.1],0.2,", 'boxes[0].xyxy[0] is ["0.1"], not number'),
    ("boxes.json", b"0.91", b"NaN", "not valid JSON (invalid character at byte"),
    ("boxes.json", b"0.91", b"-Infinity", "not valid JSON"),
    ("boxes.json", b'"woman"', b"[]", "boxes[0].label is [], not string"),
    ("caption.json", b'{"backend":"blip2"', b'false,"x":{"backend":"blip2"', "model is fal"),
    ("people.json", b'"backend":"insightface"', b'"backend":7', "backend is integer, not"),
    ("people.json", b'"points":[[', b'"points":[{},[', "points[0] is {}, not array"),
    ("entities.json", b'"kind":"person"', b'"kind":"robot"', "not one of person, animal, object"),
    ("masks.json", b'"size":[80,120]', b'"size":[80,9999999]', "rle.size[1] is 9999999, over the"),
    ("meta.json", b'"width":120', b'"width":120.5', "width is 120.5, not integer"),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "old", "new", "words"), REFUSED)
def test_reasons_name_member_place_and_limit(suffix, old, new, words):
    with pytest.raises(records.Refused) as error:
        records.load(records.MEMBERS[suffix], edited(suffix, old, new), suffix)
    assert str(error.value).startswith(f"{suffix}: ")
    assert words in str(error.value)


def test_ids_counts_and_sizes_agree_within_a_record():
    by_suffix = scenes.all_records()
    by_suffix["entities.json"].triples = []
    by_suffix["people.json"].people[1].keypoints = scenes.keypoints(scenes.MAN)
    for suffix, edit, words in (
        ("boxes.json", lambda r: setattr(r.boxes[1], "id", 1), "id 1 is there twice"),
        ("people.json", lambda r: setattr(r.people[1], "id", 1), "id 1 is there twice"),
        ("interactions.json", lambda r: r.interactions.append(r.interactions[0]), "id 1 is there"),
        ("masks.json", lambda r: r.masks[1].rle["size"].reverse(), r"mask 2 has size \[120, 80\]"),
        ("people.json", lambda r: r.people[1].keypoints.scores.pop(), "16 scores for 17"),
        (
            "people.json",
            lambda r: r.people[1].keypoints.points.pop(),
            "16 keypoints, coco17 has",
        ),
    ):
        record = copy.deepcopy(by_suffix[suffix])
        edit(record)
        with pytest.raises(records.Refused, match=words):
            records.load(type(record), scenes.raw(record), suffix)
    huge = records.Masks(
        20_000, 20_000, [records.Mask(1, {"size": [20_000, 20_000], "counts": ""})]
    )
    with pytest.raises(records.Refused, match="over the limit of 100 megapixels"):
        records.load(records.Masks, scenes.raw(huge), "masks.json")


def test_new_ids_stay_within_the_limit():
    assert free_id([]) == 1 and free_id([1, 7]) == 8
    assert free_id([1, 2, limits.MAX_WHOLE]) == 3


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_fail_the_sample(number):
    record = records.Boxes(9, 9, [records.Box(1, (0, 0, 1, 1), score=number)])
    with pytest.raises(SampleFailed, match=f"a value is {number}: the model's output is not"):
        records.dump(record)


def test_counts_and_lengths_are_limited(monkeypatch):
    many = records.Boxes(9, 9, [records.Box(n, (0, 0, 1, 1)) for n in range(1, 5_002)])
    with pytest.raises(records.Refused, match="boxes has 5001 items, the limit is 5000"):
        records.load(records.Boxes, records.dump(many), "boxes.json")
    long = records.dump(records.Caption("x" * (limits.MAX_TEXT + 1)))
    with pytest.raises(records.Refused, match="text has 32769 characters, the limit is 32768"):
        records.load(records.Caption, long, "caption.json")
    with pytest.raises(records.Refused, match="text is empty"):
        records.load(records.Caption, scenes.raw(records.Caption("")), "caption.json")
    monkeypatch.setattr(limits, "MAX_BYTES", 20)
    with pytest.raises(records.Refused, match="has 32"):
        records.load(records.Caption, long, "caption.json")


def test_depth_does_not_depend_on_brackets_in_texts():
    texts = ["[[{{[[", "]}\\", chr(34) + "[{", "\\\\"] * 200
    body: dict = {"schema": 1, "text": "x", "new": texts}
    assert records.load(records.Caption, json.dumps(body).encode()).text == "x"
    for number, deep in enumerate((limits.MAX_DEPTH - 1, limits.MAX_DEPTH)):
        body["more"] = json.loads("[" * deep + "]" * deep)
        if number == 0:
            assert records.load(records.Caption, json.dumps(body).encode()).text == "x"
        else:
            with pytest.raises(records.Refused, match="deeper than the limit"):
                records.load(records.Caption, json.dumps(body).encode())


def test_nesting_is_refused_at_one_depth_however_deep_the_caller_is():
    body = b'{"schema":1,"text":"x","new":' + b"[" * 63 + b"]" * 63 + b"}"

    def far_down(level: int) -> str:
        return far_down(level - 1) if level else records.load(records.Caption, body).text

    assert far_down(0) == far_down(700) == "x"


def test_a_byte_order_mark_is_no_damage():
    assert records.load(records.Caption, b'\xef\xbb\xbf{"schema":1,"text":"x"}').text == "x"


def test_places_in_a_large_member_are_told_without_parsing_it_again():
    body = b'{"schema":1,"text":7,"more":"' + b"x" * members._SHOWN + b'"}'
    with pytest.raises(records.Refused, match="text is integer, not string"):
        records.load(records.Caption, body, "caption.json")


# ------------------------------------------------------------- identity.npy


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY" + struct.pack("<BBH", version, 0, len(text)) + text + data


def described(descr: str, shape: str, by_column: bool = False) -> str:
    return f"{{'descr': {descr}, 'fortran_order': {by_column}, 'shape': {shape}}}"


ROWS = "[('person', '<i4'), ('embedding', '<f4', (4,))]"
ARRAYS = [
    (b"PK\x03\x04rest of an archive", ".npz archive"),
    (b"", "not a plain .npy array"),
    (npy(described("'<f4'", "(1000000000000,)")), "header states 1000000000000 of 4 bytes"),
    (npy(described(ROWS, "(2,)"), bytes(20)), "header states 2 of 20 bytes, but 20 are there"),
    (npy(described(ROWS, "(-1,)"), bytes(20)), "not a plain|header states"),
    (npy(described("'|O'", "(1,)"), bytes(8)), "Python objects"),
    (npy(described("[('person', '<i4', (0,))]", "(10**12,)")), "not a plain"),
    (npy(described("[('person', '<i4', (0,)), ('embedding', '<f4', (0,))]", "(9,)")), "of 0 bytes"),
    (npy("(" * 300), "not a plain"),
    (npy("{" * 9000), "not a plain"),
    (npy("-" * 9000 + "1"), "not a plain"),
    (npy(described("[('person', '<f4'), ('embedding', '<f4', (4,))]", "()")), "header states"),
    (npy(described("[('person', '<i4'), ('embedding', '<U4', (4,))]", "(0,)")), "floats"),
    (npy(described("[('person', '<i4'), ('embedding', '<f4', (2, 2))]", "(0,)")), "floats"),
    (npy(described("[('person', '<i4'), ('embedding', '<f4', (70000,))]", "(0,)")), "70000 num"),
    (npy(described(ROWS, "(1,)"), bytes(20)), "id is not in"),
    (npy(described(ROWS, "(1,)"), struct.pack("<i4f", 1, 1, 2, float("nan"), 4)), "row 0"),
    (npy(described(ROWS, "(1,)"), struct.pack("<i4f", 1, 1, 2, 3e38, 4)), "row 0"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "words"), ARRAYS)
def test_arrays_are_held_against_their_bytes(data, words):
    with pytest.raises(records.Refused, match=words) as error:
        records.load_identity(data)
    assert str(error.value).startswith("identity.npy: ")


def test_arrays_that_are_right():
    rows = scenes.identity()
    loaded = records.load_identity(records.dump_npy(rows))
    assert loaded.dtype == rows.dtype and (loaded == rows).all()
    loaded["person"][0] = 2  # not a view of the bytes
    for array in (
        numpy.arange(6.0).reshape(2, 3),
        numpy.asfortranarray(numpy.eye(3)),
        numpy.ones(()),
    ):
        again = records.load_npy(records.dump_npy(array))
        assert again.shape == array.shape and (again == array).all()
