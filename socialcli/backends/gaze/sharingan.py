"""Gaze points and vectors by Sharingan, from an official checkpoint file."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo, naming
from socialcli.errors import ModelMissing
from socialcli.records import Gaze

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

    from socialcli.backends import ModelSpec
    from socialcli.records import XYXY

INFO = BackendInfo(
    summary="Sharingan (CVPR 2024): gaze point, vector and in-picture score for all heads at once.",
    licence="CC-BY-NC-4.0",
    get="curl -L -o sharingan_checkpoints.tar.gz "
    "'https://zenodo.org/records/14066123/files/sharingan_checkpoints.tar.gz?download=1' "
    "&& tar xzf sharingan_checkpoints.tar.gz, then pass --gaze-model PATH/gazefollow.pt",
    size="425 MB",
    packages=("torch",),
)

MAPS = 32  # people per forward pass, where that is more than one picture: 6 MB of maps each


def load(spec: ModelSpec) -> SharinganGaze:
    """Load the checkpoint file ``spec.model`` (``gazefollow.pt`` or a sibling).

    Raises:
        ModelMissing: no file was named, or it is not there. UsageError: it is no Sharingan.
    """
    if not spec.model:
        raise ModelMissing(f"the sharingan backend needs a checkpoint file: {INFO.get}")
    return SharinganGaze(spec)


class SharinganGaze:
    """A `GazeEstimator`. The people of one picture are judged together, as in training."""

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends.devices import dtype
        from socialcli.networks import sharingan

        self.device, self.dtype = spec.device, dtype(spec.dtype)
        self.network = sharingan.load(spec.model).to(self.device, self.dtype)
        self.model = naming.describe(spec, options={"dtype": spec.dtype})

    def look(self, pictures: Tensor, heads: Tensor) -> tuple[Tensor, Tensor]:
        """See `look`."""
        kind = self.dtype
        return look(lambda *parts: self.network(*(p.to(kind) for p in parts)), pictures, heads)

    def gaze(self, images: list[Image], heads: list[list[XYXY]]) -> list[list[Gaze]]:
        """Gaze of the person of each head box.

        ``point`` is the highest cell of the heat map, ``vector`` the direction seen in the head,
        ``score`` the probability that the target lies inside the picture, ``inside`` whether that
        is at least one half.
        """
        import torch

        # Missing people must not be padded (their tokens would be seen), so pictures with the same
        # number of heads run together.
        alike: dict[int, list[int]] = defaultdict(list)
        for number, own_heads in enumerate(heads):
            alike[len(own_heads)].append(number)
        result: list[list[Gaze]] = [[] for _ in images]
        for people, numbers in alike.items():
            step = max(1, MAPS // people) if people else len(numbers)
            for start in range(0, len(numbers) if people else 0, step):
                part = numbers[start : start + step]
                inputs = [prepare(images[n], heads[n]) for n in part]
                batch = [
                    torch.stack(p).to(self.device, self.dtype) for p in zip(*inputs, strict=True)
                ]
                with torch.inference_mode():
                    outputs = self.network(*batch)
                for row, number in enumerate(part):
                    result[number] = _gazes(
                        images[number],
                        outputs.vector[row],
                        outputs.heatmap[row],
                        outputs.inside[row],
                    )
        return result


def look(network: Any, pictures: Tensor, heads: Tensor, size: int = 224) -> tuple[Tensor, Tensor]:
    """What Sharingan sees of people, differentiable in the pixels.

    The vector is read from the head crop alone, which is cut out of the picture differentiably.

    Args:
        network: `networks.sharingan.Sharingan` or what is called and answers like it.
        pictures: (B, 3, H, W) in [-1, 1]. heads: (B, n, 4) normalised xyxy.
        size: pixels of a side of what the network takes, picture and heads alike.

    Returns:
        vector (B, n, 2) of length 1 in the picture's pixel frame; heatmap (B, n, 64, 64).
    """
    from socialcli.networks import gaze_geometry

    outputs = network(*inputs(pictures, heads, size))
    height, width = pictures.shape[-2:]
    vector = outputs[0].float() if outputs[0].itemsize < 4 else outputs[0]
    return gaze_geometry.to_pixel_frame(vector, width, height), outputs[1]


def inputs(pictures: Tensor, heads: Tensor, size: int = 224) -> tuple[Tensor, Tensor, Tensor]:
    """What Sharingan takes, differentiable in the pixels.

    Args:
        pictures: (B, 3, H, W) in [-1, 1]. heads: (B, n, 4) normalised xyxy.

    Returns:
        The squashed picture (B, 3, size, size), head crops (B, n, 3, size, size), both
        normalised, and the heads' squares (B, n, 4) cut to the picture.
    """
    import torch.nn.functional as F

    from socialcli.networks import gaze_geometry
    from socialcli.vision import faces

    height, width = pictures.shape[-2:]
    light = (pictures + 1) / 2
    heads = heads.to(light.dtype)
    squares = gaze_geometry.head_squares(heads, width, height)
    scale = squares.new_tensor([width, height, width, height])
    # A head larger than its crop is read at several points a pixel, as an area filter would.
    largest = float((squares[..., 2] - squares[..., 0]).max())
    step = min(4, max(1, round(largest / size)))
    whole = light[:, None].expand(-1, heads.shape[1], -1, -1, -1).flatten(0, 1)
    boxes = (squares / scale).flatten(0, 1)
    crops = faces.crop_boxes_torch(whole, boxes, (size * step, size * step))
    if step > 1:
        crops = F.avg_pool2d(crops, step)
    small = F.interpolate(light, (size, size), mode="bilinear", antialias=True)
    normalise = gaze_geometry.normalise
    crops = normalise(crops).unflatten(0, (len(pictures), -1))
    return normalise(small), crops, (squares / scale).clamp(0, 1)


def prepare(image: Image, heads: list[XYXY]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the network takes for one picture with N heads, on the CPU in float32.

    Returns:
        picture (3, 224, 224), head crops (N, 3, 224, 224), head squares (N, 4) normalised and cut
        to the picture.
    """
    import numpy
    import torch
    from PIL.Image import Resampling

    from socialcli.networks import gaze_geometry, sharingan

    def small(picture: Image) -> numpy.ndarray:
        return numpy.asarray(picture.resize((sharingan.SIZE, sharingan.SIZE), Resampling.BILINEAR))

    squares = gaze_geometry.head_squares(torch.tensor(heads), image.width, image.height)
    seen = [small(image), *(small(image.crop(_pixels(square))) for square in squares.tolist())]
    # Brought to the order of channels as bytes, and normalised all at once: a third less time.
    channels = numpy.ascontiguousarray(numpy.stack(seen).transpose(0, 3, 1, 2))
    light = gaze_geometry.normalise(torch.from_numpy(channels) / 255)
    scale = squares.new_tensor([image.width, image.height, image.width, image.height])
    return light[0], light[1:], (squares / scale).clamp(0, 1)


def _pixels(square: list[float]) -> tuple[int, int, int, int]:
    left, top, right, bottom = (int(v) for v in square)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _gazes(
    image: Image, vector: torch.Tensor, heatmap: torch.Tensor, inside: torch.Tensor
) -> list[Gaze]:
    from socialcli.networks import gaze_geometry

    points = gaze_geometry.argmax_point(heatmap.float()).tolist()
    vectors = gaze_geometry.to_pixel_frame(vector.float(), image.width, image.height).tolist()
    chances = inside.float().sigmoid().tolist()
    return [
        Gaze(point=tuple(p), vector=tuple(v), inside=c >= 0.5, score=c)
        for p, v, c in zip(points, vectors, chances, strict=True)
    ]
