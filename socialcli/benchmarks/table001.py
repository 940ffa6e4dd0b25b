"""Table 1, Figure 4 and a sheet of pictures of Inverted Interaction.

Used by `pipelines/table-001-mini.mk`, and the table by `pipelines/table-001.mk`::

    python -m socialcli.benchmarks.table001 table COMPARED SCORES        Markdown on stdout
    python -m socialcli.benchmarks.table001 map WORDS WITHOUT_PRIOR --profile mini -o words.png
    python -m socialcli.benchmarks.table001 sheet SENTENCES DRAWN... -o pictures.png
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.benchmarks import effects, publishing
from socialcli.benchmarks.effects import Effect

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

FIGURES = {"clip_t": "CLIP-T", "clip_s": "CLIP-S", "pose_s": "Pose-S %", "pose_kp": "Pose-KP %"}
# Inverted Interaction, Table 1; the scores in per cent.
PAPER: dict[str, tuple[float | None, ...]] = {
    "text": (23.51, 21.87, 7.05, 6.36),
    "textual-inversion": (22.47, 21.79, 11.59, 8.18),
    "p-plus": (20.55, 22.19, 12.42, 9.23),
    "reversion": (24.68, 22.81, 18.47, 15.53),
    "interaction": (25.74, 22.93, 40.81, 38.64),
}
JUDGES = (91.0, 85.0)  # accuracy of the paper's own judges, per cent
NAMES = {
    "text": "ordinary words", "sd": "Stable Diffusion", "controlnet": "ControlNet",
    "instruct-pix2pix": "InstructPix2Pix", "interactdiffusion": "InteractDiffusion",
    "textual-inversion": "Textual Inversion", "p-plus": "P+",
    "reversion": "ReVersion", "interaction": "Inverted Interaction",
    "no-prior": "without prior", "no-poses": "without stage I",
    "no-attention": "without L_CA", "scenes": "the scenes themselves",
}  # fmt: skip
PARTS = {
    "verbs": (214, 60, 40), "prepositions": (44, 98, 208), "adjectives": (170, 170, 150),
    "nouns": (150, 190, 160), "conjunctions": (190, 160, 200),
}  # fmt: skip
# The paper's claims, Table 1 and Figure 8; `table-001-mini.mk` names them before the run.
EXPECTED = [
    Effect("interaction", row, figure, -1)
    for row in (
        "reversion", "p-plus", "textual-inversion", "text", "no-prior", "no-poses", "no-attention",
    )
    for figure in ("pose_s", "pose_kp")
]  # fmt: skip
SIDE, MARGIN, SHOWN = 720, 40, 8


# --- Table 1 --------------------------------------------------------------------------------------


def table(compared: Path, scores: Path) -> list[str]:
    """Markdown lines: the figures with intervals, both halves, the comparison, the paper's."""
    result = json.loads((compared / "compare.json").read_text(encoding="utf-8"))
    rows = [row for row in NAMES if row in result["cells"]]
    head = ["", *FIGURES.values()]
    lines = [
        f"{result['units']} sentences; intervals by bootstrap over sentences, "
        f"{result['resamples']} resamples. Bold: every other row is worse, or this one is better "
        f"than {_name(result['baseline'])} (Holm over {result['tests']} tests).", "",
        _row(head), _rule(len(head)),
    ]  # fmt: skip
    for row in rows:
        cells = result["cells"][row]
        lines.append(_row([_name(row), *(_cell(cells.get(figure)) for figure in FIGURES)]))
    miniature = (scores / "scenes").is_dir()
    judged = _score(scores / ("scenes" if miniature else rows[0]))
    if miniature:
        lines.append(_row([_name("scenes"), *(_cell(judged.get(figure)) for figure in FIGURES)]))
    held = [_number(judged.get(f"{name}_held_out")) for name in ("pose_s", "pose_kp")]
    chance = f"; chance is {100 / 15:.1f} %" if miniature else ""
    lines += [
        "", f"The judges get {held[0]} % (Pose-S) and {held[1]} % (Pose-KP) of held-out exemplars "
        f"right{chance}.",
    ]  # fmt: skip
    if miniature:
        lines += _parts(rows, scores)
    if result["baseline"] == "interaction":
        lines += ["", "## Named effects", "", *effects.table(EXPECTED, [result])]
    lines += [
        "", f"## Differences from {_name(result['baseline'])}", "",
        _row(["", *(f"{title}, p" for title in FIGURES.values())]), _rule(len(head)),
    ]  # fmt: skip
    for row in rows:
        if row != result["baseline"]:
            cells = result["cells"][row]
            lines.append(_row([_name(row), *(_difference(cells.get(f)) for f in FIGURES)]))
    lines += ["", "The paper, Stable Diffusion, 2,000 pictures:", "", _row(head), _rule(len(head))]
    for row, numbers in PAPER.items():
        lines.append(_row([_name(row), *("" if n is None else f"{n:g}" for n in numbers)]))
    lines += ["", f"Its judges get {JUDGES[0]:g} % and {JUDGES[1]:g} % of test pictures right."]
    return lines


def _parts(rows: list[str], scores: Path) -> list[str]:
    """Known and new interactions apart, and sentences of two people and with an animal."""
    from socialcli.miniature.world.interactions import INTERACTIONS
    from socialcli.miniature.world.vocabulary import ANIMALS

    seen = {one.name: one.seen for one in INTERACTIONS}
    animals = re.compile(rf"\b({'|'.join(ANIMALS)})\b")

    def people(body: dict[str, Any]) -> bool | None:
        return None if "prompt" not in body else not animals.search(body["prompt"])

    lines: list[str] = []
    for title, note, halves, of in (
        ("Known and new interactions", "Seven of the verbs the miniatures know between people; of "
         "the other eight they have seen no picture.", ("known", "new"),
         lambda body: seen.get(body["key"].partition("/")[0])),
        ("Two people, or an animal among the two", "The miniatures have seen no animal in any of "
         "these poses.", ("people", "animals"), people),
    ):  # fmt: skip
        shares = {row: parted(scores / row, of) for row in rows}
        if any(all(v[half] != v[half] for v in shares.values()) for half in (0, 1)):
            continue  # one half is of no sentence: the table above says the other
        titles = [f"{judge} {half}" for judge in ("Pose-S", "Pose-KP") for half in halves]
        lines += ["", f"## {title}", "", note, "", _row(["", *titles]), _rule(5)]
        for row in rows:
            cells = ("" if v != v else f"{v:.1f}" for v in shares[row])
            lines.append(_row([_name(row), *cells]))
    return lines


def parted(folder: Path, of: Callable[[dict[str, Any]], bool | None]) -> list[float]:
    """Pose-S of the pictures of which ``of`` is true and of those of which it is false, then
    Pose-KP of both; ``of`` is asked about each line of the score's ``samples.jsonl``."""
    values: dict[tuple[str, bool], list[float]] = {}
    for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines():
        body = json.loads(line)
        half = of(body)
        for figure in ("pose_s", "pose_kp"):
            if half is not None and body.get(figure) is not None:
                values.setdefault((figure, half), []).append(body[figure])
    keys = [(figure, half) for figure in ("pose_s", "pose_kp") for half in (True, False)]
    return [_mean(values.get(key, [])) for key in keys]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _score(folder: Path) -> dict[str, Any]:
    body = json.loads((folder / "score.json").read_text(encoding="utf-8"))
    columns: dict[str, Any] = body["columns"]
    return columns


def _name(row: str) -> str:
    return NAMES.get(row, row)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(count: int) -> str:
    return "|---" * count + "|"


def _number(cell: dict[str, Any] | None) -> str:
    return "-" if cell is None or cell["value"] is None else f"{cell['value']:.3g}"


def _cell(cell: dict[str, Any] | None) -> str:
    if cell is None or cell["value"] is None:
        return ""
    text = f"**{_number(cell)}**" if cell.get("bold") else _number(cell)
    low, high = cell["low"], cell["high"]
    return text if low is None else f"{text} [{low:.3g}, {high:.3g}]"


def _difference(cell: dict[str, Any] | None) -> str:
    if cell is None or cell.get("difference") is None:
        return ""
    low, high, p = cell["difference_low"], cell["difference_high"], cell["p_corrected"]
    return f"{cell['difference']:+.3g} [{low:.3g}, {high:.3g}], p = {p:.2g}"


# --- Figure 4 -------------------------------------------------------------------------------------


def word_map(with_prior: str, without: str, profile: str, file: Path) -> dict[str, float]:
    """Write the map of learned words among ordinary ones, of a run with priors and one without.

    Returns:
        For each run and kind of word the share whose nearest neighbours are mostly of the part of
        speech that it was held to, ``interaction poses`` and so on.
    """
    import numpy

    from socialcli import backends
    from socialcli.backends import ModelSpec
    from socialcli.diffusion import language_prior, word_files

    model = _diffusion(profile)
    diffusion = backends.load(ModelSpec("diffusion", "stable-diffusion", model))
    vocabulary = diffusion.text_encoder.get_input_embeddings().weight
    rows: list[numpy.ndarray] = []
    labels: list[str] = []
    for part in PARTS:
        words = language_prior.listed(part)
        _, plain = language_prior.embeddings(diffusion.tokenizer, vocabulary, words)
        rows.append(plain.cpu().numpy())
        labels += [part] * len(plain)
    for name, folder in (("with", with_prior), ("without", without)):
        for one in word_files.read(folder):
            pose = one.token.endswith(("-1>", "-2>"))
            vectors = one.word.vectors([()])[0].detach().cpu().numpy()
            rows.append(vectors)
            labels += [f"{name} {'pose' if pose else 'relation'}"] * len(vectors)
    points = numpy.concatenate(rows).astype(numpy.float64)
    near = neighbours(points, labels)
    from socialcli.benchmarks import _tsne
    from socialcli.training import pictures

    picture = _drawn(_tsne.embed(points), labels)
    pictures.write(picture, file)
    return near


def neighbours(points: numpy.ndarray, labels: list[str], count: int = 5) -> dict[str, float]:
    """The share of learned words of which most of the nearest ordinary words are of the part of
    speech that their prior is of."""
    import numpy

    plain = numpy.array([label in PARTS for label in labels])
    goal = {"pose": "verbs", "relation": "prepositions"}
    right_of: dict[str, list[bool]] = {}
    for at, label in enumerate(labels):
        if label in PARTS:
            continue
        distance = numpy.where(plain, ((points - points[at]) ** 2).sum(1), numpy.inf)
        close = [labels[int(n)] for n in distance.argsort()[:count]]
        most = max(sorted(set(close)), key=close.count)
        right_of.setdefault(label, []).append(most == goal[label.split()[1]])
    return {label: sum(right) / len(right) for label, right in right_of.items()}


def _drawn(places: numpy.ndarray, labels: list[str]) -> Image:
    """Dots of ordinary words, and marks of learned ones: full with priors, hollow without."""
    from PIL import Image, ImageDraw

    low, high = places.min(0), places.max(0)
    scaled = (places - low) / (high - low) * (SIDE - 2 * MARGIN) + MARGIN  # axes mean nothing
    picture = Image.new("RGB", (SIDE + 200, SIDE), "white")
    pen = ImageDraw.Draw(picture)
    for (x, y), label in sorted(zip(scaled.tolist(), labels, strict=True), key=lambda one: one[1]):
        _mark(pen, x, y, label)
    names = [*PARTS, "with pose", "with relation", "without pose", "without relation"]
    for row, label in enumerate(names):
        y = MARGIN + 22 * row
        _mark(pen, SIDE + 10, y, label)
        words = label.replace("with ", "learned, prior: ").replace("without ", "learned, none: ")
        pen.text((SIDE + 22, y - 6), words, fill="black")
    return picture


def _mark(pen: Any, x: float, y: float, label: str) -> None:
    if label in PARTS:
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=PARTS[label])
        return
    prior, kind = label.split()
    colour = PARTS["verbs" if kind == "pose" else "prepositions"]
    dark = tuple(part // 2 for part in colour)
    pen.rectangle(
        (x - 5, y - 5, x + 5, y + 5),
        fill=colour if prior == "with" else None,
        outline=dark,
        width=2,
    )


def _diffusion(profile: str) -> str:
    """The diffusion model of a profile's [invert]."""
    from socialcli.miniature.zoo import cards

    return str(cards.folder("diffusion")) if profile == "mini" else profile


# --- pictures -------------------------------------------------------------------------------------


def spread(keys: list[str]) -> list[str]:
    """At most `SHOWN` of the sentences' keys (INTERACTION/NAME), of interactions far apart."""
    of: dict[str, list[str]] = {}
    for key in keys:
        of.setdefault(key.partition("/")[0], []).append(key)
    names = [list(of)[n * len(of) // SHOWN] for n in range(SHOWN)] if of else []
    return list(dict.fromkeys(of[name][n % len(of[name])] for n, name in enumerate(names)))


def sheet(sentences: str, drawn: list[str], file: Path) -> None:
    """Write what each row draws for some sentences, under the scene of the sentence's people."""
    from socialcli import records, shards
    from socialcli.training import pictures
    from socialcli.vision import images

    def read(folder: str) -> dict[str, Any]:
        places = shards.expand([folder])
        return {s.key: s for place in places for s in shards.read(place)}

    asked = read(sentences)
    rows = {Path(folder).name: read(folder) for folder in drawn}
    keys = spread(list(asked))
    shown = []
    for key in keys:
        text = asked[key].record(records.Caption).text
        shown.append((text, images.decode(asked[key].picture())))
    for name, samples in rows.items():
        for key in keys:
            sample = next((s for k, s in samples.items() if k in (key, f"{key}-0")), None)
            if sample is not None:
                shown.append((name, images.decode(sample.picture())))
    pictures.write(pictures.grid(shown, columns=len(keys)), file)


def main(arguments: list[str]) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m socialcli.benchmarks.table001")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("table")
    one.add_argument("compared", type=Path)
    one.add_argument("scores", type=Path)
    one = commands.add_parser("map")
    one.add_argument("words", nargs=2)
    one.add_argument("--profile", default="mini")
    one.add_argument("-o", "--output", type=Path, required=True)
    one = commands.add_parser("sheet")
    one.add_argument("sentences")
    one.add_argument("drawn", nargs="+")
    one.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args(arguments)
    if asked.command != "table":
        publishing.check(parser, asked.output)
    if asked.command == "table":
        print("\n".join(table(asked.compared, asked.scores)))
    elif asked.command == "map":
        with_prior, without = asked.words
        for name, share in word_map(with_prior, without, asked.profile, asked.output).items():
            print(f"{name}: {100 * share:.0f} % nearest to their part of speech")
    else:
        sheet(asked.sentences, asked.drawn, asked.output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
