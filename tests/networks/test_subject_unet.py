"""The U-Net on ResNet-34 against others' ResNet, and against convolutions written out."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from socialcli.errors import ModelMissing, UsageError
from socialcli.networks import subject_unet


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = subject_unet.SubjectUNet(3).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1:  # of batch normalisation: about 1 and 0, but not quite
                parameter.normal_(1.0 if name.endswith("weight") else 0.0, 0.1)
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
            elif name.endswith("running_mean"):
                buffer.normal_(std=0.1)
    return network


def test_names_and_shapes_are_the_published_ones(network):
    """Counts and shapes as segmentation_models_pytorch 0.6 has them."""
    state = network.state_dict()
    assert len(state) == 278
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(24.44e6, rel=1e-3)
    shapes = {
        "encoder.conv1.weight": (64, 3, 7, 7), "encoder.layer3.5.bn2.running_var": (256,),
        "encoder.layer4.0.downsample.0.weight": (512, 256, 1, 1),
        "decoder.blocks.0.conv1.0.weight": (256, 768, 3, 3),
        "decoder.blocks.3.conv1.0.weight": (32, 128, 3, 3),
        "decoder.blocks.4.conv2.1.num_batches_tracked": (),
        "segmentation_head.0.weight": (3, 16, 3, 3), "segmentation_head.0.bias": (3,),
    }  # fmt: skip
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_the_encoder_is_resnet_34(network):
    """Against transformers' ResNet, whose layers have other names."""
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(
        layer_type="basic", depths=[3, 4, 6, 3], hidden_sizes=[64, 128, 256, 512],
        embedding_size=64,
    )  # fmt: skip
    peer = ResNetModel(config).eval()
    renamed = {}
    for name, value in network.encoder.state_dict().items():
        name = name.replace("downsample.0", "shortcut.convolution")
        name = name.replace("downsample.1", "shortcut.normalization")
        for number in (1, 2):
            layer = f"layer.{number - 1}."
            name = name.replace(f"conv{number}.", f"{layer}convolution.")
            name = name.replace(f"bn{number}.", f"{layer}normalization.")
        if name.startswith("layer."):
            name = f"embedder.embedder.{name.removeprefix('layer.0.')}"
        else:
            group, block, rest = name.split(".", 2)
            name = f"encoder.stages.{int(group[5:]) - 1}.layers.{block}.{rest}"
        renamed[name] = value
    peer.load_state_dict(renamed)
    pictures = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        wanted = peer((pictures - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
                        / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))  # fmt: skip
        pooled = network.pooled(pictures)
        other = network.pooled(1 - pictures)
    assert (pooled - other).abs().max() > 0.01 * pooled.abs().max()  # it does look at the picture
    assert torch.allclose(
        pooled, wanted.pooler_output.flatten(1), rtol=1e-4, atol=1e-5 * float(pooled.max())
    )


def test_the_decoder_joins_features_of_each_side(network):
    """Written out with the tensors alone."""
    pictures = torch.rand(1, 3, 64, 32)
    state = network.state_dict()

    def joined(x, name):
        x = F.conv2d(x, state[f"{name}.0.weight"], padding=1)
        mean, var = state[f"{name}.1.running_mean"], state[f"{name}.1.running_var"]
        scale, shift = state[f"{name}.1.weight"], state[f"{name}.1.bias"]
        each = (1, -1, 1, 1)
        x = (x - mean.view(each)) / (var.view(each) + 1e-5).sqrt()
        return (x * scale.view(each) + shift.view(each)).clamp(min=0)

    with torch.no_grad():
        features = network.encoder(subject_unet.normalised(pictures))
        assert [f.shape[1] for f in features] == [64, 64, 128, 256, 512]
        assert [f.shape[2] for f in features] == [32, 16, 8, 4, 2]
        x = features[4]
        for number, skip in enumerate([features[3], features[2], features[1], features[0], None]):
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = x if skip is None else torch.cat([x, skip], 1)
            x = joined(joined(x, f"decoder.blocks.{number}.conv1"),
                       f"decoder.blocks.{number}.conv2")  # fmt: skip
        head = "segmentation_head.0"
        wanted = F.conv2d(x, state[f"{head}.weight"], state[f"{head}.bias"], padding=1)
        logits = network(pictures)
        other = network(1 - pictures)
    assert logits.shape == (1, 3, 64, 32)
    assert (logits - other).abs().max() > 0.01 * logits.abs().max()
    assert torch.allclose(logits, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_files_come_back_and_others_are_refused(tmp_path, network):
    notes = {"subjects": json.dumps([{"name": n} for n in "abc"]), "side": "64"}
    subject_unet.save(network, tmp_path, notes)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["encoder_name"], config["classes"]) == ("resnet34", 3)
    again = subject_unet.load(str(tmp_path))
    assert again.side == 64 and [s["name"] for s in again.subjects] == ["a", "b", "c"]
    assert all(torch.equal(v, network.state_dict()[n]) for n, v in
               again.network.state_dict().items())  # fmt: skip
    torch.save(network.state_dict(), tmp_path / "bare.pth")
    assert subject_unet.load(str(tmp_path / "bare.pth")).subjects == []
    torchvision = {**network.encoder.state_dict(), "fc.weight": torch.zeros(10, 512)}
    torch.save(torchvision, tmp_path / "resnet34.pth")
    fresh = subject_unet.SubjectUNet(2)
    subject_unet.load_encoder(fresh, str(tmp_path / "resnet34.pth"))
    assert torch.equal(fresh.encoder.conv1.weight, network.encoder.conv1.weight)
    with pytest.raises(UsageError, match="no segmentation_head"):
        subject_unet.load(str(tmp_path / "resnet34.pth"))
    with pytest.raises(ModelMissing, match="subject-segmentation"):
        subject_unet.load(str(tmp_path / "nowhere"))
    broken = network.state_dict() | {"encoder.conv1.weight": torch.zeros(64, 1, 7, 7)}
    torch.save(broken, tmp_path / "grey.pth")
    with pytest.raises(UsageError, match="not ResNet-34 U-Net weights"):
        subject_unet.load(str(tmp_path / "grey.pth"))
