"""MIP-Adapter: two subjects, each where the words for it attend."""

from __future__ import annotations

from socialcli.backends import BackendInfo, ModelSpec
from socialcli.backends.adapter._file import Adapter

INFO = BackendInfo(
    summary="MIP-Adapter (also Plus) of SDXL: two subjects, weighed by where their words attend",
    licence="not stated by its authors",
    model="hqhQAQ/MIP-Adapter",
    get="hf download hqhQAQ/MIP-Adapter --local-dir mip-adapter, "
    "then --adapter-model mip-adapter/model_sdxl.bin",
    size="0.7 to 1 GB",
    packages=("torch", "diffusers", "transformers"),
)
FILE = "model_sdxl.bin"


def load(spec: ModelSpec) -> Adapter:
    """Read the file ``spec.model``, else the one in the hub's cache.

    Raises:
        ModelMissing: it is not here. UsageError: it is another kind of file.
    """
    return Adapter(spec, INFO, FILE, "mip-adapter")
