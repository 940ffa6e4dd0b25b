"""The samples a method can train on, found before any model is loaded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import records, shards
from socialcli.errors import SampleFailed, UsageError
from socialcli.shards import index as indexing
from socialcli.validation import members

if TYPE_CHECKING:
    from socialcli.pipeline.report import Report
    from socialcli.training.options import TrainingOptions
    from socialcli.training.place import Place


def usable(
    method: Any, config: TrainingOptions, inputs: list[str], cache: Path, place: Place,
    report: Report,
) -> indexing.Index:  # fmt: skip
    """The samples that have what the method reads, and of which one at least passes its check.

    Args:
        cache: folder for copies of shards that are not plain local archives.

    Raises:
        UsageError: there is none; the message says what most of them lack, and how to mend it.
    """
    places = shards.expand(inputs)
    if any("-" in shards.parts(p) for p in places):
        raise UsageError("- : training reads its samples more than once; give files, not stdin")
    if place.first:
        index = indexing.build(places, cache, report.info)
    place.wait()
    if not place.first:
        index = indexing.build(places, cache)
    if not len(index):
        why = next(iter(index.unusable.values()), "there are none")
        raise UsageError(f"{_named(places)}: no sample to train on ({why})")
    if index.unusable:
        key, why = next(iter(index.unusable.items()))
        report.warn(f"{len(index.unusable):,} samples are left out; the first is {key}: {why}")
    index = _complete(method, index, _named(places), report)
    before = set(index.unusable)
    index = method.select(config, index)
    left = [(key, why) for key, why in index.unusable.items() if key not in before]
    if left:
        key, why = left[0]
        report.warn(f"{len(left):,} samples are left out; the first is {key}: {why}")
    _one_passes(method, config, index, _named(places))
    return index


def _named(places: list[str]) -> str:
    return places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1} more"


def _complete(method: Any, index: indexing.Index, where: str, report: Report) -> indexing.Index:
    """The samples with every member in the method's READS."""
    lacking: Counter[str] = Counter()
    first: dict[str, int] = {}  # member -> the first sample without it
    kept = []
    for number, entry in enumerate(index.entries):
        missing = [suffix for suffix in method.READS if not entry.has(suffix)]
        lacking.update(missing)
        first = dict.fromkeys(missing, number) | first
        if not missing:
            kept.append(number)
    if not kept:
        suffix, count = lacking.most_common(1)[0]
        why = _mend(index.read(first[suffix]), suffix)
        raise UsageError(f"{where}: {count} of {len(index)} samples have no {suffix}{why}")
    if len(kept) < len(index):
        left = len(index) - len(kept)
        suffix = lacking.most_common(1)[0][0]
        why = _mend(index.read(first[suffix]), suffix)
        report.warn(f"{left} of {len(index)} samples are left out: no {', '.join(lacking)}{why}")
    return index.select(kept)


def _mend(sample: shards.Sample, suffix: str) -> str:
    """What helps where a sample lacks a member; "" where no command of ours writes it."""
    if suffix not in records.WRITERS:
        return ""
    if sample.failure(suffix):
        return f"; the first is {sample.key}: {sample.lacking(suffix)}"
    return f": run `socialcli {records.WRITERS[suffix]}` first"


def _one_passes(method: Any, config: TrainingOptions, index: indexing.Index, where: str) -> None:
    reasons: Counter[str] = Counter()
    for number in range(len(index)):
        sample = index.read(number)
        try:
            members.refuse_malformed(sample)
            sample.picture()
            method.check(config, sample)
            return
        except SampleFailed as error:
            reasons[str(error)] += 1
    why, count = reasons.most_common(1)[0]
    raise UsageError(f"{where}: none of {len(index)} samples can be used ({count}: {why})")
