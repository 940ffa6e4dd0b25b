"""`socialcli validate` named the first thousand samples of a shard that lack a picture and said
nothing of the others: "1,000 problems" of 1,500. A sample that was malformed besides was two bad
samples."""

from __future__ import annotations

import pytest
from conftest import picture

from socialcli import records, shards
from socialcli.cli.commands import validate
from socialcli.validation.members import PICTURE

CAPTION = records.dump(records.Caption("a dog"))


def checked(tmp_path, monkeypatch, order: str):
    """Of a shard with a picture (p), samples without (c) and a malformed one without (m)."""
    monkeypatch.setattr(validate, "_PENDING", 3)
    kinds = {"p": {"jpg": picture()}, "c": {"caption.json": CAPTION}, "m": {"caption.json": b"{"}}
    place = tmp_path / "a.tar"
    shards.write(place, [(f"{n:02}{kind}", kinds[kind]) for n, kind in enumerate(order)])
    totals = validate.Totals()
    return list(validate.check_shard(str(place), totals)), totals


@pytest.mark.parametrize("order", ["pccccccc", "cccccccp", "cccpcccc", "ccccccpc", "mcccpccm"])
def test_every_one_is_counted(tmp_path, monkeypatch, order):
    problems, totals = checked(tmp_path, monkeypatch, order)
    assert totals.bad_samples == totals.bad_members[PICTURE] == len(order) - 1
    named = [key for key, problem in problems if problem.member == PICTURE and key]
    further = [problem.what for key, problem in problems if not key]
    more = max(0, order.index("p") - 3)
    assert len(named) == len(set(named)) == len(order) - 1 - more
    assert len(further) == (more > 0)
    assert all(f"{more} more samples" in what for what in further)


def test_a_sidecar_lacks_none(tmp_path, monkeypatch):
    assert checked(tmp_path, monkeypatch, "cccccccc")[0] == []
