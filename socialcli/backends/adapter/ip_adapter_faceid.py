"""IP-Adapter FaceID: a person's face embedding beside the text."""

from __future__ import annotations

from socialcli.backends import BackendInfo, ModelSpec
from socialcli.backends.adapter._file import Adapter

INFO = BackendInfo(
    summary="IP-Adapter FaceID, Portrait, Plus and PlusV2 of SD 1.5 and SDXL (--method ip-adapter)",
    licence="non-commercial research only",
    model="h94/IP-Adapter-FaceID",
    get="hf download h94/IP-Adapter-FaceID ip-adapter-faceid-plusv2_sd15.bin --local-dir faceid, "
    "then --adapter-model faceid/ip-adapter-faceid-plusv2_sd15.bin",
    size="0.1 to 1.5 GB",
    packages=("torch", "diffusers", "transformers"),
)
FILE = "ip-adapter-faceid-plusv2_sd15.bin"


def load(spec: ModelSpec) -> Adapter:
    """Read the file ``spec.model``, else FaceID PlusV2 of SD 1.5 in the hub's cache.

    Raises:
        ModelMissing: it is not here. UsageError: it is another kind of file.
    """
    return Adapter(spec, INFO, FILE, "ip-adapter")
