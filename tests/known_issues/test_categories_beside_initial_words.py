"""`invert --method identity --category woman` was passed over in silence where any `--initial-word`
was given: for the same people, and for those that it did not name."""

from __future__ import annotations

import pytest

from socialcli import registry
from socialcli.errors import UsageError
from socialcli.methods.invert import identity

METHOD = registry.load("methods.invert", "identity")


def test_a_category_is_for_those_whom_no_initial_word_names():
    config = METHOD.config_type(category="woman", initial_word=["<bob>=man"])
    METHOD.check_options(config)
    given = identity._complete(config, None).initial_word
    assert given == ["<bob>=man", "woman"]
    for options in ({"category": "dog"}, {"initial_word": ["dog"]}):
        assert identity._complete(METHOD.config_type(**options), None).initial_word == ["dog"]


def test_two_words_for_the_same_people_are_refused():
    METHOD.check_options(METHOD.config_type(category="dog", initial_word=["dog", "<bob>=man"]))
    with pytest.raises(UsageError, match="--category woman and --initial-word man are one thing"):
        METHOD.check_options(METHOD.config_type(category="woman", initial_word=["man"]))
