"""MultiDiffusion: a layout's segments, each from its own prompt, fused in every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.diffusion.conditioning import Conditioning
from socialcli.generation import drawing, layouts
from socialcli.generation.options import LayoutOptions

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.generation.drawing import Studio

COLOURS = 20  # plain colours of bootstrapping


@dataclass
class Config(LayoutOptions):
    """Options of `socialcli generate --method multidiffusion`; defaults as published."""

    steps: int = option(50, "Denoising steps.", at_least=1)
    guidance: float = option(7.5, "Scale of classifier-free guidance; 1: none.", at_least=1)
    scheduler: str = option("DDIMScheduler", "Class name in diffusers.")
    bootstrap: float = option(
        0.4, "Share of the steps in which a segment sees plain colours around itself, so that its "
        "subject is begun inside it.", at_least=0, at_most=1,
    )  # fmt: skip


class MultiDiffusionMethod(layouts.LayoutMethod):
    """See `GenerateMethod`. Source: Bar-Tal et al., MultiDiffusion (arXiv 2302.08113), region-based
    generation. The reference implementation takes a step of DDIM for each region and averages
    what comes out; as its steps work place by place and the segments are a partition, merging the
    predictions before one step gives the same, with any scheduler.
    """

    config_type = Config

    def models(self, config: Config) -> list[ModelSpec]:
        return [drawing.spec(config)]

    def load(self, config: Config) -> Studio:
        """The diffusion model."""
        return drawing.studio(config)

    def prepare(self, config: Config, request: Any) -> Any:
        """(the layout, the pictures that its segments name).

        Raises:
            SampleFailed: no layout, or a reference that is not there.
        """
        layout = layouts.of_request(config, request)
        wanted = config.attempts > 1 and any(segment.references for segment in layout.segments)
        return layout, layouts.wanted(config, request, layout) if wanted else ()

    def embed(self, config: Config, studio: Studio, request: Any) -> Any:
        """(the layout, (negative, prompt) text states of each segment).

        Raises:
            SampleFailed: a layout that does not fit the picture.
        """
        plan = layouts.planned(config, studio, request, ())
        return plan, layouts.texts(config, studio, plan)[1:]

    def alike(self, embedded: Any) -> Any:
        plan, texts = embedded
        return len(plan.masks), max(len(states) for pair in texts for states in pair)

    def condition(self, config: Config, studio: Studio, embedded: list[Any]) -> Conditioning:
        """Each segment reads its own prompt; their predictions are merged by mask."""
        from socialcli.diffusion import regions as fusing

        plans, texts = zip(*embedded, strict=True)
        regions = layouts.regions(plans)
        pairs = [pair for of_picture in texts for pair in of_picture]
        rows = layouts.of_pairs(config.guidance, studio, pairs)
        backgrounds = alone = None
        steps = round(config.bootstrap * config.steps)
        if steps:
            import torch

            backgrounds = fusing.colours(regions, plain_colours(studio))
            segments = [segment for plan in plans for segment in plan.segments]
            alone = torch.tensor([segment.background for segment in segments])
        guide = fusing.multidiffusion(regions, rows.at, backgrounds, steps, alone)
        return Conditioning({}, guide=guide)


def plain_colours(studio: Studio) -> Any:
    """(`COLOURS`, C, h, w) latents of pictures of one colour, always the same ones."""
    import torch

    side = 4 * studio.diffusion.factor
    shades = torch.rand(COLOURS, 3, 1, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        latents = studio.diffusion.encode(shades.expand(-1, -1, side, side))
    return latents.mean(dim=(2, 3), keepdim=True).float()
