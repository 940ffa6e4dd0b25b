"""One prompt for the UNet's inner layers, another for its outer ones (as in P+).

Voynov et al., P+: Extended Textual Conditioning in Text-to-Image Generation (arXiv 2303.09522): the
layers of low resolution decide about shape, those of high resolution about colour and texture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from socialcli.config import option
from socialcli.diffusion.conditioning import Conditioning, rows
from socialcli.generation import drawing
from socialcli.generation.method import GenerateMethod
from socialcli.generation.options import GenerateOptions


@dataclass
class Config(GenerateOptions):
    """The options of every method, and one of its own."""

    outer_prompt: str = option("", "The prompt of the outer layers; default: the prompt itself.")


class LayeredMethod(GenerateMethod):
    config_type = Config

    def models(self, config: Config) -> list[Any]:
        return [drawing.spec(config)]

    def load(self, config: Config) -> Any:
        """The studio; in its UNet each cross-attention reads its own half of the text."""
        from diffusers.models.attention_processor import AttnProcessor2_0

        class Half(AttnProcessor2_0):
            """Attention to one of two texts that stand behind each other: (B, 2 L, D)."""

            def __init__(self, part: int) -> None:
                super().__init__()
                self.part = part

            def __call__(self, attn, hidden_states, encoder_hidden_states=None, *args, **more):  # type: ignore[no-untyped-def]
                if encoder_hidden_states is not None:
                    encoder_hidden_states = encoder_hidden_states.chunk(2, 1)[self.part]
                return super().__call__(attn, hidden_states, encoder_hidden_states, *args, **more)

        studio = drawing.studio(config)
        unet = studio.diffusion.unet
        cross = [name for name in unet.attn_processors if ".attn2." in name]
        inner = [name for name in cross if name.startswith("mid_block")] or cross[-1:]
        inner += [name for name in cross if ".0." in name and name.startswith("up_blocks")]
        processors = dict(unet.attn_processors)
        for name in cross:
            processors[name] = Half(0 if name in inner else 1)
        unet.set_attn_processor(processors)
        return studio

    def embed(self, config: Config, studio: Any, request: Any) -> Any:
        import torch

        outer = studio.text(config.outer_prompt or request.prompt)
        negative = studio.text(request.negative)
        prompt = studio.text(request.prompt)
        return torch.cat([negative, negative]), torch.cat([prompt, outer])

    def condition(self, config: Config, studio: Any, embedded: list[Any]) -> Conditioning:
        uncond, cond = zip(*embedded, strict=True)
        return Conditioning({"encoder_hidden_states": rows(config.guidance, uncond, cond)})
