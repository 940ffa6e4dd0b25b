"""`train --method feedback --write-curves FILE` "trains nothing": all its weights are 0. But weight
decay moved the weights; the same folder without ``--write-curves`` was "finished already", or went
on behind steps that had taught nothing; and one that was started again had in its curves only what
came after the last checkpoint, or said that it was finished and wrote none."""

from __future__ import annotations

import pytest
import toy_method
from conftest import samples
from safetensors.torch import load_file

from socialcli import shards
from socialcli.errors import UsageError


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Trains the toy, or measures it; gives the steps done and the weights after them."""
    shards.write(tmp_path / "data.tar", samples(0, 6))
    original, usual = toy_method.losses, toy_method.weights

    def run(folder: str, measured: bool, steps: int = 4):
        done = []

        def losses(state, batch, draw):
            done.append(draw.step)
            return original(state, batch, draw)

        monkeypatch.setattr(toy_method, "losses", losses)
        weights = dict.fromkeys(usual(None), 0.0) if measured else usual(None)
        monkeypatch.setattr(toy_method, "weights", lambda _: weights)
        data, place = str(tmp_path / "data.tar"), tmp_path / folder
        toy_method.train(place, [data], steps=steps, micro_batch=4, weight_decay=0.5)
        return done, load_file(place / "toy.safetensors")

    return run


def test_nothing_moves_and_all_is_measured_again(train):
    done, first = train("curves", measured=True)
    again, second = train("curves", measured=True)
    assert done == again == [0, 1, 2, 3]
    _, longer = train("longer", measured=True, steps=7)
    assert all((first[name] == longer[name]).all() for name in first)
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.parametrize("measured", [True, False])
def test_a_folder_is_of_one_of_both(train, measured):
    train("out", measured=measured)
    with pytest.raises(UsageError, match=r"holds a run of other options: weights was .*another -o"):
        train("out", measured=not measured)
