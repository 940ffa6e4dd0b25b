"""Low-rank adapters (LoRA) beside the layers of a network, which itself stays as it is.

Hu et al., LoRA (arXiv 2106.09685): a layer's output W x becomes W x + alpha / rank * up down x. The
adapter hangs on the layer as a forward hook, so the network keeps its modules, their names and
their weights: whoever reads ``attn.to_k.weight`` finds what was there before.

Files are read and written by `socialcli.networks.lora_files`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from socialcli.errors import UsageError

# The networks of a Stable Diffusion that may have adapters; the third is in XL alone.
UNET, TEXT, TEXT_2 = "unet", "text_encoder", "text_encoder_2"
TEXTS = (TEXT, TEXT_2)
Place = tuple[str, str]  # one of these, and the dotted path of a layer in it
UNET_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")  # the projections of every attention
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")


def networks_of(diffusion: Any) -> dict[str, Any]:
    """Name -> network of a diffusion model (`roles.Diffusion`), of those that may have adapters."""
    encoders = [encoder.network for encoder in diffusion.encoders]
    return {UNET: diffusion.unet, **dict(zip(TEXTS, encoders, strict=False))}


@dataclass
class LowRank:
    """The adapter of one layer.

    Attributes:
        down: (rank, in) of a linear layer, (rank, in, k, k) of a convolution.
        up: (out, rank), or (out, rank, 1, 1).
        alpha: the product is multiplied by alpha / rank.
    """

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        return len(self.down)

    def difference(self) -> Tensor:
        """What it adds to the layer's weight: (out, in), or (out, in, k, k)."""
        rows = self.up.flatten(1).float() @ self.down.flatten(1).float()
        return (rows * (self.alpha / self.rank)).reshape(len(self.up), *self.down.shape[1:])


class Residual(nn.Module):
    """alpha / rank * weight * up(down(x)) of one layer."""

    def __init__(self, layer: nn.Module, values: LowRank) -> None:
        super().__init__()
        device = next(layer.parameters()).device
        self.down = nn.Parameter(values.down.detach().to(device))
        self.up = nn.Parameter(values.up.detach().to(device))
        self.alpha = values.alpha
        # Of the whole adapter; (rows,) where each row of the batch has a weight of its own.
        self.weight: float | Tensor = 1.0
        self._shape = {k: getattr(layer, k) for k in ("stride", "padding") if hasattr(layer, k)}

    def forward(self, x: Tensor) -> Tensor:
        """(rows, ..., in) or (rows, in, h, w) -> the same with out."""
        down, up = self.down, self.up
        if not torch.is_autocast_enabled(x.device.type):
            x = x.to(down.dtype)
        if down.ndim == 2:
            product = F.linear(F.linear(x, down), up)
        else:
            product = F.conv2d(F.conv2d(x, down, **self._shape), up)
        weight = self.weight
        if isinstance(weight, Tensor):
            weight = weight.to(product).reshape(-1, *[1] * (product.ndim - 1))
        return product * (weight * self.alpha / len(down))


class Lora(nn.Module):
    """The residuals of one adapter, hung on the layers of its networks.

    Its parameters are the adapter's alone; the networks' are not among them.
    """

    def __init__(self, networks: Mapping[str, nn.Module], layers: Mapping[Place, LowRank]) -> None:
        super().__init__()
        self.places = list(layers)
        self.residuals = nn.ModuleDict()
        self._hooks = []
        for (part, path), values in layers.items():
            layer = networks[part].get_submodule(path)
            residual = Residual(layer, values)
            self.residuals[_flat(part, path)] = residual
            self._hooks.append(layer.register_forward_hook(_Hook(residual)))

    def weigh(self, weight: float | Tensor) -> None:
        """Let the adapter count so much; 0 switches it off.

        Args:
            weight: a number, or (rows,) of the UNet's batch, each of which then has its own: an
                adapter that belongs to one segment of a picture acts in that segment's row only.
                The text encoder, whose rows are others, keeps the weight that it has.
        """
        for part, path in self.places:
            if part == UNET or not isinstance(weight, Tensor):
                residual: Any = self.residuals[_flat(part, path)]
                residual.weight = weight

    def layers(self) -> dict[Place, LowRank]:
        """What it has learnt, float32 on the CPU."""
        learned = {}
        for part, path in self.places:
            residual: Any = self.residuals[_flat(part, path)]
            down, up = (t.detach().float().cpu().clone() for t in (residual.down, residual.up))
            learned[part, path] = LowRank(down, up, residual.alpha)
        return learned

    def remove(self) -> None:
        """Take it off its networks, which are then as they were."""
        for hook in self._hooks:
            hook.remove()


class _Hook:
    """Adds a residual to a layer's output; unlike a closure it can be copied with the network."""

    def __init__(self, residual: Residual) -> None:
        self.residual = residual

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        weight = self.residual.weight
        if isinstance(weight, float | int) and weight == 0:
            return output
        return output + self.residual(inputs[0]).to(output.dtype)


def _flat(part: str, path: str) -> str:
    return f"{part}_{path}".replace(".", "_")


def targets(network: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """Path -> layer of every linear layer and convolution whose path ends in one of ``names``.

    Raises:
        UsageError: a name that no such layer has.
    """
    matching = {}
    for name in names:
        ends = {p: m for p, m in adaptable(network) if p == name or p.endswith(f".{name}")}
        if not ends:
            known = sorted({p.rpartition(".")[2] for p, _ in adaptable(network)} - {"0", "2"})
            raise UsageError(
                f"no layer of the {type(network).__name__} is called '{name}'; there are "
                f"{', '.join(known)}"
            )
        matching.update(ends)
    return dict(sorted(matching.items()))


def adaptable(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every layer that may have an adapter."""
    for path, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            yield path, module


def fresh(layers: Mapping[Place, nn.Module], rank: int, alpha: float) -> dict[Place, LowRank]:
    """Adapters that change nothing yet: down normal with deviation 1 / rank, up zero.

    Numbers come from torch's global generator, in the order of the layers.
    """
    adapters = {}
    for place, layer in layers.items():
        weight: Any = layer.weight
        down = torch.randn(rank, *weight.shape[1:]) / rank
        up = torch.zeros(len(weight), rank, *[1] * (weight.ndim - 2))
        adapters[place] = LowRank(down, up, alpha)
    return adapters
