"""A tiny FastComposer with random weights, in the one file that its authors publish."""

from __future__ import annotations

from pathlib import Path

from tiny import diffusion

SIDE = 32  # pixels that its vision tower sees
_OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def own_networks(seed: int = 0):
    """(vision tower with projection, postfuse network), eval mode."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from socialcli.networks import fast_composer

    torch.manual_seed(seed + 20)
    tower = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=64, intermediate_size=32, num_hidden_layers=3, num_attention_heads=1,
            image_size=SIDE, patch_size=8, projection_dim=diffusion.WIDTH,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.normal_(std=0.2)
    postfuse = fast_composer.Postfuse(diffusion.WIDTH)
    with torch.no_grad():  # so that a picture shows what is fused
        postfuse.layer_norm.weight.normal_(std=8)
    return tower.eval(), postfuse.eval()


def checkpoint(file: Path) -> Path:
    """``pytorch_model.bin``: everything in one state dict, as the packages of its time wrote it."""
    import torch

    vae, text_encoder, unet, _ = diffusion.networks()
    tower, postfuse = own_networks()
    state = {f"unet.{name}": t for name, t in unet.state_dict().items()}
    for name, tensor in vae.state_dict().items():
        if ".attentions." in name:
            for new, old in _OLD.items():
                name = name.replace(f".{new}.", f".{old}.")
        state[f"vae.{name}"] = tensor
    for name, tensor in text_encoder.state_dict().items():
        state[f"text_encoder.{name.removeprefix('text_model.')}"] = tensor
    state["text_encoder.embeddings.position_ids"] = torch.arange(diffusion.TOKENS)[None]
    state |= {f"image_encoder.{name}": t for name, t in tower.state_dict().items()}
    positions = torch.arange((SIDE // 8) ** 2 + 1)[None]
    state["image_encoder.vision_model.embeddings.position_ids"] = positions
    state |= {f"postfuse_module.{name}": t for name, t in postfuse.state_dict().items()}
    torch.save(state, file)
    return file
