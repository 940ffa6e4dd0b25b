"""What is wrong with one sample: its members against their types, and its links.

A type in `socialcli.records` says what a member may look like by itself, and every command refuses
a sample with a member that is not so. What a type cannot say is checked here: ids are unique and
lead somewhere, spans match the caption, masks fit the picture, boxes are the right way round and
inside it. `socialcli validate` prints what this finds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.validation.links import CHECKS, Links, Problem, again, sizes
from socialcli.vision import images

if TYPE_CHECKING:
    from socialcli.shards import Sample

SCHEMAS = Path(__file__).parents[1] / "records" / "schema"
PICTURE = "picture"


def schema(suffix: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one member of `records.MEMBERS`: what its type says, for
    other programs. No command reads it."""
    return json.loads((SCHEMAS / suffix).read_text(encoding="utf-8"))


def check(sample: Sample, *, pixels: bool = False) -> list[Problem]:
    """Everything wrong with one sample; members this version does not know are fine.

    Args:
        sample: as `socialcli.shards.read_all` gives it.
        pixels: decode the picture fully, instead of reading its header alone.
    """
    found: list[Problem] = []
    if sample.problem:
        found.append(Problem("tar", sample.problem, "write the shard again from its source"))
    facts = _picture(sample, pixels, found)
    parsed, problems = read_members(sample)
    found += problems
    broken = {problem.member for problem in problems}
    size = (facts.width, facts.height) if facts else None
    links = Links(parsed, broken, has_picture=facts is not None or _has_picture(sample))
    for suffix, record in parsed.items():
        found += sizes(suffix, record, size)
        if suffix in CHECKS:
            found += CHECKS[suffix](record, links)
    if facts and "meta.json" in parsed and parsed["meta.json"].orientation != facts.orientation:
        what = f"orientation {parsed['meta.json'].orientation}, the picture's is "
        found.append(Problem("meta.json", f"{what}{facts.orientation}", again("meta.json")))
    return found


def read_members(sample: Sample) -> tuple[dict[str, Any], list[Problem]]:
    """The records of a sample by suffix (of `records.IDENTITY` its rows), and what is wrong with
    those that are left out. What comes back has the types and keeps the limits its type states."""
    parsed: dict[str, Any] = {}
    found: list[Problem] = []
    for suffix in (*records.MEMBERS, records.IDENTITY):
        if suffix not in sample.members:
            continue
        try:
            parsed[suffix] = sample.decoded(suffix)
        except records.Refused as refused:
            found.append(Problem(suffix, refused.what, refused.mend or again(suffix)))
    return parsed, found


def _has_picture(sample: Sample) -> bool:
    return any(suffix in sample.members for suffix in records.IMAGE_SUFFIXES)


def _picture(sample: Sample, pixels: bool, found: list[Problem]) -> images.PictureFacts | None:
    """The picture's facts; None where there is none (a sidecar) or it cannot be read."""
    if not _has_picture(sample):
        return None
    try:
        data = sample.picture()
        facts = images.facts(data)
        if pixels:
            images.decode(data)
        return facts
    except SampleFailed as error:
        mend = "replace the picture and import it again, or leave the sample out"
        found.append(Problem(PICTURE, str(error), mend))
        return None
