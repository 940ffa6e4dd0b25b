"""A few real photographs that installed packages ship (scikit-image, insightface), with captions.

They are the same on every machine and need no network: good for a first try of the chain. The
captions were written by hand and travel as ``KEY.txt``, as if they lay beside the pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from socialcli.config import option
from socialcli.errors import MissingPackage
from socialcli.importers import Entry, Importer

# key -> (package, file inside it, caption)
_PICTURES = {
    "astronaut": (
        "skimage", "data/astronaut.png",
        "A smiling woman in an orange suit stands in front of a flag and a model rocket.",
    ),
    "cameraman": (
        "skimage", "data/camera.png",
        "A man in a dark coat looks through a camera on a tripod.",
    ),
    "cat": ("skimage", "data/chelsea.png", "A cat with orange fur looks at the camera."),
    "coffee": ("skimage", "data/coffee.png", "A cup of coffee on a saucer with a spoon."),
    "six-friends": (
        "insightface", "data/images/t1.jpg",
        "Three women and three men play cards at a round table.",
    ),
}  # fmt: skip


@dataclass
class Config:
    """Options of `socialcli import samples`."""

    source: str = option("all", "Which of them: all, or one name.")


class SamplesImporter(Importer):
    """See `Importer`."""

    config_type = Config

    def entries(self, config: Config) -> Iterator[Entry]:
        """The chosen photographs, those of packages that are installed.

        Raises:
            MissingPackage: no package that ships one is installed.
        """
        import importlib.util
        from pathlib import Path

        installed = 0
        for key, (package, file, caption) in _PICTURES.items():
            spec = importlib.util.find_spec(package)
            if config.source not in ("all", key) or spec is None or not spec.origin:
                continue
            path = Path(spec.origin).parent / file
            if path.is_file():
                installed += 1
                yield Entry(key, (path, caption, f"{package}/{file}"))
        if not installed:
            raise MissingPackage(f"a package with the photograph '{config.source}'", "samples")

    def build(self, config: Config, entry: Entry) -> dict[str, bytes]:
        """The picture as it lies in its package, its caption, its facts."""
        from socialcli import records
        from socialcli.vision import images

        path, caption, source = entry.work
        data = path.read_bytes()
        seen = images.facts(data)
        meta = records.Meta(seen.width, seen.height, seen.orientation, source)
        return {
            path.suffix.lstrip(".").lower(): data,
            "meta.json": records.dump(meta),
            "txt": caption.encode() + b"\n",
        }
