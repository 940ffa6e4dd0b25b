"""`inspect` printed the size of the archives and its page that of the members in them, both without
a word: 3.64 MB here, 2.25 MB there."""

from __future__ import annotations

import scenes
from typer.testing import CliRunner

from socialcli import shards
from socialcli.cli import app
from socialcli.reports.page import human


def test_the_page_says_the_size_that_the_table_says(tmp_path):
    shards.write(tmp_path / "a.tar", [(f"k{n}", scenes.members(n)) for n in range(3)])
    out = tmp_path / "out"
    done = CliRunner().invoke(app.app, ["inspect", str(tmp_path / "a.tar"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    line = done.stdout.splitlines()[0]
    members = sum(len(data) for n in range(3) for data in scenes.members(n).values())
    archive = (tmp_path / "a.tar").stat().st_size
    assert line == f"3 samples in 1 shard, {human(archive)} (members: {human(members)})"
    assert f"<p>{line}</p>" in (out / "index.html").read_text()
