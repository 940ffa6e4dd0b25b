"""A tiny Stable Diffusion with random weights, in exactly the folders the real one has.

32-pixel pictures, latents of 4 x 8 x 8, texts of 16 tokens. The block types, the CLIP tokenizer
and the file layout are those of Stable Diffusion 1.5, so that whatever loads that loads this. What
it draws is noise; tests use it to see that the production path trains, saves, and loads.
"""

from __future__ import annotations

from pathlib import Path

SIZE = 32  # pixels a side
TOKENS = 16  # of a padded text
WIDTH = 32  # of a text token


def stable_diffusion(
    folder: Path, seed: int = 0, prediction: str = "epsilon", width: int = WIDTH
) -> Path:
    """A StableDiffusionPipeline folder (under 2 MB), which ``from_pretrained`` loads.

    Args:
        seed: of the random weights. prediction: "epsilon" or "v_prediction".
        width: channels of a text token.
    """
    from diffusers import StableDiffusionPipeline

    vae, text_encoder, unet, scheduler = networks(seed, prediction, width)
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=text_encoder, tokenizer=tokenizer(), unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder


def instruct_pix2pix(folder: Path, seed: int = 0) -> Path:
    """A StableDiffusionInstructPix2PixPipeline folder: the same with a UNet of 8 channels."""
    from diffusers import StableDiffusionInstructPix2PixPipeline

    vae, text_encoder, unet, scheduler = networks(seed, channels=8)
    pipeline = StableDiffusionInstructPix2PixPipeline(
        vae=vae, text_encoder=text_encoder, tokenizer=tokenizer(), unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder


def tokenizer():
    """CLIP's tokenizer in which each word of the world is one token."""
    from socialcli.miniature.zoo.words import clip_tokenizer

    return clip_tokenizer(length=TOKENS)


def networks(
    seed: int = 0, prediction: str = "epsilon", width: int = WIDTH, channels: int = 4
):  # fmt: skip
    """(vae, text_encoder, unet, scheduler), float32, eval mode.

    The transformer blocks of the UNet, which reads ``channels``: two below, two above, one in the
    middle.
    """
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    words = tokenizer()
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words), hidden_size=width, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=TOKENS, projection_dim=width,
            bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )
    )  # fmt: skip
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16), layers_per_block=1, latent_channels=4,
        norm_num_groups=4, sample_size=SIZE,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=SIZE // 4, in_channels=channels, out_channels=4, layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        block_out_channels=(16, 32), cross_attention_dim=width, attention_head_dim=4,
        norm_num_groups=4,
    )  # fmt: skip
    scheduler = DDPMScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012,
        beta_schedule="scaled_linear", prediction_type=prediction, clip_sample=False,
        steps_offset=1,
    )  # fmt: skip
    # 0.02 draws token embeddings that a prompt hardly changes; with these it does.
    with torch.no_grad():
        text_encoder.get_input_embeddings().weight.normal_()
    return vae.eval(), text_encoder.eval(), unet.eval(), scheduler


def controlnet(folder: Path, seed: int = 1):
    """A ControlNet of `stable_diffusion`, saved; its outputs are not zero, as after training."""
    import torch
    from diffusers import ControlNetModel

    network = ControlNetModel.from_unet(
        networks()[2], conditioning_embedding_out_channels=(8, 8, 16)
    )
    torch.manual_seed(seed)
    with torch.no_grad():
        for block in (*network.controlnet_down_blocks, network.controlnet_mid_block):
            block.weight.normal_(0, 0.3)
        network.controlnet_cond_embedding.conv_out.weight.normal_(0, 0.3)
    network.eval().save_pretrained(folder)
    return network


def ip_adapter(unet, folder: Path) -> None:
    """An IP-Adapter for features of 12 numbers in the official layout: ``adapter.bin`` and
    ``adapter.safetensors``."""
    import torch
    from safetensors.torch import save_file

    width, tokens = WIDTH, 4
    parts = {
        "image_proj": {
            "proj.weight": torch.randn(tokens * width, 12),
            "proj.bias": torch.randn(tokens * width),  # so that nothing, too, says something
            "norm.weight": torch.ones(width),
            "norm.bias": torch.zeros(width),
        },
        "ip_adapter": {},
    }
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            layer = unet.get_submodule(name.removesuffix(".processor"))
            for kind in ("k", "v"):
                shape = (layer.to_k.out_features, width)
                parts["ip_adapter"][f"{number}.to_{kind}_ip.weight"] = torch.randn(shape) * 0.3
    torch.save(parts, folder / "adapter.bin")
    flat = {f"{part}.{name}": t for part, named in parts.items() for name, t in named.items()}
    save_file(flat, folder / "adapter.safetensors")
