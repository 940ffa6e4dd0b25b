"""Stable Diffusion XL through diffusers: two text encoders, pooled text, picture sizes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.backends import BackendInfo, ModelSpec, where
from socialcli.backends.diffusion import stable_diffusion
from socialcli.backends.diffusion.stable_diffusion import StableDiffusion
from socialcli.errors import UsageError

if TYPE_CHECKING:
    import torch

    from socialcli.networks.text_encoders import TextEncoder

INFO = BackendInfo(
    summary="Stable Diffusion XL: a diffusers folder, a hub id or one .safetensors file",
    licence="CreativeML OpenRAIL++-M",
    model="stabilityai/stable-diffusion-xl-base-1.0",
    get="hf download stabilityai/stable-diffusion-xl-base-1.0 --include '*.json' '*.txt' "
    "'unet/*.fp16.safetensors' 'vae/*.fp16.safetensors' 'text_encoder*/*.fp16.safetensors'",
    size="7 GB",
    packages=("torch", "diffusers", "transformers"),
    text_encoders=2,
)
_ZEROS = "force_zeros_for_empty_prompt"


def load(spec: ModelSpec) -> StableDiffusionXL:
    """Load ``spec.model``: a diffusers folder, a hub id, or a single ``.safetensors`` file.

    A single file holds weights only; configuration and tokenizers come from ``options["config"]``,
    a diffusers folder or hub id that is here (default: the default checkpoint's).

    Raises:
        ModelMissing: it is not here. UsageError: it is no Stable Diffusion XL, or lacks weights.
    """
    return StableDiffusionXL(spec)


class StableDiffusionXL(StableDiffusion):
    """A `roles.Diffusion`. Podell et al., SDXL (arXiv 2307.01952).

    The states of both encoders before their last layers lie side by side. The second one's pooled
    state goes into the UNet with the picture's size (`networks.micro_conditioning`).
    """

    info: ClassVar[BackendInfo] = INFO
    PIPELINE: ClassVar[str] = "StableDiffusionXLPipeline"
    UNUSED: ClassVar[dict[str, Any]] = {"add_watermarker": False}
    tokenizer_2: Any
    text_encoder_2: Any

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.networks import micro_conditioning

        self.zeros = True
        super().__init__(spec)
        micro_conditioning.attach(self.unet, self.factor)

    def read_texts(self, spec: ModelSpec, part: Callable[[Any, str], Any]) -> None:
        super().read_texts(spec, part)
        self.tokenizer_2 = part("CLIPTokenizer", "tokenizer_2")
        self.text_encoder_2 = part("CLIPTextModelWithProjection", "text_encoder_2")
        place = where(spec.model or self.info.model)
        if place is not None:
            self.zeros = _zeros(Path(place))

    def of_pipeline(self, pipe: Any) -> None:
        super().of_pipeline(pipe)
        self.tokenizer_2, self.text_encoder_2 = pipe.tokenizer_2, pipe.text_encoder_2
        self.zeros = bool(pipe.config.get(_ZEROS, True))

    @property
    def encoders(self) -> tuple[TextEncoder, ...]:
        from socialcli.networks.text_encoders import TextEncoder

        return (
            TextEncoder(self.tokenizer, self.text_encoder, penultimate=True),
            TextEncoder(self.tokenizer_2, self.text_encoder_2, penultimate=True, pools=True),
        )

    def vae_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """SDXL's own autoencoder overflows in half precision, as its configuration says
        (``force_upcast``); the repaired one of sdxl-vae-fp16-fix does not."""
        import torch

        overflows = dtype == torch.float16 and self.vae.config.force_upcast
        return torch.float32 if overflows else dtype

    def refuse_others(self, model: str, unet: Any, vae: Any) -> None:
        stable_diffusion.refuse_others(self.info, model, unet, vae, known=("addition_embed_type",))
        if not unet:
            return  # not here, or it cannot be read: loading it tells why
        if unet.get("addition_embed_type") != "text_time":
            raise _plain(model)
        if unet.get("cross_attention_dim") == REFINER:
            raise stable_diffusion.other(
                self.info, model, "a picture to begin with (SDXL's refiner)"
            )

    def refuse_weights(self, model: str, names: Sequence[str], shapes: Sequence[Any]) -> None:
        for part, wants in stable_diffusion.KEYS.items():
            if wants != stable_diffusion.SIZES and any(part in name for name in names):
                raise stable_diffusion.other(self.info, model, wants)
        if not any(".label_emb." in name or "add_embedding." in name for name in names):
            raise _plain(model)
        for shape in shapes:
            given = {"in_channels": shape[1]}
            stable_diffusion.refuse_others(self.info, model, given, {})

    def pipeline(self) -> Any:
        from socialcli.backends.quiet import quiet_stderr

        with quiet_stderr():
            from diffusers import StableDiffusionXLPipeline
        return StableDiffusionXLPipeline(
            vae=self.vae, text_encoder=self.text_encoder, text_encoder_2=self.text_encoder_2,
            tokenizer=self.tokenizer, tokenizer_2=self.tokenizer_2, unet=self.unet,
            scheduler=self.scheduler, force_zeros_for_empty_prompt=self.zeros,
            add_watermarker=False,
        )  # fmt: skip


REFINER = 1280  # width of its text: it has the second encoder alone


def _plain(model: str) -> UsageError:
    return UsageError(
        f"{model or INFO.model}: no Stable Diffusion XL: it is told neither sizes nor a pooled "
        "text (Stable Diffusion 1.x and 2.x: --backend stable-diffusion). One that is: "
        f"{INFO.get}"
    )


def _zeros(folder: Path) -> bool:
    """Whether zeros stand for a text that is not given, as the folder's index says."""
    try:
        return bool(json.loads((folder / "model_index.json").read_bytes()).get(_ZEROS, True))
    except (OSError, ValueError, AttributeError):
        return True
