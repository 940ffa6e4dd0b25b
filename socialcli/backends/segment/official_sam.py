"""The original Segment Anything checkpoints: their layout, and their names in transformers.

``sam_vit_b_01ec64.pth``, ``sam_vit_l_0b3195.pth`` and ``sam_vit_h_4b8939.pth`` are plain state
dicts. Everything about the network but the decoder's number of heads (always 8) can be read from
the shapes of its weights, so a file needs no configuration beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".pth", ".pt")
GET = (
    "curl -LO https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth"
    "  (or sam_vit_l_0b3195.pth, sam_vit_b_01ec64.pth)"
)

_MEND = f"Segment Anything's: {GET}"

# Original name -> name in transformers, as (pattern, replacement), applied one after another.
_RENAMES = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"^vision_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^vision_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^(vision_encoder\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"^vision_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"^vision_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"^vision_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"^vision_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
    (
        r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$",
        "shared_image_embedding.positional_embedding",
    ),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"^prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
)  # fmt: skip
_HEAD_LAYER = re.compile(
    r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.(\d+)\."
)


def is_file(model: str) -> bool:
    """Whether ``--model`` names an original checkpoint rather than a folder or a hub id."""
    return model.lower().endswith(SUFFIXES)


def read(path: str) -> dict[str, Tensor]:
    """The tensors of an original checkpoint; nothing in the file is unpickled but tensors.

    Raises:
        ModelMissing: no such file. UsageError: it is not a SAM checkpoint.
    """
    from socialcli.networks import weights

    state = weights.read(path, "SAM", GET)
    if "image_encoder.pos_embed" not in state:
        raise UsageError(f"{path} is not a SAM checkpoint: it has no image_encoder.pos_embed")
    return state


@dataclass(frozen=True)
class Architecture:
    """A SAM's dimensions, in the original package's words."""

    image_size: int  # side of the square input, pixels
    patch_size: int
    embed_dim: int
    depth: int
    num_heads: int
    mlp_dim: int
    window_size: int
    global_attn_indexes: tuple[int, ...]
    prompt_dim: int
    mask_in_chans: int
    decoder_depth: int
    decoder_mlp_dim: int
    attention_downsample_rate: int
    num_multimask_outputs: int
    iou_head_depth: int
    iou_head_hidden_dim: int


def architecture(state: dict[str, Tensor], path: str = "the checkpoint") -> Architecture:
    """The dimensions of the network that a state dict of a file belongs to, from its shapes.

    Raises:
        UsageError: a weight is missing, or of another form, so that it is not a whole SAM.
    """
    try:
        return _architecture(state)
    except KeyError as error:
        raise UsageError(f"{path}: not a whole SAM, it lacks {error.args[0]}. {_MEND}") from None
    except (ValueError, IndexError, ZeroDivisionError):  # EfficientSAM's, for one
        raise UsageError(f"{path}: weights of another form than a SAM's. {_MEND}") from None


def _architecture(state: dict[str, Tensor]) -> Architecture:
    def count(pattern: str) -> int:
        matches = [re.match(pattern, name) for name in state]
        return 1 + max((int(m.group(1)) for m in matches if m), default=-1)

    def shape(name: str) -> tuple[int, ...]:
        return tuple(state[name].shape)

    _, grid, _, dim = shape("image_encoder.pos_embed")
    patch = shape("image_encoder.patch_embed.proj.weight")[-1]
    depth = count(r"image_encoder\.blocks\.(\d+)\.")
    # A block's relative positions span 2 * side - 1, and its side is the window's or the grid's.
    sides = [(shape(f"image_encoder.blocks.{i}.attn.rel_pos_h")[0] + 1) // 2 for i in range(depth)]
    head_dim = shape("image_encoder.blocks.0.attn.rel_pos_h")[1]
    windows = [side for side in sides if side != grid]
    prompt_dim = shape("image_encoder.neck.0.weight")[0]
    cross = "mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight"
    return Architecture(
        image_size=grid * patch,
        patch_size=patch,
        embed_dim=dim,
        depth=depth,
        num_heads=dim // head_dim,
        mlp_dim=shape("image_encoder.blocks.0.mlp.lin1.weight")[0],
        window_size=windows[0] if windows else grid,
        global_attn_indexes=tuple(i for i, side in enumerate(sides) if side == grid),
        prompt_dim=prompt_dim,
        mask_in_chans=shape("prompt_encoder.mask_downscaling.3.weight")[0],
        decoder_depth=count(r"mask_decoder\.transformer\.layers\.(\d+)\."),
        decoder_mlp_dim=shape("mask_decoder.transformer.layers.0.mlp.lin1.weight")[0],
        attention_downsample_rate=prompt_dim // shape(cross)[0],
        num_multimask_outputs=shape("mask_decoder.mask_tokens.weight")[0] - 1,
        iou_head_depth=count(r"mask_decoder\.iou_prediction_head\.layers\.(\d+)\."),
        iou_head_hidden_dim=shape("mask_decoder.iou_prediction_head.layers.0.weight")[0],
    )


def transformers_config(arch: Architecture) -> Any:
    """The `SamConfig` of the same network."""
    from transformers import SamConfig

    return SamConfig(
        vision_config={
            "hidden_size": arch.embed_dim,
            "output_channels": arch.prompt_dim,
            "num_hidden_layers": arch.depth,
            "num_attention_heads": arch.num_heads,
            "image_size": arch.image_size,
            "patch_size": arch.patch_size,
            "mlp_dim": arch.mlp_dim,
            "window_size": arch.window_size,
            "global_attn_indexes": list(arch.global_attn_indexes),
            "num_pos_feats": arch.prompt_dim // 2,
        },
        prompt_encoder_config={
            "hidden_size": arch.prompt_dim,
            "image_size": arch.image_size,
            "patch_size": arch.patch_size,
            "mask_input_channels": arch.mask_in_chans,
        },
        mask_decoder_config={
            "hidden_size": arch.prompt_dim,
            "mlp_dim": arch.decoder_mlp_dim,
            "num_hidden_layers": arch.decoder_depth,
            "attention_downsample_rate": arch.attention_downsample_rate,
            "num_multimask_outputs": arch.num_multimask_outputs,
            "iou_head_depth": arch.iou_head_depth,
            "iou_head_hidden_dim": arch.iou_head_hidden_dim,
            # The original's decoder has PyTorch's default; transformers' default is 1e-6.
            "layer_norm_eps": 1e-5,
        },
    )


def transformers_name(name: str, head_depth: int) -> str:
    """What transformers calls one weight of the original network.

    Args:
        name: the original name.
        head_depth: linear layers of each small head; the first and the last have names of their
            own in transformers.
    """
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    head = _HEAD_LAYER.match(name)
    if head is None:
        return name
    layer = int(head.group(2))
    new = {0: "proj_in", head_depth - 1: "proj_out"}.get(layer, f"layers.{layer - 1}")
    return f"{head.group(1)}.{new}.{name[head.end() :]}"


def to_transformers(state: dict[str, Tensor], path: str = "the checkpoint") -> Any:
    """A `SamModel` with the weights of an original checkpoint, float32, in eval mode.

    Raises:
        UsageError: weights are missing or have other shapes than the network needs.
    """
    from transformers import SamModel

    arch = architecture(state, path)
    network = SamModel(transformers_config(arch))
    renamed = {transformers_name(k, arch.iou_head_depth): v for k, v in state.items()}
    shared = "shared_image_embedding.positional_embedding"
    if shared in renamed:
        renamed["prompt_encoder.shared_embedding.positional_embedding"] = renamed[shared]
    try:
        network.load_state_dict(renamed, strict=True)
    except RuntimeError as error:
        why = " ".join(str(error).split())[:200]
        raise UsageError(f"{path}: not Segment Anything's own weights ({why}). {_MEND}") from None
    return network.eval()
