"""PhotoMaker: pictures of a person in the place of the word that names them."""

from __future__ import annotations

from socialcli.backends import BackendInfo, ModelSpec
from socialcli.backends.adapter._file import Adapter

INFO = BackendInfo(
    summary="PhotoMaker v1 and v2 of SDXL: pictures of a person in place of the word before 'img'",
    licence="Apache-2.0 (v2: with a face pack for non-commercial research)",
    model="TencentARC/PhotoMaker",
    get="hf download TencentARC/PhotoMaker photomaker-v1.bin --local-dir photomaker, "
    "then --adapter-model photomaker/photomaker-v1.bin",
    size="0.9 to 1.8 GB",
    packages=("torch", "diffusers", "transformers"),
)
FILE = "photomaker-v1.bin"


def load(spec: ModelSpec) -> Adapter:
    """Read the file ``spec.model``, else v1 in the hub's cache.

    Raises:
        ModelMissing: it is not here. UsageError: it is another kind of file.
    """
    return Adapter(spec, INFO, FILE, "photomaker")
