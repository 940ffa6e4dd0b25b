"""Parts: found by file or entry point, checked when they are loaded."""

from __future__ import annotations

from typing import Any

import pytest

from socialcli import registry
from socialcli.errors import SocialcliError, UnknownName
from socialcli.registry import Part


@pytest.mark.parametrize("kind", sorted(registry.KINDS))
def test_every_part_loads_and_says_what_it_is(kind: str) -> None:
    infos = registry.available(kind)
    assert infos and list(infos) == sorted(infos)
    for name, info in infos.items():
        part = registry.load(kind, name)
        assert isinstance(part, registry.base_of(kind))
        assert (part.kind, part.name) == (kind, name)
        assert info.summary[0].isupper() and info.summary.endswith((".", ":", ",", ")")), info


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"train has no method 'feedbak'. Did you mean 'feedback"):
        registry.load("methods.train", "feedbak")


def module(tmp_path: Any, monkeypatch: Any, text: str) -> str:
    """A part outside the package, behind an entry point of its own; returns its name."""
    (tmp_path / "outside_part.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))

    real = registry._entry_points
    monkeypatch.setattr(
        registry,
        "_entry_points",
        lambda group: [
            *real(group),
            *([("outside", "outside_part:Outside")] if group == "socialcli.importers" else []),
        ],
    )
    for cache in (registry.available, registry.outside, registry._instance):
        cache.cache_clear()
    monkeypatch.delitem(__import__("sys").modules, "outside_part", raising=False)
    return "outside"


@pytest.fixture(autouse=True)
def _afresh():
    yield
    for cache in (registry.available, registry.outside, registry._instance):
        cache.cache_clear()


GOOD = '''"""An importer from outside."""
from socialcli.importers import Entry, Importer

class Outside(Importer):
    config_type = object
    def entries(self, config):
        yield Entry("a", None)
    def build(self, config, entry):
        return {"txt": b"a"}
'''


def test_a_part_from_outside_is_one_like_the_others(tmp_path, monkeypatch) -> None:
    name = module(tmp_path, monkeypatch, GOOD)
    assert registry.available("importers")[name].summary == "An importer from outside."
    assert registry.load("importers", name).count(None) == 1


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("def build(", "def biuld(", r"Outside.biuld is no hook.*Did you mean 'build'"),
        ("    def build(self, config, entry):\n        return {\"txt\": b\"a\"}\n", "",
         "abstract method"),
        ("class Outside(Importer)", "class Outside", "0 classes inherit Importer"),
        ("class Outside", "class Other(Importer):\n    config_type = object\n    def entries(self,"
         " c): ...\n    def build(self, c, e): ...\n\nclass Outside", "2 classes inherit Importer"),
    ],
)  # fmt: skip
def test_a_part_that_is_none_is_told_in_a_line(tmp_path, monkeypatch, old, new, reason) -> None:
    assert old in GOOD
    name = module(tmp_path, monkeypatch, GOOD.replace(old, new))
    with pytest.raises(SocialcliError, match=reason) as error:
        registry.load("importers", name)
    assert "outside_part.py" in str(error.value) and "\n" not in str(error.value)


def test_a_part_may_be_registered_in_a_process() -> None:
    class Here(registry.base_of("importers")):  # type: ignore[misc]
        config_type = object

        def entries(self, config):
            return iter(())

        def build(self, config, entry):
            return {}

    registry.register("importers", "here", Here())
    try:
        assert registry.load("importers", "here").name == "here"
    finally:
        registry._registered.clear()


def test_hooks_of_a_base_in_between_count() -> None:
    class Base(Part, base=True):
        LIMIT: int = 1
        width: float

    class Between(Base):
        LIMIT = 2

    class Last(Between):
        width = 3.0

    assert Last().LIMIT == 2


def test_entry_points_are_those_that_the_library_finds(tmp_path, monkeypatch) -> None:
    """The quick reader against `importlib.metadata`, over two packages and a broken one."""
    from importlib.metadata import entry_points

    for name, text in (
        ("one", "[console_scripts]\nx = y:z\n\n[socialcli.metrics]\nlong-name = one.long:Long\n"),
        (
            "two",
            "[socialcli.metrics]\nb=two.b\n[other]\nc = d\n[socialcli.stages]\ns = t",
        ),
        ("none", "[other]\nc = d\n"),
    ):
        place = tmp_path / f"{name}-1.0.dist-info"
        place.mkdir()
        (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (place / "entry_points.txt").write_text(text)
    (tmp_path / "bad.dist-info").mkdir()
    (tmp_path / "bad.dist-info" / "entry_points.txt").write_bytes(b"[socialcli.\xff")
    monkeypatch.setattr("sys.path", [str(tmp_path), "/nowhere"])
    registry._declared.cache_clear()
    try:
        for group in ("socialcli.metrics", "socialcli.stages", "socialcli.engines"):
            (tmp_path / "bad.dist-info" / "entry_points.txt").unlink(missing_ok=True)
            known = sorted((p.name, p.value) for p in entry_points(group=group))
            assert sorted(registry._entry_points(group)) == known
        assert registry._entry_points("socialcli.metrics")
    finally:
        registry._declared.cache_clear()
