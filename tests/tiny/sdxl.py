"""A tiny Stable Diffusion XL with random weights, in exactly the folders the real one has.

32-pixel pictures, texts of 16 tokens, two text encoders of different widths, a pooled state of a
third width. Block types, tokenizers and files are those of stable-diffusion-xl-base-1.0.
"""

from __future__ import annotations

from pathlib import Path

from tiny import diffusion as tiny

SIZE, TOKENS = tiny.SIZE, tiny.TOKENS
WIDTHS = (24, 40)  # of a token in the two encoders
WIDTH = sum(WIDTHS)  # as the UNet reads it
POOLED = 20
STEP = 8  # numbers that stand for each of the six sizes


def pipeline(seed: int = 0):
    """diffusers' StableDiffusionXLPipeline of random weights."""
    import torch
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(seed)
    words = tiny.tokenizer()

    def config(width: int, act: str) -> CLIPTextConfig:
        return CLIPTextConfig(
            vocab_size=len(words), hidden_size=width, intermediate_size=32, num_hidden_layers=3,
            num_attention_heads=4, max_position_embeddings=TOKENS, projection_dim=POOLED,
            bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id, hidden_act=act,
        )  # fmt: skip

    encoders = (
        CLIPTextModel(config(WIDTHS[0], "quick_gelu")),
        CLIPTextModelWithProjection(config(WIDTHS[1], "gelu")),
    )
    with torch.no_grad():
        for encoder in encoders:
            encoder.get_input_embeddings().weight.normal_()
        encoders[1].text_projection.weight.normal_()
    second = tiny.tokenizer()
    second.pad_token = "!" if "!" in second.get_vocab() else second.pad_token
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16), layers_per_block=1, latent_channels=4, norm_num_groups=4,
        sample_size=SIZE, scaling_factor=0.13025,
    )  # fmt: skip
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
        timestep_spacing="leading",
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=vae.eval(), text_encoder=encoders[0].eval(), text_encoder_2=encoders[1].eval(),
        tokenizer=words, tokenizer_2=second, unet=unet(seed), scheduler=scheduler,
        add_watermarker=False,
    )  # fmt: skip


def unet(seed: int = 0):
    """The UNet alone."""
    import torch
    from diffusers import UNet2DConditionModel

    torch.manual_seed(seed + 1)
    network = UNet2DConditionModel(
        sample_size=SIZE // 4, in_channels=4, out_channels=4, layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn", block_out_channels=(8, 16, 16),
        cross_attention_dim=WIDTH, attention_head_dim=(1, 2, 4), norm_num_groups=4,
        transformer_layers_per_block=(1, 1, 2), use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=STEP,
        projection_class_embeddings_input_dim=POOLED + 6 * STEP,
    )  # fmt: skip
    return network.eval()


def stable_diffusion_xl(folder: Path, seed: int = 0) -> Path:
    """A StableDiffusionXLPipeline folder, which ``from_pretrained`` loads."""
    pipeline(seed).save_pretrained(folder)
    return folder
