"""The IoU of a subject segmentation was measured in the first samples of the data alone.

With fewer held-back pictures than samples (`--held-back 16` of 55) the subjects at the end of the
data were in none of them: their IoU was left out, or 0 where they were marked by mistake.
"""

from types import SimpleNamespace

import torch

from socialcli.errors import SampleFailed
from socialcli.methods.train import subject_segmentation


def looked_at(count: int, total: int) -> list[int]:
    """The numbers of the samples that are read for ``count`` held-back pictures of ``total``."""
    numbers = []

    class Index:
        def __len__(self):
            return total

        def read(self, number):
            numbers.append(number)
            return SimpleNamespace(key=str(number))

    def prepare(*_):
        raise SampleFailed("not needed here")

    state = SimpleNamespace(
        config=SimpleNamespace(held_back=count, seed=0), subjects=[],
        place=SimpleNamespace(index=Index()), network=torch.nn.Identity(),
    )  # fmt: skip
    subject_segmentation.overlaps(state, SimpleNamespace(prepare=prepare))
    return numbers


def test_held_back_pictures_are_of_all_subjects():
    few = looked_at(10, 55)  # five subjects of eleven pictures each
    assert {number // 11 for number in few} == {0, 1, 2, 3, 4} and len({*few}) == 10


def test_more_than_there_are_take_every_sample_in_turn():
    assert looked_at(7, 3) == [0, 1, 2, 0, 1, 2, 0]
