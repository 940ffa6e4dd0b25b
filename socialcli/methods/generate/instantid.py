"""InstantID: one person from one picture, posed by five points of a face (SDXL)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import backends
from socialcli.backends import ModelSpec, naming
from socialcli.config import option
from socialcli.diffusion import conditioning, control
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import drawing, faces
from socialcli.generation.method import GenerateMethod
from socialcli.generation.options import ReferenceOptions
from socialcli.methods.generate import _adapter

if TYPE_CHECKING:
    from socialcli.diffusion.conditioning import Conditioning
    from socialcli.generation.drawing import Studio

PACK = "antelopev2"  # of insightface, that it was trained with
LABEL = "InstantID"
ONE = (
    "instantid draws one person, the largest face of one reference; its authors say that several "
    "are not supported: give one --reference, or take --method ip-adapter with --region"
)


@dataclass
class Config(faces.FaceOptions, ReferenceOptions):
    """Options of `socialcli generate --method instantid`."""

    backend: str = option("sdxl", "Diffusion backend.", role="diffusion")
    adapter_model: str = option("", "InstantID's ip-adapter.bin.", file=True)
    controlnet_model: str = option(
        "", "Its ControlNet, a folder; default: ControlNetModel beside --adapter-model."
    )
    control_scale: float = option(
        0.8, "How much the ControlNet's residuals count.", at_least=0
    )  # fmt: skip
    keypoints: str = option(
        "", "A picture whose largest face says where the face is drawn; default: the reference.",
        file=True,
    )  # fmt: skip


@dataclass
class State:
    """The studio's models, the adapter's projection, the ControlNet and what finds faces.

    Attributes:
        pose: (5, 2) landmarks in pixels of the picture that is drawn, of ``--keypoints``; or None.
    """

    studio: Studio
    projection: Any
    net: Any
    reader: faces.Reader
    width: int
    pose: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.studio, name)


class InstantIdMethod(GenerateMethod):
    """See `GenerateMethod`. Wang et al., InstantID (arXiv 2401.07519)."""

    VERSION = 1
    REFERENCES = True
    QUERIES = False
    SCALE = 0.8
    TWO_ENCODERS = True
    config_type = Config

    def check_options(self, config: Config) -> None:
        if len(config.reference) > 1 or config.per_subject:
            raise UsageError(ONE)

    def models(self, config: Config) -> list[ModelSpec]:
        return [
            drawing.spec(config), faces.spec(config, PACK), _net(config),
            ModelSpec("adapter", "instantid", model=config.adapter_model),
        ]  # fmt: skip

    def facts(self, config: Config) -> dict[str, Any]:
        return {
            "faces": faces.facts(config, PACK),
            "option controlnet_model": naming.content(_net(config).model),
        }

    def load(self, config: Config) -> State:
        """The diffusion model with the adapter in its UNet, the ControlNet and the face models.

        Raises:
            ModelMissing: weights that are not here. UsageError: weights of another shape or kind.
        """
        from socialcli.networks import micro_conditioning

        adapter = backends.load(ModelSpec("adapter", "instantid", model=config.adapter_model))
        net = backends.load(_net(config))
        reader = faces.load(config, PACK)
        studio = drawing.studio(config)
        projection = _adapter.attach(studio, adapter)
        net.check(studio.diffusion.unet, _net(config).model)
        micro_conditioning.attach(net.network, studio.diffusion.factor)
        state = State(studio, projection, net, reader, _adapter.face_width(adapter))
        if config.keypoints:
            state.pose = _pose(config, state)
        studio.models |= {
            "adapter": adapter.model, "controlnet": net.model, "face": reader.finder.model
        }  # fmt: skip
        return state

    def prepare(self, config: Config, request: Any) -> None:
        """There is one reference, before anything is loaded."""
        if len(request.references) > 1:
            raise SampleFailed(ONE)

    def embed(self, config: Config, state: State, request: Any) -> Any:
        """(negative text states, text states, (D,) face embedding, scale, (3, H, W) keypoints).

        Raises:
            SampleFailed: several references, or no face.
        """
        import numpy
        import torch

        from socialcli.vision import face_keypoints

        if len(request.references) != 1:
            raise SampleFailed(ONE)
        (reference,) = request.references
        seen = state.reader.see(reference.image, reference.key)
        size = drawing.size(config, state.studio)
        points = state.pose
        if points is None:
            landmarks = seen.face.landmarks
            assert landmarks is not None
            points = face_keypoints.fitted(landmarks, reference.image.size, size)
        drawn = numpy.array(face_keypoints.draw(points, size))
        hint = torch.from_numpy(drawn).permute(2, 0, 1).float() / 255
        row = faces.embedding(seen, "raw", state.width, LABEL, PACK)
        face = torch.from_numpy(row).float().to(state.diffusion.unet.device)
        scale = self.SCALE if reference.scale is None else reference.scale
        return *state.studio.texts(request.negative, request.prompt), face, scale, hint

    def condition(self, config: Config, state: State, embedded: list[Any]) -> Conditioning:
        """Attention to the text and to the face's tokens, which the ControlNet reads in place of
        the text."""
        import torch

        from socialcli.diffusion import layered

        without, of, shown, scales, hints = zip(*embedded, strict=True)
        unet = state.diffusion.unet
        for processor in layered.inside(unet).values():
            if hasattr(processor, "scale"):
                processor.scale = [scales[0]]
        nothing = [torch.zeros_like(one) for one in shown]
        rows = conditioning.rows(config.guidance, nothing, shown).to(unet.dtype)[:, None]
        with torch.inference_mode():
            tokens = state.projection(rows)
        more = {"added_cond_kwargs": {"image_embeds": [rows[:, None]]}}
        given = conditioning.of_text(config.guidance, without, of).adding(lambda _: more)
        seen = control.Control(
            state.net.network, torch.stack(hints), config.control_scale, states=tokens
        )
        given.guide = control.guide([seen])
        return given


def _net(config: Config) -> ModelSpec:
    beside = Path(config.adapter_model or "ip-adapter.bin").expanduser().parent / "ControlNetModel"
    model = config.controlnet_model or str(beside)
    return ModelSpec("controlnet", "diffusers", model, None, config.device, config.dtype)


def _pose(config: Config, state: State) -> list[tuple[float, float]]:
    """Landmarks of ``--keypoints`` in the pixels of the picture that is drawn."""
    from socialcli.vision import face_keypoints, images

    file = Path(config.keypoints).expanduser()
    if not file.is_file():
        raise UsageError(f"--keypoints {config.keypoints}: no such file")
    try:
        picture = images.decode(file.read_bytes())
        landmarks = state.reader.see(picture, file.name).face.landmarks
    except SampleFailed as error:
        raise UsageError(f"--keypoints {config.keypoints}: {error}") from None
    assert landmarks is not None
    return face_keypoints.fitted(landmarks, picture.size, drawing.size(config, state.studio))
