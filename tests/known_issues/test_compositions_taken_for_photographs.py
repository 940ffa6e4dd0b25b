"""Layouts of `import world compositions` did not say that they are of the world: every score of
pictures drawn of them warned that the miniatures know nothing of such pictures."""

from __future__ import annotations

from socialcli import records
from socialcli.importers import Entry
from socialcli.pipeline.domain import WORLDS
from socialcli.registry import load


def test_compositions_say_that_they_are_of_the_world():
    importer = load("importers", "world")
    config = importer.config_type(source="compositions", size=48)
    members = importer.build(config, Entry("1-subjects-00/park", 0))
    meta = records.load(records.Meta, members["meta.json"])
    assert WORLDS["socialcli.world"].match(meta.source)
    assert "layout.json" in members
