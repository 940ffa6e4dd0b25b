"""The prompts that a data set gives with the pictures of its subjects, to test methods with.

Concept101 and PDST write ``{}`` where the subject stands, DreamBooth ``{0} {1}`` where a method may
write its token and the class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.diffusion import tokens
from socialcli.errors import SampleFailed

if TYPE_CHECKING:
    from socialcli.shards import Sample

SUBJECT = ("subject", "concept")  # what importers call it in meta.json's extra


def filled(prompt: str, word: str) -> str:
    """A prompt with a word where its subject stands."""
    for place in ("{0} {1}", "{}", "{0}"):
        prompt = prompt.replace(place, word)
    return prompt


def of_class(sample: Sample) -> list[str]:
    """The prompts of a sample with its subject's class; none where it has no prompts or class."""
    prompts, extra = _prompts(sample)
    name = extra.get("class")
    return [filled(p, name) for p in prompts] if isinstance(name, str) else []


def of_word(
    sample: Sample, pattern: str, called: Callable[[], Mapping[str, str]] = dict
) -> tuple[list[str | None], list[str] | None]:
    """The prompts of a sample with a word for its subject, and the same in plain words.

    Args:
        pattern: the word; ``{name}`` is the subject's, ``{class}`` what it is, ``{identifier}``
            what a fine-tuned model calls it.
        called: gives name -> identifier, and is asked only where the pattern does.

    Returns:
        The prompts, None in place of one that names its subject in other words; the same with the
        subject's class, None where it has none.

    Raises:
        SampleFailed: the sample has no prompts, or no name, class or identifier that the pattern
            asks for.
    """
    prompts, extra = _prompts(sample)
    if not prompts:
        raise SampleFailed(
            "--subject-word: meta.json has no prompts (import dreambooth, concept101, pdst and "
            "world subjects-test write them)"
        )
    name = next((extra[field] for field in SUBJECT if isinstance(extra.get(field), str)), None)
    if name is None and ("{name}" in pattern or "{identifier}" in pattern):
        raise SampleFailed(f"--subject-word '{pattern}': meta.json names no subject")
    known: dict[str, str] = {"class": extra["class"]} if isinstance(extra.get("class"), str) else {}
    if "{class}" in pattern and not known:
        raise SampleFailed(f"--subject-word '{pattern}': meta.json does not say what it is")
    if "{identifier}" in pattern:
        identifiers = called()
        if name is None or name not in identifiers:
            raise SampleFailed(
                f"--subject-word '{pattern}': no file of --lora, --custom-diffusion or --model "
                f"names the subject '{name}'"
            )
        known["identifier"] = identifiers[name]
    word = tokens.named(pattern, name or "", **known)
    texts = [filled(p, word) for p in prompts]
    return [text if word in text else None for text in texts], of_class(sample) or None


def _prompts(sample: Sample) -> tuple[list[str], dict[str, Any]]:
    """Prompts, and all of meta.json's extra."""
    extra = sample.record(records.Meta).extra if sample.has("meta.json") else {}
    prompts = extra.get("prompts")
    texts = [p for p in prompts if isinstance(p, str)] if isinstance(prompts, list) else []
    return texts, extra
