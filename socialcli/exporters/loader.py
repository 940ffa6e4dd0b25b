"""Annotated shards in a training loop of one's own, read with the `webdataset` package.

    from socialcli.exporters import loader

    for row in loader.dataset("shards/annotated/{000000..000099}.tar", shuffle=1000):
        row["picture"]      # PIL image, RGB and upright
        row["people.json"]  # `socialcli.records.People`; None where a sample has none

It is a `webdataset.WebDataset`: split it over the workers of a ``torch.utils.data.DataLoader``,
batch it, map it on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from socialcli import records, shards
from socialcli.errors import SampleFailed


def dataset(
    locations: str | list[str],
    shuffle: int = 0,
    seed: int = 0,
    failed: Callable[[str, str], None] | None = None,
) -> Any:
    """A ``webdataset.WebDataset`` of rows (see `decode`).

    Args:
        locations: shards as every command takes them: folders, globs, ranges, URLs. Joins are for
            `socialcli merge`.
        shuffle: samples among which the next is drawn, and shards in another order each epoch; 0
            reads in order.
        failed: called with key and reason of each sample that is left out; default: nobody is.

    Raises:
        UsageError: nothing is there.
    """
    import webdataset

    def row(sample: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return decode(sample)
        except SampleFailed as error:
            if failed is not None:
                failed(sample["__key__"], str(error))
            return None

    named = shards.expand([locations] if isinstance(locations, str) else locations)
    samples = webdataset.WebDataset(
        named, shardshuffle=len(named) if shuffle else False, seed=seed,
        nodesplitter=webdataset.split_by_node, empty_check=False,
    )  # fmt: skip
    if shuffle:
        samples = samples.shuffle(shuffle)
    return samples.map(row).select(lambda decoded: decoded is not None)


def decode(sample: dict[str, Any]) -> dict[str, Any]:
    """A sample as `webdataset` gives it, decoded by the same door as every command's.

    Args:
        sample: ``__key__`` and the members' bytes by suffix.

    Returns:
        ``key``; ``picture``, a PIL image in RGB and upright, None where there is none; every suffix
        of `records.MEMBERS` with its record, and `records.IDENTITY` with its rows, None where the
        sample has none; all other members as bytes.

    Raises:
        SampleFailed: it is malformed; the reason names the member.
    """
    from socialcli.validation.members import read_members
    from socialcli.vision import images

    members = {k: v for k, v in sample.items() if not k.startswith("__")}
    whole = shards.Sample(sample["__key__"], members)
    pictured = any(suffix in members for suffix in records.IMAGE_SUFFIXES)
    decoded: dict[str, Any] = {
        "key": whole.key,
        "picture": images.decode(whole.picture()) if pictured else None,
    }
    parsed, problems = read_members(whole)
    if problems:
        raise SampleFailed(str(problems[0]))
    decoded |= {suffix: parsed.get(suffix) for suffix in (*records.MEMBERS, records.IDENTITY)}
    others = {
        k: v for k, v in members.items() if k not in decoded and k not in records.IMAGE_SUFFIXES
    }
    return decoded | others
