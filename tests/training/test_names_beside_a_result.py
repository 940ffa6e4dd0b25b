"""What a training leaves beside its result has one list of names, which tell folders apart."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from socialcli.backends import naming

PACKAGE = Path(__file__).parents[2] / "socialcli"


def components(file: Path) -> Iterator[tuple[str, str]]:
    """(place, text) of each literal that a file appends to a path."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            for part in ast.walk(node.right):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield f"{file.relative_to(PACKAGE)}:{part.lineno}", part.value


def test_nobody_writes_these_names_again():
    """A name that the list lacks would count as a part of the model (and one that it has alone
    would not be left out)."""
    for room in ("training", "methods", "benchmarks"):
        for file in (PACKAGE / room).rglob("*.py"):
            for place, text in components(file):
                assert text not in naming.BESIDE and not text.startswith("step-"), place


def test_a_folder_of_a_step_is_read_as_it_is_written():
    for step in (0, 7, 1_234_567):
        match = naming.STEP.fullmatch(naming.after(step))
        assert match is not None and int(match[1]) == step
