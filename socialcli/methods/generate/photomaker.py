"""PhotoMaker: a person's pictures in the place of the word before 'img' in the prompt (SDXL)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.config import option
from socialcli.diffusion import conditioning, sampling
from socialcli.diffusion.conditioning import Conditioning, PooledText
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import drawing, faces
from socialcli.generation.method import GenerateMethod
from socialcli.generation.options import ReferenceOptions
from socialcli.methods.generate import _adapter

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.generation.drawing import Studio

PACK = "buffalo_l"  # of insightface, that version 2 was trained with
TRIGGER = "img"


@dataclass
class Config(faces.FaceOptions, ReferenceOptions):
    """Options of `socialcli generate --method photomaker`."""

    backend: str = option("sdxl", "Diffusion backend.", role="diffusion")
    adapter_model: str = option("", "PhotoMaker: an official v1 or v2 file.", file=True)
    merge_after: float = option(
        0.2, "Share of the steps that see the prompt alone; then the person joins. Less: more like "
        "the person, less like the prompt.", at_least=0, at_most=1,
    )  # fmt: skip


@dataclass
class State:
    """The studio's models, the ID encoder, CLIP's processor and, for version 2, face models.

    Attributes:
        label: what the file is. last: the lowest timestep that sees the prompt alone.
    """

    studio: Studio
    encoder: Any
    processor: Any
    label: str
    last: float
    reader: faces.Reader | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.studio, name)


class PhotoMakerMethod(GenerateMethod):
    """See `GenerateMethod`. Li et al., PhotoMaker (arXiv 2312.04461)."""

    VERSION = 1
    REFERENCES = True
    QUERIES = False
    SCALE = 1.0
    TWO_ENCODERS = True
    config_type = Config

    def check_options(self, config: Config) -> None:
        if config.long_prompts != "cut":
            raise UsageError("photomaker reads prompts of one window: leave --long-prompts at cut")
        if config.per_subject:
            raise UsageError(_one())
        if any(scale != self.SCALE for scale in config.scale):
            raise UsageError("photomaker has no scale; --merge-after says how much of the prompt")

    def unread(self, config: Config) -> dict[str, str]:
        return {**super().unread(config), "scale": ""}

    def models(self, config: Config) -> list[ModelSpec]:
        kind = _adapter.peek(config.adapter_model)
        specs = [drawing.spec(config), ModelSpec("adapter", "photomaker", config.adapter_model)]
        return [*specs, faces.spec(config, PACK)] if kind is not None and kind.face else specs

    def facts(self, config: Config) -> dict[str, Any]:
        kind = _adapter.peek(config.adapter_model)
        reads = kind is not None and kind.face
        return {"faces": faces.facts(config, PACK)} if reads else {}

    def load(self, config: Config) -> State:
        """The diffusion model with PhotoMaker's LoRA, and its ID encoder.

        Raises:
            ModelMissing: weights that are not here. UsageError: weights of another shape or kind.
        """
        from transformers import CLIPImageProcessorPil

        from socialcli.networks import lora, lora_files, photomaker

        adapter = backends.load(ModelSpec("adapter", "photomaker", config.adapter_model))
        reader = faces.load(config, PACK) if adapter.kind.face else None
        studio = drawing.studio(config)
        networks = lora.networks_of(studio.diffusion)
        unet = studio.diffusion.unet
        layers = lora_files.layers(str(adapter.file), adapter.parts["lora_weights"], {}, networks)
        beside = lora.Lora(networks, layers).requires_grad_(False)
        beside.to(unet.dtype)
        try:
            encoder = photomaker.load(adapter.parts["id_encoder"]).to(unet.device, unet.dtype)
        except (KeyError, RuntimeError) as error:
            line = " ".join(str(error).split())[:160]
            raise UsageError(f"{adapter.file}: no PhotoMaker ID encoder ({line})") from None
        width = unet.config.cross_attention_dim
        own = len(adapter.parts["id_encoder"]["fuse_module.layer_norm.weight"])
        if own != width:
            raise UsageError(
                f"{adapter.file}: made for text states {own} wide, this model's are {width}; "
                "PhotoMaker is for Stable Diffusion XL (--backend sdxl)"
            )
        side = encoder.side
        processor = CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        )
        scheduler = sampling.scheduler(config.scheduler, studio.diffusion.scheduler)
        steps = sampling.timesteps(scheduler, config.steps)
        last = steps[min(int(config.merge_after * config.steps), len(steps) - 1)]
        studio.models["adapter"] = adapter.model
        if reader is not None:
            studio.models["face"] = reader.finder.model
        return State(studio, encoder, processor, adapter.kind.label, last, reader)

    def prepare(self, config: Config, request: Any) -> None:
        """The prompt names one person, before anything is loaded."""
        _split(request.prompt)

    def plain(self, config: Config, state: State, prompt: str) -> str | None:
        """The prompt without the trigger word."""
        return _split(prompt)[0]

    def embed(self, config: Config, state: State, request: Any) -> Any:
        """(negative text, the prompt alone, the prompt with the person), a `PooledText` each.

        Raises:
            SampleFailed: not exactly one trigger word behind a word, no face, or too many pictures
                for the prompt.
        """
        import torch

        plain, before = _split(request.prompt)
        if state.studio.lexicon is not None and (learned := state.studio.lexicon.used(plain)):
            raise SampleFailed(
                f"{learned[0]} is a learned word, and photomaker puts the person among ordinary "
                "ones: leave it out, or take another method"
            )
        without, alone = state.studio.texts(request.negative, plain)
        count = len(request.references) * state.encoder.tokens
        with torch.inference_mode():
            text, places = _expanded(state, plain, before, count)
            pixels = state.processor(
                images=[r.image for r in request.references], return_tensors="pt"
            )["pixel_values"]
            pixels = pixels.to(
                text.states.device, state.encoder.fuse_module.layer_norm.weight.dtype
            )
            results = state.encoder.results(pixels, _faces(state, request.references, pixels))
            states = state.encoder(text.states, places, results)
        return without, alone, PooledText(states, text.pooled)

    def condition(self, config: Config, state: State, embedded: list[Any]) -> Conditioning:
        """Cross-attention to the prompt alone in the first steps, then to that with the person."""
        without, alone, person = zip(*embedded, strict=True)
        first = conditioning.of_text(config.guidance, without, alone).at
        then = conditioning.of_text(config.guidance, without, person).at

        def arguments(timesteps: Tensor) -> dict[str, Any]:
            early = float(timesteps[0]) >= state.last
            return (first if early else then)(timesteps)

        return Conditioning(arguments)


def _one() -> str:
    return (
        f"photomaker draws one person a picture: the prompt needs '{TRIGGER}' once, right behind "
        f"the word that is the person, as 'a woman {TRIGGER} on a beach'; several people are not "
        "possible with it, take --method ip-adapter with --region"
    )


def _split(prompt: str) -> tuple[str, str]:
    """(the prompt without the trigger word, its part up to it).

    Raises:
        SampleFailed: it has none, several, or none with a word before it.
    """
    parts = re.split(rf"(?<!\w){TRIGGER}(?!\w)", prompt)
    if len(parts) != 2 or not parts[0].strip():
        raise SampleFailed(_one())
    before, behind = parts[0].strip(), parts[1].strip()
    gap = "" if behind[:1] in (",", ".", ";", ":", "!", "?") else " "
    return f"{before}{gap}{behind}".strip(), before


def _expanded(state: State, plain: str, before: str, count: int) -> tuple[PooledText, Tensor]:
    """The prompt in which the last token of ``before`` stands ``count`` times, and where.

    Raises:
        SampleFailed: they do not fit into what the encoders read at once.
    """
    import torch

    sides, pooled, places = [], None, torch.empty(0)
    for encoder in state.diffusion.encoders:
        tokenizer = encoder.tokenizer
        ids = tokenizer(plain, add_special_tokens=False, verbose=False).input_ids
        at = len(tokenizer(before, add_special_tokens=False, verbose=False).input_ids) - 1
        window = tokenizer.model_max_length - 2
        if at + count > window:
            raise SampleFailed(
                f"the word before '{TRIGGER}' stands {count} times in what the text encoder reads, "
                f"{window} tokens: name fewer references, or the person earlier"
            )
        longer = [*ids[:at], *[ids[at]] * count, *ids[at + 1 :]][:window]
        whole = [tokenizer.bos_token_id, *longer, tokenizer.eos_token_id]
        row = tokenizer.pad(
            {"input_ids": [whole]}, padding="max_length", max_length=tokenizer.model_max_length,
            return_tensors="pt",
        )["input_ids"]  # fmt: skip
        states, own = encoder.read(row)
        sides.append(states[0])
        pooled = own[0] if own is not None else pooled
        places = torch.arange(at + 1, at + 1 + count, device=states.device)
    assert pooled is not None
    return PooledText(torch.cat(sides, dim=-1), pooled), places


def _faces(state: State, references: Any, pixels: Tensor) -> Any:
    """(N, F) raw embeddings of the references' faces; None where none are read."""
    import numpy
    import torch

    if state.reader is None:
        return None
    rows = [
        faces.embedding(state.reader.see(r.image, r.key), "raw", state.encoder.face, state.label,
                        PACK)
        for r in references
    ]  # fmt: skip
    return torch.from_numpy(numpy.stack(rows)).to(pixels)
