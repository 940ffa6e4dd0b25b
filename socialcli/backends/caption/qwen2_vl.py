"""Qwen2-VL (paper 002's family): follows an instruction, so the prompt shapes the caption."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.backends import BackendInfo, ModelSpec

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.backends.roles import Generation

INFO = BackendInfo(
    summary="Qwen2-VL: an instruction-following model; pictures at their own resolution",
    licence="Apache-2.0",
    model="Qwen/Qwen2-VL-2B-Instruct",
    get="hf download Qwen/Qwen2-VL-2B-Instruct",
    size="4.4 GB",
    packages=("torch", "transformers"),
)

PROMPT = (
    "Describe the people, animals and objects in this picture and what they do, in one sentence."
)
CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n<|vision_start|>{picture}<|vision_end|>{prompt}<|im_end|>\n"
    "<|im_start|>assistant\n"
)
# About 1,280 picture tokens at most: a 12-megapixel photograph at full size would take 16,000.
MAX_PIXELS = 1280 * 28 * 28


def load(spec: ModelSpec) -> Qwen2VL:
    return Qwen2VL(spec)


class Qwen2VL:
    """A `roles.Captioner`. The prompt is an instruction; empty asks for one sentence.

    ``spec.options["max_pixels"]`` bounds a picture's size before it is cut into patches.
    """

    max_tokens = 128

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends import checkpoints

        what = (spec, INFO.model, INFO.get)
        max_pixels = int(spec.options.get("max_pixels", MAX_PIXELS))
        self.images = checkpoints.pretrained("Qwen2VLImageProcessorPil", *what)
        self.images.size["longest_edge"] = min(max_pixels, self.images.size["longest_edge"])
        self.tokenizer = checkpoints.pretrained("AutoTokenizer", *what, padding_side="left")
        self.network = checkpoints.pretrained("Qwen2VLForConditionalGeneration", *what)
        self.model = checkpoints.describe(spec, INFO.model, {"max_pixels": max_pixels})

    def caption(self, images: list[Image], how: Generation, seeds: list[int]) -> list[str]:
        import torch

        from socialcli.backends.caption import _writing

        network = self.network
        pictures = self.images(images=images, return_tensors="pt")
        grid = pictures["image_grid_thw"]
        pad = self.tokenizer.convert_ids_to_tokens(network.config.image_token_id)
        counts = (grid.prod(dim=1) // self.images.merge_size**2).tolist()
        texts = [
            CHAT.format(picture=pad * count, prompt=_harmless(how.prompt or PROMPT))
            for count in counts
        ]
        tokens = self.tokenizer(texts, padding=True, return_tensors="pt").to(network.device)
        ids = tokens["input_ids"]
        with torch.inference_mode():
            output = network.generate(
                input_ids=ids,
                attention_mask=tokens["attention_mask"],
                mm_token_type_ids=(ids == network.config.image_token_id).int(),
                pixel_values=pictures["pixel_values"].to(network.device, network.dtype),
                image_grid_thw=grid.to(network.device),
                **_writing.arguments(how, seeds),
            )
        output = _writing.without_prompt(output, ids)
        return self.tokenizer.batch_decode(output, skip_special_tokens=True)


def _harmless(prompt: str) -> str:
    """The prompt without the marks that structure the chat."""
    return prompt.replace("<|", "< |")
