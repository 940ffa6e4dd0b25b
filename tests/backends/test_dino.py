"""DINO through transformers: what pictures become, for both kinds of checkpoints."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy
import pytest
import torch
from PIL import Image

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.errors import UsageError

PICTURES = [
    Image.effect_noise(size, 60).convert("RGB").resize(size) for size in ((50, 40), (33, 64))
]


def _smooth(width: int, height: int) -> Image.Image:
    rows = numpy.linspace(0, 220, height)[:, None, None] * numpy.array([1, 0.5, 0.2])
    return Image.fromarray((rows + numpy.linspace(0, 30, width)[None, :, None]).astype("uint8"))


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """As facebook/dino-vits16 is: a processor that only resizes to a square."""
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        image_size=32, patch_size=8, initializer_range=0.2,
    )  # fmt: skip
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessorPil(
        size={"height": 32, "width": 32}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.25]
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    """As facebook/dinov2-small is: its processor resizes more and cuts out the middle."""
    from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=28,
        patch_size=14, initializer_range=0.2,
    )  # fmt: skip
    Dinov2Model(config).save_pretrained(folder)
    BitImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28}
    ).save_pretrained(folder)
    return folder


def _load(folder):
    return backends.load(ModelSpec("dino", "vit", str(folder)))


def _by_hand(images, short, side, mean, std):
    """Resize the shorter side with Pillow, cut out the middle, normalise."""
    prepared = []
    for image in images:
        wide, high = image.size
        scale = short / min(wide, high)
        image = image.resize((int(wide * scale), int(high * scale)), Image.Resampling.BICUBIC)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        values = numpy.asarray(image, dtype=numpy.float32) / 255
        prepared.append(((values - mean) / std).transpose(2, 0, 1))
    return torch.tensor(numpy.stack(prepared), dtype=torch.float32)


def test_dino_s_own_checkpoints_are_prepared_as_dreambooth_does(vit):
    from transformers import ViTModel

    dino = _load(vit)
    vectors = dino.images(PICTURES)
    assert vectors.dtype == numpy.float32 and vectors.shape == (2, 32)
    assert numpy.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-5)
    network = ViTModel.from_pretrained(vit, add_pooling_layer=False).eval()
    values = _by_hand(PICTURES, 36, 32, [0.4, 0.5, 0.6], [0.2, 0.3, 0.25])
    with torch.no_grad():
        token = network(pixel_values=values).last_hidden_state[:, 0]
    token = token / token.norm(dim=1, keepdim=True)
    assert numpy.abs(vectors - token.numpy()).max() < 1e-4
    assert dino.images([]).shape == (0, 32)
    assert dino.model.role == "dino" and dino.model.backend == "vit"


def test_dinov2_is_prepared_as_its_checkpoint_says(dinov2):
    from transformers import Dinov2Model

    vectors = _load(dinov2).images(PICTURES)
    clip = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    with torch.no_grad():
        network = Dinov2Model.from_pretrained(dinov2).eval()
        token = network(pixel_values=_by_hand(PICTURES, 32, 28, *clip)).last_hidden_state[:, 0]
    assert numpy.abs(vectors - (token / token.norm(dim=1, keepdim=True)).numpy()).max() < 1e-4


def test_the_differentiable_way_agrees_with_pillow_s(vit, dinov2):
    pictures = [_smooth(50, 40), _smooth(33, 64), _smooth(20, 20)]
    for folder in (vit, dinov2):
        dino = _load(folder)
        for picture in pictures:
            values = torch.tensor(numpy.asarray(picture)).permute(2, 0, 1)[None].float() / 255
            values.requires_grad_()
            cut = dino.pixels(values)
            processed = dino.processor(images=[picture], return_tensors="pt")["pixel_values"]
            assert cut.shape == processed.shape
            assert (cut - processed).abs().max() < 0.03  # Pillow rounds to 8 bits
            dino.embed(cut)[:, 0].sum().backward()  # layer normalisation fixes the sum of all
            assert values.grad.abs().sum() > 0


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    from transformers import BertConfig

    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"a bert is no DINO; wanted: vit, dinov2"):
        _load(tmp_path)
