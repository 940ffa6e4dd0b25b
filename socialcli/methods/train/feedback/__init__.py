"""Social context feedback: detectors correct an SSR-Encoder while it learns to denoise.

Social Context Feedback, section 3. A sample's picture is both reference and target. Its query (the
subjects' names) and CLIP features become subject tokens; the UNet, itself frozen, reads them
through the trained layers. Where a gate is open at the timestep drawn, the estimate of the picture
(Eq. 1) is decoded, and the frozen detectors of the feedbacks, one file each beside this one, say
how far faces, gazes, poses, interactions and outlines are from those of the original (Eqs. 2 to 6).
What the paper leaves open was decided in ``docs/feedback.md``.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from socialcli.errors import SampleFailed, UsageError
from socialcli.methods.train.feedback import _networks, _options
from socialcli.methods.train.feedback import _scene as scenes
from socialcli.methods.train.feedback._networks import State
from socialcli.methods.train.feedback._options import wanted
from socialcli.training.method import TrainMethod

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image
    from torch import Tensor

    from socialcli.backends import ModelSpec
    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.shards.index import Index
    from socialcli.training.place import Place

Config = _options.config_type()
__all__ = ["Config", "FeedbackMethod", "State"]

USUAL = 512  # pixels: Stable Diffusion's square, to look at records before a model is there
LOOKED_AT = 300  # samples that are searched for faces, people and so on before models are loaded

# --- samples --------------------------------------------------------------------------------------


class FeedbackMethod(TrainMethod):
    """See `TrainMethod`."""

    VERSION = 1
    READS = ("caption.json",)
    # What `features` depends on besides the data: runs that agree in these may share a cache.
    FEATURES = (
        "backend", "model", "revision", "variant", "clip_model", "size", "crop", "flip", "query",
        "reference", "originals", "decoder", "decoder_model", "feedback", *_options.features(),
    )  # fmt: skip
    config_type = Config

    def check_options(self, config: Any) -> None:
        _options.check_options(config)

    def models(self, config: Any) -> list[ModelSpec]:
        return _options.models(config)

    def weights(self, config: Any) -> dict[str, float]:
        return _options.weights(config)

    def load(self, config: Any, place: Place) -> State:
        return _networks.load(config, place)

    def select(self, config: Any, index: Index) -> Index:
        """All samples, once it is certain that every feedback finds something to watch among them.

        Raises:
            UsageError: the shards lack a member, or none of the samples looked at has a face, a
                person, an interaction.
        """
        names = wanted(config)
        for name, part in names.items():
            if not any(entry.has(part.MEMBER) for entry in index.entries):
                raise UsageError(
                    f"no sample has {part.MEMBER}, which {name} feedback needs: run `socialcli "
                    f"{part.STAGE}` first, or name other feedbacks with --feedback"
                )
        mute, looked, failed = set(names), 0, [""]
        step = max(1, len(index) // LOOKED_AT)
        for number in range(0, len(index), step):
            if not mute:
                break
            looked += 1
            try:
                scene = _look(config, index.read(number))
            except SampleFailed as error:
                failed.append(str(error))
                continue
            mute -= {name for name in mute if scene.speaks(name)}
        if mute and len(failed) > looked:
            raise UsageError(f"none of the {looked} samples looked at can be used: {failed[-1]}")
        if mute:
            name = next(n for n in names if n in mute)
            raise UsageError(
                f"{name} feedback would never speak: {names[name].LACKS} in the {looked} samples "
                "looked at; name other feedbacks with --feedback, or annotate more"
            )
        _see_that_they_can_judge(config, index)
        return index

    def check(self, config: Any, sample: Sample) -> None:
        """Whether a sample can be trained on: a caption, a subject, a readable picture header.

        Raises:
            SampleFailed: it cannot.
        """
        _look(config, sample)

    def compiled(self, state: Any) -> list[Any]:
        return [state.base.unet]

    def prepare(self, state: State, sample: Sample, variant: Variant) -> dict[str, Any]:
        """One sample in one of its squares.

        Returns:
            ``picture`` (3, size, size) uint8; ``reference`` (3, S, S) as CLIP's vision tower wants
            it;
            ``caption`` and ``query``; and what `_scene.tensors` says for the feedbacks.

        Raises:
            SampleFailed: it cannot be decoded, or lacks caption or subjects.
        """
        import torch
        from PIL import Image

        from socialcli.training import geometry
        from socialcli.vision import images

        config = state.config
        image = images.decode(sample.picture())
        rng = variant.random
        frame = geometry.choose(
            image.width, image.height, state.side, rng, config.crop, config.flip
        )
        watched = wanted(config)
        scene = scenes.read(sample, frame, config, watched)
        pixels = frame.picture(image)
        seen = image if config.reference == "whole" else Image.fromarray(pixels)
        return {
            "picture": torch.from_numpy(pixels).permute(2, 0, 1).contiguous(),
            "reference": state.processor(images=seen, return_tensors="pt")["pixel_values"][0],
            "caption": scene.caption,
            "query": scene.query,
            **scenes.tensors(scene, watched),
        }

    def features(self, state: State, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What no step changes: latents, texts, CLIP features, and what the detectors see of x0.

        Returns:
            Per sample ``latents`` (2, C, h, w), mean and deviation, scaled for the UNet; ``text``
            and
            ``named`` (T, D), states of caption and query; ``image``, CLIP features of all depths;
            and each feedback's tensors with its targets.
        """
        import torch

        from socialcli.diffusion import latents as diffusion
        from socialcli.networks.ssr_encoder import image_features

        config, place = state.config, state.place
        with torch.no_grad(), state.exact():
            pictures = torch.stack([e["picture"] for e in examples]).to(place.device) / 127.5 - 1
            spread = torch.stack(diffusion.moments(state.base, pictures), 1)
            words = [e["caption"] for e in examples] + [e["query"] for e in examples]
            text, named = state.base.prompts(words).cpu().chunk(2)
            reference = torch.stack([e["reference"] for e in examples])
            seen = image_features(
                state.vision, reference.to(place.device, place.dtype), state.encoder.scales
            ).cpu()
            if config.originals == "reconstruction":
                pictures = state.decode(spread[:, 0])
            per_sample = []
            for number, example in enumerate(examples):
                known = {n: v for n, v in example.items() if n not in ("picture", "reference")}
                per_sample.append(
                    {
                        **known,
                        "latents": spread[number].cpu(),
                        "text": text[number].clone(),
                        "named": named[number].clone(),
                        "image": seen[number].clone(),
                    }
                )
            for name, watch in state.watch.items():
                rows = [n for n, e in enumerate(examples) if speaks(e, name)]
                if rows:
                    targets_of_rows = watch.targets(pictures[rows], [examples[n] for n in rows])
                    for row, targets in zip(rows, targets_of_rows, strict=True):
                        per_sample[row].update(targets)
        return per_sample

    def unread(self, state: State, example: dict[str, Any]) -> str:
        base = state.base
        return str(base.unread(example["caption"]) or base.unread(example["query"]))

    def collate(self, state: State, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """What all samples have is stacked; what feedback watches stays with its sample."""
        import torch

        batch: dict[str, Any] = {"examples": examples}
        for name in ("latents", "text", "named", "image"):
            batch[name] = torch.stack([e[name] for e in examples]).to(
                state.place.device, non_blocking=True
            )
        return batch

    def losses(self, state: State, batch: dict[str, Any], draw: Draw) -> dict[str, Tensor]:
        """Eq. 7's terms for each sample, (B,); a feedback's is 0 where its gate is closed."""
        import torch

        from socialcli.diffusion import schedule, timesteps
        from socialcli.losses import denoise, regularisation

        config, device, clock = state.config, state.place.device, state.place.clock
        mean, spread = batch["latents"].float().unbind(1)
        latents = mean + spread * draw.normal("posterior", *mean.shape[1:]).to(device)
        noise = draw.normal("noise", *mean.shape[1:]).to(device)
        steps = timesteps.piecewise(
            draw.uniform("timestep"),
            len(state.alphas_cumprod),
            config.likely_below,
            config.likely_ratio,
        )
        captioned = (draw.uniform("caption") >= config.caption_drop).to(device)
        text = torch.where(captioned[:, None, None], batch["text"], state.nothing)
        there = steps.to(device)
        noisy = schedule.noisy(latents, noise, there, state.alphas_cumprod)
        with clock("unet"), state.mixed():
            subject = state.encoder.subject_tokens(batch["image"], batch["named"])
            condition = state.encoder.condition(text, [subject], [1.0])
            model_pred = state.base.unet(
                noisy.to(state.place.dtype), there, **condition
            ).sample.float()
        goal = schedule.target(latents, noise, there, state.alphas_cumprod, state.prediction_type)
        scales = subject.unflatten(1, (state.encoder.scales, -1))
        plain_losses = {
            "denoise": denoise.loss(model_pred, goal),
            "regularisation": regularisation.loss(scales, batch["named"], config.regularisation),
        }
        estimate = schedule.estimate(
            noisy, model_pred, there, state.alphas_cumprod, state.prediction_type
        )
        asked = None
        if config.feedback_share < 1:
            asked = draw.spread("feedback share") < config.feedback_share
        return {**plain_losses, **_feedback(state, batch["examples"], estimate, steps, asked)}

    def trainable(self, state: State) -> Any:
        return state.encoder

    def groups(self, state: State) -> list[dict[str, Any]]:
        """The aligner learns slower than the UNet's layers (section 4.1): the loop gives each group
        the run's rate times its ``scale``."""
        slower = state.config.aligner_learning_rate / state.config.learning_rate
        return [
            {"params": list(state.encoder.layers.parameters())},
            {"params": list(state.encoder.aligner.parameters()), "scale": slower},
        ]

    def facts(self, state: State) -> dict[str, str]:
        """The vision tower: the encoder is of no use with another one."""
        return {"vision tower": state.encoder.seen_through}

    def save(self, state: State, folder: Path, metadata: dict[str, str]) -> None:
        """The encoder's two files, in the official layout, with the vision tower if that one
        lies beside an encoder; the curves where they were asked for."""
        import shutil
        from pathlib import Path

        from socialcli.backends.ssr.ssr_encoder import TOWER
        from socialcli.networks import ssr_layouts

        ssr_layouts.save(state.encoder, folder, metadata)
        own = Path(state.config.clip_model)
        if own.name == TOWER and own.is_dir():
            shutil.copytree(own, folder / TOWER)
        state.write_curves()

    def validate(self, state: State) -> list[tuple[str, Image]]:
        """Pictures by the captions and references of the data's first samples."""
        import itertools

        from socialcli.training import examples

        usable = examples.usable(self, state, state.config.seed)
        first = itertools.islice(usable, state.config.validation_pictures)
        samples = [example for _, example in first]
        drawn = state.draw(samples) if samples else []
        return list(zip((s["caption"] for s in samples), drawn, strict=True))


def _see_that_they_can_judge(config: Any, index: Index) -> None:
    """Ask every wanted feedback whether its network knows what is annotated in the samples looked
    at; say how much of it where it is not all.

    Raises:
        UsageError: it knows nothing of it.
    """
    asked = {name: part for name, part in wanted(config).items() if part.has("coverage")}
    watched: dict[str, list[Any]] = {name: [] for name in asked}
    for number in range(0, len(index), max(1, len(index) // LOOKED_AT)) if asked else ():
        with contextlib.suppress(SampleFailed):
            scene = _look(config, index.read(number))
            for name in asked:
                if scene.speaks(name):
                    watched[name].append(scene.watched[name])
    for name, part in asked.items():
        if warning := part.coverage(config, watched[name]):
            print(f"train: {warning}", file=sys.stderr)


def _look(config: Any, sample: Sample) -> scenes.Scene:
    frame = scenes.whole(sample, config.size or USUAL)
    return scenes.read(sample, frame, config, wanted(config))


def speaks(example: dict[str, Any], name: str) -> bool:
    """Whether a feedback has something to watch in an example (see `_scene.tensors`)."""
    return any(part.startswith(f"{name}_") for part in example)


def _feedback(
    state: State, examples: list[dict[str, Any]], estimate: Tensor, steps: Tensor,
    drawn: Tensor | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Every feedback's (B,) for estimated latents; only samples that an open gate asks for, and
    that have something to be watched, are decoded.

    Args:
        drawn: (B,) bool, which samples ``--feedback-share`` asks about; None for all. One draw
            serves all feedbacks, since a decoded picture serves them all. Values are divided by
            the share, so that their expectation is what all samples would give.
    """
    import torch

    clock = state.place.clock
    asked = {}
    for name, gate in state.gates.items():
        has = torch.tensor([speaks(example, name) for example in examples])
        asked[name] = gate.open(steps) & has
        if drawn is not None:
            asked[name] &= drawn
    values_by_name = {name: torch.zeros(len(examples), device=estimate.device) for name in asked}
    rows = torch.stack([*asked.values(), torch.zeros(len(examples), dtype=torch.bool)]).any(0)
    shown = rows.nonzero()[:, 0]
    if len(shown) == 0:
        return values_by_name
    with clock("decode"), state.exact():
        pictures = state.decode(estimate[shown.to(estimate.device)])
    place = {int(sample): at for at, sample in enumerate(shown)}
    for name, open_ in asked.items():
        asked_rows = open_.nonzero()[:, 0].tolist()
        if not asked_rows:
            continue
        with clock(name), state.exact():
            at = torch.tensor([place[sample] for sample in asked_rows], device=pictures.device)
            values = state.watch[name].values(pictures[at], [examples[n] for n in asked_rows])
        state.remember(name, steps[asked_rows], values)
        scale = (
            state.gates[name]
            .weights(steps[asked_rows], len(state.alphas_cumprod))
            .to(values.device)
        )
        if drawn is not None:
            scale = scale / state.config.feedback_share
        index = torch.tensor(asked_rows, device=values.device)
        values_by_name[name] = values_by_name[name].index_put((index,), values.float() * scale)
    return values_by_name
