"""ReVersion: a word for the relation that pictures have in common, kept near the prepositions.

ReVersion: Diffusion-Based Relation Inversion from Images (Huang et al., arXiv 2303.13495). Each
picture is learnt under its own description, whose relation is the pseudo-word. Two things differ
from textual inversion: relation steering, a contrastive loss that draws the word to prepositions
and away from the description's other words (section 4.2), and timesteps of which late, noisy ones
are drawn more often (section 4.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.errors import SampleFailed, UsageError
from socialcli.methods.invert._initial import spread
from socialcli.methods.invert._inversion import InversionMethod
from socialcli.methods.invert._options import InversionOptions

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.diffusion.words import Word
    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.training.place import Place


@dataclass
class Config(InversionOptions):
    """Options of `socialcli invert --method reversion`."""

    steps: int = option(3000, "Optimiser steps of the whole run.", at_least=1)
    batch_size: int = option(8, "Samples per optimiser step, over all processes.", at_least=1)
    initial_word: list[str] = option(
        ["and"], "What stands for the relation in the captions, and what it starts as: WORD, or "
        "TOKEN=WORD. Repeatable."
    )  # fmt: skip
    flip: bool = option(False, "Mirror every second version of a sample; relations have sides.")
    templates: str = option(
        "captions", "Texts it is learnt in: captions (the samples' own, with what they call by the "
        "initial word replaced), object, style, or a file with a {} in each line.", file=True
    )  # fmt: skip
    steering: float = option(0.01, "Weight of relation steering; 0: none.", at_least=0)
    temperature: float = option(0.07, "Of relation steering.", above=0)
    positives: int = option(4, "Prepositions drawn for each sample and step.", at_least=1)
    prepositions: str = option(
        "", "A file of prepositions, one a line; default: the package's list.", file=True
    )
    importance: float = option(
        0.5, "Noisy timesteps are drawn more often: the density is 1 - A cos(pi t / T); 0: all "
        "alike.", at_least=0, at_most=1,
    )  # fmt: skip


class ReversionMethod(InversionMethod):
    """See `InversionMethod`."""

    VERSION = 1
    config_type = Config

    def check_options(self, config: Config) -> None:
        from socialcli.diffusion import language_prior

        super().check_options(config)
        words = language_prior.listed("prepositions", config.prepositions)
        if len(words) < config.positives:
            raise UsageError(
                f"--positives {config.positives}: there are only {len(words)} prepositions"
            )

    def templates(self, config: Config) -> list[str]:
        """None where the captions are the texts: one that says no relation is a failed sample."""
        return [] if config.templates == "captions" else super().templates(config)

    def prepare(self, state: Any, sample: Sample, variant: Variant) -> dict[str, Any]:
        example = super().prepare(state, sample, variant)
        for number, text in zip(example["concepts"], example["texts"], strict=True):
            if state.config.templates == "captions" and not text:
                raise SampleFailed(
                    "its caption does not say the relation: write "
                    f"'{state.concepts[number].initial}' or {{}} where it stands, or give "
                    "--initial-word or --templates"
                )
        return example

    def word(self, config: Config, token: str, rows: Tensor, layers: int) -> Word:
        from socialcli.diffusion.words.textual_inversion import TextualInversionWord

        return TextualInversionWord(token, spread(rows, 1))

    def load(self, config: Config, place: Place) -> Any:
        from socialcli.diffusion import language_prior

        state = super().load(config, place)
        table = state.diffusion.text_encoder.get_input_embeddings().weight
        listed = language_prior.listed("prepositions", config.prepositions)
        words, rows = language_prior.embeddings(state.diffusion.tokenizer, table, listed)
        if len(words) < config.positives:
            raise UsageError(
                f"--positives {config.positives}: this model's tokenizer has only {len(words)} "
                "prepositions of one token"
            )
        state.more["prepositions"] = rows
        return state

    def timesteps(self, state: Any, draw: Draw) -> Tensor | None:
        from socialcli.diffusion import timesteps

        if not state.config.importance:
            return None
        return timesteps.importance(
            draw.uniform("timestep"), len(state.alphas_cumprod), state.config.importance
        )

    def losses(self, state: Any, batch: Any, draw: Draw) -> dict[str, Tensor]:
        """``denoise`` and ``steering``, (B,) each."""
        losses = super().losses(state, batch, draw)
        if state.config.steering:
            losses["steering"] = self._steering(state, self.texts(state, batch, draw), draw)
        return losses

    def weights(self, config: Config) -> dict[str, float]:
        steering = {"steering": config.steering} if config.steering else {}
        return {"denoise": 1.0, **steering}

    def _steering(self, state: Any, texts: list[str], draw: Draw) -> Tensor:
        """(B,) of each sample: its word, prepositions drawn for it, its text's other words."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        from socialcli.losses import steering

        rows, count = state.more["prepositions"], state.config.positives
        words, positives, others = [], [], []
        for at, text in enumerate(texts):
            token = state.lexicon.used(text)[0]
            words.append(state.lexicon.words[token].new[0])
            positives.append(rows[draw.random(at, "prepositions").sample(range(len(rows)), count)])
            others.append(negatives(state.diffusion, state.lexicon, text).to(rows))
        padded = pad_sequence(others, batch_first=True)
        lengths = torch.tensor([len(some) for some in others], device=padded.device)
        there = torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]
        return steering.loss(
            torch.stack(words), torch.stack(positives), padded, there, state.config.temperature
        )


def negatives(diffusion: Any, lexicon: Any, text: str) -> Tensor:
    """(M, D) embeddings of a text's tokens that are neither stop words nor learned words."""
    import torch

    from socialcli.diffusion import language_prior

    tokenizer = diffusion.tokenizer
    table = diffusion.text_encoder.get_input_embeddings().weight.detach()
    lists = ("stop_words", "prepositions", "conjunctions")
    stop = {word for part in lists for word in language_prior.listed(part)}
    ordinary = lexicon.without(text)
    ids = tokenizer(ordinary, add_special_tokens=False, truncation=True).input_ids
    words = [(n, tokenizer.decode([n]).strip().lower()) for n in ids]
    kept = [n for n, word in words if word not in stop and any(c.isalnum() for c in word)]
    return table[torch.tensor(kept, dtype=torch.long, device=table.device)].float()
