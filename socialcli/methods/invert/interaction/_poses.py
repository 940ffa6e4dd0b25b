"""Stage I: a word for the pose of each subject, from pictures that ControlNet draws of one subject.

Inverted Interaction, section 4.2 and Eq. 4. Of each exemplar the skeleton of each subject alone is
given to a ControlNet, which draws somebody else in that pose, somewhere else; from these pictures
("a man [P]") the two pose words are learned, under the prior of verbs.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from socialcli.backends import ModelSpec
from socialcli.errors import SampleFailed
from socialcli.methods.invert.interaction import _exemplars, _stage, _state
from socialcli.methods.invert.interaction._options import Config
from socialcli.methods.invert.interaction._state import State
from socialcli.randomness import seeded

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image
    from torch import Tensor

    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.training.place import Place

SHOWN = 4  # of ControlNet's pictures, in validation


class PosesMethod(_stage.Stage):
    """See `TrainMethod`."""

    FEATURES = (
        *_stage.Stage.FEATURES, "controlnet_backend", "controlnet_model", "controlnet_scale",
        "sampling_steps", "guidance",
    )  # fmt: skip

    def models(self, config: Config) -> list[ModelSpec]:
        return [_state.model(config), control(config)]

    def load(self, config: Config, place: Place) -> State:
        """The models, and two pose words of each interaction.

        Raises:
            UsageError: a ControlNet of another model, too few verbs, a token that is taken.
        """
        from socialcli import backends
        from socialcli.methods.invert.interaction._words import PriorWord, pose_tokens, project

        state = _state.load(config, place)
        spec = dataclasses.replace(control(config), device=str(place.device), dtype=config.dtype)
        state.controlnet = backends.load(spec)
        state.controlnet.check(state.diffusion.unet, config.controlnet_model or "the ControlNet")
        verbs = None if config.prior == "none" else _state.prior(state, "verbs")
        first = _state.start(state, config.pose_initial_word, 1)
        words = []
        for concept in state.concepts:
            for token in pose_tokens(concept.token):
                ruled = verbs if config.prior == "reparameterise" else None
                words.append(PriorWord(token, first, ruled))
                if config.prior == "project" and verbs is not None:
                    project(words[-1], verbs)
        _state.teach(state, words, [])
        state.priors = [verbs] * len(words)
        return state

    def prepare(self, state: State, sample: Sample, variant: Variant) -> dict[str, Any]:
        """``hints`` (2, 3, S, S) in [0, 1]: each subject's skeleton alone; ``nouns``; ``seeds`` of
        the two pictures; ``concepts``."""
        import torch

        from socialcli.diffusion import control as drawing

        frame, _ = _state.framed(state, sample, variant)
        subjects = _exemplars.pair(sample)
        size = (state.side, state.side)
        hints = [drawing.hint([frame.keypoints(s.keypoints).points], size) for s in subjects]
        seeds = [seeded(variant.seed, "pose", variant.key, variant.number, n) for n in (0, 1)]
        return {
            "hints": torch.stack(hints),
            "nouns": [s.noun for s in subjects],
            "seeds": seeds,
            "concepts": state.of[sample.number],
        }

    def features(self, state: State, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """``latents`` (2, C, h, w): of the picture that ControlNet draws of each skeleton; those of
        all examples are drawn together."""
        import torch

        nouns, seeds = ([one for e in examples for one in e[name]] for name in ("nouns", "seeds"))
        hints = torch.cat([example["hints"] for example in examples])
        latents = single_subjects(state, hints, nouns, seeds).cpu()
        return [
            {"latents": two.clone(), "nouns": example["nouns"], "concepts": example["concepts"]}
            for two, example in zip(latents.split(2), examples, strict=True)
        ]

    def losses(self, state: State, batch: dict[str, Any], draw: Draw) -> dict[str, Tensor]:
        """``denoise`` (B,): Eq. 4, the mean of both subjects."""
        import torch

        from socialcli.diffusion import latents as common
        from socialcli.methods.invert.interaction._words import POSE, pose_tokens, with_article

        values = []
        for subject in (0, 1):
            texts = []
            for at, numbers in enumerate(batch["concepts"]):
                number = draw.random(at, "concept").choice(numbers)
                token = pose_tokens(state.concepts[number].token)[subject]
                noun = batch["nouns"][at][subject]
                texts.append(POSE.format(o=with_article(noun), p=token))
            latents = batch["latents"][:, subject].float()
            conditioning = state.lexicon.conditioning(texts)
            values.append(
                common.denoising(
                    state.diffusion, state.alphas_cumprod, state.prediction_type, latents,
                    torch.zeros_like(latents), conditioning, draw,
                )
            )  # fmt: skip
        return {"denoise": torch.stack(values).mean(0)}

    def weights(self, config: Config) -> dict[str, float]:
        return {"denoise": 1.0}

    def validate(self, state: State) -> list[tuple[str, Image]]:
        """Some of ControlNet's pictures with their skeletons, and the first words in new texts."""
        from socialcli.methods.invert.interaction._words import POSE, pose_tokens, with_article

        drawn = shown(state, SHOWN)
        texts = [
            POSE.format(o=with_article(noun), p=token)
            for concept, number in zip(state.concepts[:2], range(2), strict=False)
            for token, noun in zip(pose_tokens(concept.token), state.nouns[number], strict=True)
        ]
        return [*drawn, *_state.draw(state, texts)]

    def save(self, state: State, folder: Path, metadata: dict[str, str]) -> None:
        """The pose words of all interactions, `_state.save`."""
        first = state.config.pose_initial_word
        _state.save(state, folder, metadata, dict.fromkeys(state.words, first))


def control(config: Config) -> ModelSpec:
    return ModelSpec("controlnet", config.controlnet_backend, config.controlnet_model)


def single_subjects(state: State, hints: Tensor, nouns: list[str], seeds: list[int]) -> Tensor:
    """What ControlNet draws of skeletons: (N, C, h, w) scaled latents.

    Args:
        hints: (N, 3, S, S) in [0, 1]. nouns: what stands there ("man"). seeds: of each noise.
    """
    import torch

    from socialcli.diffusion import control as drawing
    from socialcli.diffusion import sampling
    from socialcli.diffusion.conditioning import of_text
    from socialcli.methods.invert.interaction._words import with_article

    config, diffusion = state.config, state.diffusion
    with torch.no_grad():
        count = len(nouns)
        states = diffusion.prompts(["", *map(with_article, nouns)])
        conditioning = of_text(config.guidance, [states[0]] * count, list(states[1:]))
        net = drawing.Control(
            state.controlnet.network, hints.to(diffusion.unet.device), config.controlnet_scale
        )
        conditioning.guide = drawing.guide([net])
        return sampling.denoise(
            diffusion.unet, sampling.scheduler("UniPCMultistepScheduler", diffusion.scheduler),
            [sampling.generator(seed) for seed in seeds],
            diffusion.latent_shape(state.side, state.side), conditioning, config.sampling_steps,
            config.guidance,
        )  # fmt: skip


def shown(state: State, count: int) -> list[tuple[str, Image]]:
    """Skeletons and what ControlNet draws of them, of the first exemplars."""
    import torch

    from socialcli.diffusion import latents as common
    from socialcli.randomness import Variant

    drawn: list[tuple[str, Image]] = []
    index = state.place.index
    for number in range(len(index)):
        if len(drawn) >= 2 * count:
            break
        sample = index.read(number)
        variant = Variant(state.config.seed, f"{number}:{sample.key}", 0, state.config.variants)
        try:
            example = POSES.prepare(state, sample, variant)
        except SampleFailed:
            continue
        with torch.no_grad():
            latents = single_subjects(state, example["hints"], example["nouns"], example["seeds"])
            pictures = common.pictures(state.diffusion.decode(latents))
        drawings = common.pictures(example["hints"] * 2 - 1)
        for noun, hint, picture in zip(example["nouns"], drawings, pictures, strict=True):
            drawn += [(f"{sample.key} {noun}", hint), (f"ControlNet: {noun}", picture)]
    return drawn


POSES = PosesMethod()
