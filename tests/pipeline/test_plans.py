"""Plans: which finished shards count as this run's, where outputs go, how many samples come."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import members, samples, tars
from parts import part

from socialcli import records, registry, shards
from socialcli.errors import SocialcliError, UsageError
from socialcli.pipeline import plan as planning
from socialcli.pipeline.plan import Plan, Stats, Task
from socialcli.pipeline.report import Report
from socialcli.pipeline.run import RunOptions, execute, planned, run_stage

GIVEN = {"backend": "given"}


def caption(source: Path | str, out: Path, config: dict[str, Any] = GIVEN, **options: Any) -> Stats:
    """`socialcli caption --backend given` in this process."""
    more = RunOptions(**{"quiet": True, "max_error_rate": 1.0, **options})
    return run_stage("stages", "caption", dict(config), [str(source)], str(out), more)


def stats(out: Path, name: str = "000") -> Path:
    return out / f"{name}.stats.json"


# -- which shards are finished --------------------------------------------------------------------


def test_shards_of_another_version_are_refused(make_shards, tmp_path, monkeypatch):
    folder, out = make_shards(1, 3), tmp_path / "out"
    caption(folder, out)
    with monkeypatch.context() as later:
        later.setattr(registry.load("stages", "caption"), "VERSION", 99)
        with pytest.raises(UsageError, match="version was 1, now 99"):
            caption(folder, out)
    with monkeypatch.context() as later:
        later.setattr(records, "SCHEMA_VERSION", 99)
        with pytest.raises(UsageError, match=r"schema was \d+, now 99"):
            caption(folder, out)
    with monkeypatch.context() as later:
        stage = registry.load("stages", "caption")
        later.setattr(stage, "facts", lambda config: {"weights": "other"}, raising=False)
        with pytest.raises(UsageError, match="weights was None, now 'other'"):
            caption(folder, out)
    assert caption(folder, out).skipped == 1


def test_a_limit_is_part_of_a_shard_that_it_cut(make_shards, tmp_path):
    folder, out = make_shards(3, 5), tmp_path / "out"
    caption(folder, out, limit=10)
    assert caption(folder, out).skipped == 2  # both were whole
    caption(folder, tmp_path / "cut", limit=7)
    with pytest.raises(UsageError, match="limit was 2, now None"):
        caption(folder, tmp_path / "cut")


def test_a_shard_of_another_name_is_another_input(make_shards, tmp_path):
    folder = make_shards(1, 3)
    shutil.copy2(folder / "000.tar", tmp_path / "other.tar")
    caption(folder / "000.tar", tmp_path / "out.tar")
    with pytest.raises(UsageError, match=r"input was '000\.tar', now 'other\.tar'"):
        caption(tmp_path / "other.tar", tmp_path / "out.tar")


def test_other_entries_are_refused(picture_folder, tmp_path):
    config = {"source": str(picture_folder(5))}

    def imported(size: int) -> Stats:
        options = RunOptions(quiet=True)
        return run_stage("importers", "folder", config, [], str(tmp_path / "in"), options, size)

    imported(3)
    assert imported(3).skipped == 2
    with pytest.raises(UsageError, match="entries was '0:3', now '0:4'"):
        imported(4)


def test_a_cut_shard_is_not_read_again_because_it_was_copied(make_shards, tmp_path):
    """Its checksum is of what was read, which was not all."""
    folder, out = make_shards(1, 40), tmp_path / "out"
    caption(folder, out, limit=3)
    os.utime(folder / "000.tar", ns=(1, 1))
    assert caption(folder, out, limit=3).skipped == 1


@pytest.mark.parametrize("text", ['{"counts": {"tot', "[]", "", "null"])
def test_stats_that_are_none_say_unfinished(make_shards, tmp_path, text):
    """As a power cut leaves them, or somebody's editor."""
    folder, out = make_shards(1, 3), tmp_path / "out"
    caption(folder, out)
    whole = tars(out)
    stats(out).write_text(text)
    assert caption(folder, out).counts["ok"] == 3
    assert tars(out) == whole and json.loads(stats(out).read_text())["counts"]["ok"] == 3


def test_failures_of_finished_shards_count_again(tmp_path):
    """The same command ends the same way, whether it did the work or found it done."""
    rows = samples(0, 4)
    del rows[1][1]["txt"]
    shards.write(tmp_path / "000.tar", rows)
    for _ in range(2):
        with pytest.raises(SocialcliError, match=r"25\.0% of the samples failed"):
            caption(tmp_path / "000.tar", tmp_path / "out", max_error_rate=0.2)
    totals = caption(tmp_path / "000.tar", tmp_path / "out", max_error_rate=0.25)  # not more
    assert totals.skipped == 1 and totals.counts["failed"] == 1


def test_damage_counts_as_an_error(tmp_path):
    shards.write(tmp_path / "000.tar", samples(0, 4))
    data = (tmp_path / "000.tar").read_bytes()
    where = data.find(b"00002.jpg")
    (tmp_path / "000.tar").write_bytes(data[:where] + b"XXXXX.jpg" + data[where + 9 :])
    with pytest.raises(SocialcliError, match="of the samples failed"):
        caption(tmp_path / "000.tar", tmp_path / "out", max_error_rate=0.1)
    counts = json.loads(stats(tmp_path / "out").read_text())["counts"]
    assert (counts["failed"], counts["damaged"]) == (0, 1)


# -- where outputs go -----------------------------------------------------------------------------


def test_an_input_is_not_written_over_under_another_name(make_shards, tmp_path):
    folder = make_shards(1, 3)
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "side").mkdir()
    shutil.copy(folder / "000.tar", tmp_path / "side" / "000.tar")
    before = tars(folder)
    for source in (folder, f"{tmp_path}/side/+{folder}/"):
        with pytest.raises(UsageError, match="is also an input"):
            caption(source, tmp_path / "link")
    with pytest.raises(UsageError, match="is also an input"):
        caption(f"{tmp_path}/side/+{folder}/", folder)
    assert tars(folder) == before


def test_a_remote_input_is_not_written_over():
    """Also where it is the second of two that are joined."""
    join = "memory://bucket/a/0.tar+memory://bucket/b/0.tar"
    for output in ("memory://bucket/a", "memory://bucket/b/"):
        with pytest.raises(UsageError, match="is also an input"):
            planning.targets([join], output)
    assert planning.targets([join], "memory://bucket/c") == ["memory://bucket/c/0.tar"]


def test_entries_that_fill_one_shard_keep_its_name():
    def tasks(count: int, size: int, output: str) -> list[tuple[str, str]]:
        return [(t.source, t.target) for t in planning.entry_tasks(count, size, output)]

    assert tasks(10, 10, "x.tar") == [("0:10", "x.tar")]
    assert tasks(11, 10, "x.tar") == [("0:10", "x-000000.tar"), ("10:11", "x-000001.tar")]
    assert tasks(3, 2, "out/") == [("0:2", "out/000000.tar"), ("2:3", "out/000001.tar")]
    assert tasks(3, 2, "x-%03d.tar") == [("0:2", "x-000.tar"), ("2:3", "x-001.tar")]


def test_a_limit_counts_what_is_made_and_not_what_is_read(make_shards, tmp_path):
    folder = make_shards(3, 5)
    tasks = [Task(n, str(folder / f"{n:03d}.tar"), f"{n}.tar") for n in range(3)]

    def limits(limit: int | None, each: int) -> list[int | None]:
        def results(source: str) -> list[str]:
            return [key for key in shards.scan(source) for _ in range(each)]

        return [task.limit for task in planning.limited(tasks, limit, results)]

    assert limits(None, 2) == [None, None, None]
    assert limits(7, 2) == [7]
    assert limits(10, 2) == [None]
    assert limits(24, 2) == [None, None, 4]
    assert limits(99, 2) == [None, None, None]
    assert limits(7, 1) == [None, 2]
    last = Task(2, "-", "stdin.tar")
    piped = planning.limited([*tasks[:2], last], 12)
    assert [task.limit for task in piped] == [None, None, 2]
    assert planning.limited([*tasks[:2], last], 10) == tasks[:2]
    with pytest.raises(UsageError, match="give - as the last input"):  # or the others are left out
        planning.limited([last, *tasks[:2]], 12)
    of, out = RunOptions(quiet=True, limit=24), tmp_path / "captions"
    caption(folder, out)
    two = vars(part("methods.generate", "text").config_type(per_prompt=2))
    run = planned("methods.generate", "text", two, [str(out)], "out", of)
    assert [task.limit for task in run.tasks] == [None, None, 4]
    run = planned("methods.generate", "text", two, [str(folder)], "out", of)
    assert [task.limit for task in run.tasks] == [None, None, None]  # no captions: one failure each


# -- how many samples will come -------------------------------------------------------------------


def test_as_many_samples_are_expected_as_come(make_shards, picture_folder, tmp_path, monkeypatch):
    """With stats of an earlier stage beside the input, without, limited, and where nobody knows."""
    from socialcli.errors import SampleFiltered

    stage = part("stages", "caption")
    prepare = stage.prepare

    def some(config: Any, sample: shards.Sample) -> Any:
        if sample.key == "00003":
            raise SampleFiltered("a drawing")
        return prepare(config, sample)

    folder, out = make_shards(2, 5), tmp_path / "out"
    with monkeypatch.context() as here:
        here.setattr(stage, "prepare", some)
        caption(folder, out)
    assert [len(members(out / f"{n:03d}.tar")) for n in (0, 1)] == [4, 5]

    def expected(source: object, config: dict[str, Any] = GIVEN, **options: Any) -> int | None:
        of = RunOptions(quiet=True, **options)
        run = planned("stages", "caption", config, [str(source)], str(tmp_path / "next"), of)
        return planning.expected(run, list(run.tasks))

    assert expected(folder) == 10 and expected(out) == 9
    assert expected(folder, limit=7) == 7 and expected(out, limit=3) == 3
    with monkeypatch.context() as here:
        here.setattr(stage, "each", lambda config: 3)
        assert expected(folder) == 30 and expected(out) == 27
    entries = planned("importers", "folder", {"source": str(picture_folder(5))}, [],
                      str(tmp_path / "in"), RunOptions(quiet=True), 2)  # fmt: skip
    assert planning.expected(entries, list(entries.tasks)) == 5
    assert planning.samples([str(folder / "000.tar"), str(out / "000.tar")]) == 9
    assert planning.samples([str(folder / "000.tar")], limit=3) == 3
    monkeypatch.setattr(planning, "SCANNED", (folder / "000.tar").stat().st_size)
    assert expected(folder) is None and expected(out) == 9
    assert planning.samples([str(folder / "000.tar")]) == 5
    assert planning.samples([str(folder / f"{n:03d}.tar") for n in (0, 1)]) is None
    assert planning.samples(["-"]) is None


def test_a_dry_run_asks_the_stats_and_not_the_shards(make_shards, tmp_path, capsys, monkeypatch):
    folder, out = make_shards(2, 5), tmp_path / "out"
    caption(folder, out)

    def shown(source: Path, **options: Any) -> str:
        caption(source, tmp_path / "next", dry_run=True, **options)
        return capsys.readouterr().out

    lines = shown(out)
    scan, scanned = shards.scan, []
    monkeypatch.setattr(shards, "scan", lambda place: scanned.append(place) or scan(place))
    assert shown(out) == lines and lines.count(", 5 samples)") == 2 and "samples: 10," in lines
    assert "000.tar" in shown(out, limit=3) and "001.tar" not in shown(out, limit=3)
    assert scanned == []
    stats(out, "001").unlink()  # of that one the headers are read
    assert shown(out) == lines and scanned == [str(out / "001.tar")]


def test_a_device_is_looked_for_where_the_run_is(make_shards, tmp_path):
    """A plan for other machines may name a device that this one lacks."""
    folder = make_shards(1, 1)

    def plan(engine: str) -> Plan:
        options = RunOptions(quiet=True, engine=engine)
        config = {**GIVEN, "device": "cuda:99"}
        return planned("stages", "caption", config, [str(folder)], str(tmp_path / "o"), options)

    with pytest.raises(UsageError, match="cuda"):
        plan("local")
    assert plan("slurm").config["device"] == "cuda:99"


@pytest.mark.parametrize("pair", ["partition", "=gpu", ""])
def test_engine_options_are_pairs(make_shards, tmp_path, pair):
    with pytest.raises(UsageError, match="expected KEY=VALUE"):
        caption(make_shards(1, 1), tmp_path / "o", engine_option=[pair])
    assert not (tmp_path / "o").exists()


def test_no_archive_is_written_to_a_terminal(make_shards, monkeypatch):
    import sys

    folder = make_shards(1, 1)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    of = RunOptions(quiet=True)
    with pytest.raises(UsageError, match="writes an archive to stdout"):
        planned("stages", "caption", GIVEN, [str(folder)], "-", of)
    of = RunOptions(quiet=True, dry_run=True)
    assert planned("stages", "caption", GIVEN, [str(folder)], "-", of).tasks[0].target == "-"


def test_imports_of_nothing_and_of_a_few(picture_folder, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()

    def sources(source: Path, size: int = 2, **options: Any) -> list[str]:
        of = RunOptions(quiet=True, **options)
        plan = planned("importers", "folder", {"source": str(source)}, [], str(tmp_path / "o"), of,
                       size)  # fmt: skip
        return [task.source for task in plan.tasks]

    folder = picture_folder(5)
    assert sources(folder) == ["0:2", "2:4", "4:5"]
    assert sources(folder, limit=3) == ["0:2", "2:3"]
    assert sources(folder, limit=99) == ["0:2", "2:4", "4:5"]
    with pytest.raises(UsageError, match="--shard-size 0: at least 1"):
        sources(folder, 0)
    with pytest.raises(UsageError, match="no pictures"):
        sources(tmp_path / "empty")
    monkeypatch.setattr(part("importers", "folder"), "entries", lambda config: [])
    with pytest.raises(UsageError, match="pictures: nothing to import there"):
        sources(folder)


# -- what is said ---------------------------------------------------------------------------------


def test_the_bar_ends_where_the_run_does(make_shards, tmp_path, monkeypatch):
    """Also where it ends badly: what is said then is not written into the bar."""
    folder = make_shards(2, 2)
    run = planned("stages", "caption", GIVEN, [str(folder)], str(tmp_path / "o"), RunOptions())
    (folder / "001.tar").unlink()
    calls = []
    report = Report(quiet=True)
    monkeypatch.setattr(report, "start", lambda *of: calls.append("start"))
    monkeypatch.setattr(report, "finish", lambda: calls.append("finish"))
    with pytest.raises(SocialcliError, match=r"001\.tar"):
        execute(run, "local", {}, report)
    assert calls == ["start", "finish"]


def test_remarks_of_a_stage_are_said_before_the_run(make_shards, tmp_path, monkeypatch, capsys):
    stage = registry.load("stages", "caption")
    monkeypatch.setattr(type(stage), "remarks", ("these captions are of 2014",))
    caption(make_shards(1, 2), tmp_path / "o", dry_run=True)
    assert "warning: these captions are of 2014" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


# -- what files hold ------------------------------------------------------------------------------


def test_finished_runs_know_files_by_the_words_of_before(tmp_path):
    """An option's files, and the many beside an import's pictures, by the CRC-32 of zip files."""
    from socialcli.importers import _stage

    files = [tmp_path / f"{n}.txt" for n in range(7)]
    for number, file in enumerate(files[:5]):
        file.write_text("" if number == 4 else f"hello {number}\n" * 9)
    os.mkfifo(files[5])  # of many files one that cannot be read is its sample's affair
    crcs = ["c4ff2877", "38cd0cdb", "e7ea676e", "1bd843c2", "00000000"]
    words = [f"{file.name} (crc32 {crc})" for file, crc in zip(files, crcs, strict=False)]
    assert planning.held([str(file) for file in files[:5]]) == ", ".join(words)
    assert planning.held([str(files[6]), str(tmp_path)]) == f"{files[6]}, {tmp_path}"
    with pytest.raises(UsageError, match="not a plain file"):
        planning.held(str(files[5]))
    assert _stage._held(files[:4]) == ", ".join(words[:4])
    assert _stage._held(files) == "7 files (crc32 4eabf5b5)"
