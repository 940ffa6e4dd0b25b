"""Captions made easier for a parser trained on newspapers, with the way back to the original.

A few things go wrong systematically with the small English model, and each is mended in the text
that the parser sees, never in what is reported:

* "person riding skateboard": bare countable nouns come out as verbs or adverbs. Known ones get an
  article: "a person riding a skateboard".
* "near a fire hydrant", "a hot dog": compounds are torn apart. Known ones become one word the
  parser knows ("a hydrant").
* "a man kneels", "a dog swimming in a pool": the verb is taken for a noun. Between somebody known
  and a known verb it is spelt out: "a man is kneeling", "a dog that is swimming in a pool".
* "a woman in a red dress dancing": the participle is drawn to the dress. A comma parts them.
* "Man Riding Horse": capitals turn words into names. The text is read in lower case.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

from socialcli.backends.entities import _lexicon as lexicon

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+|[^\w\s]")
_DETERMINERS = lexicon.words("""
    a an the this that these those his her its their my your our any no each every another other
    one's whose which what
""") | frozenset([*lexicon.NUMBERS, *lexicon.SEVERAL])
_ADJECTIVES = lexicon.words("""
    red orange yellow green blue purple pink brown black white gray grey silver golden gold beige
    tan dark light bright colorful colourful striped spotted plaid checkered big large huge giant
    small little tiny tall short long wide narrow old young new elderly middle-aged baby adult
    wooden metal plastic glass stone brick concrete paper leather wet dry dirty clean empty full
    open closed broken hot cold fresh ripe cute beautiful pretty handsome happy sad smiling angry
    fluffy furry hairy bald blonde blond asian african male female professional wild stuffed
    round square flat electric double-decker white-haired lone single busy crowded snowy sandy
    grassy rocky muddy cloudy sunny city passenger fancy vintage antique toy school police pickup
    """)
_PREPOSITIONS = lexicon.words("""
    in on at by with near beside behind under over above below into onto from of through across
    against around between toward towards inside outside atop along past up down off
""")
_CLAUSE_STARTS = _DETERMINERS | _PREPOSITIONS | {"to", ".", ",", "together", "next", "high", "for"}


@dataclass
class Mended:
    """The text to parse, and where its characters lie in the original."""

    text: str
    # (start, end) in `text` -> (start, end) in the original; an inserted article has none.
    edits: list[tuple[int, int, int, int]] = field(default_factory=list)
    compounds: dict[int, str] = field(default_factory=dict)  # start in `text` -> singular compound

    def place(self, start: int, end: int) -> tuple[int, int] | None:
        """Where ``text[start:end]`` lies in the original; None for an inserted article."""
        at = bisect_right(self.edits, start, key=lambda edit: edit[0]) - 1
        if at < 0:
            return start, end
        _, new_end, old_start, old_end = self.edits[at]
        if start < new_end:
            return (old_start, old_end) if old_end > old_start else None
        shift = old_end - new_end
        return start + shift, end + shift


@dataclass
class _Unit:
    start: int
    end: int
    word: str  # lower case; a compound's stand-in
    compound: str = ""
    plural: bool = False
    before: str = ""  # what is put in front of it
    stand_in: str = ""  # what is written in its place


def mend(text: str) -> Mended:
    """The text as the parser shall see it."""
    lower = text.lower()
    if len(lower) != len(text):  # a few capitals grow when lowered; offsets would slip
        lower = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    units = _units(lower)
    pieces: list[str] = []
    edits: list[tuple[int, int, int, int]] = []
    compounds: dict[int, str] = {}
    old = new = 0

    def put(piece: str) -> None:
        nonlocal new
        pieces.append(piece)
        new += len(piece)

    for number in range(len(units)):
        _spell_out_verb(units, number)
        at = _article_at(units, number)
        if at is not None:
            units[at].before = "an " if units[at].word[0] in "aeiou" else "a "
    for unit in units:
        put(lower[old : unit.start])
        if unit.before:
            edits.append((new, new + len(unit.before), unit.start, unit.start))
            put(unit.before)
        if unit.stand_in:
            if unit.compound:
                compounds[new] = unit.compound
            edits.append((new, new + len(unit.stand_in), unit.start, unit.end))
            put(unit.stand_in)
        else:
            put(lower[unit.start : unit.end])
        old = unit.end
    put(lower[old:])
    return Mended("".join(pieces), edits, compounds)


def _units(lower: str) -> list[_Unit]:
    """Words and punctuation, with known compounds as one unit, the longest first."""
    words = [_Unit(m.start(), m.end(), m.group()) for m in _WORD.finditer(lower)]
    units: list[_Unit] = []
    i = 0
    while i < len(words):
        for length in (4, 3, 2):
            phrase = " ".join(w.word for w in words[i : i + length])
            singular, plural = phrase, False
            if phrase not in lexicon.COMPOUNDS:
                singular, plural = _singular(phrase), True
            if len(words) - i >= length and singular in lexicon.COMPOUNDS:
                stand_in = lexicon.COMPOUNDS[singular]
                if plural:
                    stand_in += "es" if stand_in.endswith(("s", "x", "ch", "sh")) else "s"
                end = words[i + length - 1].end
                start = words[i].start
                units.append(_Unit(start, end, stand_in, singular, plural, stand_in=stand_in))
                i += length
                break
            if len(words) - i >= length and phrase in lexicon.IDIOMS:
                stand_in = lexicon.IDIOMS[phrase]
                end = words[i + length - 1].end
                units.append(_Unit(words[i].start, end, stand_in, stand_in=stand_in))
                i += length
                break
        else:
            units.append(words[i])
            i += 1
    return units


def _singular(phrase: str) -> str:
    if phrase.endswith(("sses", "xes", "ches", "shes")):
        return phrase[:-2]
    return phrase[:-1] if phrase.endswith("s") else phrase


def _spell_out_verb(units: list[_Unit], i: int) -> None:
    """ "kneels" -> "is kneeling" after somebody; "that is" or a comma before a participle."""
    if i == 0:
        return
    unit, before = units[i], units[i - 1]
    after = units[i + 1].word if i + 1 < len(units) else "."
    ing = lexicon.VERB_FORMS.get(unit.word)
    if unit.word in lexicon.GERUNDS:
        somebody = any(_is_somebody(u) for u in units[: i - 1])
        thing = before.word in lexicon.COUNTABLE and not _is_somebody(before)
        if (before.word in lexicon.CLOTHING and i > 2) or (
            thing and somebody and after in _CLAUSE_STARTS
        ):
            unit.before = ", "
        elif _is_animal(before) and after in _CLAUSE_STARTS:
            unit.before = "that are " if _is_plural_noun(before) else "that is "
    elif ing is not None and unit.word not in lexicon.VERBS:  # "kneels"
        joined = before.word == "and" and i > 2 and after in _CLAUSE_STARTS
        if joined or (_is_somebody(before) and not _is_plural_noun(before)):
            unit.stand_in = f"is {ing}"
    elif ing is not None and after in _CLAUSE_STARTS:  # "people ride a horse"
        several = _is_plural_noun(before) or any(u.word == "and" for u in units[max(0, i - 4) : i])
        if several and _is_somebody(before):
            unit.stand_in = f"are {ing}"


def _is_somebody(unit: _Unit) -> bool:
    words = (unit.word, _singular(unit.word))
    return _is_animal(unit) or any(
        w in lexicon.PERSON or w in ("men", "women", "children") for w in words
    )


def _is_animal(unit: _Unit) -> bool:
    return unit.word in lexicon.ANIMAL or _singular(unit.word) in lexicon.ANIMAL


def _article_at(units: list[_Unit], i: int) -> int | None:
    """The unit before which an article belongs if unit ``i`` is a bare singular noun, or None."""
    if not _is_bare_noun(units, i):
        return None
    after = units[i + 1] if i + 1 < len(units) else None
    if after is not None and (_is_noun(after) or after.word in ("'", "’")):
        return None  # only the last noun of a compound stands for the phrase
    first = i
    while first > 0 and (units[first - 1].word in _ADJECTIVES or _is_noun(units[first - 1])):
        first -= 1
    if first == 0:
        return first
    before = units[first - 1]
    if before.word in _DETERMINERS or before.word.endswith(("'s", "s'", "’s", "-")):
        return None
    if before.word == "to" or _is_plural_noun(before):
        return None  # rather a verb: "about to box", "men bike down a hill"
    return first


def _is_bare_noun(units: list[_Unit], i: int) -> bool:
    unit = units[i]
    if unit.compound:
        return not unit.plural
    if unit.word in lexicon.COUNTABLE_AFTER and i > 0:
        before = units[i - 1].word
        return before.endswith("ing") or before in _PREPOSITIONS
    return unit.word in lexicon.COUNTABLE


def _is_noun(unit: _Unit) -> bool:
    return bool(unit.compound) or unit.word in lexicon.COUNTABLE


def _is_plural_noun(unit: _Unit) -> bool:
    word = unit.word
    if word in ("men", "women", "people", "children", "policemen", "firemen", "teeth", "feet"):
        return True
    return unit.plural or (word.endswith("s") and _singular(word) in lexicon.COUNTABLE)
