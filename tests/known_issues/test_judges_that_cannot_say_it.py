"""The packaged interaction recogniser knows 49 of HICO-DET's 600 classes, and `train` and `score`
used it on HICO's pictures without a word: where it knows none of what is asked it is refused, else
they say how much it can express. The stage runner said so of photographs, but not where no model
was named and the backend took the packaged one."""

from __future__ import annotations

import pytest

from socialcli.backends import ModelSpec, coverage
from socialcli.errors import UsageError
from socialcli.pipeline import domain
from socialcli.records import hico

RIDE, HOLD = ("ride", "horse"), ("hold", "dog")


def test_the_packaged_recogniser_says_how_much_of_hico_it_can() -> None:
    known = coverage.expressible("pairwise", "")
    assert known is not None
    asked = [(c.verb, c.object) for c in hico.classes()]
    said = coverage.check(asked, known, "--interaction-model")
    there = len(known & {coverage.plain(*one) for one in asked})
    assert 0 < there < 100
    assert f"knows {there} of the 600 classes" in said and "--interaction-model" in said


def test_a_recogniser_that_knows_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"knows none of the 1 classes .*'ride horse'.*--model"):
        coverage.check([RIDE, RIDE], frozenset({HOLD}), "--model")
    assert coverage.check([RIDE], frozenset({RIDE, HOLD}), "--model") == ""
    assert (
        coverage.check([("sit_on", "Dining Table")], frozenset({("sit on", "dining table")}), "")
        == ""
    )
    assert coverage.check([RIDE], None, "--model") == ""  # a backend that does not say
    said = coverage.check([RIDE, HOLD, HOLD], frozenset({RIDE}), "--model")
    assert "1 of the 2 classes" in said and "1 of 3 interactions" in said and "'hold dog'" in said


def test_a_model_that_is_not_named_is_the_packaged_one() -> None:
    spec = ModelSpec("interaction", "pairwise", "", None, "cpu", "float32")
    assert "interaction" in domain.limited([spec])
    assert not domain.limited([ModelSpec("ground", "grounding-dino", "", None, "cpu", "float32")])
