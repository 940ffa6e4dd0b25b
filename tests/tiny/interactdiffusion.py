"""A tiny InteractDiffusion with random weights in each layout that its authors publish: a diffusers
folder, the file of a training, and the gates alone."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path

from tiny import diffusion

LAYERS = 1  # of a block of `diffusion.networks`' UNet
_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
_OUTER = {
    "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
_VAE = {
    "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out",
    "conv_shortcut": "nin_shortcut", "conv_norm_out": "norm_out",
}  # fmt: skip


def networks(seed: int = 0):
    """(vae, text_encoder, UNet with open gates, scheduler), else those of `diffusion.networks`."""
    import torch

    from socialcli.networks import interact_diffusion

    vae, text_encoder, unet, scheduler = diffusion.networks(seed)
    torch.manual_seed(seed + 10)
    net = interact_diffusion.PositionNet(diffusion.WIDTH, diffusion.WIDTH)
    interact_diffusion.attach(unet, net)
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if "null_" in name or "embedding.emb" in name:
                parameter.normal_()
            if ".fuser.alpha" in name:
                parameter.fill_(0.9)
            # Else a picture would hardly show where an interaction is.
            if ".fuser." in name and ".ff." not in name and parameter.ndim == 2:
                parameter.normal_(std=0.4)
            if name.startswith("position_net.") and name.endswith(".4.weight"):
                parameter.normal_(std=0.3)
    return vae, text_encoder, unet.eval(), scheduler


def folder(place: Path) -> Path:
    """As diffusers saves it: the UNet's configuration says that it is gated."""
    diffusion.stable_diffusion(place)
    networks()[2].save_pretrained(place / "unet")
    file = place / "unet" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "attention_type": "gated"}))
    return place


def adapter(file: Path) -> Path:
    """Gates and position net alone, under CompVis' names."""
    import torch

    from socialcli.networks import interact_diffusion

    state = interact_diffusion.tensors_of(networks()[2])
    torch.save({_unet_name(name): tensor for name, tensor in state.items()}, file)
    return file


def training(file: Path) -> Path:
    """All of a training in one file, with its configuration as objects of another package."""
    import torch

    vae, text_encoder, unet, _ = networks()
    state = {
        "model": {_unet_name(n): t for n, t in unet.state_dict().items()},
        "autoencoder": dict(_vae(n, t) for n, t in vae.state_dict().items()),
        "text_encoder": {
            f"transformer.text_model.{n.removeprefix('text_model.')}": t
            for n, t in text_encoder.state_dict().items()
        },
        "diffusion": {"betas": torch.linspace(0, 1, 4)},
        "iters": 3,
    }
    package = types.ModuleType("configuration_of_a_training")
    package.Node = type("Node", (), {"__module__": package.__name__})
    node = package.Node()
    node.value = "target"
    sys.modules[package.__name__] = package
    try:
        torch.save({**state, "config_dict": {"_content": {"model": node}}}, file)
    finally:
        del sys.modules[package.__name__]
    return file


def _unet_name(name: str) -> str:
    """A tensor of the UNet as CompVis calls it."""
    if name.startswith("position_net."):
        return name
    for new, old in _OUTER.items():
        if name.startswith(f"{new}."):
            return old + name[len(new) :]
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", name):
        kind, at, rest = match.groups()
        return f"middle_block.{1 if kind == 'attentions' else 2 * int(at)}.{_inner(kind, rest)}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", name)
    assert match, name
    side, block, kind, at, rest = match.groups()
    first = int(block) * (LAYERS + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + LAYERS + 1}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":  # behind the attention, which the tiny UNet's first block has
        return f"output_blocks.{first + LAYERS}.2.{rest}"
    number = first + int(at) + (side == "down")
    part = {"down": "input_blocks", "up": "output_blocks"}[side]
    return f"{part}.{number}.{int(kind == 'attentions')}.{_inner(kind, rest)}"


def _inner(kind: str, rest: str) -> str:
    layer, _, ending = rest.partition(".")
    return f"{_RESNET[layer]}.{ending}" if kind == "resnets" else rest


def _vae(name: str, tensor):
    """A tensor of the autoencoder as CompVis calls it; its attention is made of convolutions."""
    if "mid_block.attentions" in name and tensor.ndim == 2:
        tensor = tensor[:, :, None, None]
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{2 - int(m[1])}.block", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{2 - int(m[1])}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0", "mid.attn_1")
    for new, old in _VAE.items():
        name = name.replace(f".{new}.", f".{old}.")
    return name, tensor
