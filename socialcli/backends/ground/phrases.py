"""From phrases to tokens and back to phrases: what both GroundingDINO backends share.

GroundingDINO reads one text of phrases that end in full stops, and answers with a logit for every
pair of query box and text token. The usual way back is to decode the tokens above a threshold into
a string; that string fits no phrase when two phrases share a word, when a word is cut into pieces,
or when one box lights up two phrases. Here every phrase keeps the positions of its own tokens, so
the way back is exact:

    score of a query for a phrase = the largest sigmoid(logit) over that phrase's tokens

A query is kept if its best phrase scores above the box threshold, and belongs to every phrase that
scores above the text threshold: the official rule, on phrases. Tokens that belong to no phrase
(full stops, [CLS], [SEP]) never keep a box, unlike in the official rule.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from socialcli.backends.roles import Detection
from socialcli.vision.boxes import area, clip, from_cxcywh

if TYPE_CHECKING:
    import numpy
    import torch
    from PIL.Image import Image

    from socialcli.backends.ground._remembered import Remembered

Span = tuple[int, int]  # first token position and the one after the last


@dataclass
class Text:
    """One text for the model: token ids, and which positions belong to which phrases."""

    ids: list[int]
    spans: list[tuple[Span, list[int]]] = field(default_factory=list)  # (span, phrase numbers)


@dataclass(frozen=True)
class Vocabulary:
    """How to tokenise: ``encode`` gives a string's ids without special tokens."""

    encode: Callable[[str], Sequence[int]]
    start: int  # [CLS]
    end: int  # [SEP]
    stop: int  # "."
    breaks: frozenset[int]  # ids at which the model cuts its text: [CLS], [SEP], ".", "?"
    longest: int  # tokens of one text, special ones included


def vocabulary(tokenizer: object, longest: int) -> Vocabulary:
    """The vocabulary of a BERT tokenizer from transformers."""
    start, end, stop, query = tokenizer.convert_tokens_to_ids(  # type: ignore[attr-defined]
        ["[CLS]", "[SEP]", ".", "?"]
    )

    @functools.lru_cache(maxsize=1 << 14)  # the same labels are looked for in picture after picture
    def encode(phrase: str) -> tuple[int, ...]:
        ids = tokenizer(phrase.lower(), add_special_tokens=False)  # type: ignore[operator]
        return tuple(ids["input_ids"])

    return Vocabulary(encode, start, end, stop, frozenset({start, end, stop, query}), longest)


def texts(phrases: list[str], words: Vocabulary) -> list[Text]:
    """The fewest texts, in order, that hold all phrases of one picture.

    Equal phrases share one span. Full stops and question marks inside a phrase ("St. Bernard")
    are left out, because the model would cut the phrase there. A phrase longer than a whole text
    is cut at its end. A phrase without any token is in no text.
    """
    numbers: dict[tuple[int, ...], list[int]] = {}
    for number, phrase in enumerate(phrases):
        ids = tuple(i for i in words.encode(phrase) if i not in words.breaks)
        if ids:
            numbers.setdefault(ids[: words.longest - 3], []).append(number)
    batches: list[Text] = []
    for ids, same in numbers.items():
        if not batches or len(batches[-1].ids) + len(ids) + 2 > words.longest:
            batches.append(Text([words.start]))
        text = batches[-1]
        text.spans.append(((len(text.ids), len(text.ids) + len(ids)), same))
        text.ids += [*ids, words.stop]
    for text in batches:
        text.ids.append(words.end)
    return batches


def pad(rows: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Token rows of one length (0 is BERT's [PAD]) and their attention masks."""
    longest = max(len(row) for row in rows)
    padded = [row + [0] * (longest - len(row)) for row in rows]
    return padded, [[1] * len(row) + [0] * (longest - len(row)) for row in rows]


def phrase_scores(logits: numpy.ndarray, text: Text, pooling: str = "max") -> numpy.ndarray:
    """Scores of every query for every span of a text.

    Args:
        logits: (queries, positions) as the model gives them; positions past the text are -inf.
        text: its spans.
        pooling: "max" over a phrase's tokens, or "mean" (the official token-span demo's way).

    Returns:
        (queries, spans) in [0, 1]; NaN where the model's output is NaN.
    """
    import numpy

    with numpy.errstate(over="ignore"):
        probabilities = 1 / (1 + numpy.exp(-logits.astype(numpy.float64)))
    reduce = numpy.mean if pooling == "mean" else numpy.max
    columns = [reduce(probabilities[:, a:b], axis=1) for (a, b), _ in text.spans]
    return numpy.stack(columns, axis=1)


def detections(
    logits: numpy.ndarray,
    boxes: numpy.ndarray,
    text: Text,
    box_threshold: float,
    text_threshold: float,
    pooling: str = "max",
) -> list[Detection]:
    """What one forward pass found for one picture.

    Args:
        logits: (queries, positions). boxes: (queries, 4) normalised xyxy.
        text: what was asked.
        box_threshold: a query's best phrase must score above it.
        text_threshold: so must every phrase the query is given to.

    Returns:
        Detections, phrase by phrase, best first. A model whose output is not a number gives one
        detection with a NaN score for each phrase, so that the sample fails and nothing else.
    """
    import numpy

    scores = phrase_scores(logits, text, pooling)
    boxes_of_phrases: list[Detection] = []
    if not (numpy.isfinite(scores).all() and numpy.isfinite(boxes).all()):
        nowhere = (0.0, 0.0, 1.0, 1.0)
        return [Detection(n, nowhere, float("nan")) for _, same in text.spans for n in same]
    kept = scores.max(axis=1) > box_threshold
    for column, (_, same) in enumerate(text.spans):
        rows = numpy.flatnonzero(kept & (scores[:, column] > text_threshold))
        rows = rows[numpy.argsort(-scores[rows, column], kind="stable")]
        for query in rows:
            box = clip(tuple(float(v) for v in boxes[query]))  # type: ignore[arg-type]
            if area(box) > 0:
                score = float(scores[query, column])
                boxes_of_phrases += [Detection(number, box, score) for number in same]
    return boxes_of_phrases


def by_shape(arrays: list[Any]) -> list[list[int]]:
    """Indices of prepared pictures grouped by shape, in order of first appearance.

    A picture padded to fit beside a larger one gets other features at its edge (the padding
    passes through the backbone's windows), and with them other boxes. Pictures of one shape need
    no padding, so that a result never depends on the company a picture was in.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, array in enumerate(arrays):
        groups.setdefault(tuple(array.shape), []).append(index)
    return list(groups.values())


class GroundingDino(Protocol):
    """What `ground` needs of a backend."""

    words: Vocabulary  # how to tokenise
    pooling: str  # see `phrase_scores`
    remembered: Remembered  # the pictures that are looked at, and what is known of them

    def forward(
        self, pixels: torch.Tensor, texts: list[Text]
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """(N, 3, height, width) pixels, resized and normalised, and N texts -> (N, queries,
        positions) logits and (N, queries, 4) boxes as normalised centre x, centre y, width,
        height."""


def ground(
    self: GroundingDino,
    images: list[Image],
    phrases: list[list[str]],
    box_threshold: float,
    text_threshold: float,
) -> list[list[Detection]]:
    """`roles.Grounder.ground` of any GroundingDINO; detections in the order of `detections`."""
    import torch

    pixels = self.remembered.pixels(images)
    detected: list[list[Detection]] = [[] for _ in pixels]
    for group in by_shape(pixels):
        jobs = [(index, text) for index in group for text in texts(phrases[index], self.words)]
        for start in range(0, len(jobs), len(pixels)):  # never more at once than were given
            part = jobs[start : start + len(pixels)]
            stacked = torch.stack([pixels[index] for index, _ in part])
            self.remembered.next([images[index] for index, _ in part])
            logits, boxes = self.forward(stacked, [text for _, text in part])
            for (index, text), own_logits, own_boxes in zip(part, logits, boxes, strict=True):
                detected[index] += detections(
                    own_logits,
                    from_cxcywh(own_boxes),
                    text,
                    box_threshold,
                    text_threshold,
                    self.pooling,
                )
    self.remembered.end()
    return detected
