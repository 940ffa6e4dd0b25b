"""The tables of Identity Embedding: the threshold of ID (P), what a word costs, the Markdown."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from socialcli import records, shards
from socialcli.benchmarks import identity_tables
from socialcli.errors import UsageError
from socialcli.networks.stage_tokens import StageTokens
from socialcli.records import Box, Boxes, Entities, Entity


def grounded(key: str, entities: int, entity_of_box: list[int]) -> tuple[str, dict[str, bytes]]:
    words = [Entity(n + 1, "a cup", "cup", "cup", 0, 5, "object") for n in range(entities)]
    boxes = [
        Box(n + 1, (0, 0, 1, 1), "cup", entity=e, score=0.9) for n, e in enumerate(entity_of_box)
    ]
    return key, {"entities.json": records.dump(Entities(words)),
                 "boxes.json": records.dump(Boxes(9, 9, boxes))}  # fmt: skip


def test_the_threshold_is_the_mean_of_the_pictures_that_show_everything(tmp_path):
    shards.write(tmp_path / "g.tar", [
        grounded("a", 2, [1, 2, 2]), grounded("b", 2, [1]), grounded("c", 1, [1]),
        grounded("d", 0, []), grounded("e", 1, [1]),
    ])  # fmt: skip
    values = {"a": 0.5, "b": 0.9, "c": 0.7, "d": 0.1, "e": None}
    lines = [json.dumps({"key": k, "prompt_score": v}) for k, v in values.items()]
    (tmp_path / "samples.jsonl").write_text("\n".join(lines))
    threshold = identity_tables.threshold(tmp_path, str(tmp_path / "g.tar"))
    assert threshold == pytest.approx((0.5 + 0.7) / 2)
    shards.write(tmp_path / "n.tar", [grounded("b", 2, [1])])
    with pytest.raises(UsageError, match="in no picture everything is found"):
        identity_tables.threshold(tmp_path, str(tmp_path / "n.tar"))


def written(folder, method: str, tensors: dict[str, torch.Tensor], seconds: list[float]) -> None:
    folder.mkdir(parents=True)
    tokens = json.dumps({name.partition("/")[0]: "woman" for name in tensors})
    save_file(tensors, folder / "words.safetensors",
              {"initial_words": tokens, "socialcli.method": method})  # fmt: skip
    steps = [json.dumps({"step": n, "seconds": s}) for n, s in enumerate(seconds)]
    (folder / "log.jsonl").write_text("\n".join([*steps, json.dumps({"step": 9, "event": "end"})]))


def test_what_a_word_costs(tmp_path):
    pairs = {f"<{n}>/stages": torch.zeros(5, 2, 1, 16) for n in "ab"}
    written(tmp_path / "identity-0", "identity", pairs, [1.0, 3.0])
    written(tmp_path / "identity-1", "identity", pairs, [5.0, 3.0])
    written(tmp_path / "ti-0", "textual-inversion", {"<a>": torch.zeros(2, 16)}, [0.5])
    costs = identity_tables.costs(tmp_path)
    block = sum(p.numel() for p in StageTokens(16, 10).parameters())
    assert costs == {"identity": (block, 160, 3.0), "ti": (32, 32, 0.5)}


def test_the_tables():
    cell = {"value": 0.51234, "low": 0.4, "high": 0.61, "bold": False, "verdict": "", "p": None}
    cells = {
        "identity": {"prompt_score": cell, "id": {**cell, "low": None}},
        "ti": {"prompt_score": {**cell, "verdict": "worse"}, "id": {**cell, "bold": True}},
        "pairs1": {"id": {**cell, "value": None}},
    }
    cells["ti"]["prompt_score"] |= {
        "p": 0.02, "difference": -0.1, "difference_low": -0.2, "difference_high": -0.05
    }  # fmt: skip
    columns = {name: {"title": title} for name, title in identity_tables.COLUMNS.items()}
    result = {"cells": cells, "units": 12, "resamples": 100, "baseline": "identity",
              "columns": columns}  # fmt: skip
    text = "\n".join(identity_tables.lines(result, {"ti": (32.0, 32.0, 0.5)}))
    assert "12 prompts" in text and text.count("| 5 pairs, all tokens (identity) | 0.512 [0.4") == 2
    assert "| Textual Inversion | 0.512 ↧ [0.4, 0.61] | **0.512** [0.4, 0.61] |" in text
    assert "| 32 | 32 | 0.5 |" in text and "| 1 pair, all tokens |  |  |" in text
    assert text.count(" below identity |") == 1  # of what has a p value
    effect = "| Prompt: ti below identity | paper | -0.1000 | [-0.2000, -0.0500] | 0.0200 | holds |"
    assert effect in text
    assert text.index("Table I**") < text.index("Table III**") < text.index("The paper")
