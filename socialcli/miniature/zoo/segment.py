"""Segment Anything in miniature: a mask for a box in a picture of the world.

Transformers' `SamModel` with a patch of 4 pixels, so that its low-resolution masks are the
picture's own 96 by 96. Focal and dice loss on the best of the three masks, and the predicted IoU
against the true one, as in the original.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from socialcli.miniature.zoo import cards, data, training

BATCH, RATE, MUON = 12, 2e-3, 6e-3
CYCLES = ((3500, 1.0), (2500, 0.67))
PROMPTS = 2  # boxes a training picture
DENSE = 6  # what each pixel is asked in training: something? a person? and its box
TEST = 300


def network() -> Any:
    """The untrained network, seeded; ``auxiliary`` is for training only."""
    import torch
    from torch import nn
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    # The decoder draws masks with an eighth of its width in channels: 8 were too few (IoU 0.57).
    side, patch, width = data.SIZE, 4, 128
    model = SamModel(
        SamConfig(  # type: ignore[call-arg]
            vision_config={
                "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 2,
                "image_size": side, "patch_size": patch, "output_channels": width,
                "num_pos_feats": width // 2, "global_attn_indexes": [1], "window_size": 6,
                "mlp_ratio": 2.0, "use_rel_pos": False,
                "initializer_range": 0.02,  # transformers' 1e-10 is as good as all zeros
            },
            prompt_encoder_config={
                "hidden_size": width, "image_size": side, "patch_size": patch,
                "mask_input_channels": 8,
            },
            mask_decoder_config={
                "hidden_size": width, "mlp_dim": 256, "num_attention_heads": 4,
                "iou_head_hidden_dim": 64,
            },
            # Twice as fast here as the fused kernels, whose backward pass is slow on a CPU.
            attn_implementation="eager",
        )
    )  # fmt: skip
    training.widen(model)
    with torch.no_grad():
        # transformers draws these frequencies half the width times too high (the original's scale
        # is 1): neighbouring coordinates then look unrelated and no box can be learnt.
        frequencies = model.shared_image_embedding.positional_embedding
        frequencies.div_(frequencies.std())
        # And the learnt tokens fifty times too small: beside the positions' sines, a box's two
        # corners look alike, and so do the three masks.
        weight: Any
        for name, weight in model.named_parameters():
            if name.endswith(("tokens.weight", "token.weight", "point_embed.weight")) or (
                ".point_embed." in name
            ):
                weight.normal_()
        positions: Any = model.vision_encoder.pos_embed
        positions.normal_(std=0.3)
    model.add_module("auxiliary", nn.Linear(width, patch * patch * DENSE))
    return model


def _batch(step: int) -> tuple[Any, ...]:
    import numpy
    import torch

    scenes = data.train_scenes(step, BATCH)
    rng = random.Random(f"segment {step}")
    boxes, masks, dense = [], [], []
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
        facts = numpy.zeros((int(scene.instances.max()) + 1, DENSE), numpy.float32)
        for one in every:
            facts[one.id] = (1, one.id in {p.id for p in scene.people}, *one.box)
        dense.append(facts[scene.instances])
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(BATCH, PROMPTS, 4)
    truth = torch.from_numpy(numpy.stack(masks)).float().reshape(BATCH, PROMPTS, 1, data.SIZE, -1)
    dense_facts = torch.from_numpy(numpy.stack(dense))
    dense_facts[..., 2:] /= data.SIZE
    return data.pixels(scenes), corners, truth, dense_facts


def _loss(model: Any, batch: tuple[Any, ...], step: int) -> Any:
    import torch
    from torch.nn import functional

    device = next(model.parameters()).device
    pixels, corners, truth, facts = (part.to(device) for part in batch)
    sparse, dense = model.prompt_encoder(None, None, corners, None)
    where = model.get_image_wide_positional_embeddings().expand(len(pixels), -1, -1, -1)
    # Sines are told apart by eight bits; the coordinates they come from were not rounded.
    sparse, dense, where = (part.bfloat16() for part in (sparse, dense, where))
    with torch.autocast(device.type, torch.bfloat16):
        # Not `get_image_embeddings`: that one keeps no gradients, and nothing says so.
        features = model.vision_encoder(pixels).last_hidden_state
        # Once in four steps the mask that is given when only one is asked for.
        logits, scores = model.mask_decoder(
            features, where, sparse, dense, multimask_output=step % 4 != 3
        )
        answers = model.auxiliary(features.permute(0, 2, 3, 1))
    logits, scores = logits.float(), scores.float()  # (B, prompts, 3 or 1, 96, 96)
    truth = truth.expand_as(logits)
    p = logits.sigmoid()
    agree = p * truth + (1 - p) * (1 - truth)
    cross = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    focal = (cross * (1 - agree) ** 2).mean((-1, -2))
    shared = (p * truth).sum((-1, -2))
    dice = 1 - (2 * shared + 1) / (p.sum((-1, -2)) + truth.sum((-1, -2)) + 1)
    with torch.no_grad():
        hard = logits > 0
        both = (hard & (truth > 0)).sum((-1, -2)).float()
        either = (hard | (truth > 0)).sum((-1, -2)).float()
        iou = both / either.clamp(min=1)
    # A box means one thing, so all masks learn alike (the original teaches the best alone).
    masks = (20 * focal + dice).mean()
    return masks + functional.mse_loss(scores, iou) + _dense(answers.float(), facts)


def _dense(answers: Any, facts: Any) -> Any:
    """Every pixel says whether it belongs to something, to a person, and in which box.

    A mask teaches the encoder about one thing; this teaches it about all of the picture.

    Args:
        answers: (B, tokens down, tokens across, 16 * DENSE) from the features.
        facts: (B, 96, 96, DENSE) of the pixels.
    """
    from torch.nn import functional

    count, down, across, _ = answers.shape
    side = facts.shape[1] // down
    answers = (
        answers.reshape(count, down, across, side, side, DENSE).transpose(2, 3).reshape(facts.shape)
    )
    inside = facts[..., 0]
    sure = functional.binary_cross_entropy_with_logits(answers[..., 0], inside)
    person = functional.binary_cross_entropy_with_logits(answers[..., 1], facts[..., 1])
    off = (answers[..., 2:] - facts[..., 2:]).abs().mean(-1)
    return sure + person + 5 * (off * inside).sum() / inside.sum().clamp(min=1)


def train(
    work: Path, cycles: int | training.Cycles, minutes: float | None, device: str, done: int = 0
) -> training.Run:
    """Train, or go on training; the ``done`` first cycles are those of the published weights."""
    import torch
    from transformers import SamModel

    start = None
    if done:
        published = SamModel.from_pretrained(cards.folder("segment"), dtype=torch.float32)
        start = (done, published.state_dict())
    return training.fit(
        network().to(device).train(), _batch, _loss, work, cycles, rate=RATE, decay=1e-3,
        minutes=minutes, muon=MUON, heads=("auxiliary.",), done=start,
    )  # fmt: skip


def export(model: Any, folder: Path) -> None:
    """Write the Hugging Face folder: fp16 weights and the image processor."""
    from transformers import SamImageProcessorPil

    if hasattr(model, "auxiliary"):
        del model.auxiliary
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
        segments = segmenter.segment([s.image for s in part], boxes)
        for instances, masks in zip(every, segments, strict=True):
            for one, segment in zip(instances, masks, strict=True):
                both, either = one.mask & segment.mask, one.mask | segment.mask
                overlaps.append(both.sum() / either.sum())
    return {"mean_iou": round(float(numpy.mean(overlaps)), 4), "instances": len(overlaps)}
