"""FastComposer: a model that draws subjects out of one picture of each, learnt from masked people.

The result is a folder in diffusers' layout with ``fastcomposer.safetensors`` beside it: the vision
tower and the postfuse network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.backends import ModelSpec, variants
from socialcli.config import option
from socialcli.diffusion import options
from socialcli.errors import SampleFailed, UsageError
from socialcli.training import fields
from socialcli.training.method import TrainMethod
from socialcli.training.options import TrainingOptions

if TYPE_CHECKING:
    import random
    from pathlib import Path

    import numpy
    from torch import Tensor

    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.training.place import Place

CLIP = "openai/clip-vit-large-patch14"
KINDS = ("person", "animal", "object")


@dataclass
class Config(TrainingOptions):
    """Options of `socialcli train --method fastcomposer`; defaults as published."""

    GROUPS: ClassVar[dict[str, str]] = {"backend": "Model, pictures and subjects"}

    steps: int = option(150000, "Optimiser steps of the whole run.", at_least=1)
    batch_size: int = fields.batch_size(128)
    learning_rate: float = option(1e-5, "Peak learning rate.", above=0)
    backend: str = options.backend()
    model: str = options.model()
    revision: str | None = options.revision()
    variant: str | None = options.variant()
    image_encoder_model: str = option(
        "", f"CLIP whose vision tower sees the subjects: hub id or folder (default: {CLIP})."
    )
    image_encoder_layers: int = option(
        2, "How many of the tower's last layers are trained.", at_least=0
    )
    size: int = fields.size()
    crop: str = fields.crop("centre")
    flip: float = fields.mirror()
    kinds: str = option(
        "person", "Kinds of entities that are subjects, divided by commas: person, animal, object.",
        choices=KINDS, many=True,
    )  # fmt: skip
    most_subjects: int = option(4, "Subjects of a picture that are told, at most.", at_least=1)
    subject_keep: float = option(
        0.9, "Probability that the UNet is shown a subject.", at_least=0, at_most=1
    )
    caption_drop: float = option(
        0.1, "Probability that it is told neither caption nor subjects.", at_least=0, at_most=1
    )
    masked_share: float = option(
        0.5, "Probability that the denoising loss counts the subjects' pixels alone.",
        at_least=0, at_most=1,
    )  # fmt: skip
    localisation_weight: float = option(
        1e-3, "Weight of the localisation loss: a subject's word attends to its mask.", at_least=0
    )


@dataclass
class State:
    """The networks, and what is the same for every step.

    Attributes:
        trained: the UNet, the vision tower and the postfuse network.
        layers: cross-attentions whose maps are held to the masks.
        nothing: (L, D), the states of "".
    """

    config: Config
    place: Place
    diffusion: Any
    trained: Any
    layers: list[Any]
    alphas_cumprod: Tensor
    prediction_type: str
    side: int
    nothing: Tensor


class FastComposerMethod(TrainMethod):
    """See `TrainMethod`. Source: Xiao et al., FastComposer (arXiv 2305.10431), sections 4 and 5."""

    READS = ("caption.json", "entities.json", "masks.json")
    config_type = Config

    def check_options(self, config: Config) -> None:
        if config.gradient_checkpointing and config.localisation_weight:
            raise UsageError(
                "--gradient-checkpointing: the localisation loss reads attention maps, which are "
                "then gone; leave it out, or give --localisation-weight 0"
            )

    def models(self, config: Config) -> list[ModelSpec]:
        own = variants.options(config.variant)
        return [
            ModelSpec("diffusion", config.backend, config.model, config.revision, options=own),
            ModelSpec("clip", "clip", config.image_encoder_model or CLIP),
        ]

    def check(self, config: Config, sample: Sample) -> None:
        _subjects(config, sample)

    def load(self, config: Config, place: Place) -> State:
        """The model with a fresh postfuse network; what trains in float32.

        Raises:
            UsageError: a tower of another width than the text encoder.
        """
        import dataclasses

        import torch

        from socialcli import backends
        from socialcli.backends import checkpoints
        from socialcli.diffusion import attention_maps, schedule
        from socialcli.diffusion import latents as common
        from socialcli.networks import fast_composer

        model, clip = (
            dataclasses.replace(s, device=str(place.device)) for s in self.models(config)
        )
        diffusion = backends.load(model)
        for part in (diffusion.vae, diffusion.text_encoder):
            if part.dtype != place.dtype:
                part.to(place.dtype)
        tower = checkpoints.pretrained(
            "CLIPVisionModelWithProjection", clip, CLIP, f"hf download {CLIP}"
        )
        name = config.image_encoder_model or CLIP
        width = diffusion.text_encoder.config.hidden_size
        shape = tower.config
        if shape.projection_dim != width:
            raise UsageError(
                f"{name} projects pictures to {shape.projection_dim}, the text encoder is {width} "
                f"wide: FastComposer was trained with {CLIP}"
            )
        if shape.hidden_size != shape.num_attention_heads * fast_composer.HEAD:
            raise UsageError(f"{name}: heads of {fast_composer.HEAD} channels are wanted")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            postfuse = fast_composer.Postfuse(width).to(place.device)
        tower.requires_grad_(False)
        layers = tower.vision_model.encoder.layers
        for layer in layers[len(layers) - config.image_encoder_layers :]:
            layer.requires_grad_(True)
        diffusion.unet.requires_grad_(True)
        if config.gradient_checkpointing:
            diffusion.unet.enable_gradient_checkpointing()
        trained = torch.nn.ModuleDict(
            {"unet": diffusion.unet, "image_encoder": tower, "postfuse_module": postfuse}
        )
        outer = ("down_blocks.0.", f"up_blocks.{len(diffusion.unet.up_blocks) - 1}.")
        maps = attention_maps.layers_of(diffusion.unet)
        inner = [layer for layer in maps if not layer.name.startswith(outer)]
        alphas_cumprod, prediction_type = schedule.schedule(diffusion.scheduler)
        with torch.no_grad():
            nothing = diffusion.prompts([""])[0].float()
        side = common.size(diffusion, config.size)
        return State(
            config, place, diffusion, trained, inner or maps, alphas_cumprod, prediction_type,
            side, nothing,
        )  # fmt: skip

    def trainable(self, state: State) -> Any:
        return state.trained

    def prepare(self, state: State, sample: Sample, variant: Variant) -> dict[str, Any]:
        """``pixels`` (3, S, S) in [-1, 1], ``caption``, and of K subjects, of which some may be
        none: ``pictures`` (K, 3, s, s) in [0, 1], ``masks`` (K, S, S) in [0, 1] and ``ends`` (K,),
        where in the caption their words end, -1 of none.

        Raises:
            SampleFailed: it has no subject, or a mask of another size.
        """
        import numpy
        import torch

        from socialcli import records
        from socialcli.diffusion import latents as common
        from socialcli.networks import fast_composer
        from socialcli.training import geometry
        from socialcli.vision import images

        config, rng = state.config, variant.random
        image = images.decode(sample.picture())
        frame = geometry.choose(
            image.width, image.height, state.side, rng, config.crop, config.flip
        )
        caption = sample.record(records.Caption).text
        subjects = _subjects(config, sample)
        if len(subjects) > config.most_subjects:
            subjects = rng.sample(subjects, config.most_subjects)
        subjects = sorted((one for one in subjects if rng.random() < config.subject_keep),
                       key=lambda one: one[0].end)  # fmt: skip
        count, small = config.most_subjects, state.trained["image_encoder"].config.image_size
        pixels = numpy.array(image)
        pictures = torch.zeros(count, 3, small, small)
        masks = torch.zeros(count, state.side, state.side)
        ends = torch.full((count,), -1)
        for number, (entity, mask) in enumerate(subjects):
            whole = numpy.asarray(mask, dtype=bool)
            if whole.shape != pixels.shape[:2]:
                raise SampleFailed("masks.json: a mask of another size than the picture")
            pictures[number] = fast_composer.square(_cut(pixels, whole, rng), small)
            masks[number] = torch.from_numpy(frame.mask(whole)).float()
            ends[number] = entity.end
        return {
            "pixels": common.pixels(frame.picture(image)), "caption": caption,
            "pictures": pictures, "masks": masks, "ends": ends,
        }  # fmt: skip

    def unread(self, state: State, example: dict[str, Any]) -> str:
        return str(state.diffusion.unread(example["caption"]))

    def losses(self, state: State, batch: dict[str, Any], draw: Draw) -> dict[str, Tensor]:
        """``denoise`` and ``localisation`` (B,)."""
        import contextlib

        import torch
        from torch.nn import functional

        from socialcli.diffusion import latents as common
        from socialcli.diffusion.attention_maps import AttentionMaps
        from socialcli.diffusion.conditioning import Conditioning
        from socialcli.losses import denoise, localisation

        config, diffusion = state.config, state.diffusion
        with torch.no_grad():
            mean, std = common.moments(diffusion, batch["pixels"])
            states = diffusion.prompts(batch["caption"]).float()
        dropped = draw.uniform("caption").to(mean) < config.caption_drop
        states = torch.where(dropped[:, None, None], state.nothing, states)
        columns = torch.stack([
            _columns(state.diffusion, caption, ends)
            for caption, ends in zip(batch["caption"], batch["ends"].tolist(), strict=True)
        ]).to(mean.device)  # fmt: skip
        columns = torch.where(dropped[:, None], -1, columns)
        with_subjects = self._with_subjects(state, states, batch["pictures"], columns)
        noised = common.add_noise(state.alphas_cumprod, state.prediction_type, mean, std, draw)
        watched = bool(config.localisation_weight)
        recorder = AttentionMaps(diffusion.unet, state.layers, tokens=columns, gradient=True)
        with recorder if watched else contextlib.nullcontext():
            predicted = common.predict(
                diffusion.unet, noised, Conditioning({"encoder_hidden_states": with_subjects})
            )
        shown = columns >= 0
        masks = batch["masks"] * shown[..., None, None]
        union = masks.amax(1, keepdim=True)
        small = functional.interpolate(union, tuple(mean.shape[-2:]), mode="bilinear")
        alone = (draw.uniform("mask").to(mean) < config.masked_share) & shown.any(1)
        weight = torch.where(alone[:, None, None, None], small, torch.ones_like(small))
        values = {"denoise": denoise.loss(predicted * weight, noised.target * weight)}
        values["localisation"] = (
            localisation.loss(list(recorder.maps.values()), masks, shown)
            if watched else torch.zeros_like(values["denoise"])
        )  # fmt: skip
        return values

    def _with_subjects(
        self, state: State, states: Tensor, pictures: Tensor, columns: Tensor
    ) -> Tensor:
        """(B, L, D) of texts with their subjects in them."""
        from socialcli.networks import fast_composer

        tower, postfuse = state.trained["image_encoder"], state.trained["postfuse_module"]
        seen = tower(fast_composer.normalised(pictures.flatten(0, 1))).image_embeds
        fused: Tensor = postfuse(states, seen.unflatten(0, pictures.shape[:2]), columns)
        return fused

    def weights(self, config: Config) -> dict[str, float]:
        return {"denoise": 1.0, "localisation": config.localisation_weight}

    def save(self, state: State, folder: Path, metadata: dict[str, str]) -> None:
        """The model in diffusers' layout, and beside it what that has no place for."""
        from socialcli.methods.train import _pipeline
        from socialcli.networks import fast_composer, weights

        _pipeline.save(state.diffusion, folder, metadata)
        tensors = {
            f"{part}.{name}": tensor.detach().cpu().contiguous()
            for part in fast_composer.OWN
            for name, tensor in state.trained[part].state_dict().items()
        }
        weights.write(folder / fast_composer.FILE, tensors, metadata)


def _subjects(config: Config, sample: Sample) -> list[tuple[Any, Any]]:
    """(entity, (H, W) bool mask) of each subject of a sample.

    Raises:
        SampleFailed: there is none.
    """
    import numpy

    from socialcli import records
    from socialcli.vision import masks as decoding

    wanted = [kind.strip() for kind in config.kinds.split(",")]
    entities = {e.id: e for e in sample.record(records.Entities).entities if e.kind in wanted}
    by_entity: dict[int, Any] = {}
    for mask in sample.record(records.Masks).masks:
        if mask.entity in entities:
            own = decoding.decode(mask.rle)
            kept = by_entity.get(mask.entity)
            by_entity[mask.entity] = own if kept is None else numpy.logical_or(kept, own)
    shown = [(entities[number], mask) for number, mask in by_entity.items() if mask.any()]
    if not shown:
        raise SampleFailed(
            f"masks.json: no mask of a subject (--kinds {config.kinds}); `socialcli ground` and "
            "`segment` have seen none"
        )
    return shown


def _columns(diffusion: Any, caption: str, ends: list[int]) -> Tensor:
    """(K,): the places among the text states of the words that end there; -1 of none, and of what
    the text encoder does not read. Not asked on a thread: a tokenizer is one for all."""
    import torch

    from socialcli.generation import marked_words

    numbers = []
    for end in ends:
        try:
            numbers += marked_words.columns(diffusion, caption, [end], [""]) if end >= 0 else [-1]
        except SampleFailed:
            numbers.append(-1)
    return torch.tensor(numbers)


def _cut(pixels: numpy.ndarray, mask: numpy.ndarray, rng: random.Random) -> Tensor:
    """(3, h, w) of 0 to 255: the box of a mask, noise around the subject."""
    import numpy
    import torch

    noise = numpy.random.Generator(numpy.random.PCG64(rng.getrandbits(63)))
    rows, columns = numpy.flatnonzero(mask.any(1)), numpy.flatnonzero(mask.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    part = pixels[box]
    behind = noise.integers(0, 255, part.shape, dtype=numpy.uint8)
    cut = numpy.where(mask[box][..., None], part, behind)
    return torch.from_numpy(cut).permute(2, 0, 1)
