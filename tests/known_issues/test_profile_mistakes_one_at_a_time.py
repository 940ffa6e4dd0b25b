"""A profile with five mistakes told them one a run, and a table that no command has was never
told: ``[captions]`` was passed over in silence."""

from __future__ import annotations

import pytest

from socialcli.cli import profile_check, profiles
from socialcli.errors import Mistakes

FIVE = """
backend = "blip2"

[caption]
bakend = "blip2"
beams = "5"

[captions]
model = "x"

[train]
stepps = 3
threads = 2.5

[train.feedback]
learning-rate = 1
gate-gaze = ["0-200"]

[train.feedbak]
steps = 3

[ground]
backend = "grounding-dyno"
box-threshold = 1.5

[score]
metrics = "clip-t,dyno"
against = "sources"

[import.foldr]
hidden = true

[annotate-pose]
with = ["pose"]
face-threshold = "high"
"""
EXPECTED = [
    "backend = 'blip2' is in no table: put it under [",
    "[caption] has no option 'bakend'. Did you mean 'backend'?",
    "[caption] beams = '5': expected int",
    "[captions]: no command has such a table. Did you mean 'caption'? There are: ",
    "[train] has no option 'stepps'. Did you mean 'steps'?",
    "[train] threads = 2.5: expected int",
    "[train.feedback] gate-gaze = ['0-200']: expected str",
    "[train.feedbak]: train has no 'feedbak'. Did you mean 'feedback'? There are: ",
    "[ground] backend = 'grounding-dyno': Did you mean 'grounding-dino'? There are: ",
    "[ground] box-threshold = 1.5: expected a number from 0 to 1",
    "[score] metrics = 'clip-t,dyno': Did you mean 'dino'? There are: bystanders, clip-i, ",
    "[score] against = 'sources': Did you mean 'source'? There are: auto, source",
    "[import.foldr]: import has no 'foldr'. Did you mean 'folder'? There are: ",
    "[annotate-pose] with = ['pose']: expected str",
    "[annotate-pose] face-threshold = 'high': expected float",
]


def test_all_mistakes_are_told_at_once_whatever_the_command(run_cli, make_shards, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(FIVE)
    line = ["segment", make_shards(1, 1), "-o", tmp_path / "o", "--profile", file]
    done = run_cli(*line, code=2)
    lines = done.stderr.decode().splitlines()
    assert len(lines) == len(EXPECTED)
    for line, wanted in zip(lines, EXPECTED, strict=True):
        assert line.startswith(f"socialcli: error: {file}: {wanted}")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "text",
    [
        "[caption]\nbatch-size = 3\nbatch_size = 4\n",
        "[caption]\nbackend = {name = 'blip2'}\n",
        "[caption]\nbackend = 2026-01-01\n",
        "[inspect]\nsample = 3\n",
        "[[caption]]\nbackend = 'blip2'\n",
        "[caption.blip2]\nbackend = 'blip2'\n",
        "[import]\nhidden = 1\n",
        "[generate]\nsteps = true\n",
    ],
)
def test_other_members_of_the_kind(tmp_path, text):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    tables, path = profiles.load(str(file))
    with pytest.raises(Mistakes, match=r"mine\.toml: ") as error:
        profile_check.check(tables, path)
    assert len(error.value.lines) == 1


def test_what_is_right_passes(tmp_path):
    for name in profiles.names():
        profile_check.check(*profiles.load(name))
    file = tmp_path / "mine.toml"
    file.write_text("[train]\nflip = 1\n[annotate-pose]\nwith = 'pose'\nbatch_size = 2\n")
    profile_check.check(*profiles.load(str(file)))
