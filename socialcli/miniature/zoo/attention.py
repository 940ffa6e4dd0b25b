"""Where the miniature UNet's attention should look: the truth knows which word names what.

Only training uses it. A patch of a scene shows an instance, and the words that name this instance
are known, so a patch can be asked to read them. Left alone, a small UNet reads the padding, which
says who is there but not who is where, and mixes up what belongs to whom. InteractDiffusion's gates
are asked in the same way: a place reads what its boxes say.
"""

from __future__ import annotations

from typing import Any


class Recorder:
    """Attention processor without fused kernels; keeps the probabilities of cross-attention.

    ``maps`` holds one (B, pixels, tokens) tensor a layer, the mean over heads, with gradient; the
    caller empties it before each pass of the UNet.
    """

    def __init__(self) -> None:
        self.maps: list[Any] = []

    def __call__(
        self, attn: Any, hidden_states: Any, encoder_hidden_states: Any = None, **_: Any
    ) -> Any:
        text = encoder_hidden_states
        source = hidden_states if text is None else text
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key, value = (attn.head_to_batch_dim(to(source)) for to in (attn.to_k, attn.to_v))
        shares = attn.get_attention_scores(query, key)
        if text is not None:
            self.maps.append(shares.unflatten(0, (-1, attn.heads)).mean(1))
        return attn.to_out[0](attn.batch_to_head_dim(shares @ value))


def astray(maps: list[Any], named: Any, shown: Any, trust: Any) -> Any:
    """How little each patch reads of the words that name what it shows: mean of -log of its share.

    Args:
        maps: attention probabilities (B, side * side, L) of each layer; the side divides 12 or
            is a multiple of it.
        named: (B, L, 3) kind, colour and part in the action that each token speaks of.
        shown: (B, 144, 3) the same of what each patch of 12 x 12 shows.
        trust: (B,) how much a sample counts; where there is only noise, nobody knows where to look.

    Returns:
        A scalar, 0 or more; patches that show nobody of the action, or whose words are not in the
        text, are not asked.
    """
    import torch

    total = torch.zeros((), device=shown.device)
    grid = shown.unflatten(1, (12, 12))
    for one in maps:
        at = torch.arange(side := round(one.shape[1] ** 0.5), device=shown.device) * 12 // side
        part = grid[:, at][:, :, at].flatten(1, 2)[:, :, None]
        match = (part[..., 0] == named[:, None, :, 0]) & (part[..., 2] == named[:, None, :, 2])
        match &= part[..., 2] > 0
        counts = match.any(-1) * trust[:, None]
        read = (one.float() * match).sum(-1).clamp(min=1e-4)
        total = total - (read.log() * counts).sum() / counts.sum().clamp(min=1)
    return total / max(1, len(maps))


def rare(shown: Any, usual: float = 16.0, most: float = 3.0) -> Any:
    """(B, 144) float32 from 1 to ``most``: how much a patch counts, so that instances count alike.

    An instance of the action that covers ``usual`` patches or more counts 1 a patch; a smaller one
    more, with the root of its size.
    """
    import torch

    one = shown[..., 0] * 1000 + shown[..., 2]
    size = (one[:, :, None] == one[:, None, :]).sum(-1)
    weight = (usual / size).sqrt().clamp(1.0, most)
    return torch.where(shown[..., 2] > 0, weight, torch.ones(()))


class GateRecorder:
    """Attention processor of a gate; keeps how much each place reads of the interactions' tokens.

    ``maps`` holds one (B, pixels, tokens) tensor a gate, the mean over heads, with gradient; the
    caller empties it before each pass of the UNet.

    Args:
        tokens: how many there are, behind the pixels.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.maps: list[Any] = []

    def __call__(self, attn: Any, hidden_states: Any, **_: Any) -> Any:
        """Of the pixels alone: what the tokens would read, the gate throws away."""
        query = attn.head_to_batch_dim(attn.to_q(hidden_states[:, : -self.tokens]))
        key, value = (
            attn.head_to_batch_dim(to(hidden_states)) for to in (attn.to_k, attn.to_v)
        )  # fmt: skip
        shares = attn.get_attention_scores(query, key)
        heads = shares[..., -self.tokens :].unflatten(0, (-1, attn.heads))
        self.maps.append(heads.mean(1))
        return attn.to_out[0](attn.batch_to_head_dim(shares @ value))


def outside(maps: list[Any], boxes: Any, there: Any) -> Any:
    """How little the places in a box read of its token, and how much all others read of any.

    Args:
        maps: attention probabilities (B, side * side, T) of each gate.
        boxes: (B, T, 4) x1, y1, x2, y2 in [0, 1] of each token. there: (B, T), 1 for those of an
            interaction, 0 for those of none.

    Returns:
        A scalar, 0 or more: of each token the mean of -log of what its places read of it, and of
        the places in no box that of what they read of no token, each averaged over all of them.
    """
    import torch

    total = torch.zeros((), device=boxes.device)
    for one in maps:
        side = round(one.shape[1] ** 0.5)
        at = (torch.arange(side, device=boxes.device) + 0.5) / side
        y, x = (part.flatten()[None, :, None] for part in torch.meshgrid(at, at, indexing="ij"))
        x0, y0, x1, y1 = (boxes[:, None, :, i] for i in range(4))
        inside = ((x > x0) & (x < x1) & (y > y0) & (y < y1)).float() * there[:, None]
        read = one.float().clamp(1e-4, 1 - 1e-4)
        places = inside.sum(1)
        of_each = -(read.log() * inside).sum(1) / places.clamp(min=1)
        total = total + of_each.sum() / (places > 0).sum().clamp(min=1)
        empty = (inside.sum(-1) == 0).float()
        unread = 1 - (one.float() * there[:, None]).sum(-1).clamp(0, 1 - 1e-4)
        total = total - (unread.log() * empty).sum() / empty.sum().clamp(min=1)
    return total / max(1, len(maps))
