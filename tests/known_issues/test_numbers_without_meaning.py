"""``--limit 0`` and negative counts ran, did nothing or something else, and ended with 0.

Each command had its own checks, and most options none. Bounds now stand where the option is
declared, and hold for flags and for profiles.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import typing

import pytest
from conftest import samples

from socialcli import registry, shards
from socialcli.cli import profile_check, profiles
from socialcli.config import beyond, check_bounds, option
from socialcli.errors import Mistakes, UsageError
from socialcli.evaluation.run import Options
from socialcli.pipeline.run import RunOptions

FREE = {"mask_threshold", "subject_scale", "scale"}  # any number has a meaning there


def configs() -> dict[str, type]:
    by_command = {f"{c} {m or ''}": kind for (c, m), kind in profile_check.config_types().items()}
    return {**by_command, "running": RunOptions, "scoring": Options}


def numbers(config: type) -> list[dataclasses.Field]:
    hints = typing.get_type_hints(config)
    return [
        field
        for field in dataclasses.fields(config)
        if {int, float} & {hints[field.name], *typing.get_args(hints[field.name])}
        and field.name not in FREE
    ]


def test_every_number_has_bounds_and_its_default_keeps_them():
    seen = 0
    for name, config in configs().items():
        for field in numbers(config):
            seen += 1
            assert beyond(field.metadata, -1) or beyond(field.metadata, -1.5), (name, field.name)
            assert beyond(field.metadata, math.nan) and beyond(field.metadata, math.inf)
            assert not beyond(field.metadata, field.default), (name, field.name)
    assert seen > 100


def test_flags_and_profiles_are_held_to_them(tmp_path):
    for command, name in (("ground", "nms"), ("segment", "prompts"), ("score", "box_threshold")):
        config = dict(profile_check.config_types())[command, None]
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} -1: "):
            profiles.values(None, command, config, {name: -1})
    (tmp_path / "p.toml").write_text(
        "[caption]\nbeams = 0\ntemperature = nan\n[train]\nsteps = -3\n[train.feedback]\nflip = 2\n"
    )
    with pytest.raises(Mistakes) as error:
        config = registry.load("stages", "caption").config_type
        profiles.values(str(tmp_path / "p.toml"), "caption", config, {})
    for line in (
        "[caption] beams = 0: at least 1",
        "temperature = nan: expected a finite number",
        "[train] steps = -3: at least 1",
        "flip = 2: expected a number from 0 to 1",
    ):
        assert line in str(error.value), str(error.value)


def test_every_bound_says_what_it_wants():
    @dataclasses.dataclass
    class Config:
        low: int = option(1, "", at_least=1)
        share: float = option(0.5, "", at_least=0, at_most=1)
        rate: float = option(0.1, "", above=0)
        many: list[float] = option([], "", at_least=0)
        most: float = option(0.1, "", at_most=1)
        part: float = option(0.1, "", above=0, at_most=1)

    for values, line in (
        ({"low": 0}, "--low 0: at least 1"),
        ({"share": 1.5}, "--share 1.5: expected a number from 0 to 1"),
        ({"rate": 0.0}, "--rate 0.0: above 0"),
        ({"share": -0.1}, "--share -0.1: expected a number from 0 to 1"),
        ({"many": [1.0, -1.0]}, r"--many 1.0, -1.0: at least 0"),
        ({"most": 1.1}, "--most 1.1: at most 1"),
        ({"part": 0}, "--part 0: above 0"),
        ({"part": 1.1}, "--part 1.1: at most 1"),
    ):
        with pytest.raises(UsageError, match=line):
            check_bounds(Config, values)
    check_bounds(Config, {"low": 1, "share": 1, "rate": 1e-9, "many": [0.0], "more": -1})
    check_bounds(Config, {"share": 0, "most": 1, "part": 1, "many": [], "rate": True})


def test_commands_that_declare_their_own_numbers_bound_them():
    """Those flags are no fields: Typer checks them."""
    for name in ("inspect", "validate", "export", "compare"):
        module = __import__(f"socialcli.cli.commands.{name}", fromlist=["command"])
        for parameter in inspect.signature(module.command, eval_str=True).parameters.values():
            kind, *extra = typing.get_args(parameter.annotation) or (parameter.annotation,)
            if {int, float} & {kind, *typing.get_args(kind)}:
                assert extra[0].min is not None, (name, parameter.name)


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_a_limit_of_nothing_is_a_usage_error_everywhere(tmp_path, run_cli, limit):
    shards.write(tmp_path / "a.tar", samples(0, 2))
    (tmp_path / "p.txt").write_text("a dog\n")
    a = tmp_path / "a.tar"
    for command in (
        ["caption", a, "-o", tmp_path / "o"],
        ["import", "world", "test", "-o", tmp_path / "o"],
        ["generate", tmp_path / "p.txt", "-o", tmp_path / "o", "--profile", "mini"],
        ["score", a, "-o", tmp_path / "o"],
        ["inspect", a],
        ["validate", a],
        ["export", a, "-o", "-"],
        ["compare", a, a],
    ):
        done = run_cli(*command, "--limit", limit, code=2)
        assert b"--limit" in done.stderr, (command, done.stderr)
    assert not (tmp_path / "o").exists()
