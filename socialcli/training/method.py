"""What a method of `train` and `invert` is: the base that each file in ``socialcli/methods``
has."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.registry import Part

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL.Image import Image

    from socialcli.backends import ModelSpec
    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.shards.index import Index
    from socialcli.training.options import TrainingOptions
    from socialcli.training.place import Place


@dataclass(frozen=True)
class Phase:
    """One training of a run that has several, one after the other.

    Attributes:
        name: of the folder in the run's output that the phase's result goes to; "" for the last
            phase, whose result is the run's.
        method: what is trained in it.
        config: with which options; a later phase may name files that an earlier one writes.
    """

    name: str
    method: TrainMethod
    config: TrainingOptions


class TrainMethod(Part, base=True):
    """One file ``socialcli/methods/{train,invert}/NAME.py`` is ``--method NAME``; the first line of
    its docstring is its line in `--help`. Nothing heavy is imported at its top.

    The sum over the losses of weight x value, averaged over the global batch, is what a step goes
    down (a silent sample counts as 0), so that micro-batches, processes and one large batch agree.

    Attributes:
        VERSION: raised when the same options train otherwise; a new option's default trains as
            before.
        READS: members every sample must have, besides its picture.
        FEATURES: names of the options that `features` depends on; None: all of the method's own.
        TWO_ENCODERS: whether it trains on models of two text encoders as well, whose texts have a
            pooled state (Stable Diffusion XL).
        config_type: a dataclass that inherits `options.TrainingOptions`.
    """

    VERSION: int = 1
    READS: tuple[str, ...] = ()
    FEATURES: ClassVar[tuple[str, ...] | None] = None
    TWO_ENCODERS: ClassVar[bool] = False
    config_type: type

    # --- what every method has ---

    @abc.abstractmethod
    def load(self, config: Any, place: Place) -> Any:
        """The state: networks on ``place.device``, frozen ones in ``place.dtype``, and whatever
        else the method keeps. ``place.index`` is the data, ``place.clock("decode")`` a context
        that `--profile-steps` counts."""

    @abc.abstractmethod
    def trainable(self, state: Any) -> torch.nn.Module:
        """The module whose parameters with ``requires_grad`` are trained; a checkpoint holds it."""

    @abc.abstractmethod
    def prepare(self, state: Any, sample: Sample, variant: Variant) -> dict[str, Any]:
        """One sample -> tensors (on the CPU) and plain values.

        It runs on a thread, so it changes nothing in ``state``. ``variant.random`` gives
        augmentation its numbers.

        Raises:
            SampleFailed: it cannot be used; another sample takes its place.
        """

    @abc.abstractmethod
    def losses(self, state: Any, batch: Any, draw: Draw) -> dict[str, torch.Tensor]:
        """Name -> (B,) float32: the loss of each sample before the weight below, 0 where it is
        silent. ``draw`` gives the noise, the timesteps and all other numbers, by name."""

    @abc.abstractmethod
    def weights(self, config: Any) -> dict[str, float]:
        """Name -> factor of each of these losses."""

    @abc.abstractmethod
    def save(self, state: Any, folder: Path, metadata: dict[str, str]) -> None:
        """Write the result as files in ``folder``; ``metadata`` goes into the header of every
        safetensors file (`networks.weights.write`, whose bytes are always the same)."""

    # --- what a method may have ---

    def check_options(self, config: Any) -> None:
        """Refuse options that make no sense, before any model is loaded (UsageError)."""

    def models(self, config: Any) -> list[ModelSpec]:
        """Every model it loads, for the record."""
        return []

    def phases(self, config: Any, output: Path) -> list[Phase]:
        """The trainings that make up a run. Each is resumed and published by itself; the result
        of phase NAME lies in ``output / NAME``."""
        return [Phase("", self, config)]

    def paced(self, config: Any) -> bool:
        """Whether what a step does depends on how many steps the run has (`Draw.steps`); such a
        run cannot be made longer afterwards."""
        return False

    def check(self, config: Any, sample: Sample) -> None:
        """Whether a sample can be used at all; asked before models are loaded, until one passes.

        Raises:
            SampleFailed: it cannot (no face, no subject).
        """

    def select(self, config: Any, index: Index) -> Index:
        """The index cut to what the method trains on, before models are loaded."""
        return index

    def features(self, state: Any, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """All that `losses` needs of a sample and no step changes: latents, embeddings, words.

        Args:
            examples: what `prepare` gave, tensors on the CPU.

        Returns:
            As many dicts of tensors or JSON values, without gradient. Each is made once per (key,
            variant) and then stands in for the example. With ``--variants`` above 0 it is kept in
            memory and on disk, and the picture is not even decoded again.
        """
        raise NotImplementedError  # asked only where a method has its own, see `has`

    def unread(self, state: Any, example: dict[str, Any]) -> str:
        """The end of an example's text that the text encoder does not read, "" where it reads all,
        so that the run can say it; asked once where `features` are made, else in every step."""
        return ""

    def facts(self, state: Any) -> dict[str, str]:
        """What only the loaded models tell, and a run that goes on must find as it was."""
        return {}

    def collate(self, state: Any, examples: list[dict[str, Any]]) -> Any:
        """The batch. By default tensors of equal shape are stacked and moved to ``place.device``,
        everything else becomes a list of B."""
        from socialcli.training.examples import collate

        return collate(examples, state.place.device)

    def compiled(self, state: Any) -> list[torch.nn.Module]:
        """The networks that ``--compile`` compiles; a method that names none refuses it."""
        raise NotImplementedError  # asked only where a method has its own, see `has`

    def groups(self, state: Any) -> list[dict[str, Any]]:
        """The optimiser's parameter groups; ``scale`` multiplies a group's learning rate."""
        parameters = [p for p in self.trainable(state).parameters() if p.requires_grad]
        return [{"params": parameters}]

    def after_step(self, state: Any) -> None:
        """Called after each optimiser step, for a projection."""

    def validate(self, state: Any) -> list[tuple[str, Image]]:
        """(caption, picture) pairs. It must not draw from global random generators; the trainable
        module is in eval mode meanwhile."""
        return []

    def has(self, hook: str) -> bool:
        """Whether the method has a hook of its own."""
        return getattr(type(self), hook) is not getattr(TrainMethod, hook)
