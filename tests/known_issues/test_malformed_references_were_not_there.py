"""A reference whose `meta.json` or `people.json` is malformed could not be found by its subject or
its person, and the message said that there was no such reference, not what was wrong with it."""

from __future__ import annotations

import json

import pytest
from conftest import picture

from socialcli import shards
from socialcli.errors import SampleFailed
from socialcli.generation import references
from socialcli.generation.references import Wanted


def test_the_message_says_which_cannot_be_read_and_why(tmp_path):
    """Beside one that can be, which is found as ever."""
    meta = json.dumps({"extra": {"subject": "Rex"}}).encode()  # lacks what every meta.json has
    shard = str(tmp_path / "refs.tar")
    shards.write(
        shard,
        [
            ("a", {"jpg": picture(1), "meta.json": meta}),
            ("b", {"jpg": picture(2), "people.json": b"{"}),
            ("Ada/0", {"jpg": picture(3)}),
        ],
    )
    why = r"'Rex' is not there.*; who is in a and 1 more cannot be read \(.*meta.json.*\)"
    with pytest.raises(SampleFailed, match=why):
        references.find(Wanted("Rex", "dog"), (shard,), "k", "")
    assert references.find(Wanted("Ada", "woman"), (shard,), "k", "").key == "Ada/0"
    with pytest.raises(SampleFailed, match=r"no other picture of 'Bob'.*who is in a and 1 more"):
        references.find(Wanted("k", "man", identity="Bob"), (shard,), "k", "")
