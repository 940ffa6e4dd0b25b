"""Profiles: defaults, then the file, then the flags."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path

import pytest

from socialcli import registry
from socialcli.cli import profiles
from socialcli.config import MISSING, option
from socialcli.errors import UsageError


@dataclass
class Config:
    model: str | None = option(None, "")
    beams: int = option(5, "")
    nucleus: float = option(0.0, "")
    keep: bool = option(False, "")
    with_: list[str] = option([], "")


def write(folder: Path, text: str) -> str:
    file = folder / "mine.toml"
    file.write_text(text)
    return str(file)


def test_precedence(tmp_path):
    file = write(
        tmp_path, "[caption]\nbeams = 3\nnucleus = 1\nwith = ['a']\n[segment]\nbackend = 'sam'\n"
    )
    assert profiles.values(None, "caption", Config, {})["beams"] == 5
    values = profiles.values(file, "caption", Config, {})
    assert values == {"model": None, "beams": 3, "nucleus": 1.0, "keep": False, "with_": ["a"]}
    assert isinstance(values["nucleus"], float)
    assert profiles.values(file, "caption", Config, {"beams": 7, "keep": True})["beams"] == 7
    file = write(tmp_path, "[segment]\nbackend = 'sam'\n")
    assert profiles.values(file, "ground", Config, {})["beams"] == 5  # no table for it


def test_a_model_beside_the_profile(tmp_path):
    (tmp_path / "tiny").mkdir()
    file = write(tmp_path, '[caption]\nmodel = "tiny"\n')
    assert profiles.values(file, "caption", Config, {})["model"] == str(tmp_path / "tiny")
    file = write(tmp_path, '[caption]\nmodel = "org/name"\n')
    assert profiles.values(file, "caption", Config, {})["model"] == "org/name"
    file = write(tmp_path, '[caption]\nmodel = "../gone/model"\n')  # said as a whole path
    assert profiles.values(file, "caption", Config, {})["model"] == str(
        tmp_path.parent / "gone/model"
    )


@pytest.mark.parametrize(
    "text, word",
    [
        ("[caption]\nbeans = 3\n", "no option 'beans'. Did you mean 'beams'"),
        ("[caption]\nbeams = '3'\n", "beams = '3': expected int"),
        ("[caption]\nbeams = true\n", "expected int"),
        ("[caption]\nkeep = 1\n", "expected bool"),
        ("[caption]\nmodel = 3\n", "expected str"),
        ("[caption\n", "mine.toml"),
    ],
)
def test_mistakes_name_the_file_and_the_key(tmp_path, text, word):
    with pytest.raises(UsageError, match=word) as error:
        profiles.values(write(tmp_path, text), "caption", Config, {})
    assert "mine.toml" in str(error.value)


def test_no_such_profile_lists_those_there_are(tmp_path):
    for name in ("nothing", str(tmp_path / "nothing.toml"), "../../etc/passwd"):
        with pytest.raises(UsageError, match=r"There are: .*offline"):
            profiles.load(name)


def test_required_options_are_asked_for():
    @dataclass
    class Needs:
        source: str = option(MISSING, "")

    with pytest.raises(UsageError, match="--source is required"):
        profiles.values(None, "import folder", Needs, {})

    @dataclass
    class Keyword:
        with_: str = option(MISSING, "")

    with pytest.raises(UsageError, match="--with is required"):
        profiles.values(None, "import folder", Keyword, {})


def test_named_profiles_from_a_folder_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "mini.toml").write_text("[caption]\nbeams = 2\n")
    monkeypatch.setenv("SOCIALCLI_PROFILES", str(tmp_path))
    assert profiles.names()["mini"] == tmp_path / "mini.toml"
    assert profiles.values("mini", "caption", Config, {})["beams"] == 2


@pytest.mark.parametrize("name", sorted(profiles.names()))
def test_the_profiles_that_come_along_fit_their_stages(name):
    tables, _ = profiles.load(name)
    for command in tables:
        if command in ("train", "invert", "generate", "score"):
            continue  # their options come with their own work
        config_type = registry.load("stages", command).config_type
        values = profiles.values(name, command, config_type, {})
        assert set(values) == {f.name for f in dataclasses.fields(config_type)}
        assert typing.get_type_hints(config_type)


def test_flags_override_the_profile_on_the_command_line(run_cli, make_shards, tmp_path):
    folder = make_shards(1, 2)
    file = write(tmp_path, "[caption]\nbackend = 'given'\nbeams = 2\nkeep-existing = true\n")
    done = run_cli("caption", folder, "-o", tmp_path / "o", "--profile", file, "--dry-run")
    text = done.stdout.decode()
    assert "--backend given" in text and "--beams 2" in text and "--keep-existing True" in text
    flags = ("--beams", "4", "--no-keep-existing")
    done = run_cli("caption", folder, "-o", tmp_path / "o", "--profile", file, "--dry-run", *flags)
    text = done.stdout.decode()
    assert "--beams 4" in text and "--keep-existing False" in text
    done = run_cli("caption", folder, "-o", tmp_path / "o", "--profile", "none-such", code=2)
    assert b"no such profile" in done.stderr


def test_a_method_has_a_table_of_its_own(tmp_path):
    text = "[train]\nsteps = 7\nflip = 1\n[train.feedback]\nfeedback = 'gaze'\nsteps = 9\n"
    file = write(tmp_path, text)  # a method that is named like one of its options
    feedback = registry.load("methods.train", "feedback").config_type
    values = profiles.values(file, "train", feedback, {}, "feedback")
    assert values["steps"] == 9 and values["feedback"] == "gaze" and values["flip"] == 1.0
    other = registry.load("methods.train", "text-to-image").config_type
    assert profiles.values(file, "train", other, {}, "text-to-image")["steps"] == 7
    bad = write(tmp_path, "[train.feedback]\nfeedbak = 'gaze'\n")
    with pytest.raises(UsageError, match=r"no option 'feedbak'\. Did you mean 'feedback'"):
        profiles.values(bad, "train", feedback, {}, "feedback")


def test_an_importer_has_one_too(run_cli, picture_folder, tmp_path):
    pictures = picture_folder(1)
    (pictures / "000.jpg").rename(pictures / ".hidden.jpg")
    line = ["import", "folder", pictures, "-o", tmp_path / "o"]
    assert b"no pictures" in run_cli(*line, code=2).stderr
    run_cli(*line, "--profile", write(tmp_path, "[import.folder]\nhidden = true\n"))
    run_cli(*line, "--overwrite", "--profile", write(tmp_path, "[import]\nhidden = true\n"))
