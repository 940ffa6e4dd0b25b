"""`make demo` in small: photographs and the published miniatures through all nine subcommands."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, members

from socialcli import records, shards
from socialcli.reports import cards

pytest.importorskip("skimage")

ROOT = Path(__file__).parent.parent
# Floors well under what the cards say, well over what a broken stage or model would reach.
FLOORS = (
    ("triples", "right", 0.35),
    ("boxes", "recall", 0.55),
    ("boxes", "precision", 0.6),
    ("masks", "mean IoU", 0.55),
    ("faces", "recall", 0.8),
    ("faces", "precision", 0.8),
    ("keypoints", "within 0.1 of the height", 0.8),
    ("interactions", "precision", 0.25),
)
STAGES = ["caption", "extract-entities", "ground", "segment", "annotate-pose"]
DEGREES = 12.0  # median error of gaze; at random it would be 90
SHORT = ("SCENES=24", "STEPS=2", "BATCH=4", "DRAWN=4", "WORD_STEPS=4", "DRAW=--steps 4",
         "SHOWN=1", "SHOW=--steps 2", "POSES=--variants 1 --sampling-steps 1",
         "PRIOR=--prior-weight 0", *(f"{word}_STEPS=1" for word in
         ("HORSE", "PERSON", "RIDE", "THREE", "DREAM")))  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, program: list[str]) -> Path:
    out = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        ["make", "-f", "pipelines/demo.mk", f"SOCIALCLI={shlex.join(program)}",
         f"OUT={out}", *SHORT],
        cwd=ROOT, capture_output=True, text=True, timeout=900, env={**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"report: {out}/report/index.html" in done.stdout
    assert "Traceback" not in done.stderr
    if importlib.util.find_spec("mediapipe"):  # which is not built for every Python
        assert f"report: {out}/photographs/report/index.html" in done.stdout
    return out


def test_the_stages_find_what_is_there(demo: Path) -> None:
    read = json.loads((demo / "world" / "agreement.json").read_text())
    measured = {(m["kind"], m["measure"]): m["value"] for m in read["measures"]}
    assert read["samples"] == 24
    for kind, measure, floor in FLOORS:
        assert measured[kind, measure] >= floor, (kind, measure, measured[kind, measure])
    assert measured["gaze angle", "median, degrees"] < DEGREES


def test_every_picture_says_what_it_is(demo: Path) -> None:
    for folder in ("given", "tuned", "ip-adapter", "interactdiffusion"):
        drawn = members(demo / "drawn" / folder)
        assert len(drawn) == 4
        for key, one in drawn.items():
            assert b"trainedAlgorithmicMedia" in one["png"], key
            assert "generated.json" in one, sorted(one)


def test_feedback_changed_the_encoder_and_the_pictures(demo: Path) -> None:
    given, tuned = members(demo / "drawn" / "given"), members(demo / "drawn" / "tuned")
    assert given.keys() == tuned.keys()
    assert any(given[key]["png"] != tuned[key]["png"] for key in given)
    log = [json.loads(line) for line in (demo / "feedback" / "log.jsonl").read_text().splitlines()]
    spoken = {name for line in log for name in line if name.startswith("loss/")}
    for loss in ("denoise", "boundary", "identity", "gaze", "pose", "interaction"):
        assert f"loss/{loss}" in spoken, spoken


def test_four_ways_to_draw_are_compared(demo: Path) -> None:
    """Rows of one table: each drew its own pictures, and says with which model."""
    table = (demo / "compared" / "compare.md").read_text()
    pictures = {}
    for row in ("given", "tuned", "ip-adapter", "interactdiffusion"):
        assert f"| {row} |" in table, table
        pictures[row] = {key: one["png"] for key, one in members(demo / "drawn" / row).items()}
    assert pictures["given"].keys() == pictures["interactdiffusion"].keys()
    for row in ("ip-adapter", "interactdiffusion"):
        assert not set(pictures[row].values()) & set(pictures["given"].values())
    for row, role in (("ip-adapter", "adapter"), ("interactdiffusion", "interactions")):
        one = next(iter(members(demo / "drawn" / row).values()))
        assert role in records.load(records.Generated, one["generated.json"]).models


def test_three_words_in_one_sentence_and_three_subjects_in_one_layout(demo: Path) -> None:
    """Words of three methods, none of which was learned on another model."""
    (one,) = members(demo / "handshake" / "sentence").values()
    record = records.load(records.Generated, one["generated.json"])
    assert {"<anna>", "<star>", "<ride>"} <= {*record.models["words"].options["tokens"]}
    methods = record.models["words"].options["methods"]
    assert (methods["<anna>"], methods["<ride>"]) == ("identity", "interaction")
    assert methods["<star>"] == "attractor"
    for name in ("sentence", "composite"):
        (stats,) = (demo / "handshake" / name).glob("*.stats.json")
        assert "words_of_another_model" not in stats.read_text()
        assert json.loads(stats.read_text())["counts"]["ok"] == 1
    (one,) = members(demo / "handshake" / "composite").values()
    layout = records.load(records.Layout, one["layout.json"])
    prompts = {segment.prompt for segment in layout.segments}
    assert {"a <ada>", "a <bob>", "a <rex>"} <= prompts
    assert layout.prompt == "in the desert, a <bob> walking a <rex> and a <ada> is standing nearby"


def test_the_report_has_it_all(demo: Path) -> None:
    page = (demo / "report" / "index.html").read_text()
    assert "4 sources" in page or "4 pictures" in page
    for shown in ("Agreement", "SSR-Encoder", "feedback", "IP-Adapter", "InteractDiffusion",
                  "Scores", "pseudo-word", "three learned words", "Three named subjects",
                  "DreamBooth"):  # fmt: skip
        assert shown in page
    assert page.count('<p class="shown" tabindex="0"><img') == 9
    links = ["../scores/tuned/index.html"]
    if importlib.util.find_spec("mediapipe"):
        links.append("../photographs/report/index.html")
    for link in links:
        assert f'href="{link}"' in page and (demo / "report" / link).exists()


def test_what_the_miniatures_wrote_is_whole(demo: Path) -> None:
    scenes = members(demo / "world" / "annotated")
    assert len(scenes) == 24
    suffixes = {"caption.json", "entities.json", "boxes.json", "masks.json", "people.json",
                records.IDENTITY, "interactions.json"}  # fmt: skip
    for key, one in scenes.items():
        assert suffixes <= one.keys(), (key, suffixes - one.keys())


@pytest.fixture
def photographs(demo: Path) -> Path:
    """Real photographs through the five stages with ``--profile offline``."""
    pytest.importorskip("mediapipe")
    return demo / "photographs"


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


def test_pipes_give_the_bytes_that_merged_sidecars_give(
    photographs: Path, tmp_path: Path, program: list[str]
) -> None:
    command = shlex.join(program)
    chain = " | ".join(f"{command} {stage} - -o - --quiet --profile offline" for stage in STAGES)
    out = tmp_path / "piped.tar"
    line = f'set -o pipefail; cat "{photographs}/images/000000.tar" | {chain} > "{out}"'
    done = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert out.read_bytes() == (photographs / "annotated" / "000000.tar").read_bytes()
