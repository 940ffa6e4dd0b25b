"""The block of the small residual networks, ResNet-18 and ResNet-34 (He et al., arXiv 1512.03385).

Parameters have torchvision's names.
"""

from __future__ import annotations

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the sum with what came in: (B, inputs, H, W) to (B, outputs,
    H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        # In place: no gradient needs what a batch norm gave, only what came in.
        x = self.bn1(self.conv1(x)).relu_()
        x = self.bn2(self.conv2(x))
        x += skip
        return x.relu_()
