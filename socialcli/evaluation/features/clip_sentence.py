"""The sentence "A photo of O1 and O2" of a picture's two subjects, in CLIP: ``vector`` (D,).

Empty for a picture whose subjects nothing names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.errors import SampleFailed
from socialcli.evaluation.features import Feature, Look, Subject, Value, _vectors, clip
from socialcli.evaluation.features.pose_judged import subjects_of

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec


class ClipSentence(Feature):
    """See `Feature`."""

    config_type = clip.Options

    def models(self, config: Any) -> tuple[ModelSpec, ...]:
        return clip.models(config)

    def target(self, config: Any, subject: Subject) -> str:
        """The sentence."""
        return sentence(subjects_of(subject))

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        named = [look for look in looks if look.extra]
        vectors = iter(_vectors.of_texts(models[0], [Look(text=look.extra) for look in named]))
        missing = "nothing names its subjects"
        return [next(vectors) if look.extra else SampleFailed(missing) for look in looks]


def sentence(names: list[str]) -> str:
    """Inverted Interaction, section 5.2: "A photo of a dog and a cat"; "" of no names."""
    phrases = [f"{'an' if name[:1] in tuple('aeiou') else 'a'} {name}" for name in names]
    return f"A photo of {' and '.join(phrases)}" if phrases else ""
