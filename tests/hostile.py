"""Samples with one hostile member each: valid ones, changed in one place or in their bytes.

`mutants` gives them in an order that a seed decides; `sorts` names the kinds of change. What every
command must do with them is in ``tests/validation/test_hostile_members.py``.
"""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import scenes

from socialcli import records


class Raw(str):
    """JSON text put into a member as it is, because no Python value dumps to it."""


DEEP = 1000
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 7, 2**31, 2**63, 10**19, Raw("1" + "0" * 400), 0.5, 1.5, -0.0,
    1e19, -1e19, 1e308, Raw("1e999"), Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), 1e-320,
    "", " ", "x", "1", "\u0000", "\u202e\n\x1b[31m", "é" * 5000, "x" * 40_000, Raw('"\\ud800"'),
    Raw('"\\u0000"'), [], [[]], [1], [0.1, 0.2], [None] * 4, ["a", "b", "c", "d"], [1e308] * 4,
    [10**19] * 4, [0, 0, 0, 0], [1, 1, 0, 0], {}, {"x": 1}, {"backend": "b"}, {"id": 1},
    Raw("[" * DEEP + "]" * DEEP), Raw('{"a":' * DEEP + "1" + "}" * DEEP),
    Raw("[" * 100_000),
]  # fmt: skip


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    if path:
        yield path
    inner: Any = enumerate(value) if isinstance(value, list) else ()
    for key, item in value.items() if isinstance(value, dict) else inner:
        yield from places(item, (*path, key))


def _parent(body: Any, path: tuple) -> Any:
    for step in path[:-1]:
        body = body[step]
    return body


def _text(body: Any) -> bytes:
    """JSON, with each `Raw` as it is."""
    raw: list[str] = []

    def held(value: Any) -> Any:
        if isinstance(value, Raw):
            raw.append(value)
            return f"\u0001{len(raw) - 1}\u0001"
        if isinstance(value, dict):
            return {k: held(v) for k, v in value.items()}
        return [held(v) for v in value] if isinstance(value, list) else value

    text = json.dumps(held(body), ensure_ascii=True)
    for number, one in enumerate(raw):
        text = text.replace(f'"\\u0001{number}\\u0001"', one)
    return text.encode("utf-8", "surrogatepass")


def _value(rng: random.Random, body: Any) -> bytes:
    path = rng.choice(list(places(body)))
    _parent(body, path)[path[-1]] = rng.choice(VALUES)
    return _text(body)


def _missing(rng: random.Random, body: Any) -> bytes:
    path = rng.choice(list(places(body)))
    del _parent(body, path)[path[-1]]
    return _text(body)


def _repeated(rng: random.Random, body: Any) -> bytes:
    paths = [p for p in places(body) if isinstance(p[-1], int)] or list(places(body))
    path = rng.choice(paths)
    parent = _parent(body, path)
    if isinstance(parent, list):
        parent += [parent[path[-1]]] * rng.choice([1, 3, 6000])
    return _text(body)


def _shuffled(rng: random.Random, body: Any) -> bytes:
    """Two values of a member change places."""
    a, b = rng.choice(list(places(body))), rng.choice(list(places(body)))
    if a[: len(b)] == b or b[: len(a)] == a:
        return _text(body)
    first, second = _parent(body, a), _parent(body, b)
    first[a[-1]], second[b[-1]] = second[b[-1]], first[a[-1]]
    return _text(body)


def _twice(rng: random.Random, body: Any) -> bytes:
    path = rng.choice(list(places(body)))
    _parent(body, path)[path[-1]] = rng.choice(VALUES)
    return _value(rng, json.loads(json.dumps(_plain(body))))


def _plain(body: Any) -> Any:
    if isinstance(body, Raw):
        return str(body)[:50]
    if isinstance(body, dict):
        return {k: _plain(v) for k, v in body.items()}
    return [_plain(v) for v in body] if isinstance(body, list) else body


def _scaled(rng: random.Random, body: Any) -> bytes:
    """Every number of the member times a factor."""
    factor = rng.choice([-1, 0, 3, 1000, 1e18, 1e300])

    def change(value: Any) -> Any:
        if isinstance(value, bool) or value is None or isinstance(value, str):
            return value
        if isinstance(value, dict):
            return {k: v if k == "schema" else change(v) for k, v in value.items()}
        return [change(v) for v in value] if isinstance(value, list) else value * factor

    return _text(change(body))


def _codes(rng: random.Random, body: Any) -> bytes:
    """Run-length codes: of another size, cut, random, of huge runs."""
    for mask in body.get("masks", []):
        counts = mask["rle"]["counts"]
        mask["rle"] = rng.choice(
            [
                {"size": [20_000, 20_000], "counts": counts},
                {"size": [10_000, 10_000], "counts": "0PXh[o2"},
                {"size": mask["rle"]["size"], "counts": counts[: len(counts) // 2]},
                {"size": mask["rle"]["size"], "counts": counts * 3},
                {"size": mask["rle"]["size"], "counts": "o" * rng.choice([1, 11, 5000])},
                {"size": mask["rle"]["size"], "counts": [1, 2, 3]},
                {"size": mask["rle"]["size"], "counts": [-1, 10**19]},
                {"size": mask["rle"]["size"], "counts": ""},
                {"size": mask["rle"]["size"][::-1], "counts": counts},
                {"size": [0, 0], "counts": counts},
                {"size": [], "counts": counts},
            ]
        )
    return _text(body)


def _bytes(rng: random.Random, body: Any) -> bytes:
    data = bytearray(_text(body))
    sort = rng.randrange(9)
    if sort == 0:
        return bytes(data[: rng.randrange(len(data))])
    if sort == 1:
        return b"\xef\xbb\xbf" + data
    if sort == 2:
        return bytes(data).decode().encode("utf-16")
    if sort == 3:
        return bytes(data) * 2
    if sort == 4:
        return rng.choice([b"", b"[]", b"null", b"1", b'"x"', b"[" * 100_000, b"\x00" * 100, b"{}"])
    if sort == 5:
        versions = (b"2", b"true", b'"1"', b"1.0", b"null", b"[1]", b"-1", b"1" * 30)
        return bytes(data).replace(b'"schema": 1', b'"schema": ' + rng.choice(versions))
    for _ in range(rng.choice([1, 1, 5, 50])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


JSON_SORTS: dict[str, Callable[[random.Random, Any], bytes]] = {
    "value": _value, "two values": _twice, "missing": _missing, "repeated": _repeated,
    "exchanged": _shuffled, "scaled": _scaled, "bytes": _bytes,
}  # fmt: skip


# ---------------------------------------------------------------- identity.npy


def header(text: str, data: bytes = b"", version: int = 1) -> bytes:
    """An ``.npy`` file of any header."""
    body = text.encode("latin1") + b"\n"
    return b"\x93NUMPY" + struct.pack("<BBH", version, 0, len(body)) + body + data


def _described(descr: str, shape: str) -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


def _arrays() -> list[bytes]:
    rows = "[('person', '<i4'), ('embedding', '<f4', (8,))]"
    out, archive, pickled = io.BytesIO(), io.BytesIO(), io.BytesIO()
    numpy.save(out, numpy.ones((2, 3)))
    numpy.savez(archive, numpy.ones(3))
    numpy.save(pickled, numpy.array([{}], object), allow_pickle=True)
    one = struct.pack("<i8f", 1, *range(1, 9))
    return [
        b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00", b"PK\x03\x04", out.getvalue(), archive.getvalue(),
        pickled.getvalue(), header(_described(rows, "(1,)"), one)[:-3],
        header(_described(rows, "(1,)"), one + b"x"), header(_described(rows, "(1,)"), one, 2),
        header(_described(rows, "(1,)"), one, 3), header(_described(rows, "(1,)"), one, 9),
        header(_described("'<f4'", f"({10**12},)")), header(_described(rows, f"({2**62},)"), one),
        header(_described(rows, "(-1,)"), one), header(_described(rows, "(0,)")),
        header(_described(rows, "()"), one), header(_described(rows, "(1, 1)"), one),
        header(_described(rows, "(2,)"), one * 2), header(_described(rows, "(1.0,)"), one),
        header(_described(rows, "1"), one), header(_described("'|O'", "(1,)"), one),
        header(_described("[('person', '<i4', (0,)), ('embedding', '<f4', (0,))]", f"({2**40},)")),
        header(_described("[('person', '<i4'), ('embedding', '<U8')]", "(1,)"), one),
        header(_described("[('person', '<f4'), ('embedding', '<f4', (8,))]", "(1,)"), one),
        header(_described("[('a', '<i4'), ('b', '<f4', (8,))]", "(1,)"), one),
        header(_described(f"[('person', '<i4'), ('embedding', '<f4', ({2**40},))]", "(1,)"), one),
        header("(" * 500), header("{" * 9000), header("-" * 9000 + "1"), header("[]"), header("{}"),
        header("__import__('os')"), header(_described("'<V99999999999'", "(1,)")),
        header(_described(rows, "(1,)"), struct.pack("<i8f", 0, *range(1, 9))),
        header(_described(rows, "(1,)"), struct.pack("<i8f", -5, *range(1, 9))),
        header(_described(rows, "(1,)"), struct.pack("<i8f", 99, *range(1, 9))),
        header(_described(rows, "(1,)"), struct.pack("<i8f", 1, *[float("nan")] * 8)),
        header(_described(rows, "(1,)"), struct.pack("<i8f", 1, *[float("inf")] * 8)),
        header(_described(rows, "(1,)"), struct.pack("<i8f", 1, *[3e38] * 8)),
        header(_described(rows, "(1,)"), bytes(36)),
    ]  # fmt: skip


ARRAYS = _arrays()


# ---------------------------------------------------------------- samples


def valid() -> dict[str, bytes]:
    """A whole sample, with a generated.json besides."""
    generated = records.Generated(
        "a <dog> on grass", 7, "ssr", records.Model("stable-diffusion", "m"), "DDIMScheduler", 30,
        5.0, (120, 80), "", "k0", [records.Shown("k1", "dog", 0.6)], "a dog on grass",
        {"ssr": records.Model("ssr", "x")},
    )  # fmt: skip
    return scenes.members(0, {"generated.json": generated})


def mutants(seed: int, count: int) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(what was done, members) of ``count`` samples, each with one hostile member."""
    rng = random.Random(seed)
    whole = valid()
    names = [*records.MEMBERS, records.IDENTITY]
    for number in range(count):
        suffix = names[number % len(names)]
        if suffix == records.IDENTITY:
            which = rng.randrange(len(ARRAYS))
            yield f"{suffix} array {which}", {**whole, suffix: ARRAYS[which]}
            continue
        sorts = dict(JSON_SORTS)
        if suffix == "masks.json":
            sorts["codes"] = _codes
        sort = rng.choice(list(sorts))
        body = json.loads(whole[suffix])
        data = sorts[sort](rng, body)
        yield f"{number} {suffix} {sort}", {**whole, suffix: data}
