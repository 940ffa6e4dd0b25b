"""`socialcli score` from shards to tables: with stand-in models whose answers are known by hand,
and with tiny checkpoints through the command line."""

from __future__ import annotations

import errno
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
from standins import colour_of, png

from socialcli import backends, records, shards
from socialcli.backends.roles import Detection
from socialcli.errors import ModelMissing, SocialcliError, UsageError
from socialcli.evaluation import compare, run
from socialcli.evaluation.run import Options
from socialcli.evaluation.settings import config_type
from socialcli.records import Face, Gaze, Interaction, Interactions, Model

Config = config_type()
EVERY = "clip-t,clip-i,dino,face,gaze,hoi,fid,kid"
RED, GREEN, BLUE, GREY = (200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)
WORDS = {"red": RED, "green": GREEN, "blue": BLUE}


# ---- pictures, and models that see their colour -------------------------------------------------


def source(colour, look_at="cup", verb="hold") -> dict[str, bytes]:
    """A picture of somebody who looks at a cup on the right, and holds it."""
    person = records.Person(1, gaze=Gaze(point=(0.75, 0.5), inside=True))
    box = records.Box(1, (0.5, 0.0, 1.0, 1.0), look_at)
    annotations = {
        "people.json": records.People(16, 12, [person]),
        "boxes.json": records.Boxes(16, 12, [box]),
        "interactions.json": Interactions([Interaction(1, verb, object_label="cup")]),
        "caption.json": records.Caption("a red thing"),
    }
    return {
        "png": png(colour),
        **{name: records.dump(value) for name, value in annotations.items()},
    }


def made_from(key, colour, prompt="a red thing", **more) -> dict[str, bytes]:
    info = {"prompt": prompt, "seed": 1, "method": "ssr", "source_key": key, **more}
    return {"png": png(colour), "generated.json": json.dumps(info).encode()}


COLOURS = [RED, GREEN, BLUE, (150, 90, 0), (0, 120, 150), (180, 0, 90)]


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    """Generated shards and the shards they were made from: all as their sources but the last."""
    keys = [f"s{n}" for n in range(len(COLOURS))]
    sources = [(key, source(colour)) for key, colour in zip(keys, COLOURS, strict=True)]
    shards.write(tmp_path / "ref" / "000.tar", sources)
    drawn = [*COLOURS[:-1], GREY]
    rows = [(key, made_from(key, colour)) for key, colour in zip(keys, drawn, strict=True)]
    shards.write(tmp_path / "gen" / "000.tar", rows[:3])
    shards.write(tmp_path / "gen" / "001.tar", rows[3:])
    return tmp_path / "gen", tmp_path / "ref"


class Stand:
    """A model of any role that goes by the colour of the picture."""

    embeds = True

    def __init__(self, world, role: str, name: str = "") -> None:
        self.world, self.role = world, role
        self.model = Model("stand-in", name, role=role)

    def images(self, images):
        self.world.seen.append(len(images))
        self.world.before(images)
        return numpy.stack([colour_of(image) for image in images])

    def texts(self, texts):
        return numpy.array([WORDS[text.split()[1]] for text in texts], numpy.float32)

    def unread(self, text):
        return ""

    def detect(self, images):
        points = [(0.2, 0.2), (0.3, 0.2), (0.25, 0.3), (0.2, 0.4), (0.3, 0.4)]
        face = Face((0.1, 0.1, 0.4, 0.6), 0.9, points)
        return [
            [face] if numpy.ptp(colour_of(image)) > 20 else [] for image in images
        ]  # not of grey ones

    def embed(self, images, faces):
        return [
            numpy.stack([colour_of(i)] * len(f)) if f else numpy.zeros((0, 3))
            for i, f in zip(images, faces, strict=True)
        ]

    def gaze(self, images, heads):
        # Who is drawn in green looks the other way.
        return [
            [Gaze(point=(0.2, 0.5) if colour_of(i)[1] > 150 else (0.8, 0.5)) for _ in own_heads]
            for i, own_heads in zip(images, heads, strict=True)
        ]

    def ground(self, images, phrases, box_threshold, text_threshold):
        self.world.asked += phrases
        return [
            [
                Detection(n, (0.5, 0.0, 1.0, 1.0), 0.9)
                for n, p in enumerate(own_phrases)
                if p == "cup"
            ]
            for own_phrases in phrases
        ]

    def interact(self, images, people, boxes, known):
        assert all(one is None for one in known)
        self.world.scenes += list(zip(people, boxes, strict=True))
        return [
            Interactions(
                [Interaction(1, "hold", object_label="cup", score=float(colour_of(i)[0]) / 255)]
            )
            for i in images
        ]


@pytest.fixture
def world(monkeypatch):
    """Every model is a stand-in; ``world.loaded`` lists those that were loaded."""
    stand_in = SimpleNamespace(
        loaded=[], seen=[], asked=[], scenes=[], before=lambda images: None, name=""
    )

    def load(spec):
        stand_in.loaded.append(spec.role)
        return Stand(stand_in, spec.role, stand_in.name)

    info = backends.BackendInfo("stand-in", "none")
    monkeypatch.setattr(backends, "load", load)
    monkeypatch.setattr(backends, "info", lambda role, name: info)
    return stand_in


def score(gen, out, ref=None, metrics=EVERY, options=None, **config):
    given = {"reference": [str(ref)] if ref else [], "quiet": True, "resamples": 50}
    how = Options(**{**given, **(options or {})})
    chosen = Config(metrics=metrics, device="cpu", dtype="float32", **config)
    return run.score([str(gen)] if isinstance(gen, Path) else gen, str(out), chosen, how)


def values(result) -> dict[str, float]:
    return {name: column["value"] for name, column in result.columns.items()}


def cosine(a, b) -> float:
    a, b = numpy.array(a, float), numpy.array(b, float)
    return float(a @ b / numpy.linalg.norm(a) / numpy.linalg.norm(b))


# ---- the whole way ------------------------------------------------------------------------------


def test_every_figure_by_hand(data, world, tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics")
    gen, ref = data
    result = score(gen, tmp_path / "out", ref)
    figures = values(result)
    drawn = [*COLOURS[:-1], GREY]
    fits = [cosine(colour, RED) for colour in drawn]
    assert figures["clip_t"] == pytest.approx(numpy.mean(fits))
    assert figures["clip_t_score"] == pytest.approx(2.5 * numpy.mean(fits))
    alike = [1.0] * 5 + [cosine(GREY, COLOURS[-1])]
    assert figures["clip_i"] == figures["dino"] == pytest.approx(numpy.mean(alike))
    # Six real faces; grey pictures show none.
    assert figures["face"] == pytest.approx(1)
    assert figures["face_all"] == figures["face_found"] == pytest.approx(5 / 6)
    # Five heads, of which the green picture's looks the other way; the sixth is not there.
    assert figures["gaze"] == pytest.approx(100 * 4 / 5)
    assert figures["gaze_targets"] == pytest.approx(100 * 4 / 6)
    assert figures["gaze_heads"] == pytest.approx(100 * 5 / 6)
    assert figures["hoi"] == figures["hoi_pairs"] == pytest.approx(100)
    assert figures["hoi_rare"] is None  # nobody said which classes are rare
    assert figures["fid"] > 0
    assert result.columns["face"]["n"] == 5 and result.columns["hoi"]["n"] == 6
    assert not result.lost


def test_what_is_looked_for_comes_from_the_reference(data, world, tmp_path: Path) -> None:
    gen, ref = data
    score(gen, tmp_path / "out", ref, "gaze")
    assert world.asked == [["cup"]] * 6
    world.asked.clear()
    score(gen, tmp_path / "out2", ref, "hoi")
    assert world.asked == [["cup", "person"]] * 6
    people, boxes = world.scenes[0]
    assert [box.label for box in boxes.boxes] == ["cup"] and people.people == []


def test_the_folder_holds_everything(data, world, tmp_path: Path) -> None:
    gen, ref = data
    out = tmp_path / "out"
    score(gen, out, ref, "clip-t,face", {"title": "Ours & <co>"})
    body = json.loads((out / "score.json").read_text())
    assert body["pictures"] == 6 and body["units"] == 6 and body["lost"] == 0
    assert body["models"]["clip"] == [
        {"backend": "stand-in", "model": "", "role": "clip", "options": {}}
    ]
    column = body["columns"]["face_found"]
    assert column["low"] <= column["value"] <= column["high"] and column["resamples"] == 50
    assert body["methods"] == {"ssr": 6}
    lines = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == [f"s{n}" for n in range(6)]
    assert lines[0]["clip_t"] == pytest.approx(1) and lines[5]["face"] is None
    table = (out / "table.md").read_text()
    assert "| CLIP-T | ↑ | 0.4" in table and "Ours & \\<co\\>" in table
    latex = (out / "table.tex").read_text()
    assert r"Ours \& <co> & 0.4" in latex and r"CLIP-T $\times$2.5 $\uparrow$" in latex
    assert latex.count("&") == 3 * 5 + 1  # three rows of five figures, and the title's own


def test_the_page_shows_best_and_worst_and_runs_nothing(data, world, tmp_path: Path) -> None:
    gen, ref = data
    evil = made_from("s5", GREY, "a blue <script>alert(1)</script> & thing")
    shards.write(gen / "001.tar", [("s5", evil)])
    score(gen, tmp_path / "out", ref, "clip-t,clip-i", {"show": 2})
    page = (tmp_path / "out" / "index.html").read_text()
    assert (
        "<script" not in page and "a blue &lt;script&gt;alert(1)&lt;/script&gt; &amp; thing" in page
    )
    assert "default-src &#x27;none&#x27;" in page
    for name in ("clip_t", "clip_i"):
        section = page.split(f'<h2 id="{name}">')[1].split("<h2")[0]
        best, worst = section.split("<h3>Worst</h3>")
        assert best.count("<figure") == worst.count("<figure") == 2
        shown = [float(v) for v in re.findall(r"<b>(-?[\d.]+)</b>", section)]
        assert min(shown[:2]) >= max(shown[2:])
    shown = re.findall(r'src="([^"]+)"', page)
    assert len(shown) == 2 * 4 * 2  # figures, pictures, generated and reference
    files = {f"pictures/{path.name}" for path in (tmp_path / "out" / "pictures").iterdir()}
    assert files == set(shown)  # one file each, whatever it is shown for


def test_a_full_disk_leaves_a_score_as_it_was(data, world, tmp_path: Path, monkeypatch) -> None:
    gen, ref = data

    def contents() -> dict[str, bytes]:
        files = (p for p in tmp_path.rglob("*") if p.is_file() and "features" not in p.parts)
        return {str(p.relative_to(tmp_path)): p.read_bytes() for p in files}

    def full(body: object, figures: object) -> Iterator[str]:
        yield "<html>"
        raise OSError(errno.ENOSPC, "No space left on device")

    before = contents()
    with monkeypatch.context() as patch, pytest.raises(SocialcliError, match="the disk is full"):
        patch.setattr("socialcli.evaluation.page.page", full)
        score(gen, tmp_path / "out", ref, "clip-t")
    assert contents() == before
    score(gen, tmp_path / "out", ref, "clip-t")
    whole = contents()
    assert {"out/score.json", "out/rows/clip-t.npz", "out/samples.jsonl"} <= set(whole)
    with monkeypatch.context() as patch, pytest.raises(SocialcliError, match="the disk is full"):
        patch.setattr("socialcli.evaluation.page.page", full)
        score(gen, tmp_path / "out", ref, "clip-i", {"limit": 1})
    assert contents() == whole


def test_a_picture_folder_is_as_good_as_shards(data, world, tmp_path: Path) -> None:
    gen, ref = data
    folder = tmp_path / "pictures"
    for shard in sorted(gen.glob("*.tar")):
        for number, sample in enumerate(shards.read(str(shard))):
            target = folder / "sub" / f"{sample.key}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(sample.members["png"])
            suffix = ".json" if number % 2 else ".generated.json"
            target.with_suffix(suffix).write_bytes(sample.members["generated.json"])
    first = score(gen, tmp_path / "a", ref, "clip-t,clip-i,face")
    (folder / "grid.png").write_bytes(png(BLUE))  # a contact sheet, with no JSON beside it
    second = score(folder, tmp_path / "b", ref, "clip-t,clip-i,face")
    assert not second.lost
    assert values(first) == values(second)
    assert second.cases[0].key == "sub/s0"


def test_real_pictures_can_be_scored(data, world, tmp_path: Path) -> None:
    _, ref = data
    figures = values(score(ref, tmp_path / "out", None, "clip-t,clip-i,face", {"real": True}))
    assert figures["clip_i"] == figures["face"] == figures["face_found"] == pytest.approx(1)
    assert figures["clip_t"] == pytest.approx(numpy.mean([cosine(c, RED) for c in COLOURS]))


def test_limit_and_plain_prompt(data, world, tmp_path: Path) -> None:
    gen, ref = data
    shards.write(
        gen / "000.tar", [("s0", made_from("s0", RED, "a <new1> x", plain_prompt="a green x"))]
    )
    result = score(gen, tmp_path / "out", ref, "clip-t", {"limit": 1})
    assert len(result.cases) == 1
    assert values(result)["clip_t"] == pytest.approx(0)


def test_several_pictures_of_a_source_are_one_unit(data, world, tmp_path: Path) -> None:
    _, ref = data
    shards.write(
        tmp_path / "many.tar",
        [(f"s{n}-{i}", made_from(f"s{n}", RED)) for n in (0, 1) for i in (1, 2)],
    )
    result = score(tmp_path / "many.tar", tmp_path / "out", ref, "clip-i")
    assert [case.unit for case in result.cases] == ["s0", "s0", "s1", "s1"]
    assert json.loads((tmp_path / "out" / "score.json").read_text())["units"] == 2
    plain = {"plain_prompt": "a red toy"}
    free = [(f"{n}", made_from(None, RED, f"a red <x{n}>", **plain)) for n in range(3)]
    shards.write(tmp_path / "free.tar", free)
    result = score(tmp_path / "free.tar", tmp_path / "out2", None, "clip-t")
    assert {case.unit for case in result.cases} == {"a red toy"}
    assert result.columns["clip_t"]["value"] == pytest.approx(1)
    assert result.columns["clip_t"]["low"] is None  # one source says nothing about others


# ---- what is compared with what -----------------------------------------------------------------


@pytest.fixture
def subjects(tmp_path: Path) -> tuple[Path, Path]:
    """Two pictures of a dog (red, green), one of a cat (blue), each with a box; one generated."""

    def picture(colour, label):
        boxes = records.Boxes(16, 12, [records.Box(1, (0.0, 0.0, 0.5, 1.0), label)])
        return {"png": png(colour), "boxes.json": records.dump(boxes)}

    real = [
        ("dog/0", picture(RED, "dog")),
        ("dog/1", picture(GREEN, "dog")),
        ("cat/0", picture(BLUE, "cat")),
    ]
    shards.write(tmp_path / "ref.tar", real)
    given = [{"key": "dog/0.png", "query": "the dog"}, {"key": "cat/0", "query": "cat"}]
    sample = made_from(None, RED, references=given)
    shards.write(tmp_path / "gen.tar", [("0", sample)])
    return tmp_path / "gen.tar", tmp_path / "ref.tar"


def test_subjects_and_references(subjects, world, tmp_path: Path) -> None:
    gen, ref = subjects
    both = values(score(gen, tmp_path / "a", ref, "clip-i"))  # dog: 1 and 0; cat: 0
    assert both["clip_i"] == pytest.approx((0.5 + 0) / 2)
    given = values(score(gen, tmp_path / "b", ref, "clip-i", against="references"))
    assert given["clip_i"] == pytest.approx((1 + 0) / 2)
    figures = values(score(gen, tmp_path / "c", ref, "face"))
    assert figures["face_found"] == pytest.approx(1 / 2)  # of two subjects, not of three pictures


def test_crops(tmp_path: Path, world) -> None:
    from PIL import Image

    halves = Image.new("RGB", (16, 12), BLUE)
    halves.paste(RED, (0, 0, 8, 12))
    out = io.BytesIO()
    halves.save(out, "PNG")
    boxes = records.Boxes(16, 12, [records.Box(1, (0.0, 0.0, 0.5, 1.0), "dog"),
                                   records.Box(2, (0.5, 0.0, 1.0, 1.0), "cup")])  # fmt: skip
    shards.write(
        tmp_path / "ref.tar", [("a", {"png": out.getvalue(), "boxes.json": records.dump(boxes)})]
    )
    given = [{"key": "a", "query": "dog"}]
    shards.write(tmp_path / "gen.tar", [("a", made_from("a", RED, references=given))])
    whole = values(score(tmp_path / "gen.tar", tmp_path / "1", tmp_path / "ref.tar", "clip-i"))
    assert whole["clip_i"] == pytest.approx(cosine((1, 0, 1), RED))
    one = score(
        tmp_path / "gen.tar", tmp_path / "2", tmp_path / "ref.tar", "clip-i", crops="references"
    )
    assert values(one)["clip_i"] == pytest.approx(1) and not any("--crops" in n for n in one.notes)
    given = [{"key": "a", "query": "cup"}]
    half = Image.new("RGB", (16, 12), RED)
    half.paste(BLUE, (8, 0, 16, 12))
    out = io.BytesIO()
    half.save(out, "PNG")
    sample = {**made_from("a", RED, references=given), "png": out.getvalue()}
    shards.write(tmp_path / "gen.tar", [("a", sample)])
    both = score(tmp_path / "gen.tar", tmp_path / "3", tmp_path / "ref.tar", "clip-i", crops="both")
    assert values(both)["clip_i"] == pytest.approx(1)  # the cup found on the right is blue too
    assert world.asked == [["cup"]]


def test_crops_of_what_has_no_boxes_are_told(data, world, tmp_path: Path) -> None:
    gen, ref = data
    shards.write(ref / "000.tar", [(f"s{n}", {"png": png(c)}) for n, c in enumerate(COLOURS)])
    result = score(gen, tmp_path / "out", ref, "clip-i", crops="references")
    said = "6 of 6 reference pictures have no box of their subject (first s0): --crops compares"
    assert [note for note in result.notes if note.startswith(said)]
    plain = score(gen, tmp_path / "plain", ref, "clip-i")
    assert values(result) == values(plain) and not any("--crops" in note for note in plain.notes)


# ---- seen once, kept, gone on with --------------------------------------------------------------


def test_a_second_score_loads_no_model(data, world, tmp_path: Path) -> None:
    gen, ref = data
    first = score(gen, tmp_path / "out", ref, "clip-t,clip-i,dino,face,gaze,hoi")
    assert world.loaded.count("clip") == 1  # for pictures and texts
    world.loaded.clear()
    again = score(gen, tmp_path / "out", ref, "clip-t,clip-i,dino,face,gaze,hoi")
    assert world.loaded == [] and values(first) == values(again)
    assert again.models["faces"][0]["backend"] == "stand-in"
    other = score(
        gen, tmp_path / "elsewhere", ref, "clip-i", {"features": str(tmp_path / "out/features")}
    )
    assert world.loaded == [] and values(other)["clip_i"] == values(first)["clip_i"]


def test_the_same_picture_is_seen_once(data, world, tmp_path: Path) -> None:
    gen, ref = data
    score(gen, tmp_path / "out", ref, "clip-i")
    assert sum(world.seen) == 7  # five are pixel for pixel their sources


def test_another_model_is_asked_again(data, world, tmp_path: Path) -> None:
    gen, ref = data
    weights = tmp_path / "clip.safetensors"
    weights.write_bytes(b"1")
    score(gen, tmp_path / "out", ref, "clip-i", clip_model=str(weights))
    world.seen.clear()
    weights.write_bytes(b"22")
    score(gen, tmp_path / "out", ref, "clip-i", clip_model=str(weights))
    assert sum(world.seen) == 7


def test_a_score_that_was_stopped_goes_on(data, world, tmp_path: Path) -> None:
    gen, ref = data
    calls = []

    def stop(images):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt

    world.before = stop
    with pytest.raises(KeyboardInterrupt):
        score(gen, tmp_path / "out", ref, "clip-i", batch_size=1)
    world.before = lambda images: None
    world.seen.clear()
    score(gen, tmp_path / "out", ref, "clip-i", batch_size=1)
    assert sum(world.seen) == 7 - 3


def test_memory_that_runs_out_makes_smaller_batches(data, world, tmp_path: Path) -> None:
    gen, ref = data

    def full(images):
        if len(images) > 2:
            raise MemoryError

    world.before = full
    result = score(gen, tmp_path / "out", ref, "clip-i", batch_size=6)
    assert not result.lost and result.columns["clip_i"]["n"] == 6


def test_a_damaged_store_is_made_again(data, world, tmp_path: Path) -> None:
    gen, ref = data
    score(gen, tmp_path / "out", ref, "clip-i")
    for tar in (tmp_path / "out" / "features").rglob("*.tar"):
        tar.write_bytes(tar.read_bytes()[:700])
    world.seen.clear()
    result = score(gen, tmp_path / "out", ref, "clip-i")
    assert sum(world.seen) >= 6 and result.columns["clip_i"]["n"] == 6


# ---- what goes wrong ----------------------------------------------------------------------------


def test_a_bad_picture_stops_nothing(data, world, tmp_path: Path) -> None:
    gen, ref = data
    broken = {**made_from("s1", GREEN), "png": png(GREEN)[:40]}
    shards.write(gen / "002.tar", [("s1-broken", broken), ("s1-empty", {"generated.json": b"{}"})])
    with pytest.raises(SocialcliError, match="2 of 8 pictures failed, more than --max-error-rate"):
        score(gen, tmp_path / "out", ref, "clip-i")
    figures = values(score(gen, tmp_path / "out", ref, "clip-i", {"max_error_rate": 0.5}))
    assert figures["clip_i"] == pytest.approx((5 + cosine(GREY, COLOURS[-1])) / 6)
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "errors.jsonl").read_text().splitlines()
    ]
    reasons = {line["key"]: line["reason"] for line in lines}
    assert "no picture" in reasons["s1-empty"] and "cannot be" in reasons["s1-broken"]


def test_a_model_that_fails_on_one_picture_fails_on_that_one(data, world, tmp_path: Path) -> None:
    gen, ref = data

    def fussy(images):
        if any(colour_of(image)[2] > 190 for image in images):
            raise ValueError("too blue")

    world.before = fussy
    result = score(gen, tmp_path / "out", ref, "clip-i,face", {"max_error_rate": 0.5})
    assert result.columns["clip_i"]["n"] == 5 and result.columns["face"]["n"] == 5
    assert {(one.key, one.reason) for one in result.lost} == {("s2", "clip: ValueError: too blue")}


def test_hostile_json_harms_nobody(data, world, tmp_path: Path) -> None:
    gen, ref = data
    odd = [
        b"[" * 100_000,
        b'{"prompt": ["x"], "source_key": 7, "references": [1, {"key": {}}, "s0"]}',
        b'{"prompt": "a red \\ud800 \\u202e|*x*", "seed": NaN, "method": {}, "source_key": "s0"}',
        b"[]",
    ]
    rows = [(f"odd{n}", {"png": png(RED), "generated.json": data}) for n, data in enumerate(odd)]
    shards.write(gen / "002.tar", rows)
    result = score(gen, tmp_path / "out", ref, "clip-t,clip-i", {"max_error_rate": 1})
    reasons = {one.key: one.reason for one in result.lost}
    assert set(reasons) == {"odd0", "odd1", "odd3"}
    assert all(one.location.endswith("002.tar") for one in result.lost)
    assert "not valid JSON" in reasons["odd0"] and "expected a JSON object" in reasons["odd3"]
    assert result.cases[-1].key == "odd2" and result.pictures["clip_i"][-1] == pytest.approx(1)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "\u202e" not in page


def test_a_source_that_is_not_there(data, world, tmp_path: Path) -> None:
    gen, ref = data
    shards.write(gen / "002.tar", [("lost", made_from("s99", RED)), ("free", made_from(None, RED))])
    result = score(gen, tmp_path / "out", ref, "clip-i", {"max_error_rate": 0.5})
    reasons = {one.key: one.reason for one in result.lost}
    assert "its source 's99' is not in the reference shards" in reasons["lost"]
    assert "neither source_key nor references" in reasons["free"]
    assert len(result.cases) == 6


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("metrics", "config", "says"),
    [
        ("clip-x", {}, "--metrics 'clip-x'. Did you mean"),
        (" , ", {}, "--metrics is empty"),
        ("clip-i", {"against": "all"}, "--against 'all'. There are: auto"),
        ("clip-i", {"crops": "some"}, "--crops 'some'. There are: none"),
        ("hoi", {"hoi_ap": "12"}, "--hoi-ap '12'. There are: 11, 11-float, all"),
        ("fid", {"fid_features": "vgg"}, "--fid-features 'vgg'. There are: clip"),
        ("face", {"face_threshold": 2.0}, "--face-threshold 2.0: expected a number from 0 to 1"),
        ("clip-i", {"batch_size": 0}, "--batch-size 0: at least 1"),
        ("hoi", {"hoi_classes": "nowhere.json"}, "--hoi-classes nowhere.json: no such file"),
    ],
)
def test_options_that_make_no_sense(data, world, tmp_path, metrics, config, says) -> None:
    with pytest.raises(UsageError) as error:
        score(data[0], tmp_path / "out", data[1], metrics, **config)
    assert says in one_line(error) and world.loaded == []


def test_inputs_that_make_no_sense(data, world, tmp_path: Path) -> None:
    gen, ref = data
    plain = tmp_path / "plain.tar"
    shards.write(plain, [("a", {"png": png(RED)}), ("b", {"png": png(RED)})])
    other = tmp_path / "other.tar"
    shards.write(other, [("z", {"png": png(RED)})])
    (tmp_path / "nothing").mkdir()
    silent = tmp_path / "silent.tar"
    shards.write(silent, [("s0", made_from("s0", RED, ""))])
    cases = [
        ((gen, None, "clip-i"), "clip-i: compared with reference pictures: give --reference"),
        ((gen, None, "fid"), "fid: compared with reference pictures"),
        (
            (plain, ref, "clip-t"),
            "no generated.json: these are not pictures of `socialcli generate`",
        ),
        ((gen, other, "face"), "'s0' is not in the reference shards; the reference has e.g. 'z'"),
        (([str(gen), "-"], ref, "face"), "score reads its inputs more than once"),
        ((tmp_path / "nothing", ref, "face"), "neither shards nor pictures"),
        ((tmp_path / "absent", ref, "face"), "no such shard"),
        ((silent, ref, "clip-t"), "no sample has a prompt"),
    ]
    for (first, second, metrics), says in cases:
        with pytest.raises(UsageError) as error:
            score(first, tmp_path / "out", second, metrics)
        assert says in one_line(error), says
    bare = tmp_path / "bare.tar"
    shards.write(bare, [(f"s{n}", {"png": png(RED)}) for n in range(6)])
    for metrics, member in (("hoi", "interactions.json"), ("gaze", "people.json")):
        with pytest.raises(UsageError) as error:
            score(gen, tmp_path / "out", bare, metrics)
        assert f"that was generated from has {member}" in one_line(error)
    mute = {"people.json": records.dump(records.People(16, 12, [records.Person(1)])),
            "interactions.json": records.dump(Interactions())}  # fmt: skip
    shards.write(bare, [(f"s{n}", {**source(RED), **mute}) for n in range(6)])
    for metrics, lacks in (
        ("hoi", "there is no annotated interaction"),
        ("gaze", "nobody in them is annotated to look"),
    ):
        with pytest.raises(UsageError) as error:
            score(gen, tmp_path / "out", bare, metrics)
        assert f"bare.tar to compare with: {lacks}" in one_line(error)
    with pytest.raises(ModelMissing) as missing:
        score(gen, tmp_path / "out", ref, "clip-t,dino", dino_model=str(tmp_path / "no/dino"))
    assert "no/dino: no such folder or file (dino model)" in one_line(missing)
    assert world.loaded == []


def test_a_reference_key_with_two_pictures(data, world, tmp_path: Path) -> None:
    gen, ref = data
    shards.write(ref / "001.tar", [("s0", {"png": png(BLUE)})])
    with pytest.raises(SocialcliError, match=r"key 's0' is in .*000.tar and in .*001.tar"):
        score(gen, tmp_path / "out", ref, "clip-i")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_inception_needs_its_file(data, world, tmp_path: Path) -> None:
    gen, ref = data
    with pytest.raises(
        ModelMissing, match=r"--fid-features inception: it needs its weights. Get them with: curl"
    ):
        score(gen, tmp_path / "out", ref, "fid", fid_features="inception")
    torch = pytest.importorskip("torch")
    file = tmp_path / "inception.pt"
    file.write_bytes(b"nonsense")
    with pytest.raises(UsageError, match="not a TorchScript file"):
        score(
            gen, tmp_path / "out", ref, "fid", fid_features="inception", inception_model=str(file)
        )

    class Tiny(torch.nn.Module):
        def forward(self, pixels, return_features: bool = False):
            return pixels.float().mean((2, 3))

    torch.jit.script(Tiny()).save(str(file))
    pytest.importorskip("torchmetrics")
    one = score(
        gen, tmp_path / "out", ref, "fid,kid", fid_features="inception", inception_model=str(file)
    )
    same = score(gen, tmp_path / "out", ref, "fid,kid")  # the stand-in CLIP sees the same
    assert values(one)["fid"] == pytest.approx(values(same)["fid"], rel=1e-3)


# ---- comparing ----------------------------------------------------------------------------------


@pytest.fixture
def two(world, tmp_path: Path):
    """Forty pictures by two methods: the second is always nearer in colour, has the same faces."""
    rng = numpy.random.default_rng(0)
    real, first, second = [], [], []
    for n in range(40):
        colour = rng.integers(40, 250, 3)
        key = f"{n:03}"
        noise = rng.normal(size=(2, 3)) * 12
        near, far = (
            numpy.clip(colour + scale * noise[i], 0, 255) for i, scale in enumerate((1, 3))
        )
        real.append((key, source(tuple(int(v) for v in colour))))
        first.append((key, made_from(key, tuple(int(v) for v in far))))
        second.append((key + "-1", made_from(key, tuple(int(v) for v in near))))
    shards.write(tmp_path / "real.tar", real)
    shards.write(tmp_path / "first.tar", first)
    shards.write(tmp_path / "second.tar", second)
    for name in ("first", "second"):
        score(tmp_path / f"{name}.tar", tmp_path / name, tmp_path / "real.tar", "clip-i,face,hoi",
              {"title": name})  # fmt: skip
    return tmp_path / "first", tmp_path / "second"


def test_only_what_is_no_noise_is_bold(two, tmp_path: Path) -> None:
    first, second = map(str, two)
    result = compare.compare([first, second], resamples=500)
    assert result["units"] == 40
    cell = result["cells"]["second"]["clip_i"]
    own = [numpy.load(Path(p) / "rows" / "clip-i.npz")["cosine"] for p in two]
    assert cell["difference"] == pytest.approx(own[1].mean() - own[0].mean())
    assert 0 < cell["difference_low"] < cell["difference"] < cell["difference_high"]
    assert cell["verdict"] == "better" and cell["bold"] and cell["p_corrected"] >= cell["p"]
    same = result["cells"]["second"]["hoi"]
    assert not same["bold"] and same["verdict"] == ""
    table = compare.tables.compared_markdown(result)
    assert f"**{cell['value']:.4f}**" in table
    assert table.count("**") == 2 * (
        1 + sum(c["bold"] for m in result["cells"].values() for c in m.values())
    )
    turned = compare.compare([second, first], resamples=500)
    assert turned["cells"]["first"]["clip_i"]["verdict"] == "worse"
    assert turned["cells"]["second"]["clip_i"]["bold"]  # better than every other
    assert turned["cells"]["first"]["clip_i"]["difference"] == pytest.approx(-cell["difference"])
    assert r"$^\dagger$" in compare.tables.compared_latex(turned)


def test_a_method_against_itself_differs_in_nothing(two) -> None:
    result = compare.compare([str(two[0]), str(two[0])], ["a", "b"], 100)
    for cell in result["cells"]["b"].values():
        assert cell["difference"] in (None, 0.0) and not cell["bold"]
        assert cell["p"] in (None, 1.0)


def test_pairs_are_common_sources(two, world, tmp_path: Path) -> None:
    few = tmp_path / "few.tar"
    kept = [(s.key, s.members) for s in shards.read(str(tmp_path / "second.tar"))][10:]
    shards.write(few, [*kept, ("free", kept[0][1])])
    score(few, tmp_path / "few", tmp_path / "real.tar", "clip-i")
    result = compare.compare([str(two[0]), str(tmp_path / "few")], resamples=50)
    assert result["units"] == 30 and set(result["columns"]) == {"clip_i"}
    own = numpy.load(two[0] / "rows" / "clip-i.npz")["cosine"]
    assert result["cells"]["first"]["clip_i"]["value"] == pytest.approx(own[10:].mean())


def test_comparisons_that_make_no_sense(two, world, tmp_path: Path) -> None:
    first, second = map(str, two)
    world.name = "another"
    model = tmp_path / "model"
    model.write_bytes(b"x")
    score(
        tmp_path / "second.tar",
        tmp_path / "third",
        tmp_path / "real.tar",
        "clip-i",
        clip_model=str(model),
    )
    score(tmp_path / "second.tar", tmp_path / "fourth", tmp_path / "real.tar", "dino")
    elsewhere = [("x", made_from("x", RED))]
    shards.write(tmp_path / "x.tar", elsewhere)
    shards.write(tmp_path / "xref.tar", [("x", source(RED))])
    world.name = ""
    score(tmp_path / "x.tar", tmp_path / "fifth", tmp_path / "xref.tar", "clip-i")
    score(tmp_path / "second.tar", tmp_path / "sixth", tmp_path / "real.tar", "clip-i",
          against="source")  # fmt: skip
    for folders, says in (
        ([first], "two or more"),
        ([first, str(tmp_path)], "no score.json here: run `socialcli score"),
        ([first, str(tmp_path / "third")], "different models (clip)"),
        ([first, str(tmp_path / "fourth")], "no metric in common"),
        ([first, str(tmp_path / "fifth")], "no source in common"),
        ([first, str(tmp_path / "sixth")], "different --against"),
    ):
        with pytest.raises(UsageError) as error:
            compare.compare(folders, resamples=10)
        assert says in one_line(error)
    with pytest.raises(UsageError, match="expected 2 different names"):
        compare.compare([first, second], ["a", "a"])


# ---- the command line, with checkpoints in the official formats ---------------------------------


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A tiny CLIP and a tiny face pack."""
    import torch
    from tiny import people
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    from socialcli.miniature.zoo.words import tokenizer

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    small["intermediate_size"] = 16
    text = {**small, "vocab_size": 1500, "max_position_embeddings": 32}
    text |= {"bos_token_id": 101, "eos_token_id": 102, "pad_token_id": 0}
    vision = {**small, "image_size": 32, "patch_size": 8}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    CLIPModel(config).save_pretrained(folder / "clip")
    size = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size=size, crop_size=size).save_pretrained(folder / "clip")
    tokenizer(folder / "clip")
    people.insightface_pack(folder / "face")
    return folder


def with_a_face(left: int) -> bytes:
    """A grey picture with one red cell, which the tiny detector takes for a face."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (640, 640), (128, 128, 128))
    ImageDraw.Draw(image).rectangle((left, 320, left + 31, 351), fill=(255, 0, 0))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_the_command_line(run_cli, checkpoints, tmp_path: Path) -> None:
    real = [(f"{n}", {"png": with_a_face(64 + 64 * n)}) for n in range(3)]
    shards.write(tmp_path / "ref.tar", real)
    rows = [
        (key, {**made_from(key, RED, "a man rides a horse"), "png": data["png"]})
        for key, data in real
    ]
    shards.write(tmp_path / "gen.tar", rows)
    profile = tmp_path / "tiny.toml"
    profile.write_text('[score]\nmetrics = "clip-t,clip-i,face"\nclip-model = "models/clip"\n'
                       'face-model = "models/face"\n')  # fmt: skip
    (tmp_path / "models").symlink_to(checkpoints)
    args = (
        "score",
        tmp_path / "gen.tar",
        "--reference",
        tmp_path / "ref.tar",
        "--profile",
        profile,
    )
    done = run_cli(*args, "-o", tmp_path / "out", "--resamples", 100)
    assert done.stdout.decode().startswith("| figure |")
    assert b"out/score.json" in done.stderr and b"out/index.html" in done.stderr
    body = json.loads((tmp_path / "out" / "score.json").read_text())
    assert body["columns"]["clip_i"]["value"] == pytest.approx(1, abs=1e-5)
    assert body["columns"]["face"]["value"] == pytest.approx(1, abs=1e-5)
    assert body["columns"]["face_found"]["value"] == 1
    assert -1 < body["columns"]["clip_t"]["value"] < 1
    assert body["models"]["clip"][0]["backend"] == "clip"
    names = ("--names", "ours,theirs", "--resamples", 100)
    done = run_cli("score", "--compare", tmp_path / "out", tmp_path / "out", "-o", tmp_path, *names)
    assert b"| ours |" in done.stdout
    assert sorted(p.name for p in tmp_path.glob("compare.*")) == [
        "compare.json", "compare.md", "compare.tex",
    ]  # fmt: skip


def test_the_command_line_says_what_is_missing(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from socialcli.cli.app import app

    shards.write(tmp_path / "gen.tar", [("a", made_from("a", RED))])
    profile = tmp_path / "p.toml"
    profile.write_text('[score]\nclip-model = "/nowhere/clip"\n')
    out = ("-o", str(tmp_path / "o"), "--metrics")
    for args, says in (
        ((), "score needs -o FOLDER"),
        (
            (*out, "clip-t", "--profile", str(profile)),
            "/nowhere/clip: no such folder or file (clip model). Get it with:",
        ),
        ((*out, "clip-t", "--clip-backend", "x"), "no clip backend 'x'"),
        ((*out, "face"), "give --reference SHARDS"),
    ):
        done = CliRunner().invoke(app, ["score", str(tmp_path / "gen.tar"), *args])
        assert done.exit_code == 2
        assert says in done.stderr and done.stderr.count("\n") == 1
