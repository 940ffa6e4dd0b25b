"""Sharingan: the official layout, numerics, geometry, and that gradients pass."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from tiny import people as tiny

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.backends.gaze import sharingan as backend
from socialcli.errors import ModelMissing, UsageError
from socialcli.networks import gaze_geometry as geometry
from socialcli.networks import sharingan


def arithmetic(network):
    """Weights that anyone can compute again, in any framework."""
    for number, (name, value) in enumerate(network.state_dict().items()):
        if not value.is_floating_point() or name.endswith("pos_emb") or value.numel() == 0:
            continue
        wave = torch.cos(torch.arange(value.numel(), dtype=torch.float64) * 1.7 + number)
        wave = wave.reshape(value.shape)
        if name.endswith("running_var"):
            wave = 1 + wave / 2
        elif value.ndim == 1:
            wave = 1 + wave / 4 if name.endswith("weight") else wave / 10
        else:
            wave = wave * math.sqrt(2 / value[0].numel())
        value.copy_(wave * 30 if "pos_proj" in name else wave)
    return network.eval()


# --- layout and numerics ----------------------------------------------------------


def test_official_layout():
    with torch.device("meta"):
        network = sharingan.Sharingan()
    state = network.state_dict()
    assert len(state) == 444
    assert sum(p.numel() for p in network.parameters()) == 106_120_996
    assert Counter(k.split(".")[0] for k in state) == {
        "gaze_encoder": 130, "image_tokenizer": 3, "encoder": 145, "heatmap_decoder": 136,
        "inout_decoder": 30,
    }  # fmt: skip
    shapes = {
        "gaze_encoder.backbone.0.weight": (64, 3, 7, 7),
        "gaze_encoder.backbone.7.1.bn2.running_var": (512,),
        "gaze_encoder.backbone.5.0.downsample.0.weight": (128, 64, 1, 1),
        "gaze_encoder.gaze_proj.2.weight": (768, 768),
        "gaze_encoder.pos_proj.weight": (768, 4),
        "gaze_encoder.gaze_predictor.2.weight": (2, 512),
        "image_tokenizer.pos_emb": (1, 768, 14, 14),
        "encoder.global_tokens": (1, 0, 768),
        "encoder.encoder.11.attn.qkv.weight": (2304, 768),
        "encoder.encoder.0.mlp.fc1.weight": (3072, 768),
        "heatmap_decoder.reassemble_blocks.r4.resample.1.weight": (48, 48, 4, 4),
        "heatmap_decoder.reassemble_blocks.r32.resample.1.weight": (384, 384, 3, 3),
        "heatmap_decoder.fusion_blocks.f8.rcu2.residual_module.5.num_batches_tracked": (),
        "heatmap_decoder.gaze_projs.g16.bias": (128,),
        "heatmap_decoder.head.4.weight": (1, 32, 1, 1),
        "inout_decoder.block1.res_fc.weight": (384, 1536),
        "inout_decoder.fc.weight": (1, 96),
    }
    assert {k: tuple(state[k].shape) for k in shapes} == shapes


def test_the_whole_network_gives_the_authors_numbers():
    """Expected values: the authors' code (commit 006b69d), run once with these weights."""
    network = arithmetic(sharingan.Sharingan())
    ramp = torch.linspace(-1, 1, 224)
    image = torch.stack(
        [
            ramp[None] * ramp[:, None],
            torch.sin(9 * ramp)[None].expand(224, -1),
            torch.cos(7 * ramp)[:, None].expand(-1, 224),
        ]
    )[None]
    heads = torch.stack([image[0].flip(2), image[0].roll(40, 1) * 0.5])[None]
    boxes = torch.tensor([[[0.1, 0.2, 0.3, 0.5], [0.6, 0.1, 0.8, 0.35]]])
    with torch.inference_mode():
        output = network(image, heads, boxes)
    want_vector = [[[-0.69285327, 0.72107863], [-0.68549931, 0.7280733]]]
    want_heat = [
        [[0.0901, 0.08968034, 0.09199288], [0.10383578, 0.12820089, 0.17646052],
         [0.09448574, 0.11676881, 0.09253532]],
        [[0.09009027, 0.08970853, 0.09201442], [0.10381964, 0.12831697, 0.17616063],
         [0.09452217, 0.11686431, 0.0925903]],
    ]  # fmt: skip
    assert torch.allclose(output.vector, torch.tensor(want_vector), atol=1e-5)
    assert torch.allclose(output.heatmap[0, :, ::31, ::31], torch.tensor(want_heat), atol=2e-5)
    assert torch.allclose(output.inside, torch.tensor([[775.3191, 774.7378]]), rtol=1e-5)


def test_transformer_block_is_torchs():
    torch.manual_seed(0)
    block = sharingan.TransformerBlock(64, 4).double()
    peer = torch.nn.TransformerEncoderLayer(
        64, 4, 256, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True, dtype=torch.float64
    )
    names = {
        "norm1": "norm1", "norm2": "norm2", "attn.proj": "self_attn.out_proj",
        "mlp.fc1": "linear1", "mlp.fc2": "linear2",
    }  # fmt: skip
    state = {}
    for key, value in block.state_dict().items():
        if key.startswith("attn.qkv"):
            state[f"self_attn.in_proj_{key.split('.')[-1]}"] = value
        else:
            stem, _, leaf = key.rpartition(".")
            state[f"{names[stem]}.{leaf}"] = value
    peer.load_state_dict(state)
    x = torch.randn(2, 9, 64, dtype=torch.float64)
    assert torch.allclose(block(x), peer(x), atol=1e-12)


def test_head_backbone_is_transformers_resnet18():
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(0)
    backbone = sharingan.resnet18(8).eval()
    tiny._shake(backbone)
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 32, 64], depths=[2, 2, 2, 2], layer_type="basic"
    )
    peer = ResNetModel(config).eval()
    state = {}
    for key, value in backbone.state_dict().items():
        part = key.split(".")
        if part[0] in "01":
            kind = "convolution" if part[0] == "0" else "normalization"
            state[f"embedder.embedder.{kind}.{part[1]}"] = value
            continue
        stage = f"encoder.stages.{int(part[0]) - 4}.layers.{part[1]}"
        if part[2] == "downsample":
            kind = "convolution" if part[3] == "0" else "normalization"
            state[f"{stage}.shortcut.{kind}.{part[4]}"] = value
        else:
            kind = "convolution" if part[2].startswith("conv") else "normalization"
            state[f"{stage}.layer.{int(part[2][-1]) - 1}.{kind}.{part[3]}"] = value
    peer.load_state_dict(state)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        want = peer(x).pooler_output
        assert want.std() > 0.01
        assert torch.allclose(backbone(x), want, atol=1e-5)


def test_fusion_is_transformers_dpt():
    from transformers import DPTConfig
    from transformers.models.dpt.modeling_dpt import DPTFeatureFusionLayer

    torch.manual_seed(0)
    fusion = sharingan.Fusion(8).eval()
    tiny._shake(fusion)
    config = DPTConfig(
        fusion_hidden_size=8,
        use_batch_norm_in_fusion_residual=True,
        use_bias_in_fusion_residual=False,
    )
    peer = DPTFeatureFusionLayer(config, align_corners=True).eval()
    names = {
        "1": "convolution1", "2": "batch_norm1", "4": "convolution2", "5": "batch_norm2"
    }  # fmt: skip
    state = {}
    for key, value in fusion.state_dict().items():
        part = key.split(".")
        if part[0] == "proj":
            state[f"projection.{part[1]}"] = value
        else:
            state[f"residual_layer{part[0][-1]}.{names[part[2]]}.{part[3]}"] = value
    peer.load_state_dict(state)
    here, coarser = torch.randn(2, 8, 6, 6), torch.randn(2, 8, 6, 6)
    with torch.inference_mode():
        assert torch.allclose(fusion(here, coarser), peer(coarser, here), atol=1e-5)


def test_people_are_told_apart_and_see_each_other(tmp_path):
    network = sharingan.load(tiny.sharingan(tmp_path / "gaze.pt"))
    torch.manual_seed(1)
    image, heads, boxes = (
        torch.randn(1, 3, 224, 224),
        torch.randn(1, 3, 3, 224, 224),
        torch.rand(1, 3, 4),
    )
    with torch.inference_mode():
        output = network(image, heads, boxes)
        order = [2, 0, 1]
        turned = network(image, heads[:, order], boxes[:, order])
        alone = network(image, heads[:, :1], boxes[:, :1])
    for name in ("vector", "heatmap", "inside"):
        assert torch.allclose(getattr(output, name)[:, order], getattr(turned, name), atol=1e-4)
    assert not torch.allclose(output.heatmap[:, 0], output.heatmap[:, 1], atol=1e-3)
    assert torch.allclose(output.vector[:, 0], alone.vector[:, 0], atol=1e-5)
    assert not torch.allclose(output.heatmap[:, 0], alone.heatmap[:, 0], atol=1e-6)


def test_gradients_pass(tmp_path):
    network = sharingan.load(tiny.sharingan(tmp_path / "gaze.pt")).requires_grad_(False)
    image = torch.randn(1, 3, 224, 224, requires_grad=True)
    heads = torch.randn(1, 2, 3, 224, 224, requires_grad=True)
    output = network(image, heads, torch.rand(1, 2, 4))
    geometry.soft_argmax_point(output.heatmap).sum().backward(retain_graph=True)
    assert image.grad.abs().sum() > 0 and heads.grad.abs().sum() > 0
    image.grad = None
    output.vector.sum().backward()
    assert image.grad is None or image.grad.abs().sum() == 0  # it comes from the heads alone


# --- checkpoints ----------------------------------------------------------


class Settings:
    """A training run's configuration object, of a package that is not installed here."""

    def __init__(self, lr):
        self.lr = lr


def test_lightning_leftovers_do_not_matter(tmp_path, monkeypatch):
    import sys
    import types

    clean = sharingan.load(tiny.sharingan(tmp_path / "clean.pt"))
    module = types.ModuleType("omegaconf_of_the_authors")
    monkeypatch.setattr(Settings, "__module__", module.__name__)
    module.Settings = Settings
    monkeypatch.setitem(sys.modules, module.__name__, module)
    file = tiny.sharingan(tmp_path / "full.pt", {"hyper_parameters": {"cfg": Settings(0.1)}})
    monkeypatch.delitem(sys.modules, module.__name__)
    loaded = sharingan.load(file)
    assert loaded.state_dict().keys() == clean.state_dict().keys()
    assert all(torch.equal(v, clean.state_dict()[k]) for k, v in loaded.state_dict().items())
    assert not any(p.requires_grad for p in [loaded.image_tokenizer.pos_emb])


def test_refuses_other_checkpoints(tmp_path):
    with pytest.raises(ModelMissing, match="zenodo"):
        backends.load(ModelSpec("gaze", "sharingan"))
    with pytest.raises(ModelMissing, match="no Sharingan checkpoint at"):
        backends.load(ModelSpec("gaze", "sharingan", str(tmp_path / "no.pt")))
    torch.save({"state_dict": {"model.x": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(UsageError, match=r"other.pt: not a Sharingan checkpoint"):
        backends.load(ModelSpec("gaze", "sharingan", str(tmp_path / "other.pt")))


# --- geometry ----------------------------------------------------------


def test_head_squares():
    heads = torch.tensor([[0.25, 0.5, 0.35, 0.6], [0.0, 0.0, 0.1, 0.3]])
    squares = geometry.head_squares(heads, 200, 100)
    # 50..70 x 50..60 grows to 48..72 x 49..61; the side is 24 about (60, 55).
    assert squares[0].tolist() == pytest.approx([48, 43, 72, 67], abs=1e-4)
    # 0..20 x 0..30 grows to 0..22 x 0..33 (cut at 0); the side is 33 about (11, 16.5).
    assert squares[1].tolist() == pytest.approx([-5.5, 0, 27.5, 33], abs=1e-4)


def test_vector_in_the_pictures_own_frame():
    squashed = torch.tensor([math.sqrt(0.5), math.sqrt(0.5)])
    wide = geometry.to_pixel_frame(squashed, 400, 100)
    assert wide.tolist() == pytest.approx([4 / math.sqrt(17), 1 / math.sqrt(17)], abs=1e-6)
    # As records.py says: normalise((px - hx) width, (py - hy) height).
    assert wide.norm() == pytest.approx(1)


def test_argmax_and_soft_argmax_find_a_trained_peak():
    """The maps the network learns: a Gaussian of height 1, sigma 3, at index (64 x, 64 y)."""
    x, y = 0.328125, 0.640625  # cells 21 and 41
    columns, rows = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="xy")
    heat = torch.exp(-((columns - 64 * x) ** 2 + (rows - 64 * y) ** 2) / 18)
    assert geometry.argmax_point(heat).tolist() == [x, y]
    noisy = (
        heat + 0.05 * torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    ).requires_grad_()
    soft = geometry.soft_argmax_point(noisy)
    assert soft.tolist() == pytest.approx([x, y], abs=0.5 / 64)
    soft.sum().backward()
    assert noisy.grad.abs().sum() > 0
    assert geometry.argmax_point(heat.expand(2, 3, 64, 64)).shape == (2, 3, 2)


def test_prepare_squashes_the_picture_and_blackens_outside():
    import numpy
    from PIL import Image

    pixels = numpy.zeros((100, 200, 3), numpy.uint8)
    pixels[:, :100] = 255
    image, heads, squares = backend.prepare(Image.fromarray(pixels), [(0.0, 0.4, 0.1, 0.8)])
    mean, std = (
        torch.tensor(geometry.MEAN)[:, None, None],
        torch.tensor(geometry.STD)[:, None, None],
    )
    white, black = ((1 - mean) / std), (-mean / std)
    assert torch.allclose(image[:, :, :110], white.expand(3, 224, 110), atol=1e-5)
    assert torch.allclose(image[:, :, 115:], black.expand(3, 224, 109), atol=1e-5)
    # The head grows to 0..22 x 36..84 px, squared about (11, 60): x from -13 to 35.
    assert squares[0].tolist() == pytest.approx([0, 0.36, 0.175, 0.84], abs=1e-5)
    assert torch.allclose(heads[0][:, :, :50], black.expand(3, 224, 50), atol=1e-5)
    assert torch.allclose(heads[0][:, :, 80:], white.expand(3, 224, 144), atol=1e-5)


@pytest.mark.parametrize("maps", [1, 32])
def test_backend_does_not_depend_on_its_batch(tmp_path, monkeypatch, maps):
    import numpy
    from PIL import Image

    monkeypatch.setattr(backend, "MAPS", maps)
    gaze = backends.load(ModelSpec("gaze", "sharingan", str(tiny.sharingan(tmp_path / "gaze.pt"))))
    random = numpy.random.default_rng(0)
    images = [
        Image.fromarray(random.integers(0, 256, (h, w, 3)).astype(numpy.uint8))
        for h, w in ((90, 160), (120, 80), (64, 64), (100, 100))
    ]
    heads = [
        [(0.1, 0.1, 0.3, 0.5), (0.6, 0.2, 0.7, 0.4)],
        [(0.2, 0.1, 0.5, 0.3)],
        [],
        [(0.5, 0.5, 0.9, 0.9), (0.0, 0.0, 0.2, 0.2)],
    ]
    together = gaze.gaze(images, heads)
    assert [len(gazes) for gazes in together] == [2, 1, 0, 2]
    for image, own, gazes in zip(images, heads, together, strict=True):
        for one, other in zip(gazes, gaze.gaze([image], [own])[0], strict=True):
            assert one.point == other.point
            assert one.vector == pytest.approx(other.vector, abs=1e-5)
            assert math.hypot(*one.vector) == pytest.approx(1, abs=1e-5)
            assert one.inside == (one.score >= 0.5)


def test_what_comes_in_is_never_overwritten():
    """Sums and cuts at zero are made in place; the plain formulas say the same, and no gradient or
    input is spoilt by it."""
    torch.manual_seed(0)
    unit = sharingan.ResidualConvUnit(4).eval()
    block = sharingan.BasicBlock(4, 4, 1).eval()
    relu = torch.relu

    def plain_unit(x):
        _, conv1, norm1, _, conv2, norm2 = unit.residual_module
        return x + norm2(conv2(relu(norm1(conv1(relu(x))))))

    def plain_block(x):
        return relu(block.bn2(block.conv2(relu(block.bn1(block.conv1(x))))) + x)

    for network, plain in ((unit, plain_unit), (block, plain_block)):
        given = torch.randn(2, 4, 5, 5)
        kept = given.clone()
        x, y = given.requires_grad_(), kept.clone().requires_grad_()
        network(x * 1).square().sum().backward()
        plain(y * 1).square().sum().backward()
        with torch.no_grad():
            assert torch.equal(network(x), plain(y))
        assert torch.equal(x, kept)
        assert torch.equal(x.grad, y.grad)
