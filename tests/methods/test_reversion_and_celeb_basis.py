"""ReVersion, Celeb Basis, ProSpect: losses, timesteps, the space of names, the block of stages."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import sys
import types

import numpy
import pytest
import torch
from parts import part
from safetensors.torch import load_file
from tiny import diffusion as tiny

from socialcli import records, shards
from socialcli.diffusion import timesteps, word_files
from socialcli.errors import UsageError
from socialcli.losses import steering
from socialcli.methods.invert._celeb_basis import CelebBasisWord, basis
from socialcli.networks.stage_tokens import StageTokens
from socialcli.randomness import Draw


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("model")))


def sample(number: int, caption: str, faces: int = 1) -> tuple[str, dict[str, bytes]]:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (32, 32), (220, 40 + 30 * number, 30)).save(out, "PNG")
    rng = numpy.random.default_rng(number)
    people = [{"id": n + 1} for n in range(faces)]
    rows = records.identity_array(
        [p["id"] for p in people], rng.normal(size=(faces, 16)).astype("float32")
    )
    return f"x/{number}", {
        "png": out.getvalue(),
        "meta.json": json.dumps({"schema": 1, "width": 32, "height": 32}).encode(),
        "caption.json": json.dumps({"schema": 1, "text": caption}).encode(),
        "people.json": json.dumps(
            {"schema": 1, "width": 32, "height": 32, "people": people}
        ).encode(),
        "identity.npy": records.dump_identity(rows),
    }


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> str:
    place = tmp_path_factory.mktemp("data") / "a.tar"
    captions = ["a dog and a ball", "a cat and a chair", "a man and a horse"]
    shards.write(place, [sample(n, caption) for n, caption in enumerate(captions)])
    return str(place)


def invert(name: str, output, inputs: str, model: str, **changed) -> None:
    from socialcli.training import loop

    method = part("methods.invert", name)
    small = {
        "device": "cpu", "dtype": "float32", "steps": 2, "batch_size": 3, "micro_batch": 3,
        "model": model, "quiet": True,
    }  # fmt: skip
    config = dataclasses.asdict(method.Config(**{**small, **changed}))
    loop.run("invert", name, method, config, [inputs], str(output))


@pytest.mark.parametrize("name", ["p-plus", "prospect", "reversion", "celeb-basis"])
def test_gone_on_with_it_ends_with_the_same_bits(tmp_path, pictures, model, name):
    """Also what is no gradient's: dropout of a block, a moving average."""
    lines = [f"{a} {b}" for a in ("red", "blue", "green", "old") for b in ("man", "boy")]
    (tmp_path / "names.txt").write_text("\n".join(lines))
    (tmp_path / "t.txt").write_text("face of {}\n")
    own = {
        "p-plus": {"initial_word": ["dog"], "by": "none"},
        "prospect": {"initial_word": ["dog"], "by": "none"},
        "reversion": {"by": "none"},
        "celeb-basis": {
            "names": str(tmp_path / "names.txt"), "by": "none", "templates": str(tmp_path / "t.txt")
        },
    }[name]  # fmt: skip
    for place, steps in (("halves", 2), ("halves", 4), ("whole", 4)):
        invert(name, tmp_path / place, pictures, model, steps=steps, **own)
    halves, whole = (
        {
            n: t
            for f in sorted((tmp_path / place).glob("*.safetensors"))
            for n, t in load_file(f).items()
        }
        for place in ("halves", "whole")
    )
    assert whole and halves.keys() == whole.keys()
    assert all(torch.equal(halves[token], whole[token]) for token in whole)


# --- ReVersion ------------------------------------------------------------------------------------


def by_hand(word, positives, negatives, temperature):
    """In float64, number by number."""

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(
            sum(x * x for x in a) * sum(y * y for y in b)
        )

    of = [math.exp(cosine(word, p) / temperature) for p in positives]
    against = [math.exp(cosine(word, n) / temperature) for n in negatives]
    return -math.log(sum(of) / (sum(of) + sum(against)))


def test_steering_is_the_papers_and_draws_the_word_to_prepositions():
    generator = torch.Generator().manual_seed(0)
    word, positives, negatives = (
        torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (1, 4, 3)
    )
    word = word.requires_grad_()
    there = torch.ones(1, 3, dtype=torch.bool)

    def loss(of, there=there, temperature=0.3):
        return steering.loss(of, positives[None], negatives[None], there, temperature)

    (value,) = loss(word)
    for count in (3, 2):  # what is padding does not count
        (less,) = loss(word, torch.arange(3)[None] < count)
        expected = by_hand(word[0].tolist(), positives.tolist(), negatives[:count].tolist(), 0.3)
        assert less.item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(loss, word)
    value.backward()
    assert loss(word.detach() - 0.05 * word.grad) < value
    assert loss(positives[:1], temperature=0.02) < 1e-2
    assert loss(word, torch.zeros(1, 3, dtype=torch.bool)) == 0


def test_noisy_timesteps_are_drawn_as_the_density_says():
    uniform = (torch.arange(200_000) + 0.5) / 200_000
    drawn = timesteps.importance(uniform, 1000, 0.5)
    counts = torch.bincount(drawn, minlength=1000) / len(uniform)
    density = 1 - 0.5 * torch.cos(torch.pi * torch.arange(1000) / 1000)
    assert (counts - density / density.sum()).abs().max() < 1.1e-5
    assert drawn.min() == 0 and drawn.max() == 999 and (drawn.diff() >= 0).all()
    assert torch.equal(timesteps.importance(uniform, 10, 0.0), (uniform * 10).long())


def test_reversion_learns_what_stands_between_its_captions_words(tmp_path, pictures, model):
    method = part("methods.invert", "reversion")
    same = {"by": "none", "token": "<r>", "initial_word": ["and"]}
    invert("reversion", tmp_path / "with", pictures, model, learning_rate=0.05, **same)
    (one,) = word_files.read(str(tmp_path / "with"))
    assert one.method == "reversion" and one.plain == "and" and one.word.slots == 1
    invert("reversion", tmp_path / "no", pictures, model, learning_rate=0.05, steering=0.0, **same)
    a, b = (load_file(tmp_path / n / "learned_embeds.safetensors")["<r>"] for n in ("with", "no"))
    assert not torch.equal(a, b)
    lines = [json.loads(line) for line in (tmp_path / "with" / "log.jsonl").open()]
    assert all(line["loss/steering"] > 0 for line in lines if "loss" in line)

    from socialcli import backends
    from socialcli.backends import ModelSpec
    from socialcli.diffusion.lexicon import Lexicon

    diffusion = backends.load(ModelSpec("diffusion", "stable-diffusion", model, device="cpu"))
    lexicon = Lexicon(diffusion, [one.word])
    table = diffusion.text_encoder.get_input_embeddings().weight
    ids = diffusion.tokenizer("dog ball", add_special_tokens=False).input_ids
    rows = part("methods.invert", "reversion").negatives(diffusion, lexicon, "a dog <r> a ball")
    assert torch.equal(rows, table[ids])
    assert method.Config().flip is False


# --- Celeb Basis ----------------------------------------------------------------------------------


def test_the_basis_is_the_covariances_eigenvectors():
    names = torch.randn(40, 2, 6, generator=torch.Generator().manual_seed(1))
    parts = basis(names, 3)
    assert parts.shape == (2, 4, 6)
    for place in range(2):
        rows = names[:, place].double().numpy()
        values, vectors = numpy.linalg.eigh(numpy.cov(rows.T))
        strongest = vectors[:, numpy.argsort(values)[::-1][:3]].T
        agree = numpy.abs((strongest * parts[place, 1:].numpy()).sum(1))
        assert numpy.allclose(agree, 1, atol=1e-4)
        assert numpy.allclose(parts[place, 0], rows.mean(0), atol=1e-5)


def test_a_person_is_a_point_at_length_one_from_the_mean():
    space = basis(torch.randn(20, 2, 8, generator=torch.Generator().manual_seed(2)), 5)
    faces = torch.randn(3, 7)
    word = CelebBasisWord("<p>", space, faces, ["a", "b", "c"])
    vectors = word.vectors([word.address(3.0, 0, "k", "b"), word.address(3.0, 0, "k")])
    assert vectors.shape == (2, 2, 8)
    assert torch.allclose((vectors[0] - space[:, 0]).norm(dim=-1), torch.tensor(1.0), atol=1e-4)
    face = faces[1] / faces[1].norm()
    raw = word.layer.weight @ face + word.layer.bias
    raw = torch.where(raw > 0, raw, 0.2 * raw).reshape(2, 5)
    expected = space[:, 0] + torch.stack(
        [(raw[p] / raw[p].norm()) @ space[p, 1:] for p in range(2)]
    )
    assert torch.allclose(vectors[0], expected, atol=1e-5)
    before = word.average.clone()
    with torch.no_grad():
        word.layer.weight.add_(torch.randn_like(word.layer.weight))
    word.follow()
    new = word.coefficients(word.faces).mean(0)
    assert torch.allclose(word.average, 0.99 * before + 0.01 * new, atol=1e-6)
    assert torch.allclose(word.kept().new, word.point(word.average))


def test_celeb_basis_writes_two_plain_vectors(tmp_path, pictures, model):
    lines = [f"{a} {b}" for a in ("red", "blue", "green", "old") for b in ("man", "boy")]
    (tmp_path / "names.txt").write_text("\n".join(lines))
    names = {"names": str(tmp_path / "names.txt"), "by": "none", "token": "<p>"}
    (tmp_path / "t.txt").write_text("face of {}\n")
    invert(
        "celeb-basis", tmp_path / "out", pictures, model, templates=str(tmp_path / "t.txt"), **names
    )
    (one,) = word_files.read(str(tmp_path / "out"))
    assert one.word.kind == "textual-inversion" and one.word.slots == 2
    assert one.method == "celeb-basis" and one.plain == "person"
    assert (tmp_path / "out" / "a1111" / "p.safetensors").is_file()
    crowd = tmp_path / "crowd.tar"
    shards.write(crowd, [sample(0, "two people", faces=2)])
    with pytest.raises(UsageError, match="2 face embeddings, and celeb-basis wants one person"):
        invert("celeb-basis", tmp_path / "crowd", str(crowd), model, **names)
    for given, line in (("", "needs --names FILE"), ("none.txt", "no readable list of names")):
        with pytest.raises(UsageError, match=line):
            invert("celeb-basis", tmp_path / "bad", pictures, model, **{**names, "names": given})


def test_rows_are_told_by_their_numbers_in_the_index():
    method = part("methods.invert", "celeb-basis")
    draw = Draw(0, 0, [0, 1], ["x", "x"], numbers=[2, 0])
    assert method.notes(types.SimpleNamespace(), draw) == [2, 0]


# --- ProSpect -------------------------------------------------------------------------------------


def block(initial: torch.Tensor, stages: int, state: dict[str, torch.Tensor]) -> torch.Tensor:
    """ProSpect's block written out for one vector: an attention to a single vector reads it whole,
    the second one that of the embedding itself."""

    def norm(x, name):
        centred = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt()
        return centred * state[f"{name}.weight"] + state[f"{name}.bias"]

    def attention(x, name):
        value = state[f"{name}.to_v.weight"] @ x
        return state[f"{name}.to_out.0.weight"] @ value + state[f"{name}.to_out.0.bias"]

    x = initial + attention(norm(initial, "norm1"), "attn1")
    x = x + attention(initial, "attn2")
    hidden = state["ff.net.0.proj.weight"] @ norm(x, "norm3") + state["ff.net.0.proj.bias"]
    value, gate = hidden.chunk(2)
    hidden = value * torch.nn.functional.gelu(gate)
    return (state["ff.net.2.weight"] @ hidden + state["ff.net.2.bias"]).reshape(stages, -1)


def random_block(width: int, stages: int) -> StageTokens:
    torch.manual_seed(4)
    return StageTokens(width, stages).eval()


def test_prospects_block_is_the_public_codes():
    network, initial = random_block(12, 10), torch.randn(12)
    expected = block(initial, 10, network.state_dict())
    assert torch.allclose(network(initial, initial), expected, atol=1e-5)


def test_a_file_of_prospects_code_is_read_without_its_classes(tmp_path, monkeypatch):
    network, initial = random_block(8, 10), torch.randn(1, 8)
    module = types.ModuleType("ldm_embedding_manager")
    foreign = type("TransformerBlock", (torch.nn.Module,), {"__module__": module.__name__})
    module.TransformerBlock = foreign
    monkeypatch.setitem(sys.modules, module.__name__, module)
    pickled = foreign()
    for name, inner in network.named_children():
        pickled.add_module(name, inner)
    content = {"attention": pickled, "initial_embeddings": torch.nn.Parameter(initial)}
    torch.save(content, tmp_path / "embeddings.pt")
    monkeypatch.delitem(sys.modules, module.__name__)
    (one,) = word_files.read(f"{tmp_path}/embeddings.pt:<cat>")
    expected = block(initial[0], 10, network.state_dict())
    assert one.token == "<cat>" and one.method == "prospect"
    for timestep, stage in ((0, 0), (99, 0), (100, 1), (437, 4), (999, 9)):
        address = one.word.address(timestep, 3, "v")
        assert torch.allclose(one.word.vectors([address])[0, 0], expected[stage], atol=1e-5)


def test_prospect_keeps_a_vector_a_stage(tmp_path, pictures, model):
    (tmp_path / "t.txt").write_text("a {}\n")
    same = {"by": "none", "token": "<s>", "initial_word": ["dog"], "learning_rate": 0.01}
    for name, micro in (("one", 3), ("two", 1)):  # dropout does not depend on micro-batches
        invert(
            "prospect", tmp_path / name, pictures, model, templates=str(tmp_path / "t.txt"),
            micro_batch=micro, optimiser="sgd", **same,
        )  # fmt: skip
    one, two = (word_files.read(str(tmp_path / name))[0].word for name in ("one", "two"))
    assert one.kind == "staged" and one.stages.shape == (10, 1, 1, tiny.WIDTH)
    assert (one.stages - one.stages[:1]).abs().max() > 1e-6
    assert (one.stages - two.stages).abs().max() < 1e-6
