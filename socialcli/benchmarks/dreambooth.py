"""What a step of ``train --method dreambooth --adapter lora`` costs against diffusers' own example,
in the same run.

The same UNet, pictures, class pictures, rank, batch and precision, one thread. The peer does in
every step what ``examples/dreambooth/train_dreambooth_lora.py`` does with prior preservation:
decode, resize, crop and normalise a picture of the subject and one of its class, tokenise both
texts, VAE, text encoder, noise, UNet with peft's adapters, both losses, accelerate's backward,
clipping, AdamW, schedule. Ours is the training loop's own step with ``--variants 1``, once the
features of every picture are in its cache, as they are from the second epoch on.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from socialcli import registry, shards
from socialcli.benchmarks import Figure, Section, in_turns, ratio, table, train

PICTURES, BATCH = 16, 4  # a turn is one epoch; each sample brings a class picture
RANK = 4
TEXTS = ("a photo of a sks dog", "a photo of a dog")


def run(turns: int) -> Section:
    """A Markdown table: samples per second, and the ratio to the example."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="socialcli-benchmark-") as temporary:
        root = Path(temporary)
        data = train.scenes(root / "world.tar", PICTURES)
        folder = root / "class"
        folder.mkdir()
        other = train.scenes(root / "class.tar", PICTURES, seed=8)
        for sample in shards.read(other):
            (folder / f"{sample.key}.png").write_bytes(sample.picture())
        return compared(turns, data, folder, root)


def compared(turns: int, data: str, folder: Path, root: Path) -> Section:
    """Both, in float32."""
    model = train.WEIGHTS / "diffusion"
    peer, own = "diffusers' example, step by step", "socialcli train, LoRA"
    values = {
        "model": str(model), "mixed_precision": "no", "adapter": "lora", "rank": RANK,
        "alpha": float(RANK), "learning_rate": 1e-4, "class_pictures": str(folder),
        "class_word": ["dog"], "by": "none", "size": train.SIDE,
    }  # fmt: skip
    method = registry.load("methods.train", "dreambooth")
    with (
        train.opened(method, root / "ours", data, PICTURES, BATCH, **values) as own_epoch,
        train.beside(example, model, data, folder) as (peer_epoch, spent),
    ):
        own_epoch()  # makes the features
        runs = {peer: peer_epoch, own: own_epoch}
        clock = lambda: time.process_time() + spent()  # noqa: E731
        seconds = in_turns(runs, turns, before=lambda: None, clock=clock)
    rows = [
        [name, f"{PICTURES / statistics.median(seconds[name]):.1f}",
         f"{ratio(seconds, name, peer):.2f}"]
        for name in runs
    ]  # fmt: skip
    head = (
        f"## Steps of DreamBooth as a LoRA\n\nThe miniature Stable Diffusion at {train.SIDE} x "
        f"{train.SIDE} pixels, rank {RANK}, batches of {BATCH} and as many class pictures; seconds "
        "of the processor, one thread."
    )
    faster = ratio(seconds, own, peer)
    goal = Figure("steps of DreamBooth as a LoRA over diffusers' example", faster, 1)
    return Section(f"{head}\n\n" + table(["", "samples/s", "times the example"], rows), [goal])


def example(model: Path, data: str, folder: Path) -> Callable[[], None]:
    """An epoch of the peer, with the example's own defaults."""
    import torch
    import torch.nn.functional as F
    from accelerate import Accelerator
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from diffusers.optimization import get_scheduler
    from peft import LoraConfig
    from transformers import CLIPTextModel, CLIPTokenizer

    def part(kind: Any, name: str) -> Any:
        return kind.from_pretrained(model / name, torch_dtype=torch.float32).requires_grad_(False)

    accelerator = Accelerator(cpu=True, mixed_precision="no")
    schedule = DDPMScheduler.from_pretrained(model / "scheduler")
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    vae, words = part(AutoencoderKL, "vae"), part(CLIPTextModel, "text_encoder")
    unet = part(UNet2DConditionModel, "unet")
    unet.add_adapter(
        LoraConfig(
            r=RANK, lora_alpha=RANK, init_lora_weights="gaussian",
            target_modules=["to_k", "to_q", "to_v", "to_out.0"],
        )
    )  # fmt: skip
    unet.train()
    parameters = [p for p in unet.parameters() if p.requires_grad]
    kind = torch.optim.AdamW(parameters, lr=5e-4, weight_decay=1e-2)
    pictures: Any = Pictures(data, folder, tokenizer)
    loader: Any = torch.utils.data.DataLoader(
        pictures, batch_size=BATCH, shuffle=True, collate_fn=collate
    )
    rate = get_scheduler("constant", optimizer=kind)
    unet, kind, loader, rate = accelerator.prepare(unet, kind, loader, rate)

    def epoch() -> None:
        for pixels, ids in loader:
            with accelerator.accumulate(unet):
                latents = vae.encode(pixels).latent_dist.sample() * vae.config.scaling_factor
                noise = torch.randn_like(latents)
                when = torch.randint(0, schedule.config.num_train_timesteps, (len(latents),))
                noisy = schedule.add_noise(latents, noise, when)
                states = words(ids)[0]
                model_pred = unet(noisy, when, states, return_dict=False)[0]
                target = noise
                if schedule.config.prediction_type == "v_prediction":
                    target = schedule.get_velocity(latents, noise, when)
                (instance, prior), (wanted, other) = model_pred.chunk(2), target.chunk(2)
                loss = F.mse_loss(instance.float(), wanted.float())
                loss = loss + 1.0 * F.mse_loss(prior.float(), other.float())
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(parameters, 1.0)
                kind.step()
                rate.step()
                kind.zero_grad()
            loss.detach().item()

    return epoch


class Pictures:
    """The example's data set: a picture of the subject and one of its class, with their texts."""

    def __init__(self, data: str, folder: Path, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.mine = [sample.picture() for sample in shards.read(data)]
        self.others = [file.read_bytes() for file in sorted(folder.iterdir())]

    def __len__(self) -> int:
        return len(self.mine)

    def __getitem__(self, number: int) -> list[tuple[Any, Any]]:
        pictures = self.mine[number], self.others[number % len(self.others)]
        return [
            (_pixels(picture), self._ids(text))
            for picture, text in zip(pictures, TEXTS, strict=True)
        ]

    def _ids(self, text: str) -> Any:
        return self.tokenizer(
            text, truncation=True, padding="max_length",
            max_length=self.tokenizer.model_max_length, return_tensors="pt",
        ).input_ids  # fmt: skip


def _pixels(picture: bytes) -> Any:
    import random

    import numpy
    import torch
    from PIL import Image

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    side = train.SIDE
    scale = side / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (random.randint(0, edge - side) for edge in image.size)
    image = image.crop((left, top, left + side, top + side))
    values = torch.from_numpy(numpy.asarray(image).copy()).permute(2, 0, 1).contiguous()
    return (values.float() / 255 - 0.5) / 0.5


def collate(rows: list[list[tuple[Any, Any]]]) -> tuple[Any, Any]:
    """Pictures of the subject, then those of the class; and their texts."""
    import torch

    ordered = [row[0] for row in rows] + [row[1] for row in rows]
    return torch.stack([pixels for pixels, _ in ordered]), torch.cat([ids for _, ids in ordered])
