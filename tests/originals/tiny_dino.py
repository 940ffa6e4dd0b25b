"""A small GroundingDINO in the original package's format, and the same network in transformers.

The backbone is the original Swin-T (the package knows no smaller one), everything after it is
small. `to_transformers` maps the weights' names; it exists for the comparison only, because the
toolkit reads original checkpoints through the original package.
"""

from __future__ import annotations

import re
from pathlib import Path

from tiny import ground as tiny

CONFIG = {
    "modelname": "groundingdino",
    "backbone": "swin_T_224_1k",
    "position_embedding": "sine",
    "pe_temperatureH": 20,
    "pe_temperatureW": 20,
    "return_interm_indices": [1, 2, 3],
    "backbone_freeze_keywords": None,
    "enc_layers": 2,
    "dec_layers": 2,
    "pre_norm": False,
    "dim_feedforward": 64,
    "hidden_dim": 256,  # the package has this width hard-coded for text positions
    "dropout": 0.0,
    "nheads": 8,
    "num_queries": 30,
    "query_dim": 4,
    "num_patterns": 0,
    "num_feature_levels": 4,
    "enc_n_points": 4,
    "dec_n_points": 4,
    "two_stage_type": "standard",
    "two_stage_bbox_embed_share": False,
    "two_stage_class_embed_share": False,
    "transformer_activation": "relu",
    "dec_pred_bbox_embed_share": True,
    "dn_box_noise_scale": 1.0,
    "dn_label_noise_ratio": 0.5,
    "dn_labelbook_size": 2000,
    "embed_init_tgt": True,
    "max_text_len": 256,
    "text_encoder_type": "bert-base-uncased",
    "use_text_enhancer": True,
    "use_fusion_layer": True,
    "use_checkpoint": True,
    "use_transformer_ckpt": True,
    "use_text_cross_attention": True,
    "text_dropout": 0.0,
    "fusion_dropout": 0.0,
    "fusion_droppath": 0.1,
    "sub_sentence_present": True,
}


def config_file(file: Path) -> Path:
    """A configuration as the package ships them: assignments, one a line."""
    file.write_text("".join(f"{name} = {value!r}\n" for name, value in CONFIG.items()))
    return file


def official_network(seed: int = 0):
    """The package's own network with random weights whose logits pass thresholds."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    from socialcli.backends.ground import grounding_dino_original as backend

    torch.manual_seed(seed)
    bert = BertModel(
        BertConfig(
            vocab_size=1100, hidden_size=64, num_hidden_layers=2, num_attention_heads=1,
            intermediate_size=64, max_position_embeddings=256,
        )
    )  # fmt: skip
    shapes = {f"bert.{name}": value for name, value in bert.state_dict().items()}
    tokenizer = BertTokenizer(vocab=tiny.vocabulary(), do_lower_case=True)
    original_load = torch.nn.Module.load_state_dict
    # `build` wants whole weights; here it is asked for the bare network, to fill it afterwards.
    torch.nn.Module.load_state_dict = lambda *_, **__: ([], [])
    try:
        network = backend.build(CONFIG, tokenizer, shapes)
    finally:
        torch.nn.Module.load_state_dict = original_load
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.dim() > 1 and "embed" not in name:
                weight.copy_(torch.randn_like(weight) * weight[0].numel() ** -0.5)
            elif weight.dim() == 1 and "norm" not in name.lower():
                weight.copy_(torch.randn_like(weight) * 0.1)
        for layer in network.bbox_embed:
            layer.layers[-1].weight.copy_(torch.randn_like(layer.layers[-1].weight) * 0.1)
        # Logits of a few units: a scalar product over 256 values saturates every score.
        network.transformer.decoder.norm.weight *= 0.1
        network.transformer.decoder.norm.bias *= 0.1
    return network.eval()


_RENAMES = (
    (r"^transformer\.level_embed$", "model.level_embed"),
    (r"^transformer\.tgt_embed\.", "model.query_position_embeddings."),
    (r"^transformer\.enc_output", "model.enc_output"),
    (r"^transformer\.enc_out_bbox_embed\.", "model.encoder_output_bbox_embed."),
    (r"^transformer\.encoder\.layers\.(\d+)\.", r"model.encoder.layers.\1.deformable_layer."),
    (
        r"^transformer\.encoder\.text_layers\.(\d+)\.",
        r"model.encoder.layers.\1.text_enhancer_layer.",
    ),
    (r"^transformer\.encoder\.fusion_layers\.(\d+)\.", r"model.encoder.layers.\1.fusion_layer."),
    (r"^transformer\.decoder\.", "model.decoder."),
    (r"^bert\.", "model.text_backbone."),
    (r"^feat_map\.", "model.text_projection."),
    (r"^input_proj\.", "model.input_proj_vision."),
    (r"^backbone\.0\.", "swin."),
    # inside the encoder's layers
    (r"(deformable_layer)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"(deformable_layer)\.norm2\.", r"\1.final_layer_norm."),
    (r"(text_enhancer_layer)\.norm1\.", r"\1.layer_norm_before."),
    (r"(text_enhancer_layer)\.norm2\.", r"\1.layer_norm_after."),
    (r"(fusion_layer)\.gamma_v$", r"\1.vision_param"),
    (r"(fusion_layer)\.gamma_l$", r"\1.text_param"),
    (r"(fusion_layer)\.layer_norm_v\.", r"\1.layer_norm_vision."),
    (r"(fusion_layer)\.layer_norm_l\.", r"\1.layer_norm_text."),
    (r"(fusion_layer\.attn)\.(values_|out_)?v_proj\.", r"\1.\2vision_proj."),
    (r"(fusion_layer\.attn)\.(values_|out_)?l_proj\.", r"\1.\2text_proj."),
    # inside the decoder's
    (r"(decoder\.layers\.\d+)\.norm1\.", r"\1.encoder_attn_layer_norm."),
    (r"(decoder\.layers\.\d+)\.norm2\.", r"\1.self_attn_layer_norm."),
    (r"(decoder\.layers\.\d+)\.norm3\.", r"\1.final_layer_norm."),
    (r"(decoder\.layers\.\d+)\.cross_attn\.", r"\1.encoder_attn."),
    (r"(decoder\.layers\.\d+)\.ca_text\.", r"\1.encoder_attn_text."),
    (r"(decoder\.layers\.\d+)\.catext_norm\.", r"\1.encoder_attn_text_layer_norm."),
    (r"decoder\.norm\.", "decoder.layer_norm."),
    (r"decoder\.ref_point_head\.", "decoder.reference_points_head."),
    (r"((?:model\.en|model\.de).*)\.linear([12])\.", r"\1.fc\2."),
    # Swin
    (r"^swin\.patch_embed\.proj\.", "swin.embeddings.patch_embeddings.projection."),
    (r"^swin\.patch_embed\.norm\.", "swin.embeddings.norm."),
    (r"^swin\.layers\.", "swin.encoder.layers."),
    (r"^(swin\..*)\.attn\.relative_position_bias_table$",
     r"\1.attention.relative_position_bias.relative_position_bias_table"),
    (r"^(swin\..*)\.attn\.proj\.", r"\1.attention.o_proj."),
    (r"^(swin\..*)\.attn\.qkv\.", r"\1.attention.qkv."),
    (r"^(swin\..*blocks\.\d+)\.norm1\.", r"\1.layernorm_before."),
    (r"^(swin\..*blocks\.\d+)\.norm2\.", r"\1.layernorm_after."),
    (r"^swin\.norm([123])\.", lambda m: f"hidden_states_norms.stage{int(m.group(1)) + 1}."),
    (r"^(swin|hidden_states_norms)\.", r"model.backbone.conv_encoder.model.\1."),
)  # fmt: skip
_UNUSED = ("bert.pooler.", "label_enc.")


def to_transformers(official, seed: int = 0):
    """The same network as a `GroundingDinoForObjectDetection`, every weight accounted for."""
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection

    config = GroundingDinoConfig(
        backbone_config={
            "model_type": "swin",
            "image_size": 224,
            "embed_dim": 96,
            "depths": [2, 2, 6, 2],
            "num_heads": [3, 6, 12, 24],
            "window_size": 7,
            "out_features": ["stage2", "stage3", "stage4"],
        },
        text_config={
            "model_type": "bert",
            "vocab_size": 1100,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 1,
            "intermediate_size": 64,
            "max_position_embeddings": 256,
        },
        d_model=CONFIG["hidden_dim"],
        num_queries=CONFIG["num_queries"],
        encoder_layers=CONFIG["enc_layers"],
        encoder_ffn_dim=CONFIG["dim_feedforward"],
        encoder_attention_heads=CONFIG["nheads"],
        decoder_layers=CONFIG["dec_layers"],
        decoder_ffn_dim=CONFIG["dim_feedforward"],
        decoder_attention_heads=CONFIG["nheads"],
    )
    network = GroundingDinoForObjectDetection(config)
    state = {}
    for name, value in official.state_dict().items():
        if name.startswith(_UNUSED) or name.endswith("relative_position_index"):
            continue
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        if ".in_proj_" in name or ".attention.qkv." in name:
            parts = (
                ("query", "key", "value") if "in_proj" in name else ("q_proj", "k_proj", "v_proj")
            )
            for part, third in zip(parts, value.chunk(3), strict=True):
                new = re.sub(r"in_proj_(weight|bias)$", rf"{part}.\1", name)
                state[new.replace(".qkv.", f".{part}.")] = third
        else:
            state[name] = value
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected, unexpected
    # Swin's last normalisation is a part of the class that neither network runs.
    assert all(".swin.layernorm." in name for name in missing), missing
    return network.eval()
