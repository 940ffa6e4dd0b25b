"""Layouts for the methods that place subjects: what each segment is drawn from, by which rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.generation import contents, drawing, options, references
from socialcli.generation.method import GenerateMethod
from socialcli.generation.requests import Wanted

if TYPE_CHECKING:
    import numpy
    from torch import Tensor

    from socialcli.diffusion.conditioning import Conditioning
    from socialcli.diffusion.regions import Regions
    from socialcli.generation.drawing import Studio

ASPECT = 0.02  # how much the shapes of layout and picture may differ


@dataclass
class Planned:
    """One picture's layout, made ready for the models.

    Attributes:
        layout: as it is in the sample.
        masks: (S, h, w) bool, a partition of the latents.
        references: of each segment.
    """

    layout: records.Layout
    masks: numpy.ndarray
    references: tuple[tuple[references.Reference, ...], ...]

    @property
    def segments(self) -> list[records.Segment]:
        return self.layout.segments


class LayoutMethod(GenerateMethod, base=True):
    """Base of the methods that draw each segment of a layout by its own text; `prepare` gives
    (the layout, the pictures that its segments name)."""

    WHOLE = False

    def named_files(self, config: Any, request: Any) -> list[str]:
        """The reference pictures that segments name by their files."""
        if request.sample is None or not request.sample.has("layout.json"):
            return []
        layout: records.Layout = request.sample.record(records.Layout)
        names = {one.name for segment in layout.segments for one in segment.references}
        return sorted(name for name in names if contents.file_called(name))

    def layout(self, request: Any) -> Any:
        """See `GenerateMethod.layout`."""
        return request.plan

    def part(self, config: Any, studio: Studio) -> int:
        """On a CPU one picture, since its segments fill a batch, and equally many of them give the
        same last bits (`drawing.part`)."""
        return 1 if studio.diffusion.unet.device.type == "cpu" else drawing.part(config, studio)

    def members(self, config: Any, request: Any, size: tuple[int, int]) -> dict[str, bytes]:
        """The layout that a picture was drawn by, in the picture's size, so that it is scored and
        looked at with it."""
        from socialcli.vision import layouts

        return {"layout.json": records.dump(layouts.resized(request.plan[0], *size))}


def of_request(config: Any, request: Any) -> records.Layout:
    """The layout that a request's sample has.

    Raises:
        SampleFailed: it has none, one that is not whole, or one of another shape than ``--size``.
    """
    from socialcli.vision import layouts

    if request.sample is None:
        raise SampleFailed(
            "this method draws layouts: give it shards with layout.json (`socialcli layout`, or "
            "`socialcli import layout`)"
        )
    layout: records.Layout = request.sample.record(records.Layout)
    layouts.check(layout)
    asked = options.size(config)
    if asked is not None:
        check_shape(layout, asked)
    return layout


def check_shape(layout: records.Layout, size: tuple[int, int]) -> None:
    """Refuse a layout that would be squeezed.

    Raises:
        SampleFailed: its width and height are in another proportion than the picture's.
    """
    if abs(layout.width * size[1] / (layout.height * size[0]) - 1) > ASPECT:
        raise SampleFailed(
            f"layout.json: {layout.width}x{layout.height} pixels, the picture shall have "
            f"{size[0]}x{size[1]}: give --size in the layout's proportion"
        )


def wanted(
    config: Any, request: Any, layout: records.Layout
) -> tuple[tuple[references.Reference, ...], ...]:
    """The reference pictures that a layout's segments name, found.

    A name is a file, a key, a subject or a person (`identity`) of ``--references``, or the sample's
    own key: then it is the sample's own picture.

    Raises:
        SampleFailed: one is not there, or cannot be read.
    """
    places = tuple(config.references)
    sample = request.sample
    people = references.library(places).people if places else {}

    def find(one: records.SegmentReference, prompt: str) -> references.Reference:
        asked = Wanted(one.name, one.query or None, one.scale)
        if sample is not None and one.name == sample.key:
            asked = Wanted(one.name, one.query or prompt, one.scale, own=sample)
        elif one.name in people:
            key = sample.key if sample is not None else one.name
            asked = Wanted(key, one.query or None, one.scale, identity=one.name)
        reference = references.find(asked, places, sample.key if sample else one.name, prompt)
        query = reference.query or one.query or prompt
        return references.Reference(
            reference.key, reference.image, query, reference.scale, reference.mask
        )

    return tuple(
        tuple(find(one, segment.prompt) for one in segment.references)
        for segment in layout.segments
    )


def planned(config: Any, studio: Studio, request: Any, of_segments: Any) -> Planned:
    """A layout in the resolution of the latents.

    Args:
        of_segments: what `wanted` gave.

    Raises:
        SampleFailed: it does not fit the picture, or a segment vanishes.
    """
    from socialcli.vision import layouts

    layout = of_request(config, request)
    width, height = drawing.size(config, studio)
    check_shape(layout, (width, height))
    _, h, w = studio.diffusion.latent_shape(height, width)
    return Planned(layout, layouts.shrunk(layouts.decoded(layout), h, w), of_segments)


def regions(plans: Sequence[Planned]) -> Regions:
    """The rows of a batch of layouts."""
    import numpy
    import torch

    from socialcli.diffusion.regions import Regions

    masks = torch.from_numpy(numpy.concatenate([plan.masks for plan in plans]))[:, None]
    return Regions(tuple(len(plan.masks) for plan in plans), masks)


def texts(config: Any, studio: Studio, plan: Planned) -> list[tuple[Any, Any]]:
    """(negative, prompt) text states of the whole picture, then of each segment, all of one
    length."""
    layout = plan.layout
    whole = config.negative or layout.negative
    asked = [(whole, layout.prompt)]
    asked += [(segment.negative or whole, segment.prompt) for segment in layout.segments]
    return [studio.texts(negative, prompt) for negative, prompt in asked]


def of_pairs(guidance: float, studio: Studio, pairs: Sequence[tuple[Any, Any]]) -> Conditioning:
    """Cross-attention of rows to (negative, prompt) text states of any lengths."""
    from socialcli.diffusion import conditioning

    without = even(studio, [negative for negative, _ in pairs])
    of = even(studio, [prompt for _, prompt in pairs])
    longest = even(studio, [without[0], of[0]])
    if len(longest[0]) != len(without[0]) or len(longest[1]) != len(of[0]):
        both = even(studio, [*without, *of])
        without, of = both[: len(pairs)], both[len(pairs) :]
    return conditioning.of_text(guidance, without, of)


def even(studio: Studio, states: list[Any]) -> list[Any]:
    """Text states that are as long as the longest: what is shorter goes on with the empty text."""
    longest = max(map(len, states))
    if min(map(len, states)) == longest:
        return states
    empty = studio.text("")
    return [drawing.followed(s, empty, (longest - len(s)) // len(empty)) for s in states]


def pixel_masks(plan: Planned, height: int, width: int) -> Tensor:
    """(S, height, width) float of the latents' partition, enlarged to pixels."""
    import torch

    small = torch.from_numpy(plan.masks)[:, None].float()
    return torch.nn.functional.interpolate(small, (height, width))[:, 0]
