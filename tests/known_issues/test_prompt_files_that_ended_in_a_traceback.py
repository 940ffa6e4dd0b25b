"""Texts that users write ended commands with a traceback, or in another line than the right one:
JSON nested too deep, digits that are no numbers ("5²2"), one column of a prompt file twice, and
seeds that count on beyond the largest, whose pictures were drawn and then not written."""

from __future__ import annotations

import dataclasses

import pytest

from socialcli import records
from socialcli.backends.caption import given
from socialcli.diffusion import timesteps
from socialcli.errors import UsageError
from socialcli.evaluation import hoi_classes
from socialcli.generation import options, requests
from socialcli.generation.options import GenerateOptions, ReferenceOptions

DEEP = "[" * 200_000 + "]" * 200_000


def asked(tmp_path, name: str, text: str, config=GenerateOptions, **more):
    (tmp_path / name).write_text(text, encoding="utf-8")
    requests._READ.clear()
    return requests.entries(config(prompts=[str(tmp_path / name)], **more))


def test_json_that_is_nested_too_deep_is_a_line(tmp_path):
    line = f'{{"prompt": "a", "key": "k", "caption": "a", "classes": {DEEP}}}\n'
    with pytest.raises(UsageError, match=r"p\.jsonl, line 1: not JSON"):
        asked(tmp_path, "p.jsonl", line)
    file = str(tmp_path / "p.jsonl")
    with pytest.raises(UsageError, match=r"p\.jsonl, line 1: not JSON"):
        given._rows(file, line.encode())
    with pytest.raises(UsageError, match=r"p\.jsonl: expected"):
        hoi_classes._from_file(file)
    with pytest.raises(UsageError, match=r"p\.jsonl: not a file of loss curves"):
        timesteps.read_curves(file)


@pytest.mark.parametrize("size", ["5²2", "512x5²2", "9" * 5000, "①⑥", "-64", "64x64x64", ""])
def test_a_size_is_of_digits(size):
    config = dataclasses.replace(GenerateOptions(), size=size)
    with pytest.raises(UsageError, match=r"--size .*pixels as 512 or 768x512"):
        options.size(config)


def test_sizes_are_what_they_were():
    for size, wanted in ((" 64 x 128", (64, 128)), ("512", (512, 512)), ("8192X8", (8192, 8))):
        assert options.size(dataclasses.replace(GenerateOptions(), size=size)) == wanted


def test_one_column_twice_is_refused(tmp_path):
    for header in ("prompt,negative,prompt", "prompt,Query ,query", "prompt,mask_2,mask_2"):
        with pytest.raises(UsageError, match=r"t\.csv: the column '\w+' is there twice"):
            asked(tmp_path, "t.csv", f"{header}\na dog,,\n", ReferenceOptions, reference=["r"])
    ((_, one),) = asked(tmp_path, "t.csv", "prompt,note,note,,\na dog,1,2,,\n")  # nobody reads them
    assert one.prompt == "a dog"


def test_seeds_count_on_from_nought_behind_the_largest(tmp_path):
    last = 2**63 - 1
    rows = asked(tmp_path, "t.csv", f"prompt,seed\na dog,{last - 1}\n", per_prompt=4)
    assert [request.seed for _, request in rows] == [last - 1, last, 0, 1]
    model = records.Model("x", "y", role="diffusion")
    for seed in (0, last):
        body = records.Generated("p", seed, "text", model, "s", 1, 1.0, (8, 8))
        assert records.load(records.Generated, records.dump(body)).seed == seed
