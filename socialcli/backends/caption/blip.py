"""BLIP: small and fast; captions in the manner of COCO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.backends import BackendInfo, ModelSpec

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.backends.roles import Generation

INFO = BackendInfo(
    summary="BLIP: vision encoder and a BERT-like decoder",
    licence="BSD-3-Clause",
    model="Salesforce/blip-image-captioning-large",
    get="hf download Salesforce/blip-image-captioning-large",
    size="1.9 GB",
    packages=("torch", "transformers"),
)


def load(spec: ModelSpec) -> Blip:
    return Blip(spec)


class Blip:
    """A `roles.Captioner`. The prompt is text the caption continues ("a picture of")."""

    max_tokens = 30

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends import checkpoints

        what = (spec, INFO.model, INFO.get)
        self.images = checkpoints.pretrained("BlipImageProcessorPil", *what)
        self.tokenizer = checkpoints.pretrained("AutoTokenizer", *what)
        self.network = checkpoints.pretrained("BlipForConditionalGeneration", *what)
        self.model = checkpoints.describe(spec, INFO.model, {})

    def caption(self, images: list[Image], how: Generation, seeds: list[int]) -> list[str]:
        from socialcli.backends.caption import _writing

        text = self.network.config.text_config
        # [DEC] instead of BERT's [CLS], then the prompt. `generate` drops the last id, which it
        # takes for the [SEP] that the tokenizer puts at the end.
        prompt = self.tokenizer(how.prompt, add_special_tokens=False)["input_ids"]
        row = [text.bos_token_id, *prompt, text.sep_token_id]
        output, ids = _writing.written(self.network, self.images, images, row, how, seeds)
        output = _writing.without_prompt(output, ids[:, :-1])
        return self.tokenizer.batch_decode(output, skip_special_tokens=True)
