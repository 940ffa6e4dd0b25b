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

    def write(
        self, images: list[Image], instruction: str, how: Generation, seeds: list[int]
    ) -> torch.Tensor:
        """(B, T) ids of what it writes of each picture under an instruction."""
        from socialcli.backends.caption import _writing

        words = self.tokenizer(instruction, add_special_tokens=False)["input_ids"]
        row = [self.network.config.image_token_id] * self.image_tokens
        row += [self.tokenizer.bos_token_id, *words, self.tokenizer.eos_token_id]
        output, _ = _writing.written(self.network, self.images, images, row, how, seeds)
        return output

    def caption(self, images: list[Image], how: Generation, seeds: list[int]) -> list[str]:
        prompt = how.prompt or "<CAPTION>"
        if prompt.startswith("<") and prompt.endswith(">") and prompt not in TASKS:
            raise UsageError(
                f"--prompt '{prompt}' writes no caption. There are: {', '.join(TASKS)}"
            )
        output = self.write(images, TASKS.get(prompt, prompt), how, seeds)
        return self.tokenizer.batch_decode(output, skip_special_tokens=True)
