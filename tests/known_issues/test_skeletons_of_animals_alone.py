"""A sample whose only skeletons are an animal's was drawn by ControlNet with a black drawing of no
skeleton at all, and nothing was said; without any keypoints it had failed."""

from __future__ import annotations

import pytest

from socialcli import records, shards
from socialcli.errors import SampleFailed
from socialcli.generation import controls

DOG = records.Keypoints([(0.5, 0.5, 2.0)] * 17, layout="animal_in_AP10K")
PERSON = records.Keypoints([(0.2, 0.2, 2.0)] * 17)


def sample(*keypoints: records.Keypoints) -> shards.Sample:
    people = [records.Person(n, keypoints=one) for n, one in enumerate(keypoints, 1)]
    return shards.Sample("k", {"people.json": records.dump(records.People(9, 9, people))})


def test_skeletons_that_are_not_drawn_are_no_skeletons():
    with pytest.raises(
        SampleFailed, match=r"no skeleton to draw \(there are animal_in_AP10K alone"
    ):
        controls.skeletons_of(sample(DOG))
    assert controls.skeletons_of(sample(DOG, PERSON)) == [PERSON.points]
