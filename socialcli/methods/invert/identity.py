"""Identity: a word for one person (or dog, car, chair) out of a single picture.

Li et al., Beyond Inserting (2024). A block turns the word's embedding into n pairs of vectors, one
for keys and one for values in each n-th of the timesteps; only the block trains. The face-wise
attention loss keeps the word's cross-attention where that of an ordinary word is, so that it does
not learn the background, and other words keep their places.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.config import option
from socialcli.errors import UsageError
from socialcli.methods.invert import _concepts, _initial, _inversion, _single
from socialcli.methods.invert._inversion import InversionMethod, State
from socialcli.methods.invert._options import InversionOptions
from socialcli.training import fields

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image
    from torch import Tensor

    from socialcli.diffusion.words import Word
    from socialcli.methods.invert._concepts import Concept
    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.shards.index import Index
    from socialcli.training.place import Place

PERSON = "person"
TOKENS = ("word", "prompt", "all")  # options 1, 2 and 3 of the paper's ablation


@dataclass
class Config(InversionOptions):
    FIRST: ClassVar[tuple[str, ...]] = (*InversionOptions.FIRST, "category", "pairs")
    GROUPS: ClassVar[dict[str, str]] = {**InversionOptions.GROUPS, "pairs": "Identity"}

    steps: int = option(1000, "Optimiser steps of the whole run.", at_least=1)
    batch_size: int = fields.batch_size(1)
    micro_batch: int = fields.micro_batch(1)
    learning_rate: float = option(5e-3, "Peak learning rate.", above=0)
    optimiser: str = option("adam", "adamw, adam or sgd.", choices=("adamw", "adam", "sgd"))
    weight_decay: float = option(0.0, "Weight decay.", at_least=0)
    variants: int = option(
        0, "Augmented versions of each sample, used in turn; 0: a new one every epoch.", at_least=0
    )
    templates: str = option(
        "face", "Texts it is learnt in: face (a photo of the face of {}), object, style, or a file "
        "with a {} in each line.", file=True
    )  # fmt: skip
    pairs: int = option(5, "Pairs of key and value vectors, each for its part of the timesteps.",
                        at_least=1, at_most=1000)  # fmt: skip
    order: str = option(
        "noisy-first", "Which pair is the first: that of the noisiest timesteps, or clean-first.",
        choices=("noisy-first", "clean-first"),
    )  # fmt: skip
    category: str = option(
        "", "The ordinary word whose attention it is held to, and that it starts as, one token of "
        "the model (woman, dog, car); default: the samples' class, else person.",
    )  # fmt: skip
    vector_norm: str = option(
        "category", "Length of the vectors: that of the category's embedding, or free: what the "
        "block makes, which grows without end.", choices=("category", "free"),
    )  # fmt: skip
    attention_weight: float = option(
        0.003, "Weight of the face-wise attention loss; 0: without it.", at_least=0
    )
    attention_tokens: str = option(
        "all", "Whose attention is held: the word's alone, that of the prompt's tokens, or of all "
        "tokens of the text (options 1, 2, 3 of the paper's ablation).", choices=TOKENS,
    )  # fmt: skip
    attention_size: int = option(
        32, "Side that all layers' maps are brought to for this loss.", at_least=1
    )
    attention_reduction: str = option(
        "sum", "Of the squares over heads, tokens and places: sum (Eq. 4), mean (Algorithm 1).",
        choices=("sum", "mean"),
    )  # fmt: skip
    jitter: float = option(
        0.1, "Brightness, contrast and saturation vary by this share.", at_least=0, at_most=1
    )
    smallest: float = option(
        0.1, "The picture is shown at a random scale from this to 1.", above=0, at_most=1
    )


class IdentityMethod(InversionMethod):
    """See `TrainMethod`."""

    VERSION = 1
    FEATURES = (*(InversionMethod.FEATURES or ()), "jitter", "smallest", "category")
    TWO_ENCODERS = True
    config_type = Config

    def check_options(self, config: Config) -> None:
        super().check_options(config)
        if config.templates == "captions":
            raise UsageError(
                "--templates captions: a caption says what else the picture shows; identity is "
                "learnt in templates (face, object, style, or a file)"
            )
        for word in _of_all(config):
            if config.category and word != config.category:
                raise UsageError(
                    f"--category {config.category} and --initial-word {word} are one thing: give "
                    "one of them, or --initial-word TOKEN=WORD for some"
                )

    def select(self, config: Config, index: Index) -> Index:
        """The one picture of each concept.

        Raises:
            UsageError: a concept of several pictures, or a picture that shows two people or no
                face, as far as its records say.
        """
        config = _complete(config, index)
        _single.check_all(config, index)
        return super().select(config, index)

    def check_concepts(self, config: Config, concepts: list[Concept]) -> None:
        for concept in concepts:
            parts = _initial.tokens(config, concept.initial)
            if len(parts) > 1:
                raise _several(concept.initial, len(parts))

    def words(
        self, config: Config, diffusion: Any, concepts: list[Concept], place: Place, layers: int
    ) -> list[Word]:
        """The words of all concepts; each text encoder has a block and pairs of its own."""
        from socialcli.diffusion.words.staged import IdentityWord

        widths = tuple(encoder.width for encoder in diffusion.encoders)
        scaled = config.vector_norm == "category"
        starts = [_initial.rows(diffusion, one.initial) for one in concepts]
        return [
            IdentityWord(
                one.token, _initial.spread(rows, 1)[0], config.pairs, config.order, scaled, widths
            )
            for one, rows in zip(concepts, starts, strict=True)
        ]

    def load(self, config: Config, place: Place) -> State:
        """The model and the words, with a recorder on its cross-attention.

        Raises:
            UsageError: a category that the model reads as several tokens.
        """
        from socialcli.diffusion.attention_maps import AttentionMaps

        state = super().load(_complete(config, place.index), place)
        for concept in state.concepts:
            tokenizer = state.diffusion.tokenizer
            ids = tokenizer(concept.initial, add_special_tokens=False)["input_ids"]
            if len(ids) != 1:
                raise _several(concept.initial, len(ids))
        if config.attention_weight:
            maps = AttentionMaps(state.diffusion.unet, gradient=True)
            heads = {layer.heads for layer in maps.layers}
            maps.mean_heads = len(heads) > 1  # heads that cannot be laid on each other
            state.more["maps"] = maps.attach()
        return state

    def prepare(self, state: State, sample: Sample, variant: Variant) -> dict[str, Any]:
        """``pixels`` (3, S, S) in [-1, 1] of the picture, jittered, mirrored and smaller on a plain
        ground; ``shown`` (S, S) 1 where it lies; ``concepts`` (numbers), ``texts`` ("" each)."""
        from socialcli.vision import images

        config = state.config
        pixels, shown = _single.augmented(
            images.decode(sample.picture()), state.side, variant.random, config.crop, config.jitter,
            0.5 if config.flip else 0.0, config.smallest,
        )  # fmt: skip
        numbers = state.of[sample.number]
        texts = [""] * len(numbers)  # captions are not asked for
        return {"pixels": pixels, "shown": shown, "concepts": numbers, "texts": texts}

    def features(self, state: State, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """``mean`` and ``deviation`` (C, h, w) of the latents, ``shown`` (h, w)."""
        import torch

        from socialcli.diffusion import latents as common
        from socialcli.losses import masked

        pictures = torch.stack([e["pixels"] for e in examples])
        means, deviations = common.moments(state.diffusion, pictures)
        size = (means.shape[-2], means.shape[-1])
        shown, _ = masked.to_latents(torch.stack([e["shown"] for e in examples]), size)
        return [
            {"mean": m, "deviation": d, "shown": s, "concepts": e["concepts"]}
            for m, d, s, e in zip(means, deviations, shown, examples, strict=True)
        ]

    def losses(self, state: State, batch: Any, draw: Draw) -> dict[str, Tensor]:
        """``denoise`` (B,), where the picture lies (Eq. 5), and ``attention`` (B,) (Eq. 4)."""
        import torch

        from socialcli.diffusion import schedule
        from socialcli.losses import masked

        config, unet = state.config, state.diffusion.unet
        concepts = batch["concepts"]
        templates = [draw.random(at, "text").choice(state.templates) for at in range(len(concepts))]
        rows = [draw.random(at, "concept").choice(numbers) for at, numbers in enumerate(concepts)]
        chosen = [state.concepts[number] for number in rows]
        tokens = [concept.token for concept in chosen]
        texts = [_inversion.filled(t, w) for t, w in zip(templates, tokens, strict=True)]
        mean, shape = batch["mean"], batch["mean"].shape[1:]
        latents = mean + batch["deviation"] * draw.normal("posterior", *shape).to(mean)
        noise = draw.normal("noise", *shape).to(mean)
        timesteps = draw.integers("timestep", len(state.alphas_cumprod)).to(mean.device)
        noisy = schedule.noisy(latents, noise, timesteps, state.alphas_cumprod)
        with state.place.clock("text"):
            arguments = {
                name: value.to(unet.dtype) if torch.is_tensor(value) else value
                for name, value in state.lexicon.conditioning(texts).at(timesteps).items()
            }
        maps = state.more.get("maps")
        if maps is not None:
            pairs = zip(templates, chosen, strict=True)
            ordinary = [_inversion.filled(t, concept.initial) for t, concept in pairs]
            maps.beside = torch.stack([_ordinary(state, text) for text in ordinary])
            maps.tokens = _columns(config.attention_tokens, state, texts, tokens)
        model_pred = unet(noisy.to(unet.dtype), timesteps, **arguments).sample
        target = schedule.target(
            latents, noise, timesteps, state.alphas_cumprod, state.prediction_type
        )
        values = {"denoise": masked.loss(model_pred.float(), target, batch["shown"])}
        if maps is not None:
            values["attention"] = _attention(config, maps)
        return values

    def weights(self, config: Config) -> dict[str, float]:
        weights = {"denoise": 1.0, "attention": config.attention_weight}
        return weights if config.attention_weight else {"denoise": 1.0}

    def validate(self, state: State) -> list[tuple[str, Image]]:
        """As every method of invert, without recording."""
        maps = state.more.get("maps")
        if maps is None:
            return super().validate(state)
        maps.close()
        try:
            return super().validate(state)
        finally:
            maps.attach()

    def save(self, state: State, folder: Path, metadata: dict[str, str]) -> None:
        """``words.safetensors``: the pairs alone; the block that made them is in checkpoints."""
        from socialcli.diffusion import word_files

        initial = {concept.token: concept.initial for concept in state.concepts}
        word_files.write(folder, [word.kept() for word in state.words], initial, metadata)


def _several(category: str, count: int) -> UsageError:
    return UsageError(
        f"--category '{category}' is {count} tokens of this model: maps are compared token by "
        "token, so give a word that is one"
    )


def _complete(config: Config, index: Index) -> Config:
    """The options with each concept's category as its initial word, where no other is given."""
    if config.initial_word or config.category:
        rest = [config.category] if config.category and not _of_all(config) else []
        return dataclasses.replace(config, initial_word=[*config.initial_word, *rest])
    concepts = _concepts.find(dataclasses.replace(config, initial_word=[PERSON]), index)
    words = [f"{one.token}={_concepts.class_of(one, index) or PERSON}" for one in concepts]
    return dataclasses.replace(config, initial_word=words)


def _of_all(config: Config) -> list[str]:
    """The initial words that are given for no concept in particular."""
    return [word for word in config.initial_word if "=" not in word]


def _ordinary(state: State, text: str) -> Tensor:
    """(L, D) states of a text without a learned word, encoded once: they never change.

    One text at a time, so that its last bits do not depend on the texts beside it, which after a
    restart are others.
    """
    import torch

    kept: dict[str, Tensor] = state.more.setdefault("ordinary", {})
    if text not in kept:
        with torch.no_grad():
            (kept[text],) = state.diffusion.prompts([text])
    return kept[text]


def _attention(config: Config, maps: Any) -> Tensor:
    """Eq. 4 on the maps of the UNet's last call, (B,)."""
    from socialcli.diffusion.attention_maps import average
    from socialcli.losses import attention_region

    side, mean = config.attention_size, maps.mean_heads
    target, reference = (average(m, side, mean) for m in (maps.maps, maps.others))
    return attention_region.loss(target, reference, config.attention_reduction)


def _columns(which: str, state: State, texts: list[str], tokens: list[str]) -> Tensor | None:
    """(B, K) numbers of the tokens whose attention is held, -1 where a row has fewer; None: all."""
    import torch

    if which == "all":
        return None
    if which == "word":
        rows = [state.lexicon.places(t)[w] for t, w in zip(texts, tokens, strict=True)]
    else:
        tokenizer = state.diffusion.tokenizer
        window = tokenizer.model_max_length - 2
        spelled = [state.lexicon.expand(text) for text in texts]
        counts = [len(tokenizer(s, add_special_tokens=False)["input_ids"]) for s in spelled]
        rows = [list(range(1, 1 + min(count, window))) for count in counts]
    longest = max(map(len, rows))
    return torch.tensor([row + [-1] * (longest - len(row)) for row in rows])
