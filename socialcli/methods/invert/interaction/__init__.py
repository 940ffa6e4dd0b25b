"""Learned interactions: words for two poses and the relation between them, in two stages.

Customizing Text-to-Image Generation with Inverted Interaction, section 4. Stage I (`_poses`) learns
a word for each subject's pose from pictures of one subject; stage II (here) holds these and learns
the relation word from the exemplars, "a man [P1] [R] a woman [P2]", under the prior of prepositions
and with a loss that holds the relation's attention to where the poses attend (Eqs. 5 to 8). What
the paper leaves open is listed in ``docs/interaction.md``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.backends import naming
from socialcli.errors import SampleFailed, UsageError
from socialcli.methods.invert.interaction import _exemplars, _poses, _stage, _state
from socialcli.methods.invert.interaction._options import Config
from socialcli.training import checkpoints
from socialcli.training.method import Phase

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from socialcli.backends import ModelSpec
    from socialcli.methods.invert.interaction._state import State
    from socialcli.methods.invert.interaction._words import PriorWord
    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.training.place import Place

RELATION_ONLY = 3  # words that stand for the relation where there are no pose words
FILE = "learned_embeds.safetensors"  # of the pose words


class InteractionMethod(_stage.Stage):
    """See `TrainMethod`; this is stage II, and the run of both."""

    def phases(self, config: Config, output: Path) -> list[Phase]:
        """Stage I in ``poses/``, then stage II with its words; or one of them alone.

        Raises:
            UsageError: stage I would go on under a relation that was begun above its words.
        """
        steps = config.pose_steps or config.steps
        # How many these are, each stage's own --steps say: they may grow, as anywhere.
        config = dataclasses.replace(config, pose_steps=0)
        poses = dataclasses.replace(config, steps=steps, pose_words="")
        if config.stages == "poses":
            return [Phase("", _poses.POSES, poses)]
        if config.stages != "both":
            return [Phase("", self, config)]
        done = checkpoints.last_step(output / "poses" / naming.CHECKPOINTS)
        if 0 < done < steps and checkpoints.last_step(output / naming.CHECKPOINTS):
            raise UsageError(
                f"{output}: its relation words were learnt above pose words of {done} steps, which "
                f"{steps} would change; give --pose-steps {done}, or another -o"
            )
        words = str(output / "poses" / FILE)
        return [
            Phase("poses", _poses.POSES, poses),
            Phase("", self, dataclasses.replace(config, pose_words=words)),
        ]

    def models(self, config: Config) -> list[ModelSpec]:
        if config.stages == "poses":
            return _poses.POSES.models(config)
        return [_state.model(config)]

    def load(self, config: Config, place: Place) -> State:
        """The model with the pose words, which are held, and a relation word of each interaction.

        Raises:
            UsageError: pose words that are not there or of another model, too few prepositions.
        """
        from socialcli.diffusion import attention_maps
        from socialcli.methods.invert.interaction._words import PriorWord, project

        state = _state.load(config, place)
        given = _given(state) if config.stages != "relation-only" else {}
        prior = None if config.prior == "none" else _state.prior(state, "prepositions")
        slots = config.vectors or (1 if given else RELATION_ONLY)
        words: list[PriorWord] = []
        for number, concept in enumerate(state.concepts):
            first = _start(state, given.get(number, []), slots)
            ruled = prior if config.prior == "reparameterise" else None
            words.append(PriorWord(concept.token, first, ruled))
            if config.prior == "project" and prior is not None:
                project(words[-1], prior)
        _state.teach(state, words, [word for pair in given.values() for word in pair])
        state.priors = [prior] * len(words)
        if given and config.weight_attention > 0:
            state.recorder = attention_maps.AttentionMaps(
                state.diffusion.unet, mean_heads=True, gradient=True
            ).attach()
        return state

    def prepare(self, state: State, sample: Sample, variant: Variant) -> dict[str, Any]:
        """``pixels`` (3, S, S) in [-1, 1], ``mask`` (h, w) of both subjects in [0, 1] and of the
        latents' size, ``nouns``, ``concepts``."""
        import torch
        import torch.nn.functional as F

        from socialcli.diffusion import latents as common

        frame, image = _state.framed(state, sample, variant)
        subjects = _exemplars.pair(sample)
        inside = frame.mask(subjects[0].mask | subjects[1].mask)
        if not inside.any():
            raise SampleFailed("its two subjects lie outside the square that is trained on")
        _, height, width = state.diffusion.latent_shape(state.side, state.side)
        mask = torch.from_numpy(inside).float()[None, None]
        return {
            "pixels": common.pixels(frame.picture(image)),
            "mask": F.adaptive_avg_pool2d(mask, (height, width))[0, 0],
            "nouns": [subject.noun for subject in subjects],
            "concepts": state.of[sample.number],
        }

    def features(self, state: State, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """``mean`` and ``deviation`` (C, h, w) of the latents; all else as it was."""
        import torch

        from socialcli.diffusion import latents as common

        pictures = torch.stack([e["pixels"] for e in examples])
        with torch.no_grad():
            means, deviations = common.moments(state.diffusion, pictures)
        kept = ("mask", "nouns", "concepts")
        return [
            {"mean": m.cpu(), "deviation": d.cpu(), **{name: e[name] for name in kept}}
            for m, d, e in zip(means, deviations, examples, strict=True)
        ]

    def losses(self, state: State, batch: dict[str, Any], draw: Draw) -> dict[str, Tensor]:
        """``denoise`` (B,), and ``attention`` (B,): the two terms of Eq. 8."""
        import torch

        from socialcli.diffusion import attention_maps
        from socialcli.diffusion import latents as common
        from socialcli.losses import cross_attention

        texts, numbers = [], []
        for at, choices in enumerate(batch["concepts"]):
            numbers.append(draw.random(at, "concept").choice(choices))
            texts.append(_text(state, numbers[-1], batch["nouns"][at]))
        if state.recorder is not None:
            state.recorder.tokens = torch.tensor(_places(state, texts, numbers))
        value = common.denoising(
            state.diffusion, state.alphas_cumprod, state.prediction_type, batch["mean"],
            batch["deviation"], state.lexicon.conditioning(texts), draw,
        )  # fmt: skip
        if state.recorder is None:
            return {"denoise": value}
        side = state.config.attention_side
        maps = attention_maps.average(state.recorder, side, mean_heads=True)[:, 0]
        attention = cross_attention.loss(
            maps[:, 2:].mean(1), maps[:, :2], batch["mask"].to(maps), state.config.attention_norm
        )
        return {"denoise": value, "attention": attention.float()}

    def weights(self, config: Config) -> dict[str, float]:
        if config.stages == "relation-only" or config.weight_attention == 0:
            return {"denoise": 1.0}
        return {"denoise": 1.0, "attention": config.weight_attention}

    def validate(self, state: State) -> list[tuple[str, Image]]:
        """The first interactions: with their exemplars' subjects, and with two animals."""
        if state.recorder is not None:
            state.recorder.close()
        try:
            return _state.draw(
                state,
                [
                    _text(state, number, nouns)
                    for number in range(min(4, len(state.concepts)))
                    for nouns in (state.nouns[number], ("dog", "cat"))
                ],
            )
        finally:
            if state.recorder is not None:
                state.recorder.attach()

    def save(self, state: State, folder: Path, metadata: dict[str, str]) -> None:
        """All words of each interaction in one file, `_state.save`."""
        first, pose = state.config.initial_word or "with", state.config.pose_initial_word
        relations = {concept.token for concept in state.concepts}
        initial = {token: first if token in relations else pose for token in state.words}
        _state.save(state, folder, metadata, initial)


def _given(state: State) -> dict[int, list[PriorWord]]:
    """Number of an interaction -> its two pose words, of ``--pose-words``.

    Raises:
        UsageError: a word that the file does not have, or of another width.
    """
    from socialcli.diffusion import word_files
    from socialcli.methods.invert.interaction._words import PriorWord, pose_tokens

    place = state.config.pose_words
    learned = {one.token: one.word for one in word_files.read(place)}
    words: dict[int, list[PriorWord]] = {}
    held: list[bytes] = []
    for number, concept in enumerate(state.concepts):
        for token in pose_tokens(concept.token):
            if token not in learned:
                raise UsageError(
                    f"--pose-words {place}: it has no {token}, only {', '.join(learned)}; learn it "
                    "with --stages poses"
                )
            vectors = learned[token].vectors([()])[0].detach()
            words.setdefault(number, []).append(PriorWord(token, vectors))
            held.append(vectors.float().numpy().tobytes())
    state.facts["pose words"] = _state.digest(b"".join(held))
    return words


def _start(state: State, poses: list[PriorWord], slots: int) -> Tensor:
    """(slots, D): the mean of the pose words, or an ordinary word."""
    import torch

    if poses and not state.config.initial_word:
        mean = torch.stack([word.new.detach()[0] for word in poses]).mean(0, keepdim=True)
        return mean.expand(slots, -1).clone()
    return _state.start(state, state.config.initial_word or "with", slots)


def _text(state: State, number: int, nouns: Any) -> str:
    """The description of an exemplar: "a man <hug-1> <hug> a woman <hug-2>"."""
    from socialcli.methods.invert.interaction import _words

    token = state.concepts[number].token
    p1, p2 = _words.pose_tokens(token)
    form = _words.WHOLE if p1 in state.words else _words.ALONE
    o1, o2 = map(_words.with_article, nouns)
    return form.format(o1=o1, o2=o2, p1=p1, p2=p2, r=token)


def _places(state: State, texts: list[str], numbers: list[int]) -> list[list[int]]:
    """Where in each text P1, P2 and R stand: (B, 2 + places of R)."""
    from socialcli.methods.invert.interaction._words import pose_tokens

    rows = []
    for text, number in zip(texts, numbers, strict=True):
        token = state.concepts[number].token
        places = state.lexicon.places(text)
        first, second = (places[t][:1] or [-1] for t in pose_tokens(token))
        slots = state.words[token].slots
        rows.append([*first, *second, *(places[token] + [-1] * slots)[:slots]])
    return rows
