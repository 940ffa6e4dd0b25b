"""With learned words of several vectors in a prompt, FastComposer put its subjects into other words
than those that were marked: it counted tokens in the prompt as written, and not as it is read. Its
plain prompt kept the learned words, which `score` then gave to CLIP. PhotoMaker failed on them with
an IndexError."""

from __future__ import annotations

from types import SimpleNamespace

import drawings
import pytest
from parts import part
from PIL import Image
from safetensors.torch import save_file
from tiny import diffusion as tiny
from tiny import fastcomposer as tiny_composer

from socialcli.errors import SampleFailed


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """fast.bin, a cache with what it lacks, a picture, and <x>: "red ball" as a learned word."""
    place = tmp_path_factory.mktemp("models")
    tiny_composer.checkpoint(place / "fast.bin")
    default = "models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    tiny.stable_diffusion(place / "hub" / default / "snapshots" / "0")
    Image.effect_mandelbrot((50, 40), (-2, -1, 1, 1), 20).convert("RGB").save(place / "man.png")
    table = tiny.networks()[1].get_input_embeddings().weight.detach()
    ids = tiny.tokenizer()("red ball", add_special_tokens=False).input_ids
    assert len(ids) == 2
    save_file({"<x>": table[ids].clone()}, place / "x.safetensors")
    return place


def test_a_subject_stands_in_its_word_behind_a_learned_one(place, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(place / "hub"))

    def drawn(name: str, thing: str, **options):
        return drawings.run(
            "fastcomposer", tmp_path / name, model=str(place / "fast.bin"), steps=2, delay=0.0,
            prompt=[f"a {thing} and a man <|image|>"], reference=[str(place / "man.png")],
            **options,
        )["00000"]  # fmt: skip

    ordinary = drawn("ordinary", "red ball")
    learned = drawn("learned", "<x>", words=[str(place / "x.safetensors")], plain_word=["<x>=toy"])
    assert (drawings.pixels(ordinary["png"]) == drawings.pixels(learned["png"])).all()
    assert drawings.record(ordinary).plain_prompt == "a red ball and a man"
    assert drawings.record(learned).plain_prompt == "a toy and a man"


def test_photomaker_says_that_it_reads_ordinary_words(monkeypatch):
    method = part("methods.generate", "photomaker")
    lexicon = SimpleNamespace(used=lambda text: ["<x>"] if "<x>" in text else [])
    state = SimpleNamespace(studio=SimpleNamespace(lexicon=lexicon))
    request = SimpleNamespace(prompt="a woman img with a <x>", negative="", references=[])
    with pytest.raises(SampleFailed, match="<x> is a learned word, and photomaker"):
        method.embed(method.config_type(), state, request)
