"""Learnt pseudo-words out of every layout that trainers write."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from socialcli.diffusion import embeddings
from socialcli.errors import ModelMissing, UsageError

ONE, TWO = torch.arange(8.0), torch.arange(16.0).reshape(2, 8) + 100


def read(given) -> dict[str, torch.Tensor]:
    return {word.token: word.vectors for word in embeddings.read(str(given))}


def same(vectors: dict[str, torch.Tensor], **expected: torch.Tensor) -> bool:
    return list(vectors) == list(expected) and all(
        torch.equal(vectors[name], expected[name]) for name in vectors
    )


def test_a_name_is_a_file_or_a_file_and_a_token(tmp_path):
    (tmp_path / "a:b.pt").write_bytes(b"")
    assert embeddings.split(f"{tmp_path}/a:b.pt") == (f"{tmp_path}/a:b.pt", None)
    assert embeddings.split(f"{tmp_path}/a:b.pt:<x>") == (f"{tmp_path}/a:b.pt", "<x>")
    assert embeddings.split("a.pt:") == ("a.pt:", None)
    assert embeddings.split(":<x>") == (":<x>", None)
    assert embeddings.split("a.pt") == ("a.pt", None)


def test_a_token_is_given_to_one_word_or_chosen_of_several(tmp_path):
    save_file({"<a>": ONE}, tmp_path / "one.safetensors")
    save_file({"<a>": ONE, "<b>": TWO}, tmp_path / "two.safetensors")
    assert same(read(tmp_path / "one.safetensors"), **{"<a>": ONE[None]})
    assert same(read(f"{tmp_path}/one.safetensors:<z>"), **{"<z>": ONE[None]})
    assert same(read(tmp_path / "two.safetensors"), **{"<a>": ONE[None], "<b>": TWO})
    assert same(read(f"{tmp_path}/two.safetensors:<b>"), **{"<b>": TWO})
    with pytest.raises(UsageError, match="it holds <a>, <b>; there is no <z>"):
        read(f"{tmp_path}/two.safetensors:<z>")


def test_a_folder_holds_learned_embeds(tmp_path):
    with pytest.raises(UsageError, match="no learned_embeds file in this folder"):
        read(tmp_path)
    torch.save({"<b>": TWO}, tmp_path / "learned_embeds.bin")
    save_file({"<z>": ONE}, tmp_path / "another.safetensors")
    assert same(read(tmp_path), **{"<b>": TWO})
    save_file({"<a>": ONE}, tmp_path / "learned_embeds-steps-9.safetensors")
    assert same(read(tmp_path), **{"<a>": ONE[None]})  # nothing to unpickle
    with pytest.raises(ModelMissing, match="no embedding at"):
        read(tmp_path / "none.pt")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match=r"expected an embedding as \.safetensors, \.bin"):
        read(tmp_path / "a.txt")


def test_files_of_the_web_ui_are_called_by_their_name(tmp_path):
    save_file({"emb_params": TWO}, tmp_path / "hat.safetensors")
    torch.save({"string_to_param": {"*": TWO}, "name": "old"}, tmp_path / "o.pt")
    torch.save({"string_to_param": {"*": TWO}, "name": None, "step": 3}, tmp_path / "n.pt")
    assert same(read(tmp_path / "hat.safetensors"), hat=TWO)
    assert same(read(tmp_path / "o.pt"), old=TWO) and same(read(tmp_path / "n.pt"), n=TWO)


def test_two_encoders_vectors_stand_side_by_side(tmp_path):
    small, large = TWO[:, :3].contiguous(), TWO
    both = torch.cat([small, large], dim=1)
    xl = {"clip_g": large, "clip_l": small}
    save_file(xl, tmp_path / "rex.safetensors")
    assert same(read(tmp_path / "rex.safetensors"), rex=both)
    notes = {"initial_words": json.dumps({"<dog>": "dog"})}
    save_file(xl, tmp_path / "named.safetensors", notes)
    assert same(read(tmp_path / "named.safetensors"), **{"<dog>": both})
    save_file({"<a>": small}, tmp_path / "learned_embeds.safetensors")
    save_file({"<a>": large}, tmp_path / "learned_embeds_2.safetensors")
    assert same(read(tmp_path), **{"<a>": both})
    assert same(read(f"{tmp_path}:<z>"), **{"<z>": both})
    # Of any other name, a second file is another word's.
    save_file({"<a>": small}, tmp_path / "a.safetensors")
    save_file({"<a>": large}, tmp_path / "a_2.safetensors")
    assert same(read(tmp_path / "a.safetensors"), **{"<a>": small})


def test_two_encoders_vectors_that_do_not_fit(tmp_path):
    save_file({"clip_g": TWO, "clip_l": ONE}, tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match="'x' has 1 vectors for one encoder and 2 for the other"):
        read(tmp_path / "x.safetensors")
    save_file({"clip_g": TWO}, tmp_path / "half.safetensors")
    with pytest.raises(UsageError, match="has clip_l and clip_g, this one clip_g"):
        read(tmp_path / "half.safetensors")
    save_file({"clip_g": TWO, "clip_l": TWO + 1, "more": ONE}, tmp_path / "more.safetensors")
    with pytest.raises(UsageError, match="has clip_l and clip_g, this one clip_g, clip_l, more"):
        read(tmp_path / "more.safetensors")
    save_file({"<a>": ONE}, tmp_path / "learned_embeds.safetensors")
    save_file({"<b>": ONE}, tmp_path / "learned_embeds_2.safetensors")
    with pytest.raises(UsageError, match=r"learned_embeds_2.*: holds <b>, and the first <a>"):
        read(tmp_path)


def test_notes_say_the_ordinary_word_and_the_method(tmp_path):
    notes = {"initial_words": json.dumps({"<dog>": "dog"}), "socialcli.method": "textual-inversion"}
    save_file({"<dog>": ONE}, tmp_path / "a.safetensors", notes)
    for given, token in (("a.safetensors", "<dog>"), ("a.safetensors:<rex>", "<rex>")):
        (word,) = embeddings.read(f"{tmp_path}/{given}")
        assert (word.token, word.plain, word.method) == (token, "dog", "textual-inversion")
    two = {"<dog>": ONE, "<cat>": TWO}
    save_file(two, tmp_path / "b.safetensors", notes)
    assert {w.token: w.plain for w in embeddings.read(f"{tmp_path}/b.safetensors")} == {
        "<dog>": "dog", "<cat>": "",
    }  # fmt: skip
    constant = {embeddings.CONSTANT: "1", "socialcli.method": "p-plus"}
    save_file({"<dog>": ONE}, tmp_path / "c.safetensors", constant)
    (word,) = embeddings.read(f"{tmp_path}/c.safetensors")
    assert (word.method, word.plain) == ("textual-inversion", "")
    save_file({"<dog>": ONE}, tmp_path / "d.safetensors", {"initial_words": "[1]"})
    assert embeddings.read(f"{tmp_path}/d.safetensors")[0].plain == ""


def test_vectors_are_float32_whatever_they_were(tmp_path):
    save_file({"<a>": TWO.half()}, tmp_path / "a.safetensors")
    torch.save({"<a>": torch.nn.Parameter(TWO.double())}, tmp_path / "a.bin")
    for name in ("a.safetensors", "a.bin"):
        (vectors,) = read(tmp_path / name).values()
        assert vectors.dtype == torch.float32 and not vectors.requires_grad
        assert torch.equal(vectors, TWO)


BROKEN = TWO.clone()
BROKEN[1, 3] = torch.inf


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ({"<a>": torch.ones(1, 2, 8)}, "'<a>' is no vector or list of vectors"),
        ({"<a>": torch.tensor(1.0)}, "'<a>' is no vector or list of vectors"),
        ({"<a>": torch.ones(8, dtype=torch.int64)}, "'<a>' is no vector or list of vectors"),
        ({"<a>": BROKEN}, "'<a>' has values that are not finite"),
        ({"<a>": ONE, "step": 3}, r"not a learnt embedding \(<a>, step\)"),
        ({}, "not a learnt embedding"),
        ([ONE], "not a learnt embedding"),
        ({"string_to_param": {}}, "is no vector or list of vectors"),
    ],
)
def test_what_is_no_embedding(tmp_path, state, line):
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(UsageError, match=line):
        read(tmp_path / "x.pt")
