"""One training picture of a subject: whole, cut out and placed on a background, or zoomed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.errors import SampleFailed
from socialcli.methods.train import _augment, _prior, _subjects

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.methods.train._augment import Backgrounds
    from socialcli.methods.train._subjects import Subject
    from socialcli.randomness import Variant
    from socialcli.shards import Sample


def check(config: Any, sample: Sample, masked: bool) -> None:
    """Refuse a sample without masks where one is needed (SampleFailed)."""
    if (config.augment or masked) and not sample.has("masks.json"):
        flag = "--augment" if config.augment else "--masked-loss"
        raise sample.lacking("masks.json", wanted=flag)


def facts(config: Any, behind: Backgrounds) -> dict[str, str]:
    """What the folder of backgrounds holds, where one is used."""
    from socialcli.backends import naming

    if not config.augment or not behind.files:
        return {}
    return {"backgrounds": naming.fingerprint(str(behind.files[0].parent.resolve()))}


def example(
    sample: Sample,
    variant: Variant,
    config: Any,
    side: int,
    subjects: list[Subject],
    shown: list[int],
    behind: Backgrounds,
    masked: bool,
) -> dict[str, Any]:
    """One training picture of one of the subjects that a sample shows.

    Args:
        config: `SubjectOptions`. side: pixels. shown: numbers of the subjects it shows.
        masked: whether its mask is needed, whatever the augmentation.

    Returns:
        ``pixels`` (3, S, S) float32 in [-1, 1], ``subject`` (number), with ``masked`` ``mask``
        (1, S, S) float32 in [0, 1].

    Raises:
        SampleFailed: a mask is needed, and none says where the subject is.
    """
    import numpy
    import torch

    from socialcli.diffusion import latents
    from socialcli.training import geometry
    from socialcli.vision import images

    rng = variant.random
    number = rng.choice(shown)
    image = images.decode(sample.picture())
    frame = geometry.choose(image.width, image.height, side, rng, config.crop, config.flip)
    placed = rng.random() < config.augment
    where = _subjects.mask(sample, subjects[number]) if placed or masked else None
    if where is None and (placed or masked):
        if not sample.has("masks.json"):
            raise sample.lacking("masks.json")
        raise SampleFailed(f"no mask of {subjects[number].name}; `socialcli segment` makes masks")
    if placed and where is not None:
        pixels, share = _augment.place(image, where, side, rng, behind, config.flip)
    else:
        pixels = frame.picture(image)
        share = frame.mask(where) if where is not None else numpy.zeros(())
    values: dict[str, Any] = {"pixels": latents.pixels(pixels), "subject": number}
    if masked:
        values["mask"] = torch.from_numpy(share.astype("float32"))[None]
    return values


def zoomed(
    sample: Sample,
    variant: Variant,
    config: Any,
    side: int,
    subjects: list[Subject],
    shown: list[int],
    behind: Backgrounds,
) -> dict[str, Any]:
    """The same as Custom Diffusion scales it, with ``before``, what the text begins with; the mask
    is where the picture is."""
    import torch

    values = example(sample, variant, config, side, subjects, shown, behind, masked=False)
    values |= {"mask": torch.ones(1, side, side), "before": ""}
    if config.zoom:
        import random

        from socialcli.randomness import seeded

        address = (variant.seed, "zoom", variant.key, variant.number)
        rng = random.Random(seeded(*address))
        values["pixels"], values["mask"], values["before"] = _augment.zoom(values["pixels"], rng)
    return values


def features(diffusion: Any, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``mean`` and ``deviation`` (C, h, w) of the latents of ``pixels``, ``mask`` at their size,
    and everything else as it was."""
    import torch
    import torch.nn.functional as F

    from socialcli.diffusion import latents

    means, deviations = latents.moments(diffusion, torch.stack([e["pixels"] for e in examples]))
    h, w = means.shape[-2:]
    encoded: list[dict[str, Any]] = []
    for mean, deviation, one in zip(means, deviations, examples, strict=True):
        rest = {name: value for name, value in one.items() if name not in ("pixels", "mask")}
        encoded.append({"mean": mean, "deviation": deviation, **rest})
        if "mask" in one:
            encoded[-1]["mask"] = F.adaptive_avg_pool2d(one["mask"], (h, w))
    return encoded


def look(state: Any) -> list[tuple[str, Image]]:
    """A picture of each subject by the prompts (or the templates), as the model draws it now."""
    from socialcli.diffusion import latents

    config = state.config
    prompts = config.prompt or config.template or _prior.TEMPLATES
    texts = [latents.fill(p, s.phrase) for s in state.subjects for p in prompts]
    return latents.look(
        state.diffusion, texts, texts, state.side, config.sampling_steps, config.guidance
    )


def marked(
    sample: Sample,
    variant: Variant,
    config: Any,
    side: int,
    subjects: list[Subject],
    shown: list[int],
    behind: Backgrounds,
) -> dict[str, Any]:
    """One training picture with the masks of all subjects in it.

    Returns:
        ``pixels`` (3, S, S) float32 in [0, 1], ``masks`` (K, S, S) float32 in [0, 1]; K subjects.

    Raises:
        SampleFailed: no mask says where a subject is.
    """
    import numpy
    import torch

    from socialcli.diffusion import latents
    from socialcli.training import geometry
    from socialcli.vision import images

    rng = variant.random
    image = images.decode(sample.picture())
    where = {n: _subjects.mask(sample, subjects[n]) for n in shown}
    for number, mask in where.items():
        if mask is None:
            if not sample.has("masks.json"):
                raise sample.lacking("masks.json")
            raise SampleFailed(f"no mask of {subjects[number].name}")
    masks = numpy.zeros((len(subjects), side, side), numpy.float32)
    if rng.random() < config.augment:
        number = rng.choice(shown)
        mask = where[number]
        assert mask is not None
        pixels, masks[number] = _augment.place(image, mask, side, rng, behind, config.flip)
    else:
        frame = geometry.choose(image.width, image.height, side, rng, config.crop, config.flip)
        pixels = frame.picture(image)
        for number, mask in where.items():
            assert mask is not None
            masks[number] = frame.mask(mask)
    return {"pixels": (latents.pixels(pixels) + 1) / 2, "masks": torch.from_numpy(masks)}
