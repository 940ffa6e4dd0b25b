"""A person as a point in the space of known names (Celeb Basis, Yuan et al., arXiv 2306.00926).

A name's token embeddings, first and second token apart, have a mean and principal directions over
many names. A person is two places, each the mean plus a unit-length sum of the directions.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from socialcli.diffusion.words import Word
from socialcli.diffusion.words.textual_inversion import TextualInversionWord

MOMENTUM = 0.99


def basis(names: Tensor, components: int) -> Tensor:
    """Means and principal directions of names.

    Args:
        names: (N, places, D) token embeddings.
        components: directions; at most N - 1 and at most D.

    Returns:
        (places, 1 + components, D): the mean, then orthonormal directions, the strongest first.
    """
    means = names.mean(0)
    directions = []
    for place in range(names.shape[1]):
        centred = (names[:, place] - means[place]).double()
        directions.append(torch.linalg.svd(centred, full_matrices=False)[2][:components])
    return torch.cat([means[:, None], torch.stack(directions).to(means)], dim=1)


class CelebBasisWord(Word):
    """While it is learnt: a linear layer from face embeddings to coefficients. What is kept is the
    coefficients' moving average, as two ordinary vectors.

    Attributes:
        faces: (N, F) embeddings of the person's pictures, of length 1.
        rows: number of a picture in the index -> its row of these.
        average: (places, components) of the coefficients; `follow` moves it.
    """

    kind = "celeb-basis"
    CONSTANT = True

    average: Tensor
    basis: Tensor
    faces: Tensor

    def __init__(self, token: str, basis: Tensor, faces: Tensor, numbers: Sequence[int]) -> None:
        super().__init__(token, len(basis), basis.shape[-1])
        self.rows = {number: row for row, number in enumerate(numbers)}
        self.components = basis.shape[1] - 1
        self.register_buffer("basis", basis.detach().float().clone())
        self.register_buffer("faces", functional.normalize(faces.detach().float(), dim=-1))
        self.layer = nn.Linear(faces.shape[1], self.slots * self.components)
        nn.init.normal_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        with torch.no_grad():
            self.register_buffer("average", self.coefficients(self.faces).mean(0))

    def coefficients(self, faces: Tensor) -> Tensor:
        """(A, F) -> (A, places, components), of length 1 each."""
        activations = functional.leaky_relu(self.layer(faces), 0.2)
        return functional.normalize(
            activations.unflatten(-1, (self.slots, self.components)), dim=-1
        )

    def point(self, coefficients: Tensor) -> Tensor:
        """(..., places, components) -> (..., places, D)."""
        moved = torch.einsum("...pc,pcd->...pd", coefficients, self.basis[:, 1:])
        return self.basis[:, 0] + moved

    def address(self, timestep: float, layer: int, part: str, note: Hashable = None) -> Hashable:
        """``note``: the picture's number in training; None for the average of all."""
        return None if note is None else self.rows[note]  # type: ignore[index]

    def vectors(self, addresses: Sequence[Any]) -> Tensor:
        rows = []
        for address in addresses:
            if address is None:
                rows.append(self.point(self.average))
            else:
                rows.append(self.point(self.coefficients(self.faces[address][None]))[0])
        return torch.stack(rows)

    def follow(self) -> None:
        """Move the average towards what the layer makes of the pictures now."""
        with torch.no_grad():
            new = self.coefficients(self.faces).mean(0)
            self.average.lerp_(new, 1 - MOMENTUM)

    def kept(self) -> Word:
        with torch.no_grad():
            return TextualInversionWord(self.token, self.point(self.average))
