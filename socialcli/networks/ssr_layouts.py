"""SSR-Encoder's files: the official pair, in both of its namings, and the same as safetensors.

Two files side by side. The aligner's holds ``aligner.to_q``, ``aligner.to_k``,
``aligner.processor.to_v.N``, ``aligner.processor.to_out.N`` and ``norm``; older ones call the first
word otherwise. The layers' holds ``N.to_k_SSR`` and ``N.to_v_SSR`` (older: ``to_k_SC``), N being
the place among all of the UNet's attention processors. Sizes are read off the tensors; of the
heads nothing can be, so they stand in the header of our own files and are 64 wide elsewhere. Which
vision tower an encoder was trained with stands there too, as a `fingerprint`: another tower of the
same shape would give features that mean nothing to it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from socialcli.errors import ModelMissing, UsageError
from socialcli.networks import weights
from socialcli.networks.ssr_encoder import SSREncoder

FILES = ("model.safetensors", "model_1.safetensors")  # what we write, as accelerate names them
PAIRS = (FILES, ("pytorch_model.bin", "pytorch_model_1.bin"),
         ("pytorch_model.safetensors", "pytorch_model_1.safetensors"))  # fmt: skip
HEAD = 64  # channels of one of the aligner's heads in the official weights
WHAT = "SSR-Encoder"
NOTE = "vision_tower"  # the fingerprint's name in the header

_ALIGNER = re.compile(r"(?:module\.)?[^.]+\.(to_[qk]|processor\.to_(?:v|out)\.\d+)\.weight")
_NORM = re.compile(r"(?:module\.)?norm\.(weight|bias)")
_LAYER = re.compile(r"(?:module\.)?(\d+)\.(to_[kv])_(?:SSR|SC)\.weight")


def load(source: str | Path | Sequence[str | Path], get: str = "") -> SSREncoder:
    """An encoder from its two files, on the CPU in float32, eval mode.

    Args:
        source: the folder they lie in, or the two files in either order.
        get: the command that gets them, for the message where they are missing.

    Raises:
        ModelMissing: no such files. UsageError: not SSR-Encoder's, or sizes that do not agree.
    """
    files = _files(source, get)
    state: dict[str, Tensor] = {}
    notes: dict[str, str] = {}
    for file in files:
        state |= weights.read(file, WHAT, get)
        notes |= read_metadata(file)
    named = str(files[0].parent) if files[0].parent == files[1].parent else str(files[0])
    own, places = _own_names(state, named)
    text_dim = own["aligner.norm.weight"].shape[0]
    inner, image_dim = own["aligner.to_k.weight"].shape
    scales = sum(name.startswith("aligner.to_v.") for name in own)
    heads = int(notes.get("heads", max(1, inner // HEAD)))
    hidden = [own[f"layers.{i}.to_k_SSR.weight"].shape[0] for i in range(len(places))]
    with torch.device("meta"):
        encoder = SSREncoder(text_dim, image_dim, inner, hidden, places, scales, heads)
    weights.fill(encoder, own, named, WHAT)
    encoder.seen_through = notes.get(NOTE, "")
    return encoder


def fingerprint(vision: nn.Module) -> str:
    """What tells a CLIP vision tower from another: 16 hexadecimal digits.

    Of its parameters' shapes and values as float16, its heads and its activation; not of the
    tensors' names or order, which differ between files of the same tower. Rounding to float16
    forgives files in half precision, so give it a tower in float32 or float16, not in bfloat16.
    """
    config: Any = vision.config
    parts = [f"{config.num_attention_heads} {config.hidden_act}".encode()]
    for tensor in vision.parameters():
        values = tensor.detach().to("cpu", torch.float16).contiguous().flatten()
        digest = hashlib.sha256(repr(tuple(tensor.shape)).encode())
        digest.update(values.view(torch.uint8).numpy().data)
        parts.append(digest.digest())
    return hashlib.sha256(b"".join(sorted(parts))).hexdigest()[:16]


def save(
    encoder: SSREncoder,
    folder: str | Path,
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write the two files in the official layout as safetensors, ``metadata`` in both headers,
    and with it the fingerprint of the encoder's vision tower where it is known.

    Args:
        dtype: of the tensors in the files; None keeps the encoder's.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    for name, tensor in encoder.state_dict().items():
        head, rest = name.split(".", 1)
        if head == "layers":
            number, rest = rest.split(".", 1)
            part, name = parts[1], f"{encoder.places[int(number)]}.{rest}"
        elif rest.startswith("norm."):
            part, name = parts[0], rest
        else:
            middle = "" if rest.startswith(("to_q", "to_k")) else "processor."
            part, name = parts[0], f"aligner.{middle}{rest}"
        # A copy: tensors of one file must not share storage.
        part[name] = tensor.detach().to("cpu", dtype or tensor.dtype, copy=True).contiguous()
    notes = {"format": "pt", **(metadata or {}), "heads": str(encoder.aligner.heads)}
    if encoder.seen_through:
        notes[NOTE] = encoder.seen_through
    for file, part in zip(FILES, parts, strict=True):
        temporary = folder / f".{file}.new"
        weights.write(temporary, part, notes)
        temporary.replace(folder / file)


def read_metadata(file: str | Path) -> dict[str, str]:
    """The header's notes of a safetensors file; of others there are none."""
    return weights.notes(file)


def _files(source: str | Path | Sequence[str | Path], get: str) -> tuple[Path, Path]:
    mend = f". Get them with: {get}" if get else ""
    if not isinstance(source, (str, Path)):
        if len(source) != 2:
            raise UsageError(f"SSR-Encoder's weights are two files, not {len(source)}")
        return Path(source[0]).expanduser(), Path(source[1]).expanduser()
    folder = Path(source).expanduser()
    for pair in PAIRS:
        if all((folder / name).is_file() for name in pair):
            return folder / pair[0], folder / pair[1]
    raise ModelMissing(
        f"no SSR-Encoder in '{source}': it takes {' and '.join(PAIRS[1])}, or {' and '.join(FILES)}"
        + mend
    )


def _own_names(state: Mapping[str, Tensor], named: str) -> tuple[dict[str, Tensor], list[int]]:
    """The tensors under this project's names, and the places of the layers."""
    own: dict[str, Tensor] = {}
    layers: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if match := _LAYER.fullmatch(name):
            layers.setdefault(int(match[1]), {})[f"{match[2]}_SSR.weight"] = tensor
        elif match := _NORM.fullmatch(name):
            own[f"aligner.norm.{match[1]}"] = tensor
        elif match := _ALIGNER.fullmatch(name):
            own[f"aligner.{match[1].removeprefix('processor.')}.weight"] = tensor
        else:
            raise UsageError(f"{named}: not SSR-Encoder weights (there is a tensor '{name}')")
    places = sorted(layers)
    own |= {f"layers.{i}.{k}": v for i, p in enumerate(places) for k, v in layers[p].items()}
    wanted = ["aligner.to_q.weight", "aligner.to_k.weight", "aligner.norm.weight",
              "aligner.to_v.0.weight", "layers.0.to_k_SSR.weight"]  # fmt: skip
    missing = [name for name in wanted if name not in own]
    missing += [f"{p}.to_k_SSR" for p in places if "to_k_SSR.weight" not in layers[p]]
    if missing:
        raise UsageError(f"{named}: not SSR-Encoder weights ({missing[0]} is missing)")
    return own, places
