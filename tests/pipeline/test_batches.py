"""Batches: what is computed once, how far is read ahead, and what ends a run and what does not."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from socialcli import shards
from socialcli.errors import SampleFailed, SampleFiltered, SocialcliError, UsageError
from socialcli.pipeline import batches
from socialcli.pipeline.batches import Outcome, outcomes, sample_seed
from socialcli.pipeline.stage import Noted


def answers(config: Any, loaded: Any, items: list[Any]) -> list[Any]:
    return [{"x": item.key.encode()} for item in items]


def begun(
    source: Iterator[shards.Sample],
    process: Callable[..., list[Any]] = answers,
    prepare: Callable[..., Any] = lambda config, sample: None,
    **more: Any,
) -> Iterator[Outcome | shards.Damage]:
    stage = SimpleNamespace(name="fake", WRITES=(), prepare=prepare, process=process)
    return outcomes(source, stage, None, None, name="fake", seed=0, **more)


def named(count: int) -> Iterator[shards.Sample]:
    return (shards.Sample(f"{number:03d}") for number in range(count))


def results(stream: Iterator[Outcome | shards.Damage]) -> dict[str, Any]:
    return {one.sample.key: one.result for one in stream if isinstance(one, Outcome)}


def test_seeds_are_the_first_63_bits_of_a_digest():
    """The same in every version: who runs again gets the same pictures."""
    digest = hashlib.sha256(b"7\0ground\0a/00001").hexdigest()
    assert sample_seed(7, "ground", "a/00001") == int(digest[:16], 16) // 2
    assert sample_seed(1, "1a", "x") != sample_seed(11, "a", "x")
    assert sample_seed(1, "a", "bx") != sample_seed(1, "ab", "x")


@pytest.mark.parametrize("batch_size", [None, 4])
def test_each_sample_is_prepared_once(batch_size):
    """Few among many that an earlier run has done, so that no turn of a thread is ever full."""
    new = {f"{number:03d}" for number in (0, 1, 50, 120, 121, 199)}
    prepared: Counter[str] = Counter()

    def prepare(config: Any, sample: shards.Sample) -> None:
        prepared[sample.key] += 1

    def known(sample: shards.Sample) -> Any:
        return None if sample.key in new else {"old": b""}

    by_key = results(begun(named(200), prepare=prepare, known=known, batch_size=batch_size))
    assert list(by_key) == [f"{number:03d}" for number in range(200)]
    assert prepared == Counter(new)
    assert {key for key, result in by_key.items() if "x" in result} == new


@pytest.mark.parametrize("known", [None, lambda sample: {"old": b""}])
def test_a_stream_is_read_a_little_ahead(known):
    taken = []

    def source() -> Iterator[shards.Sample]:
        for sample in named(1000):
            taken.append(sample.key)
            yield sample

    stream = begun(source(), known=known, batch_size=4, threads=2)
    next(stream)
    # One batch that is out, and twice a batch and one sample a thread that wait.
    assert len(taken) <= 4 + 2 * 4 + 2
    stream.close()


def test_who_stops_listening_does_not_wait_for_what_was_read_ahead():
    prepared = []

    def prepare(config: Any, sample: shards.Sample) -> None:
        time.sleep(0.02)
        prepared.append(sample.key)

    stream = begun(named(100), prepare=prepare, batch_size=20, threads=1)
    next(stream)
    stream.close()
    assert 20 <= len(prepared) < 40


@pytest.mark.parametrize("where", ["prepare", "process"])
def test_what_is_wrong_with_the_run_ends_it(where):
    """A missing package or a wrong option would fail every sample, with thousands of reasons."""

    def fail(*of: Any) -> Any:
        raise UsageError("no such package")

    with pytest.raises(UsageError, match="no such package"):
        list(begun(named(9), **{where: fail}, batch_size=4))


def test_a_batch_may_fail_or_filter_as_a_whole():
    """Where ``process`` raises, each item is asked for alone, and keeps the reason it gives."""

    def process(config: Any, loaded: Any, items: list[Any]) -> list[Any]:
        keys = [item.key for item in items]
        if "002" in keys:
            raise SampleFiltered("too small")
        if "005" in keys:
            raise SampleFailed("nobody in it")
        return answers(config, loaded, items)

    by_key = results(begun(named(8), process=process, batch_size=8))
    assert isinstance(by_key["002"], SampleFiltered) and str(by_key["002"]) == "too small"
    assert isinstance(by_key["005"], SampleFailed) and str(by_key["005"]) == "nobody in it"
    assert all(by_key[f"{n:03d}"] == {"x": f"{n:03d}".encode()} for n in (0, 1, 3, 4, 6, 7))


def test_memory_that_runs_out_for_one_item_of_a_batch_that_fails():
    """The others have their results: an item alone is tried with all that guards a batch."""

    def process(config: Any, loaded: Any, items: list[Any]) -> list[Any]:
        if len(items) > 1:
            raise ValueError("not these together")
        if items[0].key == "001":
            raise MemoryError
        return answers(config, loaded, items)

    messages: list[str] = []
    by_key = results(begun(named(4), process=process, batch_size=4, say=messages.append))
    assert messages == []  # no smaller batch would have helped
    assert str(by_key.pop("001")) == "out of memory even alone in its batch"
    assert all(result == {"x": key.encode()} for key, result in by_key.items())


def test_what_sidecars_filtered_is_not_computed():
    sample = shards.Sample("a", filtered="a drawing")
    prepared: list[str] = []
    by_key = results(begun(iter([sample]), prepare=lambda c, s: prepared.append(s.key)))
    assert isinstance(by_key["a"], SampleFiltered) and str(by_key["a"]) == "a drawing"
    assert prepared == []


def test_notes_of_a_stage_are_kept_beside_those_of_the_mending(monkeypatch):
    def process(config: Any, loaded: Any, items: list[Any]) -> list[Any]:
        return [Noted({"x": b""}, {"prompts_cut": "too long"}) for _ in items]

    (plain,) = results(begun(named(1), process=process)).values()
    assert plain == {"x": b""} and plain.notes == {"prompts_cut": "too long"}
    monkeypatch.setattr(batches.mending, "settled", lambda sample, new: {**new, "y": b""})
    (mended,) = results(begun(named(1), process=process)).values()
    assert mended == {"x": b"", "y": b""}
    assert set(mended.notes) == {"prompts_cut", "links_taken_away"}


def test_a_sample_that_cannot_be_mended_fails(monkeypatch):
    def refuse(sample: Any, new: Any) -> Any:
        raise SampleFailed("box 3 is no box")

    monkeypatch.setattr(batches.mending, "settled", refuse)
    by_key = results(begun(named(3)))
    assert [str(result) for result in by_key.values()] == ["box 3 is no box"] * 3


def test_too_many_results_are_a_bug_of_the_stage():
    with pytest.raises(SocialcliError, match="returned 6 results for 3 items"):
        list(begun(named(3), process=lambda *of: answers(*of) * 2))
