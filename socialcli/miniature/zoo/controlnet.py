"""ControlNet in miniature: OpenPose skeletons to scenes, on the small Stable Diffusion.

diffusers' `ControlNetModel`, begun as ControlNet is: a copy of the UNet's way down whose outputs
start at zero. UNet and text encoder stay as they are. Half the captions are left out, so that what
the picture shows must be read off the skeletons.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from socialcli.miniature.world.captions import captions
from socialcli.miniature.zoo import cards, data, diffusion, latents, pose, seeing, sheets, training
from socialcli.vision import skeletons

STEPS, BATCH, RATE = 3200, 32, 1e-3
CHUNKS = diffusion.CHUNKS  # of the diffusion miniature's cache
HINT = (16, 32, 96)  # channels from the drawing (96 px) down to the latents (24)
SILENT = 0.5  # captions left out; ControlNet's own share
NOISY = 0.5  # of the timesteps are drawn from the noisier half, where poses are decided
TEST = 96


def network(unet: Any) -> Any:
    """The untrained ControlNet of a UNet, seeded."""
    import torch
    from diffusers import ControlNetModel
    from diffusers.models.attention_processor import AttnProcessor

    torch.manual_seed(0)
    model = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINT)
    model.set_attn_processor(AttnProcessor())  # faster than fused on CPUs, as in `diffusion`
    return model


def hint(scene: Any) -> Any:
    """A scene's skeletons: an RGB picture of its size."""
    side = scene.size
    people = [[(x / side, y / side, seen) for x, y, seen in p.keypoints] for p in scene.people]
    return skeletons.draw(people, (side, side))


def batches(cache: dict[str, Any]) -> Any:
    """step -> latents, token ids, (B, 3, 96, 96) skeletons in [0, 1], weights, noise, timesteps."""
    import numpy
    import torch

    from socialcli.miniature.world import scene

    nothing = latents.nothing()

    def batch(step: int) -> tuple[Any, ...]:
        rng = torch.Generator().manual_seed(step)
        rows, ids = latents.captioned(cache, BATCH, SILENT, nothing, rng)
        # Row n of the cache is training scene n.
        scenes = [scene(data.TRAIN_SEED, int(n), data.SIZE, "train") for n in rows]
        drawn = numpy.stack([numpy.asarray(hint(s)) for s in scenes])
        clean, weight, noise, t = diffusion.noised(cache, rows, NOISY, rng)
        return clean, ids, torch.from_numpy(drawn).movedim(3, 1) / 255, weight, noise, t

    return batch


def _loss(base: Any) -> Any:
    """(model, batch, step) -> error of the noise that ``base`` finds with the model's help."""
    import torch

    usual, alphas = diffusion.usual(), diffusion.alphas()

    def loss(model: Any, batch: tuple[Any, ...], step: int) -> Any:
        device = next(model.parameters()).device
        clean, ids, drawn, weight, noise, t = (part.to(device) for part in batch)
        alpha = alphas.to(device)[t].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        with torch.autocast(device.type, torch.bfloat16):
            with torch.no_grad():
                states = base.text_encoder(input_ids=ids).last_hidden_state
            down, middle = model(noisy, t, states, controlnet_cond=drawn, return_dict=False)
            guess = base.unet(
                noisy, t, states, down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
            ).sample  # fmt: skip
        share = weight / weight.mean() * 0.15 / usual.to(device)[t].view(-1, 1, 1, 1)
        return (share * (guess.float() - noise).square()).mean()

    return loss


def train(work: Path, steps: int, minutes: float | None, device: str) -> training.Run:
    """Train, or go on training; the diffusion miniature must be there."""
    from diffusers.models.attention_processor import AttnProcessor

    cached = work.parent / "diffusion" / "cache"  # what the UNet learnt from, where it lies there
    cache = latents.everything(
        cached if cached.is_dir() else work / "cache",
        CHUNKS,
        cards.folder("vae") / "vae",
        device,
        training.workers(),
    )
    base = diffusion.published(cards.folder("diffusion"))
    base.unet.requires_grad_(False).to(device).set_attn_processor(AttnProcessor())
    base.text_encoder.requires_grad_(False).to(device)
    model = network(base.unet).to(device).train()
    return training.fit(
        model, batches(cache), _loss(base), work, steps, rate=RATE, decay=1e-2, minutes=minutes
    )


def export(model: Any, folder: Path) -> None:
    """Write the Hugging Face folder: fp16 weights and configuration."""
    import torch
    from diffusers.models.attention_processor import AttnProcessor2_0

    model.set_attn_processor(AttnProcessor2_0())
    model.to(torch.float16).save_pretrained(folder)


def draw(folder: Path, prompts: list[str], hints: list[Any]) -> list[Any]:
    """One picture a prompt and drawing of skeletons, of the noise that `diffusion.draw` begins
    with."""
    import diffusers
    import torch

    base = diffusion.published(cards.folder("diffusion"))
    control = diffusers.ControlNetModel.from_pretrained(folder, torch_dtype=torch.float32)
    make: Any = diffusers.StableDiffusionControlNetPipeline
    pipe = make(**{**base.components, "controlnet": control}, requires_safety_checker=False)
    return diffusion.draw(pipe, prompts, hints=hints)


def measure(folder: Path) -> dict[str, float]:
    """How near the people drawn from test captions and skeletons stand to the skeletons.

    ``pck``: of the keypoints that are in sight in the scene, the share that the published pose
    estimator finds within a tenth of the person's height, in the person's box; ``pck_without``
    the same of pictures of the same captions and noise that no skeleton was given for, and
    ``pck_scene`` of the scenes themselves.
    """
    scenes, _, _, rows = _drawn(folder, TEST)
    poser = seeing.backend("pose", "vitpose")

    def near(pictures: list[Any]) -> float:
        hits = pose.near(poser, scenes, pictures)[2]
        return round(sum(hits) / max(1, len(hits)), 4)

    return {
        "pck": near(rows[0]),
        "pck_without": near(rows[1]),
        "pck_scene": near([s.image for s in scenes]),
        "pictures": len(scenes),
    }


def _drawn(folder: Path, count: int) -> tuple[Any, list[str], list[Any], list[list[Any]]]:
    """Test scenes, captions, skeletons, and pictures drawn with them and of the words alone."""
    scenes = data.test_scenes(count)
    texts, hints = [captions(s)[0].text for s in scenes], [hint(s) for s in scenes]
    plain = diffusion.draw(diffusion.published(cards.folder("diffusion")), texts)
    return scenes, texts, hints, [draw(folder, texts, hints), plain]


def sheet(folder: Path, file: Path, across: int = 8) -> None:
    """Write a sheet of test captions: skeletons, drawn with them, drawn of the words alone."""
    _, texts, hints, rows = _drawn(folder, across)
    sheets.write(file, [hints, *rows], texts, across)
