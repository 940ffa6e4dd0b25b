"""What the runner knows of a stage: the one interface behind every command that makes shards."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from socialcli import shards
from socialcli.registry import Part

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.shards import Damage, Sample


@dataclass
class Item:
    """One sample on its way through a stage."""

    key: str
    seed: int  # hash of (global seed, stage, key): the only source of randomness
    work: Any  # what `Stage.prepare` returned


class Noted(dict[str, bytes]):
    """New members of a sample of which the user should hear something.

    ``notes`` maps what is counted ("prompts_cut") to the line that is said when it first happens.
    """

    def __init__(self, members: dict[str, bytes], notes: dict[str, str]) -> None:
        super().__init__(members)
        self.notes = notes


class Stage(Part, base=True):
    """A stage reads samples and adds members to them.

    One file ``socialcli/stages/NAME.py`` is the subcommand ``NAME``; the first line of its
    docstring is the help text. Nothing heavy is imported at the top of the file: `--help` of the
    command reads it. Importers and the methods of `generate` are stages too, behind an adapter that
    stands beside them (`as_stage`).

    Attributes:
        READS, WRITES: member suffixes it needs and adds ("caption.json").
        VERSION: raised whenever the same options give other results; a new option's default
            gives those of before.
        config_type: a dataclass of options (`socialcli.config`); one flag and one profile key a
            field.
        DOMAIN: whether a run warns of samples that are unlike what its models were trained on.
    """

    READS: tuple[str, ...] = ()
    WRITES: tuple[str, ...] = ()
    VERSION: int = 1
    config_type: type
    DOMAIN: ClassVar[bool] = True

    @property
    def command(self) -> str:
        """The subcommand as it is typed."""
        return self.name

    @abc.abstractmethod
    def models(self, config: Any) -> list[ModelSpec]:
        """Every model it would load, for ``--dry-run``."""

    @abc.abstractmethod
    def load(self, config: Any) -> Any:
        """Load them; returns whatever `process` wants."""

    @abc.abstractmethod
    def prepare(self, config: Any, sample: Sample) -> Any:
        """One sample -> one work item, on a thread while the model is busy.

        Raises:
            SampleFailed, SampleFiltered: it cannot be used, it is not wanted.
        """

    @abc.abstractmethod
    def process(
        self, config: Any, loaded: Any, items: list[Item]
    ) -> list[dict[str, bytes] | Exception]:
        """A batch -> per item the new members ``{suffix: bytes}``, or a SampleFailed or
        SampleFiltered instance."""

    # --- what only adapters change ---

    @property
    def remarks(self) -> Sequence[str]:
        """What a user should hear before the run, one line each."""
        return ()

    def numbered(self, config: dict[str, Any]) -> bool:
        """Whether tasks are ranges of numbered entries (pictures, prompts), and not shards."""
        return False

    def count(self, config: Any) -> int:
        """How many numbered entries there are."""
        raise NotImplementedError(f"{self.name} has no numbered entries")

    def each(self, config: Any) -> int | None:
        """How many samples come of one that is read; None where that depends on the sample."""
        return 1

    def noted(self, config: Any) -> dict[str, Any]:
        """`facts` that are noted once, when the run is planned, since reading them takes a while or
        they may change while it runs."""
        return {}

    def facts(self, config: Any) -> dict[str, Any]:
        """What results depend on besides the options and the input."""
        return {}

    def named_files(self, config: Any, sample: Sample) -> Sequence[str]:
        """The files of this machine that a sample names and its result is made of, each as it names
        it; those that are there."""
        return ()

    def samples(self, config: Any, source: str, checksums: list[Any]) -> Iterator[Sample | Damage]:
        """The samples of one task, and the places of its input that could not be read."""
        return shards.read_all(source, checksums)

    def writer(self, config: Any, target: str, stream: BinaryIO) -> Any:
        """What writes one task's output."""
        return shards.Writer(stream)

    def as_stage(self) -> Stage:
        """Itself; an adapter around it where it is another kind of part."""
        return self
