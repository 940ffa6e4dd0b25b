"""Prompts of Concept101 that two concepts share, as a file of prompts for `socialcli generate`.

``python -m socialcli.benchmarks.concept101 SOURCE`` prints JSON Lines: a key, the prompt in
ordinary words, and a reference of each concept with its class as query. ``generate --references
SHARDS`` finds the references among the shards of `socialcli import concept101`
(`pipelines/concept101.mk`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from socialcli.errors import SocialcliError
from socialcli.importers.concept101 import concepts


def main(source: str) -> int:
    """Print the prompts of every combination."""
    try:
        for row in rows(Path(source)):
            print(json.dumps(row, ensure_ascii=False))
    except SocialcliError as error:
        print(f"concept101: {error}", file=sys.stderr)
        return 2
    return 0


def rows(source: Path) -> Iterator[dict[str, Any]]:
    """One dict for each prompt of each combination, in the order of dataset_multiconcept.json.

    Raises:
        UsageError: the folder is not Concept101's.
    """
    known = {
        combination["combination"]: combination
        for concept in concepts(source).values()
        for combination in concept.combinations
    }
    for number, combination in sorted(known.items()):
        named = zip(combination["concepts"], combination["categories"], strict=True)
        references = [{"reference": name, "query": category} for name, category in named]
        for at, prompt in enumerate(combination["prompts"]):
            text = prompt
            for place, category in enumerate(combination["categories"]):
                text = text.replace(f"{{{place}}}", category)
            yield {
                "key": f"{number:03d}-{at:02d}", "prompt": text, "references": references,
            }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
