"""Learned interactions: who the subjects are, what trains in which stage, what comes out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from parts import part
from safetensors.torch import load_file
from tiny import diffusion as tiny

from socialcli import records, shards
from socialcli.errors import SampleFailed, UsageError
from socialcli.methods.invert.interaction import _exemplars, _options, _poses, _words
from socialcli.miniature.world import interactions as world
from socialcli.randomness import Draw, Variant
from socialcli.shards import index as indexing

method = part("methods.invert", "interaction")
TWO = (0, 7)  # kneel-before, push
FILE = "learned_embeds.safetensors"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[str, str]:
    """A tiny model and a ControlNet of it."""
    place = tmp_path_factory.mktemp("models")
    tiny.controlnet(place / "controlnet")
    return str(tiny.stable_diffusion(place / "model")), str(place / "controlnet")


@pytest.fixture(scope="module")
def exemplars(tmp_path_factory) -> str:
    """Two exemplars of each of two interactions."""
    place = tmp_path_factory.mktemp("data") / "a.tar"
    numbers = [number + 15 * turn for turn in (0, 1) for number in TWO]
    samples = [(world.key("interactions", n), world.exemplar(0, n, 64)) for n in numbers]
    shards.write(place, samples)
    return str(place)


def values(models: tuple[str, str], **changed):
    model, controlnet = models
    small = {
        "device": "cpu", "dtype": "float32", "steps": 3, "model": model, "quiet": True,
        "controlnet_model": controlnet, "sampling_steps": 2, "batch_size": 2, "micro_batch": 2,
        "variants": 2, "attention_side": 8, "pose_initial_word": "standing",
        "mixed_precision": "no", "learning_rate": 0.05,
    }  # fmt: skip
    return {**dataclasses.asdict(method.Config()), **small, **changed}


def invert(output: Path, inputs: str, models: tuple[str, str], **changed) -> None:
    from socialcli.training import loop

    loop.run("invert", "interaction", method, values(models, **changed), [inputs], str(output))


def state(one, models, inputs: str, tmp_path: Path, **changed):
    """A stage's state, as the loop makes it."""
    from socialcli.training.place import Clock, Place

    cpu = torch.device("cpu")
    config = method.Config(**values(models, **changed))
    index = one.select(config, indexing.build([inputs], tmp_path / "cache"))
    return one.load(config, Place(cpu, torch.float32, Clock(cpu), index=index))


@pytest.fixture(scope="module")
def learned(tmp_path_factory, models, exemplars) -> Path:
    """A run of both stages."""
    place = tmp_path_factory.mktemp("both")
    invert(place, exemplars, models)
    return place


# --- exemplars ------------------------------------------------------------------------------------


def sample_of(number: int = 0, **changed) -> shards.Sample:
    """An exemplar with some members changed by functions of their records."""
    members = world.exemplar(0, number, 64)
    for name, change in changed.items():
        member = f"{name}.json"
        record = records.load(records.MEMBERS[member], members[member], member)
        changed_record = change(record)
        if changed_record is None:
            del members[member]
        else:
            members[member] = records.dump(changed_record)
    return shards.Sample("x", members)


def without(_):
    return None


def test_subjects_come_in_the_order_of_the_interaction():
    sample = sample_of(1)
    act = sample.record(records.Interactions).interactions[0]
    people = {p.id: p for p in sample.record(records.People).people}
    first, second = _exemplars.pair(sample)
    assert first.keypoints == people[act.subject].keypoints
    assert second.keypoints == people[act.object_person].keypoints
    masks = {m.box: m for m in sample.record(records.Masks).masks}
    from socialcli.vision import masks as rle

    assert (first.mask == rle.decode(masks[act.subject].rle)).all()
    heads = [e.head for e in sample.record(records.Entities).entities]
    assert [first.noun, second.noun] == heads

    def turned(record):
        one = record.interactions[0]
        one.subject, one.object_person = one.object_person, one.subject
        return record

    again = _exemplars.pair(sample_of(1, interactions=turned))
    assert again[0].keypoints == second.keypoints


def test_without_interactions_the_triple_says_it_and_else_the_caption():
    plain = _exemplars.pair(sample_of(1))

    def swapped(record):
        record.triples[0].subject, record.triples[0].object = 2, 1
        return record

    of_triple = _exemplars.pair(sample_of(1, interactions=without))
    assert of_triple[0].keypoints == plain[0].keypoints
    turned = _exemplars.pair(sample_of(1, interactions=without, entities=swapped))
    assert turned[0].keypoints == plain[1].keypoints

    def silent(record):
        record.triples.clear()
        return record

    of_caption = _exemplars.pair(sample_of(1, interactions=without, entities=silent))
    assert of_caption[0].keypoints == plain[0].keypoints  # entity 1


def test_what_is_missing_is_named_with_the_command_that_adds_it():
    def alone(record):
        del record.people[1]
        return record

    def no_skeleton(record):
        record.people[0].keypoints = None
        return record

    def no_mask(record):
        del record.masks[0]
        return record

    for changed, message in (
        (
            {"people": alone},
            r"has one person, an interaction needs two \(socialcli annotate-pose\)",
        ),
        ({"people": no_skeleton}, r"1 of 2 people have a skeleton.*annotate-pose"),
        ({"masks": no_mask}, r"1 of 2 people have a mask.*socialcli segment"),
    ):
        with pytest.raises(SampleFailed, match=message):
            _exemplars.pair(sample_of(**changed))


def test_an_interaction_without_two_subjects_is_refused_before_a_model_loads(tmp_path, models):
    def alone(record):
        del record.people[1]
        return record

    file = tmp_path / "a.tar"
    shards.write(file, [(f"hug/{n}", sample_of(n, people=alone).members) for n in range(2)])
    nowhere = (str(tmp_path / "empty"), str(tmp_path / "empty"))
    (tmp_path / "empty").mkdir()  # a model that cannot be loaded
    with pytest.raises(
        UsageError, match=r"<hug.*>: none of its 2 exemplars has two subjects; hug/0"
    ):
        invert(tmp_path / "out", str(file), nowhere, by="folder")


def test_one_bad_exemplar_does_not_stop_the_run(tmp_path, models):
    def alone(record):
        del record.people[1]
        return record

    file = tmp_path / "a.tar"
    good, bad = sample_of(0).members, sample_of(15, people=alone).members
    shards.write(file, [("kneel/0", good), ("kneel/1", bad)])
    invert(tmp_path / "out", str(file), models, stages="relation-only", steps=2, by="folder")
    log = (tmp_path / "out" / "log.jsonl").read_text()
    assert "kneel/1" in log and "object_person links to person" in log


# --- what comes out -------------------------------------------------------------------------------


def test_both_stages_write_three_words_of_each_interaction(learned):
    words = load_file(learned / FILE)
    names = ("kneel-before", "push")
    assert set(words) == {f"<{n}{end}>" for n in names for end in ("", "-1", "-2")}
    poses = load_file(learned / "poses" / FILE)
    for token, vectors in poses.items():
        assert torch.equal(words[token], vectors)  # held in stage II
    from safetensors import safe_open

    with safe_open(learned / FILE, "pt") as file:
        header = file.metadata()
    assert header["socialcli.method"] == "interaction"
    assert json.loads(header["initial_words"])["<push-1>"] == "standing"


def test_words_have_the_statistics_of_their_part_of_speech(learned, models, exemplars, tmp_path):
    from socialcli.methods.invert.interaction import _state

    fresh = state(method, models, exemplars, tmp_path, stages="relation-only")
    words = load_file(learned / FILE)
    poses = {token for token in words if token.endswith(("-1>", "-2>"))}
    for part_of_speech, tokens in (("verbs", poses), ("prepositions", set(words) - poses)):
        prior = _state.prior(fresh, part_of_speech)
        for token in tokens:
            plain = (words[token][0] - prior.mean) / prior.std
            assert abs(float(plain.mean())) < 1e-4
            assert abs(float(plain.std(correction=0)) - 1) < 1e-4


def test_gone_on_with_it_ends_with_the_same_bits(tmp_path, learned, models, exemplars):
    """Each stage stopped after its first step, and stopped between the stages."""
    import shutil

    wanted = load_file(learned / FILE)
    whole = tmp_path / "whole"
    invert(whole / "poses", exemplars, models, stages="poses", steps=1)
    invert(whole / "poses", exemplars, models, stages="poses")
    alone = {"stages": "relation", "pose_words": str(whole / "poses")}
    invert(whole, exemplars, models, steps=1, **alone)
    invert(whole, exemplars, models, **alone)
    tensors = load_file(whole / FILE)
    assert all(torch.equal(tensors[token], wanted[token]) for token in wanted)
    between = tmp_path / "between"
    shutil.copytree(learned / "poses", between / "poses")
    before = (between / "poses" / "log.jsonl").read_bytes()
    invert(between, exemplars, models)
    tensors = load_file(between / FILE)
    assert all(torch.equal(tensors[token], wanted[token]) for token in wanted)
    assert (between / "poses" / "log.jsonl").read_bytes() == before  # not trained again
    # Longer stage I: other pose words than those that the relation was learned with.
    with pytest.raises(UsageError, match="pose words"):
        invert(between, exemplars, models, steps=4)


def test_each_stage_runs_alone(tmp_path, learned, models, exemplars):
    invert(tmp_path / "poses", exemplars, models, stages="poses")
    poses = load_file(tmp_path / "poses" / FILE)
    both = load_file(learned / FILE)
    assert all(torch.equal(poses[token], both[token]) for token in poses)
    invert(
        tmp_path / "relation", exemplars, models, stages="relation",
        pose_words=str(tmp_path / "poses"),
    )  # fmt: skip
    tensors = load_file(tmp_path / "relation" / FILE)
    assert all(torch.equal(tensors[token], both[token]) for token in both)


def test_ablations(tmp_path, learned, models, exemplars):
    both = load_file(learned / FILE)
    poses = str(learned / "poses")
    invert(tmp_path / "plain", exemplars, models, stages="relation", pose_words=poses, prior="none")
    plain = load_file(tmp_path / "plain" / FILE)
    assert not torch.equal(plain["<push>"], both["<push>"])
    invert(
        tmp_path / "silent", exemplars, models, stages="relation", pose_words=poses,
        weight_attention=0.0,
    )  # fmt: skip
    assert not torch.equal(load_file(tmp_path / "silent" / FILE)["<push>"], both["<push>"])
    lines = [
        json.loads(one) for one in (tmp_path / "silent" / "log.jsonl").read_text().splitlines()
    ]
    assert not any("attention" in key for line in lines for key in line)
    invert(tmp_path / "alone", exemplars, models, stages="relation-only")
    alone = load_file(tmp_path / "alone" / FILE)
    assert set(alone) == {"<push>", "<kneel-before>"} and alone["<push>"].shape[0] == 3


def test_project_holds_the_vectors_themselves(tmp_path, models, exemplars):
    from socialcli.methods.invert.interaction import _state

    invert(tmp_path / "p", exemplars, models, stages="relation-only", prior="project")
    fresh = state(method, models, exemplars, tmp_path, stages="relation-only")
    prior = _state.prior(fresh, "prepositions")
    for vectors in load_file(tmp_path / "p" / FILE).values():
        plain = (vectors - prior.mean) / prior.std
        assert plain.mean(1).abs().max() < 1e-4
        assert (plain.std(1, correction=0) - 1).abs().max() < 1e-4


# --- what trains ----------------------------------------------------------------------------------


def test_stage_one_trains_the_pose_words_alone(tmp_path, models, exemplars):
    loaded = state(_poses.POSES, models, exemplars, tmp_path)
    networks = (loaded.diffusion.unet, loaded.diffusion.vae, loaded.controlnet.network)
    assert not [p for n in networks for p in n.parameters() if p.requires_grad]
    trained = [p for p in _poses.POSES.trainable(loaded).parameters() if p.requires_grad]
    assert len(trained) == 4  # two interactions, two poses
    assert any("forward" in vars(layer) for layer in loaded.diffusion.unet.modules())  # lean
    sample = loaded.place.index.read(0)
    examples = [_poses.POSES.prepare(loaded, sample, Variant(0, sample.key, n, 2)) for n in (0, 1)]
    assert not torch.equal(examples[0]["hints"], examples[1]["hints"])  # mirrored
    features = _poses.POSES.features(loaded, examples)
    assert features[0]["latents"].shape == (2, 4, 8, 8)
    assert not torch.equal(features[0]["latents"], features[1]["latents"])
    for one, together in zip(examples, features, strict=True):
        (alone,) = _poses.POSES.features(loaded, [one])
        assert torch.allclose(alone["latents"], together["latents"], atol=1e-4)
        assert (alone["nouns"], alone["concepts"]) == (together["nouns"], together["concepts"])
    batch = {name: [one[name] for one in features] for name in ("nouns", "concepts")}
    batch["latents"] = torch.stack([one["latents"] for one in features])
    _poses.POSES.losses(loaded, batch, Draw(0, 0, [0, 1], ["a", "b"]))["denoise"].sum().backward()
    name = sample.key.partition("/")[0]
    for token, word in loaded.words.items():
        used = token in _words.pose_tokens(f"<{name}>")
        assert (word.new.grad is not None and bool(word.new.grad.abs().sum() > 0)) == used


def test_a_skeleton_says_where_the_subject_stands(tmp_path, models, exemplars):
    """What ControlNet draws depends on the skeleton, and only on one subject's."""
    loaded = state(_poses.POSES, models, exemplars, tmp_path)
    sample = loaded.place.index.read(0)
    hints = _poses.POSES.prepare(loaded, sample, Variant(0, sample.key, 0, 2))["hints"]
    first, second = _exemplars.pair(sample)
    xs = [[p[0] for p in s.keypoints.points if p[2] > 0] for s in (first, second)]
    for hint, where in zip(hints, xs, strict=True):
        columns = hint.amax((0, 1)).nonzero()[:, 0].float() / loaded.side
        assert abs(float(columns.min()) - min(where)) < 0.06
        assert abs(float(columns.max()) - max(where)) < 0.06


def relation(tmp_path, models, exemplars, learned, **changed):
    """Stage II with a batch of two."""
    loaded = state(
        method, models, exemplars, tmp_path, stages="relation", pose_words=str(learned / "poses"),
        **changed,
    )  # fmt: skip
    prepared = []
    for number in (0, 1):
        sample = loaded.place.index.read(number)
        prepared.append(method.prepare(loaded, sample, Variant(0, sample.key, 0, 2)))
    prepared = method.features(loaded, prepared)
    batch = {name: [one[name] for one in prepared] for name in ("nouns", "concepts")}
    batch |= {n: torch.stack([one[n] for one in prepared]) for n in ("mean", "deviation", "mask")}
    return loaded, batch


def test_stage_two_trains_the_relation_alone(tmp_path, models, exemplars, learned):
    loaded, batch = relation(tmp_path, models, exemplars, learned)
    losses = method.losses(loaded, batch, Draw(0, 0, [0, 1], ["a", "b"]))
    assert set(losses) == {"denoise", "attention"} and (losses["attention"] > 0).all()
    (losses["denoise"].sum() + losses["attention"].sum()).backward()
    for token, word in loaded.words.items():
        assert word.new.requires_grad == (not token.endswith(("-1>", "-2>")))
        if word.new.requires_grad:
            assert word.new.grad.abs().sum() > 0


def test_the_attention_loss_is_of_the_three_words_places(tmp_path, models, exemplars, learned):
    """Against maps of all tokens, from which the three are taken here."""
    from socialcli.diffusion import attention_maps
    from socialcli.losses import cross_attention

    loaded, batch = relation(tmp_path, models, exemplars, learned)
    draw = Draw(0, 0, [0, 1], ["a", "b"])
    attention = method.losses(loaded, batch, draw)["attention"]
    loaded.recorder.close()
    with torch.no_grad(), attention_maps.AttentionMaps(loaded.diffusion.unet) as maps:
        again = dataclasses.replace(loaded, recorder=None)
        method.losses(again, batch, draw)
    every = attention_maps.average(maps, 8, mean_heads=True)[:, 0]
    assert torch.allclose(every.sum(1), torch.ones_like(every[:, 0]), atol=1e-5)
    tokenizer = loaded.diffusion.tokenizer
    for at, name in enumerate(("kneel-before", "push")):
        o1, o2 = batch["nouns"][at]
        text = f"a {o1} <{name}-1> <{name}> a {o2} <{name}-2>"
        ids = tokenizer(text)["input_ids"]
        p1, r, p2 = (
            ids.index(tokenizer.convert_tokens_to_ids(f"<{name}{end}>")) for end in ("-1", "", "-2")
        )
        wanted = cross_attention.loss(
            every[at : at + 1, r], every[at : at + 1, [p1, p2]], batch["mask"][at : at + 1]
        )
        assert float(attention[at]) == pytest.approx(float(wanted), abs=1e-5)


def test_steps_lower_both_losses(tmp_path, models, exemplars, learned):
    """Gradient steps on one draw: the denoising and the attention term fall."""
    loaded, batch = relation(tmp_path, models, exemplars, learned)
    draw = Draw(0, 0, [0, 1], ["a", "b"])
    optimiser = torch.optim.Adam(list(loaded.trained.parameters()), lr=0.02)
    first = None
    for _ in range(12):
        values = method.losses(loaded, batch, draw)
        total = values["denoise"].mean() + values["attention"].mean()
        first = first if first is not None else float(total)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    assert float(total) < first


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stages": "relation"}, "--stages relation needs --pose-words"),
        ({"pose_words": "x"}, "--pose-words is for --stages relation, not both"),
        ({"prior": "strict"}, "--prior 'strict'"),
        ({"stages": "third"}, "--stages 'third'"),
        ({"verbs": "/nowhere/verbs.txt"}, "no readable list of verbs"),
    ],
)
def test_options_that_make_no_sense_are_told(tmp_path, exemplars, models, changed, message):
    with pytest.raises(UsageError, match=message):
        invert(tmp_path, exemplars, models, **changed)


def test_pose_words_of_other_interactions_are_refused(tmp_path, learned, models, exemplars):
    with pytest.raises(UsageError, match=r"it has no <x-kneel-before-1>, only .*--stages poses"):
        invert(
            tmp_path, exemplars, models, stages="relation", pose_words=str(learned / "poses"),
            token="<x-{name}>",
        )  # fmt: skip


def test_norms_are_those_of_the_loss():
    from socialcli.losses import cross_attention

    assert _options.NORMS == cross_attention.NORMS


def test_pictures_of_both_stages_are_drawn(tmp_path, models, exemplars, caplog, monkeypatch):
    import logging

    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    invert(tmp_path, exemplars, models, steps=1, validate_every=1)
    assert "are not expected" not in caplog.text  # words that are constant: the UNet as ever
    for stage in ("poses", "."):
        assert (tmp_path / stage / "pictures" / "step-000001.png").exists()
