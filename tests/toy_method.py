"""A method of training small enough to be started hundreds of times, and a script that runs it.

It fits a small network to pictures' pixels; it has dropout, features, two losses of which one is
mostly silent, augmentation, and samples that fail. As a script: ``toy_method.py OUTPUT SHARDS
[name=value ...]`` trains it as the command line would.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace

from socialcli.config import option
from socialcli.errors import SampleFailed
from socialcli.training.method import TrainMethod
from socialcli.training.options import TrainingOptions


@dataclass
class Config(TrainingOptions):
    width: int = option(16, "Hidden units.")
    broken: str = option("", "Key of a sample whose loss is no number.", affects_result=False)
    unusable: str = option("", "Keys of samples that cannot be prepared.")
    model: str = option("", "A file that is not read.")
    wait: float = option(0.0, "Seconds that each micro-batch takes.", affects_result=False)
    gate: str = option("", "A file that the last step waits for.", affects_result=False)


def load(config, place):
    from torch import nn

    if os.environ.get("LOADED"):
        open(os.environ["LOADED"], "w").close()
    network = nn.Sequential(
        nn.Linear(12, config.width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(config.width, 12)
    )
    return SimpleNamespace(
        config=config, place=place, network=network.to(place.device), prepared=[], made=[]
    )


def trainable(state):
    return state.network


def check(config, sample):
    if "txt" not in sample.members:
        raise SampleFailed("no words")


def prepare(state, sample, variant):
    import torch

    if sample.key in state.config.unusable.split(","):
        raise SampleFailed("it is marked as unusable")
    state.prepared.append(sample.key)
    number = int(sample.members["txt"].split()[3])
    shift = variant.random.random()
    return {"x": torch.linspace(0, 1, 12).mul(number % 7).sin() + shift, "number": number}


def features(state, examples):
    state.made += [e["number"] for e in examples]
    return [{"x": e["x"] * 2 - 1, "number": e["number"], "pair": (1, 2)} for e in examples]


def losses(state, batch, draw):
    import torch

    x = batch["x"]
    assert all(pair == [1, 2] for pair in batch["pair"])
    if state.config.wait:
        time.sleep(state.config.wait)
    if state.config.gate and draw.step == state.config.steps - 1:
        while not os.path.exists(state.config.gate):
            time.sleep(0.005)
    noise = draw.normal("noise", 12).to(x)
    out = state.network(x + 0.1 * noise)
    plain = (out - x).square().mean(1)
    rare = torch.where(draw.uniform("gate").to(x) < 0.3, out.abs().mean(1), 0)
    wrong = [key == state.config.broken for key in draw.keys]
    return {"plain": plain.masked_fill(torch.tensor(wrong), float("nan")), "rare": rare}


def weights(config):
    return {"plain": 1.0, "rare": 0.1}


def save(state, folder, metadata):
    from socialcli.networks import weights

    weights.write(folder / "toy.safetensors", state.network.state_dict(), metadata)


def validate(state):
    from PIL import Image

    return [("a picture", Image.new("RGB", (8, 8), "red"))] * 5


class ToyMethod(TrainMethod):
    """The functions above, looked up when they are called, so that a test may replace one."""

    config_type = Config

    def load(self, *args):
        return load(*args)

    def trainable(self, *args):
        return trainable(*args)

    def check(self, *args):
        return check(*args)

    def prepare(self, *args):
        return prepare(*args)

    def features(self, *args):
        return features(*args)

    def losses(self, *args):
        return losses(*args)

    def weights(self, *args):
        return weights(*args)

    def save(self, *args):
        return save(*args)

    def validate(self, *args):
        return validate(*args)


def values(**changed):
    """The Config's values as the command line gives them."""
    import dataclasses

    defaults = {f.name: f.default for f in dataclasses.fields(Config)}
    small = {"device": "cpu", "dtype": "float32", "steps": 12, "batch_size": 4, "micro_batch": 2}
    return {
        **defaults,
        **small,
        "checkpoint_every": 3,
        "learning_rate": 1e-2,
        "quiet": True,
        **changed,
    }


def train(output, inputs, **changed):
    """As `socialcli train` would, in this process."""
    from socialcli.training import loop

    loop.run("train", "toy", ToyMethod(), values(**changed), inputs, str(output))


def child(*args, **changed):
    """A training in a process of its own, forked so that torch is there already."""
    import multiprocessing

    process = multiprocessing.get_context("fork").Process(target=quietly, args=args, kwargs=changed)
    process.start()
    return process


def quietly(*args, env=None, **changed):
    os.environ.update(env or {})
    sys.stderr = open(os.devnull, "w")
    train(*args, **changed)


def free_port() -> int:
    """Of those below the numbers that systems give to connections: between this look and the moment
    when a training listens there, another test's connection would now and then take such a one."""
    import contextlib
    import random
    import socket

    for port in random.sample(range(12_000, 32_000), 100):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


if __name__ == "__main__":
    import ast

    output, shards, *words = sys.argv[1:]
    pairs = dict(word.split("=", 1) for word in words)
    known = values()
    given = {k: v if isinstance(known[k], str) else ast.literal_eval(v) for k, v in pairs.items()}
    from socialcli.cli.app import guarded

    guarded(train)(output, [shards], **given)
