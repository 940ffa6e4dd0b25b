"""What each role must be able to do: the protocols that backends fulfil and stages call.

Pictures are ``PIL.Image`` in RGB, upright. Every coordinate is normalised to the picture
(`socialcli.records` says how). Every method takes a list (one batch) and returns a list of the
same length and order. A backend never resizes a batch on its own: running out of memory is the
runner's business, so it lets ``torch.OutOfMemoryError`` through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import numpy
    import torch
    from PIL.Image import Image

    from socialcli.errors import SampleFailed
    from socialcli.networks.adapter_files import Kind
    from socialcli.networks.text_encoders import TextEncoder
    from socialcli.records import (
        XYXY,
        Boxes,
        Entities,
        Face,
        Gaze,
        Interactions,
        Keypoints,
        Model,
        People,
    )


class Role(Protocol):
    """Common to all: what is written beside the results."""

    model: Model  # backend, checkpoint, revision (a hub commit where known) and options
    # Optional ``kinds: tuple[str, ...]``: the entity kinds a grounder or segmenter knows, where
    # it knows only some (MediaPipe: ("person",)); stages leave the others without a result.
    # Optional ``knows(phrase) -> bool`` of a grounder of fixed classes: whether it is one of them.


@dataclass(frozen=True)
class Generation:
    """How a captioner writes; defaults as BLIP-2's own demo uses them."""

    prompt: str = ""  # text the caption continues, or the instruction
    beams: int = 5  # beam search width; 1 = greedy
    nucleus: float = 0.0  # top-p in (0, 1]; 0 = no sampling
    temperature: float = 1.0  # of sampling
    max_tokens: int = 30  # new tokens at most
    repetition_penalty: float = 1.0


class Captioner(Role, Protocol):
    def caption(self, images: list[Image], how: Generation, seeds: list[int]) -> list[str]:
        """One caption per picture; ``seeds`` matter to nucleus sampling only, one a picture."""


class EntityExtractor(Role, Protocol):
    def extract(self, texts: list[str]) -> list[Entities]:
        """Noun phrases and triples of each caption."""


@dataclass(frozen=True)
class Detection:
    """One box for phrase number ``phrase`` of the picture's list."""

    phrase: int
    xyxy: XYXY
    score: float


class Grounder(Role, Protocol):
    def ground(
        self,
        images: list[Image],
        phrases: list[list[str]],
        box_threshold: float,
        text_threshold: float,
    ) -> list[list[Detection]]:
        """Boxes of each phrase in each picture, before any non-maximum suppression."""


@dataclass(frozen=True)
class Segment:
    """One mask: ``mask`` bool (height, width) of the upright picture; scores in [0, 1]."""

    mask: numpy.ndarray
    iou: float | None = None
    stability: float | None = None


class Segmenter(Role, Protocol):
    def segment(self, images: list[Image], boxes: list[list[XYXY]]) -> list[list[Segment]]:
        """The best mask for each box."""


class FaceDetector(Role, Protocol):
    def detect(self, images: list[Image]) -> list[list[Face]]:
        """Faces of each picture, largest first, with landmarks where the detector has them."""


class FaceEmbedder(Role, Protocol):
    def embed(self, images: list[Image], faces: list[list[Face]]) -> list[numpy.ndarray]:
        """(N, D) float32 identity embeddings per picture, not normalised, N = its faces."""


class PoseEstimator(Role, Protocol):
    def estimate(
        self, images: list[Image], boxes: list[list[XYXY]]
    ) -> list[list[Keypoints | None]]:
        """Keypoints of the person in each box; visibility 2 where the score is high enough.
        None for a box in which nobody is found."""


class ThingPoseEstimator(Role, Protocol):
    def things(
        self, images: list[Image], subjects: list[list[tuple[XYXY, str, str]]]
    ) -> list[list[Keypoints | None]]:
        """Keypoints of animals and things: each picture's (box, what is in it, name of its layout
        in `records.keypoint_layouts`). None where no such thing is found in the box."""


class PoseEncoder(Role, Protocol):
    def encode(self, images: list[Image], boxes: list[list[XYXY]]) -> list[numpy.ndarray]:
        """(K, D) float32 features of the body in each of a picture's K boxes; a pose backend offers
        this when its network has features that say how somebody stands."""


class PersonDetector(Role, Protocol):
    def people(self, images: list[Image]) -> list[list[tuple[XYXY, float]]]:
        """Person boxes with scores; a pose backend offers this when it can find people itself."""


class GazeEstimator(Role, Protocol):
    def gaze(self, images: list[Image], heads: list[list[XYXY]]) -> list[list[Gaze | None]]:
        """Gaze of the person with each head box (tight around the head); None when unreadable."""


class InteractionFinder(Role, Protocol):
    def interact(
        self,
        images: list[Image],
        people: list[People],
        boxes: list[Boxes | None],
        known: list[Interactions | None],
    ) -> list[Interactions | SampleFailed | None]:
        """Who does what to whom; ``known`` are interactions the samples came with. None writes
        no member."""


@dataclass(frozen=True)
class DetectedInteraction:
    """An interaction and where its two are: normalised xyxy, which may reach beyond the picture."""

    verb: str
    object_label: str
    hoi: int | None  # the data set's own class number
    score: float
    human: XYXY
    object: XYXY


class InteractionDetector(InteractionFinder, Protocol):
    """A recogniser whose INFO says that it ``detects``."""

    def detect_interactions(self, images: list[Image]) -> list[list[DetectedInteraction]]:
        """All interactions of each picture with their scores; nothing is cut off, because average
        precision ranks all."""


class ClipEmbedder(Role, Protocol):
    network: Any  # transformers' CLIPModel, eval mode
    processor: Any
    tokenizer: Any

    def images(self, images: list[Image]) -> numpy.ndarray:
        """(N, D) float32 embeddings of length 1."""

    def texts(self, texts: list[str]) -> numpy.ndarray:
        """(N, D) float32 embeddings of length 1; what is longer than the model reads is cut."""

    def unread(self, text: str) -> str:
        """The end of a text that `texts` cuts off."""

    def pixels(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [0, 1] -> what the image tower takes; differentiable."""


class PictureEmbedder(Role, Protocol):
    network: Any  # transformers' ViTModel or Dinov2Model, eval mode
    processor: Any

    def images(self, images: list[Image]) -> numpy.ndarray:
        """(N, D) float32 class tokens of length 1."""

    def embed(self, values: torch.Tensor) -> torch.Tensor:
        """What `pixels` gives -> (B, D) class tokens of any length; differentiable."""

    def pixels(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [0, 1] -> what the network takes; differentiable."""


class Diffusion(Role, Protocol):
    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    scheduler: Any  # UniPC with the checkpoint's noise schedule; others by ``from_config``
    picture_size: int  # pixels

    window: int  # tokens of a text that are read at once
    encoders: tuple[TextEncoder, ...]  # what reads texts; their states lie side by side
    zeros: bool  # whether zeros stand for a text that is not given, and not the empty text

    def encoded(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`prompts`, and (N, P) pooled states where the UNet is told them as well."""

    def encoded_whole(self, text: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`windows`, and the (P,) pooled state of the first where the UNet is told it as well."""

    def pipeline(self) -> Any:
        """The parts as diffusers' pipeline."""

    def prompts(self, texts: list[str]) -> torch.Tensor:
        """(N, L, D) text states, as the UNet reads them; what is longer is cut."""

    def unread(self, text: str) -> str:
        """The end of a text that `prompts` cuts off."""

    def windows(self, text: str) -> torch.Tensor:
        """(K * L, D) text states of the whole text, a window behind the other."""

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [-1, 1] -> scaled latents (B, C, h, w)."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents -> (B, 3, H, W), about [-1, 1], not clamped; differentiable."""


class Decoder(Role, Protocol):
    network: Any  # frozen, eval mode; gradients pass it

    def check(self, diffusion: Any) -> None:
        """Raises UsageError where it decodes another model's latents."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """As `Diffusion.decode`."""


class Control(Role, Protocol):
    network: Any  # diffusers' ControlNetModel, frozen, eval mode

    def check(self, unet: Any, name: str) -> None:
        """Raises UsageError where it belongs to another UNet; ``name`` is what it is called."""


class Adapter(Role, Protocol):
    file: Path
    parts: dict[str, dict[str, torch.Tensor]]  # see `networks.adapter_files`
    kind: Kind


class SubjectEncoder(Role, Protocol):
    encoder: Any  # networks.ssr_encoder.SSREncoder
    vision: Any  # transformers' CLIPVisionModel
    processor: Any

    def features(self, pictures: list[Image]) -> torch.Tensor:
        """(N, scales * T, C) for ``encoder.subject_tokens``."""

    def mask(self, mask: numpy.ndarray) -> torch.Tensor:
        """(1, 1, S, S) for ``encoder.subject_tokens``, of a picture's (height, width) mask."""

    def nothing(self, count: int) -> torch.Tensor:
        """The same of zeros, for the unconditional branch of guidance."""
