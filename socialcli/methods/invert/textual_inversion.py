"""Textual inversion: a new word for the subject of a few pictures; all else stays as it is.

Gal et al., An Image is Worth One Word (2022). A concept is a group of samples; each gets one word
of one or more vectors, which start as an ordinary word near to it. Only these vectors train.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.backends import ModelSpec
from socialcli.config import option
from socialcli.errors import UsageError
from socialcli.methods.invert import _concepts, _templates
from socialcli.training.method import TrainMethod
from socialcli.training.options import TrainingOptions

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image
    from torch import Tensor

    from socialcli.diffusion.pseudo_words import Inserted
    from socialcli.methods.invert._concepts import Concept
    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.shards.index import Index
    from socialcli.training.place import Place


@dataclass
class Config(TrainingOptions):
    FIRST: ClassVar[tuple[str, ...]] = (*TrainingOptions.FIRST, "concept", "initial_word", "token")
    GROUPS: ClassVar[dict[str, str]] = {
        "concept": "Concepts and words",
        "backend": "Model and pictures",
        "prompt": "Validation",
    }

    steps: int = option(2000, "Optimiser steps of the whole run.", at_least=1)
    batch_size: int = option(4, "Samples per optimiser step, over all processes.", at_least=1)
    micro_batch: int = option(
        4,
        "Samples that go through the networks at once; bound by memory.",
        affects_result=False,
        at_least=1,
    )
    learning_rate: float = option(
        2e-3, "Peak learning rate. Others state 5e-4 and multiply it by the batch.", above=0
    )
    variants: int = option(
        2, "Augmented versions of each sample, used in turn; 0: a new one every epoch.", at_least=0
    )
    concept: list[str] = option(
        [], "A concept as TOKEN=GLOB of its samples' keys. Repeatable; default: by --by."
    )
    by: str = option(
        "auto", "What tells concepts apart: a field of meta.json's extra (subject, concept), "
        "folder (of the key), none; auto: the first of these that there is."
    )  # fmt: skip
    token: str = option("<{name}>", "Pseudo-word of a concept; {name} is the concept's.")
    initial_word: list[str] = option(
        [], "What it starts as: WORD, or TOKEN=WORD of one concept. Repeatable; default: the "
        "samples' class."
    )  # fmt: skip
    vectors: int = option(1, "Vectors of each pseudo-word.", at_least=1)
    templates: str = option(
        "object", "Texts it is learnt in: object, style, captions (the samples' own, with what "
        "they call by the initial word replaced), or a file with a {} in each line."
    )  # fmt: skip
    backend: str = option("stable-diffusion", "Diffusion backend.", role="diffusion")
    model: str = option("", "Diffusion checkpoint: folder, hub id or .safetensors file.")
    revision: str | None = option(None, "Branch, tag or commit of a hub checkpoint.")
    size: int = option(
        0, "Side of the square that is trained on, pixels; 0: the model's own.", at_least=0
    )
    crop: str = option(
        "centre",
        "Which square, once the shortest side fits: random, centre.",
        choices=("random", "centre"),
    )
    flip: bool = option(True, "Mirror every second version of a sample.")
    prompt: list[str] = option(
        [], "Drawn by --validate-every, with {} for each pseudo-word. Repeatable; default: the "
        "first templates.", affects_result=False,
    )  # fmt: skip
    sampling_steps: int = option(
        25, "Denoising steps of these pictures.", affects_result=False, at_least=1
    )
    guidance: float = option(5.0, "Their guidance.", affects_result=False, at_least=1)


@dataclass
class State:
    """The frozen model, and the words it is to learn."""

    config: Config
    place: Place
    diffusion: Any
    alphas: Tensor
    kind: str
    side: int  # pixels
    concepts: list[Concept]
    of: dict[str, list[int]]  # key -> its concepts' numbers
    templates: list[str]
    words: Any = None  # the `Words` that train
    written: dict[str, str] = field(default_factory=dict)  # token -> all its words


class TextualInversionMethod(TrainMethod):
    """See `TrainMethod`."""

    VERSION = 1
    READS = ()
    FEATURES = (
        "backend", "model", "revision", "size", "crop", "flip", "templates", "concept", "by",
        "initial_word",
    )  # fmt: skip
    config_type = Config

    def check_options(self, config: Config) -> None:
        for prompt in config.prompt:
            if "{}" not in prompt:
                raise UsageError(f"--prompt '{prompt}': write {{}} where the pseudo-word goes")
        _templates.read(config.templates)

    def models(self, config: Config) -> list[ModelSpec]:
        return [ModelSpec("diffusion", config.backend, config.model, config.revision)]

    def select(self, config: Config, index: Index) -> Index:
        """The samples that belong to a concept.

        Raises:
            UsageError: a concept without samples or initial word, or two of one name.
        """
        concepts = _concepts.find(config, index)
        return index.select(sorted({n for concept in concepts for n in concept.samples}))

    def load(self, config: Config, place: Place) -> State:
        """The model with its text encoder's table of words extended.

        Raises:
            UsageError: a token that is a word of the model already.
        """
        import dataclasses

        from socialcli import backends
        from socialcli.diffusion import latents as common
        from socialcli.diffusion import schedule

        (spec,) = self.models(config)
        spec = dataclasses.replace(spec, device=str(place.device), dtype=config.dtype)
        diffusion = backends.load(spec)
        alphas, kind = schedule.schedule(diffusion.scheduler)
        concepts = _concepts.find(config, place.index)
        of: dict[str, list[int]] = {}
        for number, concept in enumerate(concepts):
            for sample in concept.samples:
                of.setdefault(place.index.entries[sample].key, []).append(number)
        state = State(
            config, place, diffusion, alphas, kind, common.size(diffusion, config.size), concepts,
            of, _templates.read(config.templates),
        )  # fmt: skip
        inserted = _insert(state)
        state.words = inserted.words
        state.written = {token: " ".join(names) for token, names in inserted.names.items()}
        if config.gradient_checkpointing:
            diffusion.unet.enable_gradient_checkpointing()
        return state

    def trainable(self, state: State) -> Any:
        return state.words

    def prepare(self, state: State, sample: Sample, variant: Variant) -> dict[str, Any]:
        """``pixels`` (3, S, S) in [-1, 1], ``concepts`` (numbers), ``texts``: each one's template
        out of the caption ("" where that is not asked for, or does not mention it)."""
        from socialcli.diffusion import latents as common
        from socialcli.training import geometry
        from socialcli.vision import images

        image = images.decode(sample.picture())
        config = state.config
        flip = float(config.flip and variant.number % 2 == 1)
        frame = geometry.choose(
            image.width, image.height, state.side, variant.random, config.crop, flip
        )
        numbers = state.of[sample.key]
        own = config.templates == "captions"
        texts = [
            _templates.of_sample(sample, state.concepts[n].initial) if own else "" for n in numbers
        ]
        return {"pixels": common.pixels(frame.picture(image)), "concepts": numbers, "texts": texts}

    def features(self, state: State, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """``mean`` and ``deviation`` (C, h, w) of the latents; concepts and texts as they were."""
        import torch

        from socialcli.diffusion import latents as common

        pictures = torch.stack([e["pixels"] for e in examples])
        means, deviations = common.moments(state.diffusion, pictures)
        return [
            {"mean": m, "deviation": d, "concepts": e["concepts"], "texts": e["texts"]}
            for m, d, e in zip(means, deviations, examples, strict=True)
        ]

    def losses(self, state: State, batch: dict[str, Any], draw: Draw) -> dict[str, Tensor]:
        """``denoise`` (B,): each sample under a text that has its concept's word."""
        from socialcli.diffusion import latents as common
        from socialcli.diffusion.conditioning import Conditioning

        texts = []
        for at, (numbers, own) in enumerate(zip(batch["concepts"], batch["texts"], strict=True)):
            rng = draw.random(at, "text")
            chosen = rng.randrange(len(numbers))
            template = own[chosen] or rng.choice(state.templates)
            texts.append(_text(state, state.concepts[numbers[chosen]], template))
        with state.place.clock("text"):
            states = state.diffusion.prompts(texts)
        value = common.denoising(
            state.diffusion,
            state.alphas,
            state.kind,
            batch["mean"],
            batch["deviation"],
            Conditioning({"encoder_hidden_states": states}),
            draw,
        )
        return {"denoise": value}

    def weights(self, config: Config) -> dict[str, float]:
        return {"denoise": 1.0}

    def validate(self, state: State) -> list[tuple[str, Image]]:
        """Each concept's word in the prompts (or the first templates)."""
        from socialcli.diffusion import latents as common

        config = state.config
        texts, shown = [], []
        for concept in state.concepts:
            for prompt in config.prompt or state.templates[:2]:
                texts.append(common.fill(prompt, state.written[concept.token]))
                shown.append(common.fill(prompt, concept.token))
        return common.look(
            state.diffusion, texts, shown, state.side, config.sampling_steps, config.guidance
        )

    def save(self, state: State, folder: Path, metadata: dict[str, str]) -> None:
        """``learned_embeds.safetensors``: token -> (vectors, D), as diffusers loads one token's.

        ``a1111/NAME.safetensors`` is each in the layout of AUTOMATIC1111's web UI; with several
        concepts ``tokens/NAME.safetensors`` is each in that of diffusers, which takes one at a
        time. The header's ``initial_words`` says what each started as.
        """
        import json

        from socialcli.networks import weights

        vectors = state.words.new.detach().float().cpu()
        each = vectors.split(state.config.vectors)
        vectors_of = {c.token: v.clone() for c, v in zip(state.concepts, each, strict=True)}
        words = json.dumps({c.token: c.initial for c in state.concepts}, ensure_ascii=False)
        header = {**metadata, "initial_words": words}
        weights.write(folder / "learned_embeds.safetensors", vectors_of, header)
        for concept in state.concepts:
            name = _concepts.file_name(concept.token)
            other = folder / "a1111" / f"{name}.safetensors"
            other.parent.mkdir(exist_ok=True)
            weights.write(other, {"emb_params": vectors_of[concept.token]}, header)
            if len(state.concepts) > 1:
                alone = folder / "tokens" / f"{name}.safetensors"
                alone.parent.mkdir(exist_ok=True)
                weights.write(alone, {concept.token: vectors_of[concept.token]}, header)


def _insert(state: State) -> Inserted:
    """The concepts' words, which start as their initial words."""
    import torch

    from socialcli.diffusion.pseudo_words import insert

    tokenizer, encoder = state.diffusion.tokenizer, state.diffusion.text_encoder
    table = encoder.get_input_embeddings().weight.detach()
    starts: dict[str, Tensor] = {}
    for concept in state.concepts:
        ids = tokenizer(concept.initial, add_special_tokens=False)["input_ids"]
        rows = table[torch.tensor(ids, device=table.device)].float()
        starts[concept.token] = spread(rows, state.config.vectors)
    return insert(tokenizer, encoder, starts)


def spread(rows: Tensor, count: int) -> Tensor:
    """(count, D) vectors to start from, of the (N, D) vectors of an initial word.

    More tokens than vectors: means of neighbours. Fewer: they come again in turn.
    """
    import torch

    if len(rows) >= count:
        return torch.stack([part.mean(0) for part in rows.tensor_split(count)])
    return rows[torch.arange(count) % len(rows)].clone()


def _text(state: State, concept: Concept, template: str) -> str:
    from socialcli.diffusion import latents as common

    return common.fill(template, state.written[concept.token])
