"""What trainings of a diffusion model have in common: pixels to latents, a denoising step, a look.

Every function takes a `roles.Diffusion`. Prediction types and the noise schedule are those of
`socialcli.diffusion.schedule`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.errors import UsageError

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image
    from torch import Tensor

    from socialcli.diffusion.conditioning import Conditioning, Text
    from socialcli.diffusion.lexicon import Lexicon
    from socialcli.randomness import Draw


def pixels(picture: numpy.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [-1, 1]."""
    import torch

    return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 127.5 - 1


def size(diffusion: Any, wanted: int) -> int:
    """The side of training pictures: as asked for, or (0) the model's own.

    Raises:
        UsageError: a side that the model's networks cannot halve often enough.
    """
    side = wanted or diffusion.picture_size
    diffusion.latent_shape(side, side)
    return side


def moments(diffusion: Any, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and std of pictures' scaled latents.

    Args:
        pictures: (B, 3, H, W) in [-1, 1].

    Returns:
        Two (B, C, h, w) float32 tensors; ``mean + std * normal`` is a draw of the posterior,
        scaled as the UNet takes it.
    """
    vae = diffusion.vae
    posterior = vae.encode(pictures.to(diffusion.device, vae.dtype)).latent_dist
    scale = vae.config.scaling_factor
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    return (posterior.mean.float() - shift) * scale, posterior.std.float() * scale


def denoising(
    diffusion: Any, alphas_cumprod: Tensor, prediction_type: str, mean: Tensor, std: Tensor,
    conditioning: Conditioning, draw: Draw, timesteps: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The denoising loss of each sample, at a timestep drawn uniformly.

    Args:
        alphas_cumprod, prediction_type: of `schedule.schedule`. mean, std: of `moments`.
        conditioning: of the B rows; a tensor argument is brought to the UNet's type.
        draw: names "posterior", "noise" and "timestep".
        timesteps: (B,) in place of those drawn uniformly.

    Returns:
        (B,) float32.
    """
    from socialcli.losses import denoise

    noised = add_noise(alphas_cumprod, prediction_type, mean, std, draw, timesteps=timesteps)
    return denoise.loss(predict(diffusion.unet, noised, conditioning), noised.target)


@dataclass
class Noised:
    """Latents with noise, and what the UNet should say of them.

    Attributes:
        noisy: (B, C, h, w). timesteps: (B,) int64. target: (B, C, h, w).
    """

    noisy: Tensor
    timesteps: Tensor
    target: Tensor

    def and_also(self, other: Noised) -> Noised:
        """Both as one batch, this one's rows first."""
        import torch

        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Noised(*(torch.cat(pair) for pair in pairs))


def add_noise(
    alphas_cumprod: Tensor, prediction_type: str, mean: Tensor, std: Tensor, draw: Draw,
    named: str = "", timesteps: Tensor | None = None,
) -> Noised:  # fmt: skip
    """A draw of the posterior with noise of a timestep drawn uniformly, unless some are given.

    Args:
        alphas_cumprod, prediction_type: of `schedule.schedule`. mean, std: of `moments`.
        draw: names "posterior", "noise" and "timestep", with ``named`` in front.
        timesteps: (B,) int64.
    """
    from socialcli.diffusion import schedule

    shape = mean.shape[1:]
    latents = mean + std * draw.normal(f"{named}posterior", *shape).to(mean)
    noise = draw.normal(f"{named}noise", *shape).to(mean)
    if timesteps is None:
        timesteps = draw.integers(f"{named}timestep", len(alphas_cumprod))
    timesteps = timesteps.to(mean.device)
    return Noised(
        schedule.noisy(latents, noise, timesteps, alphas_cumprod),
        timesteps,
        schedule.target(latents, noise, timesteps, alphas_cumprod, prediction_type),
    )


def predict(unet: Any, noised: Noised, conditioning: Conditioning) -> Tensor:
    """(B, C, h, w) float32, what the UNet says; a tensor argument is brought to its type."""
    import torch

    arguments = {
        name: value.to(unet.dtype) if torch.is_tensor(value) else value
        for name, value in conditioning.at(noised.timesteps).items()
    }
    model_pred: Tensor = unet(noised.noisy.to(unet.dtype), noised.timesteps, **arguments).sample
    return model_pred.float()


def look(
    diffusion: Any,
    texts: list[str],
    shown: list[str],
    side: int,
    steps: int,
    guidance: float,
    lexicon: Lexicon | None = None,
) -> list[tuple[str, Image]]:
    """A picture of each text as the model draws it now, always from the same noise.

    Args:
        texts: what the text encoder gets. shown: the same for people, the pictures' captions.
        side: pixels. steps: of UniPC. guidance: scale of classifier-free guidance.
        lexicon: the learned words that texts may have.
    """
    import torch

    from socialcli.diffusion import sampling
    from socialcli.diffusion.conditioning import of_text

    previews = []
    with torch.no_grad():
        for number, (text, caption) in enumerate(zip(texts, shown, strict=True)):
            scheduler = sampling.scheduler("UniPCMultistepScheduler", diffusion.scheduler)
            uncond, cond = _both(diffusion, text, lexicon, sampling.timesteps(scheduler, steps))
            latents = sampling.denoise(
                diffusion.unet, scheduler,
                [sampling.generator(number)], diffusion.latent_shape(side, side),
                of_text(guidance, [uncond], [cond]), steps, guidance,
            )  # fmt: skip
            previews.append((caption, pictures(diffusion.decode(latents))[0]))
    return previews


def _both(
    diffusion: Any, text: str, lexicon: Lexicon | None, timesteps: list[float]
) -> tuple[Text, Text]:
    """The states of no text, and of a text with what learned words it has."""
    from socialcli.diffusion import conditioning

    if lexicon is None or not lexicon.used(text):
        return conditioning.both(diffusion, text)
    (empty,) = conditioning.encode(diffusion, [""])
    return conditioning.no_text(diffusion, empty), lexicon.state(text, timesteps)


def pictures(pixels: Tensor) -> list[Image]:
    """(N, 3, H, W) in [-1, 1] (clamped) as RGB pictures."""
    from PIL import Image

    levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return [Image.fromarray(one) for one in levels.permute(0, 2, 3, 1).cpu().numpy()]


def fill(template: str, word: str) -> str:
    """A template's ``{}`` replaced.

    Raises:
        UsageError: it has none.
    """
    if "{}" not in template:
        raise UsageError(f"template '{template}' has no {{}} where the word goes")
    return template.replace("{}", word)
