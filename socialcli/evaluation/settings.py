"""What can be chosen about a score: the fields are flags and keys of a profile's [score] table.

The options of metrics and features stand in their own files; `config_type` joins them.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli import registry
from socialcli.config import ModelOptions, check_bounds, option
from socialcli.errors import SocialcliError, UsageError

if TYPE_CHECKING:
    from socialcli.evaluation.metrics import Metric

AGAINST = ("auto", "source", "references", "subject", "layout")
# The order of options in --help and score.json. Those of other parts come after, by name.
ORDER = (
    ("metrics", "clip-i"), ("features", "clip"), ("features", "dino"), ("features", "faces"),
    ("features", "gaze"), ("features", "gaze-objects"), ("features", "interactions"),
    ("features", "hoi-objects"), ("metrics", "hoi"), ("metrics", "fid"), ("features", "inception"),
)  # fmt: skip


@dataclass
class NoOptions:
    """Of a part that has none."""


@dataclass
class Settings(ModelOptions):
    """The options of every score; a Config has those of all metrics and features besides."""

    FIRST: ClassVar[tuple[str, ...]] = ("metrics", "against", "device")
    GROUPS: ClassVar[dict[str, str]] = {"metrics": "Metrics", "clip_backend": "Models"}

    dtype: str = option(
        "auto", "Number type: auto (float32 on every device), float32, bfloat16, float16."
    )
    metrics: str = option(
        "clip-t,clip-i,dino,face",
        "What to measure, divided by commas: {}.",
        choices=lambda: registry.available("metrics"),
        many=True,
    )
    against: str = option(
        "auto",
        "What clip-i and dino compare with: source (the picture a sample was made from), "
        "references (those it was given), subject (all of their subject), layout (of each segment "
        "of its layout.json, all of its subject), auto (source if any).",
        choices=AGAINST,
    )


def estimates(config: Any) -> frozenset[str]:
    """Of "gaze" and "interaction", those of which estimates in references are believed."""
    names = ("gaze", "interaction")
    return frozenset(n for n in names if getattr(config, f"{n}_source", "any") == "any")


def parts() -> list[Any]:
    """Every metric and feature, in the order of their options."""
    there = [(kind, name) for kind in ("features", "metrics") for name in registry.available(kind)]
    first = [one for one in ORDER if one in there]
    return [registry.load(*one) for one in [*first, *(one for one in there if one not in first)]]


@functools.cache
def config_type() -> type[Settings]:
    """The Config: one dataclass with the options of all metrics and features.

    Raises:
        SocialcliError: two parts have an option of one name that is not the same option.
    """
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    types = typing.get_type_hints(Settings)
    owners: dict[str, str] = {}
    for part in parts():
        hints = typing.get_type_hints(part.config_type)
        for field in dataclasses.fields(part.config_type):
            owner = f"{part.kind} {part.name}"
            other = fields.setdefault(field.name, field)
            owners.setdefault(field.name, owner)
            if _facts(other) != _facts(field):
                raise SocialcliError(
                    f"{owners[field.name]} and {owner} both have an option '{field.name}', with "
                    "another default or help line; name one of them differently"
                )
            types[field.name] = hints[field.name]
    there = ", ".join(registry.available("metrics"))
    options = [(name, types[name], _again(field, there)) for name, field in fields.items()]
    return dataclasses.make_dataclass(
        "Config", options, bases=(Settings,), namespace={"__module__": __name__}
    )


def _facts(field: dataclasses.Field[Any]) -> tuple[Any, ...]:
    return field.default, field.metadata


def _again(field: dataclasses.Field[Any], metrics: str) -> Any:
    """A field as `dataclasses.field` makes it, for another dataclass."""
    metadata = dict(field.metadata)
    if field.name == "metrics":
        metadata["help"] = metadata["help"].format(metrics)
    if field.default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=field.default_factory, metadata=metadata)
    return dataclasses.field(default=field.default, metadata=metadata)


def resolved(values: dict[str, Any]) -> dict[str, Any]:
    """A Config's values with device and dtype made definite. Figures are of float32 unless another
    type is asked for: bfloat16 moves cosines by as much as methods differ.

    Raises:
        UsageError: no such device or number type.
    """
    from socialcli.backends import devices

    if values["dtype"] == "auto":
        values = {**values, "dtype": "float32"}
    return devices.resolved(values)


def chosen(config: Any) -> dict[str, Metric]:
    """Metric name -> metric, as ``--metrics`` asks, in its order; options checked by these
    and by the features that they look at.

    Raises:
        UsageError: no such metric, or an option with a value it cannot have.
    """
    names = [name.strip() for name in config.metrics.split(",") if name.strip()]
    if not names:
        there = ", ".join(registry.available("metrics"))
        raise UsageError(f"--metrics is empty. There are: {there}")
    check_bounds(config_type(), vars(config))
    metrics = {name: registry.load("metrics", name) for name in dict.fromkeys(names)}
    for metric in metrics.values():
        metric.check_options(config)
    for feature in features(metrics, config):
        feature.check_options(config)
    return metrics


def features(metrics: dict[str, Metric], config: Any) -> list[Any]:
    """Every feature that some metrics look at, and those that these are computed after."""
    names: list[str] = []
    for metric in metrics.values():
        needs = metric.needs(config)
        names += [*needs.generated, *needs.references, *needs.everything, *needs.text]
    by_name: dict[str, Any] = {}
    while names:
        name = names.pop()
        if name not in by_name:
            by_name[name] = registry.load("features", name)
            names += by_name[name].AFTER
    return list(by_name.values())
