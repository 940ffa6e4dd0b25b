"""`score --hoi-classes FILE` took an interaction that the file does not name for the class that has
its number there: HICO-DET's numbers, and those of a recogniser, are of their own tables. So of a
file of a few classes, "board airplane" (HICO-DET's first) was its first, whatever that is; likewise
the packaged recogniser's world of interactions in HICO-DET's classes."""

from __future__ import annotations

import json

import pytest

from socialcli.evaluation import hoi_classes
from socialcli.miniature.world.vocabulary import PAIRS
from socialcli.records import hico


@pytest.fixture
def table(tmp_path) -> hoi_classes.Classes:
    file = tmp_path / "people.json"
    pairs = [[one.verb, one.object] for one in hico.classes() if one.object == "person"]
    file.write_text(json.dumps({"classes": pairs}))
    return hoi_classes.classes(str(file), [])


def test_a_file_of_some_of_hico_dets_classes(table):
    others = [one for one in hico.classes() if one.object != "person"]
    assert {table.of(one.verb, one.object, one.number) for one in others} == {None}
    own = [one for one in hico.classes() if one.object == "person"]
    assert [table.of(one.verb, one.object, one.number) for one in own] == list(range(len(own)))


def test_the_worlds_numbers_are_not_hico_dets():
    table = hoi_classes.classes("hico-det", [])
    named = {(one.verb.replace("_", " "), one.object): one.number - 1 for one in hico.classes()}
    for pair in PAIRS:
        there = table.of(pair.verb, pair.object, pair.hoi)
        assert there == named.get((pair.verb, pair.object)), pair


def test_other_words_for_a_number_of_the_table_itself(table):
    """As of a data set whose own words differ from the file's."""
    assert table.of("embrace", "person", 2) == 1
