"""`generate --attention-maps`: which place of a picture attended to which word, over all steps and
in each stage of them.

Every picture gets two members: ``attention.npy``, (1 + stages, words, h, w) float16, and
``attention.json``, which says what these are. Layer 0 is the mean over all steps, the others are
the means over one stage each, in the order in which a picture is drawn (the noisiest first); NaN
where a stage has no step. A value is the share of the attention at that place that goes to the
word, in [0, 1]: the mean over all heads and layers, the maps of which are brought to the latents'
size. A word of several tokens has the sum of theirs. The contact sheet is drawn from these members.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.diffusion import stages
from socialcli.generation import drawing

if TYPE_CHECKING:
    from torch import Tensor

ARRAY, RECORD = "attention.npy", "attention.json"
STAGES = 5  # as many as an identity word has pairs


@dataclass(frozen=True)
class Word:
    """A word of a prompt as written, and the numbers of its tokens in the text states."""

    text: str
    tokens: tuple[int, ...]


def words_of(
    diffusion: Any, prompt: str, spelled: Callable[[str], str] = str, long: str = "cut"
) -> list[Word]:
    """The words of a prompt that the text encoder reads, in order; punctuation is left out.

    Args:
        diffusion: a `roles.Diffusion`; its tokenizer says where tokens lie in a text.
        spelled: a word as the tokenizer is given it: with every token of a learned word.
        long: what becomes of a prompt longer than the encoder reads, see `options.LONG`.
    """
    shown = re.findall(r"\S+", prompt)
    given = [spelled(word) for word in shown]
    starts, length = [], 0
    for word in given:
        starts.append(length)
        length += len(word) + 1
    encoded = diffusion.tokenizer(
        " ".join(given), add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    window, tokens = diffusion.window, [list[int]() for _ in given]
    for number, (start, end) in enumerate(encoded["offset_mapping"]):
        if long == "cut" and number >= window:
            break
        at = max(n for n, first in enumerate(starts) if first <= start)
        if re.search(r"\w", given[at][start - starts[at] : end - starts[at]]):
            # Each window of the encoder has a mark at both ends.
            tokens[at].append(number // window * (window + 2) + 1 + number % window)
    return [
        Word(word.strip(",.;:!?\"'()"), tuple(places))
        for word, places in zip(shown, tokens, strict=True)
        if places
    ]


class Watch:
    """Adds up the attention of a batch while it is drawn; a context manager.

    Args:
        unet: of the diffusion model. words: of each of the N pictures.
        shape: (h, w) of the latents, and so of the maps.
        timesteps: how many the model was trained with; stages are equal parts of them.
        guided: whether unconditional rows stand before the N of the pictures.
    """

    def __init__(
        self,
        unet: Any,
        words: list[list[Word]],
        shape: tuple[int, int],
        timesteps: int,
        guided: bool,
    ) -> None:
        import torch

        from socialcli.diffusion.attention_maps import AttentionMaps

        self.words, self.shape, self.timesteps = words, shape, timesteps
        longest = max((sum(len(w.tokens) for w in row) for row in words), default=0)
        columns = torch.full((len(words), max(longest, 1)), -1)
        for row, words_of_row in enumerate(words):
            flat = [token for word in words_of_row for token in word.tokens]
            columns[row, : len(flat)] = torch.tensor(flat, dtype=torch.long)
        self.sums = torch.zeros(STAGES, *columns.shape, *shape)
        self.counts = torch.zeros(STAGES)
        self._maps = AttentionMaps(
            unet, tokens=columns, mean_heads=True,
            rows=slice(-len(words), None) if guided else None, after=self._add,
        )  # fmt: skip

    def __enter__(self) -> Watch:
        self._maps.attach()
        return self

    def __exit__(self, *_: object) -> None:
        self._maps.close()

    def _add(self, maps: Any, timestep: Any) -> None:
        from socialcli.diffusion.attention_maps import average

        at = stages.stage(float(timestep.flatten()[0]), STAGES, timesteps=self.timesteps)
        self.sums[at] += average(maps, self.shape)[:, 0].float().cpu()
        self.counts[at] += 1

    def means(self, number: int) -> Tensor:
        """(1 + stages, words, h, w) of one picture; NaN where a stage has no step."""
        import torch

        sums = [self.sums.sum(0, keepdim=True), self.sums]
        counts = torch.cat([self.counts.sum()[None], self.counts])
        each = torch.cat(sums)[:, number] / counts[:, None, None, None]
        parts, first = [], 0
        for word in self.words[number]:
            parts.append(each[:, first : first + len(word.tokens)].sum(1))
            first += len(word.tokens)
        return torch.stack(parts, 1) if parts else each[:, :0]

    def members(self, number: int) -> dict[str, bytes]:
        """`ARRAY` and `RECORD` of one picture."""
        import numpy

        array = self.means(number).numpy().astype(numpy.float16)
        edges = [self.timesteps * n // STAGES for n in range(STAGES, -1, -1)]
        record = {
            "schema": 1,
            "words": [word.text for word in self.words[number]],
            "tokens": [list(word.tokens) for word in self.words[number]],
            "stages": [[high - 1, low] for high, low in pairwise(edges)],
        }
        body = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace")
        return {ARRAY: records.dump_npy(array), RECORD: body}


def watch(config: Any, studio: Any, prompts: list[str]) -> Watch:
    """The watch for a batch of prompts, as a method's studio draws them."""
    diffusion = studio.diffusion
    width, height = drawing.size(config, studio)
    spelled = str if studio.lexicon is None else studio.lexicon.expand
    words = [words_of(diffusion, prompt, spelled, config.long_prompts) for prompt in prompts]
    return Watch(
        diffusion.unet, words, diffusion.latent_shape(height, width)[1:],
        int(diffusion.scheduler.config.num_train_timesteps), config.guidance != 1,
    )  # fmt: skip
