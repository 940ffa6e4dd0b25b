"""Which class of a detector's fixed list a word or a phrase means."""

from __future__ import annotations

from collections.abc import Sequence

from socialcli.vision.people import kind_of

# What people write for classes of COCO, by the class.
OTHER_WORDS = {
    "bike": "bicycle", "motorbike": "motorcycle", "plane": "airplane", "aeroplane": "airplane",
    "sofa": "couch", "television": "tv", "phone": "cell phone", "cellphone": "cell phone",
    "mobile phone": "cell phone", "smartphone": "cell phone", "fridge": "refrigerator",
    "doughnut": "donut", "plant": "potted plant", "table": "dining table",
    "hairdryer": "hair drier", "hair dryer": "hair drier", "purse": "handbag", "puppy": "dog",
    "kitten": "cat", "ball": "sports ball", "racket": "tennis racket",
    "glove": "baseball glove", "bat": "baseball bat",
}  # fmt: skip


def class_of(phrase: str, classes: Sequence[str]) -> int | None:
    """The class that a phrase means: the longest end of it that is one ("a red sports ball" is a
    sports ball), in the singular too, or by another word for it; else the class ``person`` for any
    word for one. None for another thing.

    Args:
        phrase: a label or a noun phrase. classes: names as the detector has them.
    """
    names = {_plain(name): number for number, name in reversed(list(enumerate(classes)))}
    words = _plain(phrase).split()
    for start in range(len(words)):
        end = " ".join(words[start:])
        for word in (end, *_singular(end)):
            number = names.get(word, names.get(OTHER_WORDS.get(word, "")))
            if number is not None:
                return number
    return names.get("person") if kind_of(" ".join(words)) == "person" else None


def _plain(phrase: str) -> str:
    return " ".join(phrase.lower().replace("_", " ").split())


def _singular(word: str) -> tuple[str, ...]:
    """What a word may be the plural of: "horses", "benches", "knives"."""
    if not word.endswith("s") or word.endswith("ss"):
        return ()
    if word.endswith("ves"):
        return (word[:-1], word[:-3] + "fe", word[:-3] + "f")
    if word.endswith("es"):
        return (word[:-1], word[:-2])
    return (word[:-1],)
