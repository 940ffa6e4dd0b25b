"""The five stages on real photographs, through files and through pipes: the README's promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from socialcli import records, shards
from socialcli.reports import cards

pytest.importorskip("mediapipe")
pytest.importorskip("skimage")

ROOT = Path(__file__).parent.parent
STAGES = ["caption", "extract-entities", "ground", "segment", "annotate-pose"]
PROGRAM = f'"{sys.executable}" -m socialcli'


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make demo` makes of photographs, by the Makefile that makes it."""
    out = tmp_path_factory.mktemp("photographs")
    done = subprocess.run(
        ["make", "-f", "pipelines/photographs.mk", f"SOCIALCLI={PROGRAM}", f"OUT={out}"],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"report: {out}/report/index.html" in done.stdout
    return out


def test_the_six_faces_and_the_skeleton(photographs: Path) -> None:
    samples = {s.key: s for s in shards.read(str(photographs / "annotated" / "000000.tar"))}
    friends = samples["six-friends"].record(records.People)
    # Where each face is, read off the photograph by eye: normalised centres.
    centres = [(0.24, 0.24), (0.09, 0.38), (0.40, 0.40), (0.61, 0.47), (0.73, 0.15), (0.92, 0.38)]
    faces = [p.face.xyxy for p in friends.people if p.face]
    assert len(faces) == 6
    for x, y in centres:
        assert sum(b[0] < x < b[2] and b[1] < y < b[3] for b in faces) == 1, (x, y)
    astronaut = samples["astronaut"].record(records.People).people[0]
    assert astronaut.keypoints is not None
    nose = astronaut.keypoints.points[0]
    assert abs(nose[0] - 0.43) < 0.05 and abs(nose[1] - 0.25) < 0.05 and nose[2] == 2
    left_shoulder, right_shoulder = astronaut.keypoints.points[5], astronaut.keypoints.points[6]
    assert left_shoulder[0] > nose[0] > right_shoulder[0]  # she faces us
    assert not samples["coffee"].record(records.People).people


def test_every_stage_ends_in_the_report(photographs: Path) -> None:
    page = (photographs / "report" / "index.html").read_text()
    (folder,) = (photographs / "report").glob("samples-*")
    listed = " ".join(text for text, _ in cards.read(folder, "index"))
    for key in ("astronaut", "six-friends", "coffee"):
        assert key in listed
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script src" not in page


def test_pipes_give_the_bytes_that_merged_sidecars_give(photographs: Path, tmp_path: Path) -> None:
    chain = " | ".join(f"{PROGRAM} {stage} - -o - --quiet --profile offline" for stage in STAGES)
    out = tmp_path / "piped.tar"
    command = f'set -o pipefail; cat "{photographs}/images/000000.tar" | {chain} > "{out}"'
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert out.read_bytes() == (photographs / "annotated" / "000000.tar").read_bytes()
