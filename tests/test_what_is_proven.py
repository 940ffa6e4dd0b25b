"""docs/models.md's table of what is proven of each model: every cell names a test that there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
COLUMNS = ["layout", "equal to", "gradient", "tiny checkpoint, real command", "trained miniature"]


def rows() -> list[list[str]]:
    text = (ROOT / "docs" / "models.md").read_text().split("## What is proven of each model")[1]
    table = re.search(r"(?:^\|.*\n)+", text, re.M)
    assert table is not None
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()
    ]
    assert cells[0] == ["model", "tests in", *COLUMNS]
    return cells[2:]


def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_cell_names_tests_that_there_are() -> None:
    table = rows()
    assert len(table) >= 25
    for model, home, *cells in table:
        place = home.strip("`")
        for column, cell in zip(COLUMNS, cells, strict=True):
            named = re.findall(r"`(?:([\w/]+\.py)::)?(test_\w+)`", cell)
            assert named or cell == "-", f"{model}, {column}: no test"
            assert cell.count("`") == 2 * len(named), f"{model}, {column}: a name that is no test"
            for file, name in named:
                assert name in names_in(file or place), (
                    f"{model}, {column}: {file or place}::{name}"
                )


def test_every_kind_of_model_with_a_checkpoint_is_in_the_table() -> None:
    """By the first word of the summary that `socialcli models` prints."""
    from socialcli import backends

    text = " ".join(row[0] for row in rows()).lower()
    known = {"iresnet": "arcface", "insightface": "arcface", "diffusers": "controlnet",
             "segment-anything": "sam", "autoencoder-tiny": "taesd", "vit": "dino",
             "grounding-dino-original": "groundingdino", "grounding-dino": "groundingdino",
             "sdxl": "sdxl", "ip-adapter-faceid": "faceid", "xpose": "x-pose", "rt-detr": "rt-detr",
             "stable-diffusion": "stable diffusion", "sam2": "sam 2", "blip2": "blip-2",
             "florence2": "florence-2", "qwen2-vl": "qwen2-vl", "gazelle": "gaze-lle",
             "instruct-pix2pix": "instructpix2pix", "ssr-encoder": "ssr-encoder"}  # fmt: skip
    for role, by_name in backends.available().items():
        for name, info in by_name.items():
            weighs = info.get and role != "entities" and "in the package" not in info.model
            if weighs:
                assert known.get(name, name) in text, f"{role}/{name}"
