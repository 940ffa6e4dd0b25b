"""The packaged interaction recogniser knows 49 of HICO-DET's 600 classes, and `train` and `score`
used it on HICO's pictures without a word: where it knows none of what is asked it is refused, else
they say how much it can express. The stage runner said so of photographs, but not where no model
was named and the backend took the packaged one."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_method
from conftest import samples

import socialcli
from socialcli import records, shards
from socialcli.backends import ModelSpec, coverage
from socialcli.errors import UsageError
from socialcli.evaluation import run
from socialcli.evaluation.joining import Joined
from socialcli.evaluation.samples import Known
from socialcli.pipeline import domain
from socialcli.records import hico

WEIGHTS = Path(socialcli.__file__).parent / "miniature/weights"
RIDE, HOLD = ("ride", "horse"), ("hold", "dog")


def test_the_packaged_recogniser_says_how_much_of_hico_it_can() -> None:
    known = coverage.expressible("pairwise", "")
    assert known is not None
    asked = [(c.verb, c.object) for c in hico.classes()]
    warnings = coverage.check(asked, known, "--interaction-model")
    there = len(known & {coverage.plain(*one) for one in asked})
    assert 0 < there < 100
    assert f"knows {there} of the 600 classes" in warnings and "--interaction-model" in warnings


def test_a_recogniser_that_knows_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"knows none of the 1 classes .*'ride horse'.*--model"):
        coverage.check([RIDE, RIDE], frozenset({HOLD}), "--model")
    assert coverage.check([RIDE], frozenset({RIDE, HOLD}), "--model") == ""
    assert (
        coverage.check([("sit_on", "Dining Table")], frozenset({("sit on", "dining table")}), "")
        == ""
    )
    assert coverage.check([RIDE], None, "--model") == ""  # a backend that does not say
    warnings = coverage.check([RIDE, HOLD, HOLD], frozenset({RIDE}), "--model")
    assert (
        "1 of the 2 classes" in warnings
        and "1 of 3 interactions" in warnings
        and "'hold dog'" in warnings
    )


def test_a_model_that_is_not_named_is_the_packaged_one() -> None:
    spec = ModelSpec("interaction", "pairwise", "", None, "cpu", "float32")
    assert "interaction" in domain.limited([spec])
    assert not domain.limited([ModelSpec("ground", "grounding-dino", "", None, "cpu", "float32")])


def test_miniatures_say_of_how_many_pictures_they_know_nothing() -> None:
    """`train` and `score` compared interaction classes only; of a face model nothing was said."""
    known = domain.limited([ModelSpec("face", "insightface", str(WEIGHTS / "face"))])
    drawn = "world-0-train-12"
    assert domain.strangers([drawn, drawn], known, "so") == ""
    warning = domain.strangers([drawn, "street.jpg", ""], known, "of which scores mean nothing")
    assert warning.startswith("the face model was trained on rendered scenes")
    assert warning.endswith("2 of 3 pictures are of another kind, of which scores mean nothing")
    assert domain.strangers(["street.jpg"], {}, "so") == ""


def known_as(source: str | None, model: str) -> Joined:
    generated = Known(
        "a", "in.tar", "0", {"model": {"backend": "stable-diffusion", "model": model}}
    )
    if source is None:
        return Joined(generated)
    meta = records.Meta(8, 8, source=source)
    return Joined(generated, Known("b", "in.tar", "1", records={"meta.json": meta}))


@pytest.mark.parametrize(
    ("source", "model", "strange"),
    [
        ("world-0-test-3", "mini/diffusion", False), ("street.jpg", "mini/diffusion", True),
        (None, "mini/diffusion", False), (None, "stable-diffusion-v1-5", True), (None, "", True),
    ],
)  # fmt: skip
def test_what_a_scored_picture_shows(source: str | None, model: str, strange: bool) -> None:
    known = domain.limited([ModelSpec("clip", "clip", str(WEIGHTS / "clip"))])
    assert bool(domain.strangers([run._kind(known_as(source, model))], known, "so")) is strange


def test_a_training_on_photographs_says_it(tmp_path, monkeypatch, capsys) -> None:
    shards.write(tmp_path / "data.tar", samples(0, 4))
    mini = [ModelSpec("diffusion", "stable-diffusion", str(WEIGHTS / "diffusion"))]
    for models, warns in (([], False), (mini, True)):
        monkeypatch.setattr(toy_method.ToyMethod, "models", lambda self, config, m=models: m)
        toy_method.train(tmp_path / str(warns), [str(tmp_path / "data.tar")], steps=1, quiet=False)
        stderr = capsys.readouterr().err
        assert (
            "4 of 4 pictures are of another kind, of which they teach nothing" in stderr
        ) is warns
