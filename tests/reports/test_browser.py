"""The pages in a real browser, opened from the disk: seen, searched, gone through by keyboard."""

from __future__ import annotations

import json

import browser
import pytest
import scenes
from typer.testing import CliRunner

from socialcli import records, shards
from socialcli.cli import app
from socialcli.evaluation import page as score_page
from socialcli.reports import cards, gather, page
from socialcli.reports.statistics import Statistics
from socialcli.reports.view import View

if browser.why_not():
    pytest.skip(browser.why_not(), allow_module_level=True)
from playwright.sync_api import sync_playwright

NARROW, WIDE = {"width": 420, "height": 900}, {"width": 1280, "height": 900}
SAMPLES, FAILED = 150, 230  # more than the page's own table lists


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report with names of all lengths, and with more failed samples than whole ones."""
    folder = tmp_path_factory.mktemp("report")
    long = records.Interaction(9, "carry", 1, 1, 2, object_label="a bundle of firewood in a meadow")
    samples = []
    for number in range(SAMPLES):
        interactions = scenes.all_records()["interactions.json"]
        interactions.interactions.append(long)
        members = scenes.members(number % 5, {"interactions.json": interactions})
        samples.append((f"k{number:04}", members))
    shards.write(folder / "a.tar", samples)
    lost = [
        {"key": f"x{n}", "status": "failed", "stage": "ground", "reason": f"no eyes number {n}"}
        for n in range(FAILED)
    ]
    (folder / "a.errors.jsonl").write_text("".join(json.dumps(e) + "\n" for e in lost))
    done = CliRunner().invoke(
        app.app, ["inspect", str(folder), "--out", str(folder / "report"), "--sample", "4"]
    )
    assert done.exit_code == 0, done.output
    return folder / "report" / "index.html"


@pytest.fixture(scope="module")
def score(tmp_path_factory):
    """A page about a score with two figures and pictures."""
    out = tmp_path_factory.mktemp("score")
    small = score_page.thumbnail(scenes.picture(0))
    shards.write_bytes(str(out / score_page.FOLDER / "0.jpg"), small)
    column = {
        "better": "higher", "digits": 4, "unit": "", "low": 0.1, "high": 0.7, "range_low": -1.0,
        "range_high": 1.0, "n": 8, "about": "cosine of generated and reference pictures, the mean",
        "value": 0.4, "title": "Likeness of pictures",
    }  # fmt: skip
    none = {**column, "value": None, "low": None, "high": None, "title": "Nothing"}
    body = {
        "title": "A method", "pictures": 8, "units": 4, "methods": ["ssr"], "level": 0.95,
        "columns": {"clip_i": column, "face": none}, "generated": ["gen"], "reference": ["ref"],
        "resamples": 2000, "seed": 0, "notes": ["one note " * 30], "models": {}, "lost": 0,
        "metrics": {"clip-i": "a definition"}, "socialcli": "0", "finished": "today",
    }  # fmt: skip
    shots = [score_page.Shot(f"k{n}", "a prompt", "7", 0.0, "0.jpg", "0.jpg") for n in range(3)]
    one = score_page.Shown("clip_i", shots[:2], shots[2:], [0.0, 0.001, 0.5, 0.99])
    text = "".join(score_page.page(body, [one]))
    (out / "index.html").write_text(text, encoding="utf-8")
    return out / "index.html"


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        started = browser.start(playwright)
        yield started
        started.close()


@pytest.fixture
def opened(chromium):
    """Opens a file; at the end nothing may have gone wrong in its script or policy."""
    contexts, complaints = [], []

    def open_(path, viewport=WIDE, scheme="light"):
        context = chromium.new_context(viewport=viewport, color_scheme=scheme)
        contexts.append(context)
        shown = context.new_page()
        shown.set_default_timeout(120_000)
        shown.on("console", lambda message: complaints.append(message.text))
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.goto(path.as_uri())
        return shown

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def to_list(shown, count: str) -> None:
    """Scroll to the samples and wait until all have been read and the first ones are drawn."""
    shown.evaluate("document.getElementById('samples').scrollIntoView()")
    wait(shown, count)
    shown.wait_for_selector(".card .key")


def wait(shown, count: str) -> None:
    browser.until(shown, f"document.getElementById('shown').textContent === '{count}'")


ALL = f"{SAMPLES + FAILED} of {SAMPLES + FAILED} samples"


@pytest.mark.parametrize(("viewport", "scheme"), [(NARROW, "dark"), (WIDE, "light")])
def test_nothing_is_inaccessible_or_cut(report, score, opened, viewport, scheme):
    for path in (report, score):
        shown = opened(path, viewport, scheme)
        if path is report:
            to_list(shown, ALL)
        assert browser.axe(shown) == []
        assert browser.cut(shown) == []
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert shown.evaluate(overflow) == 0
        assert shown.evaluate("[...document.images].every(image => image.alt)")
        last = shown.locator("img").last  # embedded, or a file beside the page
        last.scroll_into_view_if_needed()
        browser.until(shown, "[...document.images].at(-1).naturalWidth > 0")
    shown = opened(report, viewport, scheme)
    to_list(shown, ALL)
    shown.click(".card .shot")
    shown.wait_for_selector("#one .shot")
    assert browser.axe(shown) == []


def test_search_and_filter_reach_every_sample(report, opened):
    shown = opened(report)
    to_list(shown, ALL)
    assert shown.locator(".card").count() < 30  # only what is on the screen
    shown.fill("#words", "k0149")  # the last, and on no sheet
    wait(shown, f"1 of {SAMPLES + FAILED} samples")
    shown.wait_for_selector(".card img")
    shown.fill("#words", "")
    wait(shown, ALL)
    shown.fill("#words", "EYES 229")  # the last that failed
    wait(shown, f"1 of {SAMPLES + FAILED} samples")
    shown.wait_for_selector(".card .key")
    card = shown.locator(".card").inner_text()
    assert "no eyes number 229" in card and "failed in ground" in card
    shown.fill("#words", "")
    shown.select_option("#has", label="left out or failed")
    wait(shown, f"{FAILED} of {SAMPLES + FAILED} samples")
    shown.select_option("#has", label="without masks")
    wait(shown, f"{FAILED} of {SAMPLES + FAILED} samples")
    shown.select_option("#has", label="with masks")
    wait(shown, f"{SAMPLES} of {SAMPLES + FAILED} samples")
    shown.fill("#words", "nothing has these words")
    wait(shown, f"0 of {SAMPLES + FAILED} samples")
    assert shown.locator(".card").count() == 0


def test_the_list_by_keyboard(report, opened):
    shown = opened(report)
    to_list(shown, ALL)
    focused = "document.activeElement.getAttribute('aria-label')"
    shown.focus("#words")
    for _ in range(20):
        shown.keyboard.press("Tab")
        if shown.evaluate("document.activeElement.className") == "open":
            break
    assert shown.evaluate(focused) == "Enlarge k0000"
    shown.keyboard.press("ArrowRight")
    assert shown.evaluate(focused) == "Enlarge k0001"
    shown.keyboard.press("Tab")  # as well
    assert shown.evaluate(focused) == "Enlarge k0002"
    shown.keyboard.press("Enter")
    shown.wait_for_selector("#viewer[open] #one .shot")
    title = shown.locator("#viewer-title")
    assert title.inner_text() == "k0002"
    shown.keyboard.press("ArrowRight")
    browser.until(shown, "document.getElementById('viewer-title').textContent === 'k0003'")
    shown.uncheck("#layer-boxes")  # the layers are at hand here too
    assert shown.locator("#one g.boxes").first.is_hidden()
    shown.check("#layer-boxes")
    assert shown.locator("#one g.boxes").first.is_visible()
    shown.keyboard.press("Escape")
    shown.wait_for_selector("#viewer:not([open])", state="attached")
    browser.until(shown, f"{focused} === 'Enlarge k0003'")
    shown.keyboard.press("End")
    browser.until(shown, f"{focused} === 'Enlarge x{FAILED - 1}'")
    assert shown.locator(".card").count() < 40
    shown.keyboard.press("Home")
    browser.until(shown, f"{focused} === 'Enlarge k0000'")


def test_a_report_without_its_folder_says_so(report, chromium, tmp_path):
    """No console is watched here: a file that is not there is an error to the browser too."""
    alone = tmp_path / "index.html"
    alone.write_bytes(report.read_bytes())
    context = chromium.new_context()
    shown = context.new_page()
    shown.goto(alone.as_uri())
    browser.until(shown, "document.getElementById('shown').textContent.includes('beside')")
    context.close()


def test_many_samples(opened, tmp_path):
    """More than one list can hold: in stretches, all of them searched, the page as small."""
    many = 13_000
    with cards.writing(tmp_path, 10) as written:
        looked = gather.Looked(Statistics(samples=many), cards=written)
        for number in range(many):
            text = f"a caption with number {number}"
            written.add(View(f"k{number}", "a.tar", None, records.Caption(text)))
        for _ in gather.write(looked, str(tmp_path), "many", 4, 24):
            pass
    assert (tmp_path / "index.html").stat().st_size < 100_000
    shown = opened(tmp_path / "index.html")
    to_list(shown, "13,000 of 13,000 samples")
    shown.fill("#words", "k12999")
    wait(shown, "1 of 13,000 samples")
    shown.fill("#words", "")
    wait(shown, "13,000 of 13,000 samples")
    shown.select_option("#stretches select", label="12,001 to 13,000")
    focused = "document.activeElement.getAttribute('aria-label')"
    browser.until(shown, f"{focused} === 'Enlarge k12000'")
    shown.keyboard.press("End")
    browser.until(shown, f"{focused} === 'Enlarge k12999'")
    assert shown.locator(".card").count() < 40
    assert int(shown.evaluate("document.documentElement.scrollHeight")) < 4_000_000


def test_the_page_is_made_of_one_script(report):
    """The browser tests drive the script that lies in the package."""
    assert (page.HERE / "page.js").read_text(encoding="utf-8") in report.read_text(encoding="utf-8")
