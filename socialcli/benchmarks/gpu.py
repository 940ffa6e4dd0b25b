"""One run on a card: ``pipelines/benchmark-gpu.sh``. Everything that only a GPU can show.

    * training and resuming on the device, in bf16, with the miniatures: a run that was stopped ends
      where an undisturbed one does, up to the last bits of its kernels;
    * Stable Diffusion 1.5's true size with random weights at 512 pixels: the plain step, the step
      with all feedbacks and each decoder, pictures in batches of 1, 8 and 32 against diffusers'
      pipeline, with memory and the share of the card's matrix rate.

``--dry`` runs every line with the miniatures on the processor: whether it works, not how fast.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from socialcli import registry
from socialcli.benchmarks import Section, operations, publishing, table, train

COMMAND = "pipelines/benchmark-gpu.sh"
SEED = 0


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        device, dtype: where, in what. side: pixels. pictures, batch: of a training epoch.
        batches: of generated pictures. steps: of the scheduler. turns: of what is timed.
        sets: which of `SETS` are trained with.
    """

    device: str
    dtype: str
    side: int
    pictures: int
    batch: int
    batches: tuple[int, ...]
    steps: int
    turns: int
    sets: tuple[int, ...]


# What feedbacks are asked for, the plain step first.
SETS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("plain step", {"feedback": "none"}),
    ("all feedbacks", {}),
    ("all, small decoder", {"decoder": "tiny"}),
    ("all, small decoder, half of the samples", {"decoder": "tiny", "feedback_share": 0.5}),
)
CARD = Size("cuda", "bfloat16", 512, 16, 8, (1, 8, 32), 20, 3, (0, 1, 2, 3))
DRY = Size("cpu", "float32", 96, 2, 2, (1,), 1, 1, (0, 3))


def main() -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--dry", action="store_true", help="miniatures on the processor")
    parser.add_argument("--record", type=Path, metavar="FILE.json", help="put the result there")
    options = parser.parse_args()
    publishing.check(parser, options.record)
    import torch

    if not options.dry and not torch.cuda.is_available():
        print(f"{COMMAND}: torch finds no cuda; --dry runs without", file=sys.stderr)
        return 2
    size = DRY if options.dry else CARD
    parts: list[str] = []
    failed = False
    with tempfile.TemporaryDirectory(prefix="socialcli-benchmark-") as temporary:
        root = Path(temporary)
        models = miniatures() if options.dry else true_size(root / "models", size.device)
        for part in (resuming, training, drawing):
            try:
                parts.append(part(size, root, models))
            except Exception:  # the card is ours for minutes: the other parts still go on
                traceback.print_exc()
                failed = True
                continue
            print(parts[-1], end="\n\n", flush=True)
    name = "the processor, dry" if options.dry else torch.cuda.get_device_name()
    if options.record:
        section = Section(f"## On {name}\n\n" + "\n\n".join(parts))
        publishing.record(options.record, {"gpu": section})
    return 1 if failed else 0


# --- models ---------------------------------------------------------------------------------------


def miniatures() -> dict[str, str]:
    """The options of `train --method feedback` that name models: the embedded ones."""
    return {**train.feedback_models(), "decoder_model": str(train.WEIGHTS / "decoder")}


def true_size(root: Path, device: str) -> dict[str, str]:
    """The same of networks with the published sizes and random weights, written to a folder."""
    import torch
    from diffusers import DDPMScheduler, StableDiffusionPipeline
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from socialcli.miniature.zoo.words import clip_tokenizer
    from socialcli.networks import iresnet, sharingan, tiny_decoder

    root.mkdir(parents=True)
    torch.manual_seed(SEED)
    with torch.device(device):
        text = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                num_attention_heads=12, projection_dim=768,
            )
        )  # fmt: skip
        vision = CLIPVisionModel(CLIPVisionConfig(**operations.CLIP, intermediate_size=4096))
        parts = {"unet": operations.unet(), "vae": operations.autoencoder(), "text_encoder": text}
        faces = iresnet.IResNet(iresnet.DEPTHS["iresnet100"])
        gaze, pose = sharingan.Sharingan(), operations.pose_network()
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
    )
    pipe: Any = StableDiffusionPipeline(
        **parts, tokenizer=clip_tokenizer(), scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(root / "base")
    vision.save_pretrained(root / "clip")
    CLIPImageProcessorPil().save_pretrained(root / "clip")
    torch.save(faces.state_dict(), root / "backbone.pth")
    torch.save(gaze.state_dict(), root / "gaze.pt")
    pose.save_pretrained(root / "pose")
    for file in (train.WEIGHTS / "pose").glob("preprocessor_config.json"):
        settings = file.read_text(encoding="utf-8")
        (root / "pose" / file.name).write_text(settings, encoding="utf-8")
    (root / "decoder").mkdir()
    tiny_decoder.save(tiny_decoder.create(4, 64, [3, 3, 3, 1]), root / "decoder", {})
    return {
        "model": str(root / "base"), "ssr_model": "new", "clip_model": str(root / "clip"),
        "identity_model": str(root / "backbone.pth"), "gaze_model": str(root / "gaze.pt"),
        "pose_model": str(root / "pose"), "decoder_model": str(root / "decoder"),
        "interaction_model": str(train.WEIGHTS / "interaction"),
    }  # fmt: skip


# --- parts ----------------------------------------------------------------------------------------


def resuming(size: Size, root: Path, models: dict[str, str]) -> str:
    """Two steps at once against one and then another, of the miniature's UNet."""
    import torch
    from safetensors.torch import load_file

    from socialcli.training import loop

    method = registry.load("methods.train", "text-to-image")
    data = train.scenes(root / "few.tar", 2)
    values = {
        **dataclasses.asdict(method.config_type()), "model": miniatures()["model"],
        "size": 48, "device": size.device, "dtype": size.dtype, "batch_size": 2, "micro_batch": 2,
        "quiet": True, "checkpoint_every": 1, "variants": 1,
    }  # fmt: skip
    for folder, stops in (("whole", (2,)), ("stopped", (1, 2))):
        for steps in stops:
            config = {**values, "steps": steps}
            loop.run("train", "text-to-image", method, config, [data], str(root / folder))
    name = "unet/diffusion_pytorch_model.safetensors"
    whole, stopped = (load_file(root / folder / name) for folder in ("whole", "stopped"))
    apart = max(float((whole[n].float() - stopped[n].float()).abs().max()) for n in whole)
    same = all(torch.equal(whole[n], stopped[n]) for n in whole)
    how = "the same bits" if same else f"at most {apart:.1e} apart"
    return f"### Resuming\n\nStopped after one step of two, and undisturbed: {how}."


def training(size: Size, root: Path, models: dict[str, str]) -> str:
    """Steps of feedback: none, and all through each decoder."""
    method = registry.load("methods.train", "feedback")
    data = train.scenes(root / "world.tar", size.pictures)
    rows, first = [], 0.0
    for number in size.sets:
        name, chosen = SETS[number]
        values = {**models, **chosen, "size": size.side, "dtype": size.dtype,
                  "device": size.device}  # fmt: skip
        with train.opened(
            method, root / f"steps-{number}", data, size.pictures, size.batch, **values
        ) as epoch:
            seconds, memory = timed(epoch, size)
        each = seconds / (size.pictures / size.batch)
        first = first or each
        rows.append([name, f"{each:.3f}", f"{each / first:.2f}", memory])
    head = f"### Training steps, batches of {size.batch}, {size.side} pixels, {size.dtype}"
    return f"{head}\n\n" + table(["", "seconds a step", "times the plain step", "GB"], rows)


def drawing(size: Size, root: Path, models: dict[str, str]) -> str:
    """Pictures against diffusers' pipeline, and the share of the card's matrix rate."""
    import torch

    from socialcli.benchmarks.generate import pipeline

    text = registry.load("methods.generate", "text")
    prompts = ["a man is walking a dog"] * max(size.batches)
    kind = getattr(torch, size.dtype)
    peer = pipeline(Path(models["model"])).to(size.device, kind)
    config = text.config_type(
        prompt=prompts, model=models["model"], steps=size.steps, device=size.device,
        dtype=size.dtype, size=f"{size.side}x{size.side}",
    )  # fmt: skip
    studio = text.load(config)
    rows = []
    for batch in size.batches:
        part = dataclasses.replace(config, batch_size=batch)
        peer_seconds, _ = timed(
            functools.partial(
                peer,
                prompts[:batch],
                num_inference_steps=size.steps,
                height=size.side,
                width=size.side,
            ),
            size,
        )
        own_seconds, memory = timed(functools.partial(draw, part, studio, batch), size)
        rows.append(
            [str(batch), f"{batch / own_seconds:.2f}", f"{peer_seconds / own_seconds:.2f}", memory]
        )
    head = f"### Pictures of {size.side} pixels, {size.steps} steps, {size.dtype}"
    rate = (
        f"The card multiplies matrices at {matrix_rate(size) / 1e12:.1f} TFLOP/s in {size.dtype}."
    )
    columns = ["batch", "pictures/s", "times diffusers", "GB"]
    return f"{head}\n\n{table(columns, rows)}\n\n{rate}"


def draw(config: Any, studio: Any, count: int) -> None:
    """So many pictures of the first prompt, as `generate` draws them, no files."""
    from socialcli.diffusion.conditioning import of_text
    from socialcli.generation import drawing as engine

    uncond, cond = studio.texts("", config.prompt[0])
    for start in range(0, count, size := engine.part(config, studio)):
        rows = min(size, count - start)
        conditioning = of_text(config.guidance, [uncond] * rows, [cond] * rows)
        engine.draw(config, studio, conditioning, list(range(start, start + rows)))


def timed(work: Callable[[], Any], size: Size) -> tuple[float, str]:
    """The least seconds of some turns after one that is not counted; the card's memory at its
    peak in GB, "" elsewhere."""
    import torch

    card = size.device == "cuda"
    if card:
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(size.turns + 1):
        begun = time.perf_counter()
        work()
        if card:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    memory = f"{torch.cuda.max_memory_allocated() / 1e9:.1f}" if card else ""
    return min(seconds[1:]), memory


def matrix_rate(size: Size, side: int = 4096) -> float:
    """Operations a second of one large product of matrices."""
    import torch

    side = side if size.device == "cuda" else 128
    left = torch.randn(side, side, device=size.device, dtype=getattr(torch, size.dtype))
    seconds, _ = timed(lambda: left @ left, size)
    return 2 * side**3 / seconds


if __name__ == "__main__":
    sys.exit(main())
