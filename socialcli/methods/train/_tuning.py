"""What DreamBooth and Custom Diffusion have in common: a diffusion model that learns subjects,
each beside a picture of its class."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.errors import UsageError
from socialcli.methods.train import _augment, _examples, _prior, _subjects
from socialcli.training.method import TrainMethod

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from socialcli.backends import ModelSpec
    from socialcli.diffusion.conditioning import Conditioning
    from socialcli.methods.train._subjects import Subject
    from socialcli.randomness import Draw
    from socialcli.shards.index import Index
    from socialcli.training.place import Place


@dataclass
class State:
    """The model, what trains of it, and what is the same for every step.

    Attributes:
        alphas_cumprod, prediction_type: of `schedule.schedule`. side: of pictures, pixels.
        of: number of a sample -> numbers of the subjects it shows. module: whose parameters train.
    """

    config: Any
    place: Place
    diffusion: Any
    alphas_cumprod: Tensor
    prediction_type: str
    side: int
    subjects: list[Subject]
    of: dict[int, list[int]]
    behind: _augment.Backgrounds
    prior: _prior.Prior | None
    module: Any = None

    def known(self) -> str:
        """Name, identifier and class of each subject, as JSON for a file's header."""
        rows = [
            {"name": s.name, "identifier": s.identifier, "class": s.word} for s in self.subjects
        ]
        return json.dumps(rows, ensure_ascii=False)


class SubjectMethod(TrainMethod, base=True):
    """Base of the methods that teach a diffusion model subjects; ``config_type`` inherits
    `_prior.PriorOptions` and has ``identifier``, ``prompt``, ``sampling_steps``, ``guidance``."""

    state_type: type[State] = State

    @abstractmethod
    def identifiers(self, count: int) -> Sequence[str]:
        """The usual identifiers of so many subjects, for those that are given none."""

    def texts(self, state: Any, batch: Any, draw: Draw) -> list[str]:
        """What each row's picture is called: a template with the subject's phrase."""
        from socialcli.diffusion import latents

        templates = state.config.template or _prior.TEMPLATES
        return [
            latents.fill(draw.random(at, "text").choice(templates), state.subjects[n].phrase)
            for at, n in enumerate(batch["subject"])
        ]

    def encode(self, state: Any, texts: list[str]) -> Conditioning:
        """B texts as what the rows of a batch are conditioned on."""
        from socialcli.diffusion import conditioning

        return conditioning.of_encoded(*state.diffusion.encoded(texts))

    def weight(self, state: Any, batch: Any) -> Tensor | None:
        """(B, 1, h, w): how much each place counts; None: all alike."""
        return None

    def check_options(self, config: Any) -> None:
        _prior.check(config)
        for prompt in config.prompt:
            if "{}" not in prompt:
                raise UsageError(f"--prompt '{prompt}': write {{}} where the subject goes")
        if config.augment:
            _augment.files(config.backgrounds)

    def models(self, config: Any) -> list[ModelSpec]:
        return _prior.models(config)

    def select(self, config: Any, index: Index) -> Index:
        """The samples that show a subject.

        Raises:
            UsageError: a subject without samples, class or identifier.
        """
        subjects = self.named(config, index)
        return index.select(sorted({n for subject in subjects for n in subject.samples}))

    def named(self, config: Any, index: Index) -> list[Subject]:
        """The subjects, each with its identifier."""
        subjects = _subjects.find(config, index)
        _subjects.name_them(subjects, config.identifier, self.identifiers(len(subjects)))
        return subjects

    def begin(self, config: Any, place: Place, trained: Sequence[str]) -> Any:
        """A `state_type`: the model, class pictures drawn before anything about it is changed.

        Args:
            trained: names of the networks that train, which keep their type; the others are in
                ``place.dtype``.
        """
        import dataclasses

        from socialcli import backends
        from socialcli.diffusion import latents, schedule

        (spec,) = self.models(config)
        diffusion = backends.load(dataclasses.replace(spec, device=str(place.device)))
        diffusion.cast(place.dtype, kept=[getattr(diffusion, name) for name in trained])
        alphas_cumprod, prediction_type = schedule.schedule(diffusion.scheduler)
        subjects = self.named(config, place.index)
        side = latents.size(diffusion, config.size)
        templates = config.template or _prior.TEMPLATES
        prompts = {s.word: latents.fill(templates[0], s.word) for s in subjects}
        prior = _prior.prepare(config, place, diffusion, side, prompts)
        return self.state_type(
            config, place, diffusion, alphas_cumprod, prediction_type, side, subjects,
            _subjects.of_samples(subjects),
            _augment.backgrounds(config.backgrounds, config.background_count, side), prior,
        )  # fmt: skip

    def facts(self, state: Any) -> dict[str, str]:
        """What the folders of class pictures and backgrounds hold."""
        return _prior.facts(state.config) | _examples.facts(state.config, state.behind)

    def trainable(self, state: Any) -> Any:
        return state.module

    def features(self, state: Any, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """``mean`` and ``deviation`` (C, h, w) of the latents, the mask at their size."""
        return _examples.features(state.diffusion, examples)

    def losses(self, state: Any, batch: dict[str, Any], draw: Draw) -> dict[str, Tensor]:
        """``denoise`` and ``prior`` (B,): the subject's picture under its identifier, and one of
        its class under the class alone, in one batch of 2B rows."""
        from socialcli.diffusion import latents
        from socialcli.losses import denoise

        schedule = state.alphas_cumprod, state.prediction_type
        texts = self.texts(state, batch, draw)
        noised = latents.add_noise(*schedule, batch["mean"], batch["deviation"], draw)
        if state.prior is not None:
            first = (state.config.template or _prior.TEMPLATES)[0]
            words = [state.subjects[n].word for n in batch["subject"]]
            texts += [latents.fill(first, word) for word in words]
            with state.place.clock("class pictures"):
                means, stds = state.prior.drawn(words, draw)
            noised = noised.and_also(latents.add_noise(*schedule, means, stds, draw, "class "))
        with state.place.clock("text"):
            given = self.encode(state, texts)
        model_pred = latents.predict(state.diffusion.unet, noised, given)
        own, others = slice(len(batch["subject"])), slice(len(batch["subject"]), None)
        weight = self.weight(state, batch)
        values = {"denoise": denoise.loss(model_pred[own], noised.target[own], weight)}
        if state.prior is not None:
            values["prior"] = denoise.loss(model_pred[others], noised.target[others])
        return values

    def weights(self, config: Any) -> dict[str, float]:
        return _prior.weights(config)

    def validate(self, state: Any) -> list[tuple[str, Image]]:
        """Each subject in the prompts (or the templates)."""
        return _examples.look(state)
