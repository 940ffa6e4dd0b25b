"""Seeing: run models over pictures and texts, each once, however many metrics ask for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import backends, shards
from socialcli.backends import devices
from socialcli.errors import SampleFailed, SocialcliError
from socialcli.evaluation import samples
from socialcli.evaluation.features import Feature, Look, Value, before, load
from socialcli.evaluation.features._store import Store, entry
from socialcli.evaluation.samples import Lost
from socialcli.pipeline import batches
from socialcli.vision import images

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.pipeline.report import Report


@dataclass
class Want:
    """One picture (or its ``text``) to be seen: (feature, what it looks for) pairs."""

    key: str
    digest: str
    jobs: list[tuple[str, Any]]
    location: str = ""
    text: str = ""


@dataclass(frozen=True)
class Job:
    """One value to be computed, and the name it has in its store."""

    name: str
    extra: Any
    entry: str


class Seen:
    """All stores of a run, and the models that fill them."""

    def __init__(self, root: Path, names: Iterable[str], config: Any) -> None:
        self.config = config
        self.features = {feature.name: feature for feature in _ordered(map(load, names))}
        self.stores = {
            name: Store(root, feature, config) for name, feature in self.features.items()
        }
        self.objects: dict[str, Any] = {}

    def value(self, name: str, digest: str, extra: Any = None) -> Value | None:
        return self.stores[name].values.get(entry(digest, extra))

    def missing(self, want: Want) -> list[Job]:
        """What is still to be computed of a picture, in the order it builds on each other."""
        wanted: dict[tuple[str, str], Job] = {}

        def add(feature: Feature, extra: Any) -> None:
            extra = extra if feature.has("target") else None
            job = Job(feature.name, extra, entry(want.digest, extra))
            if job.entry not in self.stores[job.name].values:
                for earlier in before(feature):
                    add(earlier, extra)
                wanted[job.name, job.entry] = job

        for name, extra in want.jobs:
            add(self.features[name], extra)
        order = list(self.features)
        return sorted(wanted.values(), key=lambda job: order.index(job.name))

    def check(self) -> None:
        """Raise what can be known before anything is read.

        Raises:
            UsageError: there is no such backend. MissingPackage: its packages are not installed.
            ModelMissing: nothing lies where a model is said to be.
        """
        for feature in self.features.values():
            backends.require(feature.models(self.config))

    def load(self, names: Iterable[str]) -> None:
        """Load the models of these features, each model once.

        Raises:
            UsageError, MissingPackage, ModelMissing: as the backends say, before any work.
        """
        for name in names:
            feature = self.features[name]
            for spec in feature.models(self.config):
                if repr(spec) not in self.objects:
                    self.objects[repr(spec)] = backends.load(spec)
            if feature.has("load"):
                self.objects[name] = feature.load(self.config)
            models = self.models(feature)
            feature.check_models(models)
            self.stores[name].credit([loaded.model for loaded in models])

    def models(self, feature: Feature) -> list[Any]:
        own = [self.objects[feature.name]] if feature.has("load") else []
        return [self.objects[repr(spec)] for spec in feature.models(self.config)] + own

    def run(self, name: str, looks: list[Look], entries: list[str]) -> None:
        """Compute one feature for several pictures; one that fails does not stop the others."""
        feature, store = self.features[name], self.stores[name]
        try:
            values = feature.run(self.config, self.models(feature), looks)
        except (SocialcliError, MemoryError):
            raise
        except Exception as error:
            if batches.out_of_memory(error):
                raise
            if len(looks) > 1:
                for look, one in zip(looks, entries, strict=True):
                    self.run(name, [look], [one])
                return
            kind = "" if isinstance(error, SampleFailed) else f"{type(error).__name__}: "
            values = [SampleFailed(f"{kind}{error}")]
        for one, value in zip(entries, values, strict=True):
            if isinstance(value, SampleFailed):
                store.failed[one] = str(value)
            else:
                store.put(one, value)

    def lost(self, want: Want) -> list[Lost]:
        """What of a picture could not be computed, and why."""
        return [
            Lost(want.key, want.location, f"{job.name}: {self.stores[job.name].failed[job.entry]}")
            for job in self.missing(want)
            if job.entry in self.stores[job.name].failed
        ]

    def keep(self) -> None:
        for store in self.stores.values():
            store.keep()


def _ordered(features: Iterable[Feature]) -> list[Feature]:
    """Each feature after those it builds on, each once."""
    ordered: dict[str, Feature] = {}

    def add(feature: Feature) -> None:
        for earlier in before(feature):
            add(earlier)
        ordered.setdefault(feature.name, feature)

    for feature in features:
        add(feature)
    return list(ordered.values())


def compute(seen: Seen, wants: list[Want], batch_size: int, report: Report) -> list[Lost]:
    """Fill the stores with everything that is wanted and not there yet.

    Returns:
        Pictures that could not be read, and features that failed on a picture.

    Raises:
        UsageError: a model is missing or cannot do what is asked of it; nothing was computed.
    """
    todo = [(want, jobs) for want in wants if (jobs := seen.missing(want))]
    seen.load(dict.fromkeys(job.name for _, jobs in todo for job in jobs))
    if todo and seen.config.device == "cpu":
        devices.keep_memory()
    lost: list[Lost] = []
    by_picture: dict[str, Want] = {}
    for want, _ in todo:
        if not want.text:
            first = by_picture.setdefault(want.digest, dataclasses.replace(want, jobs=[]))
            first.jobs += want.jobs
    try:
        _texts(seen, [want for want, _ in todo if want.text], batch_size)
        report.start("score", len(by_picture) if report.has_bar else None)
        for location in dict.fromkeys(want.location for want in by_picture.values()):
            lost += _pictures(seen, location, by_picture, batch_size, report)
    finally:
        report.finish()
        seen.keep()
    return [*lost, *(problem for want, _ in todo for problem in seen.lost(want))]


def _texts(seen: Seen, wants: list[Want], batch_size: int) -> None:
    waiting = {job.entry: (job, want) for want in wants for job in seen.missing(want)}
    for name in dict.fromkeys(job.name for job, _ in waiting.values()):
        of_feature = [(entry, w) for entry, (job, w) in waiting.items() if job.name == name]
        for start in range(0, len(of_feature), batch_size):
            part = of_feature[start : start + batch_size]
            seen.run(name, [Look(text=w.text) for _, w in part], [entry for entry, _ in part])


def _pictures(
    seen: Seen, location: str, wants: dict[str, Want], batch_size: int, report: Report
) -> Iterator[Lost]:
    """Look at the pictures of one location that are wanted."""
    stage = _Looking(seen, wants)
    for outcome in batches.outcomes(
        iter(samples.read(location)), stage, None, None,
        name="score", seed=0, batch_size=batch_size, known=stage.known, checked=True,
        say=report.warn_once,
    ):  # fmt: skip
        if isinstance(outcome, shards.Damage):
            continue
        if isinstance(outcome.result, SampleFailed):
            yield Lost(outcome.sample.key, location, str(outcome.result))
        elif outcome.result:
            report.advance(1)


class _Looking:
    """Features in the shape of a stage, so that decoding ahead, batches that shrink when memory
    runs out and samples that fail alone are the stages' own."""

    __name__ = "score"
    WRITES: tuple[str, ...] = (samples.RECORD,)  # `samples` takes other people's too

    def __init__(self, seen: Seen, wants: dict[str, Want]) -> None:
        self.seen, self.wants = seen, wants

    def known(self, sample: shards.Sample) -> dict[str, bytes] | None:
        try:
            want = self.wants.get(samples.digest(sample.picture()))
        except SampleFailed:
            return {}  # told when the samples were first read
        return None if want is not None and self.seen.missing(want) else {}

    def prepare(self, config: None, sample: shards.Sample) -> tuple[Want, Image]:
        data = sample.picture()
        return self.wants[samples.digest(data)], images.decode_to_look(data)

    def process(self, config: None, loaded: None, items: list[Any]) -> list[dict[str, bytes]]:
        seen = self.seen
        work: dict[str, tuple[Want, Image]] = {item.work[0].digest: item.work for item in items}
        for name, feature in seen.features.items():
            looks, entries = [], []
            for want, image in work.values():
                for job in seen.missing(want):
                    if job.name != name or job.entry in seen.stores[name].failed:
                        continue
                    values = {
                        e.name: seen.value(
                            e.name, want.digest, job.extra if e.has("target") else None
                        )
                        for e in before(feature)
                    }
                    if all(value is not None for value in values.values()):
                        looks.append(Look(image, extra=job.extra, before=values))  # type: ignore[arg-type]
                        entries.append(job.entry)
            if looks:
                seen.run(name, looks, entries)
        return [{"seen": b""} for _ in items]
