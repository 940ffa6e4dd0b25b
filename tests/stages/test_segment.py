"""Segmentation: run-length codes, original checkpoints, the backend, the stage's rules."""

from __future__ import annotations

import io
import json

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import part
from tiny import segment as tiny

from socialcli import backends, records
from socialcli.backends import ModelSpec
from socialcli.backends.roles import Segment
from socialcli.backends.segment import masks, official_sam
from socialcli.errors import ModelMissing, SampleFailed, SampleFiltered, UsageError
from socialcli.pipeline.stage import Item
from socialcli.shards import Sample
from socialcli.vision import masks as rle

segment = part("stages", "segment")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam")
    return {
        "hf": str(tiny.checkpoint(folder / "hf")),
        "pth": str(tiny.official_checkpoint(folder / "sam_vit_tiny.pth")),
    }


@pytest.fixture(scope="module", params=["hf", "pth"])
def sam(request, checkpoints):
    return backends.load(ModelSpec("segment", "sam", checkpoints[request.param]))


def picture(width=90, height=60, seed=0):
    from PIL import Image

    noise = numpy.random.default_rng(seed).integers(0, 255, (height // 6, width // 6, 3))
    small = Image.fromarray(noise.astype(numpy.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def jpg(image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95)
    return out.getvalue()


# ------------------------------------------------------------------ run-length codes


@given(st.integers(1, 12), st.integers(1, 12), st.data())
@settings(max_examples=100, deadline=None)
def test_rle_is_coco_and_comes_back(height, width, data):
    from pycocotools import mask as coco

    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = numpy.array(bits).reshape(height, width)
    code = rle.encode(mask)
    assert json.loads(json.dumps(code)) == code
    assert (coco.decode(code).astype(bool) == mask).all()
    assert (rle.decode(code) == mask).all()
    assert rle.area(code) == coco.area(code) == mask.sum()


def test_rle_by_hand_runs_down_the_columns():
    # Columns (0,1,1) and (0,0,1): runs 1 off, 2 on, 2 off, 1 on.
    mask = numpy.array([[0, 0], [1, 0], [1, 1]])
    assert rle.decode({"size": [3, 2], "counts": [1, 2, 2, 1]}).tolist() == (mask > 0).tolist()
    assert rle.encode(mask)["size"] == [3, 2]


@pytest.mark.parametrize(
    "bad",
    [
        {"size": [3, 2], "counts": "99"},  # too few pixels
        {"size": [3, 2], "counts": [100, 1]},  # too many: pycocotools would write past its array
        {"size": [3, 2], "counts": "\x00\x01"},
        {"size": [3, 2], "counts": "o" * 40},  # a run without an end
        {"size": [3, 2], "counts": "8N"},  # runs of 8 and -2: they add up to its size
        {"size": [3, 2], "counts": "p6"},  # a character after the code's last
        {"size": [3, 2], "counts": "P" * 12 + "06"},  # digits beyond 64 bits
        {"size": [3_000_000, 2_000_000], "counts": "1"},
        {"size": [3], "counts": "1"},
        {"counts": "1"},
        {"size": [3, 2], "counts": None},
    ],
)
def test_a_hostile_code_is_refused(bad):
    with pytest.raises(SampleFailed, match="run-length"):
        rle.decode(bad)


# ------------------------------------------------------------------ scores and scaling


def test_stability_score_by_hand():
    import torch

    logits = torch.tensor([[5.0, 0.5, -0.5], [-0.9, -1.0, -5.0], [1.0, 1.1, 2.0]])
    # above 1: 5, 1.1, 2 -> 3 pixels; above -1: those and .5, -.5, -.9, 1.0 -> 7
    assert masks.stability_score(logits, 0.0) == pytest.approx(3 / 7)
    # threshold 1: above 2 only 5; above 0: 5, .5, 1, 1.1, 2
    assert masks.stability_score(logits, 1.0) == pytest.approx(1 / 5)
    assert masks.stability_score(torch.full((2, 2), -9.0), 0.0) == 0.0


def test_upscale_is_the_official_post_processing(checkpoints):
    import torch
    from transformers import SamImageProcessorPil

    processor = SamImageProcessorPil.from_pretrained(checkpoints["hf"])
    logits = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    [expected] = processor.post_process_masks([logits], [(60, 90)], [(43, 64)], binarize=False)
    for own, wanted in zip(logits[0], expected[0], strict=True):
        assert torch.allclose(masks.upscale(own, (64, 64), (43, 64), (60, 90)), wanted, atol=1e-6)


def test_the_best_of_three_by_predicted_iou():
    import torch

    logits = torch.stack([torch.full((4, 4), v) for v in (-3.0, 3.0, 0.5)])
    best = masks.best(logits, torch.tensor([0.2, 0.9, 0.8]), 0.0, (8, 8), (8, 8), (6, 5))
    assert best.mask.shape == (6, 5)
    assert (best.mask.all(), best.iou, best.stability) == (True, pytest.approx(0.9), 1.0)
    third = masks.best(logits, torch.tensor([0.2, 0.3, 1.08]), 0.0, (8, 8), (8, 8), (6, 5))
    assert (third.mask.all(), third.iou, third.stability) == (True, 1.0, 0.0)
    assert not masks.best(
        logits, torch.tensor([0.0, 0.1, 0.2]), 0.6, (8, 8), (8, 8), (6, 5)
    ).mask.any()


# ------------------------------------------------------------------ original checkpoints


def test_architecture_is_read_from_the_shapes():
    arch = official_sam.architecture(tiny.official_state())
    assert arch == official_sam.Architecture(
        image_size=64,
        patch_size=16,
        embed_dim=32,
        depth=3,
        num_heads=4,
        mlp_dim=48,
        window_size=3,
        global_attn_indexes=(2,),
        prompt_dim=32,
        mask_in_chans=16,
        decoder_depth=2,
        decoder_mlp_dim=64,
        attention_downsample_rate=2,
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=24,
    )


def test_every_original_weight_finds_its_place():
    import torch

    state = tiny.official_state()
    network = official_sam.to_transformers(state)
    loaded = network.state_dict()
    assert len(loaded) == len(state) + 1  # transformers keeps the positional embedding twice
    for name, value in state.items():
        assert torch.equal(loaded[official_sam.transformers_name(name, 3)], value), name


def test_the_converted_network_gives_the_original_packages_numbers():
    """Recorded from segment-anything 1.0; `make test-originals` compares all of them."""
    import torch

    network = official_sam.to_transformers(tiny.official_state())
    pixels = torch.linspace(-2, 2, 3 * 64 * 64).reshape(1, 3, 64, 64).sin()
    with torch.no_grad():
        features = network.get_image_embeddings(pixels)
        out = network(
            image_embeddings=features, input_boxes=torch.tensor([[[4.0, 8.0, 40.0, 60.0]]])
        )
    assert features[0, :4, 1, 2].tolist() == pytest.approx(
        [1.2815, 0.84992, -0.61551, 1.64025], abs=1e-4
    )
    logits = out.pred_masks[0, 0]
    assert logits[:, 3, 5].tolist() == pytest.approx([2.0648, -1.2417, 1.0227], abs=2e-3)
    assert logits[:, 12, 7].tolist() == pytest.approx([2.4619, -0.3837, 0.1337], abs=2e-3)
    assert out.iou_scores[0, 0].tolist() == pytest.approx([0.42809, 0.55861, 0.63356], abs=1e-4)


def test_broken_checkpoints_are_named(tmp_path, checkpoints):
    import pickle

    import torch

    def load(path):
        return backends.load(ModelSpec("segment", "sam", str(path)))

    with pytest.raises(ModelMissing, match="curl"):
        load(tmp_path / "nowhere.pth")
    (tmp_path / "text.pth").write_text("<html>not found</html>")
    with pytest.raises(UsageError, match="cannot be read as plain weights"):
        load(tmp_path / "text.pth")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match="not a SAM checkpoint"):
        load(tmp_path / "other.pth")
    state = tiny.official_state()
    del state["mask_decoder.iou_token.weight"]
    torch.save({"model": state}, tmp_path / "holes.pth")
    with pytest.raises(UsageError, match=r"iou_token"):
        load(tmp_path / "holes.pth")

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    with (tmp_path / "evil.pth").open("wb") as file:
        pickle.dump({"image_encoder.pos_embed": Evil()}, file)
    with pytest.raises(UsageError, match="cannot be read as plain weights"):
        load(tmp_path / "evil.pth")
    assert not (tmp_path / "pwned").exists()


# ------------------------------------------------------------------ the backend

BOXES = [
    [(0.1, 0.2, 0.6, 0.9), (0.0, 0.0, 1.0, 1.0), (0.5, 0.1, 0.9, 0.4)],
    [(0.3, 0.3, 0.9, 0.8)],
    [(0.2, 0.5, 0.7, 0.9), (0.1, 0.1, 0.5, 0.3)],
]
SIZES = [(90, 60), (64, 64), (60, 180)]


def test_masks_equal_the_model_called_by_hand(sam):
    """Through `SamProcessor`'s own coordinates and post-processing, box by box."""
    import torch
    from transformers import SamProcessor

    image, boxes = picture(), BOXES[0]
    [segments] = sam.segment([image], [boxes])
    processor = SamProcessor(sam.processor)
    for box, got in zip(boxes, segments, strict=True):
        pixels = [box[0] * 90, box[1] * 60, box[2] * 90, box[3] * 60]
        inputs = processor(image, input_boxes=[[pixels]], return_tensors="pt")
        inputs["input_boxes"] = inputs["input_boxes"].float()
        with torch.no_grad():
            out = sam.network(
                pixel_values=inputs["pixel_values"], input_boxes=inputs["input_boxes"]
            )
        [full] = sam.processor.post_process_masks(
            out.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )
        best = int(out.iou_scores[0, 0].argmax())
        assert got.iou == pytest.approx(float(out.iou_scores[0, 0, best]), abs=1e-4)
        assert (full[0, best].numpy() != got.mask).mean() < 1e-3
    assert len({f.mask.tobytes() for f in segments}) == 3  # the boxes matter


def test_a_picture_alone_and_in_a_batch_and_in_chunks(sam):
    pictures = [picture(w, h, i) for i, (w, h) in enumerate(SIZES)]
    together = sam.segment(pictures, BOXES)
    assert [[f.mask.shape for f in segments] for segments in together] == [
        [(h, w)] * len(boxes) for (w, h), boxes in zip(SIZES, BOXES, strict=True)
    ]
    sam.prompts, before = 1, sam.prompts
    try:
        for image, boxes, expected in zip(pictures, BOXES, together, strict=True):
            [alone] = sam.segment([image], [boxes])
            for a, b in zip(alone, expected, strict=True):
                assert a.iou == pytest.approx(b.iou, abs=1e-4)
                assert a.stability == pytest.approx(b.stability, abs=1e-3)
                assert (a.mask != b.mask).mean() < 1e-3
    finally:
        sam.prompts = before


def test_half_precision_is_for_the_encoder_only(checkpoints):
    import torch

    half = backends.load(ModelSpec("segment", "sam", checkpoints["pth"], dtype="bfloat16"))
    assert half.network.vision_encoder.dtype == torch.bfloat16
    assert half.network.prompt_encoder.point_embed[0].weight.dtype == torch.float32
    whole = backends.load(ModelSpec("segment", "sam", checkpoints["pth"]))
    [a], [b] = (s.segment([picture()], [BOXES[0][:1]]) for s in (half, whole))
    assert (a[0].mask == b[0].mask).mean() > 0.9


# ------------------------------------------------------------------ the stage


class Fixed:
    """The same segment for every box, to test what the stage makes of it."""

    def __init__(self, *segments, kinds=None):
        self.segments, self.asked = segments, []
        self.model = records.Model("fixed", role="segment")
        if kinds:
            self.kinds = kinds

    def segment(self, images, boxes):
        self.asked += boxes
        return [list(self.segments[: len(b)]) for b in boxes]


def block(share, iou=0.9, stability=0.8):
    mask = numpy.zeros((60, 90), dtype=bool)
    mask[: round(60 * share)] = True
    return Segment(mask, iou, stability)


def sample(*boxes, entities=(), key="s", **members):
    record = records.dump(records.Boxes(90, 60, list(boxes)))
    more = {"entities.json": records.dump(records.Entities(list(entities)))} if entities else {}
    return Sample(key, {"jpg": jpg(picture()), "boxes.json": record, **more, **members})


def box(number, xyxy=(0.1, 0.1, 0.5, 0.5), label="dog", entity=None):
    return records.Box(number, xyxy, label, entity, 0.9)


def run(segmenter, *samples, **options):
    config = segment.Config(**options)
    items = [Item(s.key, 0, segment.prepare(config, s)) for s in samples]
    return segment.process(config, segmenter, items)


def masks_in(result):
    return records.load(records.Masks, result["masks.json"]).masks


def test_masks_link_to_boxes_and_entities():
    model = Fixed(block(0.5), block(0.25, 0.7, None))
    [result] = run(model, sample(box(3, entity=8), box(5)))
    first, second = masks_in(result)
    assert (first.id, first.box, first.entity, first.iou, first.stability) == (3, 3, 8, 0.9, 0.8)
    assert (second.id, second.box, second.entity, second.stability) == (5, 5, None, None)
    assert first.rle["size"] == [60, 90]
    assert rle.decode(first.rle).sum() == 30 * 90
    body = json.loads(result["masks.json"])
    assert (body["width"], body["height"]) == (90, 60)
    assert body["model"]["options"]["min_iou"] == 0.0


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [1, 2, 3]),
        ({"min_iou": 0.6}, [1, 2]),
        ({"min_stability": 0.85}, [1]),
        ({"min_area": 0.3}, [1, 3]),
        ({"min_area": 0.3, "min_iou": 0.6}, [1]),
    ],
)
def test_filters_leave_the_other_ids_alone(options, kept):
    model = Fixed(block(0.5, 0.9, 0.9), block(0.2, 0.7, 0.8), block(0.6, 0.5, 0.7), block(0.0))
    [result] = run(model, sample(box(1), box(2), box(3), box(4)), **options)
    assert [m.id for m in masks_in(result)] == kept


@pytest.mark.parametrize("xyxy", [(0.2, 0.2, 0.2, 0.9), (1.2, 0.1, 1.5, 0.4), (-0.5, 0, 0.5, 2)])
def test_boxes_without_area_or_outside_are_refused(xyxy):
    model = Fixed(block(0.5))
    whole = sample(box(1))
    body = json.loads(whole.members["boxes.json"])
    body["boxes"][0]["xyxy"] = xyxy
    whole.members["boxes.json"] = json.dumps(body).encode()
    with pytest.raises(SampleFailed, match=r"boxes\.json: box 1 .* (no area|leaves the picture)"):
        run(model, whole)
    assert model.asked == []


def test_no_boxes_no_model_and_an_empty_member():
    model = Fixed()
    assert masks_in(run(model, sample())[0]) == []
    assert model.asked == []
    assert isinstance(run(model, sample(), drop_empty=True)[0], SampleFiltered)
    with pytest.raises(SampleFailed, match="socialcli ground"):
        run(model, Sample("s", {"jpg": jpg(picture())}))


def test_existing_masks_are_replaced_unless_kept():
    old = records.dump(records.Masks(90, 60, [], records.GROUND_TRUTH))
    given = sample(box(1), **{"masks.json": old})
    assert len(masks_in(run(Fixed(block(0.5)), given)[0])) == 1
    assert run(Fixed(block(0.5)), given, keep_existing=True) == [{"masks.json": old}]


def test_a_segmenter_of_persons_gets_their_boxes_only():
    model = Fixed(block(0.5), kinds=("person",))
    person = records.Entity(4, "a surfer", "surfer", "surfer", 0, 8, "person")
    dog = records.Entity(5, "a hot dog man", "man", "man", 0, 8, "object")
    given = sample(
        box(1, label="surfer", entity=4), box(2, label="man", entity=5), entities=[person, dog]
    )
    truth = sample(box(7, label="person"), box(8, label="skateboard"), key="t")
    assert [[m.id for m in masks_in(r)] for r in run(model, given, truth)] == [[1], [7]]


def test_a_model_whose_output_is_not_a_number_fails_the_sample():
    bad, good = Fixed(block(0.5, float("nan"))), Fixed(block(0.5))
    assert isinstance(run(bad, sample(box(1)))[0], SampleFailed)
    assert len(masks_in(run(good, sample(box(1)))[0])) == 1


@pytest.mark.parametrize("options", [{"min_iou": 2.0}, {"min_area": -1.0}, {"prompts": 0}])
def test_wrong_options_are_refused_in_one_line(options):
    with pytest.raises(UsageError, match="--"):
        segment.load(segment.Config(**options))


def test_the_stage_on_real_checkpoints(checkpoints):
    for path in checkpoints.values():
        config = segment.Config(model=path, device="cpu", dtype="float32")
        loaded = segment.load(config)
        given = sample(box(1), box(2, (0.4, 0.2, 0.9, 0.9)))
        [result] = segment.process(config, loaded, [Item("s", 0, segment.prepare(config, given))])
        written = masks_in(result)
        assert written
        assert all(m.rle["size"] == [60, 90] and 0 <= m.iou <= 1 for m in written)
        assert json.loads(result["masks.json"])["model"]["model"] == path.rpartition("/")[2]


def test_from_the_command_line_as_a_sidecar(tmp_path, checkpoints, run_cli):
    """A join of pictures and boxes in, masks alone out, under the same keys."""

    from socialcli import shards

    pictures = [(key, {"jpg": jpg(picture(seed=n))}) for n, key in enumerate(("a", "b", "c"))]
    record = records.Boxes(90, 60, [box(1), box(2, (0.4, 0.2, 0.9, 0.9), entity=5)])
    bare = records.dump(records.Boxes(90, 60))
    given = [records.dump(record), bare, records.dump(record)]
    shards.write(tmp_path / "pictures.tar", pictures)
    shards.write(
        tmp_path / "boxes.tar",
        [(key, {"boxes.json": data}) for (key, _), data in zip(pictures, given, strict=True)],
    )
    source = f"{tmp_path}/pictures.tar+{tmp_path}/boxes.tar"
    options = ["--sidecar", "--model", checkpoints["pth"], "--device", "cpu", "-o", "-"]
    done = run_cli("segment", source, *options)
    (tmp_path / "masks.tar").write_bytes(done.stdout)
    samples = list(shards.read(f"{source}+{tmp_path}/masks.tar"))
    assert [s.key for s in samples] == ["a", "b", "c"]
    assert [s.members["jpg"] for s in samples] == [m["jpg"] for _, m in pictures]
    masks_of = [s.record(records.Masks).masks for s in samples]
    assert [[(m.box, m.entity) for m in of_sample] for of_sample in masks_of] == [
        [(1, None), (2, 5)],
        [],
        [(1, None), (2, 5)],
    ]


def test_from_the_command_line_with_the_miniature(run_cli, tmp_path):
    """The world's own boxes in, nearly the world's own masks out."""
    from socialcli import shards
    from socialcli.miniature.world import ground_truth, scene

    truth = {s.key: ground_truth.members(s) for s in (scene(5, i, 96, "val") for i in range(12))}
    asked = [(k, {name: m[name] for name in ("png", "boxes.json")}) for k, m in truth.items()]
    shards.write(tmp_path / "asked.tar", asked)
    run_cli("segment", tmp_path / "asked.tar", "-o", tmp_path / "out.tar", "--profile", "mini")
    overlaps = []
    for one in shards.read(str(tmp_path / "out.tar")):
        by_box = {m.box: rle.decode(m.rle) for m in one.record(records.Masks).masks}
        for right in records.load(records.Masks, truth[one.key]["masks.json"]).masks:
            wanted = rle.decode(right.rle)
            predicted = by_box.get(right.box, numpy.zeros_like(wanted))
            overlaps.append((predicted & wanted).sum() / (predicted | wanted).sum())
    assert len(overlaps) > 20 and numpy.mean(overlaps) > 0.6
