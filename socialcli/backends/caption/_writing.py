"""What the four captioners share: arguments for `generate`, seeded nucleus sampling, stripping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from socialcli.backends.roles import Generation


class SeededNucleus:
    """Nucleus sampling in which row i of a batch draws from a generator of its own.

    Used as a logits processor under greedy search: the largest of log p + Gumbel noise is a draw
    from p (the Gumbel-max trick), so greedy search over the returned scores samples from the
    nucleus, and what a row draws does not depend on which other rows share its batch. Noise is
    drawn on the CPU, so that a seed means the same on every device.
    """

    def __init__(self, top_p: float, temperature: float, seeds: list[int]) -> None:
        import torch

        self.top_p = top_p
        self.temperature = temperature
        # torch takes 64 bits; a longer seed is folded rather than refused.
        self.generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(B, V) logits -> (B, V) perturbed log-probabilities, -inf outside the nucleus."""
        import torch

        logp = torch.log_softmax(scores.float() / self.temperature, dim=-1)
        ordered, order = logp.sort(dim=-1, descending=True)
        # A token stays while those more probable than it hold less than top_p together.
        before = ordered.exp().cumsum(dim=-1) - ordered.exp()
        outside = torch.zeros_like(before, dtype=torch.bool).scatter(
            -1, order, before >= self.top_p
        )
        noise = torch.stack([self._gumbel(g, logp.shape[-1]) for g in self.generators])
        return (logp + noise.to(logp.device)).masked_fill(outside, -float("inf"))

    @staticmethod
    def _gumbel(generator: torch.Generator, size: int) -> torch.Tensor:
        import torch

        return (
            -torch.empty(size, dtype=torch.float64).exponential_(generator=generator).log().float()
        )


def arguments(how: Generation, seeds: list[int]) -> dict[str, Any]:
    """Arguments for ``model.generate``; no sampling default of the checkpoint's own is left."""
    sampling = how.nucleus > 0
    return {
        "do_sample": False,  # sampling, where wanted, is SeededNucleus under greedy search
        "temperature": None,
        "top_p": None,
        "top_k": None,
        "num_beams": 1 if sampling else how.beams,
        "max_new_tokens": how.max_tokens,
        "min_new_tokens": None,
        "repetition_penalty": how.repetition_penalty,
        "logits_processor": [SeededNucleus(how.nucleus, how.temperature, seeds)]
        if sampling
        else None,
    }


def pixels(image_processor: Any, images: list[Image], model: Any) -> torch.Tensor:
    """(B, 3, H, W) as the checkpoint's own preprocessing makes it, in the model's dtype."""
    values = image_processor(images=images, return_tensors="pt")["pixel_values"]
    return values.to(model.device, model.dtype)


def written(
    network: Any,
    image_processor: Any,
    images: list[Image],
    prompt: list[int],
    how: Generation,
    seeds: list[int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a model writes for each picture under one prompt.

    Returns:
        (B, T) generated ids as ``generate`` gives them, and the (B, P) prompt ids it was given.
    """
    import torch

    ids = torch.tensor([prompt] * len(images), device=network.device)
    with torch.inference_mode():
        output = network.generate(
            pixel_values=pixels(image_processor, images, network),
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **arguments(how, seeds),
        )
    return output, ids


def without_prompt(output: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
    """(B, T) generated ids without the (B, P) prompt ids, where `generate` gave them back."""
    import torch

    length = prompt.shape[1]
    if output.shape[1] >= length and torch.equal(output[:, :length], prompt.to(output.device)):
        return output[:, length:]
    return output
