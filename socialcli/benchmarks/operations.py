"""What feedback costs at Stable Diffusion 1.5's true size, counted and not timed.

Multiplications and additions of one picture's training step, as `torch.utils.flop_counter` counts
them on networks without weights (the meta device): the UNet with an SSR-Encoder at 512 pixels, its
own decoder and TAESD, ArcFace's IResNet-100, Sharingan, ViTPose-B, and the packaged recogniser of
interactions, forward and backward as far as gradients go in training. Two people and one
interaction are in the picture. Gates and timesteps are the paper's: what a gate lets through counts
by how often that is. What is kept of a sample (latents, texts, CLIP) is not counted, nor is cutting
out of windows.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from socialcli.benchmarks import Figure, Section, table

SIDE, PEOPLE, PAIRS = 512, 2, 1
TOKENS, WIDTH = 77, 768  # of a text
CLIP: dict[str, Any] = {
    "hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14,
}  # fmt: skip
PATCHES = (224 // 14) ** 2 + 1
INTERACTION = Path(__file__).parent.parent / "miniature" / "weights" / "interaction"
SHARES = (1.0, 0.5, 0.25, 0.125)  # of the samples that are asked about
GRID = 30_000  # uniform numbers that stand for all


def run(turns: int) -> Section:
    """A Markdown table; ``turns`` changes nothing, for counting has no noise."""
    cost, open_ = costs(), openings()
    plain = cost["plain"]
    rows, ratios = [], {}
    for decoder in ("full", "tiny"):
        for share in SHARES:
            total = step(cost, open_, decoder, share)
            ratios[decoder, share] = total / plain
            rows.append([decoder, f"{share:g}", f"{total / 1e12:.2f}", f"{total / plain:.2f}"])
    without = {name: value for name, value in open_.items() if name != "boundary"}
    total = step(cost, without, "tiny", 1.0)
    rows.append(["tiny, without boundary", "1", f"{total / 1e12:.2f}", f"{total / plain:.2f}"])
    head = table(["decoder", "share", "TFLOP a picture", "times the plain step"], rows)
    parts = [
        [name, f"{cost[name] / 1e12:.3f}", f"{open_[name]:.2f}" if name in open_ else ""]
        for name in cost
    ]
    each = table(["part, forward and backward", "TFLOP", "let through by its gate"], parts)
    text = f"## Feedback at Stable Diffusion 1.5's size\n\n{head}\n\n{each}"
    figures = [
        Figure("all feedbacks, small decoder, operations at SD 1.5's size over the plain step",
               ratios["tiny", 1.0], 1.6, lower=True),
        Figure("all feedbacks, the model's own decoder, the same", ratios["full", 1.0], 1.6,
               lower=True),
    ]  # fmt: skip
    return Section(text, figures)


def step(cost: dict[str, float], open_: dict[str, float], decoder: str, share: float) -> float:
    """Operations of a picture's step on average.

    Args:
        cost: see `costs`. open_: see `openings`, of the feedbacks in use. decoder: full or tiny.
        share: as ``--feedback-share``.
    """
    asked = sum(open_[name] * cost[name] for name in open_)
    # Gates begin at timestep 0: the widest of them lets through what any of them does.
    return cost["plain"] + share * (max(open_.values()) * cost[f"decoder, {decoder}"] + asked)


def openings() -> dict[str, float]:
    """The share of samples that each feedback's gate lets through, with the paper's timesteps."""
    import torch

    from socialcli.diffusion import timesteps
    from socialcli.training.feedback import all_feedbacks

    uniform = (torch.arange(GRID, dtype=torch.float64) + 0.5) / GRID
    drawn = timesteps.piecewise(uniform)
    shares = {}
    for name, part in all_feedbacks().items():
        gate = timesteps.Gate(*timesteps.parse(name, part.GATE), 1.0)
        shares[name] = float(gate.open(drawn).double().mean())
    return shares


def costs() -> dict[str, float]:
    """Operations of a picture: of the plain step, of both decoders, of each feedback's network
    with all that the picture holds for it."""
    import torch

    from socialcli.losses import boundary

    with torch.device("meta"):
        latents = torch.randn(1, 4, SIDE // 8, SIDE // 8, requires_grad=True)
        picture = torch.randn(1, 3, SIDE, SIDE, requires_grad=True)
        own, small = _decoders()
        counts = {
            "plain": counted(_plain_step()),
            "decoder, full": counted(lambda: own(latents)),
            "decoder, tiny": counted(lambda: small(latents)),
            "boundary": counted(
                lambda: boundary.loss(picture, picture.detach(), picture[:, :1].detach())
            ),
        }
        for name, (call, inputs) in _detectors().items():
            counts[name] = counted(functools.partial(call, *inputs))
    return counts


def counted(forward: Callable[[], Any]) -> float:
    """Operations of a call and of its backward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        outcome = forward()
        parts = [outcome] if hasattr(outcome, "sum") else list(outcome)
        sum(part.sum() for part in parts if part.requires_grad).backward()
    return float(counter.get_total_flops())


def unet() -> Any:
    """Stable Diffusion 1.5's UNet, on the default device, with random weights."""
    from diffusers import UNet2DConditionModel

    model: Any = UNet2DConditionModel(
        sample_size=64, cross_attention_dim=WIDTH, attention_head_dim=8
    )
    return model.requires_grad_(False)


def autoencoder() -> Any:
    """Stable Diffusion 1.5's autoencoder, likewise."""
    from diffusers import AutoencoderKL

    levels = 4
    model: Any = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=SIDE,
    )  # fmt: skip
    return model.requires_grad_(False)


def pose_network() -> Any:
    """ViTPose-B with its simple decoder, likewise."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    backbone: dict[str, Any] = {"out_indices": [12]}
    whole: dict[str, Any] = {"num_labels": 17, "use_simple_decoder": True}
    return VitPoseForPoseEstimation(
        VitPoseConfig(backbone_config=VitPoseBackboneConfig(**backbone), **whole)
    )


def _decoders() -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    from socialcli.networks import tiny_decoder

    own = autoencoder()
    small = tiny_decoder.create(4, 64, [3, 3, 3, 1]).requires_grad_(False)
    return lambda latents: own.decode(latents).sample, small


def _plain_step() -> Callable[[], Any]:
    """Denoising with subject tokens: backward through the UNet to the SSR-Encoder."""
    import torch
    from transformers import CLIPVisionConfig

    from socialcli.networks.ssr_encoder import SCALES, SSREncoder

    network = unet()
    encoder = SSREncoder.create(network, CLIPVisionConfig(**CLIP), WIDTH)
    encoder.attach(network)
    features = torch.randn(1, SCALES * PATCHES, CLIP["hidden_size"])
    text = torch.randn(1, TOKENS, WIDTH)
    noisy, when = torch.randn(1, 4, SIDE // 8, SIDE // 8), torch.zeros(1, dtype=torch.int64)

    def forward() -> Any:
        subject = encoder.subject_tokens(features, text)
        condition = encoder.condition(text, [subject], [1.0])
        return network(noisy, when, **condition).sample

    return forward


def _detectors() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Network and inputs of each feedback that has a network."""
    import torch

    from socialcli.networks import interactions, iresnet, sharingan

    def pixels(*shape: int) -> Any:
        return torch.randn(*shape, requires_grad=True)

    pose = _frozen(pose_network())
    config = json.loads((INTERACTION / interactions.CONFIG).read_text(encoding="utf-8"))
    config.pop("model_type")
    recogniser = _frozen(interactions.InteractionNetwork(config))
    faces = _frozen(iresnet.IResNet(iresnet.DEPTHS["iresnet100"]))
    window = recogniser.window
    side = sharingan.SIZE
    heads = (pixels(1, 3, side, side), pixels(1, PEOPLE, 3, side, side), torch.rand(1, PEOPLE, 4))
    return {
        "identity": (faces, (pixels(PEOPLE, 3, iresnet.INPUT_SIZE, iresnet.INPUT_SIZE),)),
        "gaze": (_frozen(sharingan.Sharingan()), heads),
        "pose": (lambda seen: pose(seen).heatmaps, (pixels(PEOPLE, 3, 256, 192),)),
        "interaction": (
            recogniser.judge, (pixels(PAIRS, 5, window, window), torch.rand(PAIRS, 8)),
        ),
    }  # fmt: skip


def _frozen(network: Any) -> Any:
    return network.requires_grad_(False).eval()
