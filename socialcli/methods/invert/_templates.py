"""The texts in which a pseudo-word is learnt."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from socialcli import textfiles
from socialcli.errors import UsageError

if TYPE_CHECKING:
    from socialcli.shards import Sample

# Plain statements that there is a picture of the thing, varied in what a caption may vary in:
# medium, quality, framing, number. The count, 27, is that of the textual inversion paper.
OBJECT = (
    "a photo of a {}", "a picture of a {}", "the photo of a {}", "a good photo of a {}",
    "a bad photo of a {}", "a bright photo of a {}", "a dark photo of a {}",
    "a clean photo of a {}", "a dirty photo of a {}", "a cropped photo of a {}",
    "a close-up photo of a {}", "a photo of one {}", "a photo of the {}", "a photo of my {}",
    "a photo of a small {}", "a photo of a large {}", "a photo of a nice {}",
    "a photo of a clean {}", "a photo of a weird {}", "a drawing of a {}", "a painting of a {}",
    "an image of a {}", "an image of the {}", "a low resolution photo of a {}",
    "a blurry photo of a {}", "a {} in a photo", "a view of a {}",
)  # fmt: skip
STYLE = (
    "a painting in the style of {}", "a picture in the style of {}", "a drawing in {} style",
    "a photo in the style of {}", "a bright painting in the style of {}",
    "a dark painting in the style of {}", "a small painting in the style of {}",
    "a large painting in the style of {}", "a detailed painting in the style of {}",
    "a rough sketch in the style of {}", "a landscape in the style of {}",
    "a portrait in the style of {}", "a still life in the style of {}",
    "the painting, made in the style of {}", "an illustration in the style of {}",
)  # fmt: skip


NAMED = ("object", "style", "face", "captions")  # that need no file
# What Identity Embedding (arXiv 2402.00631) learns a person in, and measures ID (F) with.
FACE = ("a photo of the face of {}",)


def read(name: str) -> list[str]:
    """The templates of a name, or of a file with one a line.

    "captions" has the object templates, for samples without a caption that fits.

    Raises:
        UsageError: no such file, or a line without ``{}``.
    """
    if name in ("object", "captions"):
        return list(OBJECT)
    if name in ("style", "face"):
        return list(STYLE if name == "style" else FACE)
    named = f"--templates {name}: not object, style, face or captions, and no readable file"
    templates = textfiles.lines(name, named)
    for line in templates:
        if "{}" not in line:
            raise UsageError(f"--templates {name}: '{line}' has no {{}} where the word goes")
    if not templates:
        raise UsageError(f"--templates {name}: the file is empty")
    return templates


def of_sample(sample: Sample, initial: str) -> str:
    """A sample's caption as a template: ``{}`` for its first mention of a word; "" without one, or
    where that is all that the caption says.

    Where the sample has entities, the whole noun phrase is replaced, so that the pseudo-word
    learns what its adjectives say: "a brown dog in a park" -> "a {} in a park".
    """
    from socialcli import records

    if not sample.has("caption.json"):
        return ""
    caption = sample.record(records.Caption).text
    if "{}" in caption:
        return caption
    if sample.has("entities.json"):
        for entity in sample.record(records.Entities).entities:
            if initial.lower() in (entity.head.lower(), entity.lemma.lower()):
                article = re.match(r"(an?|the)\s+", caption[entity.start : entity.end], re.I)
                start = entity.start + (article.end() if article else 0)
                return _template(caption[:start], caption[entity.end :])
    mention = re.search(rf"(?<!\w){re.escape(initial)}(?!\w)", caption, re.IGNORECASE)
    return _template(caption[: mention.start()], caption[mention.end() :]) if mention else ""


def _template(before: str, behind: str) -> str:
    """``{}`` between two parts of a caption; "" where they have no word besides an article.

    A pseudo-word is no vowel: "an" before it becomes "a".
    """
    others = re.sub(r"\b(an?|the)\s*$", "", before, flags=re.IGNORECASE) + behind
    if not re.search(r"\w", others):
        return ""
    return re.sub(r"\b(a)n(\s+)$", r"\1\2", before, flags=re.IGNORECASE) + "{}" + behind
