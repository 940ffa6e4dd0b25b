"""Tiny checkpoints of the people roles, in the official formats."""

from __future__ import annotations

from pathlib import Path

SIDE = 640  # what the face detector sees; one detection cell is 32 pixels of it
REACH = (0.75, 1.0, 0.75, 1.25)  # left, top, right, bottom of a face, in cells from its middle
# Offsets of the five landmarks from the middle, in cells (eyes, nose, mouth corners).
LANDMARKS = ((-0.4, -0.3), (0.4, -0.3), (0.0, 0.2), (-0.3, 0.6), (0.3, 0.6))


def insightface_pack(folder: Path, recogniser: bool = True) -> Path:
    """A pack as insightface's: an SCRFD detector that sees every pure red cell as a face (nine
    outputs, as det_10g.onnx) and, if wanted, an ArcFace-shaped recogniser (as w600k_r50.onnx)."""
    import onnx

    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_detector(), folder / "det_tiny.onnx")
    if recogniser:
        onnx.save(_recogniser(), folder / "w_tiny.onnx")
    return folder


def _model(nodes, constants, name, inputs, outputs):
    import numpy
    from onnx import TensorProto, helper, numpy_helper

    values = [
        numpy_helper.from_array(numpy.asarray(v, dtype), n) for n, (v, dtype) in constants.items()
    ]

    def info(n, shape):
        return helper.make_tensor_value_info(n, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        name,
        [info(n, s) for n, s in inputs.items()],
        [info(n, s) for n, s in outputs.items()],
        values,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)


def _detector():
    import numpy
    from onnx import helper

    nodes, constants, outputs = [], {}, {"score": {}, "bbox": {}, "kps": {}}
    # Red is (1, -1, -1) after normalisation: logit 10 (R - G/2 - B/2) - 15 = 5. White, grey: -15.
    # Two anchors a cell, of which the second is always a little worse; only stride 32 ever fires.
    for stride in (8, 16, 32):
        gain = 10.0 if stride == 32 else 0.0
        weights = {
            "score": [[gain, -gain / 2, -gain / 2]] * 2,
            "bbox": [[0.0] * 3] * 8,
            "kps": [[0.0] * 3] * 20,
        }
        points = [v for point in LANDMARKS for v in point]
        biases = {"score": [-15.0, -15.5], "bbox": list(REACH) * 2, "kps": points * 2}
        nodes.append(
            helper.make_node(
                "AveragePool",
                ["input.1"],
                [f"cells{stride}"],
                kernel_shape=[stride, stride],
                strides=[stride, stride],
            )
        )
        for kind, width in (("score", 1), ("bbox", 4), ("kps", 10)):
            name = f"{kind}_{stride}"
            weight = numpy.array(weights[kind], numpy.float32)[:, :, None, None]
            constants[f"w_{name}"] = (weight, numpy.float32)
            constants[f"b_{name}"] = (biases[kind], numpy.float32)
            constants[f"shape_{name}"] = ([-1, width], numpy.int64)
            last = f"conv_{name}"
            nodes.append(
                helper.make_node(
                    "Conv",
                    [f"cells{stride}", f"w_{name}", f"b_{name}"],
                    [last],
                    kernel_shape=[1, 1],
                )
            )
            if kind == "score":
                nodes.append(helper.make_node("Sigmoid", [last], [f"sigmoid_{name}"]))
                last = f"sigmoid_{name}"
            nodes.append(helper.make_node("Transpose", [last], [f"t_{name}"], perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Reshape", [f"t_{name}", f"shape_{name}"], [name]))
            outputs[kind][name] = [None, width]
    ordered = {n: s for kind in ("score", "bbox", "kps") for n, s in outputs[kind].items()}
    return _model(nodes, constants, "scrfd", {"input.1": [1, 3, "height", "width"]}, ordered)


def _recogniser():
    import numpy
    from onnx import helper

    # Means of 16x16 tiles, flattened, times a fixed matrix: 512 numbers that tell crops apart.
    matrix = numpy.random.default_rng(0).normal(size=(147, 512)) / 12
    nodes = [
        helper.make_node(
            "AveragePool", ["input.1"], ["tiles"], kernel_shape=[16, 16], strides=[16, 16]
        ),
        helper.make_node("Flatten", ["tiles"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["683"]),
    ]
    constants = {"matrix": (matrix, numpy.float32)}
    shape = {"input.1": ["batch", 3, 112, 112]}
    return _model(nodes, constants, "arcface", shape, {"683": ["batch", 512]})


def _shake(network) -> None:
    """Batch norms that have seen data: without this, mistakes in them do not show."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)


def backbone(file: Path, blocks=(2, 2, 2, 2), widths=(8, 8, 8, 16, 16), half=False) -> Path:
    """A ``backbone.pth`` as arcface_torch saves it: the bare state dict of an iresnet."""
    import torch

    from socialcli.networks.iresnet import IResNet

    torch.manual_seed(0)
    network = IResNet(blocks, widths)
    _shake(network)
    state = network.state_dict()
    torch.save(
        {k: v.half() if half and v.is_floating_point() else v for k, v in state.items()}, file
    )
    return file


def sharingan(file: Path, extra=None) -> Path:
    """A Lightning checkpoint as the official ones: a ``state_dict`` with ``model.`` prefixes."""
    import torch

    from socialcli.networks.sharingan import Sharingan

    torch.manual_seed(0)
    network = Sharingan(64, 4, 1, 16, 8, 16, (8, 8, 8, 8))
    _shake(network)
    state = {f"model.{k}": v for k, v in network.state_dict().items()}
    content = {"epoch": 19, "global_step": 100, "state_dict": state, **(extra or {})}
    torch.save(content, file)
    return file


def vitpose(folder: Path, experts: int = 1) -> Path:
    """A ViTPose folder as `save_pretrained` writes it; ``experts`` above 1 gives a ViTPose+."""
    import torch
    from transformers import (
        VitPoseBackboneConfig,
        VitPoseConfig,
        VitPoseForPoseEstimation,
        VitPoseImageProcessor,
    )

    torch.manual_seed(0)
    backbone_config = VitPoseBackboneConfig(
        image_size=[256, 192],
        patch_size=[16, 16],
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        num_experts=experts,
        part_features=8,
        out_indices=[2],
    )
    config = VitPoseConfig(backbone_config=backbone_config, num_labels=17, use_simple_decoder=True)
    network = VitPoseForPoseEstimation(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    network.save_pretrained(folder)
    VitPoseImageProcessor().save_pretrained(folder)
    return folder


def gazelle(folder: Path, inside: bool = True, width: int = 32) -> Path:
    """A folder with an official Gaze-LLE decoder file and the DINOv2 that it goes with."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    from socialcli.networks.gazelle import GazeLLE

    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=width, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2,
        image_size=5 * 14, patch_size=14,
    )  # fmt: skip
    Dinov2Model(config).save_pretrained(folder)
    decoder = GazeLLE(width, 8, 32, 1, inside)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    torch.save(decoder.state_dict(), folder / "gazelle_dinov2_tiny.pt")
    return folder
