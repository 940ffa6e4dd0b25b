"""Features: what models say of a picture or a text, one file each.

A metric names the features that it reads, and they are made once however many metrics ask. A
feature owns its options, its models and what it looks for; its values are kept on disk (`_store`)
and computed in batches (`_compute`).
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli import registry
from socialcli.evaluation.cases import Picture
from socialcli.evaluation.settings import NoOptions
from socialcli.registry import Part

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.backends import ModelSpec
    from socialcli.errors import SampleFailed

Value = dict[str, Any]  # names to numpy arrays or plain JSON values


@dataclass
class Look:
    """One picture (or text) for a feature to look at."""

    image: Image | None = None
    text: str = ""
    extra: Any = None  # what is to be looked for in it, see `Feature.target`
    before: dict[str, Value] = field(default_factory=dict)  # features this one builds on


@dataclass(frozen=True)
class Subject:
    """What is known of a picture before any model sees it.

    Attributes:
        source: the picture it was generated from, with its records.
        queries: names of the things it was generated of ("dog").
        boxes: of a reference picture, the normalised xyxy boxes of the thing that it shows.
        shared: what `Feature.prepare` returned.
    """

    source: Picture | None = None
    queries: tuple[str, ...] = ()
    boxes: tuple[list[float], ...] = ()
    shared: Any = None


class Feature(Part, base=True):
    """One file ``socialcli/evaluation/features/NAME.py`` is the feature ``NAME`` of `Needs`.

    Every ``config`` is that of `socialcli.evaluation.settings`: it holds the common options, the
    feature's own and those of the features in ``AFTER``.

    Attributes:
        config_type: a dataclass of options (`socialcli.config`), flags and profile keys of
            `score`. Parts may share an option, with one default and one help line.
        VERSION: raised whenever the same models and options give other values.
        AFTER: names of the features whose values it reads, in ``Look.before``.
    """

    config_type: type = NoOptions
    VERSION: int = 1
    AFTER: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def models(self, config: Any) -> tuple[ModelSpec, ...]:
        """The models it asks; `model_spec` makes one."""

    @abc.abstractmethod
    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        """A value or a SampleFailed for each look.

        Args:
            models: the loaded objects of `models`, in order, and what `load` returned.
        """

    # --- what a feature may have ---

    def check_options(self, config: Any) -> None:
        """Refuse options that make no sense, before anything is read (UsageError)."""

    def options(self, config: Any) -> dict[str, Any]:
        """What its values depend on besides the picture and the models."""
        return {}

    def load(self, config: Any) -> Any:
        """A model that is no backend's, with its record as ``model``.

        Raises:
            ModelMissing, UsageError: it is not there, it is another thing.
        """
        return None

    def check_models(self, models: list[Any]) -> None:
        """Refuse loaded models that cannot do what is asked of them (UsageError)."""

    def prepare(self, config: Any, sources: list[Picture]) -> Any:
        """What is the same for all pictures of a run, from all the pictures they were generated
        from; `target` finds it in ``subject.shared``."""
        return None

    def target(self, config: Any, subject: Subject) -> Any:
        """What it looks for in a picture, as a JSON value; a feature without this hook looks at
        the picture alone."""
        return None

    def has(self, hook: str) -> bool:
        """Whether the feature has a hook of its own."""
        return getattr(type(self), hook) is not getattr(Feature, hook)


def load(name: str) -> Feature:
    """The feature of this name."""
    feature: Feature = registry.load("features", name)
    return feature


def before(feature: Feature) -> list[Feature]:
    """The features that one builds on."""
    return [load(name) for name in feature.AFTER]


def model_spec(config: Any, role: str, backend: str, model: str, **options: Any) -> ModelSpec:
    """A model on the device and in the number type of the run."""
    from socialcli.backends import ModelSpec

    return ModelSpec(role, backend, model, None, config.device, config.dtype, options)
