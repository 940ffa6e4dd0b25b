"""Judges of interactions: the machine is scikit-learn's, the graph is Kipf and Welling's."""

from __future__ import annotations

import numpy
import pytest
import torch

from socialcli.errors import ModelMissing, UsageError
from socialcli.networks import pose_judge


def skeletons(seed: int = 0) -> list[list[list[float]]]:
    """Two bodies, the first on the right; one joint of the second is not visible."""
    rng = numpy.random.default_rng(seed)
    people = []
    for left in (0.6, 0.1):
        points = rng.uniform(0, 0.3, (17, 2)) + numpy.array([left, 0.3])
        people.append([[float(x), float(y), 2.0] for x, y in points])
    people[1][4][2] = 0.0
    return people


def test_bodies_are_ordered_from_left_to_right_and_free_of_place_and_size():
    both = skeletons()
    nodes = pose_judge.bodies(both)
    assert nodes.shape == (2, 17, 3)
    assert torch.equal(nodes, pose_judge.bodies(both[::-1]))
    assert float(nodes[0, :, 0].mean()) < float(nodes[1, :, 0].mean())
    assert nodes[0, 4].tolist() == [0, 0, 0] and nodes[..., 2].sum() == 33
    moved = [[[0.5 * x + 0.2, 0.5 * y - 0.1, v] for x, y, v in body] for body in both]
    assert torch.allclose(pose_judge.bodies(moved), nodes, atol=1e-5)


def test_the_mirror_image_is_that_of_the_mirrored_picture():
    both = skeletons()
    turned = [[[1 - body[at][0], *body[at][1:]] for at in pose_judge.MIRROR] for body in both]
    mirrored = pose_judge.mirrored(pose_judge.bodies(both))
    assert torch.allclose(pose_judge.bodies(turned), mirrored, atol=1e-5)


def test_nobody_gives_zeros():
    nothing = [[[0.0, 0.0, 0.0]] * 17] * 2
    assert pose_judge.bodies(nothing).abs().sum() == 0


def test_the_graph_is_two_graph_convolutions_by_hand():
    """H1 = relu(A X W1), H2 = relu(A H1 W2), in numpy, with A from its definition."""
    torch.manual_seed(0)
    graph = pose_judge.Graph(4, hidden=5).double()
    nodes = pose_judge.bodies(skeletons()).double()[None]
    count = 34
    raw = numpy.eye(count)
    for body in range(2):
        for a, b in pose_judge.LIMBS:
            raw[body * 17 + a, body * 17 + b] = raw[body * 17 + b, body * 17 + a] = 1
    for joint in pose_judge.BRIDGES:
        raw[joint, 17 + joint] = raw[17 + joint, joint] = 1
    degree = numpy.diag(raw.sum(1) ** -0.5)
    adjacency = degree @ raw @ degree
    assert numpy.allclose(pose_judge.adjacency().numpy(), adjacency, atol=1e-6)
    x = numpy.concatenate([nodes[0].reshape(count, 3).numpy(), numpy.eye(count)], 1)
    parts = {k: v.detach().numpy() for k, v in graph.state_dict().items()}
    for name in ("first", "second"):
        x = x @ parts[f"{name}.weight"].T + parts[f"{name}.bias"]
        x = numpy.maximum(adjacency @ x, 0)
    wanted = x.reshape(-1) @ parts["read.weight"].T + parts["read.bias"]
    assert numpy.allclose(graph(nodes)[0].detach().numpy(), wanted, atol=1e-6)


def test_the_machine_is_scikit_learns():
    svm = pytest.importorskip("sklearn.svm")
    rng = numpy.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    features = rng.normal(size=(60, 5)) + numpy.eye(3)[labels] @ rng.normal(size=(3, 5))
    weight, bias = pose_judge.fit_svm(features, labels, 3, 0.5)
    peer = svm.LinearSVC(C=0.5, loss="squared_hinge", dual=False, tol=1e-10, max_iter=100000)
    peer.fit(features, labels)
    assert numpy.abs(weight - peer.coef_).max() < 1e-4
    assert numpy.abs(bias - peer.intercept_).max() < 1e-4


def judge() -> pose_judge.PoseJudge:
    torch.manual_seed(1)
    return pose_judge.PoseJudge(
        ["hug", "kick"], torch.zeros(3).double(), torch.ones(3).double(),
        torch.tensor([[1.0, 0, 0], [0, 1, 0]]).double(), torch.zeros(2).double(),
        pose_judge.Graph(2, 4), {"model": "p", "revision": None},
        {"pose_s": 0.5, "pose_kp": 1.0, "count": 4.0},
    )  # fmt: skip


def test_a_judge_comes_back_from_its_file(tmp_path):
    fresh = judge()
    fresh.save(tmp_path, {"a": "b"})
    again = pose_judge.read(str(tmp_path))
    assert again.classes == fresh.classes and again.held_out == fresh.held_out
    assert again.pose == {"model": "p", "revision": None}
    features = torch.tensor([[2.0, 1, 0], [0, 1, 5]])
    assert again.of_features(features) == fresh.of_features(features) == ["hug", "kick"]
    nodes = torch.stack([pose_judge.bodies(skeletons(n)) for n in range(4)])
    assert again.of_bodies(nodes) == fresh.of_bodies(nodes)
    first = (tmp_path / pose_judge.FILE).read_bytes()
    again.save(tmp_path, {"a": "b"})
    assert (tmp_path / pose_judge.FILE).read_bytes() == first


def test_what_is_no_judge_is_told_in_one_line(tmp_path):
    with pytest.raises(ModelMissing, match="train --method pose-judge"):
        pose_judge.read(str(tmp_path))
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / pose_judge.FILE)
    with pytest.raises(UsageError, match="no pose judge"):
        pose_judge.read(str(tmp_path))
