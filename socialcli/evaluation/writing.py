"""What a score leaves in its folder: figures, tables, every picture's own figures, and the page."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import shards
from socialcli.errors import UsageError
from socialcli.evaluation import run, tables

if TYPE_CHECKING:
    import numpy

    from socialcli.evaluation.run import Score
    from socialcli.evaluation.samples import Lost

# What numpy raises where a file is not one of its own, or not whole.
_NOT_ROWS = (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error)


def write(score: Score, out: Path) -> Iterator[str]:
    """Write everything; yields the paths a person wants to open. The folder is as it was until all
    of it is on the disk; ``score.json`` comes last, so that a folder with one is whole."""
    from socialcli.evaluation import page

    body = run.as_json(score)
    figures, pictures = page.shown(score)
    with shards.publish_files(out, last="score.json") as folder:
        for name, files in (("rows", score.rows), (page.FOLDER, pictures)):
            if files:
                (folder / name).mkdir()
        for name, rows in score.rows.items():
            cases = {"key": [c.key for c in score.cases], "unit": [c.unit for c in score.cases]}
            (folder / "rows" / f"{name}.npz").write_bytes(_npz({**cases, **rows}))
        _lines(folder / "samples.jsonl", _samples(score))
        _lines(folder / "errors.jsonl", (_public(one) for one in score.lost))
        (folder / "table.md").write_bytes(tables.markdown(body).encode())
        (folder / "table.tex").write_bytes(tables.latex(body).encode())
        for name, data in pictures.items():
            (folder / page.FOLDER / name).write_bytes(data)
        with open(folder / "index.html", "wb") as stream:
            for piece in page.page(body, figures):
                stream.write(piece.encode("utf-8", "replace"))
        text = json.dumps(body, ensure_ascii=False, indent=1, allow_nan=False)
        (folder / "score.json").write_bytes(text.encode("utf-8", "replace"))
    for old in (out / page.FOLDER).glob(f"{'[0-9a-f]' * 16}.jpg"):
        if old.name not in pictures:
            old.unlink()
    yield str(out / "score.json")
    yield str(out / "index.html")


def _npz(arrays: dict[str, Any]) -> bytes:
    """Arrays as compressed .npz without anything pickled in it."""
    import numpy

    plain: dict[str, Any] = {
        name: numpy.array(value, numpy.str_) if isinstance(value, list) else value
        for name, value in arrays.items()
    }
    stream = io.BytesIO()
    numpy.savez_compressed(stream, **plain)
    return stream.getvalue()


def rows(folder: Path, metric: str) -> dict[str, numpy.ndarray]:
    """The rows of one metric as `write` left them, with ``key`` and ``unit`` (N,).

    Raises:
        UsageError: the file is not whole.
    """
    import numpy

    place = folder / "rows" / f"{metric}.npz"
    try:
        with numpy.load(place, allow_pickle=False) as data:
            arrays = {name: data[name] for name in ("unit", *data.files)}
    except _NOT_ROWS as error:
        raise UsageError(f"{place}: cannot be read ({error}); run the score again") from None
    return arrays


def _lines(path: Path, items: Any) -> None:
    with open(path, "wb") as stream:
        for item in items:
            line = json.dumps(item, ensure_ascii=False, allow_nan=False)
            stream.write(line.encode("utf-8", "replace") + b"\n")


def _public(lost: Lost) -> dict[str, str]:
    """What could not be used and why, without what signs a URL."""
    return {name: shards.public_text(shards.public(text)) for name, text in vars(lost).items()}


def _samples(score: Score) -> Iterator[dict[str, Any]]:
    """One line per picture: where it is, what it was made from, its own figures."""
    import numpy

    for number, joined in enumerate(score.joined):
        info = joined.generated.info
        own = {
            name: float(values[number]) if numpy.isfinite(values[number]) else None
            for name, values in score.pictures.items()
        }
        yield {
            "key": joined.generated.key,
            "unit": joined.unit,
            "shard": shards.public(joined.generated.location),
            "prompt": joined.generated.prompt,
            "seed": info["seed"] if isinstance(info.get("seed"), int) else None,
            "method": str(info.get("method", "")),
            **({"unread": rest} if (rest := run.cut_off(score.cases[number])) else {}),
            **own,
        }
