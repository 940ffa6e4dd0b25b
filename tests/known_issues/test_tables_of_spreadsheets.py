"""Tables of captions and prompts as spreadsheets and pandas write them were refused.

A semicolon between cells asked "is a quote missing?", and pandas' 42.0 in a column of seeds with a
gap was no number.
"""

from __future__ import annotations

import csv
import io
import json

import pytest
from conftest import members, picture

from socialcli import shards, spreadsheets
from socialcli.backends.caption import given
from socialcli.errors import UsageError
from socialcli.generation import requests

ROWS = [["file_name", "caption"], ["a.jpg", "a man, a dog"], ["b.jpg", 'he says "hi"; she waves']]


def table(delimiter: str, rows=ROWS) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("header", [True, False])
def test_captions_whatever_divides_the_cells(tmp_path, delimiter, encoding, header):
    file = tmp_path / "c.csv"
    file.write_bytes(table(delimiter, ROWS if header else ROWS[1:]).encode(encoding))
    backend = given.Given(str(file))
    assert backend.captions("a", "a.jpg", None) == ["a man, a dog"]
    assert backend.captions("b", "b.jpg", None) == ['he says "hi"; she waves']


def test_excel_says_what_divides_them(tmp_path, run_cli):
    shards.write(tmp_path / "s.tar", [("a", {"jpg": picture(1)})])
    (tmp_path / "c.csv").write_text("sep=;\r\n" + table(";"))
    run_cli("caption", tmp_path / "s.tar", "-o", tmp_path / "o", "--captions", tmp_path / "c.csv")
    caption = json.loads(members(tmp_path / "o")["a"]["caption.json"])
    assert caption["text"] == "a man, a dog"


def test_a_table_that_cannot_be_read_says_what_was_tried(tmp_path):
    (tmp_path / "c.csv").write_text("file_name:caption\na.jpg:a man\n")
    with pytest.raises(UsageError, match="semicolon"):
        given.Given(str(tmp_path / "c.csv"))
    (tmp_path / "d.csv").write_bytes(b"key,caption\na,caf\xe9\n")
    with pytest.raises(UsageError, match="save it as CSV UTF-8"):
        given.Given(str(tmp_path / "d.csv"))


def asked(tmp_path, text: str, name: str = "p.csv"):
    (tmp_path / name).write_text(text)
    return [request for _, request, _ in requests._file(str(tmp_path / name))]


def test_seeds_as_pandas_and_others_write_them(tmp_path):
    cells = ["42.0", "", "nan", "NaN", "None", "<NA>", "7", "-1", "1e3"]
    text = "prompt,seed\n" + "".join(f"a dog,{cell}\n" for cell in cells)
    expected = [42, None, None, None, None, None, 7, None, 1000]
    assert [one.seed for one in asked(tmp_path, text)] == expected
    lines = [{"prompt": "x", "seed": s} for s in (42.0, None, 2**60)]
    text = "\n".join(map(json.dumps, lines)) + '\n{"prompt": "x", "seed": NaN}\n'
    assert [one.seed for one in asked(tmp_path, text, "p.jsonl")] == [42, None, 2**60, None]


def test_decimal_commas_of_semicolon_tables(tmp_path):
    text = "prompt;reference;query;scale\na dog;r.jpg;dog;0,65\n"
    assert [w.scale for w in asked(tmp_path, text)[0].references] == [0.65]


@pytest.mark.parametrize("seed", ["42.5", "9.3e18", "1.2345678901234567e17", "-3", "x", "inf"])
def test_what_is_no_seed_is_told_with_its_place(tmp_path, seed):
    with pytest.raises(UsageError, match=r"p.csv, line 2: 'seed' is "):
        asked(tmp_path, f"prompt,seed\na dog,{seed}\n")


def test_a_json_seed_is_not_rounded(tmp_path):
    with pytest.raises(UsageError, match="not a whole number"):
        asked(tmp_path, '{"prompt": "x", "seed": 42.7}', "p.jsonl")


def test_a_whole_number_stays_exact():
    assert spreadsheets.number(str(2**62 + 1), True) == 2**62 + 1
    assert spreadsheets.number("0.5", False) == 0.5
