"""A sentence copied from a document or a page may hold what Python takes for the end of a line and
no editor shows as one (U+2028, U+0085, a page break). A prompt file had two prompts there, and a
data set's captions one more; a training that went on dropped such lines of its log."""

from __future__ import annotations

import json

import pytest
from parts import part

from socialcli import textfiles
from socialcli.errors import SampleFailed
from socialcli.generation import requests
from socialcli.training.logs import Log

ENDS = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1e"]


@pytest.mark.parametrize("end", ENDS)
def test_a_prompt_is_one_line(tmp_path, end):
    file = tmp_path / "prompts.txt"
    file.write_bytes(f"a dog{end}in a park\r\na cat\rtwo\n\n".encode())
    rows = requests._rows(str(file))
    assert rows == [(1, {"prompt": f"a dog{end}in a park"}), (2, {"prompt": "a cat"}),
                    (3, {"prompt": "two"})]  # fmt: skip
    assert textfiles.lines(file) == [row["prompt"] for _, row in rows]


@pytest.mark.parametrize("end", ENDS)
def test_captions_and_layouts_are_of_lines(tmp_path, end):
    pdst, layout = part("importers", "pdst"), part("importers", "layout")
    (tmp_path / "rex" / "test").mkdir(parents=True)
    (tmp_path / "rex" / "test" / "a.txt").write_text(f"a {{}} here{end}and there\nthe {{}}\n")
    work = pdst.Work(str(tmp_path), "rex/test/a.png", "test", pdst.Subject("rex"))
    assert pdst._captions(work) == [f"a {{}} here{end}and there", "the {}"]
    planned = layout.of_text(f"prompt: a room{end}at night\nleft: a dog\n")
    assert planned.prompt == f"a room{end}at night" and len(planned.segments) == 1
    with pytest.raises(SampleFailed, match="line 2"):
        layout.of_text(f"prompt: a room{end}at night\nnowhere\n")


def test_a_resumed_training_keeps_its_log(tmp_path):
    events = [{"step": 1, "event": "text cut", "key": "a", "text": f"end{end}s"} for end in ENDS]
    lines = [json.dumps(one, ensure_ascii=False) for one in [*events, {"step": 9, "loss": 1.0}]]
    file = tmp_path / "log.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines) + '{"step": 2, "lo', encoding="utf-8")
    Log(tmp_path, [], 5, {}).close()
    assert [json.loads(one) for one in file.read_text("utf-8").split("\n") if one] == events
