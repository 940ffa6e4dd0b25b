"""Files of adapters that show a diffusion model pictures or faces: what each is, by its weights.

All have two parts. IP-Adapters and their relatives have ``image_proj``, which makes tokens of what
is shown, and ``ip_adapter``, keys and values of these tokens in each cross-attention, numbered in
the order of the UNet's attention layers. PhotoMaker has ``id_encoder`` and ``lora_weights``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from socialcli.errors import ModelMissing, UsageError
from socialcli.networks import weights

Parts = dict[str, dict[str, Tensor]]
EMBEDDING, STATES = "embedding", "states"  # what is read of CLIP's picture
UNIT, RAW = "unit", "raw"  # a face embedding of length 1, or as the recogniser gives it
FACE_WIDTH = 512  # of the embeddings of insightface's packs


@dataclass(frozen=True)
class Kind:
    """What an adapter is.

    Attributes:
        name: as records call it. label: as people do.
        clip: `EMBEDDING`, `STATES` (those before CLIP's last layer), "" where no picture is read.
        face: `UNIT`, `RAW`, or "" where no face embedding is read.
        method: of `generate` that draws with it.
    """

    name: str
    label: str
    clip: str = ""
    face: str = ""
    method: str = "ip-adapter"


PLAIN = Kind("ip-adapter", "IP-Adapter", clip=EMBEDDING)
PLUS = Kind("ip-adapter", "IP-Adapter Plus", clip=STATES)
FULL_FACE = Kind("ip-adapter", "IP-Adapter Full Face", clip=STATES)
FACEID = Kind("ip-adapter-faceid", "IP-Adapter FaceID", face=UNIT)
FACEID_PLUS = Kind("ip-adapter-faceid-plus", "IP-Adapter FaceID Plus", clip=STATES, face=UNIT)
INSTANTID = Kind("instantid", "InstantID", face=RAW, method="instantid")
PHOTOMAKER_1 = Kind("photomaker-v1", "PhotoMaker v1", clip=STATES, method="photomaker")
PHOTOMAKER_2 = Kind(
    "photomaker-v2", "PhotoMaker v2", clip=STATES, face=RAW, method="photomaker"
)  # fmt: skip
MIP = Kind("mip-adapter", "MIP-Adapter", clip=EMBEDDING, method="mip-adapter")
MIP_PLUS = Kind("mip-adapter-plus", "MIP-Adapter Plus", clip=STATES, method="mip-adapter")


def read(file: Path, get: str = "") -> Parts:
    """An adapter's two parts, nothing unpickled but tensors.

    Raises:
        ModelMissing: no such file. UsageError: it cannot be read, or is no such adapter.
    """
    if not file.is_file():
        mend = f". Get it with: {get}" if get else ""
        raise ModelMissing(f"no adapter at '{file}'{mend}")
    parts: Any = {}
    if file.suffix == ".safetensors":
        for name, tensor in weights.load(file)[0].items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
    else:
        parts = weights.plain(file, "plain weights")
    if kind_of(parts) is None:
        raise UsageError(
            f"{file}: not an IP-Adapter (its parts are image_proj and ip_adapter), nor a "
            "PhotoMaker (id_encoder and lora_weights)"
        )
    return {str(part): dict(tensors) for part, tensors in parts.items()}


def kind_of(parts: Any) -> Kind | None:
    """What the parts of a file are; None: no adapter that is known."""
    if not isinstance(parts, Mapping) or not all(
        isinstance(part, Mapping) and part for part in parts.values()
    ):
        return None
    if set(parts) == {"id_encoder", "lora_weights"}:
        second = any(name.startswith("qformer_perceiver.") for name in parts["id_encoder"])
        return PHOTOMAKER_2 if second else PHOTOMAKER_1
    if set(parts) != {"image_proj", "ip_adapter"}:
        return None
    projection, attention = parts["image_proj"], parts["ip_adapter"]
    kind = _projection(projection)
    if any("text_to_weight" in name for name in attention):
        return {PLAIN: MIP, PLUS: MIP_PLUS}.get(kind) if kind else None
    return kind


def _projection(weights: Mapping[str, Tensor]) -> Kind | None:
    if "proj.weight" in weights:
        return PLAIN
    if "proj.3.weight" in weights:
        return FULL_FACE
    if "perceiver_resampler.proj_in.weight" in weights:
        return FACEID_PLUS
    if "proj.2.weight" in weights and "norm.weight" in weights:
        return FACEID
    if "latents" in weights and "proj_in.weight" in weights:
        return INSTANTID if weights["proj_in.weight"].shape[1] == FACE_WIDTH else PLUS
    return None


def check(file: Path, parts: Parts, method: str) -> Kind:
    """The kind of a file that a method was given.

    Raises:
        UsageError: another method draws with it.
    """
    kind = kind_of(parts)
    assert kind is not None  # `read` refuses others
    if kind.method != method:
        reads = {"": "", UNIT: ", which reads face embeddings of length 1",
                 RAW: ", which reads raw face embeddings"}[kind.face]  # fmt: skip
        raise UsageError(f"{file}: {kind.label}{reads}: take --method {kind.method}")
    return kind


def second_version(file: Path, asked: str) -> bool:
    """Whether a FaceID Plus is version 2, which no weight tells: as asked, else by its name.

    Args:
        asked: "auto", "plus" or "plusv2".

    Raises:
        UsageError: it is to be told by a name that does not say it.
    """
    if asked != "auto":
        return asked == "plusv2"
    name = file.name.lower()
    if "plusv2" in name or "plus-v2" in name or "plus_v2" in name:
        return True
    if "plus" in name:
        return False
    raise UsageError(
        f"{file}: IP-Adapter FaceID Plus, and its name does not say which version: give "
        "--adapter-version plus or plusv2"
    )


def low_rank(parts: Parts, attentions: list[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """What FaceID adds to the UNet's own projections: path of a layer -> (down, up).

    Args:
        attentions: names of the UNet's attention processors, in their order.
    """
    pairs = {}
    for number, name in enumerate(attentions):
        for side in ("to_q", "to_k", "to_v", "to_out"):
            down = parts["ip_adapter"].get(f"{number}.{side}_lora.down.weight")
            up = parts["ip_adapter"].get(f"{number}.{side}_lora.up.weight")
            if down is not None and up is not None:
                layer = "to_out.0" if side == "to_out" else side
                pairs[f"{name.removesuffix('.processor')}.{layer}"] = (down, up)
    return pairs
