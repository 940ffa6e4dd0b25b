"""Segment Anything through its original package, for its original ``.pth`` checkpoints.

The default backend (`sam`) reads the same files without the package and gives the same masks;
this one is here for who wants the original code, and to compare the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo
from socialcli.backends.segment import masks, official_sam
from socialcli.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.backends import ModelSpec
    from socialcli.backends.roles import Segment
    from socialcli.records import XYXY

INFO = BackendInfo(
    summary="Segment Anything (ViT-H) through the original segment-anything package",
    licence="Apache-2.0",
    model="sam_vit_h_4b8939.pth",
    get="curl -LO https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth",
    size="2.6 GB",
    packages=("torch", "torchvision", "segment_anything"),
    extra="originals",
)


class SegmentAnything:
    """See `roles.Segmenter`. Options: ``mask_threshold`` (logit, 0), ``prompts`` per pass (32)."""

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends import checkpoints

        if spec.dtype != "float32":
            raise UsageError(
                "the original segment-anything runs in float32 only: --dtype float32, "
                "or --backend sam"
            )
        state = official_sam.read(spec.model or INFO.model)
        self.network = build(official_sam.architecture(state, spec.model or INFO.model))
        try:
            self.network.load_state_dict(state)
        except RuntimeError as error:
            why = " ".join(str(error).split())[:200]
            raise UsageError(f"{spec.model or INFO.model} is not a whole SAM ({why})") from None
        self.network.to(spec.device).eval()
        self.threshold = float(spec.options.get("mask_threshold", 0.0))
        self.prompts = int(spec.options.get("prompts", 32))
        self.device = spec.device
        self.model = checkpoints.describe(spec, INFO.model, {"mask_threshold": self.threshold})

    def segment(self, images: list[Image], boxes: list[list[XYXY]]) -> list[list[Segment]]:
        import numpy
        import torch
        from segment_anything.utils.transforms import ResizeLongestSide

        resize = ResizeLongestSide(self.network.image_encoder.img_size)
        segments: list[list[Segment]] = []
        with torch.inference_mode():
            small = [
                torch.as_tensor(resize.apply_image(numpy.asarray(image)).copy()).permute(2, 0, 1)
                for image in images
            ]
            pixels = [self.network.preprocess(s.to(self.device)) for s in small]
            features = self.network.image_encoder(torch.stack(pixels))
            for i, image in enumerate(images):
                height, width = small[i].shape[-2:]
                corners = torch.tensor(boxes[i], dtype=torch.float32).reshape(-1, 4)
                corners = (corners * torch.tensor([width, height, width, height])).to(self.device)
                size = (image.height, image.width)
                segments.append(self._prompted(features[i : i + 1], corners, (height, width), size))
        return segments

    def _prompted(
        self, features: Any, corners: Any, resized: tuple[int, int], size: tuple[int, int]
    ) -> list[Segment]:
        side = self.network.image_encoder.img_size
        segments: list[Segment] = []
        for part in corners.split(self.prompts):
            sparse, dense = self.network.prompt_encoder(points=None, boxes=part, masks=None)
            logits, scores = self.network.mask_decoder(
                image_embeddings=features,
                image_pe=self.network.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )
            segments += [
                masks.best(own, rated, self.threshold, (side, side), resized, size)
                for own, rated in zip(logits, scores, strict=True)
            ]
        return segments


def build(arch: official_sam.Architecture) -> Any:
    """The original network of these dimensions (its own builders know three sizes only)."""
    from functools import partial

    import torch
    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    grid = arch.image_size // arch.patch_size
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=arch.image_size,
            patch_size=arch.patch_size,
            embed_dim=arch.embed_dim,
            depth=arch.depth,
            num_heads=arch.num_heads,
            mlp_ratio=arch.mlp_dim / arch.embed_dim,
            out_chans=arch.prompt_dim,
            qkv_bias=True,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=arch.window_size,
            global_attn_indexes=arch.global_attn_indexes,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=arch.prompt_dim,
            image_embedding_size=(grid, grid),
            input_image_size=(arch.image_size, arch.image_size),
            mask_in_chans=arch.mask_in_chans,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=arch.num_multimask_outputs,
            transformer=TwoWayTransformer(
                depth=arch.decoder_depth,
                embedding_dim=arch.prompt_dim,
                mlp_dim=arch.decoder_mlp_dim,
                num_heads=8,
                attention_downsample_rate=arch.attention_downsample_rate,
            ),
            transformer_dim=arch.prompt_dim,
            iou_head_depth=arch.iou_head_depth,
            iou_head_hidden_dim=arch.iou_head_hidden_dim,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )


def load(spec: ModelSpec) -> SegmentAnything:
    return SegmentAnything(spec)
