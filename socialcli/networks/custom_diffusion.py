"""Custom Diffusion: other cross-attention weights and a new word, in the two public layouts.

Kumari et al., Multi-Concept Customization of Text-to-Image Diffusion (arXiv 2212.04488). Keys and
values of every cross-attention (or all its projections) are replaced, and each concept has a
token. The layouts:

``delta.bin`` (of the authors): ``{"unet": {PARAMETER: tensor}, "modifier_token": {TOKEN:
vector}}``. A parameter may be compressed, ``{"u": (out, r), "v": (r, in)}`` of the difference to
the model's. Their older files hold ``{"state_dict": ...}`` under CompVis' names, with ``embed`` for
the tokens.

``pytorch_custom_diffusion_weights.bin`` (of diffusers):
``LAYER.processor.to_k_custom_diffusion.weight``, tokens beside it as ``TOKEN.safetensors`` or
``.bin``. A processor without weights stands there as an empty dict.

Read here by their keys. diffusers' own loader leaves the UNet as it was unless it is given a
pipeline, and says nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from socialcli.errors import ModelMissing, UsageError
from socialcli.networks import weights

DELTA = "delta.bin"
WEIGHTS = "pytorch_custom_diffusion_weights"
KEYS_AND_VALUES = ("to_k", "to_v")
ALL = ("to_q", "to_k", "to_v", "to_out.0")
_PROCESSOR = re.compile(r"(.+)\.processor\.(to_[kvq]|to_out)_custom_diffusion\.(.+)")
_COMPVIS = "model.diffusion_model."


@dataclass
class Customized:
    """What a file holds.

    Attributes:
        weights: parameter of the UNet -> its new value, float32.
        tokens: word as prompts write it -> (D,) embedding.
        notes: header of a token's file: "subjects" says what each is, where it is known.
    """

    weights: dict[str, Tensor]
    tokens: dict[str, Tensor] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def layers(unet: nn.Module, names: tuple[str, ...] = KEYS_AND_VALUES) -> dict[str, nn.Module]:
    """Path -> layer of these projections of every cross-attention."""
    ends = tuple(f".attn2.{name}" for name in names)
    return {p: m for p, m in unet.named_modules() if p.endswith(ends)}


def apply(unet: nn.Module, changed: Mapping[str, Tensor]) -> None:
    """Give the UNet these weights."""
    with torch.no_grad():
        for name, value in changed.items():
            unet.get_parameter(name).copy_(value)


def read(given: str, unet: nn.Module) -> Customized:
    """A file of either layout, or a folder with one.

    Args:
        unet: of the model, whose weights a compressed file changes.

    Raises:
        ModelMissing: there is none. UsageError: it holds something else, or is for another model.
    """
    file = find(given)
    try:
        return _read(given, file, unet)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError, IndexError) as error:
        line = " ".join(str(error).split())[:160]
        raise UsageError(f"{given}: no weights of Custom Diffusion ({line})") from None


def _read(given: str, file: Path, unet: nn.Module) -> Customized:
    state = _load(file)
    if "unet" in state:
        named = _dict(state["unet"])
        tokens = {str(t): v for t, v in _dict(state.get("modifier_token")).items()}
        customized = Customized(named, tokens)
    elif "state_dict" in state:
        inside = dict(_dict(state["state_dict"]))
        rows = inside.pop("embed", None)
        numbered = {f"<new{n + 1}>": row for n, row in enumerate(rows if rows is not None else [])}
        customized = Customized(_from_compvis(file, inside, unet), numbered)
    else:
        customized = Customized(_from_processors(file, state))
        customized.tokens, customized.notes = _tokens_beside(file)
    if file.name == DELTA:
        customized.notes = customized.notes or _tokens_beside(file)[1]
    customized.weights = {n: _weight(file, n, v, unet) for n, v in customized.weights.items()}
    customized.tokens = {t: _vector(file, t, v) for t, v in customized.tokens.items()}
    if not customized.weights:
        raise UsageError(f"{given}: no weights of Custom Diffusion in it")
    return customized


def find(given: str) -> Path:
    """The file, or the one in a folder.

    Raises:
        ModelMissing: there is none.
    """
    place = Path(given).expanduser()
    if place.is_dir():
        names = (DELTA, f"{WEIGHTS}.bin", f"{WEIGHTS}.safetensors")
        place = next((place / n for n in names if (place / n).is_file()), place)
    if not place.is_file():
        raise ModelMissing(
            f"no Custom Diffusion weights at '{given}'. `socialcli train --method "
            "custom-diffusion` makes them"
        )
    return place


def _load(file: Path) -> dict[str, Any]:
    if file.suffix == ".safetensors":
        return dict(weights.load(file)[0])
    return _dict(weights.plain(file, "Custom Diffusion weights"))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _from_processors(file: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by name, of diffusers' keys."""
    named = {}
    for key, value in state.items():
        match = _PROCESSOR.fullmatch(key)
        if match:
            named[f"{match[1]}.{match[2]}.{match[3]}"] = value
        elif not isinstance(value, dict) or value:  # an empty one: a processor without weights
            raise UsageError(f"{file}: '{key}' is no weight of Custom Diffusion")
    return named


def _from_compvis(file: Path, state: Mapping[str, Any], unet: nn.Module) -> dict[str, Any]:
    """Parameters by diffusers' names. Blocks come in one order under both."""

    def order(name: str) -> tuple[Any, ...]:
        parts = name.removeprefix(_COMPVIS).split(".")
        first = ("input_blocks", "middle_block", "output_blocks").index(parts[0])
        return (first, *(int(p) for p in parts if p.isdigit()))

    ends = (".attn2.to_k.weight", ".attn2.to_v.weight", ".attn2.to_q.weight",
            ".attn2.to_out.0.weight", ".attn2.to_out.0.bias")  # fmt: skip
    ranks = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
    named: dict[str, Any] = {}
    for end in ends:
        compvis_names = [n for n in state if n.startswith(_COMPVIS) and n.endswith(end)]
        own_names = [n for n, _ in unet.named_parameters() if n.endswith(end)]
        own_names.sort(key=lambda n: (ranks[n.split(".")[0]], *(int(p) for p in n.split(".")
                                                           if p.isdigit())))  # fmt: skip
        if compvis_names and len(compvis_names) != len(own_names):
            raise UsageError(
                f"{file}: {len(compvis_names)} layers, this model has {len(own_names)}"
            )
        named.update(
            zip(own_names, (state[n] for n in sorted(compvis_names, key=order)), strict=False)
        )
    return named


def _weight(file: Path, name: str, value: Any, unet: nn.Module) -> Tensor:
    try:
        own = unet.get_parameter(name)
    except AttributeError:
        raise UsageError(f"{file}: this model has no '{name}'; it is for another") from None
    if isinstance(value, dict) and set(value) == {"u", "v"}:
        change = value["u"].float() @ value["v"].float()
        value = own.detach().float().cpu() + change if change.shape == own.shape else change
    if not torch.is_tensor(value) or value.shape != own.shape:
        shape = tuple(value.shape) if torch.is_tensor(value) else type(value).__name__
        raise UsageError(f"{file}: {name} is {shape}, this model's is {tuple(own.shape)}")
    if not torch.isfinite(value).all():
        raise UsageError(f"{file}: {name} has values that are not finite")
    return value.detach().float().cpu()


def _vector(file: Path, token: str, value: Any) -> Tensor:
    if not torch.is_tensor(value) or not torch.isfinite(value).all():
        raise UsageError(f"{file}: '{token}' is no vector")
    return value.detach().float().cpu().reshape(-1)


def _tokens_beside(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tokens in a folder, one a file, and the notes of the first that has some."""
    tokens: dict[str, Tensor] = {}
    notes: dict[str, str] = {}
    for one in sorted(file.parent.glob("<*>.*")):
        if one.suffix not in (".safetensors", ".bin"):
            continue
        tokens.update({t: v for t, v in _load(one).items() if torch.is_tensor(v)})
        if one.suffix == ".safetensors" and not notes:
            notes = weights.notes(one)
    return tokens, notes


def write(
    folder: Path, unet: nn.Module, changed: Mapping[str, Tensor], tokens: Mapping[str, Tensor],
    notes: Mapping[str, str],
) -> None:  # fmt: skip
    """Both layouts, in one folder.

    Args:
        changed: parameter -> value. tokens: word -> (D,). notes: into the tokens' headers; a
            ``.bin`` has none.
    """
    kept = {n: v.detach().float().cpu().clone() for n, v in changed.items()}
    vectors = {t: v.detach().float().cpu().clone() for t, v in tokens.items()}
    torch.save({"unet": kept, "modifier_token": vectors}, folder / DELTA)
    flat: dict[str, Any] = {}
    for name, value in kept.items():
        layer, _, rest = name.partition(".attn2.")
        part, end = rest.rsplit(".", 1)
        part, _, number = part.partition(".")
        end = f"{number}.{end}" if number else end
        flat[f"{layer}.attn2.processor.{part}_custom_diffusion.{end}"] = value
    processors: Any = getattr(unet, "attn_processors")  # noqa: B009
    with_weights = {key.partition(".processor.")[0] for key in flat}
    for name in processors:  # their loader counts them
        if name.removesuffix(".processor") not in with_weights:
            flat[name] = {}
    torch.save(flat, folder / f"{WEIGHTS}.bin")
    for token, vector in vectors.items():
        weights.write(folder / f"{token}.safetensors", {token: vector}, notes)


def classes(notes: Mapping[str, str]) -> dict[str, str]:
    """Token -> its class, where a file's notes say so."""
    try:
        subjects = json.loads(notes.get("subjects", "[]"))
        return {str(s["identifier"]): str(s["class"]) for s in subjects}
    except (ValueError, TypeError, KeyError):
        return {}


def merge(weight: Tensor, inputs: Tensor, targets: Tensor, values: Tensor) -> Tensor:
    """One projection that does for each concept's words what that concept's own does, and changes
    as little as it can for all other texts: the closed form of the paper's section 3.2.

    Minimises ||W' C - W C|| under W' t = v for each pair of target and value.

    Args:
        weight: (out, D), the model's. inputs: (N, D) text states C of ordinary texts, N >= D.
        targets: (M, D) text states t of the concepts' words, M < D, none twice.
        values: (M, out), what each concept's own weights make of its states.

    Returns:
        (out, D) float64.
    """
    weight, inputs, targets, values = (t.double() for t in (weight, inputs, targets, values))
    gram = inputs.T @ inputs
    directions = torch.linalg.lstsq(gram, targets.T, driver="gelsd").solution.T  # (M, D)
    missing = values.T - weight @ targets.T  # (out, M)
    inner = directions @ targets.T
    return weight + torch.linalg.lstsq(inner.T, missing.T, driver="gelsd").solution.T @ directions
