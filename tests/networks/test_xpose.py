"""X-Pose: the official layout, the authors' numbers, which box is whose, and that gradients reach
the picture."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image
from tiny import xpose as tiny
from torch.autograd import gradcheck

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.backends.pose import xpose as backend
from socialcli.errors import ModelMissing, UsageError
from socialcli.networks.xpose import checkpoint, choice, deformable, swin
from socialcli.networks.xpose.decoder import Seen
from socialcli.networks.xpose.network import Sizes, XPose
from socialcli.records import keypoint_layouts

SMALL = 128  # pixels of the shorter side, instead of the official 800


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.xpose(tmp_path_factory.mktemp("xpose"))


@pytest.fixture(scope="module")
def estimator(folder):
    return backends.load(ModelSpec("pose", "xpose", str(folder)))


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(backend, "SIDE", SMALL)


def picture(width=160, height=120):
    return Image.effect_mandelbrot((width, height), (-2, -1.5, 1, 1.5), 40).convert("RGB")


def wave(*shape, turn=0.0, step=1.7):
    numbers = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.cos(numbers * step + turn).reshape(shape)


def arithmetic(network):
    """Weights that anyone can compute again, in any framework."""
    state = network.state_dict()
    names = sorted(n for n in state if not n.endswith("relative_position_index"))
    for number, name in enumerate(names):
        value = state[name]
        numbers = wave(*value.shape, turn=number)
        if value.ndim == 1:
            norm = "norm" in name and name.endswith("weight")
            numbers = 1 + numbers / 4 if norm else numbers / 10
        else:
            numbers = numbers * math.sqrt(2 / value[0].numel())
        value.copy_(numbers)
    for first, last in zip(
        network.pose_hw_embed[0].parameters(), network.pose_hw_embed[-1].parameters(), strict=True
    ):
        first.data.copy_(last)  # one and the same module in the authors' class
    return network.eval()


def test_official_layout():
    """Names and shapes are the authors' (commit e8dae4b): a sample of them, and their number."""
    with torch.device("meta"):
        network = XPose(Sizes())
    state = network.state_dict()
    assert len(state) == 769
    shapes = {
        "backbone.0.patch_embed.proj.weight": (96, 3, 4, 4),
        "backbone.0.layers.2.blocks.5.attn.relative_position_bias_table": (169, 12),
        "backbone.0.layers.0.blocks.1.attn.relative_position_index": (49, 49),
        "backbone.0.layers.0.downsample.reduction.weight": (192, 384),
        "backbone.0.norm3.weight": (768,),
        "input_proj.3.0.weight": (256, 768, 3, 3), "input_proj.0.1.bias": (256,),
        "projection.layers.0.weight": (256, 512), "projection_kpt.layers.2.bias": (256,),
        "transformer.level_embed": (4, 256), "transformer.tgt_embed.weight": (900, 256),
        "transformer.enc_out_bbox_embed.layers.2.weight": (4, 256),
        "transformer.encoder.layers.5.self_attn.sampling_offsets.weight": (256, 256),
        "transformer.encoder.text_layers.0.self_attn.in_proj_weight": (768, 256),
        "transformer.encoder.text_layers.0.linear1.weight": (1024, 256),
        "transformer.encoder.fusion_layers.0.attn.values_l_proj.weight": (1024, 256),
        "transformer.encoder.fusion_layers.5.gamma_v": (256,),
        "transformer.decoder.layers.5.cross_attn.attention_weights.bias": (128,),
        "transformer.decoder.layers.0.ca_text.out_proj.weight": (256, 256),
        "transformer.decoder.layers.0.catext_norm.bias": (256,),
        "transformer.decoder.ref_point_head.layers.0.weight": (256, 512),
        "transformer.decoder.hw.weight": (17, 2), "transformer.decoder.hw_append.weight": (51, 2),
        "bbox_embed.5.layers.2.bias": (4,), "pose_embed.4.layers.2.bias": (2,),
        "pose_hw_embed.3.layers.0.weight": (256, 256),
    }  # fmt: skip
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_the_authors_numbers():
    """Expected values: the authors' code (commit e8dae4b) with few layers and these weights, run
    once; the gradient is that of sums over keypoints, squared boxes and logits."""
    sizes = Sizes(
        swin_width=8, swin_depths=(2, 2, 2, 2), swin_heads=(1, 2, 2, 4), window=4, encoder_depth=2,
        decoder_depth=4, hidden=64, fusion=32, queries=60,
    )  # fmt: skip
    network = arithmetic(XPose(sizes))
    rows, columns = torch.linspace(-1, 1, 96)[:, None], torch.linspace(-1, 1, 72)[None]
    layers = [torch.sin(3 * rows * k + 5 * columns) + torch.cos(7 * columns * k) for k in (1, 2, 3)]
    pixels = torch.stack(layers)[None].requires_grad_(True)
    classes = wave(2, 512, step=0.37).float()
    names = wave(5, 512, turn=1, step=0.37).float()
    seen = network(pixels, classes, names)
    assert seen.queries.shape == (1, 50, 6, 256)
    points = [
        [[0.0433143, 0.0129043], [0.0416171, 0.0130115]],
        [[0.0076524, 0.0026677], [0.0081283, 0.0029001]],
        [[0.0000720, 0.4985406], [0.0000733, 0.5108112]],
    ]
    boxes = [
        [0.7927104, 0.0628335, 0.3472318, 0.7907293], [0.1959602, 0.0126990, 0.6922151, 0.7837805],
        [0.0032107, 0.8206495, 0.9976381, 0.0064147],
    ]  # fmt: skip
    logits = [[3.0946527, 3.1474755], [-0.3661581, -0.3412007], [-0.6961856, -0.6745504]]
    at = [0, 7, 49]
    assert torch.allclose(seen.keypoints[0, at][:, [0, 4]], torch.tensor(points), atol=1e-5)
    assert torch.allclose(seen.boxes[0, at], torch.tensor(boxes), atol=1e-5)
    assert torch.allclose(seen.logits[0, at], torch.tensor(logits), atol=1e-4)
    (seen.keypoints.sum() + seen.boxes.square().sum() + seen.logits.sum() * 0.01).backward()
    assert pixels.grad.norm() == pytest.approx(1.2695664, rel=1e-3)
    slopes = [
        [1.4039e-3, 8.1031e-4, -1.6204e-4], [2.5662e-5, 5.2272e-6, -3.0811e-4],
        [-3.8059e-4, 1.7698e-4, -1.6505e-4],
    ]  # fmt: skip
    assert torch.allclose(pixels.grad[0, 0, ::40, ::30], torch.tensor(slopes), atol=3e-6)


def test_deformable_attention_reads_between_cells():
    """Against bilinear reading written out, with a place outside of the map."""
    torch.manual_seed(0)
    value = torch.randn(1, 3 * 4, 2, 5)  # 3 high, 4 wide, 2 heads of 5 channels
    places = torch.tensor([[[[0.3, 0.5], [0.95, 0.1]], [[1.6, 0.5], [0.5, 0.99]]]])[:, :, None]
    places = places.transpose(2, 3).reshape(1, 1, 2, 2, 2)
    weights = torch.tensor([0.3, 0.7, 0.6, 0.4]).reshape(1, 1, 2, 2)
    read = deformable.look(value, (3, 4), places, weights)
    grid = value.reshape(3, 4, 2, 5)
    for head in range(2):
        total = torch.zeros(5)
        for point in range(2):
            x, y = (places[0, 0, head, point] * torch.tensor([4, 3]) - 0.5).tolist()
            for row in range(3):
                for column in range(4):
                    share = max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
                    total += weights[0, 0, head, point] * share * grid[row, column, head]
        assert torch.allclose(read[0, 0, head * 5 : head * 5 + 5], total, atol=1e-6)


def test_shifted_windows_keep_strangers_apart():
    """Tokens are strangers where rolling the map has brought its two ends into one window."""
    high, wide, side = 8, 12, 4
    apart = swin.strangers(high, wide, side, torch.device("cpu"))
    rolled = torch.arange(high * wide).reshape(1, high, wide, 1).roll((-2, -2), (1, 2))
    inside = swin.windows(rolled, side)[0, :, :, 0]
    near = (inside[:, :, None] // wide - inside[:, None] // wide).abs() < side
    near &= (inside[:, :, None] % wide - inside[:, None] % wide).abs() < side
    assert torch.equal(apart == 0, near) and set(apart.unique().tolist()) == {swin.FAR, 0.0}
    x = torch.randn(2, high, wide, 3)
    assert torch.equal(swin.whole(swin.windows(x, side), x.shape, side), x)


def test_a_subject_gets_the_likely_box_that_overlaps_it():
    boxes = torch.tensor([[[0.3, 0.3, 0.4, 0.4], [0.3, 0.3, 0.36, 0.4], [0.8, 0.8, 0.2, 0.2]]])
    logits = torch.tensor([[[-3.0, 2.0], [1.0, -4.0], [4.0, 4.0]]])
    points = torch.arange(12.0).reshape(1, 3, 2, 2).requires_grad_(True)
    seen = Seen(logits, boxes, points, torch.zeros(1, 3, 3, 8))
    asked = torch.tensor([[(0.1, 0.1, 0.5, 0.5), (0.1, 0.1, 0.5, 0.5), (0.0, 0.6, 0.2, 0.8)]])
    chosen = choice.choose(seen, asked, torch.tensor([[0, 1, 0]]))
    assert chosen.numbers[0, :2].tolist() == [1, 0]
    assert chosen.scores[0].tolist() == pytest.approx([0.7310586, 0.8807970, 0.0])
    assert torch.equal(chosen.of(seen.keypoints)[0, 0], points[0, 1])
    chosen.of(seen.keypoints)[0, 1].sum().backward()
    assert points.grad[0].flatten(1).sum(1).tolist() == [4, 0, 0]
    shared = choice.overlaps(choice.xyxy(boxes), asked)
    assert shared[0, 0, 0] == pytest.approx(1) and shared[0, 1, 0] == pytest.approx(0.9)
    assert shared[0, 2, 2] == 0


def test_looking_is_differentiable_in_the_pixels(folder):
    """The gradient by finite differences, on a picture that is nowhere flat."""
    estimator = backends.load(ModelSpec("pose", "xpose", str(folder)))
    estimator.network.double().requires_grad_(False)
    torch.manual_seed(1)
    windows = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    windows = torch.nn.functional.interpolate(windows, (64, 64), mode="bicubic")
    boxes = torch.tensor([[0.1, 0.1, 0.9, 0.9], [0.1, 0.2, 0.9, 0.8]], dtype=torch.float64)

    def points(x):
        return estimator.look(x, boxes, ["dog", "cat"], "animal")[0]

    assert points(windows).shape == (2, 17, 2)
    assert gradcheck(
        points, (windows.requires_grad_(),), fast_mode=True, eps=1e-7, rtol=1e-2, atol=1e-5
    )


def test_annotation_and_feedback_find_the_same_keypoints(estimator, small):
    """`estimate` begins with a picture, `look` with a tensor; the rest is the same."""
    import numpy

    image, box = picture(SMALL, SMALL), (0.1, 0.1, 0.9, 0.9)
    [[keypoints]] = estimator.estimate([image], [[box]])
    light = torch.from_numpy(numpy.array(image)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        points, scores = estimator.look(light, torch.tensor([box]), ["person"], "coco17")
    assert torch.allclose(torch.tensor(keypoints.points)[:, :2], points[0], atol=1e-5)
    assert keypoints.scores == pytest.approx(scores[0].tolist(), abs=1e-5)


def test_people_animals_and_things(estimator, small):
    image, box = picture(), (0.1, 0.1, 0.9, 0.95)
    asked = [(box, "dog", "animal"), (box, "person", "coco17"), (box, "car", "car"),
             (box, "cat", "animal"), ((0.0, 0.0, 0.001, 0.001), "car", "car")]  # fmt: skip
    [keypoints, nothing] = estimator.things([image, image], [asked, []])
    assert nothing == [] and keypoints[-1] is None
    assert [one.layout for one in keypoints[:4]] == ["animal", "coco17", "car", "animal"]
    assert [len(one.points) for one in keypoints[:4]] == [17, 17, 14, 17]
    car = keypoints[2]
    assert [n for n, score in enumerate(car.scores) if score == 0] == [8, 13]  # named "none"
    assert car.points[8][2] == 0
    for box, score in estimator.people([image])[0]:
        assert min(box) >= 0 and max(box) <= 1 and score >= backend.LIKELY
    features, none = estimator.encode([image, image], [[box, box], []])
    assert features.shape == (2, 64) and none.shape == (0, 64)


def test_prompts_are_written_as_the_authors_write_them(estimator):
    classes, names = estimator.prompts(["Swivel_chair-red"], "hand")
    tower, tokenizer = estimator.tower, estimator.tokenizer
    tokens = tokenizer(["a photo of swivel chair red", "a photo of thumb root"], padding=True,
                       return_tensors="pt", truncation=True, max_length=16)  # fmt: skip
    wanted = tower(**tokens).text_embeds
    assert torch.allclose(classes[0], wanted[0], atol=1e-5) and names.shape == (21, tiny.WORDS)
    assert torch.allclose(names[1], wanted[1], atol=1e-5)


def test_the_size_that_a_picture_is_looked_at_in():
    """Shorter side 800, longer side 1333 at most, as the authors' transforms give them."""
    sizes = {(640, 480): (1066, 800), (480, 640): (800, 1066), (500, 500): (800, 800),
             (1000, 300): (1333, 400), (300, 1000): (400, 1333)}  # fmt: skip
    assert {size: backend.resized(*size) for size in sizes} == sizes


def test_a_checkpoints_own_text_tower_is_read(tmp_path, folder):
    """And names that several processes saved, with ``module.`` before them."""
    import shutil

    other = tmp_path / "other"
    shutil.copytree(folder, other)
    tiny.checkpoint(other / tiny.FILE, prefix="module.", text=True)
    own = backends.load(ModelSpec("pose", "xpose", str(other)))
    wanted = tiny.tower(seed=5).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in own.tower.state_dict().items())
    plain, tower = checkpoint.load(folder / tiny.FILE)
    assert tower == {} and plain.sizes == tiny.sizes()
    assert all(torch.equal(v, own.network.state_dict()[n]) for n, v in plain.state_dict().items())


def test_what_is_refused(tmp_path, folder):
    import shutil

    def load(model):
        return backends.load(ModelSpec("pose", "xpose", str(model)))

    with pytest.raises(ModelMissing, match=r"unipose_swint\.pth"):
        load("")
    with pytest.raises(ModelMissing, match="no X-Pose checkpoint"):
        load(tmp_path / "nothing.pth")
    torch.save({"model": {"fc.weight": torch.zeros(1)}}, tmp_path / "fc.pth")
    with pytest.raises(UsageError, match="not an X-Pose checkpoint"):
        load(tmp_path / "fc.pth")
    cut = tmp_path / "cut"
    shutil.copytree(folder, cut)
    state = torch.load(folder / tiny.FILE, weights_only=False)
    del state["model"]["transformer.enc_output.bias"]
    torch.save(state, cut / tiny.FILE)
    with pytest.raises(UsageError, match=r"not X-Pose weights.*enc_output"):
        load(cut)
    shutil.copy(folder / tiny.FILE, cut / "second.pth")
    with pytest.raises(UsageError, match=r"2 \.pth files"):
        load(cut)
    with pytest.raises(UsageError, match="no keypoint layout 'unicorn'"):
        load(folder).prompts(["unicorn"], "unicorn")


def test_every_layout_fits_the_network():
    for name in keypoint_layouts.names():
        assert len(keypoint_layouts.layout(name).names) <= Sizes.keypoints
