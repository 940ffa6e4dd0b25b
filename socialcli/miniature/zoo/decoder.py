"""TAESD in miniature: a small decoder of the miniature autoencoder's latents.

It learns as `train --method tiny-decoder` teaches (`losses.response`), on scenes that are
drawn on the fly: the picture that the autoencoder's own decoder makes of latents near those of a
scene, and how that picture changes with them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from socialcli.miniature.zoo import cards, data, training
from socialcli.miniature.zoo.vae import HALF

STEPS, BATCH, RATE = 400, 4, 4e-3
WIDTH, BLOCKS = 32, [2, 1, 0]
NOISE, CHANGE, RESPONSE = 0.5, 0.3, 0.5  # as the method's own options
TEST = 100
NOTE = "The minutes are of a core shared with much else; its own work took about four of them."
FILES = ("config.json", "diffusion_pytorch_model.safetensors")


def network() -> Any:
    """The small decoder, seeded: 4 channels of latents, four pixels a side of each."""
    import torch

    from socialcli.networks import tiny_decoder

    torch.manual_seed(0)
    return tiny_decoder.create(4, WIDTH, BLOCKS)


class Teacher:
    """The miniature autoencoder, frozen, with latents scaled as the UNet has them."""

    def __init__(self, device: str = "cpu") -> None:
        import torch
        from diffusers import AutoencoderKL

        folder = cards.folder("vae") / "vae"
        vae = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32)
        self.vae = vae.requires_grad_(False).eval().to(device)
        self.scale = vae.config.scaling_factor

    def encode(self, pixels: Any) -> Any:
        """(B, 3, H, W) in [-1, 1] -> the mode of the latents (B, 4, h, w)."""
        return self.vae.encode(pixels).latent_dist.mode() * self.scale

    def decode(self, latents: Any) -> Any:
        """The inverse, without a gradient for the autoencoder's weights."""
        return self.vae.decode(latents / self.scale).sample


def train(work: Path, steps: int, minutes: float | None, device: str) -> training.Run:
    """Train, or go on training."""
    import torch

    from socialcli.losses import response

    teacher = Teacher(device)

    def batch(step: int) -> Any:
        return data.pixels(data.train_scenes(step, BATCH), HALF)

    def loss(model: Any, pixels: Any, step: int) -> Any:
        with torch.no_grad():
            latents = teacher.encode(pixels.to(device))
        moved = NOISE * torch.rand(len(latents), 1, 1, 1, device=device)
        latents = latents + moved * torch.randn_like(latents)
        change = CHANGE * torch.randn_like(latents)
        values = response.compare(model, teacher.decode, latents, change)
        return (values["reconstruction"] + RESPONSE * values["response"]).mean()

    return training.fit(
        network().to(device).train(), batch, loss, work, steps, rate=RATE, decay=0.0, warm=50,
        average=0.995, minutes=minutes,
    )  # fmt: skip


def export(model: Any, folder: Path) -> None:
    """Write the decoder as `networks.tiny_decoder` reads it, half precision."""
    from socialcli.networks import tiny_decoder

    folder.mkdir(parents=True, exist_ok=True)
    tiny_decoder.save(model, folder, {})


def measure(folder: Path) -> dict[str, float]:
    """How like the autoencoder's own decoder it is, on test scenes.

    ``psnr``: of its pictures to those of the own decoder, dB; ``psnr_scene``: to the scenes.
    ``gradient``: the mean cosine of the gradients of the squared distance to the scene, in latents
    moved by noise of deviation 0.3, through both decoders.
    """
    import torch

    from socialcli.networks import tiny_decoder

    teacher, student = Teacher(), tiny_decoder.load(folder).requires_grad_(False)
    scenes = list(data.test_scenes(TEST))
    generator = torch.Generator().manual_seed(0)
    own, true, cosines = [], [], []
    for start in range(0, len(scenes), 20):
        pixels = data.pixels(scenes[start : start + 20], HALF)
        with torch.no_grad():
            latents = teacher.encode(pixels)
            drawn = student(latents).clamp(-1, 1)
            own.append((drawn - teacher.decode(latents).clamp(-1, 1)).square().mean((1, 2, 3)))
            true.append((drawn - pixels).square().mean((1, 2, 3)))
        moved = latents + 0.3 * torch.randn(latents.shape, generator=generator)
        slopes = []
        for decode in (teacher.decode, student):
            here = moved.clone().requires_grad_()
            (decode(here) - pixels).square().sum().backward()
            slopes.append(here.grad.flatten(1))
        cosines.append(torch.nn.functional.cosine_similarity(*slopes))

    def decibels(squares: list[Any]) -> float:
        return round(float(-10 * (torch.cat(squares).mean() / 4).log10()), 2)

    gradient = round(float(torch.cat(cosines).mean()), 4)
    return {"psnr": decibels(own), "psnr_scene": decibels(true), "gradient": gradient}
