"""Tiny GroundingDINO checkpoints with random weights, in the official formats."""

from __future__ import annotations

from pathlib import Path

WORDS = [
    "a", "the", "man", "woman", "dog", "horse", "in", "red", "with", "ball", "riding", "group",
    "of", "people", "two", "player", "s", "##s", "##man", "sports", "##play", "##er", "person",
    "hat", "young",
]  # fmt: skip


def vocabulary() -> dict[str, int]:
    """BERT's vocabulary layout: the ids that GroundingDINO assumes, and a few words after them."""
    special = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
    special |= {".": 1012, "?": 1029}
    at = {number: token for token, number in special.items()}
    words = iter(WORDS)
    tokens = [at.get(i, f"[unused{i}]") for i in range(1100)]
    for i in range(1030, 1030 + len(WORDS)):
        tokens[i] = next(words)
    return {token: i for i, token in enumerate(tokens)}


def tokenizer_folder(folder: Path) -> Path:
    """A BERT tokenizer as `save_pretrained` writes it."""
    from transformers import BertTokenizer

    tokenizer = BertTokenizer(vocab=vocabulary(), do_lower_case=True)
    tokenizer.save_pretrained(folder)
    return folder


def network(seed: int = 0, longest: int = 256):
    """A GroundingDINO with random weights, whose logits spread enough to pass thresholds."""
    import torch
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection

    config = GroundingDinoConfig(
        backbone_config={
            "model_type": "swin",
            "image_size": 64,
            "patch_size": 4,
            "embed_dim": 16,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 2, 2, 2],
            "window_size": 4,
            "out_features": ["stage2", "stage3", "stage4"],
        },
        text_config={
            "model_type": "bert",
            "vocab_size": 1100,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 256,
        },
        d_model=64,  # two channels for each of 32 groups: a 1x1 feature map stays legal
        num_queries=20,
        encoder_layers=1,
        encoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=32,
        decoder_attention_heads=2,
        max_text_len=longest,
    )
    torch.manual_seed(seed)
    model = GroundingDinoForObjectDetection(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "norm" not in name:
                weight.copy_(torch.randn_like(weight) * 0.4 / weight.shape[-1] ** 0.25)
    return model


def checkpoint(folder: Path, seed: int = 0, longest: int = 256) -> Path:
    """A Hugging Face folder: weights, image processor for small pictures, tokenizer."""
    from transformers import GroundingDinoImageProcessorPil

    network(seed, longest).save_pretrained(folder)
    size = {"shortest_edge": 64, "longest_edge": 96}
    GroundingDinoImageProcessorPil(size=size).save_pretrained(folder)
    tokenizer_folder(folder)
    return folder
