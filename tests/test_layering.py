"""Arrows point inwards: which room of the package may import which, read from the sources.

Imports inside functions count as well: they are lazy for speed, not to hide an arrow.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "socialcli"

# From the inside out. A room may import the rooms above it that are named here, and no others.
# `registry` finds stages, methods, metrics and so on by name: nobody needs an arrow to one.
MAY: dict[str, str] = {
    "errors": "",
    "config": "errors",
    "textfiles": "errors",
    "spreadsheets": "errors textfiles",
    "randomness": "",
    "registry": "errors",
    "records": "errors",
    "shards": "errors records",
    "vision": "errors records",
    "networks": "errors",
    "validation": "errors records shards vision",
    "backends": "errors networks records shards spreadsheets textfiles vision",
    "losses": "errors networks vision",
    "diffusion": "config errors losses networks randomness registry textfiles vision",
    "miniature": "backends errors losses networks records vision",
    "pipeline": "backends config errors records registry shards validation",
    "reports": "errors pipeline records shards validation vision",
    "training": "backends config diffusion errors networks pipeline randomness records registry "
    "shards validation vision",
    "generation": "backends config diffusion errors networks pipeline records registry shards "
    "spreadsheets textfiles validation vision",
    "stages": "backends config errors pipeline records shards vision",
    "importers": "config errors miniature pipeline records registry shards textfiles vision",
    "exporters": "errors records shards validation vision",
    "evaluation": "backends config errors miniature networks pipeline records registry reports "
    "shards validation vision",
    "methods": "backends config diffusion errors generation losses miniature networks randomness "
    "records shards textfiles training validation vision",
    "cli": "backends config errors evaluation exporters generation methods pipeline records "
    "registry reports shards textfiles training validation vision",
    "benchmarks": "backends cli diffusion errors evaluation generation importers losses miniature "
    "networks pipeline randomness records registry reports shards training vision",
    "__main__": "cli",
}
ONE_ROOM = {"tarfile": "shards"}  # a module that only one room opens


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@functools.cache
def imported(file: Path) -> list[tuple[int, str]]:
    """(line, dotted name) of everything a file imports, wherever it stands in the file."""
    return list(_imported(file))


def _imported(file: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)


def arrows(file: Path) -> Iterator[tuple[int, str]]:
    """(line, room) of each import of another room of the package."""
    for line, name in imported(file):
        parts = name.split(".")
        if parts[0] == "socialcli" and len(parts) > 1:
            to = parts[1]
            there = (PACKAGE / to).is_dir() or (PACKAGE / f"{to}.py").is_file()
            if there and to != room(file):
                yield line, to


def where(file: Path, line: int) -> str:
    return f"{file.relative_to(PACKAGE.parent)}:{line}"


def test_every_room_imports_only_what_it_may() -> None:
    wrong = [
        f"{where(file, line)}: {room(file)} may not import {to}"
        for file in modules()
        for line, to in arrows(file)
        if to not in MAY.get(room(file), "").split()
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_room_stands_in_the_list_and_has_each_arrow_it_may() -> None:
    """What is no longer needed is taken off the list, so that it cannot come back unseen."""
    drawn: dict[str, set[str]] = {}
    for file in modules():
        if room(file) != "__init__":
            drawn.setdefault(room(file), set()).update(to for _, to in arrows(file))
    assert set(drawn) == set(MAY)
    unused = {one: set(MAY[one].split()) - drawn[one] for one in MAY}
    assert not any(unused.values()), {k: v for k, v in unused.items() if v}


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """A way round in a graph, [] where there is none."""
    done: set[str] = set()

    def walk(at: str, way: list[str]) -> list[str]:
        if at in way:
            return [*way[way.index(at) :], at]
        if at in done:
            return []
        for to in sorted(graph.get(at, ())):
            if found := walk(to, [*way, at]):
                return found
        done.add(at)
        return []

    for one in sorted(graph):
        if found := walk(one, []):
            return found
    return []


def test_no_room_leads_back_to_itself() -> None:
    assert not cycle({one: set(may.split()) for one, may in MAY.items()})
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]


@pytest.mark.parametrize("parent", ["miniature", "methods", "backends"])
def test_no_folder_beside_another_leads_back_to_it(parent: str) -> None:
    """Of the folders of a room (world and zoo, train and generate, the roles of backends)."""
    graph: dict[str, set[str]] = {}
    for file in modules():
        parts = file.relative_to(PACKAGE).parts
        if parts[0] == parent and len(parts) > 2:
            for _, name in imported(file):
                to = name.split(".")
                if to[:2] == ["socialcli", parent] and len(to) > 2 and to[2] != parts[1]:
                    graph.setdefault(parts[1], set()).add(to[2])
    assert not cycle(graph)


def at_import(node: ast.AST) -> Iterator[str]:
    """Dotted names that a module imports while it is imported itself."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (name.name for name in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield from (f"{child.module}.{name.name}" for name in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from at_import(child)


def test_modules_can_be_imported_in_any_order() -> None:
    """A way round would show only when the command that begins on its other side is the first: and
    the commands of a test run have what earlier ones imported (`preloaded`)."""
    names: dict[str, Path] = {}
    for file in modules():
        dotted = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        names[dotted.removesuffix(".__init__")] = file
    graph: dict[str, set[str]] = {}
    for one, file in names.items():
        for name in at_import(ast.parse(file.read_text(encoding="utf-8"))):
            to = name if name in names else name.rpartition(".")[0]
            # A package is imported before all that is in it, whoever asks.
            if to in names and not f"{one}.".startswith(f"{to}."):
                graph.setdefault(one, set()).add(to)
    assert not cycle(graph)
    assert sum(map(len, graph.values())) > len(names)


@pytest.mark.parametrize(("name", "owner"), ONE_ROOM.items())
def test_one_room_opens(name: str, owner: str) -> None:
    wrong = [
        f"{where(file, line)}: only {owner} opens {name}"
        for file in modules()
        if room(file) not in (owner, "benchmarks")
        for line, one in imported(file)
        if one.split(".")[0] == name
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_nothing_outside_knows_a_stage() -> None:
    """Stages are found by name; what several rooms need of one stands in an inner room."""
    wrong = [
        f"{where(file, line)}: knows {name}"
        for file in modules()
        if room(file) != "stages"
        for line, name in imported(file)
        if name.startswith("socialcli.stages")
    ]
    assert not wrong, "\n" + "\n".join(wrong)
