"""The generative miniatures' training: what they learn from means what it says."""

from __future__ import annotations

import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy
import pytest
import torch

from socialcli.miniature.world import scene
from socialcli.miniature.world.captions import captions
from socialcli.miniature.zoo import (
    cards,
    data,
    diffusion,
    labels,
    latents,
    seeing,
    ssr,
    subjects,
    vae,
)


def test_a_group_is_the_same_person_and_thing_elsewhere():
    for number in range(6):
        group = subjects.group("test", number)
        seen, acts = set(), set()
        for one in group:
            if not one.relations:
                continue
            first = one.relations[0]
            person = next(p for p in one.people if p.id == first.subject)
            thing = next((t.look.name for t in one.things if t.id == first.object), None)
            seen.add((person.who.number, thing))
            acts.add((one.place, person.wear))
            assert person.who.number % 10 == 0  # of the test split
        assert len({who for who, _ in seen}) == 1
        assert len({thing for _, thing in seen if thing}) <= 1
        assert len(acts) > 1
    again = subjects.group("test", 5)
    assert [a.image.tobytes() for a in again] == [b.image.tobytes() for b in group]


def test_scenes_are_not_changed_by_recasting():
    before = scene(1, 3, 96, "train").image.tobytes()
    subjects.group("train", 0)
    assert scene(1, 3, 96, "train").image.tobytes() == before


def test_tokens_know_whom_they_speak_of():
    tokenizer = latents.tokenizer()
    for index in range(30):
        one = scene(0, index)
        ids, mentioned = latents.tokens(tokenizer, one)
        table = labels.instances(one)
        for row, written in enumerate(captions(one, latents.TEXTS)):
            for mention in written.mentions:
                kind = table[mention.instance, 0]
                words = tokenizer(mention.phrase, add_special_tokens=False)["input_ids"]
                at = next(
                    i for i in range(latents.LENGTH) if list(ids[row, i : i + len(words)]) == words
                )
                assert (mentioned[row, at : at + len(words), 0] == kind).any()
            spoken = {m.instance for m in written.mentions}
            kinds = {int(table[i, 0]) for i in spoken} | {0}
            assert set(mentioned[row, :, 0].tolist()) <= kinds
            hues = {labels.HUES[h] for h in mentioned[row, :, 1].tolist()} - {""}
            assert all(hue in written.text.split() for hue in hues)


def test_heads_weigh_most():
    one = next(s for s in map(scene, [0] * 20, range(20)) if s.people and s.people[0].face)
    weights = latents.weight(one)
    x, y = (
        round(sum(v) / 2 / 4)
        for v in zip(one.people[0].head[:2], one.people[0].head[2:], strict=True)
    )
    assert weights.shape == (24, 24) and weights.min() == 100
    assert weights[y, x] > 200


def test_centring_latents_leaves_pictures_alone():
    model = vae.network()
    with torch.no_grad():
        model.quant_conv.bias[:4] += torch.tensor([0.0, 3.0, -1.0, 0.2])
        model.quant_conv.weight[2] *= 4
    pixels = data.pixels(data.train_scenes(0, 4), vae.HALF)
    with torch.no_grad():
        before = model.decode(model.encode(pixels).latent_dist.mode()).sample
        vae.centre(model, 32)
        encoded = model.encode(data.pixels(data.train_scenes(0, 32), vae.HALF)).latent_dist
        after = model.decode(model.encode(pixels).latent_dist.mode()).sample
    assert torch.allclose(before, after, atol=1e-4)
    spread = encoded.mean.std((0, 2, 3))
    assert encoded.mean.mean((0, 2, 3)).abs().max() < 1e-3 * spread.max()
    assert torch.allclose(spread, spread.mean().expand(4), rtol=1e-2)
    assert float(encoded.mean.std()) * model.config.scaling_factor == pytest.approx(1, abs=1e-2)


def test_another_decoder_keeps_latents_and_another_encoder_does_not(tmp_path):
    model = vae.network()
    marks = []
    for part in (None, "decoder", "encoder"):
        if part:
            with torch.no_grad():
                getattr(model, part).conv_in.weight.add_(1.0)
        model.save_pretrained(tmp_path)
        marks.append(latents.mark(tmp_path))
    assert marks[0] == marks[1] != marks[2]


def cache(count=64):
    rng = torch.Generator().manual_seed(0)
    length = latents.LENGTH
    return {
        "latents": torch.randn(count, 4, 24, 24, generator=rng).half(),
        "ids": torch.randint(3, 300, (count, 4, length), generator=rng).short(),
        "said": torch.ones(count, 4, length, 3, dtype=torch.uint8),
        "patches": torch.zeros(count, 144, 3, dtype=torch.uint8),
        "weight": torch.full((count, 24, 24), 100, dtype=torch.uint8),
    }


def test_a_diffusion_batch_is_a_function_of_its_step():
    batch = diffusion.batches(cache())
    for one, two in zip(batch(7), batch(7), strict=True):
        assert torch.equal(one, two)
    ids, facts, t = batch(7)[1], batch(7)[2], batch(7)[-1]
    empty = torch.tensor(
        latents.tokenizer()("", padding="max_length", max_length=latents.LENGTH)["input_ids"]
    )
    dropped = [(batch(s)[1] == empty).all(1) for s in range(40)]
    assert torch.stack(dropped).float().mean() == pytest.approx(diffusion.DROP, abs=0.04)
    assert (facts[(ids == empty).all(1)] == 0).all()
    # Timesteps cover the schedule evenly: one in each thirty-second.
    assert (t.sort().values // (1000 / 32) == torch.arange(32)).all()


def test_a_reference_is_never_its_target():
    count = 16
    groups = {
        "latents": torch.arange(count * 4).view(count, 4, 1, 1, 1).expand(-1, -1, 4, 24, 24),
        "pixels": torch.arange(count * 4, dtype=torch.uint8).view(count, 4, 1, 1, 1)
        .expand(-1, -1, 96, 96, 3),
        "ids": torch.ones(count, 4, 4, 40, dtype=torch.int16),
        "weight": torch.full((count, 4, 24, 24), 50, dtype=torch.uint8),
        "queries": torch.arange(3).view(1, 3, 1).expand(count, 3, 40).short() + 5,
        "clear": torch.tensor([[True, False, False, False]] * count),
        "facts": torch.zeros(count, len(ssr.sizes()), dtype=torch.int64),
    }  # fmt: skip

    class Plain:
        image_mean, image_std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    batch = ssr.batches(groups, Plain)
    nothing = latents.tokenizer()("", padding="max_length", max_length=40)["input_ids"]
    empty, total = 0, 0
    for step in range(20):
        clean, ids, query, pixels, *_, kind = batch(step)
        target = clean[:, 0, 0, 0].int()
        shown = (pixels[:, 0, 0, 0] * 255).round().int()
        asked = ~(query == torch.tensor(nothing)).all(1)
        assert (target // 4 == shown // 4)[asked].all() and (target != shown)[asked].all()
        assert (shown[asked] % 4 == 0).all()  # the clear scene
        assert (pixels[~asked] == 0).all() and (kind[~asked] == -1).all()
        assert (ids[~asked] == torch.tensor(nothing)).all()
        empty, total = empty + int((~asked).sum()), total + len(asked)
    assert empty / total == pytest.approx(ssr.DROP, abs=0.05)


def test_colours_of_shirts_are_read_off_pixels():
    right, wrong, people = 0, 0, 0
    for one in data.test_scenes(60):
        for person in one.people:
            if person.face is None:
                continue
            points = [(x / one.size, y / one.size) for x, y, _ in person.keypoints]
            shares = seeing.shares(seeing.torso(one.image, points))
            assert sum(shares.values()) == pytest.approx(1)
            people += 1
            right += shares[person.wear.top] >= seeing.SHARE
            wrong += shares["pink" if person.wear.top != "pink" else "green"] >= seeing.SHARE
    assert people > 60 and right / people > 0.9 and wrong / people < 0.06


def test_cards_know_what_lies_in_sub_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "folder", lambda role: tmp_path)
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text("{}")
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "vae.card.json").write_text("{}")
    assert [p.relative_to(tmp_path).as_posix() for p in cards.weights("diffusion")] == [
        "model_index.json",
        "unet/config.json",
    ]
    assert cards.weights("diffusion", ("unet/config.json",)) == [tmp_path / "unet/config.json"]


def test_the_networks_are_small_enough_to_be_committed():
    model = diffusion.network()
    sizes = {n: sum(p.numel() for p in getattr(model, n).parameters()) for n in ("unet", "text")}
    assert sizes["unet"] * 2 <= 14 * 2**20 and sizes["text"] * 2 <= 3 * 2**20
    assert sum(p.numel() for p in vae.network().parameters()) * 2 <= 2 * 2**20


def test_published_pictures_show_the_place():
    pipe = diffusion.published(cards.folder("diffusion"))
    texts = ["a man standing in the desert", "a man standing in the snow"]
    desert, snow = (numpy.asarray(p, float)[70:] for p in diffusion.draw(pipe, texts))
    # Sand is warm, snow is not.
    assert (desert[..., 0] - desert[..., 2]).mean() > 40 + (snow[..., 0] - snow[..., 2]).mean()


def test_published_pictures_follow_their_captions():
    pipe = diffusion.published(cards.folder("diffusion"))
    texts = [f"a man in a {hue} shirt is kicking a {hue} ball" for hue in ("red", "green", "blue")]
    pictures = diffusion.draw(pipe, texts)
    shown = [numpy.asarray(p, float).reshape(-1, 3) for p in pictures]
    for channel, text in enumerate(texts):
        strong = [(p[:, channel] > 1.3 * numpy.delete(p, channel, 1).max(1)).mean() for p in shown]
        assert numpy.argmax(strong) == channel, (text, strong)
    alone = numpy.asarray(diffusion.draw(pipe, texts[:1])[0], float)
    together = numpy.asarray(pictures[0], float)
    assert numpy.abs(alone - together).mean() < 1


def test_what_is_read_off_pictures_is_what_they_show():
    scenes = [s for s in data.test_scenes(40) if s.relations][:24]
    prompts = [captions(s)[0] for s in scenes]
    shown = [s.image for s in scenes]
    own = diffusion.read_off(scenes, prompts, shown)
    other = diffusion.read_off(scenes, prompts, [*shown[7:], *shown[:7]])
    for name, least in {"triples": 0.5, "subject": 0.8, "verb": 0.8, "object": 0.6,
                        "clothes": 0.8, "people": 0.9, "gaze": 0.7}.items():  # fmt: skip
        assert own[name] >= least, (name, own[name])
    for name in ("triples", "verb", "object", "clothes", "gaze"):
        assert other[name] < own[name] - 0.3, (name, own[name], other[name])
    assert own["triples"] <= min(own[part] for part in ("subject", "verb", "object"))


def test_the_autoencoder_keeps_what_its_card_says(monkeypatch):
    monkeypatch.setattr(vae, "TEST", 25)
    again = vae.measure(cards.folder("vae"))
    measured = json.loads(cards.card("vae").read_text())["test"]
    for name, apart in {"psnr": 0.5, "psnr_heads": 1.5, "psnr_eyes": 1.5, "latent_std": 0.05,
                        "face_similarity": 0.05, "triples": 0.3}.items():  # fmt: skip
        assert again[name] == pytest.approx(measured[name], abs=apart), name
