"""`torchrun --nproc-per-node 4` with a batch of one micro-batch, which is what `invert` has as
usual, let three processes do nothing in every step without a word; and each process of a training
filled the disk with as many features as ``--cache-disk`` allows for all of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from socialcli.training import place
from socialcli.training.features import GB, Features


@pytest.mark.parametrize(
    ("processes", "batch", "micro", "said"),
    [
        (4, 4, 4, "3 of 4 processes do nothing"), (4, 6, 4, "2 of 4 processes do nothing"),
        (2, 6, 4, ""), (4, 4, 1, ""), (1, 1, 8, ""),
    ],
)  # fmt: skip
def test_processes_without_work_are_told_of(processes, batch, micro, said):
    line = place.idle(SimpleNamespace(batch_size=batch, micro_batch=micro), processes)
    assert line.startswith(said) and bool(line) == bool(said)
    assert not said or f"--micro-batch {micro}" in line


def test_together_they_keep_to_the_limit_of_the_disk(tmp_path):
    import torch

    values = {"x": torch.ones(250)}  # 1.5 kB each
    one = [Features(tmp_path, 0, 10_000 / GB, processes=3) for _ in range(3)]
    for number in range(30):
        one[number % 3].put(f"{number}", 0, values)
    before = len(list(tmp_path.glob("*/*.safetensors")))
    assert 3 <= before <= 6
    again = [Features(tmp_path, 0, 20_000 / GB, processes=3) for _ in range(3)]
    for number in range(30, 60):
        again[number % 3].put(f"{number}", 0, values)
    assert before + 3 <= len(list(tmp_path.glob("*/*.safetensors"))) <= 13
