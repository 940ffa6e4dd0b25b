"""What the diffusion miniatures learn from, computed once: latents of scenes, captions, truth.

A training step that draws and encodes its scenes anew spends most of its time on that. So scenes
are encoded once, in chunks on disk; a chunk is a function of its number (and of the autoencoder,
for the latents), so an interrupted run goes on where it was.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from socialcli.miniature.zoo import data, labels, words

CHUNK = 2500  # scenes a file
LENGTH = 40  # tokens of a text; the world's longest captions have 38
TEXTS = 4  # captions of a scene
SIDE = 24  # of a latent
PATCH = 8  # pixels of the patches whose truth is kept
COARSE = data.SIZE // PATCH


def tokenizer(folder: Path | None = None) -> Any:
    """The pipeline's `CLIPTokenizer`."""
    return words.clip_tokenizer(folder, LENGTH)


def nothing() -> Any:
    """(40,) tokens of no words, for captions that are left out."""
    import torch

    ids = tokenizer()("", padding="max_length", max_length=LENGTH)["input_ids"]
    return torch.tensor(ids)


def captioned(
    cache: dict[str, Any], size: int, silent: float, nothing: Any, rng: Any
) -> tuple[Any, Any]:
    """(B,) rows of the cache, (B, 40) tokens of one of each one's captions, or of no words."""
    import torch

    rows = torch.randint(len(cache["latents"]), (size,), generator=rng)
    which = torch.randint(TEXTS, (size,), generator=rng)
    ids = cache["ids"][rows, which].long()
    ids[torch.rand(size, generator=rng) < silent] = nothing
    return rows, ids


def facts(folder: Path, chunk: int) -> dict[str, Any]:
    """The truth about a chunk's training scenes, from disk where it lies there.

    Returns:
        ``ids`` (n, 4, 40) int16, tokens of four captions; ``said`` (n, 4, 40, 3) uint8, kind,
        colour and part in the action (`labels`) of the instance each token speaks of, 0 for
        none; ``patches`` (n, 144, 3) uint8, the same of what each patch shows; ``weight``
        (n, 24, 24) uint8, how much a latent counts, in hundredths.
    """
    import numpy

    file = folder / f"facts-{chunk:03d}.npz"
    if file.exists():
        return dict(numpy.load(file))
    bert = tokenizer()
    rows: dict[str, list[Any]] = {"ids": [], "said": [], "patches": [], "weight": []}
    for scene in data.train_scenes(chunk, CHUNK):
        ids, facts_of_tokens = tokens(bert, scene)
        rows["ids"].append(ids)
        rows["said"].append(facts_of_tokens)
        rows["patches"].append(labels.patches(scene, PATCH).astype(numpy.uint8))
        rows["weight"].append(weight(scene))
    arrays = {name: numpy.stack(values) for name, values in rows.items()}
    folder.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part.npz")
    with part.open("wb") as out:
        numpy.savez(out, allow_pickle=False, **arrays)
    part.replace(file)
    return arrays


def tokens(tokenizer: Any, scene: Any) -> tuple[Any, Any]:
    """(4, 40) token ids of a scene's captions, and (4, 40, 3) whom each token speaks of."""
    import numpy

    from socialcli.miniature.world.captions import captions

    written = captions(scene, TEXTS)
    written = [written[i % len(written)] for i in range(TEXTS)]
    read = tokenizer(
        [w.text for w in written], padding="max_length", max_length=LENGTH, truncation=True,
        return_offsets_mapping=True,
    )  # fmt: skip
    table = labels.instances(scene)
    facts_of_tokens = numpy.zeros((TEXTS, LENGTH, 3), numpy.uint8)
    for row, one in enumerate(written):
        starts = numpy.array([o[0] for o in read["offset_mapping"][row]])
        ends = numpy.array([o[1] for o in read["offset_mapping"][row]])
        for mention in one.mentions:
            inside = (starts >= mention.start) & (ends <= mention.end) & (ends > starts)
            kind, hue, role = table[mention.instance]
            # A colour that is not said cannot be read.
            colour_named = labels.HUES[hue] in mention.phrase.split()
            facts_of_tokens[row, inside] = kind, hue if colour_named else 0, role
    return numpy.array(read["input_ids"], numpy.int16), facts_of_tokens


def weight(scene: Any) -> Any:
    """(24, 24) uint8: 100 for the place, up to 150 for figures, up to 250 for heads."""
    import numpy

    step = scene.size // SIDE
    shown = numpy.zeros((scene.size, scene.size))
    shown[scene.instances > 0] = 0.5
    for person in scene.people:
        x0, y0, x1, y1 = (round(v) for v in person.head)
        part = shown[y0:y1, x0:x1]
        part[scene.instances[y0:y1, x0:x1] == person.id] = 1.5
    coarse = shown.reshape(SIDE, step, SIDE, step).mean((1, 3))
    return (100 * (1 + coarse)).round().astype(numpy.uint8)


def mark(vae: Path) -> str:
    """What tells one encoder's latents from another's: part of a hash over its weights."""
    from safetensors.torch import load_file

    digest = hashlib.sha256()
    for name, weight in sorted(load_file(vae / "diffusion_pytorch_model.safetensors").items()):
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(name.encode() + weight.numpy().tobytes())
    return digest.hexdigest()[:8]


def autoencoder(folder: Path) -> Any:
    """The published autoencoder, frozen, float32."""
    import torch
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32)
    return vae.eval().requires_grad_(False)


def encode(vae: Any, rows: Any) -> Any:
    """(n, 4, 24, 24) float16 scaled latents of (n, 96, 96, 3) pictures."""
    import torch

    from socialcli.miniature.zoo.vae import HALF

    encoded = []
    with torch.inference_mode(), torch.autocast(vae.device.type, torch.bfloat16):
        for start in range(0, len(rows), 50):
            pixels = data.normalised(rows[start : start + 50], HALF).to(vae.device)
            encoded.append(vae.encode(pixels).latent_dist.mode().float())
    return (torch.cat(encoded) * vae.config.scaling_factor).half().cpu().numpy()


def _file(folder: Path, chunk: int, vae_folder: Path) -> Path:
    return folder / f"latents-{mark(vae_folder)}-{chunk:03d}.npy"


def everything(
    folder: Path, chunks: int, vae_folder: Path, device: str = "cpu", workers: int = 0
) -> dict[str, Any]:
    """Facts and latents of ``chunks`` chunks as torch tensors; builds what is not there yet.

    ``workers`` processes draw the scenes; the latents are computed here, on ``device``.
    """
    import numpy
    import torch

    files = [_file(folder, i, vae_folder) for i in range(chunks)]
    chunks_of_facts = list(in_order(functools.partial(facts, folder), range(chunks), workers))
    todo = [i for i in range(chunks) if not files[i].exists()]
    vae = autoencoder(vae_folder).to(device)
    for i, drawn in zip(todo, in_order(_rows, todo, workers), strict=True):
        part = files[i].with_suffix(".part.npy")
        numpy.save(part, encode(vae, drawn))
        part.replace(files[i])
    parts = [
        one | {"latents": numpy.load(file)}
        for one, file in zip(chunks_of_facts, files, strict=True)
    ]
    return {
        name: torch.from_numpy(numpy.concatenate([part[name] for part in parts]))
        for name in parts[0]
    }


def in_order(call: Callable[[int], Any], numbers: Iterable[int], workers: int) -> Iterator[Any]:
    """What ``call`` gives for each number, by so many processes, or here where there are none."""
    import multiprocessing

    if not workers:
        yield from map(call, numbers)
        return
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        yield from pool.imap(call, numbers)


def _rows(chunk: int) -> Any:
    return data.rows(data.train_scenes(chunk, CHUNK))
