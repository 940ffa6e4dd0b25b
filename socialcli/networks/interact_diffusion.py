"""InteractDiffusion's networks (CVPR 2024): three tokens for each interaction, and the gated
self-attention of GLIGEN through which the UNet reads them.

Names are those of the authors' checkpoint. Attention and its key names are those that diffusers
gives a UNet of ``attention_type="gated"``, so that its UNet calls them: `attach` puts the gates and
the position net into any Stable Diffusion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from socialcli.errors import UsageError

INTERACTIONS = 30  # of a picture, always: what is not there has the tokens of nothing
ROLES = ("subject", "action", "object")  # in the order in which the tokens stand
_PARTS = (".fuser.", "position_net.")
_LDM = re.compile(r"(?:model\.diffusion_model\.)?(input_blocks|middle_block|output_blocks)\.(.+)")


class Embedding(nn.Module):
    """A table of vectors under the name that the checkpoint has for it."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(rows, width)
        nn.init.normal_(self.emb.weight, std=0.02)


class PositionNet(nn.Module):
    """Boxes and phrases of interactions -> tokens that the gates read.

    Args:
        text: width of a phrase. width: of a token. interactions: how many the tables know.
    """

    def __init__(
        self,
        text: int = 768,
        width: int = 768,
        interactions: int = INTERACTIONS,
        hidden: int = 512,
        frequencies: int = 8,
    ) -> None:
        super().__init__()
        position = frequencies * 2 * 4  # sines and cosines of four coordinates

        def layers() -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(text + position, hidden), nn.SiLU(),
                nn.Linear(hidden, hidden), nn.SiLU(),
                nn.Linear(hidden, width),
            )  # fmt: skip

        self.frequencies = frequencies
        self.linears, self.linear_action = layers(), layers()
        self.interaction_embedding = Embedding(interactions, width)
        self.position_embedding = Embedding(len(ROLES), width)
        self.null_positive_feature = nn.Parameter(torch.zeros(text))
        self.null_action_feature = nn.Parameter(torch.zeros(text))
        self.null_position_feature = nn.Parameter(torch.zeros(position))

    @property
    def text(self) -> int:
        """Width of a phrase."""
        return len(self.null_positive_feature)

    def forward(
        self,
        subject_boxes: Tensor,
        object_boxes: Tensor,
        masks: Tensor,
        subject_phrases: Tensor,
        object_phrases: Tensor,
        action_phrases: Tensor,
    ) -> Tensor:
        """(B, 3N, width): tokens of the subjects, then of the actions, then of the objects.

        Args:
            subject_boxes, object_boxes: (B, N, 4) x1, y1, x2, y2 in [0, 1].
            masks: (B, N), 1 where there is an interaction, 0 where there is none.
            subject_phrases, object_phrases, action_phrases: (B, N, text) pooled text states.
        """
        boxes = {
            "subject": subject_boxes,
            "action": between(subject_boxes, object_boxes),
            "object": object_boxes,
        }
        phrases = {
            "subject": subject_phrases, "action": action_phrases, "object": object_phrases
        }  # fmt: skip
        there = masks[..., None]
        order = self.interaction_embedding.emb.weight[: masks.shape[1]]
        # The table of roles counts the object before the action, the tokens stand otherwise.
        numbers = {"subject": 0, "object": 1, "action": 2}
        tokens = []
        for role in ROLES:
            action = role == "action"
            nobody = self.null_action_feature if action else self.null_positive_feature
            place = fourier(boxes[role], self.frequencies)
            given = torch.cat([
                phrases[role] * there + (1 - there) * nobody,
                place * there + (1 - there) * self.null_position_feature,
            ], dim=-1)  # fmt: skip
            token = (self.linear_action if action else self.linears)(given)
            tokens.append(token + order + self.position_embedding.emb.weight[numbers[role]])
        return torch.cat(tokens, dim=1)


def between(first: Tensor, second: Tensor) -> Tensor:
    """(..., 4): the action's box, from the second to the third of the two boxes' four coordinates
    along each axis: what they share where they overlap, else what lies between them."""
    x = torch.cat([first[..., 0::2], second[..., 0::2]], dim=-1).sort(dim=-1).values
    y = torch.cat([first[..., 1::2], second[..., 1::2]], dim=-1).sort(dim=-1).values
    return torch.stack([x[..., 1], y[..., 1], x[..., 2], y[..., 2]], dim=-1)


def fourier(boxes: Tensor, frequencies: int) -> Tensor:
    """(..., 8 * frequencies) of (..., 4) coordinates: for each frequency 100^(i / frequencies) the
    four sines, then the four cosines."""
    powers = torch.arange(frequencies, device=boxes.device, dtype=torch.float32) / frequencies
    bands = (100**powers).to(boxes.dtype)
    angles = boxes[..., None, :] * bands[:, None]
    return torch.stack([angles.sin(), angles.cos()], dim=-2).flatten(-3)


def _gate(width: int, context: int, heads: int, head: int) -> nn.Module:
    """A gated self-attention, see `Gate`."""
    from diffusers.models.attention import GatedSelfAttentionDense

    class Gate(GatedSelfAttentionDense):  # type: ignore[misc]
        """diffusers' layer whose gates can be half open.

        Attributes:
            scale: in [0, 1]; what both gates are multiplied by, 0: the UNet is as it was.
        """

        scale: float = 1.0

        def forward(self, x: Tensor, objs: Tensor) -> Tensor:
            if not self.scale:
                return x
            parts: Any = self  # diffusers' layers have no types
            both = torch.cat([x, parts.linear(objs)], dim=1)
            seen = parts.attn(parts.norm1(both))[:, : x.shape[1]]
            x = x + self.scale * parts.alpha_attn.tanh() * seen
            return x + self.scale * parts.alpha_dense.tanh() * parts.ff(parts.norm2(x))

    return Gate(width, context, heads, head)


def attach(unet: Any, net: PositionNet) -> None:
    """Put fresh gates into each transformer block of a UNet, and the net in front of them; the
    gates are closed (alpha 0) until weights are loaded or trained.

    The UNet is told of interactions by ``cross_attention_kwargs={"gligen": arguments of the net}``;
    without them it is as it was.
    """
    context = unet.config.cross_attention_dim
    for block in _blocks(unet):
        attention = block.attn1
        width, heads = attention.to_q.in_features, attention.heads
        gate = _gate(width, context, heads, attention.to_q.out_features // heads)
        block.fuser = gate.to(unet.device, unet.dtype)
    unet.position_net = net.to(unet.device, unet.dtype)


def gates(unet: Any) -> list[Any]:
    """The gates of a UNet, in order."""
    return [block.fuser for block in _blocks(unet)]


def weigh(unet: Any, scale: float) -> None:
    """How far the gates are open: 0 to 1."""
    for gate in gates(unet):
        gate.scale = scale


def _blocks(unet: Any) -> Iterator[Any]:
    from diffusers.models.attention import BasicTransformerBlock

    for module in unet.modules():
        if isinstance(module, BasicTransformerBlock):
            yield module


def schedule(steps: int, open_share: float, decay_share: float) -> list[float]:
    """How far the gates are open in each step: open for the first share of the steps, going to 0
    evenly over the next, closed in the others (the authors' ``alpha_type``)."""
    opened, closing = int(open_share * steps), int(decay_share * steps)
    falling = [(closing - 1 - n) / closing for n in range(closing)]
    return ([1.0] * opened + falling + [0.0] * steps)[:steps]


# --- files ---


def select(state: Mapping[str, Tensor], layers_per_block: int) -> dict[str, Tensor]:
    """Gates and position net among a state dict's tensors, under diffusers' names.

    Args:
        state: of a UNet in diffusers' names, or in those of CompVis with or without
            ``model.diffusion_model.`` in front.
    """
    selected = {}
    for name, tensor in state.items():
        if any(part in f".{name}" for part in _PARTS):
            selected[_diffusers(name, layers_per_block)] = tensor
    return selected


def _diffusers(name: str, layers: int) -> str:
    """A tensor's name in diffusers' UNet."""
    if "position_net." in name:
        return name[name.index("position_net.") :]
    match = _LDM.fullmatch(name)
    if match is None:
        return name
    part, rest = match.groups()
    if part == "middle_block":
        return f"mid_block.attentions.0.{rest.partition('.')[2]}"
    number, _, inner = rest.partition(".")
    at = int(number) - (part == "input_blocks")
    side = {"input_blocks": "down_blocks", "output_blocks": "up_blocks"}[part]
    below = inner.partition(".")[2]  # behind the number of the layer in its block
    return f"{side}.{at // (layers + 1)}.attentions.{at % (layers + 1)}.{below}"


def load(unet: Any, tensors: Mapping[str, Tensor], file: str | Path) -> None:
    """Attach gates and a net of these weights to a UNet.

    Args:
        tensors: of `select`.

    Raises:
        UsageError: some are missing, or of another shape, as for another UNet or GLIGEN.
    """
    prefix = "position_net."
    own = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
    if not own:
        raise UsageError(f"{file}: no position_net and no gates of InteractDiffusion in it")
    if "linear_action.0.weight" not in own:
        raise UsageError(f"{file}: a GLIGEN, which knows boxes but no interactions")
    try:
        attach(unet, _net_of(own))
        unet.position_net.load_state_dict(own)
        rest = {name: t for name, t in tensors.items() if not name.startswith(prefix)}
        missing, surplus = unet.load_state_dict(rest, strict=False)
    except (RuntimeError, KeyError, IndexError, AttributeError) as error:
        line = " ".join(str(error).split())[:160]
        raise UsageError(f"{file}: not InteractDiffusion's for this UNet ({line})") from None
    holes = [name for name in missing if ".fuser." in name] + surplus
    if holes:
        raise UsageError(
            f"{file}: not InteractDiffusion's for this UNet: {len(holes)} tensors of the gates do "
            f"not fit ({holes[0]})"
        )


def _net_of(state: Mapping[str, Tensor]) -> PositionNet:
    """An empty net of the shapes of a state dict."""
    first, last = state["linears.0.weight"], state["linears.4.weight"]
    text = len(state["null_positive_feature"])
    return PositionNet(
        text, len(last), len(state["interaction_embedding.emb.weight"]), len(first),
        (first.shape[1] - text) // 8,
    )  # fmt: skip


def tensors_of(unet: Any) -> dict[str, Tensor]:
    """Gates and position net of a UNet, for a file."""
    own = select(unet.state_dict(), 0)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in own.items()}
