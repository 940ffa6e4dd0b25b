"""InstructPix2Pix: a picture changed as a sentence says."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.diffusion import conditioning
from socialcli.diffusion.conditioning import Conditioning, Step
from socialcli.errors import SampleFailed
from socialcli.generation import drawing
from socialcli.generation.method import GenerateMethod
from socialcli.generation.options import SourceOptions

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from socialcli.backends import ModelSpec
    from socialcli.generation.drawing import Studio


@dataclass
class Config(SourceOptions):
    """Options of `socialcli generate --method instruct-pix2pix`; defaults as published."""

    backend: str = option("instruct-pix2pix", "Diffusion backend.", role="diffusion")
    steps: int = option(100, "Denoising steps.", at_least=1)
    guidance: float = option(
        7.5, "Scale of guidance by the sentence; 1: none, neither by it nor by the picture.",
        at_least=1,
    )  # fmt: skip


class InstructPix2PixMethod(GenerateMethod):
    """See `GenerateMethod`. Source: Brooks et al., InstructPix2Pix (arXiv 2211.09800), Eq. 3."""

    REFERENCES = True
    SCALE = 1.5
    config_type = Config

    def unread(self, config: Config) -> dict[str, str]:
        return {"query": "", "mask": ""}

    def models(self, config: Config) -> list[ModelSpec]:
        return [drawing.spec(config)]

    def load(self, config: Config) -> Studio:
        """The diffusion model."""
        return drawing.studio(config)

    def embed(self, config: Config, studio: Studio, request: Any) -> Any:
        """(negative text states, text states, latents of the picture, how much it is kept).

        Raises:
            SampleFailed: several pictures, or one that guidance would lead away from.
        """
        import torch

        if len(request.references) > 1:
            raise SampleFailed(
                f"{len(request.references)} pictures to be changed: instruct-pix2pix changes one"
            )
        [source] = request.references
        scale = config.image_guidance if source.scale is None else source.scale
        if scale < 1:
            raise SampleFailed(f"its scale (image guidance) is {scale:g}: 1 or more")
        pixels = fitted(source.image, drawing.size(config, studio))
        with torch.inference_mode():
            shown = studio.diffusion.source(pixels[None])[0]
        return *studio.texts(request.negative, request.prompt), shown, scale

    def condition(self, config: Config, studio: Studio, embedded: list[Any]) -> Conditioning:
        """Cross-attention to the text states, and the pictures beside the latents."""
        import torch

        without, of, shown, scales = zip(*embedded, strict=True)
        sources = torch.stack(shown)
        if config.guidance == 1:
            text = conditioning.of_text(1, (), of)
            return dataclasses.replace(text, guide=lambda step: _alone(step, sources))
        rows = conditioning.of_text(1, (), [*without, *without, *of])

        def at(timesteps: Tensor) -> dict[str, Any]:  # 3N rows, where the loop counts 2N
            return rows.at(timesteps[:1].expand(3 * len(of)))

        return Conditioning(at, guide=lambda step: _guided(step, sources, scales[0]))


def fitted(picture: Image, size: tuple[int, int]) -> Tensor:
    """(3, H, W) in [-1, 1] of an RGB picture, scaled to cover ``size`` (width, height) and cut to
    it around its centre, as the authors' program does it."""
    import numpy
    import torch
    from PIL import Image, ImageOps

    cut = ImageOps.fit(picture, size, method=Image.Resampling.LANCZOS)
    return torch.from_numpy(numpy.array(cut)).permute(2, 0, 1).float() / 127.5 - 1


def _alone(step: Step, sources: Tensor) -> Tensor:
    """(N, C, h, w) model_pred without guidance."""
    return _predict(step, step.latents, sources)


def _guided(step: Step, sources: Tensor, scale: float) -> Tensor:
    """(N, C, h, w) model_pred: guidance from nothing to the picture, and from there to picture and
    sentence, all in one call of the UNet."""
    import torch

    shown = torch.cat([torch.zeros_like(sources), sources, sources])
    parts = _predict(step, torch.cat([step.latents] * 3), shown).chunk(3)
    nothing, picture, both = parts
    return nothing + scale * (picture - nothing) + step.guidance * (both - picture)


def _predict(step: Step, latents: Tensor, sources: Tensor) -> Tensor:
    import torch

    rows = step.scheduler.scale_model_input(latents, step.timestep)
    rows = torch.cat([rows, sources.to(rows)], dim=1).to(step.unet.dtype)
    prediction: Tensor = step.unet(rows, step.timestep, **step.arguments).sample
    return prediction.to(latents.dtype)
