"""Pictures of a class that keep a model from forgetting it while it learns one of its members.

Ruiz et al., DreamBooth (arXiv 2208.12242): prior preservation. The pictures are given, or drawn by
the model itself before it is trained. Those lie in the run's folder under their prompt and all that
decides what they look like; a run that was stopped goes on with the first that is missing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.diffusion import options
from socialcli.errors import SampleFailed, UsageError
from socialcli.methods.train import _augment
from socialcli.methods.train._subjects import SubjectOptions, file_name

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.backends import ModelSpec
    from socialcli.randomness import Draw
    from socialcli.training.place import Place

SCHEDULER = "UniPCMultistepScheduler"
TEMPLATES = ("a photo of a {}",)


@dataclass
class PriorOptions(SubjectOptions):
    """The diffusion model that learns subjects, and the class pictures beside theirs."""

    backend: str = options.backend()
    model: str = options.model()
    revision: str | None = options.revision()
    variant: str | None = options.variant()
    template: list[str] = option(
        [], "What a picture of a subject is called, with {} for it. Repeatable; default: 'a photo "
        "of a {}'. Class pictures are drawn from the first.",
    )  # fmt: skip

    prior_weight: float = option(
        1.0, "Weight of the loss on pictures of the class; 0: none are used.", at_least=0
    )
    class_pictures: str = option(
        "", "Folder of such pictures (with several classes, a folder in it for each); default: "
        "the model draws them."
    )  # fmt: skip
    class_count: int = option(100, "How many it draws of each class.", at_least=1)
    class_steps: int = option(25, "Denoising steps of these.", at_least=1)
    class_guidance: float = option(7.5, "Their guidance.", at_least=1)


def check(config: Any) -> None:
    """Refuse a template without a place, and a folder without pictures, before any model is loaded.

    Raises:
        UsageError: one line that names the option.
    """
    for text in config.template:
        if "{}" not in text:
            raise UsageError(f"--template '{text}': write {{}} where the subject goes")
    if config.class_pictures and config.prior_weight:
        _augment.files(config.class_pictures)


def models(config: Any) -> list[ModelSpec]:
    """The diffusion model that learns."""
    from socialcli.backends import ModelSpec, variants

    own = variants.options(config.variant)
    return [ModelSpec("diffusion", config.backend, config.model, config.revision, options=own)]


@dataclass
class Prior:
    """The class pictures of a run, and their latents.

    Attributes:
        files: class -> its pictures. side: pixels of the square that the VAE sees.
    """

    files: dict[str, list[Path]]
    diffusion: Any
    side: int
    _latents: dict[Path, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def moments(self, word: str, number: int) -> tuple[Tensor, Tensor]:
        """Mean and std (C, h, w) of the latents of picture ``number`` of a class.

        Encoded by themselves, once, and kept: they are the same whatever is beside them.
        """
        import random

        import torch

        from socialcli.diffusion import latents
        from socialcli.training import geometry
        from socialcli.vision import images

        file = self.files[word][number]
        known = self._latents.get(file)
        if known is None:
            try:
                image = images.decode(file.read_bytes())
            except (SampleFailed, OSError) as error:
                raise UsageError(f"{file}: not a class picture ({error})") from None
            frame = geometry.choose(
                image.width, image.height, self.side, random.Random(0), "centre", 0.0
            )
            pixels = latents.pixels(frame.picture(image))[None]
            with torch.no_grad():
                mean, std = latents.moments(self.diffusion, pixels)
            known = self._latents[file] = mean[0], std[0]
        return known

    def drawn(self, classes: list[str], draw: Draw) -> tuple[Tensor, Tensor]:
        """Means and stds (B, C, h, w) of one picture of each row's class, drawn at random."""
        import torch

        pairs = []
        for at, word in enumerate(classes):
            number = draw.random(at, "class picture").randrange(len(self.files[word]))
            pairs.append(self.moments(word, number))
        means, stds = zip(*pairs, strict=True)
        return torch.stack(means), torch.stack(stds)


def weights(config: Any) -> dict[str, float]:
    """Name -> factor of the losses of a method with prior preservation."""
    prior = {"prior": config.prior_weight} if config.prior_weight else {}
    return {"denoise": 1.0, **prior}


def prepare(
    config: Any, place: Place, diffusion: Any, side: int, prompts: dict[str, str]
) -> Prior | None:
    """The class pictures, drawn where none are given; None with ``--prior-weight 0``.

    Args:
        prompts: class -> what its pictures are drawn from.

    Raises:
        UsageError: a class that the given folder has no pictures of.
    """
    if not config.prior_weight:
        return None
    if config.class_pictures:
        return Prior(_given(config.class_pictures, list(prompts)), diffusion, side)
    pictures = {}
    for word, prompt in prompts.items():
        folder = (
            place.folder
            / "class-pictures"
            / file_name(word)
            / _fingerprint(config, diffusion, side, prompt)
        )
        pictures[word] = [folder / f"{n:05d}.png" for n in range(config.class_count)]
        missing = [n for n, file in enumerate(pictures[word]) if not file.exists()]
        if missing and place.first:
            place.say(f"drawing {len(missing)} pictures of '{prompt}' to {folder}")
            _draw(config, diffusion, side, prompt, folder, missing)
    place.wait()
    return Prior(pictures, diffusion, side)


def facts(config: Any) -> dict[str, str]:
    """What the folder of given pictures holds, where one is used."""
    from socialcli.backends import naming

    if not config.class_pictures or not config.prior_weight:
        return {}
    return {"class pictures": naming.fingerprint(str(Path(config.class_pictures).resolve()))}


def _given(folder: str, classes: list[str]) -> dict[str, list[Path]]:
    pictures = {}
    for word in classes:
        own = Path(folder).expanduser() / file_name(word)
        if own.is_dir():
            pictures[word] = _augment.files(str(own))
        elif len(classes) == 1:
            pictures[word] = _augment.files(folder)
        else:
            raise UsageError(
                f"--class-pictures {folder}: no folder '{file_name(word)}' in it, and there are "
                f"{len(classes)} classes: {', '.join(classes)}"
            )
    return pictures


def _fingerprint(config: Any, diffusion: Any, side: int, prompt: str) -> str:
    """Names the folder of pictures that are drawn in one way."""
    model = diffusion.model
    facts = [
        model.model, model.revision, prompt, config.class_steps, config.class_guidance,
        config.seed, side, config.dtype,
    ]  # fmt: skip
    facts += [model.options] if model.options else []  # which copy of its weights
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:12]


def _draw(
    config: Any, diffusion: Any, side: int, prompt: str, folder: Path, numbers: list[int]
) -> None:
    """Draw and write the pictures of these numbers; each appears whole or not at all."""
    import torch

    from socialcli import records, shards
    from socialcli.diffusion import latents, sampling
    from socialcli.diffusion.conditioning import both, of_text
    from socialcli.randomness import seeded
    from socialcli.vision import provenance

    with torch.no_grad():
        uncond, cond = both(diffusion, prompt)
    # On the CPU one at a time: the last bits of a picture must not depend on its company.
    at_once = 1 if diffusion.unet.device.type == "cpu" else config.micro_batch
    for start in range(0, len(numbers), at_once):
        some = numbers[start : start + at_once]
        seeds = [seeded(config.seed, "class picture", prompt, n) >> 10 for n in some]
        conditioning = of_text(config.class_guidance, [uncond] * len(some), [cond] * len(some))
        with torch.no_grad():
            drawn = sampling.denoise(
                diffusion.unet, sampling.scheduler(SCHEDULER, diffusion.scheduler),
                [sampling.generator(seed) for seed in seeds], diffusion.latent_shape(side, side),
                conditioning, config.class_steps, config.class_guidance,
            )  # fmt: skip
            pictures = latents.pictures(diffusion.decode(drawn))
        for number, seed, picture in zip(some, seeds, pictures, strict=True):
            record = records.Generated(
                prompt=prompt, plain_prompt=prompt, negative="", seed=seed, method="text",
                model=diffusion.model, models={}, scheduler=SCHEDULER, steps=config.class_steps,
                guidance=config.class_guidance, size=picture.size,
            )  # fmt: skip
            body = provenance.png(picture, record, True)
            shards.write_bytes(str(folder / f"{number:05d}.png"), body)
