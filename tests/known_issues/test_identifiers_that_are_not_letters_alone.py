"""A LoRA whose subject is called by an identifier that is not letters and digits alone ("rex-2",
"<new1>") acted in no segment at all: prompts were cut into words at such characters before the
identifier was looked for. Subject-aware guidance looked for its subject in the same way."""

from __future__ import annotations

import pytest

from socialcli import records
from socialcli.methods.generate import _bound, _subject_aware


@pytest.mark.parametrize("identifier", ["sks", "rex-2", "<new1>", "o'neil"])
def test_the_identifier_is_seen_where_it_stands_as_a_word(identifier: str) -> None:
    segment = records.Segment(1, "#000000", f"a {identifier.upper()} dog", {})
    assert _bound.acts([identifier], segment.prompt)
    assert not _bound.acts([identifier], f"a {identifier}s dog" if identifier[-1] != ">" else "a")
    subjects = [{"identifier": "zwx"}, {"identifier": identifier}]
    assert _subject_aware.channel(segment, subjects) == 1
