"""What a method of `generate` is: the base that each file in ``socialcli/methods/generate`` has."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.registry import Part

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.diffusion.conditioning import Conditioning
    from socialcli.generation.stage import GenerateStage


class GenerateMethod(Part, base=True):
    """One file ``socialcli/methods/generate/NAME.py`` is ``generate --method NAME``; the first line
    of its docstring is its line in `--help`.

    `embed` sees one request at a time, so that a picture cannot depend on its neighbours; what it
    makes can be kept by the studio (`drawing.Studio.text`). `condition` puts a batch together.

    Attributes:
        VERSION: raised when the same options give other pictures.
        REFERENCES: whether it takes reference pictures.
        QUERIES: whether it reads the words that say what is meant in them.
        MASKS: the flag with which it reads masks of them.
        SCALE: their weight where none is given.
        WHOLE: whether all of a picture reads its one prompt, in one call of the UNet a step; so
            that there is a map of each word of it.
        TWO_ENCODERS: whether it draws with models of two text encoders as well, whose texts have a
            pooled state (Stable Diffusion XL).
        config_type: a dataclass that inherits `options.GenerateOptions`, or
            `options.ReferenceOptions` if it takes references.
    """

    VERSION: int = 1
    REFERENCES: ClassVar[bool] = False
    QUERIES: ClassVar[bool] = True
    MASKS: ClassVar[str] = ""
    SCALE: ClassVar[float] = 1.0
    WHOLE: ClassVar[bool] = True
    TWO_ENCODERS: ClassVar[bool] = False
    config_type: type

    @abc.abstractmethod
    def models(self, config: Any) -> list[ModelSpec]:
        """Every model it loads."""

    @abc.abstractmethod
    def load(self, config: Any) -> Any:
        """A `drawing.Studio`, or a state of its own that has all a Studio has."""

    @abc.abstractmethod
    def embed(self, config: Any, studio: Any, request: Any) -> Any:
        """What one picture is conditioned on: tensors without a batch dimension.

        Args:
            request: a `stage.Ready`: the request, its reference pictures, and the sample that it
                was made of (``request.sample``, None for a bare prompt).

        Raises:
            SampleFailed: it cannot be made.
        """

    @abc.abstractmethod
    def condition(self, config: Any, studio: Any, embedded: list[Any]) -> Conditioning:
        """The conditioning of a batch, from the list of what `embed` gave."""

    def check_options(self, config: Any) -> None:
        """Refuse options that make no sense, before any model is loaded (UsageError)."""

    def prepare(self, config: Any, request: Any) -> Any:
        """What it reads of a request's sample, on a thread while others are drawn; `embed` finds it
        as ``request.plan``.

        Args:
            request: a `requests.Request`.

        Raises:
            SampleFailed: the sample lacks it.
        """
        return None

    def alike(self, embedded: Any) -> Any:
        """What pictures of one batch have in common: the length of their text states."""
        return len(embedded[1])

    def part(self, config: Any, studio: Any) -> int:
        """How many pictures go through the UNet at once; see `drawing.part`."""
        from socialcli.generation import drawing

        return drawing.part(config, studio)

    def layout(self, request: Any) -> tuple[Any, Any] | None:
        """(the layout of a picture, each segment's reference pictures), by which `--attempts`
        judges it; None of a method without layouts."""
        return None

    def members(self, config: Any, request: Any, size: tuple[int, int]) -> dict[str, bytes]:
        """More members of a picture's sample; ``size`` is its width and height."""
        return {}

    def facts(self, config: Any) -> dict[str, Any]:
        """What else the pictures depend on, see `stage.GenerateStage.facts`."""
        return {}

    def named_files(self, config: Any, request: Any) -> Sequence[str]:
        """The files of this machine that a request's sample names and that its picture is made of,
        so that a run is not taken for finished above others.

        Args:
            request: a `requests.Request`.
        """
        return ()

    def masks(self, config: Any) -> list[str] | None:
        """Whether a mask says which part of a reference is meant: None if words do; else the mask
        files of ``--reference``, one each, [] for the masks of the samples themselves."""
        return None

    def unread(self, config: Any) -> dict[str, str]:
        """Of the columns of a prompt file that speak of reference pictures (reference, query,
        scale, mask) those that it does not read: name -> the flag with which it does, or ""."""
        if not self.REFERENCES:
            return dict.fromkeys(("reference", "query", "scale", "mask"), "")
        names = {} if self.QUERIES else {"query": ""}
        return names if self.masks(config) is not None else {**names, "mask": self.MASKS}

    def plain(self, config: Any, studio: Any, prompt: str) -> str | None:
        """The prompt in ordinary words, for `score`; None where it has no others."""
        return None

    def read(self, prompt: str) -> str:
        """The prompt as the text encoder gets it, without marks that only the method reads."""
        return prompt

    def as_stage(self) -> GenerateStage:
        """Itself behind the interface that the runner knows."""
        from socialcli.generation import stage

        return stage.of(self)
