"""Composite Diffusion: each segment of a layout by a diffuser of its own, then all in harmony."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli.backends import naming
from socialcli.config import option
from socialcli.diffusion.conditioning import Conditioning
from socialcli.errors import UsageError
from socialcli.generation import controls, drawing, layouts
from socialcli.generation.options import ControlOptions, LayoutOptions
from socialcli.methods.generate import _bound, _scaffold, _segment_references

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.backends import ModelSpec
    from socialcli.diffusion.regions import Regions
    from socialcli.generation.drawing import Studio

FORMS = ("printed", "pseudo-label", "entropy", "segment")
AT = ("start", "end")
AS = ("surroundings", "start")
PAPER = {"scaffold": (80, 8), "free": (80, 2), "controlnet": (50, 2)}  # steps, of them global


@dataclass
class Config(ControlOptions, LayoutOptions):
    """Options of `socialcli generate --method composite`; defaults are the paper's."""

    steps: int = option(
        0, "Denoising steps; 0: as in the paper, 80, or 50 with --controlnet-model.", at_least=0
    )
    guidance: float = option(7.5, "Scale of classifier-free guidance; 1: none.", at_least=1)
    kappa: float = option(
        0.4, "Share of the steps in which segments develop apart, before they are merged.",
        at_least=0, at_most=1,
    )  # fmt: skip
    scaffold: str = option(
        "", "Scaffolding image: a picture file, a colour (#rrggbb), picture (the sample's own) or "
        "layout (its colours). Default: none.",
    )  # fmt: skip
    scaffold_as: str = option(
        "surroundings", "What it is for: it stands around each segment while segments develop, or "
        "all begin from it (start).", choices=AS,
    )  # fmt: skip
    global_steps: int = option(
        -1, "Steps of the global diffuser, which draws all of the picture of its own prompt; -1: "
        "as in the paper, 8 with a scaffolding image, else 2.", at_least=-1,
    )  # fmt: skip
    global_at: str = option("start", "Where they are.", choices=AT)
    sal: str = option(
        "none", "Subject-aware guidance by --sal-model: the paper's loss as printed, which asks "
        "the network to doubt, or one of three readings of it, of which segment alone raised SAS "
        "in a trial, by little.", choices=("none", *FORMS),
    )  # fmt: skip
    sal_model: str = option(
        "", "Network that marks the subjects' pixels (train --method subject-segmentation)."
    )
    sal_weight: float = option(
        0.02,
        "How far it moves the estimate in a step, as a share of its size. 0.02 hardly changes a "
        "picture.",
        above=0,
        only="sal",
    )

    def __post_init__(self) -> None:
        setting = "controlnet" if self.controlnet_model else "scaffold" if self.scaffold else "free"
        steps, whole = PAPER[setting]
        self.steps = self.steps or steps
        if self.global_steps < 0:
            self.global_steps = min(whole, self.steps)


@dataclass
class State:
    """The studio's models, the nets, what reads references, the network of subject-aware guidance,
    and the LoRAs with their weights and the identifiers that name their subjects."""

    studio: Studio
    nets: list[Any]
    reader: _segment_references.Reader | None = None
    subjects: Any = None  # a `subject_unet.Trained`
    bound: list[tuple[Any, float, list[str]]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.studio, name)


@dataclass
class Embedded:
    """What one picture is conditioned on.

    Attributes:
        texts: (negative, prompt) states of the whole, then of each segment.
        seen: of each segment, what is seen of its references.
        hints: what each net sees of each segment, then of the whole: (S + 1, 3, H, W) a net.
        scaffold: (C, h, w) clean latents of the scaffolding image.
    """

    plan: layouts.Planned
    texts: list[tuple[Any, Any]]
    seen: list[_segment_references.Seen]
    hints: list[Tensor]
    scaffold: Tensor | None


class CompositeMethod(layouts.LayoutMethod):
    """See `GenerateMethod`.

    Sources: Jamwal and Ramaneswaran, Composite Diffusion (arXiv 2307.13720); Multi-Subject
    Personalization (arXiv 2405.12742), section 2 and A.5, which do not give kappa, what becomes of
    the scaffolding image, or where the global diffuser's steps are: docs/generate.md says how each
    is read here.
    """

    VERSION = 2  # a segment with fewer references than another's sees them in full
    config_type = Config

    def check_options(self, config: Config) -> None:
        """Refuse options that do not fit each other."""
        controls.check(config)
        if (config.sal == "none") != (not config.sal_model):
            raise UsageError("--sal and --sal-model go together: a form of the loss, and a network")
        _segment_references.check(config)
        if config.global_steps > config.steps:
            raise UsageError(
                f"--global-steps {config.global_steps}: there are {config.steps} steps in all"
            )
        _scaffold.check(config.scaffold)

    def facts(self, config: Config) -> dict[str, Any]:
        facts = controls.facts(config) | _scaffold.facts(config.scaffold)
        if config.sal_model:
            facts["option sal_model"] = naming.content(config.sal_model)
        return facts

    def models(self, config: Config) -> list[ModelSpec]:
        own = _segment_references.specs(config)
        return [drawing.spec(config), *controls.specs(config), *own]

    def load(self, config: Config) -> State:
        """The diffusion model, the nets and what reads references.

        Raises:
            ModelMissing: one is not here. UsageError: one of another model.
        """
        studio = drawing.studio(config)
        state = State(studio, controls.load(config, studio))
        state.reader = _segment_references.of_run(config, studio)
        if config.sal_model:
            state.subjects = _subjects(config, studio)
        state.bound = _bound.of_run(config, studio)
        return state

    def prepare(self, config: Config, request: Any) -> Any:
        """(the layout, its segments' reference pictures).

        Raises:
            SampleFailed: no layout, or a reference that is not there.
        """
        layout = layouts.of_request(config, request)
        return layout, _segment_references.wanted(config, request, layout)

    def embed(self, config: Config, state: State, request: Any) -> Embedded:
        """What a layout's segments are drawn from.

        Raises:
            SampleFailed: a layout that does not fit the picture, a reference of nothing.
        """
        plan = layouts.planned(config, state.studio, request, request.plan[1])
        return Embedded(
            plan, _bound.texts(config, state.studio, state.bound, plan),
            _segment_references.seen(state.reader, plan),
            _hints(config, state, request, plan),
            _scaffold.latents(config, state.studio, request, plan),
        )  # fmt: skip

    def alike(self, embedded: Embedded) -> Any:
        """Pictures of one batch have equally many segments, so that the UNet's batch is as large
        whatever stands beside a picture."""
        longest = max(len(states) for pair in embedded.texts for states in pair)
        return len(embedded.plan.masks), longest, max(map(len, embedded.seen))

    def condition(self, config: Config, state: State, embedded: list[Embedded]) -> Conditioning:
        """Rows of segments, merged by mask; see `diffusion.regions.Composite`."""
        import torch

        from socialcli.diffusion.regions import Composite

        regions = layouts.regions([one.plan for one in embedded])
        rows, whole = _arguments(config, state, embedded)
        nets = range(len(state.nets))
        apart = [torch.cat([one.hints[n][:-1] for one in embedded]) for n in nets]
        together = [torch.stack([one.hints[n][-1] for one in embedded]) for n in nets]
        scaffolds = [one.scaffold for one in embedded if one.scaffold is not None]
        composite = Composite(
            regions,
            whole.at,
            scaffold=round(config.kappa * config.steps),
            global_steps=config.global_steps,
            global_at=config.global_at,
            image=torch.stack(scaffolds) if scaffolds else None,
            image_as=config.scaffold_as,
            controls=controls.of(config, state.nets, apart),
            whole_controls=controls.of(config, state.nets, together),
            guess=config.guess,
        )
        plans = [one.plan for one in embedded]
        if state.subjects is not None:
            composite.push = _pushed(config, state, regions, plans)
        seen = [of_segment for one in embedded for of_segment in one.seen]
        composite.adapters = _segment_references.weighers(config, state, plans, seen)
        return Conditioning(
            rows.at, guide=composite.guide, after=composite.after, spread=regions.counts
        )


def _arguments(
    config: Config, state: State, embedded: list[Embedded]
) -> tuple[Conditioning, Conditioning]:
    """What rows are conditioned on, and what the global diffuser is."""
    pairs = [pair for one in embedded for pair in one.texts[1:]]
    whole = layouts.of_pairs(config.guidance, state.studio, [one.texts[0] for one in embedded])
    rows = layouts.of_pairs(config.guidance, state.studio, pairs)
    if state.reader is None:
        return rows, whole
    seen = [of_segment for one in embedded for of_segment in one.seen]
    return (
        state.reader.rows(config.guidance, rows, seen),
        state.reader.whole(config.guidance, whole, len(embedded)),
    )


def _hints(config: Config, state: State, request: Any, plan: layouts.Planned) -> list[Tensor]:
    """What each net sees of each segment (its own skeleton alone), and of the whole. A layout of
    animals and things has no skeleton: a net that looks for some sees an empty drawing."""
    import torch

    if not state.nets:
        return []
    size = drawing.size(config, state.studio)
    own = [
        [s.keypoints.points] if s.keypoints is not None and s.keypoints.layout == "coco17" else []
        for s in plan.segments
    ]
    seen = [controls.hints(config, request.sample, size, people) for people in own]
    everybody = [points for some in own for points in some]
    seen.append(controls.hints(config, request.sample, size, everybody))
    return [torch.stack(of_net) for of_net in zip(*seen, strict=True)]


def _subjects(config: Config, studio: Studio) -> Any:
    """The network of subject-aware guidance.

    Raises:
        ModelMissing: it is not there. UsageError: it is another, or does not name its subjects.
    """
    from socialcli.networks import subject_unet
    from socialcli.records import Model

    trained = subject_unet.load(config.sal_model)
    if not trained.subjects:
        raise UsageError(
            f"{config.sal_model}: its header does not name its subjects, so that nobody knows "
            "which segment shows which; `socialcli train --method subject-segmentation` writes them"
        )
    trained.network.requires_grad_(False).to(studio.diffusion.device)
    studio.models["subjects"] = Model(
        "subject-unet", naming.name(config.sal_model), naming.revision(config.sal_model),
        role="subjects",
    )  # fmt: skip
    return trained


def _pushed(
    config: Config, state: State, regions: Regions, plans: list[layouts.Planned]
) -> Callable[[Any, Tensor], Tensor]:
    from socialcli.methods.generate import _subject_aware

    segments = [segment for plan in plans for segment in plan.segments]
    channels = [_subject_aware.channel(s, state.subjects.subjects) for s in segments]
    return _subject_aware.push(
        state.subjects.network, state.studio.diffusion.decode, regions, channels, config.sal,
        config.sal_weight,
    )  # fmt: skip
