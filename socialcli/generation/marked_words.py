"""Which word of a prompt a reference belongs to: by a mark behind the word, or by its query.

``<|image|>`` behind a word is how FastComposer's authors write it: "a man <|image|> and a man
<|image|> read"; the first reference belongs to the first mark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from socialcli.errors import SampleFailed

MARK = "<|image|>"


def without_marks(prompt: str) -> tuple[str, list[int]]:
    """The prompt without marks, and where in it the words end that were marked."""
    plain, ends = "", []
    for number, part in enumerate(prompt.split(MARK)):
        if number:
            plain = plain.rstrip()
            ends.append(len(plain))
            if part[:1].isalnum():
                part = f" {part}"
        plain += part
    return plain, ends


def columns(
    diffusion: Any,
    prompt: str,
    marks: Sequence[int],
    queries: Sequence[str],
    whole: bool = False,
    spelled: Callable[[str], str] = str,
) -> list[int]:
    """The place in the text states of each reference's word: of its last token.

    Args:
        diffusion: a `roles.Diffusion`. prompt: without marks. marks: ends of marked words.
        queries: of the references, in order; asked where nothing is marked.
        whole: whether the text is read in several windows.
        spelled: a text as the tokenizer is given it: with every token of a learned word.

    Raises:
        SampleFailed: other marks than references, or a query that is not in the prompt.
    """
    if marks and len(marks) != len(queries):
        raise SampleFailed(
            f"{len(marks)} words marked with {MARK}, and {len(queries)} references: mark one each"
        )
    ends = list(marks) or _ends(prompt, queries)
    window = diffusion.window
    spans = diffusion.tokenizer(
        spelled(prompt), add_special_tokens=False, return_offsets_mapping=True, verbose=False
    ).offset_mapping
    numbers = []
    for end in ends:
        last = len(spelled(prompt[:end]))
        number = max((n for n, (start, _) in enumerate(spans) if start < last), default=None)
        if number is None or (number >= window and not whole):
            raise SampleFailed(
                f"'{prompt[:end].split()[-1] if prompt[:end].strip() else ''}' is not among the "
                f"{window} tokens of the prompt that are read"
            )
        # Each window of the encoder has a mark at both ends.
        numbers.append(number // window * (window + 2) + 1 + number % window)
    return numbers


def _ends(prompt: str, queries: Sequence[str]) -> list[int]:
    """Where each query ends in a prompt; equal ones one after the other."""
    used: dict[str, int] = {}
    ends = []
    for query in queries:
        words = query.strip()
        if not words:
            raise SampleFailed(
                f"which word of the prompt is the reference? Give --query WORD, or {MARK} behind it"
            )
        start = used.get(words.lower(), 0)
        match = re.compile(rf"(?<!\w){re.escape(words)}(?!\w)", re.IGNORECASE).search(prompt, start)
        if match is None:
            again = "once more " if start else ""
            raise SampleFailed(
                f"'{words}' is not {again}in the prompt: a reference belongs to a word of it; give "
                f"--query WORD (of shards --per-subject), or {MARK} behind the word"
            )
        used[words.lower()] = match.end()
        ends.append(match.end())
    return ends
