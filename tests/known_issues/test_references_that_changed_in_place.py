"""A reference picture that another one took the place of, or its mask, made no difference to a run
that was done already: the same command said that all was there, and kept the pictures of the old
one. Shards of references, regions, controls and scaffolds were looked into, single files were not.
And of several --query with --per-subject all subjects had the first."""

from __future__ import annotations

from pathlib import Path

import scenes
from parts import part

from socialcli import shards
from socialcli.generation import requests, sample_requests


def facts(method: str, **options) -> dict:
    stage = part("methods.generate", method).as_stage()
    requests._READ.clear()  # as in a process of its own
    return stage.facts(stage.config_type(**options))


def test_what_a_named_reference_holds_counts(tmp_path):
    file, mask = tmp_path / "me.jpg", tmp_path / "mask.png"
    file.write_bytes(b"one")
    mask.write_bytes(b"one")
    asked = {"prompt": ["make it winter"], "reference": [str(file)]}
    changed, masked = facts("instruct-pix2pix", **asked), {**asked, "query_by": "mask"}
    first = facts("ssr", mask=[str(mask)], **masked)
    mask.write_bytes(b"two")
    second = facts("ssr", mask=[str(mask)], **masked)
    assert first != second
    file.write_bytes(b"two")
    assert facts("ssr", mask=[str(mask)], **masked) != second
    assert facts("instruct-pix2pix", **asked) != changed


def test_runs_without_files_are_what_they_were(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for options in ({"prompt": ["a"], "reference": ["rex"]}, {"reference": ["rex"]}):
        assert "reference files" not in facts("ssr", **options)
    Path("rex").mkdir()
    assert "reference files" not in facts("ssr", reference=["rex"])


def test_each_subject_has_the_query_given_for_it(tmp_path):
    shards.write(tmp_path / "a.tar", [("a", scenes.members())])
    [sample] = shards.read(str(tmp_path / "a.tar"))
    config_type = part("methods.generate", "ssr").Config

    def queries(*given: str) -> list[str | None]:
        config = config_type(per_subject=True, query=list(given))
        return [one.query for one in sample_requests.of_sample(config, sample).references]

    assert queries("lady", "puppy", "phrases") == ["lady", "puppy", "a man"]
    assert queries("lady", "puppy") == ["lady", "puppy", "puppy"]
    assert queries("phrases") == ["A woman in red", "a small dog", "a man"]
