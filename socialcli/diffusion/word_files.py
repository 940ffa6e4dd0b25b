"""Files of learned words, which say of themselves what they are.

A folder of `socialcli invert` has constant words in ``learned_embeds.safetensors``, as diffusers
reads them (`embeddings`), and all others in ``words.safetensors``: tensors called TOKEN/NAME, and
a header whose ``socialcli.words`` gives each token's kind and settings. What else the header says,
method, options, base model and data, is that of every training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import registry
from socialcli.diffusion import embeddings
from socialcli.errors import ModelMissing, SocialcliError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.diffusion.words import Word

FILE, CONSTANT = "words.safetensors", "learned_embeds.safetensors"
KINDS, INITIAL = "socialcli.words", "initial_words"
_PLAIN = "textual-inversion"


@dataclass
class Learned:
    """One word out of a file.

    Attributes:
        plain: an ordinary word for it, "" where the file does not say.
        method: of `invert` that it was learnt by, "" where the file does not say.
        base: (name, revision) of the diffusion model it was learnt on; "" each where it does not.
        file: that it is from.
    """

    word: Word
    plain: str = ""
    method: str = ""
    base: tuple[str, str] = ("", "")
    file: str = ""

    @property
    def token(self) -> str:
        return self.word.token


def write(
    folder: Path, words: Sequence[Word], initial: Mapping[str, str], metadata: Mapping[str, str],
    encoders: int = 1,
) -> None:  # fmt: skip
    """Write words into a folder, ready for `read`.

    Args:
        initial: token -> the ordinary word that it started as.
        metadata: what the header says besides, as `training.provenance.metadata` gives it.
        encoders: text encoders that the words are for. The layout of constant words has one's
            vectors; words for two, whose vectors lie side by side, all go with the others.
    """
    from socialcli.networks import weights

    plain = [word for word in words if word.kind == _PLAIN and encoders == 1]
    for name, some in (
        (CONSTANT, plain),
        (FILE, [word for word in words if word not in plain]),
    ):
        if not some:
            continue
        header = dict(metadata)
        if name == FILE or metadata.get("socialcli.method", _PLAIN) != _PLAIN:
            kinds = {w.token: {"kind": w.kind, "settings": w.settings()} for w in some}
            header[KINDS] = _json(kinds)
        header[INITIAL] = _json({w.token: initial.get(w.token, "") for w in some})
        tensors: dict[str, Tensor] = {}
        for word in some:
            for part, tensor in word.state_dict().items():
                kept = tensor.detach().float().cpu().contiguous().clone()
                tensors[word.token if name == CONSTANT else f"{word.token}/{part}"] = kept
        weights.write(folder / name, tensors, header)


def read(given: str) -> list[Learned]:
    """The words of ``FILE``, ``FOLDER`` or ``FILE:TOKEN``, which gives the word another name.

    Raises:
        ModelMissing: no such file. UsageError: it holds no words that can be read, or several where
            one token is to name them; one line.
    """
    name, token = embeddings.split(given)
    place = Path(name).expanduser()
    if place.is_dir():
        files = [place / file for file in (FILE, CONSTANT) if (place / file).is_file()]
        if not files:
            return _constant(given)
    elif place.is_file():
        files = [place]
    else:
        raise ModelMissing(f"no embedding at '{name}'. `socialcli invert` makes one")
    learned = [one for file in files for one in _of_file(file)]
    if token is None:
        return learned
    named = [one for one in learned if one.token == token] or learned
    if len(named) > 1:
        raise UsageError(
            f"{given}: it holds {', '.join(o.token for o in learned)}; there is no {token}"
        )
    named[0].word.token = token
    return named


def _of_file(file: Path) -> list[Learned]:
    """Whichever layout it has."""
    from socialcli.networks import weights

    notes = weights.notes(file)
    if KINDS not in notes:
        return _foreign(file) or _constant(str(file), notes)
    tensors, _ = weights.load(file)
    try:
        kinds = weights.stated(notes, KINDS)
        items = [(str(t), str(d["kind"]), dict(d["settings"])) for t, d in kinds.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file}: cannot be read as learned words ({_line(error)})") from None
    return [_learned(file, notes, *item, tensors) for item in items]


def _foreign(file: Path) -> list[Learned]:
    """Words of the public code of NeTI, ProSpect and P+; none where the file is of another kind."""
    from socialcli.diffusion.words import _public

    words = _public.read(file) if file.suffix in embeddings.SUFFIXES else None
    method = {"staged": "prospect"}
    return [
        Learned(word, plain, method.get(word.kind, word.kind), file=str(file))
        for word, plain in words or ()
    ]


def _learned(
    file: Path,
    notes: dict[str, str],
    token: str,
    kind: str,
    settings: dict[str, Any],
    tensors: dict[str, Tensor],
) -> Learned:
    import torch

    own = {n.removeprefix(f"{token}/"): t for n, t in tensors.items() if n.startswith(f"{token}/")}
    if token in tensors:
        own = {"new": tensors[token]}
    own = {name: tensor.float() for name, tensor in own.items()}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in own.values()):
        raise UsageError(f"{file}: '{token}' has values that are not finite")
    try:
        word = registry.load("words", kind).build(token, settings, own)
    except SocialcliError as error:
        raise UsageError(f"{file}: '{token}': {error}") from None
    except (
        ValueError, KeyError, RuntimeError, TypeError, IndexError, AttributeError, ArithmeticError
    ) as error:  # fmt: skip
        raise UsageError(f"{file}: '{token}' is no word of {kind} ({_line(error)})") from None
    return Learned(
        word, _initial(notes).get(token, ""), notes.get("socialcli.method", ""), _base(notes),
        str(file),
    )  # fmt: skip


def _constant(given: str, notes: dict[str, str] | None = None) -> list[Learned]:
    """Vectors as other trainers and `invert --method textual-inversion` write them."""
    from socialcli.diffusion.words.textual_inversion import TextualInversionWord

    learned = embeddings.read(given)
    for one in learned:
        if one.method not in ("", _PLAIN):
            raise UsageError(
                f"{given}: learnt by --method {one.method}, and it does not say what its vectors "
                f"mean; only those of --method {_PLAIN} say so by themselves"
            )
    base = _base(notes or {})
    return [
        Learned(TextualInversionWord(one.token, one.vectors), one.plain, one.method, base, given)
        for one in learned
    ]


def _initial(notes: dict[str, str]) -> dict[str, str]:
    from socialcli.networks import weights

    words = weights.stated(notes, INITIAL)
    return {str(k): str(v) for k, v in words.items()} if isinstance(words, dict) else {}


def _base(notes: dict[str, str]) -> tuple[str, str]:
    """(name, revision) of the first diffusion model that the header names."""
    from socialcli.networks import weights

    models = weights.stated(notes, "socialcli.models")
    listed = models if isinstance(models, list) else []
    named = [m for m in listed if isinstance(m, dict) and m.get("role") == "diffusion"]
    return (
        (str(named[0].get("model") or ""), str(named[0].get("revision") or ""))
        if named
        else ("", "")
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
