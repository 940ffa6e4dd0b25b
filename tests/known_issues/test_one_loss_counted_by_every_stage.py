"""A sample that failed in one stage was counted as lost by `inspect` once for every later stage of
the chain that missed what it had not written, and as filtered besides where it was dropped."""

from __future__ import annotations

import json

from conftest import samples

from socialcli import shards
from socialcli.reports import gather

WHY = "no caption for this key"
THEN = f"no caption.json: `socialcli caption` failed on this sample ({WHY}); mend that"


def shard(folder, name, keys, *lines):
    """A shard of these samples; lines: key, status, stage, reason."""
    shards.write(folder / f"{name}.tar", [(k, {"txt": b"x"}) for k in keys])
    names = ("key", "status", "stage", "reason")
    text = "".join(json.dumps(dict(zip(names, line, strict=True))) + "\n" for line in lines)
    (folder / f"{name}.errors.jsonl").write_text(text)
    return str(folder / f"{name}.tar")


def test_each_sample_is_lost_once(tmp_path):
    keys = [key for key, _ in samples(0, 3)]
    shards.write(tmp_path / "images.tar", samples(0, 3))
    a, b, c = keys
    first = shard(tmp_path, "captions", keys, (a, "failed", "caption", WHY))
    then = shard(
        tmp_path, "boxes", keys, (a, "failed", "ground", THEN), (b, "failed", "ground", "dark")
    )
    last = shard(
        tmp_path, "people", keys, (a, "failed", "annotate-pose", THEN),
        (b, "failed", "annotate-pose", "no picture"), (c, "filtered", "annotate-pose", "dull"),
    )  # fmt: skip
    looked = gather.look([f"{tmp_path}/images.tar+{first}+{then}+{last}"], 0)
    assert looked.lost_by == {"failed": 2, "filtered": 1}
    assert {e["key"]: (e["stage"], e["reason"]) for e in looked.lost} == {
        a: ("caption", WHY), b: ("ground", "dark; annotate-pose: no picture"),
        c: ("annotate-pose", "dull"),
    }  # fmt: skip


def test_a_dropped_sample_has_failed(tmp_path):
    """Its sidecar says "filtered", so that it joins; what it was is in the errors file."""
    ((key, contents),) = samples(0, 1)
    shards.write(tmp_path / "images.tar", [(key, contents)])
    side = shard(tmp_path, "captions", [key], (key, "failed", "caption", WHY))
    note = json.dumps({"key": key, "status": "filtered", "reason": WHY}).encode()
    shards.write(side, [(key, {"status.json": note})])
    looked = gather.look([f"{tmp_path}/images.tar+{side}"], 0)
    assert looked.lost_by == {"failed": 1}


def test_two_samples_of_one_key_are_two(tmp_path):
    twice = [("k", "failed", "caption", WHY)] * 2
    looked = gather.look([shard(tmp_path, "a", ["x"], *twice)], 0)
    assert looked.lost_by == {"failed": 2}


def test_a_key_with_a_line_end_of_unicode_is_read_back(tmp_path):
    entry = {"key": "a\u2028b\x85c", "status": "failed", "stage": "ground", "reason": "dark"}
    (tmp_path / "a.errors.jsonl").write_text(json.dumps(entry, ensure_ascii=False) + "\n")
    assert list(shards.read_errors(str(tmp_path / "a.tar"))) == [entry]
