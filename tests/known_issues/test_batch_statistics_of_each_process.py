"""`train --method subject-segmentation` in two processes ended with other weights than in one, and
with running statistics of one process's pictures alone: batch normalisation saw half a batch."""

from types import SimpleNamespace

import pytest
import torch
import toy_method
from conftest import samples
from toy_method import train

from socialcli import shards
from socialcli.errors import UsageError
from socialcli.networks.subject_unet import SubjectUNet
from socialcli.training import loop
from socialcli.training.place import Clock, Place


@pytest.mark.parametrize("processes", [1, 2])
def test_batch_normalisation_wants_one_process(tmp_path, monkeypatch, processes):
    data = tmp_path / "a.tar"
    shards.write(data, samples(0, 4))
    build = toy_method.load

    def load(config, place):
        state = build(config, place)
        state.network.insert(0, torch.nn.BatchNorm1d(12))
        return state

    def here(config):
        alone = SimpleNamespace(wait_for_everyone=lambda: None)
        device = torch.device("cpu")
        return Place(device, torch.float32, Clock(device), 0, processes, alone)

    monkeypatch.setattr(toy_method, "load", load)
    monkeypatch.setattr(loop, "here", here)
    if processes == 1:
        train(tmp_path / "out", [str(data)], steps=1)
        return
    with pytest.raises(UsageError, match="train --method toy trains in one process"):
        train(tmp_path / "out", [str(data)], steps=1)
    assert not (tmp_path / "out").exists()


def test_the_network_of_subjects_is_one_of_these():
    with torch.device("meta"):
        assert loop._normalises_batches(SubjectUNet(2))
        assert not loop._normalises_batches(torch.nn.GroupNorm(2, 4))
