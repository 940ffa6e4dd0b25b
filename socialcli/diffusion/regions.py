"""Pictures in parts: every part of a picture is denoised by a row of its own, then they are merged.

A *row* is one segment of one picture. All rows of all pictures go through the UNet as one batch,
each with its own conditioning, so that what a segment is conditioned on acts in its row alone; of
each row only the segment's own pixels are kept.

Two ways of merging are here. `multidiffusion` (Bar-Tal et al., arXiv 2302.08113) predicts every row
from the picture's one latent and merges the predictions. `Composite` (Jamwal and Ramaneswaran,
Composite Diffusion, arXiv 2307.13720; Multi-Subject Personalization, arXiv 2405.12742) first lets
each segment develop by itself and merges then, once at first and after every later step.

The masks of a picture are a partition of its latents. With it a scheduler's step, which works place
by place, gives the same whether predictions are merged before it or latents after it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from socialcli.diffusion.conditioning import Condition, Step
    from socialcli.diffusion.control import Control

SCAFFOLDS = ("surroundings", "start")


@dataclass
class Regions:
    """The rows of a batch of pictures.

    Attributes:
        counts: segments of each picture; the rows of a picture stand one after the other.
        masks: (R, 1, h, w) bool, of each picture a partition of its latents.
    """

    counts: tuple[int, ...]
    masks: Tensor

    @property
    def pictures(self) -> Tensor:
        """(R,): which picture a row is of."""
        import torch

        return torch.arange(len(self.counts)).repeat_interleave(torch.tensor(self.counts))

    @property
    def firsts(self) -> list[int]:
        """The first row of each picture."""
        return [sum(self.counts[:n]) for n in range(len(self.counts))]

    def merge(self, rows: Tensor) -> Tensor:
        """(R, C, h, w) -> (N, C, h, w): each segment's own pixels of each row."""
        import torch

        masks = self.masks.to(rows.device)
        kept = torch.where(masks, rows, torch.zeros((), dtype=rows.dtype, device=rows.device))
        merged = rows.new_zeros(len(self.counts), *rows.shape[1:])
        return merged.index_add(0, self.pictures.to(rows.device), kept)

    def spread(self, pictures: Tensor) -> Tensor:
        """(N, ...) -> (R, ...): each picture's for all its rows."""
        return pictures[self.pictures.to(pictures.device)]


def predict(
    step: Step,
    latents: Tensor,
    arguments: dict[str, Any],
    controls: Sequence[Control] = (),
    guess: bool = False,
) -> Tensor:
    """model_pred of other rows than the step's own, with what ControlNets say of them.

    Args:
        latents: (R, C, h, w). arguments: the UNet's keyword arguments for R rows, or 2 R with
            guidance.
        controls: their hints are R.
    """
    from socialcli.diffusion import control

    here = dataclasses.replace(step, latents=latents, arguments=arguments)
    residuals = control.residuals(
        here, [c for c in controls if c.open(step.number, step.count)], guess
    )
    return dataclasses.replace(here, arguments={**arguments, **residuals}).predict()


def multidiffusion(
    regions: Regions,
    rows: Condition,
    backgrounds: Callable[[Step], Tensor] | None = None,
    bootstrap: int = 0,
    alone: Tensor | None = None,
    adapters: Sequence[Callable[[bool], None]] = (),
) -> Callable[[Step], Tensor]:
    """A guide that merges the predictions of all rows.

    Args:
        rows: arguments of the UNet for R rows, or 2 R with guidance.
        backgrounds: for the first ``bootstrap`` steps, what a row sees around its segment: (the
            step) -> (R, C, h, w) noisy latents of plain colours, so that the subject is begun
            inside its segment.
        alone: (R,) bool, rows that are not bootstrapped: backgrounds.
        adapters: see `Composite`.
    """
    import torch

    def guide(step: Step) -> Tensor:
        for weigh in adapters:
            weigh(False)
        latents = regions.spread(step.latents)
        if backgrounds is not None and step.number < bootstrap:
            inside = regions.masks.to(latents.device)
            if alone is not None:
                inside = inside | alone.to(latents.device)[:, None, None, None]
            latents = torch.where(inside, latents, backgrounds(step).to(latents))
        count = len(latents) * (1 if step.guidance == 1 else 2)
        arguments = rows(step.timestep.expand(count))
        return regions.merge(predict(step, latents, arguments))

    return guide


@dataclass
class Composite:
    """Composite Diffusion: `guide` and `after` of a `Conditioning` whose loop has R rows.

    Of ``count`` steps the first ``scaffold`` are each segment's own; then all of a picture's rows
    hold one latent, which every segment denoises, and its own pixels of the result are kept.

    Attributes:
        whole: arguments of the UNet for the global diffuser, N rows or 2 N.
        scaffold: how many steps segments develop apart.
        global_steps: how many steps the global diffuser takes; global_at: start or end.
        image: (N, C, h, w) clean latents of a scaffolding image, None without one; image_as: one
            of `SCAFFOLDS`. As *surroundings* it stands, noisy, around each segment while segments
            develop; as *start* it stands, noisy, in place of what they would have developed to.
        controls: ControlNets whose hints are R rows; whole_controls: theirs of N pictures; guess:
            see `control.guide`.
        push: changes the prediction of a step, e.g. by the gradient of a loss: (step, R rows of
            model_pred) -> the same.
        adapters: each is called before the UNet is, with whether it is called for whole pictures:
            sets what acts in some rows only.
    """

    regions: Regions
    whole: Condition
    scaffold: int = 0
    global_steps: int = 0
    global_at: str = "start"
    image: Tensor | None = None
    image_as: str = "surroundings"
    controls: Sequence[Control] = ()
    whole_controls: Sequence[Control] = ()
    guess: bool = False
    push: Callable[[Step, Tensor], Tensor] | None = None
    adapters: Sequence[Callable[[bool], None]] = ()
    _noise: Any = None

    def is_global(self, number: int, count: int) -> bool:
        """Whether the global diffuser takes a step."""
        if self.global_at == "end":
            return number >= count - self.global_steps
        return number < self.global_steps

    def guide(self, step: Step) -> Tensor:
        """(R, C, h, w) model_pred of the loop's rows."""
        if step.number == 0:
            self._noise = step.latents / step.scheduler.init_noise_sigma
        whole = self.is_global(step.number, step.count)
        for weigh in self.adapters:
            weigh(whole)
        if whole:
            pictures = step.latents[self.regions.firsts]
            count = len(pictures) * (1 if step.guidance == 1 else 2)
            arguments = self.whole(step.timestep.expand(count))
            pred = predict(step, pictures, arguments, self.whole_controls, self.guess)
            pred = self.regions.spread(pred)
        else:
            pred = predict(step, step.latents, step.arguments, self.controls, self.guess)
        return pred if self.push is None else self.push(step, pred)

    def after(self, step: Step, latents: Tensor) -> Tensor:
        """The rows to go on with."""
        import torch

        done = step.number + 1
        if done < min(self.scaffold, step.count):
            if self.image is not None and self.image_as == "surroundings":
                around = self._noisy(step, done).to(latents)
                return torch.where(self.regions.masks.to(latents.device), latents, around)
            return latents
        if done == self.scaffold and self.image is not None and self.image_as == "start":
            return self._noisy(step, done).to(latents)
        return self.regions.spread(self.regions.merge(latents))

    def _noisy(self, step: Step, number: int) -> Tensor:
        """(R, C, h, w): the scaffolding image with the noise of the step that comes next."""
        assert self.image is not None
        clean = self.regions.spread(self.image.to(self._noise))
        if number >= step.count:
            return clean
        t = step.scheduler.timesteps[number : number + 1]
        noisy: Tensor = step.scheduler.add_noise(clean, self._noise, t.expand(len(clean)))
        return noisy


def colours(regions: Regions, plain: Tensor) -> Callable[[Step], Tensor]:
    """Backgrounds of `multidiffusion`: for each row one of some plain colours, another in every
    step, with the noise of the picture's first latents. Which colour it is follows from that noise
    too, so that a picture does not depend on its neighbours.

    Args:
        plain: (K, C, 1, 1) clean latents of pictures of one colour.
    """
    import torch

    first: list[Tensor] = []
    generators: list[torch.Generator] = []

    def noisy(step: Step) -> Tensor:
        if step.number == 0:
            first[:] = [step.latents / step.scheduler.init_noise_sigma]
            bits = first[0].float().cpu().flatten(1)[:, 0].contiguous().view(torch.int32)
            generators[:] = [torch.Generator().manual_seed(seed) for seed in bits.tolist()]
        picks = [
            torch.randint(len(plain), (count,), generator=generator)
            for count, generator in zip(regions.counts, generators, strict=True)
        ]
        clean = plain.to(step.latents)[torch.cat(picks).to(step.latents.device)]
        clean = clean.expand(-1, -1, *step.latents.shape[2:])
        t = step.timestep.reshape(1).expand(len(clean))
        noised: Tensor = step.scheduler.add_noise(clean, regions.spread(first[0]), t)
        return noised

    return noisy
