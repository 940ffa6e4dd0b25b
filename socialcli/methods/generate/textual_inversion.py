"""Learned words in the prompt, at least one: --method text with --words by another name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.diffusion import conditioning
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import drawing, words
from socialcli.generation.method import GenerateMethod
from socialcli.generation.options import GenerateOptions

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.diffusion.conditioning import Conditioning
    from socialcli.generation.drawing import Studio


@dataclass
class Config(GenerateOptions):
    """Options of `socialcli generate --method textual-inversion`."""

    embedding: list[str] = option(
        [], "Learnt embeddings as FILE or FILE:TOKEN (its name in prompts); the same as --words. "
        "Repeatable.",
    )  # fmt: skip


class TextualInversionMethod(GenerateMethod):
    """See `GenerateMethod`."""

    VERSION = 1
    REFERENCES = False
    TWO_ENCODERS = True
    config_type = Config

    def models(self, config: Config) -> list[ModelSpec]:
        return [drawing.spec(config)]

    def facts(self, config: Config) -> dict[str, Any]:
        """What the embeddings hold, not where they lie, and what prompts call them."""
        return {"option embedding": words.facts(config.embedding)}

    def check_options(self, config: Config) -> None:
        """Refuse a run without embeddings."""
        if not config.embedding and not config.words:
            raise UsageError(
                "--method textual-inversion needs --embedding FILE (see socialcli invert)"
            )

    def load(self, config: Config) -> Studio:
        """The diffusion model whose text encoder knows the words.

        Raises:
            ModelMissing: a file that is not there. UsageError: one that cannot be read, vectors of
                another width, or one token twice.
        """
        both = dataclasses.replace(config, words=[*config.words, *config.embedding])
        studio = drawing.studio(both)
        if not config.words:  # as it was written before --words
            made_of = studio.models.pop("words")
            tokens = {"tokens": made_of.options["tokens"]}
            studio.models["embedding"] = dataclasses.replace(
                made_of, backend=self.name, role="embedding", options=tokens
            )
        return studio

    def embed(self, config: Config, studio: Studio, request: Any) -> Any:
        """(text states of the negative prompt, of the prompt), each (L, D).

        Raises:
            SampleFailed: a prompt without any of the tokens, or with an unknown one.
        """
        texts = studio.texts(request.negative, request.prompt)
        assert studio.lexicon is not None
        if not studio.lexicon.used(request.prompt):
            raise SampleFailed(
                f"the prompt has none of {', '.join(studio.lexicon.words)}: write it where its "
                "subject stands"
            )
        return texts

    def condition(self, config: Config, studio: Studio, embedded: list[Any]) -> Conditioning:
        """Cross-attention to the text states."""
        without, of = zip(*embedded, strict=True)
        return conditioning.of_text(config.guidance, without, of)
