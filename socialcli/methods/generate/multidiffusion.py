"""MultiDiffusion: a layout's segments, each from its own prompt, fused in every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.diffusion.conditioning import Conditioning
from socialcli.generation import drawing, layouts
from socialcli.generation.options import LayoutOptions
from socialcli.methods.generate import _bound, _segment_references

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


@dataclass
class State:
    """The studio's models, what reads references, and the LoRAs that act in some segments only."""

    studio: Studio
    reader: _segment_references.Reader | None
    bound: list[_bound.Bound]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.studio, name)


class MultiDiffusionMethod(layouts.LayoutMethod):
    """See `GenerateMethod`. Source: Bar-Tal et al., MultiDiffusion (arXiv 2302.08113), region-based
    generation. The reference implementation takes a step of DDIM for each region and averages
    what comes out; as its steps work place by place and the segments are a partition, merging the
    predictions before one step gives the same, with any scheduler.
    """

    VERSION = 2  # latents of a model whose scheduler does not say it are not cut to [-1, 1]
    config_type = Config

    def check_options(self, config: Config) -> None:
        """Refuse options that do not fit each other."""
        _segment_references.check(config)

    def models(self, config: Config) -> list[ModelSpec]:
        return [drawing.spec(config), *_segment_references.specs(config)]

    def load(self, config: Config) -> State:
        """The diffusion model and what reads references.

        Raises:
            ModelMissing: one is not here. UsageError: one of another model.
        """
        studio = drawing.studio(config)
        reader = _segment_references.of_run(config, studio)
        return State(studio, reader, _bound.of_run(config, studio))

    def prepare(self, config: Config, request: Any) -> Any:
        """(the layout, the pictures that its segments name).

        Raises:
            SampleFailed: no layout, or a reference that is not there.
        """
        layout = layouts.of_request(config, request)
        return layout, _segment_references.wanted(config, request, layout)

    def embed(self, config: Config, state: State, request: Any) -> Any:
        """(the layout, (negative, prompt) text states of each segment, what is seen of its
        references).

        Raises:
            SampleFailed: a layout that does not fit the picture, a reference of nothing.
        """
        plan = layouts.planned(config, state.studio, request, request.plan[1])
        texts = _bound.texts(config, state.studio, state.bound, plan)[1:]
        return plan, texts, _segment_references.seen(state.reader, plan)

    def alike(self, embedded: Any) -> Any:
        """See `composite`."""
        plan, texts, seen = embedded
        longest = max(len(states) for pair in texts for states in pair)
        return len(plan.masks), longest, max(map(len, seen))

    def condition(self, config: Config, state: State, embedded: list[Any]) -> Conditioning:
        """Each segment reads its own prompt and sees its own references; their predictions are
        merged by mask."""
        from socialcli.diffusion import regions as fusing

        plans, texts, references = zip(*embedded, strict=True)
        regions = layouts.regions(plans)
        pairs = [pair for of_picture in texts for pair in of_picture]
        seen = [of_segment for of_picture in references for of_segment in of_picture]
        rows = layouts.of_pairs(config.guidance, state.studio, pairs)
        if state.reader is not None:
            rows = state.reader.rows(config.guidance, rows, seen)
        backgrounds = alone = None
        steps = round(config.bootstrap * config.steps)
        if steps:
            import torch

            backgrounds = fusing.colours(regions, plain_colours(state.studio))
            segments = [segment for plan in plans for segment in plan.segments]
            alone = torch.tensor([segment.background for segment in segments])
        adapters = _segment_references.weighers(config, state, plans, seen)
        guide = fusing.multidiffusion(regions, rows.at, backgrounds, steps, alone, adapters)
        return Conditioning({}, guide=guide)


def plain_colours(studio: Studio) -> Any:
    """(`COLOURS`, C, h, w) latents of pictures of one colour, always the same ones."""
    import torch

    side = 4 * studio.diffusion.factor
    shades = torch.rand(COLOURS, 3, 1, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        latents = studio.diffusion.encode(shades.expand(-1, -1, side, side))
    return latents.mean(dim=(2, 3), keepdim=True).float()
