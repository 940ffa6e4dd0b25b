"""`train --method interactdiffusion --steps 500` never came near its learning rate, whose warm-up
is 10000 steps unless another is given, and nothing said so; `--beta1 1` ended with the traceback of
torch once the models were loaded, though `--help` gives it as possible."""

from __future__ import annotations

import pytest

from socialcli import registry
from socialcli.errors import UsageError
from socialcli.training import options
from socialcli.training.options import TrainingOptions

USUAL = registry.load("methods.train", "interactdiffusion").config_type


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (USUAL(steps=500), "--warm-up 10000 .* 500 .* at most 2.5e-06 of 5e-05"),
        (USUAL(), ""),
        (TrainingOptions(steps=5, warm_up=5), ""),
        (TrainingOptions(steps=5, warm_up=6, schedule="cosine"), "--warm-up 6 "),
    ],
)
def test_a_warm_up_that_is_longer_than_the_run_is_told(config, said):
    import re

    line = options.remark(config)
    assert bool(line) == bool(said) and re.match(said, line)
    peak = max(options.rate(config, step) for step in range(config.steps - 1, config.steps))
    assert bool(said) == (peak < config.learning_rate and config.warm_up > config.steps)


@pytest.mark.parametrize("name", ["beta1", "beta2"])
def test_moments_that_forget_nothing_are_refused(name):
    with pytest.raises(UsageError, match=f"--{name} 1.0: below 1 with --optimiser adam"):
        options.check(TrainingOptions(**{name: 1.0}, optimiser="adam"))
    options.check(TrainingOptions(**{name: 1.0}, optimiser="sgd"))
    options.check(TrainingOptions(**{name: 0.999}))
