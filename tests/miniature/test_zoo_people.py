"""The zoo's faces, gaze and poses: what is trained on is what the backends will see."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import copy
import importlib
import math

import numpy
import pytest
import torch

from socialcli.backends.gaze import sharingan as gaze_backend
from socialcli.miniature.world import scene
from socialcli.miniature.world.identity import identity as person
from socialcli.miniature.zoo import cards, data, gaze, identity
from socialcli.networks import gaze_geometry, iresnet, sharingan


def _crowd(count=6):
    return [scene(0, i, 96) for i in range(count)]


def test_head_crops_are_cut_as_the_backend_cuts_them():
    for s in _crowd():
        heads = [tuple(v / s.size for v in p.head) for p in s.people]
        heads.append((-0.1, 0.7, 0.2, 1.1))  # leaves the picture
        _, prepared, squares = gaze_backend.prepare(s.image, heads)
        raw = data.pixels([s], ((0, 0, 0), (1, 1, 1)))
        pixels = gaze_geometry.head_squares(torch.tensor(heads), s.size, s.size)
        crops = gaze.crops(raw, pixels, torch.zeros(len(heads), dtype=torch.long))
        assert (gaze_geometry.normalise(crops) - prepared).abs().max() < 0.02  # Pillow's rounding
        assert torch.allclose((pixels / s.size).clamp(0, 1), squares)


def test_a_gaze_batch_says_what_the_scenes_say():
    image, heads, boxes, points, patches, chosen = gaze._batch(3)
    again = gaze._batch(3)
    assert all(torch.equal(a, b) for a, b in zip((image, heads, boxes), again[:3], strict=True))
    many = heads.shape[1]
    assert heads.shape == (len(image), many, 3, 224, 224) and boxes.shape[:2] == heads.shape[:2]
    assert patches.shape == (len(image), gaze.SIDE**2, len(gaze.SHOWN))
    assert ((chosen >= 0) & (chosen < many)).all()
    inside = (points >= 0).all(-1)
    assert 0.6 < inside.float().mean() <= 1 and (points[~inside] == -1).all()
    # Whoever looks at something in the picture looks at patches that show something.
    cells = (points * gaze.SIDE).long().clamp(0, gaze.SIDE - 1)
    index = cells[..., 1] * gaze.SIDE + cells[..., 0]
    seen = patches[torch.arange(len(image))[:, None], index][..., 1:].any(-1)
    assert seen[inside].float().mean() > 0.95


def test_patches_show_what_the_masks_show():
    s = next(s for s in _crowd(20) if s.things)
    table = gaze.shown(s)
    assert table.shape == (196, len(gaze.SHOWN))
    for thing in s.things:
        column = table[:, gaze.SHOWN.index(thing.look.kind)].reshape(14, 14)
        rows, columns = numpy.nonzero(column)
        x0, y0, x1, y1 = (v * 14 / s.size for v in thing.box)
        same = [t for t in s.things if t.look.kind == thing.look.kind]
        assert len(same) > 1 or (
            rows.size
            and rows.min() >= math.floor(y0)
            and rows.max() < y1
            and columns.min() >= math.floor(x0)
            and columns.max() < x1
        )


def test_the_heat_map_target_is_where_the_backend_looks():
    points = torch.tensor([[0.25, 0.75], [0.5, 0.125]])
    maps = gaze.bumps(points, sharingan.HEATMAP, gaze.SIGMA)
    assert torch.allclose(gaze_geometry.argmax_point(maps), points)
    assert maps.max() == pytest.approx(1) and maps[0, 48, 19] == pytest.approx(math.exp(-0.5))


def _same(make, *inputs):
    """The quick layers change no number of a network, in eval or in its gradients."""
    torch.manual_seed(5)
    plain = make()
    quick = copy.deepcopy(plain)
    for network in (plain, quick):
        network.train()
    yield plain, quick
    for network in (plain, quick):
        out = network(*inputs)
        total = sum(part.square().sum() for part in (out if isinstance(out, tuple) else (out,)))
        total.backward()
    for (name, a), b in zip(plain.named_parameters(), quick.parameters(), strict=True):
        if a.grad is not None:
            scale = float(a.grad.abs().max()) + 1e-6
            assert float((a.grad - b.grad).abs().max()) < 2e-3 * scale + 1e-4, name


def test_quick_layers_of_the_recogniser_compute_the_same():
    faces = torch.rand(3, 3, 112, 112) * 2 - 1
    for plain, quick in _same(lambda: iresnet.IResNet((1, 1, 1, 1), (4, 8, 8, 8, 8), 16), faces):
        identity.quick(quick)
        assert torch.allclose(plain.eval()(faces), quick.eval()(faces), atol=1e-5)
        plain.train(), quick.train()


def test_quick_layers_of_the_gaze_network_compute_the_same():
    inputs = torch.randn(2, 3, 224, 224), torch.randn(2, 2, 3, 224, 224), torch.rand(2, 2, 4)
    make = lambda: sharingan.Sharingan(64, 4, 1, 32, 4, 8, (4, 4, 4, 4))  # noqa: E731
    for plain, quick in _same(make, *inputs):
        gaze.quick(quick)
        for a, b in zip(plain.eval()(*inputs), quick.eval()(*inputs), strict=True):
            assert torch.allclose(a, b, atol=1e-4)
        plain.train(), quick.train()


def test_a_gaze_checkpoint_is_the_official_layout(tmp_path):
    network = gaze.network().gaze.eval()
    gaze.export(network, tmp_path)
    stored = torch.load(tmp_path / gaze.FILE, weights_only=True)
    assert set(stored) == {"state_dict"}
    assert all(name.startswith("model.") for name in stored["state_dict"])
    again = sharingan.load(tmp_path / gaze.FILE)
    inputs = torch.randn(1, 3, 224, 224), torch.randn(1, 2, 3, 224, 224), torch.rand(1, 2, 4)
    with torch.no_grad():
        for a, b in zip(network(*inputs), again(*inputs), strict=True):
            assert torch.allclose(a, b, atol=0.03)  # half precision


def test_attributes_tell_two_people_apart():
    rows = {tuple(identity.attributes(person(n))) for n in range(300)}
    assert len(rows) > 295
    for row in rows:
        assert all(0 <= v < n for v, n in zip(row, identity.ATTRIBUTES.values(), strict=True))


# A little below the cards: a few scenes only.
FLOORS = {
    "identity": (160, {"tar_at_far_1": 0.9}),
    "gaze": (40, {"point_in_box": 0.75, "inside_right": 0.8}),
}  # fmt: skip


@pytest.mark.parametrize("role", FLOORS)
def test_a_published_miniature_works_through_the_backend(role, monkeypatch):
    module = importlib.import_module(f"socialcli.miniature.zoo.{role}")
    count, floors = FLOORS[role]
    monkeypatch.setattr(module, "TEST", count)
    metrics = module.measure(cards.folder(role))
    for name, floor in floors.items():
        assert metrics[name] >= floor, metrics
    if role == "identity":
        assert metrics["onnx_differs_by"] < 0.05
    if role == "gaze":
        assert metrics["median_degrees"] <= 14
