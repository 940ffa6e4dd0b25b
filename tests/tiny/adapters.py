"""Tiny adapter files with random weights, in the layouts of the official ones."""

from __future__ import annotations

from pathlib import Path

FACE = 512  # numbers of a face embedding, those of insightface's packs
CLIP, PROJECTED, PIXELS = 16, 12, 32  # of the vision tower: width, embedding, side of its picture
DEPTH = 4  # layers of a resampler, as diffusers expects


def vision(folder: Path) -> Path:
    """CLIP's vision tower with its processor."""
    import torch
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    torch.manual_seed(2)
    config = CLIPVisionConfig(
        hidden_size=CLIP, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2,
        image_size=PIXELS, patch_size=8, projection_dim=PROJECTED,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": PIXELS}, crop_size={"height": PIXELS, "width": PIXELS}
    ).save_pretrained(folder)
    return folder


def attention(unet, rank: int = 0) -> dict:
    """``ip_adapter``: keys and values of tokens in each cross-attention, with FaceID's low-rank
    part beside all attentions where ``rank`` is not 0."""
    import torch

    width, weights = unet.config.cross_attention_dim, {}
    for number, name in enumerate(unet.attn_processors):
        layer = unet.get_submodule(name.removesuffix(".processor"))
        if rank:
            for side in ("q", "k", "v", "out"):
                module = layer.to_out[0] if side == "out" else getattr(layer, f"to_{side}")
                out, given = module.weight.shape
                down, up = torch.randn(rank, given) * 0.3, torch.randn(out, rank) * 0.3
                weights[f"{number}.to_{side}_lora.down.weight"] = down
                weights[f"{number}.to_{side}_lora.up.weight"] = up
        if name.endswith("attn2.processor"):
            for side in ("k", "v"):
                weight = torch.randn(layer.to_k.out_features, width) * 0.3
                weights[f"{number}.to_{side}_ip.weight"] = weight
    return weights


def _norm(width: int, name: str) -> dict:
    import torch

    return {f"{name}.weight": torch.rand(width) + 0.5, f"{name}.bias": torch.randn(width) * 0.1}


def _linear(out: int, given: int, name: str, bias: bool = True) -> dict:
    import torch

    weights = {f"{name}.weight": torch.randn(out, given) / given**0.5}
    return {**weights, f"{name}.bias": torch.randn(out) * 0.1} if bias else weights


def resampler(dim: int, given: int, out: int, head: int = 64) -> dict:
    """Layers that read a sequence of ``given`` channels with queries of ``dim``."""
    weights = {**_linear(dim, given, "proj_in"), **_linear(out, dim, "proj_out"),
             **_norm(out, "norm_out")}  # fmt: skip
    for n in range(DEPTH):
        weights |= {
            **_norm(dim, f"layers.{n}.0.norm1"), **_norm(dim, f"layers.{n}.0.norm2"),
            **_linear(head, dim, f"layers.{n}.0.to_q", False),
            **_linear(2 * head, dim, f"layers.{n}.0.to_kv", False),
            **_linear(dim, head, f"layers.{n}.0.to_out", False),
            **_norm(dim, f"layers.{n}.1.0"),
            **_linear(4 * dim, dim, f"layers.{n}.1.1", False),
            **_linear(dim, 4 * dim, f"layers.{n}.1.3", False),
        }  # fmt: skip
    return weights


def projection(kind: str, width: int) -> dict:
    """``image_proj`` of a kind: plain, plus, full-face, faceid, faceid-plus, instantid."""
    import torch

    torch.manual_seed(sum(map(ord, kind)))
    if kind == "plain":
        return {**_linear(4 * width, PROJECTED, "proj"), **_norm(width, "norm")}
    if kind in ("plus", "instantid"):
        given = CLIP if kind == "plus" else FACE
        return {"latents": torch.randn(1, 5, 24), **resampler(24, given, width)}
    if kind == "full-face":
        return {**_linear(CLIP, CLIP, "proj.0"), **_linear(width, CLIP, "proj.2"),
                **_norm(width, "proj.3")}  # fmt: skip
    face = {**_linear(2 * FACE, FACE, "proj.0"), **_linear(4 * width, 2 * FACE, "proj.2"),
            **_norm(width, "norm")}  # fmt: skip
    if kind == "faceid":
        return face
    inner = resampler(width, CLIP, width)
    return {**face, **{f"perceiver_resampler.{name}": t for name, t in inner.items()}}


def parts(kind: str, unet) -> dict:
    """Both parts of a file."""
    rank = 3 if kind.startswith("faceid") else 0
    first = projection(kind, unet.config.cross_attention_dim)
    return {"image_proj": first, "ip_adapter": attention(unet, rank)}


def photomaker(version: int, unet) -> dict:
    """Both parts of a PhotoMaker of version 1 or 2: a CLIP tower 64 wide, results as wide as the
    texts of ``unet``, and a LoRA in the names of old versions of diffusers."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(10 + version)
    width, hidden, first = unet.config.cross_attention_dim, 64, 24
    tower = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=hidden, intermediate_size=32, num_hidden_layers=2, num_attention_heads=1,
            image_size=PIXELS, patch_size=8, projection_dim=first,
        )
    )  # fmt: skip
    names = {
        n: t.detach().clone() for n, t in tower.state_dict().items() if "position_ids" not in n
    }
    encoder = {
        n if n.startswith("vis") else f"vision_model.{n}": t for n, t in names.items()
    } | _linear(width - first, hidden, "visual_projection_2", False)
    for name, given in (("mlp1", 2 * width), ("mlp2", width)):
        encoder |= {
            **_norm(given, f"fuse_module.{name}.layernorm"),
            **_linear(width, given, f"fuse_module.{name}.fc1"),
            **_linear(width, width, f"fuse_module.{name}.fc2"),
        }
    encoder |= _norm(width, "fuse_module.layer_norm")
    if version == 2:
        inner = resampler(width, hidden, width, head=128)
        encoder |= {
            **_linear(64, FACE, "qformer_perceiver.token_proj.0"),
            **_linear(2 * width, 64, "qformer_perceiver.token_proj.2"),
            **_norm(width, "qformer_perceiver.token_norm"),
            **{f"qformer_perceiver.perceiver_resampler.{n}": t for n, t in inner.items()},
        }
    lora = {}
    for name in unet.attn_processors:
        layer = unet.get_submodule(name.removesuffix(".processor"))
        out, given = layer.to_k.weight.shape
        for side, shape in (("down", (2, given)), ("up", (out, 2))):
            lora[f"unet.{name}.to_k_lora.{side}.weight"] = torch.randn(shape) * 0.3
    return {"id_encoder": encoder, "lora_weights": lora}


def mip(unet, kind: str = "plain") -> dict:
    """Both parts of a MIP-Adapter: those of an IP-Adapter, and a gate in each cross-attention."""
    import torch

    state = parts(kind, unet)
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            channels = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
            state["ip_adapter"][f"{number}.text_to_weight.weight"] = torch.randn(1, channels)
    return state
