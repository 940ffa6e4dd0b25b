"""What is wrong with one sample: its members against the JSON Schemas, and its links.

The schemas in ``socialcli/records/schema`` say what a member may look like by itself; what they
cannot say is checked here: ids are unique and lead somewhere, spans match the caption, masks fit
the picture, boxes are the right way round and inside it. `socialcli validate` prints what this
finds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.validation.links import CHECKS, Links, Problem, again, identity, short, sizes
from socialcli.vision import images

if TYPE_CHECKING:
    from socialcli.shards import Sample

SCHEMAS = Path(__file__).parents[1] / "records" / "schema"
PICTURE = "picture"
_MOST = 5  # problems told of one member by the schema; more of them say nothing new


def schema(suffix: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one member of `records.MEMBERS`."""
    return json.loads((SCHEMAS / suffix).read_text(encoding="utf-8"))


@cache
def _validator(suffix: str) -> Any:
    """A validator that skips what is plainly right: most of a record is numbers, and jsonschema
    takes some 20 microseconds for each. Whatever is not plainly right it judges as always."""
    from jsonschema import Draft202012Validator, validators

    usual = Draft202012Validator.VALIDATORS

    def properties(validator: Any, named: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if isinstance(instance, dict):
            hard = {k: v for k, v in named.items() if k in instance and not _right(instance[k], v)}
            if hard:
                yield from usual["properties"](validator, hard, instance, schema)

    def items(validator: Any, item: Any, instance: Any, schema: Any) -> Iterator[Any]:
        simple = isinstance(instance, list) and "prefixItems" not in schema
        if not simple or not all(_right(value, item) for value in instance):
            yield from usual["items"](validator, item, instance, schema)

    def prefix_items(validator: Any, parts: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if not isinstance(instance, list) or not all(map(_right, instance, parts)):
            yield from usual["prefixItems"](validator, parts, instance, schema)

    quick = {"properties": properties, "items": items, "prefixItems": prefix_items}
    return validators.extend(Draft202012Validator, quick)(schema(suffix))


_TYPES = {"integer": (int,), "number": (int, float), "string": (str,), "null": (type(None),)}
_SIMPLE = {"description", "type", "minimum", "maximum", "enum"}


@cache
def _types(names: str | tuple[str, ...]) -> tuple[type, ...]:
    names = (names,) if isinstance(names, str) else names
    return tuple(t for name in names for t in _TYPES.get(name, ()))


def _right(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a plain value certainly fits a plain schema; False says nothing."""
    if not schema.keys() <= _SIMPLE:
        return False
    kind = type(value)
    if kind not in (int, float, str, type(None)):
        return False
    names = schema.get("type")
    if names is not None and kind not in _types(tuple(names) if isinstance(names, list) else names):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if kind in (int, float):
        low, high = schema.get("minimum"), schema.get("maximum")
        return (low is None or value >= low) and (high is None or value <= high)
    return True


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
    if records.IDENTITY in sample.members:
        found += identity(sample.members[records.IDENTITY], links)
    return found


def read_members(sample: Sample) -> tuple[dict[str, Any], list[Problem]]:
    """The records of a sample by suffix, each checked against its schema, and what is wrong with
    those that are left out. What comes back has the types and shapes its dataclass states."""
    parsed: dict[str, Any] = {}
    found: list[Problem] = []
    for suffix, kind in records.MEMBERS.items():
        if suffix not in sample.members:
            continue
        problems = list(_member(suffix, sample.members[suffix]))
        if not problems:
            try:
                parsed[suffix] = records.load(kind, sample.members[suffix], suffix)
            except SampleFailed as error:
                problems = [Problem(suffix, str(error), again(suffix))]
        found += problems
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


# ---------------------------------------------------------------- one member by itself


def _not_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _member(suffix: str, data: bytes) -> Iterator[Problem]:
    """What the member's schema says against it."""
    try:
        body = json.loads(data, parse_constant=_not_finite, parse_float=_not_finite)
    except (ValueError, RecursionError) as error:
        yield Problem(suffix, f"not valid JSON ({short(str(error))})", again(suffix))
        return
    version = body.get("schema") if isinstance(body, dict) else None
    if isinstance(version, int) and version > records.SCHEMA_VERSION:
        what = f"schema {version} is newer than this version's {records.SCHEMA_VERSION}"
        yield Problem(suffix, what, "upgrade socialcli")
        return
    for count, unfit in enumerate(_validator(suffix).iter_errors(body)):
        if count == _MOST:
            yield Problem(suffix, "and more of the kind", again(suffix))
            return
        yield Problem(suffix, _explain(unfit), again(suffix))


def _explain(error: Any) -> str:
    """A schema error as a short line: where in the member, and what is not as it should be."""
    while error.context:  # of "this or null", the branch that is not null says more
        inner = [e for e in error.context if e.schema_path and e.schema_path[0] == 0]
        if not inner:
            break
        error = inner[0]
    where = error.json_path.removeprefix("$").removeprefix(".")
    if error.validator == "required":
        missing = sorted(set(error.validator_value) - set(error.instance))
        text = f"lacks {', '.join(missing)}"
    elif error.validator == "type":
        wanted = error.validator_value
        wanted = wanted if isinstance(wanted, str) else wanted[0]
        text = f"is {short(json.dumps(error.instance, ensure_ascii=False), 40)}, not {wanted}"
    elif error.validator in ("minItems", "maxItems"):
        text = f"has {len(error.instance)} items, expected {error.validator_value}"
    elif error.validator == "minLength":
        text = "is empty"
    else:
        text = short(error.message)
    return f"{where} {text}".strip()
