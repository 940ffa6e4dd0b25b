"""CLIP through transformers: embeddings of pictures and texts, differentiable preprocessing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo, ModelSpec

if TYPE_CHECKING:
    import numpy
    import torch
    from PIL.Image import Image

INFO = BackendInfo(
    summary="CLIP (any CLIPModel of transformers): text-image and image-image similarity",
    licence="MIT",
    model="openai/clip-vit-base-patch32",
    get="hf download openai/clip-vit-base-patch32",
    size="605 MB",
    packages=("torch", "transformers"),
)
PART = 64  # pictures or texts a forward pass


def load(spec: ModelSpec) -> Clip:
    """Load the checkpoint ``spec.model``: a hub id or a folder.

    Raises:
        ModelMissing: it is not here. UsageError: it is no CLIP.
    """
    return Clip(spec)


class Clip:
    """A `roles.ClipEmbedder`."""

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends import checkpoints

        what = (spec, INFO.model, INFO.get)
        self.processor = checkpoints.pretrained("CLIPImageProcessorPil", *what)
        self.tokenizer = checkpoints.pretrained("AutoTokenizer", *what)
        self.network = checkpoints.pretrained("CLIPModel", *what)
        positions = self.network.config.text_config.max_position_embeddings
        self.length = min(positions, self.tokenizer.model_max_length)
        self.model = checkpoints.describe(spec, INFO.model, {})

    def images(self, images: list[Image]) -> numpy.ndarray:
        """(N, D) float32, each row of length 1: one embedding per RGB picture of any size."""
        return self._embed(images, self._pictures)

    def texts(self, texts: list[str]) -> numpy.ndarray:
        """(N, D) float32, each row of length 1; what is longer than the model reads is cut."""
        return self._embed(texts, self._texts)

    def unread(self, text: str) -> str:
        """The end of a text that `texts` cuts off, "" where it reads all of it."""
        tokens = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        last = self.length - 2  # between the two marks
        return text[tokens.offset_mapping[last][0] :] if len(tokens.input_ids) > last else ""

    def pixels(self, pictures: torch.Tensor) -> torch.Tensor:
        """The checkpoint's own preprocessing as a differentiable function.

        Args:
            pictures: (B, 3, H, W) float in [0, 1], any size.

        Returns:
            (B, 3, S, S) as ``network.vision_model`` wants it: shorter side resized to S (bicubic,
            antialiased), the middle cut out, normalised; on the network's device, in its dtype.
        """
        import torch
        from torch.nn import functional

        recipe = self.processor
        values = pictures.to(self.network.device, torch.float32)
        if recipe.do_resize:
            size = resized(tuple(values.shape[-2:]), recipe.size)
            if size != tuple(values.shape[-2:]):
                values = functional.interpolate(values, size, mode="bicubic", antialias=True)
                values = values.clamp(0, 1)  # bicubic overshoots; a picture cannot
        if recipe.do_center_crop:
            values = _centre(values, recipe.crop_size["height"], recipe.crop_size["width"])
        mean, std = (
            torch.tensor(v, device=values.device).view(1, 3, 1, 1)
            for v in (recipe.image_mean, recipe.image_std)
        )
        return ((values - mean) / std).to(self.network.dtype)

    def _embed(self, items: list[Any], features: Any) -> numpy.ndarray:
        import numpy
        import torch
        from torch.nn import functional

        rows = [numpy.zeros((0, self.network.config.projection_dim), numpy.float32)]
        with torch.inference_mode():
            for start in range(0, len(items), PART):
                embeddings = features(items[start : start + PART]).pooler_output.float()
                rows.append(functional.normalize(embeddings, dim=-1).cpu().numpy())
        return numpy.concatenate(rows)

    def _pictures(self, images: list[Image]) -> Any:
        values = self.processor(images=images, return_tensors="pt")["pixel_values"]
        return self.network.get_image_features(
            pixel_values=values.to(self.network.device, self.network.dtype)
        )

    def _texts(self, texts: list[str]) -> Any:
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.length, return_tensors="pt"
        ).to(self.network.device)
        return self.network.get_text_features(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        )


def resized(shape: tuple[int, ...], size: Any) -> tuple[int, int]:
    """(H, W) after CLIP's resize: to ``size``'s height and width, or by its shortest edge."""
    if "shortest_edge" not in size or size["shortest_edge"] is None:
        return size["height"], size["width"]
    high, wide = shape
    short = size["shortest_edge"]
    if high <= wide:
        return short, int(short * wide / high)
    return int(short * high / wide), short


def _centre(values: torch.Tensor, high: int, wide: int) -> torch.Tensor:
    """The middle (high, wide) of (B, 3, H, W); zeros where the picture is smaller."""
    from torch.nn import functional

    down, across = high - values.shape[-2], wide - values.shape[-1]
    if down > 0 or across > 0:
        down, across = max(down, 0), max(across, 0)
        left, top = across - across // 2, down - down // 2
        values = functional.pad(values, (left, across // 2, top, down // 2))
    top, left = (values.shape[-2] - high) // 2, (values.shape[-1] - wide) // 2
    return values[..., top : top + high, left : left + wide]
