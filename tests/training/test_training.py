"""The training loop: what is trained on never depends on when, where, or after how many deaths."""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import signal
import sys
import time
import types
from pathlib import Path

import pytest
import toy_method
from conftest import samples
from toy_method import child, free_port, train

from socialcli import shards
from socialcli.errors import MissingPackage, SocialcliError, UsageError
from socialcli.randomness import Draw, Variant
from socialcli.shards import index as indexing
from socialcli.training import checkpoints, examples, options, pictures, place, step
from socialcli.training.features import Features, stamp


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("data")
    shards.write(folder / "a.tar", samples(0, 6))
    shards.write(folder / "b.tar", samples(6, 11))
    return str(folder)


def weights(folder: Path) -> bytes:
    """What trains, as the last checkpoint has it, and its moments."""
    last = checkpoints.latest(folder / "checkpoints")
    return b"".join(
        (last / name).read_bytes() for name in ("trainable.safetensors", "optimiser.safetensors")
    )


def header(folder: Path) -> dict[str, str]:
    """Where a result says it comes from."""
    from safetensors import safe_open

    with safe_open(folder / "toy.safetensors", "pt") as file:
        return file.metadata()


def log(folder: Path) -> list[dict]:
    """The whole lines of a log, which another process may be writing."""
    lines = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in log(folder) if "loss" in line]


# --- restarts -------------------------------------------------------------------------------------


def test_killed_at_any_moment_it_ends_with_the_same_bits(tmp_path, data):
    same = {"steps": 24, "variants": 3, "wait": 0.03, "unusable": "00004"}
    train(tmp_path / "whole", [data], **same)
    rng = random.Random(5)
    gate = str(tmp_path / "never")  # on a busy machine too a run is not at its end before the blow
    for reached in (0, 0, 2, 3, 7, 8, 12, 17, 21):  # lines of the log when the blow falls
        process = child(tmp_path / "killed", [data], gate=gate, **same)
        written = tmp_path / "killed" / "log.jsonl"
        while process.is_alive() and reached > (
            len(log(written.parent)) if written.exists() else 0
        ):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        assert process.is_alive(), "it should not have come to its end yet"
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    train(tmp_path / "killed", [data], **same)
    assert json.loads((tmp_path / "killed" / "run.json").read_text())["finished"] == 24
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert [line["step"] for line in log(tmp_path / "killed") if "loss" in line] == list(
        range(1, 25)
    )
    assert header(tmp_path / "killed") == header(tmp_path / "whole")
    assert not list((tmp_path / "killed" / "checkpoints").glob(".*"))


def test_sigterm_saves_first(tmp_path, data):
    same = {"steps": 30, "checkpoint_every": 1000, "wait": 0.02}
    gate = tmp_path / "gate"
    process = child(tmp_path / "out", [data], gate=str(gate), **same)
    while not (tmp_path / "out" / "log.jsonl").exists() or len(log(tmp_path / "out")) < 4:
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    gate.touch()
    process.join()
    assert process.exitcode == 143
    step = checkpoints.read_state(checkpoints.latest(tmp_path / "out" / "checkpoints"))["step"]
    assert 4 <= step < 30
    train(tmp_path / "out", [data], **same)
    train(tmp_path / "whole", [data], **same)
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")


def test_a_run_of_other_options_is_not_gone_on_with(tmp_path, data):
    train(tmp_path, [data], steps=3)
    with pytest.raises(UsageError, match=r"--learning-rate was 0.01, now 0.02"):
        train(tmp_path, [data], steps=3, learning_rate=0.02)
    with pytest.raises(UsageError, match=r"data was"):
        train(tmp_path, [data + "/a.tar"], steps=3)
    train(tmp_path, [data], steps=3, micro_batch=1, checkpoint_every=1)  # these change nothing
    train(tmp_path, [data], steps=5)  # a constant rate knows no end
    assert losses(tmp_path)[-1] == log(tmp_path)[-2]["loss"] and len(losses(tmp_path)) == 5


def test_with_decay_the_number_of_steps_is_an_option_that_matters(tmp_path, data):
    train(tmp_path, [data], steps=3, schedule="cosine")
    with pytest.raises(UsageError, match=r"--steps was 3, now 4"):
        train(tmp_path, [data], steps=4, schedule="cosine")


def test_two_runs_do_not_share_an_output_folder(tmp_path, data):
    process = child(tmp_path, [data], steps=20, gate=str(tmp_path / "never"))
    while not (tmp_path / "log.jsonl").exists():
        assert process.is_alive()
        time.sleep(0.01)
    with pytest.raises(UsageError, match="another run is writing there"):
        train(tmp_path, [data], steps=20)
    process.kill()
    process.join()


def test_finished_is_finished(tmp_path, data, capsys):
    train(tmp_path, [data], steps=3)
    before = weights(tmp_path)
    train(tmp_path, [data], steps=3, quiet=False)
    assert "finished already, 3 steps" in capsys.readouterr().err
    assert weights(tmp_path) == before


# --- the same whatever the division of labour -----------------------------------------------------


@pytest.mark.parametrize("micro", [1, 3, 7])
def test_micro_batches_agree_with_one_batch(tmp_path, data, micro, monkeypatch):
    # Dropout draws anew in each micro-batch; without it nothing may differ but rounding.
    monkeypatch.setattr("torch.nn.Dropout.forward", lambda self, x: x)
    train(tmp_path / "one", [data], steps=5, batch_size=7, micro_batch=7)
    train(tmp_path / "some", [data], steps=5, batch_size=7, micro_batch=micro)
    assert losses(tmp_path / "some") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_two_processes_agree_with_one(tmp_path, data):
    """Same global batch, of 5 in micro-batches of 2: the processes' shares are 4 and 1... and
    the last step's sample that fails is told of, whichever process met it."""
    same = {"steps": 6, "batch_size": 5, "micro_batch": 1, "unusable": "00002,00007"}
    train(tmp_path / "one", [data], **same)
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    both = [
        child(
            tmp_path / "two", [data], **same,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "1"},
        )
        for rank in (0, 1)
    ]  # fmt: skip
    for process in both:
        process.join(120)
        assert process.exitcode == 0
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    from safetensors.torch import load_file

    one, two = (load_file(tmp_path / name / "toy.safetensors") for name in ("one", "two"))
    for name, weight in one.items():
        assert (weight - two[name]).abs().max() < 1e-5
    skipped = [
        {line["key"] for line in log(tmp_path / name) if line.get("event") == "skipped"}
        for name in ("one", "two")
    ]
    assert skipped[0] == skipped[1] == {"00002", "00007"}


def test_the_loss_is_the_mean_over_the_global_batch(tmp_path, data):
    """By hand, from the method's own functions and the addresses of the numbers."""
    import torch

    seen = []
    original = toy_method.losses

    def watched(state, batch, draw):
        values = original(state, batch, draw)
        seen.append({name: value.detach() for name, value in values.items()})
        return values

    toy_method.losses, undo = watched, original
    try:
        train(tmp_path, [data], steps=1, batch_size=4, micro_batch=3)
    finally:
        toy_method.losses = undo
    assert [len(s["plain"]) for s in seen] == [3, 1]
    plain, rare = (torch.cat([s[name] for s in seen]) for name in ("plain", "rare"))
    line = log(tmp_path)[0]
    assert line["loss"] == pytest.approx(float((plain + 0.1 * rare).mean()), rel=1e-6)
    assert line["active/rare"] == pytest.approx(float((rare != 0).float().mean()))


def test_gradients_are_clipped_and_their_norm_is_told(tmp_path, data):
    """SGD without momentum moves the weights by rate x gradient, whose length is the norm."""
    from safetensors.torch import load_file

    def moved(name: str, **changed) -> dict:
        same = {"steps": 1, "optimiser": "sgd", "beta1": 0.0, "weight_decay": 0.0}
        train(tmp_path / name, [data], **{**same, "learning_rate": 0.1, **changed})
        return load_file(tmp_path / name / "toy.safetensors")

    def length(before: dict, after: dict) -> float:
        return math.sqrt(sum(float((after[n] - before[n]).square().sum()) for n in before))

    start = moved("start", learning_rate=1e-12)
    free = length(start, moved("free", max_grad_norm=0.0))
    line = log(tmp_path / "free")[0]
    assert free == pytest.approx(0.1 * line["gradient_norm"], rel=1e-3)
    limit = line["gradient_norm"] / 4
    assert length(start, moved("clipped", max_grad_norm=limit)) == pytest.approx(free / 4, rel=1e-2)
    clipped = log(tmp_path / "clipped")[0]
    assert clipped["gradient_norm"] == pytest.approx(line["gradient_norm"], rel=1e-6)
    assert length(start, moved("wide", max_grad_norm=8 * limit)) == pytest.approx(free, rel=1e-6)
    assert line["learning_rate"] == 0.1 and line["epoch"] == pytest.approx(4 / 11)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_the_optimiser_has_the_options(name):
    import torch

    values = {"learning_rate": 0.02, "beta1": 0.7, "beta2": 0.8, "epsilon": 1e-3}
    config = toy_method.Config(
        **toy_method.values(optimiser=name, weight_decay=0.05, **values)
    )  # fmt: skip
    state = toy_method.load(config, types.SimpleNamespace(device="cpu"))
    chosen = step.optimiser(toy_method.ToyMethod(), state, state.network, config)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}[name]
    own = {"momentum": 0.7} if name == "sgd" else {"betas": (0.7, 0.8), "eps": 1e-3}
    assert type(chosen) is kind
    (group,) = chosen.param_groups
    wanted = {**own, "lr": 0.02, "weight_decay": 0.05}
    assert {key: group[key] for key in wanted} == wanted
    assert len(group["params"]) == 4


# --- order, draws ---------------------------------------------------------------------------------


def stream(count: int, **changed) -> examples.Examples:
    config = toy_method.Config(**toy_method.values(**changed))
    index = types.SimpleNamespace(entries=[None] * count, __len__=lambda: count)
    index = type("Some", (), {"__len__": lambda self: count})()
    return examples.Examples(None, None, config, index, None)


def test_an_epoch_takes_every_sample_once():
    data = stream(11, batch_size=4)
    slots = [examples.Slot(step, position) for step in range(11) for position in range(4)]
    candidates = [data.candidate(slot, 0) for slot in slots]
    epochs = [[n for n, epoch in candidates if epoch == e] for e in range(4)]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    again = stream(11, batch_size=44)
    assert [again.candidate(examples.Slot(0, p), 0) for p in range(44)] == candidates
    other = stream(11, batch_size=44, seed=1)
    assert [other.candidate(examples.Slot(0, p), 0) for p in range(44)] != candidates


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_the_processes_share_the_batch(processes):
    parts = []
    for process in range(processes):
        data = stream(11, batch_size=10, micro_batch=3)
        data.process, data.processes = process, processes
        parts += [p for chunk in data.chunks() for p in chunk]
    assert sorted(parts) == list(range(10))


def test_numbers_depend_on_their_address_alone():
    import torch

    many = Draw(3, 7, [0, 1, 2, 3], ["a", "b", "c", "d"])
    one = Draw(3, 7, [2], ["c"])
    assert torch.equal(many.normal("noise", 4, 5)[2], one.normal("noise", 4, 5)[0])
    assert torch.equal(many.integers("t", 1000)[2], one.integers("t", 1000)[0])
    assert torch.equal(many.uniform("u")[2], one.uniform("u")[0])
    assert torch.equal(many.spread("s")[2], one.spread("s")[0])
    assert not torch.equal(one.spread("s"), Draw(3, 8, [2], ["c"]).spread("s"))
    assert many.random(2, "word").random() == one.random(0, "word").random()
    assert not torch.equal(one.normal("noise", 4), one.normal("other", 4))
    assert not torch.equal(one.normal("noise", 4), Draw(3, 8, [2], ["c"]).normal("noise", 4))
    assert Variant(1, "k", 0).random.random() == Variant(1, "k", 0).random.random()
    assert Variant(1, "k", 0).random.random() != Variant(1, "k", 1).random.random()
    torch.manual_seed(0)
    first = many.normal("noise", 3)
    torch.manual_seed(1)
    assert torch.equal(first, many.normal("noise", 3))


def test_spread_numbers_are_uniform_each_and_even_together():
    import torch

    steps = torch.stack(
        [Draw(5, step, list(range(64)), [""] * 64).spread("s") for step in range(4000)]
    )
    assert (steps >= 0).all() and (steps < 1).all()
    for below in (0.1, 0.25, 0.7):
        share = (steps < below).double()
        error = (below * (1 - below) / len(steps)) ** 0.5
        assert (share.mean(0) - below).abs().max() < 5 * error  # each position by itself
        windows = share.unfold(1, 16, 1).sum(-1)  # any 16 successive positions
        assert (windows - 16 * below).abs().max() < 2


def test_rates_by_hand():
    config = toy_method.Config(
        **toy_method.values(steps=110, warm_up=10, learning_rate=2.0, schedule="cosine")
    )
    assert options.rate(config, 0) == pytest.approx(0.2)
    assert options.rate(config, 9) == pytest.approx(2.0)
    assert options.rate(config, 10) == pytest.approx(2.0)
    assert options.rate(config, 60) == pytest.approx(1.0)
    assert options.rate(config, 35) == pytest.approx(1 + math.sqrt(0.5))
    config.schedule = "linear"
    assert options.rate(config, 35) == pytest.approx(1.5)
    config.schedule = "constant"
    assert options.rate(config, 109) == pytest.approx(2.0)


# --- features -------------------------------------------------------------------------------------


def test_features_are_made_once_for_each_variant(tmp_path, data, monkeypatch):
    examples_made = []
    original = toy_method.features

    def watched(state, some):
        examples_made.extend(e["number"] for e in some)
        return original(state, some)

    monkeypatch.setattr(toy_method, "features", watched)
    same = {"batch_size": 11, "variants": 2, "cache": str(tmp_path / "c"), "checkpoint_every": 99}
    train(tmp_path / "a", [data], steps=12, **same)
    # Read ahead, a sample may be met again before its features are there.
    assert len(set(examples_made)) == 11 and 22 <= len(examples_made) <= 26
    examples_made.clear()
    train(tmp_path / "b", [data], steps=12, **same)
    assert examples_made == []
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    train(tmp_path / "c2", [data], steps=1, width=17, **same)
    assert examples_made  # another width may give other features, for all the loop knows


def test_features_are_made_again_when_a_model_lies_in_anothers_place(tmp_path, data, monkeypatch):
    computed = []
    original = toy_method.features

    def watched(state, some):
        computed.extend(some)
        return original(state, some)

    monkeypatch.setattr(toy_method, "features", watched)
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"first")
    same = {"batch_size": 11, "variants": 2, "cache": str(tmp_path / "c"), "model": str(model)}
    for name, wanted in (("a", True), ("b", False), ("c2", True)):
        computed.clear()
        if name == "c2":
            (model / "weights").write_bytes(b"other")
        train(tmp_path / name, [data], steps=12, **same)
        assert bool(computed) is wanted, name
    assert stamp("a photo of " * 99) == stamp("nul\0") == stamp("") == []


def test_kept_features_come_back_and_torn_ones_do_not(tmp_path):
    import torch

    cache = Features(tmp_path, memory=1.5e-6, disk=1.0)  # 1.6 kB: one of these, not two
    first = cache.put("1:a", 0, {"x": torch.arange(200.0).half(), "pair": (1, 2), "text": "é"})
    cache.put("2:b", 0, {"x": torch.ones(200)})
    assert len(cache._held) == 1
    back = cache.get("1:a", 0)
    assert torch.equal(back["x"], first["x"]) and back["x"].dtype == torch.float16
    assert back["pair"] == first["pair"] == [1, 2] and back["text"] == "é"
    assert cache.get("1:a", 1) is None
    file = next(f for f in tmp_path.glob("*/*.safetensors"))
    file.write_bytes(file.read_bytes()[:-5])
    fresh = Features(tmp_path, 1.0, 1.0)
    assert sorted(x is None for x in (fresh.get("1:a", 0), fresh.get("2:b", 0))) == [False, True]
    full = Features(tmp_path / "none", 1.0, 1e-9)
    full.put("1:a", 0, {"x": torch.ones(200)})
    assert not list((tmp_path / "none").glob("*/*"))


# --- what goes wrong ------------------------------------------------------------------------------


def test_what_is_no_number_stops_and_is_named(tmp_path, data):
    train(tmp_path, [data], steps=2)
    before = weights(tmp_path)
    with pytest.raises(SocialcliError, match=r"step \d: plain is not a number for 00005;"):
        train(tmp_path, [data], steps=12, broken="00005", checkpoint_every=1)
    last = log(tmp_path)[-1]
    assert (last["event"], last["keys"], last["what"]) == ("not a number", ["00005"], ["plain"])
    assert before != b""
    from safetensors.torch import load_file

    kept = load_file(checkpoints.latest(tmp_path / "checkpoints") / "trainable.safetensors")
    assert all(bool(weight.isfinite().all()) for weight in kept.values())


def test_samples_that_fail_give_their_place_to_others(tmp_path, data, capsys):
    train(tmp_path, [data], steps=8, unusable="00001,00009", quiet=False)
    assert "2 samples could not be used; log.jsonl names them" in capsys.readouterr().err
    named = {line["key"]: line["reason"] for line in log(tmp_path) if "key" in line}
    assert named == dict.fromkeys(("00001", "00009"), "it is marked as unusable")
    assert log(tmp_path)[-2]["skipped"] == 2


def test_when_all_samples_fail_it_says_so(tmp_path, data):
    everyone = ",".join(f"{n:05d}" for n in range(11))
    with pytest.raises(SocialcliError, match=r"50 samples in a row could not be used; the last"):
        train(tmp_path, [data], unusable=everyone)


def without_words(path: Path, count: int = 3) -> str:
    shards.write(path, [(k, {"jpg": m["jpg"]}) for k, m in samples(0, count)])
    return str(path)


@pytest.mark.parametrize(
    ("make", "changed", "message"),
    [
        (lambda p: str(p / "no.tar"), {}, "no such shard"),
        (lambda p: "-", {}, "files, not stdin"),
        (lambda p: without_words(p / "x.tar"), {}, r"none of 3 samples can be used \(3: no words"),
        (lambda p: without_words(p / "x.tar", 0), {}, "no sample to train on"),
        (None, {"steps": 0}, "--steps 0: at least 1"),
        (None, {"schedule": "wavy"}, "--schedule 'wavy'. There are: constant"),
        (None, {"learning_rate": math.nan}, "--learning-rate nan: expected a finite number"),
        (None, {"log_to": "paper"}, "--log-to 'paper'. There are:"),
    ],
)
def test_bad_input_is_told_before_models_are_loaded(
    tmp_path, data, monkeypatch, make, changed, message
):
    monkeypatch.setattr(toy_method, "load", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(UsageError, match=message):
        train(tmp_path / "out", [make(tmp_path) if make else data], **changed)


def test_members_that_are_missing_name_their_stage(tmp_path, data, monkeypatch):
    monkeypatch.setattr(toy_method.ToyMethod, "READS", ("boxes.json",))
    with pytest.raises(UsageError, match=r"11 of 11 samples have no boxes.json: run `socialcli gr"):
        train(tmp_path / "out", [data])


def test_an_uninstalled_log_is_named(tmp_path, data, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"pip install 'socialcli-toolkit\[wandb\]'"):
        train(tmp_path, [data], log_to="wandb")


# --- what is left behind --------------------------------------------------------------------------


def test_results_say_where_they_come_from(tmp_path, data):
    train(tmp_path, [data], steps=4, save_every=2, keep=1, checkpoint_every=1, seed=9)
    notes = header(tmp_path)
    assert notes["socialcli.command"] == "train" and notes["socialcli.step"] == "4"
    assert json.loads(notes["socialcli.config"])["width"] == 16 and notes["socialcli.seed"] == "9"
    facts = json.loads(notes["socialcli.data"])
    assert facts["samples"] == 11
    assert facts["fingerprint"] == indexing.build(shards.expand([data]), tmp_path).fingerprint()
    assert json.loads(notes["socialcli.versions"])["torch"]
    assert len(notes["socialcli.commit"].removesuffix("-dirty")) == 40
    assert (tmp_path / "step-000002" / "toy.safetensors").exists()
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000004"]


def test_pictures_are_drawn_when_due(tmp_path, data):
    from PIL import Image

    train(tmp_path, [data], steps=5, validate_every=2)
    drawn = sorted(p.name for p in (tmp_path / "pictures").iterdir())
    assert drawn == ["step-000002.png", "step-000004.png", "step-000005.png"]
    sheet = Image.open(tmp_path / "pictures" / drawn[0])
    assert sheet.size == (4 * 130, 2 * (128 + 28 + 2))  # five of 8 pixels, enlarged to 128
    assert sheet.getpixel((60, 60)) == (255, 0, 0)


def test_a_grid_keeps_shapes():
    from PIL import Image

    sheet = pictures.grid([("a" * 100, Image.new("RGB", (300, 300), "blue"))])
    assert sheet.size == (302, 330)


def test_captions_of_a_grid_break_between_words(monkeypatch):
    """They broke anywhere, and what is not Latin was a row of question marks."""
    from PIL import Image

    lines: list[str] = []
    monkeypatch.setattr(
        pictures.text, "draw", lambda pen, x, y, words, size, fill: lines.append(words)
    )
    caption = "a girl is high-fiving a man in the park"
    small = Image.new("RGB", (64, 64))
    pictures.grid([(caption, small), ("девушка в парке", small)])
    assert lines[-1] == "девушка в парке" and len(lines) == 3
    assert [word for line in lines[:2] for word in line.split()] == caption.split()


def test_other_logs_get_the_same_numbers(tmp_path, data, monkeypatch):
    logged: dict[str, list] = {"scalar": [], "wandb": [], "image": []}

    class Writer:
        def __init__(self, folder, purge_step):
            assert folder.endswith("tensorboard")

        def add_scalar(self, name, value, step):
            logged["scalar"].append((name, step))

        def add_image(self, name, pixels, step, dataformats):
            logged["image"].append((name, pixels.shape, step))

        def close(self): ...

    class Session:
        def log(self, values, step):
            logged["wandb"].append((set(values), step))

        def finish(self): ...

    fake = types.SimpleNamespace(init=lambda **_: Session(), Image=lambda picture: picture)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setitem(
        sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer)
    )
    monkeypatch.setattr("socialcli.training.logs.check", lambda names: None)
    train(tmp_path, [data], steps=2, log_to="tensorboard,wandb", validate_every=2)
    assert ("loss/rare", 2) in logged["scalar"] and ("loss", 1) in logged["scalar"]
    assert [step for values, step in logged["wandb"] if "loss" in values] == [1, 2]
    assert logged["image"][0][0] == "validation"


def test_profile_prints_a_table_and_saves_nothing(tmp_path, data, capsys):
    train(tmp_path, [data], profile_steps=3)
    out = capsys.readouterr().out
    for activity in ("data", "features", "forward", "backward", "optimiser", "total", "samples/s"):
        assert activity in out
    assert not (tmp_path / "log.jsonl").exists() and not (tmp_path / "checkpoints").exists()


def test_the_clock_takes_inner_activities_out_of_outer_ones(monkeypatch):
    import torch

    clock = place.Clock(torch.device("cpu"), on=True)
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    with clock("outer"):
        now[0] += 2
        with clock("inner"):
            now[0] += 5
        now[0] += 1
    now[0] += 100
    assert clock.seconds == {"outer": 3, "inner": 5}


def test_a_checkpoint_of_another_shape_is_named(tmp_path):
    import torch

    small, large = torch.nn.Linear(2, 3), torch.nn.Linear(2, 4)
    adam = [torch.optim.AdamW(m.parameters(), fused=True) for m in (small, large)]
    saved = checkpoints.save(tmp_path, 1, small, adam[0], {}, 2)
    with pytest.raises(UsageError, match=r"'bias' is \(3,\) there, but \(4,\) in this model"):
        checkpoints.load(saved, large, adam[1])
    (saved / "trainable.safetensors").write_bytes(b"torn")
    with pytest.raises(UsageError, match="remove it to go on from the one before"):
        checkpoints.load(saved, small, adam[0])


# --- random access --------------------------------------------------------------------------------


def same_as_reading(index: indexing.Index, places: list[str]) -> bool:
    read = [s for place in places for s in shards.read(place) if s.problem is None]
    indexed = [index.read(n) for n in range(len(index))]
    order = list(range(len(index)))[::-1]
    assert [index.read(n).key for n in order] == [index.entries[n].key for n in order]
    return [(s.key, s.members) for s in read] == [(s.key, s.members) for s in indexed]


def test_an_index_gives_what_reading_gives(tmp_path):
    long = samples(0, 4, "folder/" + "x" * 120)
    shards.write(tmp_path / "a.tar", [*samples(0, 5), *long])
    shards.write(tmp_path / "side.tar", [(k, {"extra.json": k.encode()}) for k, _ in samples(0, 5)])
    shards.write(tmp_path / "b.tar", samples(0, 5))
    joined = f"{tmp_path}/b.tar+{tmp_path}/side.tar"
    places = [str(tmp_path / "a.tar"), joined]
    index = indexing.build(places, tmp_path / "cache")
    assert len(index) == 14 and same_as_reading(index, places)
    assert index.entries[-1].has("extra.json") and not index.entries[0].has("extra.json")
    assert not (tmp_path / "cache").exists()  # plain local archives are not copied
    chosen = index.select([13, 2])
    assert [chosen.read(n).key for n in (0, 1)] == ["00004", "00002"]
    assert chosen.fingerprint() != index.fingerprint()


def test_other_archives_are_copied_once(tmp_path):
    shards.write(tmp_path / "a.tar", samples(0, 5))
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(whole))
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "two.tar").write_bytes(whole + whole)
    messages: list[str] = []
    places = [str(tmp_path / name) for name in ("b.tar.gz", "cut.tar", "two.tar")]
    index = indexing.build(places, tmp_path / "cache", messages.append)
    assert len(messages) == 3 and same_as_reading(index, places)
    assert "00003" in index.unusable or "00002" in index.unusable
    before = dict(index.unusable)
    again = indexing.build(places, tmp_path / "cache", messages.append)
    assert len(messages) == 3 and again.unusable == before and len(again) == len(index)


def test_sidecars_of_other_keys_are_refused_and_filtered_samples_left_out(tmp_path):
    shards.write(tmp_path / "a.tar", samples(0, 3))
    shards.write(tmp_path / "wrong.tar", [(k, {"x.json": b"1"}) for k, _ in samples(1, 4)])
    note = json.dumps({"status": "filtered", "reason": "too dark"}).encode()
    shards.write(
        tmp_path / "side.tar",
        [
            (k, {"x.json": b"1"} if k != "00001" else {"status.json": note})
            for k, _ in samples(0, 3)
        ],
    )
    with pytest.raises(SocialcliError, match="do not match"):
        indexing.build([f"{tmp_path}/a.tar+{tmp_path}/wrong.tar"], tmp_path / "cache")
    index = indexing.build([f"{tmp_path}/a.tar+{tmp_path}/side.tar"], tmp_path / "cache")
    assert [e.key for e in index.entries] == ["00000", "00002"]
    assert index.unusable == {"00001": "too dark"}


def test_a_group_learns_at_its_share_of_the_rate(tmp_path, data, monkeypatch):
    """SGD without momentum moves a weight by rate x gradient: halved for a group of scale 0.5."""
    import torch
    from safetensors.torch import load_file

    def groups(self, state):
        first, last = state.network[0], state.network[3]
        return [
            {"params": list(first.parameters())},
            {"params": list(last.parameters()), "scale": scale},
        ]

    monkeypatch.setattr(toy_method.ToyMethod, "groups", groups)
    moved = {}
    for scale in (1.0, 0.5, 0.0):
        same = {"optimiser": "sgd", "beta1": 0.0, "learning_rate": 0.1, "max_grad_norm": 0.0}
        train(tmp_path / f"from-{scale}", [data], steps=1, **same)
        moved[scale] = load_file(tmp_path / f"from-{scale}" / "toy.safetensors")
    assert torch.equal(moved[1.0]["0.weight"], moved[0.5]["0.weight"])
    start = moved[0.0]["3.weight"]
    whole, half = moved[1.0]["3.weight"] - start, moved[0.5]["3.weight"] - start
    assert whole.abs().max() > 1e-5
    assert torch.allclose(half, whole / 2, rtol=1e-3, atol=1e-7)


def test_a_run_of_several_phases_ends_with_the_last(tmp_path, data, monkeypatch):
    """Each phase is a training of its own; a later one reads what an earlier one wrote, and a run
    that is started again does none of them twice."""
    import dataclasses

    from socialcli.training.method import Phase

    def phases(self, config, output):
        first = dataclasses.replace(config, steps=3, model="")
        last = dataclasses.replace(config, steps=2, model=str(output / "first" / "toy.safetensors"))
        return [Phase("first", self, first), Phase("", self, last)]

    begun = []
    original = toy_method.load

    def watched(config, place):
        begun.append((config.steps, Path(config.model).is_file() if config.model else None))
        return original(config, place)

    monkeypatch.setattr(toy_method.ToyMethod, "phases", phases)
    monkeypatch.setattr(toy_method, "load", watched)
    train(tmp_path / "run", [data])
    assert begun == [(3, None), (2, True)]
    for folder in (tmp_path / "run" / "first", tmp_path / "run"):
        assert (folder / "toy.safetensors").is_file()
        assert json.loads((folder / "run.json").read_text())["finished"]
    train(tmp_path / "run", [data])
    assert len(begun) == 2
