"""ArcFace's network and alignment: the official layout, numerics, and that gradients pass."""

from __future__ import annotations

import argparse

import numpy
import pytest
import torch
import torch.nn.functional as F
from tiny import people as tiny

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.errors import ModelMissing, UsageError
from socialcli.networks import iresnet
from socialcli.records import Face
from socialcli.vision import faces


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny.backbone(tmp_path_factory.mktemp("arcface") / "backbone.pth")


# --- the network ----------------------------------------------------------


def recomputed(state, x):
    """The network in float64 straight from a state dict, written from the paper's description."""
    state = {k: v.double() for k, v in state.items()}

    def norm(x, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        shape = (1, -1) + (1,) * (x.ndim - 2)
        x = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + 1e-5)
        return x * state[f"{name}.weight"].view(shape) + state[f"{name}.bias"].view(shape)

    def prelu(x, name):
        return torch.where(x > 0, x, x * state[f"{name}.weight"].view(1, -1, 1, 1))

    x = prelu(norm(F.conv2d(x.double(), state["conv1.weight"], padding=1), "bn1"), "prelu")
    for group in range(1, 5):
        block = 0
        while f"layer{group}.{block}.conv1.weight" in state:
            n = f"layer{group}.{block}"
            stride = 2 if block == 0 else 1
            y = F.conv2d(norm(x, f"{n}.bn1"), state[f"{n}.conv1.weight"], padding=1)
            y = prelu(norm(y, f"{n}.bn2"), f"{n}.prelu")
            y = F.conv2d(y, state[f"{n}.conv2.weight"], padding=1, stride=stride)
            y = norm(y, f"{n}.bn3")
            if stride == 2:
                short = F.conv2d(x, state[f"{n}.downsample.0.weight"], stride=2)
                x = norm(short, f"{n}.downsample.1")
            x = x + y
            block += 1
    x = norm(x, "bn2").flatten(1)
    return norm(x @ state["fc.weight"].T + state["fc.bias"], "features")


def test_equals_an_independent_computation(backbone):
    network = iresnet.load(backbone)
    x = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(1)) * 2 - 1
    want = recomputed(torch.load(backbone, weights_only=True), x)
    with torch.inference_mode():
        got = network(x)
    assert want.std() > 0.1
    assert (got - want).abs().max() < 1e-4 * want.abs().max()


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("iresnet18", 24.0256),
        ("iresnet34", 34.1393),
        ("iresnet50", 43.5908),
        ("iresnet100", 65.1562),
    ],
)
def test_depth_is_read_off_official_names(name, millions):
    """Parameter totals of the published networks; the depth comes back from the names alone."""
    with torch.device("meta"):
        state = iresnet.IResNet(iresnet.DEPTHS[name]).state_dict()
        network = iresnet.infer(state)
    assert iresnet.name(network) == name
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=1e-4)
    assert {"layer3.1.prelu.weight", "layer4.0.downsample.1.running_var", "features.bias"} <= set(
        state
    )
    assert state["fc.weight"].shape == (512, 25088)


def test_prefixes_half_precision_and_safetensors(tmp_path, backbone):
    from safetensors.torch import save_file

    state = torch.load(backbone, weights_only=True)
    x = torch.rand(1, 3, 112, 112)
    want = iresnet.load(backbone)(x)
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "ddp.pth")
    save_file(state, tmp_path / "backbone.safetensors")
    for file in ("ddp.pth", "backbone.safetensors"):
        assert torch.equal(iresnet.load(tmp_path / file)(x), want)
    half = iresnet.load(tiny.backbone(tmp_path / "half.pth", half=True))
    assert next(half.parameters()).dtype == torch.float32
    assert torch.allclose(half(x), want, atol=0.02)


def test_refuses_what_it_cannot_load(tmp_path, backbone):
    state = torch.load(backbone, weights_only=True)
    with pytest.raises(ModelMissing, match="no iresnet checkpoint at"):
        iresnet.load(tmp_path / "absent.pth")
    torch.save({k: v for k, v in state.items() if k != "layer2.1.bn3.bias"}, tmp_path / "hole.pth")
    with pytest.raises(UsageError, match=r"layer2\.1\.bn3\.bias"):
        iresnet.load(tmp_path / "hole.pth")
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match="not an iresnet checkpoint: layer1"):
        iresnet.load(tmp_path / "other.pth")
    (tmp_path / "page.pth").write_text("<html>")
    with pytest.raises(UsageError, match="cannot be read as plain weights"):
        iresnet.load(tmp_path / "page.pth")


class Touch:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_nothing_is_unpickled(tmp_path, backbone):
    state = torch.load(backbone, weights_only=True)
    torch.save({**state, "x": Touch(str(tmp_path / "ran"))}, tmp_path / "evil.pth")
    with pytest.raises(UsageError):
        iresnet.load(tmp_path / "evil.pth")
    torch.save({"state_dict": state, "args": argparse.Namespace(a=1)}, tmp_path / "run.pth")
    iresnet.load(tmp_path / "run.pth")  # foreign classes are stepped over, not made
    assert not (tmp_path / "ran").exists()


def test_gradients_reach_the_picture_through_crop_and_network(backbone):
    network = iresnet.load(backbone).requires_grad_(False)
    picture = torch.rand(1, 3, 80, 90, requires_grad=True)
    landmarks = (torch.tensor(faces.TEMPLATE) * 0.6 + 8)[None] / torch.tensor([90.0, 80.0])
    landmarks.requires_grad_(True)
    network(faces.crop_torch(picture, landmarks) * 2 - 1).square().sum().backward()
    assert picture.grad.abs().sum() > 0 and landmarks.grad.abs().sum() > 0
    assert torch.isfinite(landmarks.grad).all()


# --- alignment ----------------------------------------------------------


def landmark_sets():
    random = numpy.random.default_rng(3)
    for angle, scale in ((0, 1.0), (0.6, 0.4), (-2.0, 3.0), (3.1, 1.7)):
        turn = numpy.array(
            [[numpy.cos(angle), -numpy.sin(angle)], [numpy.sin(angle), numpy.cos(angle)]]
        )
        yield (
            numpy.array(faces.TEMPLATE) @ turn.T * scale + random.normal(0, 4, (5, 2)) + [150, 120]
        )


def test_similarity_is_skimages():
    transform = pytest.importorskip("skimage.transform")
    for points in landmark_sets():
        want = transform.SimilarityTransform.from_estimate(
            points, numpy.array(faces.TEMPLATE)
        ).params
        assert numpy.abs(faces.similarity(points) - want[:2]).max() < 1e-9
        torch_one = faces.similarity_torch(torch.tensor(points))
        assert numpy.abs(torch_one.numpy() - want[:2]).max() < 1e-9
    batch = numpy.stack(list(landmark_sets()))
    assert numpy.allclose(faces.similarity(batch)[2], faces.similarity(batch[2]))


def test_crop_is_insightfaces_and_torch_agrees(recwarn):
    """insightface's own crop interpolates in steps of 1/32 pixel and rounds to whole greys."""
    align = pytest.importorskip("insightface.utils.face_align")
    random = numpy.random.default_rng(0)
    coarse = random.integers(0, 256, (30, 40, 3)).astype(numpy.float64)
    picture = numpy.kron(coarse, numpy.ones((8, 8, 1))).astype(numpy.uint8)
    size = numpy.array([320, 240])
    for points in landmark_sets():
        crop = faces.crop(picture, points / size)
        expected = align.norm_crop(picture, points.astype(numpy.float32))
        assert crop.shape == expected.shape == (112, 112, 3) and crop.dtype == numpy.float32
        assert numpy.abs(crop - expected).mean() < 1.0 and numpy.abs(crop - expected).max() < 12
        pixels = torch.tensor(picture).permute(2, 0, 1)[None].double()
        again = faces.crop_torch(pixels, torch.tensor(points / size)[None])[0].permute(1, 2, 0)
        assert numpy.abs(again.numpy() - crop).max() < 1e-3


def test_box_crop_is_the_picture_where_cells_are_pixels():
    picture = torch.rand(1, 3, 20, 30, dtype=torch.float64)
    box = torch.tensor(
        [[6 / 30, 5 / 20, 16 / 30, 13 / 20]], dtype=torch.float64, requires_grad=True
    )
    crop = faces.crop_boxes_torch(picture, box, (8, 10))
    assert torch.allclose(crop, picture[:, :, 5:13, 6:16])
    crop.sum().backward()
    assert box.grad.abs().sum() > 0
    outside = faces.crop_boxes_torch(
        picture, torch.tensor([[-1.0, 0.0, -0.5, 1.0]]).double(), (4, 4)
    )
    assert outside.abs().max() == 0


def test_landmarks_that_coincide_are_refused():
    with pytest.raises(ValueError, match="coincide"):
        faces.crop(numpy.zeros((9, 9, 3)), numpy.full((5, 2), 0.5))


# --- the backend ----------------------------------------------------------


def test_backend_embeds_aligned_faces(backbone):
    from PIL import Image

    pixels = numpy.random.default_rng(5).integers(0, 256, (240, 320, 3)).astype(numpy.uint8)
    image = Image.fromarray(pixels)
    size = numpy.array([320, 240])
    marks = [(p / size).tolist() for p in landmark_sets()]
    detected = [
        [Face((0, 0, 1, 1), 1.0, m) for m in marks[:3]],
        [],
        [Face((0, 0, 1, 1), 1.0, marks[3])],
    ]
    embedder = backends.load(ModelSpec("face", "iresnet", str(backbone)))
    rows = embedder.embed([image] * 3, detected)
    assert [r.shape for r in rows] == [(3, 512), (0, 512), (1, 512)]
    crop = torch.tensor(faces.crop(pixels, numpy.array(marks[3]))).permute(2, 0, 1)[None]
    want = recomputed(torch.load(backbone, weights_only=True), (crop / 255 - 0.5) / 0.5)
    assert numpy.abs(rows[2] - want.numpy()).max() < 1e-4 * want.abs().max()
    assert embedder.model.options["network"] == "iresnet18"
    with pytest.raises(ModelMissing, match="--identity-model"):
        backends.load(ModelSpec("face", "iresnet"))
