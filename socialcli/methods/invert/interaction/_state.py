"""What both stages hold: the frozen model, the interactions, their words, their exemplars."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from socialcli.backends import ModelSpec
from socialcli.errors import SampleFailed, UsageError
from socialcli.methods.invert import _concepts, _initial, _inversion
from socialcli.methods.invert.interaction import _exemplars

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.methods.invert._concepts import Concept
    from socialcli.methods.invert.interaction._options import Config
    from socialcli.methods.invert.interaction._words import PriorWord
    from socialcli.shards import Sample
    from socialcli.shards.index import Index
    from socialcli.training.geometry import Frame
    from socialcli.training.place import Place


@dataclass
class State:
    """One stage at work.

    Attributes:
        of: number of an exemplar -> numbers of its interactions.
        words: token -> word, of both the words that train and those that are given.
        trained: the module of the words that train.
        nouns: number of an interaction -> what its first exemplar's subjects are.
    """

    config: Config
    place: Place
    diffusion: Any
    alphas_cumprod: Tensor
    prediction_type: str
    side: int  # pixels
    concepts: list[Concept]
    of: dict[int, list[int]]
    words: dict[str, PriorWord] = field(default_factory=dict)
    lexicon: Any = None
    trained: Any = None
    controlnet: Any = None
    recorder: Any = None  # `AttentionMaps` of stage II
    nouns: dict[int, tuple[str, str]] = field(default_factory=dict)
    priors: list[Any] = field(default_factory=list)  # of the words that train, None without
    facts: dict[str, str] = field(default_factory=dict)  # what given files hold, by their digest


def concepts(config: Config, index: Index) -> list[Concept]:
    """The interactions of a run; each has the relation's token.

    Raises:
        UsageError: see `_concepts.find`.
    """
    first = config.initial_word or "with"
    asked = SimpleNamespace(
        concept=config.concept, by=config.by, token=config.token, initial_word=[first]
    )
    return _concepts.find(asked, index)


def select(config: Config, index: Index) -> Index:
    """The exemplars, once it is certain that each interaction has one with two subjects.

    Raises:
        UsageError: an interaction of which no sample has two people with skeletons and masks.
    """
    interactions = concepts(config, index)
    for concept in interactions:
        reasons: Counter[str] = Counter()
        for number in concept.samples:
            try:
                _exemplars.pair(index.read(number))
                break
            except SampleFailed as error:
                reasons[str(error)] += 1
        else:
            entry = index.entries[concept.samples[0]]
            why = reasons.most_common(1)[0][0]
            raise UsageError(
                f"{concept.token}: none of its {len(concept.samples)} exemplars has two subjects; "
                f"{entry.key}: {why}"
            )
    return index.select(sorted({n for concept in interactions for n in concept.samples}))


def model(config: Config) -> ModelSpec:
    return ModelSpec("diffusion", config.backend, config.model, config.revision)


def load(config: Config, place: Place) -> State:
    """The diffusion model and the interactions; no word yet."""
    from socialcli.diffusion import latents as common
    from socialcli.diffusion import schedule

    diffusion = _inversion.frozen(config, place, model(config))
    alphas_cumprod, prediction_type = schedule.schedule(diffusion.scheduler)
    interactions = concepts(config, place.index)
    of: dict[int, list[int]] = {}
    nouns: dict[int, tuple[str, str]] = {}
    for number, concept in enumerate(interactions):
        for sample in concept.samples:
            of.setdefault(sample, []).append(number)
            if number not in nouns:
                with contextlib.suppress(SampleFailed):
                    first, second = _exemplars.pair(place.index.read(sample))
                    nouns[number] = first.noun, second.noun
    side = common.size(diffusion, config.size)
    return State(
        config, place, diffusion, alphas_cumprod, prediction_type, side, interactions, of,
        nouns=nouns,
    )  # fmt: skip


def prior(state: State, part: str) -> Any:
    """The `Prior` of a part of speech in the model's own table."""
    from socialcli.diffusion import language_prior

    words = language_prior.listed(part, getattr(state.config, part))
    state.facts[part] = digest(" ".join(words).encode())
    table = state.diffusion.text_encoder.get_input_embeddings().weight
    return language_prior.of_words(state.diffusion.tokenizer, table, words, part)


def digest(data: bytes) -> str:
    """Sixteen digits of what a file holds."""
    import hashlib

    return hashlib.sha256(data).hexdigest()[:16]


def start(state: State, word: str, count: int) -> Tensor:
    """(count, D): where words begin that start as an ordinary word."""
    return _initial.spread(_initial.rows(state.diffusion, word), count)


def teach(state: State, trained: list[PriorWord], given: list[PriorWord]) -> None:
    """Bind words to the model; those that are given get no gradient."""
    from torch import nn

    from socialcli.diffusion.lexicon import Lexicon

    for word in given:
        word.requires_grad_(False)
    state.words = {word.token: word for word in [*trained, *given]}
    state.lexicon = Lexicon(state.diffusion, state.words.values())
    state.trained = nn.ModuleList(trained)


def after_step(state: State) -> None:
    """With ``--prior project`` each word is put back under its prior after the step."""
    from socialcli.methods.invert.interaction._words import project

    if state.config.prior == "project":
        for word, prior in zip(state.trained, state.priors, strict=True):
            project(word, prior)


def framed(state: State, sample: Sample, variant: Any) -> tuple[Frame, Any]:
    """The square of a version of a sample, and its picture."""
    from socialcli.training import geometry
    from socialcli.vision import images

    config = state.config
    image = images.decode(sample.picture())
    flip = float(config.flip and variant.number % 2 == 1)
    frame = geometry.choose(
        image.width, image.height, state.side, variant.random, config.crop, flip
    )
    return frame, image


def draw(state: State, texts: list[str]) -> list[tuple[str, Any]]:
    """Validation pictures of texts with learned words."""
    from socialcli.diffusion import latents as common

    config = state.config
    return common.look(
        state.diffusion, texts, texts, state.side, config.sampling_steps, config.guidance,
        state.lexicon,
    )  # fmt: skip


def save(state: State, folder: Any, metadata: dict[str, str], initial: dict[str, str]) -> None:
    """``learned_embeds.safetensors``: the words that were trained and those that were given, as
    plain vectors, so that one file holds all words of an interaction."""
    from socialcli.diffusion import word_files

    words = [word.plain() for word in state.words.values()]
    word_files.write(folder, words, initial, metadata)
