"""Learned words that the prompts of any method of generate may use (``--words``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from socialcli.backends import naming
from socialcli.diffusion import embeddings, word_files
from socialcli.errors import SampleFailed, UsageError
from socialcli.records import Model

if TYPE_CHECKING:
    from socialcli.diffusion.lexicon import Lexicon
    from socialcli.diffusion.word_files import Learned
    from socialcli.generation.drawing import Studio

ANOTHER_BASE = "words_of_another_model"  # what such pictures are counted as


def read(given: Sequence[str]) -> list[Learned]:
    """The words of some files.

    Raises:
        ModelMissing: a file that is not there. UsageError: one that cannot be read, or one token
            twice.
    """
    files: dict[str, str] = {}
    learned: list[Learned] = []
    for one in given:
        for word in word_files.read(one):
            if word.token in files:
                raise UsageError(
                    f"{one}: the token {word.token} is in {files[word.token]} too; "
                    "rename one with FILE:TOKEN"
                )
            files[word.token] = word.file = one
            learned.append(word)
    return learned


def facts(given: Sequence[str]) -> list[list[str | None]]:
    """What the files hold, not where they lie, and what prompts call them."""
    return [[naming.content(file), token] for file, token in map(embeddings.split, given)]


def teach(config: Any, studio: Studio, learned: Sequence[Learned]) -> None:
    """Let a studio's model know some words.

    Raises:
        UsageError: a word made for another text encoder or UNet, or a --plain-word of none.
    """
    from socialcli.diffusion import mixed_words, sampling
    from socialcli.diffusion.lexicon import Lexicon

    for one in learned:
        one.word.eval().requires_grad_(False)
        if config.truncation:
            one.word.truncate(config.truncation)
    tokens = [one.token for one in learned]
    studio.plain = {one.token: one.plain for one in learned if one.plain}
    for pair in config.plain_word:
        token, _, word = pair.partition("=")
        if token not in tokens:
            raise UsageError(f"--plain-word {pair}: there are {', '.join(tokens)}")
        studio.plain[token] = word
    studio.lexicon = Lexicon(
        studio.diffusion,
        mixed_words.apply(config.stages, learned, studio.plain, studio.diffusion),
        {one.token: one.file for one in learned},
        attach=False,  # a method may give the UNet processors of its own first: `drawing.draw`
    )
    scheduler = sampling.scheduler(config.scheduler, studio.diffusion.scheduler)
    studio.timesteps = sampling.timesteps(scheduler, config.steps)
    model = studio.diffusion.model
    for one in learned:
        name, revision = one.base
        if revision and model.revision and revision != model.revision:
            studio.remarks[one.token] = (
                f"{one.token} was learnt on another model ({name}) than {model.model}; it may draw "
                "something else here"
            )
    studio.models["words"] = Model(
        "words",
        ", ".join(dict.fromkeys(naming.label(embeddings.split(one.file)[0]) for one in learned)),
        role="words",
        options={
            "tokens": {one.token: one.word.slots for one in learned},
            "methods": {one.token: one.method or one.word.kind for one in learned},
            **({"stages": list(config.stages)} if config.stages else {}),
        },
    )


def check(lexicon: Lexicon, text: str) -> None:
    """Raises SampleFailed where a text has what looks like a learned word, and is none."""
    unknown = lexicon.unknown(text)
    if unknown:
        raise SampleFailed(f"unknown token {unknown[0]}: the words are {', '.join(lexicon.words)}")


def notes(studio: Studio, texts: Sequence[str]) -> dict[str, str]:
    """What is to be said of a picture whose texts use words of another base model (`Noted`)."""
    if studio.lexicon is None or not studio.remarks:
        return {}
    used = [token for text in texts for token in studio.lexicon.used(text)]
    strangers = [token for token in used if token in studio.remarks]
    return {ANOTHER_BASE: studio.remarks[strangers[0]]} if strangers else {}


def plain(studio: Studio, prompt: str) -> str | None:
    """A prompt with ordinary words for the learned ones; None where one has no such word."""
    if studio.lexicon is None:
        return None
    used = studio.lexicon.used(prompt)
    if any(token not in studio.plain for token in used):
        return None
    for token in sorted(used, key=len, reverse=True):
        prompt = prompt.replace(token, studio.plain[token])
    return prompt
