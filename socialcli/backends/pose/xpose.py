"""Keypoints of people, animals and things by X-Pose, which finds what it is asked for in words."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo, checkpoints, naming
from socialcli.backends.pose.keypoints import scored
from socialcli.errors import ModelMissing, UsageError
from socialcli.records import keypoint_layouts
from socialcli.vision import boxes as geometry

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image
    from torch import Tensor

    from socialcli.backends import ModelSpec
    from socialcli.networks.xpose.choice import Chosen
    from socialcli.networks.xpose.decoder import Seen
    from socialcli.records import XYXY, Keypoints

INFO = BackendInfo(
    summary="X-Pose (ECCV 2024): keypoints of people, animals and things, by their names.",
    licence="IDEA License: non-commercial research only (X-Pose); MIT (CLIP)",
    get="download unipose_swint.pth (the README of https://github.com/IDEA-Research/X-Pose links "
    "it) && hf download openai/clip-vit-base-patch32, then pass --pose-model "
    "PATH/unipose_swint.pth",
    size="435 MB and 605 MB",
    packages=("torch", "transformers"),
)
CLIP = "openai/clip-vit-base-patch32"  # whose text tower X-Pose was trained with
SIDE, LONGEST = 800, 1333  # pixels of the shorter side, and of the longer one at most
PERSON = "person"
LIKELY = 0.3  # score from which a box without another reason is a person


def load(spec: ModelSpec) -> XPosePose:
    """Load the checkpoint ``spec.model``, a file, with CLIP's text tower; or a folder that holds
    both: one ``.pth`` file, and a CLIP as transformers saves it.

    Raises:
        ModelMissing: no file was named, it is not there, or CLIP is not. UsageError: it is no
            X-Pose, or CLIP's features do not fit it.
    """
    if not spec.model:
        raise ModelMissing(f"the xpose backend needs a checkpoint file: {INFO.get}")
    return XPosePose(spec)


class XPosePose:
    """A `PoseEstimator`, a `PoseEncoder`, a `PersonDetector` and a `ThingPoseEstimator`.

    It computes in float32 whatever is asked for: half precision has too few digits for places. Its
    scores are those of whole subjects, as it has none for single keypoints.
    """

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.networks.xpose import checkpoint

        self.threshold = float(spec.options.get("threshold", 0.1))
        self.device = spec.device
        file = checkpoints.one_file(spec.model, ".pth", "X-Pose checkpoint")
        network, own_tower = checkpoint.load(file, INFO.get)
        self.network = network.to(spec.device)
        clip = spec.model if Path(spec.model).expanduser().is_dir() else CLIP
        inner = dataclasses.replace(spec, model=clip, dtype="float32", revision=None)
        get = f"hf download {CLIP}"
        self.tower = checkpoints.pretrained("CLIPTextModelWithProjection", inner, CLIP, get)
        self.tokenizer = checkpoints.pretrained("AutoTokenizer", inner, CLIP, get)
        if own_tower:
            _replace(self.tower, own_tower, file)
        width = int(self.tower.config.projection_dim)
        if width != self.network.sizes.words:
            raise UsageError(
                f"{file}: reads text features {self.network.sizes.words} wide, those of {clip} are "
                f"{width}; X-Pose goes with {CLIP}"
            )
        self.tower.requires_grad_(False)
        options = {"threshold": self.threshold, "clip": naming.name(clip)}
        self.model = naming.describe(spec, options=options)
        self._features: dict[str, Tensor] = {}

    # --- roles ---

    def estimate(
        self, images: list[Image], boxes: list[list[XYXY]]
    ) -> list[list[Keypoints | None]]:
        """Keypoints of the person in each box, found in the whole picture; None where no person
        overlaps the box."""
        body = keypoint_layouts.BODY
        asked = [[(box, PERSON, body) for box in own] for own in boxes]
        return self.things(images, asked)

    def things(
        self, images: list[Image], subjects: list[list[tuple[XYXY, str, str]]]
    ) -> list[list[Keypoints | None]]:
        """See `ThingPoseEstimator.things`."""
        return [self._of_one(image, own) for image, own in zip(images, subjects, strict=True)]

    def people(self, images: list[Image]) -> list[list[tuple[XYXY, float]]]:
        """Boxes of the people of each picture, the likeliest first."""
        return [self._people(image) for image in images]

    def encode(self, images: list[Image], boxes: list[list[XYXY]]) -> list[numpy.ndarray]:
        """(K, 2 C) float32 of each picture's K boxes: what the decoder knows in the end of the
        keypoints of the person there, their mean and their maximum."""
        import numpy
        import torch

        rows: list[numpy.ndarray] = []
        for image, own in zip(images, boxes, strict=True):
            encoded = numpy.zeros((0, 2 * self.network.sizes.width), numpy.float32)
            if own:
                asked = [(box, PERSON) for box in own]
                seen, chosen = self._look_at(image, asked, keypoint_layouts.BODY)
                known = chosen.of(seen.queries)[0, :, 1:]
                encoded = torch.cat([known.mean(1), known.amax(1)], 1).cpu().numpy()
            rows.append(encoded)
        return rows

    # --- one picture ---

    def _of_one(
        self, image: Image, subjects: list[tuple[XYXY, str, str]]
    ) -> list[Keypoints | None]:
        import torch

        result: list[Keypoints | None] = [None] * len(subjects)
        for name in dict.fromkeys(name for _, _, name in subjects):
            numbers = [n for n, one in enumerate(subjects) if one[2] == name]
            asked = [subjects[n][:2] for n in numbers]
            seen, chosen = self._look_at(image, asked, name)
            points, scores = chosen.of(seen.keypoints)[0], chosen.scores[0]
            real = torch.tensor(_layout(name).real(), device=points.device)
            sure = scores[:, None] * real
            rows = torch.cat([points, sure[..., None]], -1).double().cpu().numpy()
            for number, score, row in zip(numbers, scores.tolist(), rows, strict=True):
                result[number] = scored(row, self.threshold, name) if score > 0 else None
        return result

    def _people(self, image: Image) -> list[tuple[XYXY, float]]:
        from socialcli.networks.xpose.choice import xyxy

        seen = self._see(image, [PERSON], keypoint_layouts.BODY)
        scores = seen.logits[0, :, 0].sigmoid()
        corners = xyxy(seen.boxes[0])
        places, likely = corners.double().cpu().numpy(), scores.double().cpu().numpy()
        people = []
        for number in geometry.nms(places, likely, 0.7):
            left, top, right, bottom = places[number].tolist()
            box = geometry.clip((left, top, right, bottom))
            if likely[number] >= LIKELY and geometry.area(box) > 0:
                people.append((box, float(likely[number])))
        return people

    def _look_at(
        self, image: Image, subjects: list[tuple[XYXY, str]], layout: str
    ) -> tuple[Seen, Chosen]:
        """What is seen of subjects of one layout, and which box is whose."""
        import torch

        from socialcli.networks.xpose.choice import choose

        labels = list(dict.fromkeys(label for _, label in subjects))
        seen = self._see(image, labels, layout)
        boxes = torch.tensor([[box for box, _ in subjects]], device=self.device)
        classes = torch.tensor([[labels.index(w) for _, w in subjects]], device=self.device)
        return seen, choose(seen, boxes, classes)

    def _see(self, image: Image, labels: list[str], layout: str) -> Seen:
        import numpy
        import torch
        from PIL.Image import Resampling

        from socialcli.networks.xpose.network import prepare

        small = image.convert("RGB").resize(resized(*image.size), Resampling.BILINEAR)
        rgb = torch.from_numpy(numpy.asarray(small).copy()).permute(2, 0, 1)
        with torch.inference_mode():
            return self.network(
                prepare(rgb[None].to(self.device) / 255), *self.prompts(labels, layout)
            )

    # --- words, and what feedback asks ---

    def look(
        self, windows: Tensor, boxes: Tensor, labels: list[str], layout: str
    ) -> tuple[Tensor, Tensor]:
        """Keypoints of one subject in each window, differentiable in the pixels.

        Args:
            windows: (N, 3, H, W) in [0, 1]. boxes: (N, 4) of the subjects, xyxy in [0, 1] of the
                windows. labels: what each is called. layout: of all of them.

        Returns:
            points (N, K, 2), x y in [0, 1] of the windows; scores (N, K), 0 where no box of the
            network overlaps the subject's and for numbers that stand for no keypoint.
        """
        import torch

        from socialcli.networks.xpose.choice import choose
        from socialcli.networks.xpose.network import prepare

        names = list(dict.fromkeys(labels))
        like = next(self.network.parameters())
        classes, keypoints = (v.to(like) for v in self.prompts(names, layout))
        seen = self.network(prepare(windows.to(like)), classes, keypoints)
        numbers = torch.tensor([[names.index(label)] for label in labels], device=windows.device)
        chosen = choose(seen, boxes[:, None], numbers)
        real = torch.tensor(_layout(layout).real(), device=windows.device)
        return chosen.of(seen.keypoints)[:, 0], chosen.scores * real

    def prompts(self, labels: list[str], layout: str) -> tuple[Tensor, Tensor]:
        """CLIP features of classes (n, W) and of a layout's keypoints (K, W)."""
        classes = self._words(label.lower().replace("_", " ").replace("-", " ") for label in labels)
        return classes, self._words(_layout(layout).names)

    def _words(self, words: Any) -> Tensor:
        """(N, W) features of "a photo of WORD"; each word is read once."""
        import torch

        wanted = list(words)
        for word in dict.fromkeys(wanted):
            if word not in self._features:
                tokens = self.tokenizer(
                    [f"a photo of {word}"], return_tensors="pt", padding="max_length",
                    truncation=True, max_length=self.tower.config.max_position_embeddings,
                ).input_ids  # fmt: skip
                with torch.inference_mode(False), torch.no_grad():
                    self._features[word] = self.tower(tokens.to(self.device)).text_embeds[0]
        return torch.stack([self._features[word] for word in wanted])


def resized(width: int, height: int) -> tuple[int, int]:
    """The size that a picture is looked at in: the official one."""
    short, long = min(width, height), max(width, height)
    side = SIDE if long / short * SIDE <= LONGEST else round(LONGEST * short / long)
    if width < height:
        return side, int(side * height / width)
    return int(side * width / height), side


def _layout(name: str) -> keypoint_layouts.Layout:
    layout = keypoint_layouts.layout(name)
    if layout is None:
        raise UsageError(f"no keypoint layout '{name}'; {', '.join(keypoint_layouts.names())}")
    return layout


def _replace(tower: Any, state: dict[str, Tensor], file: Path) -> None:
    """Give CLIP's tower the weights that a checkpoint has of its own."""
    try:
        tower.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UsageError(f"{file}: its CLIP is not {CLIP} ({reason[:160]})") from None
