"""FastComposer: subjects of reference pictures, each at the word that names it in the prompt."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.diffusion import conditioning
from socialcli.errors import SampleFailed
from socialcli.generation import drawing, marked_words
from socialcli.generation.method import GenerateMethod
from socialcli.generation.options import ReferenceOptions

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from socialcli.backends import ModelSpec
    from socialcli.diffusion.conditioning import Conditioning
    from socialcli.generation.drawing import Studio
    from socialcli.generation.references import Reference


@dataclass
class Config(ReferenceOptions):
    """Options of `socialcli generate --method fastcomposer`; defaults as published."""

    backend: str = option("fastcomposer", "Diffusion backend.", role="diffusion")
    steps: int = option(50, "Denoising steps.", at_least=1)
    delay: float = option(
        0.3, "Share of the steps, from the first on, that read the words alone (delayed subject "
        "conditioning); the authors' alpha is 1 less it.", at_least=0, at_most=1,
    )  # fmt: skip
    cut_out: bool = option(
        False, "Of shards with masks.json: show only the subject of a reference, cut out of its "
        "picture, as in training.",
    )  # fmt: skip


class FastComposerMethod(GenerateMethod):
    """See `GenerateMethod`. Source: Xiao et al., FastComposer (arXiv 2305.10431)."""

    REFERENCES = True
    MASKS = "--cut-out"
    config_type = Config

    def masks(self, config: Config) -> list[str] | None:
        return [] if config.cut_out else None

    def models(self, config: Config) -> list[ModelSpec]:
        return [drawing.spec(config)]

    def load(self, config: Config) -> Studio:
        """The diffusion model with its vision tower and postfuse network."""
        return drawing.studio(config)

    def read(self, prompt: str) -> str:
        return marked_words.without_marks(prompt)[0]

    def plain(self, config: Config, studio: Studio, prompt: str) -> str | None:
        """The prompt without marks, where it has some."""
        plain, places = marked_words.without_marks(prompt)
        return plain if places else None

    def embed(self, config: Config, studio: Studio, request: Any) -> Any:
        """(negative text states, text states, the same with the subjects in them).

        Raises:
            SampleFailed: a reference that no word of the prompt names, or that has a weight.
        """
        import torch

        prompt, marks = marked_words.without_marks(request.prompt)
        whole = config.long_prompts == "chunks"
        columns = marked_words.columns(
            studio.diffusion, prompt, marks, [r.query for r in request.references], whole,
            str if studio.lexicon is None else studio.lexicon.expand,
        )  # fmt: skip
        for reference in request.references:
            if reference.scale not in (None, 1):
                raise SampleFailed("fastcomposer gives references no weight: --delay is its dial")
        studio.text(prompt, whole)  # a word that differs by layer has no state to be fused
        states: Any = studio.texts(request.negative, prompt)
        negative, text = states
        with torch.inference_mode():
            seen = torch.stack([embedding(studio, one) for one in request.references])
            fused = studio.diffusion.postfuse(
                text[None], seen[None].to(text), torch.tensor([columns], device=text.device)
            )[0]
        return negative, text, fused

    def condition(self, config: Config, studio: Studio, embedded: list[Any]) -> Conditioning:
        """Cross-attention to the words alone, and after some steps to the words with subjects."""
        without, of, fused = zip(*embedded, strict=True)
        words = conditioning.of_text(config.guidance, without, of)
        subjects = conditioning.of_text(config.guidance, without, fused)

        def predict(step: conditioning.Step) -> Tensor:
            # As in the authors' loop the step at the border still reads the words alone.
            if step.number > config.delay * step.count:
                arguments = {**step.arguments, **subjects.at(step.timestep)}
                step = dataclasses.replace(step, arguments=arguments)
            return step.predict()

        return dataclasses.replace(words, guide=predict)


def embedding(studio: Studio, reference: Reference) -> Tensor:
    """(D,): what CLIP sees of a reference; of its mask alone, where it has one."""
    picture = reference.image
    if reference.mask is not None:
        picture = cut_out(picture, reference)
    image_embedding: Tensor = studio.diffusion.embedding(picture)
    return image_embedding


def cut_out(picture: Image, reference: Reference) -> Image:
    """A subject in the box of its mask, noise around it, as FastComposer is trained.

    Raises:
        SampleFailed: the mask is empty.
    """
    import numpy
    from PIL import Image

    mask = reference.mask
    if mask is None or not mask.any():
        raise SampleFailed(f"the mask of the reference {reference.key} is empty")
    noise = numpy.random.Generator(numpy.random.PCG64(0))  # the same for every run
    pixels = numpy.array(picture)
    behind = noise.integers(0, 255, pixels.shape, dtype=numpy.uint8)
    pixels = numpy.where(mask[..., None], pixels, behind)
    rows, columns = numpy.flatnonzero(mask.any(1)), numpy.flatnonzero(mask.any(0))
    part = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Image.fromarray(numpy.ascontiguousarray(part))
