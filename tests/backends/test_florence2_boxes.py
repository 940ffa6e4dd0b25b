"""Florence-2's boxes: read as transformers' processor reads them, and asked for by the stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import scenes
from conftest import members
from PIL import Image
from tiny import caption as tiny

from socialcli import backends, records, shards
from socialcli.backends import ModelSpec
from socialcli.backends.ground import florence2
from socialcli.errors import UsageError


def test_positions_are_read_as_the_processor_reads_them():
    """transformers' own reading of the text, whose boxes are in pixels."""
    from transformers.models.florence2.processing_florence2 import Florence2PostProcessor

    official = Florence2PostProcessor.__new__(Florence2PostProcessor)
    official.quantize_bins, official.banned_grounding_tokens = (1000, 1000), set()
    spans = [[(52, 332, 932, 774)], [(0, 0, 999, 999), (10, 20, 30, 41)]]
    text = "</s><s>" + "".join(
        word + "".join(f"<loc_{n}>" for box in some for n in box)
        for word, some in zip(("a dog", "cars"), spans, strict=True)
    )
    phrases = official.parse_phrase_grounding_from_text_and_spans(f"{text}</s>", (640, 480))
    wanted = [box for one in phrases for box in one["bbox"]]
    words = [None, *spans[0][0], None, *(n for box in spans[1] for n in box), None]
    own = [[x * size for x, size in zip(box, (640, 480) * 2, strict=True)]
            for box in florence2.boxes(words)]  # fmt: skip
    assert len(own) == 3
    assert [[int(x) for x in one] for one in own] == wanted  # the official ones are whole pixels


def test_what_is_no_box_is_left_out():
    assert florence2.boxes([1, 2, 3, None, 4]) == []
    assert florence2.boxes([500, 2, 500, 9]) == [] and florence2.boxes([5, 9, 8, 2]) == []
    assert florence2.boxes([1, 2, 3, 4, 5, 6]) == [(0.0015, 0.0025, 0.0035, 0.0045)]


def test_the_stage_asks_for_each_phrase_by_itself(run_cli, tmp_path: Path, monkeypatch):
    """A tiny checkpoint of the real layout through the command; the instruction is the published
    one, and what it writes of a phrase depends on nothing else."""
    folder = tiny.florence2(tmp_path / "florence", positions=True)
    plain = {
        n: m for n, m in scenes.members(0).items() if n in ("jpg", "meta.json", "caption.json")
    }
    entities = records.dump(scenes.all_records()["entities.json"])
    shards.write(tmp_path / "in.tar", [("one", {**plain, "entities.json": entities})])
    run_cli("ground", tmp_path / "in.tar", "-o", tmp_path / "out", "--backend", "florence2",
            "--model", folder)  # fmt: skip
    boxes = shards.Sample("one", members(tmp_path / "out")["one"]).record(records.Boxes)
    assert boxes.model.backend == "florence2" and {b.score for b in boxes.boxes} <= {1.0}
    grounder = backends.load(ModelSpec("ground", "florence2", str(folder)))
    asked = []
    write = grounder.writer.write
    monkeypatch.setattr(grounder.writer, "write", lambda seen, text, how, seeds: (
        asked.append((text, how.beams)), write(seen, text, how, seeds))[1])  # fmt: skip
    picture = Image.new("RGB", (64, 48), "red")
    together = grounder.ground([picture], [["a dog", "the man"]], 0.9, 0.9)[0]
    alone = grounder.ground([picture], [["the man"]], 0.1, 0.1)[0]
    assert asked[0] == ("Locate the phrases in the caption: a dog", 3)
    assert [d.xyxy for d in together if d.phrase == 1] == [d.xyxy for d in alone]
    with pytest.raises(UsageError, match="no positions"):
        backends.load(ModelSpec("ground", "florence2", str(tiny.florence2(tmp_path / "other"))))
