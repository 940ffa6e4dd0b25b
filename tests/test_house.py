"""The documents and the code say the same thing."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from socialcli import backends, records, registry
from socialcli.cli import app, profiles
from socialcli.evaluation import settings

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def commands() -> list[str]:
    return [n for n in app.LazyGroup().files() if n not in app.HIDDEN]


@pytest.mark.parametrize("name", commands())
def test_every_subcommand_has_a_page(name: str) -> None:
    page = {"merge": "running", "pipelines": "running"}.get(name, name)
    text = (DOCS / f"{page}.md").read_text()
    assert re.search(rf"`?(socialcli )?{name}\b", text)
    assert name in (ROOT / "README.md").read_text()


def test_every_backend_is_in_the_model_table() -> None:
    table = (DOCS / "models.md").read_text()
    for role, by_name in backends.available().items():
        for info in by_name.values():
            row = f"| {role} | `{info.name}` | {info.model or '(none)'} | {info.licence} |"
            assert row in table, f"docs/models.md lacks or misstates: {row}"
            assert info.summary and info.licence
            if info.model and "in the package" not in info.size:
                assert info.get, f"{role} {info.name}: how is {info.model} fetched?"


def test_every_member_is_in_the_schema_page() -> None:
    page = (DOCS / "records.md").read_text()
    for suffix in [*records.MEMBERS, records.IDENTITY]:
        assert suffix in page


@pytest.mark.parametrize("name", sorted(profiles.names()))
def test_shipped_profiles_fit_the_stages(name: str) -> None:
    tables, _ = profiles.load(name)
    assert tables
    places = {"device": "cpu", "dtype": "float32"}
    for command, table in tables.items():
        if command == "score":
            profiles.values(name, command, settings.config_type(), {})
        elif (ROOT / "socialcli" / "methods" / command).is_dir():
            known: set[str] = set()
            for method in registry.available(f"methods.{command}"):
                part = registry.load(f"methods.{command}", method)
                values = profiles.values(name, command, part.config_type, {}, method)
                part.models(part.config_type(**{**values, **places}))
                known |= set(values) | {method.replace("-", "_")}
            # What [command] says in common, some method must understand.
            assert {key.replace("-", "_") for key in table} <= known
        else:
            part = registry.load("stages", command)
            values = profiles.values(name, command, part.config_type, {})
            part.models(part.config_type(**{**values, **places}))


def test_every_model_that_mini_names_is_in_the_package() -> None:
    tables, file = profiles.load("mini")
    named = list(tables.values())
    named += [inner for t in tables.values() for inner in t.values() if isinstance(inner, dict)]
    paths = [v for t in named for k, v in t.items() if k.endswith("model")]
    assert len(paths) > 5
    flat = [one for path in paths for one in ([path] if isinstance(path, str) else path)]
    for path in flat:
        assert (file.parent / path).exists(), path


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"]]
    for name in ("mediapipe", "samples", "dev", "ray", "remote"):
        wanted += extras[name]
    pinned = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    for requirement in wanted:
        package = re.split(r"[<>=\[ ]", requirement)[0].lower().replace("_", "-")
        assert re.search(rf"^{re.escape(package)}==", pinned, re.M), package


def test_nobody_unpickles_evaluates_or_runs_a_shell() -> None:
    for file in (ROOT / "socialcli").rglob("*.py"):
        text = file.read_text()
        for call in [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]:
            name = ast.unparse(call.func)
            keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
            where = f"{file}:{call.lineno}: {name}"
            assert name not in ("eval", "exec", "os.system", "os.popen"), where
            assert not name.startswith("pickle."), where
            assert keywords.get("shell") != "True", where
            assert keywords.get("allow_pickle") != "True", where
            if name == "torch.load":
                assert keywords.get("weights_only") == "True", where


def test_no_test_holds_a_machine_to_seconds() -> None:
    """A bound on what a clock says holds on one machine: `pace.loops` counts loops instead."""
    measured = re.compile(r"assert\b.*\btime\.\w+\(\)(?: - |\)* *[/*])|assert\b.* / \(time\.")
    for file in (ROOT / "tests").rglob("*.py"):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            assert not measured.search(line), f"{file}:{number}: {line.strip()}"


def test_the_longest_test_modules_are_there_by_name() -> None:
    from conftest import LONGEST

    modules = {file.stem for file in (ROOT / "tests").rglob("test_*.py")}
    assert set(LONGEST) <= modules, set(LONGEST) - modules
    assert len(set(LONGEST)) == len(LONGEST)
