"""``python -m socialcli.benchmarks train`` ended in an AttributeError.

Methods had become classes, and the benchmark still gave the training loop a method's module. No
test ran it.
"""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("name", ["text-to-image", "dreambooth"])
def test_a_benchmarks_training_goes_for_an_epoch(tmp_path, name):
    from socialcli import registry
    from socialcli.benchmarks import train

    data = train.scenes(tmp_path / "world.tar", 2)
    more = {"by": "none", "class_word": ["dog"], "prior_weight": 0.0, "learning_rate": 1e-4,
            "adapter": "lora", "alpha": 4.0} if name == "dreambooth" else {}  # fmt: skip
    method = registry.load("methods.train", name)
    model = str(train.WEIGHTS / "diffusion")
    with train.opened(method, tmp_path, data, 2, 2, model=model, size=48, **more) as epoch:
        epoch()
