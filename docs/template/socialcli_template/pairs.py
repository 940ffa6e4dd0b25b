"""A folder of NAME.png pictures, each with a NAME.prompt beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from socialcli import shards
from socialcli.config import MISSING, option
from socialcli.errors import SampleFailed, UsageError
from socialcli.importers import Entry, Importer


@dataclass
class Config:
    """Each field is a flag of `socialcli import pairs`; ``source`` is the positional argument."""

    source: str = option(MISSING, "Folder of NAME.png and NAME.prompt files.")


class PairsImporter(Importer):
    """The class inherits the base of its kind; a public name that the base lacks is an error."""

    config_type = Config

    def entries(self, config: Config) -> Iterator[Entry]:
        files = sorted(Path(config.source).glob("*.png"))
        if not files:
            raise UsageError(f"{config.source}: no .png files in this folder")
        for file in files:
            yield Entry(shards.safe_key(file.name), file)

    def files(self, config: Config) -> list[Path]:
        prompts = [entry.work.with_suffix(".prompt") for entry in self.entries(config)]
        return [file for file in prompts if file.is_file()]

    def build(self, config: Config, entry: Entry) -> dict[str, bytes]:
        words: Path = entry.work.with_suffix(".prompt")
        if not words.is_file():
            raise SampleFailed(f"{words.name} is not there: write the prompt into it")
        return {"png": entry.work.read_bytes(), "txt": words.read_bytes()}
