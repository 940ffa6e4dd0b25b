"""A row of a prompt file with its own `query`, `scale` or `mask` and no `reference` was drawn with
the reference of `--reference` and the words of the flags: what the row said was lost in silence.
So was a `query` beside a list of `references`, and the `scale` of a source picture."""

import pytest

from socialcli import registry
from socialcli.errors import UsageError
from socialcli.generation import requests
from socialcli.generation.requests import Wanted


def of_file(folder, text, name="p.csv", masks=None, method="ssr", **flags):
    file = folder / name
    file.write_text(text)
    config = registry.load("methods.generate", method).config_type(prompts=[str(file)], **flags)
    return [request.references for _, request in requests.entries(config, masks)]


def test_a_row_speaks_of_the_references_of_the_flags(tmp_path):
    text = "prompt,reference,query,scale,query_2\nx,,hat,0.3,\ny,,,,shoe\nz,r.png,cat,,\n"
    flags = {"reference": ["a.png", "b.png"], "query": ["dog"], "scale": [0.5]}
    assert of_file(tmp_path, text, **flags) == [
        (Wanted("a.png", "hat", 0.3), Wanted("b.png", "dog", 0.5)),
        (Wanted("a.png", "dog", 0.5), Wanted("b.png", "shoe", 0.5)),
        (Wanted("r.png", "cat", 0.5, str(tmp_path)),),
    ]


def test_a_rows_mask_lies_beside_its_file_and_the_flags_picture_does_not(tmp_path):
    for name in ("a.png", "own.png"):
        (tmp_path / name).touch()
    text = "prompt,mask\nx,own.png\ny,gone.png\nz,\n"
    rows = of_file(tmp_path, text, masks=["flag.png"], reference=["a.png"], query=["dog"])
    assert rows == [
        (Wanted("a.png", "dog", by_mask=True, mask=str(tmp_path / "own.png")),),
        (Wanted("a.png", "dog", by_mask=True, mask="gone.png"),),
        (Wanted("a.png", "dog", by_mask=True, mask="flag.png"),),
    ]


def test_the_scale_of_the_picture_to_be_changed(tmp_path):
    flags = {"method": "instruct-pix2pix", "reference": ["a.png"], "image_guidance": 2.0}
    rows = of_file(tmp_path, "prompt,scale\nx,1.2\ny,\n", **flags)
    assert [row[0].scale for row in rows] == [1.2, 2.0]


def test_a_row_that_says_more_than_there_are_references_is_refused(tmp_path):
    for text, line in (
        ("prompt,query_2\nx,hat\n", "line 2: there is a query 2 but no reference 2"),
        ("prompt,reference,query,reference_2\nx,,hat,b.png\n", "a query 1 but no reference 1"),
        ("prompt,query_1,query\nx,hat,cat\n", "there is a query 1 but no reference 1"),
        ("prompt,mask_999999999\nx,m.png\n", "mask 999999999 but no reference 999999999"),
    ):
        with pytest.raises(UsageError, match=line):
            of_file(tmp_path, text, f"{len(text)}.csv", reference=["a.png"])
    listed = '{"prompt": "x", "references": ["b.png"], "scale": 0.5}'
    with pytest.raises(UsageError, match="line 1: there is a scale 1 but no reference 1"):
        of_file(tmp_path, listed, "l.jsonl")


def test_a_scale_of_nothing_is_said_and_without_any_reference_the_picture_alone_fails(tmp_path):
    text = "prompt,query,scale\nx,hat,0\n"
    rows = of_file(tmp_path, text, reference=["a.png"], scale=[0.5])
    assert rows == [(Wanted("a.png", "hat", 0.0),)]
    assert of_file(tmp_path, text, "q.csv") == [()]


def test_methods_without_references_pass_these_columns_over(tmp_path):
    assert of_file(tmp_path, "prompt,query_2\nx,hat\n", method="text") == [()]
