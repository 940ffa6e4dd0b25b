"""DETR and RT-DETR as grounders: a phrase is its class's boxes; gaze is judged by them."""

from __future__ import annotations

import json

import numpy
import pytest
import torch
from PIL import Image

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.vision.classes import class_of

LABELS = ["person", "cell phone", "dog"]
SIZE = (60, 44)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Both, tiny and of random weights, as ``save_pretrained`` writes them."""
    from transformers import (
        DetrConfig,
        DetrForObjectDetection,
        DetrImageProcessorPil,
        ResNetConfig,
        RTDetrConfig,
        RTDetrForObjectDetection,
        RTDetrImageProcessorPil,
        RTDetrResNetConfig,
    )

    place = tmp_path_factory.mktemp("detectors")
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {n: i for i, n in enumerate(LABELS)}}
    torch.manual_seed(0)
    resnet = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage4"],
    )  # fmt: skip
    detr = DetrForObjectDetection(
        DetrConfig(
            use_timm_backbone=False, use_pretrained_backbone=False, backbone_config=resnet,
            backbone=None, d_model=16, encoder_layers=1, decoder_layers=1, num_queries=6,
            encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
            decoder_ffn_dim=16, **names,
        )
    )  # fmt: skip
    rt = RTDetrForObjectDetection(
        RTDetrConfig(
            backbone_config=RTDetrResNetConfig(
                embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1],
                layer_type="basic", out_features=["stage2", "stage3", "stage4"],
            ),
            encoder_hidden_dim=16, encoder_in_channels=[8, 8, 8], encoder_layers=1,
            encoder_ffn_dim=16, encoder_attention_heads=2, d_model=16, num_queries=6,
            decoder_in_channels=[16, 16, 16], decoder_ffn_dim=16, decoder_layers=1,
            decoder_attention_heads=2, **names,
        )
    )  # fmt: skip
    with torch.no_grad():
        for network in (detr, rt):
            for name, value in network.named_parameters():
                if value.ndim > 1 and "norm" not in name:
                    value.copy_(torch.randn_like(value) * 0.6 / value[0].numel() ** 0.5 + value)
    detr.save_pretrained(place / "detr")
    DetrImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(
        place / "detr"
    )
    rt.save_pretrained(place / "rt-detr")
    RTDetrImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(place / "rt-detr")
    return place


def picture(seed: int = 0):
    noise = numpy.random.default_rng(seed).integers(0, 255, (11, 15, 3)).astype(numpy.uint8)
    return Image.fromarray(noise).resize(SIZE, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("name", ["detr", "rt-detr"])
def test_boxes_are_those_that_transformers_gives(name, folders):
    """Scores and boxes by class against transformers' own post-processing."""
    finder = backends.load(ModelSpec("ground", name, str(folders / name)))
    phrases = ["a dog", "the young women", "zeppelin", "his phone", "dog"]
    images = [picture(0), picture(1)]
    detections, nothing = finder.ground([images[0], images[1]], [phrases, ["zeppelin"]], 0.0, 0.0)
    assert nothing == []
    out = finder.network(**finder.processor(images=images[0], return_tensors="pt"))
    [processed] = finder.processor.post_process_object_detection(
        out, threshold=0.0, target_sizes=[(1, 1)]
    )
    assert {one.phrase for one in detections} <= {0, 1, 3, 4}
    for phrase, label in ((0, 2), (1, 0), (3, 1), (4, 2)):
        of_phrase = [one for one in detections if one.phrase == phrase]
        assert [one.score for one in of_phrase] == sorted(
            (o.score for o in of_phrase), reverse=True
        )
        wanted = [
            (float(score.detach()), numpy.clip(box.tolist(), 0, 1))
            for score, box, kind in zip(
                processed["scores"], processed["boxes"].detach(), processed["labels"], strict=True
            )
            if int(kind) == label
        ]
        if name == "rt-detr":  # which keeps the best six of all queries and classes
            of_phrase = [one for one in of_phrase if one.score >= min(processed["scores"])]
        assert len(of_phrase) == len(wanted)
        for one, (score, box) in zip(of_phrase, sorted(wanted, key=lambda w: -w[0]), strict=True):
            assert one.score == pytest.approx(score, abs=1e-6)
            assert one.xyxy == pytest.approx(tuple(box), abs=1e-5)
    least = sorted(one.score for one in detections)[len(detections) // 2]
    [fewer, _] = finder.ground(images, [phrases, []], least, 0.0)
    assert {one.score for one in fewer} == {one.score for one in detections if one.score > least}
    assert finder.model.backend == name


def test_what_a_phrase_means():
    coco = ["person", "bicycle", "bench", "sports ball", "wine glass", "knife", "cell phone", "tv",
            "dining_table", "bus"]  # fmt: skip
    meanings = {
        "a man in a red hat": None, "the old woman": 0, "People": 0, "two bikes": 1, "benches": 2,
        "ball": 3, "a red sports ball": 3, "wine_glass": 4, "glass": None, "knives": 5,
        "smartphone": 6, "TV": 7, "televisions": 7, "a wooden table": 8, "buses": 9, "bus": 9,
        "": None, "zeppelin": None,
    }  # fmt: skip
    assert {phrase: class_of(phrase, coco) for phrase in meanings} == meanings
    assert class_of("a man", ["dog"]) is None


def test_gaze_is_judged_by_a_detector(run_cli, folders, tmp_path):
    """The real command line, with each detector in the grounder's place."""
    import io

    from socialcli import records, shards

    out = io.BytesIO()
    picture(2).save(out, "PNG")
    who = records.Person(1, gaze=records.Gaze(point=(0.5, 0.5), inside=True))
    members = {
        "png": out.getvalue(), "people.json": records.dump(records.People(*SIZE, [who])),
        "boxes.json": records.dump(records.Boxes(*SIZE, [records.Box(1, (0, 0, 1, 1), "dog")])),
    }  # fmt: skip
    shards.write(tmp_path / "in" / "000.tar", [("a", members)])
    run_cli(
        "score", tmp_path / "in", "--real", "--metrics", "gaze", "--profile", "mini",
        "--ground-backend", "rt-detr", "--ground-model", folders / "rt-detr", "--resamples", "0",
        "-o", tmp_path / "score",
    )  # fmt: skip
    body = json.loads((tmp_path / "score" / "score.json").read_text())
    assert '"rt-detr"' in json.dumps(body)
    assert "gaze_targets" in body["columns"]
