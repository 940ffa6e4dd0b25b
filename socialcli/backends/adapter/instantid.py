"""InstantID: a person from one picture, with a ControlNet of five face keypoints."""

from __future__ import annotations

from socialcli.backends import BackendInfo, ModelSpec
from socialcli.backends.adapter._file import Adapter

INFO = BackendInfo(
    summary="InstantID of SDXL: a raw face embedding and a ControlNet of five face keypoints",
    licence="Apache-2.0 (code); research only (weights, and the face pack)",
    model="InstantX/InstantID",
    get="hf download InstantX/InstantID --local-dir instantid, "
    "then --adapter-model instantid/ip-adapter.bin",
    size="4.2 GB",
    packages=("torch", "diffusers", "transformers"),
)
FILE = "ip-adapter.bin"


def load(spec: ModelSpec) -> Adapter:
    """Read the file ``spec.model``, else the one in the hub's cache.

    Raises:
        ModelMissing: it is not here. UsageError: it is another kind of file.
    """
    return Adapter(spec, INFO, FILE, "instantid")
