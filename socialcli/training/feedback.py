"""What a feedback of `train --method feedback` is: a detector that corrects what is drawn."""

from __future__ import annotations

import abc
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from socialcli import records, registry
from socialcli.registry import Part

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from socialcli.records import XYXY
    from socialcli.shards import Sample
    from socialcli.training.geometry import Frame

    Examples = list[dict[str, Any]]


@dataclass
class NoOptions:
    """Of a feedback that has none of its own."""


class View:
    """One sample in the square that is trained on; coordinates are normalised to the square.

    Attributes:
        sample, frame: the sample, and the square of its picture.
        boxes: box id -> what the square holds of it.
    """

    def __init__(self, sample: Sample, frame: Frame, boxes: dict[int, records.Box]) -> None:
        self.sample, self.frame, self.boxes = sample, frame, boxes

    @functools.cached_property
    def people(self) -> dict[int, records.Person]:
        """Person id -> what the square holds of them; none where the sample lists nobody."""
        if not self.sample.has("people.json"):
            return {}
        listed = self.sample.record(records.People).people
        return {person.id: self.frame.person(person) for person in listed}

    @functools.cached_property
    def bodies(self) -> dict[int, XYXY]:
        """Person id -> body box, of those that have one."""
        return {n: body for n, p in self.people.items() if (body := self._body(p)) is not None}

    def _body(self, person: records.Person) -> XYXY | None:
        if person.box is not None and person.box in self.boxes:
            return self.boxes[person.box].xyxy
        return person.xyxy


class Watcher(Protocol):
    """A feedback at work: its network, loaded and frozen, and the options it was loaded with.

    Pictures are (B, 3, H, W) in [-1, 1] on the device, examples the B dicts of `Feedback.tensors`
    with the targets added; only samples it has something to say of are given to it.
    """

    def targets(self, pictures: Tensor, examples: Examples) -> Examples:
        """What it reads off the originals: a dict for each picture, names beginning with its own.
        Made once for each sample."""
        ...

    def values(self, pictures: Tensor, examples: Examples) -> Tensor:
        """(B,): its loss for the estimates, differentiable in the pictures."""
        ...


class Feedback(Part, base=True):
    """One file ``socialcli/methods/train/feedback/NAME.py`` is the feedback ``NAME``: its options,
    what it reads from a record, its targets, its loss and its gate.

    The method adds ``--weight-NAME`` and ``--gate-NAME``. Losses stand in `socialcli.losses`.

    Attributes:
        ORDER: its place among the feedbacks; the paper's have the number of their equation.
        config_type: a dataclass of options. A feedback with a ROLE has ``NAME_backend`` and
            ``NAME_model`` among them.
        ROLE: of the backend whose network it asks; "" for none.
        MEMBER, STAGE: what it reads, and the subcommand that writes it.
        LACKS: what is said where no sample has anything to watch ("no face").
        GATE: the timesteps at which it speaks unless ``--gate-NAME`` says otherwise.
        FEATURES: names of its options that targets and tensors depend on, besides the model's.
    """

    ORDER: int = 100
    config_type: type = NoOptions
    ROLE: str = ""
    MEMBER: str
    STAGE: str
    LACKS: str
    GATE: str = "all"
    FEATURES: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def read(self, config: Any, view: View) -> Any:
        """What it watches in a sample; something false (None, []) where there is nothing.

        Raises:
            SampleFailed: a member that cannot be read.
        """

    @abc.abstractmethod
    def tensors(self, scene: Any) -> dict[str, Any]:
        """What `read` returned as tensors on the CPU and lists, under names that begin with
        ``NAME_``. Missing coordinates are NaN."""

    @abc.abstractmethod
    def load(self, config: Any, loaded: Any) -> Watcher:
        """The feedback at work. ``loaded`` is the backend's object, its ``network`` frozen; None
        without a ROLE."""

    # --- what a feedback may have ---

    def check_options(self, config: Any) -> None:
        """Refuse options that make no sense, before any model is loaded (UsageError)."""

    def coverage(self, config: Any, scenes: list[Any]) -> str:
        """How much of what is annotated its network can judge: a line to warn of, "" where it is
        all. Asked before models are loaded.

        Args:
            scenes: what `read` returned of the samples looked at, where that was anything.

        Raises:
            UsageError: nothing of it.
        """
        return ""

    def has(self, hook: str) -> bool:
        """Whether the feedback has a hook of its own."""
        return getattr(type(self), hook) is not getattr(Feedback, hook)


def all_feedbacks() -> dict[str, Feedback]:
    """Every feedback by its name, in `Feedback.ORDER`."""
    parts = [registry.load("feedbacks", name) for name in registry.available("feedbacks")]
    return {part.name: part for part in sorted(parts, key=lambda part: (part.ORDER, part.name))}


def together(examples: Examples, name: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """One ragged tensor of all examples, and the number of the example each row is from."""
    import torch

    rows = [example[name] for example in examples]
    owners = [torch.full((len(part),), number) for number, part in enumerate(rows)]
    return torch.cat(rows).to(device), torch.cat(owners).to(device)


def apart(rows: Tensor, examples: Examples, name: str) -> list[Tensor]:
    """Rows computed `together`, back to the examples, on the CPU."""
    return list(rows.cpu().split([len(example[name]) for example in examples]))
