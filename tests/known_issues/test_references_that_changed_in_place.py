"""A reference picture that another one took the place of, or its mask, made no difference to a run
that was done already: the same command said that all was there, and kept the pictures of the old
one, whether a flag names it or a row of a prompt file. Shards of references, regions, controls and
scaffolds were looked into, single files were not. And of several --query with --per-subject all
subjects had the first."""

from __future__ import annotations

from pathlib import Path

import scenes
from parts import part

from socialcli import shards
from socialcli.generation import requests, sample_requests
from socialcli.pipeline import plan as planning
from socialcli.pipeline import run
from socialcli.pipeline.run import RunOptions


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


def planned(config, out, **how) -> planning.Plan:
    requests._READ.clear()  # as in a process of its own
    return run.planned("methods.generate", "ssr", config, [], str(out), RunOptions(**how))


def test_what_the_files_of_rows_hold_counts(tmp_path):
    """Also the mask of a row, and a file beside the table; where they lie does not."""
    for name, column in (("me.jpg", "reference"), ("mask.png", "mask")):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        table, file, out = folder / "p.csv", folder / name, folder / "out"
        rows = f"prompt,reference,{column}\na dog,rex,{name}\n"
        table.write_text(rows if column == "mask" else f"prompt,reference\na dog,{name}\n")
        config = vars(part("methods.generate", "ssr").Config(prompts=[str(table)]))

        def identity(config=config, out=out, **how):
            plan = planned(config, out, **how)
            return plan, planning.identity(plan, plan.tasks[0])

        _, none = identity()
        file.write_bytes(b"one")
        _, first = identity()
        assert identity()[1] == first
        file.write_bytes(b"two")
        plan, second = identity()
        assert not planning.agree(plan, first, second)
        assert "files that rows name was 'crc32 " in planning.difference(first, second)
        # A file that was missing mends its rows; runs of earlier versions noted none.
        mending, _ = identity(retry_failed=True)
        assert planning.agree(mending, first, second) and planning.agree(plan, none, second)
        moved = folder / "moved"
        moved.mkdir()
        for one in (table, file):
            one.rename(moved / one.name)
        _, elsewhere = identity({**config, "prompts": [str(moved / "p.csv")]})
        assert elsewhere == second


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


def test_reference_shards_of_a_pattern_count(tmp_path):
    """A glob, a range and a join were told by their names, and so they are in earlier runs."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shards.write(tmp_path / name / "0.tar", [("k", {"txt": b"one"})])
    for place in ("a/*.tar", "a/{0..0}.tar", "a/+b/", "a/0.tar+b/0.tar"):
        named = "+".join(f"{tmp_path}/{part}" for part in place.split("+"))
        own = {"prompt": ["a"], "reference": ["k"], "references": [named]}
        config = vars(part("methods.generate", "ssr").Config(**own))

        def identity(config=config, **how):
            plan = planned(config, tmp_path / "out", **how)
            return plan, planning.identity(plan, plan.tasks[0])

        changed = tmp_path / place.split("+")[-1][0] / "0.tar"
        _, first = identity()
        assert identity()[1] == first
        shards.write(changed, [("k", {"txt": b"two"})])
        plan, second = identity()
        assert not planning.agree(plan, first, second)
        assert "shards of references was 'crc32 " in planning.difference(first, second)
        earlier = {name: fact for name, fact in first.items() if name != "shards of references"}
        assert planning.agree(plan, earlier, second)
        shards.write(changed, [("k", {"txt": b"one"})])
    for place in (str(tmp_path / "a"), str(tmp_path / "a" / "0.tar"), str(tmp_path / "x*.tar"),
                  "s3://bucket/{0..1}.tar"):  # fmt: skip
        own = {"prompt": ["a"], "reference": ["k"], "references": [place]}
        plan = planned(vars(part("methods.generate", "ssr").Config(**own)), tmp_path / "out")
        assert plan.noted == {}
