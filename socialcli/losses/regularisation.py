"""The regularisation loss: what is read from the reference stays near the query's own words.

Two readings, because text and code differ.
    * ``paper`` (Social Context Feedback, arXiv 2507.16095, section 3): one minus the cosine between
      the query's
      text tokens c_q and the average of the aligned tokens over the scales, token by token.
    * ``official`` (the reference implementation of SSR-Encoder): one minus the cosine for each
      scale by itself, averaged over tokens and summed over scales.
The second is at least the number of scales times the first where tokens are of like length: the
average of vectors is nearer to a common direction than they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from socialcli.errors import UsageError

READINGS = ("paper", "official")


def loss(subject: Tensor, query: Tensor, reading: str = "paper") -> Tensor:
    """How far the aligned tokens have turned from the query's.

    Args:
        subject: c_s, (B, scales, T, D), the aligned image tokens of each scale.
        query: c_q, (B, T, D), the text encoder's last hidden state of the query; gets no gradient.
        reading: "paper" or "official", see above.

    Returns:
        (B,), in [0, 2] ("paper") or [0, 2 scales] ("official"); 0 where every token points the
        way its query token does.

    Raises:
        UsageError: another reading, or shapes that do not fit.
    """
    if subject.ndim != 4 or subject.shape[:1] + subject.shape[2:] != query.shape:
        raise UsageError(
            f"the regularisation needs tokens (B, scales, T, D) and a query (B, T, D), not "
            f"{tuple(subject.shape)} and {tuple(query.shape)}"
        )
    subject, query = _wide(subject), _wide(query).detach()
    if reading == "paper":
        return (1 - F.cosine_similarity(subject.mean(1), query, dim=-1)).mean(-1)
    if reading == "official":
        return (1 - F.cosine_similarity(subject, query[:, None], dim=-1)).mean(-1).sum(-1)
    raise UsageError(f"no reading '{reading}' of the regularisation; there are paper, official")


def _wide(tokens: Tensor) -> Tensor:
    """Half precision loses cosines near 1: at least float32."""
    return tokens.to(torch.float32) if tokens.itemsize < 4 else tokens
