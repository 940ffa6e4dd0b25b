"""Pictures, and what they are compared with, as features and metrics see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Picture:
    """One picture. ``records`` maps a member's suffix to its record."""

    key: str
    features: dict[str, dict[str, Any]] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=dict)

    def get(self, feature: str, value: str = "vector") -> Any:
        """One value of a feature, None where it could not be computed."""
        return self.features.get(feature, {}).get(value)


@dataclass
class Case:
    """A generated picture and what it is compared with.

    ``subjects`` holds the reference pictures subject by subject; where the whole source picture is
    the reference, it is the only picture of the only subject. ``training`` holds the pictures of
    its subject that were trained on, where these are given.
    """

    key: str
    unit: str  # resampled together and paired between methods: source, else prompt, else key
    prompt: str
    generated: Picture
    text: dict[str, dict[str, Any]] = field(default_factory=dict)  # features of the prompt
    source: Picture | None = None
    subjects: list[list[Picture]] = field(default_factory=list)
    training: list[Picture] = field(default_factory=list)

    def has(self, *members: str) -> bool:
        """Whether there is a source picture with these records."""
        return self.source is not None and all(m in self.source.records for m in members)


@dataclass
class Context:
    """What is the same for all cases of a metric: the configuration, every reference picture, and
    what `Metric.classes` returned."""

    config: Any
    references: list[Picture] = field(default_factory=list)
    classes: Any = None
