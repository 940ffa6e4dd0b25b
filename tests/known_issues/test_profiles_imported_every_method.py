"""The check of a profile imported every stage, importer and method and made a model of all their
options, whatever the profile held: 1.4 of the 2.7 processor seconds of a small ``generate``."""

from __future__ import annotations

import dataclasses
import typing

from socialcli import registry
from socialcli.cli import profile_check, profiles


def test_only_what_the_profile_has_a_table_for_is_imported(tmp_path, monkeypatch):
    load, asked = registry.load, set()
    monkeypatch.setattr(registry, "load", lambda *part: asked.add(part) or load(*part))
    file = tmp_path / "mine.toml"
    file.write_text("[caption]\nbeams = 2\n[train.feedback]\nsteps = 3\n")
    profile_check.check(*profiles.load(str(file)))
    assert {("stages", "caption"), ("methods.train", "feedback")} <= asked
    rest = {kind for kind, _ in asked - {("stages", "caption"), ("methods.train", "feedback")}}
    assert rest <= {"feedbacks"}  # whose options that method has
    file.write_text("[train]\nsteps = 3\n")  # for every method that has it
    profile_check.check(*profiles.load(str(file)))
    assert {("methods.train", name) for name in registry.available("methods.train")} <= asked
    assert not {kind for kind, _ in asked} & {"importers", "methods.generate"}


def test_the_types_of_some_options_are_those_of_all():
    for config_type in profile_check.config_types().values():
        names = [field.name for field in dataclasses.fields(config_type)]
        every = typing.get_type_hints(config_type)
        assert profile_check._hints(config_type, names) == {name: every[name] for name in names}
        assert list(profile_check._hints(config_type, [*names[-1:], "none-such"])) == names[-1:]
