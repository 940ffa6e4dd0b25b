"""The one door that JSON members come in by: bytes to dataclasses, by type and within limits.

What a field may hold is said once, by its type in `socialcli.records`; `msgspec` decodes by it and
stops at the first byte that does not fit. Nothing behind this door meets a text where a number
should be, a number that is not finite, or more items, depth or bytes than `limits` allows.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import threading
import types
import typing
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from socialcli.errors import SampleFailed
from socialcli.records import limits, sources
from socialcli.records.consistency import Wrong, inconsistencies

if TYPE_CHECKING:
    import msgspec

SCHEMA_VERSION = 1
_BOM = b"\xef\xbb\xbf"
_TOLD = 100  # things that are wrong in one member, at most, that are told
_SHOWN = 1 << 20  # bytes of a member up to which the value that does not fit is looked up

Record = TypeVar("Record")


class Refused(SampleFailed):
    """A member that is malformed: which one, and what is wrong where in it.

    ``more`` is what is wrong in it besides, where that is known.
    """

    def __init__(
        self, member: str, what: str, mend: str = "", more: tuple[Wrong, ...] = ()
    ) -> None:
        super().__init__(f"{member}: {what}" + (f"; {mend}" if mend else ""))
        self.member, self.what, self.mend, self.more = member, what, mend, more

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:  # worker processes send it back
        return type(self), (self.member, self.what, self.mend, self.more)


@dataclasses.dataclass
class _Version:
    schema: int


_decoders: dict[type, msgspec.json.Decoder[Any]] = {}
_building = threading.Lock()  # msgspec dies where two threads look at one type for the first time


def _decoder(kind: type) -> msgspec.json.Decoder[Any]:
    if kind not in _decoders:
        import msgspec

        with _building:
            _decoders[kind] = msgspec.json.Decoder(with_limits(kind))
    return _decoders[kind]


def with_limits(kind: type) -> type:
    """The type itself, with every `limits.Limit` in it, and in the types of its fields, become
    what `msgspec` reads."""
    return _with_limits(kind, set())


def _with_limits(kind: Any, done: set[type]) -> Any:
    import msgspec

    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        base, *notes = arguments
        metas = [
            msgspec.Meta(**{k: v for k, v in vars(n).items() if v is not None})
            if isinstance(n, limits.Limit) else n
            for n in notes
        ]  # fmt: skip
        return Annotated[(_with_limits(base, done), *metas)]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_with_limits(one, done) for one in arguments)]  # noqa: UP007
    if origin is not None:
        return origin[tuple(_with_limits(one, done) for one in arguments)]
    if isinstance(kind, type) and hasattr(kind, "__annotations__") and kind not in done:
        done.add(kind)
        hints = typing.get_type_hints(kind, include_extras=True)
        kind.__annotations__ = {name: _with_limits(one, done) for name, one in hints.items()}
    return kind


def _plain(value: Any) -> Any:
    """Dataclasses to dicts, floats to six decimals (a millionth of the picture), no None noise."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: _plain(item) for name, item in items if item is not None}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        raise SampleFailed(f"a value is {number}: the model's output is not finite")
    return round(number, 6)


def dump(record: Any) -> bytes:
    """One record as UTF-8 JSON: the same record always gives the same bytes. Every part says its
    source (`socialcli.records.sources`).

    Raises:
        SampleFailed: a number is not finite, or the record is one that `load` would refuse
            (`socialcli.records.consistency`).
    """
    if (wrong := next(inconsistencies(record), None)) is not None:
        raise SampleFailed(f"not written: {wrong.what}")
    body = {"schema": SCHEMA_VERSION, **_plain(sources.stated(record))}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def load(kind: type[Record], data: bytes, where: str = "") -> Record:
    """Parse one member into its dataclass; unknown fields are ignored so that newer files load,
    and every part says its source, in members of older versions too.

    Args:
        where: the member's name in messages.

    Raises:
        Refused: the bytes are not JSON, a value is not what the field's type says or is over its
            limit (the message names the place in the member), they are of a newer schema, or the
            values do not fit each other (`socialcli.records.consistency`).
    """
    import msgspec

    where = where or kind.__name__
    if len(data) > limits.MAX_BYTES:
        raise Refused(where, f"has {len(data)} bytes, the limit is {limits.MAX_BYTES}")
    data = data.removeprefix(_BOM)
    try:
        str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise Refused(where, f"not valid JSON (not UTF-8 at byte {error.start})") from None
    too_deep = f"is nested deeper than the limit of {limits.MAX_DEPTH}"
    if _is_deeper(data, limits.MAX_DEPTH):
        raise Refused(where, too_deep)
    try:
        version = _decoder(_Version).decode(data).schema
        record: Record | None = None
        if version == SCHEMA_VERSION:
            record = sources.stated(_decoder(kind).decode(data))  # type: ignore[arg-type]
    except RecursionError:  # brackets that do not match
        raise Refused(where, too_deep) from None
    except msgspec.ValidationError as error:
        raise Refused(where, _explain(str(error), data)) from None
    except (msgspec.DecodeError, ValueError) as error:
        raise Refused(where, _malformed(str(error), data)) from None
    if record is not None:
        if wrong := tuple(itertools.islice(inconsistencies(record), _TOLD)):
            raise Refused(where, *wrong[0], wrong[1:])
        return record
    if version > SCHEMA_VERSION:
        what = f"schema {version} is newer than this version's {SCHEMA_VERSION}"
        raise Refused(where, what, "upgrade socialcli")
    raise Refused(where, f"schema is {version}, expected {SCHEMA_VERSION}")


# ---------------------------------------------------------------- depth

_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.S)
_AS_ARRAYS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _is_deeper(data: bytes, most: int) -> bool:
    """Whether arrays and objects stand within one another more than ``most`` times.

    Told from the brackets alone, so that it does not depend on how deep the caller's own stack is.
    """
    if data.count(b"[") + data.count(b"{") <= most:
        return False
    brackets = _TEXT.sub(b"", data).translate(_AS_ARRAYS, _NO_BRACKETS)
    for _ in range(most):
        before = len(brackets)
        brackets = brackets.replace(b"[]", b"")
        if not brackets or len(brackets) == before:  # done, or they do not match
            return False
    return bool(brackets)


# ---------------------------------------------------------------- messages

_NAMES = {"`int`": "integer", "`float`": "number", "`str`": "string", "`bool`": "boolean"}


class _Written(str):
    """A number as the member writes it."""


def _explain(error: str, data: bytes) -> str:
    """What `msgspec` has against a member, as: place in it, value, what was expected."""
    what, _, place = error.partition(" - at ")
    path = place.strip("`").removeprefix("$").removeprefix(".")
    value = _at(path, data)
    if match := re.fullmatch("Object missing required field `(.*)`", what):
        return f"{path} lacks {match[1]}".strip()
    if match := re.fullmatch(r"Expected `(array|str|object)` of length (>= |<= )?(\d+)", what):
        return f"{path} {_length(value, match[1], match[2] or '', int(match[3]))}".strip()
    shown = "has a value that is" if value is None else f"is {_short(value)},"
    if what in ("Number out of range", "Integer value out of range"):
        text = f"{shown} not a finite number"
    elif match := re.fullmatch(r"Expected `\w+` (>=|<=) (\S+)", what):
        limit = "below the least allowed," if match[1] == ">=" else "over the limit of"
        text = f"{shown} {limit} {float(match[2]):.12g}"
    elif match := re.fullmatch(r"Expected `str` matching regex '\^\((.*)\)\$'", what):
        text = f"{shown} not one of {match[1].replace('|', ', ')}"
    elif "multiple of" in what:
        text = f"{shown} not a whole number"
    elif match := re.fullmatch("Expected (`.*?`), got (`.*`)", what):
        wanted = " or ".join(_NAMES.get(f"`{n}`", n) for n in match[1].strip("`").split(" | "))
        if value is None:
            shown = f"is {_NAMES.get(match[2], match[2].strip('`'))},"
        text = f"{shown} not {wanted}"
    else:
        text = what.replace("`", "")
    return f"{path} {text}".strip()


def _length(value: Any, kind: str, bound: str, number: int) -> str:
    unit = {"array": "items", "str": "characters", "object": "keys"}[kind]
    if kind == "str" and bound == ">= " and number == 1:
        return "is empty"
    has = f"has {len(value)} {unit}" if isinstance(value, list | str | dict) else f"has {unit}"
    if bound == "<= ":
        return f"{has}, the limit is {number}"
    return f"{has}, expected {'at least ' if bound else ''}{number}"


def _at(path: str, data: bytes) -> Any:
    """The value at a place of a member; None where it is not looked up."""
    if len(data) > _SHOWN or "..." in path:
        return None
    try:
        body = json.loads(data, parse_float=_Written, parse_int=_Written)
        for name, number in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
            body = body[int(number)] if number else body[name]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return body if body is not None else _Written("null")


def _short(value: Any) -> str:
    text = str(value) if isinstance(value, _Written) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


def _malformed(error: str, data: bytes) -> str:
    """Why a member is no JSON at all, with what stands where it ends to be."""
    if b"\\ud" in data.lower() and error == "Input data was truncated":
        error = "half of a surrogate pair, or it ends too early"
    why = error.removeprefix("JSON is malformed: ")
    if match := re.search(r"\(byte (\d+)\)", error):
        there = data[int(match[1]) : int(match[1]) + 12].decode("utf-8", "replace")
        why = why.replace(match[0], f"at byte {match[1]}: {there!r}")
    return f"not valid JSON ({why})"
