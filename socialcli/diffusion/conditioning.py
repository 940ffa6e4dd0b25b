"""What a batch is conditioned on: one object for training, validation pictures and `generate`.

A `Condition` gives the UNet's keyword arguments at the timesteps of the rows, so that what a
picture is conditioned on may change from step to step; what differs from layer to layer goes into
``cross_attention_kwargs`` among these arguments. In training the rows have timesteps of their own,
in sampling they share one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.diffusion.layered_text import LayeredText

    # What one text is: (L, D) states, with a pooled state where the model is told one, or with
    # learned words that depend on timestep or layer.
    Text: TypeAlias = "Tensor | PooledText | LayeredText"

_NESTED = ("cross_attention_kwargs", "added_cond_kwargs")
POOLED = "text_embeds"  # among the UNet's ``added_cond_kwargs``
# (B,) timesteps -> keyword arguments of the UNet, each with B rows.
Condition = Callable[["Tensor"], dict[str, Any]]


@dataclass
class Conditioning:
    """What the rows of a batch are conditioned on.

    Attributes:
        arguments: keyword arguments of the UNet that are the same at every timestep, or a
            `Condition`. With classifier-free guidance the batch has 2N rows, the unconditional ones
            first (`rows`).
        guide: takes the place of `Step.predict`: (the step) -> (N, C, h, w) model_pred. Region
            fusion, ControlNets and guidance by gradients stand here.
        after: called with (the step, the latents after it (N, C, h, w)); gives the latents to go on
            with.
        spread: rows of the loop that each picture has, where they are not one each; they begin with
            the picture's noise, draw the same on the way, and the first of them is the picture.
    """

    arguments: dict[str, Any] | Condition
    guide: Callable[[Step], Tensor] | None = None
    after: Callable[[Step, Tensor], Tensor] | None = None
    spread: tuple[int, ...] | None = None

    def at(self, timesteps: Tensor) -> dict[str, Any]:
        """The UNet's keyword arguments for rows at (B,) timesteps."""
        return self.arguments(timesteps) if callable(self.arguments) else self.arguments

    def adding(self, more: Callable[[dict[str, Any]], dict[str, Any]]) -> Conditioning:
        """With further arguments of the UNet.

        Args:
            more: of the arguments at a timestep -> those to add or to put in their place; what
                both have under ``cross_attention_kwargs`` or ``added_cond_kwargs`` goes together.
        """

        def merged(arguments: dict[str, Any]) -> dict[str, Any]:
            new = more(arguments)
            both = {name: {**arguments.get(name, {}), **new.get(name, {})} for name in _NESTED}
            return {**arguments, **new, **{name: one for name, one in both.items() if one}}

        inner = self.arguments
        if callable(inner):
            return replace(self, arguments=lambda timesteps: merged(inner(timesteps)))
        return replace(self, arguments=merged(inner))


@dataclass
class Step:
    """One step of the denoising loop, as a guide sees it.

    Attributes:
        number: of the step, from 0. count: of all steps.
        timestep: scalar tensor. latents: (N, C, h, w) before the step.
        arguments: the UNet's keyword arguments at this timestep.
        unet, scheduler: of diffusers. guidance: scale of classifier-free guidance; 1: none.
    """

    number: int
    count: int
    timestep: Tensor
    latents: Tensor
    arguments: dict[str, Any]
    unet: Any
    scheduler: Any
    guidance: float

    def predict(self, latents: Tensor | None = None) -> Tensor:
        """Classifier-free guidance, both halves in one call of the UNet.

        Args:
            latents: (N, C, h, w) in place of the step's own.

        Returns:
            (N, C, h, w) model_pred: uncond + guidance * (cond - uncond).
        """
        import torch

        x = self.latents if latents is None else latents
        t, unet = self.timestep, self.unet
        if self.guidance == 1:
            rows = self.scheduler.scale_model_input(x, t).to(unet.dtype)
            prediction: Tensor = unet(rows, t, **self.arguments).sample
            return prediction.to(x.dtype)
        rows = self.scheduler.scale_model_input(torch.cat([x, x]), t).to(unet.dtype)
        uncond, cond = unet(rows, t, **self.arguments).sample.to(x.dtype).chunk(2)
        return uncond + self.guidance * (cond - uncond)

    def estimate(self, model_pred: Tensor, latents: Tensor | None = None) -> Tensor:
        """The clean latents that a prediction means: x0-hat, (N, C, h, w), differentiable.

        Holds for every scheduler whose scaled input is the noisy latents of a DDPM, which are those
        of Stable Diffusion; a timestep between two whole numbers is rounded.
        """
        import torch

        from socialcli.diffusion import schedule

        x = self.latents if latents is None else latents
        alphas_cumprod, prediction_type = schedule.schedule(self.scheduler)
        noisy = self.scheduler.scale_model_input(x, self.timestep)
        t = self.timestep.round().long().clamp(0, len(alphas_cumprod) - 1)
        timesteps = torch.full((len(x),), int(t), device=x.device)
        return schedule.estimate(noisy, model_pred, timesteps, alphas_cumprod, prediction_type)


@dataclass(frozen=True)
class PooledText:
    """One text of a model that is told its pooled state as well (Stable Diffusion XL).

    Attributes:
        states: (L, D). pooled: (P,).
    """

    states: Tensor
    pooled: Tensor

    def __len__(self) -> int:
        """L, places of the text."""
        return len(self.states)

    def followed(self, states: Tensor) -> PooledText:
        """Itself with (M, D) states behind it."""
        import torch

        return PooledText(torch.cat([self.states, states]), self.pooled)


def one_text(states: Tensor, pooled: Tensor | None) -> Text:
    """A text of (L, D) states, with its (P,) pooled state where there is one."""
    return states if pooled is None else PooledText(states, pooled)


def encode(diffusion: Any, texts: Sequence[str]) -> list[Text]:
    """Texts as a model reads them, all at once. What is too long is cut.

    Args:
        diffusion: a `roles.Diffusion`.
    """
    states, pooled = diffusion.encoded(list(texts))
    return [one_text(states[n], None if pooled is None else pooled[n]) for n in range(len(texts))]


def no_text(diffusion: Any, text: Text) -> Text:
    """What stands where no text is given: zeros where the model learned it so, else the empty
    ``text`` itself."""
    if not diffusion.zeros or not isinstance(text, PooledText):
        return text
    states, pooled = text.states, text.pooled
    return PooledText(states.new_zeros(states.shape), pooled.new_zeros(pooled.shape))


def both(diffusion: Any, prompt: str) -> tuple[Text, Text]:
    """(no text, a prompt): the two halves of classifier-free guidance."""
    empty, text = encode(diffusion, ["", prompt])
    return no_text(diffusion, empty), text


def of_encoded(states: Tensor, pooled: Tensor | None = None) -> Conditioning:
    """B rows of (B, L, D) states, and (B, P) pooled ones where there are any."""
    arguments: dict[str, Any] = {"encoder_hidden_states": states}
    if pooled is not None:
        arguments["added_cond_kwargs"] = {POOLED: pooled}
    return Conditioning(arguments)


def rows(guidance: float, uncond: Sequence[Tensor], cond: Sequence[Tensor]) -> Tensor:
    """N tensors each as the rows of a UNet argument: (2N, ...) with the unconditional ones first;
    only the N others where there is no guidance."""
    import torch

    return torch.stack([*cond] if guidance == 1 else [*uncond, *cond])


def of_text(guidance: float, uncond: Sequence[Text], cond: Sequence[Text]) -> Conditioning:
    """Cross-attention to texts: states, (L, D) each, `PooledText`, or `LayeredText`; of equal
    lengths."""
    from socialcli.diffusion.layered_text import LayeredText, Rows

    texts = [*cond] if guidance == 1 else [*uncond, *cond]
    if any(isinstance(text, LayeredText) for text in texts):
        return Conditioning(Rows(texts))
    if any(isinstance(text, PooledText) for text in texts):
        import torch

        pairs: Any = texts
        states, pooled = ([getattr(one, name) for one in pairs] for name in ("states", "pooled"))
        return of_encoded(torch.stack(states), torch.stack(pooled))
    plain: Any = (uncond, cond)
    return Conditioning({"encoder_hidden_states": rows(guidance, *plain)})
