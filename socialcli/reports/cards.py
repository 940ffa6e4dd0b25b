"""Every sample of a report, in small files beside the page, which it loads as they are needed.

``samples-DIGEST/`` beside ``index.html`` holds

- ``index-000000.js``...: `SIZES` ["index"] samples each: words to search in, what the sample has;
- ``cards-000000.js``...: the HTML that shows each sample;
- ``large-000000.js``...: larger pictures of the samples on the contact sheets;
- ``larger-000000.js``...: the numbers of these samples.

A page opened from a disk may not fetch other files, but it may run scripts beside it. So each file
is one call, ``socialcli("cards", 3, "...")``, and its text is JSON, gzipped, in base64. The folder
is named after its content: a page never meets the files of another report.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import shards
from socialcli.reports import overlay
from socialcli.vision.text import clean

if TYPE_CHECKING:
    from socialcli.reports.view import View

SIZES = {"index": 4000, "cards": 24, "large": 24, "larger": 100_000}  # items in one file
PREFIX = "samples-"
MOST_WORDS = 2000  # characters of a sample that can be searched
_LEVEL = 6  # of gzip


class Cards:
    """Writes the folder, sample by sample; memory holds one unfinished file of each kind.

    Args:
        out: the report's folder.
        thumbnails: so many samples have a small picture; later ones are listed without.
    """

    def __init__(self, out: Path, thumbnails: int) -> None:
        self._out, self._thumbnails = out, thumbnails
        self._unfinished = shards.FolderPublication(out, "report")
        self.folder = self._unfinished.path  # of the report's other files
        self._samples = self.folder / "samples"
        self._samples.mkdir()
        self._digest = hashlib.sha256()
        self._waiting: dict[str, list[Any]] = {kind: [] for kind in SIZES}
        self._files = dict.fromkeys(SIZES, 0)
        self.count = 0  # samples listed, whole or not
        self.drawn = 0  # of them with a picture
        self.enlarged = 0  # of them with a large picture too

    def add(self, view: View) -> int:
        """List a sample; returns its number."""
        picture = overlay.thumbnail(view) if self.drawn < self._thumbnails else None
        self.drawn += picture is not None
        html = overlay.card(view, picture)  # first: drawing finds problems
        return self._list(view.words(), overlay.has(view), html)

    def lose(self, entry: dict[str, str]) -> int:
        """List a sample that failed, was filtered or is damaged; returns its number.

        Args:
            entry: key, status, stage, reason, shard; any may be missing.
        """
        words = " ".join(entry.get(name) or "" for name in overlay.LOST)
        return self._list(words, [overlay.LEFT_OUT], overlay.lost_card(entry))

    def enlarge(self, numbered: list[tuple[int, View]]) -> None:
        """Write larger pictures of some samples, given with their numbers."""
        for number, view in numbered:
            uri = overlay.large(view)
            if uri is not None:
                self.enlarged += 1
                self._put("large", uri)
                self._put("larger", number)

    def finish(self) -> str:
        """The name that the folder of samples has beside the page, by what is in it: the page that
        is there leads to another one until it is replaced."""
        for kind in SIZES:
            self._flush(kind)
        name = PREFIX + self._digest.hexdigest()[:12]
        self._samples.rename(self.folder / name)
        return name

    def publish(self) -> None:
        """Give everything in ``folder`` its place in the report's folder, the page last."""
        self._unfinished.spread("index.html")

    def discard(self) -> None:
        """Remove what was written and is not published."""
        self._unfinished.discard()

    def _list(self, words: str, flags: list[str], html: str) -> int:
        number, self.count = self.count, self.count + 1
        bits = sum(1 << overlay.HAS.index(flag) for flag in flags)
        self._put("index", [clean(words.lower()[:MOST_WORDS]), bits])
        self._put("cards", html)
        return number

    def _put(self, kind: str, item: Any) -> None:
        self._waiting[kind].append(item)
        if len(self._waiting[kind]) == SIZES[kind]:
            self._flush(kind)

    def _flush(self, kind: str) -> None:
        items, number = self._waiting[kind], self._files[kind]
        if not items:
            return
        text = json.dumps(items, ensure_ascii=False, separators=(",", ":"))
        packed = gzip.compress(text.encode("utf-8", "replace"), _LEVEL, mtime=0)
        data = f'socialcli("{kind}",{number},"{base64.b64encode(packed).decode()}")\n'.encode()
        with shards.explain_full_disk(str(self._out)):
            (self._samples / file_name(kind, number)).write_bytes(data)
        self._digest.update(data)
        self._files[kind], self._waiting[kind] = number + 1, []


@contextmanager
def writing(out: Path, thumbnails: int) -> Iterator[Cards]:
    """`Cards` into a folder, which is made; nothing unfinished is left behind."""
    cards = Cards(out, thumbnails)
    try:
        yield cards
    finally:
        cards.discard()


def file_name(kind: str, number: int) -> str:
    """The name of the ``number``-th file of a kind."""
    return f"{kind}-{number:06}.js"


def read(folder: Path, kind: str) -> list[Any]:
    """All items of a kind, as the page sees them."""
    items: list[Any] = []
    for path in sorted(folder.glob(f"{kind}-*.js")):
        packed = path.read_text(encoding="utf-8").rpartition(',"')[2].removesuffix('")\n')
        items += json.loads(gzip.decompress(base64.b64decode(packed)))
    return items


def sweep(out: Path, name: str) -> None:
    """Remove the sample folders of earlier reports, all but ``name``."""
    for old in out.glob(f"{PREFIX}*"):
        if old.name != name and (old / file_name("index", 0)).exists():
            shutil.rmtree(old, ignore_errors=True)
