"""Tiny captioner checkpoints with random weights, in exactly the files the real ones have.

Each function fills a folder that ``from_pretrained`` loads: config.json, model.safetensors,
preprocessor_config.json, tokenizer files. What they write is noise; tests use them to see that the
production path loads, feeds and decodes them as transformers itself would.
"""

from __future__ import annotations

from pathlib import Path

TEXT = (
    "a an the man woman dog cat horse pizza ball hat on in with of is riding holding eating two "
    "and photo picture describe people animals objects what does image this one sentence you are"
)
WORDS = TEXT.split()


def blip2(folder: Path, encoder_decoder: bool = False) -> Path:
    """BLIP-2 with an OPT (or Flan-T5) language model: 28-pixel pictures, 4 query tokens."""
    import torch
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        BlipImageProcessorPil,
        OPTConfig,
        T5Config,
    )

    torch.manual_seed(0)
    tokenizer = _byte_tokenizer("</s>", "</s>", "<pad>", extra=["<image>"], prepend_bos=True)
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    special["pad_token_id"] = tokenizer.pad_token_id
    if encoder_decoder:
        text = T5Config(
            vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4,
            decoder_start_token_id=tokenizer.pad_token_id, **special,
        )  # fmt: skip
    else:
        text = OPTConfig(
            vocab_size=len(tokenizer), hidden_size=32, ffn_dim=32, num_hidden_layers=2,
            num_attention_heads=4, word_embed_proj_dim=32, max_position_embeddings=128, **special,
        )  # fmt: skip
    config = Blip2Config(
        vision_config=Blip2VisionConfig(
            hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
            image_size=28, patch_size=14,
        ),
        qformer_config=Blip2QFormerConfig(
            hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
            encoder_hidden_size=32, vocab_size=64, max_position_embeddings=32,
        ),
        text_config=text,
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    model = _loud(Blip2ForConditionalGeneration(config).eval())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 28, "width": 28}).save_pretrained(folder)
    return folder


def blip(folder: Path) -> Path:
    """BLIP: 32-pixel pictures, a BERT word-piece vocabulary with [DEC] for the start."""
    import torch
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessorPil,
    )

    torch.manual_seed(1)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *WORDS]
    pieces += [c for c in "abcdefghijklmnopqrstuvwxyz.,?" if c not in pieces]
    pieces += [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"]
    tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)})
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    config = BlipConfig(
        text_config={
            **small, "vocab_size": len(pieces), "encoder_hidden_size": 32, "projection_dim": 32,
            "num_attention_heads": 4, "max_position_embeddings": 64, "bos_token_id": 5,
            "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0, "is_decoder": True,
        },
        vision_config={
            **small, "num_attention_heads": 4, "image_size": 32, "patch_size": 16,
            "initializer_range": 0.02,  # the default, 1e-10, leaves the pictures unseen
        },
        projection_dim=32,
    )  # fmt: skip
    _loud(BlipForConditionalGeneration(config).eval()).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def florence2(folder: Path, positions: bool = False) -> Path:
    """Florence-2 in transformers' own form: 64-pixel pictures, 5 picture tokens.

    Args:
        positions: whether its words have the places ``<loc_0>`` to ``<loc_999>``, as in the real.
    """
    import torch
    from transformers import (
        BartConfig,
        CLIPImageProcessorPil,
        Florence2Config,
        Florence2ForConditionalGeneration,
    )
    from transformers.models.florence2.configuration_florence2 import Florence2VisionConfig

    torch.manual_seed(2)
    tokenizer = _byte_tokenizer("<s>", "</s>", "<pad>", extra=["<image>"], prepend_bos=False)
    if positions:
        tokenizer.add_tokens([f"<loc_{number}>" for number in range(1000)], special_tokens=True)
    config = Florence2Config(
        text_config=BartConfig(
            vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2,
            encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=32,
            decoder_ffn_dim=32, max_position_embeddings=256, pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            decoder_start_token_id=tokenizer.eos_token_id,
            forced_eos_token_id=tokenizer.eos_token_id,
        ),
        vision_config=Florence2VisionConfig(
            depths=(1, 1, 1, 1), embed_dim=(8, 8, 16, 32), num_heads=(1, 2, 2, 4),
            num_groups=(1, 2, 2, 4), window_size=4, projection_dim=32,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    _loud(Florence2ForConditionalGeneration(config).eval()).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"height": 64, "width": 64}, do_center_crop=False, image_seq_length=5
    ).save_pretrained(folder)
    return folder


def qwen2_vl(folder: Path) -> Path:
    """Qwen2-VL: patches of 14 pixels, at most 56 x 56 pixels a picture."""
    import torch
    from transformers import (
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessorPil,
    )

    torch.manual_seed(3)
    marks = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
    tokenizer = _byte_tokenizer(
        None, "<|im_end|>", "<|endoftext|>", extra=[*marks, "<|video_pad|>"], prepend_bos=False
    )
    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in [*marks, "<|video_pad|>"]}
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 32,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 1024, "bos_token_id": tokenizer.pad_token_id,
            "eos_token_id": ids["<|im_end|>"], "pad_token_id": tokenizer.pad_token_id,
            "rope_parameters": {
                "rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0
            },
        },
        vision_config={
            "depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "patch_size": 14,
            "mlp_ratio": 2,
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    model = _loud(Qwen2VLForConditionalGeneration(config).eval())
    # The real checkpoint asks for sampling; the production path must not inherit that.
    model.generation_config.do_sample = True
    model.generation_config.temperature = 0.01
    model.generation_config.top_k = 1
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(
        size={"shortest_edge": 28 * 28, "longest_edge": 56 * 56}
    ).save_pretrained(folder)
    return folder


BUILDERS = {"blip2": blip2, "blip": blip, "florence2": florence2, "qwen2-vl": qwen2_vl}


def _byte_tokenizer(
    bos: str | None, eos: str, pad: str, extra: list[str], prepend_bos: bool
):  # PreTrainedTokenizerFast
    """A byte-level BPE tokenizer (as GPT-2, OPT, BART and Qwen have) trained on `WORDS`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    named = [token for token in dict.fromkeys([bos, eos, pad, *extra]) if token]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=named,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([TEXT] * 4, trainer)
    if prepend_bos and bos:
        raw.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, raw.token_to_id(bos))]
        )
    named_extra = {} if prepend_bos or "<image>" not in extra else {"image_token": "<image>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=bos, eos_token=eos, pad_token=pad,
        extra_special_tokens=named_extra,
    )  # fmt: skip
    tokenizer.add_special_tokens({"additional_special_tokens": extra})
    return tokenizer


def _loud(model):
    """Weights scaled up, so that different pictures and prompts give different captions."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "norm" not in name:
                weight.mul_(8.0)
    return model
