"""The pictures that a method was trained on, beside those it is tested with.

Source: Towards More Accurate Personalized Image Generation, sections 1 and 3: likeness to the
pictures that were trained on stays high, or rises, while a method learns them by heart; likeness to
other pictures of the same subject tells.
"""

from __future__ import annotations

from socialcli import registry
from socialcli.errors import UsageError
from socialcli.evaluation import joining, samples
from socialcli.evaluation.joining import Joined
from socialcli.evaluation.metrics import Metric
from socialcli.evaluation.samples import Known, Lost
from socialcli.pipeline.plan import public

ENDING = "-train"  # dino-train is what dino is, of the training pictures


def metrics(chosen: dict[str, Metric], given: bool) -> dict[str, Metric]:
    """The metrics, and after each the one that looks at the training pictures, where they are
    ``given`` and there is one.

    Raises:
        UsageError: one of those was asked for, and no training pictures are given.
    """
    there = set(registry.available("metrics"))
    loaded: dict[str, Metric] = {}
    for name, metric in chosen.items():
        if name.endswith(ENDING) and not given:
            raise UsageError(f"{name}: compared with training pictures: give --train-set SHARDS")
        loaded.setdefault(name, metric)
        other = f"{name}{ENDING}"
        if given and other in there:
            loaded.setdefault(other, registry.load("metrics", other))
    return loaded


def attach(joined: list[Joined], inputs: list[str]) -> tuple[list[Lost], list[str]]:
    """Give each joined sample the training pictures of its subject.

    The subject is that of the picture it was generated from, else of its first reference; where all
    training pictures are of one subject, a sample that says neither is taken for it.

    Returns:
        Training pictures that cannot be read; notes for people.

    Raises:
        UsageError: no sample's subject is in the training set.
    """
    known, lost = samples.reference(samples.locations(inputs), None, set(joining.HELPFUL))
    by_subject: dict[str, list[Known]] = {}
    for picture in known.values():
        by_subject.setdefault(picture.subject, []).append(picture)
    only = next(iter(by_subject)) if len(by_subject) == 1 else ""
    without: dict[str, int] = {}
    for one in joined:
        subject = _subject(one) or only
        pictures = by_subject.get(subject, [])
        one.training = [(p, joining.boxes_of(p, one.queries)) for p in pictures]
        if not pictures:
            without[subject] = without.get(subject, 0) + 1
    where = ", ".join(public(inputs))
    if sum(without.values()) == len(joined):
        named = next(iter(without)) or "nothing that names it"
        raise UsageError(
            f"--train-set {where}: no picture's subject is in it; the first has '{named}', the "
            f"training set {', '.join(list(by_subject)[:5]) or 'nothing'}"
        )
    notes = []
    if without:
        notes.append(
            f"{sum(without.values()):,} of {len(joined):,} pictures have no training pictures: "
            f"{where} has none of {', '.join(list(without)[:5])}"
        )
    return lost, notes


def _subject(one: Joined) -> str:
    if one.source is not None:
        return one.source.subject
    return next((sample.subject for part in one.subjects for sample, _ in part), "")
