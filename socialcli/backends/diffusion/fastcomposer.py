"""FastComposer (arXiv 2305.10431): a Stable Diffusion that reads subjects' pictures in its text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.backends import BackendInfo, ModelSpec, where
from socialcli.backends.diffusion import _weights_only
from socialcli.backends.diffusion._weights_only import filled
from socialcli.backends.diffusion.stable_diffusion import StableDiffusion
from socialcli.errors import ModelMissing, UsageError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

NAME = "pytorch_model.bin"
_WHAT = "FastComposer"
INFO = BackendInfo(
    summary="FastComposer: draws several subjects of pictures (--method fastcomposer)",
    licence="MIT; CreativeML OpenRAIL-M (Stable Diffusion 1.5 below)",
    model="mit-han-lab/fastcomposer",
    get="hf download mit-han-lab/fastcomposer pytorch_model.bin",
    size="7 GB",
    packages=("torch", "diffusers", "transformers"),
    method="fastcomposer",
)


def load(spec: ModelSpec) -> FastComposer:
    """Load ``spec.model``: the authors' ``pytorch_model.bin``, a folder or hub id that has it, or
    what `train --method fastcomposer` wrote.

    The authors' file holds weights only; configuration and tokenizer come from
    ``options["config"]``, a diffusers folder or hub id that is here (default: Stable Diffusion
    1.5's).

    Raises:
        ModelMissing: it is not here. UsageError: it is another model, or lacks weights.
    """
    return FastComposer(spec)


class FastComposer(StableDiffusion):
    """A `roles.Diffusion` with what else FastComposer has.

    Attributes:
        image_encoder: transformers' CLIPVisionModelWithProjection.
        postfuse: a `networks.fast_composer.Postfuse`.
    """

    info: ClassVar[BackendInfo] = INFO
    FILES: ClassVar[tuple[str, ...]] = (*StableDiffusion.FILES, ".bin", ".pt", ".pth")
    image_encoder: Any
    postfuse: Any

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        for network in (self.image_encoder, self.postfuse):
            network.requires_grad_(False).eval().to(spec.device, self.dtype)

    def _from_folder(self, spec: ModelSpec) -> None:
        from socialcli.networks import fast_composer, weights

        place = where(spec.model or INFO.model)
        if place is None and not spec.model:
            raise ModelMissing(f"FastComposer is not on this machine. Get it with: {INFO.get}")
        folder = Path(place or spec.model).expanduser()
        if (folder / NAME).is_file():
            self._from_state(spec, folder / NAME)
            return
        super()._from_folder(spec)
        file = folder / fast_composer.FILE
        if not file.is_file():
            raise UsageError(
                f"{spec.model}: a Stable Diffusion without {fast_composer.FILE}, so no "
                f"FastComposer. `train --method fastcomposer` writes one; the authors': {INFO.get}"
            )
        self._own(fast_composer.split(weights.read(file, "FastComposer")), file)

    def _from_file(self, spec: ModelSpec) -> None:
        self._from_state(spec, Path(spec.model).expanduser())

    def _from_state(self, spec: ModelSpec, file: Path) -> None:
        """The authors' file: all networks in one state dict."""
        import diffusers
        from transformers import CLIPTextConfig, CLIPTextModel

        from socialcli.backends import devices
        from socialcli.networks import fast_composer, weights

        parts = fast_composer.split(weights.read(file, "FastComposer", INFO.get))
        if lacks := [part for part in fast_composer.PARTS if part not in parts]:
            raise UsageError(
                f"{spec.model or file}: not FastComposer's {NAME}, it has no {', '.join(lacks)}. "
                f"The right one: {INFO.get}"
            )
        below = _weights_only.below(spec, spec.model or file)
        dtype = devices.dtype(spec.dtype)
        unet = below.part(diffusers.UNet2DConditionModel, "unet")
        self.unet = filled(unet, parts["unet"], file, _WHAT)
        vae = below.part(diffusers.AutoencoderKL, "vae")
        self.vae = filled(vae, parts["vae"], file, _WHAT)
        text = CLIPTextModel(CLIPTextConfig.from_pretrained(below.place, subfolder="text_encoder"))
        names = {name.removeprefix("text_model."): name for name in text.state_dict()}
        state = {names.get(name, name): tensor for name, tensor in parts["text_encoder"].items()}
        self.text_encoder = filled(text, state, file, _WHAT)
        for network in (self.unet, self.vae, self.text_encoder):
            network.to(dtype)
        self.tokenizer, self.scheduler = below.tokenizer(), below.scheduler()
        self._own(parts, file)

    def _own(self, parts: Mapping[str, Mapping[str, Any]], file: Path) -> None:
        """The vision tower and the postfuse network.

        Raises:
            UsageError: they are not there, or of another width than the text encoder.
        """
        from socialcli.networks import fast_composer

        try:
            tower = fast_composer.vision_tower(parts["image_encoder"])
            width = parts["postfuse_module"]["layer_norm.weight"].shape[0]
        except (KeyError, IndexError) as error:
            raise UsageError(f"{file}: not FastComposer's ({error} is not in it)") from None
        self.image_encoder = filled(tower, parts["image_encoder"], file, _WHAT)
        postfuse = fast_composer.Postfuse(width)
        self.postfuse = filled(postfuse, parts["postfuse_module"], file, _WHAT)
        self.check(str(file))

    def check(self, name: str) -> None:
        """Raises UsageError where text and pictures are not of one width."""
        text = self.text_encoder.config.hidden_size
        picture = self.image_encoder.config.projection_dim
        width = len(self.postfuse.layer_norm.weight)
        if not text == picture == width:
            raise UsageError(
                f"{name}: the text encoder is {text} wide, CLIP's projection {picture} and the "
                f"postfuse network {width}: they do not belong together"
            )

    @property
    def picture_side(self) -> int:
        """Side in pixels of the pictures that CLIP sees."""
        side: int = self.image_encoder.config.image_size
        return side

    def seen(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, D) embeddings of (B, 3, S, S) pictures in [0, 1], which are `picture_side` large."""
        from socialcli.networks import fast_composer

        given = fast_composer.normalised(pixels.to(self.device, self.image_encoder.dtype))
        embeds: torch.Tensor = self.image_encoder(given).image_embeds
        return embeds

    def embedding(self, picture: Image) -> torch.Tensor:
        """(D,) of an RGB picture of any size."""
        import numpy
        import torch

        from socialcli.networks import fast_composer

        pixels = torch.from_numpy(numpy.array(picture)).permute(2, 0, 1)
        return self.seen(fast_composer.square(pixels, self.picture_side)[None])[0]
