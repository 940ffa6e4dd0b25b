"""InteractDiffusion (CVPR 2024): a Stable Diffusion that is told who does what, and where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.backends import BackendInfo, ModelSpec, variants, where
from socialcli.backends.diffusion import _weights_only, stable_diffusion
from socialcli.backends.diffusion._weights_only import filled
from socialcli.backends.diffusion.stable_diffusion import StableDiffusion
from socialcli.errors import ModelMissing, UsageError

if TYPE_CHECKING:
    import torch

INFO = BackendInfo(
    summary="InteractDiffusion: draws interactions in boxes (--method interactdiffusion)",
    licence="not stated by its authors; CreativeML OpenRAIL-M (Stable Diffusion 1.5 below)",
    model="interactdiffusion/diffusers-v1-2",
    get="hf download interactdiffusion/diffusers-v1-2",
    size="6 GB",
    packages=("torch", "diffusers", "transformers"),
    method="interactdiffusion",
)
_WHAT = "InteractDiffusion"
_PARTS = ("model", "autoencoder", "text_encoder")  # what is in one


def load(spec: ModelSpec) -> InteractDiffusion:
    """Load ``spec.model``: a diffusers folder or hub id, the authors' ``.pth``, or a Stable
    Diffusion whose gates are still to be added (`InteractDiffusion.add`).

    A ``.pth`` holds weights only; configuration and tokenizer come from ``options["config"]``, a
    diffusers folder or hub id that is here (default: Stable Diffusion 1.5's).

    Raises:
        ModelMissing: it is not here. UsageError: it is another model, or lacks weights.
    """
    return InteractDiffusion(spec)


class InteractDiffusion(StableDiffusion):
    """A `roles.Diffusion` whose UNet may be told interactions (`networks.interact_diffusion`).

    Attributes:
        gated: whether the gates are there.
    """

    info: ClassVar[BackendInfo] = INFO
    FILES: ClassVar[tuple[str, ...]] = (*StableDiffusion.FILES, ".pth", ".pt")
    gated: bool = False

    def refuse_others(self, model: str, unet: Any, vae: Any) -> None:
        stable_diffusion.refuse_others(self.info, model, unet, vae, gated=True)

    def _from_file(self, spec: ModelSpec) -> None:
        if spec.model.endswith(".safetensors"):
            super()._from_file(spec)
        else:
            self._from_training(spec)

    def _from_folder(self, spec: ModelSpec) -> None:
        super()._from_folder(spec)
        if self.unet.config.get("attention_type", "default") != "default":
            folder = Path(where(spec.model or self.info.model) or spec.model) / "unet"
            self._gate(_read(folder, spec.options.get("variant")), spec.model or self.info.model)

    def _from_training(self, spec: ModelSpec) -> None:
        """The authors' file: UNet and autoencoder under CompVis' names, in a training's pickle, of
        which only the tensors are read."""
        import diffusers
        from diffusers.loaders import single_file_utils as converting

        from socialcli.backends import devices
        from socialcli.networks import weights

        file = Path(spec.model).expanduser()
        if not file.is_file():
            raise ModelMissing(f"no checkpoint at '{spec.model}'. Get one with: {self.info.get}")
        whole = weights.objects(file)
        if not isinstance(whole, Mapping) or not all(
            isinstance(whole.get(part), Mapping) for part in _PARTS
        ):
            raise UsageError(
                f"{spec.model}: not a training's file of InteractDiffusion, which has "
                f"{', '.join(_PARTS)}; one of gates alone is --adapter-model, above a --model"
            )
        below = _weights_only.below(spec, spec.model)
        unet = below.part(diffusers.UNet2DConditionModel, "unet")
        names = {f"model.diffusion_model.{n}": t for n, t in whole["model"].items()}
        every = converting.convert_ldm_unet_checkpoint(names, unet.config)
        filled(unet, {n: t for n, t in every.items() if ".fuser." not in n}, file, _WHAT)
        vae = below.part(diffusers.AutoencoderKL, "vae")
        names = {f"first_stage_model.{n}": t for n, t in whole["autoencoder"].items()}
        filled(vae, converting.convert_ldm_vae_checkpoint(names, vae.config), file, _WHAT)
        dtype = devices.dtype(spec.dtype)
        self.unet, self.vae = unet.to(dtype), vae.to(dtype)
        self.text_encoder = _text_encoder(below.place, whole["text_encoder"], file).to(dtype)
        self._gate(whole["model"], file)
        self.tokenizer, self.scheduler = below.tokenizer(), below.scheduler()

    def add(self, adapter: str) -> None:
        """Put the gates of a file into the UNet: the authors' ``ext_interactdiff`` file for web
        UIs, or what `train --method interactdiffusion` wrote.

        Raises:
            ModelMissing: no such file. UsageError: it is none, or another UNet's.
        """
        from socialcli.networks import weights

        where_from = "the README of https://github.com/jiuntian/sd-webui-interactdiffusion links it"
        self._gate(weights.read(adapter, "InteractDiffusion adapter", where_from), adapter)

    def _gate(self, state: Mapping[str, Any], file: str | Path) -> None:
        from socialcli.networks import interact_diffusion

        layers = self.unet.config.layers_per_block
        interact_diffusion.load(self.unet, interact_diffusion.select(state, layers), file)
        wide = self.text_encoder.config.hidden_size if hasattr(self, "text_encoder") else None
        if wide not in (None, self.unet.position_net.text):
            raise UsageError(
                f"{file} reads phrases {self.unet.position_net.text} wide, the text encoder's are "
                f"{wide} wide"
            )
        self.unet.requires_grad_(False).eval()
        self.gated = True

    def phrase(self, text: str) -> torch.Tensor:
        """(D,): the text encoder's pooled state, before any projection."""
        ids = self.tokenizer(
            [text], padding="max_length", max_length=self.tokenizer.model_max_length,
            truncation=True, return_tensors="pt",
        ).input_ids  # fmt: skip
        pooled: torch.Tensor = self.text_encoder(ids.to(self.device)).pooler_output[0]
        return pooled


def _read(folder: Path, asked: Any) -> dict[str, Any]:
    """Gates and position net among a UNet's weights in diffusers' folder."""
    from safetensors import safe_open

    from socialcli.networks import weights

    variant = variants.chosen(folder, asked)
    name = f"diffusion_pytorch_model{f'.{variant}' if variant else ''}"
    file = folder / f"{name}.safetensors"
    if not file.is_file():
        return weights.read(folder / f"{name}.bin", "InteractDiffusion UNet", INFO.get)
    with safe_open(str(file), framework="pt") as opened:
        names = list(opened.keys())
        wanted = [n for n in names if ".fuser." in n or n.startswith("position_net.")]
        return {n: opened.get_tensor(n) for n in wanted}


def _text_encoder(place: str, state: Mapping[str, Any], file: Path) -> Any:
    """CLIP's text encoder of weights that are called ``transformer.text_model...``."""
    from transformers import CLIPTextConfig, CLIPTextModel

    network = CLIPTextModel(CLIPTextConfig.from_pretrained(place, subfolder="text_encoder"))
    wanted = network.state_dict()
    own = {}
    for name, tensor in state.items():
        short = name.removeprefix("transformer.").removeprefix("text_model.")
        full = short if short in wanted else f"text_model.{short}"
        if full in wanted:
            own[full] = tensor
    return filled(network, own, file, _WHAT)
