"""What a pseudo-word starts as: the tokens and embeddings of an ordinary word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def tokens(config: Any, word: str) -> list[str]:
    """The tokens of an ordinary word, by the model's tokenizer alone; [word] where that is not in
    a folder of its own. A model that is missing is told when it is loaded."""
    from pathlib import Path

    from socialcli import backends

    default = backends.info("diffusion", config.backend).model
    place = backends.where(config.model or default)
    folder = Path(place) / "tokenizer" if place else None
    if folder is None or not folder.is_dir():
        return [word]
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    return [str(token) for token in tokenizer.tokenize(word)]


def rows(diffusion: Any, initial: str) -> Tensor:
    """(N, D) float32 embeddings of an ordinary word's tokens."""
    from socialcli.diffusion import pseudo_words

    return pseudo_words.ordinary(diffusion, initial)


def spread(vectors: Tensor, count: int) -> Tensor:
    """(count, D) vectors to start from, of the (N, D) vectors of an initial word.

    More tokens than vectors: means of neighbours. Fewer: they come again in turn.
    """
    import torch

    if len(vectors) >= count:
        return torch.stack([part.mean(0) for part in vectors.tensor_split(count)])
    return vectors[torch.arange(count) % len(vectors)].clone()
