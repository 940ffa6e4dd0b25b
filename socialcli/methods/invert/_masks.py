"""The mask of a picture's subject, out of the records of a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.errors import SampleFailed

if TYPE_CHECKING:
    import numpy

    from socialcli.shards import Sample


def of_subject(sample: Sample, word: str) -> numpy.ndarray:
    """(H, W) bool, the pixels of whatever the sample's records call by ``word``.

    A mask is called what its box's label says, and its entity's phrase, head and lemma. A sample
    with a single mask needs no names.

    Raises:
        SampleFailed: no mask, several of which none is called so, or an empty one.
    """
    import numpy

    from socialcli import records
    from socialcli.vision import masks

    every = sample.record(records.Masks).masks
    if not every:
        raise SampleFailed("masks.json holds no mask: run `socialcli segment` with its subject")
    boxes = sample.record(records.Boxes).boxes if sample.has("boxes.json") else []
    entities = sample.record(records.Entities).entities if sample.has("entities.json") else []
    named = {box.id: {box.label} for box in boxes}
    called = {entity.id: {entity.text, entity.head, entity.lemma} for entity in entities}
    names = []
    for mask in every:
        of_entity = called.get(mask.entity or 0, set())
        names.append({n.lower().strip() for n in named.get(mask.box or 0, set()) | of_entity if n})
    chosen = [m for m, own in zip(every, names, strict=True) if _is_called(own, word.lower())]
    if not chosen and len(every) == 1:
        chosen = every
    if not chosen:
        there = ", ".join(sorted({n for own in names for n in own})[:6]) or "without names"
        raise SampleFailed(f"masks.json: none of {len(every)} masks is of '{word}' ({there})")
    whole = numpy.logical_or.reduce([masks.decode(mask.rle).astype(bool) for mask in chosen])
    if not whole.any():
        raise SampleFailed(f"masks.json: the mask of '{word}' is empty")
    return whole


def _is_called(names: set[str], word: str) -> bool:
    return any(word == name or f" {word} " in f" {name} " for name in names)
