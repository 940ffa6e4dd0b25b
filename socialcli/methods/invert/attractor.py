"""Attractor: each picture's background has its own word, so that the subject's need not hold it.

Source: Towards More Accurate Personalized Image Generation, section 4.4. A subject's word, of
textual inversion or NeTI, is learnt beside one attractor word for each of its pictures, in three
kinds of texts: with the subject's word ("a photo of a v*"), judged inside the subject's mask; with
the picture's attractor ("a photo of a dog in the A*"), judged outside of it; with both, judged as a
whole. InfoNCE between contextual embeddings keeps the two kinds of words apart.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.config import again, option
from socialcli.diffusion import tokens
from socialcli.errors import SampleFailed, UsageError
from socialcli.methods.invert import _concepts, _initial, _masks, neti, textual_inversion
from socialcli.methods.invert._inversion import InversionMethod, filled, square

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from PIL.Image import Image
    from torch import Tensor

    from socialcli.diffusion.words import Word
    from socialcli.methods.invert._concepts import Concept
    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.shards.index import Index
    from socialcli.training.place import Place

OVER = ("textual-inversion", "neti")
SCHEDULES = ("zero", "one", "linear", "exponential", "sigmoid", "cosine")
RESIZES = ("area", "nearest", "any", "whole")
MEANS = ("mask", "picture")
NOTE = "socialcli.attractors"  # of the file's header: token -> key of its picture


@dataclass
class Config(textual_inversion.Config, neti.Config):
    """Options of `socialcli invert --method attractor`."""

    GROUPS: ClassVar[dict[str, str]] = {
        **textual_inversion.Config.GROUPS,
        "bypass": "The subject's word",
        "attractor_token": "Attractors",
    }

    over: str = option(
        "textual-inversion", "What a subject's word is: textual-inversion, neti.", choices=OVER
    )
    vectors: int = again(textual_inversion.Config, "vectors", "over=textual-inversion")
    stages: int = again(textual_inversion.Config, "stages", "over=textual-inversion")
    bypass: float = again(neti.Config, "bypass", "over=neti")
    nested_dropout: float = again(neti.Config, "nested_dropout", "over=neti")
    attractor_token: str = option(
        "", "Word of a picture's background; {name} is the concept's, {number} the picture's. "
        "Default: <a-{number}>, of several concepts <{name}-a-{number}>."
    )  # fmt: skip
    attractor_word: str = option("background", "What attractors start as.")
    attractor_vectors: int = option(1, "Vectors of each attractor.", at_least=1)
    weight_subject: float = option(1.0, "w_s, of the loss inside the subject's mask.", at_least=0)
    weight_background: float = option(1.0, "w_b, of the loss outside of it.", at_least=0)
    weight_joint: float = option(1.0, "w_i, of the loss of the whole picture.", at_least=0)
    weight_contrast: float = option(0.01, "w_c, of InfoNCE.", at_least=0)
    contrast: str = option(
        "cosine", "How w_c grows from 0 to its value over the training: linear, exponential "
        "(early), sigmoid, cosine; or zero, one throughout.", choices=SCHEDULES,
    )  # fmt: skip
    temperature: float = option(0.2, "InfoNCE's temperature.", above=0)
    normalise: bool = option(
        True, "InfoNCE of embeddings of length 1; else of the text encoder's as they are."
    )
    contrast_texts: int = option(8, "Texts of a subject at most that InfoNCE is over.", at_least=2)
    mask_resize: str = option(
        "area", "How a mask becomes one of latents: area (shares), nearest, any (all it touches), "
        "whole (all that lies in it).", choices=RESIZES,
    )  # fmt: skip
    mask_mean: str = option(
        "mask", "What masked losses are averaged over: mask (what it covers), picture.",
        choices=MEANS,
    )  # fmt: skip


class AttractorMethod(InversionMethod):
    """See `InversionMethod`."""

    VERSION = 1
    READS = ("masks.json",)
    FEATURES = (*(InversionMethod.FEATURES or ()), "mask_resize", "attractor_token")
    config_type = Config

    # --- before a model is loaded ---

    def check_options(self, config: Config) -> None:
        super().check_options(config)
        _over(config).check_options(config)
        if config.templates in ("captions", "style"):
            raise UsageError(
                f"--templates {config.templates}: attractor's texts name a subject and its place; "
                "take object, or a file with a {} in each line"
            )
        if not config.attractor_word.strip():
            raise UsageError("--attractor-word is empty: an ordinary word, as background")

    def select(self, config: Config, index: Index) -> Index:
        """The samples of concepts whose subject has a mask; what has none is left out.

        Raises:
            UsageError: a concept without such samples, a picture of two concepts, or attractors
                with one name.
        """
        concepts = _concepts.find(config, index)
        _over(config).check_concepts(config, concepts)
        kept: set[int] = set()
        for concept in concepts:
            good = []
            for number in concept.samples:
                key = index.entries[number].key
                if number in kept:
                    raise UsageError(f"{key} is of two concepts; attractor takes one a picture")
                try:
                    _masks.of_subject(index.read(number), concept.initial)
                    good.append(number)
                except SampleFailed as error:
                    index.unusable[key] = str(error)
            if not good:
                key = index.entries[concept.samples[0]].key
                raise UsageError(
                    f"{concept.token}: none of its {len(concept.samples)} pictures has a mask of "
                    f"the subject (first {key}: {index.unusable[key]})"
                )
            kept |= set(good)
        selected = index.select(sorted(kept))
        _attractors(config, _concepts.find(config, selected))
        return selected

    def paced(self, config: Config) -> bool:
        """The weight of the contrast grows over the training."""
        return bool(config.weight_contrast) and config.contrast not in ("zero", "one")

    # --- words ---

    def word(self, config: Config, token: str, rows: Tensor, layers: int) -> Word:
        return _over(config).word(config, token, rows, layers)

    def whole(self, state: Any, template: str) -> str:
        """With a place behind it."""
        return written(template, "{}", next(iter(state.others)))

    def notes(self, state: Any, draw: Draw) -> list[Hashable] | None:
        return _over(state.config).notes(state, draw)

    def timesteps(self, state: Any, draw: Draw) -> Tensor | None:
        return _over(state.config).timesteps(state, draw)

    def others(
        self, config: Config, concepts: list[Concept], index: Index, diffusion: Any
    ) -> dict[Word, str]:
        """An attractor for each picture: a word of textual inversion whatever the subject's is."""
        from socialcli.diffusion.words.textual_inversion import TextualInversionWord

        rows = _initial.rows(diffusion, config.attractor_word)
        rows = _initial.spread(rows, config.attractor_vectors)
        tokens = _attractors(config, concepts)
        return {TextualInversionWord(token, rows): config.attractor_word for token in tokens}

    def load(self, config: Config, place: Place) -> Any:
        state = super().load(config, place)
        # A text that is cut before its attractor would say nothing of it.
        state.templates[:] = [t for t in state.templates if self.fits(state, t)]
        if not state.templates:
            raise UsageError("--templates: the text encoder reads too few tokens for all of these")
        pictures = _attractors(config, state.concepts)
        state.more["pictures"] = {t: place.index.entries[n].key for t, n in pictures.items()}
        state.more["attractors"] = {number: token for token, number in pictures.items()}
        return state

    # --- samples ---

    def prepare(self, state: Any, sample: Sample, variant: Variant) -> dict[str, Any]:
        """As ever, with ``inside`` and ``outside`` (h, w): the subject's mask in the latents, and
        that of all else. ``concepts`` is a list of one."""
        import torch

        from socialcli.losses import masked
        from socialcli.vision import images

        example = super().prepare(state, sample, variant)
        (number,) = example["concepts"]
        mask = _masks.of_subject(sample, state.concepts[number].initial)
        frame = square(state, images.decode(sample.picture()).size, variant)
        cut = torch.from_numpy(frame.mask(mask))[None]
        if not cut.any():
            raise SampleFailed("the square that is trained on shows nothing of the subject")
        _, *size = state.diffusion.latent_shape(state.side, state.side)
        inside, outside = masked.to_latents(cut, (size[0], size[1]), state.config.mask_resize)
        attractor = state.more["attractors"][sample.number]
        return {**example, "inside": inside[0], "outside": outside[0], "attractor": attractor}

    def features(self, state: Any, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = ("inside", "outside", "attractor")
        each = zip(super().features(state, examples), examples, strict=True)
        return [{**values, **{name: e[name] for name in kept}} for values, e in each]

    # --- losses ---

    def losses(self, state: Any, batch: Any, draw: Draw) -> dict[str, Tensor]:
        """``subject``, ``background``, ``joint`` and ``contrast`` (B,): Eq. 4, 2 and 5.

        A sample's three texts are judged at one timestep with one noise, in one call of the UNet.
        """
        from socialcli.diffusion import latents as common
        from socialcli.losses import denoise, masked

        mean = state.config.mask_mean
        texts = self.texts(state, batch, draw)
        notes = self.notes(state, draw)
        conditioning = state.lexicon.conditioning(texts, None if notes is None else 3 * notes)
        noised = common.add_noise(
            state.alphas_cumprod, state.prediction_type, batch["mean"], batch["deviation"], draw,
            timesteps=self.timesteps(state, draw),
        )  # fmt: skip
        three = noised.and_also(noised).and_also(noised)
        model_pred = common.predict(state.diffusion.unet, three, conditioning)
        (subject, background, joint), target = model_pred.chunk(3), noised.target
        inside, outside = (batch[name].to(model_pred.device) for name in ("inside", "outside"))
        values = {
            "subject": masked.loss(subject, target, inside, mean),
            "background": masked.loss(background, target, outside, mean),
            "joint": denoise.loss(joint, target),
        }
        contrasted = self._contrast(state, [numbers[0] for numbers in batch["concepts"]], draw)
        return values if contrasted is None else {**values, "contrast": contrasted}

    def texts(self, state: Any, batch: Any, draw: Draw) -> list[str]:
        """3 B texts: B with the subject's word, B with the attractor, B with both."""
        pools: list[list[str]] = [[], [], []]
        for at, ((number,), attractor) in enumerate(
            zip(batch["concepts"], batch["attractor"], strict=True)
        ):
            concept, rng = state.concepts[number], draw.random(at, "text")
            for pool, (word, place) in zip(
                pools,
                ((concept.token, ""), (concept.initial, attractor), (concept.token, attractor)),
                strict=True,
            ):
                pool.append(written(rng.choice(state.templates), word, place))
        return [text for pool in pools for text in pool]

    def _contrast(self, state: Any, numbers: list[int], draw: Draw) -> Tensor | None:
        """(B,): InfoNCE of each row's subject, times the schedule's weight; None without one.

        It is over texts of all the subject's pictures and drawn from the step alone, so that
        neither micro-batches nor processes change it.
        """
        import torch

        from socialcli.losses import contrast

        config = state.config
        weight = contrast.schedule(config.contrast, draw.step / max(draw.steps - 1, 1))
        if not weight or not config.weight_contrast:
            return None
        values = {n: self._info_nce(state, state.concepts[n], draw) for n in sorted({*numbers})}
        return weight * torch.stack([values[number] for number in numbers])

    def _info_nce(self, state: Any, concept: Concept, draw: Draw) -> Tensor:
        import torch

        from socialcli.losses import contrast
        from socialcli.randomness import seeded

        config, lexicon = state.config, state.lexicon
        rng = random.Random(seeded(draw.seed, "contrast", draw.step, concept.token))
        every = [state.more["attractors"][number] for number in concept.samples]
        chosen = sorted(rng.sample(every, min(len(every), config.contrast_texts)))
        chosen *= 2 if len(chosen) == 1 else 1  # one picture: two texts of it
        texts = [written(rng.choice(state.templates), concept.token, token) for token in chosen]
        timesteps = torch.tensor([rng.randrange(len(state.alphas_cumprod)) for _ in texts])
        layer = rng.randrange(lexicon.layers)
        states = lexicon.encode(texts, timesteps, layers=[layer]).keys(0)

        def contextual(token_of: list[str]) -> Tensor:
            """(N, D): the mean over a word's places in each text."""
            places = [lexicon.places(t)[w] for t, w in zip(texts, token_of, strict=True)]
            return torch.stack([rows[p].mean(0) for rows, p in zip(states, places, strict=True)])

        subjects = contextual([concept.token] * len(texts))
        return contrast.loss(subjects, contextual(chosen), config.temperature, config.normalise)

    def weights(self, config: Config) -> dict[str, float]:
        return {
            "subject": config.weight_subject,
            "background": config.weight_background,
            "joint": config.weight_joint,
            "contrast": config.weight_contrast,
        }

    # --- results ---

    def validate(self, state: Any) -> list[tuple[str, Image]]:
        """Each subject's word in the prompts, and its first picture's background (Figure 9)."""
        from socialcli.diffusion import latents as common

        config = state.config
        texts = []
        for concept in state.concepts:
            prompts = config.prompt or state.templates[:2]
            texts += [filled(prompt, concept.token) for prompt in prompts]
            texts.append(f"a photo of {state.more['attractors'][concept.samples[0]]}")
        return common.look(
            state.diffusion, texts, texts, state.side, config.sampling_steps, config.guidance,
            state.lexicon,
        )  # fmt: skip

    def save(self, state: Any, folder: Path, metadata: dict[str, str]) -> None:
        """As ever; the attractors are words among the others, and the header says whose."""
        import json

        pictures = json.dumps(state.more["pictures"], ensure_ascii=False)
        super().save(state, folder, {**metadata, NOTE: pictures})


def _over(config: Config) -> InversionMethod:
    """The method of which the subject's word is."""
    if config.over == "neti":
        return neti.NetiMethod()
    return textual_inversion.TextualInversionMethod()


def _attractors(config: Config, concepts: list[Concept]) -> dict[str, int]:
    """Attractor -> number of its picture in the index, concept by concept; names count from 1.

    Raises:
        UsageError: two of one name, or one that is no single word.
    """
    pattern = config.attractor_token
    if not pattern:
        pattern = "<a-{number}>" if len(concepts) == 1 else "<{name}-a-{number}>"
    pictures: dict[str, int] = {}
    taken = {concept.token for concept in concepts}
    for concept in concepts:
        for number, sample in enumerate(concept.samples, 1):
            token = tokens.named(pattern, concept.name, number=number)
            if token in pictures or token in taken:
                raise UsageError(
                    f"--attractor-token '{pattern}': two words would be {token}; it needs "
                    "{number}, and with several concepts {name}"
                )
            if not token.strip() or len(token.split()) > 1:
                raise UsageError(f"--attractor-token '{pattern}': one word without spaces")
            pictures[token] = sample
    return pictures


def written(template: str, word: str, place: str = "") -> str:
    """A template with a word, and the word of its place behind it."""
    return filled(template, word) + (f" in the {place}" if place else "")
