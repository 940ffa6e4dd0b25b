"""SSR-Encoder (CVPR 2024) with the CLIP vision tower it looks through."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo, ModelSpec, naming
from socialcli.errors import ModelMissing, UsageError

if TYPE_CHECKING:
    import numpy
    import torch

CLIP = "openai/clip-vit-large-patch14"
GET_CLIP = f"hf download {CLIP}"
TOWER = "image_encoder"  # the folder, beside an encoder's files, of the tower it looks through
INFO = BackendInfo(
    summary="SSR-Encoder (CVPR 2024): subjects of reference pictures, chosen by text or mask",
    licence="not stated by its authors",
    get="download pytorch_model.bin and pytorch_model_1.bin (the README of "
    "https://github.com/Xiaojiu-z/SSR_Encoder links them) into a folder, then name that folder "
    "as the ssr model",
    size="103 MB",
    packages=("torch", "diffusers", "transformers"),
)


def load(spec: ModelSpec) -> Ssr:
    """Load the encoder's folder ``spec.model`` and the tower ``spec.options["clip"]``.

    Without that option the tower is the folder's own (`own_tower`), else the official one.

    Raises:
        ModelMissing: one of them is not here. UsageError: they do not belong together.
    """
    if not spec.model:
        raise ModelMissing(f"the ssr-encoder backend needs a folder of weights: {INFO.get}")
    return Ssr(spec)


def own_tower(folder: str) -> str:
    """The vision tower that lies beside an encoder's files, "" where none does."""
    place = Path(folder).expanduser() / TOWER
    return str(place) if folder and place.is_dir() else ""


@dataclass
class Tower:
    """A CLIP vision tower, frozen, and how pictures are made ready for it.

    Attributes:
        name: the folder or hub id. fingerprint: see `networks.ssr_layouts.fingerprint`.
    """

    name: str
    network: Any
    processor: Any
    fingerprint: str

    def join(self, encoder: Any, named: str) -> None:
        """Let an encoder look through this tower; what is saved of it names the tower then.

        Args:
            named: the encoder's folder.

        Raises:
            UsageError: it was trained with another one.
        """
        width = self.network.config.hidden_size
        if width != encoder.image_dim:
            raise UsageError(
                f"{named} looks through a tower {encoder.image_dim} wide, {self.name} is {width} "
                "wide"
            )
        if encoder.seen_through not in ("", self.fingerprint):
            own = own_tower(named)
            right = own if own and own != self.name else "with the folder of that one"
            raise UsageError(
                f"{named} was trained with another vision tower than {self.name} (fingerprint "
                f"{encoder.seen_through}, not {self.fingerprint}): give --clip-model {right}"
            )
        encoder.seen_through = self.fingerprint


def tower(clip: ModelSpec) -> Tower:
    """Load the vision tower ``clip.model``, the official one where that is empty.

    Raises:
        ModelMissing: it is not here. UsageError: it is no CLIP.
    """
    import torch

    from socialcli.backends import checkpoints, devices
    from socialcli.networks import ssr_layouts

    # Full precision first: rounded to bfloat16 it would have another fingerprint.
    vision = checkpoints.pretrained("CLIPVisionModel", clip, CLIP, GET_CLIP, dtype=torch.float32)
    processor = checkpoints.pretrained("CLIPImageProcessorPil", clip, CLIP, GET_CLIP)
    fingerprint = ssr_layouts.fingerprint(vision)
    vision = vision.to(devices.dtype(clip.dtype)).requires_grad_(False)
    return Tower(clip.model or CLIP, vision, processor, fingerprint)


class Ssr:
    """A `roles.SubjectEncoder`."""

    def __init__(self, spec: ModelSpec) -> None:
        from dataclasses import replace

        from socialcli.backends import devices
        from socialcli.networks import ssr_layouts

        named = spec.options.get("clip") or own_tower(spec.model) or CLIP
        self.encoder = ssr_layouts.load(spec.model, INFO.get)
        seen = tower(replace(spec, model=str(named), revision=None))
        seen.join(self.encoder, spec.model)
        self.vision, self.processor = seen.network, seen.processor
        self.encoder.to(spec.device, devices.dtype(spec.dtype)).requires_grad_(False)
        options = {"dtype": spec.dtype, "clip": naming.label(seen.name)}
        self.model = naming.describe(spec, options=options)

    def features(self, pictures: list[Any]) -> torch.Tensor:
        """(N, scales * T, C): what RGB pictures have, see `networks.ssr_encoder.image_features`."""
        pixels = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
        return self._features(pixels)

    def mask(self, mask: numpy.ndarray) -> torch.Tensor:
        """A picture's (height, width) bool mask as the tower sees the picture: (1, 1, S, S) in
        [0, 1], resized and cut like it."""
        from PIL import Image

        picture = Image.fromarray(mask).convert("RGB")
        seen = self.processor(images=[picture], return_tensors="pt", do_normalize=False)
        # Bicubic resizing overshoots at edges.
        return seen["pixel_values"][:, :1].clamp(0, 1).to(self.vision.device)

    def nothing(self, count: int) -> torch.Tensor:
        """(count, scales * T, C): the features of zeros, for the unconditional branch."""
        import torch

        size = self.vision.config.image_size
        return self._features(torch.zeros(1, 3, size, size)).expand(count, -1, -1)

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        import torch

        from socialcli.networks.ssr_encoder import image_features

        with torch.no_grad():
            pixels = pixels.to(self.vision.device, self.vision.dtype)
            return image_features(self.vision, pixels, self.encoder.scales)
