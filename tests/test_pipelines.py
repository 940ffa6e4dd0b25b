"""Every Makefile in pipelines/, on fixtures: both papers' chains from official layouts to scores.

Each model is a tiny stand-in (`tiny.whole`) or a miniature; the papers' chains are told to the real
profile with ``--dry-run``. The demo's Makefiles are run by test_demo.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import preloaded
import pytest
from conftest import ENVIRONMENT, HEAVY, members
from PIL import Image, ImageDraw
from tiny import whole

from socialcli import records
from socialcli.cli.commands.pipelines import INCLUDED, available
from socialcli.miniature.zoo import cards
from socialcli.shards import Sample

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"
PYTHON = "python"
SETS = ("hico-det", "gazefollow")
# Makefiles that other test files run to their end.
ELSEWHERE = {
    "photographs.mk": "test_demo.py", "demo.mk": "test_demo.py", "world.mk": "test_demo.py",
    "invert-mini.mk": "test_demo.py", "table-001-mini.mk": "test_table_001.py",
    "table-000-1.mk": "test_paper_tables.py", "table-001.mk": "test_paper_tables.py",
    "table-003.mk": "test_paper_tables.py",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def commands(python: list[str]) -> None:
    """Let `make` start commands from one preloaded process."""
    global PYTHON
    PYTHON = shlex.join(python)


def make(file: str, *arguments: object, code: int = 0, env: dict[str, str] | None = None) -> str:
    """What a Makefile of pipelines/ says; fails the test on another exit code."""
    done = subprocess.run(
        ["make", "-f", f"pipelines/{file}", f"SOCIALCLI={PYTHON} -m socialcli",
         f"PYTHON={PYTHON}", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=900,
        env=env or {**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Traceback" not in done.stderr, done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both data sets in their official layouts, and the tiny profile."""
    place = tmp_path_factory.mktemp("pipelines")
    shutil.copytree(DATA / "hico_det", place / "hico_20160224_det")
    shutil.copytree(DATA / "gazefollow", place / "gazefollow_extended")
    captions = []
    for folder in ("hico_20160224_det/images", "gazefollow_extended"):
        for file in sorted((place / folder).rglob("*.jpg")):
            _with_a_face(file)
            captions.append((file.name, "A man holds a dog."))
    with open(place / "captions.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([("image", "caption"), *captions])
    (place / "models").mkdir()
    whole.profile(place / "models", place / "captions.csv")
    return place


def _with_a_face(file: Path) -> None:
    """Paint a red square into a picture, which the tiny detector takes for a face."""
    with Image.open(file) as image:
        exif, painted = image.getexif(), image.convert("RGB")
    ImageDraw.Draw(painted).rectangle((10, 8, 21, 19), fill=(255, 0, 0))
    painted.save(file, quality=95, subsampling=0, exif=exif)


def chain(place: Path, name: str, slices: int) -> Path:
    """The training pictures of a data set through the five stages; the folder of its shards."""
    out = place / name
    source = {
        "hico-det": f"HICO={place}/hico_20160224_det",
        "gazefollow": f"GAZEFOLLOW={place}/gazefollow_extended",
    }[name]
    make(
        f"{name}.mk", source, "SPLIT=train", f"OUT={out}", f"N={slices}", "-j2",
        f"PROFILE={place}/models/tiny.toml",
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def annotated(place: Path) -> dict[str, Path]:
    """Data set -> folder of what its Makefile made; of one there are more slices than shards."""
    return {name: chain(place, name, slices) for name, slices in zip(SETS, (2, 1), strict=True)}


@pytest.mark.parametrize("name", SETS)
def test_annotations_come_out_of_the_chain_as_they_went_in(
    annotated: dict[str, Path], name: str
) -> None:
    before, after = (members(annotated[name] / part) for part in ("images", "annotated"))
    assert before.keys() == after.keys() and len(before) >= 2
    interactions = gazes = 0
    for key, given in before.items():
        old, new = Sample(key, given), Sample(key, after[key])
        boxes = {b.id: b for b in new.record(records.Boxes).boxes}
        for box in old.record(records.Boxes).boxes:
            kept = boxes[box.id]
            assert (kept.xyxy, kept.label, kept.source) == (box.xyxy, box.label, "annotation")
        assert any(b.source == "grounding-dino" or b.entity for b in boxes.values())
        people = {p.id: p for p in new.record(records.People).people}
        for person in old.record(records.People).people:
            kept = people[person.id]
            assert (kept.box, kept.head or None, kept.source) == (
                person.box, person.head or kept.head, "annotation",
            )  # fmt: skip
            assert person.gaze is None or kept.gaze == person.gaze
            gazes += person.gaze is not None
        if old.has("interactions.json"):
            assert new.record(records.Interactions) == old.record(records.Interactions)
            interactions += len(old.record(records.Interactions).interactions)
        masks = {m.box for m in new.record(records.Masks).masks}
        assert {b.id for b in old.record(records.Boxes).boxes} <= masks
    assert (interactions if name == "hico-det" else gazes) >= 2


@pytest.mark.parametrize("name", SETS)
def test_the_chain_on_the_papers_models_is_planned(
    place: Path, annotated: dict[str, Path], name: str
) -> None:
    """Each stage's command, with the profile's models, as far as a machine without them can go."""
    out = place / f"{name}-dry"
    shutil.copytree(annotated[name], out)
    for done in [*out.rglob(".slice-*"), out / "annotated" / ".done", out / ".made-with"]:
        done.unlink()
    more = ["WITH=identity,pose,gaze,interaction", f"PEOPLE=--gaze-model {place}/models/gaze.pt"]
    printed = make(
        f"{name}.mk", f"HICO={place}/hico_20160224_det", f"OUT={out}", "N=1", "PROFILE=sd15",
        f"GAZEFOLLOW={place}/gazefollow_extended", "RUN=--dry-run --overwrite",
        *(more if name == "gazefollow" else []),
    )  # fmt: skip
    for model in ("blip2-opt-2.7b", "grounding-dino-base", "sam-vit-huge"):
        assert model in printed


def test_from_both_chains_to_training_and_scores(place: Path, annotated: dict[str, Path]) -> None:
    models = place / "models"
    out = place / "feedback"
    printed = make(
        "social-feedback.mk", "scores", f"PROFILE={models}/tiny.toml", f"OUT={out}", "SSR=new",
        *(f"{variable}={annotated[key]}/annotated" for variable, key in (
            ("HICO", "hico-det"), ("GAZEFOLLOW", "gazefollow"),
            ("HICO_TEST", "hico-det"), ("GAZEFOLLOW_TEST", "gazefollow"),
        )),
        f"IDENTITY={models}/backbone.pth", f"GAZE={models}/gaze.pt",
        f"INTERACTION={models}/interaction", "HICO_STEPS=2", "GAZE_STEPS=2",
        "SIZES=--batch-size 2 --micro-batch 2", "METRICS=clip-t,face",
        "RUN=--gate-gaze all --gate-interaction all --gate-identity all --gate-pose all",
        "SCORE=--resamples 20",
    )  # fmt: skip
    assert str(out / "scores") in printed
    for run, loss in (("hico-det", "interaction"), ("gazefollow", "gaze")):
        log = [json.loads(line) for line in (out / run / "log.jsonl").read_text().splitlines()]
        assert any(line.get(f"active/{loss}", 0) > 0 for line in log), (run, log)
    for name, figure in (("hico-det", "hoi"), ("gazefollow", "gaze_heads")):
        score = json.loads((out / "scores" / name / "score.json").read_text())
        assert score["columns"][figure]["value"] is not None, score["columns"][figure]
        assert score["columns"]["clip_t"]["value"] is not None


def test_a_file_is_a_recogniser_of_the_paper_and_a_folder_one_of_our_own() -> None:
    """In training and in the score."""
    for model, backend in (("m/ckpt_1.pt", "--interaction-backend cmmp "), ("m/recogniser", "")):
        printed = make("social-feedback.mk", "-n", "scores", "OUT=nowhere", f"INTERACTION={model}")
        lines = [line for line in printed.splitlines() if "--interaction-model" in line]
        assert len(lines) == 2
        assert all(f"{backend}--interaction-model {model}" in line for line in lines)
        assert backend or not any("--interaction-backend" in line for line in lines)


def test_both_papers_trainings_in_miniature(tmp_path: Path) -> None:
    make(
        "social-feedback.mk", "all", "scores", "PROFILE=mini", f"OUT={tmp_path}", "SCENES=8",
        "TEST_SCENES=3", "HICO_STEPS=1", "GAZE_STEPS=1", "DRAW=--steps 1", "METRICS=clip-t",
        "SIZES=--batch-size 2 --micro-batch 2 --variants 1", "SCORE=--resamples 10",
    )  # fmt: skip
    for name, figure in (("hico-det", "hoi"), ("gazefollow", "gaze")):
        assert (tmp_path / name / "query.safetensors").exists() or any((tmp_path / name).iterdir())
        score = json.loads((tmp_path / "scores" / name / "score.json").read_text())
        assert {figure, "clip_t"} <= score["columns"].keys()


def test_the_table_in_miniature(tmp_path: Path) -> None:
    """Rows that need a training of their own, and one that needs the curves of another."""
    printed = make("table1-mini.mk", "-n", "SEEDS=0 1", "STEPS=1")
    assert printed.count("train --method feedback") == 19 and printed.count(" score ") == 12
    weights = {
        line.split("/models/")[1].split("-0 ")[0]: re.findall(r"--weight-(\w+) (\S+)", line)
        for line in printed.splitlines()
        if "/models/" in line and "train" in line and "--seed 0" in line
    }
    assert {name for name, weight in weights["gaze"] if weight != "0"} == {"gaze"}
    assert set(dict(weights["equal"]).values()) == {"0.1"}
    assert len(set(dict(weights["all"]).values())) == 5 and weights["all"] == weights["inverse"]
    more = make("table1-mini.mk", "-n", "SEEDS=0", "ROWS=plain all open small").splitlines()
    (opened,) = (line for line in more if "--gate-identity all" in line)
    (small,) = (line for line in more if "--decoder tiny" in line)
    assert dict(re.findall(r"--weight-(\w+) (\S+)", opened))["gaze"] == "0"
    assert re.findall(r"--weight-(\w+) (\S+)", small) == weights["all"]
    assert any("--compare" in line and "/all " in line and "/small " in line for line in more)
    make(
        "table1-mini.mk", f"OUT={tmp_path}", "ROWS=plain inverse", "SEEDS=0", "STEPS=1",
        "CURVE_STEPS=2", "BATCH=2", "TRAIN=4", "TEST=2", "DRAW=--steps 1", "METRICS=clip-t",
        "SCORE=--resamples 10",
    )  # fmt: skip
    reached, paper = (tmp_path / "results.md").read_text().split("The paper, SD 1.5")
    rows = {line.split("|")[1].strip(): line.split("|")[6].strip()
            for line in reached.splitlines() if line.count("|") == 10}  # fmt: skip
    assert list(rows) == [
        "", "---", "SSR-Encoder", "fine-tuned, no feedback", "inverse weighting",
    ]  # fmt: skip
    values = [rows[name].split()[0] for name in list(rows)[2:]]
    assert all(0 < float(value.strip("*")) < 1 for value in values), rows
    assert "0.2971" in paper and "| CLIP-T: ssr above plain | paper | " in paper


def test_people_from_one_picture_in_miniature(tmp_path: Path) -> None:
    """The tables of Identity Embedding, on the packaged miniatures, as small as they can be: one
    person, two steps, three prompts. What the threshold is made of is tested by itself."""
    printed = make("table-003-mini.mk", "-n", "SEEDS=0 1", "STEPS=1")
    assert printed.count(" invert ") == 12 and printed.count(" generate ") == 14
    assert printed.count(" score ") == 1 + 7 + 1 and printed.count("--pairs 1 ") == 2
    (tmp_path / "threshold.txt").write_text("0.4")
    small = ("table-003-mini.mk", f"OUT={tmp_path}", "PEOPLE=1", "SEEDS=0", "ROWS=identity",
             "STEPS=2", "DRAW=--steps 2 --limit 3", "SCORE=--resamples 20",
             "-o", tmp_path / "threshold.txt")  # fmt: skip
    printed = make(*small)
    assert f"tables: {tmp_path / 'results.md'}" in printed
    text = (tmp_path / "results.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| 5 pairs, all tokens")]
    assert len(rows) == 2 and "| the category in its place |" in text
    prompt, *_, trained, added, seconds = [cell.strip() for cell in rows[0].split("|")[2:-1]]
    assert float(prompt.split()[0]) > 0.2 and float(seconds) > 0
    assert float(trained.replace(",", "")) > float(added.replace(",", "")) > 0
    assert "invert" not in make(*small).replace(str(tmp_path), "")  # nothing is left to do


def test_concept101_alone_and_in_pairs(tmp_path: Path) -> None:
    make(
        "concept101.mk", f"CONCEPT101={DATA}/concept101", f"OUT={tmp_path}", "PROFILE=mini", "SSR=",
        "PROMPTS=1", "DRAW=--steps 1", "METRICS=clip-t,clip-i", "SCORE=--resamples 10",
    )  # fmt: skip
    two = [json.loads(line) for line in (tmp_path / "combinations.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in two] == ["the cat on the chair", "the chair behind the cat"]
    drawn = members(tmp_path / "two")
    assert drawn.keys() == {"000-00", "000-01"}
    shown = json.loads(drawn["000-00"]["generated.json"])["references"]
    assert [one["query"] for one in shown] == ["cat", "chair"]
    for name, count in (("one", 4), ("two", 2)):
        score = json.loads((tmp_path / "scores" / name / "score.json").read_text())
        assert score["columns"]["clip_i"]["n"] == count, score["columns"]["clip_i"]


@pytest.mark.parametrize("method", ["textual-inversion", "dreambooth"])
def test_overfitting_over_the_steps_in_miniature(tmp_path: Path, method: str) -> None:
    """Figure 1 of the attractor's paper from two steps of one subject's word, or model."""
    from xml.etree import ElementTree

    own = ["FIT=--vectors 2"] if method == "textual-inversion" else []
    make(
        "overfit-mini.mk", f"OUT={tmp_path}", "SEEDS=0", "SUBJECTS=1", "TEST=2", "STEPS=2",
        "EVERY=1", f"METHOD={method}",
        "BATCH=2", "DRAW=--steps 1", "METRICS=dino,clip-t", "SCORE=--resamples 20 --show 0", *own,
    )  # fmt: skip
    if method == "dreambooth":  # each step's pictures are its own model's, asked by the identifier
        drawn = [members(tmp_path / "pictures" / f"{step}-0").values() for step in (1, 2)]
        made = [records.load(records.Generated, next(iter(d))["generated.json"]) for d in drawn]
        assert all("sks dog" in one.prompt for one in made)
        assert len({one.model.revision for one in made}) == 2
    text = (tmp_path / "results.md").read_text()
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    assert [row[0] for row in rows[:4]] == ["steps", "--:", "1", "2"]
    for row in rows[2:4]:
        clip_t, dino, train, gap = (float(cell.split()[0]) for cell in row[1:])
        assert gap == pytest.approx(train - dino, abs=0.002) and clip_t < 1
    assert [row[0] for row in rows[6:]] == [
        "DINO gap: 2 above 1", "CLIP-T: 2 below 1", "DINO: 2 below 1",
    ]  # fmt: skip
    figure = ElementTree.parse(tmp_path / "figure.svg").getroot()
    labels = [text.text for text in figure.iter("{http://www.w3.org/2000/svg}text")]
    assert {"DINO train", "DINO test", "CLIP-T", "steps", "1", "2"} <= {*labels}


def test_figures_that_gates_are_chosen_by_in_miniature(tmp_path: Path) -> None:
    """Figures 1 and 3 of the feedback paper; the drawing's own points are read back."""
    from xml.etree import ElementTree

    from PIL import Image

    make("figures-mini.mk", f"OUT={tmp_path}", "TRAIN=24", "STEPS=1", "BATCH=4", "MEASURED=2",
         "SIGNALS=2")  # fmt: skip
    text = (tmp_path / "estimates.md").read_text()
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    figures = {int(row[0]): [float(cell) for cell in row[1:]] for row in rows[2:]}
    assert sorted(figures) == list(range(0, 1000, 100))
    face, gaze, kept = zip(figures[0], figures[900], strict=True)
    assert face[0] > 0.5 > face[1] and gaze[0] < gaze[1] and kept[0] > kept[1]
    assert Image.open(tmp_path / "estimates.png").width == 10 * (192 + 2)
    curves = json.loads((tmp_path / "curves.json").read_text())
    drawn = ElementTree.parse(tmp_path / "curves.svg").getroot()
    lines = [
        [float(point.split(",")[1]) for point in line.attrib["points"].split()]
        for line in drawn.iter("{http://www.w3.org/2000/svg}polyline")
    ]
    assert len(lines) == len(curves) - 1 + 2, "each loss, then the boundary's twice"
    for name, heights in zip([n for n in curves if n != "samples"], lines, strict=False):
        highest = curves[name].index(max(curves[name]))
        assert len(heights) == 20 and heights[highest] == min(heights), name
    labels = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"identity", "gaze", "pose", "interaction", "boundary, blurred"} <= {*labels}
    lengths, _ = (tmp_path / "signals.md").read_text().strip().split("\n\n")
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in lengths.splitlines()]
    assert {row[0] for row in cells} >= {"denoise", "boundary", "identity", "pose"}
    denoise = next([float(cell) for cell in row[1:]] for row in cells if row[0] == "denoise")
    assert denoise[0] > denoise[-1] > 0, "noise hides what is wrong"


def test_attractors_in_miniature(tmp_path: Path) -> None:
    """Figures 5 and 7 of the attractor's paper: rows of textual inversion and of the two methods
    that change weights run, all are planned."""
    printed = make("table-002-mini.mk", "-n", f"OUT={tmp_path}", "SEEDS=0 1")
    assert printed.count("socialcli invert") == 2 * 4 and printed.count(" score --compare ") == 7
    printed = make(
        "table-002-mini.mk", "-n", f"OUT={tmp_path}", "SEEDS=0 1",
        "METHODS=ti ti-attractor neti neti-attractor dreambooth custom-diffusion",
        "SCHEDULES=zero one linear exponential sigmoid",
    )  # fmt: skip
    assert (
        printed.count("socialcli invert") == 2 * 9 and printed.count("socialcli generate") == 2 * 11
    )
    assert printed.count("socialcli train") == 2 * 2
    assert printed.count("--over neti") == 2 * 6 and printed.count(" score --compare ") == 4 + 4 + 1
    small = (
        "table-002-mini.mk", f"OUT={tmp_path}", "SEEDS=0", "SUBJECTS=1", "TEST=2", "STEPS=1",
        "CAPTIONS=1",
        "METHODS=ti ti-attractor dreambooth custom-diffusion", "SCHEDULES=", "BASE=ti",
        "SIZES=--batch-size 2", "PRIOR=--prior-weight 0",
        "DRAW=--steps 1", "METRICS=dino,clip-t", "SCORE=--resamples 20 --show 0",
    )  # fmt: skip
    make(*small)
    text = (tmp_path / "results.md").read_text()
    assert "| Textual Inversion | 0." in text and "| Textual Inversion + attractor | 0." in text
    for effect in (
        "DINO: ti-attractor above ti | paper", "CLIP-T: ti-attractor above ti | paper",
        "DINO gap: ti-attractor below ti | us",
    ):  # fmt: skip
        assert effect in text
    assert "| DreamBooth | 0." in text and "| Custom Diffusion | 0." in text
    for row, word in (("dreambooth", "sks dog"), ("custom-diffusion", "<new1> dog")):
        for one in members(tmp_path / "pictures" / f"{row}-0").values():
            drawn = records.load(records.Generated, one["generated.json"])
            assert word in drawn.prompt and drawn.plain_prompt == drawn.prompt.replace(word, "dog")
    assert "without numbers" in text  # what the paper says of its figures
    again = make(*small, "-n")
    assert "-m socialcli" not in again  # nothing is left to do


def test_three_words_in_one_sentence_and_three_subjects_in_one_layout(tmp_path: Path) -> None:
    """Every command parses; the demo's tests run all of them."""
    import click
    import typer

    from socialcli.cli import app

    printed = make("handshake-mini.mk", "-n", f"OUT={tmp_path}", "SOCIALCLI=socialcli")
    lines = printed.replace("\\\n", " ").splitlines()
    group = typer.main.get_command(app.app)
    ran = []
    for words in (shlex.split(line.partition("&&")[0]) for line in lines):
        if words[:1] == ["socialcli"]:
            context = click.Context(group, info_name="socialcli")
            name, command, rest = group.resolve_command(context, words[1:])
            while hasattr(command, "resolve_command"):
                _, command, rest = command.resolve_command(context, rest)
            command.make_context(name, rest)  # raises where an option or argument is unknown
            ran.append(name)
    assert ran.count("invert") == 4 and ran.count("train") == 1 and ran.count("generate") == 3


def test_the_miniatures_from_nothing(tmp_path: Path) -> None:
    """Two of them to the end of the Makefile. All of them in this short form take a core over 80
    seconds, most of it to encode and measure for diffusion, ssr and controlnet; tests of
    `socialcli.miniature.zoo` train each for a few steps instead."""
    printed = make("zoo.mk", "-n", "zoo", "zoo-check")
    for role in ("ground", "caption", "interaction", "ssr"):
        assert f"socialcli.miniature.zoo {role}" in printed
    published = {file: file.read_bytes() for file in cards.WEIGHTS.rglob("*.card.json")}
    short = f"FLAGS=--weights {tmp_path}/weights --seconds 0.1 --batch 2 --scenes 4"
    printed = make(
        "zoo.mk", "zoo", "zoo-check", "ROLES=face interaction", f"WORK={tmp_path}/work", short
    )
    assert "| ssr | face similarity gained |" in printed  # the table
    for role in ("face", "interaction"):
        card = json.loads((tmp_path / "weights" / role / f"{role}.card.json").read_text())
        assert card["batch"] == 2
        assert card["sha256"] != json.loads(cards.card(role).read_text())["sha256"]
    assert {file: file.read_bytes() for file in published} == published


def test_no_makefile_is_forgotten() -> None:
    included = {f"{name}.mk" for name in INCLUDED}
    assert included.isdisjoint(file.name for file in available().values())
    names = {file.name for file in (ROOT / "pipelines").glob("*.mk")} - included
    source = Path(__file__).read_text()
    demo = (ROOT / "pipelines" / "demo.mk").read_text()
    for name in names:
        run = source if name not in ELSEWHERE else (ROOT / "tests" / ELSEWHERE[name]).read_text()
        assert any(part in run for part in (f'"{name}"', "{name}.mk", f"/{name}")) or (
            "demo.mk" in run and f"$(HERE){name}" in demo
        ), name


def test_the_table_of_several_subjects_comes_out_at_its_smallest(
    python: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of the Makefile in this process, as it is printed: two layouts, two rows."""
    import typer

    from socialcli.benchmarks import table004
    from socialcli.cli import app

    monkeypatch.chdir(ROOT)
    printed = make(
        "table-004-mini.mk", "-n", f"OUT={tmp_path}", "SEEDS=0", "PICTURES=22", "LAYOUTS=2",
        "EVERY=20", "PER=1", "STEPS=2", "WORD_STEPS=1", "DREAM_STEPS=1",
        "PRIOR=--prior-weight 0", "ROWS=words free-gd-sal dreambooth custom-diffusion",
        "IDENTIFIERS=sks ktn", "CUSTOM_STEPS=1", "SEG_STEPS=1", "SEGMENT=--held-back 1 --quiet",
        "SCORE=--resamples 20 --show 0 --quiet", "DRAW=--quiet",
    )  # fmt: skip
    group = typer.main.get_command(app.app)
    program = shlex.join([*python, "-m", "socialcli"])
    scores = []
    for line in printed.replace("\\\n", " ").splitlines():
        words = shlex.split(line.partition("&&")[0].replace(program, "socialcli"))
        if words[:1] == ["socialcli"]:
            group.main(args=words[1:], standalone_mode=False)
            scores += [Path(words[-1])] if words[1] == "score" else []
    rows = ["words", "free-gd-sal", "dreambooth", "custom-diffusion"]
    assert [folder.name for folder in scores] == rows
    figures = table004.figures(scores[1])
    assert set(figures["subjects_missing"]) == {"1", "2"}  # one layout of one subject, one of two
    value, low, high = figures["clip_t_score"]["2"]
    assert 0 <= low <= value <= high
    assert set(figures["sas"]) == {"1", "2"}
    table = "\n".join(table004.lines(scores))
    assert "| free-gd-sal | " in table and "**missing**" in table and "0.93 / 0.50 / 0.89" in table
    concept = records.load(
        records.Generated,
        next(iter(members(tmp_path / "pictures/custom-diffusion-0").values()))["generated.json"],
    )
    assert "a <wjd> woman" in concept.prompt
    drawn = [records.load(records.Generated, m["generated.json"]) for m in
             members(tmp_path / "pictures/dreambooth-0").values()]  # fmt: skip
    assert {" ".join(one.prompt.split()[:3]) for one in drawn} != {"a woman in"}
    picture = next(iter(members(tmp_path / "pictures/free-gd-sal-0").values()))
    assert records.load(records.Layout, picture["layout.json"]).segments[0].subject


def test_all_rows_of_table_3_with_the_real_profile(tmp_path: Path) -> None:
    """What would run: four methods on Concept101, alone and in pairs, and on both DreamBenches."""
    printed = make(
        "table-000-3.mk", "-n", f"OUT={tmp_path}", "DREAMBENCH=db", "DREAMBENCHPLUS=dbpp",
        "OURS=runs/feedback", "MIP=mip.bin",
    ).replace("\\\n", " ")  # fmt: skip
    for command in ("import concept101 data/customconcept101", "import dreambooth db",
                    "import dreambench-plus dbpp", "benchmarks.concept101",
                    "--method ssr --ssr-model runs/feedback"):  # fmt: skip
        assert command in printed, command
    drawn = re.findall(r"generate .* --method (\S+) .*--profile sd15", printed)
    rows = ["ip-adapter", "fastcomposer", "ssr", "ssr"] * 4
    assert sorted(drawn) == sorted([*rows, "mip-adapter"])  # which draws pairs alone
    assert re.findall(r"--captions (\d+)", printed) == ["20"] * 4 + ["25"] * 4 + ["9"] * 4
    judges = re.findall(r"--clip-model (\S+) --dino-model (\S+)", printed)
    assert {clip for clip, _ in judges} == {"openai/clip-vit-base-patch32"}
    assert [dino[-6:] for _, dino in judges] == ["vits16"] * 13 + ["-vits8"] * 4
    assert "models diffusion" in make("table-000-3.mk", "-n", "models")


def test_pairs_of_concepts_to_table_3(tmp_path: Path) -> None:
    """Both concepts of a prompt are fused into it, each at its class."""
    from tiny import diffusion as tiny
    from tiny import fastcomposer as tiny_composer

    model = tiny.stable_diffusion(tmp_path / "sd")
    fast = f"--method fastcomposer --model {tiny_composer.checkpoint(tmp_path / 'fast.bin')}"
    default = "models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    shutil.copytree(model, tmp_path / "hub" / default / "snapshots" / "0")
    out, weights = tmp_path / "out", ROOT / "socialcli/miniature/weights"
    # A server of its own: commands of another hub would be ordinary processes.
    environment = {**os.environ, **ENVIRONMENT, "HF_HUB_CACHE": str(tmp_path / "hub")}
    with preloaded.python(environment, HEAVY) as python:
        make(
            "table-000-3.mk", f"SOCIALCLI={shlex.join(python)} -m socialcli",
            f"PYTHON={shlex.join(python)}", f"CONCEPT101={DATA}/concept101", f"OUT={out}",
            "PROFILE=mini", "SETS=concept101-pairs", "ROWS=fastcomposer late", "DRAW=--steps 1",
            f"method_fastcomposer={fast} --delay 0", f"method_late={fast} --delay 1",
            f"CLIP={weights}/clip", f"DINO={weights}/dino", "SCORE=--resamples 10 --show 0",
            "METRICS=clip-t,clip-i", env=environment,
        )  # fmt: skip
    record = json.loads(
        members(out / "concept101-pairs" / "fastcomposer")["000-00"]["generated.json"]
    )
    assert record["prompt"] == "the cat on the chair" and record["method"] == "fastcomposer"
    assert [one["query"] for one in record["references"]] == ["cat", "chair"]
    reached, paper = (out / "results.md").read_text().split("The paper")
    for name, row in (("FastComposer", "fastcomposer"), ("late", "late")):
        score = json.loads((out / f"concept101-pairs/scores/{row}/score.json").read_text())
        value = score["columns"]["clip_t_score"]["value"]
        assert re.search(rf"\| {name} \| \**{value:.4f}", reached), reached
    assert "| FastComposer | 0.7456 | 0.6552 | 0.3574 |" in paper
