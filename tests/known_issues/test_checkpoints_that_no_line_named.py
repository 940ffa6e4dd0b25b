"""Checkpoints of relatives were refused without their name, or ended in a traceback: EfficientSAM,
whose position code is flat, in a ValueError; SAM-HQ, which has more tokens, and a SAM or an iresnet
that lacks weights in a line that did not say which file."""

from __future__ import annotations

import pytest
import torch
from tiny import segment as tiny

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.errors import UsageError

POSITIONS = "image_encoder.pos_embed"


def refused(role, backend, file, state):
    """What loading a state dict says: one line that names the file."""
    torch.save(state, file)
    with pytest.raises(UsageError) as error:
        backends.load(ModelSpec(role, backend, str(file)))
    said = str(error.value)
    assert said.count(str(file)) == 1 and "\n" not in said
    return said


def test_a_sam_with_flat_positions(tmp_path):
    file, state = tmp_path / "sam.pth", tiny.official_state()
    flat = {POSITIONS: torch.zeros(1, 197, 192), "image_encoder.patch_embed.proj.weight": state[
        "image_encoder.patch_embed.proj.weight"]}  # fmt: skip
    assert "Segment Anything" in refused("segment", "sam", file, {"model": flat})


def test_a_sam_with_more_tokens(tmp_path):
    file, state = tmp_path / "sam.pth", tiny.official_state()
    more = state | {"mask_decoder.hf_token.weight": torch.zeros(1, 8)}
    assert "hf_token" in refused("segment", "sam", file, more)


def test_a_sam_that_lacks_a_weight(tmp_path):
    file, state = tmp_path / "sam.pth", tiny.official_state()
    less = {n: t for n, t in state.items() if n != "image_encoder.neck.0.weight"}
    assert "image_encoder.neck.0.weight" in refused("segment", "sam", file, less)


def test_relatives_of_iresnet(tmp_path):
    file = tmp_path / "backbone.pth"
    assert "layer1" in refused("face", "iresnet", file, {"input_layer.0.weight": torch.zeros(1)})
    groups = {f"layer{n}.0.bn1.weight": torch.zeros(1) for n in range(1, 5)}
    assert "conv1.weight" in refused("face", "iresnet", file, groups)
