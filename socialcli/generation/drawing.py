"""The models of a run, and a batch of requests from embeddings to pictures."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.diffusion import sampling
from socialcli.diffusion.latents import pictures
from socialcli.generation import options

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from socialcli.diffusion.conditioning import Conditioning
    from socialcli.records import Model

KEPT = 512  # text states that are kept; captions hardly ever come twice, empty prompts always do
WIDE = 32 * 32  # latents of more places than this fill a CPU's time one at a time


@dataclass
class Studio:
    """The models of a run.

    Attributes:
        diffusion: a `roles.Diffusion`.
        scheduler: class name of the scheduler that is used.
        models: role -> what the record says of models besides it.
        long_prompts: what becomes of texts longer than the encoder reads, see `options.LONG`.
        unread: ends of the texts asked for that were cut off, since somebody emptied it.
    """

    diffusion: Any
    scheduler: str = ""
    long_prompts: str = "cut"
    models: dict[str, Model] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    _texts: OrderedDict[tuple[str, bool], tuple[Tensor, str]] = field(
        default_factory=OrderedDict, repr=False
    )

    def text(self, text: str, whole: bool = False) -> Tensor:
        """(L, D) hidden states of a text. Each is made by itself, so that it is the same whatever
        stands beside it, and kept for a while. ``whole``: (K * L, D) of all its windows; else what
        is too long is cut, and goes to `unread`."""
        import torch

        kept = self._texts.get((text, whole))
        if kept is None:
            model = self.diffusion
            with torch.inference_mode():
                states = model.windows(text) if whole else model.prompts([text])[0]
            kept = self._texts[text, whole] = states, "" if whole else model.unread(text)
            while len(self._texts) > KEPT:
                self._texts.popitem(last=False)
        else:
            self._texts.move_to_end((text, whole))
        states, rest = kept
        if rest:
            self.unread.append(rest)
        return states

    def texts(self, negative: str, prompt: str) -> tuple[Tensor, Tensor]:
        """Text states of a negative prompt and a prompt, of one length: where they are read whole,
        the shorter goes on with those of the empty text, as other tools do it."""
        import torch

        whole = self.long_prompts == "chunks"
        states = [self.text(negative, whole), self.text(prompt, whole)]
        longest = max(map(len, states))
        if min(map(len, states)) < longest:
            empty = self.text("")
            states = [torch.cat([s, *[empty] * ((longest - len(s)) // len(empty))]) for s in states]
        return states[0], states[1]


def spec(config: Any) -> ModelSpec:
    """The diffusion model that the options name."""
    return ModelSpec(
        "diffusion",
        config.backend,
        model=config.model,
        revision=config.revision,
        device=config.device,
        dtype=config.dtype,
    )


def studio(config: Any) -> Studio:
    """The diffusion model, and a check that it can draw what is asked for.

    Raises:
        ModelMissing: it is not here. UsageError: no such scheduler, or a size it cannot draw.
    """
    import torch

    new_studio = Studio(backends.load(spec(config)), long_prompts=config.long_prompts)
    for network in (new_studio.diffusion.unet, new_studio.diffusion.vae):
        network.to(memory_format=torch.channels_last)  # an eighth faster on CPUs
    new_studio.scheduler = type(
        sampling.scheduler(config.scheduler, new_studio.diffusion.scheduler)
    ).__name__
    new_studio.diffusion.latent_shape(*size(config, new_studio)[::-1])
    return new_studio


def size(config: Any, studio: Studio) -> tuple[int, int]:
    """(width, height) of the pictures."""
    side = studio.diffusion.picture_size
    return options.size(config) or (side, side)


def part(config: Any, studio: Studio) -> int:
    """How many pictures go through the UNet at once.

    On a CPU a row of a matrix product depends, in its last bits, on how many rows there are; so
    there are always equally many, whatever the batch size, and a key gives the same picture to the
    last bit. Elsewhere it is the batch size, which is then part of those last bits.
    """
    if studio.diffusion.unet.device.type != "cpu":
        return max(1, config.batch_size)
    width, height = size(config, studio)
    places = width * height // studio.diffusion.factor**2
    return sampling.TOGETHER if places <= WIDE else 1


def draw(config: Any, studio: Studio, conditioning: Conditioning, seeds: list[int]) -> list[Image]:
    """N pictures from N seeds, RGB.

    Raises:
        UsageError: the scheduler cannot take so many steps.
    """
    import torch

    diffusion = studio.diffusion
    width, height = size(config, studio)
    with torch.inference_mode():
        latents = sampling.denoise(
            diffusion.unet,
            sampling.scheduler(config.scheduler, diffusion.scheduler),
            [sampling.generator(seed) for seed in seeds],
            diffusion.latent_shape(height, width),
            conditioning,
            config.steps,
            config.guidance,
        )
        alone = diffusion.unet.device.type == "cpu"  # as `part`: rows must not see each other
        rows = latents.split(1) if alone else [latents]
        pixels = torch.cat([diffusion.decode(part).float() for part in rows])
    return pictures(pixels)
