"""Checkpoints by themselves: which is the last, which stay, and that all of a state comes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from socialcli.errors import UsageError
from socialcli.training import checkpoints


def folders(place: Path, *steps: int) -> Path:
    for step in steps:
        (place / f"step-{step:06d}").mkdir(parents=True)
    return place


def steps(place: Path) -> list[int]:
    return sorted(int(file.name[5:]) for file in place.glob("step-*"))


def test_the_last_is_that_of_the_highest_number(tmp_path):
    assert checkpoints.latest(tmp_path / "none") is None
    place = folders(tmp_path, 999_999, 1_000_000)
    (place / "step-9999999.part").mkdir()
    assert checkpoints.latest(place) == place / "step-1000000"


@pytest.mark.parametrize(
    ("there", "keep", "every", "stay"),
    [
        ((3, 6, 9, 12), 2, 3, [9, 12]),
        ((3, 6, 7, 9), 2, 3, [6, 9]),  # 7 was left by a run that was asked to stop
        ((3, 6, 9, 10), 2, 3, [9, 10]),  # and 10 is the last
        ((1, 2, 3), 1, 1, [3]),
        ((), 1, 1, []),
    ],
)
def test_the_last_of_those_that_are_due_stay(tmp_path, there, keep, every, stay):
    place = folders(tmp_path, *there)
    checkpoints.keep_last(place, keep, every)
    assert steps(place) == stay


class Network(torch.nn.Module):
    """What trains, what doesn't, a buffer that is saved and one that is not."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.trains, self.frozen = torch.nn.Linear(2, width), torch.nn.Linear(2, 2)
        self.frozen.requires_grad_(False)
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("scratch", torch.zeros(4), persistent=False)


def trained(seed: int):
    torch.manual_seed(seed)
    network = Network()
    optimiser = torch.optim.AdamW(network.trains.parameters(), lr=0.1)
    for _ in range(seed):
        optimiser.zero_grad()
        network.trains(torch.rand(5, 2)).square().sum().backward()
        optimiser.step()
        network.count += 1
    return network, optimiser


def test_a_state_comes_back_whole(tmp_path):
    network, optimiser = trained(3)
    place = checkpoints.save(tmp_path, 3, network, optimiser, {"epoch": 2}, keep=2)
    assert place.name == "step-000003"
    state = checkpoints.read_state(place)
    assert (state["epoch"], state["step"]) == (2, 3)
    assert set(checkpoints.tensors(network)) == {"trains.weight", "trains.bias", "count"}
    other, its = trained(1)
    checkpoints.load(place, other, its)
    for name, tensor in checkpoints.tensors(network).items():
        assert torch.equal(checkpoints.tensors(other)[name], tensor)
    pairs = zip(
        optimiser.state_dict()["state"].values(), its.state_dict()["state"].values(), strict=True
    )
    for wanted, given in pairs:
        assert wanted.keys() == given.keys() >= {"step", "exp_avg", "exp_avg_sq"}
        assert all(
            torch.equal(torch.as_tensor(wanted[k]), torch.as_tensor(given[k])) for k in given
        )


def test_what_is_there_is_not_written_again(tmp_path):
    network, optimiser = trained(1)
    place = checkpoints.save(tmp_path, 1, network, optimiser, {"epoch": 1}, keep=1)
    checkpoints.save(tmp_path, 1, network, optimiser, {"epoch": 7}, keep=1)
    assert checkpoints.read_state(place)["epoch"] == 1
    checkpoints.save(tmp_path, 2, network, optimiser, {"epoch": 1}, keep=1)
    assert steps(tmp_path) == [2]


def test_what_does_not_fit_is_named(tmp_path):
    network, optimiser = trained(1)
    place = checkpoints.save(tmp_path, 1, network, optimiser, {}, keep=1)
    other = Network(4)
    with pytest.raises(UsageError, match=r"'trains\.bias' is \(3,\) there, but \(4,\) in this"):
        checkpoints.load(place, other, torch.optim.AdamW(other.trains.parameters()))
    network.trains.bias.requires_grad_(False)
    with pytest.raises(UsageError, match=r"'trains\.bias' is \(3,\) there, but not in this model"):
        checkpoints.load(place, network, optimiser)
    (place / "state.json").write_text(json.dumps({})[:1])
    with pytest.raises(UsageError, match=r"step-000001: not a checkpoint .* the one before"):
        checkpoints.read_state(place)
    (place / "optimiser.safetensors").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"cannot be read .* remove it"):
        checkpoints.load(place, network, optimiser)
