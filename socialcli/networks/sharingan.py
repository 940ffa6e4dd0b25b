"""Sharingan: where the people of a picture look, from the picture and crops of their heads.

Own implementation of the network that Social Context Feedback uses for its gaze loss (Tafasca et
al., "Sharingan: A Transformer Architecture for Multi-Person Gaze Following", CVPR 2024), with the
parameter names of the official checkpoints (444 tensors, 106.12 million numbers).

One token per person joins the 14x14 tokens of the picture in a ViT-B/16. A dense-prediction
decoder turns the picture's tokens at four depths into maps, each multiplied channel by channel
with the person's token, and into one heat map a person; a small head says whether the target
lies inside the picture; the vector comes from the head crop alone.

`socialcli.networks.gaze_geometry` prepares its input and reads its output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from socialcli.errors import UsageError
from socialcli.networks import weights
from socialcli.networks.resnet import BasicBlock

SIZE = 224  # side of the picture and of the head crops
HEATMAP = 64


class Prediction(NamedTuple):
    """vector (B, N, 2), length 1, squashed frame; heatmap (B, N, 64, 64); inside (B, N) logit."""

    vector: Tensor
    heatmap: Tensor
    inside: Tensor


# --- residual network of 18 layers, as the head encoder's backbone -------------------------------


def resnet18(width: int = 64) -> nn.Sequential:
    """ResNet-18 up to and with its global pooling: (B, 3, H, W) -> (B, 8 width, 1, 1).

    The children are numbered as in the checkpoint: 0 convolution, 1 batch norm, 4 to 7 groups.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    before = width
    for group, stride in enumerate((1, 2, 2, 2)):
        after = width << group
        layers.append(nn.Sequential(BasicBlock(before, after, stride), BasicBlock(after, after, 1)))
        before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))


class GazeEncoder(nn.Module):
    """Head crop and head box -> the person's token and gaze vector."""

    def __init__(self, token: int, features: int, width: int) -> None:
        super().__init__()
        self.backbone = resnet18(width)
        self.gaze_proj = nn.Sequential(
            nn.Linear(8 * width, token), nn.ReLU(), nn.Linear(token, token)
        )
        self.pos_proj = nn.Linear(4, token)
        self.gaze_predictor = nn.Sequential(
            nn.Linear(8 * width, features), nn.ReLU(), nn.Linear(features, 2), nn.Tanh()
        )

    def forward(self, heads: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.backbone(heads.flatten(0, 1)).flatten(1).unflatten(0, boxes.shape[:2])
        vector = F.normalize(self.gaze_predictor(seen), dim=-1)
        return self.gaze_proj(seen) + self.pos_proj(boxes), vector


# --- vision transformer ---------------------------------------------------------------------------


def sincos_positions(side: int, token: int) -> Tensor:
    """Fixed sine-cosine position code (1, token, side, side), x (last axis) in the second half.

    In the checkpoint the first half of the channels varies down the rows and the second half along
    the columns. The value is loaded with the weights; this is what it starts as.
    """
    frequency = 10000.0 ** -(torch.arange(token // 4) / (token // 4))
    angle = torch.arange(side)[:, None] * frequency  # (side, token / 4)
    code = torch.cat([angle.sin(), angle.cos()], 1).T  # (token / 2, side)
    down = code[:, :, None].expand(-1, -1, side)
    along = code[:, None, :].expand(-1, side, -1)
    return torch.cat([down, along])[None].contiguous()


class ImageTokenizer(nn.Module):
    """Patches of the picture plus position: (B, 3, H, W) -> (B, H/p W/p, token)."""

    def __init__(self, token: int, patch: int) -> None:
        super().__init__()
        self.pos_emb = nn.Parameter(sincos_positions(SIZE // patch, token), requires_grad=False)
        self.proj = nn.Conv2d(3, token, patch, stride=patch)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.proj(image)
        return (patches + self.pos_emb.to(patches.dtype)).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, token: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(token, 3 * token)
        self.proj = nn.Linear(token, token)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, tokens, token / heads)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    def __init__(self, token: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(token, eps=1e-6)
        self.attn = Attention(token, heads)
        self.norm2 = nn.LayerNorm(token, eps=1e-6)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(token, 4 * token), "fc2": nn.Linear(4 * token, token)}
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Encoder(nn.Module):
    """The transformer; returns the tokens after every block."""

    def __init__(self, token: int, depth: int, heads: int) -> None:
        super().__init__()
        self.global_tokens = nn.Parameter(torch.zeros(1, 0, token))  # empty in every release
        self.encoder = nn.ModuleList(TransformerBlock(token, heads) for _ in range(depth))

    def forward(self, tokens: Tensor) -> list[Tensor]:
        layers = []
        for block in self.encoder:
            tokens = block(tokens)
            layers.append(tokens)
        return layers


# --- decoders -------------------------------------------------------------------------------------


class Reassemble(nn.Module):
    """A token map (stride 16) at another stride, in the decoder's width."""

    def __init__(self, stride: int, token: int, hidden: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(token, hidden, 1)]
        if stride < 16:
            layers.append(nn.ConvTranspose2d(hidden, hidden, 16 // stride, 16 // stride))
        elif stride > 16:
            layers.append(nn.Conv2d(hidden, hidden, 3, stride=2, padding=1))
        self.resample = nn.Sequential(*layers)
        self.proj = nn.Conv2d(hidden, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.resample(x))


class ResidualConvUnit(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.residual_module = nn.Sequential(
            nn.ReLU(),  # not in place: what came in is added to what comes out
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        seen: Tensor = self.residual_module(x)
        seen += x
        return seen


class Fusion(nn.Module):
    """Joins the map of one stride with the coarser result, and doubles its size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rcu1 = ResidualConvUnit(width)
        self.rcu2 = ResidualConvUnit(width)
        self.proj = nn.Conv2d(width, width, 1)

    def forward(self, here: Tensor, coarser: Tensor | None) -> Tensor:
        x = self.rcu1(here)
        if coarser is not None:
            x += coarser
        x = F.interpolate(self.rcu2(x), scale_factor=2, mode="bilinear", align_corners=True)
        return self.proj(x)


class HeatmapDecoder(nn.Module):
    """Dense prediction decoder, conditioned on each person's token."""

    STRIDES = (4, 8, 16, 32)

    def __init__(self, token: int, width: int, hidden: tuple[int, ...], hooks: tuple[int, ...]):
        super().__init__()
        self.hooks = hooks
        self.reassemble_blocks = nn.ModuleDict(
            {
                f"r{s}": Reassemble(s, token, h, width)
                for s, h in zip(self.STRIDES, hidden, strict=True)
            }
        )
        self.fusion_blocks = nn.ModuleDict({f"f{s}": Fusion(width) for s in self.STRIDES})
        self.gaze_projs = nn.ModuleDict({f"g{s}": nn.Linear(token, width) for s in self.STRIDES})
        self.head = nn.Sequential(
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width // 2, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 1, 1),
        )

    def forward(self, layers: list[Tensor], people: int) -> Tensor:
        side = SIZE // 16
        result = None
        for stride, hook in reversed(list(zip(self.STRIDES, self.hooks, strict=True))):
            image, person = layers[hook].split([side * side, people], dim=1)
            image = image.transpose(1, 2).unflatten(2, (side, side))
            maps = self.reassemble_blocks[f"r{stride}"](image)[:, None]  # (B, 1, width, h, w)
            weights = self.gaze_projs[f"g{stride}"](person)[..., None, None]  # (B, N, width, 1, 1)
            result = self.fusion_blocks[f"f{stride}"]((maps * weights).flatten(0, 1), result)
        heat = F.interpolate(
            self.head(result), size=(HEATMAP, HEATMAP), mode="bilinear", align_corners=False
        )
        return heat[:, 0].unflatten(0, (-1, people))


class ResidualLinear(nn.Module):
    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, outputs, bias=False)
        self.bn2 = nn.BatchNorm1d(outputs)
        self.res_fc = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.bn1(self.fc1(x)))
        return torch.relu(self.bn2(self.fc2(hidden)) + self.res_fc(x))


class InsideDecoder(nn.Module):
    """Final and first token of a person -> logit of "the target lies inside the picture"."""

    def __init__(self, token: int) -> None:
        super().__init__()
        self.block1 = ResidualLinear(2 * token, token, token // 2)
        self.block2 = ResidualLinear(token // 2, token // 4, token // 8)
        self.fc = nn.Linear(token // 8, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.block2(self.block1(tokens)))[:, 0]


class Sharingan(nn.Module):
    """The network; the defaults are those of every released checkpoint."""

    def __init__(
        self,
        token: int = 768,
        depth: int = 12,
        attention_heads: int = 12,
        features: int = 512,
        backbone_width: int = 64,
        decoder_width: int = 128,
        decoder_hidden: tuple[int, ...] = (48, 96, 192, 384),
        hooks: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        hooks = hooks or tuple((depth * part) // 4 - 1 for part in (1, 2, 3, 4))  # 2, 5, 8, 11
        self.gaze_encoder = GazeEncoder(token, features, backbone_width)
        self.image_tokenizer = ImageTokenizer(token, 16)
        self.encoder = Encoder(token, depth, attention_heads)
        self.heatmap_decoder = HeatmapDecoder(token, decoder_width, decoder_hidden, hooks)
        self.inout_decoder = InsideDecoder(token)

    def forward(self, image: Tensor, heads: Tensor, boxes: Tensor) -> Prediction:
        """Gaze of N people in each of B pictures; people of one picture see each other.

        Args:
            image: (B, 3, 224, 224), the squashed picture, normalised by `MEAN` and `STD`.
            heads: (B, N, 3, 224, 224), head crops, normalised likewise. N of at least 1.
            boxes: (B, N, 4), the heads' squares cut to the picture, normalised xyxy.

        Returns:
            A `Prediction`. Gradients reach ``image`` (heat map and inside only) and ``heads``.
        """
        people = heads.shape[1]
        persons, vector = self.gaze_encoder(heads, boxes)
        layers = self.encoder(torch.cat([self.image_tokenizer(image), persons], dim=1))
        heatmap = self.heatmap_decoder(layers, people)
        both = torch.cat([layers[-1][:, -people:], persons], dim=-1).flatten(0, 1)
        return Prediction(vector, heatmap, self.inout_decoder(both).unflatten(0, (-1, people)))


# --- checkpoints ----------------------------------------------------------------------------------


def infer(state: Mapping[str, Tensor]) -> Sharingan:
    """An empty network of the sizes that a state dict's names and shapes tell.

    Attention heads leave no trace in the shapes; they are 64 wide, as in every ViT-B.

    Raises:
        UsageError: these are not the weights of a Sharingan network.
    """
    try:
        token = state["gaze_encoder.pos_proj.weight"].shape[0]
        features = state["gaze_encoder.gaze_predictor.0.weight"].shape[0]
        width = state["gaze_encoder.backbone.0.weight"].shape[0]
        hidden = tuple(
            state[f"heatmap_decoder.reassemble_blocks.r{s}.resample.0.weight"].shape[0]
            for s in HeatmapDecoder.STRIDES
        )
        decoder = state["heatmap_decoder.head.0.weight"].shape[1]
    except KeyError as error:
        raise UsageError(f"not a Sharingan checkpoint: {error.args[0]} is missing") from None
    depth = len({m[1] for k in state if (m := re.match(r"encoder\.encoder\.(\d+)\.", k))})
    return Sharingan(token, depth, max(1, token // 64), features, width, decoder, hidden)


def load(path: str | Path) -> Sharingan:
    """The network of an official checkpoint (``gazefollow.pt`` and its siblings), in eval mode.

    The file is a Lightning checkpoint: its ``state_dict`` holds the tensors under ``model.``; a
    bare state dict and ``.safetensors`` load as well.

    Raises:
        ModelMissing: there is no such file. UsageError: it is no Sharingan checkpoint.
    """
    state = {
        key.removeprefix("model."): value
        for key, value in weights.read(path, "Sharingan").items()
        if not key.startswith(("metrics.", "val_", "test_"))  # states of Lightning's metrics
    }
    try:
        with torch.device("meta"):
            network = infer(state)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    weights.fill(network, state, path, "Sharingan")
    network.image_tokenizer.pos_emb.requires_grad_(False)
    return network
