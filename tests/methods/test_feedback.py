"""The feedback method on tiny networks: what is decoded, who is asked, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import shutil
from types import SimpleNamespace

import pytest
import scenes
import torch
from parts import part
from tiny import diffusion, interaction, people, xpose
from transformers import CLIPVisionModel

from socialcli import backends, records, shards
from socialcli.config import check_bounds
from socialcli.errors import ModelMissing, SampleFailed, UsageError
from socialcli.miniature.zoo import interaction as zoo
from socialcli.networks import interactions
from socialcli.randomness import Draw, Variant
from socialcli.shards import Sample
from socialcli.shards import index as indexing
from socialcli.training.place import Clock, Place

feedback = part("methods.train", "feedback")

SIZE = 64
CLASSES = (("hold", "dog"), ("walk", "dog"), ("ride", "horse"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of every model, tiny and of random weights."""
    from transformers import CLIPVisionConfig
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    place = tmp_path_factory.mktemp("models")
    diffusion.stable_diffusion(place / "base")
    torch.manual_seed(1)
    vision = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=24, intermediate_size=32, num_hidden_layers=6, num_attention_heads=2,
            image_size=28, patch_size=14, projection_dim=16,
        )
    )  # fmt: skip
    vision.save_pretrained(place / "clip")
    square = {"height": 28, "width": 28}
    CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=square).save_pretrained(
        place / "clip"
    )
    people.backbone(place / "backbone.pth")
    people.sharingan(place / "gaze.pt")
    people.vitpose(place / "pose")
    classes = [
        {"hoi": n, "verb": verb, "object": thing, "rare": False}
        for n, (verb, thing) in enumerate(CLASSES)
    ]
    shape = zoo.network(window=24, widths=(8, 16)).config
    network = interactions.InteractionNetwork({**shape, "classes": classes})
    with torch.no_grad():  # as if it had seen pictures: no channel is switched off
        pair = torch.tensor([[0.1, 0.1, 0.4, 0.9, 0.5, 0.4, 0.8, 0.9]])
        network.train()(torch.randn(8, 3, 96, 96), [pair] * 8)
    interactions.save(network, place / "interaction")
    return place


def config(models, **options) -> feedback.Config:
    defaults = {
        "model": str(models / "base"), "clip_model": str(models / "clip"), "ssr_model": "new",
        "identity_model": str(models / "backbone.pth"), "gaze_model": str(models / "gaze.pt"),
        "pose_model": str(models / "pose"), "interaction_model": str(models / "interaction"),
        "size": SIZE, "least_face": 2.0, "pose_least_score": -9.0, "device": "cpu",
        "dtype": "float32", "gaze_source": "any",
    }  # fmt: skip
    return feedback.Config(**{**defaults, **options})


def load(models, dtype=torch.float32, **options) -> feedback.State:
    values = config(models, **options)
    feedback.check_options(values)
    device = torch.device("cpu")
    torch.manual_seed(0)  # as the loop does
    return feedback.load(values, Place(device, dtype, Clock(device)))


def sample(number: int = 0, without: tuple[str, ...] = (), **changed) -> Sample:
    by_suffix = {**scenes.all_records((SIZE, SIZE)), **changed}
    members = {
        s: r if isinstance(r, bytes) else records.dump(r)
        for s, r in by_suffix.items()
        if s not in without
    }
    return Sample(f"s{number}", {"jpg": scenes.picture(number, size=(SIZE, SIZE)), **members})


def batch(state, count: int = 4, first: int = 0, given=None):
    """(collated batch, its keys) of ``count`` samples, as the loop makes them."""
    given = given or [sample(first + n) for n in range(count)]
    examples = [feedback.prepare(state, s, Variant(0, s.key, 0)) for s in given]
    features = [feedback.features(state, [e])[0] for e in examples]
    return feedback.collate(state, features), [s.key for s in given]


class At(Draw):
    """A draw whose timesteps are given."""

    def uniform(self, name, *shape):
        steps = getattr(self, "steps_given", None)
        if name == "timestep" and steps is not None:
            step = torch.tensor(steps, dtype=torch.float64)
            low = step < 500
            return torch.where(low, (step + 0.5) * 2, step + 0.5 + 500) / 1500
        return super().uniform(name, *shape)


def draw(keys, steps=None, first: int = 0) -> At:
    drawn = At(0, 3, list(range(first, first + len(keys))), keys)
    object.__setattr__(drawn, "steps_given", steps)
    return drawn


def run(state, steps=None, count=4, first=0, given=None):
    collated, keys = batch(state, count, first, given)
    return feedback.losses(state, collated, draw(keys, steps, first))


# --- gates and cost -------------------------------------------------------------------------------


def test_each_feedback_speaks_where_its_gate_is_open(models):
    state = load(models)
    steps = [0, 200, 201, 400, 401, 500, 501, 700, 701, 999]
    values = run(state, steps, len(steps))
    assert set(values) == {"denoise", "regularisation", *feedback_names()}
    for name, value in values.items():
        last = {"gaze": 200, "identity": 400, "interaction": 500, "pose": 700}.get(name, 999)
        assert value.shape == (10,) and torch.isfinite(value).all()
        assert (value > 0).tolist() == [step <= last for step in steps], name
    assert set(feedback.weights(state.config).values()) == {1.0, 0.01}


def feedback_names():
    return ("boundary", "identity", "gaze", "pose", "interaction")


def watched(state, monkeypatch):
    """Record how many pictures are decoded, and how many each detector is shown."""
    seen: dict[str, list[int]] = {"decode": []}
    decode = type(state).decode

    def counted(self, latents):
        seen["decode"].append(len(latents))
        return decode(self, latents)

    monkeypatch.setattr(type(state), "decode", counted)
    for name, one in state.watch.items():
        seen[name] = []

        def values(pictures, examples, one=one, name=name, real=one.values):
            seen[name].append(len(pictures))
            return real(pictures, examples)

        monkeypatch.setattr(one, "values", values)
    return seen


def test_only_what_an_open_gate_asks_for_is_decoded_and_shown(models, monkeypatch):
    state = load(models, feedback="identity,gaze,pose,interaction")
    collated, keys = batch(state, 5)
    seen = watched(state, monkeypatch)
    feedback.losses(state, collated, draw(keys, [100, 300, 450, 600, 900]))
    assert seen == {"decode": [4], "identity": [2], "gaze": [1], "pose": [4], "interaction": [3]}
    feedback.losses(state, collated, draw(keys, [800, 900, 950, 999, 701]))
    assert seen["decode"] == [4] and seen["pose"] == [4]


def test_samples_with_nothing_to_watch_are_neither_decoded_nor_shown(models, monkeypatch):
    state = load(models, feedback="identity,interaction")
    nobody = records.People(SIZE, SIZE, [])
    given = [sample(0), sample(1, without=("interactions.json",), **{"people.json": nobody})]
    collated, keys = batch(state, given=given)
    seen = watched(state, monkeypatch)
    values = feedback.losses(state, collated, draw(keys, [10, 10]))
    assert seen == {"decode": [1], "identity": [1], "interaction": [1]}
    assert values["identity"][1] == 0 and values["interaction"][1] == 0
    assert (values["denoise"] > 0).all()


def test_without_feedback_nothing_is_decoded(models, monkeypatch):
    state = load(models, feedback="none")
    collated, keys = batch(state)
    seen = watched(state, monkeypatch)
    assert set(feedback.losses(state, collated, draw(keys))) == {"denoise", "regularisation"}
    assert seen == {"decode": []}


def test_micro_batches_agree_with_one_batch(models):
    state = load(models)
    steps = [10, 150, 350, 650]
    whole = run(state, steps, 4)
    parts = [run(state, steps[:1], 1, 0), run(state, steps[1:], 3, 1)]
    for name, value in whole.items():
        joined = torch.cat([part[name] for part in parts])
        assert torch.allclose(joined, value, rtol=1e-4, atol=1e-6), name


def test_a_small_decoder_decodes_what_detectors_see_and_nothing_else(models, tmp_path, monkeypatch):
    """Its gradients reach the encoder; validation pictures are drawn by the model's own."""
    from socialcli.networks import tiny_decoder

    torch.manual_seed(3)
    tiny_decoder.save(tiny_decoder.create(4, 8, [1, 1, 0]), tmp_path, {})
    options = {"decoder": "tiny", "decoder_model": str(tmp_path), "feedback": "boundary,identity"}
    state = load(models, **options)
    used, real = [], type(state.base).decode

    def decode(self, latents):
        used.append(len(latents))
        return real(self, latents)

    monkeypatch.setattr(type(state.base), "decode", decode)
    collated, keys = batch(state, 2)
    values = feedback.losses(state, collated, draw(keys, [10, 20]))
    assert not used and (values["boundary"] > 0).all() and (values["identity"] > 0).all()
    values["identity"].sum().backward()
    assert max(p.grad.abs().max() for p in state.encoder.parameters()) > 0
    latents = torch.randn(1, 4, 16, 16)
    assert torch.equal(state.decode(latents), tiny_decoder.load(tmp_path)(latents))
    state.place.index = indexed(tmp_path, [sample(0)])
    state.config.validation_steps = 1
    feedback.validate(state)
    assert used
    specs = {spec.role: spec for spec in feedback.models(state.config)}
    assert specs["decoder"].model == str(tmp_path)
    tiny_decoder.save(tiny_decoder.create(4, 8, [1, 0]), tmp_path, {})
    with pytest.raises(UsageError, match="2 pixels a side of a latent, the model has 4 and 4"):
        load(models, **options)


class Offset(At):
    """A draw whose spread numbers have the given offset."""

    def spread(self, name):
        positions = torch.tensor(self.positions, dtype=torch.float64)
        return (self.offset + positions * 0.618) % 1.0


def test_a_share_of_the_feedback_costs_less_and_says_the_same_on_average(models, monkeypatch):
    """All eight offsets of the random numbers: each sample is asked about in half of them."""
    state = load(models)
    steps = [10, 150, 350, 650]
    collated, keys = batch(state, 4)
    whole = feedback.losses(state, collated, draw(keys, steps))
    seen = watched(state, monkeypatch)
    state.config = dataclasses.replace(state.config, feedback_share=0.5)
    total = {name: torch.zeros(4, dtype=torch.float64) for name in whole}
    for number in range(8):
        drawn = Offset(0, 3, [0, 1, 2, 3], keys)
        object.__setattr__(drawn, "steps_given", steps)
        object.__setattr__(drawn, "offset", number / 8)
        values = feedback.losses(state, collated, drawn)
        asked = drawn.spread("") < 0.5
        for name, value in values.items():
            total[name] += value.detach().double() / 8
            if name in feedback_names():
                expected = torch.where(asked, 2 * whole[name], 0)
                assert torch.allclose(value, expected, rtol=1e-4, atol=1e-6), name
    for name, value in whole.items():
        assert torch.allclose(total[name], value.double(), rtol=1e-4, atol=1e-6), name
    assert sum(seen["decode"]) == 8 * 4 / 2
    for share in (0.0, 1.5):
        with pytest.raises(UsageError, match="--feedback-share"):
            check_bounds(feedback.Config, {"feedback_share": share})


# --- what is computed -----------------------------------------------------------------------------


def test_feedback_is_nothing_for_a_perfect_prediction(models, monkeypatch):
    """A UNet that says the true noise: the estimate is the reconstruction of the original."""
    options = {"originals": "reconstruction", "gaze_targets": "detector"}
    state = load(models, feedback="boundary,identity,gaze,pose", **options)
    collated, keys = batch(state)
    collated["latents"][:, 1] = 0  # no sampling from the posterior
    drawn = draw(keys, [10, 100, 200, 50])
    noise = drawn.normal("noise", *collated["latents"].shape[2:])
    real = state.base.unet

    def perfect(noisy, *rest, **more):
        return SimpleNamespace(sample=noise + 0 * real(noisy, *rest, **more).sample)

    wrong = feedback.losses(state, collated, drawn)
    monkeypatch.setattr(state.base, "unet", perfect)
    right = feedback.losses(state, collated, drawn)
    assert right["denoise"].max() < 1e-10
    for name in state.names:
        assert right[name].max() < min(1e-6, wrong[name].min() / 20), name


def test_gradients_reach_the_encoder_and_nothing_else(models):
    state = load(models)
    values = run(state, [10, 20], 2)
    for name in feedback_names():
        state.encoder.zero_grad()
        values[name].sum().backward(retain_graph=True)
        for place, parameter in state.encoder.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, (name, place)
    frozen = (*state.base.networks, state.vision)
    assert all(p.grad is None for network in frozen for p in network.parameters())
    assert feedback.trainable(state) is state.encoder
    groups = feedback.groups(state)
    assert groups[1]["scale"] * 5e-5 == pytest.approx(5e-7) and "scale" not in groups[0]
    assert sum(len(g["params"]) for g in groups) == len(list(state.encoder.parameters()))


def test_checkpointed_activations_give_the_same_gradients(models):
    gradients = []
    for saving in (False, True):
        state = load(models, gradient_checkpointing=saving, feedback="boundary,identity")
        values = run(state, [10, 20], 2)
        sum(v.sum() for v in values.values()).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in state.encoder.parameters()]))
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6) and gradients[0].abs().max() > 0


def test_half_precision_of_the_frozen_is_near(models):
    """Frozen networks in bfloat16, what trains in float32, gradients in float32."""
    steps = [10, 20]
    whole, half = load(models), load(models, torch.bfloat16)
    assert half.base.unet.dtype == torch.bfloat16
    expected, halved = run(whole, steps, 2), run(half, steps, 2)
    for name, value in halved.items():
        assert value.dtype == torch.float32
        assert torch.allclose(value, expected[name], rtol=0.1, atol=0.02), name
    sum(v.sum() for v in halved.values()).backward()
    for parameter in half.encoder.parameters():
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        assert torch.isfinite(parameter.grad).all()


def test_a_few_steps_bring_every_term_down(models):
    """The same samples, noise and timesteps again and again: descent must descend."""
    state = load(models, caption_drop=1.0, feedback="boundary,identity,pose")
    collated, keys = batch(state, 2)
    drawn = draw(keys, [20, 180])
    optimiser = torch.optim.Adam(state.encoder.parameters(), 2e-3)
    factors = dict.fromkeys(feedback.weights(state.config), 1.0)
    first = last = None
    for _ in range(6):
        optimiser.zero_grad()
        values = feedback.losses(state, collated, drawn)
        total = sum(factors[name] * value.mean() for name, value in values.items())
        total.backward()
        optimiser.step()
        first, last = first if first is not None else total.item(), total.item()
    assert last < first


def test_the_caption_is_dropped_as_often_as_asked(models, monkeypatch):
    for chance, expected in ((1.0, 0), (0.0, 8), (0.5, 4)):
        state = load(models, feedback="none", caption_drop=chance)
        collated, keys = batch(state, 8)
        captioned = []
        real = state.encoder.condition

        def condition(text, *rest, real=real, captioned=captioned, nothing=state.nothing):
            captioned.extend((row - nothing).abs().max().item() > 1e-6 for row in text)
            return real(text, *rest)

        monkeypatch.setattr(state.encoder, "condition", condition)
        feedback.losses(state, collated, draw(keys))
        assert abs(sum(captioned) - expected) <= (3 if chance == 0.5 else 0)


def test_features_come_back_from_the_cache_as_they_were(models, tmp_path):
    from socialcli.training.features import Features

    state = load(models)
    collated, keys = batch(state, 2)
    kept = Features(tmp_path, 0.0, 1.0)
    for number, example in enumerate(collated["examples"]):
        kept.put(keys[number], 0, example)
    again = feedback.collate(state, [Features(tmp_path, 0.0, 1.0).get(k, 0) for k in keys])
    drawn = draw(keys, [10, 20])
    one, other = feedback.losses(state, collated, drawn), feedback.losses(state, again, drawn)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_annotated_targets_where_they_are_asked_for(models):
    state = load(models, feedback="gaze,pose", pose_targets="shards", gaze_term="heatmap")
    collated, _ = batch(state, 1)
    example = collated["examples"][0]
    assert "gaze_maps" not in example
    heads, points = example["gaze_heads"], example["gaze_points"]
    assert len(heads) == len(points) and torch.isfinite(points).any()
    assert set(example["pose_weights"].flatten().tolist()) <= {0.0, 1.0}
    both = load(models, feedback="gaze", gaze_targets="detector", gaze_term="heatmap")
    example = batch(both, 1)[0]["examples"][0]
    assert example["gaze_maps"].shape == (len(example["gaze_heads"]), 64, 64)


def test_feedback_of_gaze_lle(models, tmp_path):
    """Another estimator behind the same flag: its value has a gradient in the picture's latents."""
    folder = str(people.gazelle(tmp_path / "gazelle"))
    state = load(
        models, feedback="gaze", gaze_backend="gazelle", gaze_model=folder, gate_gaze="all"
    )
    data, keys = batch(state, 1)
    values = feedback.losses(state, data, draw(keys, [100]))["gaze"]
    assert values.requires_grad and 0 < float(values.detach().sum()) < 4
    values.sum().backward()
    trained = [p.grad for p in feedback.trainable(state).parameters() if p.grad is not None]
    assert trained and max(float(g.abs().max()) for g in trained) > 0


def test_feedback_of_x_pose(models, tmp_path, monkeypatch):
    """People and the dog, each asked for by its name; the loss has a gradient, and is 0 where
    nothing moved."""
    from socialcli.networks.xpose import choice

    monkeypatch.setattr(choice, "OVERLAP", 0.0)  # the tiny network's boxes are random
    state = load(
        models, feedback="pose", pose_backend="xpose", gate_pose="all", pose_subjects="all",
        pose_model=str(xpose.xpose(tmp_path / "xpose")), pose_window=96, pose_least_score=1e-6,
    )  # fmt: skip
    alone = sample(1)
    nobody = dataclasses.replace(scenes.all_records((SIZE, SIZE))["people.json"], people=[])
    car = dataclasses.replace(scenes.all_records((SIZE, SIZE))["boxes.json"])
    car.boxes = [records.Box(5, (0.2, 0.2, 0.9, 0.8), "car")]
    other = sample(2, **{"people.json": nobody, "boxes.json": car})
    data, keys = batch(state, given=[alone, other])
    people_and_dog, only_car = data["examples"]
    body = ["person", "coco17"]
    assert people_and_dog["pose_kinds"] == [body, body, ["dog", "animal"]]
    assert only_car["pose_kinds"] == [["car", "car"]]
    assert only_car["pose_weights"][0, :14].tolist() == [1.0] * 8 + [0.0] + [1.0] * 4 + [0.0]
    watch, examples = state.watch["pose"], data["examples"]
    pictures = torch.stack([p["picture"] for p in prepared(state, [alone, other])]) / 127.5 - 1
    with torch.no_grad():
        assert watch.values(pictures, examples).tolist() == pytest.approx([0, 0], abs=1e-9)
        assert (watch.values(pictures.flip(-1), examples) > 0).all()
    values = feedback.losses(state, data, draw(keys, [100, 100]))["pose"]
    assert values.shape == (2,) and (values.detach() > 0).all()
    values.sum().backward()
    trained = [p.grad for p in feedback.trainable(state).parameters() if p.grad is not None]
    assert trained and max(float(g.abs().max()) for g in trained) > 0
    with pytest.raises(UsageError, match="vitpose knows people only"):
        feedback.check_options(config(models, pose_subjects="all"))


def prepared(state, given):
    return [feedback.prepare(state, s, Variant(0, s.key, 0)) for s in given]


def test_cmmp_gives_feedback(models, tmp_path):
    """Of annotated pairs, and of the pairs that its own detector finds in the estimate."""
    file = interaction.checkpoint(tmp_path)
    chosen = {"interaction_backend": "cmmp", "interaction_model": str(file)}
    state = load(models, feedback="interaction", **chosen)
    values = run(state, [10], count=1)["interaction"]
    assert torch.isfinite(values).all() and values[0] > 0
    values.sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in state.encoder.parameters())
    state = load(models, feedback="interaction", interaction_pairs="detected", **chosen)
    assert torch.isfinite(run(state, [10], count=1)["interaction"]).all()
    with pytest.raises(
        UsageError, match="--interaction-backend pairwise has no detector of its own"
    ):
        load(models, feedback="interaction", interaction_pairs="detected")


def test_interactions_are_those_the_object_allows(models):
    state = load(models, feedback="interaction")
    example = batch(state, 1)[0]["examples"][0]
    assert example["interaction_objects"] == ["dog"] and example["interaction_verbs"] == [["hold"]]
    assert example["interaction_labels"].tolist() == [[1, 0, 0]]
    assert example["interaction_prior"].tolist() == [[1, 1, 0]]
    unknown = scenes.all_records((SIZE, SIZE))["interactions.json"]
    unknown.interactions[0].object_label = "zeppelin"
    given = [sample(0), sample(1, **{"interactions.json": unknown})]
    values = run(state, [10, 10], given=given)["interaction"]
    assert values[0] > 0 and values[1] == 0


def test_queries_name_the_subjects(models):
    asked = {}
    for query in ("nouns", "phrases", "caption"):
        state = load(models, feedback="none", query=query)
        asked[query] = feedback.prepare(state, sample(), Variant(0, "s0", 0))["query"]
    assert asked["caption"] == scenes.TEXT
    assert asked["nouns"].split(", ")[0] == "woman" and len(asked["nouns"]) < len(asked["phrases"])


def test_inverse_weights_open_every_gate(models, tmp_path):
    file = tmp_path / "curves.json"
    curves = {name: [1.0, 3.0] for name in feedback_names()}
    file.write_text(json.dumps(curves))
    plain = load(models, feedback="gaze", gate_gaze="all")
    inverse = load(models, feedback="gaze", weighting="inverse", curves=str(file))
    steps = [100, 300, 700, 900]
    values, shifted = run(plain, steps)["gaze"], run(inverse, steps)["gaze"]
    assert (values > 0).all()
    assert torch.allclose(shifted / values, torch.tensor([1.5, 1.5, 0.5, 0.5]), rtol=1e-4)
    file.write_text(json.dumps({"pose": [1.0]}))
    with pytest.raises(UsageError, match="no curve of gaze"):
        load(models, feedback="gaze", weighting="inverse", curves=str(file))


def test_curves_are_measured_at_all_timesteps_without_training(models, tmp_path):
    file = tmp_path / "curves.json"
    state = load(models, feedback="pose,gaze", write_curves=str(file))
    assert set(feedback.weights(state.config).values()) == {0.0}
    first = run(state, [10, 300, 600, 990])
    run(state, [20, 300, 640, 990])
    feedback.save(state, tmp_path / "out", {})
    from socialcli.diffusion import timesteps

    curves = timesteps.read_curves(str(file))
    assert set(curves) == {"pose", "gaze"} and len(curves["pose"]) == 20
    assert curves["pose"][6] > 0 and curves["pose"][-1] > 0
    assert first["gaze"].min() > 0  # no gate closed


def test_validation_draws_the_first_samples(models, tmp_path):
    state = load(models, feedback="none", validation_steps=2)
    silent = scenes.raw(records.Caption(" "))
    given = [sample(n, **({"caption.json": silent} if n == 1 else {})) for n in range(6)]
    state.place.index = indexed(tmp_path, given)
    drawn = feedback.validate(state)
    assert [caption for caption, _ in drawn] == [scenes.TEXT] * 4
    assert all(p.size == (SIZE, SIZE) for _, p in drawn)
    again = feedback.validate(state)
    assert [p.tobytes() for _, p in drawn] == [p.tobytes() for _, p in again]
    assert drawn[0][1].tobytes() != drawn[1][1].tobytes()


def test_what_is_saved_is_loaded_again(models, tmp_path):
    state = load(models, feedback="none")
    with torch.no_grad():
        for parameter in state.encoder.parameters():
            parameter.add_(torch.randn_like(parameter))
    feedback.save(state, tmp_path / "out", {"step": "3"})
    again = load(models, feedback="none", ssr_model=str(tmp_path / "out"))
    saved, loaded = state.encoder.state_dict(), again.encoder.state_dict()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)


def test_the_tower_beside_the_encoder_is_the_default_and_goes_along(models, tmp_path):
    shutil.copytree(models / "clip", tmp_path / "other")
    vision = CLIPVisionModel.from_pretrained(tmp_path / "other")
    with torch.no_grad():
        vision.embeddings.class_embedding += 0.1
    vision.save_pretrained(tmp_path / "other")

    first = load(models, feedback="none")
    feedback.save(first, tmp_path / "one", {})
    assert not (tmp_path / "one/image_encoder").exists()  # it came from elsewhere
    one = str(tmp_path / "one")
    with pytest.raises(UsageError, match=r"one was trained with another vision tower than .*other"):
        load(models, feedback="none", ssr_model=one, clip_model=str(tmp_path / "other"))

    shutil.copytree(models / "clip", tmp_path / "one/image_encoder")
    state = load(models, feedback="none", ssr_model=one, clip_model="")
    assert state.config.clip_model == f"{one}/image_encoder"
    assert feedback.facts(state) == feedback.facts(first)
    feedback.save(state, tmp_path / "two", {})
    load(models, feedback="none", ssr_model=str(tmp_path / "two"), clip_model="")
    assert (tmp_path / "two/image_encoder/model.safetensors").exists()
    assert feedback.models(state.config)[1].model == f"{one}/image_encoder"

    fresh = load(models, feedback="none", ssr_model="new", clip_model=f"{one}/image_encoder")
    feedback.save(fresh, tmp_path / "three", {})
    load(models, feedback="none", ssr_model=str(tmp_path / "three"), clip_model="")


def test_a_run_in_two_parts_is_the_run_in_one(models, tmp_path):
    """Through the trainer: steps, features kept, a checkpoint, and the same bits at the end."""
    from safetensors import safe_open

    from socialcli.training import loop

    given = [sample(n) for n in range(5)]
    shards.write(tmp_path / "some.tar", [(s.key, s.members) for s in given])

    def run_until(steps, output, models=models):
        options = {"steps": steps, "batch_size": 3, "micro_batch": 2, "variants": 2, "quiet": True}
        values = dataclasses.asdict(
            config(models, feedback="boundary,identity,interaction", threads=1, **options)
        )
        values |= {"mixed_precision": "no", "learning_rate": 1e-2, "gate_interaction": "all"}
        values["pose_least_score"] = 0.0
        loop.run("train", "feedback", feedback, values, [str(tmp_path / "some.tar")], str(output))

    run_until(4, tmp_path / "one")
    run_until(2, tmp_path / "two")
    run_until(4, tmp_path / "two")
    for name in ("model.safetensors", "model_1.safetensors"):
        one, two = ((tmp_path / run / name).read_bytes() for run in ("one", "two"))
        assert one == two  # the header too
    lines = [json.loads(line) for line in open(tmp_path / "two" / "log.jsonl")]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert all(line["active/interaction"] == 1 for line in steps)
    with safe_open(tmp_path / "one" / "model.safetensors", "pt") as file:
        notes = file.metadata()
    assert "socialcli.data" in notes and "socialcli.config" in notes
    again = load(models, feedback="none", ssr_model=str(tmp_path / "two"))
    assert again.encoder.aligner.heads == 8

    # Another tower in the same folder, of which no option tells.
    other = tmp_path / "models"
    shutil.copytree(models, other)
    vision = CLIPVisionModel.from_pretrained(models / "clip")
    run_until(2, tmp_path / "three", other)
    with torch.no_grad():
        vision.embeddings.class_embedding += 0.1
    vision.save_pretrained(other / "clip")
    with pytest.raises(UsageError, match="three holds a run of other options: --clip-model was"):
        run_until(4, tmp_path / "three", other)


# --- what it refuses ------------------------------------------------------------------------------


def indexed(tmp_path, given):
    file = tmp_path / "some.tar"
    shards.write(file, [(s.key, s.members) for s in given])
    return indexing.build([str(file)], tmp_path / "cache")


def refused(tmp_path, models, given, **options):
    with pytest.raises(UsageError) as caught:
        feedback.select(config(models, **options), indexed(tmp_path, given))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_shards_without_masks(models, tmp_path):
    given = [sample(n, without=("masks.json",)) for n in range(3)]
    message = refused(tmp_path, models, given)
    assert "masks.json" in message and "socialcli segment" in message and "--feedback" in message
    rest = config(models, feedback="identity,gaze,pose,interaction")
    assert len(feedback.select(rest, indexed(tmp_path, given))) == 3


def test_shards_without_faces(models, tmp_path):
    crowd = scenes.all_records()["people.json"]
    faceless = dataclasses.replace(
        crowd, people=[dataclasses.replace(p, face=None) for p in crowd.people]
    )
    given = [sample(n, **{"people.json": faceless}) for n in range(3)]
    message = refused(tmp_path, models, given)
    assert "identity feedback would never speak" in message and "no face" in message
    assert "3 samples" in message


def test_one_good_sample_is_enough(models, tmp_path):
    crowd = records.People(SIZE, SIZE, [])
    given = [sample(n, **{"people.json": crowd}) for n in range(3)] + [sample(3)]
    assert len(feedback.select(config(models), indexed(tmp_path, given))) == 4


def test_an_empty_entity_list(models, tmp_path):
    empty = sample(0, **{"entities.json": records.Entities()})
    with pytest.raises(SampleFailed, match="entity list is empty"):
        feedback.check(config(models), empty)
    message = refused(tmp_path, models, [empty])
    assert "entity list is empty" in message
    feedback.check(config(models, query="caption"), empty)


def test_bad_samples_are_refused_one_by_one(models):
    state = load(models, feedback="none")
    broken = sample()
    broken.members["jpg"] = broken.members["jpg"][:200]
    silent = sample(**{"caption.json": scenes.raw(records.Caption(" "))})
    for one in (broken, silent, sample(without=("caption.json",))):
        with pytest.raises(SampleFailed):
            feedback.prepare(state, one, Variant(0, "x", 0))


def test_checkpoints_of_the_wrong_shape(models, tmp_path):
    other = diffusion.stable_diffusion(tmp_path / "base", width=48)
    state = load(models, feedback="none")
    feedback.save(state, tmp_path / "ssr", {})
    with pytest.raises(UsageError, match="wide"):
        load(models, feedback="none", ssr_model=str(tmp_path / "ssr"), model=str(other))
    with pytest.raises(ModelMissing, match="no SSR-Encoder"):
        load(models, feedback="none", ssr_model=str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="not an iresnet"):
        load(models, feedback="identity", identity_model=str(tmp_path / "ssr/model.safetensors"))


def test_a_missing_model_is_told_before_anything_is_loaded(models, tmp_path, monkeypatch):
    """The last of many models: the others are not loaded for nothing."""
    from socialcli.training import loop

    monkeypatch.setattr(feedback, "load", lambda *_: pytest.fail("a model was loaded"))
    shards.write(tmp_path / "some.tar", [("a", sample(0).members)])
    for name, gone in (("interaction_model", "no/models/acts"), ("gaze_model", "gone.pt")):
        values = dataclasses.asdict(config(models, quiet=True, **{name: str(tmp_path / gone)}))
        values |= {"mixed_precision": "no", "pose_least_score": 0.3}
        with pytest.raises(
            ModelMissing, match=f"{gone}: no such folder or file .* model\\)"
        ) as why:
            loop.run("train", "feedback", feedback, values, [str(tmp_path / "some.tar")], "out")
        assert "\n" not in str(why.value)


def test_backends_without_gradients(models, monkeypatch):
    real = backends.load
    blind = SimpleNamespace(network=None)
    monkeypatch.setattr(backends, "load", lambda spec: blind if spec.role == "gaze" else real(spec))
    with pytest.raises(UsageError, match="--gaze-backend mediapipe cannot give feedback"):
        load(models, feedback="gaze", gaze_backend="mediapipe")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feedback": "smile"}, "--feedback 'smile'"),
        ({"gate_gaze": "200-0"}, "--gate-gaze"),
        ({"gaze_term": "argmax"}, "--gaze-term"),
        ({"ssr_model": ""}, "--ssr-model"),
        ({"size": -1}, "--size"),
        ({"flip": 2.0}, "--flip"),
        ({"weighting": "inverse"}, "--curves"),
        ({"boundary_thickness": 4}, "--boundary-thickness"),
    ],
)
def test_options_that_make_no_sense(models, options, message):
    with pytest.raises(UsageError, match=message):
        values = config(models, **{"pose_least_score": 0.3, **options})
        check_bounds(feedback.Config, dataclasses.asdict(values))
        feedback.check_options(values)


def test_a_weight_of_zero_asks_nobody(models, monkeypatch):
    """So that runs with single losses can share one cache of features."""
    state = load(models, weight_gaze=0.0, feedback="gaze,pose")
    collated, keys = batch(state, 2)
    seen = watched(state, monkeypatch)
    values = feedback.losses(state, collated, draw(keys, [10, 500]))
    assert seen == {"decode": [2], "gaze": [], "pose": [2]} and values["gaze"].tolist() == [0, 0]
