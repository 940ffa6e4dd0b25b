"""A trained model's configurations said in which folder of which machine its base model lay.

diffusers writes ``_name_or_path`` into every ``config.json``: whoever published a model published
the names of their folders with it, and the same training elsewhere gave other bytes.
"""

from __future__ import annotations

import json

from tiny import diffusion as tiny

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.methods.train import _pipeline


def test_no_file_of_a_saved_model_names_a_folder(tmp_path):
    base = tiny.stable_diffusion(tmp_path / "somebodys folder")
    model = backends.load(ModelSpec("diffusion", "stable-diffusion", str(base)))
    _pipeline.save(model, tmp_path / "trained", {})
    files = [p for p in (tmp_path / "trained").rglob("*") if p.is_file()]
    assert [p for p in files if b"somebodys folder" in p.read_bytes()] == []
    settings = json.loads((tmp_path / "trained" / "unet" / "config.json").read_text())
    assert settings["_class_name"] == "UNet2DConditionModel"
    backends.load(ModelSpec("diffusion", "stable-diffusion", str(tmp_path / "trained")))
