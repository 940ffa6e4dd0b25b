"""Florence-2 in transformers' native form (no code from the checkpoint is run)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.backends import BackendInfo, ModelSpec
from socialcli.errors import UsageError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from socialcli.backends.roles import Generation

INFO = BackendInfo(
    summary="Florence-2: short to paragraph-long captions, chosen by a task prompt",
    licence="MIT",
    model="florence-community/Florence-2-base",
    get="hf download florence-community/Florence-2-base",
    size="0.5 GB",
    packages=("torch", "transformers"),
)

# The task names that write text about the whole picture, and the words the model was trained to
# read for each (arXiv 2311.06242, appendix; the published processor's table).
TASKS = {
    "<CAPTION>": "What does the image describe?",
    "<DETAILED_CAPTION>": "Describe in detail what is shown in the image.",
    "<MORE_DETAILED_CAPTION>": "Describe with a paragraph what is shown in the image.",
}


def load(spec: ModelSpec) -> Florence2:
    return Florence2(spec)


class Florence2:
    """A `roles.Captioner`. The prompt is a task name, or any text; empty means ``<CAPTION>``."""

    max_tokens = 256

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends import checkpoints

        what = (spec, INFO.model, INFO.get)
        self.images = checkpoints.pretrained("CLIPImageProcessorPil", *what)
        self.tokenizer = checkpoints.pretrained("AutoTokenizer", *what)
        self.network = checkpoints.pretrained("Florence2ForConditionalGeneration", *what)
        self.model = checkpoints.describe(spec, INFO.model, {})
        length = getattr(self.images, "image_seq_length", None)
        if length is None:
            raise UsageError(
                f"{self.model.model}: its preprocessor_config.json has no image_seq_length; "
                f"take a checkpoint in transformers' own form: {INFO.get}"
            )
        self.image_tokens = int(length)

    def see(self, images: list[Image]) -> torch.Tensor:
        """(B, N, D) tokens of pictures; they do not depend on what is asked of them."""
        import torch

        from socialcli.backends.caption import _writing

        with torch.inference_mode():
            values = _writing.pixels(self.images, images, self.network)
            tokens: torch.Tensor = self.network.get_image_features(values).pooler_output
        return tokens

    def write(
        self, seen: torch.Tensor, instruction: str, how: Generation, seeds: list[int]
    ) -> torch.Tensor:
        """(B, T) ids of what it writes of each of the pictures `see` saw, under an instruction."""
        import torch

        from socialcli.backends.caption import _writing

        network, image = self.network, self.network.config.image_token_id
        words = self.tokenizer(instruction, add_special_tokens=False)["input_ids"]
        row = [image] * self.image_tokens
        row += [self.tokenizer.bos_token_id, *words, self.tokenizer.eos_token_id]
        ids = torch.tensor([row] * len(seen), device=network.device)
        mask = torch.ones_like(ids)
        with torch.inference_mode():
            # What `generate` itself does first where it is given pixels.
            embeds = network.get_input_embeddings()(ids)
            embeds = embeds.masked_scatter((ids == image)[..., None], seen.to(embeds.dtype))
            states = network.model.language_model.encoder(inputs_embeds=embeds, attention_mask=mask)
            more = _writing.arguments(how, seeds)
            output: torch.Tensor = network.generate(
                encoder_outputs=states, attention_mask=mask, **more
            )
        return output

    def caption(self, images: list[Image], how: Generation, seeds: list[int]) -> list[str]:
        prompt = how.prompt or "<CAPTION>"
        if prompt.startswith("<") and prompt.endswith(">") and prompt not in TASKS:
            raise UsageError(
                f"--prompt '{prompt}' writes no caption. There are: {', '.join(TASKS)}"
            )
        output = self.write(self.see(images), TASKS.get(prompt, prompt), how, seeds)
        return self.tokenizer.batch_decode(output, skip_special_tokens=True)
