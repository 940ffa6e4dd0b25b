"""An adapter's file: read, told apart, and named for the record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from socialcli.backends import naming
from socialcli.errors import ModelMissing
from socialcli.records import Model

if TYPE_CHECKING:
    from socialcli.backends import BackendInfo, ModelSpec


class Adapter:
    """A `roles.Adapter`."""

    def __init__(self, spec: ModelSpec, info: BackendInfo, default: str, method: str) -> None:
        """Read ``spec.model``, else the default file in the hub's cache.

        Args:
            default: path of the default file in the hub's repository ``info.model``.
            method: of `generate` that draws with it.

        Raises:
            ModelMissing: it is not here. UsageError: no adapter, or one that another method draws
                with.
        """
        from socialcli.networks import adapter_files

        self.file = _place(spec.model, info, default)
        self.parts = adapter_files.read(self.file, info.get)
        self.kind = adapter_files.check(self.file, self.parts, method)
        name = str(self.file)
        self.model = Model(
            self.kind.name, naming.name(name), naming.revision(name), role="adapter"
        )  # fmt: skip


def _place(given: str, info: BackendInfo, default: str) -> Path:
    if given:
        return Path(given).expanduser()
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(info.model, default) if default else None
    if not isinstance(cached, str):
        raise ModelMissing(
            f"no adapter is named, and {info.model} is not on this machine. Get it with: {info.get}"
        )
    return Path(cached)
