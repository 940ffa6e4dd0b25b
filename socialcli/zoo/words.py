"""The miniatures' WordPiece vocabulary: every word of the world, and letters for all others.

The ids of ``[PAD] [UNK] [CLS] [SEP] [MASK] . ?`` are BERT's, which GroundingDINO assumes.
"""

from __future__ import annotations

import re
import string
from functools import cache
from pathlib import Path

from socialcli.world.identity import COATS, HAIRS
from socialcli.world.vocabulary import ANIMALS, COLOURS, PLACES, THINGS, VERBS

FIXED = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
FIRST = 1030
_MORE = (
    "a an another the his her with in on at of to is being by who there and while standing nearby "
    "wearing shirt dress glasses beard hat hair arms man woman boy girl person people animal "
    "object thing child adult two three four men women boys girls picture photo"
)


@cache
def words() -> tuple[str, ...]:
    """All words of the world's captions, in a fixed order."""
    found = set(_MORE.split()) | set(ANIMALS) | set(THINGS) | set(COLOURS) | set(COATS) | set(HAIRS)
    for verb in VERBS.values():
        for form in (verb.lemma, verb.third, verb.ing, verb.past):
            found |= set(re.findall(r"[a-z]+", form))
    for phrase in PLACES.values():
        found |= set(phrase.split())
    return tuple(sorted(found))


def vocabulary() -> dict[str, int]:
    """Token -> id, as BERT lays them out; unused ids stay unused."""
    singles = [*string.ascii_lowercase, *string.digits, ",", "-", "'"]
    learned = [w for w in words() if len(w) > 1]
    pieces = ["##" + c for c in (*string.ascii_lowercase, *string.digits)]
    tokens = [FIXED.get(i, f"[unused{i}]") for i in range(FIRST)]
    return {token: i for i, token in enumerate([*tokens, *singles, *pieces, *learned])}


def tokenizer(folder: Path | None = None):
    """A `BertTokenizer` of the vocabulary, saved to ``folder`` where one is given."""
    from transformers import BertTokenizer

    made = BertTokenizer(vocab=vocabulary(), do_lower_case=True)
    if folder is not None:
        made.save_pretrained(folder)
    return made
