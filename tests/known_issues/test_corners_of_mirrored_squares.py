"""`train --method text-to-image --backend sdxl` told the UNet of a mirrored square how much of the
picture was cut off on its other side: half of all squares learnt a wrong corner. What counts is the
picture as it is shown, as where diffusers' training mirrors first and crops then."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy
from parts import part
from PIL import Image

from socialcli import records
from socialcli.randomness import Variant
from socialcli.shards import Sample

SIDE = 8


def test_the_corner_is_of_the_picture_as_it_is_shown():
    method = part("methods.train", "text-to-image")
    wide = numpy.random.default_rng(0).integers(0, 256, (SIDE, 5 * SIDE, 3), numpy.uint8)
    out = io.BytesIO()
    Image.fromarray(wide).save(out, "PNG")
    caption = records.dump(records.Caption("a wall"))
    sample = Sample("a", {"png": out.getvalue(), "caption.json": caption})
    state = SimpleNamespace(
        config=method.Config(), side=SIDE, diffusion=SimpleNamespace(encoders=[1, 2])
    )
    shown = set()
    for number in range(12):
        example = method.prepare(state, sample, Variant(0, "a", number))
        top, left = map(int, example["time_ids"][2:4])
        seen = (example["pixels"].permute(1, 2, 0).numpy() * 127.5 + 127.5).round()
        for mirrored in (False, True):
            whole = wide[:, ::-1] if mirrored else wide
            if (whole[top : top + SIDE, left : left + SIDE] == seen).all():
                shown.add((number, mirrored))
    assert len(shown) == 12 and len({mirrored for _, mirrored in shown}) == 2
