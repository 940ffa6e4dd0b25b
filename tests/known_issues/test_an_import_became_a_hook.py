"""A method was a module, and an import called ``plain`` in it became a hook: every picture failed.

A misspelt optional hook was never called, and nothing said so. A part is a class now: a helper or
an import of its module is no hook, and a public name that its base does not have is an error.
"""

from __future__ import annotations

import pytest

from socialcli.generation.method import GenerateMethod


def hooks() -> dict:
    names = ("models", "load", "embed", "condition")
    return {name: lambda self, *a: None for name in names} | {"config_type": object}


def test_a_helper_of_the_module_is_no_hook() -> None:
    method = type("Method", (GenerateMethod,), hooks())()
    assert method.plain(None, None, "a dog") is None


def test_a_misspelt_hook_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Method.plian is no hook .*Did you mean 'plain'"):
        type("Method", (GenerateMethod,), {**hooks(), "plian": lambda self: None})
