"""A training that had done more steps than the ``--steps`` it was started again with gave the
result of all of them, finished or not, and with ``--quiet`` not a word: run.json said the fewer."""

from __future__ import annotations

import toy_method
from conftest import samples

from socialcli import shards


def test_that_the_result_is_of_more_steps_is_said(tmp_path, capsys):
    shards.write(tmp_path / "data.tar", samples(0, 6))
    data, out = [str(tmp_path / "data.tar")], tmp_path / "out"
    toy_method.train(out, data, steps=6)
    assert capsys.readouterr().err == ""
    said = f"warning: {out} has done 6 steps, more than --steps 4: its result is of 6\n"
    toy_method.train(out, data, steps=4)  # it is finished
    assert capsys.readouterr().err == said
    (out / "run.json").unlink()
    toy_method.train(out, data, steps=4)
    assert capsys.readouterr().err == said
