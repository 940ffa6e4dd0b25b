"""Runs that shared a cache took each other's latents though ``--variant`` gave them other weights:
`train --method feedback` did not name that option among those its features depend on. In one folder
DreamBooth took the class pictures that another copy of the weights had drawn."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from socialcli import registry
from socialcli.methods.train import _prior
from socialcli.records import Model
from socialcli.training import loop

CHOOSE = ("backend", "model", "revision", "variant")  # the copy of the weights that makes latents
METHODS = [  # those that keep some
    (command, name)
    for command in ("train", "invert")
    for name in registry.available(f"methods.{command}")
    if registry.load(f"methods.{command}", name).has("features")
]


def cache(command: str, name: str, **options: str) -> str:
    """The folder of a run's features, below that of its cache."""
    method = registry.load(f"methods.{command}", name)
    run = loop.Run.__new__(loop.Run)
    run.method, run.config = method, method.config_type(cache="shared", **options)
    run.identity = {"command": command, "method": name, "version": method.VERSION, "data": "same"}
    return str(run._cache())


@pytest.mark.parametrize(("command", "name"), METHODS)
def test_no_run_takes_the_features_of_other_weights(command, name):
    method = registry.load(f"methods.{command}", name)
    options = {field.name for field in dataclasses.fields(method.config_type)}
    usual = cache(command, name)
    assert cache(command, name, steps=7) == usual
    for option in options & set(CHOOSE):
        assert cache(command, name, **{option: "another"}) != usual, option


def test_class_pictures_are_those_of_the_copy_that_learns():
    config = SimpleNamespace(class_steps=25, class_guidance=7.5, seed=0, dtype="float32")

    def folder(**options: str) -> str:
        model = Model("stable-diffusion", "a/b", "1", "diffusion", options)
        return _prior._fingerprint(config, SimpleNamespace(model=model), 64, "a dog")

    assert len({folder(), folder(variant="fp16"), folder(variant="bf16")}) == 3
    assert folder() == "a9dcf7aa6ffe"  # those of earlier versions are found again
