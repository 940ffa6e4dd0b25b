"""Two steps of feedback by X-Pose, CMMP and Gaze-LLE at their published sizes, with random weights.

    python tests/true_size.py FOLDER [--steps 2] [--pixels 256] [--small] [--gradients]
        [--only gaze]

writes checkpoints of random weights in the official layouts and published sizes into FOLDER (Stable
Diffusion 1.5 with CLIP ViT-L/14 and an SSR-Encoder, X-Pose with Swin-T, CMMP with DETR-R50 and
ViT-B/16, Gaze-LLE with DINOv2 ViT-B/14: 8 GB), trains on one sample by `socialcli train --method
feedback`, and says the losses, how many tensors of the UNet's subject layers moved, the most memory
that the process had, and its time. It ends with 1 if a loss is not finite or a tensor did not move.
``--gradients`` trains nothing and says how large the gradient of each feedback is in these layers;
with ``--only`` the models of the other feedbacks are not loaded, so that memory is that of one.
``--small`` does the same with tiny networks. Text encoders know the rendered world's words alone,
since CLIP's own list of words is not in the package; all else is as published.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FEEDBACKS = ("gaze", "pose", "interaction")


@dataclass(frozen=True)
class Sizes:
    """What differs between the published networks and tiny ones, by their configurations' names."""

    channels: tuple[int, ...]  # of the UNet
    vae: tuple[int, ...]
    text: dict[str, Any]  # CLIP's text tower
    vision: dict[str, Any]  # the vision tower that the SSR-Encoder looks through
    words: dict[str, Any]  # X-Pose's text tower
    dino: dict[str, Any]
    layers: int = 2


def _tower(width: int, depth: int, heads: int, projection: int) -> dict[str, Any]:
    return {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": depth,
            "num_attention_heads": heads, "projection_dim": projection}  # fmt: skip


PUBLISHED = Sizes(
    (320, 640, 1280, 1280), (128, 256, 512, 512), _tower(768, 12, 12, 768),
    {**_tower(1024, 24, 16, 768), "image_size": 224, "patch_size": 14}, _tower(512, 12, 8, 512),
    {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 518},
)  # fmt: skip
SMALL = Sizes(
    (32, 32, 32, 32), (32, 32, 32, 32), _tower(32, 2, 2, 32),
    {**_tower(32, 6, 2, 32), "image_size": 28, "patch_size": 14}, _tower(32, 1, 2, 16),
    {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 70},
    1,
)  # fmt: skip


def write(folder: Path, sizes: Sizes) -> None:
    """All checkpoints; what is there already is kept."""
    import torch

    small = sizes is SMALL
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"base": base, "clip": vision, "ssr": ssr, "xpose": xpose, "gazelle": gazelle}
    for name, part in parts.items():
        if not (folder / name).exists():
            torch.manual_seed(len(name))
            part(folder / f"{name}.part", sizes)
            (folder / f"{name}.part").rename(folder / name)
    if not (folder / "cmmp").exists():
        cmmp(folder / "cmmp.part", small)
        (folder / "cmmp.part").rename(folder / "cmmp")


def base(place: Path, sizes: Sizes) -> None:
    """Stable Diffusion 1.5."""
    from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline
    from diffusers import UNet2DConditionModel as UNet
    from transformers import CLIPTextConfig, CLIPTextModel

    from socialcli.miniature.zoo.words import clip_tokenizer

    words = clip_tokenizer()
    config = CLIPTextConfig(vocab_size=len(words), bos_token_id=words.bos_token_id,
                            eos_token_id=words.eos_token_id, **sizes.text)  # fmt: skip
    unet = UNet(
        sample_size=64, cross_attention_dim=sizes.text["hidden_size"], attention_head_dim=8,
        block_out_channels=sizes.channels, layers_per_block=sizes.layers,
    )  # fmt: skip
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=sizes.vae, layers_per_block=sizes.layers, sample_size=512,
    )  # fmt: skip
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        steps_offset=1,
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(config), tokenizer=words, unet=unet,
        scheduler=scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(place)


def vision(place: Path, sizes: Sizes) -> None:
    """CLIP ViT-L/14's vision tower."""
    from transformers import CLIPVisionConfig, CLIPVisionModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    CLIPVisionModel(CLIPVisionConfig(**sizes.vision)).save_pretrained(place)
    side = sizes.vision["image_size"]
    square = {"height": side, "width": side}
    CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=square).save_pretrained(place)


def ssr(place: Path, sizes: Sizes) -> None:
    """An SSR-Encoder for `base` and `vision`, in the two files of the official layout."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPVisionConfig

    from socialcli.networks import ssr_layouts
    from socialcli.networks.ssr_encoder import SSREncoder

    unet = UNet2DConditionModel.from_pretrained(place.parent / "base" / "unet")
    look = CLIPVisionConfig(**sizes.vision)
    ssr_layouts.save(SSREncoder.create(unet, look, sizes.text["hidden_size"]), place)


def xpose(place: Path, sizes: Sizes) -> None:
    """X-Pose with its CLIP text tower."""
    import torch
    from tiny import xpose as tiny
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    from socialcli.miniature.zoo.words import clip_tokenizer
    from socialcli.networks.xpose.network import Sizes as Shape
    from socialcli.networks.xpose.network import XPose

    if sizes is SMALL:
        tiny.xpose(place)
        return
    place.mkdir(parents=True)
    network = XPose(Shape())
    with torch.no_grad():  # boxes as large as a subject in its window, or none would be its own
        for head in network.bbox_embed:
            head.layers[-1].bias[2:] += 0.5
    torch.save({"model": network.state_dict()}, place / "unipose_swint.pth")
    words = clip_tokenizer()
    config = CLIPTextConfig(vocab_size=len(words), bos_token_id=words.bos_token_id,
                            eos_token_id=words.eos_token_id, **sizes.words)  # fmt: skip
    CLIPTextModelWithProjection(config).save_pretrained(place)
    words.save_pretrained(place)


def cmmp(place: Path, small: bool) -> None:
    """CMMP in the layout of its HICO-DET files."""
    from tiny import interaction as tiny

    from socialcli.networks import cmmp as network
    from socialcli.networks import cmmp_clip, detr

    if not small:
        tiny.SHAPES = network.Shapes(
            detr.Sizes(), cmmp_clip.TowerSizes(768, 12, 16, 14, 512, 64, (1,) * 12),
            cmmp_clip.TextSizes(512, 12, 49408, 77, 512),
            ((24, 512), (117, 1, 512), (117, 52, 512)), (10, 36), (128, 64),
        )  # fmt: skip
    tiny.checkpoint(place)


def gazelle(place: Path, sizes: Sizes) -> None:
    """Gaze-LLE's decoder beside its DINOv2."""
    import torch
    from tiny import people
    from transformers import Dinov2Config, Dinov2Model

    from socialcli.networks.gazelle import GazeLLE

    if sizes is SMALL:
        people.gazelle(place)
        return
    Dinov2Model(Dinov2Config(patch_size=14, **sizes.dino)).save_pretrained(place)
    torch.save(GazeLLE(inside=True).state_dict(), place / "gazelle_dinov2_vitb14_inout.pt")


def sample(file: Path, side: int) -> None:
    """A woman who holds a dog and looks at it, and a man, as shards/000000.tar has them."""
    import scenes

    from socialcli import records, shards

    members = {name: records.dump(one) for name, one in scenes.all_records((side, side)).items()}
    people = scenes.all_records((side, side))["people.json"]
    people.models = {}
    for person in people.people:
        person.gaze = records.Gaze((0.5, 0.6), (0.8, 0.6), True, source="annotation")
    members["people.json"] = records.dump(people)
    shards.write(file, [("one", {"jpg": scenes.picture(1, size=(side, side)), **members})])


def options(folder: Path, pixels: int, feedbacks: tuple[str, ...] = FEEDBACKS) -> dict[str, Any]:
    """Of `socialcli train --method feedback`, by their names in its Config."""
    return {
        "size": pixels, "batch_size": 1, "micro_batch": 1, "variants": 1, "learning_rate": 5e-5,
        "model": str(folder / "base"), "clip_model": str(folder / "clip"),
        "ssr_model": str(folder / "ssr"), "feedback": ",".join(feedbacks),
        "pose_backend": "xpose", "pose_model": str(folder / "xpose"), "pose_subjects": "all",
        "gaze_backend": "gazelle", "gaze_model": str(folder / "gazelle"),
        "interaction_backend": "cmmp",
        "interaction_model": str(next((folder / "cmmp").glob("*.pt"))), "device": "cpu",
        "dtype": "float32", "mixed_precision": "no",
        **{f"gate_{name}": "all" for name in feedbacks},
    }  # fmt: skip


def train(
    folder: Path, pixels: int, steps: int, more: list[str]
) -> tuple[list[dict[str, Any]], float, float]:
    """The run's log, GB of memory that its process had at most, seconds of the processor."""
    run = folder / "run"
    given = options(folder, pixels).items()
    command = [
        sys.executable, "-m", "socialcli", "train", str(folder / "sample.tar"), "-o", str(run),
        "--method", "feedback", "--steps", str(steps),
        *(word for name, value in given for word in (f"--{name.replace('_', '-')}", str(value))),
        *more,
    ]  # fmt: skip
    print(" ".join(command[2:]), flush=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [line for line in lines if "loss" in line], after.ru_maxrss / 2**20, spent


def gradients(
    folder: Path, pixels: int, feedbacks: tuple[str, ...] = FEEDBACKS
) -> dict[str, tuple[float, int, int, float]]:
    """Of each loss at timestep 100: its value, in how many tensors of the subject layers its
    gradient is not 0, how many there are, and the largest gradient."""
    import torch

    from socialcli import registry, shards
    from socialcli.randomness import Draw, Variant
    from socialcli.training.place import Clock, Place

    class At(Draw):
        def uniform(self, name: str, *shape: int) -> torch.Tensor:
            given = super().uniform(name, *shape)
            return torch.full_like(given, 201 / 1500) if name == "timestep" else given

    method = registry.load("methods.train", "feedback")
    config = method.config_type(**options(folder, pixels, feedbacks))
    cpu = torch.device("cpu")
    state = method.load(config, Place(cpu, torch.float32, Clock(cpu)))
    (one,) = shards.read(str(folder / "sample.tar"))
    example = method.prepare(state, one, Variant(0, one.key, 0))
    batch = method.collate(state, method.features(state, [example]))
    values = method.losses(state, batch, At(0, 0, [0], [one.key]))
    named = method.trainable(state).named_parameters()
    layers = [parameter for name, parameter in named if "layers." in name]
    facts = {}
    for name, value in values.items():
        slopes = torch.autograd.grad(value.sum(), layers, retain_graph=True, allow_unused=True)
        sizes = [float(slope.abs().max()) for slope in slopes if slope is not None]
        largest = max(sizes, default=0.0)
        facts[name] = (float(value.detach().sum()), sum(s > 0 for s in sizes), len(layers), largest)
    return facts


def moved(folder: Path) -> tuple[int, int]:
    """How many tensors of the UNet's subject layers the run changed, and how many there are."""
    from safetensors.torch import load_file

    before, after = (load_file(folder / name / "model_1.safetensors") for name in ("ssr", "run"))
    return sum(not tensor.equal(after[name]) for name, tensor in before.items()), len(before)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--gradients", action="store_true")
    parser.add_argument("--only", choices=FEEDBACKS, help="the gradient of this feedback alone")
    parser.add_argument("more", nargs="*", help="after --: more flags of socialcli train")
    given = parser.parse_args()
    write(given.folder, SMALL if given.small else PUBLISHED)
    sample(given.folder / "sample.tar", given.pixels)
    if given.gradients:
        feedbacks = (given.only,) if given.only else FEEDBACKS
        facts = gradients(given.folder, given.pixels, feedbacks)
        for name, (value, count, there, largest) in facts.items():
            line = f"a gradient in {count} of {there} tensors, {largest:.2g} at most"
            print(f"{name}: {value:.4g}, {line}")
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{memory:.1f} GB of memory at most")
        asked = [facts[name] for name in feedbacks]
        return 0 if all(one[1] == one[2] and 0 < one[3] < float("inf") for one in asked) else 1
    log, memory, seconds = train(given.folder, given.pixels, given.steps, given.more)
    names = [f"loss/{name}" for name in ("denoise", "regularisation", *FEEDBACKS)]
    for line in log:
        print({name: line.get(name) for name in [*names, "seconds"]})
    changed, count = moved(given.folder)
    print(f"{changed} of {count} tensors of the subject layers moved; {memory:.1f} GB of memory at "
          f"most, {seconds:.0f} seconds of the processor with loading")  # fmt: skip
    values = [line[name] for line in log for name in names if name in line]
    spoke = all(any(line.get(f"loss/{name}", 0) > 0 for line in log) for name in FEEDBACKS)
    finite = all(value == value and abs(value) < float("inf") for value in values)
    return 0 if spoke and finite and changed == count else 1


if __name__ == "__main__":
    sys.exit(main())
