"""A score was refused because of a metric or feature that it did not ask for.

Every metric and feature checked its options whatever ``--metrics`` named; the first ones that need
an option (bystanders, sas) so ended every other score. Only what is asked for checks its options,
and what that is computed from.
"""

from __future__ import annotations

import pytest

from socialcli import registry
from socialcli.errors import UsageError
from socialcli.evaluation import settings

Config = settings.config_type()


def test_metrics_of_every_day_want_no_further_option():
    names = "clip-t,clip-i,dino,face,gaze,hoi,prompt,id,detect,id-p,id-f,detect-f,people"
    assert list(settings.chosen(Config(metrics=names))) == names.split(",")
    assert settings.chosen(Config())


@pytest.mark.parametrize("name", sorted(registry.available("features")))
def test_a_feature_checks_what_is_asked_of_it(name, monkeypatch):
    """A feature that refuses everything ends the scores that look at it, and no others."""
    feature = registry.load("features", name)

    def refuse(self, config):
        raise UsageError(f"{name} refuses")

    monkeypatch.setattr(type(feature), "check_options", refuse)
    for metric in ("clip-t", "face", "gaze", "hoi"):
        needs = registry.load("metrics", metric).needs(Config())
        asked = {*needs.generated, *needs.references, *needs.everything, *needs.text}
        after = {n for one in asked for n in registry.load("features", one).AFTER}
        if name in asked | after:
            with pytest.raises(UsageError, match="refuses"):
                settings.chosen(Config(metrics=metric))
        elif not any(name in registry.load("features", n).AFTER for n in after):
            assert settings.chosen(Config(metrics=metric))
