"""Stable Diffusion 1.x and 2.x through diffusers, its parts frozen and in reach."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.backends import BackendInfo, ModelSpec, naming, variants, where
from socialcli.errors import ModelMissing, UsageError

if TYPE_CHECKING:
    import torch

    from socialcli.networks.text_encoders import TextEncoder

INFO = BackendInfo(
    summary="Stable Diffusion 1.x and 2.x: a diffusers folder, a hub id or one .safetensors file",
    licence="CreativeML OpenRAIL-M",
    model="stable-diffusion-v1-5/stable-diffusion-v1-5",
    get="hf download stable-diffusion-v1-5/stable-diffusion-v1-5 --exclude '*.ckpt' '*.bin'",
    size="5.5 GB",
    packages=("torch", "diffusers", "transformers"),
)


def load(spec: ModelSpec) -> StableDiffusion:
    """Load ``spec.model``: a diffusers folder, a hub id, or a single ``.safetensors`` file.

    A single file holds weights only; configuration and tokenizer come from ``options["config"]``,
    a diffusers folder or hub id that is here (default: the default checkpoint's). Where the file
    says what it predicts, that holds.

    Raises:
        ModelMissing: it is not here. UsageError: it is no Stable Diffusion, or lacks weights.
    """
    return StableDiffusion(spec)


class StableDiffusion:
    """A `roles.Diffusion`: tokenizer, text encoder, autoencoder, UNet and scheduler.

    A model that is built on it inherits it and says what else its UNet may want (`refuse_others`),
    and which other parts it has (`read_texts` to `pipeline`).
    """

    info: ClassVar[BackendInfo] = INFO
    PIPELINE: ClassVar[str] = "StableDiffusionPipeline"
    UNUSED: ClassVar[dict[str, Any]] = {"safety_checker": None}  # of a single file
    zeros: bool = False  # see `roles.Diffusion`
    FILES: ClassVar[tuple[str, ...]] = (".safetensors", ".ckpt")  # a model in a single file
    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    scheduler: Any

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends import checkpoints, devices

        if spec.model.endswith(self.FILES):
            self._from_file(spec)
        else:
            self._from_folder(spec)
        if vae := spec.options.get("vae"):
            self.vae = _autoencoder(spec, vae)
        refuse_noise(self.info, spec.model, self.scheduler.config)
        refuse_latents(self.info, vae or spec.model, self.vae.config)
        for network in self.networks:
            network.requires_grad_(False).eval().to(spec.device)
        self.device, self.dtype = spec.device, devices.dtype(spec.dtype)
        self.cast(self.dtype)
        options = variants.options(spec.options.get("variant"))
        if vae:
            options["vae"] = naming.label(vae)
        self.model = checkpoints.describe(spec, self.info.model, options)

    def _from_folder(self, spec: ModelSpec) -> None:
        import diffusers

        from socialcli.backends import checkpoints

        def part(cls: Any, folder: str) -> Any:
            info = self.info
            return checkpoints.pretrained(cls, spec, info.model, info.get, subfolder=folder)

        place = where(spec.model or self.info.model)
        if place is not None:  # before gigabytes are read
            unet, vae = (_json(Path(place) / part / "config.json") for part in ("unet", "vae"))
            self.refuse_others(spec.model, unet, vae)
        self.unet = part(diffusers.UNet2DConditionModel, "unet")
        self.scheduler = part(diffusers.UniPCMultistepScheduler, "scheduler")
        self.read_texts(spec, part)
        self.vae = part(diffusers.AutoencoderKL, "vae")
        self.refuse_others(spec.model, self.unet.config, self.vae.config)

    def read_texts(self, spec: ModelSpec, part: Callable[[Any, str], Any]) -> None:
        """Load what reads texts; ``part`` loads a class out of a folder of the checkpoint."""
        self.tokenizer = part("CLIPTokenizer", "tokenizer")
        self.text_encoder = part("CLIPTextModel", "text_encoder")

    def refuse_others(self, model: str, unet: Any, vae: Any) -> None:
        """Raises UsageError where a UNet wants other things than this model is given.

        Args:
            unet, vae: their configurations.
        """
        refuse_others(self.info, model, unet, vae)

    def refuse_weights(self, model: str, names: Sequence[str], shapes: Sequence[Any]) -> None:
        """The same of a single file, by the names, and some shapes, in its header."""
        for part, wants in KEYS.items():
            if any(part in name for name in names):
                raise other(self.info, model, wants)
        for shape in shapes:
            self.refuse_others(model, {"in_channels": shape[1]}, {})

    def of_pipeline(self, pipe: Any) -> None:
        """Take the parts of diffusers' pipeline, which read a single file."""
        self.unet, self.vae, self.text_encoder = pipe.unet, pipe.vae, pipe.text_encoder
        self.tokenizer = pipe.tokenizer

    def pipeline(self) -> Any:
        """The parts as diffusers' pipeline, which knows how models are saved and adapters
        loaded."""
        from socialcli.backends.quiet import quiet_stderr

        with quiet_stderr():  # it warns of parts that are not used here
            from diffusers import StableDiffusionPipeline
        return StableDiffusionPipeline(
            vae=self.vae, text_encoder=self.text_encoder, tokenizer=self.tokenizer,
            unet=self.unet, scheduler=self.scheduler, safety_checker=None, feature_extractor=None,
            requires_safety_checker=False,
        )  # fmt: skip

    def _from_file(self, spec: ModelSpec) -> None:
        import diffusers
        import torch

        from socialcli import backends
        from socialcli.backends import devices
        from socialcli.networks import weights

        info = self.info
        file = Path(spec.model).expanduser()
        if file.suffix == ".ckpt":
            raise UsageError(f"{spec.model}: a .ckpt is a pickle, use its .safetensors")
        if not file.is_file():
            raise ModelMissing(f"no checkpoint at '{spec.model}'. Get one with: {info.get}")
        names, shapes = _header(spec.model, file)
        self.refuse_weights(spec.model, names, shapes)
        config = str(spec.options.get("config") or info.model)
        place = backends.where(config)
        if place is None:
            raise ModelMissing(
                f"{spec.model} is weights only; their configuration, {config}, is not here. "
                f"Get it with: hf download {config} --include '*.json' '*.txt'"
            )
        try:
            pipe = getattr(diffusers, self.PIPELINE).from_single_file(
                str(file), config=place, local_files_only=True,
                torch_dtype=devices.dtype(spec.dtype), **self.UNUSED,
            )  # fmt: skip
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as why:  # diffusers' converters stumble over other models in many ways
            line = " ".join(str(why).split())[:160]
            raise UsageError(f"{spec.model} is no Stable Diffusion for {config} ({line})") from None
        self.of_pipeline(pipe)
        self.scheduler = diffusers.UniPCMultistepScheduler.from_config(
            pipe.scheduler.config, **stated_noise(names, weights.notes(file))
        )

    @property
    def networks(self) -> tuple[Any, ...]:
        """UNet, autoencoder and text encoders."""
        return self.unet, self.vae, *(encoder.network for encoder in self.encoders)

    @property
    def encoders(self) -> tuple[TextEncoder, ...]:
        """What reads texts; the states of several lie side by side."""
        from socialcli.networks.text_encoders import TextEncoder

        return (TextEncoder(self.tokenizer, self.text_encoder),)

    def cast(self, dtype: torch.dtype, kept: Sequence[Any] = ()) -> None:
        """Bring the networks, but for those of ``kept``, to a type."""
        for network in self.networks:
            wanted = self.vae_dtype(dtype) if network is self.vae else dtype
            if all(network is not one for one in kept) and network.dtype != wanted:
                network.to(wanted)

    def vae_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """The type that the autoencoder computes in where the others have ``dtype``."""
        return dtype

    @property
    def factor(self) -> int:
        """Pixels along one side of a latent: 8 of Stable Diffusion."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def picture_size(self) -> int:
        """Side in pixels of the square pictures the UNet was trained on."""
        return self.unet.config.sample_size * self.factor

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, h, w) of a picture of height x width pixels.

        Raises:
            UsageError: a size the autoencoder or the UNet cannot halve often enough.
        """
        whole = self.factor * 2 ** (len(self.unet.config.block_out_channels) - 1)
        if height % whole or width % whole or min(height, width) < whole:
            raise UsageError(f"{width}x{height} pixels: this model draws multiples of {whole}")
        return self.vae.config.latent_channels, height // self.factor, width // self.factor

    @property
    def window(self) -> int:
        """Tokens of a text that the encoder reads at once: 75 of CLIP, between its two marks."""
        return self.tokenizer.model_max_length - 2

    def unread(self, text: str) -> str:
        """The end of a text that `prompts` cuts off, "" where it reads all of it."""
        tokens = self._tokens(text)
        if len(tokens.input_ids) <= self.window:
            return ""
        return text[tokens.offset_mapping[self.window][0] :]

    def windows(self, text: str) -> torch.Tensor:
        """(K * L, D): the text encoders' states of the whole text, `window` tokens at a time, one
        window's behind the other's. Of a text that fits they are those of `prompts`."""
        return self.encoded_whole(text)[0]

    def encoded_whole(self, text: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`windows`, and the (P,) pooled state of the first where the UNet is told it as well."""
        import torch

        sides, pooled = [], None
        for encoder in self.encoders:
            # Each by itself, as `prompts` is asked for single texts: the same to the last bit.
            read = [encoder.read(row[None]) for row in encoder.windows(text)]
            sides.append(torch.cat([states for states, _ in read], dim=1)[0])
            pooled = pooled if read[0][1] is None else read[0][1][0]
        return sides[0] if len(sides) == 1 else torch.cat(sides, dim=-1), pooled

    def _tokens(self, text: str) -> Any:
        """A text's tokens without marks, all of them, and where each lies in the text."""
        return self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )

    def prompts(self, texts: list[str]) -> torch.Tensor:
        """(N, L, D): the text encoders' states; longer texts are cut, shorter padded."""
        return self.encoded(texts)[0]

    def encoded(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`prompts`, and (N, P) pooled states where the UNet is told them as well."""
        import torch

        sides, pooled = [], None
        for encoder in self.encoders:
            states, own = encoder.read(encoder.ids(texts))
            sides.append(states)
            pooled = own if own is not None else pooled
        return sides[0] if len(sides) == 1 else torch.cat(sides, dim=-1), pooled

    def encode(
        self, pixels: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Latents of pictures, scaled as the UNet takes them.

        Args:
            pixels: (B, 3, H, W) in [-1, 1].
            generator: draws from the posterior, as training does; None takes its mode.

        Returns:
            (B, C, H / factor, W / factor), about normal with deviation 1.
        """
        posterior = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist
        latents = posterior.mode() if generator is None else posterior.sample(generator)
        return (latents - self._shift) * self.vae.config.scaling_factor

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, H, W) of scaled latents, about [-1, 1], not clamped; differentiable."""
        latents = latents.to(self.device, self.vae.dtype)
        return self.vae.decode(latents / self.vae.config.scaling_factor + self._shift).sample

    @property
    def _shift(self) -> float:
        return getattr(self.vae.config, "shift_factor", None) or 0.0


# What the UNets of other families want besides latents and text: in their configuration, and among
# the weights of a single file.
SIZES = "picture sizes and pooled text as well (Stable Diffusion XL: --backend sdxl)"
_EDM = "another noise than Stable Diffusion's (EDM, as Playground v2.5 and CosXL)"
OTHERS = {
    "addition_embed_type": SIZES,
    "encoder_hid_dim_type": "text or pictures of another encoder",
    "class_embed_type": "a class or a noise level as well",
    "num_class_embeds": "a class or a noise level as well",
}
KEYS = {
    ".label_emb.": SIZES,
    "add_embedding.": SIZES,
    "joint_blocks.": "a transformer (Stable Diffusion 3)",
    "double_blocks.": "a transformer (Flux)",
    "lora_": "another model to be added to (LoRA)",
    ".lora": "another model to be added to (LoRA)",
    "edm_mean": _EDM,
    "edm_vpred.": _EDM,
}
# How often the latents' channels are in what a UNet reads -> what it is for.
_USES = {
    1: "a Stable Diffusion, which --method text draws with",
    2: "for inpainting, editing or depth; InstructPix2Pix is drawn by --method instruct-pix2pix",
}
_FIRST = ("model.diffusion_model.input_blocks.0.0.weight", "conv_in.weight")
LATENT_CHANNELS = 4


def other(info: BackendInfo, model: str, wants: str) -> UsageError:
    """What is said of a model of another family."""
    only = f"for --method {info.method}" if info.method else "that draws from text alone"
    return UsageError(
        f"{model or info.model}: no {info.summary.partition(':')[0]} {only}: it wants {wants}. "
        f"One that does: {info.get}"
    )


def refuse_others(
    info: BackendInfo,
    model: str,
    unet: Any,
    vae: Any,
    *,
    times: int = 1,
    gated: bool = False,
    known: Sequence[str] = (),
) -> None:
    """See `StableDiffusion.refuse_others`.

    Args:
        times: how often the latents' channels are in what its UNet reads.
        gated: whether its UNet may have gated self-attention.
        known: names of `OTHERS` that the backend understands.
    """
    for name, wants in OTHERS.items():
        if name not in known and unet.get(name) not in (None, False):
            raise other(info, model, wants)
    latents = vae.get("latent_channels", LATENT_CHANNELS)
    channels = unet.get("in_channels", times * latents)
    if channels != times * latents:
        rule = f"where latents have {latents}" if times == 1 else f"and not {times * latents}"
        use = _USES.get(channels / latents, "for inpainting, editing or depth")
        raise other(info, model, f"{channels} channels {rule} ({use})")
    if unet.get("attention_type", "default") != "default" and not gated:
        raise other(info, model, "boxes (gated self-attention); InteractDiffusion is drawn by "
                    "--method interactdiffusion")  # fmt: skip


def refuse_noise(info: BackendInfo, model: str, scheduler: Mapping[str, Any]) -> None:
    """Raises UsageError where a scheduler's configuration says nothing of betas: its model was
    trained with another noise, and diffusers' own betas would be taken without a word."""
    given = set(scheduler) - set(scheduler.get("_use_default_values") or ())
    if not given & {"beta_schedule", "trained_betas"}:
        raise other(info, model, "another noise: its scheduler has no betas (EDM, flow matching)")


def refuse_latents(info: BackendInfo, model: str, vae: Mapping[str, Any]) -> None:
    """Raises UsageError where an autoencoder's latents are shifted and scaled channel by channel,
    which no Stable Diffusion's are."""
    if vae.get("latents_mean") is not None or vae.get("latents_std") is not None:
        raise other(info, model, "latents with statistics of their own (latents_mean and "
                    "latents_std, as Playground v2.5)")  # fmt: skip


def stated_noise(names: Sequence[str], notes: Mapping[str, str]) -> dict[str, Any]:
    """What a single file says of its noise, as settings of a scheduler: it comes before what the
    configuration says, which is that of the model it began with.

    Args:
        names: of its tensors: some trainers leave empty ones, ``v_pred`` and ``ztsnr`` (noise
            that leaves nothing of the picture, whose last timestep must be drawn from).
        notes: of its header (ModelSpec: ``modelspec.prediction_type``).
    """
    stated: dict[str, Any] = {}
    if "v_pred" in names or notes.get("modelspec.prediction_type") == "v":
        stated["prediction_type"] = "v_prediction"
    if "ztsnr" in names:
        stated |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return stated


def _header(model: str, file: Path) -> tuple[list[str], list[Any]]:
    """The names in a single file's header, and the shapes of `_FIRST` as far as they are there."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="pt") as weights:
            names = list(weights.keys())
            return names, [weights.get_slice(n).get_shape() for n in _FIRST if n in names]
    except (SafetensorError, OSError) as error:
        line = " ".join(str(error).split())[:160]
        raise UsageError(f"{model}: not a safetensors file ({line})") from None


def _autoencoder(spec: ModelSpec, vae: str) -> Any:
    """An autoencoder in place of the model's own: folder or hub id of one, or of a whole model."""
    import diffusers

    from socialcli.backends import checkpoints

    place = where(vae)
    inside = place is not None and (Path(place) / "vae" / "config.json").is_file()
    own = dataclasses.replace(spec, model=vae, revision=None, options={})
    return checkpoints.pretrained(
        diffusers.AutoencoderKL, own, vae, f"hf download {vae}",
        **({"subfolder": "vae"} if inside else {}),
    )  # fmt: skip


def _json(file: Path) -> dict[str, Any]:
    """A configuration, empty where it cannot be read: loading it tells why."""
    try:
        body = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}
