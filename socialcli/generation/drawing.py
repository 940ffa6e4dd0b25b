"""The models of a run, and a batch of requests from embeddings to pictures."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli import backends
from socialcli.backends import ModelSpec, devices, variants
from socialcli.diffusion import conditioning, sampling
from socialcli.diffusion.latents import pictures
from socialcli.errors import SampleFailed
from socialcli.generation import adapters, options, words

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from socialcli.diffusion.conditioning import Conditioning, Text
    from socialcli.diffusion.lexicon import Lexicon
    from socialcli.networks.lora import Lora
    from socialcli.records import Model

LAYERED = 8  # texts of which a state for every timestep and layer is kept
KEPT = 512  # text states that are kept; captions hardly ever come twice, empty prompts always do
WIDE = 32 * 32  # latents of more places than this fill a CPU's time one at a time


@dataclass
class Studio:
    """The models of a run.

    Attributes:
        diffusion: a `roles.Diffusion`.
        scheduler: class name of the scheduler that is used.
        models: role -> what the record says of models besides it.
        long_prompts: what becomes of texts longer than the encoder reads, see `options.LONG`.
        judge: what looks at pictures for ``--attempts``, an `attempts.Judge`.
        unread: ends of the texts asked for that were cut off, since somebody emptied it.
        lexicon: the learned words that it knows, if any (``--words``).
        plain: token -> the ordinary word for it.
        timesteps: of its scheduler.
        remarks: token -> what is to be said where it is used.
        loras: adapters on the model's layers, in the order of ``--lora``.
        identifiers: words that stand before a class and name a subject: "sks" of "sks dog".
    """

    diffusion: Any
    scheduler: str = ""
    long_prompts: str = "cut"
    models: dict[str, Model] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    judge: Any = None
    lexicon: Lexicon | None = None
    plain: dict[str, str] = field(default_factory=dict)
    timesteps: list[float] = field(default_factory=list)
    remarks: dict[str, str] = field(default_factory=dict)
    loras: list[Lora] = field(default_factory=list)
    identifiers: list[str] = field(default_factory=list)
    _texts: OrderedDict[tuple[str, bool], tuple[Text, str]] = field(
        default_factory=OrderedDict, repr=False
    )

    def text(self, text: str, whole: bool = False) -> Any:
        """(L, D) hidden states of a text (`conditioning.PooledText` of a model that is told a
        pooled state as well). Each is made by itself, so that it is the same whatever
        stands beside it, and kept for a while. ``whole``: (K * L, D) of all its windows; else what
        is too long is cut, and goes to `unread`.

        Raises:
            SampleFailed: it has a learned word that differs by timestep or layer, or an unknown
                one.
        """
        from socialcli.diffusion.layered_text import LayeredText

        states = self._states(text, whole)
        if isinstance(states, LayeredText):
            raise SampleFailed(
                f"'{text}' is read once for all timesteps and layers, but its learned word differs "
                "between them: use ordinary words here"
            )
        return states

    def _states(self, text: str, whole: bool = False) -> Text:
        """As `text`; a `LayeredText` where a learned word in it differs by timestep or layer."""
        kept = self._texts.get((text, whole))
        if kept is None:
            kept = self._texts[text, whole] = self._encoded(text, whole)
            large = [key for key, (one, _) in self._texts.items() if not _plain(one)]
            for key in large[:-LAYERED]:
                del self._texts[key]
            while len(self._texts) > KEPT:
                self._texts.popitem(last=False)
        else:
            self._texts.move_to_end((text, whole))
        states, rest = kept
        if rest:
            self.unread.append(rest)
        return states

    def _encoded(self, text: str, whole: bool) -> tuple[Text, str]:
        """States of a text, and what is not read of it."""
        import torch

        model, lexicon = self.diffusion, self.lexicon
        with torch.inference_mode():
            if lexicon is None or not lexicon.used(text):
                if whole:
                    states = conditioning.one_text(*model.encoded_whole(text))
                else:
                    (states,) = conditioning.encode(model, [text])
                return states, "" if whole else model.unread(text)
            rest = "" if whole else model.unread(lexicon.expand(text))
            return lexicon.state(text, self.timesteps, whole), rest

    def forget(self) -> None:
        """Drop the texts that are kept: what encodes them has changed."""
        self._texts.clear()

    def texts(self, negative: str, prompt: str) -> tuple[Text, Text]:
        """Text states of a negative prompt and a prompt, of one length: where they are read whole,
        the shorter goes on with those of the empty text, as other tools do it.

        With learned words that differ by timestep or layer it is a `LayeredText`;
        `conditioning.of_text` takes both.

        Raises:
            SampleFailed: an unknown learned word.
        """
        if self.lexicon is not None:
            for text in (negative, prompt):
                words.check(self.lexicon, text)
        whole = self.long_prompts == "chunks"
        states = [self.no_text() if not negative else self._states(negative, whole),
                  self._states(prompt, whole)]  # fmt: skip
        longest = max(map(len, states))
        if min(map(len, states)) < longest:
            empties = [self.no_text() if not negative else self.text(""), self.text("")]
            states = [
                followed(one, empty, (longest - len(one)) // len(empty))
                for one, empty in zip(states, empties, strict=True)
            ]
        return states[0], states[1]

    def no_text(self) -> Any:
        """What guidance leads away from where no negative prompt is given: the empty text, or the
        zeros that stand for it in some models."""
        return conditioning.no_text(self.diffusion, self.text(""))


def followed(states: Text, empty: Tensor, times: int) -> Text:
    """A text's states with those of the empty text behind them, so many times."""
    import torch

    if not times:
        return states
    empty = getattr(empty, "states", empty)
    if not isinstance(states, torch.Tensor):
        return states.followed(torch.cat([empty] * times))
    return torch.cat([states, *[empty] * times])


def _plain(states: Text) -> bool:
    from socialcli.diffusion.layered_text import LayeredText

    return not isinstance(states, LayeredText)


def spec(config: Any) -> ModelSpec:
    """The diffusion model that the options name."""
    return ModelSpec(
        "diffusion",
        config.backend,
        model=config.model,
        revision=config.revision,
        device=config.device,
        dtype=config.dtype,
        options={**variants.options(config.variant), **({"vae": config.vae} if config.vae else {})},
    )


def studio(config: Any) -> Studio:
    """The diffusion model, and a check that it can draw what is asked for.

    Raises:
        ModelMissing: it is not here. UsageError: no such scheduler, or a size it cannot draw.
    """
    import torch

    learned = words.read(config.words)
    new_studio = Studio(backends.load(spec(config)), long_prompts=config.long_prompts)
    adapters.attach(config, new_studio)
    if config.device.startswith("cpu"):
        devices.keep_memory()
    for network in (new_studio.diffusion.unet, new_studio.diffusion.vae):
        network.to(memory_format=torch.channels_last)  # an eighth faster on CPUs
    if config.compile:
        devices.compile_network(new_studio.diffusion.unet, config.device)
    new_studio.scheduler = type(
        sampling.scheduler(config.scheduler, new_studio.diffusion.scheduler)
    ).__name__
    new_studio.diffusion.latent_shape(*size(config, new_studio)[::-1])
    if learned:
        words.teach(config, new_studio, learned)
    return new_studio


def size(config: Any, studio: Studio) -> tuple[int, int]:
    """(width, height) of the pictures."""
    side = studio.diffusion.picture_size
    return options.size(config) or (side, side)


def part(config: Any, studio: Studio) -> int:
    """How many pictures go through the UNet at once.

    On a CPU a row of a matrix product depends, in its last bits, on how many rows there are; so
    there are always equally many, whatever the batch size, and a key gives the same picture to the
    last bit. Elsewhere it is the batch size, which is then part of those last bits.
    """
    if studio.diffusion.unet.device.type != "cpu":
        return max(1, config.batch_size)
    width, height = size(config, studio)
    places = width * height // studio.diffusion.factor**2
    return sampling.TOGETHER if places <= WIDE else 1


def draw(config: Any, studio: Studio, given: Conditioning, seeds: list[int]) -> list[Image]:
    """N pictures from N seeds, RGB.

    Raises:
        UsageError: the scheduler cannot take so many steps.
    """
    import torch

    from socialcli.diffusion import inference

    diffusion = studio.diffusion
    if studio.lexicon is not None:
        studio.lexicon.attach()
    width, height = size(config, studio)
    with torch.inference_mode():
        with inference.lean(diffusion.unet):
            latents = sampling.denoise(
                diffusion.unet,
                sampling.scheduler(config.scheduler, diffusion.scheduler),
                [sampling.generator(seed) for seed in seeds],
                diffusion.latent_shape(height, width),
                given,
                config.steps,
                config.guidance,
            )
        alone = diffusion.unet.device.type == "cpu"  # as `part`: rows must not see each other
        rows = latents.split(1) if alone else [latents]
        pixels = torch.cat([diffusion.decode(part).float() for part in rows])
    return pictures(pixels)
