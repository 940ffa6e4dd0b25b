"""What is learnt in the layouts that other programs read, as far as these can say it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from socialcli import shards
from socialcli.diffusion import embeddings, tokens

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.diffusion.words import Word

P_PLUS = "learned_embeds.bin"


def write_for_others(
    folder: Path, words: Sequence[Word], initial: Mapping[str, str], metadata: Mapping[str, str],
    widths: Sequence[int] = (),
) -> None:  # fmt: skip
    """What other programs read.

    ``a1111/NAME.safetensors`` is each constant word in the layout of AUTOMATIC1111's web UI;
    with several of them ``tokens/NAME.safetensors`` is each in that of diffusers, which takes one
    at a time. Of a word that differs by layer (P+) each layer's vectors are a word of their own,
    ``<x>-3``, and ``learned_embeds.bin`` is the layout of prompt-plus-pytorch.

    Constant words for the two text encoders of Stable Diffusion XL are ``tokens/NAME.safetensors``
    each, which has ``clip_l`` and ``clip_g``, for all of these programs.

    Args:
        widths: of the vectors of the model's text encoders.
    """
    import torch

    from socialcli.diffusion.words.p_plus import PPlusWord

    if len(widths) > 1:
        _write_pairs(folder, words, initial, metadata, widths)
        return
    layered = {word.token: word.layers.detach() for word in words if isinstance(word, PPlusWord)}
    rows = {
        f"{token}-{n}": vectors.float().cpu().clone()
        for token, layers in layered.items()
        for n, vectors in enumerate(layers)
    }
    started = {name: initial.get(name.rpartition("-")[0], "") for name in rows}
    for name, vectors in rows.items():
        file = "{}-{}.safetensors".format(*map(_stem, name.rsplit("-", 1)))
        one = {name: vectors}
        _write(folder / "a1111" / file, "emb_params", vectors, one, started, metadata)
        _write(folder / "tokens" / file, name, vectors, one, started, metadata)
    if len(layered) == 1 and all(len(vectors) == 1 for vectors in rows.values()):
        torch.save({name: vectors[0] for name, vectors in rows.items()}, folder / P_PLUS)
    constant = {word.token: word.vectors([()])[0] for word in words if word.CONSTANT}
    for token, vectors in constant.items():
        name = _stem(token)
        _write(folder / "a1111" / f"{name}.safetensors", "emb_params", vectors, constant, initial,
               metadata)  # fmt: skip
        if len(constant) > 1:
            _write(folder / "tokens" / f"{name}.safetensors", token, vectors, constant, initial,
                   metadata)  # fmt: skip


def _write_pairs(
    folder: Path, words: Sequence[Word], initial: Mapping[str, str], metadata: Mapping[str, str],
    widths: Sequence[int],
) -> None:  # fmt: skip
    for word in words:
        if word.CONSTANT:
            sides = word.vectors([()])[0].detach().float().cpu().split(list(widths), dim=-1)
            tensors = dict(zip(embeddings.XL, (s.contiguous().clone() for s in sides), strict=True))
            file = folder / "tokens" / f"{_stem(word.token)}.safetensors"
            _write_tensors(file, tensors, {word.token: initial.get(word.token, "")}, metadata)


def _stem(token: str) -> str:
    """What the files of a token are called: a concept's name may be longer than a file's."""
    return shards.file_stem(tokens.file_name(token))


def _write(
    file: Path,
    name: str,
    vectors: Tensor,
    tokens: Mapping[str, Tensor],
    initial: Mapping[str, str],
    metadata: Mapping[str, str],
) -> None:
    """One tensor, under a header that names the tokens' initial words."""
    kept = vectors.detach().float().cpu().clone().contiguous()
    _write_tensors(file, {name: kept}, {t: initial.get(t, "") for t in tokens}, metadata)


def _write_tensors(
    file: Path, tensors: Mapping[str, Tensor], started: Mapping[str, str],
    metadata: Mapping[str, str],
) -> None:  # fmt: skip
    from socialcli.networks import weights

    file.parent.mkdir(exist_ok=True)
    header = {**metadata, "initial_words": json.dumps(dict(started), ensure_ascii=False)}
    if metadata.get("socialcli.method") != "textual-inversion":
        header[embeddings.CONSTANT] = "true"
    weights.write(file, tensors, header)
