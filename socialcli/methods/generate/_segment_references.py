"""References of a layout's segments, each seen in the rows of its own segment and nowhere else.

SSR-Encoder weighs each subject of a row by itself. IP-Adapter has one attention for all pictures of
a row and one weight for all rows; so here the values of its attention are weighed row by row, which
is the same, since what it adds is linear in them.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.diffusion import conditioning
from socialcli.diffusion.conditioning import Conditioning
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import layouts
from socialcli.methods.generate import _bound

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.backends import ModelSpec
    from socialcli.generation.drawing import Studio
    from socialcli.generation.references import Reference

Seen = list[tuple[Any, float]]  # of one segment: what is seen of each reference, and its weight


class Reader(abc.ABC):
    """What sees references; ``SCALE`` is their weight where none is given."""

    SCALE: float

    @abc.abstractmethod
    def see(self, reference: Reference) -> Any:
        """What `rows` needs of a reference.

        Raises:
            SampleFailed: it says nothing.
        """

    @abc.abstractmethod
    def rows(self, guidance: float, text: Conditioning, segments: Sequence[Seen]) -> Conditioning:
        """The conditioning of rows, one a segment, with what their references say."""

    def whole(self, guidance: float, text: Conditioning, count: int) -> Conditioning:
        """The conditioning of ``count`` whole pictures, which see no reference."""
        return text

    def weigher(self, guidance: float, segments: Sequence[Seen]) -> Callable[[bool], None]:
        """Called before the UNet is, with whether it is called for whole pictures."""
        return lambda whole: None

    def segment(self, references: Sequence[Reference]) -> Seen:
        """What one segment's references are, each with its weight."""
        return [(self.see(r), self.SCALE if r.scale is None else r.scale) for r in references]


@dataclass
class Ssr(Reader):
    """By SSR-Encoder; ``state`` is its method's."""

    state: Any
    SCALE = 0.65

    def see(self, reference: Reference) -> Any:
        from socialcli.methods.generate import ssr

        return ssr.subject(self.state, reference, 1.0)

    def rows(self, guidance: float, text: Conditioning, segments: Sequence[Seen]) -> Conditioning:
        import torch

        if not any(segments):
            return text
        # A row without a subject reads tokens that weigh nothing.
        nothing = ((self.state.nothing, self.state.nothing), 0.0)
        tokens, scales = [], []
        for nth in zip(*_repeated(segments, nothing), strict=True):
            pairs, weights = zip(*nth, strict=True)
            without, of = zip(*pairs, strict=True)
            tokens.append(conditioning.rows(guidance, without, of))
            both = weights if guidance == 1 else (*weights, *weights)
            scales.append(torch.tensor(both, dtype=of[0].dtype, device=of[0].device))
        condition = self.state.ssr.encoder.condition
        return text.adding(
            lambda arguments: condition(arguments["encoder_hidden_states"], tokens, scales)
        )


class IpAdapter(Reader):
    """By IP-Adapter; ``state`` is its method's."""

    SCALE = 0.6

    def __init__(self, state: Any) -> None:
        from socialcli.diffusion import layered

        self.state = state
        self.weights: Tensor | None = None  # (rows,) of the UNet's batch
        for processor in layered.inside(state.diffusion.unet).values():
            if hasattr(processor, "to_v_ip"):
                processor.scale = [1.0]
                for values in processor.to_v_ip:
                    values.register_forward_hook(self._weighed)

    def _weighed(self, layer: Any, inputs: Any, values: Tensor) -> Tensor:
        assert self.weights is not None
        return values * self.weights.to(values).view(-1, *[1] * (values.ndim - 1))

    def see(self, reference: Reference) -> Any:
        from socialcli.methods.generate import ip_adapter

        return ip_adapter.seen(self.state, reference.image)

    def segment(self, references: Sequence[Reference]) -> Seen:
        seen = super().segment(references)
        if len({weight for _, weight in seen}) > 1:
            raise SampleFailed(
                "ip-adapter weighs all references of a segment alike: give them one scale"
            )
        return seen

    def rows(self, guidance: float, text: Conditioning, segments: Sequence[Seen]) -> Conditioning:
        shown = _repeated(segments, (self._nothing(), 0.0))
        return self._adding(guidance, text, [[one for one, _ in seen] for seen in shown])

    def whole(self, guidance: float, text: Conditioning, count: int) -> Conditioning:
        return self._adding(guidance, text, [[self._nothing()]] * count)

    def weigher(self, guidance: float, segments: Sequence[Seen]) -> Callable[[bool], None]:
        import torch

        weights = [seen[0][1] if seen else 0.0 for seen in segments]
        rows = torch.tensor(weights if guidance == 1 else [*weights, *weights])

        def weigh(whole: bool) -> None:
            self.weights = torch.zeros(1) if whole else rows

        return weigh

    def _adding(
        self, guidance: float, text: Conditioning, shown: Sequence[Sequence[Any]]
    ) -> Conditioning:
        import torch

        of = [torch.stack([*one]) for one in shown]
        without = [torch.stack([self._nothing()] * len(one)) for one in shown]
        embeds = conditioning.rows(guidance, without, of).to(self.state.diffusion.unet.dtype)
        return text.adding(lambda _: {"added_cond_kwargs": {"image_embeds": [embeds]}})

    def _nothing(self) -> Tensor:
        from socialcli.methods.generate import ip_adapter

        return ip_adapter.seen(self.state, None)


def _repeated(segments: Sequence[Seen], nothing: tuple[Any, float]) -> list[Seen]:
    """Rows of equally many references. Each row's own are repeated, which one attention over all of
    them does not notice; ``nothing`` stands in a row without any. (What is filled up with tokens
    that weigh nothing would take attention from the others.)"""
    count = math.lcm(*(max(1, len(seen)) for seen in segments))
    own = [seen or [nothing] for seen in segments]
    return [seen * (count // len(seen)) for seen in own]


def check(config: Any) -> None:
    """Refuse options of two readers.

    Raises:
        UsageError: one line that names them.
    """
    if config.ssr_model and config.adapter_model:
        raise UsageError("--ssr-model and --adapter-model: give the one that reads references")


def wanted(config: Any, request: Any, layout: Any) -> tuple[tuple[Reference, ...], ...]:
    """The reference pictures that a layout's segments name; () where they name none.

    Raises:
        SampleFailed: one is not there, or nothing looks at them: no reader, nor the judge of
            ``--attempts``.
    """
    if not any(segment.references for segment in layout.segments):
        return ()
    if not (config.ssr_model or config.adapter_model or config.attempts > 1):
        raise SampleFailed(
            "segments of its layout have references: give --ssr-model or --adapter-model, "
            "which reads them"
        )
    return layouts.wanted(config, request, layout)


def seen(reader: Reader | None, plan: layouts.Planned) -> list[Seen]:
    """What a reader sees of the references of each segment.

    Raises:
        SampleFailed: a reference of nothing.
    """
    if reader is None or not plan.references:
        return [[] for _ in plan.segments]
    return [reader.segment(references) for references in plan.references]


def weighers(
    config: Any, state: Any, plans: Sequence[layouts.Planned], segments: Sequence[Seen]
) -> list[Callable[[bool], None]]:
    """What sets the adapters that act in some rows only, LoRAs and what reads references: each is
    called before the UNet is, with whether it is called for whole pictures.

    Args:
        state: has the run's ``bound`` LoRAs and its ``reader``.
        segments: what is seen of the references of each row.
    """
    acting = [_bound.weigher(config, state.bound, plans)] if state.bound else []
    if state.reader is not None:
        acting.append(state.reader.weigher(config.guidance, segments))
    return acting


def specs(config: Any) -> list[ModelSpec]:
    """The models that a run's readers are made of."""
    from socialcli.methods.generate import ip_adapter, ssr

    if config.ssr_model:
        return [ssr.spec(config)]
    return [ip_adapter.spec(config)] if config.adapter_model else []


def of_run(config: Any, studio: Studio) -> Reader | None:
    """What reads references in a run, hung into the studio's UNet; None where nothing does.

    Raises:
        ModelMissing: weights that are not here. UsageError: weights that do not fit each other.
    """
    from socialcli import backends
    from socialcli.methods.generate import ip_adapter, ssr

    if config.ssr_model:
        return Ssr(ssr.attached(config, backends.load(ssr.spec(config)), studio))
    return IpAdapter(ip_adapter.attached(config, studio)) if config.adapter_model else None
