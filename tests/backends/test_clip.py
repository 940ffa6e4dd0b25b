"""The CLIP backend: any CLIPModel folder, embeddings of length 1, differentiable preprocessing."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy
import pytest
import torch
from PIL import Image

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.errors import ModelMissing
from socialcli.miniature.zoo import clip as zoo


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("clip")
    zoo.export(zoo.network(width=32, layers=2), place)
    return place


@pytest.fixture(scope="module")
def clip(folder):
    return backends.load(ModelSpec("clip", "clip", str(folder)))


def noise(size, seed=0):
    values = numpy.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=numpy.uint8)
    return Image.fromarray(values)


def test_embeddings_have_length_one_and_do_not_depend_on_the_batch(clip):
    pictures = [noise((96, 96), 1), noise((150, 90), 2), noise((60, 200), 3)]
    together = clip.images(pictures)
    assert together.shape == (3, 32) and together.dtype == numpy.float32
    assert numpy.allclose(numpy.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert numpy.allclose(together[1], clip.images(pictures[1:2])[0], atol=1e-5)
    texts = ["a man riding a horse", "a woman in a red dress is holding a cup in the park", "zebra"]
    vectors = clip.texts(texts)
    assert vectors.shape == (3, 32) and numpy.allclose(
        numpy.linalg.norm(vectors, axis=1), 1, atol=1e-5
    )
    for i, text in enumerate(texts):  # padding to the longest changes nothing
        assert numpy.allclose(vectors[i], clip.texts([text])[0], atol=1e-5)
    assert clip.images([]).shape == clip.texts([]).shape == (0, 32)


def test_embeddings_are_what_transformers_gives(folder, clip):
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    picture, text = noise((120, 100), 5), "a boy kicking a ball"
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    values = CLIPImageProcessorPil.from_pretrained(folder)(picture, return_tensors="pt")
    tokens = CLIPTokenizer.from_pretrained(folder)([text], return_tensors="pt")
    with torch.no_grad():
        out = model(pixel_values=values["pixel_values"], **tokens)
    cosine = float((clip.images([picture]) @ clip.texts([text]).T)[0, 0])
    expected = float(out.logits_per_image[0, 0].detach() / model.logit_scale.exp())
    assert cosine == pytest.approx(expected, abs=1e-5)


def test_a_text_longer_than_the_model_reads_is_cut(clip):
    long = " ".join(["a man"] * 200)
    assert numpy.isfinite(clip.texts([long])).all()


@pytest.mark.parametrize("size", [(96, 96), (200, 200), (133, 90), (70, 201), (50, 40), (97, 96)])
def test_tensors_are_prepared_as_the_processor_prepares_pictures(clip, size):
    picture = noise(size, 7).resize((size[0] // 3 + 1, size[1] // 3 + 1)).resize(size)
    processed = clip.processor(images=[picture], return_tensors="pt")["pixel_values"]
    tensor = torch.from_numpy(numpy.asarray(picture).copy()).permute(2, 0, 1)[None] / 255
    cut = clip.pixels(tensor)
    assert cut.shape == processed.shape
    # The processor rounds to whole grey levels after resizing.
    assert (cut - processed).abs().max() < 1.1 / 255 / 0.26
    assert (cut - processed).abs().mean() < 0.5 / 255 / 0.26


def test_bicubic_overshoot_is_cut_off_as_in_pictures(clip):
    board = numpy.kron(numpy.indices((12, 12)).sum(0) % 2, numpy.ones((10, 10)))[..., None]
    picture = Image.fromarray((board * 255).astype(numpy.uint8).repeat(3, 2))
    processed = clip.processor(images=[picture], return_tensors="pt")["pixel_values"]
    tensor = torch.from_numpy(numpy.asarray(picture).copy()).permute(2, 0, 1)[None] / 255
    # PIL rounds to whole grey levels twice, after each direction.
    assert (clip.pixels(tensor) - processed).abs().max() < 1.6 / 255 / 0.26


def test_the_gradient_of_a_similarity_reaches_every_pixel(clip):
    picture = torch.rand(1, 3, 120, 140, requires_grad=True)
    wanted = torch.from_numpy(clip.texts(["a girl"]))
    seen = clip.network.get_image_features(pixel_values=clip.pixels(picture)).pooler_output
    torch.nn.functional.cosine_similarity(seen, wanted).sum().backward()
    middle = picture.grad[..., 10:130]  # what the centre crop keeps
    assert torch.isfinite(picture.grad).all() and (middle.abs().sum(1) > 0).float().mean() > 0.95


def test_padding_where_a_processor_only_crops(clip):
    from socialcli.backends.clip.clip import _centre

    small = torch.ones(1, 3, 5, 8)
    processed = clip.processor.center_crop(
        small[0].numpy(), clip.processor.crop_size.__class__(height=8, width=6)
    )
    assert numpy.array_equal(_centre(small, 8, 6)[0].numpy(), processed)


def test_a_missing_folder_says_how_to_get_the_model(tmp_path):
    with pytest.raises(ModelMissing, match="hf download openai/clip-vit-base-patch32"):
        backends.load(ModelSpec("clip", "clip", str(tmp_path / "none")))
