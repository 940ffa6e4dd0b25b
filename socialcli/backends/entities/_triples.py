"""<subject, verb, object> triples from a dependency parse (spaCy's English, ClearNLP labels)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.backends.entities import _lexicon as lexicon
from socialcli.backends.entities import _lists, _phrases, _verbs
from socialcli.records import Triple

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

    from socialcli.backends.entities._mending import Mended
    from socialcli.backends.entities._phrases import Nouns

# These say what is not so, or compare.
_NO_RELATION = lexicon.words("without except despite like unlike as than during") | {
    "instead of", "rather than", "apart from", "such as",
}  # fmt: skip
_PLACE_ADVERBS = lexicon.words("next close away ahead adjacent opposite far forward")
_PERCEPTION = lexicon.words("help watch see film photograph")  # "helps a child put on a coat"
# Prepositions that say where a deed goes, whatever noun the parser hangs them on.
_OF_THE_DEED = lexicon.words("at through towards toward across")
_POSTURES = lexicon.words("sit stand lie lay sleep rest wait kneel")
_CLAUSES = lexicon.words("xcomp advcl conj ccomp pcomp")
_RELATIVE = frozenset(["who", "that", "which", "whom"])


def find(doc: Doc, nouns: Nouns, mended: Mended, text: str) -> list[Triple]:
    """Triples in the order of their verbs; each (subject, verb, object) once."""
    reader = _Reader(nouns, mended, text, _lists.find(doc))
    unique: dict[tuple[int, str, int | None], Triple] = {}
    for token in doc:
        if token.pos_ == "VERB" and token.lemma_ != "be":
            triples = reader.of_verb(token)
        elif token.lower_ == "with" and token.dep_ == "prep":
            triples = reader.of_with(token)
        else:
            continue
        for triple in triples:
            if triple.subject != triple.object:
                unique.setdefault((triple.subject, triple.verb, triple.object), triple)
    return list(unique.values())


class _Reader:
    """Reads the verbs of one caption; holds only what is known about its nouns."""

    def __init__(self, nouns: Nouns, mended: Mended, text: str, lists: _lists.Lists) -> None:
        self.nouns = nouns
        self.mended = mended
        self.text = text
        self.lists = lists
        self.entity = {entity.id: entity for entity in nouns.entities}

    def of_verb(self, verb: Token) -> list[Triple]:
        """Every triple one verb gives; none when it is negated or nobody is known to do it."""
        if any(child.dep_ == "neg" for child in verb.children):
            return []
        passive = _verbs.is_passive(verb)
        patients = self.subjects(verb) if passive else []
        doers = self.agents(verb) if passive else self.subjects(verb)
        name, group = _verbs.name(verb)
        written = self._as_written(group)
        triples: list[Triple] = []

        def add(subjects: list[int], words: list[str], objects: list[int] | None, text="") -> None:
            text = text or " ".join([written, *words])  # as written, with its preposition
            for subject in subjects:
                for item in objects if objects is not None else [None]:
                    triples.append(Triple(subject, " ".join([name, *words]), item, text, passive))

        if passive and doers:
            add(doers, [], patients)
        # Of a passive without an agent ("a bike parked near a tree") the sufferer is what is known.
        subjects = doers or patients
        objects = self.objects(verb)
        light = [] if objects else self._light(verb)
        if objects and not (passive and doers):
            add(subjects, [], objects)
        for target in self._datives(verb):
            add(subjects, ["to"], target, written)
        for words, target in self._prepositions(verb):
            add(subjects, [*light, *words], target)
        for words, target in self._after_light(verb):
            add(subjects, [*light, *words], target)
        bare = not any(t.object is not None and t.verb != name for t in triples)
        if light and not any(t.verb.startswith(f"{name} {light[0]} of") for t in triples):
            add(subjects, light, None)
        elif not triples and bare and not passive and not _verbs.introduces(verb):
            add(subjects, [], None)
        return triples

    def of_with(self, preposition: Token) -> list[Triple]:
        """ "a man with a hat": what a person or animal has with it."""
        holders = self.ids(preposition.head) if preposition.head.pos_ != "VERB" else []
        return [
            Triple(holder, "with", item, "with")
            for holder in holders[:1]
            if self.entity[holder].kind != "object"
            for child in preposition.children
            if child.dep_ == "pobj"
            for item in self.expand(child)
        ]

    # --- who and whom

    def ids(self, token: Token) -> list[int]:
        """The entity a token stands for, through measures ("group" of men) and pronouns."""
        seen = set()
        while token.i in self.nouns.stands_for and token.i not in seen:
            seen.add(token.i)
            token = self.nouns.stands_for[token.i]
        if token.i in self.nouns.of_token:
            return [self.nouns.of_token[token.i]]
        if token.lower_ in _RELATIVE:
            clause = next((a for a in token.ancestors if a.dep_ == "relcl"), None)
            return self.ids(clause.head) if clause is not None else []
        if token.pos_ == "PRON":
            return self._antecedent(token)
        return []

    def expand(self, token: Token) -> list[int]:
        """A noun and those joined to it: "a man and his dog"."""
        ids = self.ids(token)
        real = token
        while real.i in self.nouns.stands_for and self.nouns.stands_for[real.i].i != real.i:
            real = self.nouns.stands_for[real.i]
        for source in dict.fromkeys([token, real]):
            for child in source.children:
                elsewhere = self.lists.first.get(child.i, source.i) not in (token.i, real.i)
                elsewhere = elsewhere or child.i in self.lists.apart
                if child.dep_ == "conj" and child.pos_ in ("NOUN", "PROPN", "PRON"):
                    ids = ids + ([] if elsewhere else self.expand(child))
            for joined in self.lists.after.get(source.i, []):
                ids = ids + self.ids(joined)
        return list(dict.fromkeys(ids))

    def _antecedent(self, token: Token) -> list[int]:
        """ "he" and "him" in the simplest case: a person named before, of no other sex.

        A subject goes back to the first such person, an object to the last.
        """
        word = token.lower_
        other = {"he": lexicon.FEMALE, "him": lexicon.FEMALE, "she": lexicon.MALE}
        other["her"] = lexicon.MALE
        start = min((i for i in self.nouns.of_token), default=token.i)
        before = [
            self.nouns.of_token[i] for i in sorted(self.nouns.of_token) if start <= i < token.i
        ]
        if word in other:
            fits = [
                i
                for i in before
                if self.entity[i].kind == "person" and self.entity[i].lemma not in other[word]
            ]
        elif word in ("they", "them"):
            fits = [
                i for i in before if self.entity[i].kind != "object" and self.entity[i].count != 1
            ]
        else:
            return []
        subject = token.dep_.startswith("nsubj")
        return fits[:1] if subject else fits[-1:]

    def subjects(self, verb: Token) -> list[int]:
        """Who does it (or, of a passive, who suffers it), through participles and clauses."""
        for child in verb.children:
            if child.dep_ in ("nsubj", "nsubjpass", "csubj"):
                if child.i in self.lists.first and self.lists.first[child.i] != verb.i:
                    continue  # "wearing a shirt and jeans is walking": not the jeans
                return self._wearer(self.expand(child), verb)
        if verb.dep_ in ("acl", "relcl"):
            if verb.dep_ == "relcl" and verb.tag_ not in ("VBG", "VBN"):
                return []
            return self._modified(verb)
        if verb.dep_ in _CLAUSES or verb.head.pos_ in ("AUX", "VERB"):
            head = verb.head
            while head.pos_ in ("ADJ", "ADP", "SCONJ", "ADV") and head.head.i != head.i:
                head = head.head
            if head.i == verb.i:
                return []
            if head.pos_ in ("VERB", "AUX"):
                if _verbs.is_passive(head) and not _verbs.is_passive(verb):
                    return self.agents(head) or self.subjects(head)
                if verb.dep_ == "conj" and _verbs.is_passive(verb) and not _verbs.is_passive(head):
                    return self.subjects(head)
                return self.subjects(head)
            return self.ids(head)
        alone = verb.tag_ == "VBG" and verb.dep_ not in ("amod", "compound")
        return self._last_alive(verb) if alone else []

    def _last_alive(self, verb: Token) -> list[int]:
        """Who was named last before a participle that hangs on no noun: "a woman, wearing ..."."""
        before = [i for at, i in sorted(self.nouns.of_token.items()) if at < verb.i]
        return [i for i in before if self.entity[i].kind != "object"][-1:]

    def _modified(self, verb: Token) -> list[int]:
        """The noun a participle describes; with "a man and a woman looking", both of them."""
        head = verb.head
        ids = self.ids(head)
        if head.dep_ == "conj" and _verbs.determined(head) == _verbs.determined(head.head):
            # The parser hangs the participle on the last of several nouns that belong together.
            chain = [head]
            while chain[-1].dep_ == "conj" and chain[-1].head.pos_ in ("NOUN", "PROPN"):
                chain.append(chain[-1].head)
            if chain[-1].dep_ in ("ROOT", "nsubj", "attr", "pobj"):
                ids = [i for noun in reversed(chain) for i in self.ids(noun)]
        else:  # or on the first of them: "a bride and groom cutting"
            joined = [c for c in head.children if c.dep_ == "conj" and c.i < verb.i]
            joined = [noun for noun in joined if noun.i not in self.lists.first]
            ids = ids + [i for noun in joined for i in self.expand(noun)]
        return self._wearer(list(dict.fromkeys(ids)), verb)

    def _wearer(self, ids: list[int], verb: Token) -> list[int]:
        """Clothes do nothing: where the parser says so, it is whoever was named before them.

        Those who wear it in "a man wearing glasses and a black jacket is opening ..." come first.
        """
        if not ids or not any(child.dep_ == "dobj" for child in verb.children):
            return ids
        alive = [i for i in ids if self.entity[i].lemma not in lexicon.CLOTHING]
        if alive:
            return alive
        before = [e.id for e in self.nouns.entities if e.id < ids[0] and e.kind != "object"]
        return before[-1:]

    def agents(self, verb: Token) -> list[int]:
        """ "by a man and his dog"."""
        return [
            item
            for child in verb.children
            if child.dep_ == "agent" or (child.dep_ == "prep" and child.lower_ == "by")
            for noun in child.children
            if noun.dep_ == "pobj" and noun.lemma_ not in lexicon.PLACES  # "washed by a river"
            for item in self.expand(noun)
        ]

    def objects(self, verb: Token) -> list[int]:
        """Direct objects; of "washing and drying a car", and of "the dog a boy washes", too."""
        second = _phrases.second_object(verb)
        if second is not None:
            return self.expand(second)
        for child in verb.children:
            if child.dep_ in ("dobj", "attr") and child.pos_ != "VERB":
                return self.expand(child)
            if child.dep_ == "ccomp" and verb.lemma_ in _PERCEPTION:
                return [i for c in child.children if c.dep_ == "nsubj" for i in self.expand(c)]
        if verb.dep_ == "relcl" and any(c.dep_ == "nsubj" for c in verb.children):
            subject = next(c for c in verb.children if c.dep_ == "nsubj")
            if subject.lower_ not in _RELATIVE:
                return self.ids(verb.head)
        for child in verb.children:
            if child.dep_ == "conj" and child.pos_ == "VERB" and child.i - verb.i == 2:
                return self.objects(child)
        return []

    def _datives(self, verb: Token) -> list[list[int]]:
        """ "gives a woman a cup": the woman, as in "gives a cup to a woman"."""
        given = ("dative",) if _phrases.second_object(verb) is None else ("dative", "dobj")
        return [
            self.expand(child)
            for child in verb.children
            if child.dep_ in given and child.pos_ in ("NOUN", "PROPN", "PRON")
        ]

    def _as_written(self, group: list[Token]) -> str:
        """The verb group in the caption's own words, not the mended ones."""
        places = (self.mended.place(t.idx, t.idx + len(t.text)) for t in group)
        spans = dict.fromkeys(span for span in places if span is not None)
        return " ".join(self.text[start:end] for start, end in spans)

    # --- prepositions

    def _prepositions(self, verb: Token) -> list[tuple[list[str], list[int]]]:
        phrases = []
        for child in verb.children:
            if child.dep_ in ("prep", "dative", "advmod", "prt", "agent") and child.i > verb.i:
                doer = child.dep_ == "agent" or (child.dep_ == "prep" and child.lower_ == "by")
                nouns = [noun for noun in child.children if noun.dep_ == "pobj"]
                beside = any(noun.lemma_ in lexicon.PLACES for noun in nouns)
                if doer and not beside and (child.dep_ == "agent" or _verbs.is_passive(verb)):
                    continue
                if self._stands_on_it(child, verb):
                    continue
                phrases += self._through(child, [])
        return phrases + self._misplaced(verb)

    def _stands_on_it(self, preposition: Token, verb: Token) -> bool:
        """ "looks through a camera on a tripod": the camera stands there, whatever the parser says.

        Not so of verbs that put something there, and of what somebody is on: "a man on a stand".
        """
        before = preposition.nbor(-1) if preposition.i else None
        thing = self.nouns.of_token.get(before.i) if before is not None else None
        on = preposition.lower_ in ("on", "upon", "atop")
        return (
            on
            and thing is not None
            and self.entity[thing].kind == "object"
            and verb.lemma_ not in lexicon.PLACING
            and any(c.dep_ == "pobj" and c.lemma_ in lexicon.STANDS for c in preposition.children)
        )

    def _misplaced(self, verb: Token) -> list[tuple[list[str], list[int]]]:
        """Phrases that the parser hangs on the object though they say where, or with what.

        "eating [a slice of pizza with a fork]", "flying [a kite in the park]": where the noun
        after the preposition is a place or a tool, it goes with the deed.
        """
        nouns = [c for c in verb.children if c.dep_ == "dobj"]
        for child in verb.children:
            if child.dep_ in ("prep", "agent"):
                nouns += [c for c in child.children if c.dep_ == "pobj"]
        nouns += [joined for n in nouns for joined in self.lists.after.get(n.i, [])]
        nouns += [c for n in nouns for c in n.children if c.dep_ == "conj" and c.pos_ == "NOUN"]
        nouns += [self.nouns.stands_for[n.i] for n in nouns if n.i in self.nouns.stands_for]
        posed = verb.lemma_ in _POSTURES  # "sits at a desk with two monitors": she, not the desk
        phrases = []
        for preposition in (c for noun in nouns for c in noun.children if c.dep_ == "prep"):
            for words, targets in self._through(preposition, []):
                lemma = self.entity[targets[0]].lemma
                place = lemma in lexicon.PLACES and words[0] not in ("of", "with")
                given = words == ["to"] and verb.lemma_ in lexicon.GIVING
                given = given and self.entity[targets[0]].kind != "object"
                tool = words == ["with"] and (lemma in lexicon.TOOLS or posed)
                if place or tool or given or words[0] in _OF_THE_DEED:
                    phrases.append((words, targets))
        return phrases

    def _through(self, word: Token, before: list[str]) -> list[tuple[list[str], list[int]]]:
        """ "in front of a bus", "next to a truck", "off of a dock" as (words, entities)."""
        name = self.mended.prepositions.get(word.idx, word.lower_)
        if name in _NO_RELATION:
            return []
        adverb = word.dep_ in ("advmod", "prt")
        # A particle is in the verb's name already ("pick up"); other adverbs say how, not where.
        words = before if adverb and word.lower_ not in _PLACE_ADVERBS else [*before, name]
        phrases = []
        for child in word.children:
            if child.dep_ == "pobj":
                targets = self.expand(child)
                worn = words == ["in"] and child.lemma_ in lexicon.CLOTHING
                if worn and not any(a.lemma_ == "dress" for a in word.ancestors):
                    continue  # "walked by a woman in a blue coat": not where, but what she wears
                if targets:
                    phrases.append((words, targets))
                else:
                    for deeper in child.children:
                        if deeper.dep_ == "prep" and deeper.lower_ in ("of", "to"):
                            phrases += self._through(deeper, [*words, child.lower_])
            elif child.dep_ == "prep":
                phrases += self._through(child, words)
        return phrases

    # --- "take a picture of a dog": a verb whose object names no thing

    def _light(self, verb: Token) -> list[str]:
        for child in verb.children:
            if child.dep_ == "dobj" and child.pos_ in ("NOUN", "PROPN") and not self.expand(child):
                compounds = [t.lower_ for t in child.lefts if t.dep_ == "compound"]
                return [*compounds, child.lower_]
        return []

    def _after_light(self, verb: Token) -> list[tuple[list[str], list[int]]]:
        phrases = []
        for child in verb.children:
            if child.dep_ == "dobj" and child.pos_ in ("NOUN", "PROPN") and not self.expand(child):
                for deeper in child.children:
                    if deeper.dep_ == "prep":
                        phrases += self._through(deeper, [])
        return phrases
