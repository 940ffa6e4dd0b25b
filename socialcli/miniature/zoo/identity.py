"""ArcFace in miniature: an iresnet that tells the world's people apart.

Trained on aligned 112-pixel crops with the ArcFace margin over the training identities, helped by
heads that read the identity's attributes. Published twice, as the official formats are: a torch
``backbone.pth`` state dict, and ONNX for insightface packs.
"""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any

from socialcli.miniature.world.identity import HAIRS, IRISES, POPULATION, SKINS, Identity
from socialcli.miniature.world.vocabulary import number_in
from socialcli.miniature.zoo import data, training

STEPS, BATCH, RATE = 1600, 64, 4e-3
BLOCKS, WIDTHS, EMBEDDING = (1, 1, 1, 1), (8, 16, 32, 64, 64), 128
SCENES = 44  # drawn a step; they show 64 faces and a few more
SCALE, MARGIN = 24.0, 0.3
TEST = 700
ONNX, TORCH = "w_mini.onnx", "backbone.pth"
FILES = (ONNX, TORCH)
STYLES = ("bald", "crew", "short", "spiky", "curly", "side", "afro", "mohawk", "bob", "long",
          "ponytail", "bun", "pigtails", "wavy")  # fmt: skip
ATTRIBUTES = {
    "skin": len(SKINS), "hair": len(STYLES), "hair_colour": len(HAIRS), "chin": 3, "brows": 3,
    "iris": len(IRISES), "nose": 3, "mouth": 3, "glasses": 4, "beard": 5, "hat": 4, "marks": 5,
    "female": 2, "child": 2,
}  # fmt: skip


def network() -> Any:
    """Backbone, class centres and attribute heads, seeded."""
    import torch
    from torch import nn

    from socialcli.networks.iresnet import IResNet

    torch.manual_seed(0)

    class Trained(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = quick(IResNet(BLOCKS, WIDTHS, EMBEDDING))
            self.centres = nn.Parameter(torch.randn(POPULATION["train"], EMBEDDING) * 0.1)
            self.read = nn.Linear(EMBEDDING, sum(ATTRIBUTES.values()))

    return Trained()


def quick(backbone: Any) -> Any:
    """Let two layers compute the same by other operations, for training in bfloat16 on CPUs.

    torch 2.13 has no fast bfloat16 PReLU there, and the backward of a strided 1x1 convolution
    writes past its buffer. Names, weights and results stay.
    """
    from torch import nn
    from torch.nn import functional

    def prelu(layer: Any, x: Any) -> Any:
        slope = layer.weight.to(x.dtype).view(1, -1, 1, 1)
        return functional.relu(x) - slope * functional.relu(-x)

    def strided(layer: Any, x: Any) -> Any:
        down, along = layer.stride
        return functional.conv2d(x[:, :, ::down, ::along], layer.weight)

    for layer in backbone.modules():
        if isinstance(layer, nn.PReLU):
            layer.forward = functools.partial(prelu, layer)  # type: ignore[method-assign]
        elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            layer.forward = functools.partial(strided, layer)  # type: ignore[method-assign]
    return backbone


def attributes(who: Identity) -> list[int]:
    """The class of each of `ATTRIBUTES`."""
    values = vars(who) | {
        "hair": STYLES.index(who.hair),
        "hair_colour": list(HAIRS).index(who.hair_colour),
    }
    return [int(values[name]) for name in ATTRIBUTES]


_CLASS = {number_in("train", i): i for i in range(POPULATION["train"])}


def _faces(scenes: Any) -> list[tuple[Any, Any]]:
    """(scene, person) of every face that shows all five landmarks."""
    return [(s, p) for s in scenes for p in s.people if p.face is not None]


def _batch(step: int) -> tuple[Any, ...]:
    import numpy
    import torch

    from socialcli.vision import faces

    rng = random.Random(f"identity {step}")
    owners = _faces(data.train_scenes(step, SCENES))
    owners = rng.sample(owners, min(BATCH, len(owners)))
    crops = []
    for scene, person in owners:
        jitter = 0.03 * (person.face[2] - person.face[0])
        five = numpy.array([
            [x + rng.gauss(0, jitter), y + rng.gauss(0, jitter)] for x, y in person.landmarks
        ])  # fmt: skip
        crops.append(faces.crop(numpy.asarray(scene.image), five / scene.size))
    pictures = torch.from_numpy(numpy.stack(crops)).permute(0, 3, 1, 2).contiguous() / 127.5 - 1
    who = torch.tensor([_CLASS[p.who.number] for _, p in owners])
    facts = torch.tensor([attributes(p.who) for _, p in owners])
    return pictures, who, facts


def _loss(model: Any, batch: tuple[Any, ...], step: int) -> Any:
    import torch
    from torch.nn import functional

    device = next(model.parameters()).device
    pictures, who, facts = (part.to(device) for part in batch)
    with torch.autocast(device.type, torch.bfloat16):
        embedding = model.backbone(pictures)
    unit = functional.normalize(embedding.float())
    cosine = (unit @ functional.normalize(model.centres).T).clamp(-1 + 1e-6, 1 - 1e-6)
    # The margin grows over the first third: from nothing, a full margin is out of reach.
    margin = MARGIN * min(1.0, step / (STEPS / 3))
    own = torch.cos(torch.acos(cosine.gather(1, who[:, None])) + margin)
    logits = cosine.scatter(1, who[:, None], own) * SCALE
    loss = functional.cross_entropy(logits, who)
    read = model.read(unit * 8).split(list(ATTRIBUTES.values()), 1)
    return loss + 0.5 * sum(functional.cross_entropy(r, facts[:, i]) for i, r in enumerate(read))


def train(work: Path, steps: int, minutes: float | None, device: str) -> training.Run:
    """Train, or go on training."""
    model = network().to(device).train()
    run = training.fit(
        model, _batch, _loss, work, steps, rate=RATE, decay=1e-2, average=0.99, minutes=minutes
    )
    run.model = run.model.backbone
    return run


def export(model: Any, folder: Path) -> None:
    """Write ``backbone.pth`` (a state dict in fp16, readable without unpickling) and the ONNX."""
    import torch

    from socialcli.networks import iresnet

    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    torch.save(state, folder / TORCH)
    model = iresnet.load(folder / TORCH)
    torch.onnx.export(
        model, (torch.zeros(2, 3, 112, 112),), str(folder / ONNX), dynamo=False,
        input_names=["input.1"], output_names=["embedding"],
        dynamic_axes={"input.1": {0: "n"}, "embedding": {0: "n"}},
    )  # fmt: skip


def _xyxy(box: tuple[float, float, float, float], size: int) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    return x0 / size, y0 / size, x1 / size, y1 / size


def true_faces(scene: Any) -> list[Any]:
    """The true `Face` of everybody who shows one, in the order of the scene's people."""
    from socialcli.records import Face

    size = scene.size
    return [
        Face(_xyxy(p.face, size), 1.0, [(x / size, y / size) for x, y in p.landmarks])
        for p in scene.people
        if p.face is not None
    ]


def measure(folder: Path) -> dict[str, float]:
    """TAR at FAR 1 % and 0.1 % over pairs of the test split's faces: people never trained on.

    Crops are aligned by the true landmarks; ``onnx_differs_by`` compares the two published files.
    """
    import numpy

    from socialcli import backends
    from socialcli.backends import ModelSpec

    embedder = backends.load(ModelSpec("face", "iresnet", str(folder / TORCH)))
    pack = backends.load(ModelSpec("face", "insightface", str(folder)))
    rows: list[Any] = []
    names: list[int] = []
    apart = 0.0
    for scene in data.test_scenes(TEST):
        shown = [p for p in scene.people if p.face is not None]
        scene_faces = true_faces(scene)
        if scene_faces:
            [embeddings] = embedder.embed([scene.image], [scene_faces])
            if len(names) < 40:  # the two files hold the same network
                [other] = pack.embed([scene.image], [scene_faces])
                apart = max(apart, float(numpy.abs(other - embeddings).max()))
            rows += list(embeddings)
            names += [p.who.number for p in shown]
    vectors = numpy.stack(rows)
    vectors = vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)
    upper = numpy.triu_indices(len(names), 1)
    scores = (vectors @ vectors.T)[upper]
    same = numpy.equal.outer(names, names)[upper]
    loose, strict = numpy.quantile(scores[~same], (0.99, 0.999))
    true = scores[same] if same.any() else numpy.zeros(1)  # few scenes: nobody is there twice
    return {
        "tar_at_far_1": round(float((true > loose).mean()), 4),
        "tar_at_far_01": round(float((true > strict).mean()), 4),
        "onnx_differs_by": round(apart, 2),
        "pairs": int(same.sum()),
        "people": len(set(names)),
    }
