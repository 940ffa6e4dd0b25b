"""InteractDiffusion: the three layouts of its files; pictures against a loop written out here."""

from __future__ import annotations

import shutil

import drawings
import numpy
import pytest
import scenes
import torch
from drawings import pixels, record
from tiny import diffusion as tiny
from tiny import interactdiffusion as tiny_interactions

from socialcli import records, shards
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import interactions
from socialcli.networks import interact_diffusion

STEPS = 4
MOST = 30


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """sd: a Stable Diffusion; gated: the same with gates; gates.pth, whole.pth: the files."""
    place = tmp_path_factory.mktemp("models")
    tiny.stable_diffusion(place / "sd")
    tiny_interactions.folder(place / "gated")
    tiny_interactions.adapter(place / "gates.pth")
    tiny_interactions.training(place / "whole.pth")
    return place


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A shard of one sample, in which a woman holds a dog, and one whose boxes are missing."""
    place = tmp_path_factory.mktemp("shards")
    with (place / "000000.tar").open("wb") as file:
        writer = shards.Writer(file)
        writer.added("a", scenes.members())
        writer.added("b", scenes.members(changed={"boxes.json": None, "people.json": None,
                                                  "masks.json": None}))  # fmt: skip
        writer.close()
    return place


def run(model, out, *inputs, method="interactdiffusion", **options):
    given = {"model": str(model), "steps": STEPS, **options}
    return drawings.run(method, out, *inputs, most_failed=1.0, **given)


class Given(torch.nn.Module):
    """Stands for a position net: the tokens are known."""

    def forward(self, tokens):
        return tokens


def fourier(box):
    values = []
    for i in range(8):
        values += [numpy.sin(100 ** (i / 8) * c) for c in box]
        values += [numpy.cos(100 ** (i / 8) * c) for c in box]
    return values


def tokens(state, placed, phrase):
    """(1, 90, D): what the position net makes of (subject, action, object, two boxes), by hand."""
    rows = []
    for role, number in (("subject", 0), ("action", 2), ("object", 1)):
        layers = "linear_action" if role == "action" else "linears"
        for n in range(MOST):
            if n < len(placed):
                words = dict(zip(("subject", "action", "object"), placed[n][:3], strict=True))
                first, second = placed[n][3:]
                x, y = sorted([*first[::2], *second[::2]]), sorted([*first[1::2], *second[1::2]])
                between = (x[1], y[1], x[2], y[2])
                box = {"subject": first, "action": between, "object": second}[role]
                given = [*phrase(words[role]).tolist(), *fourier(box)]
            else:
                nobody = "null_action_feature" if role == "action" else "null_positive_feature"
                given = [*state[nobody].tolist(), *state["null_position_feature"].tolist()]
            h = torch.tensor(given, dtype=torch.float32)
            for layer in (0, 2, 4):
                h = state[f"{layers}.{layer}.weight"] @ h + state[f"{layers}.{layer}.bias"]
                h = h * torch.sigmoid(h) if layer < 4 else h
            h = h + state["interaction_embedding.emb.weight"][n]
            rows.append(h + state["position_embedding.emb.weight"][number])
    return torch.stack(rows)[None]


def expected(models, seed, prompt, placed, gate_steps, guidance=7.5):
    """The picture of diffusers' own gated UNet, a call for each half of guidance."""
    from diffusers import UNet2DConditionModel, UniPCMultistepScheduler

    vae, text_encoder, _, _ = tiny.networks()
    unet = UNet2DConditionModel.from_pretrained(models / "gated/unet").eval()
    state = tiny_interactions.networks()[2].position_net.state_dict()
    scheduler = UniPCMultistepScheduler.from_pretrained(models / "sd/scheduler")
    words = tiny.tokenizer()

    def read(text):
        ids = words([text], padding="max_length", max_length=tiny.TOKENS, truncation=True,
                    return_tensors="pt").input_ids  # fmt: skip
        return text_encoder(ids)

    def call(latents, t, text, box_tokens):
        return unet(
            latents, t, text, cross_attention_kwargs={"gligen": {"tokens": box_tokens}}
        ).sample

    latents = torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(seed))[None]
    with torch.no_grad():
        box_tokens = tokens(state, placed, lambda word: read(word).pooler_output[0])
        nothing = tokens(state, [], None)
        unet.position_net = Given()
        scheduler.set_timesteps(STEPS)
        for number, t in enumerate(scheduler.timesteps):
            for module in unet.modules():
                if hasattr(module, "fuser"):
                    module.fuser.enabled = number < gate_steps
            free = call(latents, t, read("").last_hidden_state, nothing)
            bound = call(latents, t, read(prompt).last_hidden_state, box_tokens)
            latents = scheduler.step(free + guidance * (bound - free), t, latents).prev_sample
        drawn = vae.decode(latents / vae.config.scaling_factor).sample[0]
    return ((drawn.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy()


def test_interactions_of_a_sample_are_drawn_in_their_boxes(models, scene, tmp_path):
    by_key = run(models / "gated", tmp_path / "all", scene)
    assert list(by_key) == ["a"]  # of the other nobody knows where its interaction is
    [failed] = (tmp_path / "all").glob("*.errors.jsonl")
    assert "none of its 1 interactions has a box" in failed.read_text()
    placed = [("woman", "holding", "dog", scenes.WOMAN, scenes.DOG)]
    generated = record(by_key["a"])
    whole = expected(models, generated.seed, generated.prompt, placed, STEPS)
    assert numpy.abs(pixels(by_key["a"]["png"]) - whole).max() <= 1
    assert generated.models["interactions"].options == {"gate": 1.0, "gate_decay": 0.0}
    # Scheduled sampling: the gates close after half of the steps.
    half = run(models / "gated", tmp_path / "half", scene, gate=0.5)["a"]
    begun = expected(models, generated.seed, generated.prompt, placed, STEPS // 2)
    assert numpy.abs(pixels(half["png"]) - begun).max() <= 1
    assert numpy.abs(whole - begun).max() > 2
    elsewhere = [("woman", "holding", "dog", scenes.DOG, scenes.WOMAN)]
    assert (
        numpy.abs(
            expected(models, generated.seed, generated.prompt, elsewhere, STEPS) - whole
        ).max()
        > 2
    )
    # Closed all the time, it is the Stable Diffusion below.
    closed = run(models / "gated", tmp_path / "none", scene, gate=0.0)["a"]
    plain = run(models / "sd", tmp_path / "sd", scene, method="text", guidance=7.5)["a"]
    assert numpy.array_equal(pixels(closed["png"]), pixels(plain["png"]))


def test_all_layouts_of_its_files_draw_one_picture(models, scene, tmp_path, monkeypatch):
    hub = tmp_path / "hub"  # a training's file is weights only
    default = "models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    shutil.copytree(models / "sd", hub / default / "snapshots" / "0")
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    known = run(models / "gated", tmp_path / "a", scene)["a"]
    gates = str(models / "gates.pth")
    for name, model, more in (
        ("b", models / "sd", {"adapter_model": gates}), ("c", models / "whole.pth", {})
    ):  # fmt: skip
        members = run(model, tmp_path / name, scene, **more)["a"]
        assert numpy.array_equal(pixels(members["png"]), pixels(known["png"])), name
    assert record(members).model.model == "whole.pth"


def test_gates_may_be_half_open():
    """As diffusers' own layer whose alpha is chosen so that its tangent is half as large."""
    from diffusers.models.attention import GatedSelfAttentionDense

    torch.manual_seed(0)
    theirs, own = GatedSelfAttentionDense(16, 8, 2, 8), interact_diffusion._gate(16, 8, 2, 8)
    with torch.no_grad():
        theirs.alpha_attn.fill_(0.8)
        theirs.alpha_dense.fill_(-0.6)
        own.load_state_dict(theirs.state_dict())
        own.scale = 0.5
        for alpha in (theirs.alpha_attn, theirs.alpha_dense):
            alpha.copy_(torch.atanh(0.5 * torch.tanh(alpha)))
        x, box_tokens = torch.randn(2, 9, 16), torch.randn(2, 5, 8)
        assert torch.allclose(own(x, box_tokens), theirs(x, box_tokens), atol=1e-6)
        assert (own(x, box_tokens) - x).abs().max() > 0.1
    schedule = interact_diffusion.schedule(10, 0.3, 0.4)
    assert schedule == [1.0] * 3 + [0.75, 0.5, 0.25, 0.0] + [0.0] * 3
    assert interact_diffusion.schedule(4, 0.9, 0.0) == [1.0, 1.0, 1.0, 0.0]


def test_another_model_is_refused_with_the_name_of_the_right_one(models, scene, tmp_path):
    with pytest.raises(UsageError, match="that has no gates: give --adapter-model FILE"):
        run(models / "sd", tmp_path / "o", scene)
    with pytest.raises(UsageError, match="InteractDiffusion is drawn by --method interactdiffusi"):
        run(models / "gated", tmp_path / "o", scene, method="text")
    with pytest.raises(UsageError, match="one of gates alone is --adapter-model"):
        run(models / "gates.pth", tmp_path / "o", scene)
    state = torch.load(models / "gates.pth", weights_only=True)
    gligen = {name: t for name, t in state.items() if "action" not in name}
    wide = {**state, "position_net.null_positive_feature": torch.zeros(40)}
    wide["position_net.linears.0.weight"] = torch.zeros(512, 104)
    wide["position_net.linear_action.0.weight"] = torch.zeros(512, 104)
    wide["position_net.null_action_feature"] = torch.zeros(40)
    other = {name: t for name, t in state.items() if "input_blocks.3." not in name}
    unlike = {"a.weight": torch.zeros(2)}
    for changed, says in (
        (gligen, "a GLIGEN, which knows boxes but no interactions"),
        (wide, "reads phrases 40 wide, the text encoder's are 32 wide"),
        (other, "not InteractDiffusion's for this UNet"),
        (unlike, "no position_net and no gates"),
    ):
        torch.save(changed, tmp_path / "other.pth")
        with pytest.raises(UsageError, match=says):
            run(models / "sd", tmp_path / "o", scene, adapter_model=str(tmp_path / "other.pth"))
    with pytest.raises(UsageError, match="shares of the steps"):
        run(models / "gated", tmp_path / "o", scene, gate=0.8, gate_decay=0.3)
    assert run(models / "gated", tmp_path / "p", prompt=["a dog"]) == {}
    [failed] = (tmp_path / "p").glob("*.errors.jsonl")
    assert "this method draws interactions" in failed.read_text()


@pytest.mark.parametrize(
    ("verb", "participle"),
    [("ride", "riding"), ("sit_on", "sitting on"), ("hold", "holding"), ("feed", "feeding"),
     ("lie on", "lying on"), ("bring", "bringing"), ("open", "opening"), ("row", "rowing"),
     ("hug", "hugging"), ("holding", "holding"), ("carry", "carrying"), ("dye", "dyeing")],
)  # fmt: skip
def test_verbs_are_told_as_participles(verb, participle):
    assert interactions.participle(verb.replace("_", " ")) == participle


def test_what_is_largest_comes_first_and_no_interaction_is_none():
    from socialcli.shards import Sample

    def of(*known):
        boxes = [records.Box(1, (0.0, 0.0, 1.0, 1.0), "person"),
                 records.Box(2, (0.0, 0.0, 0.1, 0.1), "cup"),
                 records.Box(3, (0.2, 0.2, 0.9, 0.9), "horse")]  # fmt: skip
        members = {
            "boxes.json": records.dump(records.Boxes(10, 10, boxes)),
            "interactions.json": records.dump(records.Interactions(list(known))),
        }
        return interactions.of_sample(Sample("k", members), 2)

    no = records.Interaction(1, "no_interaction", subject_box=1, object=3)
    cup = records.Interaction(2, "hold", subject_box=1, object=2)
    horse = records.Interaction(3, "ride", subject_box=1, object=3)
    lost = records.Interaction(4, "ride", subject_box=1, object=None)
    assert [(p.subject, p.action, p.object) for p in of(no, cup, lost, horse)] == [
        ("person", "riding", "horse"), ("person", "holding", "cup")
    ]  # fmt: skip
    with pytest.raises(SampleFailed, match="none of its 2 interactions has a box"):
        of(no, lost)
