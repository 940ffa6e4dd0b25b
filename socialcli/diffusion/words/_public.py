"""Words in the files that the public code of NeTI, ProSpect and P+ writes.

What these files hold besides tensors are pickled objects of foreign classes. None of these is made:
`networks.weights.objects` gives their state as it lies there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from socialcli.errors import UsageError
from socialcli.networks import weights

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.diffusion.words import Word

_LAYER = re.compile(r"(.+)-(\d+)")


def read(file: Path) -> list[tuple[Word, str]] | None:
    """(word, ordinary word for it or "") of each word; None: none of these layouts.

    Raises:
        UsageError: it looks like one of them and is not; one line.
    """
    if file.suffix == ".safetensors":
        content: Any = weights.load(file)[0]
    else:
        content = weights.objects(file)
    if not isinstance(content, Mapping):
        return None
    try:
        if {"state_dict", "cfg", "encoder"} <= set(content):
            return [_neti(content)]
        if {"attention", "initial_embeddings"} <= set(content):
            return [_prospect(file, content)]
        return _p_plus(content)
    except (
        KeyError, ValueError, TypeError, AttributeError, RuntimeError, IndexError, ArithmeticError
    ) as error:  # fmt: skip
        line = " ".join(str(error).split())[:160]
        raise UsageError(f"{file}: no word of the public code ({line})") from None


def _neti(content: Mapping[str, Any]) -> tuple[Word, str]:
    """``mapper-steps-N.pt``: weights, options, and the encoder of positions as an object."""
    from socialcli.diffusion.words import neti

    config: Any = content["cfg"]
    model, data = config["model"], config["data"]
    state = {n: t.float() for n, t in content["state_dict"].items() if not n.startswith("net.0.")}
    state = {n: t for n, t in state.items() if not n.startswith("encoder.")}
    positional = bool(model["use_positional_encoding"])
    anchors = int(model["num_pe_time_anchors"])
    layers = len(state["input_layer.weight"]) // anchors if positional else neti.LAYERS
    if positional:
        state["w"] = _tensor(content["encoder"], "w").float()
    norm = model["target_norm"] if model.get("normalize_mapper_output", True) else None
    mapper = neti.mapper(state, layers, None if norm is None else float(norm), positional)
    bypass = neti.BYPASS if model["output_bypass"] else 0.0
    return (
        neti.NetiWord(str(data["placeholder_token"]), mapper, bypass),
        str(data.get("super_category_token") or ""),
    )


def _prospect(file: Path, content: Mapping[str, Any]) -> tuple[Word, str]:
    """The block as an object, and the embedding that it is fed with. The file names no token: it is
    that of the file's name."""
    from socialcli.diffusion.words.staged import StagedWord
    from socialcli.networks.stage_tokens import StageTokens

    state = {
        name: tensor.float() for name, tensor in weights.state_of(content["attention"]).items()
    }
    initial = content["initial_embeddings"].detach().float().reshape(-1)
    block = StageTokens(len(initial), len(state["ff.net.2.weight"]) // len(initial)).eval()
    block.load_state_dict(state)
    with torch.no_grad():
        vectors = block(initial, initial)
    return StagedWord(f"<{file.stem}>", vectors[:, None, None], "clean-first"), ""


def _p_plus(content: Mapping[str, Any]) -> list[tuple[Word, str]] | None:
    """``{"<x>-0": (D,), "<x>-1": ...}``, one a layer."""
    from socialcli.diffusion.words.p_plus import PPlusWord

    layers: dict[str, dict[int, Tensor]] = {}
    for name, value in content.items():
        match = _LAYER.fullmatch(str(name))
        if match is None or not torch.is_tensor(value) or not value.is_floating_point():
            return None
        layers.setdefault(match[1], {})[int(match[2])] = torch.atleast_2d(value.detach().float())
    if not layers or any(sorted(some) != list(range(len(some))) for some in layers.values()):
        return None
    if any(len(some) < 2 for some in layers.values()):
        return None
    return [
        (PPlusWord(token, torch.stack([some[n] for n in range(len(some))])), "")
        for token, some in layers.items()
    ]


def _tensor(holder: Any, name: str) -> Tensor:
    """A tensor among an object's parameters, buffers or attributes."""
    state = vars(holder)
    places = (state.get("_parameters") or {}, state.get("_buffers") or {}, state)
    return next(place[name].detach() for place in places if torch.is_tensor(place.get(name)))
