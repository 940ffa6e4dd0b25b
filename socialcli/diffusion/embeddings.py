"""Learnt pseudo-words out of the files that trainers write, nothing unpickled.

``{token: vectors}`` is what `socialcli invert` and diffusers write, ``{"emb_params": vectors}``
what AUTOMATIC1111's web UI and its relatives write as safetensors, and ``{"string_to_param":
{"*": vectors}, "name": ...}`` the older .pt. Embeddings for the two text encoders of Stable
Diffusion XL are ``{"clip_l": vectors, "clip_g": vectors}``, or a second file
``learned_embeds_2`` beside the first; their vectors are put side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.errors import ModelMissing, UsageError

if TYPE_CHECKING:
    from torch import Tensor

CONSTANT = "socialcli.constant"  # a header's note: the vectors are the same everywhere
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
_A1111 = "emb_params"
XL = ("clip_l", "clip_g")  # the first text encoder's, the second's


@dataclass
class Learned:
    """One pseudo-word: its token, (N, D) float32 vectors, an ordinary word for it or "", and the
    method it was learnt by, "" where the file does not say."""

    token: str
    vectors: Tensor
    plain: str = ""
    method: str = ""


def split(given: str) -> tuple[str, str | None]:
    """``FILE`` or ``FILE:TOKEN`` in two."""
    if Path(given).expanduser().is_file():
        return given, None
    file, colon, token = given.rpartition(":")
    return (file, token) if colon and token and file else (given, None)


def read(given: str) -> list[Learned]:
    """The pseudo-words of ``FILE`` or ``FILE:TOKEN``.

    Raises:
        ModelMissing: no such file. UsageError: it holds no embeddings, or several where one token
            is to name them.
    """
    name, token = split(given)
    file = Path(name).expanduser()
    if file.is_dir():
        inside = [p for s in SUFFIXES for p in sorted(file.glob(f"learned_embeds*{s}"))]
        if not inside:
            raise UsageError(f"{name}: no learned_embeds file in this folder")
        file = inside[0]
    if not file.is_file():
        raise ModelMissing(f"no embedding at '{name}'. `socialcli invert` makes one")
    state, notes = _state(file)
    words = _words(file, state, notes)
    second = file.with_name(f"{file.stem}_2{file.suffix}")
    if file.stem == "learned_embeds" and second.is_file():
        words = _beside(words, _words(second, *_state(second)), second)
    if token is not None:
        if len(words) > 1 and token in words:
            words = {token: words[token]}
        elif len(words) == 1:
            words = {token: next(iter(words.values()))}
        else:
            raise UsageError(f"{file}: it holds {', '.join(words)}; there is no {token}")
    plain = _plain(notes)
    if len(words) == len(plain) == 1:  # it may have been renamed, by its file or by hand
        plain = dict.fromkeys(words, *plain.values())
    method = notes.get("socialcli.method", "")
    if notes.get(CONSTANT):  # of another method, in the layout that means constant vectors
        method = "textual-inversion"
    return [Learned(t, _vectors(file, t, v), plain.get(t, ""), method) for t, v in words.items()]


def _state(file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What the file holds, and its header's notes."""

    from socialcli.networks import weights

    if file.suffix not in SUFFIXES:
        raise UsageError(f"{file}: expected an embedding as {', '.join(SUFFIXES)}")
    if file.suffix == ".safetensors":
        return weights.load(file)
    state = weights.plain(file, "a learnt embedding")
    if not isinstance(state, dict):
        raise UsageError(f"{file}: not a learnt embedding")
    return state, {}


def _words(file: Path, state: dict[str, Any], notes: dict[str, str]) -> dict[str, Any]:
    """Token -> vectors, whichever layout it is."""
    import torch

    if "clip_l" in state or "clip_g" in state:
        if set(state) != set(XL):
            raise UsageError(
                f"{file}: an embedding for Stable Diffusion XL has {' and '.join(XL)}, this one "
                f"{', '.join(map(str, state))}"
            )
        named = list(_plain(notes))
        token = named[0] if len(named) == 1 else file.stem
        first, second = ({token: state[name]} for name in XL)
        return _beside(first, second, file)
    if isinstance(state.get("string_to_param"), dict):
        vectors = next(iter(state["string_to_param"].values()), None)
        return {str(state.get("name") or file.stem): vectors}
    if set(state) == {_A1111}:
        return {file.stem: state[_A1111]}
    by_name = {str(name): value for name, value in state.items() if torch.is_tensor(value)}
    if not by_name or len(by_name) != len(state):
        raise UsageError(f"{file}: not a learnt embedding ({', '.join(map(str, state))[:80]})")
    return by_name


def _beside(first: dict[str, Any], second: dict[str, Any], file: Path) -> dict[str, Any]:
    """The vectors of the same words for a second text encoder beside those for the first."""
    import torch

    if set(first) != set(second):
        raise UsageError(f"{file}: holds {', '.join(second)}, and the first {', '.join(first)}")
    both: dict[str, Any] = {}
    for token, vectors in first.items():
        sides = [_vectors(file, token, one) for one in (vectors, second[token])]
        if len(sides[0]) != len(sides[1]):
            raise UsageError(
                f"{file}: '{token}' has {len(sides[0])} vectors for one encoder and "
                f"{len(sides[1])} for the other"
            )
        both[token] = torch.cat(sides, dim=-1)
    return both


def _vectors(file: Path, token: str, value: Any) -> Tensor:
    import torch

    if not torch.is_tensor(value) or value.ndim not in (1, 2) or not value.is_floating_point():
        raise UsageError(f"{file}: '{token}' is no vector or list of vectors")
    vectors = value.detach().float().reshape(-1, value.shape[-1])
    if not torch.isfinite(vectors).all():
        raise UsageError(f"{file}: '{token}' has values that are not finite")
    return vectors


def _plain(notes: dict[str, str]) -> dict[str, str]:
    """Token -> its initial word, where the header says so (`socialcli invert` writes it)."""
    from socialcli.networks import weights

    words = weights.stated(notes, "initial_words")
    return {str(k): str(v) for k, v in words.items()} if isinstance(words, dict) else {}
