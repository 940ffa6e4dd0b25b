"""One step: its gradient by hand, its random numbers, its features, and how it fails."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import toy_method
from conftest import samples
from toy_method import train

from socialcli import shards
from socialcli.errors import SocialcliError
from socialcli.training import step


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("data")
    shards.write(folder / "a.tar", samples(0, 11))
    return str(folder)


def watch(monkeypatch, see):
    """Let ``see(state, values, draw)`` look at what the toy's losses give."""
    original = toy_method.losses

    def losses(state, batch, draw):
        values = original(state, batch, draw)
        return see(state, values, draw) or values

    monkeypatch.setattr(toy_method, "losses", losses)


def test_the_gradient_is_that_of_the_weighted_mean(tmp_path, data, monkeypatch):
    """Over the global batch, whatever the micro-batch: SGD moves the weights along it."""
    import torch
    from safetensors.torch import load_file

    expected: dict[str, torch.Tensor] = {}
    start: dict[str, torch.Tensor] = {}

    def see(state, values, draw):
        names, parameters = zip(*state.network.named_parameters(), strict=True)
        start.update({n: p.detach().clone() for n, p in zip(names, parameters, strict=True)})
        total = (values["plain"] + 0.1 * values["rare"]).sum() / 4
        for name, part in zip(
            names, torch.autograd.grad(total, parameters, retain_graph=True), strict=True
        ):
            expected[name] = expected.get(name, 0) + part

    watch(monkeypatch, see)
    same = {"optimiser": "sgd", "beta1": 0.0, "weight_decay": 0.0, "max_grad_norm": 0.0}
    train(tmp_path, [data], steps=1, batch_size=4, micro_batch=3, learning_rate=0.5, **same)
    moved = load_file(tmp_path / "toy.safetensors")
    for name, gradient in expected.items():
        assert torch.allclose(moved[name], start[name] - 0.5 * gradient, atol=1e-6), name
        assert gradient.abs().max() > 1e-4


def test_gradients_do_not_add_up_over_steps(tmp_path, data, monkeypatch):
    """The second step's own gradient, and nothing of the first one's."""
    import torch

    gradientless = []

    def see(state, values, draw):
        gradientless.append([p.grad is None for p in state.network.parameters()])

    watch(monkeypatch, see)
    after = []
    monkeypatch.setattr(
        toy_method.ToyMethod, "after_step", lambda self, state: after.append(len(gradientless))
    )
    train(tmp_path, [data], steps=3, batch_size=2, micro_batch=1)
    assert gradientless == [[True] * 4, [False] * 4] * 3
    assert after == [2, 4, 6]
    assert torch.is_grad_enabled()


def test_dropout_draws_anew_in_every_micro_batch_and_the_same_again(tmp_path, data, monkeypatch):
    import torch

    seeds: list[int] = []
    watch(monkeypatch, lambda *_: seeds.append(torch.initial_seed()))
    for name in "ab":
        train(tmp_path / name, [data], steps=3, batch_size=4, micro_batch=2)
    assert seeds[:6] == seeds[6:] and len(set(seeds)) == 6


def test_on_the_cpu_features_are_made_of_one_sample_at_a_time(tmp_path, data, monkeypatch):
    """Their bits would depend on the samples beside it, which after a restart are others."""
    import torch

    computed = []
    original = toy_method.features

    def watched(state, examples):
        computed.append((len(examples), torch.is_grad_enabled()))
        return original(state, examples)

    monkeypatch.setattr(toy_method, "features", watched)
    train(tmp_path, [data], steps=2, batch_size=4, micro_batch=4)
    assert computed == [(1, False)] * 8


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_mixed_precision_is_of_what_trains(tmp_path, data, monkeypatch, precision):
    import torch

    autocast = []

    def see(state, values, draw):
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        autocast.append(kind)

    watch(monkeypatch, see)
    train(tmp_path, [data], steps=1, mixed_precision=precision)
    assert autocast == [torch.bfloat16 if precision == "bf16" else None] * 2


def test_too_little_memory_names_the_option(tmp_path, data, monkeypatch):
    import torch

    def see(state, values, draw):
        raise torch.OutOfMemoryError("CUDA out of memory")

    watch(monkeypatch, see)
    with pytest.raises(SocialcliError, match="out of memory with --micro-batch 2: take a smaller"):
        train(tmp_path, [data], steps=1)


@pytest.mark.parametrize(("size", "more"), [(8, ""), (11, " and 3 more")])
def test_a_gradient_that_is_no_number_stops_the_run(tmp_path, data, monkeypatch, size, more):
    """Though every loss is one. Which sample it was is not known: all of the batch are named."""

    def see(state, values, draw):
        # The root's slope at 0 is infinite, and 0 times it is no number.
        return {**values, "plain": values["plain"] + (0 * values["plain"]).sqrt()}

    watch(monkeypatch, see)
    with pytest.raises(SocialcliError) as ended:
        train(tmp_path, [data], steps=2, batch_size=size, micro_batch=3)
    text = str(ended.value)
    assert text.startswith("step 1: the gradient is not a number for 0000")
    assert f"{more}; the weights are as before" in text
    assert text.count(", ") == step.NAMED - 1 + 1  # between the keys, and before the advice
    assert not list(Path(tmp_path).glob("checkpoints/*"))


def test_keys_of_all_processes_are_named(tmp_path, data, monkeypatch):
    monkeypatch.setattr(step, "gathered", lambda rows, place: [*rows, "99999"] if rows else [])
    monkeypatch.setattr(step.Stepper, "_norm", lambda self: float("nan"))
    with pytest.raises(SocialcliError, match=r"the gradient is not a number for .*, 99999;"):
        train(tmp_path, [data], steps=1)


def test_a_loss_that_reaches_nothing_trains_nothing(tmp_path, data, monkeypatch):
    """A batch in which every sample is silent."""

    def see(state, values, draw):
        return {name: (0 * value).detach() for name, value in values.items()}

    watch(monkeypatch, see)
    train(tmp_path, [data], steps=1)
    assert (tmp_path / "toy.safetensors").is_file()


@pytest.mark.parametrize(("bucket", "sends"), [(1, [3, 2, 4]), (4, [5, 4]), (2**24, [9])])
def test_gradients_are_summed_over_processes_in_buckets(monkeypatch, bucket, sends):
    """Of a neighbour that has a gradient of one parameter more; the last has none anywhere."""
    import torch

    def parameters(*wanted: int):
        rows = [torch.nn.Parameter(torch.zeros(n)) for n in (3, 2, 4, 1)]
        for number, row in enumerate(rows):
            if number in wanted:
                row.grad = torch.arange(1.0, 1 + row.numel()) * 10**number
        return rows

    here, there = parameters(0, 2), parameters(0, 1, 2)
    other = torch.cat([p.grad for p in there[:3]])
    sent: list[int] = []

    def reduce(flat, how):
        assert how == "sum"
        at = sum(sent)
        sent.append(len(flat))
        return flat + other[at : at + len(flat)]

    place = SimpleNamespace(processes=2, accelerator=SimpleNamespace(reduce=reduce))
    counts = torch.tensor([float(p.grad is not None) for p in there])
    monkeypatch.setattr(step, "summed", lambda values, place: values + counts)
    monkeypatch.setattr(step, "BUCKET", bucket)
    step._share(here, place)
    assert sent == sends
    gradients = [None if p.grad is None else p.grad.tolist() for p in here]
    assert gradients == [[2, 4, 6], [10, 20], [200, 400, 600, 800], None]


@pytest.mark.parametrize("limit", [0.0, 0.5, 1.0, 40.0])
def test_gradients_are_cut_to_the_length_that_torch_cuts_them_to(limit):
    generator = torch.Generator().manual_seed(0)
    own, theirs = ([torch.nn.Parameter(torch.zeros(size)) for size in (3, 90)] for _ in range(2))
    for one, other in zip(own, theirs, strict=True):
        one.grad = torch.randn(len(one), generator=generator)
        other.grad = one.grad.clone()
    stepper = SimpleNamespace(parameters=own, config=SimpleNamespace(max_grad_norm=limit))
    norm = step.Stepper._norm(stepper)
    assert norm == float(torch.nn.utils.clip_grad_norm_(theirs, limit or float("inf")))
    assert all(torch.equal(one.grad, other.grad) for one, other in zip(own, theirs, strict=True))
    length = sum(float(one.grad.square().sum()) for one in own) ** 0.5
    assert length == pytest.approx(min(norm, limit or norm), rel=1e-4)
    for parameters in (own, theirs):  # a step in which one number is lost moves nothing else
        parameters[0].grad[0] = math.nan
    assert math.isnan(step.Stepper._norm(stepper))
    torch.nn.utils.clip_grad_norm_(theirs, limit or float("inf"))
    for one, other in zip(own, theirs, strict=True):
        assert torch.equal(one.grad.isnan(), other.grad.isnan())
