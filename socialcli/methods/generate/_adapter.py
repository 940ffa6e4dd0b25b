"""What methods with adapters have in common: the file in the UNet, CLIP's tower, what it sees."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.backends import ModelSpec
from socialcli.errors import SocialcliError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.generation.drawing import Studio
    from socialcli.networks.adapter_files import Kind

ENCODER = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"  # h94/IP-Adapter's models/image_encoder


def peek(given: str) -> Kind | None:
    """What a file is, before anything is loaded; None where it is not there or is no adapter, which
    loading it tells."""
    file = Path(given).expanduser()
    if not given or not file.is_file():
        return None
    status = file.stat()
    return _peek(str(file), status.st_size, status.st_mtime_ns)


@functools.cache
def _peek(file: str, size: int, modified: int) -> Kind | None:
    from socialcli.networks import adapter_files

    try:
        return adapter_files.kind_of(adapter_files.read(Path(file)))
    except SocialcliError:
        return None


def clip_spec(config: Any, default: str = "") -> ModelSpec:
    """CLIP's vision tower, as the options name it."""
    model = config.image_encoder_model or default
    return ModelSpec("clip", "clip", model, None, config.device, config.dtype)


def vision(spec: ModelSpec) -> tuple[Any, Any]:
    """CLIP's vision tower and its processor.

    Raises:
        ModelMissing: it is not here. UsageError: it is none.
    """
    from socialcli.backends import checkpoints

    get = f"hf download {spec.model or ENCODER}"
    encoder = checkpoints.pretrained("CLIPVisionModelWithProjection", spec, ENCODER, get)
    return encoder, _processor(spec, encoder, get)


def describe_clip(spec: ModelSpec) -> Any:
    """What a record says of it."""
    from socialcli.backends import checkpoints

    return checkpoints.describe(spec, ENCODER, {})


def attach(studio: Studio, adapter: Any) -> Any:
    """diffusers puts an adapter into the UNet; FaceID's low-rank part hangs beside its layers.

    Args:
        adapter: a `roles.Adapter`.

    Returns:
        The module that makes tokens of what is shown.

    Raises:
        UsageError: it does not fit the UNet.
    """
    from socialcli.backends.quiet import only_errors
    from socialcli.networks import adapter_files, lora

    model, parts = studio.diffusion, adapter.parts
    names = list(model.unet.attn_processors)
    plain = {n: t for n, t in parts["ip_adapter"].items() if "lora" not in n}
    given = {"image_proj": parts["image_proj"], "ip_adapter": plain}
    try:
        with only_errors():
            model.pipeline().load_ip_adapter(
                given, subfolder="", weight_name="", image_encoder_folder=None
            )
        low_rank = adapter_files.low_rank(parts, names)
        layers = {
            (lora.UNET, path): lora.LowRank(down.float(), up.float(), float(len(down)))
            for path, (down, up) in low_rank.items()
        }
        if layers:
            _fitting(model.unet, layers)
            beside = lora.Lora({lora.UNET: model.unet}, layers).requires_grad_(False)
            beside.to(model.unet.dtype)
    except (RuntimeError, KeyError, ValueError, AttributeError, IndexError) as error:
        line = " ".join(str(error).split())[:160]
        raise UsageError(f"{adapter.file}: does not fit this diffusion model ({line})") from None
    return model.unet.encoder_hid_proj.image_projection_layers[0]


def _fitting(unet: Any, layers: dict[Any, Any]) -> None:
    for (_, path), one in layers.items():
        shape = unet.get_submodule(path).weight.shape
        if (one.up.shape[0], one.down.shape[1]) != tuple(shape):
            raise ValueError(f"{path} is {tuple(shape)}")


def face_width(adapter: Any) -> int:
    """Numbers of a face embedding that an adapter reads; 0 where it reads none."""
    from socialcli.networks import adapter_files

    projection = adapter.parts["image_proj"]
    if adapter.kind is adapter_files.INSTANTID:
        return int(projection["proj_in.weight"].shape[1])
    return int(projection["proj.0.weight"].shape[1]) if adapter.kind.face else 0


def fit_clip(state: Any, projection: Any, encoder: str) -> None:
    """Let the adapter look at nothing, to know before the run that the two fit."""
    import torch

    try:
        with torch.inference_mode():
            blank = seen(state, None)[None]
            if state.kind.face:
                projection.clip_embeds = blank[None]
                blank = torch.zeros(1, state.width).to(blank)
            projection(blank)
    except RuntimeError:
        raise UsageError(
            f"{state.file} was trained with another image encoder than {encoder} (its features are "
            "of another width); name the right one with --image-encoder-model"
        ) from None


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


def seen(state: Any, image: Any) -> Tensor:
    """What CLIP says of a picture: (D,), or (T, C) for kinds that read its states.

    None is the unconditional branch: zeros, or the states of a picture of zeros.

    Args:
        state: has ``kind``, ``encoder`` and ``processor``.
    """
    import torch

    from socialcli.networks import adapter_files

    side = state.encoder.config.image_size
    if image is None:
        pixels = torch.zeros(1, 3, side, side)
    else:
        pixels = state.processor(images=[image], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        pixels = pixels.to(state.encoder.device, state.encoder.dtype)
        if state.kind.clip == adapter_files.STATES:
            states: Tensor = state.encoder(pixels, output_hidden_states=True).hidden_states[-2][0]
            return states
        embedding: Tensor = state.encoder(pixels).image_embeds[0]
        return torch.zeros_like(embedding) if image is None else embedding
