"""The Makefiles of the papers' tables: what a dry run says is needed, and each run to its end.

Models are tiny. Every command runs in this process, as ``make -n`` prints it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, members
from PIL import Image, ImageDraw
from tiny import whole

from socialcli import records, shards
from socialcli.benchmarks import needs, sentences
from socialcli.errors import UsageError

ROOT = Path(__file__).parent.parent
SHELL = ("mkdir ", "printf ", "ln ", "cp ", "touch ", "(", sys.executable)
ABLATIONS = ("no-prior no-poses no-attention", "none word prompt pairs1 pairs10")


def plan(file: str, *variables: object) -> str:
    """What ``make -n`` prints, with continued lines joined."""
    done = subprocess.run(
        ["make", "-n", "-f", f"pipelines/{file}", "SOCIALCLI=socialcli", f"PYTHON={sys.executable}",
         *map(str, variables)],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout.replace("\\\n", " ")


def carry_out(printed: str) -> list[list[str]]:
    """Run every command that a dry run printed; the words of those of socialcli."""
    import typer

    from socialcli.cli import app

    group, ran = typer.main.get_command(app.app), []
    for line in printed.splitlines():
        command, _, rest = line.partition("&&")
        words = shlex.split(command) if line.startswith("socialcli ") else []
        if words:
            output = io.StringIO()
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                try:
                    group.main(args=words[1:], standalone_mode=False)
                except SystemExit as end:
                    assert not end.code, f"{command}\n{output.getvalue()[-3000:]}"
                except Exception as error:
                    raise AssertionError(f"{command}\n{output.getvalue()[-3000:]}") from error
            ran.append(words)
        if words and rest:
            subprocess.run(rest, shell=True, cwd=ROOT, check=True)
        elif line.startswith(SHELL) and "benchmarks.needs" not in line:
            subprocess.run(line, shell=True, cwd=ROOT, check=True)
    return ran


@pytest.fixture(scope="module", autouse=True)
def here():
    """Makefiles name files of the repository."""
    before = Path.cwd()
    os.chdir(ROOT)
    yield
    os.chdir(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Tiny checkpoints of every role, ``tiny.toml``, and those of the tables' baselines."""
    import torch
    from diffusers import ControlNetModel
    from tiny import adapters, diffusion, fastcomposer, interactdiffusion, sdxl

    place = tmp_path_factory.mktemp("models")
    (place / "captions.csv").write_text("image,caption\n")
    profile = whole.profile(place, place / "captions.csv")
    faces = "\n".join(
        f'[generate.{method}]\nface-model = "face"'
        for method in ("ip-adapter", "instantid", "photomaker")
    )
    profile.write_text(f"{profile.read_text()}\n{faces}\n")
    diffusion.instruct_pix2pix(place / "pix2pix")
    interactdiffusion.folder(place / "gated")
    fastcomposer.checkpoint(place / "fast.bin")
    default = "models--stable-diffusion-v1-5--stable-diffusion-v1-5"  # FastComposer's configuration
    shutil.copytree(place / "base", place / "hub" / default / "snapshots" / "0")
    sdxl.stable_diffusion_xl(place / "xl")
    adapters.vision(place / "vision")
    unet = sdxl.unet()
    (place / "instantid").mkdir()
    torch.save(adapters.parts("instantid", unet), place / "instantid" / "ip-adapter.bin")
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16))
    net.save_pretrained(place / "instantid" / "ControlNetModel")
    torch.save(adapters.photomaker(1, unet), place / "photomaker-v1.bin")
    torch.save(adapters.parts("faceid", unet), place / "faceid.bin")
    names = [f"{first} {last}" for first in ("anna", "bob", "boy", "girl", "man", "woman")
             for last in ("cat", "cow", "dog", "horse")]  # fmt: skip
    (place / "names.txt").write_text("\n".join(names))
    torch.save(adapters.mip(unet), place / "mip.bin")
    torch.save(adapters.parts("plain", diffusion.networks()[2]), place / "ip.bin")
    return place


# --- what is needed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "named", "works"),
    [
        ("table-000-1.mk", ("ssr-encoder", "cmmp", "sharingan", "mip-adapter", "HICO-DET"), 6),
        ("table-000-3.mk", ("fastcomposer", "ssr-encoder", "ip-adapter", "Concept101"), 5),
        ("table-001.mk", ("instruct-pix2pix", "interactdiffusion", "controlnet", "exemplars"), 6),
        ("table-003.mk", ("fastcomposer", "instantid", "photomaker", "ip-adapter-faceid"), 6),
    ],
)
def test_a_dry_run_lists_what_a_table_needs(
    tmp_path: Path, file: str, named: tuple[str, ...], works: int
) -> None:
    """With licence, size, whether it is here and how to get it, and hours."""
    here = tmp_path / "shards"
    here.mkdir()
    place = {"table-000-1.mk": "HICO", "table-000-3.mk": "CONCEPT101", "table-001.mk": "SHARDS",
             "table-003.mk": "PEOPLE"}[file]  # fmt: skip
    printed = plan(file, f"OUT={tmp_path}", "MIP=mip.bin", f"{place}={here}")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines()
            if line.startswith("|")]  # fmt: skip
    listed = {row[0]: row[1:] for row in rows if len(row) == 4}
    for name in named:
        assert any(name in what for what in listed), name
    assert listed.pop("what") == ["licence", "size", "here"]
    needed = next(cells for what, cells in listed.items() if what.endswith(str(here)))
    assert needed[2] == "yes"
    model = next(cells for what, cells in listed.items() if what.startswith("stable-diffusion"))
    assert model == ["CreativeML OpenRAIL-M", "5.5 GB", "no"]
    assert "hf download" in printed
    hours = [row for row in rows if len(row) == 2 and row[0] not in ("work", "---")]
    assert len(hours) == works + 1 and hours[-1][0] == "all"
    total, parts = float(hours[-1][1]), sum(float(row[1]) for row in hours[:-1])
    assert total == pytest.approx(parts, abs=0.06 * len(hours) + 0.02 * total)
    assert "socialcli generate" in printed  # and what would run


@pytest.mark.parametrize("file", ["table-000-1.mk", "table-001.mk", "table-003.mk"])
def test_every_command_of_all_rows_is_one_that_the_program_takes(tmp_path: Path, file: str) -> None:
    """Options and arguments are parsed; nothing runs."""
    import click
    import typer

    from socialcli.cli import app

    group, ran = typer.main.get_command(app.app), []
    rows = {
        "table-001.mk": f"sd p-plus reversion textual-inversion {ABLATIONS[0]}",
        "table-003.mk": f"custom-diffusion textual-inversion prospect {ABLATIONS[1]}",
    }
    given = [f"ROWS={rows[file]}"] if file in rows else ["MIP=m.bin", "POSE=p.pth"]
    for line in plan(file, f"OUT={tmp_path}", f"SHARDS={tmp_path}", *given).splitlines():
        if line.startswith("socialcli "):
            words = shlex.split(line.partition("&&")[0])[1:]
            context = click.Context(group, info_name="socialcli")
            name, command, rest = group.resolve_command(context, words)
            while hasattr(command, "resolve_command"):
                _, command, rest = command.resolve_command(context, rest)
            command.make_context(name, rest)  # raises where an option or argument is unknown
            ran.append(name)
    assert (
        ran.count("generate") == {"table-000-1.mk": 17, "table-001.mk": 7, "table-003.mk": 12}[file]
    )


def test_hours_are_operations_by_rate() -> None:
    """Twice the UNet a step, and the decoder once; a training's pass is three times as much."""
    unet, decoder = needs.OPERATIONS["sd15", 512]
    work = ["draw=sd15:512:30:9000", "draw=sd15:512:30:9000", "train=sd15:512:300000"]
    drawn, trained = 9000 * (60 * unet + decoder) / 360_000, 300_000 * 3 * unet / 360_000
    rows = [line.split("|")[1:3] for line in needs.lines(work, teraflops=100)[-3:]]
    assert [cells[0].strip().endswith("2 times") for cells in rows] == [True, False, False]
    hours = [float(cells[1]) for cells in rows]
    assert hours == pytest.approx([2 * drawn, trained, 2 * drawn + trained], rel=0.1)


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("model=pose/xpos", "no pose backend"), ("data=hico", "no data set"),
        ("draw=sd15:500:30:1", "sd15:512"), ("draw=sd15:512:30", "STEPS:PICTURES"),
        ("hico", "model=, data="),
    ],
)  # fmt: skip
def test_a_word_that_nobody_knows_is_one_line(word: str, line: str, capsys) -> None:
    assert needs.main([word]) == 2
    assert line in capsys.readouterr().err


def test_trainings_of_table_1_begin_with_what_the_paper_says(tmp_path: Path) -> None:
    """`all`: HICO-DET, from there GazeFollow; gaze on GazeFollow; curves before inverse."""
    ran = {}
    for line in plan("table-000-1.mk", f"OUT={tmp_path}").splitlines():
        words = shlex.split(line.partition("&&")[0]) if line.startswith("socialcli ") else []
        if words[1:2] == ["train"]:
            shown = [words[words.index(f"--{n}") + 1] for n in ("ssr-model", "feedback", "steps")]
            data = next(word for word in words if word.startswith("shards/")).split("-")[0][7:]
            ran[Path(words[words.index("-o") + 1]).name] = (data, *shown)
    ssr, both = "models/ssr_encoder", "boundary,identity,pose,interaction"
    assert ran["all-hico"] == ("hico", ssr, both, "100")
    there = f"{tmp_path}/models/all-hico"
    assert ran["all"] == ("gazefollow", there, "boundary,identity,gaze,pose", "200")
    assert ran["gaze"] == ("gazefollow", ssr, "gaze", "200")
    assert ran["pose"] == ("hico", ssr, "pose", "100")
    assert ran["plain-gaze"][:3] == ("gazefollow", ssr, "none")
    assert list(ran).index("curves") < list(ran).index("inverse") and len(ran) == 11


# --- tables 000-1 and 000-2 -----------------------------------------------------------------------


def test_tables_1_and_2_to_their_end(tmp_path: Path, models: Path) -> None:
    """A row without training, one trained without feedback, IP-Adapter, and one of SDXL."""
    from socialcli.miniature.world import ground_truth, scenes

    for split in ("train", "test"):
        samples = [(f"{split}-{n}", ground_truth.members(scenes.scene(0, n, 96, split)))
                 for n in (0, 1)]  # fmt: skip
        shards.write(tmp_path / f"{split}.tar", samples)
    out = tmp_path / "out"
    printed = plan(
        "table-000-1.mk", f"OUT={out}", "PROFILE=mini", f"HICO={tmp_path}/train.tar",
        f"GAZEFOLLOW={tmp_path}/train.tar", f"HICO_TEST={tmp_path}/test.tar",
        f"GAZEFOLLOW_TEST={tmp_path}/test.tar", "HICO_STEPS=1", "GAZE_STEPS=1",
        "SSR=socialcli/miniature/weights/ssr", "IDENTITY=", "GAZE=", "INTERACTION=",
        f"MIP={models}/mip.bin", "SIZES=--batch-size 2 --micro-batch 2 --variants 1",
        "ROWS=ssr mip-adapter", "GAZEROWS=plain ip-adapter", "FIT=--quiet",
        "DRAW=--steps 1 --quiet", "METRICS=clip-t", "SCORE=--resamples 10 --show 0 --quiet",
        f"draw_ip-adapter=--model {models}/base --adapter-model {models}/ip.bin "
        f"--image-encoder-model {models}/vision --size 32",
        f"draw_mip-adapter=--model {models}/xl --image-encoder-model {models}/vision --size 32",
    )  # fmt: skip
    (ran,) = [words for words in carry_out(printed) if words[1] == "train"]
    assert ran[ran.index("--feedback") + 1] == "none"
    hico, gaze = (out / "results.md").read_text().split("## GazeFollow")
    for name in ("SSR-Encoder", "MIP-Adapter (SDXL)"):
        assert hico.count(f"| {name} |") == 2, name  # reached, and the paper's
    assert gaze.count("| fine-tuned, no feedback |") == 2 == gaze.count("| IP-Adapter |")
    assert "| Gaze % | Face |" in gaze
    assert "| 18.07 | 18.5 | 17.94 |" in hico and "| 57.68 | 0.6052 |" in gaze


# --- table 001 ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exemplars(tmp_path_factory) -> Path:
    """Two exemplars of two interactions each."""
    from socialcli.miniature.world import interactions as world

    file = tmp_path_factory.mktemp("exemplars") / "a.tar"
    numbers = [number + 15 * turn for turn in (0, 1) for number in (0, 7)]
    shards.write(file, [(world.key("interactions", n), world.exemplar(0, n, 96)) for n in numbers])
    return file


SENTENCES = """interaction,first,second,sentence,verb
push,dog,woman,A dog is pushing a woman on the street.,
kneel-before,man,cat,"In the park a man is kneeling before a cat, holding its paw.",kneel before
push,boy,girl,A boy is pushing another girl.,
"""


def test_sentences_are_put_beside_exemplars(tmp_path: Path, exemplars: Path) -> None:
    (tmp_path / "s.csv").write_text(SENTENCES)
    given = [str(exemplars), str(tmp_path / "s.csv"), "-o", str(tmp_path / "out.tar")]
    assert sentences.main(given) == 0
    by_key = members(tmp_path / "out.tar")
    assert list(by_key) == ["push/000", "kneel-before/000", "push/001"]
    sources = {s.key: s for s in shards.read(str(exemplars))}
    used = []
    for key, one in by_key.items():
        sample = shards.Sample(key, one)
        meta = sample.record(records.Meta)
        used.append(meta.extra["exemplar"])
        assert one["png"] == sources[used[-1]].picture()
        first, second = sample.record(records.Entities).entities
        text = sample.record(records.Caption).text
        assert text[first.start : first.end] == first.text
        assert text[second.start : second.end] == second.text and first.end < second.start
        act = sources[used[-1]].record(records.Interactions).interactions[0]
        people = {p.id: p for p in sources[used[-1]].record(records.People).people}
        kept = sample.record(records.People).people
        wanted = [people[act.subject].keypoints, people[act.object_person].keypoints]
        assert [p.keypoints for p in kept] == wanted
    assert used[0] != used[2] and used[0].startswith("push/")
    caption = shards.Sample("", by_key["kneel-before/000"]).record(records.Caption)
    assert caption.others == [
        "a man <kneel-before-1> <kneel-before> a cat <kneel-before-2>",
        "a man <kneel-before> a cat",
    ]
    second = shards.Sample("", by_key["push/001"]).record(records.Entities).entities[1]
    assert (second.text, second.head, second.kind) == ("another girl", "girl", "person")
    act = shards.Sample("", by_key["push/000"]).record(records.Interactions).interactions[0]
    assert (act.verb, act.object_label) == ("push", "woman")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("interaction,first,second\n", "no column sentence"),
        ("interaction,first,second,sentence\npush,dog,,A dog.\n", "line 2: second is empty"),
        ("interaction,first,second,sentence\npush,dog,cat,A cat and a dog.\n", "name 'cat'"),
        ("interaction,first,second,sentence\nfly,dog,cat,A dog and a cat.\n", "'fly'; there are"),
        ("interaction,first,second,sentence\n", "no sentences"),
    ],
)
def test_sentences_that_cannot_be_used_are_one_line(
    tmp_path: Path, exemplars: Path, text: str, line: str
) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(UsageError, match=line):
        list(
            sentences.samples(
                sentences.exemplars(str(exemplars)), sentences.read(tmp_path / "s.csv")
            )
        )


def test_table_001_to_its_end(tmp_path: Path, models: Path, exemplars: Path) -> None:
    """ControlNet, both editors and words, judged by judges of the same exemplars."""
    (tmp_path / "s.csv").write_text("".join(SENTENCES.splitlines(True)[:3]))
    out = tmp_path / "out"
    small = "--batch-size 2 --micro-batch 2 --quiet"
    printed = plan(
        "table-001.mk", f"OUT={out}", f"SHARDS={exemplars}", f"SENTENCES={tmp_path}/s.csv",
        "PROFILE=mini", "PICTURES=1", "STEPS=1", f"INVERT={small}", "JUDGE=--steps 2 --quiet",
        "CONTROLNET=socialcli/miniature/weights/controlnet", "DRAW=--steps 1 --quiet",
        "OURS=--method interaction --variants 1 --sampling-steps 1",
        f"method_instruct-pix2pix=--method instruct-pix2pix --model {models}/pix2pix",
        f"method_interactdiffusion=--method interactdiffusion --model {models}/gated "
        "--adapter-model ''",  # in place of the profile's
        "ROWS=controlnet instruct-pix2pix interactdiffusion interaction",
        "SCORE=--resamples 10 --show 0 --quiet",
    )  # fmt: skip
    ran = carry_out(printed)
    assert [w[1] for w in ran].count("generate") == 4 == [w[1] for w in ran].count("score") - 1
    reached, paper = (out / "results.md").read_text().split("The paper, Stable Diffusion")
    for name in ("ControlNet", "InstructPix2Pix", "InteractDiffusion", "Inverted Interaction"):
        cells = next(line for line in reached.splitlines() if line.startswith(f"| {name} |"))
        assert all(cell.strip() for cell in cells.split("|")[1:-1]), cells
    assert "40.81" in paper and "Known and new" not in reached
    drawn = {row: members(out / "drawn" / row) for row in ("interaction", "controlnet")}
    prompts = {row: json.loads(by_key["push/000"]["generated.json"])["prompt"]
               for row, by_key in drawn.items()}  # fmt: skip
    assert prompts == {
        "interaction": "a dog <push-1> <push> a woman <push-2>",
        "controlnet": "A dog is pushing a woman on the street.",
    }  # fmt: skip


# --- table 003 ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """A photograph of one person, whose face the tiny detector finds."""
    place = tmp_path_factory.mktemp("people")
    image = Image.new("RGB", (640, 640), (90, 110, 40))
    ImageDraw.Draw(image).rectangle((128, 128, 159, 159), fill=(255, 0, 0))
    (place / "anna").mkdir()
    image.save(place / "anna" / "1.png")
    return place


def test_table_003_to_its_end(
    tmp_path: Path, models: Path, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both tables: words, a model for each person, FastComposer; FaceID, PhotoMaker, InstantID."""
    monkeypatch.setenv("HF_HUB_CACHE", str(models / "hub"))
    out = tmp_path / "out"
    small = "--quiet --steps 1"
    printed = plan(
        "table-003.mk", f"OUT={out}", f"PEOPLE={people}", f"PROFILE={models}/tiny.toml",
        f"MODEL={models}/base", f"XLMODEL={models}/xl", "CLASS=man", "CAPTIONS=2", f"FIT={small}",
        "PRIOR=--prior-weight 0", "DRAW=--steps 1 --quiet", "XLDRAW=--steps 2 --quiet",
        "SCORE=--resamples 10 --show 0 --quiet", "METRICS=prompt",
        f"method_fastcomposer=--method fastcomposer --model {models}/fast.bin",
        f"PHOTOMAKER={models}/photomaker-v1.bin",
        f"INSTANTID={models}/instantid/ip-adapter.bin", f"FACEID={models}/faceid.bin",
        f"NAMES={models}/names.txt", "ROWS=identity dreambooth celeb-basis fastcomposer",
        "XL=photomaker instantid faceid",
    )  # fmt: skip
    ran = carry_out(printed)
    assert [w[1] for w in ran].count("train") == 1
    text = (out / "results.md").read_text()
    for name in ("DreamBooth", "Celeb Basis", "FastComposer", "5 pairs, all tokens (identity)",
                 "PhotoMaker", "InstantID", "IP-Adapter FaceID"):  # fmt: skip
        assert f"| {name} |" in text, name
    calls = {}
    for row in ("identity", "fastcomposer", "photomaker"):
        drawn = members(out / "pictures" / row)
        assert len(drawn) == 2
        calls[row] = json.loads(drawn["anna/1-caption-0"]["generated.json"])
    assert calls["identity"]["prompt"] == "a photo of the face of <anna>"
    assert calls["photomaker"]["prompt"] == "a photo of the face of man img"
    for one in calls.values():
        assert one["plain_prompt" if "plain_prompt" in one else "prompt"].endswith("man")
    booth = members(out / "pictures" / "dreambooth" / "anna")
    assert json.loads(booth["anna/1-caption-1"]["generated.json"])["prompt"].startswith("a sks man")
