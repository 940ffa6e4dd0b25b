"""annotate-pose: each backend on its official format, the stage's rules, and real photographs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import part
from tiny import people as tiny

from socialcli import backends, records
from socialcli.backends import ModelSpec
from socialcli.backends.interaction import ground_truth
from socialcli.errors import ModelMissing, SampleFailed, UsageError
from socialcli.pipeline.stage import Item
from socialcli.records import (
    Box,
    Boxes,
    Entities,
    Entity,
    Face,
    Gaze,
    Interaction,
    Interactions,
    Keypoints,
    Model,
    People,
    Person,
)
from socialcli.shards import Sample
from socialcli.vision import people as who

annotate_pose = part("stages", "annotate-pose")

WIDTH, HEIGHT = 640, 480
RED = 32  # the tiny detector sees pure red squares of this side, on this grid, as faces


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    return {
        "pack": str(tiny.insightface_pack(folder / "pack")),
        "detector": str(tiny.insightface_pack(folder / "detector", recogniser=False)),
        "backbone": str(tiny.backbone(folder / "backbone.pth")),
        "vitpose": str(tiny.vitpose(folder / "vitpose")),
        "vitpose+": str(tiny.vitpose(folder / "vitpose-plus", experts=6)),
        "sharingan": str(tiny.sharingan(folder / "sharingan.pt")),
    }


@pytest.fixture(scope="module")
def everything(checkpoints):
    """The stage with tiny models for identity, pose and gaze, loaded once."""
    config = configuration(checkpoints)
    return config, annotate_pose.load(config)


def configuration(checkpoints, **changes):
    options = {
        "device": "cpu",
        "dtype": "float32",
        "face_model": checkpoints["pack"],
        "pose_model": checkpoints["vitpose"],
        "gaze_model": checkpoints["sharingan"],
    }
    return annotate_pose.Config(**{**options, **changes})


def scene(*cells, width=WIDTH, height=HEIGHT, seed=0):
    """Grey noise with a red square in each (column, row) cell: one tiny face there."""
    from PIL import Image

    noise = numpy.random.default_rng(seed).integers(90, 130, (height, width, 1))
    pixels = numpy.repeat(noise, 3, axis=2).astype(numpy.uint8)
    for column, row in cells:
        pixels[row * RED : (row + 1) * RED, column * RED : (column + 1) * RED] = (255, 0, 0)
    return Image.fromarray(pixels)


def face_at(column, row):
    """The normalised box the tiny detector gives for a cell."""
    left, top, right, bottom = tiny.REACH
    return (
        (column - left) * RED / WIDTH,
        (row - top) * RED / HEIGHT,
        (column + right) * RED / WIDTH,
        (row + bottom) * RED / HEIGHT,
    )


def png(image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def run(config, loaded, *samples):
    """Members of each sample {suffix: bytes or record}, as the runner would get them."""
    items = []
    for number, members in enumerate(samples):
        raw = {
            k: png(v) if k == "png" else v if isinstance(v, bytes) else records.dump(v)
            for k, v in members.items()
        }
        items.append(Item(str(number), 0, annotate_pose.prepare(config, Sample(str(number), raw))))
    return annotate_pose.process(config, loaded, items)


def people_of(members) -> People:
    return records.load(People, members["people.json"])


# --- backends on official formats ----------------------------------------------------------


def test_insightface_pack_finds_and_embeds(checkpoints):
    from socialcli.vision import faces

    backend = backends.load(ModelSpec("face", "insightface", checkpoints["pack"]))
    image = scene((4, 3), (12, 9))
    [detected, none] = backend.detect([image, scene()])
    assert none == [] and len(detected) == 2
    by_place = sorted(detected, key=lambda f: f.xyxy)
    for face, cell in zip(by_place, [(4, 3), (12, 9)], strict=True):
        assert face.xyxy == pytest.approx(face_at(*cell), abs=1e-5)
        assert face.score == pytest.approx(1 / (1 + numpy.exp(-5)), abs=1e-3)
        eye = ((cell[0] - 0.4) * RED / WIDTH, (cell[1] - 0.3) * RED / HEIGHT)
        assert face.landmarks[0] == pytest.approx(eye, abs=1e-5)
    rows, empty = backend.embed([image, image], [by_place, []])
    assert rows.shape == (2, 512) and empty.shape == (0, 512) and rows.dtype == numpy.float32
    # The recogniser's numbers from the crop, with its matrix made again.
    crop = faces.crop(numpy.asarray(image), numpy.array(by_place[1].landmarks))
    tiles = ((crop - 127.5) / 127.5).reshape(7, 16, 7, 16, 3).mean((1, 3))
    matrix = numpy.random.default_rng(0).normal(size=(147, 512)) / 12
    assert rows[1] == pytest.approx(tiles.transpose(2, 0, 1).reshape(-1) @ matrix, abs=1e-3)


def test_a_missing_pack_names_its_command_and_downloads_nothing(tmp_path, monkeypatch, checkpoints):
    import socket

    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: pytest.fail("it asked the network"))
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    with pytest.raises(ModelMissing, match=rf"model\.download antelopev2 --root {tmp_path}"):
        backends.load(ModelSpec("face", "insightface", "antelopev2"))
    with pytest.raises(ModelMissing, match=r"model\.download buffalo_l"):
        backends.load(ModelSpec("face", "insightface"))
    # A name is looked up below the home; antelopev2's zip unpacks into a folder within the folder.
    tiny.insightface_pack(tmp_path / "models" / "antelopev2" / "antelopev2")
    backends.load(ModelSpec("face", "insightface", "antelopev2"))
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "x.onnx").write_bytes(
        Path(checkpoints["pack"], "w_tiny.onnx").read_bytes()
    )
    with pytest.raises(UsageError, match="no face detector"):
        backends.load(ModelSpec("face", "insightface", str(tmp_path / "junk")))


@pytest.mark.parametrize("kind", ["vitpose", "vitpose+"])
def test_vitpose_is_transformers_own_decoding(checkpoints, kind):
    import torch
    from transformers import AutoImageProcessor, VitPoseForPoseEstimation

    backend = backends.load(ModelSpec("pose", "vitpose", checkpoints[kind]))
    assert backend.experts == (kind == "vitpose+")
    images = [scene((3, 3), seed=1), scene(width=200, height=300, seed=2), scene(seed=3)]
    boxes = [[(0.1, 0.1, 0.5, 0.9), (0.4, 0.0, 1.0, 1.0)], [(0.0, 0.2, 0.8, 0.7)], []]
    estimated = backend.estimate(images, boxes)
    assert [len(f) for f in estimated] == [2, 1, 0]
    processor = AutoImageProcessor.from_pretrained(checkpoints[kind])
    network = VitPoseForPoseEstimation.from_pretrained(checkpoints[kind]).eval()
    for image, own, poses in zip(images, boxes, estimated, strict=True):
        w, h = image.size
        for (x0, y0, x1, y1), keypoints in zip(own, poses, strict=True):
            box = [[[x0 * w, y0 * h, (x1 - x0) * w, (y1 - y0) * h]]]
            inputs = processor(images=[image], boxes=box, return_tensors="pt")
            extra = {"dataset_index": torch.tensor([0])} if kind == "vitpose+" else {}
            with torch.inference_mode():
                output = network(**inputs, **extra)
            [[want]] = processor.post_process_pose_estimation(output, boxes=box)
            points = numpy.array(keypoints.points)
            assert points[:, :2] * [w, h] == pytest.approx(want["keypoints"].numpy(), abs=0.05)
            assert keypoints.scores == pytest.approx(want["scores"].tolist(), abs=1e-4)
            inside = ((points[:, :2] >= 0) & (points[:, :2] <= 1)).all(1)
            sure = numpy.array(keypoints.scores) >= 0.3
            assert (points[:, 2] == numpy.where(inside & sure, 2, 0)).all()


def test_vitpose_places_a_peak_where_it_is_in_the_picture(checkpoints, monkeypatch):
    """A heat map with one known peak: cell (u, v) of the 48x64 map is a known place of the box."""
    import torch

    backend = backends.load(ModelSpec("pose", "vitpose", checkpoints["vitpose"]))
    u, v = 12, 40
    columns, rows = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="xy")
    heat = torch.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 8).expand(1, 17, 64, 48)

    class Answer:
        heatmaps = heat.clone()

    monkeypatch.setattr(backend.network, "forward", lambda **_: Answer())
    [[keypoints]] = backend.estimate([scene()], [[(0.25, 0.25, 0.75, 0.75)]])
    # The box is 320x240 px about (320, 240); 3:4 makes it 320 x 426.7; a quarter is added.
    side = numpy.array([320, 320 * 4 / 3]) * 1.25
    want = numpy.array([320, 240]) + (numpy.array([u / 47, v / 63]) - 0.5) * side
    assert numpy.array(keypoints.points[0][:2]) * [WIDTH, HEIGHT] == pytest.approx(want, abs=1.0)
    assert keypoints.points[0][2] == 2


# --- who is who ----------------------------------------------------------


def test_faces_go_to_bodies():
    adult, child = (0.1, 0.0, 0.6, 1.0), (0.3, 0.4, 0.55, 0.9)  # the child is in the adult's box
    faces = [
        Face((0.36, 0.42, 0.46, 0.52)),
        Face((0.28, 0.02, 0.42, 0.18)),
        Face((0.8, 0.1, 0.9, 0.2)),
    ]
    assert who.match_faces(faces, [Person(1), Person(2)], [adult, child]) == {0: 1, 1: 0}
    # A tiny face behind someone's shoulder does not take that person's place.
    behind, own = Face((0.2, 0.01, 0.22, 0.03)), Face((0.28, 0.05, 0.42, 0.2))
    assert who.match_faces([behind, own], [Person(1)], [adult]) == {1: 0}


def test_a_known_head_decides_before_the_body():
    body = (0.0, 0.0, 0.5, 1.0)
    person = Person(1, head=(0.3, 0.5, 0.5, 0.7))  # lying: the head is not at the top
    faces = [Face((0.1, 0.05, 0.2, 0.2)), Face((0.33, 0.53, 0.47, 0.68))]
    assert who.match_faces(faces, [person], [body]) == {1: 0}


box = st.tuples(*[st.floats(0, 1)] * 4).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)


@given(st.lists(box, max_size=8), st.lists(box, max_size=8))
@settings(max_examples=100, deadline=None)
def test_matching_is_one_to_one_and_not_a_matter_of_names(faces, bodies):
    people = [Person(i + 1) for i in range(len(bodies))]
    matched = who.match_faces([Face(f) for f in faces], people, bodies)
    assert len(set(matched.values())) == len(matched)
    for f, p in matched.items():
        assert who.affinity(faces[f], people[p], bodies[p]) > 0


def test_a_neighbours_skeleton_is_refused():
    head = (0.4, 0.1, 0.6, 0.3)
    nose = lambda x, y: Keypoints([(x, y, 2.0)] * 5 + [(0.5, 0.5, 2.0)] * 12)  # noqa: E731
    assert who.is_theirs(nose(0.5, 0.2), head)
    assert not who.is_theirs(nose(0.85, 0.2), head)
    assert who.is_theirs(nose(0.85, 0.2), None)


# --- the stage ----------------------------------------------------------


def test_everything_on_one_picture(everything):
    config, loaded = everything
    boxes = Boxes(
        WIDTH,
        HEIGHT,
        [
            Box(4, (0.1, 0.1, 0.35, 0.95), "a woman", 2, 0.9),
            Box(5, (0.5, 0.5, 0.9, 0.9), "a bench", 3, 0.8),
            Box(9, (0.55, 0.3, 0.95, 0.98), "a man", 7, 0.7),
        ],
    )
    entities = Entities(
        [
            Entity(2, "a woman", "woman", "woman", 0, 7, "person"),
            Entity(3, "a bench", "bench", "bench", 10, 17, "object"),
            Entity(7, "a man", "man", "man", 20, 25, "person"),
        ]
    )
    # Faces: one at the woman's top, one in nobody's box; the man shows none.
    image = scene((4, 3), (9, 2))
    [out] = run(config, loaded, {"png": image, "boxes.json": boxes, "entities.json": entities})
    assert set(out) == {"people.json", "identity.npy"}
    record = people_of(out)
    assert (record.width, record.height) == (WIDTH, HEIGHT)
    woman, man, stray = record.people
    assert [p.id for p in record.people] == [1, 2, 3]
    assert (woman.box, woman.entity, man.box, man.entity) == (4, 2, 9, 7)
    assert woman.face.xyxy == pytest.approx(face_at(4, 3), abs=1e-5)
    assert man.face is None and man.head is None and man.gaze is None
    assert man.keypoints is not None and len(man.keypoints.points) == 17
    assert stray.box is None and stray.xyxy is None
    assert stray.face.xyxy == pytest.approx(face_at(9, 2), abs=1e-5)
    for person in (woman, stray):
        assert numpy.hypot(*person.gaze.vector) == pytest.approx(1, abs=1e-4)
        assert all(0 <= v <= 1 for v in person.gaze.point)
    rows = records.load_identity(out["identity.npy"])
    assert rows["person"].tolist() == [1, 3] and rows["embedding"].shape == (2, 512)
    want = loaded.identity.embed([image], [[woman.face, stray.face]])[0]
    assert rows["embedding"] == pytest.approx(want, abs=1e-2)
    assert {r: m.backend for r, m in record.models.items()} == {
        "face": "insightface", "identity": "insightface", "pose": "vitpose", "gaze": "sharingan",
    }  # fmt: skip
    assert all(m.role == r for r, m in record.models.items())


def test_a_picture_without_people_is_no_failure(everything):
    config, loaded = everything
    empty, full = run(config, loaded, {"png": scene()}, {"png": scene((3, 3))})
    assert set(empty) == {"people.json"} and people_of(empty).people == []
    assert len(people_of(full).people) == 1
    alone = run(config, loaded, {"png": scene((3, 3))})[0]
    assert alone["identity.npy"] == full["identity.npy"]


def test_forty_faces(everything):
    config, loaded = everything
    cells = [(1 + 2 * c, 2 + 2 * r) for r in range(5) for c in range(8)]
    [out] = run(config, loaded, {"png": scene(*cells)})
    people = people_of(out).people
    assert len(people) == 40 and [p.id for p in people] == list(range(1, 41))
    assert all(p.gaze and p.head for p in people)
    assert len(records.load_identity(out["identity.npy"])) == 40
    few = annotate_pose.Config(**{**vars(config), "max_people": 7})
    [out] = run(few, loaded, {"png": scene(*cells)})
    assert len(people_of(out).people) == 7


def ground_truth_people():
    return People(
        WIDTH,
        HEIGHT,
        [
            Person(11, head=(0.14, 0.1, 0.24, 0.28), gaze=Gaze((0.9, 0.9), (0.6, 0.8), True)),
            Person(5, head=(0.7, 0.1, 0.8, 0.3), identity="ada"),
        ],
        {"gaze": Model("ground-truth", "gazefollow")},
    )


def test_ground_truth_is_kept_and_completed(everything):
    config, loaded = everything
    boxes = Boxes(WIDTH, HEIGHT, [Box(3, (0.1, 0.08, 0.35, 0.9), "person")])
    image = scene((4, 3), (9, 6))
    [out] = run(
        config, loaded, {"png": image, "boxes.json": boxes, "people.json": ground_truth_people()}
    )
    record = people_of(out)
    first, second, third = record.people
    assert (first.id, second.id, third.id) == (11, 5, 12)
    assert first.gaze == Gaze((0.9, 0.9), (0.6, 0.8), True, source="annotation")
    assert first.head == (0.14, 0.1, 0.24, 0.28)
    assert first.box == 3  # the body below the annotated head
    assert first.face.xyxy == pytest.approx(face_at(4, 3), abs=1e-5)
    assert second.gaze is not None and second.identity == "ada" and second.face is None
    assert third.face.xyxy == pytest.approx(face_at(9, 6), abs=1e-5)
    assert record.models["gaze"].backend == second.gaze.source == "sharingan"
    assert [p.source for p in record.people] == ["annotation", "annotation", "insightface"]
    assert first.head_source is None and first.face.source == "insightface"
    # Again, on its own output: nothing changes.
    again = {"png": image, "boxes.json": boxes, **out}
    assert run(config, loaded, again)[0] == out


def test_replace_estimates_again_but_keeps_annotations_ids_and_names(everything):
    config, loaded = everything
    config = annotate_pose.Config(**{**vars(config), "replace": True})
    given = ground_truth_people()
    given.people[1].gaze = Gaze((0.1, 0.1), (0.6, -0.8), True, source="other")
    [out] = run(config, loaded, {"png": scene((4, 3)), "people.json": given})
    record = people_of(out)
    assert [p.id for p in record.people] == [11, 5]
    assert record.people[0].gaze == Gaze((0.9, 0.9), (0.6, 0.8), True, source="annotation")
    assert record.people[1].gaze.source == "sharingan"
    assert record.people[1].gaze.vector != (0.6, -0.8)
    assert record.people[1].identity == "ada" and record.people[1].head == (0.7, 0.1, 0.8, 0.3)
    # Bytes do not depend on what was there: replaced once or twice is the same.
    again = run(config, loaded, {"png": scene((4, 3)), **out})[0]
    assert again == out


def test_a_skeleton_of_someone_else_is_not_taken(everything, monkeypatch):
    config, loaded = everything
    there = Keypoints([(0.8, 0.8, 2.0)] * 17, [1.0] * 17)
    monkeypatch.setattr(
        loaded.pose, "estimate", lambda images, boxes: [[there] * len(b) for b in boxes]
    )
    elsewhere, here = run(config, loaded, {"png": scene((4, 3))}, {"png": scene((16, 12))})
    assert people_of(elsewhere).people[0].keypoints is None
    assert people_of(here).people[0].keypoints is not None


def test_with_chooses(checkpoints):
    config = configuration(checkpoints, with_="pose")
    assert [s.role for s in annotate_pose.models(config)] == ["face", "pose"]
    boxes = Boxes(WIDTH, HEIGHT, [Box(1, (0.5, 0.2, 0.9, 0.9), "person")])
    [out] = run(config, annotate_pose.load(config), {"png": scene((4, 3)), "boxes.json": boxes})
    assert set(out) == {"people.json"}
    body, face = people_of(out).people
    assert body.keypoints and face.face and body.gaze is None and face.gaze is None
    assert set(people_of(out).models) == {"face", "pose"}
    for wrong in ("pose,smile", "", " , "):
        with pytest.raises(UsageError, match="--with"):
            annotate_pose.models(configuration(checkpoints, with_=wrong))


def test_identity_by_its_own_backend(checkpoints):
    config = configuration(
        checkpoints,
        with_="identity",
        identity_backend="iresnet",
        identity_model=checkpoints["backbone"],
    )
    loaded = annotate_pose.load(config)
    [out] = run(config, loaded, {"png": scene((4, 3))})
    record = people_of(out)
    assert record.models["identity"].backend == "iresnet"
    assert record.models["face"].backend == "insightface"
    rows = records.load_identity(out["identity.npy"])
    want = loaded.identity.embed([scene((4, 3))], [[record.people[0].face]])[0]
    assert rows["embedding"] == pytest.approx(want, abs=1e-2)


def test_a_detector_without_recogniser_writes_no_identity_and_says_so(checkpoints):
    config = configuration(checkpoints, with_="identity", face_model=checkpoints["detector"])
    [out] = run(config, annotate_pose.load(config), {"png": scene((4, 3))})
    assert set(out) == {"people.json"}
    model = people_of(out).models["identity"]
    assert model.backend == "none" and "no identity embedding" in model.options["why"]
    with pytest.raises(UsageError, match="finds no faces"):
        annotate_pose.load(
            configuration(checkpoints, face_backend="iresnet", face_model=checkpoints["backbone"])
        )
    with pytest.raises(UsageError, match=r"--face-threshold 1\.5"):
        annotate_pose.load(configuration(checkpoints, face_threshold=1.5))


def test_two_boxes_of_one_person_are_one_person(everything):
    config, loaded = everything
    boxes = Boxes(
        WIDTH,
        HEIGHT,
        [
            Box(1, (0.1, 0.1, 0.5, 0.9), "man", None, 0.6),
            Box(2, (0.11, 0.1, 0.5, 0.91), "guitarist person", None, 0.8),
        ],
    )
    [out] = run(config, loaded, {"png": scene(), "boxes.json": boxes})
    assert [p.box for p in people_of(out).people] == [2]


def test_one_bad_sample_does_not_spoil_its_batch(everything):
    config, loaded = everything
    twin = records.dump(People(WIDTH, HEIGHT, [Person(1), Person(2)]))
    twins = twin.replace(b'"id":2', b'"id":1')
    short = records.dump_npy(records.identity_array([1], numpy.ones((1, 128))))
    one = People(WIDTH, HEIGHT, [Person(1, head=(0.7, 0.7, 0.8, 0.8))])
    with pytest.raises(SampleFailed, match=r"people\.json: id 1 is there twice"):
        run(config, loaded, {"png": scene(), "people.json": twins})
    other, good = run(
        config,
        loaded,
        {"png": scene((4, 3)), "people.json": one, "identity.npy": short},
        {"png": scene((4, 3))},
    )
    assert isinstance(other, SampleFailed) and "--replace" in str(other)
    assert len(people_of(good).people) == 1
    with pytest.raises(SampleFailed, match=r"identity\.npy"):
        run(config, loaded, {"png": scene(), "identity.npy": records.dump_npy(numpy.zeros(3))})


def test_coinciding_landmarks_get_no_embedding(everything):
    config, loaded = everything
    flat = People(
        WIDTH,
        HEIGHT,
        [Person(1, face=Face(face_at(4, 3), None, [(0.2, 0.2)] * 5), head=face_at(4, 3))],
    )
    [out] = run(config, loaded, {"png": scene(), "people.json": flat})
    assert set(out) == {"people.json"}


# --- interactions ----------------------------------------------------------


def hico():
    boxes = Boxes(
        WIDTH,
        HEIGHT,
        [
            Box(1, (0.1, 0.1, 0.4, 0.9), "person"),
            Box(2, (0.12, 0.1, 0.41, 0.92), "person"),  # the same person, annotated once more
            Box(3, (0.3, 0.5, 0.6, 0.9), "bicycle"),
            Box(4, (0.6, 0.1, 0.9, 0.9), "person"),
            Box(5, (0.6, 0.12, 0.9, 0.9), "horse"),  # as large as the person beside it
        ],
    )
    return boxes, Interactions(
        [
            Interaction(1, "ride", subject_box=2, object=3, object_label="bicycle", hoi=112),
            Interaction(2, "hug", subject_box=1, object=4, object_label="person", hoi=337),
            Interaction(3, "pet", subject_box=1, object=5, object_label="horse"),
        ]
    )


def test_ground_truth_interactions_are_linked_to_people(checkpoints):
    config = configuration(checkpoints, with_="interaction")
    assert [s.role for s in annotate_pose.models(config)] == ["interaction"]
    boxes, interactions = hico()
    linked, none = run(
        config,
        annotate_pose.load(config),
        {"png": scene(), "boxes.json": boxes, "interactions.json": interactions},
        {"png": scene(), "boxes.json": boxes},
    )
    assert set(none) == {"people.json"}
    people = {p.box: p.id for p in people_of(linked).people}
    assert set(people) == {1, 4}
    body = records.load(Interactions, linked["interactions.json"])
    ride, hug, pet = body.interactions
    assert (ride.subject, ride.subject_box, ride.object, ride.object_person) == (1, 2, 3, None)
    assert (hug.subject, hug.object_person, hug.hoi) == (people[1], people[4], 337)
    assert pet.object_person is None  # a horse is no person, however much it overlaps one
    assert body.model.backend == "ground-truth"


def test_interactions_that_name_nothing_are_refused(checkpoints):
    boxes, interactions = hico()
    interactions.interactions[1].object = 77
    config = configuration(checkpoints, with_="interaction")
    [out] = run(
        config,
        annotate_pose.load(config),
        {"png": scene(), "boxes.json": boxes, "interactions.json": interactions},
    )
    assert isinstance(out, SampleFailed)
    assert "interaction 2 ('hug') names object box 77, which is not in boxes.json" in str(out)
    people = People(WIDTH, HEIGHT, [Person(1, xyxy=(0.1, 0.1, 0.4, 0.9))])
    only = Interactions([Interaction(1, "run", subject=1)])
    assert ground_truth.link(only, people, None).interactions[0].subject == 1


# --- real photographs, by MediaPipe ----------------------------------------------------------

# Noses, read off the pictures by hand, from left to right.
NOSES = {
    "t1": [
        (0.10, 0.38),
        (0.245, 0.255),
        (0.395, 0.415),
        (0.605, 0.47),
        (0.72, 0.17),
        (0.912, 0.395),
    ],
    "astronaut": [(0.435, 0.235)],
}


def photograph(name):
    from PIL import Image

    if name == "t1":
        import insightface

        return Image.open(Path(insightface.__file__).parent / "data/images/t1.jpg").convert("RGB")
    return Image.fromarray(getattr(pytest.importorskip("skimage.data"), name)()).convert("RGB")


@pytest.fixture(scope="module")
def offline():
    pytest.importorskip("mediapipe")
    config = annotate_pose.Config(
        device="cpu",
        dtype="float32",
        face_backend="mediapipe",
        pose_backend="mediapipe",
        gaze_backend="mediapipe",
    )
    return config, annotate_pose.load(config)


@pytest.fixture(scope="module")
def seen(offline):
    """People of the photographs, and of their mirror images."""
    from PIL import ImageOps

    names = ["t1", "astronaut", "camera", "coffee", "chelsea"]
    images = [photograph(n) for n in names]
    images += [ImageOps.mirror(i) for i in images]
    out = run(*offline, *({"png": image} for image in images))
    return dict(zip(names + [f"mirrored {n}" for n in names], out, strict=True))


@pytest.mark.parametrize("name", ["t1", "astronaut"])
def test_every_face_is_found_once(seen, name):
    people = people_of(seen[name]).people
    faces = sorted((p.face for p in people if p.face), key=lambda f: f.xyxy)
    assert len(people) == len(faces) == len(NOSES[name])
    for face, (x, y) in zip(faces, NOSES[name], strict=True):
        assert face.xyxy[0] < x < face.xyxy[2] and face.xyxy[1] < y < face.xyxy[3]
        left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
        assert nose == pytest.approx((x, y), abs=0.03)
        assert left_eye[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < min(left_mouth[1], right_mouth[1])


def test_skeletons_hang_below_the_right_heads(seen):
    for name in ("t1", "astronaut", "camera"):
        for person in people_of(seen[name]).people:
            points = person.keypoints.points
            nose, left_shoulder, right_shoulder = points[0], points[5], points[6]
            head = person.head
            assert head[0] <= nose[0] <= head[2] and head[1] <= nose[1] <= head[3]
            assert min(left_shoulder[1], right_shoulder[1]) > head[1]
            assert sum(p[2] for p in points) >= 16  # eight visible points at least
    # Facing us, the person's own left is on the picture's right.
    points = people_of(seen["astronaut"]).people[0].keypoints.points
    assert points[5] == pytest.approx((0.57, 0.47, 2), abs=0.06)
    assert points[6] == pytest.approx((0.27, 0.39, 2), abs=0.06)
    assert points[1][0] > points[0][0] > points[2][0] and points[3][0] > points[4][0]


def mesh_of(off_x, off_y, yaw):
    """A face mesh of which only what counts is true: eyes 30 wide, irises off by a share."""
    mesh = numpy.zeros((478, 3))
    mesh[[10, 152]] = [(0, -60, 0), (0, 60, 0)]
    for iris, outer, inner, x in ((468, 33, 133, -35), (473, 263, 362, 35)):
        side = 15 if x > 0 else -15
        mesh[[outer, inner]] = [(x + side, -20, 0), (x - side, -20, 0)]
        mesh[iris] = (x + 30 * off_x, -20 + 30 * off_y, 0)
    cos, sin = numpy.cos(yaw), numpy.sin(yaw)
    return mesh @ numpy.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]).T


def test_direction_is_head_plus_eyes():
    from socialcli.backends.gaze import mediapipe as iris

    ratio = iris.EYE_WIDTH / iris.EYEBALL
    assert iris.direction(mesh_of(0, 0, 0)) == pytest.approx((0, 0, -1))  # at the camera
    right = iris.direction(mesh_of(0.2, 0, 0))
    assert right == pytest.approx((0.2 * ratio, 0, -numpy.sqrt(1 - (0.2 * ratio) ** 2)))
    down = iris.direction(mesh_of(0, 0.1, 0))
    assert down[:2] == pytest.approx((0, 0.1 * ratio))
    # The head turned by an angle, the eyes turned as far the other way: at the camera again.
    angle = numpy.arcsin(0.2 * ratio)
    turned = iris.direction(mesh_of(0, 0, angle))
    assert turned == pytest.approx((numpy.sin(angle), 0, -numpy.cos(angle)), abs=1e-9)
    assert iris.direction(mesh_of(-0.2, 0, angle)) == pytest.approx((0, 0, -1), abs=1e-9)
    assert iris.from_direction(turned).vector == pytest.approx((1, 0))
    assert iris.from_direction(numpy.array([0.1, 0.1, -0.99])) == Gaze(inside=False)


def test_irises_tell_where_people_look(seen):
    [cameraman] = people_of(seen["camera"]).people
    assert cameraman.gaze.vector[0] > 0.8  # he looks to the right, into his camera
    [astronaut] = people_of(seen["astronaut"]).people
    assert astronaut.gaze == Gaze(inside=False, source="mediapipe")  # she looks at us
    for name in ("camera", "t1"):
        people = sorted(people_of(seen[name]).people, key=lambda p: p.face.xyxy)
        mirrored = sorted(people_of(seen[f"mirrored {name}"]).people, key=lambda p: -p.face.xyxy[2])
        for one, other in zip(people, mirrored, strict=True):
            assert (one.gaze.vector is None) == (other.gaze.vector is None)
            assert one.gaze.point is None
            if one.gaze.vector:
                x, y = other.gaze.vector
                assert numpy.dot(one.gaze.vector, (-x, y)) > 0.8


def test_a_cat_and_a_cup_are_nobody(seen):
    assert people_of(seen["coffee"]).people == [] and people_of(seen["chelsea"]).people == []


def test_mediapipe_has_no_identity_and_says_so(seen, offline):
    assert "identity.npy" not in seen["t1"]
    assert people_of(seen["t1"]).models["identity"].backend == "none"
    config = annotate_pose.Config(**{**vars(offline[0]), "identity_backend": "mediapipe"})
    config.face_backend, config.face_model = "mediapipe", "x"
    with pytest.raises(UsageError, match="no identity embedding"):
        annotate_pose.load(config)


def test_identity_of_mediapipes_faces_by_iresnet(checkpoints, offline):
    config = annotate_pose.Config(
        **{
            **vars(offline[0]),
            "with_": "identity",
            "identity_backend": "iresnet",
            "identity_model": checkpoints["backbone"],
        }
    )
    [out] = run(config, annotate_pose.load(config), {"png": photograph("t1")})
    rows = records.load_identity(out["identity.npy"])
    assert rows["person"].tolist() == [1, 2, 3, 4, 5, 6]


def test_mediapipe_gives_the_same_whatever_came_before(seen, offline):
    once = run(*offline, {"png": photograph("camera")})[0]
    assert json.loads(once["people.json"]) == json.loads(seen["camera"]["people.json"])


def test_mediapipe_is_quiet():
    import subprocess
    import sys

    pytest.importorskip("mediapipe")
    code = (
        "from socialcli.backends import ModelSpec, load\n"
        "from PIL import Image; import insightface, pathlib\n"
        "f = pathlib.Path(insightface.__file__).parent / 'data/images/t1.jpg'\n"
        "i = Image.open(f).convert('RGB')\n"
        "faces = load(ModelSpec('face', 'mediapipe')).detect([i])[0]\n"
        "load(ModelSpec('pose', 'mediapipe')).estimate([i], [[(0, 0, 1, 1)]])\n"
        "load(ModelSpec('gaze', 'mediapipe')).gaze([i], [[f.xyxy for f in faces]])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "" and done.stdout == ""
