"""What rows of prompt files and flags ask for, read without any model."""

from __future__ import annotations

import json

import pytest
from parts import part

from socialcli.cli import profiles
from socialcli.errors import UsageError
from socialcli.generation import requests
from socialcli.generation.requests import Wanted


def config(method="ssr", **values):
    kind = part("methods.generate", method).Config
    return kind(**profiles.values(None, "generate", kind, values, method))


def asked(tmp_path, text, name="p.csv", method="ssr", masks=None, **values):
    """(key, request) of a prompt file's rows."""
    file = tmp_path / name
    file.write_text(text if isinstance(text, str) else "\n".join(map(json.dumps, text)))
    return requests.entries(config(method, prompts=[str(file)], **values), masks)


def test_prompt_files_are_known_by_their_ending_in_any_case():
    assert all(map(requests.is_prompts, ("a.txt", "A.CSV", "b.Tsv", "b.jsonl", "x/c.NDJSON")))
    assert not any(map(requests.is_prompts, ("a.tar", "txt", "a.json", "csv/", "a.csv.tar")))


def test_rows_have_their_own_negative_prompt_and_seed_else_those_of_flags(tmp_path):
    rows = "Prompt,negative,seed\na dog,rain,0\na cat,,\n"
    (_, dog), (_, cat) = asked(tmp_path, rows, negative="snow")
    assert (dog.prompt, dog.negative, dog.seed) == ("a dog", "rain", 0)
    assert (cat.prompt, cat.negative, cat.seed) == ("a cat", "snow", None)


@pytest.mark.parametrize(("seed", "expected"), [(2**63 - 1, 2**63 - 1), (-1, None)])
def test_seeds_at_the_ends_of_their_range(tmp_path, seed, expected):
    [(_, one)] = asked(tmp_path, f"prompt,seed\na dog,{seed}\n")
    assert one.seed == expected
    with pytest.raises(UsageError, match=r"from 0 to 2\^63 - 1"):
        asked(tmp_path, f"prompt,seed\na dog,{2**63}\n", "large.csv")


def test_several_pictures_of_a_prompt_count_on_from_its_seed(tmp_path):
    rows = asked(tmp_path, "prompt,seed\na dog,7\na cat,\n", per_prompt=3)
    assert [key for key, _ in rows] == [f"0000{row}-{n}" for row in (0, 1) for n in range(3)]
    assert [one.seed for _, one in rows] == [7, 8, 9, None, None, None]


def test_keys_of_rows_are_keys_of_samples(tmp_path):
    rows = [{"prompt": "x", "key": key} for key in ("a/b.c", 3.0, 4, "", None, 5.5)]
    keys = [key for key, _ in asked(tmp_path, rows, "p.jsonl")]
    assert keys == ["a/b_c", "3", "4", "00003", "00004", "5_5"]
    twice = [{"prompt": "x", "key": "a.b"}, {"prompt": "y", "key": "a_b"}]
    with pytest.raises(UsageError, match=r"line 2: the key 'a_b' is there twice \(also .*line 1"):
        asked(tmp_path, twice, "q.jsonl")


def test_prompt_caption_and_text_are_the_same_column_in_this_order(tmp_path):
    rows = [{"text": "t", "caption": "c", "prompt": "p"}, {"text": "t", "caption": "c"},
            {"text": " t "}, {"text": "t", "prompt": None}]  # fmt: skip
    prompts = [one.prompt for _, one in asked(tmp_path, rows, "p.jsonl")]
    assert prompts == ["p", "c", "t", "t"]


def test_empty_lines_count_for_the_place_and_not_for_the_number(tmp_path):
    rows = asked(tmp_path, "a dog\n\n  \na cat\n", "p.txt")
    assert [(key, one.prompt) for key, one in rows] == [("00000", "a dog"), ("00001", "a cat")]
    rows = asked(tmp_path, "prompt,negative\n,\na dog,\n ,\n", "p.csv")
    assert [(key, one.prompt) for key, one in rows] == [("00000", "a dog")]
    with pytest.raises(UsageError, match="line 3: not JSON"):
        asked(tmp_path, '{"prompt": "x"}\n\n{"prompt"', "p.jsonl")
    with pytest.raises(UsageError, match=r"'negative' is 3, expected text"):
        asked(tmp_path, [{"prompt": "x", "negative": 3}], "n.jsonl")


def test_references_of_columns_stand_in_the_order_of_their_numbers(tmp_path):
    names = ["reference", "reference_2", "Reference 10", "scale-2", "query10", "mask_2"]
    cells = ["one.png", "two.png", "ten.png", "-1", "hat", "m.png"]
    text = ",".join(["prompt", *names]) + "\n" + ",".join(["x", *cells]) + "\n"
    [(_, one)] = asked(tmp_path, text, query=["a", "b"], scale=[0.5, 0.25])
    beside = str(tmp_path)
    assert one.references == (
        Wanted("one.png", "a", 0.5, beside),
        Wanted("two.png", "b", -1.0, beside, mask="m.png"),
        Wanted("ten.png", "hat", 0.25, beside),  # the last flag is that of all that follow
    )


def test_what_a_row_leaves_empty_is_what_the_flags_say(tmp_path):
    text = "prompt,reference,query,scale\nx,r.png,,\ny,,,\nz,s.png,cat,0\n"
    flags = {"query": ["hat"], "scale": [0.5], "reference": ["flag.png"]}
    references = [one.references for _, one in asked(tmp_path, text, **flags)]
    beside = str(tmp_path)
    assert references == [
        (Wanted("r.png", "hat", 0.5, beside),),
        (Wanted("flag.png", "hat", 0.5),),
        (Wanted("s.png", "cat", 0.0, beside),),
    ]


def test_references_of_a_list_are_names_or_objects(tmp_path):
    listed = ["a.png", {"path": "b.png", "query": ""}, {"key": "k", "scale": 2, "mask": "m.png"}]
    [(_, one)] = asked(tmp_path, [{"prompt": "x", "references": listed}], "p.jsonl", query=["q"])
    beside = str(tmp_path)
    assert one.references == (
        Wanted("a.png", "q", None, beside),
        Wanted("b.png", "", None, beside),  # said, though it is nothing
        Wanted("k", "q", 2.0, beside, mask="m.png"),
    )


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"query_2": "hat", "scale_2": 1}, "there is a query/scale 2 but no reference"),
        ({"references": [3]}, "a reference is a name, or an object"),
        ({"references": [{"query": "x"}]}, "a reference has no 'reference'"),
        ({"reference": "r.png", "scale": "much"}, "'scale' is 'much', expected a number$"),
        ({"reference": 3}, "'reference' is 3, expected text"),
    ],
)
def test_references_that_make_no_sense(tmp_path, row, line):
    with pytest.raises(UsageError, match=f"p.jsonl, line 1: {line}"):
        asked(tmp_path, [{"prompt": "x", **row}], "p.jsonl")


def test_masks_of_flags_are_those_of_the_references_of_flags(tmp_path):
    flags = {"reference": ["a.png", "b.png"], "query": ["q"]}
    text = "prompt,reference,mask\nx,,\ny,r.png,own.png\nz,r.png,\n"
    rows = [one.references for _, one in asked(tmp_path, text, masks=["1.png", "2.png"], **flags)]
    assert [[w.mask for w in row] for row in rows] == [["1.png", "2.png"], ["own.png"], [None]]
    assert all(w.by_mask for row in rows for w in row)
    rows = [one.references for _, one in asked(tmp_path, text, "q.csv", masks=[], **flags)]
    assert [[w.mask for w in row] for row in rows] == [[None, None], ["own.png"], [None]]
    assert all(w.by_mask for row in rows for w in row)


def test_the_guidance_by_a_source_picture_is_the_rows_or_the_flags(tmp_path):
    text = "prompt,reference,scale\nx,a.png,3\ny,a.png,\nz,,\n"
    rows = asked(tmp_path, text, method="instruct-pix2pix", reference=["flag.png"],
                  image_guidance=2.0)  # fmt: skip
    shown = [[(w.name, w.scale) for w in one.references] for _, one in rows]
    assert shown == [[("a.png", 3.0)], [("a.png", 2.0)], [("flag.png", 2.0)]]
    assert asked(tmp_path, text, method="text")[0][1].references == ()


def test_another_configuration_is_read_anew(tmp_path):
    """What was asked for last is kept, and no longer than it is asked for."""
    first = requests.entries(config(prompt=["a dog"], reference=["r.png"]))
    assert requests.entries(config(prompt=["a dog"], reference=["r.png"])) is first
    [(_, one)] = requests.entries(config(prompt=["a cat "], reference=["r.png"]))
    assert one.prompt == "a cat" and [w.name for w in one.references] == ["r.png"]
