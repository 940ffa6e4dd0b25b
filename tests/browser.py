"""A real browser for the tests of pages: the machine's Chromium, driven by Playwright."""

from __future__ import annotations

import importlib.util
import shutil
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def start(playwright):
    """Chromium without a window."""
    path = next(filter(None, map(shutil.which, NAMES)))
    return playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


def why_not() -> str:
    """Why there is no browser here, "" where there is one."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed"
    if not any(map(shutil.which, NAMES)):
        return "no Chromium on this machine (Debian: apt-get install chromium)"
    return ""


def until(page, condition: str) -> None:
    """Wait for a condition in JavaScript. (Playwright's own way needs eval, which the pages forbid
    themselves.)"""
    end = time.monotonic() + 120
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(30)


def axe(page) -> list[str]:
    """What axe-core finds wrong with what a page shows now, of whatever weight."""
    axe_playwright_python = pytest.importorskip("axe_playwright_python")
    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text())
    violations = page.evaluate("axe.run(document)")["violations"]
    return [f"{v['id']} ({v['impact']}): {v['nodes'][0]['html'][:200]}" for v in violations]


def cut(page) -> list[str]:
    """Texts that reach out of their chart, cell or card, or that lie on one another."""
    return page.evaluate(
        """() => {
        const wrong = [];
        for (const text of document.querySelectorAll("svg.chart text")) {
            const inner = text.getBoundingClientRect();
            const outer = text.ownerSVGElement.getBoundingClientRect();
            if (inner.left < outer.left - 0.5 || inner.right > outer.right + 0.5 ||
                inner.top < outer.top - 0.5 || inner.bottom > outer.bottom + 0.5)
                wrong.push(text.textContent);
            for (const other of text.ownerSVGElement.querySelectorAll("text")) {
                const box = other.getBoundingClientRect();
                if (other !== text && box.left < inner.right && inner.left < box.right &&
                    box.top < inner.bottom - 3 && inner.top < box.bottom - 3)
                    wrong.push(`${text.textContent} on ${other.textContent}`);
            }
        }
        for (const cell of document.querySelectorAll("th, td, .fact, h1, h2, h3")) {
            if (!cell.closest(".spoken, .figures tr:first-child, .wide") &&
                cell.scrollWidth > cell.clientWidth + 1) wrong.push(cell.textContent);
        }
        return wrong;
    }"""
    )
