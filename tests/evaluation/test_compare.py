"""`socialcli compare` on scenes whose annotations were spoilt by a known amount."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import COMMAND, ENVIRONMENT

from socialcli import records, shards
from socialcli.vision import masks


def socialcli(*args: object, code: int = 0) -> str:
    """Run the command line; gives what it said on stderr."""
    done = subprocess.run([*COMMAND, *map(str, args)], capture_output=True, text=True,
                          env={**os.environ, **ENVIRONMENT}, timeout=300)  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stderr


FACES = Path(__file__).parents[2] / "socialcli" / "miniature" / "weights" / "face"


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("truth")
    socialcli("import", "world", "test", "--scenes", "12", "-o", str(out), "--quiet")
    return out


def spoilt(truth: Path, out: Path, change) -> Path:
    """The shard with every sample's members changed by ``change(key number, members)``."""
    rows = []
    for number, sample in enumerate(shards.read(str(truth / "000000.tar"))):
        members = dict(sample.members)
        change(number, members)
        rows.append((sample.key, members))
    out.mkdir()
    shards.write(out / "000000.tar", rows)
    return out


def measures(annotated: Path, truth: Path, tmp_path: Path) -> dict[tuple[str, str], float]:
    file, table = tmp_path / "figures.json", tmp_path / "figures.md"
    socialcli("compare", str(annotated), str(truth), "-o", str(file), "-o", str(table))
    measured = json.loads(file.read_text())["measures"]
    for m in measured:
        assert f"| {m['kind']} | {m['measure']} | {m['value']:.3f} |" in table.read_text()
    return {(m["kind"], m["measure"]): m["value"] for m in measured}


def edit(members, kind, change) -> None:
    suffix = next(s for s, k in records.MEMBERS.items() if k is kind)
    record = records.load(kind, members[suffix])
    change(record)
    members[suffix] = records.dump(record)


def test_truth_agrees_with_itself(truth: Path, tmp_path: Path) -> None:
    agreement = measures(truth, truth, tmp_path)
    for (_kind, measure), value in agreement.items():
        assert value == (0.0 if measure.startswith("median") else 1.0), measure
    kinds = {kind for kind, _ in agreement}
    assert kinds >= {"triples", "boxes", "masks", "faces", "keypoints", "gaze angle",
                     "interactions"}  # fmt: skip


def test_what_is_spoilt_is_what_is_lost(truth: Path, tmp_path: Path) -> None:
    def change(number: int, members: dict[str, bytes]) -> None:
        if number % 2:  # half of the scenes
            edit(members, records.Entities, lambda r: r.triples.clear())
            edit(members, records.Interactions, lambda r: setattr(r.interactions[0], "verb", "eat"))
        edit(members, records.People, turn)
        edit(members, records.Boxes, lambda r: [setattr(b, "label", "thing") for b in r.boxes])

    def turn(people: records.People) -> None:
        for person in people.people:
            person.face = None
            assert person.gaze is not None and person.gaze.vector is not None
            x, y = person.gaze.vector
            person.gaze.vector = (-y, x)
            if person.keypoints:  # the left half of the body is half a picture away
                points = enumerate(person.keypoints.points)
                person.keypoints.points = [
                    ((x + 0.5 * (i % 2)) % 1, y, v) for i, (x, y, v) in points
                ]

    agreement = measures(spoilt(truth, tmp_path / "spoilt", change), truth, tmp_path)
    assert agreement["triples", "right"] == pytest.approx(0.5)
    wrong = sum(1 for n, s in enumerate(shards.read(str(truth / "000000.tar"))) if n % 2)
    every = [s.record(records.Interactions) for s in shards.read(str(truth / "000000.tar"))]
    total = sum(len(r.interactions) for r in every)
    changed = sum(r.interactions[0].verb != "eat" for n, r in enumerate(every) if n % 2)
    assert wrong == 6
    assert agreement["interactions", "recall"] == pytest.approx((total - changed) / total)
    assert ("faces", "precision") not in agreement and agreement["faces", "recall"] == 0
    assert agreement["gaze angle", "median, degrees"] == pytest.approx(90)
    seen = [
        [v == 2 for _, _, v in p.keypoints.points]
        for s in shards.read(str(truth / "000000.tar"))
        for p in s.record(records.People).people
    ]
    kept = sum(flag for row in seen for i, flag in enumerate(row) if i % 2 == 0)
    right = kept / sum(map(sum, seen))
    assert agreement["keypoints", "within 0.1 of the height"] == pytest.approx(right, abs=1e-6)
    assert agreement["boxes", "recall"] == 1.0
    assert agreement["boxes", "rightly named, of those at the right place"] == 0.0


def test_masks_give_their_iou(truth: Path, tmp_path: Path) -> None:
    def halve(number: int, members: dict[str, bytes]) -> None:
        def cut(record: records.Masks) -> None:
            for mask in record.masks:
                pixels = masks.decode(mask.rle).copy()
                rows = pixels.nonzero()[0]
                pixels[int(rows.mean()) :] = False
                mask.rle = masks.encode(pixels)

        edit(members, records.Masks, cut)

    out = spoilt(truth, tmp_path / "halved", halve)
    ious = []
    for a, b in zip(shards.read(str(out / "000000.tar")), shards.read(str(truth / "000000.tar")),
                    strict=True):  # fmt: skip
        for m, n in zip(a.record(records.Masks).masks, b.record(records.Masks).masks, strict=True):
            ious.append(masks.area(m.rle) / masks.area(n.rle))  # one lies inside the other
    assert measures(out, truth, tmp_path)["masks", "mean IoU"] == pytest.approx(
        sum(ious) / len(ious), abs=1e-5
    )


def test_no_common_key_is_said(truth: Path, tmp_path: Path) -> None:
    socialcli("import", "world", "val", "--scenes", "2", "-o", str(tmp_path / "val"), "--quiet")
    done = socialcli("compare", tmp_path / "val", truth, code=1)
    assert "no key in common" in done and done.count("\n") == 1


def test_a_miniature_says_once_what_it_does_not_know(tmp_path: Path) -> None:
    world = tmp_path / "world"
    socialcli("import", "world", "test", "--scenes", 2, "--no-truth", "-o", world, "--quiet")
    rows = [(f"photo-{i}", {"png": s.members["png"]})
            for i, s in enumerate(shards.read(str(tmp_path / "world" / "000000.tar")))]  # fmt: skip
    (tmp_path / "other").mkdir()
    shards.write(tmp_path / "other" / "000000.tar", rows)

    def messages(source: str) -> str:
        return socialcli("annotate-pose", str(tmp_path / source), "--with", "identity",
                       "--face-backend", "insightface", "--face-model", str(FACES),
                       "-o", str(tmp_path / f"{source}-people"))  # fmt: skip

    assert "knows nothing else" not in messages("world")
    assert messages("other").count("knows nothing else") == 1
