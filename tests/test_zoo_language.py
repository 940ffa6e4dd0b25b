"""The miniatures that read and write: words, CLIP, BLIP-2 and interactions."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from socialcli.world import scene
from socialcli.world.captions import captions
from socialcli.zoo import words


def test_every_word_is_one_token_of_clip(tmp_path):
    from transformers import AutoTokenizer

    made = words.clip_tokenizer(tmp_path, length=40)
    read = AutoTokenizer.from_pretrained(tmp_path)
    assert (tmp_path / "vocab.json").exists() and (tmp_path / "merges.txt").exists()
    for i in range(60):
        for written in captions(scene(8, i, 48, ("train", "val", "test")[i % 3])):
            tokens = made.tokenize(written.text)
            assert all(t.endswith("</w>") for t in tokens), written.text
            ids = made(written.text)["input_ids"]
            assert len(ids) == len(tokens) + 2 <= 41
            assert read(written.text)["input_ids"] == ids
            spoken = made.decode(ids, skip_special_tokens=True)
            assert spoken.replace(" , ", ", ").replace(" - ", "-") == written.text
    assert made("zebra")["input_ids"][-1] == made.eos_token_id
    assert made.decode(made("a zebra, 42")["input_ids"], skip_special_tokens=True).startswith("a z")
    assert read.model_max_length == 40 and read.pad_token_id == read.eos_token_id
