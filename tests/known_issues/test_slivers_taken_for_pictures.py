"""A picture 1 or 3 pixels high, or 6,000 times 2 pixels large, ended in words of other packages.

"mean must have 1 elements" was the reason of one sample, an assertion of OpenCV that of another:
what prepares pictures takes the rows of so thin a one for channels, or scales it to nothing. Three
stages had a check of their own, of the shape alone; captions, references and scores had none.
"""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from socialcli import records, shards
from socialcli.errors import SampleFailed
from socialcli.vision import images

SIZES = {"a": (6000, 2), "b": (2, 6000), "c": (1, 1), "d": (40, 3), "e": (4, 40), "f": (32, 32)}
SLIVERS = "abcd"


def sample(key: str) -> tuple[str, dict[str, bytes]]:
    out = io.BytesIO()
    Image.new("RGB", SIZES[key], (90, 200, 40)).save(out, "PNG")
    box = records.Box(1, (0, 0, 1, 1), "woman")
    return key, {
        "png": out.getvalue(),
        "boxes.json": records.dump(records.Boxes(*SIZES[key], [box])),
        "caption.json": records.dump(records.Caption("a woman")),
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    place = tmp_path_factory.mktemp("slivers") / "a.tar"
    shards.write(place, map(sample, SIZES))
    return place


def test_they_are_refused_where_they_are_looked_at():
    for key, size in SIZES.items():
        data = sample(key)[1]["png"]
        assert images.decode(data).size == size
        if key in SLIVERS:
            with pytest.raises(SampleFailed, match=r"pixels is too narrow to show anything"):
                images.decode_to_look(data)
        else:
            assert images.decode_to_look(data).size == size


@pytest.mark.parametrize("command", [["caption", "--replace-annotations"], ["annotate-pose"]])
def test_stages_leave_them_out_in_words(source, tmp_path, run_cli, command):
    usual = ["--profile", "mini", "--max-error-rate", 1]
    run_cli(*command, source, "-o", tmp_path, *usual)
    lines = [json.loads(line) for line in (tmp_path / "a.errors.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == list(SLIVERS)
    for line in lines:
        assert "is too narrow to show anything; leave it out" in line["reason"]


def test_scores_leave_them_out_in_words(source, tmp_path, run_cli):
    done = run_cli("score", source, "--real", "-o", tmp_path, "--profile", "mini", "--metrics",
                   "clip-t", "--max-error-rate", 1)  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "errors.jsonl").read_text().splitlines()]
    assert {line["key"] for line in lines} == set(SLIVERS), done.stderr
    assert all("is too narrow" in line["reason"] for line in lines)
