"""Which stage a timestep is in, at every timestep."""

from __future__ import annotations

import pytest

from socialcli.diffusion.stages import stage


def test_five_stages_of_a_thousand():
    numbers = [stage(t, 5) for t in range(1000)]
    assert numbers == [4] * 200 + [3] * 200 + [2] * 200 + [1] * 200 + [0] * 200
    assert [stage(t, 5, "clean-first") for t in range(1000)] == [4 - s for s in numbers]


@pytest.mark.parametrize("stages", [1, 2, 3, 5, 7, 10])
def test_every_stage_has_its_share(stages):
    numbers = [stage(t, stages) for t in range(1000)]
    assert numbers == sorted(numbers, reverse=True) and set(numbers) == set(range(stages))
    for number in range(stages):
        assert abs(numbers.count(number) - 1000 / stages) < 1
    # The definition: part p holds the timesteps from 1000 p / n on.
    for t in range(1000):
        part = stages - 1 - numbers[t]
        assert 1000 * part <= t * stages < 1000 * (part + 1)


def test_between_two_timesteps_and_at_the_ends():
    assert stage(199.9, 5) == 4 and stage(200.0, 5) == 3
    assert stage(999.9, 5) == 0 and stage(1000, 5) == 0 and stage(-0.2, 5) == 4
    assert [stage(t, 3, timesteps=7) for t in range(7)] == [2, 2, 2, 1, 1, 0, 0]
