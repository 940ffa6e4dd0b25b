"""Gaze-LLE: the official layout, the authors' numbers, and that gradients reach the picture."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image
from tiny import people as tiny
from torch.autograd import gradcheck

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.backends.gaze import gazelle as backend
from socialcli.errors import ModelMissing, UsageError
from socialcli.networks import gazelle


def arithmetic(network):
    """Weights that anyone can compute again, in any framework."""
    state = network.state_dict()
    for number, name in enumerate(sorted(state)):
        value = state[name]
        if name == "pos_embed":
            continue
        wave = torch.cos(torch.arange(value.numel(), dtype=torch.float64) * 1.7 + number)
        wave = wave.reshape(value.shape)
        if value.ndim == 1:
            wave = 1 + wave / 4 if name.endswith("weight") else wave / 10
        else:
            wave = wave * math.sqrt(2 / value[0].numel())
        value.copy_(wave)
    return network.eval()


def test_official_layout():
    """Numbers of tensors and parameters: the authors' class (commit c845713)."""
    with torch.device("meta"):
        plain, both = gazelle.GazeLLE(), gazelle.GazeLLE(inside=True)
    assert (len(plain.state_dict()), len(both.state_dict())) == (40, 45)
    assert sum(p.numel() for p in both.parameters()) == 2_860_033
    shapes = {
        "pos_embed": (256, 32, 32), "linear.weight": (256, 768, 1, 1),
        "head_token.weight": (1, 256),
        "inout_token.weight": (1, 256), "transformer.2.attn.qkv.weight": (768, 256),
        "transformer.2.mlp.fc2.bias": (256,), "heatmap_head.0.weight": (256, 256, 2, 2),
        "heatmap_head.1.weight": (1, 256, 1, 1), "inout_head.0.weight": (128, 256),
        "inout_head.3.bias": (1,),
    }  # fmt: skip
    state = both.state_dict()
    assert {k: tuple(state[k].shape) for k in shapes} == shapes
    assert "transformer.0.attn.qkv.bias" not in state


def test_the_decoder_gives_the_authors_numbers():
    """Expected values: the authors' code (commit c845713), run once with these weights."""
    network = arithmetic(gazelle.GazeLLE(24, 32, 32, 2, inside=True))
    ramp = torch.linspace(-1, 1, 32)
    rows = [torch.sin(3 * ramp[None] * k + 2 * ramp[:, None]) for k in range(24)]
    heads = torch.tensor([[(0.1, 0.2, 0.3, 0.5), (0.6, 0.1, 0.8, 0.35)]])
    with torch.inference_mode():
        seen = network(torch.stack(rows)[None], heads)
    wanted = [
        [[0.4322573, 0.4039934, 0.4264051], [0.4767795, 0.4784780, 0.4879538],
         [0.4230283, 0.4052683, 0.4165810]],
        [[0.4329536, 0.4048224, 0.4268000], [0.4769009, 0.4767334, 0.4879790],
         [0.4238801, 0.4070664, 0.4169928]],
    ]  # fmt: skip
    assert torch.allclose(seen.heatmap[0, :, ::31, ::31], torch.tensor(wanted), atol=2e-6)
    assert torch.allclose(seen.inside, torch.tensor([[0.4066285, 0.4070767]]), atol=2e-6)
    assert seen.heatmap[0].flatten(1).argmax(1).tolist() == [868, 744]


def test_dinov2_positions_are_resized_as_dinov2_does_it():
    """Expected values: DINOv2's own code, 37 x 37 positions read at 32 x 32."""
    from transformers import Dinov2Config, Dinov2Model

    sizes = {"hidden_size": 48, "num_attention_heads": 4, "image_size": 518, "patch_size": 14}
    small = Dinov2Model(Dinov2Config(num_hidden_layers=1, **sizes))
    table = small.embeddings.position_embeddings
    assert table.shape == (1, 1370, 48)
    wave = torch.cos(torch.arange(table.numel(), dtype=torch.float64) * 0.37)
    small.embeddings.position_embeddings.data.copy_(wave.reshape(table.shape))
    gazelle.resize_positions(small, 32)
    wanted = torch.tensor(
        [[1.0, 0.9323273, 0.7384686], [0.3206995, 0.5863125, 0.7725706],
         [0.3235956, 0.4690954, 0.5511053], [-0.3473947, -0.1336724, 0.0981419]]
    )  # fmt: skip
    assert small.embeddings.position_embeddings.shape == (1, 1025, 48)
    rows = small.embeddings.position_embeddings[0, [0, 1, 500, 1024], :3]
    assert torch.allclose(rows, wanted, atol=1e-5)


def test_positions_and_head_maps_by_hand():
    code = gazelle.positions(8, 5)
    for x in range(5):
        assert math.isclose(code[0, 3, x], math.sin(x), abs_tol=1e-6)
        assert math.isclose(code[3, 3, x], math.cos(x / 100), abs_tol=1e-6)
        assert math.isclose(code[4, x, 2], math.sin(x), abs_tol=1e-6)
    maps = gazelle.head_maps(torch.tensor([[(0.13, 0.0, 0.62, 0.26), (0.5, 0.5, 0.51, 0.51)]]), 4)
    assert maps[0, 0].tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert maps[0, 1].sum() == 0


def loaded(folder, **options):
    return backends.load(ModelSpec("gaze", "gazelle", str(folder), **options))


def test_the_backend_reads_a_folder_and_looks_differentiably(tmp_path):
    estimator = loaded(tiny.gazelle(tmp_path / "gaze"))
    heads = [(0.1, 0.1, 0.4, 0.4), (0.6, 0.5, 0.9, 0.8)]
    image = Image.effect_mandelbrot((160, 120), (-2, -1.5, 1, 1.5), 40).convert("RGB")
    seen, nobody = estimator.gaze([image, image], [heads, []])
    assert nobody == [] and len(seen) == 2
    for one, head in zip(seen, heads, strict=True):
        x, y = ((one.point[i] - (head[i] + head[i + 2]) / 2) * image.size[i] for i in (0, 1))
        assert one.vector == pytest.approx((x / math.hypot(x, y), y / math.hypot(x, y)), abs=1e-5)
        assert one.inside == (one.score >= 0.5)
    # The same through `look`, whose point is soft: the picture goes in as tensors do in training.
    network = estimator.network.double()
    tensor = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 16).double() * 2 - 1, (60, 80))
    boxes = torch.tensor([heads], dtype=torch.float64)
    vector, heatmap = backend.look(network, tensor, boxes)
    assert heatmap.shape == (1, 2, 64, 64) and heatmap.min() >= 0 and heatmap.max() <= 1
    assert torch.allclose(vector.norm(dim=-1), torch.ones(1, 2).double())
    assert gradcheck(
        lambda x: backend.look(network, x, boxes), (tensor.requires_grad_(),), fast_mode=True,
        rtol=1e-3, atol=1e-4,
    )  # fmt: skip


def test_annotation_and_feedback_see_the_same_picture(tmp_path):
    """`gaze` and `look` differ in where they begin (8-bit pixels, a tensor), not in what comes."""
    import numpy

    estimator = loaded(tiny.gazelle(tmp_path / "gaze"))
    image = Image.effect_mandelbrot((160, 120), (-2, -1.5, 1, 1.5), 40).convert("RGB")
    heads = [(0.1, 0.1, 0.4, 0.4)]
    tensor = torch.from_numpy(numpy.array(image)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        _, heatmap = estimator.look(tensor, torch.tensor([heads]))
    peak = int(heatmap[0, 0].argmax())
    [[one]] = estimator.gaze([image], [heads])
    assert one.point == pytest.approx(((peak % 64) / 64, (peak // 64) / 64))


def test_without_an_inside_head_nothing_is_said_of_it(tmp_path):
    [[one]] = loaded(tiny.gazelle(tmp_path / "gaze", inside=False)).gaze(
        [Image.new("RGB", (64, 64), "olive")], [[(0.2, 0.2, 0.6, 0.6)]]
    )
    assert one.inside is None and 0 <= one.score <= 1


def test_what_is_refused(tmp_path):
    with pytest.raises(ModelMissing, match="gazelle_dinov2_vitb14_inout"):
        loaded("")
    with pytest.raises(ModelMissing, match="no Gaze-LLE checkpoint"):
        loaded(tmp_path / "none.pt")
    other = tiny.sharingan(tmp_path / "sharingan.pt")
    with pytest.raises(UsageError, match="not a Gaze-LLE checkpoint"):
        loaded(other)
    folder = tiny.gazelle(tmp_path / "gaze")
    with pytest.raises(UsageError, match="features 32 wide, which no DINOv2"):
        loaded(folder / "gazelle_dinov2_tiny.pt")
    wide = tiny.gazelle(tmp_path / "wide", width=64)
    (folder / "gazelle_dinov2_tiny.pt").replace(wide / "gazelle_dinov2_tiny.pt")
    with pytest.raises(UsageError, match="features 32 wide, this DINOv2's are 64"):
        loaded(wide)
    tiny.sharingan(wide / "another.pt")
    with pytest.raises(UsageError, match=r"2 \.pt files"):
        loaded(wide)
