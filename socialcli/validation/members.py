"""What is wrong with one sample: the one door that every command's samples come in by.

`socialcli.records` says what a member may look like by itself. What takes two members, or the
picture, is checked in `socialcli.validation.links`: links lead somewhere, spans match the caption,
masks are as large as the picture. `socialcli validate` prints all of it (`check`); every other
command refuses a sample for the same things (`refuse_malformed`), warnings apart.
"""

from __future__ import annotations

import json
from collections.abc import Collection
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
    problems: list[Problem] = []
    if sample.problem:
        problems.append(Problem("tar", sample.problem, "write the shard again from its source"))
    return problems + _read(sample, pixels)[1]


def refuse_malformed(sample: Sample, remade: Collection[str] = ()) -> None:
    """Hold a sample against what `check` holds it against, whether the command needs it or not.

    Args:
        remade: members that the command reads by itself, to write them anew: their own problems
            are its business.

    Raises:
        Refused: the first problem that is no warning.
    """
    for problem in read_members(sample)[1]:
        if problem.member not in remade:
            raise records.Refused(problem.member, problem.what, problem.mend)


def read_members(sample: Sample) -> tuple[dict[str, Any], list[Problem]]:
    """The records of a sample by suffix (of `records.IDENTITY` its rows), and what a command that
    uses them has to refuse it for. Members that cannot be read are left out of the records.
    """
    parsed, problems = _read(sample)
    return parsed, [problem for problem in problems if not problem.warning]


def _read(sample: Sample, pixels: bool = False) -> tuple[dict[str, Any], list[Problem]]:
    problems: list[Problem] = []
    facts = _picture(sample, pixels, problems)
    parsed: dict[str, Any] = {}
    for suffix in (*records.MEMBERS, records.IDENTITY):
        if suffix not in sample.members:
            continue
        try:
            parsed[suffix] = sample.decoded(suffix)
        except records.Refused as refused:
            for what, mend in ((refused.what, refused.mend), *refused.more):
                problems.append(Problem(suffix, what, mend or again(suffix)))
    unread = {problem.member for problem in problems}
    links = Links(parsed, unread, has_picture=_has_picture(sample))
    size = (facts.width, facts.height) if facts else None
    for suffix, record in parsed.items():
        problems += sizes(suffix, record, size)
        if suffix in CHECKS:
            problems += CHECKS[suffix](record, links)
    if facts and "meta.json" in parsed and parsed["meta.json"].orientation != facts.orientation:
        what = f"orientation {parsed['meta.json'].orientation}, the picture's is "
        problems.append(Problem("meta.json", f"{what}{facts.orientation}", again("meta.json")))
    return parsed, problems


def _has_picture(sample: Sample) -> bool:
    return any(suffix in sample.members for suffix in records.IMAGE_SUFFIXES)


def _picture(sample: Sample, pixels: bool, problems: list[Problem]) -> images.PictureFacts | None:
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
        problems.append(Problem(PICTURE, str(error), mend))
        return None
