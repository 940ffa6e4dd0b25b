"""IP-Adapter in miniature: pictures as prompts, as the small CLIP sees them.

The plain kind, four tokens of CLIP's projected embedding, on a UNet that stays as it is. It learns
as IP-Adapter does, from single scenes: what is shown is what is denoised, and a caption is read
beside it. Pairs of different scenes with one person and thing, from which the SSR-Encoder learns,
taught it nothing in 1,000 steps: the small CLIP's embedding knows places, acts and colours, but no
faces (no linear layer reads hair, skin or hats off it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from socialcli.miniature.zoo import (
    cards,
    diffusion,
    latents,
    references,
    seeing,
    sheets,
    ssr,
    training,
)  # fmt: skip

STEPS, BATCH, RATE = 1200, 32, 2e-3
DROPS = (0.05, 0.05, 0.05)  # of the captions, the pictures, and both; IP-Adapter's own shares
TEST = 64
SCALE = 1.0
TOKENS = 4  # of a picture
FILE = "ip-adapter_sd15.safetensors"
TOWER = "image_encoder"  # folder of the vision tower


def keep_tower(folder: Path, source: Path) -> Path:
    """The vision tower and projection of the CLIP in ``source``, copied the first time.

    The adapter reads no other, so it keeps its own: a better CLIP may be published any day.
    """
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    from socialcli.backends.quiet import only_errors

    if not (folder / "model.safetensors").exists():
        CLIPImageProcessorPil.from_pretrained(source).save_pretrained(folder)
        with only_errors():
            CLIPVisionModelWithProjection.from_pretrained(source).half().save_pretrained(folder)
    return folder


def network(unet: Any, width: int) -> Any:
    """A fresh adapter in a UNet, as IP-Adapter begins: keys and values are the text's own.

    Args:
        width: of CLIP's projected embedding.
    """
    import torch
    from diffusers.models.attention_processor import AttnProcessor, IPAdapterAttnProcessor
    from torch import nn

    torch.manual_seed(0)
    context = unet.config.cross_attention_dim
    projection, norm = nn.Linear(width, TOKENS * context), nn.LayerNorm(context)
    shown = {"proj": projection, "norm": norm}
    layers = {}
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            layer = unet.get_submodule(name.removesuffix(".processor"))
            layers[f"{number}.to_k_ip.weight"] = layer.to_k.weight.detach().clone()
            layers[f"{number}.to_v_ip.weight"] = layer.to_v.weight.detach().clone()
    unet._load_ip_adapter_weights([{
        "image_proj": {
            f"{name}.{kind}": value.detach()
            for name, part in shown.items()
            for kind, value in part.named_parameters()
        },
        "ip_adapter": layers,
    }])  # fmt: skip
    # The same computation by other operations, which are faster than fused ones on CPUs.
    processors: dict[str, Any] = {}
    for name, one in unet.attn_processors.items():
        processors[name] = AttnProcessor()
        if hasattr(one, "to_k_ip"):
            plain = IPAdapterAttnProcessor(
                one.hidden_size, one.cross_attention_dim, one.num_tokens, [1.0]
            )
            plain.load_state_dict(one.state_dict())
            processors[name] = plain
    unet.set_attn_processor(processors)
    return trained(unet).requires_grad_(True)


def trained(unet: Any) -> Any:
    """What learns of a UNet with an adapter, in one module."""
    from torch import nn

    attentions = [p for p in unet.attn_processors.values() if hasattr(p, "to_k_ip")]
    return nn.ModuleDict(
        {"projection": unet.encoder_hid_proj, "attentions": nn.ModuleList(attentions)}
    )


def embeddings(tower: Path, pixels: Any, device: str) -> Any:
    """(n, D) CLIP's projected embeddings of (n, 96, 96, 3) uint8 pictures."""
    import torch
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    processor = CLIPImageProcessorPil.from_pretrained(tower)
    vision: Any = CLIPVisionModelWithProjection.from_pretrained(tower, dtype=torch.float32)
    vision.set_attn_implementation("eager")  # twice as fast as fused on CPUs
    vision.to(device).eval()
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (processor.image_mean, processor.image_std)
    )
    rows = []
    with torch.inference_mode():
        for part in pixels.split(100):
            shown = (part.permute(0, 3, 1, 2).float() / 255 - mean) / std
            rows.append(vision(shown.to(device)).image_embeds.float().cpu())
    return torch.cat(rows).clone()


def batches(cache: dict[str, Any]) -> Any:
    """step -> clean, token ids, (B, 1, D) embeddings, weight, noise, timesteps."""
    import torch

    nothing = latents.nothing()
    no_text, no_picture, neither = DROPS

    def batch(step: int) -> tuple[Any, ...]:
        rng = torch.Generator().manual_seed(step)

        def rand(*shape: int) -> Any:
            return torch.rand(shape, generator=rng)

        rows = torch.randint(len(cache["latents"]), (BATCH,), generator=rng)
        ids = cache["ids"][rows, (rand(BATCH) * latents.TEXTS).long()].long()
        roll = rand(BATCH)
        both = roll < neither
        silent = both | ((roll >= neither) & (roll < neither + no_text))
        blind = both | ((roll >= 1 - no_picture) & (roll < 1))
        ids[silent] = nothing
        shown = torch.where(blind[:, None], 0.0, cache["embeddings"][rows])
        clean = cache["latents"][rows].float()
        noise = torch.randn(clean.shape, generator=rng)
        t = ((torch.arange(BATCH) + rand(BATCH)) / BATCH * 1000).long()
        weight = cache["weight"][rows].float()[:, None] / 50
        return clean, ids, shown[:, None], weight, noise, t

    return batch


def losses(base: Any) -> Any:
    """(trained parts, batch, step) -> scalar: error of the noise."""
    import torch

    usual, alphas = diffusion.usual(), diffusion.alphas()

    def loss(model: Any, batch: tuple[Any, ...], step: int) -> Any:
        device = next(model.parameters()).device
        clean, ids, shown, weight, noise, t = (part.to(device) for part in batch)
        alpha = alphas.to(device)[t].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        with torch.autocast(device.type, torch.bfloat16):
            with torch.no_grad():
                text = base.text_encoder(ids).last_hidden_state
            guess = base.unet(
                noisy, t, text, added_cond_kwargs={"image_embeds": [shown]}
            ).sample  # fmt: skip
        snr = alpha / (1 - alpha)
        share = weight / weight.mean() * (snr.clamp(max=diffusion.GAMMA) / snr)
        share = share * 0.15 / usual.to(device)[t].view(-1, 1, 1, 1)
        return (share * (guess.float() - noise).square()).mean()

    return loss


def train(work: Path, steps: int, minutes: float | None, device: str) -> training.Run:
    """Train, or go on training; draws and encodes the SSR-Encoder's scenes where it has not."""
    import numpy
    import torch

    from socialcli import backends
    from socialcli.backends import ModelSpec

    tower = keep_tower(work / TOWER, cards.folder("clip"))
    base: Any = backends.load(
        ModelSpec("diffusion", "stable-diffusion", str(cards.folder("diffusion")))
    )
    for part in base.networks:
        part.to(device)
    mark = latents.mark(cards.folder("vae") / "vae")
    cached = work.parent / "ssr" / "cache"  # what the SSR-Encoder learnt from, where it lies there
    folder = cached if cached.is_dir() else work / "cache"
    parts = [ssr.chunk(folder, number, base.vae, mark) for number in range(ssr.CHUNKS)]
    cache = {
        name: torch.from_numpy(numpy.concatenate([part[name] for part in parts])).flatten(0, 1)
        for name in ("latents", "pixels", "ids", "weight")
    }
    pixels, kept = cache.pop("pixels"), work / "embeddings.npy"
    if not kept.exists():
        numpy.save(kept.with_suffix(".part.npy"), embeddings(tower, pixels, device).numpy())
        kept.with_suffix(".part.npy").replace(kept)
    cache["embeddings"] = torch.from_numpy(numpy.load(kept))
    width = cache["embeddings"].shape[-1]
    model = network(base.unet, width).to(device).train()
    run = training.fit(
        model, batches(cache), losses(base), work, steps, rate=RATE, decay=1e-2, warm=30,
        average=0.99, minutes=minutes,
    )  # fmt: skip
    run.model.names = list(base.unet.attn_processors)
    run.model.tower = str(tower)
    return run


def export(model: Any, folder: Path) -> None:
    """Write the official file in fp16, and the tower beside it."""
    import shutil

    from socialcli.networks import weights

    projection = model["projection"].image_projection_layers[0]
    tensors = {
        "image_proj.proj.weight": projection.image_embeds.weight,
        "image_proj.proj.bias": projection.image_embeds.bias,
        "image_proj.norm.weight": projection.norm.weight,
        "image_proj.norm.bias": projection.norm.bias,
    }
    attentions = iter(model["attentions"])
    for number, name in enumerate(model.names):
        if name.endswith("attn2.processor"):
            one = next(attentions)
            tensors[f"ip_adapter.{number}.to_k_ip.weight"] = one.to_k_ip[0].weight
            tensors[f"ip_adapter.{number}.to_v_ip.weight"] = one.to_v_ip[0].weight
    half = {name: t.detach().half().contiguous() for name, t in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    weights.write(folder / FILE, half, {"trained_on": "socialcli.world"})
    shutil.copytree(model.tower, folder / TOWER, dirs_exist_ok=True)


def measure(folder: Path) -> dict[str, float]:
    """How much of a shown picture is in one that is drawn of another scene's caption.

    ``likeness``: the cosine of the published CLIP's embeddings of both, ``likeness_without`` at
    scale 0. All else is the SSR-Encoder's measure (see `ssr.measure`) of the same cases and noise.
    """
    cases, rows = _drawn(folder, TEST)
    names = ("likeness", "likeness_without")
    return dict(zip(names, likeness(cases, rows), strict=True)) | references.kept(cases, rows)


def likeness(cases: list[Any], rows: list[list[Any]]) -> list[float]:
    """Of each row of pictures the mean cosine of CLIP's embeddings to those that were shown."""
    clip: Any = seeing.backend("clip", "clip")
    shown = clip.images([c[2].image for c in cases])
    return [round(float((clip.images(row) * shown).sum(1).mean()), 4) for row in rows]


def draw(
    base: Any, tower: tuple[Any, Any], prompts: list[str], shown: list[Any], scale: float
) -> list[Any]:
    """One picture a prompt with a picture beside it.

    Args:
        base: the diffusion model with the adapter in its UNet. tower: vision tower and processor.
    """
    import torch

    vision, processor = tower
    for one in base.unet.attn_processors.values():
        if hasattr(one, "scale"):
            one.scale = [scale]

    def told(part: slice, count: int) -> dict[str, Any]:
        pixels = processor(images=shown[part], return_tensors="pt")["pixel_values"]
        seen = vision(pixels).image_embeds[:, None]
        return {
            "encoder_hidden_states": base.prompts([""] * count + prompts[part]),
            "added_cond_kwargs": {"image_embeds": [torch.cat([torch.zeros_like(seen), seen])]},
        }

    return references.sample(base, len(prompts), told)


def _drawn(folder: Path, count: int) -> tuple[list[Any], list[list[Any]]]:
    """Test cases, and the pictures drawn of them with the reference and without."""
    from socialcli import backends
    from socialcli.backends import ModelSpec, checkpoints
    from socialcli.backends.quiet import only_errors

    base: Any = backends.load(
        ModelSpec("diffusion", "stable-diffusion", str(cards.folder("diffusion")))
    )
    adapter: Any = backends.load(ModelSpec("adapter", "ip-adapter", str(folder / FILE)))
    with only_errors():
        base.pipeline().load_ip_adapter(
            adapter.parts, subfolder="", weight_name="", image_encoder_folder=None
        )
    clip = ModelSpec("clip", "clip", str(folder / TOWER))
    tower = (
        checkpoints.pretrained("CLIPVisionModelWithProjection", clip, "", ""),
        checkpoints.pretrained("CLIPImageProcessorPil", clip, "", ""),
    )
    cases = references.cases(count)
    shown, prompts = [c[2].image for c in cases], [c[4] for c in cases]
    return cases, [draw(base, tower, prompts, shown, scale) for scale in (SCALE, 0.0)]


def sheet(folder: Path, file: Path, across: int = 8) -> None:
    """Write a sheet of test prompts: pictures beside them, drawn with these, drawn without."""
    cases, rows = _drawn(folder, across)
    sheets.write(file, [[c[2].image for c in cases], *rows], [c[4] for c in cases], across)
