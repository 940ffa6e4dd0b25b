"""A part as tests see it: its hooks, and beside them the helpers of its module."""

from __future__ import annotations

from typing import Any

from socialcli import registry


class Seen:
    """Attributes are the part's own, or else its module's; they are set where they are."""

    def __init__(self, part: Any) -> None:
        object.__setattr__(self, "part", part)
        object.__setattr__(self, "module", registry.module_of(part))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.part if hasattr(self.part, name) else self.module, name)

    def __delattr__(self, name: str) -> None:
        if name in vars(self.part):  # what stood in for a method of the class
            delattr(self.part, name)
        elif not hasattr(self.part, name):
            delattr(self.module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.part if hasattr(self.part, name) else self.module, name, value)


def part(kind: str, name: str) -> Any:
    """``part("stages", "ground")``."""
    return Seen(registry.load(kind, name))
