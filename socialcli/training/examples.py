"""Which sample comes when, and how it gets from its shard to a batch.

The samples follow one another in epochs, each shuffled by (seed, epoch); step s takes the next
``batch_size`` of them. A sample that cannot be used gives its place to another one, found by
(seed, step, position): who else reads what, and when, changes nothing.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli.errors import SampleFailed, SocialcliError
from socialcli.randomness import Variant, seeded
from socialcli.validation import members

if TYPE_CHECKING:
    import numpy

    from socialcli.shards import Sample
    from socialcli.shards.index import Index
    from socialcli.training.features import Features
    from socialcli.training.options import TrainingOptions

ATTEMPTS = 50  # samples tried for one place before the run gives up


@functools.lru_cache(maxsize=4)
def shuffled(count: int, seed: int, epoch: int) -> numpy.ndarray:
    """(count,) a permutation: the order of an epoch."""
    import numpy

    return numpy.random.Generator(numpy.random.PCG64(seeded(seed, "order", epoch))).permutation(
        count
    )


@dataclass(frozen=True)
class Slot:
    """A place in a global batch."""

    step: int
    position: int


@dataclass
class Ready:
    """A sample in its place: its ``example``, or its ``features`` where these are known."""

    slot: Slot
    key: str
    item: str  # tells samples of one key in two shards apart
    variant: int
    epoch: int
    number: int = -1  # of the sample in the index
    example: dict[str, Any] | None = None
    features: dict[str, Any] | None = None


@dataclass
class Examples:
    """The stream of micro-batches of one process."""

    method: Any
    state: Any
    config: TrainingOptions
    index: Index
    features: Features | None
    process: int = 0
    processes: int = 1
    skipped: dict[str, str] = field(default_factory=dict)  # key -> why
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def chunks(self) -> list[list[int]]:
        """The positions of the global batch that this process takes, by micro-batch."""
        size, small = self.config.batch_size, self.config.micro_batch
        all_chunks = [list(range(at, min(at + small, size))) for at in range(0, size, small)]
        return all_chunks[self.process :: self.processes]

    def candidate(self, slot: Slot, attempt: int) -> tuple[int, int]:
        """(sample, epoch) that a place asks for, the n-th time."""
        count, seed = len(self.index), self.config.seed
        epoch, at = divmod(slot.step * self.config.batch_size + slot.position, count)
        if attempt:
            at = seeded(seed, "instead", slot.step, slot.position, attempt) % count
        return int(shuffled(count, seed, epoch)[at]), epoch

    def fetch(self, slot: Slot) -> Ready:
        """The sample of a place, ready.

        Raises:
            SocialcliError: many samples in a row cannot be used.
        """
        reason = ""
        for attempt in range(ATTEMPTS):
            number, epoch = self.candidate(slot, attempt)
            key, item = self.index.entries[number].key, f"{number}:{self.index.entries[number].key}"
            of = self.config.variants
            # Samples reach their variants in different epochs, or all flips would come at once.
            variant = (epoch + seeded(self.config.seed, "first", item)) % of if of else epoch
            ready = Ready(slot, key, item, variant, epoch, number)
            if self.features is not None:
                ready.features = self.features.get(item, variant)
                if ready.features is not None:
                    return ready
            try:
                wanted = Variant(self.config.seed, item, variant, of)
                sample = self.index.read(number)
                members.refuse_malformed(sample)
                ready.example = self.method.prepare(self.state, sample, wanted)
                return ready
            except SampleFailed as error:
                reason = f"{key}: {error}"
                with self._lock:
                    self.skipped.setdefault(key, str(error))
        raise SocialcliError(
            f"{ATTEMPTS} samples in a row could not be used; the last was {reason}"
        )

    def micro_batches(self, first: int, last: int) -> Generator[list[Ready], None, None]:
        """The micro-batches of steps ``first`` to ``last`` - 1, in order, read ahead on threads."""
        pool = ThreadPoolExecutor(self.config.threads, thread_name_prefix="examples")
        waiting: deque[list[Future[Ready]]] = deque()
        ahead = max(2 * self.config.micro_batch, 2 * self.config.threads)
        chunks = self.chunks()
        try:
            for step in range(first, last):
                for chunk in chunks:
                    waiting.append([pool.submit(self.fetch, Slot(step, p)) for p in chunk])
                    while sum(map(len, waiting)) > ahead and len(waiting) > 1:
                        yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def usable(method: Any, state: Any, seed: int) -> Iterator[tuple[Sample, dict[str, Any]]]:
    """The run's samples that can be used, in their order, each with its first example: for what
    looks at samples outside of a step, which one bad sample must not end either."""
    index = state.place.index
    for number in range(len(index)):
        sample = index.read(number)
        with contextlib.suppress(SampleFailed):
            members.refuse_malformed(sample)
            example = method.prepare(state, sample, Variant(seed, sample.key, 0))
            yield sample, example


def collate(examples: list[dict[str, Any]], device: Any) -> dict[str, Any]:
    """Tensors of equal shape stacked and moved to ``device``, all else as lists.

    Args:
        examples: B dicts of the same keys.
    """
    import torch

    batch: dict[str, Any] = {}
    for name in examples[0]:
        values = [example[name] for example in examples]
        first = values[0]
        if isinstance(first, torch.Tensor) and all(v.shape == first.shape for v in values):
            batch[name] = torch.stack(values).to(device, non_blocking=True)
        else:
            batch[name] = values
    return batch
