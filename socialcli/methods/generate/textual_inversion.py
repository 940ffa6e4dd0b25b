"""Textual inversion: pseudo-words that `socialcli invert` (or another trainer) has learnt."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli.backends import naming
from socialcli.config import option
from socialcli.diffusion import conditioning
from socialcli.diffusion.embeddings import Learned, read, split
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import drawing
from socialcli.generation.method import GenerateMethod
from socialcli.generation.options import GenerateOptions

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.diffusion.conditioning import Conditioning
    from socialcli.generation.drawing import Studio


_PSEUDO = re.compile(r"<[^<>\s]+>")


@dataclass
class Config(GenerateOptions):
    """Options of `socialcli generate --method textual-inversion`."""

    embedding: list[str] = option(
        [], "Learnt embeddings as FILE or FILE:TOKEN (its name in prompts). Repeatable."
    )
    plain_word: list[str] = option(
        [], "What a token stands for in plain words, as TOKEN=WORD, for `socialcli score`. "
        "Repeatable.",
    )  # fmt: skip


@dataclass
class State:
    """The studio's models, and the words that were added.

    Attributes:
        words: token as prompts write it -> the tokenizer's words that stand for it, one a vector.
        plain: token -> the ordinary word for it.
    """

    studio: Studio
    words: dict[str, list[str]] = field(default_factory=dict)
    plain: dict[str, str] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.studio, name)


class TextualInversionMethod(GenerateMethod):
    """See `GenerateMethod`."""

    VERSION = 1
    REFERENCES = False
    config_type = Config

    def models(self, config: Config) -> list[ModelSpec]:
        return [drawing.spec(config)]

    def facts(self, config: Config) -> dict[str, Any]:
        """What the embeddings hold, not where they lie, and what prompts call them."""
        named = [split(one) for one in config.embedding]
        return {"option embedding": [[naming.content(file), token] for file, token in named]}

    def check_options(self, config: Config) -> None:
        """Refuse a run without embeddings, and words for tokens that are written wrongly."""
        if not config.embedding:
            raise UsageError(
                "--method textual-inversion needs --embedding FILE (see socialcli invert)"
            )
        for pair in config.plain_word:
            if not all(pair.partition("=")[::2]):
                raise UsageError(f"--plain-word {pair}: expected TOKEN=WORD")

    def load(self, config: Config) -> State:
        """The diffusion model whose text encoder knows the words.

        Raises:
            ModelMissing: a file that is not there. UsageError: one that cannot be read, vectors of
                another width, or one token twice.
        """
        from socialcli.diffusion.pseudo_words import insert
        from socialcli.records import Model

        learnt: dict[str, tuple[str, Learned]] = {}
        for one in config.embedding:
            for found in read(one):
                if found.method not in ("", self.name):
                    raise UsageError(
                        f"{one}: learnt by --method {found.method}; its vectors mean something "
                        f"else to --method {self.name}"
                    )
                if found.token in learnt:
                    raise UsageError(
                        f"{one}: the token {found.token} is in {learnt[found.token][0]} too; "
                        "rename one with --embedding FILE:TOKEN"
                    )
                learnt[found.token] = (one, found)
        studio = drawing.studio(config)
        inserted = insert(
            studio.diffusion.tokenizer, studio.diffusion.text_encoder,
            {token: found.vectors for token, (_, found) in learnt.items()},
            {token: file for token, (file, _) in learnt.items()},
        )  # fmt: skip
        plain = {token: found.plain for token, (_, found) in learnt.items() if found.plain}
        state = State(studio, inserted.names, plain)
        for pair in config.plain_word:
            token, _, word = pair.partition("=")
            if token not in state.words:
                raise UsageError(f"--plain-word {pair}: there are {', '.join(state.words)}")
            state.plain[token] = word
        names = ", ".join(naming.label(split(one)[0]) for one in config.embedding)
        options = {"tokens": {t: len(w) for t, w in state.words.items()}}
        studio.models["embedding"] = Model(
            "textual-inversion", names, role="embedding", options=options
        )
        return state

    def plain(self, config: Config, state: State, prompt: str) -> str | None:
        """The prompt with ordinary words for the tokens; None where one has no such word."""
        used = [token for token in state.words if token in prompt]
        if any(token not in state.plain for token in used):
            return None
        for token in sorted(used, key=len, reverse=True):
            prompt = prompt.replace(token, state.plain[token])
        return prompt

    def embed(self, config: Config, state: State, request: Any) -> Any:
        """(text states of the negative prompt, of the prompt), each (L, D).

        Raises:
            SampleFailed: a prompt without any of the tokens, or with an unknown one.
        """
        texts = expand(state, request.negative), expand(state, request.prompt)
        if not any(token in request.prompt for token in state.words):
            raise SampleFailed(
                f"the prompt has none of {', '.join(state.words)}: write it where its subject "
                "stands"
            )
        return state.studio.texts(*texts)

    def condition(self, config: Config, state: State, embedded: list[Any]) -> Conditioning:
        """Cross-attention to the text states."""
        without, of = zip(*embedded, strict=True)
        return conditioning.of_text(config.guidance, without, of)


def expand(state: State, text: str) -> str:
    """A text with each token written out as all its words.

    Raises:
        SampleFailed: it has a pseudo-word that nobody has learnt.
    """
    known = sorted(state.words, key=len, reverse=True)
    unknown = [word for word in _PSEUDO.findall(text) if word not in state.words]
    if unknown:
        raise SampleFailed(
            f"unknown token {unknown[0]}: the embeddings have {', '.join(state.words)}"
        )
    pattern = "|".join(re.escape(token) for token in known)
    return re.sub(pattern, lambda match: " ".join(state.words[match[0]]), text)
