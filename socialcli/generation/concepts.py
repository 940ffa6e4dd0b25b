"""Custom Diffusion's concepts in the model of a run: one as it is, several merged.

The closed form of Kumari et al. (arXiv 2212.04488), section 3.2: each concept's words get the keys
and values that its own weights give them, and ordinary texts keep theirs as far as possible.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import textfiles
from socialcli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.networks.custom_diffusion import Customized

CAPTIONS = 200  # ordinary texts, as many as the authors take
_WHO = (
    "a man", "a woman", "two children", "an old dog", "a cat", "a red car", "some people", "a bird",
    "a small house", "a tree", "a girl with a hat", "a plate of food", "a horse", "a boat",
    "a bicycle", "a group of friends", "a cup of coffee", "a painting", "a train", "a clock",
)  # fmt: skip
_WHERE = (
    "on the beach", "in a park at night", "beside a wooden table", "under a blue sky",
    "in front of a window", "on a busy street", "in the snow", "near a river", "in a kitchen",
    "on top of a mountain",
)  # fmt: skip


@dataclass
class Concept:
    """A word that a file teaches.

    Attributes:
        token: as prompts write it. word: its class, "" where nobody says.
        vector: (D,) its embedding.
    """

    token: str
    word: str
    vector: Tensor


def split(given: str) -> tuple[str, str, str]:
    """``FILE``, ``FILE:TOKEN`` or ``FILE:TOKEN=CLASS`` in three; what is not said is ""."""
    if Path(given).expanduser().exists():
        return given, "", ""
    file, colon, rest = given.rpartition(":")
    if not colon or not file or not rest:
        return given, "", ""
    token, _, word = rest.partition("=")
    return file, token.strip(), word.strip()


def check(config: Any) -> None:
    """Refuse a file of captions that cannot be read, before any model is loaded (UsageError)."""
    if config.merge_captions:
        captions(config.merge_captions)


def attach(config: Any, diffusion: Any) -> list[str]:
    """Give a model the concepts of ``--custom-diffusion``.

    Returns:
        The tokens.

    Raises:
        ModelMissing: a file that is not there. UsageError: one for another model, one token twice,
            or several files of which one does not say what its token is.
    """
    from socialcli.networks import custom_diffusion

    unet = diffusion.unet
    files: list[tuple[Customized, list[Concept]]] = []
    taken: dict[str, str] = {}
    for given in config.custom_diffusion:
        place, token, word = split(given)
        customized = custom_diffusion.read(place, unet)
        concepts = _concepts(given, customized, token, word)
        for concept in concepts:
            other = taken.setdefault(concept.token, given)
            if other != given or len([c for c in concepts if c.token == concept.token]) > 1:
                raise UsageError(
                    f"{given}: the token {concept.token} is in {other} too; rename one with "
                    f"{place}:TOKEN"
                )
        files.append((customized, concepts))
    _teach(diffusion, [c for _, concepts in files for c in concepts])
    if len(files) == 1:
        custom_diffusion.apply(unet, files[0][0].weights)
    elif files:
        custom_diffusion.apply(unet, merged(diffusion, files, captions(config.merge_captions)))
    return list(taken)


def captions(file: str) -> list[str]:
    """The texts of ``--merge-captions``.

    Raises:
        UsageError: it cannot be read, or is empty.
    """
    if not file:
        return [" ".join(pair) for pair in itertools.product(_WHO, _WHERE)][:CAPTIONS]
    lines = textfiles.lines(file, f"--merge-captions {file}")
    if not lines:
        raise UsageError(f"--merge-captions {file}: no text in it")
    return lines


def merged(
    diffusion: Any, files: list[tuple[Customized, list[Concept]]], texts: list[str]
) -> dict[str, Tensor]:
    """Parameter -> its value in a model that knows all the files' concepts.

    Raises:
        UsageError: a token without a class, or weights of other layers than keys and values.
    """
    import torch

    from socialcli.networks import custom_diffusion

    unet = diffusion.unet
    named = set(files[0][0].weights)
    for customized, concepts in files:
        if set(customized.weights) != named or not all(
            n.endswith((".to_k.weight", ".to_v.weight")) for n in named
        ):
            raise UsageError(
                f"{concepts[0].token}: only keys and values of the same layers can be merged"
            )
        unnamed = next((c.token for c in concepts if not c.word), None)
        if unnamed:
            raise UsageError(
                f"{unnamed}: merging asks what it is: give --custom-diffusion FILE:{unnamed}=CLASS"
            )
    inputs = torch.cat([_states(diffusion, text) for text in texts])
    asked = [
        torch.cat([_states(diffusion, text) for c in concepts for text in _texts(c)])
        for _, concepts in files
    ]
    targets = torch.cat(asked)
    first = [n for n in range(len(targets)) if not (targets[:n] == targets[n]).all(1).any()]
    values = {}
    for name in sorted(named):
        own = torch.cat([s @ f.weights[name].to(s).T for (f, _), s in zip(files, asked,
                                                                         strict=True)])  # fmt: skip
        weight = unet.get_parameter(name).detach().to(inputs)
        values[name] = custom_diffusion.merge(weight, inputs, targets[first], own[first]).float()
    return values


def _texts(concept: Concept) -> list[str]:
    phrase = f"{concept.token} {concept.word}"
    return [phrase, f"photo of a {phrase}"]


def _states(diffusion: Any, text: str) -> Tensor:
    """(N, D) float64: the text's states behind its first mark, and behind "photo of a"."""
    import torch

    tokenizer = diffusion.tokenizer
    ids = tokenizer(text, truncation=True).input_ids
    start = 1
    if text.startswith("photo of a "):
        start += len(tokenizer("photo of a", add_special_tokens=False).input_ids)
    with torch.no_grad():
        states = diffusion.prompts([text])[0]
    return states[start : len(ids)].double()


def _concepts(given: str, customized: Customized, token: str, word: str) -> list[Concept]:
    from socialcli.networks import custom_diffusion

    known = custom_diffusion.classes(customized.notes)
    if token and len(customized.tokens) > 1 and token not in customized.tokens:
        raise UsageError(f"{given}: it holds {', '.join(customized.tokens)}; there is no {token}")
    concepts = []
    for name, vector in customized.tokens.items():
        renamed = token if token and len(customized.tokens) == 1 else name
        category = word if word and renamed == token else known.get(name, "")
        concepts.append(Concept(renamed, category, vector))
    return concepts


def _teach(diffusion: Any, concepts: list[Concept]) -> None:
    """Put the words into the tokenizer, and their vectors behind the table of embeddings."""
    import torch
    from torch import nn

    from socialcli.diffusion.pseudo_words import another_name, check_case

    if not concepts:
        return
    tokenizer, encoder = diffusion.tokenizer, diffusion.text_encoder
    old = encoder.get_input_embeddings()
    check_case(tokenizer, [c.token for c in concepts])
    for concept in concepts:
        if len(concept.vector) != old.weight.shape[1]:
            raise UsageError(
                f"{concept.token}: a vector {len(concept.vector)} wide, this model's text encoder "
                f"has {old.weight.shape[1]}"
            )
        if re.search(r"\s", concept.token) or len(tokenizer.tokenize(concept.token)) == 1:
            raise UsageError(
                f"'{concept.token}' is a word of this model already; give another name, as "
                f"{another_name(concept.token)}"
            )
    tokenizer.add_tokens([c.token for c in concepts])
    ids = tokenizer.convert_tokens_to_ids([c.token for c in concepts])
    table = old.weight.new_zeros(max(*ids, len(old.weight) - 1) + 1, old.weight.shape[1])
    table[: len(old.weight)] = old.weight.detach()
    table[ids] = torch.stack([c.vector for c in concepts]).to(table)
    encoder.set_input_embeddings(nn.Embedding.from_pretrained(table))
