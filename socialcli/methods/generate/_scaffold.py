"""The scaffolding image of `composite`: what ``--scaffold`` names, as latents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.backends import naming
from socialcli.errors import UsageError
from socialcli.generation import drawing

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.generation.drawing import Studio
    from socialcli.generation.layouts import Planned


def check(given: str) -> None:
    """Refuse what is no scaffolding image (UsageError)."""
    colour = given.startswith("#")
    known = not given or colour or given in ("picture", "layout")
    if not known and not Path(given).expanduser().is_file():
        raise UsageError(f"--scaffold {given}: picture, layout, #rrggbb, or a picture file")
    if colour and not (len(given) == 7 and all(c in "0123456789abcdefABCDEF" for c in given[1:])):
        raise UsageError(f"--scaffold {given}: a colour is #rrggbb")


def facts(given: str) -> dict[str, Any]:
    """The content of its file, where it is one."""
    if not given or not Path(given).expanduser().is_file():
        return {}
    return {"option scaffold": naming.content(given)}


def latents(config: Any, studio: Studio, request: Any, plan: Planned) -> Tensor | None:
    """(C, h, w) clean latents of the scaffolding image; None without one."""
    import numpy
    import torch
    from PIL import Image

    from socialcli.vision import images, layouts

    given = config.scaffold
    if not given:
        return None
    size = drawing.size(config, studio)
    if given == "layout":
        image = layouts.picture(plan.layout)
    elif given == "picture":
        image = images.decode(request.sample.picture())
    elif given.startswith("#"):
        image = Image.new("RGB", size, given)
    else:
        image = images.decode_file(Path(given).expanduser())
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(numpy.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        encoded: Tensor = studio.diffusion.encode(pixels)[0]
    return encoded.float()
