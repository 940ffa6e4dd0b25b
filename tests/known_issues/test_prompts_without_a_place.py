"""`train --method custom-diffusion --prompt "a cat" --validate-every 100` trained a hundred steps
and then ended because the prompt has no ``{}``, before the step's checkpoint: so it did every time.
DreamBooth and `invert` refuse such a prompt before a model is loaded."""

from __future__ import annotations

import dataclasses

import pytest

from socialcli import registry
from socialcli.errors import UsageError

METHODS = [(c, n) for c in ("train", "invert") for n in registry.available(f"methods.{c}")]
FREE = "text-to-image"  # draws prompts as they are


@pytest.mark.parametrize(("command", "name"), METHODS)
def test_a_prompt_of_validation_says_where_the_word_goes(command, name):
    method = registry.load(f"methods.{command}", name)
    if "prompt" not in {f.name for f in dataclasses.fields(method.config_type)} or name == FREE:
        pytest.skip("it draws other texts")
    needed = {"names": "mini"} if name == "celeb-basis" else {}
    method.check_options(method.config_type(prompt=["a {} in snow"], **needed))
    with pytest.raises(UsageError, match=r"--prompt 'a cat': write \{\} where the "):
        method.check_options(method.config_type(prompt=["a {}", "a cat"], **needed))
