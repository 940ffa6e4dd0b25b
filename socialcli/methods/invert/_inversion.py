"""What all methods of `invert` share: concepts, texts, latents, the denoising loss, files.

A method says what a word is (`InversionMethod.word`). The diffusion model stays as it is; only the
words train.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.backends import ModelSpec, variants
from socialcli.errors import UsageError
from socialcli.methods.invert import _concepts, _initial, _templates
from socialcli.methods.invert._options import InversionOptions
from socialcli.training.method import TrainMethod

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image
    from torch import Tensor

    from socialcli.diffusion.lexicon import Lexicon
    from socialcli.diffusion.words import Word
    from socialcli.methods.invert._concepts import Concept
    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.shards.index import Index
    from socialcli.training.geometry import Frame
    from socialcli.training.place import Place


@dataclass
class State:
    """The frozen model, and the words it is to learn.

    Attributes:
        alphas_cumprod, prediction_type: of `schedule.schedule`. side: of pictures, pixels.
        of: number of a sample -> its concepts' numbers.
        words: an nn.ModuleList, one word a concept, in their order, and behind them what
            `InversionMethod.others` gave: what trains.
        lexicon: the words, as the model's texts use them.
        others: token -> initial word, of `InversionMethod.others`.
    """

    config: Any
    place: Place
    diffusion: Any
    alphas_cumprod: Tensor
    prediction_type: str
    side: int
    concepts: list[Concept]
    of: dict[int, list[int]]
    templates: list[str]
    words: Any
    lexicon: Lexicon
    others: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)  # what a method keeps besides


class InversionMethod(TrainMethod, base=True):
    """Base of the methods in ``socialcli/methods/invert``; see `TrainMethod`.

    `FEATURES` names the options of every method that latents and texts depend on; a method with
    others of the kind adds them.
    """

    READS: tuple[str, ...] = ()
    FEATURES: ClassVar[tuple[str, ...] | None] = (
        "backend", "model", "revision", "variant", "size", "crop", "flip", "templates", "concept",
        "by", "initial_word",
    )  # fmt: skip
    config_type = InversionOptions

    # --- what a method has ---

    def word(self, config: Any, token: str, rows: Tensor, layers: int) -> Word:
        """A concept's word before it has learnt anything; a method has this or `words`.

        Args:
            rows: (N, D) float32 embeddings of its initial word's tokens.
            layers: cross-attention layers of the UNet.

        Raises:
            UsageError: an initial word that the method cannot start from.
        """
        raise NotImplementedError

    def words(
        self, config: Any, diffusion: Any, concepts: list[Concept], place: Place, layers: int
    ) -> list[Word]:
        """The words of all concepts, in their order."""
        return [
            self.word(config, concept.token, _initial.rows(diffusion, concept.initial), layers)
            for concept in concepts
        ]

    # --- what it may have ---

    def check_concepts(self, config: Any, concepts: list[Concept]) -> None:
        """Refuse concepts that it cannot learn, before a model is loaded (UsageError)."""

    def others(
        self, config: Any, concepts: list[Concept], index: Index, diffusion: Any
    ) -> dict[Word, str]:
        """Words that train besides the concepts' own, each with the word that it starts as."""
        return {}

    def whole(self, state: Any, template: str) -> str:
        """A template with whatever a text of it has besides."""
        return template

    def fits(self, state: Any, template: str) -> bool:
        """Whether the text encoder reads all of a template, with whatever stands in it."""
        template = self.whole(state, template)
        return not any(_cut_off(state, template, concept) for concept in state.concepts)

    def templates(self, config: Any) -> list[str]:
        """The texts of samples that have none of their own."""
        return _templates.read(config.templates)

    def notes(self, state: Any, draw: Draw) -> list[Hashable] | None:
        """What training says of each row, see `diffusion.words.Word.address`."""
        return None

    def timesteps(self, state: Any, draw: Draw) -> Tensor | None:
        """(B,) timesteps of the rows; None: uniformly drawn."""
        return None

    def texts(self, state: Any, batch: Any, draw: Draw) -> list[str]:
        """A text for each row: its own template, or one of the list, with its concept's word."""
        texts = []
        for at, (numbers, own) in enumerate(zip(batch["concepts"], batch["texts"], strict=True)):
            rng = draw.random(at, "text")
            chosen = rng.randrange(len(numbers))
            template = own[chosen] or rng.choice(state.templates)
            texts.append(filled(template, state.concepts[numbers[chosen]].token))
        return texts

    # --- the rest ---

    def check_options(self, config: Any) -> None:
        for prompt in config.prompt:
            if "{}" not in prompt:
                raise UsageError(f"--prompt '{prompt}': write {{}} where the pseudo-word goes")
        _templates.read(config.templates)

    def models(self, config: Any) -> list[ModelSpec]:
        own = variants.options(config.variant)
        return [ModelSpec("diffusion", config.backend, config.model, config.revision, options=own)]

    def select(self, config: Any, index: Index) -> Index:
        """The samples that belong to a concept.

        Raises:
            UsageError: a concept without samples or initial word, or two of one name.
        """
        concepts = _concepts.find(config, index)
        self.check_concepts(config, concepts)
        return index.select(sorted({n for concept in concepts for n in concept.samples}))

    def load(self, config: Any, place: Place) -> State:
        """The model, and a word for each concept.

        Raises:
            UsageError: a token that is a word of the model already, or a template that the text
                encoder does not read to its end.
        """
        from torch import nn

        from socialcli.diffusion import latents as common
        from socialcli.diffusion import layered, schedule
        from socialcli.diffusion.lexicon import Lexicon

        (spec, *_) = self.models(config)
        diffusion = frozen(config, place, spec)
        alphas_cumprod, prediction_type = schedule.schedule(diffusion.scheduler)
        concepts = _concepts.find(config, place.index)
        of: dict[int, list[int]] = {}
        for number, concept in enumerate(concepts):
            for sample in concept.samples:
                of.setdefault(sample, []).append(number)
        count = len(layered.layers(diffusion.unet))
        words = self.words(config, diffusion, concepts, place, count)
        others = self.others(config, concepts, place.index, diffusion)
        words += others
        state = State(
            config, place, diffusion, alphas_cumprod, prediction_type,
            common.size(diffusion, config.size), concepts, of, self.templates(config),
            nn.ModuleList(words), Lexicon(diffusion, words),
            {word.token: initial for word, initial in others.items()},
        )  # fmt: skip
        for template in state.templates:
            _refuse_cut(state, template, self.whole(state, template))
        return state

    def trainable(self, state: Any) -> Any:
        return state.words

    def prepare(self, state: Any, sample: Sample, variant: Variant) -> dict[str, Any]:
        """``pixels`` (3, S, S) in [-1, 1], ``concepts`` (numbers), ``texts``: each one's template
        out of the caption ("" where that is not asked for, or does not mention it)."""
        from socialcli.diffusion import latents as common
        from socialcli.vision import images

        image = images.decode(sample.picture())
        frame = square(state, image.size, variant)
        numbers = state.of[sample.number]
        own = state.config.templates == "captions"
        texts = [
            _templates.of_sample(sample, state.concepts[n].initial) if own else "" for n in numbers
        ]
        return {"pixels": common.pixels(frame.picture(image)), "concepts": numbers, "texts": texts}

    def features(self, state: Any, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """``mean`` and ``deviation`` (C, h, w) of the latents; concepts and texts as they were."""
        import torch

        from socialcli.diffusion import latents as common

        pictures = torch.stack([e["pixels"] for e in examples])
        means, deviations = common.moments(state.diffusion, pictures)
        return [
            {"mean": m, "deviation": d, "concepts": e["concepts"], "texts": e["texts"]}
            for m, d, e in zip(means, deviations, examples, strict=True)
        ]

    def unread(self, state: Any, example: dict[str, Any]) -> str:
        pairs = zip(example["concepts"], example["texts"], strict=True)
        ends = [_cut_off(state, own, state.concepts[number]) for number, own in pairs if own]
        return next(filter(None, ends), "")

    def losses(self, state: Any, batch: Any, draw: Draw) -> dict[str, Tensor]:
        """``denoise`` (B,): each sample under a text that has its concept's word."""
        from socialcli.diffusion import latents as common

        texts = self.texts(state, batch, draw)
        conditioning = state.lexicon.conditioning(texts, self.notes(state, draw))
        value = common.denoising(
            state.diffusion, state.alphas_cumprod, state.prediction_type, batch["mean"],
            batch["deviation"], conditioning, draw, self.timesteps(state, draw),
        )  # fmt: skip
        return {"denoise": value}

    def weights(self, config: Any) -> dict[str, float]:
        return {"denoise": 1.0}

    def validate(self, state: Any) -> list[tuple[str, Image]]:
        """Each concept's word in the prompts (or the first templates)."""
        from socialcli.diffusion import latents as common

        config = state.config
        texts = [
            filled(prompt, concept.token)
            for concept in state.concepts
            for prompt in config.prompt or state.templates[:2]
        ]
        return common.look(
            state.diffusion, texts, texts, state.side, config.sampling_steps, config.guidance,
            state.lexicon,
        )  # fmt: skip

    def save(self, state: Any, folder: Path, metadata: dict[str, str]) -> None:
        """``learned_embeds.safetensors`` of constant words, ``words.safetensors`` of all others
        (`diffusion.word_files`) and of words for two text encoders, and what other programs read
        (`_files`)."""
        from socialcli.diffusion import word_files
        from socialcli.methods.invert import _files

        initial = {concept.token: concept.initial for concept in state.concepts} | state.others
        words = [word.kept() for word in state.words]
        widths = [encoder.width for encoder in state.diffusion.encoders]
        word_files.write(folder, words, initial, metadata, len(widths))
        _files.write_for_others(folder, words, initial, metadata, widths)


def frozen(config: Any, place: Place, spec: ModelSpec) -> Any:
    """The diffusion model, as words train in it."""
    import dataclasses

    from socialcli import backends
    from socialcli.diffusion import lean_training

    spec = dataclasses.replace(spec, device=str(place.device), dtype=config.dtype)
    diffusion = backends.load(spec)
    if config.gradient_checkpointing:
        diffusion.unet.enable_gradient_checkpointing()
    lean_training.attach(diffusion.unet)
    return diffusion


def _cut_off(state: Any, template: str, concept: Concept) -> str:
    """The end of a template with a concept's word in it that the text encoder does not read."""
    text = state.lexicon.expand(filled(template, concept.token))
    return str(state.diffusion.unread(text))


def _refuse_cut(state: Any, template: str, whole: str) -> None:
    """Refuse a template whose end no word would be learnt in.

    Of the templates that are named, only where it is the vectors of the words that are too many: a
    text encoder that reads but a few tokens learns in what it reads of them.
    """
    named, window = state.config.templates in _templates.NAMED, state.diffusion.window
    for concept in state.concepts:
        text = filled(whole, concept.token)
        more = sum(state.lexicon.words[word].slots - 1 for word in state.lexicon.used(text))
        tokens = state.diffusion.tokenizer(
            state.lexicon.expand(text), add_special_tokens=False, verbose=False
        ).input_ids
        if len(tokens) > window and not (named and len(tokens) - more > window):
            mend = "give its words fewer vectors" if more else "make it shorter"
            raise UsageError(
                f"--templates: '{template[:40]}' with {concept.token} is {len(tokens)} tokens, "
                f"longer than the {window} tokens that the text encoder reads; {mend}"
            )


def square(state: Any, size: tuple[int, int], variant: Variant) -> Frame:
    """Where a version of a picture of ``size`` (width, height) is cut: the same whenever asked."""
    from socialcli.training import geometry

    config = state.config
    flip = float(config.flip and variant.number % 2 == 1)
    return geometry.choose(*size, state.side, variant.random, config.crop, flip)


def filled(template: str, word: str) -> str:
    """A template with a word in the place of its ``{}``."""
    from socialcli.diffusion import latents as common

    return common.fill(template, word)
