"""MIP-Adapter: two subjects by pictures, each where the words for it attend (SDXL)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.config import option
from socialcli.diffusion import conditioning
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import drawing
from socialcli.generation.method import GenerateMethod
from socialcli.generation.options import ReferenceOptions
from socialcli.methods.generate import _adapter

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from socialcli.diffusion.conditioning import Conditioning
    from socialcli.generation.drawing import Studio
    from socialcli.networks.adapter_files import Kind

SUBJECTS = 2  # that the adapter was trained with
BIG = "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"  # the tower of the plain kind


@dataclass
class Config(ReferenceOptions):
    """Options of `socialcli generate --method mip-adapter`."""

    backend: str = option("sdxl", "Diffusion backend.", role="diffusion")
    adapter_model: str = option(
        "", "MIP-Adapter: model_sdxl.bin or model_sdxl_plus.bin.", file=True
    )
    image_encoder_model: str = option(
        "", f"CLIP vision tower it was trained with: hub id or folder (default: {BIG}, of the Plus "
        f"kind {_adapter.ENCODER}).",
    )  # fmt: skip


@dataclass
class State:
    """The studio's models, the adapter's projection and CLIP.

    Attributes:
        projection: makes tokens of what CLIP says.
        attentions: the processors that read them. nothing: (T, D) tokens of no picture.
    """

    studio: Studio
    kind: Kind
    file: Path
    encoder: Any
    processor: Any
    projection: Any
    attentions: list[Any]
    width: int = 0
    nothing: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.studio, name)


class MipAdapterMethod(GenerateMethod):
    """See `GenerateMethod`. Huang et al., Resolving Multi-Condition Confusion (arXiv
    2409.17920)."""

    VERSION = 1
    REFERENCES = True
    SCALE = 0.6
    TWO_ENCODERS = True
    config_type = Config

    def models(self, config: Config) -> list[ModelSpec]:
        return [
            drawing.spec(config), _clip(config, _adapter.peek(config.adapter_model)),
            ModelSpec("adapter", "mip-adapter", model=config.adapter_model),
        ]  # fmt: skip

    def load(self, config: Config) -> State:
        """The diffusion model with the adapter in its UNet, and CLIP's tower.

        Raises:
            ModelMissing: weights that are not here. UsageError: weights of another shape or kind.
        """
        import torch

        from socialcli.diffusion import layered
        from socialcli.networks.subject_attention import Given, SubjectAttention

        adapter = backends.load(ModelSpec("adapter", "mip-adapter", model=config.adapter_model))
        clip = _clip(config, adapter.kind)
        encoder, processor = _adapter.vision(clip)
        studio = drawing.studio(config)
        gates = [t for n, t in _numbered(adapter.parts["ip_adapter"]) if "text_to_weight" in n]
        projection = _adapter.attach(studio, adapter)
        unet, processors = studio.diffusion.unet, {}
        adapted = [n for n, p in layered.inside(unet).items() if hasattr(p, "to_k_ip")]
        if len(gates) != len(adapted):
            raise UsageError(
                f"{adapter.file}: gates for {len(gates)} attentions, this UNet has {len(adapted)}"
            )
        for name, gate in zip(adapted, gates, strict=True):
            there = layered.inside(unet)[name]
            weights = there.to_k_ip[0].weight, there.to_v_ip[0].weight, gate.to(unet.dtype)
            processors[name] = SubjectAttention(*(w.detach().to(unet.device) for w in weights))
        layered.replace(unet, processors)
        state = State(
            studio, adapter.kind, adapter.file, encoder, processor, projection,
            list(processors.values()),
        )  # fmt: skip
        _adapter.fit_clip(state, projection, clip.model)
        unet.encoder_hid_proj = Given()
        with torch.inference_mode():
            state.nothing = _tokens(state, None)
        studio.models |= {"adapter": adapter.model, "clip": _adapter.describe_clip(clip)}
        return state

    def embed(self, config: Config, state: State, request: Any) -> Any:
        """(negative text, text, (2, T, D) tokens, (2, L, D) states of the subjects' words, the
        number of their tokens, scale).

        Raises:
            SampleFailed: not two subjects, or a subject without words.
        """
        import torch

        groups: dict[str, list[Any]] = {}
        for reference in request.references:
            groups.setdefault(reference.query.strip(), []).append(reference)
        if len(groups) != SUBJECTS or "" in groups:
            raise SampleFailed(
                f"mip-adapter draws two subjects, each named by a --query of its own: there are "
                f"{len(groups)}"
            )
        scales = {self.SCALE if r.scale is None else r.scale for r in request.references}
        if len(scales) > 1:
            raise SampleFailed("mip-adapter weighs both subjects alike: give one scale")
        with torch.inference_mode():
            tokens = torch.stack([
                torch.stack([_tokens(state, r.image) for r in pictures]).mean(0)
                for pictures in groups.values()
            ])  # fmt: skip
        words = torch.stack([_states(state.studio, query) for query in groups])
        first = state.diffusion.encoders[0].tokenizer
        lengths = torch.tensor([
            len(first(query, add_special_tokens=False).input_ids) for query in groups
        ]).clamp(max=state.diffusion.window)  # fmt: skip
        texts = state.studio.texts(request.negative, request.prompt)
        return *texts, tokens, words, lengths, scales.pop()

    def condition(self, config: Config, state: State, embedded: list[Any]) -> Conditioning:
        """Attention to the text and to both subjects' tokens, weighed by place."""
        import torch

        from socialcli.networks.subject_attention import Named

        without, of, tokens, words, lengths, scales = zip(*embedded, strict=True)
        unet = state.diffusion.unet
        blank = torch.stack([state.nothing] * SUBJECTS)
        unsaid = torch.stack([_states(state.studio, "")] * SUBJECTS)
        count = len(embedded)
        shown = conditioning.rows(config.guidance, [blank] * count, tokens).to(unet.dtype)
        named = Named(
            conditioning.rows(config.guidance, [unsaid] * count, words).to(unet.dtype),
            conditioning.rows(config.guidance, lengths, lengths),
        )
        for attention in state.attentions:
            attention.scale, attention.named = scales[0], named
        more = {"added_cond_kwargs": {"image_embeds": [shown]}}
        return conditioning.of_text(config.guidance, without, of).adding(lambda _: more)


def _clip(config: Config, kind: Kind | None) -> ModelSpec:
    from socialcli.networks import adapter_files

    return _adapter.clip_spec(config, _adapter.ENCODER if kind is adapter_files.MIP_PLUS else BIG)


def _numbered(tensors: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """In the order of the attentions that their names count."""
    return sorted(tensors.items(), key=lambda item: int(item[0].partition(".")[0]))


def _tokens(state: State, image: Any) -> Tensor:
    """(T, D) of a picture; None: of no picture."""
    tokens: Tensor = state.projection(_adapter.seen(state, image)[None])[0]
    return tokens


def _states(studio: Studio, text: str) -> Tensor:
    """(L, D) of words, encoded alone."""
    encoded = studio.text(text)
    states: Tensor = getattr(encoded, "states", encoded)
    return states
