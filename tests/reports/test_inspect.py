"""`socialcli inspect`: what it counts, what it draws where, and that its page is safe to open."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
from collections import Counter
from html.parser import HTMLParser

import numpy
import pytest
import scenes
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from socialcli import records, shards
from socialcli.cli import app
from socialcli.cli.commands import inspect
from socialcli.errors import UsageError
from socialcli.reports import cards, draw, gather, marks, sheet, statistics
from socialcli.reports.marks import LAYERS, Scale
from socialcli.reports.overlay import HAS, LEFT_OUT, SIDE
from socialcli.reports.view import PALETTE, View, decode, view
from socialcli.shards import Sample, publishing
from socialcli.validation.members import read_members
from socialcli.vision import text


def run(*arguments):
    return CliRunner().invoke(app.app, ["inspect", *(str(a) for a in arguments)])


def viewed(changed=None, key="k") -> View:
    sample = Sample(key, scenes.members(0, changed))
    return view(sample, "s.tar", *read_members(sample))


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


# ------------------------------------------------------------- counts


@pytest.fixture
def two_shards(tmp_path):
    """Five samples: one without masks, one whose boxes cannot be read; two more were lost."""
    bare = {"masks.json": None, records.IDENTITY: None}
    shards.write(tmp_path / "a.tar", [(f"a{i}", scenes.members(i)) for i in range(3)])
    last = [("b0", scenes.members(3, bare)), ("b1", scenes.members(4, {"boxes.json": b"{"}))]
    shards.write(tmp_path / "b.tar", last)
    lost = [
        {"key": "x0", "status": "failed", "stage": "caption", "reason": "no <b>eyes</b>"},
        {"key": "x1", "status": "filtered", "stage": "ground", "reason": "no boxes"},
    ]
    (tmp_path / "b.errors.jsonl").write_text("".join(json.dumps(e) + "\n" for e in lost))
    counts = {"total": 4, "ok": 2, "filtered": 1, "failed": 1, "damaged": 0}
    (tmp_path / "b.stats.json").write_text(json.dumps({"counts": counts, "command": "ground"}))
    return tmp_path


def test_counts_as_json(two_shards):
    body = json.loads(run(two_shards, "--json").stdout)
    assert (body["samples"], body["pictures"]) == (5, 5)
    assert body["lost"] == {"failed": 1, "filtered": 1}
    assert body["members"]["masks.json"]["samples"] == 4
    assert body["members"]["masks.json"]["missing"] == 1
    assert body["members"]["jpg"]["bytes"] == sum(len(scenes.picture(i)) for i in range(5))
    assert body["counts"] == {
        "captions": 5, "entities": 15, "triples": 10, "boxes": 16, "masks": 8, "people": 10,
        "faces": 5, "poses": 5, "gazes": 10, "identities": 4, "interactions": 5, "segments": 15,
    }  # fmt: skip
    assert body["unreadable_members"] == 1
    assert body["histograms"]["nouns"] == {"dog": 5, "man": 5, "woman": 5}
    assert body["histograms"]["triples"] == {"man walk": 5, "woman hold dog": 5}
    assert body["histograms"]["caption_words"] == {"12": 5}
    assert body["histograms"]["boxes_per_picture"] == {"4": 4}
    assert body["histograms"]["gaze_targets"] == {"inside": 5, "outside": 5}
    assert body["histograms"]["interactions"] == {"hold dog": 5}
    assert body["models"]["boxes"] == {"grounding-dino: tiny @ abc123": 4}
    assert [s["samples"] for s in body["shards"]] == [3, 2]
    assert body["shards"][1]["ended"]["failed"] == 1
    assert body["shards"][1]["members"]["masks.json"] == 1


def test_table(two_shards):
    done = run(two_shards, "--per-shard")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("5 samples in 2 shards")
    assert "1 failed, 1 filtered" in lines[0]
    masks = next(line for line in lines if line.startswith("masks.json"))
    assert masks.split()[1:3] == ["4", "1"] and "8 masks" in masks
    assert any(line.startswith("note.txt") for line in lines)
    assert "1 members cannot be read" in done.stdout
    shard = next(line for line in lines if line.startswith(str(two_shards / "b.tar")))
    assert shard.split()[1:5] == ["2", "2", "1", "1"]
    assert "failed: " in done.stdout and "no <b>eyes</b>" in done.stdout


def test_sidecars_say_what_is_not_there(tmp_path):
    whole = scenes.members()
    parts = {"images": ("jpg",), "captions": ("caption.json",)}
    for name, suffixes in parts.items():
        shards.write(tmp_path / f"{name}.tar", [("k", {s: whole[s] for s in suffixes})])
    noted = {"status.json": b'{"status":"filtered","reason":"dull"}'}
    shards.write(tmp_path / "noted.tar", [("k", noted)])
    joined = f"{tmp_path}/images.tar+{tmp_path}/captions.tar"
    out = run(joined).stdout
    assert "entities.json (`socialcli extract-entities`)" in out
    assert "caption.json (`" not in out
    body = json.loads(run(joined + f"+{tmp_path}/noted.tar", "--json").stdout)
    assert body["samples"] == 0 and body["lost"] == {"filtered": 1}


def test_histogram_bins():
    assert statistics.spread(Counter({2: 5, 4: 1}), 10) == [("2", 5), ("3", 0), ("4", 1)]
    wide = statistics.spread(Counter({0: 1, 99: 2}), 10)
    assert len(wide) == 10 and wide[0] == ("0–9", 1) and wide[-1] == ("90–99", 2)
    assert statistics.spread(Counter(), 10) == []
    assert statistics.quantile(Counter({1: 5, 9: 4}), 0.5) == 1
    assert statistics.quantile(Counter({1: 4, 9: 5}), 0.5) == 9


def test_gaze_sectors_and_box_areas():
    s = statistics.Statistics()
    half = math.sqrt(0.5)
    for vector, sector in [
        ((1, 0), 0),
        ((0, 1), 4),
        ((-1, 0), 8),
        ((0, -1), 12),
        ((half, half), 2),
    ]:
        before = s.gaze.copy()
        people = records.People(9, 9, [records.Person(1, gaze=records.Gaze(None, vector))])
        statistics._people(s, people)
        assert s.gaze - before == Counter({sector: 1})
    boxes = [records.Box(1, (0, 0, 0.5, 0.5)), records.Box(2, (0, 0, 1, 1))]
    statistics._boxes(s, records.Boxes(9, 9, boxes))
    assert s.box_areas == Counter({5: 1, 7: 1})  # a quarter lies in 20% to 40%


def test_names_counted_do_not_grow_without_end(monkeypatch):
    monkeypatch.setattr(statistics, "MOST_NAMES", 10)
    tally = statistics.Tally()
    for number in range(200):
        tally.add("often")
        tally.add(f"rare {number}")
    assert tally.total == 400 and len(tally.counts) <= 20
    assert tally.top(1) == [("often", 200)]


# ------------------------------------------------------------- colours and marks


def test_one_thing_has_one_colour_everywhere():
    v = viewed()
    for entity, box, mask, person in [(1, 1, 1, 1), (2, 2, 2, None), (3, 3, None, 2)]:
        colour = v.colour("entity", entity)
        assert colour in PALETTE
        assert v.colour("box", box) == colour
        assert mask is None or v.colour("mask", mask) == colour
        assert person is None or v.colour("person", person) == colour
    assert len({v.colour("box", b.id) for b in v.boxes}) == 4
    assert viewed({"boxes.json": None, "masks.json": None, "people.json": None}).colour_of == {}


def test_caption_is_cut_without_losing_a_character():
    v = viewed()
    assert "".join(part for part, _ in v.phrases()) == scenes.TEXT
    assert [(p, id) for p, id in v.phrases() if id] == [
        ("A woman in red", 1), ("a small dog", 2), ("a man", 3),
    ]  # fmt: skip
    assert "woman hold dog" in v.relations()


def drawn(v: View, width=480, height=320) -> list[marks.Mark]:
    return marks.marks(v, Scale(width, height), text.width)


def test_gaze_rays():
    v = viewed()
    arrows = [m for m in drawn(v) if m.layer == "gaze" and m.kind == "arrow"]
    looks, leaves = arrows
    # From between the eyes to the point, in pixels of the picture shown.
    assert looks.at == pytest.approx((0.25 * 480, 0.26 * 320, 0.5 * 480, 0.6 * 320))
    # The man looks right and out: from the middle of his head to the edge, dashed.
    assert leaves.at == pytest.approx((0.8 * 480, 0.225 * 320, 480, 0.225 * 320))
    assert leaves.dashed and not looks.dashed
    # 45 degrees on screen is 45 degrees, whatever the picture's shape.
    half = math.sqrt(0.5)
    v.people[1].gaze = records.Gaze(None, (-half, half), None)
    arrow = [m for m in drawn(v) if m.layer == "gaze" and m.kind == "arrow"][1]
    assert arrow.at[2] - arrow.at[0] == pytest.approx(-(arrow.at[3] - arrow.at[1]))


def test_skeletons_leave_out_what_is_not_labelled():
    lines = [m for m in drawn(viewed()) if m.layer == "skeletons" and m.kind == "line"]
    joints = [m for m in drawn(viewed()) if m.layer == "skeletons" and m.kind in ("dot", "ring")]
    assert len(joints) == 16 and sum(m.kind == "ring" for m in joints) == 1
    assert len(lines) == len(records.COCO_LIMBS) - 1
    assert sum(m.dashed for m in lines) == 1  # the limb to the hidden ankle


def test_animals_have_skeletons_with_limbs_of_their_own():
    v = viewed()
    v.people = []
    points = [(0.4 + n / 100, 0.5, 2.0) for n in range(16)] + [(0.0, 0.0, 0.0)]
    v.boxes[1].keypoints = records.Keypoints(points, None, "animal")
    skeletons = [m for m in drawn(v) if m.layer == "skeletons"]
    lines = [m for m in skeletons if m.kind == "line"]
    assert len(lines) == 16  # seventeen, without the right back paw's
    assert "box 2: root of tail" in {m.title for m in skeletons}


def test_interactions_are_arrows_with_their_verbs():
    v = viewed()
    v.interactions.append(records.Interaction(2, "pet", 1, 1, 2))
    of_interactions = [m for m in drawn(v) if m.layer == "interactions"]
    arrow, label = sorted(of_interactions, key=lambda m: m.kind)
    assert (arrow.kind, label.kind, label.text) == ("arrow", "label", "hold, pet")
    woman, dog = [((b[0] + b[2]) / 2 * 480, (b[1] + b[3]) / 2 * 320)
                  for b in (scenes.WOMAN, scenes.DOG)]  # fmt: skip
    assert arrow.at == pytest.approx((*woman, *dog))


@pytest.mark.parametrize("size", [(480, 320), (60, 400), (400, 40)])
def test_labels_stay_inside(size):
    """Whatever the boxes and however long the names, tags do not leave the picture."""
    v = viewed()
    v.layout = None
    corners = [(0, 0, 0.02, 0.02), (0.98, 0, 1, 0.02), (0, 0.98, 0.02, 1), (0.98, 0.98, 1, 1)]
    names = ["x", "an astonishingly long name for a thing " * 4, "女人拿着一只小狗" * 6, "ß𝔘"]
    v.boxes = [records.Box(n, c, t) for n, (c, t) in enumerate(zip(corners, names, strict=True))]
    v.interactions = [records.Interaction(1, "hold tightly with both hands", None, 0, 2)]
    tags = [m for m in drawn(v, *size) if m.kind == "label"]
    assert len(tags) == 5
    for tag in tags:
        left, top, right, bottom = tag.at
        assert left >= 0 and right <= size[0] + 0.01 and top >= 0
        assert bottom <= max(size[1], bottom - top) + 0.01
        assert text.width(tag.text, Scale(*size).text) <= right - left + 0.01


def test_labels_avoid_each_other():
    v = viewed()
    v.interactions = []
    v.boxes = [records.Box(n, (0.3, 0.3, 0.8, 0.8), f"thing {n}") for n in range(6)]
    tags = [m.at for m in drawn(v) if m.kind == "label"]
    for number, a in enumerate(tags):
        for b in tags[:number]:
            assert marks._common(a, b) == 0


def test_a_name_is_cut_where_it_ends_to_fit():
    for name in ("short", "x" * 100, "wide and narrow " * 20):
        fitted = marks._fitted(name, 10, 120.0, lambda words, size: 6.0 * len(words))
        assert len(fitted) * 6.0 <= 120
        assert fitted == name or (fitted.endswith("…") and len(fitted) >= 19)


# ------------------------------------------------------------- painting


def test_painting_puts_each_layer_where_it_is():
    v = viewed()
    plain = Image.new("RGB", (480, 320), (128, 128, 128))
    for layer in LAYERS:
        before, after = numpy.asarray(plain), numpy.asarray(draw.annotate(plain, v, (layer,)))
        assert (before != after).any(), layer
    assert (numpy.asarray(draw.annotate(plain, v, ())) == 128).all()

    boxes = draw.annotate(plain, v, ("boxes",))
    left, top, right, bottom = Scale(480, 320).rect(scenes.WOMAN)
    middle = boxes.getpixel((round(left), round((top + bottom) / 2)))
    assert numpy.abs(numpy.subtract(middle, rgb(v.colour("box", 1)))).max() < 70
    assert boxes.getpixel((round((left + right) / 2), round((top + bottom) / 2))) == (128,) * 3

    tinted = numpy.asarray(draw.annotate(plain, v, ("masks",)))
    changed = (tinted != 128).any(axis=2)
    expected = scenes.mask(scenes.WOMAN, (480, 320)) | scenes.mask(scenes.DOG, (480, 320))
    agree = (changed & expected).sum() / (changed | expected).sum()
    assert agree > 0.95
    at = (round(0.45 * 480), round(0.6 * 320))  # in the dog, which lies over the woman
    share = draw._FILL / 255
    dog = [128 + (c - 128) * share for c in rgb(v.colour("mask", 2))]
    assert tinted[at[1], at[0]] == pytest.approx(dog, abs=3)


def test_bad_masks_are_noted_and_the_rest_is_drawn():
    masks = scenes.all_records()["masks.json"]
    masks.masks[0].rle = {"size": [80, 120], "counts": "5"}
    v = viewed({"masks.json": scenes.raw(masks)})
    assert draw.masks(v, (120, 80)) == [] and v.boxes and v.people
    assert len(v.problems) == 1 and "mask 1" in v.problems[0]


def test_text_without_any_font_but_pillows(monkeypatch):
    """A bare machine: no glyph is no crash, and what was missing is known."""
    monkeypatch.setattr(text, "_FOLDERS", ())
    forget_fonts()
    try:
        image = Image.new("RGB", (300, 40), "white")
        canvas = ImageDraw.Draw(image)
        text.draw(canvas, 5, 5, "né 女人 \x00 ok", 18, "black", halo="white")
        assert text.missing == {"女", "人"}
        assert numpy.asarray(image).min() < 60
        assert text.width("女人", 18) == pytest.approx(2 * 18 * 0.8)
    finally:
        forget_fonts()


def forget_fonts():
    for cached in (text._fonts, text._font_of, text._drawable, text.width):
        cached.cache_clear()
    text.missing.clear()


@pytest.mark.parametrize("words", ["a man " * 60, "女人" * 200, "x" * 500, "", "one", "a\nb\tc"])
def test_wrapped_lines_fit(words):
    lines = text.wrap([(words, None)], 17, 300, 3)
    assert 1 <= len(lines) <= 3
    for line in lines:
        assert text.width("".join(t for t, _ in line).rstrip(), 17) <= 300
    wrapped = "".join(t for line in lines for t, _ in line)
    if wrapped.endswith("…"):
        assert text.clean(words).startswith(wrapped[:-1])
    else:
        assert wrapped == text.clean(words)


def test_sheets_hold_every_picture(tmp_path):
    views = [viewed(key=f"k{i}") for i in range(5)]
    views[2].picture = b"<html>"
    pages = list(sheet.pages(views, columns=2, page_size=4, title="five"))
    assert len(pages) == 2
    step = sheet.TILE + 2 * sheet.INSET + sheet.GAP
    assert pages[0].width == 2 * sheet.MARGIN + 2 * step - sheet.GAP
    assert pages[1].width == 2 * sheet.MARGIN + step - sheet.GAP
    assert "HTML" in views[2].problems[-1]
    assert max(pages[0].getpixel((2, 2))) < 64  # no glare on a page that is dark
    # The woman's picture shows her colour under her words in the caption.
    tile = numpy.asarray(sheet._tile(views[0], LAYERS))
    below = tile[round(sheet.TILE * 80 / 120) + sheet.INSET :]
    assert (below == rgb(views[0].colour("entity", 1))).all(axis=2).sum() > 50
    assert (below == rgb(views[0].colour("entity", 2))).all(axis=2).sum() > 50


def test_upright_pictures_are_shown():
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 120)).save(out, "JPEG", exif=exif)
    assert decode(View("k", "s", out.getvalue()), 600).size == (120, 80)
    assert decode(View("k", "s", out.getvalue()), 60).size == (60, 40)


# ------------------------------------------------------------- the page

EVIL = "A <script>alert(1)</script> man \" onload='x' &amp; </title></style>女\u202e"


class Page(HTMLParser):
    """Collects a page's tags, and notes when they do not close in order."""

    VOID = ("meta", "img", "input", "br", "rect", "circle", "line", "path", "image")

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "input", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-5:])
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        else:
            self.text.append(data)


@pytest.fixture(scope="module")
def evil_page(tmp_path_factory):
    """A report about data that tries to break out of it: its folder, page and cards."""
    folder = tmp_path_factory.mktemp("evil")
    caption = records.Caption(EVIL, [EVIL], records.Model(EVIL))
    boxes = scenes.all_records()["boxes.json"]
    boxes.boxes[0].label = EVIL
    boxes.boxes[0].entity = None
    spans = ((2, 9), (10, 15), (EVIL.index("man"), EVIL.index("man") + 3))
    entities = records.Entities(
        [
            records.Entity(n, EVIL[start:end], EVIL, EVIL, start, end, "person")
            for n, (start, end) in enumerate(spans, 1)
        ],
        [records.Triple(1, EVIL)],
    )
    people = scenes.all_records()["people.json"]
    people.people[0].identity = EVIL
    changed = {
        "caption.json": caption, "boxes.json": boxes, "entities.json": entities,
        "people.json": people,
    }  # fmt: skip
    shards.write(folder / "a.tar", [
        ("<b>key</b>'\"", scenes.members(0, changed)),
        ("plain", scenes.members(1)),
        ("broken", scenes.members(2, {"jpg": b"<html>"})),
    ])  # fmt: skip
    lost = {"key": EVIL, "status": "failed", "stage": EVIL, "reason": EVIL}
    (folder / "a.errors.jsonl").write_text(json.dumps(lost) + "\n")
    done = run(folder / "a.tar", "--out", folder / "report", "--title", EVIL)
    assert done.exit_code == 0, done.output
    report = folder / "report"
    page = (report / "index.html").read_text(encoding="utf-8")
    return report, page, listed(report, "cards")


def listed(report, kind):
    """What the page beside a folder of samples reads from it."""
    (folder,) = report.glob("samples-*")
    assert f'data-folder="{folder.name}"' in (report / "index.html").read_text(encoding="utf-8")
    return cards.read(folder, kind)


def test_nothing_from_data_becomes_markup(evil_page):
    _, source, each = evil_page
    parsed = Page(source)
    assert len(parsed.scripts) == 1 and "alert" not in parsed.scripts[0]
    assert len(each) == 4  # the failed one too
    inner = [Page(card) for card in each]
    assert not any(card.scripts for card in inner)
    for tag, attributes in [pair for page in (parsed, *inner) for pair in page.tags]:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert tag != "b" or "class" not in attributes
    for page in (parsed, inner[0], inner[3]):
        assert any("<script>alert(1)</script>" in part for part in page.text)
    # a caption cannot turn the text after it around
    assert "\u202e" not in source + "".join(each)
    words = [text for text, _ in listed(evil_page[0], "index")]
    assert not any("\u202e" in text for text in words) and "alert(1)" in words[0]


def test_the_page_needs_no_network(evil_page):
    report, source, each = evil_page
    for tag, attributes in [pair for part in (source, *each) for pair in Page(part).tags]:
        for name in ("src", "href"):
            value = attributes.get(name, "#")
            beside = re.fullmatch(r"sheet-\d{3}\.png", value) and (report / value).exists()
            assert value.startswith(("data:image/", "#")) or beside, (tag, value[:80])
    style = re.search(r"<style>(.*?)</style>", source, re.S).group(1)
    assert "url(" not in style and "@import" not in style


def test_the_page_allows_only_its_own_script(evil_page):
    parsed = Page(evil_page[1])
    policy = next(a["content"] for t, a in parsed.tags if a.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(parsed.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}' 'strict-dynamic';" in policy
    assert "default-src 'none'" in policy and "img-src data:;" in policy
    for path in next(evil_page[0].glob("samples-*")).iterdir():  # data, and one call
        assert re.fullmatch(r'socialcli\("[a-z]+",\d+,"[A-Za-z0-9+/=]+"\)\n', path.read_text())


def test_pictures_layers_and_toggles(evil_page):
    _, source, each = evil_page
    pictures = [a for card in each for t, a in Page(card).tags if t == "img"]
    assert len(pictures) == 2  # the third cannot be decoded, the fourth failed
    for attributes in pictures:
        data = base64.b64decode(attributes["src"].partition(",")[2])
        image = Image.open(io.BytesIO(data))
        assert (image.format, image.size) == ("JPEG", (scenes.WIDTH, scenes.HEIGHT))
        assert "dog" in attributes["alt"] and "man" in attributes["alt"]
    groups = {a.get("class") for t, a in Page(each[1]).tags if t == "g"}
    assert set(LAYERS) <= groups
    inputs = [a for t, a in Page(source).tags if t == "input" and a["type"] == "checkbox"]
    assert {a["id"] for a in inputs} == {f"layer-{name}" for name in LAYERS}
    for name in LAYERS:
        assert f"body:has(#layer-{name}:not(:checked)) .shot g.{name}" in source
    names = [[n for i, n in enumerate(HAS) if bits >> i & 1]
             for _, bits in listed(evil_page[0], "index")]  # fmt: skip
    assert [n[-1] for n in names] == ["interactions", "interactions", "problems", LEFT_OUT]


def test_masks_on_the_page_are_the_masks(evil_page):
    """The small palette pictures, put where they stand, cover what the record says."""
    placed = [a for t, a in Page(evil_page[2][0]).tags if t == "image"]
    # Behind the layout's three segments, the largest first.
    for attributes, xyxy in zip(placed[3:], (scenes.WOMAN, scenes.DOG), strict=True):
        data = base64.b64decode(attributes["href"].partition(",")[2])
        alpha = numpy.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))[..., 3]
        whole = numpy.zeros((scenes.HEIGHT, scenes.WIDTH), bool)
        enlarged = SIDE / scenes.WIDTH  # the drawing's frame against the picture's
        x, y = (round(float(attributes[name]) / enlarged) for name in "xy")
        wide, high = (float(attributes[name]) / enlarged for name in ("width", "height"))
        assert (high, wide) == pytest.approx(alpha.shape, abs=0.01)
        whole[y : y + alpha.shape[0], x : x + alpha.shape[1]] = alpha > 0
        assert (whole == scenes.mask(xyxy)).all()


def test_a_histogram_for_every_annotation(evil_page):
    headings = re.findall(r"<h3>([^<]*)", evil_page[1])
    assert [h.strip() for h in headings] == [
        "Caption length", "Entities per picture", "Nouns", "Verbs", "Who does what",
        "Interactions", "Boxes per picture", "Box area", "Box score", "Mask IoU",
        "People per picture", "Keypoints", "Gaze direction",
    ]  # fmt: skip


# ------------------------------------------------------------- the choice of pictures


def test_the_choice_does_not_depend_on_shards(tmp_path):
    samples = [(f"k{i}", {"jpg": scenes.picture(i)}) for i in range(40)]
    shards.write(tmp_path / "all.tar", samples)
    shards.write(tmp_path / "x0.tar", samples[:7])
    shards.write(tmp_path / "x1.tar", samples[7:])
    one = gather.look([str(tmp_path / "all.tar")], 8)
    two = gather.look([str(tmp_path / "x0.tar"), str(tmp_path / "x1.tar")], 8)
    keys = [v.key for v in one.views]
    assert keys == [v.key for v in two.views]
    smallest = sorted((k for k, _ in samples), key=lambda k: hashlib.sha256(k.encode()).digest())
    assert set(keys) == set(smallest[:8])
    assert len(keys) == 8 and keys == sorted(keys, key=lambda k: int(k[1:]))
    assert len(gather.look([str(tmp_path / "all.tar")], 0).views) == 0
    limited = gather.look([str(tmp_path / "all.tar")], 99, limit=5)
    assert limited.statistics.samples == 5 and limited.limited


def test_reports_are_the_same_bytes_again(tmp_path):
    shards.write(tmp_path / "a.tar", [(f"k{i}", scenes.members(i)) for i in range(6)])
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "sheet-007.png").write_bytes(b"of an earlier report")
    # Of a killed run, and of an earlier report.
    for left in (f".samples.tmp-{publishing.mark()}", "samples-0123456789ab"):
        (tmp_path / "two" / left).mkdir()
        (tmp_path / "two" / left / "index-000000.js").write_bytes(b"x")
    for name in ("one", "two"):
        arguments = ("--sample", 4, "--page-size", 3, "--columns", 2)
        done = run(tmp_path / "a.tar", "--out", tmp_path / name, *arguments)
        assert done.exit_code == 0
    files = sorted(str(p.relative_to(tmp_path / "one")) for p in (tmp_path / "one").rglob("*"))
    assert [name for name in files if "samples-" not in name] == [
        "index.html", "sheet-000.png", "sheet-001.png",
    ]  # fmt: skip
    assert [name.partition("/")[2] for name in files if "samples-" in name] == [
        "", "cards-000000.js", "index-000000.js",
    ]  # fmt: skip
    assert files == sorted(
        str(p.relative_to(tmp_path / "two")) for p in (tmp_path / "two").rglob("*")
    )
    for name in files:
        if name.startswith("samples-") and "/" not in name:
            continue
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    # (a warning about fonts may follow where this machine has no Chinese)
    assert done.stderr.splitlines()[2] == str(tmp_path / "two" / "index.html")
    assert "show 4 of 6 samples" in (tmp_path / "one" / "index.html").read_text()


def test_a_page_of_bare_pictures_has_no_empty_section(tmp_path):
    shards.write(tmp_path / "a.tar", [("a", {"jpg": scenes.picture(0)})])
    assert run(tmp_path / "a.tar", "--out", tmp_path / "bare").exit_code == 0
    shards.write(tmp_path / "b.tar", [("b", scenes.members(0))])
    assert run(tmp_path / "b.tar", "--out", tmp_path / "whole").exit_code == 0
    bare, whole = ((tmp_path / n / "index.html").read_text() for n in ("bare", "whole"))
    assert "What is in it" not in bare and 'id="samples"' in bare
    assert '<a href="#counts">What is in it</a>' in whole and '<h2 id="counts">' in whole


def test_empty_and_damaged_shards_still_give_a_report(tmp_path):
    shards.write(tmp_path / "empty.tar", [])
    (tmp_path / "junk.tar").write_bytes(b"junk" * 1000)
    shards.write(tmp_path / "cut.tar", [(f"k{i}", scenes.members(i)) for i in range(3)])
    data = (tmp_path / "cut.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(data[: len(data) * 2 // 3 + 100])
    done = run(tmp_path, "--out", tmp_path / "report")
    assert done.exit_code == 0, done.output
    assert "damaged" in done.stdout
    Page((tmp_path / "report" / "index.html").read_text())


def test_the_page_leads_to_other_pages(tmp_path):
    shards.write(tmp_path / "a.tar", [("k", scenes.members(0))])
    out = tmp_path / "report"
    assert (
        run(tmp_path / "a.tar", "--out", out, "--link", f"It={tmp_path}/s/<i>.html").exit_code == 0
    )
    assert '<a href="../s/&lt;i&gt;.html">It</a></nav>' in (out / "index.html").read_text()
    with pytest.raises(UsageError, match="expected NAME=FILE"):
        inspect._link("Scores", str(out))
    with pytest.raises(UsageError, match="give --out"):
        inspect._link("Scores=s.html", None)


def test_the_page_shows_pictures_and_tables(tmp_path):
    shards.write(tmp_path / "a.tar", [("k", scenes.members(0))])
    (tmp_path / "t.md").write_text(
        "Two <b>rows</b> [x](http://x.invalid)\n\n| a | b |\n|---|---|\n| 1 | **2** |\n"
    )
    picture = scenes.members(1)
    name = next(n for n in picture if n in records.IMAGE_SUFFIXES)
    (tmp_path / f"p.{name}").write_bytes(picture[name])
    out = tmp_path / "report"
    shown = ["--show", f"My <table>={tmp_path}/t.md", "--show", f"Drawn={tmp_path}/p.{name}"]
    done = run(tmp_path / "a.tar", "--out", out, *shown)
    assert done.exit_code == 0, done.output
    text = (out / "index.html").read_text()
    Page(text)
    assert "<td>1</td>" in text and "<strong>2</strong>" in text
    assert "&lt;b&gt;rows" in text and "<b>rows" not in text and 'href="http' not in text
    assert base64.b64encode(picture[name]).decode() in text
    for fragment in re.findall(r'href="#(shown-[^"]+)"', text):
        assert f'id="{fragment}"' in text
    assert text.count('href="#shown-') == 2
    for wrong, why in (("It", "NAME=FILE"), ("It=gone.md", "no such file"), ("It=a.exe", ".png")):
        done = run(tmp_path / "a.tar", "--out", out, "--show", wrong)
        assert done.exit_code != 0 and why in done.output, done.output
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = run(tmp_path / "a.tar", "--out", out, "--show", f"It={tmp_path}/broken.png")
    assert done.exit_code != 0 and "broken.png" in done.output
