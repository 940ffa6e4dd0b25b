"""Figures 1 and 3 of Social Context Feedback (arXiv 2507.16095) for the miniature.

The paper chose the timesteps of its losses by looking at its own model: how long the estimates of a
picture keep faces, gazes and poses (Figure 1), and how each loss grows with the noise (Figure 3).

``... figure CURVES.json [BLURRED.json] -o FILE.svg`` draws Figure 3 from what ``socialcli train
--method feedback --write-curves`` measured; ``... blur SHARDS OUT`` makes the pictures of its right
part; ``... estimates SHARDS -o FILE.png`` draws Figure 1 and prints its numbers as Markdown
(`pipelines/figures-mini.mk`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import shards
from socialcli.benchmarks import publishing

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

COLOURS = {"boundary": "#6b7280", "identity": "#b45309", "gaze": "#1d4ed8", "pose": "#047857",
           "interaction": "#a21caf"}  # fmt: skip
WIDTH, HEIGHT, LEFT, TOP, ROOM = 620, 230, 44, 26, 150
SEEN = (0, 100, 200, 300, 400, 500, 600, 700, 800, 900)  # timesteps of Figure 1
SIDE = 192  # pixels of a picture in Figure 1
NEAR = 0.1  # of a person's height: a keypoint within it counts as kept

# --- Figure 3 -------------------------------------------------------------------------------------


def figure(curves: dict[str, Any], blurred: dict[str, Any] | None = None) -> str:
    """An SVG: each loss over the timesteps, from 0 to 1 of its own range; below it, if given, the
    boundary loss of the same pictures without and with fine details."""
    panels = [{name: curves[name] for name in COLOURS if name in curves}]
    names = [{name: name for name in panels[0]}]
    if blurred is not None:
        panels.append({"boundary": curves["boundary"], "pose": blurred["boundary"]})
        names.append({"boundary": "boundary", "pose": "boundary, blurred"})
    whole = len(panels) * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {whole}" '
        'font-family="sans-serif" font-size="12" role="img">'
        "<title>Losses over the timesteps, each from 0 to 1 of its range</title>"
        '<rect width="100%" height="100%" fill="white"/>'
    ]
    for number, (panel, named) in enumerate(zip(panels, names, strict=True)):
        parts += _panel(panel, named, number * HEIGHT + TOP)
    return "".join(parts) + "</svg>\n"


def _panel(panel: dict[str, list[float]], named: dict[str, str], top: float) -> Iterator[str]:
    bottom, right = top + HEIGHT - 74, WIDTH - ROOM

    def x(timestep: float) -> float:
        return LEFT + (right - LEFT) * timestep / 1000

    for value in (0.0, 0.5, 1.0):
        y = bottom - (bottom - top) * value
        yield f'<line x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:g}</text>'
    for timestep in range(0, 1001, 200):
        yield f'<text x="{x(timestep)}" y="{bottom + 16}" text-anchor="middle">{timestep}</text>'
    middle = (LEFT + right) / 2
    yield f'<text x="{middle}" y="{bottom + 34}" text-anchor="middle">timestep</text>'
    for row, (name, values) in enumerate(panel.items()):
        least, most = min(values), max(values)
        share = [(value - least) / ((most - least) or 1.0) for value in values]
        points = " ".join(
            f"{x((at + 0.5) * 1000 / len(share)):.1f},{bottom - (bottom - top) * one:.1f}"
            for at, one in enumerate(share)
        )
        colour, y = COLOURS[name], top + 8 + 18 * row
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield f'<rect x="{right + 16}" y="{y - 5}" width="14" height="4" fill="{colour}"/>'
        yield f'<text x="{right + 36}" y="{y + 1}">{named[name]}</text>'


def blur(places: Sequence[str], out: Path, radius: float) -> None:
    """Write the shards again with every picture under a Gaussian filter.

    Args:
        radius: the filter's standard deviation in pixels.
    """
    import io

    from PIL import ImageFilter

    from socialcli import records, shards
    from socialcli.vision import images

    def softened(sample: Any) -> dict[str, bytes]:
        picture = images.decode(sample.picture()).filter(ImageFilter.GaussianBlur(radius))
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        kept = {s: d for s, d in sample.members.items() if s not in records.IMAGE_SUFFIXES}
        return {"png": stream.getvalue(), **kept}

    for number, place in enumerate(shards.expand(list(places))):
        rows = ((sample.key, softened(sample)) for sample in shards.read(place))
        shards.write(out / f"{number:06d}.tar", rows)


# --- Figure 1 -------------------------------------------------------------------------------------


def estimates(places: Sequence[str], shown: int, measured: int) -> tuple[Image, str]:
    """What the miniature UNet, told the caption, believes of noisy pictures at each timestep, and
    what the judges find in it.

    Returns:
        A sheet, a row a picture (the first ``shown``) and a column a timestep, with the skeletons
        and gazes, and below each the cosine of the face with the picture's own; Markdown lines:
        per timestep, over ``measured`` pictures, the mean cosine, the mean distance of the gaze's
        point (in sides of the picture), and the share of keypoints within a tenth of the person's
        height.
    """
    from socialcli.training import pictures as grids

    judges = _judges()
    sums: dict[int, dict[str, list[float]]] = {t: {} for t in SEEN}
    tiles: list[tuple[str, Image]] = []
    used = 0
    for sample in _samples(places):
        if used == max(shown, measured):
            break
        person = _whole_person(sample)
        if person is None:
            continue
        drawn, per_step = _row(judges, sample, person)
        for timestep, values in zip(SEEN, per_step, strict=True):
            for name, value in values.items():
                sums[timestep].setdefault(name, []).append(value)
        if used < shown:
            tiles += [
                (f"t {timestep}" + (f"  {v['face']:.2f}" if "face" in v else ""), picture)
                for timestep, v, picture in zip(SEEN, per_step, drawn, strict=True)
            ]
        used += 1
    lines = [f"Means over {used} pictures; a face or gaze that is not found is left out.", "",
             "| timestep | face, cosine | gaze, distance | keypoints kept |",
             "|--:|--:|--:|--:|"]  # fmt: skip
    for timestep, by_name in sums.items():
        cells = [_mean(by_name.get(name, [])) for name in ("face", "gaze", "pose")]
        lines.append(f"| {timestep} | " + " | ".join(cells) + " |")
    return grids.grid(tiles, columns=len(SEEN)), "\n".join(lines)


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.3f}" if values else ""


def _samples(places: Sequence[str]) -> Iterator[Any]:
    from socialcli import shards

    for place in shards.expand(list(places)):
        yield from shards.read(place)


def _whole_person(sample: Any) -> Any:
    """The first person with a face, a head, keypoints and a gaze into the picture, None without."""
    from socialcli import records

    if not sample.has("people.json"):
        return None
    known = sample.record(records.Boxes).boxes if sample.has("boxes.json") else []
    boxes = {box.id: box for box in known}
    for person in sample.record(records.People).people:
        body = person.xyxy or (boxes[person.box].xyxy if person.box in boxes else None)
        looks = person.gaze is not None and person.gaze.point is not None
        if body and person.face and person.head and person.keypoints and looks:
            person.xyxy = body
            return person
    return None


def _judges() -> dict[str, Any]:
    from socialcli.miniature.zoo import cards, diffusion, gaze, seeing

    return {
        "pipe": diffusion.published(cards.folder("diffusion")),
        "face": seeing.backend("face", "iresnet", "backbone.pth"),
        "gaze": seeing.backend("gaze", "sharingan", gaze.FILE),
        "pose": seeing.backend("pose", "vitpose"),
    }


def _row(
    judges: dict[str, Any], sample: Any, person: Any
) -> tuple[list[Image], list[dict[str, float]]]:
    """The estimates at `SEEN`, drawn on, and what the judges find in each."""
    import numpy
    import torch

    from socialcli import records
    from socialcli.diffusion import latents, schedule
    from socialcli.vision import images

    pipe = judges["pipe"]
    original = images.decode(sample.picture())
    pixels = torch.from_numpy(numpy.array(original)).permute(2, 0, 1)[None] / 127.5 - 1
    alphas_cumprod, prediction_type = schedule.schedule(pipe.scheduler)
    steps = torch.tensor(SEEN)
    with torch.no_grad():
        clean = pipe.vae.encode(pixels).latent_dist.mean * pipe.vae.config.scaling_factor
        clean = clean.expand(len(SEEN), -1, -1, -1)
        noise = torch.randn(clean[:1].shape, generator=torch.Generator().manual_seed(0))
        noisy = schedule.noisy(clean, noise.expand_as(clean), steps, alphas_cumprod).float()
        ids = pipe.tokenizer(
            sample.record(records.Caption).text, padding="max_length", truncation=True,
            max_length=pipe.tokenizer.model_max_length, return_tensors="pt",
        ).input_ids  # fmt: skip
        text = pipe.text_encoder(ids).last_hidden_state.expand(len(SEEN), -1, -1)
        model_pred = pipe.unet(noisy, steps, text).sample
        guessed = schedule.estimate(noisy, model_pred, steps, alphas_cumprod, prediction_type)
        decoded = pipe.vae.decode(guessed.float() / pipe.vae.config.scaling_factor).sample
    views = latents.pictures(decoded)
    count = len(SEEN)
    faces = judges["face"].embed([original, *views], [[person.face]] * (count + 1))
    looks = judges["gaze"].gaze(views, [[person.head]] * count)
    poses = judges["pose"].estimate(views, [[person.xyxy]] * count)
    own = _unit(faces[0])
    values: list[dict[str, float]] = []
    for face, (look,), (pose,) in zip(faces[1:], looks, poses, strict=True):
        one = {"face": float(_unit(face)[0] @ own[0])}
        if look is not None and look.point is not None:
            one["gaze"] = float(numpy.hypot(*numpy.subtract(look.point, person.gaze.point)))
        one["pose"] = _kept(person, pose)
        values.append(one)
    rows = zip(views, poses, looks, strict=True)
    return [_drawn(view, pose, person.head, look) for view, (pose,), (look,) in rows], values


def _unit(rows: numpy.ndarray) -> Any:
    import numpy

    return rows / numpy.linalg.norm(rows, axis=1, keepdims=True)


def _kept(person: Any, pose: Any) -> float:
    """The share of the annotated keypoints that stand where they stood."""
    import math

    tall = person.xyxy[3] - person.xyxy[1]
    asked = [(k, p) for k, p in enumerate(person.keypoints.points) if p[2] > 0]
    if pose is None or not asked:
        return 0.0
    near = [
        pose.points[k][2] > 0 and math.dist(pose.points[k][:2], p[:2]) <= NEAR * tall
        for k, p in asked
    ]
    return sum(near) / len(near)


def _drawn(picture: Image, pose: Any, head: Any, look: Any) -> Image:
    """A picture, enlarged, with the skeleton and the gaze that the judges find."""
    from PIL import Image, ImageChops, ImageDraw

    from socialcli.vision import skeletons

    large = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    if pose is not None:
        large = ImageChops.lighter(large, skeletons.draw([pose.points], large.size))
    if look is not None and look.point is not None:
        pen = ImageDraw.Draw(large)
        eyes = ((head[0] + head[2]) / 2 * SIDE, (head[1] + head[3]) / 2 * SIDE)
        end = (look.point[0] * SIDE, look.point[1] * SIDE)
        pen.line((eyes, end), fill="#fde047", width=2)
        pen.ellipse((end[0] - 4, end[1] - 4, end[0] + 4, end[1] + 4), fill="#fde047")
    return large


def main(arguments: list[str]) -> int:
    """See the module's docstring."""
    import json

    parser = argparse.ArgumentParser(prog="python -m socialcli.benchmarks.curves")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("figure")
    one.add_argument("curves", nargs="+", type=Path, help="measured curves; blurred pictures' too")
    one.add_argument("-o", "--output", type=Path, required=True)
    one = commands.add_parser("blur")
    one.add_argument("shards", nargs="+", help="shards, and last the folder to write")
    one.add_argument("--radius", type=float, default=1.0)
    one = commands.add_parser("estimates")
    one.add_argument("shards", nargs="+")
    one.add_argument("--shown", type=int, default=4, help="rows of the sheet")
    one.add_argument("--measured", type=int, default=64, help="pictures of the means")
    one.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args(arguments)
    if asked.command != "blur":
        publishing.check(parser, asked.output)
    if asked.command == "figure":
        curves = [json.loads(file.read_text(encoding="utf-8")) for file in asked.curves]
        shards.write_bytes(str(asked.output), figure(*curves[:2]).encode())
    elif asked.command == "blur":
        *places, out = asked.shards
        blur(places, Path(out), asked.radius)
    else:
        from socialcli.training import pictures

        sheet, text = estimates(asked.shards, asked.shown, asked.measured)
        pictures.write(sheet, asked.output)
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
