"""IP-Adapter: reference pictures or faces as image prompts, beside the text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import backends
from socialcli.backends import ModelSpec, naming
from socialcli.config import option
from socialcli.diffusion import conditioning
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import drawing, faces
from socialcli.generation.method import GenerateMethod
from socialcli.generation.options import ReferenceOptions
from socialcli.methods.generate import _adapter

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.diffusion.conditioning import Conditioning
    from socialcli.generation.drawing import Studio
    from socialcli.networks.adapter_files import Kind

ENCODER = _adapter.ENCODER
PACK = "buffalo_l"  # of insightface, that FaceID was trained with
CROPS = ("auto", "none", "box", "aligned")


@dataclass
class Config(faces.FaceOptions, ReferenceOptions):
    """Options of `socialcli generate --method ip-adapter`."""

    adapter_model: str = option(
        "", "IP-Adapter: an official .bin or .safetensors file, FaceID's too.", file=True
    )
    image_encoder_model: str = option(
        "", f"CLIP vision tower it was trained with: hub id or folder (default: {ENCODER})."
    )
    adapter_version: str = option(
        "auto", "Of a FaceID Plus whose name does not say it: plus or plusv2.",
        choices=("auto", "plus", "plusv2"), affects_result=False,
    )  # fmt: skip
    face_crop: str = option(
        "auto", "What CLIP is shown of a reference: none (all of it), box (a square about the "
        "largest face), aligned (the face upright); auto: aligned for FaceID Plus, else none.",
        choices=CROPS, affects_result=False,
    )  # fmt: skip
    region: list[str] = option(
        [], "A picture file, white where a reference acts in the picture that is drawn; one for "
        "each --reference. Repeatable.", affects_result=False,
    )  # fmt: skip


@dataclass
class State:
    """The studio's models, the adapter and what reads references.

    Attributes:
        kind: what the adapter is. encoder, processor: of CLIP; None where it reads no picture.
        reader: finds faces; None where none are read.
        crop: see `Config.face_crop`. regions: (1, references, H, W) in {0, 1}, or None.
        width: of a face embedding, as the adapter reads it.
    """

    studio: Studio
    kind: Kind
    file: Path
    encoder: Any = None
    processor: Any = None
    reader: faces.Reader | None = None
    crop: str = "none"
    regions: Any = None
    width: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.studio, name)


class IpAdapterMethod(GenerateMethod):
    """See `GenerateMethod`. Ye et al., IP-Adapter (arXiv 2308.06721)."""

    VERSION = 1
    REFERENCES = True
    QUERIES = False
    SCALE = 0.6
    TWO_ENCODERS = True
    config_type = Config

    def check_options(self, config: Config) -> None:
        """Refuse regions that are not there, or not one for each reference."""
        count = len(config.reference)
        if config.region and len(config.region) != count:
            raise UsageError(
                f"--region is there {len(config.region)} times and --reference {count} times: give "
                "one for each"
            )
        for file in config.region:
            if not Path(file).expanduser().is_file():
                raise UsageError(f"--region {file}: no such file")

    def models(self, config: Config) -> list[ModelSpec]:
        kind = _adapter.peek(config.adapter_model)
        specs = [drawing.spec(config)]
        if kind is None or kind.clip:
            specs.append(spec(config))
        if _reads_faces(config, kind):
            specs.append(faces.spec(config, PACK))
        return specs

    def facts(self, config: Config) -> dict[str, Any]:
        """Nothing for runs without faces and regions, so that they are what they were."""
        facts: dict[str, Any] = {}
        if _reads_faces(config, _adapter.peek(config.adapter_model)):
            facts["faces"] = [
                *faces.facts(config, PACK), config.face_crop, config.adapter_version
            ]  # fmt: skip
        if config.region:
            facts["regions"] = [naming.content(file) for file in config.region]
        return facts

    def load(self, config: Config) -> State:
        """The diffusion model with the adapter in its UNet, and what reads references.

        Raises:
            ModelMissing: weights that are not here. UsageError: weights of another shape or kind.
        """
        from socialcli.networks import adapter_files

        adapter = _load(config)  # before larger things are
        kind, second = adapter.kind, False
        if kind is adapter_files.FACEID_PLUS:
            second = adapter_files.second_version(adapter.file, config.adapter_version)
        reader = faces.load(config, PACK) if _reads_faces(config, kind) else None
        state = attached(config, drawing.studio(config), adapter)
        if kind is adapter_files.FACEID_PLUS:
            _projection(state).shortcut = second
        state.crop = config.face_crop
        if state.crop == "auto":
            state.crop = "aligned" if kind is adapter_files.FACEID_PLUS else "none"
        state.regions = _regions(config, state.studio)
        if reader is not None:
            state.reader = reader
            state.studio.models["face"] = reader.finder.model
        return state

    def embed(self, config: Config, state: State, request: Any) -> Any:
        """(negative text states, text states, (references, ...) what the adapter reads first,
        scales, (references, T, C) CLIP's states for FaceID Plus or None).

        Raises:
            SampleFailed: references of different weights where one attention is for all, no face,
                or not as many references as regions.
        """
        import torch

        scales = [self.SCALE if r.scale is None else r.scale for r in request.references]
        if state.regions is None and len(set(scales)) > 1:
            raise SampleFailed(
                "ip-adapter weighs all references of a picture alike, unless each has a --region: "
                "give one scale"
            )
        if state.regions is not None and state.regions.shape[1] != len(scales):
            raise SampleFailed(
                f"{len(scales)} references and {state.regions.shape[1]} of --region: give one for "
                "each"
            )
        shown = [_shown(state, reference) for reference in request.references]
        first = torch.stack([one for one, _ in shown])
        clip = (
            torch.stack([two for _, two in shown]) if state.kind.face and state.kind.clip else None
        )
        texts = state.studio.texts(request.negative, request.prompt)
        return *texts, first, scales, clip

    def condition(self, config: Config, state: State, embedded: list[Any]) -> Conditioning:
        """Attention to the text and, beside it, to the references' tokens."""
        import torch

        from socialcli.diffusion import layered

        without, of, shown, scales, clip = zip(*embedded, strict=True)
        unet = state.diffusion.unet
        weights = scales[0][0] if state.regions is None else list(scales[0])
        for processor in layered.inside(unet).values():
            if hasattr(processor, "scale"):
                processor.scale = [weights]
        first, second = _nothing(state)

        def both(nothing: Tensor, some: Any) -> Tensor:
            blank = [torch.stack([nothing] * len(s)) for s in some]
            return conditioning.rows(config.guidance, blank, list(some)).to(unet.dtype)

        if state.kind.face and state.kind.clip:  # FaceID Plus takes these beside the arguments
            _projection(state).clip_embeds = both(second, clip)
        more: dict[str, Any] = {"added_cond_kwargs": {"image_embeds": [both(first, shown)]}}
        if state.regions is not None:
            masks = state.regions.to(unet.device)
            more["cross_attention_kwargs"] = {"ip_adapter_masks": [masks]}
        return conditioning.of_text(config.guidance, without, of).adding(lambda _: more)


def spec(config: Any) -> ModelSpec:
    """The vision tower that an adapter reads."""
    return ModelSpec("clip", "clip", model=config.image_encoder_model or ENCODER)


def seen(state: Any, image: Any) -> Tensor:
    """What an adapter that reads pictures is shown of one; None: of no picture."""
    return _adapter.seen(state, image)


def attached(config: Any, studio: Studio, adapter: Any = None) -> State:
    """An adapter in a studio's UNet, and its image encoder.

    Args:
        config: has ``adapter_model`` and ``image_encoder_model``.
        adapter: a `roles.Adapter`, where it has been read; else only one that reads pictures will
            do.

    Raises:
        ModelMissing: weights that are not here. UsageError: weights of another shape or kind.
    """
    if adapter is None:
        adapter = _load(config)
        if adapter.kind.face:
            raise UsageError(
                f"{adapter.file}: {adapter.kind.label}, which reads faces: a segment's references "
                "are seen by an IP-Adapter that reads pictures (plain, Plus, Full Face)"
            )
    kind, clip = adapter.kind, _adapter.clip_spec(config)
    encoder, processor = _adapter.vision(clip) if kind.clip else (None, None)
    projection = _adapter.attach(studio, adapter)
    state = State(studio, kind, adapter.file, encoder, processor)
    state.width = _adapter.face_width(adapter)
    studio.models["adapter"] = adapter.model
    if kind.clip:
        _adapter.fit_clip(state, projection, clip.model or ENCODER)
        studio.models["clip"] = _adapter.describe_clip(clip)
    return state


def _load(config: Any) -> Any:
    return backends.load(ModelSpec("adapter", "ip-adapter", model=config.adapter_model))


def _projection(state: State) -> Any:
    """The module that makes tokens of what the adapter reads."""
    return state.diffusion.unet.encoder_hid_proj.image_projection_layers[0]


def _reads_faces(config: Config, kind: Kind | None) -> bool:
    return bool(kind is not None and kind.face) or config.face_crop in ("box", "aligned")


def _shown(state: State, reference: Any) -> tuple[Tensor, Any]:
    """What the adapter reads first of a reference, and what FaceID Plus reads besides."""
    import torch

    image, seen = reference.image, None
    if state.reader is not None:
        seen = state.reader.see(image, reference.key)
        crops = {"box": faces.about, "aligned": faces.aligned}
        if state.crop in crops:
            image = crops[state.crop](image, seen.face)
    clip = _adapter.seen(state, image) if state.kind.clip else None
    if not state.kind.face:
        assert clip is not None
        return clip, None
    assert seen is not None
    row = faces.embedding(seen, state.kind.face, state.width, state.kind.label, PACK)
    device = state.diffusion.unet.device
    return torch.from_numpy(row).float().to(device), clip


def _nothing(state: State) -> tuple[Tensor, Any]:
    """The same of no reference, for the unconditional branch: zeros, CLIP's view of no picture."""
    import torch

    clip = _adapter.seen(state, None) if state.kind.clip else None
    if state.kind.face:
        return torch.zeros(state.width, device=state.diffusion.unet.device), clip
    assert clip is not None
    return clip, None


def _regions(config: Config, studio: Studio) -> Any:
    """(1, N, H, W) float32: 1 where each reference acts; None where no regions are given."""
    import numpy
    import torch
    from PIL import Image

    from socialcli.vision import images

    if not config.region:
        return None
    masks = []
    for file in config.region:
        try:
            picture = images.decode_file(Path(file).expanduser()).convert("L")
        except SampleFailed as error:
            raise UsageError(f"--region {error}") from None
        small = picture.resize(drawing.size(config, studio), Image.Resampling.NEAREST)
        white = torch.from_numpy(numpy.asarray(small) > 127).float()
        if not white.any():
            raise UsageError(f"--region {file}: nothing in it is white")
        masks.append(white)
    return torch.stack(masks)[None]
