"""A tiny X-Pose of random weights in the official layout, and the CLIP that it goes with."""

from __future__ import annotations

import argparse
from pathlib import Path

FILE = "unipose_tiny.pth"
WORDS = 16  # channels of CLIP's text features


def sizes():
    from socialcli.networks.xpose.network import Sizes

    return Sizes(
        swin_width=8, swin_depths=(1, 1, 2, 1), swin_heads=(1, 2, 2, 4), window=4, width=32,
        encoder_points=2, decoder_points=2, encoder_depth=2, decoder_depth=4, hidden=32, fusion=16,
        queries=60, words=WORDS,
    )  # fmt: skip


def network():
    """The network itself: eval mode, boxes large enough to overlap somebody."""
    import torch

    from socialcli.networks.xpose.network import XPose

    torch.manual_seed(0)
    model = XPose(sizes())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        for head in model.bbox_embed:
            head.layers[-1].bias[2:] += 0.7
    return model.eval()


def checkpoint(file: Path, prefix: str = "", text: bool = False) -> Path:
    """A file as the authors' is: weights under ``model``, the heads a second time in the decoder,
    what only training needs, CLIP's vision tower; with ``text``, a text tower as well.

    Args:
        prefix: of all names ("module.", as several processes save it).
    """
    import torch

    state = dict(network().state_dict())
    for name in list(state):
        if name.startswith(("bbox_embed.", "pose_embed.", "pose_hw_embed.")):
            state[f"transformer.decoder.{name}"] = state[name]
    state["label_enc.weight"] = torch.randn(101, 32)
    state |= {"pos_proj.weight": torch.randn(768, 32), "pos_proj.bias": torch.randn(768)}
    state["padding.weight"] = torch.randn(1, 768)
    state["clip_model.visual.proj"] = torch.randn(24, WORDS).half()
    if text:
        state |= {f"clip_model.{name}": value for name, value in openai(tower(seed=5)).items()}
    named = {prefix + name: value for name, value in state.items()}
    torch.save({"model": named, "epoch": 11, "args": argparse.Namespace(modelname="UniPose")}, file)
    return file


def tower(seed: int = 4):
    """A CLIP text tower of transformers, one layer deep, with quick GELU as OpenAI's."""
    import torch
    from tiny.diffusion import tokenizer
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    words = tokenizer()
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=128, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=16, projection_dim=WORDS,
        bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )  # fmt: skip
    model = CLIPTextModelWithProjection(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_()
    return model.eval()


def openai(model) -> dict:
    """A text tower's weights under OpenAI's names."""
    import torch

    old = model.state_dict()
    new = {
        "token_embedding.weight": old["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": old["text_model.embeddings.position_embedding.weight"],
        "ln_final.weight": old["text_model.final_layer_norm.weight"],
        "ln_final.bias": old["text_model.final_layer_norm.bias"],
        "text_projection": old["text_projection.weight"].T.contiguous(),
    }
    layer, block = "text_model.encoder.layers.0.", "transformer.resblocks.0."
    for kind in ("weight", "bias"):
        parts = [old[f"{layer}self_attn.{p}_proj.{kind}"] for p in ("q", "k", "v")]
        new[f"{block}attn.in_proj_{kind}"] = torch.cat(parts)
        new[f"{block}attn.out_proj.{kind}"] = old[f"{layer}self_attn.out_proj.{kind}"]
        new[f"{block}ln_1.{kind}"] = old[f"{layer}layer_norm1.{kind}"]
        new[f"{block}ln_2.{kind}"] = old[f"{layer}layer_norm2.{kind}"]
        new[f"{block}mlp.c_fc.{kind}"] = old[f"{layer}mlp.fc1.{kind}"]
        new[f"{block}mlp.c_proj.{kind}"] = old[f"{layer}mlp.fc2.{kind}"]
    return new


def xpose(folder: Path) -> Path:
    """A folder with a checkpoint and its CLIP: what ``--pose-model`` may name."""
    from tiny.diffusion import tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    checkpoint(folder / FILE)
    tower().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
