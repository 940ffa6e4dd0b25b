"""Tables I and III of Identity Embedding from a comparison of scores, and the threshold of ID (P).

``python -m socialcli.benchmarks.identity_tables threshold FIT GROUNDED`` prints the mean CLIP
cosine of the pictures in which the grounder found all that the prompt names. ``... results COMPARED
WORDS`` prints Markdown from what `pipelines/table-003-mini.mk` or `pipelines/table-003.mk` made.
``... prompts CLASS NAME...`` prints a prompts_and_classes.txt of DreamBooth's form for people.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from socialcli.backends import naming
from socialcli.benchmarks import effects
from socialcli.benchmarks.effects import Effect
from socialcli.errors import UsageError

NAMES = {
    "ordinary": "the category in its place", "ti": "Textual Inversion",
    "ti5": "Textual Inversion, 5 stages", "prospect": "ProSpect", "celeb-basis": "Celeb Basis",
    "neti": "NeTI", "p-plus": "P+", "identity": "5 pairs, all tokens (identity)",
    "none": "5 pairs, no attention loss", "word": "5 pairs, option 1: the word",
    "prompt": "5 pairs, option 2: the prompt", "pairs1": "1 pair, all tokens",
    "pairs10": "10 pairs, all tokens", "dreambooth": "DreamBooth",
    "custom-diffusion": "Custom Diffusion", "textual-inversion": "Textual Inversion",
    "fastcomposer": "FastComposer", "identity-xl": "5 pairs, all tokens (identity)",
    "faceid": "IP-Adapter FaceID", "photomaker": "PhotoMaker", "instantid": "InstantID",
}  # fmt: skip
FIRST = ("ordinary", "dreambooth", "custom-diffusion", "ti", "ti5", "textual-inversion",
         "prospect", "neti", "p-plus", "celeb-basis", "fastcomposer", "identity")  # fmt: skip
XL = ("faceid", "photomaker", "instantid", "identity-xl")
THIRD = ("none", "word", "prompt", "identity", "pairs1", "pairs10")
# What the paper says of its rows; `table-003-mini.mk` names these before the run.
EXPECTED = [
    Effect("identity", "ti", "prompt_score", -1),
    Effect("identity", "ti", "id_p", -1),
    *(Effect("identity", row, "prompt_score", -1) for row in ("none", "word", "prompt")),
    Effect("identity", "pairs1", "id", -1),
]
COLUMNS = {
    "prompt_score": "Prompt", "id": "ID", "detect": "Detect", "id_p": "ID (P)", "id_f": "ID (F)",
    "detect_f": "Detect (F)",
}  # fmt: skip
# Prompts of scenes, attributes and actions that the paper's text and captions quote or name.
QUOTED = (
    "a photo of the face of {}", "a {} holding a basketball", "a {} in front of the Eiffel Tower",
    "a {} with eyes closed", "a {} enjoying a cup of latte", "a {} playing guitar", "an old {}",
    "a {} with white hair", "a {} sitting on a chair", "a {} cooking in a kitchen",
    "a {} having a picnic", "a {} in a garage", "an old {} playing guitar with eyes closed",
)  # fmt: skip
# What the paper's text says (sections IV-A to IV-H); the cells of its tables are pictures in the
# source at hand, and are not guessed here.
PAPER = (
    "`identity` has the best Prompt, ID (F) and ID (P) of all methods; Textual Inversion and "
    "ProSpect are poor in Prompt",
    "identity similarities are below 0.4, as faces are cut out of larger pictures",
    "Prompt rises from option 1 over 2 to 3",
    "one pair has a lower Prompt and ID than five; ten have the same Prompt and a lower ID",
    "about 5 minutes (1000 steps) a word on one TITAN RTX; the threshold of ID (P) is 0.23",
)


def main(arguments: list[str]) -> int:
    """Print what is asked for."""
    if len(arguments) > 2 and arguments[0] == "prompts":
        print("\n".join(prompts(arguments[1], arguments[2:])))
        return 0
    if len(arguments) != 3 or arguments[0] not in ("threshold", "results"):
        print(__doc__, file=sys.stderr)
        return 2
    what, first, second = arguments
    try:
        if what == "threshold":
            print(f"{threshold(Path(first), second):.4f}")
        else:
            compared = json.loads((Path(first) / "compare.json").read_text(encoding="utf-8"))
            print("\n".join(lines(compared, costs(Path(second)))))
    except UsageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def prompts(category: str, names: list[str]) -> list[str]:
    """Lines of a prompts_and_classes.txt: a face alone, then `QUOTED`."""
    texts = [
        f"'{text.replace('{}', '{0} {1}')}'.format(unique_token, class_token)" for text in QUOTED
    ]
    listed = ["prompt_list = [", *(f"{text}," for text in texts), "]"]
    listing = ["Classes", "", "subject_name,class", *(f"{name},{category}" for name in names)]
    for title in ("Object Prompts", "Live Subject Prompts"):
        listing += ["", title, "", *listed]
    return listing


def threshold(score: Path, grounded: str) -> float:
    """Mean cosine of the pictures in which each thing that the prompt names has a box.

    Args:
        score: folder that ``score --metrics prompt`` wrote. grounded: shards of the same pictures
            with entities and boxes.

    Raises:
        UsageError: there is no such picture.
    """
    whole = {key for key, shown in _grounded(grounded) if shown}
    lines = (score / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    samples = [json.loads(line) for line in lines]
    values = [s.get("prompt_score") for s in samples if s["key"] in whole]
    values = [value for value in values if value is not None]
    if not values:
        raise UsageError(f"{grounded}: in no picture everything is found that its prompt names")
    return float(sum(values) / len(values))


def _grounded(place: str) -> Iterator[tuple[str, bool]]:
    """(key, whether every entity of the caption has a box) of each picture."""
    from socialcli import records, shards

    for location in shards.expand([place]):
        for sample in shards.read(location):
            if sample.has("entities.json") and sample.has("boxes.json"):
                entities = {e.id for e in sample.record(records.Entities).entities}
                boxed = {box.entity for box in sample.record(records.Boxes).boxes}
                yield sample.key, bool(entities) and entities <= boxed


def costs(words: Path) -> dict[str, tuple[float, float, float]]:
    """Row -> (parameters that trained a word, numbers a word adds, seconds a word), over seeds."""
    by_row: dict[str, list[tuple[float, float, float]]] = {}
    for folder in sorted(words.iterdir()):
        if (folder / naming.LOG).is_file():
            row = folder.name.rpartition("-")[0]
            by_row.setdefault(row, []).append(_cost(folder))
    return {row: _mean(some) for row, some in by_row.items()}


def _mean(some: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    first, second, third = (sum(values) / len(some) for values in zip(*some, strict=True))
    return first, second, third


def _cost(folder: Path) -> tuple[float, float, float]:
    from safetensors import safe_open

    file = next(p for p in sorted(folder.glob("*.safetensors")))
    with safe_open(file, framework="pt") as opened:
        notes = opened.metadata() or {}
        shapes = {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118
    tokens = json.loads(notes["initial_words"])
    added = sum(_product(shape) for shape in shapes.values()) / len(tokens)
    trained = added
    if notes.get("socialcli.method") == "identity":
        pairs, width = next((s[0], s[-1]) for s in shapes.values())
        trained = _block(pairs, width)
    steps = [json.loads(line) for line in (folder / naming.LOG).read_text().split("\n") if line]
    seconds = sum(float(step.get("seconds", 0)) for step in steps) / len(tokens)
    return trained, added, seconds


def _product(shape: list[int]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product


def _block(pairs: int, width: int) -> int:
    import torch

    from socialcli.networks.stage_tokens import StageTokens

    with torch.device("meta"):
        return sum(p.numel() for p in StageTokens(width, 2 * pairs).parameters())


def lines(result: dict[str, Any], cost: dict[str, tuple[float, float, float]]) -> list[str]:
    """Markdown: both tables with 95 % intervals, then what the paper says."""
    page = [
        f"{result['units']} prompts; intervals by bootstrap over prompts, {result['resamples']} "
        f"resamples; bold is better and ↧ worse than `{result['baseline']}`, after Holm's "
        "correction.",
    ]
    for title, rows in (("Table I", FIRST), ("Table III", THIRD), ("SDXL", XL)):
        if not any(row in result["cells"] for row in rows):
            continue
        head = ["", *COLUMNS.values(), "trained", "added", "s a word"]
        page += ["", f"**{title}**", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for row in (r for r in rows if r in result["cells"]):
            cells = [_cell(result["cells"][row].get(figure)) for figure in COLUMNS]
            cells += [f"{value:,.4g}" for value in cost[row]] if row in cost else ["", "", ""]
            page.append(f"| {NAMES.get(row, row)} | " + " | ".join(cells) + " |")
    if any(row in result["cells"] for row in XL):
        return [*page, ""]
    rows_there = [e for e in EXPECTED if e.second in result["cells"]]
    if rows_there and result["baseline"] == "identity":
        page += [
            "", f"**Named effects** (Holm over these {len(rows_there)})", "",
            *effects.table(rows_there, [result]),
        ]  # fmt: skip
    return [*page, "", "The paper (SD 1.4) says:", "", *(f"- {line}" for line in PAPER), ""]


def _cell(cell: dict[str, Any] | None) -> str:
    if cell is None or cell["value"] is None:
        return ""
    text = f"{cell['value']:.3g}"
    text = f"**{text}**" if cell["bold"] else f"{text} ↧" if cell["verdict"] == "worse" else text
    low, high = cell["low"], cell["high"]
    return text if low is None else f"{text} [{low:.3g}, {high:.3g}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
