"""X-Pose's official checkpoints: read, measured, and their weights given to a network.

``unipose_swint.pth`` has its weights under ``model``. The published file holds Swin, transformer
and heads, and of CLIP the vision tower, which nothing here needs; the text tower was never trained
and is OpenAI's ViT-B/32. A file that was saved with a text tower of its own is read with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from socialcli.errors import UsageError
from socialcli.networks import weights
from socialcli.networks.xpose.network import Sizes, XPose

TOWER = "clip_model."
HEADS = Sizes.heads  # of attention; the checkpoints do not say it


def load(path: str | Path, get: str = "") -> tuple[XPose, dict[str, Tensor]]:
    """The network of a checkpoint, in eval mode, and the CLIP text tower that lies beside it: under
    transformers' names (`text_tower`), empty where there is none.

    What the file holds besides (parts that only training needs, the decoder's second name for the
    heads) is left out, as the official loader does.

    Raises:
        ModelMissing: there is no such file. UsageError: it is no X-Pose.
    """
    read = weights.read(path, "X-Pose", get)
    state = {name.removeprefix("module."): value for name, value in read.items()}
    with torch.device("meta"):
        network = XPose(infer(state, path))
    wanted = network.state_dict()
    weights.fill(network, {n: v for n, v in state.items() if n in wanted}, path, "X-Pose")
    return network, text_tower(state)


def infer(state: Mapping[str, Tensor], path: str | Path) -> Sizes:
    """The sizes that these weights have (UsageError where they are another network's)."""
    decoder, encoder, swin = "transformer.decoder.", "transformer.encoder.", "backbone.0."
    try:
        depths = tuple(
            count(state, rf"{swin}layers\.{stage}\.blocks\.(\d+)\.")
            for stage in range(count(state, rf"{swin}layers\.(\d+)\."))
        )
        tables = [
            state[f"{swin}layers.{stage}.blocks.0.attn.relative_position_bias_table"]
            for stage in range(len(depths))
        ]
        levels, width = state["transformer.level_embed"].shape

        def points(layer: str) -> int:
            rows = state[f"transformer.{layer}.attention_weights.bias"].shape[0]
            return rows // (HEADS * levels)

        layers = count(state, rf"{decoder}layers\.(\d+)\.")
        return Sizes(
            swin_width=state[f"{swin}patch_embed.proj.weight"].shape[0],
            swin_depths=depths,
            swin_heads=tuple(table.shape[1] for table in tables),
            window=(round(tables[0].shape[0] ** 0.5) + 1) // 2,
            out=tuple(n for n in range(len(depths)) if f"{swin}norm{n}.weight" in state),
            width=width,
            levels=levels,
            encoder_points=points("encoder.layers.0.self_attn"),
            decoder_points=points("decoder.layers.0.cross_attn"),
            encoder_depth=count(state, rf"{encoder}layers\.(\d+)\."),
            decoder_depth=layers,
            box_layers=layers - count(state, r"pose_hw_embed\.(\d+)\."),
            hidden=state[f"{encoder}layers.0.linear1.weight"].shape[0],
            fusion=state[f"{encoder}fusion_layers.0.attn.v_proj.weight"].shape[0],
            queries=state["transformer.tgt_embed.weight"].shape[0],
            keypoints=sum(state[f"{decoder}{hw}.weight"].shape[0] for hw in ("hw", "hw_append")),
            words=state["projection.layers.0.weight"].shape[1],
        )
    except (KeyError, ValueError, IndexError) as error:
        raise UsageError(f"{path}: not an X-Pose checkpoint ({error} is missing)") from None


def count(state: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the highest number that the pattern finds in the names."""
    numbers = [re.match(pattern, name) for name in state]
    return 1 + max((int(n[1]) for n in numbers if n), default=-1)


def text_tower(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The CLIP text tower of a checkpoint under the names that transformers'
    `CLIPTextModelWithProjection` has; empty where the checkpoint has none."""
    own = {n.removeprefix(TOWER): v for n, v in state.items() if n.startswith(TOWER)}
    if "text_projection" not in own:
        return {}
    renamed = {
        "text_model.embeddings.token_embedding.weight": own["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": own["positional_embedding"],
        "text_model.final_layer_norm.weight": own["ln_final.weight"],
        "text_model.final_layer_norm.bias": own["ln_final.bias"],
        "text_projection.weight": own["text_projection"].T.contiguous(),
    }
    parts = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1",
             "mlp.c_proj": "mlp.fc2", "attn.out_proj": "self_attn.out_proj"}  # fmt: skip
    for number in range(count(own, r"transformer\.resblocks\.(\d+)\.")):
        old, new = f"transformer.resblocks.{number}.", f"text_model.encoder.layers.{number}."
        for kind in ("weight", "bias"):
            for old_part, new_part in parts.items():
                renamed[f"{new}{new_part}.{kind}"] = own[f"{old}{old_part}.{kind}"]
            heads = own[f"{old}attn.in_proj_{kind}"].chunk(3)
            for letter, head in zip("qkv", heads, strict=True):
                renamed[f"{new}self_attn.{letter}_proj.{kind}"] = head.clone()
    return renamed
