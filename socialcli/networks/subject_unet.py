"""A U-Net on a ResNet-34 that marks the pixels of each of some subjects, one sigmoid a subject.

Multi-Subject Personalization (arXiv 2405.12742), A.4. Parameters have the names of
segmentation_models_pytorch's ``Unet("resnet34")``, whose encoder has torchvision's, so that files
of either load. Features come after the stem (64 channels, half the side) and each of four groups
(64, 128, 256, 512 channels; 1/4 to 1/32 of the side); the decoder doubles the side five times by
repeating pixels and joins the encoder's features of that side, as far as there are some.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from socialcli.errors import ModelMissing, UsageError
from socialcli.networks import weights
from socialcli.networks.resnet import BasicBlock

FILE = "model.safetensors"
STRIDE = 32  # the side of pictures is a multiple of it
WIDTH = 512  # of the deepest features
GROUPS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # channels, blocks, stride
DECODER = (256, 128, 64, 32, 16)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in [0, 1]


class Encoder(nn.Module):
    """ResNet-34 (He et al., arXiv 1512.03385) without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for number, (channels, count, stride) in enumerate(GROUPS, 1):
            rest = [BasicBlock(channels, channels, 1) for _ in range(count - 1)]
            group = nn.Sequential(BasicBlock(inputs, channels, stride), *rest)
            self.add_module(f"layer{number}", group)
            inputs = channels

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> five features, the deepest last."""
        features = [F.relu(self.bn1(self.conv1(x)))]
        x = F.max_pool2d(features[0], 3, 2, 1)
        for number in range(1, len(GROUPS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
            features.append(x)
        return features


def _joined(inputs: int, outputs: int) -> nn.Module:
    """``conv1`` and ``conv2``, each convolution, batch norm, ReLU."""
    parts = {}
    for name, channels in (("conv1", inputs), ("conv2", outputs)):
        conv = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
        parts[name] = nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())
    return nn.ModuleDict(parts)


class SubjectUNet(nn.Module):
    """One logit a pixel and subject."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = Encoder()
        inputs = (512 + 256, 256 + 128, 128 + 64, 64 + 64, 32)
        blocks = [_joined(i, o) for i, o in zip(inputs, DECODER, strict=True)]
        self.decoder = nn.ModuleDict({"blocks": nn.ModuleList(blocks)})
        self.segmentation_head = nn.Sequential(nn.Conv2d(DECODER[-1], classes, 3, padding=1))

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], sides multiples of 32 -> (B, classes, H, W) logits."""
        *skips, x = self.encoder(normalised(pictures))
        blocks: Any = self.decoder["blocks"]
        for block in blocks:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            if skips:
                x = torch.cat([x, skips.pop()], 1)
            x = block["conv2"](block["conv1"](x))
        return self.segmentation_head(x)

    def pooled(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, 512): the mean of the encoder's deepest features."""
        return self.encoder(normalised(pictures))[-1].mean((2, 3))


def normalised(pictures: Tensor) -> Tensor:
    """RGB in [0, 1] as ResNets are trained on it."""
    mean, std = (pictures.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (pictures - mean) / std


@dataclass
class Trained:
    """A network and what its file says of it.

    Attributes:
        subjects: name, identifier and class of each channel; empty where the file does not say.
        side: pixels of the squares it was trained on; 0 where the file does not say.
    """

    network: SubjectUNet
    subjects: list[dict[str, str]] = field(default_factory=list)
    side: int = 0


def load(given: str) -> Trained:
    """A folder with a `FILE`, or a file of weights; eval mode.

    Raises:
        ModelMissing: it is not there. UsageError: another network's weights.
    """
    place = Path(given).expanduser()
    place = place / FILE if place.is_dir() else place
    if not place.is_file():
        raise ModelMissing(
            f"no segmentation model at '{given}'. `socialcli train --method subject-segmentation` "
            "makes one"
        )
    state = weights.read(place, "segmentation")
    head = state.get("segmentation_head.0.bias")
    if head is None:
        raise UsageError(f"{given}: not the weights of a U-Net on ResNet-34 (no segmentation_head)")
    network = SubjectUNet(len(head))
    weights.fill(network, state, given, "ResNet-34 U-Net")
    notes = weights.notes(place)
    try:
        subjects, side = json.loads(notes.get("subjects", "[]")), int(notes.get("side", 0))
    except ValueError:
        subjects, side = [], 0
    return Trained(network, subjects if len(subjects) == len(head) else [], side)


def load_encoder(network: SubjectUNet, given: str) -> None:
    """Give a network the encoder of a file: of torchvision's ResNet-34, or of a whole U-Net.

    Raises:
        ModelMissing: it is not there. UsageError: another network's weights.
    """
    state = weights.read(given, "ResNet-34")
    inside = {n.removeprefix("encoder."): v for n, v in state.items() if n.startswith("encoder.")}
    state = inside or {n: v for n, v in state.items() if not n.startswith("fc.")}
    try:
        network.encoder.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UsageError(f"{given}: not ResNet-34 weights ({reason[:200]})") from None


def save(network: SubjectUNet, folder: Path, notes: Mapping[str, str]) -> None:
    """``model.safetensors`` and ``config.json``, as segmentation_models_pytorch writes them."""
    classes = network.segmentation_head[0].out_channels
    state = {n: v.detach().cpu().contiguous().clone() for n, v in network.state_dict().items()}
    weights.write(folder / FILE, state, {"format": "pt", **notes})
    config = {
        "_model_class": "Unet", "activation": None, "aux_params": None, "classes": classes,
        "decoder_attention_type": None, "decoder_channels": list(DECODER),
        "decoder_interpolation": "nearest", "decoder_use_norm": "batchnorm", "encoder_depth": 5,
        "encoder_name": "resnet34", "encoder_weights": None, "in_channels": 3,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
