"""BLIP-2 in miniature: one sentence about who does what to whom in a picture of the world.

Transformers' `Blip2ForConditionalGeneration`: a vision tower that begins as CLIP's, a Q-Former and
an OPT, trained end to end. The test split shows pairs of verb and object that training never did;
so that the writer says what is seen and not what is usual, many of the words it has written so far
are hidden from it while it learns, and many scenes are odd (`oddities`). It also reads generated
pictures, so in the end a third of what it sees has been through the autoencoder.
"""

from __future__ import annotations

import functools
import random
import re
from pathlib import Path
from typing import Any

from socialcli.miniature.world.captions import captions
from socialcli.miniature.world.vocabulary import ANIMALS, THINGS, VERBS
from socialcli.miniature.zoo import cards, data, labels, latents, oddities, training, words
from socialcli.miniature.zoo.clip import CLIP, quicken

BATCH, RATE, MUON = 48, 1.5e-3, 6e-3
CYCLES = ((11000, 1.0), (4500, 0.7), (1500, 0.5))
WIDTH, LAYERS, QUERIES = 128, 6, 16
# Of each cycle: pixels of a patch (coarse ones take half the time), the share of the acts with a
# thing that are odd, and that of the pictures that come out of the autoencoder, as drawn ones do.
PATCHES = (8, 6, 6)
ODD = (0.5, 0.6, 0.6)
WORN = (0.0, 0.0, 1 / 3)
NOISE = 0.2  # of latents with a deviation of one, at most, before they are decoded
# Of the weights after the last cycle, in the mean with those before it: so scenes are read as well
# as before, generated pictures better (docs/mini.md).
SHARE = 0.3
TEXTS = 2  # captions of a picture in one step
HIDDEN = 0.4  # of the words written so far, hidden while learning
PROMPTED = ("a photo of", "a picture of")  # what people make captioners continue
TEST = 600
NOUNS = ("man", "woman", "boy", "girl")


def network(width: int = WIDTH, layers: int = LAYERS, patch: int = PATCHES[-1]) -> Any:
    """The untrained `Blip2ForConditionalGeneration`, seeded."""
    import torch
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        OPTConfig,
    )

    torch.manual_seed(0)
    tokenizer = words.writing_tokenizer()
    model = Blip2ForConditionalGeneration(
        Blip2Config(
            vision_config=Blip2VisionConfig(
                hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
                num_attention_heads=4, image_size=data.SIZE, patch_size=patch,
                initializer_range=0.02, layer_norm_eps=1e-5,
            ),
            qformer_config=Blip2QFormerConfig(
                hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
                num_attention_heads=4, encoder_hidden_size=width, cross_attention_frequency=1,
                hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, vocab_size=64,
                max_position_embeddings=32,
            ),
            text_config=OPTConfig(
                vocab_size=len(tokenizer), hidden_size=width, word_embed_proj_dim=width,
                ffn_dim=2 * width, num_hidden_layers=2, num_attention_heads=4, dropout=0.0,
                max_position_embeddings=128, bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            ),
            num_query_tokens=QUERIES,
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        )
    )  # fmt: skip
    training.widen(model)
    with torch.no_grad():
        model.query_tokens.normal_()
    return model


def adopt(model: Any, clip: Any) -> None:
    """Begin BLIP-2's vision tower with CLIP's weights.

    BLIP-2 has no normalisation before the first layer; its mean and gain are folded into patch
    and position embeddings, and its division by each patch's own deviation into one for all.
    """
    import torch

    clip_tower, adopted = clip.vision_model, model.vision_model
    patch = model.config.vision_config.patch_size
    before = clip_tower.pre_layrnorm
    with torch.no_grad():
        sample = data.pixels(data.train_scenes(0, 16), CLIP)
        gain = before.weight / clip_tower.embeddings(sample).std(-1).mean()

        def fold(rows: Any) -> Any:  # (..., width)
            return (rows - rows.mean(-1, keepdim=True)) * gain

        seen = patches_of(clip_tower.embeddings.patch_embedding.weight, patch)
        places = positions_of(clip_tower.embeddings.position_embedding.weight, data.SIZE // patch)
        adopted.embeddings.patch_embedding.weight.copy_(fold(seen.movedim(0, -1)).movedim(-1, 0))
        adopted.embeddings.patch_embedding.bias.zero_()
        adopted.embeddings.class_embedding.copy_(
            fold(clip_tower.embeddings.class_embedding)[None, None]
        )
        adopted.embeddings.position_embedding.copy_((fold(places) + before.bias)[None])
        for old, new in zip(clip_tower.encoder.layers, adopted.encoder.layers, strict=True):
            parts = (old.self_attn.q_proj, old.self_attn.k_proj, old.self_attn.v_proj)
            new.self_attn.qkv.weight.copy_(torch.cat([p.weight for p in parts]))
            new.self_attn.qkv.bias.copy_(torch.cat([p.bias for p in parts]))
            new.self_attn.projection.load_state_dict(old.self_attn.out_proj.state_dict())
            for name in ("layer_norm1", "layer_norm2", "mlp"):
                getattr(new, name).load_state_dict(getattr(old, name).state_dict())
        adopted.post_layernorm.load_state_dict(clip_tower.post_layernorm.state_dict())


def patches_of(weight: Any, size: int) -> Any:
    """A patch embedding's weight (C, 3, P, P) for patches of ``size`` pixels: what an even patch
    gives stays the same."""
    from torch.nn import functional

    scaled = functional.interpolate(weight, (size, size), mode="bicubic", antialias=True)
    return scaled * (weight.shape[-1] / size) ** 2


def positions_of(rows: Any, side: int) -> Any:
    """Position embeddings (1 + old^2, C), the class's first, for side x side patches."""
    import torch
    from torch.nn import functional

    old = round((len(rows) - 1) ** 0.5)
    square = rows[1:].T.reshape(1, -1, old, old)
    scaled = functional.interpolate(square, (side, side), mode="bicubic", align_corners=False)
    return torch.cat((rows[:1], scaled[0].flatten(1).T))


def _trained(patch: int) -> Any:
    """The network with the heads that only training has."""
    import torch
    from torch import nn
    from transformers import CLIPModel

    class Trained(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blip = network(patch=patch)
            self.blip.set_attn_implementation("eager")  # twice as fast as fused on CPUs
            self.patches = nn.Linear(WIDTH, sum(labels.PATCH_FACTS))
            self.whole = nn.Linear(WIDTH, sum(labels.ACT_FACTS))

    clip = CLIPModel.from_pretrained(cards.folder("clip"), dtype=torch.float32)
    torch.manual_seed(1)
    trained = Trained()
    adopt(trained.blip, clip)
    return trained


@functools.cache
def _tokenizer() -> Any:
    return words.writing_tokenizer()


def _batch(step: int, cycle: int = len(CYCLES) - 1) -> tuple[Any, ...]:
    import numpy
    import torch

    rng = random.Random(f"caption {step}")
    scenes = oddities.train_scenes(step, BATCH, ODD[cycle])
    texts = []
    for scene in scenes:
        written = captions(scene, TEXTS)
        for i in range(TEXTS):
            prompt = rng.choice(PROMPTED) + " " if rng.random() < 0.1 else ""
            texts.append(prompt + written[i % len(written)].text + "</s>")
    tokens = _tokenizer()(texts, padding=True, return_tensors="pt")
    facts = [labels.patches(s, PATCHES[cycle]) for s in scenes]
    acts = torch.tensor([labels.acts(s) for s in scenes])
    rows = data.rows(scenes)
    some = round(BATCH * WORN[cycle])
    rows[:some] = _worn(rows[:some], step)
    return (
        data.normalised(rows, CLIP), tokens["input_ids"], tokens["attention_mask"],
        torch.from_numpy(numpy.stack(facts)), acts,
    )  # fmt: skip


def _worn(rows: Any, step: int) -> Any:
    """(N, size, size, 3) uint8 pictures as the published autoencoder gives them back.

    Each one's latents have some noise, as those of a picture have that was not drawn to its end.
    """
    import torch

    if not len(rows):
        return rows
    vae, random_numbers = _autoencoder(), torch.Generator().manual_seed(step)
    encoded = torch.from_numpy(latents.encode(vae, rows)).float()
    share = torch.rand(len(rows), 1, 1, 1, generator=random_numbers) * NOISE
    noisy = encoded + share * torch.randn(encoded.shape, generator=random_numbers)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        drawn = vae.decode(noisy / vae.config.scaling_factor).sample.float().clamp(-1, 1)
    return (drawn * 127.5 + 127.5).round().byte().permute(0, 2, 3, 1).numpy()


@functools.cache
def _autoencoder() -> Any:
    return latents.autoencoder(cards.folder("vae") / "vae")


def _loss(model: Any, batch: tuple[Any, ...], step: int) -> Any:
    import torch
    from torch.nn import functional

    device = next(model.parameters()).device
    pixels, ids, mask, facts, acts = (part.to(device) for part in batch)
    blip = model.blip
    hidden = torch.rand(ids.shape, device=device) < HIDDEN
    hidden[:, 0] = False
    given = ids.masked_fill(hidden, blip.config.text_config.pad_token_id)
    with torch.autocast(device.type, torch.bfloat16):
        tower = blip.vision_model
        states = tower.embeddings(pixels)
        seen = tower.post_layernorm(tower.encoder(inputs_embeds=states).last_hidden_state)
        asked = blip.qformer(
            query_embeds=blip.query_tokens.expand(len(seen), -1, -1), encoder_hidden_states=seen
        ).last_hidden_state
        prefix = blip.language_projection(asked).repeat_interleave(TEXTS, 0)
        spoken = blip.get_input_embeddings()(given)
        out = blip.language_model(
            inputs_embeds=torch.cat([prefix.to(spoken.dtype), spoken], 1),
            attention_mask=torch.cat([mask.new_ones(len(mask), QUERIES), mask], 1),
        ).logits[:, QUERIES:-1]
        dense = model.patches(seen[:, 1:])
        guess = model.whole(asked.mean(1))
    target = ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100)
    value = functional.cross_entropy(out.float().flatten(0, 1), target.flatten())
    for i, part in enumerate(dense.split(labels.PATCH_FACTS, -1)):
        value = value + 0.3 * functional.cross_entropy(
            part.float().flatten(0, 1), facts[..., i].flatten()
        )
    for i, part in enumerate(guess.split(labels.ACT_FACTS, -1)):
        value = value + 0.2 * functional.cross_entropy(part.float(), acts[:, i])
    return value


def finer(weights: dict[str, Any], patch: int = PATCHES[-1]) -> dict[str, Any]:
    """BLIP-2's weights for patches of ``patch`` pixels: the first cycle has larger ones."""
    at = "vision_model.embeddings."
    weights = dict(weights)
    kernel, rows = weights[at + "patch_embedding.weight"], weights[at + "position_embedding"][0]
    if kernel.shape[-1] != patch:
        weights[at + "patch_embedding.weight"] = patches_of(kernel, patch)
        weights[at + "position_embedding"] = positions_of(rows, data.SIZE // patch)[None]
    return weights


def train(
    work: Path, cycles: int | training.Cycles, minutes: float | None, device: str, done: int = 0
) -> training.Run:
    """Train, or go on training; CLIP's miniature must be there. The ``done`` first cycles are those
    of the published weights."""
    import torch
    from transformers import Blip2ForConditionalGeneration

    cycles = ((cycles, 1.0),) if isinstance(cycles, int) else cycles
    weights: dict[str, Any] = {}
    if done:
        published = Blip2ForConditionalGeneration.from_pretrained(
            cards.folder("caption"), dtype=torch.float32
        )
        weights = published.state_dict()
    spent = 0.0
    for number in range(done, len(cycles)):
        model = _trained(PATCHES[number]).to(device).train()
        quicken(model.blip.vision_model)
        start = None
        if number:
            fine = finer(weights, PATCHES[number])
            start = (number, {f"blip.{name}": weight for name, weight in fine.items()})
            model.load_state_dict(start[1], strict=False)
        run = training.fit(
            model, functools.partial(_batch, cycle=number), _loss, work / f"cycle-{number + 1}",
            cycles[: number + 1], rate=RATE, decay=2e-2, warm=100, average=0.99, minutes=minutes,
            rates=lambda name: 0.4 if "vision_model" in name else 1.0, muon=MUON,
            heads=("patches.", "whole."), done=start, part=1 / len(cycles),
        )  # fmt: skip
        run.model = run.model.blip
        spent += run.seconds
        if not run.finished:
            break
        before, weights = weights, run.model.state_dict()
        if number and number == len(cycles) - 1:
            run.model.load_state_dict(
                {n: before[n].to(w).lerp(w, SHARE) for n, w in weights.items()}
            )
    run.seconds = spent
    return run


def export(model: Any, folder: Path) -> None:
    """Write the Hugging Face folder: fp16 weights, image processor, tokenizer."""
    from transformers import BlipImageProcessorPil

    model.half().save_pretrained(folder)
    BlipImageProcessorPil(size={"height": data.SIZE, "width": data.SIZE}).save_pretrained(folder)
    words.writing_tokenizer(folder)


def measure(folder: Path) -> dict[str, float]:
    """How often (subject, verb, object) of the written caption is true of the test scene.

    The captioner writes through the production backend with its default beam search; `parse`
    reads the first statement. Right is what equals a relation of the scene: the subject's noun,
    the verb and the object's noun; of acts that two people do together (`labels.MUTUAL`) either
    may be the subject. ``unseen`` counts the scenes whose first relation is a pair
    of verb and object that training never showed.
    """
    from socialcli import backends
    from socialcli.backends import ModelSpec

    captioner = backends.load(ModelSpec("caption", "blip2", str(folder)))
    scenes = [s for s in data.test_scenes(TEST) if s.relations]
    verdicts = right(captioner, scenes, [s.image for s in scenes])
    unseen = [r for r, s in zip(verdicts, scenes, strict=True) if s.relations[0].pair.tier in "vt"]
    return {
        "triples": round(sum(verdicts) / len(verdicts), 4),
        "unseen_triples": round(sum(unseen) / max(len(unseen), 1), 4),
        "scenes": len(verdicts),
    }


def right(captioner: Any, scenes: list[Any], pictures: list[Any]) -> list[bool]:
    """Whether what the captioner says first of each picture is true of its scene."""
    from socialcli.backends.roles import Generation

    verdicts: list[bool] = []
    for start in range(0, len(scenes), 32):
        part = pictures[start : start + 32]
        texts = captioner.caption(part, Generation(), [0] * len(part))
        several = zip(scenes[start : start + 32], texts, strict=True)
        verdicts += [parse(text) in truths(scene) for scene, text in several]
    return verdicts


def truths(scene: Any) -> set[tuple[str, str, str]]:
    """(subject noun, verb, object noun) of all that is true of a scene, mutual acts both ways."""
    names = {p.id: p.who.noun for p in scene.people} | {t.id: t.look.kind for t in scene.things}
    return {(names[s], verb, names[o]) for s, verb, o in labels.relations(scene)}


@functools.cache
def _forms() -> tuple[tuple[str, str, bool], ...]:
    """(words, verb, passive) of every form of every verb, the longest first."""
    forms = []
    for verb in VERBS.values():
        for form in (verb.third, verb.ing):
            forms.append((form.replace(" in arms", ""), verb.lemma, False))
        if verb.past:
            forms.append((f"being {verb.past.replace(' in arms', '')}", verb.lemma, True))
    return tuple(sorted(forms, key=lambda f: -len(f[0])))


def parse(text: str) -> tuple[str, str, str] | None:
    """(subject noun, verb, object noun) of a caption's first statement, in the world's grammar.

    None where it makes none. Passives are turned round; holding a person is "hold in arms".
    """
    first = min(
        (
            (match.start(), -len(form), form, lemma, passive)
            for form, lemma, passive in _forms()
            if (match := re.search(rf"\b{form}\b", text))
        ),
        default=None,
    )
    if first is None:
        return None
    at, _, form, lemma, passive = first
    noun = re.compile(r"\b(" + "|".join((*NOUNS, *ANIMALS, *THINGS)) + r")\b")
    before, after = noun.findall(text[:at]), noun.findall(text[at + len(form) :])
    if not before or not after:
        return None
    subject, target = (after[0], before[-1]) if passive else (before[-1], after[0])
    if lemma in ("hold", "hold in arms"):
        lemma = "hold in arms" if target in NOUNS else "hold"
    return subject, lemma, target
