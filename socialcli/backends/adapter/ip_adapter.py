"""IP-Adapter: reference pictures, as CLIP sees them, beside the text."""

from __future__ import annotations

from socialcli.backends import BackendInfo, ModelSpec
from socialcli.backends.adapter._file import Adapter

INFO = BackendInfo(
    summary="IP-Adapter (also Plus, Plus Face, Full Face) of SD 1.5 and SDXL: pictures as prompts",
    licence="Apache-2.0",
    model="h94/IP-Adapter",
    get="hf download h94/IP-Adapter models/ip-adapter_sd15.safetensors --local-dir ip-adapter, "
    "then --adapter-model ip-adapter/models/ip-adapter_sd15.safetensors",
    size="45 MB; 0.7 GB of SDXL",
    packages=("torch", "diffusers", "transformers"),
)
FILE = "models/ip-adapter_sd15.safetensors"


def load(spec: ModelSpec) -> Adapter:
    """Read the file ``spec.model``, else that of SD 1.5 in the hub's cache.

    Raises:
        ModelMissing: it is not here. UsageError: it is another kind of file.
    """
    return Adapter(spec, INFO, FILE, "ip-adapter")
