"""LoRA files in the two layouts in use, read and written.

diffusers: ``unet.PATH.lora.down.weight`` and ``text_encoder.PATH.lora_linear_layer.down.weight``
(or ``.lora_A.weight`` and ``.lora_B.weight``), alpha in the header under ``lora_adapter_metadata``.
Without that header alpha counts as the rank.

kohya: ``lora_unet_PATH.lora_down.weight``, ``.lora_up.weight`` and ``.alpha``, dots of the path
replaced by underscores; ``lora_te_text_model_...`` for the text encoder. AUTOMATIC1111's web UI,
ComfyUI and kohya's own tools read it, and so does diffusers. Of Stable Diffusion XL the encoders
are ``lora_te1_`` and ``lora_te2_``, and the UNet's layers have the names of its original code
(`sgm`).
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from socialcli.errors import ModelMissing, UsageError
from socialcli.networks import sgm, weights
from socialcli.networks.lora import TEXT, TEXT_2, TEXTS, UNET, LowRank, Place, adaptable

FILE = "pytorch_lora_weights.safetensors"  # as diffusers names it in a folder
HEADER = "lora_adapter_metadata"
_TEXT_MODEL = "text_model."  # what newer versions of transformers leave out of layers' paths
_SIDES = {
    ".lora.down.weight": "down", ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down", ".lora_linear_layer.up.weight": "up",
    ".lora_A.weight": "down", ".lora_B.weight": "up",
    ".lora_A.default.weight": "down", ".lora_B.default.weight": "up",
    ".lora_down.weight": "down", ".lora_up.weight": "up",
    ".down.weight": "down", ".up.weight": "up",  # the attention processors of older diffusers
    ".alpha": "alpha",
}  # fmt: skip
_OTHERS = {
    "dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", "hada_w1_a": "LoHa", "lokr_w1": "LoKr",
    "lora_mid": "LoCon with a Tucker core", "diff": "a full difference",
}  # fmt: skip


def split(given: str) -> tuple[str, float]:
    """``FILE`` or ``FILE:SCALE`` in two.

    Raises:
        UsageError: a scale that is no number.
    """
    if Path(given).expanduser().exists():
        return given, 1.0
    file, colon, scale = given.rpartition(":")
    if not colon or not file or "/" in scale:
        return given, 1.0
    with contextlib.suppress(ValueError):
        if math.isfinite(float(scale)):
            return file, float(scale)
    raise UsageError(f"--lora {given}: expected FILE or FILE:SCALE, as my.safetensors:0.8")


def find(given: str) -> Path:
    """The file of a LoRA: itself, or the one in a folder that a training has written.

    Raises:
        ModelMissing: there is none. UsageError: another kind of file.
    """
    file = Path(given).expanduser()
    if file.is_dir():
        file = file / FILE
    if not file.is_file():
        raise ModelMissing(
            f"no LoRA at '{given}'. `socialcli train --method dreambooth --adapter lora` makes one"
        )
    if file.suffix != ".safetensors":
        raise UsageError(f"{given}: expected a .safetensors file")
    return file


def read(
    given: str, networks: Mapping[str, nn.Module]
) -> tuple[dict[Place, LowRank], dict[str, str]]:
    """The adapters of a file, in either layout, and the notes of its header.

    Args:
        given: a file, or a folder with a `FILE`.
        networks: of `lora.networks_of`, which say what a path means.

    Raises:
        ModelMissing: no such file.
        UsageError: it is no LoRA, one of another kind, or one for another model.
    """
    file = find(given)
    tensors, notes = weights.load(file)
    return layers(given, tensors, notes, networks), notes


def layers(
    given: str,
    tensors: Mapping[str, Tensor],
    notes: dict[str, str],
    networks: Mapping[str, nn.Module],
) -> dict[Place, LowRank]:
    """The adapters that some tensors are, in either layout.

    Args:
        given: the file that they are from, for messages. notes: of its header.

    Raises:
        UsageError: see `read`.
    """
    known = {part: dict(adaptable(network)) for part, network in networks.items()}
    paths = {_kohya(part, path): (part, path) for part in known for path in known[part]}
    if TEXT_2 in known:
        originals = sgm.names(networks[UNET], known[UNET])
        paths |= {_kohya(UNET, name): (UNET, path) for path, name in originals.items()}
    sides: dict[Place, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        end = next((end for end in _SIDES if name.endswith(end)), None)
        other = next((what for part, what in _OTHERS.items() if name.endswith(part)
                      or f".{part}." in name), None)  # fmt: skip
        if other or end is None:
            what = other or f"'{name}'"
            raise UsageError(f"{given}: it holds {what}, which is not plain LoRA")
        place = _place(name.removesuffix(end), known, paths)
        if place is None:
            raise UsageError(
                f"{given}: '{name}' belongs to no layer of this model; it was trained for another"
            )
        sides.setdefault(place, {})[_SIDES[end]] = tensor
    if not sides:
        raise UsageError(f"{given}: an empty LoRA")
    stated = _stated(given, notes)
    return {
        place: _layer(given, place, named, known[place[0]][place[1]], stated)
        for place, named in sides.items()
    }


def _place(
    name: str, known: dict[str, dict[str, nn.Module]], flat: dict[str, Place]
) -> Place | None:
    """What a name without its end means: a network and a path in it."""
    if name.startswith("lora_te1_"):  # as tools for two encoders name the first
        name = "lora_te_" + name.removeprefix("lora_te1_")
    if name in flat:
        return flat[name]
    part, dot, path = name.partition(".")
    if not dot or part not in known:
        return None
    path = path.removeprefix("base_model.model.")
    # The processors of older diffusers: ...attn1.processor.to_q_lora
    path = re.sub(r"\.processor\.(to_[a-z]+)_lora$", r".\1", path)
    path = re.sub(r"\.to_out$", ".to_out.0", path)
    for spelling in (path, path.removeprefix(_TEXT_MODEL), _TEXT_MODEL + path):
        if spelling in known[part]:
            return part, spelling
    return None


def _layer(
    given: str, place: Place, tensors: dict[str, Tensor], layer: Any, stated: dict[str, Any]
) -> LowRank:
    """An adapter in the shape of its layer."""
    where = ".".join(place)
    if "down" not in tensors or "up" not in tensors:
        raise UsageError(f"{given}: half of {where} is missing")
    down, up = tensors["down"].float(), tensors["up"].float()
    shape = layer.weight.shape
    if min(down.ndim, up.ndim) < 2 or not len(down):
        raise UsageError(f"{given}: {where} is no adapter, but {tuple(down.shape)} numbers")
    if len(shape) == 2:
        down, up = down.flatten(1), up.flatten(1)
    elif down.ndim == 2:
        down, up = down[..., None, None], up[..., None, None]
    if down.shape[1:] != shape[1:] or len(up) != shape[0] or up.shape[1] != len(down):
        raise UsageError(
            f"{given}: {where} is {tuple(down.shape)} and {tuple(up.shape)}, this model's layer "
            f"{tuple(shape)}; it was trained for another"
        )
    if not (torch.isfinite(down).all() and torch.isfinite(up).all()):
        raise UsageError(f"{given}: {where} has values that are not finite")
    try:
        alpha = float(tensors["alpha"]) if "alpha" in tensors else _alpha(place, stated, len(down))
    except (ValueError, TypeError, AttributeError, RuntimeError, OverflowError):
        alpha = math.nan
    if not math.isfinite(alpha):
        raise UsageError(f"{given}: the alpha of {where} is no number")
    return LowRank(down, up, alpha)


def _stated(given: str, notes: dict[str, str]) -> dict[str, Any]:
    """What the header says of alphas, under names that begin with the network's."""
    stated = weights.stated(notes, HEADER)
    if HEADER in notes and not isinstance(stated, dict):
        raise UsageError(f"{given}: its header's {HEADER} is no JSON object")
    return stated or {}


def _alpha(place: Place, stated: dict[str, Any], rank: int) -> float:
    part, path = place
    patterns = stated.get(f"{part}.alpha_pattern") or {}
    # Names of layers, or their ends. They are no patterns here: one of a stranger may never end.
    own = [value for name, value in patterns.items() if f".{path}".endswith(f".{name}")]
    alpha = own[0] if own else stated.get(f"{part}.lora_alpha", rank)
    # Rank-stabilised LoRA multiplies by alpha / sqrt(rank).
    return float(alpha) * (rank**0.5 if stated.get(f"{part}.use_rslora") else 1.0)


_KOHYA = {TEXT: "te", TEXT_2: "te2"}


def _kohya(part: str, path: str) -> str:
    """A layer's name in kohya's layout."""
    if part in TEXTS and not path.startswith((_TEXT_MODEL, "text_projection")):
        path = _TEXT_MODEL + path
    return f"lora_{_KOHYA.get(part, part)}_{path.replace('.', '_')}"


def write(file: Path, layers: Mapping[Place, LowRank], notes: Mapping[str, str]) -> None:
    """The layout of diffusers, with every network's rank and alpha in the header.

    ``pipeline.load_lora_weights(folder)`` takes it. All layers of a network have one rank and one
    alpha.
    """
    tensors: dict[str, Tensor] = {}
    stated: dict[str, Any] = {}
    for (part, path), layer in layers.items():
        if part in TEXTS:
            long = path if path.startswith(_TEXT_MODEL) else _TEXT_MODEL + path
            name = f"{part}.{long}.lora_linear_layer"
        else:
            name = f"{part}.{path}.lora"
        tensors[f"{name}.down.weight"] = layer.down.contiguous()
        tensors[f"{name}.up.weight"] = layer.up.contiguous()
        stated |= {f"{part}.r": layer.rank, f"{part}.lora_alpha": layer.alpha}
        stated.setdefault(f"{part}.target_modules", []).append(path)
    text = json.dumps(stated, sort_keys=True)
    weights.write(file, tensors, {"format": "pt", **notes, HEADER: text})


def write_kohya(
    file: Path, layers: Mapping[Place, LowRank], notes: Mapping[str, str], unet: Any = None
) -> None:
    """The layout of kohya's tools, with the alpha that the layers have.

    Args:
        unet: of the model, which says whether it is Stable Diffusion XL.
    """
    tensors: dict[str, Tensor] = {}
    xl = unet is not None and sgm.is_xl(unet)
    originals = sgm.names(unet, [path for part, path in layers if part == UNET]) if xl else {}
    for (part, path), layer in layers.items():
        name = _kohya(part, originals.get(path, path) if part == UNET else path)
        if xl and part == TEXT:
            name = name.replace("lora_te_", "lora_te1_", 1)
        tensors[f"{name}.lora_down.weight"] = layer.down.contiguous()
        tensors[f"{name}.lora_up.weight"] = layer.up.contiguous()
        tensors[f"{name}.alpha"] = torch.tensor(layer.alpha)
    weights.write(file, tensors, {"format": "pt", **notes})


def kohya_notes(
    layers: Mapping[Place, LowRank], width: int, side: int, prediction_type: str, title: str,
    tags: Mapping[str, int], xl: bool = False,
) -> dict[str, str]:  # fmt: skip
    """What the tools that read this layout look for in its header.

    Args:
        width: of a text token; 768 of Stable Diffusion 1. side: of the pictures, pixels.
        tags: text -> on how many pictures it was trained with.
        xl: whether the model is Stable Diffusion XL.
    """
    first = next(iter(layers.values()))
    family = "v2" if width == 1024 else "v1"
    version, architecture = f"sd_{family}", f"stable-diffusion-{family}/lora"
    if xl:
        version, architecture = "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora"
    networks = {part for part, _ in layers}
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(first.rank),
        "ss_network_alpha": f"{first.alpha:g}",
        "ss_base_model_version": version,
        "ss_v2": str(family == "v2"),
        "ss_output_name": title,
        "ss_resolution": f"({side}, {side})",
        "ss_tag_frequency": json.dumps({"img": dict(tags)}, ensure_ascii=False),
        "ss_unet_only": str(networks == {UNET}),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": architecture,
        "modelspec.implementation": "diffusers",
        "modelspec.title": title,
        "modelspec.resolution": f"{side}x{side}",
        "modelspec.prediction_type": "v" if prediction_type == "v_prediction" else "epsilon",
    }
