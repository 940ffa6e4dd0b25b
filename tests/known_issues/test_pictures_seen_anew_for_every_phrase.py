"""Florence-2 as a grounder sent the picture through its vision tower once for every phrase that was
looked for; the tower is the larger part of what a phrase costs."""

import io

import pytest
import scenes
import torch
from PIL import Image
from tiny import caption as tiny

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.backends.caption import _writing
from socialcli.backends.ground import florence2
from socialcli.backends.roles import Generation


@pytest.fixture(scope="module")
def grounder(tmp_path_factory):
    folder = tiny.florence2(tmp_path_factory.mktemp("florence"), positions=True)
    return backends.load(ModelSpec("ground", "florence2", str(folder)))


@pytest.fixture(scope="module")
def picture():
    return Image.open(io.BytesIO(scenes.picture(0)))


def test_a_picture_is_seen_once_however_much_is_looked_for(grounder, picture):
    seen = []
    tower = grounder.writer.network.model.vision_tower
    watch = tower.register_forward_hook(lambda *_: seen.append(1))
    grounder.ground([picture, picture, picture], [["a dog", "the man", "a cup"], [], ["it"]], 0, 0)
    watch.remove()
    assert len(seen) == 2


def test_what_is_written_is_what_generate_writes_of_pixels(grounder, picture):
    """Of one picture with beams, and of two under seeds."""
    writer = grounder.writer
    words = writer.tokenizer("a dog", add_special_tokens=False)["input_ids"]
    ids = [writer.network.config.image_token_id] * writer.image_tokens
    ids += [writer.tokenizer.bos_token_id, *words, writer.tokenizer.eos_token_id]
    drawn = Generation(nucleus=0.9, max_tokens=8)
    for pictures, how, seeds in (
        ([picture], florence2.HOW, [0]), ([picture, picture], drawn, [3, 4]),
    ):  # fmt: skip
        of_pixels, _ = _writing.written(writer.network, writer.images, pictures, ids, how, seeds)
        assert torch.equal(writer.write(writer.see(pictures), "a dog", how, seeds), of_pixels)
