"""A tiny CMMP checkpoint with random weights, in the layout of the official HICO-DET files."""

from __future__ import annotations

from pathlib import Path

import torch

from socialcli.networks import cmmp, cmmp_clip, detr

SHAPES = cmmp.Shapes(
    detr.Sizes((1, 1, 1, 1), (4, 4, 4, 8), 4, 32, 32, 1, 2, 20, 81),
    cmmp_clip.TowerSizes(64, 2, 16, 14, 16, 8, (1, 1)),
    cmmp_clip.TextSizes(64, 1, 49408, 77, 16),
    ((24, 64), (117, 1, 64), (117, 52, 64)),
    (10, 36),
    (16, 8),
)


def network(seed: int = 0) -> cmmp.CMMP:
    """Weights that spread: its detector sees several people and things in a noisy picture."""
    torch.manual_seed(seed)
    model = cmmp.CMMP(SHAPES)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1:
                value.normal_(0, (2 / value[0].numel()) ** 0.5)
            elif name.endswith(("scale", "logit_scale_H", "logit_scale_O", "logit_scale_text")):
                value.normal_(1, 0.2)
        learner, text = model.clip_head.prompt_learner, model.clip_head.text_encoder
        text.token_embedding.weight.copy_(text.token_embedding.weight.half())  # as it is kept
        learner.token_suffix.normal_(0, 0.2)
        learner.token_suffix[:, 12] = text.token_embedding.weight[cmmp_clip.END]
        detector = model.detector
        detector.query_embed.weight.mul_(6)
        detector.bbox_embed.layers[-1].weight.mul_(2)
        detector.bbox_embed.layers[-1].bias[2:] -= 1
        for layer in detector.transformer["decoder"].layers:
            layer.multihead_attn.in_proj_weight.mul_(3)
        detector.class_embed.weight.mul_(12)
        detector.class_embed.bias[-1] -= 4
    return model.eval()


def checkpoint(folder: Path, seed: int = 0, seen: torch.Tensor | None = None, **changed) -> Path:
    """A file as the authors' training writes it: weights under ``model_state_dict`` beside others.

    Args:
        seen: a picture (1, 3, H, W) for the detector. The two classes that most of its queries are
            become person and dog.
        changed: weights to be put in place of others; None leaves one out.
    """
    model = network(seed)
    if seen is not None:
        with torch.no_grad():
            classes = model.detector(seen)[0][0, :, :-1].argmax(-1).tolist()
            common = sorted(set(classes), key=lambda one: -classes.count(one))
            for place, one in zip((0, 16), common, strict=False):
                for rows in (model.detector.class_embed.weight, model.detector.class_embed.bias):
                    rows[[place, one]] = rows[[one, place]].clone()
                common = [one if c == place else c for c in common]
    state = {**model.state_dict(), **changed}
    state = {name: value for name, value in state.items() if value is not None}
    table = "clip_head.text_encoder.token_embedding.weight"
    state[table] = state[table].half()
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(
        {"epoch": 15, "iteration": 35175, "model_state_dict": state, "optim_state_dict": {}},
        folder / "ckpt_35175_15.pt",
    )
    return folder / "ckpt_35175_15.pt"
