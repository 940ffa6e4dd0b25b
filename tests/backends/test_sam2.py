"""SAM 2: the square it sees, masks box by box, and the stage that uses it."""

from __future__ import annotations

import numpy
import pytest
import scenes
import torch
from PIL import Image
from tiny import segment as tiny

from socialcli import backends, records, shards
from socialcli.backends import ModelSpec
from socialcli.backends.segment import sam2 as backend

BOXES = [
    [(0.1, 0.2, 0.6, 0.9), (0.0, 0.0, 1.0, 1.0), (0.5, 0.1, 0.9, 0.4)],
    [],
    [(0.3, 0.3, 0.9, 0.8)],
]
SIZES = [(90, 60), (64, 64), (60, 180)]


@pytest.fixture(scope="module")
def sam2(tmp_path_factory):
    folder = tiny.sam2(tmp_path_factory.mktemp("sam2"))
    return backends.load(ModelSpec("segment", "sam2", str(folder)))


def picture(width, height, seed=0):
    noise = numpy.random.default_rng(seed).integers(0, 255, (height // 6, width // 6, 3))
    small = Image.fromarray(noise.astype(numpy.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def test_the_picture_is_squashed_as_pillow_squashes_it():
    image = picture(90, 60)
    squashed = numpy.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)) / 255
    squashed = (squashed - backend.MEAN) / backend.STD
    own = backend.prepare(image, 64)[0].permute(1, 2, 0).numpy()
    assert numpy.abs(own - squashed).max() < 0.02  # Pillow rounds to whole grey values, twice


def test_masks_equal_the_model_called_by_hand(sam2):
    """A box at a time, pixels and boxes in one call, corners in the frame of the square."""
    image = picture(90, 60)
    [segments] = sam2.segment([image], [BOXES[0]])
    for box, segment in zip(BOXES[0], segments, strict=True):
        corners = torch.tensor([[[v * 64 for v in box]]])
        with torch.no_grad():
            out = sam2.network(
                pixel_values=backend.prepare(image, 64), input_boxes=corners, multimask_output=False
            )
        logits = out.pred_masks[0, 0].double()
        full = torch.nn.functional.interpolate(logits[None], (60, 90), mode="bilinear")[0, 0]
        assert (segment.mask == (full > 0).numpy()).mean() > 0.999
        assert segment.iou == pytest.approx(float(out.iou_scores[0, 0, 0]), abs=1e-5)
    assert len({s.mask.tobytes() for s in segments}) == 3  # the boxes matter


def test_alone_in_a_batch_and_in_chunks(sam2):
    pictures = [picture(w, h, i) for i, (w, h) in enumerate(SIZES)]
    together = sam2.segment(pictures, BOXES)
    assert [[s.mask.shape for s in own] for own in together] == [
        [(h, w)] * len(boxes) for (w, h), boxes in zip(SIZES, BOXES, strict=True)
    ]
    sam2.prompts, before = 1, sam2.prompts
    try:
        for image, boxes, expected in zip(pictures, BOXES, together, strict=True):
            [alone] = sam2.segment([image], [boxes])
            for a, b in zip(alone, expected, strict=True):
                assert a.iou == pytest.approx(b.iou, abs=1e-4)
                assert (a.mask != b.mask).mean() < 1e-3
    finally:
        sam2.prompts = before


def test_half_precision_is_for_the_encoder_only(tmp_path):
    folder = str(tiny.sam2(tmp_path / "sam2"))
    half = backends.load(ModelSpec("segment", "sam2", folder, dtype="bfloat16"))
    seen = []
    half.network.vision_encoder.register_forward_hook(
        lambda *call: seen.append(call[2].fpn_hidden_states[0].dtype)
    )
    half.network.mask_decoder.register_forward_hook(lambda *call: seen.append(call[2][0].dtype))
    [[segment]] = half.segment([picture(90, 60)], [BOXES[0][:1]])
    assert seen == [torch.bfloat16, torch.float32] and segment.mask.shape == (60, 90)


def test_the_stage_uses_it(tmp_path, run_cli):
    """`segment --backend sam2` on a shard of one scene, through the command line."""
    members = {n: v for n, v in scenes.members().items() if n != "masks.json"}
    shards.write(tmp_path / "in" / "000.tar", [("a", members)])
    folder = tiny.sam2(tmp_path / "sam2")
    options = "--backend", "sam2", "--model", folder, "--min-iou", 0
    run_cli("segment", tmp_path / "in", "-o", tmp_path / "out", *options)
    [sample] = list(shards.read(str(tmp_path / "out" / "000.tar")))
    written = records.load(records.Masks, sample.members["masks.json"])
    boxes = records.load(records.Boxes, sample.members["boxes.json"])
    assert [m.box for m in written.masks] == [b.id for b in boxes.boxes]
    assert written.model.backend == "sam2"
