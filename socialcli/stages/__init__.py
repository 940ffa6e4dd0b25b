"""Stages: one file per subcommand that reads shards and adds members to their samples.

A stage is a module. The command line, the runner and the engines find what they need by name:

    ``__doc__``               first line is the help text in `socialcli --help`
    ``READS`` / ``WRITES``    member suffixes it needs and adds ("caption.json")
    ``VERSION``               raised whenever the same options give other results
    ``Config``                a dataclass of options; one flag and one profile key per field
    ``models(config)``        the `ModelSpec` of every model it would load (for --dry-run)
    ``load(config)``          loads them; returns whatever `process` wants
    ``prepare(config, s)``    one sample -> one work item, on a thread while the model is busy;
                              raises SampleFailed or SampleFiltered
    ``process(config, loaded, items)``  a batch of `Item` -> per item the new members
                              ``{suffix: bytes}``, or a SampleFailed / SampleFiltered instance

Nothing heavy is imported at the top of a stage module: `socialcli --help` reads all of them.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.shards import Sample


def option(default: Any, help: str, *, affects_result: bool = True, file: bool = False) -> Any:
    """A field of a stage's Config: its default, its help line, and whether results depend on it
    (``file``: on the content of the file it names).

    Options that cannot change a result (device, batch size) stay out of the fingerprint that
    decides whether a finished shard may be kept.
    """
    metadata = {"help": help, "affects_result": affects_result, "file": file}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default if default is not None else None, metadata=metadata)


@dataclass
class ModelOptions:
    """Options every stage with a model has."""

    device: str = option(
        "auto", "Where models run: auto, cpu, cuda, cuda:N, mps.", affects_result=False
    )
    dtype: str = option("auto", "Number type: auto, float32, bfloat16, float16.")
    batch_size: int = option(8, "Pictures per model call.", affects_result=False)


@dataclass
class Item:
    """One sample on its way through a stage."""

    key: str
    seed: int  # hash of (global seed, stage, key): the only source of randomness
    work: Any  # what `prepare` returned


class Stage(Protocol):
    """The shape of a stage module, for type checkers."""

    READS: tuple[str, ...]
    WRITES: tuple[str, ...]
    VERSION: int
    Config: type

    def models(self, config: Any) -> list[ModelSpec]: ...
    def load(self, config: Any) -> Any: ...
    def prepare(self, config: Any, sample: Sample) -> Any: ...
    def process(
        self, config: Any, loaded: Any, items: list[Item]
    ) -> list[dict[str, bytes] | Exception]: ...


__all__ = ["MISSING", "Item", "ModelOptions", "Stage", "option"]
