"""`socialcli compare` held samples of two shards with one key (two albums that both have an
IMG_0001) against the last one's annotations, measured the beginning of an archive that was cut
without a word, and counted a key twice that a shard has twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from socialcli import records, shards

LEFT, RIGHT = (0.0, 0.0, 0.4, 0.4), (0.5, 0.5, 1.0, 1.0)


def sample(key: str, xyxy=LEFT) -> tuple[str, dict[str, bytes]]:
    boxes = records.Boxes(10, 10, [records.Box(1, xyxy, "dog")])
    return key, {"boxes.json": records.dump(boxes)}


@pytest.fixture
def albums(tmp_path: Path) -> Path:
    for side in ("found", "truth"):
        shards.write(tmp_path / side / "0.tar", [sample("IMG_1")])
        shards.write(tmp_path / side / "1.tar", [sample("IMG_1", RIGHT)])
    return tmp_path


@pytest.mark.parametrize(
    ("found", "truth", "where"),
    [
        ("found", "truth", "truth"),
        ("found", "truth/0.tar", "found"),
        ("found/0.tar", "truth", "truth"),
    ],
)
def test_a_key_of_two_shards(albums, run_cli, found, truth, where):
    result = run_cli("compare", albums / found, albums / truth, code=1)
    assert result.stdout == b"" and b"Traceback" not in result.stderr
    for number in range(2):
        assert f"{where}/{number}.tar".encode() in result.stderr
    assert b"the key 'IMG_1' is in" in result.stderr
    run_cli("compare", albums / "found/0.tar", albums / "truth/0.tar")


def test_the_same_annotations_twice_are_no_question(albums, run_cli):
    shards.write(albums / "truth" / "1.tar", [sample("IMG_1")])
    result = run_cli("compare", albums / "found/0.tar", albums / "truth")
    assert b"1 samples compared\n" in result.stdout


def test_what_is_damaged_is_named(tmp_path: Path, run_cli):
    shards.write(tmp_path / "whole.tar", [sample(f"k{n}") for n in range(6)])
    data = (tmp_path / "whole.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(data[:3000])
    (tmp_path / "twice.tar").write_bytes(data + data)
    report = tmp_path / "report.json"
    for found, truth in (("cut", "whole"), ("whole", "cut")):
        result = run_cli("compare", tmp_path / f"{found}.tar", tmp_path / f"{truth}.tar",
                         "-o", report)  # fmt: skip
        assert b"cut.tar: k" in result.stderr and b"truncated" in result.stderr
        alone = {"cut": "in TRUTH alone", "whole": "in FOUND alone"}[found]
        body = json.loads(report.read_bytes())
        left = body["left_out"][alone.replace(" ", "_").lower()]
        assert body["samples"] + body["left_out"]["unreadable"] + left == 6 and left
        assert f", {left} {alone}".encode() in result.stdout
    result = run_cli("compare", tmp_path / "twice.tar", tmp_path / "whole.tar")
    assert b"6 samples compared, 6 unreadable\n" in result.stdout
    assert result.stderr.count(b"duplicate key") == 6
