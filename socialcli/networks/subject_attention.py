"""MIP-Adapter's attention: each subject's tokens act where the words for it attend.

Huang et al., Resolving Multi-Condition Confusion for Finetuning-Free Personalized Image Generation
(arXiv 2409.17920). In each cross-attention, with queries q of P places:

    out = text + sum_n w_n * g * scale * attention(q; tokens_n)

w_n(p) is how much place p belongs to subject n: the attention of the subject's own words to all
places (a softmax over places), the mean over heads and words, divided by the sum over subjects.
g(p) is a gate, sigmoid of a linear function of the text's own result, divided by its mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Named:
    """The words for the subjects of B rows.

    Attributes:
        states: (B, N, L, D) text states of each subject's words, encoded alone.
        lengths: (B, N) int64, how many tokens they are; they stand behind the first mark.
    """

    states: Tensor
    lengths: Tensor


class SubjectAttention(nn.Module):
    """Attention processor of a cross-attention.

    Attributes:
        to_k, to_v: of subjects' tokens, D -> C. gate: C -> 1, without bias.
        scale: weight of the subjects. named: their words; set both before the UNet is called.
    """

    def __init__(self, to_k: Tensor, to_v: Tensor, gate: Tensor) -> None:
        super().__init__()
        self.to_k, self.to_v, self.gate = (
            nn.Parameter(weight, requires_grad=False) for weight in (to_k, to_v, gate)
        )
        self.scale = 1.0
        self.named: Named | None = None

    def forward(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Any = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """(B, P, C) -> (B, P, C).

        Args:
            encoder_hidden_states: (B, L, D) text states and a list of (B, N, T, D) subjects'
                tokens, as diffusers' UNet gives them to adapters.
        """
        text, (tokens,) = encoder_hidden_states
        named = self.named
        assert named is not None and hidden_states.ndim == 3 and attn.group_norm is None

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        def attend(keys: Tensor, values: Tensor) -> Tensor:
            read = functional.scaled_dot_product_attention(queries, heads(keys), heads(values))
            return read.transpose(1, 2).flatten(2)

        queries = heads(attn.to_q(hidden_states))
        result = attend(attn.to_k(text), attn.to_v(text))
        gate = functional.linear(result, self.gate).sigmoid()
        gate = gate / gate.mean(dim=1, keepdim=True)
        shares = self._shares(attn, heads, queries, named)
        for n in range(tokens.shape[1]):
            keys, values = (functional.linear(tokens[:, n], w) for w in (self.to_k, self.to_v))
            result = result + shares[:, n, :, None] * gate * self.scale * attend(keys, values)
        result = attn.to_out[1](attn.to_out[0](result))
        if attn.residual_connection:
            result = result + hidden_states
        shown: Tensor = result / attn.rescale_output_factor
        return shown

    def _shares(self, attn: Any, heads: Any, queries: Tensor, named: Named) -> Tensor:
        """(B, N, P): how much each place belongs to each subject; 1 in sum over subjects."""
        maps = []
        for n in range(named.states.shape[1]):
            keys = heads(attn.to_k(named.states[:, n].to(queries.dtype)))
            scores = torch.softmax(keys @ queries.transpose(-2, -1) * attn.scale, dim=-1)
            place = torch.arange(keys.shape[2], device=keys.device)[None]
            length = named.lengths[:, n, None].to(keys.device)
            words = ((place >= 1) & (place <= length)).to(scores.dtype) / length
            maps.append((scores.mean(1) * words[..., None]).sum(1))
        whole = torch.stack(maps, dim=1)
        return whole / whole.sum(dim=1, keepdim=True)


class Given(nn.Module):
    """Stands where a UNet makes tokens of pictures, for tokens that are made already."""

    def forward(self, tokens: Any) -> Any:
        return tokens
