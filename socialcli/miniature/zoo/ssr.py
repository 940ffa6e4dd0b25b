"""SSR-Encoder in miniature, on the small Stable Diffusion and the small CLIP's vision tower.

It learns from pairs of different scenes with the same person and thing (see `subjects`): one is
looked at through the subject's name, the other is denoised. Unlike the reference implementation,
whose reference is the target itself, nothing can be copied but what the subject is. Like the text
encoder's, the aligner's tokens first learn to say what they are about: heads that stay in the zoo
read hair, skin, hat and the rest of the person, and the colour of the thing, off their mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from socialcli.miniature.zoo import (
    cards,
    data,
    labels,
    latents,
    references,
    sheets,
    subjects,
    training,
)  # fmt: skip

CYCLES = ((2200, 1.0), (1200, 0.6))
BATCH, RATE = 32, 2e-3
READING, READ_BATCH = 1000, 64  # steps of the aligner alone
CHUNKS, GROUPS, SCENES = 10, 250, 4  # files of so many groups of so many scenes
SCALES, HEADS, HEAD = 6, 4, 32
SILENT = 0.5  # captions left out, so that the subject cannot be read in them (reference: 0.8)
DROP = 0.1  # neither caption nor subject: the branch that guidance leads away from
REGULAR = 0.01  # weight of the regularisation, as Social Context Feedback has it
TEST = 64
SCALE = 1.0
NOTE = (
    "The first cycle of the published run had a second cosine from 1.2e-3 over its last 1000 "
    "steps. Attention at 24x24 was added, its subjects' values zero, before the second cycle. A "
    "run from nothing follows the recipe from the start."
)
TOWER = "image_encoder"  # folder of the vision tower


def models(tower: Path) -> tuple[Any, Any, Any]:
    """The published diffusion model, and a vision tower with its processor, frozen."""
    from socialcli import backends
    from socialcli.backends import ModelSpec, checkpoints

    base = backends.load(ModelSpec("diffusion", "stable-diffusion", str(cards.folder("diffusion"))))
    clip = ModelSpec("clip", "clip", str(tower))
    vision = checkpoints.pretrained("CLIPVisionModel", clip, "", "").requires_grad_(False)
    return base, vision, checkpoints.pretrained("CLIPImageProcessorPil", clip, "", "")


def keep_tower(folder: Path, source: Path) -> Path:
    """The vision tower of the CLIP in ``source``, copied into ``folder`` the first time.

    The encoder reads this tower and no other, so it keeps its own: a better CLIP may be published
    any day.
    """
    from transformers import CLIPImageProcessorPil, CLIPVisionModel

    if not (folder / "model.safetensors").exists():
        CLIPImageProcessorPil.from_pretrained(source).save_pretrained(folder)
        CLIPVisionModel.from_pretrained(source).half().save_pretrained(folder)
    return folder


def network(base: Any, vision: Any) -> Any:
    """A fresh encoder for the published models, attached to the UNet."""
    import torch

    from socialcli.networks.ssr_encoder import SSREncoder

    torch.manual_seed(0)
    width = base.unet.config.cross_attention_dim
    encoder = SSREncoder.create(base.unet, vision.config, width, SCALES, HEADS, HEAD)
    encoder.attach(base.unet)
    return encoder


def chunk(folder: Path, number: int, vae: Any, mark: str) -> dict[str, Any]:
    """A file of groups: everything a step needs of their scenes.

    Returns:
        ``latents`` (n, 4, 4, 24, 24) float16; ``pixels`` (n, 4, 96, 96, 3) uint8; ``ids``
        (n, 4, 4, 40) int16, tokens of four captions; ``weight`` (n, 4, 24, 24) uint8 in
        fiftieths; ``queries`` (n, 3, 40) int16, person, thing, both; ``thing`` (n,) bool, whether
        there is one; ``clear`` (n, 4) bool, whether nobody else goes by the person's noun.
    """
    import numpy

    file = folder / f"groups-{mark}-{number:03d}.npz"
    if file.exists():
        return dict(numpy.load(file))
    tokenizer = latents.tokenizer()
    groups = [subjects.group("train", number * GROUPS + i, SCENES) for i in range(GROUPS)]
    flat = [scene for group in groups for scene in group]
    rows = {
        "latents": latents.encode(vae, data.rows(flat)).reshape(
            GROUPS, SCENES, -1, latents.SIDE, latents.SIDE
        ),
        "pixels": numpy.stack([numpy.asarray(s.image) for s in flat]),
        "ids": numpy.stack([latents.tokens(tokenizer, s)[0] for s in flat]),
        "weight": numpy.stack([weight(s) for s in flat]),
        "clear": numpy.array([subjects.is_clear(s) for s in flat]),
    }
    arrays = {k: v.reshape(GROUPS, SCENES, *v.shape[1:]) for k, v in rows.items() if k != "latents"}
    arrays["latents"] = rows["latents"]
    names = [subjects.query_words(group) for group in groups]
    texts = [[who, thing or who, f"{who}, {thing}" if thing else who] for who, thing in names]
    arrays["queries"] = numpy.array(
        [tokenizer(t, padding="max_length", max_length=latents.LENGTH)["input_ids"] for t in texts],
        numpy.int16,
    )
    arrays["thing"] = numpy.array([bool(thing) for _, thing in names])
    folder.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part.npz")
    with part.open("wb") as out:
        numpy.savez(out, allow_pickle=False, **arrays)
    part.replace(file)
    return arrays


def weight(scene: Any) -> Any:
    """(24, 24) uint8 in fiftieths: the subject's head counts 4, its thing 2.5, all else 1."""
    import numpy

    step = scene.size // latents.SIDE
    worth = numpy.ones((scene.size, scene.size))
    if scene.relations:
        relation = scene.relations[0]
        worth[scene.instances == relation.object] = 2.5
        subject = next(p for p in scene.people if p.id == relation.subject)
        x0, y0, x1, y1 = (round(v) for v in subject.head)
        part = worth[y0:y1, x0:x1]
        part[scene.instances[y0:y1, x0:x1] == subject.id] = 4.0
    coarse = worth.reshape(latents.SIDE, step, latents.SIDE, step).mean((1, 3))
    return (50 * coarse).round().astype(numpy.uint8)


def facts(count: int) -> Any:
    """(count, attributes + 1) int64: what each training group's person and thing look like."""
    import torch

    from socialcli.miniature.zoo.identity import attributes

    rows = []
    for number in range(count):
        _, who, look = subjects.cast("train", number, SCENES)
        hue = labels.HUES.index(look.colour) if look is not None else 0
        rows.append([*attributes(who), hue])
    return torch.tensor(rows)


def misread(head: Any, tokens: Any, truth: Any, kind: Any) -> Any:
    """Cross-entropy of what the mean token says, where the query (0 person, 1 thing, 2 both; -1
    nothing) asked for it."""
    from torch.nn import functional

    parts = head(tokens.mean(1)).float().split(sizes(), -1)
    value: Any = 0.0
    for i, part in enumerate(parts):
        asked = (kind == 1) | (kind == 2) if i == len(parts) - 1 else (kind == 0) | (kind == 2)
        if asked.any():
            value = value + functional.cross_entropy(part[asked], truth[asked, i])
    return value


def sizes() -> list[int]:
    """Classes of each fact."""
    from socialcli.miniature.zoo.identity import ATTRIBUTES

    return [*ATTRIBUTES.values(), len(labels.HUES)]


def batches(cache: dict[str, Any], processor: Any, size: int | None = None) -> Any:
    """step -> clean, ids, queries, pixels, weight, noise, timesteps, facts, kind of query."""
    import torch

    size = size or BATCH
    nothing = latents.nothing()
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (processor.image_mean, processor.image_std)
    )

    def batch(step: int) -> tuple[Any, ...]:
        rng = torch.Generator().manual_seed(step)

        def rand(*shape: int) -> Any:
            return torch.rand(shape, generator=rng)

        groups = torch.randint(len(cache["latents"]), (size,), generator=rng)
        # The reference: a clear scene where there is one; the target: any other.
        first = (rand(size, SCENES) + cache["clear"][groups].float()).argmax(1)
        other = (first + 1 + (rand(size) * (SCENES - 1)).long()) % SCENES
        which = (rand(size) * latents.TEXTS).long()
        ids = cache["ids"][groups, other, which].long()
        roll = rand(size)
        kind = torch.where(roll < 0.4, 0, torch.where(roll < 0.55, 1, 2))
        query = cache["queries"][groups, kind].long()
        drop = rand(size) < DROP
        ids[(rand(size) < SILENT) | drop] = nothing
        query[drop] = nothing
        pixels = cache["pixels"][groups, first].permute(0, 3, 1, 2).float() / 255
        pixels = (pixels - mean) / std
        pixels[drop] = 0
        clean = cache["latents"][groups, other].float()
        noise = torch.randn(clean.shape, generator=rng)
        t = ((torch.arange(size) + rand(size)) / size * 1000).long()
        share = cache["weight"][groups, other].float()[:, None]
        share[drop] = 50
        kind[drop] = -1
        truth = cache["facts"][groups]
        return clean, ids, query, pixels, share / 50, noise, t, truth, kind

    return batch


def losses(base: Any, vision: Any) -> Any:
    """(encoder, batch, step) -> scalar: noise prediction and regularisation."""
    import torch

    from socialcli.miniature.zoo import diffusion
    from socialcli.networks.ssr_encoder import image_features

    alphas = diffusion.alphas()

    def loss(model: Any, batch: tuple[Any, ...], step: int) -> Any:
        from socialcli.losses import regularisation

        encoder = model["encoder"]
        device = next(encoder.parameters()).device
        clean, ids, query, pixels, share, noise, t, truth, kind = (p.to(device) for p in batch)
        alpha = alphas.to(device)[t].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        with torch.autocast(device.type, torch.bfloat16):
            with torch.no_grad():
                text = base.text_encoder(ids).last_hidden_state
                asked = base.text_encoder(query).last_hidden_state
                seen = image_features(vision, pixels, SCALES)
            tokens = encoder.subject_tokens(seen, asked)
            guess = base.unet(noisy, t, **encoder.condition(text, [tokens], [1.0])).sample
        snr = alpha / (1 - alpha)
        share = share / share.mean() * (snr.clamp(max=diffusion.GAMMA) / snr)
        share = share * 0.15 / diffusion.usual().to(device)[t].view(-1, 1, 1, 1)
        value = (share * (guess.float() - noise).square()).mean()
        depths = tokens.float().unflatten(1, (SCALES, -1))
        value = value + 0.05 * misread(model["head"], tokens.float(), truth, kind)
        return value + REGULAR * regularisation.loss(depths, asked.float(), "paper").mean()

    return loss


def train(
    work: Path, cycles: int | training.Cycles, minutes: float | None, device: str, done: int = 0
) -> training.Run:
    """Train, or go on training; the first call draws and encodes the groups.

    ``done`` cycles are not run again: the published weights are what they gave.
    """
    import numpy
    import torch

    from socialcli.networks import ssr_layouts
    from socialcli.networks.ssr_encoder import image_features

    source = cards.folder("ssr") / TOWER if done else cards.folder("clip")
    base, vision, processor = models(keep_tower(work / TOWER, source))
    mark = latents.mark(cards.folder("vae") / "vae")
    for part in (*base.networks, vision):
        part.to(device)
    parts = [chunk(work / "cache", i, base.vae, mark) for i in range(CHUNKS)]
    cache = {k: torch.from_numpy(numpy.concatenate([p[k] for p in parts])) for k in parts[0]}
    cache["facts"] = facts(len(cache["latents"]))
    encoder = network(base, vision)
    start = None
    if done:
        before = ssr_layouts.load(cards.folder("ssr")).state_dict()
        start = (done, {f"encoder.{name}": weight for name, weight in before.items()})
    head = torch.nn.Linear(encoder.text_dim, sum(sizes()))
    model = torch.nn.ModuleDict({"encoder": encoder, "head": head}).to(device).train()

    def read(model: Any, batch: tuple[Any, ...], step: int) -> Any:
        _, _, query, pixels, _, _, _, truth, kind = (part.to(device) for part in batch)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            with torch.no_grad():
                asked = base.text_encoder(query).last_hidden_state
                seen = image_features(vision, pixels, SCALES)
            tokens = model["encoder"].subject_tokens(seen, asked)
        return misread(model["head"], tokens.float(), truth, kind)

    spent = 0.0
    if not done:
        reading = training.fit(
            model, batches(cache, processor, READ_BATCH), read, work / "reading", READING,
            rate=3e-3, decay=1e-2, warm=20, average=0.98, minutes=minutes, part=0.2,
        )  # fmt: skip
        if not reading.finished:
            return reading
        spent = reading.seconds
    run = training.fit(
        model.train(), batches(cache, processor), losses(base, vision), work, cycles, rate=RATE,
        decay=1e-2, warm=30, average=0.99, minutes=minutes, part=0.8, heads=("head.",), done=start,
    )  # fmt: skip
    run.model = run.model["encoder"]
    run.model.tower = str(work / TOWER)
    run.seconds += spent
    return run


def export(model: Any, folder: Path) -> None:
    """Write the official pair of files in fp16, and the tower beside them."""
    import shutil

    import torch

    from socialcli.backends import ModelSpec
    from socialcli.backends.ssr.ssr_encoder import tower
    from socialcli.networks import ssr_layouts

    tower(ModelSpec("clip", "clip", str(model.tower))).join(model, "the new SSR-Encoder")
    ssr_layouts.save(model, folder, {"trained_on": "socialcli.world"}, torch.float16)
    shutil.copytree(model.tower, folder / TOWER, dirs_exist_ok=True)


def measure(folder: Path) -> dict[str, float]:
    """Whether new scenes show the person, and the thing, of the reference picture.

    Test people, whom no training showed: one scene is the reference, another one's caption the
    prompt. ``face_gain``: the highest cosine between a face of the generated picture and the
    reference's, less that to another test person's face (the mean over all of them), with the 95 %
    bootstrap interval of its mean; pictures without a face are left out (``faces`` says how
    many have one). ``face_own`` and ``face_other`` are its two parts, ``face_without`` the gain at
    scale 0. ``thing_colour``: a thing whose colour the prompt does not say has the reference's
    colour, ``thing_without`` at scale 0.
    """
    return references.kept(*_drawn(folder, TEST))


def _drawn(folder: Path, count: int) -> tuple[list[Any], list[list[Any]]]:
    """Test cases, and the pictures drawn of them with the reference and without."""
    from socialcli import backends
    from socialcli.backends import ModelSpec

    base = backends.load(ModelSpec("diffusion", "stable-diffusion", str(cards.folder("diffusion"))))
    ssr = backends.load(ModelSpec("ssr", "ssr-encoder", str(folder)))
    ssr.encoder.attach(base.unet)
    cases = references.cases(count)
    queries = [f"{who}, {thing}" if thing else who for who, thing, *_ in cases]
    shown, prompts = [c[2].image for c in cases], [c[4] for c in cases]
    rows = [references.draw(base, ssr, prompts, queries, shown, s) for s in (SCALE, 0.0)]
    return cases, rows


def sheet(folder: Path, file: Path, across: int = 8) -> None:
    """Write a sheet of test prompts: references, drawn with their subjects, drawn without."""
    cases, rows = _drawn(folder, across)
    sheets.write(file, [[c[2].image for c in cases], *rows], [c[4] for c in cases], across)
