"""The miniatures that read and write: words, CLIP, BLIP-2 and interactions."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from socialcli.miniature.world import scene
from socialcli.miniature.world.captions import captions
from socialcli.miniature.world.vocabulary import PAIRS, VERBS
from socialcli.miniature.zoo import caption, cards, clip, data, interaction, labels, words


def test_every_word_is_one_token_of_clip(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = words.clip_tokenizer(tmp_path, length=40)
    read = AutoTokenizer.from_pretrained(tmp_path)
    assert (tmp_path / "vocab.json").exists() and (tmp_path / "merges.txt").exists()
    for i in range(60):
        for written in captions(scene(8, i, 48, ("train", "val", "test")[i % 3])):
            tokens = tokenizer.tokenize(written.text)
            assert all(t.endswith("</w>") for t in tokens), written.text
            ids = tokenizer(written.text)["input_ids"]
            assert len(ids) == len(tokens) + 2 <= 41
            assert read(written.text)["input_ids"] == ids
            spoken = tokenizer.decode(ids, skip_special_tokens=True)
            assert spoken.replace(" , ", ", ").replace(" - ", "-") == written.text
    assert tokenizer("zebra")["input_ids"][-1] == tokenizer.eos_token_id
    assert tokenizer.decode(
        tokenizer("a zebra, 42")["input_ids"], skip_special_tokens=True
    ).startswith("a z")
    assert read.model_max_length == 40 and read.pad_token_id == read.eos_token_id


def test_every_word_is_one_token_of_the_writer(tmp_path):
    from transformers import AutoTokenizer

    words.writing_tokenizer(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer("")["input_ids"] == [tokenizer.bos_token_id]  # what BLIP-2 begins with
    for i in range(60):
        for written in captions(scene(8, i, 48, ("train", "val", "test")[i % 3])):
            ids = tokenizer(written.text)["input_ids"]
            text = tokenizer.decode(ids, skip_special_tokens=True)
            assert text.strip() == written.text  # as the caption stage strips it
            pieces = len(written.text.replace(",", " ,").replace("-", " - ").split())
            assert len(ids) == 1 + pieces
    image = tokenizer.convert_tokens_to_ids("<image>")
    assert (
        tokenizer.decode([image, *tokenizer("a man")["input_ids"]], skip_special_tokens=True)
        == " a man"
    )


def test_a_caption_is_read_as_what_the_world_says_it_says():
    for i in range(150):
        drawn = scene(5, i, 32, ("train", "test")[i % 2])
        if not drawn.relations:
            continue
        names = {p.id: p.who.noun for p in drawn.people}
        names |= {t.id: t.look.kind for t in drawn.things}
        for written in captions(drawn):
            subject, verb, target, _, _ = written.triples[0]
            assert caption.parse(written.text) == (names[subject], verb, names[target])
            assert caption.parse(written.text) in caption.truths(drawn)
    assert caption.parse("a cup is being held by a girl") == ("girl", "hold", "cup")
    assert caption.parse("a man is standing in the park") is None
    assert caption.parse("") is None
    assert caption.parse("holding a cup") is None


def test_mutual_acts_may_be_told_from_either_side():
    mutual = next(
        s
        for s in (scene(0, i, 32) for i in range(300))
        if s.relations and s.relations[0].pair.verb == "dance with"
    )
    (subject, verb, target), *_ = [t for t in caption.truths(mutual) if t[1] == "dance with"]
    assert (target, verb, subject) in caption.truths(mutual)
    ridden = next(
        s
        for s in (scene(0, i, 32) for i in range(300))
        if len(s.relations) == 1 and s.relations[0].pair.verb == "ride"
    )
    assert len(caption.truths(ridden)) == 1


@pytest.fixture(scope="module")
def small_clip():
    return clip.network(width=32, layers=2).eval()


def test_blip2_begins_with_what_clip_sees(small_clip):
    blip = caption.network(width=32, layers=2, patch=clip.PATCH).eval()
    with torch.no_grad():  # as after training: a normalisation that matters
        small_clip.vision_model.pre_layrnorm.weight.copy_(torch.linspace(0.2, 2, 32))
        small_clip.vision_model.pre_layrnorm.bias.copy_(torch.linspace(1, -1, 32))
        small_clip.vision_model.embeddings.position_embedding.weight.add_(1.5)
    pixels = data.pixels([scene(0, i, 96) for i in range(4)], clip.CLIP)
    with torch.no_grad():
        seen = small_clip.vision_model(pixel_values=pixels).last_hidden_state
        before = blip.vision_model.encoder(
            inputs_embeds=blip.vision_model.embeddings(pixels)
        ).last_hidden_state
        caption.adopt(blip, small_clip)
        after = blip.vision_model.encoder(
            inputs_embeds=blip.vision_model.embeddings(pixels)
        ).last_hidden_state
    alike = torch.nn.functional.cosine_similarity
    assert alike(seen, after, dim=-1).mean() > 0.8 > 0.4 > alike(seen, before, dim=-1).mean()


def test_finer_patches_begin_with_what_coarse_ones_see(small_clip):
    """Pixels and places are the same, so what a place shows is about the same in either."""
    pixels = data.pixels([scene(0, i, 96) for i in range(4)], clip.CLIP)
    fine = caption.network(width=32, layers=2, patch=6).eval()
    coarse = caption.network(width=32, layers=2, patch=8).eval()
    caption.adopt(coarse, small_clip)

    def seen(model):
        with torch.no_grad():
            states = model.vision_model(pixel_values=pixels).last_hidden_state[:, 1:]
        side = round(states.shape[1] ** 0.5)
        square = states.transpose(1, 2).unflatten(2, (side, side))
        return torch.nn.functional.interpolate(square, (4, 4), mode="area")

    def apart(states):
        return (seen(coarse) - states).square().mean() / seen(coarse).var()

    alone = caption.finer(fine.state_dict())
    assert all(torch.equal(weight, alone[name]) for name, weight in fine.state_dict().items())
    before = apart(seen(fine))
    fine.load_state_dict(caption.finer(coarse.state_dict()))
    assert apart(seen(fine)) < 0.1 < 0.8 < before


def test_the_last_cycle_reads_what_the_autoencoder_gives_back(monkeypatch):
    """A third of its pictures; without noise they are what the float32 autoencoder makes."""
    from diffusers import AutoencoderKL

    monkeypatch.setattr(caption, "BATCH", 6)
    noisy = caption._batch(3)[0]
    assert torch.equal(noisy, caption._batch(3)[0])
    monkeypatch.setattr(caption, "NOISE", 0.0)
    drawn, worn = (caption._batch(3, cycle)[0] for cycle in (1, 2))
    assert torch.equal(drawn[2:], worn[2:]) and torch.equal(drawn[2:], noisy[2:])
    vae = AutoencoderKL.from_pretrained(cards.folder("vae") / "vae", torch_dtype=torch.float32)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in clip.CLIP)
    pixels = (drawn[:2] * std + mean) * 2 - 1
    with torch.no_grad():
        wanted = vae.decode(vae.encode(pixels).latent_dist.mode()).sample.clamp(-1, 1)
    wanted = (wanted / 2 + 0.5 - mean) / std

    def apart(one, other):
        return (one - other).abs().mean()

    assert apart(worn[:2], wanted) < 0.02 < 0.04 < apart(drawn[:2], wanted)
    assert apart(noisy[:2], wanted) > 1.5 * apart(worn[:2], wanted)


def test_an_untrained_captioner_goes_through_the_backend(tmp_path, monkeypatch):
    caption.export(caption.network(width=32, layers=2), tmp_path)
    monkeypatch.setattr(caption, "TEST", 6)
    measured = caption.measure(tmp_path)
    assert measured["scenes"] == 6 and measured["triples"] <= 0.5


def test_an_untrained_clip_goes_through_the_backend(tmp_path, monkeypatch, small_clip):
    clip.export(clip.network(width=32, layers=2), tmp_path)
    monkeypatch.setattr(clip, "TEST", 30)
    monkeypatch.setattr(clip, "ROUND", 12)
    measured = clip.measure(tmp_path)
    assert measured["captions"] == 24 and measured["r1"] < 0.5


def test_a_round_never_has_a_caption_twice(monkeypatch):
    monkeypatch.setattr(clip, "ROUND", 3)
    a, b = scene(0, 1, 32), scene(0, 2, 32)
    for group in clip._rounds([a, a, b, b, a, scene(0, 3, 32), scene(0, 4, 32), scene(0, 5, 32)]):
        assert len({text for _, text in group}) == len(group) == 3


def test_patches_know_what_they_show():
    drawn = scene(0, 11, 96)
    facts = labels.patches(drawn, 8).reshape(12, 12, 3)
    for row in range(12):
        for column in range(12):
            instance = drawn.instances[row * 8 + 4, column * 8 + 4]
            one = next((o for o in drawn.everything if o.id == instance), None)
            kind = labels.KINDS[facts[row, column, 0]]
            if one is None:
                assert kind == ""
            else:
                assert kind == (one.who.noun if hasattr(one, "who") else one.look.kind)
    first = drawn.relations[0]
    table = labels.instances(drawn)
    assert labels.ROLES[table[first.subject, 2]] == first.pair.verb
    assert labels.ROLES[table[first.object, 2]] == f"{first.pair.verb} (object)"
    verb, _, target = labels.acts(drawn)
    assert list(VERBS)[verb] == first.pair.verb
    assert labels.KINDS[target] == first.pair.object or first.pair.object == "person"


# What a few test scenes must reach, below the cards: these networks are trained ones.
FLOORS = {"clip": ("r1", 0.6), "caption": ("triples", 0.55), "interaction": ("map_full", 0.85)}


@pytest.mark.parametrize("role", FLOORS)
def test_a_published_miniature_works_through_the_backend(role, monkeypatch):
    module = {"clip": clip, "caption": caption, "interaction": interaction}[role]
    monkeypatch.setattr(module, "TEST", {"clip": 110, "caption": 32, "interaction": 150}[role])
    name, floor = FLOORS[role]
    assert module.measure(cards.folder(role))[name] >= floor


def test_odd_scenes_show_no_pair_of_the_world_and_say_what_they_show():
    from socialcli.miniature.zoo import oddities

    scenes = oddities.train_scenes(3, 40, 1.0)
    changed = 0
    for odd in scenes:
        looks = {t.id: t.look for t in odd.things}
        for relation in odd.relations:
            if relation.object not in looks:
                continue  # a person
            kind = looks[relation.object].kind
            pairs = {p.object for p in PAIRS if p.verb == relation.pair.verb}
            same = kind == relation.pair.object
            assert same or kind not in pairs, (relation.pair.verb, kind)
            changed += not same
            first = captions(odd)[0]
            noun = next((m.head for m in first.mentions if m.instance == relation.object), kind)
            assert noun == kind
    assert changed > 15
    again = oddities.train_scenes(3, 40, 1.0)
    assert all(a.image.tobytes() == b.image.tobytes() for a, b in zip(scenes, again, strict=True))
