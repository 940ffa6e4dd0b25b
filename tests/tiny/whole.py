"""A profile in which every model is a tiny stand-in, for the whole chain from import to score."""

from __future__ import annotations

from pathlib import Path

SIDE = 64  # pixels that training and drawing work on


def profile(folder: Path, captions: Path) -> Path:
    """Checkpoints of every role in the official formats, and ``tiny.toml`` that names them.

    Args:
        captions: a file for the captioner ``given``, since what a tiny one writes has no nouns.
    """
    from tiny import diffusion, ground, people, segment

    diffusion.stable_diffusion(folder / "base")
    ground.checkpoint(folder / "ground")
    segment.checkpoint(folder / "segment")
    people.insightface_pack(folder / "face")
    people.backbone(folder / "backbone.pth")
    people.sharingan(folder / "gaze.pt")
    people.vitpose(folder / "pose")
    _tower(folder / "tower")
    _clip(folder / "clip")
    _recogniser(folder / "interaction")
    file = folder / "tiny.toml"
    file.write_text(f"""
[caption]
backend = "given"
captions = "{captions}"
[ground]
model = "ground"
box-threshold = 0.05
text-threshold = 0.05
[segment]
model = "segment"
[annotate-pose]
face-model = "face"
pose-model = "pose"
[train]
model = "base"
[train.feedback]
size = {SIDE}
clip-model = "tower"
gaze-model = "gaze.pt"
pose-model = "pose"
least-face = 1.0
pose-least-score = 0.0
[generate]
model = "base"
steps = 2
[generate.ssr]
clip-model = "tower"
[score]
clip-model = "clip"
face-model = "face"
ground-model = "ground"
box-threshold = 0.05
text-threshold = 0.05
""")
    return file


def _tower(folder: Path) -> None:
    """The vision tower that an SSR-Encoder looks through."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.manual_seed(1)
    shape = CLIPVisionConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=6, num_attention_heads=2,
        image_size=28, patch_size=14, projection_dim=16,
    )  # fmt: skip
    CLIPVisionModel(shape).save_pretrained(folder)
    square = {"height": 28, "width": 28}
    CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=square).save_pretrained(folder)


def _clip(folder: Path) -> None:
    """A CLIP of both towers, for scores."""
    import torch
    from transformers import CLIPConfig, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from socialcli.miniature.zoo.words import tokenizer

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    small["intermediate_size"] = 16
    text = {**small, "vocab_size": 1500, "max_position_embeddings": 32}
    text |= {"bos_token_id": 101, "eos_token_id": 102, "pad_token_id": 0}
    vision = {**small, "image_size": 32, "patch_size": 8}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    CLIPModel(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size=size, crop_size=size).save_pretrained(folder)
    tokenizer(folder)


def _recogniser(folder: Path) -> None:
    """An interaction recogniser of HICO-DET's 600 classes."""
    import torch

    from socialcli.miniature.zoo import interaction as zoo
    from socialcli.networks import interactions
    from socialcli.records import hico

    classes = [
        {"hoi": c.number, "verb": c.verb, "object": c.object, "rare": c.rare}
        for c in hico.classes()
    ]
    shape = zoo.network(window=24, widths=(8, 16)).config
    torch.manual_seed(2)
    network = interactions.InteractionNetwork({**shape, "classes": classes})
    with torch.no_grad():  # as if it had seen pictures: no channel is switched off
        pair = torch.tensor([[0.1, 0.1, 0.4, 0.9, 0.5, 0.4, 0.8, 0.9]])
        network.train()(torch.randn(8, 3, 96, 96), [pair] * 8)
    interactions.save(network, folder)
