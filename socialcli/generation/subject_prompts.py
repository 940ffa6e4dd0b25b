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
PLACE = "meta.json's prompts"
Text = str | SampleFailed  # a prompt, or why none can be made of what stands at its number


def filled(prompt: str, word: str) -> str:
    """A prompt with a word where its subject stands."""
    for place in ("{0} {1}", "{}", "{0}"):
        prompt = prompt.replace(place, word)
    return prompt


def of_class(sample: Sample) -> list[Text]:
    """The prompts of a sample with its subject's class; none where it has no prompts or class."""
    prompts, extra = _prompts(sample)
    name = extra.get("class")
    if not isinstance(name, str):
        return []
    return [filled(p, name) if isinstance(p, str) else p for p in prompts]


def of_word(
    sample: Sample, pattern: str, called: Callable[[], Mapping[str, str]] = dict
) -> tuple[list[Text], list[Text] | None]:
    """The prompts of a sample with a word for its subject, and the same in plain words.

    Args:
        pattern: the word; ``{name}`` is the subject's, ``{class}`` what it is, ``{identifier}``
            what a fine-tuned model calls it.
        called: gives name -> identifier, and is asked only where the pattern does.

    Returns:
        The prompts, a failure in place of one that is no text or names its subject in other words;
        the same with the subject's class, None where it has none.

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
    texts: list[Text] = []
    for number, prompt in enumerate(prompts):
        text = filled(prompt, word) if isinstance(prompt, str) else prompt
        if isinstance(text, str) and word not in text:
            text = SampleFailed(
                f"caption {number} of {PLACE} has no {{}} where --subject-word could stand; write "
                "it into the data set's prompts, or draw others with --caption"
            )
        texts.append(text)
    return texts, of_class(sample) or None


def _prompts(sample: Sample) -> tuple[list[Text], dict[str, Any]]:
    """Prompts, each at its number, and all of meta.json's extra."""
    extra = sample.record(records.Meta).extra if sample.has("meta.json") else {}
    prompts = extra.get("prompts")
    texts: list[Text] = [
        p if isinstance(p, str) else SampleFailed(
            f"caption {n} of {PLACE} is no text: mend it there, or draw others with --caption"
        )
        for n, p in enumerate(prompts if isinstance(prompts, list) else [])
    ]  # fmt: skip
    return texts, extra
