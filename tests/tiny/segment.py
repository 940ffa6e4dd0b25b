"""Tiny Segment Anything checkpoints with random weights, in the official formats."""

from __future__ import annotations

from pathlib import Path

SIDE = 64  # of the square the tiny network sees


def official_state(seed: int = 0) -> dict:
    """A state dict in the original package's names and shapes: what its ``Sam`` would save.

    Written from the original's layout, not from transformers' by an inverse map: the comparison
    in ``tests/originals`` proves that the package itself loads it, with no key left over.
    """
    import torch

    make = torch.Generator().manual_seed(seed)
    dim, depth, head, grid, patch, out = 32, 3, 8, SIDE // 16, 16, 32
    state: dict[str, torch.Tensor] = {}

    def weight(name: str, *shape: int) -> None:
        fan_in = max(1, int(torch.tensor(shape[1:]).prod()) if len(shape) > 1 else 1)
        scale = 1.0 if len(shape) == 1 else fan_in**-0.5
        state[name] = torch.randn(shape, generator=make) * scale

    def linear(name: str, n_in: int, n_out: int) -> None:
        weight(f"{name}.weight", n_out, n_in)
        state[f"{name}.bias"] = torch.randn(n_out, generator=make) * 0.1

    def norm(name: str, n: int) -> None:
        state[f"{name}.weight"] = 1 + torch.randn(n, generator=make) * 0.1
        state[f"{name}.bias"] = torch.randn(n, generator=make) * 0.1

    def conv(name: str, *shape: int, bias: int | None = None) -> None:
        weight(f"{name}.weight", *shape)
        if bias is not None:
            state[f"{name}.bias"] = torch.randn(bias, generator=make) * 0.1

    encoder = "image_encoder"
    weight(f"{encoder}.pos_embed", 1, grid, grid, dim)
    conv(f"{encoder}.patch_embed.proj", dim, 3, patch, patch, bias=dim)
    for i in range(depth):
        block = f"{encoder}.blocks.{i}"
        side = grid if i == depth - 1 else 3  # the last block attends globally
        norm(f"{block}.norm1", dim)
        weight(f"{block}.attn.rel_pos_h", 2 * side - 1, head)
        weight(f"{block}.attn.rel_pos_w", 2 * side - 1, head)
        linear(f"{block}.attn.qkv", dim, 3 * dim)
        linear(f"{block}.attn.proj", dim, dim)
        norm(f"{block}.norm2", dim)
        linear(f"{block}.mlp.lin1", dim, 48)
        linear(f"{block}.mlp.lin2", 48, dim)
    conv(f"{encoder}.neck.0", out, dim, 1, 1)
    norm(f"{encoder}.neck.1", out)
    conv(f"{encoder}.neck.2", out, out, 3, 3)
    norm(f"{encoder}.neck.3", out)

    prompt = "prompt_encoder"
    state[f"{prompt}.pe_layer.positional_encoding_gaussian_matrix"] = torch.randn(
        2, out // 2, generator=make
    )
    for i in range(4):
        weight(f"{prompt}.point_embeddings.{i}.weight", 1, out)
    weight(f"{prompt}.not_a_point_embed.weight", 1, out)
    conv(f"{prompt}.mask_downscaling.0", 4, 1, 2, 2, bias=4)
    norm(f"{prompt}.mask_downscaling.1", 4)
    conv(f"{prompt}.mask_downscaling.3", 16, 4, 2, 2, bias=16)
    norm(f"{prompt}.mask_downscaling.4", 16)
    conv(f"{prompt}.mask_downscaling.6", out, 16, 1, 1, bias=out)
    weight(f"{prompt}.no_mask_embed.weight", 1, out)

    decoder = "mask_decoder"
    for i in range(2):
        layer = f"{decoder}.transformer.layers.{i}"
        _attention(linear, f"{layer}.self_attn", out, out)
        for name in ("cross_attn_token_to_image", "cross_attn_image_to_token"):
            _attention(linear, f"{layer}.{name}", out, out // 2)
        for n in range(1, 5):
            norm(f"{layer}.norm{n}", out)
        linear(f"{layer}.mlp.lin1", out, 64)
        linear(f"{layer}.mlp.lin2", 64, out)
    _attention(linear, f"{decoder}.transformer.final_attn_token_to_image", out, out // 2)
    norm(f"{decoder}.transformer.norm_final_attn", out)
    weight(f"{decoder}.iou_token.weight", 1, out)
    weight(f"{decoder}.mask_tokens.weight", 4, out)
    conv(f"{decoder}.output_upscaling.0", out, out // 4, 2, 2, bias=out // 4)
    norm(f"{decoder}.output_upscaling.1", out // 4)
    conv(f"{decoder}.output_upscaling.3", out // 4, out // 8, 2, 2, bias=out // 8)
    for i in range(4):
        for n, (a, b) in enumerate([(out, out), (out, out), (out, out // 8)]):
            linear(f"{decoder}.output_hypernetworks_mlps.{i}.layers.{n}", a, b)
    for n, (a, b) in enumerate([(out, 24), (24, 24), (24, 4)]):
        linear(f"{decoder}.iou_prediction_head.layers.{n}", a, b)
    state[f"{decoder}.iou_prediction_head.layers.2.weight"] *= 0.3
    state[f"{decoder}.iou_prediction_head.layers.2.bias"] += 0.5
    # Mask logits of a size that thresholds at -1, 0 and 1 tell apart.
    for i in range(4):
        state[f"{decoder}.output_hypernetworks_mlps.{i}.layers.2.weight"] *= 20
    return state


def _attention(linear, name: str, dim: int, inner: int) -> None:
    for part in ("q_proj", "k_proj", "v_proj"):
        linear(f"{name}.{part}", dim, inner)
    linear(f"{name}.out_proj", inner, dim)


def official_checkpoint(file: Path, seed: int = 0) -> Path:
    """An original ``.pth``: a bare state dict."""
    import torch

    torch.save(official_state(seed), file)
    return file


def checkpoint(folder: Path, seed: int = 0) -> Path:
    """A Hugging Face folder with a random network of its own."""
    import torch
    from transformers import SamConfig, SamImageProcessorPil, SamModel

    torch.manual_seed(seed)
    config = SamConfig(
        vision_config={
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 16,
            "output_channels": 16,
            "num_pos_feats": 8,
            "global_attn_indexes": [1],
            "window_size": 2,
            "mlp_ratio": 2.0,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": SIDE, "patch_size": 16},
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )
    network = SamModel(config)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.dim() > 1:
                scale = 1.0 if "embed" in name else weight[0].numel() ** -0.5
                weight.copy_(torch.randn_like(weight) * scale)
        for head in network.mask_decoder.output_hypernetworks_mlps:
            head.proj_out.weight *= 20
        network.mask_decoder.iou_prediction_head.proj_out.weight *= 0.3
        network.mask_decoder.iou_prediction_head.proj_out.bias += 0.5
    network.save_pretrained(folder)
    square = {"height": SIDE, "width": SIDE}
    SamImageProcessorPil(size={"longest_edge": SIDE}, pad_size=square).save_pretrained(folder)
    return folder


def sam2(folder: Path) -> Path:
    """A SAM 2 folder as `save_pretrained` writes it."""
    import torch
    from transformers import Sam2Config, Sam2Model

    torch.manual_seed(0)
    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model", "image_size": [SIDE, SIDE],
                "hidden_size": 8, "num_attention_heads": 1, "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 2, 4, 8], "window_size_per_stage": [4] * 4,
                "global_attention_blocks": [3],
                "window_positional_embedding_background_size": [4, 4],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 32,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE, "patch_size": 16},
        mask_decoder_config={
            "hidden_size": 32, "mlp_dim": 48, "num_attention_heads": 2, "iou_head_hidden_dim": 32,
        },
    )  # fmt: skip
    network = Sam2Model(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    network.save_pretrained(folder)
    return folder
