"""GroundingDINO in miniature: boxes for noun phrases of the world.

The class is transformers' own `GroundingDinoForObjectDetection`, trained with the losses of the
paper (focal, L1 and GIoU after matching, at every decoder layer and at the encoder) on phrases
from the captions, bare class words, and phrases of things that are not there.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from socialcli.miniature.world import Scene
from socialcli.miniature.world.captions import captions, phrases_of
from socialcli.miniature.world.vocabulary import ANIMALS, COLOURS, THINGS
from socialcli.miniature.zoo import data, training, words

STEPS, BATCH, RATE, MUON = 14300, 20, 7e-4, 7e-4
NOTE = (
    "The published run had AdamW alone for 9000 steps, the last 5000 of them a second cosine, and "
    "Muon too in two more, of 3000 and 2300. A run from nothing has both and one cosine."
)
TEST = 400
NOUNS = (*ANIMALS, *THINGS, "man", "woman", "boy", "girl", "person")


def network() -> Any:
    """The untrained network, seeded."""
    import torch
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection

    torch.manual_seed(0)
    config = GroundingDinoConfig(
        backbone_config={
            "model_type": "swin", "image_size": data.SIZE, "patch_size": 4, "embed_dim": 32,
            "depths": [1, 2, 2, 1], "num_heads": [2, 4, 4, 8], "window_size": 6,
            "drop_path_rate": 0.0, "out_features": ["stage2", "stage3", "stage4"],
        },
        text_config={
            "model_type": "bert", "vocab_size": len(words.vocabulary()), "hidden_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
            "max_position_embeddings": 256, "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        d_model=64, num_queries=20, encoder_layers=2, encoder_ffn_dim=160,
        encoder_attention_heads=4, decoder_layers=2, decoder_ffn_dim=160,
        decoder_attention_heads=4, num_feature_levels=3, dropout=0.0, fusion_dropout=0.0,
        fusion_droppath=0.0, max_text_len=256, auxiliary_loss=True,
    )  # fmt: skip
    model = training.widen(GroundingDinoForObjectDetection(config))
    with torch.no_grad():  # class logits are bare dot products: let them start near zero
        for norm in (model.model.enc_output_norm, model.model.decoder.layer_norm):
            norm.weight.mul_(0.2)
        # Words must outweigh positions and token types, or all phrases look alike.
        model.model.text_backbone.embeddings.word_embeddings.weight.mul_(4.0)
    return model


def truth(scene: Scene, phrase: str) -> list[tuple[float, ...]]:
    """Boxes (normalised xyxy) of everything a phrase fits, "another man" being a man."""
    wanted = "a " + phrase.removeprefix("another ") if phrase.startswith("another ") else phrase
    if wanted.startswith("a ") and wanted[2] in "aeiou":
        wanted = "an " + wanted[2:]
    bare = {f"a {wanted}", f"an {wanted}", wanted}
    return [tuple(v / scene.size for v in o.box) for o in scene.everything if bare & phrases_of(o)]


def _asked(rng: random.Random, scene: Scene) -> list[str]:
    """Phrases to ask of a training scene: its own, bare words, and some that fit nothing."""
    written = rng.choice(captions(scene))
    asked = [m.phrase for m in written.mentions]
    if rng.random() < 0.5:
        asked = [m.head for m in written.mentions] if rng.random() < 0.5 else asked
        every = scene.everything
        asked += [rng.choice(sorted(phrases_of(rng.choice(every)))) for _ in range(2)]
    if rng.random() < 0.2:
        asked.append("person")
    for _ in range(rng.choice((0, 1, 1, 2))):
        noun = rng.choice(NOUNS)
        colour = rng.choice(tuple(COLOURS))
        asked.append(rng.choice((noun, f"a {noun}", f"a {colour} {noun}")))
    rng.shuffle(asked)
    return list(dict.fromkeys(asked))


def _batch(step: int, vocabulary: Any) -> tuple[Any, ...]:
    import torch

    from socialcli.backends.ground import phrases

    scenes = data.train_scenes(step, BATCH)
    rng = random.Random(f"ground {step}")
    texts, labels = [], []
    for scene in scenes:
        asked = _asked(rng, scene)
        [text] = phrases.texts(asked, vocabulary)
        # One target a thing, lit by the tokens of every asked phrase that fits it.
        lit: dict[tuple[float, ...], Any] = {}
        for (a, b), same in text.spans:
            for box in truth(scene, asked[same[0]]):
                lit.setdefault(box, torch.zeros(256))[a:b] = 1
        labels.append((torch.tensor(list(lit)).reshape(-1, 4), torch.stack([*lit.values()] or
                       [torch.zeros(256)])[: len(lit)]))  # fmt: skip
        texts.append(text.ids)
    ids, mask = phrases.pad(texts)
    return data.pixels(scenes), torch.tensor(ids), torch.tensor(mask), labels


def _loss(model: Any, batch: tuple[Any, ...], step: int) -> Any:
    """Matching, focal, L1 and GIoU losses at every decoder layer and at the encoder.

    Not transformers' own: from nothing it cannot learn (5.23). It offsets the classes of picture
    i by the phrases of picture i alone and not of all before it, so that in a batch nearly every
    target token is wrong; and it detaches the encoder's proposals before their loss.
    """
    import torch

    device = next(model.parameters()).device
    pixels, ids, mask, labels = batch
    labels = [(boxes.to(device), tokens.to(device)) for boxes, tokens in labels]
    ids, mask = ids.to(device), mask.to(device)
    with torch.autocast(device.type, torch.bfloat16):
        out = model(pixel_values=pixels.to(device), input_ids=ids, attention_mask=mask)
        layers = [(out.enc_outputs_class, out.enc_outputs_coord_logits.float().sigmoid())]
        states = out.intermediate_hidden_states
        for level in range(states.shape[1]):
            before = (out.intermediate_reference_points[:, level - 1] if level
                      else out.init_reference_points)  # fmt: skip
            logits = model.class_embed[level](
                states[:, level], out.encoder_last_hidden_state_text, mask.bool()
            )
            delta = model.bbox_embed[level](states[:, level]).float()
            layers.append((logits, (delta + torch.special.logit(before.float(), 1e-5)).sigmoid()))
    width = ids.shape[1]
    total = sum(len(boxes) for boxes, _ in labels)
    value = torch.zeros((), device=device)
    for logits, boxes in layers:
        value = value + _matched(logits[..., :width].float(), boxes, mask, labels) / max(total, 1)
    return value


def _matched(logits: Any, boxes: Any, mask: Any, labels: list[tuple[Any, Any]]) -> Any:
    """Summed loss of one set of predictions: (B, Q, T) logits, (B, Q, 4) cx, cy, w, h."""
    import torch
    from scipy.optimize import linear_sum_assignment
    from torch.nn import functional

    logits = logits.masked_fill(mask[:, None, :] == 0, -20.0)  # padding comes as -inf
    low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
    target = torch.zeros_like(logits)
    shape_loss = logits.new_zeros(())
    with torch.no_grad():
        p = logits.sigmoid().clamp(1e-6, 1 - 1e-6)
        gain = -0.25 * (1 - p) ** 2 * p.log() + 0.75 * p**2 * (1 - p).log()
    for i, (truth_boxes, tokens) in enumerate(labels):
        if not len(truth_boxes):
            continue
        tokens = tokens[:, : logits.shape[-1]]
        middle = torch.cat([(truth_boxes[:, :2] + truth_boxes[:, 2:]) / 2,
                            truth_boxes[:, 2:] - truth_boxes[:, :2]], 1)  # fmt: skip
        with torch.no_grad():
            cost = 2 * gain[i] @ (tokens / tokens.sum(1, keepdim=True)).T
            cost = cost + 5 * torch.cdist(boxes[i], middle, p=1)
            cost = cost - 2 * _giou(low[i, :, None], high[i, :, None], truth_boxes[None])
            rows, columns = linear_sum_assignment(cost.cpu().numpy())
        target[i, rows] = tokens[columns]
        chosen = truth_boxes[columns]
        near = (boxes[i, rows] - middle[columns]).abs().sum()
        shape_loss = (
            shape_loss + 5 * near + 2 * (1 - _giou(low[i, rows], high[i, rows], chosen)).sum()
        )
    cross = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = logits.sigmoid()
    wrong = torch.where(target > 0, 1 - p, p)
    weight = torch.where(target > 0, 0.25, 0.75) * mask[:, None, :]
    return 2 * (cross * wrong**2 * weight).sum() + shape_loss


def _giou(low: Any, high: Any, truth: Any) -> Any:
    """Generalised IoU of boxes given by corners with (..., 4) xyxy boxes."""
    import torch

    inner = (torch.minimum(high, truth[..., 2:]) - torch.maximum(low, truth[..., :2])).clamp(min=0)
    outer = torch.maximum(high, truth[..., 2:]) - torch.minimum(low, truth[..., :2])
    both = inner.prod(-1)
    either = (high - low).prod(-1) + (truth[..., 2:] - truth[..., :2]).prod(-1) - both
    hull = outer.prod(-1)
    return both / (either + 1e-7) - (hull - either) / (hull + 1e-7)


def train(work: Path, steps: int, minutes: float | None, device: str) -> training.Run:
    """Train, or go on training."""
    from socialcli.backends.ground import phrases

    model = network().to(device).train()
    vocabulary = phrases.vocabulary(words.tokenizer(), model.config.max_text_len)
    return training.fit(
        model, lambda step: _batch(step, vocabulary), _loss, work, steps,
        rate=RATE, decay=1e-3, clip=0.5, minutes=minutes, muon=MUON,
    )  # fmt: skip


def export(model: Any, folder: Path) -> None:
    """Write the Hugging Face folder: fp16 weights, image processor, tokenizer."""
    from transformers import GroundingDinoImageProcessorPil

    model.half().save_pretrained(folder)
    size = {"shortest_edge": data.SIZE, "longest_edge": 2 * data.SIZE}
    GroundingDinoImageProcessorPil(size=size).save_pretrained(folder)
    words.tokenizer(folder)


def measure(folder: Path) -> dict[str, float]:
    """AP50 over all entity phrases of the test captions, through the production backend."""
    import numpy

    from socialcli import backends
    from socialcli.backends import ModelSpec
    from socialcli.vision import boxes

    grounder = backends.load(ModelSpec("ground", "grounding-dino", str(folder)))
    scenes = data.test_scenes(TEST)
    rows: list[tuple[float, bool]] = []
    total = 0
    for start in range(0, len(scenes), 16):
        part = scenes[start : start + 16]
        asked = [list(dict.fromkeys(m.phrase for m in captions(s)[0].mentions)) for s in part]
        for scene, phrases, detections in zip(
            part, asked, grounder.ground([s.image for s in part], asked, 0.05, 0.05), strict=True
        ):
            for number, phrase in enumerate(phrases):
                of_phrase = [d for d in detections if d.phrase == number]
                corners = numpy.array([d.xyxy for d in of_phrase]).reshape(-1, 4)
                survivors = boxes.nms(corners, numpy.array([d.score for d in of_phrase]), 0.5)
                right = truth(scene, phrase)
                total += len(right)
                free = set(range(len(right)))
                for i in survivors:  # best first
                    overlap = boxes.iou(corners[i], numpy.array(right))[0] if right else []
                    best = max(free, key=lambda j: overlap[j], default=None)
                    hit = best is not None and overlap[best] >= 0.5
                    if hit:
                        free.discard(best)
                    rows.append((of_phrase[i].score, bool(hit)))
    return {"ap50": round(average_precision(rows, total), 4), "phrases": total}


def average_precision(rows: list[tuple[float, bool]], total: int) -> float:
    """Area under the interpolated precision-recall curve of (score, correct) detections."""
    import numpy

    rows = sorted(rows, key=lambda r: -r[0])
    hits = numpy.cumsum([r[1] for r in rows])
    if not len(hits) or not total:
        return 0.0
    precision = hits / numpy.arange(1, len(hits) + 1)
    envelope = numpy.maximum.accumulate(precision[::-1])[::-1]
    recall = numpy.concatenate([[0.0], hits / total])
    return float(((recall[1:] - recall[:-1]) * envelope).sum())
