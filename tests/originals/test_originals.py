"""The original packages against what the toolkit runs by default, on the same weights.

`make test-originals` makes the environment and runs this; elsewhere it is skipped, because the
packages need a torchvision that matches torch.
"""

from __future__ import annotations

import numpy
import pytest

pytestmark = pytest.mark.originals


def pictures():
    from PIL import Image

    resized = []
    for seed, (width, height) in enumerate([(150, 100), (64, 64), (70, 300)]):
        noise = numpy.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3))
        small = Image.fromarray(noise.astype(numpy.uint8))
        resized.append(small.resize((width, height), Image.Resampling.BICUBIC))
    return resized


BOXES = [
    [(0.1, 0.2, 0.6, 0.9), (0.0, 0.0, 1.0, 1.0), (0.5, 0.1, 0.9, 0.4)],
    [(0.3, 0.3, 0.9, 0.8)],
    [(0.2, 0.5, 0.7, 0.9), (0.1, 0.1, 0.5, 0.3)],
]


@pytest.fixture(scope="module")
def sam_file(tmp_path_factory):
    pytest.importorskip("segment_anything")
    from tiny import segment as tiny

    return tiny.official_checkpoint(tmp_path_factory.mktemp("sam") / "sam_tiny.pth")


def test_the_package_loads_the_tiny_checkpoint_with_no_key_left_over(sam_file):
    import torch

    from socialcli.backends.segment import official_sam, segment_anything

    state = torch.load(sam_file, weights_only=True)
    network = segment_anything.build(official_sam.architecture(state))
    assert sorted(network.state_dict()) == sorted(state)
    network.load_state_dict(state, strict=True)


def test_architecture_of_the_three_released_sizes(sam_file):
    """Each of the package's own builders, recognised from its state dict alone."""
    import torch
    from segment_anything import sam_model_registry

    from socialcli.backends.segment import official_sam

    expected = {"vit_b": (768, 12, 12), "vit_l": (1024, 24, 16), "vit_h": (1280, 32, 16)}
    for name, (dim, depth, heads) in expected.items():
        with torch.device("meta"):
            network = sam_model_registry[name]()
        arch = official_sam.architecture(network.state_dict())
        assert (arch.embed_dim, arch.depth, arch.num_heads) == (dim, depth, heads)
        assert (arch.image_size, arch.patch_size, arch.window_size) == (1024, 16, 14)
        assert arch.mlp_dim == 4 * dim
        globally = [i for i, b in enumerate(network.image_encoder.blocks) if b.window_size == 0]
        assert arch.global_attn_indexes == tuple(globally)
        with torch.device("meta"):
            from transformers import SamModel

            converted = SamModel(official_sam.transformers_config(arch))
        names = {official_sam.transformers_name(k, 3) for k in network.state_dict()}
        shapes = {k: v.shape for k, v in converted.state_dict().items()}
        assert names | {"prompt_encoder.shared_embedding.positional_embedding"} == set(shapes)
        for key, value in network.state_dict().items():
            assert shapes[official_sam.transformers_name(key, 3)] == value.shape


def test_sam_converted_on_load_equals_the_package(sam_file):
    """Embeddings, mask logits and predicted IoU of the two networks on the same input."""
    import torch

    from socialcli.backends.segment import official_sam, segment_anything

    state = official_sam.read(str(sam_file))
    official = segment_anything.build(official_sam.architecture(state))
    official.load_state_dict(state)
    official.eval()
    converted = official_sam.to_transformers(state)
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    corners = torch.tensor([[4.0, 8.0, 40.0, 60.0], [10.0, 2.0, 33.0, 21.0]])
    with torch.no_grad():
        expected = official.image_encoder(pixels)
        features = converted.get_image_embeddings(pixels)
        assert (features - expected).abs().max() < 1e-4
        sparse, dense = official.prompt_encoder(points=None, boxes=corners, masks=None)
        logits, scores = official.mask_decoder(
            image_embeddings=expected[:1],
            image_pe=official.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        out = converted(image_embeddings=features[:1], input_boxes=corners[None])
    assert float(logits.std()) > 0.5  # the weights are not degenerate
    assert (out.pred_masks[0] - logits).abs().max() < 1e-4 * logits.abs().max()
    assert (out.iou_scores[0] - scores).abs().max() < 1e-5


def test_both_sam_backends_write_the_same_masks(sam_file):
    from socialcli import backends
    from socialcli.backends import ModelSpec

    by_sam, by_package = (
        backends.load(ModelSpec("segment", name, str(sam_file))).segment(pictures(), BOXES)
        for name in ("sam", "segment-anything")
    )
    for own, original in zip(by_sam, by_package, strict=True):
        for a, b in zip(own, original, strict=True):
            assert a.mask.shape == b.mask.shape
            assert (a.mask != b.mask).mean() < 1e-4
            assert a.iou == pytest.approx(b.iou, abs=1e-5)
            assert a.stability == pytest.approx(b.stability, abs=1e-4)


def test_our_stability_score_is_the_packages(sam_file):
    import torch
    from segment_anything.utils.amg import calculate_stability_score

    from socialcli.backends.segment import masks

    logits = torch.randn(5, 40, 30, generator=torch.Generator().manual_seed(1)) * 3
    expected = calculate_stability_score(logits, 0.5, 1.0)
    for own, score in zip(logits, expected, strict=True):
        assert masks.stability_score(own, 0.5) == pytest.approx(float(score))


def test_the_predictor_of_the_package_gives_the_same_masks(sam_file):
    """Through `SamPredictor`, the package's front door, and not only through its network."""
    from segment_anything import SamPredictor

    from socialcli import backends
    from socialcli.backends import ModelSpec

    loaded = backends.load(ModelSpec("segment", "segment-anything", str(sam_file)))
    predictor = SamPredictor(loaded.network)
    for image, wanted, segments in zip(
        pictures(), BOXES, loaded.segment(pictures(), BOXES), strict=True
    ):
        predictor.set_image(numpy.asarray(image))
        scale = numpy.array([image.width, image.height] * 2)
        for box, segment in zip(wanted, segments, strict=True):
            masks, scores, _ = predictor.predict(box=numpy.array(box) * scale)
            best = int(scores.argmax())
            assert segment.iou == pytest.approx(float(scores[best]), abs=1e-4)
            assert (segment.mask != masks[best]).mean() < 1e-3


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    """Folder with an original checkpoint, its configuration, and the same network for HF."""
    pytest.importorskip("groundingdino")
    import tiny_dino
    import torch
    from tiny import ground as tiny
    from transformers import GroundingDinoImageProcessorPil

    folder = tmp_path_factory.mktemp("dino")
    network = tiny_dino.official_network()
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"model": state}, folder / "tiny.pth")
    tiny_dino.config_file(folder / "tiny_cfg.py")
    tiny.tokenizer_folder(folder / "bert")
    tiny_dino.to_transformers(network).save_pretrained(folder / "hf")
    tiny.tokenizer_folder(folder / "hf")
    GroundingDinoImageProcessorPil().save_pretrained(folder / "hf")
    return folder


@pytest.fixture(scope="module")
def grounders(dino):
    from socialcli import backends
    from socialcli.backends import ModelSpec

    options = {"model_config": str(dino / "tiny_cfg.py"), "text_encoder": str(dino / "bert")}
    original = ModelSpec(
        "ground", "grounding-dino-original", str(dino / "tiny.pth"), options=options
    )
    loaded = [
        backends.load(original),
        backends.load(ModelSpec("ground", "grounding-dino", str(dino / "hf"))),
    ]
    for grounder in loaded:  # pictures of 800 pixels a side would take a minute
        processor = grounder.remembered.processor
        processor.size = type(processor.size)(shortest_edge=128, longest_edge=192)
    return loaded


PHRASES = [["a man in red", "dog", "a man"], ["two people"], ["the sportsman", "a ball"]]


def test_groundingdino_equals_transformers(grounders):
    """Every detection of the original package, box and score, of pictures of three sizes."""
    by_package, by_transformers = (g.ground(pictures(), PHRASES, 0.3, 0.2) for g in grounders)
    assert sum(len(detections) for detections in by_package) > 30
    assert len({round(d.score, 3) for detections in by_package for d in detections}) > 15
    for original, own in zip(by_package, by_transformers, strict=True):
        assert [d.phrase for d in original] == [d.phrase for d in own]
        for a, b in zip(original, own, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-5)
            assert a.xyxy == pytest.approx(b.xyxy, abs=1e-5)


def test_the_packages_own_predict_finds_the_same_boxes(grounders):
    """`groundingdino.util.inference.predict` with its own tokeniser and its own text."""
    from groundingdino.util.inference import predict

    original, asked, image = grounders[0], ["dog", "horse", "ball"], pictures()[0]
    [detections] = original.ground([image], [asked], 0.3, 0.25)
    processor = original.remembered.processor
    pixels = processor(images=image, return_tensors="pt")["pixel_values"][0]
    from tiny import ground as tiny
    from transformers import BertTokenizer

    original.network.tokenizer = BertTokenizer(vocab=tiny.vocabulary(), do_lower_case=True)
    boxes, scores, labels = predict(
        original.network, pixels, "dog. horse. ball.", 0.3, 0.25, device="cpu"
    )
    expected = set()
    for box, label in zip(boxes.tolist(), labels, strict=True):
        x, y, w, h = box
        corners = numpy.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, 1)
        words = [word for word in label.replace(".", " ").split() if word in asked]
        expected |= {(tuple(corners.round(3)), asked.index(word)) for word in words}
    rounded = {(tuple(numpy.round(d.xyxy, 3)), d.phrase) for d in detections}
    assert rounded
    assert rounded <= expected  # the official rule also keeps boxes for a full stop's sake
    assert max(scores.tolist()) >= max(d.score for d in detections) - 1e-4


def test_original_is_alone_what_it_is_in_a_batch(grounders):
    together = grounders[0].ground(pictures(), PHRASES, 0.2, 0.1)
    for image, asked, expected in zip(pictures(), PHRASES, together, strict=True):
        [alone] = grounders[0].ground([image], [asked], 0.2, 0.1)
        assert [d.phrase for d in alone] == [d.phrase for d in expected]
        for a, b in zip(alone, expected, strict=True):
            assert a.xyxy == pytest.approx(b.xyxy, abs=1e-4)
            assert a.score == pytest.approx(b.score, abs=1e-4)


def test_original_sees_a_picture_once_for_several_texts(grounders, monkeypatch):
    from dataclasses import replace

    original, rows = grounders[0], []
    monkeypatch.setattr(original, "words", replace(original.words, longest=9))
    swin = original.network.backbone[0]
    watch = swin.patch_embed.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    asked = [["dog", "a man in red", "horse", "a ball", "a man"]]
    once = original.ground(pictures()[:1], asked, 0.2, 0.1)
    assert rows == [1] and any(once)
    monkeypatch.setattr(original.remembered, "maps", lambda pixels, compute: list(compute(pixels)))
    assert original.ground(pictures()[:1], asked, 0.2, 0.1) == once and len(rows) > 2
    watch.remove()


def test_a_configuration_that_runs_code_is_refused(dino):
    from socialcli.backends.ground import grounding_dino_original as backend
    from socialcli.errors import UsageError

    bad = dino / "bad.py"
    bad.write_text("import os\nbackbone = os.getcwd()\n")
    with pytest.raises(UsageError, match="more than plain values"):
        backend.read_config(str(bad))


def test_the_shipped_configurations_are_read(dino):
    import torch

    from socialcli.backends.ground import grounding_dino_original as backend

    for width, backbone in [(96, "swin_T_224_1k"), (128, "swin_B_384_22k")]:
        state = {"backbone.0.patch_embed.proj.weight": torch.zeros(width, 3, 4, 4)}
        assert backend.read_config(backend._shipped_config(state))["backbone"] == backbone
