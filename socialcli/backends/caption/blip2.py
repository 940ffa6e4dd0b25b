"""BLIP-2 (paper 000's captioner), with an OPT or a Flan-T5 language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.backends import BackendInfo, ModelSpec

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.backends.roles import Generation

INFO = BackendInfo(
    summary="BLIP-2: frozen vision encoder, Q-Former, OPT or Flan-T5 (paper 000)",
    licence="MIT (OPT weights: non-commercial research)",
    model="Salesforce/blip2-opt-2.7b",
    get="hf download Salesforce/blip2-opt-2.7b",
    size="15 GB",
    packages=("torch", "transformers"),
)


def load(spec: ModelSpec) -> Blip2:
    return Blip2(spec)


class Blip2:
    """A `roles.Captioner`. The prompt is text the caption continues ("a photo of")."""

    max_tokens = 30

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends import checkpoints

        what = (spec, INFO.model, INFO.get)
        self.images = checkpoints.pretrained("BlipImageProcessorPil", *what)
        self.tokenizer = checkpoints.pretrained("AutoTokenizer", *what)
        self.network = checkpoints.pretrained("Blip2ForConditionalGeneration", *what)
        # The id that stands for a query token in the prompt. Checkpoints saved before
        # transformers 4.46 have none: any id past the text's own will do, and
        # Salesforce's own later files take the first one.
        if self.network.config.image_token_index is None:
            self.tokenizer.add_tokens(["<image>"], special_tokens=True)
            self.network.config.image_token_index = self.tokenizer.convert_tokens_to_ids("<image>")
        self.model = checkpoints.describe(spec, INFO.model, {})

    def caption(self, images: list[Image], how: Generation, seeds: list[int]) -> list[str]:
        from socialcli.backends.caption import _writing

        config = self.network.config
        row = [config.image_token_index] * config.num_query_tokens
        row += self.tokenizer(how.prompt)["input_ids"]
        output, ids = _writing.written(self.network, self.images, images, row, how, seeds)
        output = _writing.without_prompt(output, ids)
        return self.tokenizer.batch_decode(output, skip_special_tokens=True)
