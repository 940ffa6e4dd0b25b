"""The mapper of NeTI: a timestep and a layer to a word's vectors, in the layout of its public code.

A Neural Space-Time Representation for Text-to-Image Personalization (Alaluf et al.,
arXiv 2305.15391), sections 4.1 and 4.2. The names of the weights are those of its ``mapper`` files.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN, ANCHORS, FREQUENCIES = 128, 10, 1024
SIGMA_T, SIGMA_L = 0.03, 2.0  # deviations of the frequencies for timesteps and for layers
TIMESTEPS = 1000


class NeTIMapper(nn.Module):
    """Timestep and layer -> one vector or, with a bypass, two behind each other.

    Attributes:
        out: width of what comes out. layers: cross-attention layers of the UNet.
        norm: what the output is scaled to; None: it is left as it is.
        w: (F, 2) frequencies of timestep and layer, which do not train; None: both are only scaled
            to [-1, 1], as without positional encoding in the public code.
    """

    def __init__(
        self,
        out: int,
        layers: int,
        norm: float | None,
        anchors: int = ANCHORS,
        positional: bool = True,
        sigmas: Sequence[float] = (SIGMA_T, SIGMA_L),
    ) -> None:
        super().__init__()
        self.out, self.layers, self.norm = out, layers, norm
        inner = anchors * layers if positional else 2
        self.w: Tensor | None
        if positional:
            self.register_buffer("w", torch.randn(FREQUENCIES, 2) * torch.tensor(list(sigmas)))
            self.input_layer: nn.Module = nn.Linear(2 * FREQUENCIES, inner)
            times = torch.arange(0, TIMESTEPS, TIMESTEPS // anchors)[:anchors].float()
            grid = torch.cartesian_prod(times, torch.arange(layers).float())
            with torch.no_grad():
                self.input_layer.weight.copy_(self.encoded(grid[:, 0], grid[:, 1]))
        else:
            self.w = None
            self.input_layer = nn.Identity()
        # The input layer is number 0 of the public code's ``net`` as well; here it is there once.
        self.net = nn.Sequential(
            nn.Identity(),
            nn.Linear(inner, HIDDEN), nn.LayerNorm(HIDDEN), nn.LeakyReLU(),
            nn.Linear(HIDDEN, HIDDEN), nn.LayerNorm(HIDDEN), nn.LeakyReLU(),
        )  # fmt: skip
        self.output_layer = nn.Sequential(nn.Linear(HIDDEN, out))

    def encoded(self, timesteps: Tensor, layers: Tensor) -> Tensor:
        """(A, 2F) sines and cosines of length 1; (A, 2) in [-1, 1] without frequencies."""
        if self.w is None:
            last = torch.tensor([TIMESTEPS - 1.0, max(self.layers - 1.0, 1.0)]).to(timesteps)
            return torch.stack([timesteps.long(), layers.long()], 1) / last * 2 - 1
        # bfloat16 knows 507 of the 1000 timesteps, and angles to an eighth.
        with torch.autocast(self.w.device.type, enabled=False):
            angles = torch.stack([timesteps, layers], 1).to(self.w) @ self.w.T
        return functional.normalize(torch.cat([angles.sin(), angles.cos()], 1), dim=1)

    def forward(self, timesteps: Tensor, layers: Tensor, cuts: Tensor | None = None) -> Tensor:
        """(A,) timesteps in [0, 999] and (A,) numbers of layers -> (A, out).

        Args:
            cuts: (A,) how many of the hidden units count, the others are 0 (nested dropout); None:
                all.
        """
        hidden = self.net(self.input_layer(self.encoded(timesteps, layers)))
        if cuts is not None:
            units = torch.arange(HIDDEN, device=hidden.device)
            hidden = hidden * (units < cuts[:, None]).to(hidden.dtype)
        out: Tensor = self.output_layer(hidden)
        return out if self.norm is None else functional.normalize(out, dim=-1) * self.norm
