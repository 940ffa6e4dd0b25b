"""A text's embedding in CLIP, in the space of ``clip``: ``vector`` (D,).

``unread`` is the end of a text that is longer than CLIP reads; others have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.evaluation.features import Feature, Look, Value, _vectors, clip

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.errors import SampleFailed


class ClipText(Feature):
    """See `Feature`."""

    VERSION = 2
    config_type = clip.Options

    def models(self, config: Any) -> tuple[ModelSpec, ...]:
        return clip.models(config)

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        values = _vectors.of_texts(models[0], looks)
        for look, value in zip(looks, values, strict=True):
            rest = models[0].unread(look.text)
            if rest and isinstance(value, dict):
                value["unread"] = rest
        return values
