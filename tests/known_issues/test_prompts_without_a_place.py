"""`train --method custom-diffusion --prompt "a cat" --validate-every 100` trained a hundred steps
and then ended because the prompt has no ``{}``, before the step's checkpoint: so it did every time.
DreamBooth and `invert` refuse such a prompt before a model is loaded."""

from __future__ import annotations

import dataclasses

import pytest

from socialcli import registry
from socialcli.errors import UsageError

FREE = "text-to-image"  # draws prompts as they are


def has_prompt(command: str, name: str) -> bool:
    config = registry.load(f"methods.{command}", name).config_type
    return name != FREE and "prompt" in {field.name for field in dataclasses.fields(config)}


METHODS = [
    (command, name)
    for command in ("train", "invert")
    for name in registry.available(f"methods.{command}")
    if has_prompt(command, name)
]


@pytest.mark.parametrize(("command", "name"), METHODS)
def test_a_prompt_of_validation_says_where_the_word_goes(command, name):
    method = registry.load(f"methods.{command}", name)
    needed = {"names": "mini"} if name == "celeb-basis" else {}
    method.check_options(method.config_type(prompt=["a {} in snow"], **needed))
    with pytest.raises(UsageError, match=r"--prompt 'a cat': write \{\} where the "):
        method.check_options(method.config_type(prompt=["a {}", "a cat"], **needed))
