"""What a Makefile of a paper's table needs before it runs: models, data sets, hours of a GPU.

``python -m socialcli.benchmarks.needs WORD...`` prints Markdown and reads no pixel and no weight.
`pipelines/needs.mk` calls it for the target ``needs`` and for every dry run (``make -n``). Words:

    model=ROLE/BACKEND[=PLACE]            a backend of `socialcli models`, and what stands for it
    data=NAME[=PLACE]                     one of `DATA`
    draw=NETWORK:SIDE:STEPS:PICTURES      guided pictures
    train=NETWORK:SIDE:SAMPLES            samples that a training sees, forward and backward
    --teraflops N                         what a card reaches, of 10^12 operations a second

Hours are operations divided by that rate, and operations are those of the UNet and the decoder
alone (`OPERATIONS`), so detectors, loading and the scores come on top.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from socialcli import backends
from socialcli.errors import SocialcliError, UnknownName, UsageError

TERAFLOPS = 50.0  # about a sixth of what an A100 can do in half precision
# 10^12 operations of one pass, counted by torch.utils.flop_counter with a text of 77 tokens (a
# multiplication and an addition are two): (network, pixels of a side) -> (UNet, decoder).
OPERATIONS: dict[tuple[str, int], tuple[float, float]] = {
    ("sd15", 512): (0.803, 2.51),
    ("sd15-controlnet", 512): (1.087, 2.51),
    ("sdxl", 512): (1.589, 2.51),
    ("sdxl", 1024): (6.761, 10.47),
}
BACKWARD = 3.0  # times a forward pass: forward, and the gradients of activations and weights


@dataclass(frozen=True)
class DataSet:
    """What a data set's page says of it."""

    title: str
    licence: str
    size: str
    get: str


# Sizes of archives as others report them, since none was downloaded here: HICO-DET's in download
# scripts of its users, GazeFollow's (6.26 GB) in an issue of ejcgt/attention-target-detection,
# Concept101's (3.39 GB) in notes of a user, DreamBench++'s (data.zip, 15.1 MB) on its page. That of
# DreamBench is what the files of google/dreambooth add up to.
DATA = {
    "hico-det": DataSet(
        "HICO-DET", "not stated; photographs are their owners'", "7.5 GB",
        "hico_20160224_det.tar.gz, which http://www-personal.umich.edu/~ywchao/hico/ links"),
    "gazefollow": DataSet(
        "GazeFollow (extended)", "not stated; photographs are their owners'", "6.3 GB",
        "the archive that http://gazefollow.csail.mit.edu links"),
    "concept101": DataSet(
        "Concept101", "Adobe Research Licence; photographs Unsplash or CC BY-SA", "3.4 GB",
        "dataset.json of https://github.com/adobe-research/custom-diffusion, and "
        "benchmark_dataset.zip"),
    "dreambench": DataSet(
        "DreamBench", "CC BY 4.0; some photographs Unsplash", "0.11 GB",
        "git clone https://github.com/google/dreambooth"),
    "dreambench-plus": DataSet(
        "DreamBench++", "Apache-2.0; photographs cleared for academic use", "0.02 GB",
        "https://github.com/yuangpeng/dreambench_plus"),
    "exemplars": DataSet(
        "exemplars of interactions", "those of the photographs that you take", "150 photographs",
        "a folder for each interaction, ten photographs of two people in each; the paper's were "
        "not published"),
    "sentences": DataSet(
        "sentences", "yours", "a CSV file", "docs/interaction.md#the-table"),
    "people": DataSet(
        "one face of each person", "CelebA-HQ: non-commercial research; StyleGAN's: CC BY-NC",
        "a photograph each",
        "a folder for each person (the paper: CelebA-HQ and StyleGAN's faces)"),
    "names": DataSet(
        "names of known people", "none needed", "513 names or more", "docs/words.md, celeb-basis"),
}  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser("python -m socialcli.benchmarks.needs")
    parser.add_argument("--teraflops", type=float, default=TERAFLOPS)
    parser.add_argument("words", nargs="*")
    given = parser.parse_args(arguments)
    try:
        print("\n".join(lines(given.words, given.teraflops)))
    except SocialcliError as error:
        print(f"needs: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def lines(words: Sequence[str], teraflops: float = TERAFLOPS) -> list[str]:
    """Markdown: what is needed and whether it is here, how to get what is not, and hours.

    Raises:
        UsageError: a word that is none of those above, or names what nobody knows.
    """
    if teraflops <= 0:
        raise UsageError(f"--teraflops {teraflops:g}: more than 0")
    rows: dict[tuple[str, ...], str] = {}
    hours: list[tuple[str, float]] = []
    for word in words:
        kind, _, rest = word.partition("=")
        name, _, place = rest.partition("=")
        if kind == "model":
            rows.update([_model(name, place)])
        elif kind == "data":
            rows.update([_data(name, place)])
        elif kind in ("draw", "train"):
            hours.append(_work(kind, rest, teraflops))
        else:
            raise UsageError(f"'{word}': model=, data=, draw= or train=")
    table = ["| what | licence | size | here |", "|---|---|---|---|"]
    table += [f"| {' | '.join(row)} |" for row in rows]
    missing = {get: row[0] for row, get in rows.items() if row[3] == "no" and get}
    if missing:
        table += ["", "Not here:", "", *(f"- {what}: {get}" for get, what in missing.items())]
    if hours:
        table += [
            "", f"GPU hours expected at {teraflops:g} * 10^12 operations a second, UNet and "
            "decoder alone (not measured):", "", "| work | hours |", "|---|---|",
        ]  # fmt: skip
        for (what, value), times in Counter(hours).items():
            again = f", {times} times" if times > 1 else ""
            table.append(f"| {what}{again} | {_rounded(times * value)} |")
        table.append(f"| all | {_rounded(sum(value for _, value in hours))} |")
    return table


def _model(name: str, place: str) -> tuple[tuple[str, ...], str]:
    role, _, backend = name.partition("/")
    if role not in backends.ROLES:
        raise UnknownName("no role", role, backends.ROLES)
    info = backends.info(role, backend)
    model = place or info.model
    there = "in the package" in info.model or backends.where(model)
    title = f"{backend} ({role}): {model or 'no default, name a file'}"
    row = (title, info.licence, info.size or "-", "yes" if there or not _weighs(info) else "no")
    other = place and place != info.model and not backends.is_path(place)
    return row, f"hf download {place}" if other else info.get


def _weighs(info: backends.BackendInfo) -> bool:
    """Whether a backend has a checkpoint at all."""
    return bool(info.model or info.get)


def _data(name: str, place: str) -> tuple[tuple[str, ...], str]:
    if name not in DATA:
        raise UnknownName("no data set", name, DATA)
    one = DATA[name]
    there = bool(place) and Path(place).expanduser().exists()
    row = (f"{one.title}: {place or 'not named'}", one.licence, one.size, "yes" if there else "no")
    return row, one.get


def _work(kind: str, words: str, teraflops: float) -> tuple[str, float]:
    """What is done, and the hours that it takes."""
    wanted = 4 if kind == "draw" else 3
    parts = words.split(":")
    try:
        network, side = parts[0], int(parts[1])
        counts = [int(part) for part in parts[2:wanted]]
        unet, decoder = OPERATIONS[network, side]
        if len(parts) != wanted:
            raise ValueError
    except (ValueError, IndexError, KeyError):
        known = ", ".join(f"{name}:{size}" for name, size in OPERATIONS)
        numbers = "STEPS:PICTURES" if kind == "draw" else "SAMPLES"
        raise UsageError(f"{kind}={words}: NETWORK:SIDE:{numbers} with one of {known}") from None
    if kind == "draw":
        steps, pictures = counts
        total = pictures * (2 * steps * unet + decoder)
        what = f"{pictures:,} pictures of {side} pixels, {steps} guided steps each, {network}"
    else:
        [samples] = counts
        total = samples * BACKWARD * unet
        what = f"{samples:,} samples of {side} pixels trained on, {network}"
    return what, total / teraflops / 3600


def _rounded(hours: float) -> str:
    return f"{hours:.1f}" if hours < 10 else f"{hours:,.0f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
