"""Pictures drawn with a reference, and what they keep of it: SSR's and IP-Adapter's measure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from socialcli.miniature.world.captions import captions
from socialcli.miniature.world.vocabulary import ANIMALS, BRIGHT
from socialcli.miniature.zoo import cards, seeing, subjects

GUIDANCE, SAMPLING = 4.0, 30
FIGURES = ("face_gain", "face_gain_low", "face_gain_high", "face_own", "face_other", "faces",
           "face_gain_without", "thing_colour", "things", "thing_colour_without",
           "pictures")  # fmt: skip


def draw(
    base: Any, ssr: Any, prompts: list[str], queries: list[str], references: list[Any],
    scale: float = 1.0, seed: int = 0,
) -> list[Any]:  # fmt: skip
    """One picture a prompt with the queried subject of its reference; RGB pictures."""
    import torch

    def told(part: slice, count: int) -> dict[str, Any]:
        features = torch.cat([ssr.nothing(count), ssr.features(references[part])])
        asked = base.prompts([""] * count + queries[part])
        tokens = ssr.encoder.subject_tokens(features, asked)
        text = base.prompts([""] * count + prompts[part])
        given: dict[str, Any] = ssr.encoder.condition(text, [tokens], [scale])
        return given

    return sample(base, len(prompts), told, seed)


def sample(
    base: Any, count: int, told: Callable[[slice, int], dict[str, Any]], seed: int = 0
) -> list[Any]:
    """``count`` RGB pictures, each of its own noise.

    Args:
        told: (some of the pictures, how many) -> the UNet's arguments for them, with as many
            unconditional rows in front.
    """
    import numpy
    import torch
    from diffusers import UniPCMultistepScheduler
    from PIL import Image

    pictures: list[Any] = []
    shape = base.latent_shape(base.picture_size, base.picture_size)
    with torch.inference_mode():
        for start in range(0, count, 16):
            numbers = range(start, min(start + 16, count))
            given = told(slice(start, start + 16), len(numbers))
            state = torch.stack([
                torch.randn(shape, generator=torch.Generator().manual_seed(seed * 100_000 + i))
                for i in numbers
            ])  # fmt: skip
            scheduler = UniPCMultistepScheduler.from_config(base.scheduler.config)
            scheduler.set_timesteps(SAMPLING)
            for t in scheduler.timesteps:
                unconditional, conditional = base.unet(
                    torch.cat([state] * 2), t, **given
                ).sample.chunk(2)
                state = scheduler.step(
                    unconditional + GUIDANCE * (conditional - unconditional), t, state
                ).prev_sample
            light = (base.decode(state).clamp(-1, 1) * 127.5 + 127.5).round()
            rows = light.permute(0, 2, 3, 1).numpy().astype(numpy.uint8)
            pictures += [Image.fromarray(row) for row in rows]
    return pictures


def kept(cases: list[Any], drawn: list[list[Any]]) -> dict[str, float]:
    """`faces` and `colours` of pictures drawn with references, and of those drawn without, whose
    names end in ``_without``."""
    figures: dict[str, float] = {"pictures": len(cases)}
    for pictures, suffix in zip(drawn, ("", "_without"), strict=True):
        for part in (faces, colours):
            figures |= {name + suffix: v for name, v in part(cases, pictures).items()}
    return {name: figures[name] for name in FIGURES if name in figures}


def cases(count: int) -> list[tuple[str, str, Any, Any, str]]:
    """(person's noun, thing's, reference scene, target scene, prompt) of test groups."""
    chosen_cases: list[tuple[str, str, Any, Any, str]] = []
    number = 0
    while len(chosen_cases) < count:
        group = subjects.group("test", number)
        number += 1
        clear = [s for s in group if subjects.is_clear(s)]
        others = [s for s in group if clear and s is not clear[0] and s.relations]
        if others:
            who, thing = subjects.query_words(group)
            text = captions(others[0])[0].text
            for look in {t.look.colour for t in others[0].things if t.look.kind == thing}:
                for article in ("a", "an"):
                    plain = ("an " if thing[0] in "aeiou" else "a ") + thing
                    text = text.replace(f"{article} {look} {thing}", plain)
            chosen_cases.append((who, thing, clear[0], others[0], text))
    return chosen_cases


def faces(cases: list[Any], pictures: list[Any]) -> dict[str, float]:
    """Face similarities, by the published recogniser; nothing where there is none."""
    import numpy

    from socialcli import backends
    from socialcli.backends import ModelSpec
    from socialcli.records import Face

    if not (cards.card("identity").exists() and cards.card("face").exists()):
        return {}
    pack = backends.load(ModelSpec("face", "insightface", str(cards.folder("face"))))
    rows = []
    for _, _, scene, _, _ in cases:
        subject = next(p for p in scene.people if p.id == scene.relations[0].subject)
        box = tuple(v / scene.size for v in subject.face)
        five = [(x / scene.size, y / scene.size) for x, y in subject.landmarks]
        rows.append(pack.embed([scene.image], [[Face(box, 1.0, five)]])[0][0])
    wanted = _unit(numpy.stack(rows))
    own, other = [], []
    for at, shown in enumerate(pack.detect(pictures)):
        if shown:
            near = (_unit(pack.embed([pictures[at]], [shown])[0]) @ wanted.T).max(0)
            own.append(near[at])
            other.append(numpy.delete(near, at).mean())
    gain = numpy.array(own) - numpy.array(other)
    draws = numpy.random.default_rng(0).integers(0, len(gain), (2000, len(gain)))
    low, high = numpy.quantile(gain[draws].mean(1), (0.025, 0.975))
    values = {"face_gain": gain.mean(), "face_gain_low": low, "face_gain_high": high,
              "face_own": numpy.mean(own), "face_other": numpy.mean(other)}  # fmt: skip
    return {**{k: round(float(v), 4) for k, v in values.items()}, "faces": len(own)}


def _unit(rows: Any) -> Any:
    import numpy

    return rows / numpy.linalg.norm(rows, axis=1, keepdims=True)


def colours(cases: list[Any], pictures: list[Any]) -> dict[str, float]:
    """How often the thing has the reference's colour; nothing without a published grounder."""
    grounder = seeing.backend("ground", "grounding-dino")
    if grounder is None:
        return {}
    right = []
    for (_, thing, scene, _, _), picture in zip(cases, pictures, strict=True):
        looks = [t.look for t in scene.things if t.look.kind == thing]
        if not looks or thing in ANIMALS or looks[0].colour not in BRIGHT:
            continue
        boxes = grounder.ground([picture], [[thing]], seeing.BOX, seeing.TEXT)[0]
        best = max(boxes, key=lambda b: b.score, default=None)
        if best is None:
            right.append(False)
            continue
        shares = seeing.box_colour(picture, best.xyxy, BRIGHT)
        right.append(shares[looks[0].colour] >= seeing.SHARE)
    return {"thing_colour": round(sum(right) / max(1, len(right)), 4), "things": len(right)}
