"""CMMP: the official layout, the authors' numbers, and that gradients reach the picture."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import interaction as tiny

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.backends.interaction import cmmp as backend
from socialcli.errors import ModelMissing, UsageError
from socialcli.networks import cmmp, cmmp_clip, detr
from socialcli.records import hico

OFFICIAL = cmmp.Shapes(
    detr.Sizes(), cmmp_clip.TowerSizes(768, 12, 16, 14, 512, 64, (1,) * 12),
    cmmp_clip.TextSizes(512, 12, 49408, 77, 512), ((24, 512), (117, 1, 512), (117, 52, 512)),
    (10, 36), (128, 64),
)  # fmt: skip


def test_official_layout():
    """Shapes: the authors' classes (commit a50710b) at the sizes of scripts/hico_default.sh."""
    with torch.device("meta"):
        state = cmmp.CMMP(OFFICIAL).state_dict()
    block = "clip_head.image_encoder.transformer.resblocks.11."
    shapes = {
        "detector.backbone.0.body.conv1.weight": (64, 3, 7, 7),
        "detector.backbone.0.body.layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
        "detector.backbone.0.body.layer3.5.bn3.running_var": (1024,),
        "detector.transformer.encoder.layers.5.self_attn.in_proj_weight": (768, 256),
        "detector.transformer.decoder.layers.5.multihead_attn.out_proj.bias": (256,),
        "detector.transformer.decoder.norm.weight": (256,),
        "detector.class_embed.weight": (81, 256), "detector.bbox_embed.layers.2.bias": (4,),
        "detector.query_embed.weight": (100, 256), "detector.input_proj.weight": (256, 2048, 1, 1),
        f"{block}adaptermlp.scale": (768,), f"{block}adaptermlp.down_proj.weight": (64, 768),
        f"{block}adaptermlp.mhsa_layers.0.multihead_attn.in_proj_weight": (192, 64),
        f"{block}adaptermlp.mhsa_layers.0.linear1.weight": (128, 64),
        f"{block}mlp.c_fc.weight": (3072, 768),
        "clip_head.image_encoder.positional_embedding": (197, 768),
        "clip_head.image_encoder.proj": (768, 512),
        "clip_head.text_encoder.token_embedding.weight": (49408, 512),
        "clip_head.text_encoder.transformer.resblocks.11.attn.in_proj_weight": (1536, 512),
        "clip_head.prompt_learner.token_suffix": (117, 52, 512), "clip_head.logit_scale": (),
        "adapter_H_weight": (512, 512), "adapter_O_bias": (117,), "logit_scale_text": (),
        "priors_downproj.layers.0.weight": (128, 517), "priors_downproj.layers.2.weight": (64, 128),
        "global_prior": (10, 36), "priors_downproj_global.layers.0.weight": (64, 36),
        "fusion_attn.self_attn.in_proj_weight": (192, 64), "fusion_attn.norm3.bias": (64,),
    }  # fmt: skip
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert (len(state), sum(v.numel() for v in state.values())) == COUNTS


COUNTS = (1029, 196_706_795)


def test_every_class_in_the_order_of_the_logits():
    assert len(backend._objects()) == 80 and list(backend._objects())[:2] == ["person", "bicycle"]
    assert len(backend._verbs()) == 117 and backend._verbs()[57] == "no interaction"
    assert all(tokens[:3] == [320, 1125, 539] for tokens in backend._objects().values())
    assert {c.object for c in hico.classes()} == set(backend._objects())
    assert backend.classes_of("")[159 + 5] == ("kiss", "person")


def test_the_picture_of_the_detector():
    assert cmmp.detector_size(480, 640) == (800, 1066)
    assert cmmp.detector_size(640, 480) == (1066, 800)
    assert cmmp.detector_size(333, 1000) == (444, 1333)
    assert cmmp.detector_size(512, 512) == (800, 800)


def test_who_is_looked_at():
    """Three people at least, surest first, and none twice; then the things."""
    step = torch.arange(8.0)[:, None] * torch.tensor([0.1, 0, 0.1, 0])
    boxes = step + torch.tensor([0.0, 0.0, 0.09, 1.0])
    boxes[1] = boxes[0] + torch.tensor([0.0, 0, 0, 0.05])  # the same person again
    classes = torch.tensor([0, 0, 0, 0, 5, 0, 5, 7])
    scores = torch.tensor([0.9, 0.8, 0.3, 0.1, 0.05, 0.02, 0.6, 0.3])
    assert cmmp.chosen(boxes, scores, classes).tolist() == [0, 2, 3, 6, 7, 4]
    many = torch.arange(40.0)[:, None] * 2 + torch.tensor([0.0, 0, 1, 1])
    kinds = (torch.arange(40) >= 20).long()
    kept = cmmp.chosen(many, torch.linspace(0.9, 0.5, 40), kinds).tolist()
    assert kept == [*range(15), *range(20, 35)]
    detections = cmmp.Detections(boxes[[0, 2, 6]], scores[[0, 2, 6]], classes[[0, 2, 6]])
    assert cmmp.all_pairs(detections).tolist() == [[0, 1], [0, 2], [1, 0], [1, 2]]


@pytest.fixture(scope="module")
def wave():
    """The tiny network with weights that anyone can compute again, in any framework."""
    shapes = cmmp.Shapes(
        detr.Sizes((1, 1, 1, 1), hidden=32, inner=64, encoder=1, decoder=2, queries=20),
        cmmp_clip.TowerSizes(128, 2, 16, 14, 32, 64, (1, 1)),
        cmmp_clip.TextSizes(64, 2, 49408, 77, 32), ((24, 64), (117, 1, 64), (117, 52, 64)),
        (10, 36), (128, 64),
    )  # fmt: skip
    network = cmmp.CMMP(shapes).eval()
    state = network.state_dict()
    for number, name in enumerate(sorted(state)):
        value = state[name]
        way = torch.cos(torch.arange(value.numel(), dtype=torch.float64) * 1.7 + number)
        way = way.reshape(value.shape)
        small = ("token_prefix", "token_suffix", "token_embedding", "positional", "query_embed",
                 ".ctx", "global_prior")  # fmt: skip
        if name.endswith("running_var"):
            way = 1 + way / 4
        elif value.ndim == 0:
            way = way / 2
        elif value.ndim == 1:
            way = 1 + way / 4 if name.endswith("weight") else way / 10
        elif any(word in name for word in small):
            way = way * 0.3
        else:
            way = way * math.sqrt(2 / value[0].numel())
        value.copy_(way)
    suffix = network.clip_head.prompt_learner.token_suffix.zero_()
    end = network.clip_head.text_encoder.token_embedding.weight[49407].detach()
    for i in range(117):
        words = 5 + i % 3
        at = torch.arange(words, dtype=torch.float64)[:, None] * 1.3 + torch.arange(64) + i
        suffix[i, :words] = torch.cos(at).float() * 0.3
        suffix[i, words] = end
    valid = torch.zeros(80, 117)
    for one in hico.classes():
        thing = list(backend._objects()).index(one.object)
        valid[thing, backend._verbs().index(one.verb)] = 1
    return network.requires_grad_(False).know(valid, list(backend._objects().values()))


def test_the_detector_gives_the_authors_numbers(wave):
    """Expected values here and below: the authors' code (commit a50710b), run once."""
    across, down = torch.linspace(-1, 1, 160), torch.linspace(-1, 1, 128)
    picture = torch.stack([torch.sin(2 * across[None] * k + 3 * down[:, None]) for k in (1, 2, 3)])
    with torch.inference_mode():
        logits, boxes = wave.detector(picture[None])
    assert torch.allclose(logits[0, ::9, ::40], torch.tensor(LOGITS), atol=1e-5)
    middle = (boxes[0, ::9, :2] + boxes[0, ::9, 2:]) / 2
    size = boxes[0, ::9, 2:] - boxes[0, ::9, :2]
    assert torch.allclose(torch.cat([middle, size], 1), torch.tensor(BOXES), atol=1e-5)


def test_texts_and_pairs_give_the_authors_numbers_and_gradient(wave):
    assert torch.allclose(wave.verbs[::58, ::15], torch.tensor(VERBS), atol=2e-5)
    assert torch.allclose(wave.objects[[0, 79], ::15], torch.tensor(OBJECTS), atol=2e-5)
    x = torch.linspace(-1, 1, 224)
    picture = torch.stack([torch.sin(3 * x[None] * k + 2 * x[:, None]) for k in (1, 2, 3)])[None]
    picture.requires_grad_(True)
    detections = cmmp.Detections(
        torch.tensor(
            [[0.1, 0.1, 0.4, 0.8], [0.3, 0.5, 0.7, 0.95], [0.5, 0.2, 0.9, 0.7], [0, 0.6, 0.3, 1.02]]
        ),
        torch.tensor([0.9, 0.6, 0.8, 0.4]), torch.tensor([0, 0, 16, 56]),
    )  # fmt: skip
    pairs = cmmp.all_pairs(detections)
    # Beside a picture with more detections, which changes nothing.
    other = cmmp.Detections(*(torch.cat([value, value]) for value in detections))
    seen = wave.look(picture.expand(2, -1, -1, -1), [detections, other])[0]
    prior = wave.prior(detections, pairs, cmmp.POWER)
    rows, verbs = prior.nonzero().unbind(1)
    scores = wave.judge(seen, detections.boxes[pairs])[rows, verbs].sigmoid() * prior[rows, verbs]
    assert (len(scores), verbs[::11].tolist()) == LABELS
    assert torch.allclose(scores[::11], torch.tensor(SCORES), atol=1e-6)
    scores.sum().backward()
    assert float(picture.grad.norm()) == pytest.approx(GRADIENT, rel=1e-4)
    assert torch.allclose(picture.grad[0, :, 20::60, 30::70], torch.tensor(GRADIENTS), atol=1e-6)


LOGITS = [
    [0.09563968, 1.138286, -1.168924],
    [0.09560335, 1.138325, -1.168921],
    [0.09557801, 1.138337, -1.168906],
]
BOXES = [
    [0.4388175, 0.5148804, 0.5248434, 0.4561653],
    [0.4388156, 0.5148811, 0.5248446, 0.4561634],
    [0.4388146, 0.5148815, 0.5248452, 0.4561622],
]
VERBS = [
    [-1.764673, -1.688862, -1.387808],
    [-1.455812, -1.472142, -1.292132],
    [0.6882609, 0.4707022, 0.190366],
]
OBJECTS = [[0.2730944, -0.1879901, -0.6240029], [0.273094, -0.1879908, -0.6240034]]
LABELS = (68, [8, 10, 78, 93, 8, 65, 87])
SCORES = [0.1341188, 0.1915093, 0.1562606, 0.02114699, 0.09496891, 0.09496891, 0.007304388]
GRADIENT = 0.8667314
GRADIENTS = [
    [
        [-1.93476e-06, -0.00266307, -0.00155955],
        [-0.000389885, 0.000844817, -2.37891e-05],
        [-4.56661e-05, -0.0033694, 6.45519e-06],
        [-0.000192786, -0.000834684, 0.000739267],
    ],
    [
        [0.000277112, 0.00846472, 0.0030571],
        [0.000661543, 0.00392039, 1.38151e-05],
        [0.000648052, 0.000268303, -7.22257e-05],
        [-0.000290057, 0.000510533, -0.00013888],
    ],
    [
        [-4.75565e-05, 0.00115129, 0.00101356],
        [0.000271736, -0.00154499, 2.13217e-05],
        [-7.00739e-05, 0.00332149, 6.44408e-06],
        [0.00024459, 0.000743504, -0.000714463],
    ],
]


def test_the_larger_tower_looks_at_larger_pictures(tmp_path, monkeypatch):
    """The published variant with ViT-L/14 at 336 pixels; its file says so by its shapes alone."""
    vision = tiny.SHAPES.vision._replace(patch=14, grid=24)
    monkeypatch.setattr(tiny, "SHAPES", tiny.SHAPES._replace(vision=vision))
    network = cmmp.load(tiny.checkpoint(tmp_path))
    tower = network.clip_head.image_encoder
    assert (tower.sizes.grid, tower.side, len(tower.positional_embedding)) == (24, 336, 577)


def test_files_that_are_no_cmmp_for_hico(tmp_path):
    def refused(text, **changed):
        file = tiny.checkpoint(tmp_path / "x", **changed)
        with pytest.raises(UsageError, match=text) as error:
            cmmp.load(file)
        assert "scripts/hico_default.sh" in str(error.value) and "\n" not in str(error.value)

    coco = {
        "detector.class_embed.weight": torch.zeros(92, 32),
        "detector.class_embed.bias": torch.zeros(92),
    }
    refused("for 117 verbs, and a detector with 92 classes", **coco)
    prefix = {"clip_head.prompt_learner.token_prefix": torch.zeros(24, 1, 64)}
    refused("for 24 verbs", **prefix)
    refused("fusion_attn.norm1.bias", **{"fusion_attn.norm1.bias": None})
    refused("no clip_head.prompt_learner.ctx", **{"clip_head.prompt_learner.ctx": None})
    with pytest.raises(ModelMissing, match="hf download lttt/CMMP"):
        backends.load(ModelSpec("interaction", "cmmp"))
    with pytest.raises(ModelMissing, match=r"no CMMP checkpoint at 'gone\.pt'"):
        backends.load(ModelSpec("interaction", "cmmp", "gone.pt"))
