"""Count the words of each caption."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from socialcli import records
from socialcli.config import option
from socialcli.errors import SampleFiltered
from socialcli.pipeline.stage import Item, Stage


@dataclass
class Config:
    min_words: int = option(0, "Filter out samples whose caption has fewer words.")


class CountWordsStage(Stage):
    READS = ("caption.json",)
    WRITES = ("words.json",)
    config_type = Config

    def models(self, config: Config) -> list[Any]:
        return []

    def load(self, config: Config) -> Any:
        return None

    def prepare(self, config: Config, sample: Any) -> int:
        return len(sample.record(records.Caption).text.split())

    def process(
        self, config: Config, loaded: Any, items: list[Item]
    ) -> list[dict[str, bytes] | Exception]:
        results: list[dict[str, bytes] | Exception] = []
        for item in items:
            if item.work < config.min_words:
                results.append(SampleFiltered(f"{item.work} words"))
            else:
                results.append({"words.json": json.dumps({"words": item.work}).encode()})
        return results
