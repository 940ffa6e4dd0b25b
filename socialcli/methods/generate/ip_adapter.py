"""IP-Adapter: reference pictures as image prompts, beside the text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.backends import ModelSpec
from socialcli.config import option
from socialcli.diffusion import conditioning
from socialcli.errors import ModelMissing, SampleFailed, UsageError
from socialcli.generation import drawing
from socialcli.generation.method import GenerateMethod
from socialcli.generation.options import ReferenceOptions

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.diffusion.conditioning import Conditioning
    from socialcli.generation.drawing import Studio

HUB, FILE = "h94/IP-Adapter", "models/ip-adapter_sd15.safetensors"
GET = f"hf download {HUB} {FILE} --local-dir ip-adapter, then --adapter-model ip-adapter/{FILE}"
ENCODER = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"  # h94/IP-Adapter's models/image_encoder


@dataclass
class Config(ReferenceOptions):
    """Options of `socialcli generate --method ip-adapter`."""

    adapter_model: str = option(
        "", "IP-Adapter: an official .bin or .safetensors file (not FaceID's).", file=True
    )
    image_encoder_model: str = option(
        "", f"CLIP vision tower it was trained with: hub id or folder (default: {ENCODER})."
    )


@dataclass
class State:
    """The studio's models and the image encoder.

    Attributes:
        deep: whether the adapter reads the tower's last hidden states but one (the "plus" kinds)
            and not its embedding.
    """

    studio: Studio
    encoder: Any
    processor: Any
    deep: bool

    def __getattr__(self, name: str) -> Any:
        return getattr(self.studio, name)


class IpAdapterMethod(GenerateMethod):
    """See `GenerateMethod`."""

    VERSION = 1
    REFERENCES = True
    SCALE = 0.6
    TWO_ENCODERS = True
    config_type = Config

    def models(self, config: Config) -> list[ModelSpec]:
        return [drawing.spec(config), spec(config)]

    def load(self, config: Config) -> State:
        """The diffusion model with the adapter in its UNet, and the image encoder.

        Raises:
            ModelMissing: weights that are not here. UsageError: weights of another shape or kind.
        """
        parts = read(_place(config))  # before larger things are
        return attached(config, drawing.studio(config), parts)

    def embed(self, config: Config, state: State, request: Any) -> Any:
        """(negative text states, text states, (pictures, ...) features, scale).

        Raises:
            SampleFailed: references of different weights; the adapter has one attention for all.
        """
        import torch

        scales = {self.SCALE if r.scale is None else r.scale for r in request.references}
        if len(scales) > 1:
            raise SampleFailed(
                "ip-adapter weighs all references of a picture alike: give one scale"
            )
        shown = torch.stack([seen(state, reference.image) for reference in request.references])
        texts = state.studio.texts(request.negative, request.prompt)
        return *texts, shown, scales.pop()

    def condition(self, config: Config, state: State, embedded: list[Any]) -> Conditioning:
        """Attention to the text and, beside it, to the pictures' tokens."""
        import torch

        from socialcli.diffusion import layered

        without, of, shown, scales = zip(*embedded, strict=True)
        unet = state.diffusion.unet
        for processor in layered.inside(unet).values():
            if hasattr(processor, "scale"):
                processor.scale = [scales[0]]
        nothing = seen(state, None)
        pictures = conditioning.rows(
            config.guidance, [torch.stack([nothing] * len(s)) for s in shown], list(shown)
        )
        shown_too = {"added_cond_kwargs": {"image_embeds": [pictures.to(unet.dtype)]}}
        return conditioning.of_text(config.guidance, without, of).adding(lambda _: shown_too)


def spec(config: Any) -> ModelSpec:
    """The vision tower that an adapter reads."""
    return ModelSpec("clip", "clip", model=config.image_encoder_model or ENCODER)


def attached(config: Any, studio: Studio, parts: Any = None) -> State:
    """An adapter in a studio's UNet, and its image encoder.

    Args:
        config: has ``adapter_model`` and ``image_encoder_model``.
        parts: of `read`, where it has been read.

    Raises:
        ModelMissing: weights that are not here. UsageError: weights of another shape or kind.
    """
    from socialcli.backends import checkpoints, naming
    from socialcli.records import Model

    place = _place(config)
    parts = parts or read(place)
    spec = ModelSpec("clip", "clip", config.image_encoder_model, None, config.device, config.dtype)
    get = f"hf download {ENCODER}"
    encoder = checkpoints.pretrained("CLIPVisionModelWithProjection", spec, ENCODER, get)
    state = State(studio, encoder, _processor(spec, encoder, get), _attach(studio, parts, place))
    _try(state, place, spec.model or ENCODER)
    adapter = str(place)
    studio.models["adapter"] = Model(
        "ip-adapter", naming.name(adapter), naming.revision(adapter), role="adapter"
    )
    studio.models["clip"] = checkpoints.describe(spec, ENCODER, {})
    return state


def _place(config: Any) -> Path:
    """The adapter's file: as named, else the SD 1.5 one in the hub's cache."""
    if config.adapter_model:
        return Path(config.adapter_model).expanduser()
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(HUB, FILE)
    if not isinstance(cached, str):
        raise ModelMissing(f"IP-Adapter is not on this machine. Get it with: {GET}")
    return Path(cached)


def read(file: Path) -> dict[str, dict[str, Tensor]]:
    """An adapter's two parts, ``image_proj`` and ``ip_adapter``.

    Raises:
        ModelMissing: no such file. UsageError: not an IP-Adapter, or FaceID's.
    """
    import torch

    if not file.is_file():
        raise ModelMissing(f"no IP-Adapter at '{file}'. Get it with: {GET}")
    parts: Any = {"image_proj": {}, "ip_adapter": {}}
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            for name, tensor in load_file(file).items():
                part, _, rest = name.partition(".")
                parts.setdefault(part, {})[rest] = tensor
        else:
            parts = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors have a dozen kinds
        raise UsageError(
            f"{file} cannot be read as plain weights ({type(error).__name__})"
        ) from None
    if (
        not isinstance(parts, dict)
        or set(parts) != {"image_proj", "ip_adapter"}
        or not all(isinstance(part, dict) and part for part in parts.values())
    ):
        raise UsageError(f"{file}: not an IP-Adapter (its parts are image_proj and ip_adapter)")
    if any("lora" in name for name in parts["ip_adapter"]):
        raise UsageError(
            f"{file}: a FaceID adapter, which reads face embeddings; take ip-adapter_sd15, "
            "ip-adapter-plus_sd15 or ip-adapter-plus-face_sd15"
        )
    return parts


def _attach(studio: Studio, parts: dict[str, dict[str, Tensor]], place: Path) -> bool:
    """diffusers puts the adapter into the UNet; returns whether it reads hidden states."""
    from diffusers.models.embeddings import ImageProjection

    from socialcli.backends.quiet import only_errors

    model = studio.diffusion
    try:
        with only_errors():
            model.pipeline().load_ip_adapter(
                parts, subfolder="", weight_name="", image_encoder_folder=None
            )
    except (RuntimeError, KeyError, ValueError, AttributeError, IndexError) as error:
        line = " ".join(str(error).split())[:160]
        raise UsageError(f"{place}: does not fit this diffusion model ({line})") from None
    return not isinstance(model.unet.encoder_hid_proj.image_projection_layers[0], ImageProjection)


def _processor(spec: ModelSpec, encoder: Any, get: str) -> Any:
    """CLIP's; the official folder has no configuration of it, and CLIP's own numbers hold."""
    from transformers import CLIPImageProcessorPil

    from socialcli.backends import checkpoints

    folder = Path(spec.model).expanduser() if spec.model else None
    if (
        folder is not None
        and folder.is_dir()
        and not (folder / "preprocessor_config.json").exists()
    ):
        side = encoder.config.image_size
        return CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        )
    return checkpoints.pretrained("CLIPImageProcessorPil", spec, ENCODER, get)


def _try(state: State, place: Path, encoder: str) -> None:
    """Let the adapter look at nothing, to know before the run that the two fit."""
    import torch

    try:
        with torch.inference_mode():
            state.diffusion.unet.encoder_hid_proj([seen(state, None)[None, None]])
    except RuntimeError:
        raise UsageError(
            f"{place} was trained with another image encoder than {encoder} (its features are "
            "of another width); name the right one with --image-encoder-model"
        ) from None


def seen(state: State, image: Any) -> Tensor:
    """What the adapter is shown of a picture: (D,), or (T, C) for the "plus" kinds.

    None is the unconditional branch: zeros, or the states of a picture of zeros.
    """
    import torch

    side = state.encoder.config.image_size
    if image is None:
        pixels = torch.zeros(1, 3, side, side)
    else:
        pixels = state.processor(images=[image], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        pixels = pixels.to(state.encoder.device, state.encoder.dtype)
        if state.deep:
            return state.encoder(pixels, output_hidden_states=True).hidden_states[-2][0]
        embedding = state.encoder(pixels).image_embeds[0]
        return torch.zeros_like(embedding) if image is None else embedding
