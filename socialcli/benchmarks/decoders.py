"""What feedback loses and gains by a small decoder, and by asking about a share of the samples.

On rendered scenes with the embedded miniatures: estimates of clean latents at two timesteps are
decoded by the model's own decoder and by the small one, and each loss's gradient in the latents is
taken through both. Their cosine says whether the small decoder corrects in the same direction. Then
the gradients in what is trained, of denoising and of all feedbacks at their weights, say how much
noisier a step becomes when only a share of the samples is asked about: with a share p the variance
of a sample's gradient grows by (1 / p - 1) times the mean square of its feedback part.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from socialcli import registry
from socialcli.benchmarks import Section, table, train

SCENES, STEPS = 8, (100, 400)
SHARES = (0.5, 0.25, 0.125)


def run(turns: int) -> Section:
    """Two Markdown tables; the same numbers whatever ``turns`` says."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="socialcli-benchmark-") as temporary:
        data = train.scenes(Path(temporary) / "world.tar", SCENES)
        state, examples = loaded(data)
        agreement, seconds = compare(state, examples)
        growth = noise(state, examples)
    names = list(agreement)
    rows = [[name, *(f"{v:.3f}" for v in agreement[name])] for name in names]
    cosines = table(["gradient of", *(f"t = {t}" for t in STEPS)], rows)
    times = seconds["full"] / seconds["tiny"]
    shares = table(
        ["share", "variance of a step's gradient, over that of asking about all"],
        [[f"{share:g}", f"{value:.4f}"] for share, value in zip(SHARES, growth, strict=True)],
    )
    text = (
        "## A small decoder, and a share of the samples\n\nCosine of the gradients in the latents "
        "through the small decoder and through the model's own (mean over the samples that have "
        f"something to watch, of {SCENES} scenes):\n\n{cosines}\n\nDecoding forward and backward "
        f"takes the model's own decoder {times:.1f} times as long as the small one, in seconds of "
        f"the processor.\n\n{shares}"
    )
    return Section(text)


def loaded(data: str, limit: int | None = None) -> tuple[Any, list[dict[str, Any]]]:
    """The method's state with both decoders, and the features of the first samples, or of all."""
    import itertools

    import torch

    from socialcli import shards
    from socialcli.randomness import Variant
    from socialcli.training.place import Clock, Place

    method = registry.load("methods.train", "feedback")
    config = method.config_type(
        **train.feedback_models(), size=train.SIDE, decoder="tiny", device="cpu", dtype="float32",
        decoder_model=str(train.WEIGHTS / "decoder"), mixed_precision="no", flip=0.0,
    )  # fmt: skip
    device = torch.device("cpu")
    state = method.load(config, Place(device, torch.float32, Clock(device)))
    samples = (sample for place in shards.expand([data]) for sample in shards.read(place))
    first = itertools.islice(samples, limit)
    prepared = [method.prepare(state, s, Variant(0, s.key, 0)) for s in first]
    return state, [method.features(state, [one])[0] for one in prepared]


def compare(
    state: Any, examples: list[dict[str, Any]]
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Mean cosine of each loss at each of `STEPS`, and seconds of both decoders."""
    import torch

    cosines: dict[str, list[list[float]]] = {name: [[] for _ in STEPS] for name in state.watch}
    seconds = {"full": 0.0, "tiny": 0.0}
    for at, step in enumerate(STEPS):
        for example in examples:
            with torch.no_grad():
                latents = estimate(state, example, step)[1]
            slopes: dict[str, list[Any]] = {name: [] for name in state.watch}
            for which, decoder in (("full", state.base), ("tiny", state.small)):
                here = latents.clone().requires_grad_()
                begun = time.process_time()
                pictures = decoder.decode(here)
                seconds[which] += time.process_time() - begun
                for name, watch in state.watch.items():
                    if not any(part.startswith(f"{name}_") for part in example):
                        continue
                    seen = pictures.detach().requires_grad_()
                    value = watch.values(seen, [example]).sum()
                    if not value.requires_grad or not float(value.detach()):
                        continue
                    (arrived,) = torch.autograd.grad(value, seen)
                    begun = time.process_time()
                    (slope,) = torch.autograd.grad(pictures, here, arrived, retain_graph=True)
                    seconds[which] += time.process_time() - begun
                    slopes[name].append(slope.flatten())
            for name, pair in slopes.items():
                if len(pair) == 2:
                    cosine = torch.nn.functional.cosine_similarity(pair[0], pair[1], dim=0)
                    cosines[name][at].append(float(cosine))
    means = {
        name: [sum(one) / len(one) if one else float("nan") for one in per_step]
        for name, per_step in cosines.items()
    }
    return means, seconds


def estimate(state: Any, example: dict[str, Any], step: int) -> tuple[Any, Any]:
    """The denoising loss of one sample at a timestep, and the estimate of its clean latents."""
    import torch

    from socialcli.diffusion import schedule
    from socialcli.losses import denoise

    generator = torch.Generator().manual_seed(step)
    clean = example["latents"][0][None]
    drawn = torch.randn(clean.shape, generator=generator)
    when = torch.tensor([step])
    noisy = schedule.noisy(clean, drawn, when, state.alphas_cumprod)
    encoder = state.encoder
    subject = encoder.subject_tokens(example["image"][None], example["named"][None])
    condition = encoder.condition(example["text"][None], [subject], [1.0])
    model_pred = state.base.unet(noisy, when, **condition).sample.float()
    goal = schedule.target(clean, drawn, when, state.alphas_cumprod, state.prediction_type)
    latents = schedule.estimate(
        noisy, model_pred, when, state.alphas_cumprod, state.prediction_type
    )
    return denoise.loss(model_pred, goal).sum(), latents


def noise(state: Any, examples: list[dict[str, Any]]) -> list[float]:
    """How much the variance of a sample's gradient grows with each of `SHARES`."""
    import torch

    count, total, square, of_feedback = 0, torch.zeros(1), 0.0, 0.0
    for plain, asked in gradients(state, examples):
        both = plain + asked
        count, total = count + 1, total + both
        square += float(both.square().sum())
        of_feedback += float(asked.square().sum())
    variance = square / count - float((total / count).square().sum())
    return [1 + (1 / share - 1) * of_feedback / count / variance for share in SHARES]


def gradients(state: Any, examples: list[dict[str, Any]]) -> Iterator[tuple[Any, Any]]:
    """Of every sample and timestep, the gradients of denoising and of the weighted feedbacks whose
    gate is open, flat."""
    import torch

    method = registry.load("methods.train", "feedback")
    weights = method.weights(state.config)
    parameters = [p for p in state.encoder.parameters() if p.requires_grad]

    def flat(value: Any) -> Any:
        if not value.requires_grad:
            return torch.zeros(sum(p.numel() for p in parameters))
        slopes = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        pairs = zip(slopes, parameters, strict=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])

    for step in STEPS:
        when = torch.tensor([step])
        for example in examples:
            plain, latents = estimate(state, example, step)
            pictures = state.decode(latents)
            value = torch.zeros(())
            for name, watch in state.watch.items():
                has = any(part.startswith(f"{name}_") for part in example)
                if has and bool(state.gates[name].open(when)):
                    value = value + weights[name] * watch.values(pictures, [example]).sum()
            yield flat(plain), flat(value)
