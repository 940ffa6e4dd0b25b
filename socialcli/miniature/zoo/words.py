"""The miniatures' vocabularies: every word of the world, and letters for all others.

WordPiece for those that read with BERT, byte pairs for CLIP and for those that write. The ids of
``[PAD] [UNK] [CLS] [SEP] [MASK] . ?`` are BERT's, which GroundingDINO assumes.
"""

from __future__ import annotations

import re
import string
from functools import cache
from itertools import pairwise
from pathlib import Path

from socialcli.miniature.world.identity import COATS, HAIRS
from socialcli.miniature.world.vocabulary import ANIMALS, COLOURS, PLACES, THINGS, VERBS

FIXED = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
FIRST = 1030
END = "</w>"  # how CLIP marks a word's last piece
SPACE = "Ġ"  # how byte-level vocabularies write the space before a word
_MORE = (
    "a an another the his her with in on at of to is being by who there and while standing nearby "
    "wearing shirt dress glasses beard hat hair arms man woman boy girl person people animal "
    "object thing child adult two three four men women boys girls picture photo"
)


@cache
def words() -> tuple[str, ...]:
    """All words of the world's captions, in a fixed order."""
    vocabulary_words = (
        set(_MORE.split()) | set(ANIMALS) | set(THINGS) | set(COLOURS) | set(COATS) | set(HAIRS)
    )
    for verb in VERBS.values():
        for form in (verb.lemma, verb.third, verb.ing, verb.past):
            vocabulary_words |= set(re.findall(r"[a-z]+", form))
    for phrase in PLACES.values():
        vocabulary_words |= set(phrase.split())
    return tuple(sorted(vocabulary_words))


def vocabulary() -> dict[str, int]:
    """Token -> id, as BERT lays them out; unused ids stay unused."""
    singles = [*string.ascii_lowercase, *string.digits, ",", "-", "'"]
    learned = [w for w in words() if len(w) > 1]
    pieces = ["##" + c for c in (*string.ascii_lowercase, *string.digits)]
    tokens = [FIXED.get(i, f"[unused{i}]") for i in range(FIRST)]
    return {token: i for i, token in enumerate([*tokens, *singles, *pieces, *learned])}


def tokenizer(folder: Path | None = None):
    """A `BertTokenizer` of the vocabulary, saved to ``folder`` where one is given."""
    from transformers import BertTokenizer

    bert = BertTokenizer(vocab=vocabulary(), do_lower_case=True)
    if folder is not None:
        bert.save_pretrained(folder)
    return bert


def _merges(split: list[list[str]]) -> tuple[tuple[str, str], ...]:
    """Byte-pair merges, best first, that make one piece of each of these lists of pieces.

    The commonest neighbours among all of them are joined, until none is left.
    """
    merges: list[tuple[str, str]] = []
    while True:
        counts: dict[tuple[str, str], int] = {}
        for parts in split:
            for pair in pairwise(parts):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            return tuple(merges)
        best = min(counts, key=lambda p: (-counts[p], p))
        merges.append(best)
        for parts in split:
            at = 0
            while at < len(parts) - 1:
                if (parts[at], parts[at + 1]) == best:
                    parts[at : at + 2] = [parts[at] + parts[at + 1]]
                at += 1


@cache
def clip_merges() -> tuple[tuple[str, str], ...]:
    """CLIP's merges: words end in ``</w>``."""
    return _merges([[*w[:-1], w[-1] + END] for w in words()])


def clip_vocabulary() -> dict[str, int]:
    """Token -> id in CLIP's order: bytes, bytes that end a word, merges, start and end of text."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(c + END for c in letters), *(a + b for a, b in clip_merges())]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}


def clip_tokenizer(folder: Path | None = None, length: int = 77):
    """A `CLIPTokenizer` in which each word of the world is one token, letters spell the others.

    Args:
        folder: where to save it (``vocab.json`` and ``merges.txt`` too), where one is given.
        length: tokens of a padded text, start and end included; the real one's is 77. The
            world's captions have 41 at most, one in ten thousand more than 38.
    """
    from transformers import CLIPTokenizer

    clip = CLIPTokenizer(
        vocab=clip_vocabulary(),
        merges=list(clip_merges()),  # type: ignore[arg-type]
        model_max_length=length,
    )
    if folder is not None:
        clip.save_pretrained(folder)
        clip.backend_tokenizer.model.save(str(folder))
    return clip


def writing_tokenizer(folder: Path | None = None):
    """A byte-level tokenizer as OPT has it, words beginning with their space, one token each.

    ``</s>`` begins and ends a text, ``<image>`` stands where BLIP-2 puts what it sees.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import PreTrainedTokenizerFast

    after_hyphen = ("five", "fives", "fiving")
    merges = _merges([[SPACE, *w] for w in words()] + [list(w) for w in after_hyphen])
    named = ["<s>", "<pad>", "</s>", "<unk>"]
    tokens = [*named, *sorted(ByteLevel.alphabet()), *(a + b for a, b in merges), "<image>"]
    table = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    raw = Tokenizer(models.BPE(vocab=table, merges=list(merges)))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(
        single="</s> $A", special_tokens=[("</s>", table["</s>"])]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="</s>", eos_token="</s>", pad_token="<pad>"
    )
    fast.add_special_tokens({"additional_special_tokens": ["<image>"]})
    if folder is not None:
        fast.save_pretrained(folder)
    return fast
