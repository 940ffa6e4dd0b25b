"""Samples through a stage in order: decoded ahead on threads, run in batches, never lost."""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from socialcli.errors import SampleFailed, SampleFiltered, SocialcliError
from socialcli.pipeline.stage import Item, Noted
from socialcli.shards import Damage, Sample
from socialcli.validation import members, mending

# New members; why there are none; or the whole sample as an earlier run wrote it.
_LIGHT = 16  # samples a turn where no model sets the pace

Result = dict[str, bytes] | Exception | Sample


@dataclass(slots=True)
class Outcome:
    """What became of one sample: new members, or a SampleFailed / SampleFiltered."""

    sample: Sample
    result: Result


def sample_seed(seed: int, stage: str, key: str) -> int:
    """A sample's own seed in [0, 2**63): depends on nothing but these three."""
    digest = hashlib.sha256(f"{seed}\0{stage}\0{key}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def outcomes(
    samples: Iterator[Sample | Damage],
    stage: Any,
    config: Any,
    loaded: Any,
    *,
    name: str,
    seed: int,
    threads: int = 2,
    batch_size: int | None = None,
    known: Callable[[Sample], Result | None] | None = None,
    checked: bool = False,
    say: Callable[[str], None] = lambda message: None,
) -> Iterator[Outcome | Damage]:
    """Every sample with its result, in the order they came.

    Args:
        samples: as `shards.read_all` gives them.
        stage: the stage module. config, loaded: its configuration and its models.
        name: stage name, part of each sample's seed.
        threads: threads that run ``prepare`` ahead of the model.
        batch_size: items given to ``process`` at once; halved for good when memory runs out.
            None for a stage without a model, whose samples are handed over in larger parts:
            there a thread's turn costs as much as the sample itself.
        known: results from an earlier run that need not be computed again.
        checked: the samples were held against `refuse_malformed` when they were first read.
        say: called with one line when something of interest happens.
    """
    per_turn = _LIGHT if batch_size is None else 1
    batch_size = batch_size or _LIGHT
    runner = _BatchRunner(stage, config, loaded, batch_size, say)
    ahead = 2 * batch_size + threads

    def prepare(sample: Sample) -> Any:
        if sample.problem:
            return SampleFailed(sample.problem)
        if sample.filtered is not None:
            return SampleFiltered(sample.filtered)
        try:
            if not checked:
                members.refuse_malformed(sample, remade=stage.WRITES)
            work = stage.prepare(config, sample)
        except (SampleFailed, SampleFiltered) as reason:
            return reason
        except SocialcliError:
            raise
        except MemoryError:
            return SampleFailed("out of memory while preparing it")
        except Exception as error:  # whatever one sample does, the others must go on
            return SampleFailed(f"{type(error).__name__}: {error}")
        return Item(sample.key, sample_seed(seed, name, sample.key), work)

    def prepare_all(part: list[Sample]) -> list[Any]:
        return [prepare(sample) for sample in part]

    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="prepare") as pool:
        waiting: deque[tuple[Sample | Damage, _Turn | Result | None]] = deque()
        group: list[tuple[Sample | Damage, Any]] = []
        turn = _Turn()
        ready = 0
        source = iter(samples)
        ended = False
        try:
            while True:
                while not ended and len(waiting) < ahead:
                    sample = next(source, None)
                    if sample is None:
                        ended = True
                    elif isinstance(sample, Damage) or not sample.key:
                        waiting.append((sample, None))
                    elif known and (earlier := known(sample)) is not None:
                        waiting.append((sample, earlier))
                    else:
                        turn.samples.append(sample)
                        waiting.append((sample, turn))
                    if turn.samples and (ended or len(turn.samples) == per_turn):
                        turn.prepared = pool.submit(prepare_all, turn.samples)
                        turn = _Turn()
                if waiting and ready < batch_size:
                    sample, what = waiting.popleft()
                    if isinstance(what, _Turn):
                        if what.prepared is None:  # not full, but its first sample is wanted
                            what.prepared = pool.submit(prepare_all, what.samples)
                            turn = _Turn()
                        what = what.prepared.result()[next(what.taken)]
                    group.append((sample, what))
                    ready += isinstance(what, Item)
                    # Results already there need not wait for a batch to fill up.
                    if ready == 0:
                        yield from runner.finish(group)
                        group = []
                    continue
                if group:
                    yield from runner.finish(group)
                    group, ready = [], 0
                elif ended:
                    return
        finally:
            for _, what in waiting:
                if isinstance(what, _Turn) and what.prepared is not None:
                    what.prepared.cancel()


class _Turn:
    """Samples that one thread prepares in one go; their results are taken in the same order."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.prepared: Future[list[Any]] | None = None
        self.taken = itertools.count()


class _BatchRunner:
    """Calls ``process`` and survives what it may do."""

    def __init__(
        self, stage: Any, config: Any, loaded: Any, batch_size: int, say: Callable[[str], None]
    ) -> None:
        self.stage, self.config, self.loaded = stage, config, loaded
        self.batch_size = batch_size
        self.say = say

    def finish(self, group: list[tuple[Sample | Damage, Any]]) -> Iterator[Outcome | Damage]:
        items = [what for _, what in group if isinstance(what, Item)]
        results = iter(self.run(items))
        for sample, what in group:
            if isinstance(sample, Damage):
                yield sample
            elif not sample.key:
                yield Outcome(sample, {})
            else:
                result = next(results) if isinstance(what, Item) else what
                yield Outcome(sample, _fitting(sample, result))

    def run(self, items: list[Item]) -> list[Result]:
        results: list[Result] = []
        position = 0
        while position < len(items):
            part = items[position : position + self.batch_size]
            try:
                results += self._process(part)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                _free_memory()
                if len(part) > 1:
                    self.batch_size = max(1, len(part) // 2)
                    self.say(f"out of memory: the batch size is now {self.batch_size}")
                    continue
                results.append(SampleFailed("out of memory even alone in its batch"))
            position += len(part)
        return results

    def _process(self, items: list[Item]) -> list[Result]:
        """One batch; if it fails as a whole, each item alone, so that only the culprit fails."""
        try:
            results: list[Result] = self.stage.process(self.config, self.loaded, items)
        except SocialcliError:
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            if len(items) > 1:
                return [result for item in items for result in self.run([item])]
            if isinstance(error, (SampleFailed, SampleFiltered)):
                return [error]
            return [SampleFailed(f"{type(error).__name__}: {error}")]
        if len(results) != len(items):
            raise SocialcliError(
                f"{self.stage.name}.process returned {len(results)} results for "
                f"{len(items)} items: this is a bug in that stage"
            )
        return results


def _fitting(sample: Sample, result: Result) -> Result:
    """A result whose new members fit those that the sample keeps (`validation.mending`)."""
    if not isinstance(result, dict):
        return result
    try:
        changed = mending.settled(sample, result)
    except SampleFailed as reason:
        return reason
    if changed is result:
        return result
    notes = result.notes if isinstance(result, Noted) else {}
    line = "links to what is no longer there are taken away, and estimates that lived on them"
    return Noted(changed, {**notes, "links_taken_away": line})


def out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text or "bad allocation" in text
    )


def _free_memory() -> None:
    import gc
    import sys

    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
