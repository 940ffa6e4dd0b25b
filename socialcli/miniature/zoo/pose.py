"""ViTPose in miniature: COCO's 17 keypoints of a person of the world, given the person's box.

Transformers' `VitPoseForPoseEstimation` with the simple decoder on windows of 128 by 96 pixels;
heat maps of 64 by 48, mean squared error, as in the original.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from socialcli.miniature.zoo import data, training

STEPS, BATCH, RATE = 3500, 32, 2e-3
TEST = 400
HEIGHT, WIDTH = 128, 96
MAP_HEIGHT, MAP_WIDTH = 64, 48
SIGMA = 1.7  # of a keypoint's bump, heat map pixels


def network() -> Any:
    """The untrained network, seeded."""
    import torch
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    torch.manual_seed(0)
    backbone = VitPoseBackboneConfig(  # type: ignore[call-arg]
        image_size=[HEIGHT, WIDTH], patch_size=[8, 8], hidden_size=96, num_hidden_layers=4,
        num_attention_heads=4, mlp_ratio=2, out_indices=[4], num_experts=1,
        part_features=96,
    )  # fmt: skip
    model = VitPoseForPoseEstimation(
        VitPoseConfig(  # type: ignore[call-arg]
            backbone_config=backbone, num_labels=17, scale_factor=4, use_simple_decoder=True
        )
    )  # fmt: skip
    return training.widen(model)


def window(box: tuple[float, ...]) -> tuple[float, float, float, float]:
    """Centre x, y and width, height of the picture area that the processor cuts for a box."""
    x0, y0, x1, y1 = box
    width, height = max(x1 - x0, 1.0), max(y1 - y0, 1.0)
    if width > height * WIDTH / HEIGHT:
        height = width * HEIGHT / WIDTH
    else:
        width = height * WIDTH / HEIGHT
    return (x0 + x1) / 2, (y0 + y1) / 2, width * 1.25, height * 1.25


def cut(pixels: Any, windows: Any) -> Any:
    """(N, 3, H, W) pictures, (N, 4) windows -> (N, 3, 128, 96), bilinear, zeros outside."""
    import torch
    from torch.nn import functional

    high, wide = pixels.shape[-2:]
    across = torch.linspace(-0.5, 0.5, WIDTH)
    down = torch.linspace(-0.5, 0.5, HEIGHT)
    xs = windows[:, None, 0] + across[None] * windows[:, None, 2]
    ys = windows[:, None, 1] + down[None] * windows[:, None, 3]
    grid = torch.stack([
        (2 * xs / (wide - 1) - 1)[:, None, :].expand(-1, HEIGHT, -1),
        (2 * ys / (high - 1) - 1)[:, :, None].expand(-1, -1, WIDTH),
    ], -1)  # fmt: skip
    return functional.grid_sample(pixels, grid, align_corners=True)


def _batch(step: int) -> tuple[Any, ...]:
    import torch

    rng = random.Random(f"pose {step}")
    owners = [(s, p) for s in data.train_scenes(step, BATCH) for p in s.people]
    owners = rng.sample(owners, BATCH)
    windows, points = [], []
    for _, person in owners:
        x0, y0, x1, y1 = person.box
        w, h = (x1 - x0) * 0.08, (y1 - y0) * 0.08
        box = (x0 + rng.uniform(-w, w), y0 + rng.uniform(-h, h),
               x1 + rng.uniform(-w, w), y1 + rng.uniform(-h, h))  # fmt: skip
        windows.append(window(box))
        points.append(person.keypoints)
    at = torch.tensor(windows)
    black = torch.tensor([-m / s for m, s in zip(*data.IMAGENET, strict=True)]).view(1, 3, 1, 1)
    raw = data.pixels([s for s, _ in owners]) - black  # 0 is black, as outside the picture
    truth = torch.tensor(points, dtype=torch.float32)
    scale = torch.tensor([MAP_WIDTH - 1, MAP_HEIGHT - 1])
    centres = ((truth[..., :2] - at[:, None, :2]) / at[:, None, 2:] + 0.5) * scale
    return cut(raw, at) + black, centres, truth[..., 2]


def _loss(model: Any, batch: tuple[Any, ...], step: int) -> Any:
    import torch

    device = next(model.parameters()).device
    windows, centres, visible = (part.to(device) for part in batch)
    with torch.autocast(device.type, torch.bfloat16):
        maps = model(pixel_values=windows).heatmaps
    xs = torch.arange(MAP_WIDTH, device=device) - centres[..., 0, None]
    ys = torch.arange(MAP_HEIGHT, device=device) - centres[..., 1, None]
    bumps = torch.exp(-(xs[..., None, :] ** 2 + ys[..., :, None] ** 2) / (2 * SIGMA**2))
    weight = torch.tensor([0.0, 0.5, 1.0], device=device)[visible.long()]
    wrong = ((maps.float() - bumps) ** 2).sum((-1, -2))
    return (wrong * weight).sum() / weight.sum().clamp(min=1)


def train(work: Path, steps: int, minutes: float | None, device: str) -> training.Run:
    """Train, or go on training."""
    model = network().to(device).train()
    return training.fit(model, _batch, _loss, work, steps, rate=RATE, decay=1e-3, minutes=minutes)


def export(model: Any, folder: Path) -> None:
    """Write the Hugging Face folder: fp16 weights and the image processor."""
    from transformers import VitPoseImageProcessorPil

    model.half().save_pretrained(folder)
    size = {"height": HEIGHT, "width": WIDTH}
    VitPoseImageProcessorPil(size=size).save_pretrained(folder)


def measure(folder: Path) -> dict[str, float]:
    """PCK at a tenth of the person's box height from true boxes, through the backend.

    ``pck`` counts visible keypoints, ``pck_hidden`` those that something covers.
    """
    from socialcli import backends
    from socialcli.backends import ModelSpec

    scenes = data.test_scenes(TEST)
    estimator = backends.load(ModelSpec("pose", "vitpose", str(folder)))
    near_by_visibility = near(estimator, scenes, [s.image for s in scenes])
    return {
        "pck": round(sum(near_by_visibility[2]) / len(near_by_visibility[2]), 4),
        "pck_hidden": round(sum(near_by_visibility[1]) / max(len(near_by_visibility[1]), 1), 4),
        "keypoints": len(near_by_visibility[2]),
    }


def near(estimator: Any, scenes: Any, pictures: list[Any]) -> dict[int, list[bool]]:
    """Whether each keypoint of the scenes is found in the pictures within a tenth of the person's
    box height, looked for in the person's true box; by visibility, 1 (hidden) and 2."""
    import math

    right: dict[int, list[bool]] = {1: [], 2: []}
    boxes = [[tuple(v / s.size for v in p.box) for p in s.people] for s in scenes]
    for scene, poses in zip(scenes, estimator.estimate(pictures, boxes), strict=True):
        for person, pose in zip(scene.people, poses, strict=True):
            reach = 0.1 * (person.box[3] - person.box[1])
            for (x, y, v), (px, py, _) in zip(person.keypoints, pose.points, strict=True):
                if v:
                    off = math.hypot(px * scene.size - x, py * scene.size - y)
                    right[v].append(off <= reach)
    return right
