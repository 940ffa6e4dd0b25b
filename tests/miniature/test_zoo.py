"""The zoo: training that resumes exactly, targets that mean what they say, cards that are true."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from socialcli.errors import UsageError
from socialcli.miniature.world import scene
from socialcli.miniature.world.captions import captions
from socialcli.miniature.zoo import cards, ground, pose, training, words
from socialcli.miniature.zoo.__main__ import ROLES


def _fit(work, steps, minutes=None, muon=0.0, **more):
    torch.manual_seed(1)
    inner = torch.nn.ModuleDict({"layers": torch.nn.Linear(8, 8)})
    inner.forward = lambda x: inner["layers"](x)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), inner, torch.nn.Linear(8, 1)
    )

    def batch(step):
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        return x, x.sum(1, keepdim=True)

    def loss(model, pair, step):
        return ((model(pair[0]) - pair[1]) ** 2).mean()

    return training.fit(
        model, batch, loss, work, steps, rate=1e-2, minutes=minutes, muon=muon, **more
    )


TWICE = {"steps": ((7, 1.0), (5, 0.5)), "heads": ("3.",)}


@pytest.mark.parametrize("muon", [0.0, 1e-2])
@pytest.mark.parametrize("plan", [{"steps": 12}, TWICE], ids=["once", "twice"])
def test_a_run_stopped_at_every_step_equals_an_undisturbed_one(tmp_path, muon, plan):
    whole = _fit(tmp_path / "whole", muon=muon, **plan)
    for _ in range(40):
        part = _fit(tmp_path / "parts", minutes=0.0, muon=muon, **plan)
        if part.finished:
            break
    assert part.finished and part.step == whole.step == 12
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, part.model.state_dict()[name]), name


def test_a_cycle_begun_from_exported_weights_is_that_of_a_run_from_nothing(tmp_path):
    whole = _fit(tmp_path / "whole", **TWICE)
    first = _fit(tmp_path / "first", 7)
    exported = {n: v for n, v in first.model.state_dict().items() if not n.startswith("3.")}
    grown = _fit(tmp_path / "grown", **TWICE, done=(1, exported))
    assert grown.step == 12
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, grown.model.state_dict()[name]), name
    del exported["0.weight"]
    with pytest.raises(UsageError, match=r"no weights to go on from for 0\.weight"):
        _fit(tmp_path / "bare", **TWICE, done=(1, exported))


def test_a_recipe_goes_on_from_the_cycles_of_its_card(tmp_path, monkeypatch):
    file = tmp_path / "card.json"
    monkeypatch.setattr(cards, "card", lambda role: file)
    recipe = SimpleNamespace(CYCLES=((3, 1.0), (2, 0.5)))
    for had, fits in (([[3, 1.0]], True), ([[3, 0.9]], False), ([[3, 1.0], [2, 0.5]], False)):
        file.write_text(json.dumps({"cycles": had, "minutes": 4.0}))
        if fits:
            assert cards.grown("ground", recipe)["minutes"] == 4.0
        else:
            with pytest.raises(UsageError, match="the recipe of ground does not go on"):
                cards.grown("ground", recipe)
    with pytest.raises(UsageError):
        cards.grown("ground", SimpleNamespace(STEPS=3))


def test_muon_trains_the_matrices_of_layers_and_nothing_else(tmp_path):
    adam, both = _fit(tmp_path / "adam", 1), _fit(tmp_path / "both", 1, muon=1e-2)
    for name, weight in adam.model.state_dict().items():
        same = torch.equal(weight, both.model.state_dict()[name])
        assert same is (name != "2.layers.weight"), name


@pytest.mark.parametrize("muon", [0.0, 1e-2])
def test_training_learns(tmp_path, muon):
    run = _fit(tmp_path, 400, muon=muon)
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(99_999))
    with torch.no_grad():
        assert ((run.model(x) - x.sum(1, keepdim=True)) ** 2).mean() < 0.2


def test_widen_redraws_what_is_too_small_and_nothing_else():
    small, zero, wide = (torch.nn.Linear(64, 64) for _ in range(3))
    torch.nn.init.normal_(small.weight, std=0.02)
    torch.nn.init.zeros_(zero.weight)
    torch.nn.init.xavier_uniform_(wide.weight)
    before = wide.weight.clone()
    training.widen(torch.nn.Sequential(small, zero, wide))
    assert float(small.weight.detach().std()) == pytest.approx(64**-0.5, rel=0.1)
    assert not zero.weight.detach().any() and torch.equal(wide.weight, before)


def test_every_word_of_the_captions_is_one_token():
    tokenizer = words.tokenizer()
    table = words.vocabulary()
    assert [table[t] for t in ("[PAD]", "[CLS]", "[SEP]", ".")] == [0, 101, 102, 1012]
    for i in range(60):
        for written in captions(scene(8, i, 48, ("train", "val", "test")[i % 3])):
            tokens = tokenizer.tokenize(written.text)
            assert not [t for t in tokens if t.startswith("##") or t == "[UNK]"], written.text
    assert "[UNK]" not in tokenizer.tokenize("zebra 42")  # letter by letter


def test_a_phrase_means_everything_it_fits():
    for i in range(40):
        s = scene(0, i, 96)
        men = [p.box for p in s.people if p.who.noun == "man"]
        boxes = ground.truth(s, "a man")
        assert sorted(boxes) == sorted(tuple(v / 96 for v in b) for b in men)
        assert ground.truth(s, "another man") == ground.truth(s, "man") == boxes
        assert len(ground.truth(s, "person")) == len(s.people)
        assert ground.truth(s, "a submarine") == []
        for written in captions(s):
            for m in written.mentions:
                box = next(o.box for o in (*s.people, *s.things) if o.id == m.instance)
                assert tuple(v / 96 for v in box) in ground.truth(s, m.phrase), m.phrase


def test_average_precision_by_hand():
    rows = [(0.9, True), (0.8, False), (0.7, True)]
    assert ground.average_precision(rows, 2) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert ground.average_precision(rows, 4) == pytest.approx((1 + 2 / 3) / 4)
    assert ground.average_precision([], 3) == 0


def test_pose_windows_are_cut_as_the_processor_cuts_them():
    from transformers import VitPoseImageProcessorPil

    from socialcli.miniature.zoo import data

    scenes = [scene(0, i, 96) for i in range(4)]
    boxes = [s.people[0].box for s in scenes]
    processor = VitPoseImageProcessorPil(size={"height": pose.HEIGHT, "width": pose.WIDTH})
    coco = [[[x0, y0, x1 - x0, y1 - y0]] for x0, y0, x1, y1 in boxes]
    processed = processor(images=[s.image for s in scenes], boxes=coco, return_tensors="pt")
    black = torch.tensor([-m / s for m, s in zip(*data.IMAGENET, strict=True)]).view(1, 3, 1, 1)
    windows = torch.tensor([pose.window(b) for b in boxes])
    cut = pose.cut(data.pixels(scenes) - black, windows) + black
    assert (cut - processed["pixel_values"]).abs().mean() < 0.05


@pytest.mark.parametrize("role", ROLES)
def test_a_card_belongs_to_its_weights(role):
    card = json.loads(cards.card(role).read_text())
    assert card["sha256"]
    module = importlib.import_module(f"socialcli.miniature.zoo.{role}")
    assert [tuple(c) for c in card.get("cycles", [])] == list(getattr(module, "CYCLES", ()))
    for name, sha in card["sha256"].items():
        data = (cards.folder(role) / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha, name
        assert len(data) <= cards.LARGEST


def test_all_weights_together_are_small_enough_to_commit():
    files = [p for p in cards.folder("face").parent.rglob("*") if p.is_file()]
    assert 2**20 < sum(p.stat().st_size for p in files) <= cards.ALL


# A few test scenes must give about what the card says of many: these networks are trained ones.
MEASURES = {"ground": "ap50", "segment": "mean_iou", "face": "recall50", "pose": "pck",
            "gaze": "point_in_box"}  # fmt: skip


@pytest.mark.parametrize("role", [r for r in ROLES if r in MEASURES])
def test_a_published_miniature_works_through_the_backend(role, monkeypatch):
    module = importlib.import_module(f"socialcli.miniature.zoo.{role}")
    monkeypatch.setattr(module, "TEST", 24)
    measured = json.loads(cards.card(role).read_text())["test"][MEASURES[role]]
    assert module.measure(cards.folder(role))[MEASURES[role]] >= measured - 0.15


def test_the_table_says_what_was_missed(tmp_path, monkeypatch):
    measured = {"gaze": {"point_in_box": 0.85, "median_degrees": 12.1}, "ground": {"ap50": 0.919},
            "ssr": {"face_gain": 0.4, "face_gain_low": 0.0},
            "controlnet": {"pck": 0.1}}  # fmt: skip
    for role, test in measured.items():
        (tmp_path / role).write_text(json.dumps({"test": test}))
    monkeypatch.setattr(cards, "card", lambda role: tmp_path / role)
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in cards.table().splitlines()[2:]]
    assert [(r[0], r[2], r[3], r[4]) for r in rows] == [
        ("gaze", "0.85", "0.850", "met"), ("gaze", "at most 12", "12.100", "missed"),
        ("ground", "0.92", "0.919", "missed"), ("ssr", "0.35", "0.400", "met"),
        ("ssr", "0", "0.000", "missed"),
        ("controlnet", "", "0.100", ""),
    ]  # fmt: skip


def test_every_role_is_in_the_table_with_what_its_card_says():
    assert {role for role, *_ in cards.ASKED} == {*ROLES}
    assert len(cards.table().splitlines()) == 2 + len(cards.ASKED)


def test_a_card_is_measured_again_only_for_its_own_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "folder", lambda role: tmp_path)
    (tmp_path / "model").write_bytes(b"weights")
    sha = hashlib.sha256(b"weights").hexdigest()
    facts = {"role": "vae", "test": {"psnr": 1.0}, "sha256": {"model": sha}}
    cards.card("vae").write_text(json.dumps(facts))
    cards.remeasure("vae", {"psnr": 2.0})
    assert json.loads(cards.card("vae").read_text()) == {**facts, "test": {"psnr": 2.0}}
    (tmp_path / "model").write_bytes(b"others")
    with pytest.raises(UsageError, match="not the file that the card of vae is about"):
        cards.remeasure("vae", {"psnr": 3.0})
