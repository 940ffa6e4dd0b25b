"""ArcFace's improved residual network (iresnet 18, 34, 50, 100, 200) in torch, differentiable.

The parameter names are those of the official `backbone.pth` state dicts (insightface's
arcface_torch), so that these load as they are. Facts about the network: 3x3 stem without
pooling; four groups of pre-activation blocks (batch norm, convolution, batch norm, PReLU, strided
convolution, batch norm), the first block of each halving the resolution; batch norm, a linear
layer on the flattened 7x7 map, and a batch norm on the embedding.

Input: aligned faces (B, 3, 112, 112), RGB in [-1, 1] (`socialcli.vision.faces`). Output: (B, 512)
embeddings, *not* normalised; identities are compared by cosine. Source: Deng et al., ArcFace, 2019;
used by Social Context Feedback, Eq. 3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from socialcli.errors import UsageError
from socialcli.networks import weights

# Blocks in each of the four groups.
DEPTHS = {
    "iresnet18": (2, 2, 2, 2),
    "iresnet34": (3, 4, 6, 3),
    "iresnet50": (3, 4, 14, 3),
    "iresnet100": (3, 13, 30, 3),
    "iresnet200": (6, 26, 60, 6),
}
INPUT_SIZE = 112


class Block(nn.Module):
    """A residual block without activation after the sum; ``stride`` is the second convolution's."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        skip = x if self.downsample is None else self.downsample(x)
        return self.bn3(self.conv2(inner)) + skip


class IResNet(nn.Module):
    """The network; ``blocks`` per group, ``widths`` of stem and groups, size of the embedding."""

    def __init__(
        self,
        blocks: tuple[int, ...] = DEPTHS["iresnet50"],
        widths: tuple[int, ...] = (64, 64, 128, 256, 512),
        embedding: int = 512,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.prelu = nn.PReLU(widths[0])
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(
                Block(before, width, 2), *(Block(width, width, 1) for _ in range(count - 1))
            )
            for before, width, count in zip(widths, widths[1:], blocks, strict=False)
        )
        self.bn2 = nn.BatchNorm2d(widths[-1])
        self.fc = nn.Linear(widths[-1] * (INPUT_SIZE // 2 ** len(blocks)) ** 2, embedding)
        self.features = nn.BatchNorm1d(embedding)
        self.embedding = embedding

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """(B, 3, 112, 112) in [-1, 1] -> (B, embedding); gradients reach ``faces``."""
        x = self.prelu(self.bn1(self.conv1(faces)))
        for group in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = group(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))


def infer(state: Mapping[str, torch.Tensor]) -> IResNet:
    """An empty network of the depth and widths that a state dict's names and shapes tell.

    Raises:
        UsageError: these are not the weights of an iresnet.
    """
    blocks = []
    for number in range(1, 5):
        numbers = {int(m[1]) for k in state if (m := re.match(rf"layer{number}\.(\d+)\.", k))}
        if numbers != set(range(len(numbers))) or not numbers:
            raise UsageError(f"not an iresnet checkpoint: layer{number} is missing or has gaps")
        blocks.append(len(numbers))
    try:
        widths = [len(state["conv1.weight"])]
        widths += [len(state[f"layer{n}.0.conv2.weight"]) for n in range(1, 5)]
        embedding = len(state["fc.weight"])
    except KeyError as error:
        raise UsageError(f"not an iresnet checkpoint: {error.args[0]} is missing") from None
    return IResNet(tuple(blocks), tuple(widths), embedding)


def name(network: IResNet) -> str:
    """Its usual name ("iresnet50"), or "iresnet" when the depth is none of the usual."""
    blocks = tuple(len(getattr(network, f"layer{n}")) for n in range(1, 5))
    return next((title for title, depth in DEPTHS.items() if depth == blocks), "iresnet")


def load(path: str | Path) -> IResNet:
    """The network of an official ``backbone.pth`` (or the same as ``.safetensors``), in eval mode.

    Prefixes left by wrappers (``module.``, ``backbone.``) are dropped.

    Raises:
        ModelMissing: there is no such file. UsageError: it is no iresnet checkpoint.
    """
    state = weights.read(path, "iresnet")
    for prefix in ("module.", "backbone."):
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    try:
        with torch.device("meta"):
            network = infer(state)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    weights.fill(network, state, path, "iresnet")
    return network
