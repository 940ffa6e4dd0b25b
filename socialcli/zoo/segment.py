"""Segment Anything in miniature: a mask for a box in a picture of the world.

Transformers' `SamModel` with a patch of 4 pixels, so that its low-resolution masks are the
picture's own 96 by 96. Focal and dice loss on the best of the three masks, and the predicted IoU
against the true one, as in the original.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from socialcli.zoo import data, training

STEPS, BATCH, RATE = 6000, 12, 2e-3
PROMPTS = 3  # boxes a training picture
TEST = 300


def network() -> Any:
    """The untrained network, seeded."""
    import torch
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    # The decoder draws masks with an eighth of its width in channels: 8 were too few (IoU 0.57).
    side, patch, width = data.SIZE, 4, 128
    model = SamModel(
        SamConfig(
            vision_config={
                "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
                "image_size": side, "patch_size": patch, "output_channels": width,
                "num_pos_feats": width // 2, "global_attn_indexes": [3], "window_size": 6,
                "mlp_ratio": 2.0,
            },
            prompt_encoder_config={
                "hidden_size": width, "image_size": side, "patch_size": patch,
                "mask_input_channels": 8,
            },
            mask_decoder_config={
                "hidden_size": width, "mlp_dim": 128, "num_attention_heads": 4,
                "iou_head_hidden_dim": 64,
            },
        )
    )  # fmt: skip
    with torch.no_grad():
        # transformers draws these frequencies half the width times too high (the original's scale
        # is 1): neighbouring coordinates then look unrelated and no box can be learnt.
        frequencies = model.shared_image_embedding.positional_embedding
        frequencies.div_(frequencies.std())
    return training.widen(model)


def _batch(step: int) -> tuple[Any, ...]:
    import numpy
    import torch

    scenes = data.train_scenes(step, BATCH)
    rng = random.Random(f"segment {step}")
    boxes, masks = [], []
    for scene in scenes:
        every = scene.everything
        # Things are harder than people, and fewer.
        chosen = [
            rng.choice(every[len(scene.people) :] or every),
            *rng.choices(every, k=PROMPTS - 1),
        ]
        for one in chosen:
            x0, y0, x1, y1 = one.box
            loose = rng.choice((0.0, 0.0, 0.06))  # of the box's sides: detectors are not exact
            w, h = (x1 - x0) * loose, (y1 - y0) * loose
            boxes.append([x0 + rng.uniform(-w, w), y0 + rng.uniform(-h, h),
                          x1 + rng.uniform(-w, w), y1 + rng.uniform(-h, h)])  # fmt: skip
            masks.append(one.mask)
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(BATCH, PROMPTS, 4)
    truth = torch.from_numpy(numpy.stack(masks)).float().reshape(BATCH, PROMPTS, 1, data.SIZE, -1)
    return data.pixels(scenes), corners, truth


def _loss(model: Any, batch: tuple[Any, ...], step: int) -> Any:
    import torch
    from torch.nn import functional

    device = next(model.parameters()).device
    pixels, corners, truth = (part.to(device) for part in batch)
    with torch.autocast(device.type, torch.bfloat16):
        features = model.get_image_embeddings(pixels)
    out = model(image_embeddings=features.float(), input_boxes=corners, multimask_output=True)
    logits = out.pred_masks  # (B, prompts, 3, 96, 96)
    truth = truth.expand_as(logits)
    p = logits.sigmoid()
    agree = p * truth + (1 - p) * (1 - truth)
    cross = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    focal = (cross * (1 - agree) ** 2).mean((-1, -2))
    dice = 1 - (2 * (p * truth).sum((-1, -2)) + 1) / (p.sum((-1, -2)) + truth.sum((-1, -2)) + 1)
    each = 20 * focal + dice
    with torch.no_grad():
        hard = logits > 0
        both = (hard & (truth > 0)).sum((-1, -2)).float()
        either = (hard | (truth > 0)).sum((-1, -2)).float()
        iou = both / either.clamp(min=1)
    # The best mask learns most; the others a little, so that none of them dies.
    masks = each.min(-1).values.mean() + 0.1 * each.mean()
    return masks + functional.mse_loss(out.iou_scores, iou)


def train(work: Path, steps: int, minutes: float | None, device: str) -> training.Run:
    """Train, or go on training."""
    model = network().to(device).train()
    return training.fit(model, _batch, _loss, work, steps, rate=RATE, decay=1e-3, minutes=minutes)


def export(model: Any, folder: Path) -> None:
    """Write the Hugging Face folder: fp16 weights and the image processor."""
    from transformers import SamImageProcessorPil

    model.half().save_pretrained(folder)
    square = {"height": data.SIZE, "width": data.SIZE}
    SamImageProcessorPil(
        size={"longest_edge": data.SIZE}, pad_size=square, mask_size={"longest_edge": data.SIZE},
        mask_pad_size=square,
    ).save_pretrained(folder)  # fmt: skip


def measure(folder: Path) -> dict[str, float]:
    """Mean IoU from true boxes, over all instances of the test scenes, through the backend."""
    import numpy

    from socialcli import backends
    from socialcli.backends import ModelSpec

    segmenter = backends.load(ModelSpec("segment", "sam", str(folder)))
    scenes = data.test_scenes(TEST)
    overlaps = []
    for start in range(0, len(scenes), 16):
        part = scenes[start : start + 16]
        every = [s.everything for s in part]
        boxes = [[tuple(v / s.size for v in o.box) for o in e]
                 for s, e in zip(part, every, strict=True)]  # fmt: skip
        found = segmenter.segment([s.image for s in part], boxes)
        for mine, masks in zip(every, found, strict=True):
            for one, segment in zip(mine, masks, strict=True):
                both, either = one.mask & segment.mask, one.mask | segment.mask
                overlaps.append(both.sum() / either.sum())
    return {"mean_iou": round(float(numpy.mean(overlaps)), 4), "instances": len(overlaps)}
