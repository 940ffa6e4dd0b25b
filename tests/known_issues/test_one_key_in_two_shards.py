"""Two shards with samples of one key (two albums that both have an IMG_0001) were mixed up: a
training looked up by the key which subject a sample shows, so that each picture was taken for both
subjects, half of the time for the wrong one; its mask's attractor, its face and its exemplar were
those of the other shard. A reference that was named by such a key was the last shard's."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from parts import part
from tiny import diffusion as tiny

from socialcli import records, shards
from socialcli.errors import UsageError
from socialcli.generation import references
from socialcli.miniature.world import interactions as world
from socialcli.randomness import Variant
from socialcli.shards import index as indexing
from socialcli.training import examples
from socialcli.training.place import Clock, Place
from socialcli.vision import masks

COLOURS = {"rex": (220, 40, 30), "tom": (30, 200, 60)}
WORDS = {"rex": "dog", "tom": "cat"}


def png(colour: tuple[int, int, int]) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(out, "PNG")
    return out.getvalue()


def album(place: Path, name: str) -> str:
    """A shard of two pictures of a subject, under the keys that every camera gives."""
    import numpy

    half = numpy.zeros((32, 32), bool)
    half[:16] = True
    meta = {"schema": 1, "width": 32, "height": 32,
            "extra": {"subject": name, "class": WORDS[name]}}  # fmt: skip
    members = {
        "png": png(COLOURS[name]), "meta.json": json.dumps(meta).encode(),
        "masks.json": records.dump(records.Masks(32, 32, [records.Mask(1, masks.encode(half))])),
    }  # fmt: skip
    shards.write(place / f"{name}.tar", [(f"IMG_{n}", members) for n in range(2)])
    return str(place / f"{name}.tar")


@pytest.fixture(scope="module")
def albums(tmp_path_factory) -> list[str]:
    place = tmp_path_factory.mktemp("albums")
    return [album(place, name) for name in ("tom", "rex")]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("model")))


def loaded(method, inputs: list[str], **options):
    cpu = torch.device("cpu")
    config = method.config_type(device="cpu", dtype="float32", **options)
    index = method.select(config, indexing.build(inputs, Path("nowhere")))
    return method.load(config, Place(cpu, torch.float32, Clock(cpu), index=index))


def examples_of(method, state) -> list[tuple[str, dict]]:
    """(subject that its colour tells, example) of every sample, as the loop makes them."""
    stream = examples.Examples(method, state, state.config, state.place.index, None)
    made = []
    for position in range(4):
        ready = stream.fetch(examples.Slot(0, position))
        red = float(ready.example["pixels"][0].mean()) > 0
        made.append(("rex" if red else "tom", ready.example))
    assert [name for name, _ in made].count("rex") == 2
    return made


@pytest.mark.parametrize("name", ["textual-inversion", "attractor"])
def test_each_picture_has_the_word_of_its_own_subject(albums, model, name):
    method = part("methods.invert", name)
    state = loaded(method, albums, model=model, batch_size=4)
    attractors = set()
    for subject, example in examples_of(method, state):
        (number,) = example["concepts"]
        assert state.concepts[number].token == f"<{subject}>"
        if name == "attractor":
            assert example["attractor"].startswith(f"<{subject}-a-")
            attractors.add(example["attractor"])
    assert len(attractors) == (4 if name == "attractor" else 0)


def test_each_picture_shows_its_own_subject_to_dreambooth(albums, model):
    method = part("methods.train", "dreambooth")
    state = loaded(method, albums, model=model, adapter="lora", prior_weight=0.0, batch_size=4)
    for subject, example in examples_of(method, state):
        assert state.subjects[example["subject"]].name == subject


def test_a_face_is_that_of_its_own_picture():
    """Of two pictures of one key each has its own row of the person's faces."""
    from socialcli.methods.invert._celeb_basis import CelebBasisWord

    word = CelebBasisWord("<p>", torch.randn(2, 4, 8), torch.randn(2, 5), [3, 7])
    assert [word.address(0, 0, "k", number) for number in (7, 3)] == [1, 0]


def test_no_exemplar_takes_the_place_of_another(tmp_path):
    """Two interactions whose exemplars have the same keys."""
    method = part("methods.train", "pose-judge")
    weights = Path(indexing.__file__).parents[1] / "miniature" / "weights" / "pose"
    for number in (0, 13):
        rows = [(f"{turn}", world.exemplar(0, number + 15 * turn, 96)) for turn in range(2)]
        shards.write(tmp_path / f"{number}.tar", rows)
    inputs = [str(tmp_path / f"{number}.tar") for number in (0, 13)]
    state = loaded(method, inputs, pose_model=str(weights), held_out=0.5)
    assert sorted(one.label for one in state.exemplars.values()) == [0, 0, 1, 1]
    assert sum(one.held_out for one in state.exemplars.values()) == 2
    index = state.place.index
    for number in range(len(index)):
        sample = index.read(number)
        example = method.prepare(state, sample, Variant(0, "", 0))
        named = sample.record(records.Meta).extra[state.config.by]
        assert state.classes[int(example["label"])] == named


def test_a_reference_that_may_be_either_is_refused(albums, tmp_path):
    with pytest.raises(UsageError, match=r"the key 'IMG_0' is in .*tom\.tar and in .*rex\.tar"):
        references.library(tuple(albums))
    again = album(tmp_path, "tom")  # the same pictures once more are no question
    assert set(references.library((albums[0], again)).keys) == {"IMG_0", "IMG_1"}
