"""Face embeddings as ``.npy`` bytes: written without pickle, read within bounds.

`numpy.load` believes the header: it unpickles where it is told to, opens archives, and reserves
what the shape asks for. Here the header is read first and held against the bytes that are there.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from socialcli.errors import SampleFailed
from socialcli.records import limits
from socialcli.records.members import Refused

if TYPE_CHECKING:
    import numpy

IDENTITY = "identity.npy"


def identity_array(people: list[int], embeddings: numpy.ndarray) -> numpy.ndarray:
    """Face embeddings with the person ids they belong to, in one self-describing array.

    Args:
        people: N person ids (`Person.id`).
        embeddings: (N, D) float32, as the recogniser gives them (not normalised).

    Returns:
        Structured array of N rows with fields ``person`` (int32) and ``embedding`` (D float32):
        how this program holds them; `dump_identity` writes them.
    """
    import numpy

    embeddings = numpy.asarray(embeddings, dtype=numpy.float32).reshape(len(people), -1)
    dtype = [("person", "<i4"), ("embedding", "<f4", (embeddings.shape[1],))]
    rows = numpy.zeros(len(people), dtype=dtype)
    rows["person"] = people
    rows["embedding"] = embeddings
    return rows


def dump_identity(rows: numpy.ndarray) -> bytes:
    """The bytes of ``identity.npy``: one plain matrix, since Arrow refuses structured arrays.

    Args:
        rows: N rows with ``person`` and ``embedding`` (D numbers), see `identity_array`.

    Returns:
        ``.npy`` bytes of (N, 1 + D) float32: person id, then embedding. Ids that float32 cannot
        hold exactly make it float64.

    Raises:
        SampleFailed: a row is zero.
    """
    import numpy

    if not rows["embedding"].any(axis=1).all():
        raise SampleFailed("not written: a face embedding is zero")
    people = rows["person"]
    exact = not len(people) or int(people.max()) <= 2**24
    table = numpy.concatenate([people[:, None].astype("<f8"), rows["embedding"]], axis=1)
    return dump_npy(table.astype("<f4" if exact else "<f8"))


def dump_npy(array: numpy.ndarray) -> bytes:
    """An array as ``.npy`` bytes; object arrays (which would need pickle) are refused."""
    import numpy

    out = io.BytesIO()
    numpy.lib.format.write_array(out, array, version=(1, 0), allow_pickle=False)
    return out.getvalue()


def load_npy(data: bytes, where: str = IDENTITY) -> numpy.ndarray:
    """The array in ``.npy`` bytes: never unpickled, and never larger than the bytes are.

    Raises:
        Refused: not a plain ``.npy`` file, or its header states another size than it has.
    """
    import numpy

    if data[:2] == b"PK":
        raise Refused(where, "is a .npz archive, not one plain .npy array")
    if len(data) > limits.MAX_ARRAY_BYTES:
        raise Refused(where, f"has {len(data)} bytes, the limit is {limits.MAX_ARRAY_BYTES}")
    form = numpy.lib.format
    stream = io.BytesIO(data)
    try:
        readers = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
        shape, by_column, dtype = readers[form.read_magic(stream)](stream)
    except Exception as error:  # a header is a Python literal: its parser raises nearly anything
        why = str(error).partition("\n")[0] if isinstance(error, ValueError) else "its header"
        raise Refused(where, f"not a plain .npy array ({why[:200]})") from None
    if dtype.hasobject:
        raise Refused(where, "not a plain .npy array (it holds Python objects)")
    count = 1
    for side in shape:
        count *= max(int(side), 0)
    start = stream.tell()
    if dtype.itemsize == 0 or count * dtype.itemsize != len(data) - start:
        stated = f"{'x'.join(map(str, shape)) or 'one'} of {dtype.itemsize} bytes"
        raise Refused(where, f"its header states {stated}, but {len(data) - start} are there"[:300])
    values = numpy.frombuffer(data, dtype, count, start)
    return values.reshape(shape, order="F" if by_column else "C").copy()


def load_identity(data: bytes, where: str = IDENTITY) -> numpy.ndarray:
    """The rows of an ``identity.npy`` (see `identity_array`), which are finite.

    Read are matrices (see `dump_identity`), and the structured arrays of earlier versions.

    Raises:
        Refused: not such an array, or over the limits of `socialcli.records.limits`.
    """
    import numpy

    rows = load_npy(data, where)
    if rows.dtype.names is None:
        rows = _from_matrix(rows, where)
    if rows.dtype.names != ("person", "embedding") or rows.ndim != 1:
        raise Refused(where, "is not rows of person and embedding")
    person, embedding = rows.dtype["person"], rows.dtype["embedding"]
    plain = person.kind == "i" and embedding.base.kind == "f" and len(embedding.shape) == 1
    if not plain or embedding.base.itemsize > 8:
        raise Refused(where, "is not rows of person (integer) and embedding (row of floats)")
    if not 0 < embedding.shape[0] <= limits.MAX_DIMENSIONS:
        what = f"embeddings have {embedding.shape[0]} numbers, expected 1 to "
        raise Refused(where, f"{what}{limits.MAX_DIMENSIONS}")
    if len(rows) > limits.MAX_ITEMS:
        raise Refused(where, f"has {len(rows)} rows, the limit is {limits.MAX_ITEMS}")
    if len(rows) and not 1 <= rows["person"].min() <= rows["person"].max() <= limits.MAX_WHOLE:
        raise Refused(where, f"a person's id is not in 1 to {limits.MAX_WHOLE}")
    values = rows["embedding"]
    right = numpy.isfinite(values) & (numpy.abs(values) <= limits.MAX_NUMBER)
    if not right.all():
        row = int(numpy.flatnonzero(~right.all(axis=1))[0])
        what = f"row {row} is not finite, or over the limit of {limits.MAX_NUMBER}"
        raise Refused(where, what)
    if len(set(rows["person"].tolist())) != len(rows):
        raise Refused(where, "two rows belong to one person")
    if len(empty := numpy.flatnonzero(~values.any(axis=1))):
        raise Refused(where, f"row {empty[0]} is zero")
    return rows


def _from_matrix(table: numpy.ndarray, where: str) -> numpy.ndarray:
    """(N, 1 + D) floats as rows of person and embedding.

    Raises:
        Refused: another shape or type, or a person's id that is no whole number of int32.
    """
    import numpy

    matrix = table.ndim == 2 and table.shape[1] > 1
    if not matrix or table.dtype.kind != "f" or table.dtype.itemsize > 8:
        raise Refused(where, "is not rows of person and embedding")
    people = table[:, 0]
    whole = numpy.isfinite(people) & (people >= 1) & (people <= limits.MAX_WHOLE)
    if not whole.all() or (people != numpy.floor(people)).any():
        raise Refused(where, f"a person's id is not in 1 to {limits.MAX_WHOLE}")
    if table.shape[1] - 1 > limits.MAX_DIMENSIONS:
        what = f"embeddings have {table.shape[1] - 1} numbers, expected 1 to "
        raise Refused(where, f"{what}{limits.MAX_DIMENSIONS}")
    kind = [("person", "<i4"), ("embedding", table.dtype.newbyteorder("<"), (table.shape[1] - 1,))]
    rows = numpy.zeros(len(table), dtype=kind)
    rows["person"], rows["embedding"] = people, table[:, 1:]
    return rows
