"""A reference named by a key that no file can be called, longer than a name of a file or beginning
like another user's home, was not found: the question whether it is a file ended its picture, or,
where a flag or a row names it, the whole command."""

from __future__ import annotations

import numpy
import pytest
import scenes

from socialcli import records, shards
from socialcli.errors import SampleFailed
from socialcli.generation import contents, layouts, references, requests
from socialcli.generation.requests import Request, Wanted
from socialcli.registry import load
from socialcli.vision import masks

KEYS = ["n" * 300, "~nobody-is-called-so/0"]


@pytest.fixture
def places(tmp_path):
    shards.write(tmp_path / "r.tar", [(key, {"jpg": scenes.picture()}) for key in KEYS])
    return (str(tmp_path / "r.tar"),)


@pytest.mark.parametrize("key", KEYS)
def test_it_is_found_by_its_key(places, key):
    assert references.find(Wanted(key, "dog"), places, "x", "a dog").key == key
    assert references.find(Wanted(key, "dog", beside="."), places, "x", "a dog").key == key
    with pytest.raises(SampleFailed, match="is not there: no such file"):
        references.find(Wanted(key, "dog"), (), "x", "a dog")
    masked = Wanted(key, "dog", by_mask=True, mask=key)
    with pytest.raises(SampleFailed, match=r"the mask .* is not there"):
        references.find(masked, places, "x", "a dog")
    segment = records.Segment(
        1, "#0000ff", "a dog", masks.encode(numpy.ones((8, 8), bool)),
        references=[records.SegmentReference(key)],
    )  # fmt: skip
    layout = {"layout.json": records.dump(records.Layout(8, 8, "a park", [segment]))}
    request = Request("a park", sample=shards.Sample("s", layout))
    config = load("methods.generate", "multidiffusion").config_type(references=list(places))
    ((found,),) = layouts.wanted(config, request, request.sample.record(records.Layout))
    assert found.key == key
    assert load("methods.generate", "multidiffusion").named_files(config, request) == []


@pytest.mark.parametrize("key", KEYS)
def test_flags_and_rows_may_name_it(tmp_path, places, key):
    assert contents.of_files([key]) == "" == contents.of_files([key], (str(tmp_path), ""))
    table = tmp_path / "p.csv"
    table.write_text(f"prompt,reference,mask\na dog,{key},{key}\n,,\n")
    stage = load("methods.generate", "ssr").as_stage()
    config = stage.config_type(
        prompts=[str(table)], references=list(places), query_by="mask", device="cpu"
    )
    requests._READ.clear()
    assert stage.noted(config) == {}
    config = stage.config_type(prompt=["a dog"], reference=[key], references=list(places))
    assert "reference files" not in stage.facts(config)
    table.write_text(f"prompt,mask\na dog,{key}\n")
    config = stage.config_type(
        prompts=[str(table)], reference=[key], references=list(places), query_by="mask",
        mask=[key],
    )  # fmt: skip
    ((_, request),) = requests.entries(config, [key])
    assert request.references[0].mask == key


def test_a_folder_that_may_not_be_looked_into_is_still_an_error(monkeypatch):
    """That it is not there would be another thing."""

    def refused(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(contents.Path, "is_file", refused)
    with pytest.raises(PermissionError):
        contents.of_files(["a.jpg"])
