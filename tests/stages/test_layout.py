"""Layouts: from annotated samples, from drawings and texts, to files that people edit and back."""

from __future__ import annotations

import io
import json

import numpy
import pytest
import scenes
from parts import part
from PIL import Image, ImageDraw

from socialcli import records, shards
from socialcli.errors import SampleFailed, SampleFiltered, UsageError
from socialcli.exporters import layout as exporter
from socialcli.importers import layout as importer
from socialcli.shards import Sample
from socialcli.vision import layouts, masks, skeletons

stage = part("stages", "layout")


def planned(changed=None, **options) -> records.Layout:
    members = scenes.members(0, {"layout.json": None, **(changed or {})})
    result = stage.prepare(stage.config_type(**options), Sample("k", members))
    return records.load(records.Layout, result["layout.json"])


def area(segment) -> int:
    return int(masks.decode(segment.rle).sum())


# ------------------------------------------------------------------ of annotated samples


def test_masks_become_segments_with_the_phrases_of_the_caption():
    layout = planned(background="a lawn")
    layouts.check(layout)  # a partition
    assert [s.prompt for s in layout.segments] == ["A woman in red", "a small dog", "a lawn"]
    assert [s.background for s in layout.segments] == [False, False, True]
    assert layout.prompt == scenes.TEXT
    woman, dog, rest = (masks.decode(s.rle) for s in layout.segments)
    assert (dog == scenes.mask(scenes.DOG)).all()  # the smaller one is in front
    assert (woman == scenes.mask(scenes.WOMAN) & ~scenes.mask(scenes.DOG)).all()
    assert (rest == ~(woman | dog)).all()
    assert layout.segments[0].keypoints.points == scenes.keypoints(scenes.WOMAN).points
    assert [(s.word, s.subject) for s in layout.segments[:2]] == [("woman", "Ada"), ("dog", None)]
    assert (layout.segments[0].depth, layout.segments[1].depth) == (1, 0)
    assert layout.segments[0].person == 1 and layout.segments[1].keypoints is None


def test_boxes_stand_in_for_masks_and_many_things_are_one_each():
    entities = scenes.all_records()["entities.json"]
    entities.entities[1].count = 2
    layout = planned({"entities.json": entities, "masks.json": None}, shapes="boxes")
    prompts = [s.prompt for s in layout.segments]
    assert prompts == ["A woman in red", "a dog", "a man", "a floor", scenes.TEXT]
    with pytest.raises(SampleFailed, match="--shapes boxes"):
        planned({"masks.json": None})


def test_subjects_are_called_by_other_words():
    """In their segments and in the whole prompt, by noun or by who it is; not two at once."""
    text = scenes.TEXT
    for name in ("woman", "Ada"):
        layout = planned(called=[f"{name}=a <ada>", "dog=a sks dog"])
        assert [s.prompt for s in layout.segments[:2]] == ["a <ada>", "a sks dog"]
        known = text.replace("A woman in red", "a <ada>").replace("a small dog", "a sks dog")
        assert layout.prompt == known != text
        assert [(s.word, s.subject) for s in layout.segments[:2]] == [
            ("woman", "Ada"), ("dog", None),
        ]  # fmt: skip
    assert planned(called=["dog=it"], prompt="all").prompt == "all"
    with pytest.raises(SampleFailed, match="2 things in the picture are a dog"):
        boxes = scenes.all_records()["boxes.json"]
        boxes.boxes[2].label = "dog"
        planned({"boxes.json": boxes, "masks.json": None}, shapes="boxes", called=["dog=it"])
    members = scenes.members(0, {"layout.json": None})
    config = stage.config_type(called=["horse=it"])
    assert "not_called" in stage.prepare(config, Sample("k", members)).notes
    with pytest.raises(UsageError, match="--called horse: expected NAME=TEXT"):
        stage.load(stage.config_type(called=["horse"]))


def test_what_is_named_and_nowhere_is_the_background():
    entities = scenes.all_records()["entities.json"]
    boxes = scenes.all_records()["boxes.json"]
    boxes.boxes = [box for box in boxes.boxes if box.id != 3]
    entities.entities[2].kind = "object"
    layout = planned({"entities.json": entities, "boxes.json": boxes, "people.json": None})
    assert layout.segments[-1].prompt == "a man"


def test_rules_for_overlaps_holes_and_size():
    with pytest.raises(SampleFailed, match=r"overlap in \d+ pixels; --overlap front"):
        planned(overlap="error")
    with pytest.raises(SampleFailed, match="pixels belong to no segment; --fill background"):
        planned(fill="error")
    grown = planned(fill="nearest")
    assert len(grown.segments) == 2 and sum(map(area, grown.segments)) == 120 * 80
    assert planned(most=1).segments[0].prompt == "A woman in red"
    with pytest.raises(SampleFiltered, match="large enough"):
        planned(min_area=0.9)


def test_a_skeleton_outside_its_segment_is_left_out_and_counted():
    people = scenes.all_records()["people.json"]
    people.people[0].keypoints = scenes.keypoints(scenes.MAN)
    members = scenes.members(0, {"people.json": people})
    result = stage.prepare(stage.config_type(), Sample("k", members))
    assert records.load(records.Layout, result["layout.json"]).segments[0].keypoints is None
    assert list(result.notes) == ["skeletons_left_out"]


def test_references_of_segments():
    own = planned(references="own").segments[0].references
    assert [(r.name, r.query) for r in own] == [("k", "woman")]
    who = planned(references="identity").segments
    assert [r.name for r in who[0].references] == ["Ada"] and who[1].references == []


# ------------------------------------------------------------------ pixels


def test_a_partition_shrinks_to_a_partition_whatever_the_order():
    rng = numpy.random.default_rng(0)
    owner = rng.integers(0, 4, (12, 12)).repeat(5, 0).repeat(5, 1)
    parts = [owner == n for n in range(4)]
    small = layouts.shrunk(parts, 12, 12)
    assert (small.sum(axis=0) == 1).all()
    assert (small == numpy.stack(parts)[:, ::5, ::5]).all()
    halved = layouts.shrunk(parts, 6, 6)
    order = [2, 0, 3, 1]
    assert (layouts.shrunk([parts[n] for n in order], 6, 6) == halved[order]).all()
    dot = numpy.zeros((60, 60), bool)
    dot[3, 3] = True
    with pytest.raises(SampleFailed, match=r"number 2 .* too small for 6x6 latents"):
        layouts.shrunk([~dot, dot], 6, 6)


def test_colours_differ():
    known = layouts.colours(255)
    assert len({*known, layouts.BACKGROUND}) == 256


# ------------------------------------------------------------------ skeletons


def test_both_generations_of_skeletons():
    """By hand for one limb: v11 is opaque under its joints, v10 blended over them."""
    points = [(0.0, 0.0, 0.0)] * 17
    points[6], points[8] = (0.25, 0.5, 2.0), (0.75, 0.5, 2.0)  # right shoulder and elbow
    shoulder, elbow = skeletons.COLOURS[2], skeletons.COLOURS[3]
    limb = skeletons.COLOURS[2]
    new, old = (skeletons.draw([points], (128, 64), style=s) for s in ("v11", "v10"))
    assert new.getpixel((64, 32)) == tuple(int(0.6 * c) for c in limb)
    assert old.getpixel((64, 32)) == pytest.approx([0.6 * c for c in limb], abs=1)
    assert new.getpixel((97, 32)) == elbow  # the joint lies over the limb's end
    assert new.getpixel((32, 32)) == shoulder
    mixed = [0.4 * e + 0.6 * c for e, c in zip(elbow, limb, strict=True)]
    assert old.getpixel((94, 32)) == pytest.approx(mixed, abs=1)
    assert old.getpixel((99, 32)) == elbow  # where no limb is
    high = numpy.asarray(new).any(axis=(1, 2)).nonzero()[0]
    assert (high[0], high[-1]) == (32 - 4, 32 + 4)  # 4 pixels, whatever the size


# ------------------------------------------------------------------ by hand

DRAWN = """
prompt = "Ada and a dog"
background = "a park"
[[segments]]
colour = "#E6194B"
prompt = "a woman"
subject = "Ada"
references = [{name = "ada.jpg", query = "woman", scale = 0.6}]
[[segments]]
colour = "#3cb44b"
prompt = "a dog"
depth = 0
"""


def drawing(size=(64, 32), extra=()) -> Image.Image:
    image = Image.new("RGB", size, "#e6194b")
    pen = ImageDraw.Draw(image)
    pen.rectangle((32, 0, 63, 31), fill="#3cb44b")
    for box, colour in extra:
        pen.rectangle(box, fill=colour)
    return image


def test_a_drawing_and_its_prompts(run_cli, tmp_path):
    """By the commands: read, told of, printed, read again the same."""
    folder = tmp_path / "drawn"
    folder.mkdir()
    drawing(extra=[((31, 5, 31, 5), "#911f4b")]).save(folder / "a.png")  # a soft edge
    (folder / "a.toml").write_text(DRAWN)
    (folder / "b.txt").write_text("prompt: two\nsize: 64x64\nleft: a man\n0.3 0.5 0.6 1: a dog\n")
    (folder / "c.toml").write_text('prompt = "x"\nsegments = [{place = "left", prompt = "y"}]')
    (folder / "d.txt").write_text("left: a man\n")
    done = run_cli("import", "layout", folder, "-o", tmp_path / "in", "--max-error-rate", 1)
    assert b"d: no line 'prompt: ...'" in done.stderr
    imported = {s.key: s for s in shards.read(str(tmp_path / "in/000000.tar"))}
    assert set(imported) == {"a", "b", "c"}
    assert imported["a"].members["png"] == (folder / "a.png").read_bytes()
    layout = imported["a"].record(records.Layout)
    assert [(s.colour, s.prompt, area(s)) for s in layout.segments] == [
        ("#e6194b", "a woman", 1024), ("#3cb44b", "a dog", 1024),
    ]  # fmt: skip
    assert layout.segments[0].references == [records.SegmentReference("ada.jpg", "woman", 0.6)]
    man, dog, rest = imported["b"].record(records.Layout).segments
    assert (dog.depth, man.depth) == (0, 1)  # what stands below is in front
    assert area(dog) == 19 * 32 and area(man) == 32 * 64 - 13 * 32 and rest.prompt == "two"
    assert imported["c"].record(records.Layout).width == importer.SIDE

    run_cli("export", tmp_path / "in", "--format", "layout", "-o", tmp_path / "out")
    run_cli("import", "layout", tmp_path / "out", "-o", tmp_path / "again")
    for sample in shards.read(str(tmp_path / "again/000000.tar")):
        assert sample.record(records.Layout) == imported[sample.key].record(records.Layout)
    shown = run_cli("inspect", tmp_path / "in").stdout.decode()
    assert "layout.json" in shown and "7 segments" in shown


def test_what_is_printed_is_read_again_whole():
    layout = scenes.layout()
    layout.segments[0].prompt = 'a "woman"\\ in\tred\nand gold\x7f'
    files = exporter.files(Sample("k", {"layout.json": records.dump(layout)}), "v11")
    assert set(files) == {".png", ".toml", ".pose.png"}
    plan = importer.of_toml(files[".toml"].decode())
    again = importer.made(plan, Image.open(io.BytesIO(files[".png"])))
    for segment in layout.segments:  # what it was made of is not printed
        segment.entity = segment.person = None
        if segment.keypoints is not None:
            segment.keypoints.scores = None
    layout.model = again.model
    assert json.loads(records.dump(again)) == json.loads(records.dump(layout))


BAD = [
    (DRAWN, drawing(extra=[((0, 0, 9, 9), "#0000ff")]), r"#0000ff \(100 pixels\) has no prompt"),
    (DRAWN.replace("3cb44b", "00ffff"), drawing(), "#3cb44b .* has no prompt"),
    (DRAWN + '[[segments]]\ncolour = "#0000ff"\nprompt = "x"', drawing(), "prompt and no pixel"),
    (DRAWN.replace('prompt = "a dog"', 'prompt = ""'), drawing(), "segment 2 has no prompt"),
    (DRAWN.replace("#3cb44b", "#e6194b"), drawing(), "two segments have the colour"),
    (DRAWN.replace("#3cb44b", "green"), drawing(), "segment 2: colour 'green', expected #rrggbb"),
    ("size = [64, 64]" + DRAWN, drawing(), "64x32 pixels, size says 64x64"),
    (DRAWN, None, "no drawing"),
    (DRAWN.replace("depth = 0", "deep = 0"), drawing(), "segment 2: 'deep' is no field"),
    (DRAWN.replace("depth = 0", "keypoints = [[0.9, 0.5, 2]]"), drawing(), "coco17 has 17"),
    (DRAWN.replace("depth = 0", f"keypoints = {[[0.1, 0.5, 2]] * 17}"), drawing(), "outside"),
    ("prompt = 1\nsegments = [{}]", None, "segment 1: give it a colour, a box or a place"),
    ("prompt = ''\nsegments = []", None, "prompt: expected text"),
    ("x ==", None, "not TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "image", "words"), BAD)
def test_bad_layouts_are_refused_in_one_line(text, image, words):
    with pytest.raises(SampleFailed, match=words) as error:
        importer.made(importer.of_toml(text), image)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prompt: x\nabove: y", "line 2: 'above' is no place"),
        ("prompt: x\nleft", "line 2: expected PLACE: WORDS"),
        ("prompt: x\nsize: big\nleft: y", "size: big"),
        ("prompt: x\n0.5 0 0.2 1: y", "segment 1: a box is left, top, right, bottom"),
        ("prompt: x\n", "no segment"),
        ("prompt: x\nleft: y\nall: z", r"segment 1 \('y'\) lies wholly behind others"),
    ],
)
def test_bad_texts_are_refused_in_one_line(text, words):
    with pytest.raises(SampleFailed, match=words):
        importer.made(importer.of_text(text), None)


def test_boxes_that_may_not_overlap_or_leave_holes():
    plan = importer.of_text("prompt: x\nleft: y\nleft third: z")
    with pytest.raises(SampleFailed, match="overlap in"):
        importer.made(plan, None, overlap="error")
    with pytest.raises(SampleFailed, match="belong to no segment"):
        importer.made(plan, None, fill="error")
