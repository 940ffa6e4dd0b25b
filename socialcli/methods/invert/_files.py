"""What is learnt in the layouts that other programs read, as far as these can say it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from socialcli.diffusion import tokens

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.diffusion.words import Word


def write_for_others(
    folder: Path, words: Sequence[Word], initial: Mapping[str, str], metadata: Mapping[str, str]
) -> None:
    """``a1111/NAME.safetensors`` is each constant word in the layout of AUTOMATIC1111's web UI;
    with several of them ``tokens/NAME.safetensors`` is each in that of diffusers, which takes one
    at a time."""
    constant = {word.token: word.vectors([()])[0] for word in words if word.CONSTANT}
    for token, vectors in constant.items():
        name = tokens.file_name(token)
        _write(folder / "a1111" / f"{name}.safetensors", "emb_params", vectors, constant, initial,
               metadata)  # fmt: skip
        if len(constant) > 1:
            _write(folder / "tokens" / f"{name}.safetensors", token, vectors, constant, initial,
                   metadata)  # fmt: skip


def _write(
    file: Path,
    name: str,
    vectors: Tensor,
    tokens: Mapping[str, Tensor],
    initial: Mapping[str, str],
    metadata: Mapping[str, str],
) -> None:
    """One tensor, under a header that names the tokens' initial words."""
    from socialcli.networks import weights

    started = json.dumps({token: initial.get(token, "") for token in tokens}, ensure_ascii=False)
    file.parent.mkdir(exist_ok=True)
    kept = vectors.detach().float().cpu().clone().contiguous()
    weights.write(file, {name: kept}, {**metadata, "initial_words": started})
