"""`tests/true_size.py` with tiny networks: each feedback alone reaches every layer of the UNet."""

from __future__ import annotations

import math
from pathlib import Path

import true_size


def test_each_feedback_has_a_gradient_in_every_subject_layer(tmp_path: Path) -> None:
    true_size.write(tmp_path, true_size.SMALL)
    true_size.sample(tmp_path / "sample.tar", 128)
    gradients = true_size.gradients(tmp_path, 128)
    for name in true_size.FEEDBACKS:
        value, reached, layers, largest = gradients[name]
        assert math.isfinite(value) and value > 0, name
        assert reached == layers == 20, name
        assert 0 < largest < 10, name
    assert gradients["regularisation"][1] == 0  # of the aligner alone


def test_sizes_are_those_that_are_published() -> None:
    """Parameters of Stable Diffusion 1.5's UNet and of CLIP ViT-L/14's vision tower."""
    import torch
    from diffusers import UNet2DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModel

    sizes = true_size.PUBLISHED
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            cross_attention_dim=768, attention_head_dim=8, block_out_channels=sizes.channels
        )
        tower = CLIPVisionModel(CLIPVisionConfig(**sizes.vision))
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964
    assert sum(p.numel() for p in tower.parameters()) == 303_179_776
