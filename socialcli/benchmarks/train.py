"""What a step of `socialcli train` costs: plain fine-tuning against diffusers' own training
example, and each feedback against none.

Plain: the same UNet, pictures, batch and precision, one thread. The peer does in every step what
``examples/text_to_image/train_text_to_image.py`` does: decode, crop, flip and normalise in a
DataLoader, VAE, text encoder, noise, UNet, mean squared error, accelerate's backward, clipping,
AdamW, schedule. Ours is the training loop's own step with ``--variants 1``, once the features of
every picture are in its cache, as they are from the second epoch on; what making them costs is
said too. Neither writes logs or checkpoints meanwhile.

Feedback: steps of ``--method feedback`` at the paper's gates and weights, with one loss at a time
and all together, over the step that only denoises and regularises. All see the same pictures,
noise and timesteps. The networks are the embedded miniatures.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from socialcli import registry, shards
from socialcli.benchmarks import Figure, Section, in_turns, ratio, table

WEIGHTS = Path(__file__).parent.parent / "miniature" / "weights"
SIDE, PICTURES, BATCH = 96, 64, 8  # a turn is one epoch
ENDLESS = 10**9
CHEAPEST = "all, small decoder, a quarter of the samples"
FEEDBACKS = ("boundary", "identity", "gaze", "pose", "interaction")


def run(turns: int) -> Section:
    """Two Markdown tables: samples per second, and ratios to the plain step."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="socialcli-benchmark-") as temporary:
        root = Path(temporary)
        data = scenes(root / "world.tar")
        parts = [plain(turns, data, root), feedback(turns, data, root)]
    text = "\n\n".join(part.text for part in parts)
    return Section(text, [figure for part in parts for figure in part.figures])


def scenes(file: Path, count: int = PICTURES, seed: int = 7) -> str:
    """A shard of rendered scenes with everything that is known of them."""
    from socialcli.miniature.world import scene
    from socialcli.miniature.world.ground_truth import members

    shards.write(file, ((f"{n:05d}", members(scene(seed, n, SIDE))) for n in range(count)))
    return str(file)


def plain(turns: int, data: str, root: Path) -> Section:
    """Plain fine-tuning against the example, in float32 and in bfloat16 on both sides."""
    method = registry.load("methods.train", "text-to-image")
    model = WEIGHTS / "diffusion"
    peer, own = "diffusers' example, step by step", "socialcli train"
    rows, costs, figures = [], [], []
    for mixed, dtype in (("no", "float32"), ("bf16", "bfloat16")):
        values: dict[str, Any] = {"model": str(model), "dtype": dtype, "mixed_precision": mixed}
        with (
            opened(method, root / dtype, data, **values) as own_epoch,
            beside(example, model, data, mixed) as (peer_epoch, spent),
        ):
            started = time.process_time()
            own_epoch()  # makes the features
            making = time.process_time() - started
            clock = lambda: time.process_time() + spent()  # noqa: E731
            runs = {peer: peer_epoch, own: own_epoch}
            seconds = in_turns(runs, turns, before=lambda: None, clock=clock)
        costs.append((making - statistics.median(seconds[own])) / PICTURES)
        for name in runs:
            speed = PICTURES / statistics.median(seconds[name])
            rows.append([dtype, name, f"{speed:.1f}", f"{ratio(seconds, name, peer):.2f}"])
        what = f"training steps over diffusers' example, {dtype}"
        figures.append(Figure(what, ratio(seconds, own, peer), 1.5))
    head = (
        f"## Steps of plain fine-tuning\n\nThe miniature Stable Diffusion at {SIDE} x {SIDE} "
        f"pixels, batches of {BATCH}; seconds of the processor, one thread. Making the features "
        f"that ours keeps takes {costs[0] * 1e3:.0f} ms a picture, once ({costs[1] * 1e3:.0f} ms "
        "in bfloat16)."
    )
    text = f"{head}\n\n" + table(["", "", "samples/s", "times the example"], rows)
    return Section(text, figures)


def feedback(turns: int, data: str, root: Path) -> Section:
    """Each feedback, and all, over none; all by a small decoder and on a share of the samples."""
    method = registry.load("methods.train", "feedback")
    small = {"decoder": "tiny", "decoder_model": str(WEIGHTS / "decoder")}
    sets: dict[str, dict[str, Any]] = {"none": {"feedback": "none"}}
    sets |= {name: {"feedback": name} for name in FEEDBACKS}
    sets |= {
        "all but boundary": {"feedback": ",".join(FEEDBACKS[1:])},
        "all": {},
        "all, small decoder": small,
        "all, half of the samples": {"feedback_share": 0.5},
        "all, small decoder, half of the samples": {**small, "feedback_share": 0.5},
        CHEAPEST: {**small, "feedback_share": 0.25},
    }
    with contextlib.ExitStack() as stack:
        runs = {
            name: stack.enter_context(
                opened(method, root / name, data, size=SIDE, **feedback_models(), **values)
            )
            for name, values in sets.items()
        }
        for epoch in runs.values():
            epoch()
        seconds = in_turns(runs, turns, before=lambda: None, clock=time.process_time)
    rows = []
    for name in runs:
        speed = PICTURES / statistics.median(seconds[name])
        rows.append([name, f"{speed:.1f}", f"{1 / ratio(seconds, name, 'none'):.2f}"])
    head = (
        f"## Steps with feedback\n\nThe SSR-Encoder on the same, batches of {BATCH}, the paper's "
        "gates and timesteps; seconds of the processor, one thread."
    )
    text = f"{head}\n\n" + table(["feedback", "samples/s", "time over none"], rows)
    figures = [
        Figure(f"steps with feedback in miniature ({name}), time over none",
               1 / ratio(seconds, name, "none"), 1.6, lower=True)
        for name in ("all", "all, small decoder", CHEAPEST)
    ]  # fmt: skip
    return Section(text, figures)


def feedback_models() -> dict[str, Any]:
    """The options that name the embedded miniatures."""
    return {
        "model": str(WEIGHTS / "diffusion"), "ssr_model": str(WEIGHTS / "ssr"),
        "identity_model": str(WEIGHTS / "face" / "backbone.pth"),
        "gaze_model": str(WEIGHTS / "gaze" / "sharingan.pt"), "pose_model": str(WEIGHTS / "pose"),
        "interaction_model": str(WEIGHTS / "interaction"),
    }  # fmt: skip


@contextlib.contextmanager
def opened(
    method: Any, folder: Path, data: str, pictures: int = PICTURES, batch: int = BATCH,
    **values: Any,
) -> Iterator[Callable[[], None]]:  # fmt: skip
    """A training as the loop sets it up, its features kept in memory; a call of what is given
    goes on for one epoch of steps."""
    from socialcli.pipeline.report import Report
    from socialcli.training import data as samples
    from socialcli.training.examples import Examples
    from socialcli.training.features import Features
    from socialcli.training.options import resolved
    from socialcli.training.place import here
    from socialcli.training.step import Stepper, optimiser

    fixed = {"batch_size": batch, "micro_batch": batch, "variants": 1}
    usual = {"device": "cpu", "dtype": "float32", "mixed_precision": "auto"}
    config = method.config_type(**resolved({**usual, **values, **fixed}))
    place = here(config)
    place.index = samples.usable(method, config, [data], folder, place, Report(quiet=True))
    state = method.load(config, place)
    module = method.trainable(state)
    cache = Features(folder, config.cache_memory, 0)
    stream = Examples(method, state, config, place.index, cache)
    kind = optimiser(method, state, module, config)
    stepper = Stepper(method, state, config, place, module, kind, stream, cache)
    with contextlib.closing(stream.micro_batches(0, ENDLESS)) as batches:

        def epoch() -> None:
            for _ in range(pictures // batch):
                stepper.go(batches, lambda: False, lambda *_, **__: None)

        yield epoch


@contextlib.contextmanager
def beside(
    make: Callable[..., Callable[[], None]], *values: Any
) -> Iterator[tuple[Callable[[], None], Callable[[], float]]]:
    """``make(*values)`` in a process of its own, whose memory ours does not arrange: what runs it
    there once, and what says how many seconds of the processor all its runs took."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make, values), daemon=True)
    process.start()
    there.close()

    taken = [0.0]

    def call() -> None:
        here.send(True)
        taken.append(here.recv())

    try:
        yield call, lambda: sum(taken)
        here.send(False)
    finally:
        here.close()
        process.join(10)
        process.kill()


def _serve(line: Any, make: Callable[..., Callable[[], None]], values: tuple[Any, ...]) -> None:
    import torch

    torch.set_num_threads(1)
    run = make(*values)
    while line.recv():
        started = time.process_time()
        run()
        line.send(time.process_time() - started)


def example(model: Path, data: str, mixed: str) -> Callable[[], None]:
    """An epoch of the peer, with the example's own defaults and ``--mixed_precision``."""
    import torch
    import torch.nn.functional as F
    from accelerate import Accelerator
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from diffusers.optimization import get_scheduler
    from transformers import CLIPTextModel, CLIPTokenizer

    def part(kind: Any, name: str) -> Any:
        return kind.from_pretrained(model / name, torch_dtype=torch.float32)

    accelerator = Accelerator(cpu=True, mixed_precision=mixed)
    frozen = torch.bfloat16 if mixed == "bf16" else torch.float32
    schedule = DDPMScheduler.from_pretrained(model / "scheduler")
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    vae, words = part(AutoencoderKL, "vae"), part(CLIPTextModel, "text_encoder")
    unet = part(UNet2DConditionModel, "unet")
    vae.requires_grad_(False).to(frozen)
    words.requires_grad_(False).to(frozen)
    unet.train()
    kind = torch.optim.AdamW(unet.parameters(), lr=1e-5, weight_decay=1e-2)
    pictures: Any = Pictures(data, tokenizer)
    loader: Any = torch.utils.data.DataLoader(
        pictures, batch_size=BATCH, shuffle=True, collate_fn=collate
    )
    rate = get_scheduler("constant", optimizer=kind)
    unet, kind, loader, rate = accelerator.prepare(unet, kind, loader, rate)

    def epoch() -> None:
        # All in one body: what a step made lives until the next one makes it anew, as there.
        for pixels, ids in loader:
            with accelerator.accumulate(unet):
                latents = (
                    vae.encode(pixels.to(frozen)).latent_dist.sample() * vae.config.scaling_factor
                )
                noise = torch.randn_like(latents)
                when = torch.randint(0, schedule.config.num_train_timesteps, (len(latents),))
                noisy = schedule.add_noise(latents, noise, when)
                states = words(ids, return_dict=False)[0]
                wanted = noise
                if schedule.config.prediction_type == "v_prediction":
                    wanted = schedule.get_velocity(latents, noise, when)
                model_pred = unet(noisy, when, states, return_dict=False)[0]
                loss = F.mse_loss(model_pred.float(), wanted.float())
                accelerator.gather(loss.repeat(BATCH)).mean().item()
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(unet.parameters(), 1.0)
                kind.step()
                rate.step()
                kind.zero_grad()

    return epoch


class Pictures:
    """The example's data set: pictures decoded, cropped, flipped and normalised when asked for."""

    def __init__(self, data: str, tokenizer: Any) -> None:
        from socialcli import records

        self.tokenizer = tokenizer
        self.rows = [(s.picture(), s.record(records.Caption).text) for s in shards.read(data)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, numbers: list[int]) -> list[tuple[Any, Any]]:
        ids = self.tokenizer(
            [self.rows[n][1] for n in numbers], max_length=self.tokenizer.model_max_length,
            padding="max_length", truncation=True, return_tensors="pt",
        ).input_ids  # fmt: skip
        return [(self._pixels(self.rows[n][0]), row) for n, row in zip(numbers, ids, strict=True)]

    def _pixels(self, picture: bytes) -> Any:
        import random

        import numpy
        import torch
        from PIL import Image, ImageOps

        image = Image.open(io.BytesIO(picture)).convert("RGB")
        if min(image.size) != SIDE:
            scale = SIDE / min(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            image = image.resize(size, Image.Resampling.LANCZOS)
        left, top = (random.randint(0, edge - SIDE) for edge in image.size)
        image = image.crop((left, top, left + SIDE, top + SIDE))
        if random.random() < 0.5:
            image = ImageOps.mirror(image)
        values = torch.from_numpy(numpy.asarray(image).copy()).permute(2, 0, 1).contiguous()
        return (values.float() / 255 - 0.5) / 0.5


def collate(rows: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """(B, 3, S, S) pixels and (B, L) token numbers."""
    import torch

    pixels, ids = zip(*rows, strict=True)
    return torch.stack(pixels), torch.stack(ids)
