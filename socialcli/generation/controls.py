"""ControlNets of a run: loaded, and the drawings they see made of samples and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import backends, records
from socialcli.backends import ModelSpec, naming
from socialcli.config import flag
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import contents

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.diffusion.control import Control
    from socialcli.generation.drawing import Studio

OF_SAMPLES = ("pose", "picture")
BODY = "coco17"  # the layout of keypoints that skeletons are drawn of


def check(config: Any) -> None:
    """Refuse options that make no sense.

    Raises:
        UsageError: one line that names the option.
    """
    count = len(config.controlnet_model)
    for name in ("control", "control_scale", "control_start", "control_end"):
        given = len(getattr(config, name))
        if given > 1 and given != count:
            raise UsageError(
                f"{flag(name)} is there {given} times and --controlnet-model {count} "
                "times: give one for all, or one each"
            )
    for one in config.control:
        if one not in OF_SAMPLES and contents.file_called(one) is None:
            raise UsageError(f"--control {one}: pose, picture, or a picture file; there is none")
    starts, ends = _each(config, "control_start", 0.0), _each(config, "control_end", 1.0)
    for start, end in zip(starts, ends, strict=True):
        if not 0 <= start < end <= 1:
            raise UsageError(
                f"--control-start {start:g} --control-end {end:g}: shares of the steps, the first "
                "below the second"
            )


def specs(config: Any) -> list[ModelSpec]:
    """The models that the options name."""
    return [
        ModelSpec("controlnet", "diffusers", model, None, config.device, config.dtype)
        for model in config.controlnet_model
    ]


def facts(config: Any) -> dict[str, Any]:
    """What pictures depend on besides the options; see `GenerateMethod.facts`."""
    files = [naming.content(c) if c not in OF_SAMPLES else c for c in config.control]
    return {
        "option controlnet_model": [naming.content(model) for model in config.controlnet_model],
        "option control": files,
    }


def load(config: Any, studio: Studio) -> list[Any]:
    """The nets, once it is known that they belong to the studio's UNet.

    Raises:
        ModelMissing, UsageError: one is not here, is none, or is another model's.
    """
    from socialcli.networks import micro_conditioning

    nets = [backends.load(spec) for spec in specs(config)]
    for number, net in enumerate(nets):
        net.check(studio.diffusion.unet, config.controlnet_model[number])
        if len(studio.diffusion.encoders) > 1:
            micro_conditioning.attach(net.network, studio.diffusion.factor)
        studio.models["controlnet" if not number else f"controlnet-{number + 1}"] = net.model
    return nets


def hints(config: Any, sample: Any, size: tuple[int, int], people: Any = None) -> list[Tensor]:
    """(3, H, W) in [0, 1] a net: what it sees of a sample.

    Args:
        people: COCO keypoints of each person to be drawn; None: those of the sample.

    Raises:
        SampleFailed: the sample has nothing of the kind.
    """
    from socialcli.diffusion import control

    pictures: list[Tensor] = []
    for kind in _each(config, "control", "pose"):
        if kind == "pose":
            skeletons = skeletons_of(sample) if people is None else people
            pictures.append(control.hint(skeletons, size, config.pose_style))
        else:
            pictures.append(_picture(kind, sample, size))
    return pictures


def skeletons_of(sample: Any) -> list[Any]:
    """The keypoints of each person of a sample, of its layout where it has one.

    Raises:
        SampleFailed: it has neither a layout with such skeletons nor people with any; those of
            other layouts, an animal's, are not drawn.
    """
    skeletons: list[Any] = []
    others: set[str] = set()

    def drawn(parts: Sequence[Any]) -> list[Any]:
        known = [part.keypoints for part in parts if part.keypoints is not None]
        others.update(one.layout for one in known if one.layout != BODY)
        return [one.points for one in known if one.layout == BODY]

    if sample is not None and sample.has("layout.json"):
        skeletons = drawn(sample.record(records.Layout).segments)
    if not skeletons and sample is not None and sample.has("people.json"):
        skeletons = drawn(sample.record(records.People).people)
    if not skeletons:
        if sample is not None and not sample.has("people.json") and sample.failure("people.json"):
            raise sample.lacking("people.json")
        only = f" (there are {', '.join(sorted(others))} alone)" if others else ""
        raise SampleFailed(
            f"no skeleton to draw{only}: give shards with layout.json or people.json that have "
            f"{BODY} keypoints, or a picture file as --control"
        )
    return skeletons


def _picture(kind: str, sample: Any, size: tuple[int, int]) -> Tensor:
    import numpy
    import torch
    from PIL import Image

    from socialcli.vision import images

    if kind == "picture":
        if sample is None:
            raise SampleFailed("--control picture is of shards: a prompt has no picture")
        image = images.decode(sample.picture())
    else:
        image = images.decode_file(Path(kind).expanduser())
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return torch.from_numpy(numpy.array(image)).permute(2, 0, 1).float() / 255


def of(config: Any, nets: Sequence[Any], seen: Sequence[Tensor]) -> list[Control]:
    """The nets with what they see, for `control.guide`.

    Args:
        seen: (N, 3, H, W) a net.
    """
    from socialcli.diffusion.control import Control

    scales, starts, ends = (
        _each(config, f"control_{name}", default)
        for name, default in (("scale", 1.0), ("start", 0.0), ("end", 1.0))
    )
    return [
        Control(net.network, hint, scales[n], starts[n], ends[n])
        for n, (net, hint) in enumerate(zip(nets, seen, strict=True))
    ]


def _each(config: Any, name: str, default: Any) -> list[Any]:
    """A value a net: one for all, one each, or the default."""
    given, count = getattr(config, name), len(config.controlnet_model)
    return list(given) if len(given) == count and count else [*(given or [default])] * count
