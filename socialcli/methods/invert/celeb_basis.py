"""Celeb Basis: a person as a point among known names, found from the pictures' faces.

Inserting Anybody in Diffusion Models via Celeb Basis (Yuan et al., arXiv 2306.00926). A list of
names gives means and principal directions of their token embeddings; a linear layer from the face
embedding to coefficients trains. The word is two vectors, as a first and a last name are.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import textfiles
from socialcli.config import option
from socialcli.errors import SampleFailed, UsageError
from socialcli.methods.invert._inversion import InversionMethod
from socialcli.methods.invert._options import InversionOptions
from socialcli.randomness import seeded
from socialcli.validation import members

if TYPE_CHECKING:
    import numpy
    from torch import Tensor

    from socialcli.diffusion.words import Word
    from socialcli.methods.invert._concepts import Concept
    from socialcli.randomness import Draw
    from socialcli.shards import Sample
    from socialcli.shards.index import Index
    from socialcli.training.place import Place

MINIATURE = "mini"


@dataclass
class Config(InversionOptions):
    """Options of `socialcli invert --method celeb-basis`."""

    steps: int = option(400, "Optimiser steps of the whole run.", at_least=1)
    batch_size: int = option(2, "Samples per optimiser step, over all processes.", at_least=1)
    learning_rate: float = option(5e-3, "Peak learning rate.", above=0)
    initial_word: list[str] = option(
        ["person"], "The ordinary word for a person, for `score`: WORD, or TOKEN=WORD. Repeatable."
    )
    templates: str = option(
        "face", "Texts it is learnt in: face (a photo of the face of {}), object, style, captions, "
        "or a file with a {} in each line.", file=True
    )  # fmt: skip
    names: str = option(
        "", "Names, one a line, of which two tokens are read: a file, or mini for the invented "
        "ones that fit the miniature.", file=True,
    )  # fmt: skip
    components: int = option(
        512, "Directions of the space of names, at most one less than there are names.", at_least=1
    )


class CelebBasisMethod(InversionMethod):
    """See `InversionMethod`."""

    VERSION = 1
    READS = ("people.json", "identity.npy")
    config_type = Config

    def check_options(self, config: Config) -> None:
        super().check_options(config)
        listed(config.names)

    def check(self, config: Config, sample: Sample) -> None:
        face_of(sample)

    def select(self, config: Config, index: Index) -> Index:
        """The samples of one face.

        Raises:
            UsageError: see `InversionMethod.select`, or there are none.
        """
        chosen = super().select(config, index)
        kept = []
        for number, entry in enumerate(chosen.entries):
            try:
                sample = chosen.read(number)
                members.refuse_malformed(sample)
                face_of(sample)
                kept.append(number)
            except SampleFailed as error:
                chosen.unusable[entry.key] = str(error)
        if not kept:
            key = chosen.entries[0].key
            raise UsageError(f"none of {len(chosen)} samples can be used: {chosen.unusable[key]}")
        return super().select(config, chosen.select(kept))

    def words(
        self, config: Config, diffusion: Any, concepts: list[Concept], place: Place, layers: int
    ) -> list[Word]:
        import torch

        from socialcli.methods.invert._celeb_basis import CelebBasisWord, basis

        names = embeddings(diffusion, listed(config.names))
        most = min(len(names) - 1, names.shape[-1])
        if most < 1:
            raise UsageError(
                f"--names {config.names}: only {len(names)} of them are two tokens or more of this "
                "model; give at least two, better some hundred"
            )
        space = basis(names, min(config.components, most))
        learned: list[Word] = []
        for concept in concepts:
            samples = [place.index.read(number) for number in concept.samples]
            faces = [face_of(sample) for sample in samples]
            with torch.random.fork_rng(devices=[]):  # the same in each process
                torch.manual_seed(seeded(config.seed, "celeb basis", concept.token))
                rows = torch.stack([torch.from_numpy(face) for face in faces])
                word = CelebBasisWord(concept.token, space.cpu(), rows, concept.samples)
                learned.append(word)
        return learned

    def notes(self, state: Any, draw: Draw) -> list[Hashable]:
        return list(draw.numbers)

    def after_step(self, state: Any) -> None:
        for word in state.words:
            word.follow()


def listed(names: str) -> list[str]:
    """The names of a file.

    Raises:
        UsageError: none is given, or it cannot be read.
    """
    if not names:
        raise UsageError(
            "--method celeb-basis needs --names FILE: names of people that the model knows, one a "
            "line (a first and a last name, some hundred of them)"
        )
    file = Path(names).expanduser()
    if names == MINIATURE:
        file = Path(__file__).with_name("_invented_names.txt")
    people = sorted(set(textfiles.lines(file, f"--names {names}: no readable list of names")))
    if len(people) < 2:
        raise UsageError(
            f"--names {names}: {len(people)} names; two are the fewest, some hundred good"
        )
    return people


def embeddings(diffusion: Any, names: list[str]) -> Tensor:
    """(N, 2, D) float32 embeddings of the first two tokens of the names that have two or more."""
    import torch

    table = diffusion.text_encoder.get_input_embeddings().weight.detach()
    ids = [diffusion.tokenizer(name, add_special_tokens=False)["input_ids"] for name in names]
    chosen = [row[:2] for row in ids if len(row) >= 2]
    return table[torch.tensor(chosen, device=table.device).reshape(-1, 2)].float()


def face_of(sample: Sample) -> numpy.ndarray:
    """(F,) float32: the face embedding of the one person that a picture shows.

    Raises:
        SampleFailed: there is none, or there are several.
    """
    import numpy

    from socialcli import records

    rows = sample.decoded(records.IDENTITY)
    if len(rows) != 1:
        raise SampleFailed(
            f"it has {len(rows)} face embeddings, and celeb-basis wants one person: cut the "
            "picture, or run annotate-pose with a face embedder"
        )
    return numpy.asarray(rows["embedding"][0], dtype=numpy.float32)
