"""Captions made easier for a parser trained on newspapers, with the way back to the original.

A few things go wrong systematically with the small English model, and each is mended in the text
that the parser sees, never in what is reported:

* "person riding skateboard": bare countable nouns come out as verbs or adverbs. Known ones get an
  article: "a person riding a skateboard".
* "near a fire hydrant", "a hot dog": compounds are torn apart. Known ones become one word the
  parser knows ("a hydrant"), and of "a wedding cake" it sees the cake.
* "in front of a flag and a rocket": what is joined is hung on "front". Prepositions of several
  words become one ("near").
* "slicing tomatoes": plurals without an article are taken for verbs. They get a "several".
* "a close up of", "the image shows", "arafed": what only says that this is a picture is left out,
  and so are quotation marks.
* "a man kneels", "a dog swimming in a pool": the verb is taken for a noun. Between somebody known
  and a known verb it is spelt out: "a man is kneeling", "a dog that is swimming in a pool".
* "a woman in a red dress dancing": the participle is drawn to the dress. A comma parts them.
* "Man Riding Horse": capitals turn words into names. The text is read in lower case, and with a
  full stop at its end: without one, "a man wearing a hat and a tie" is two men.
* Characters of the web are made plain first (`_normalising`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

from socialcli.backends.entities import _compounds as compounds
from socialcli.backends.entities import _lexicon as lexicon
from socialcli.backends.entities._normalising import Normal, normal

# A digit in a word ("mp3", "3d") is no number of its own.
_WORD = re.compile(r"[^\W_]*[^\W\d_][^\W_]*(?:['’-][^\W\d_]+)*|\d+|[^\w\s]")
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
_NUMERALS = {str(n): word for word, n in reversed(lexicon.NUMBERS.items()) if n <= 20}
_NUMERALS |= {"1": "one", "2": "two", "12": "twelve"}  # rather than "a", "both", "a dozen"
_STOPPED = re.compile(r"[.!?][\s\"')\]]*$")
# "arafed", "araffe": a word that BLIP's captioners put before things, and that says nothing.
_FLOURISH = re.compile(r"araf+(?:e?d|es?|y|ly|led?|ic)?")
_FRAME_NOUNS = lexicon.DEPICTIONS | {"closeup", "image", "up", "shot", "footage", "photography"}
_FRAME_ENDS = lexicon.words("of shows showing depicts depicting features featuring")
_FRAME_WORDS = _FRAME_NOUNS | lexicon.words("""
    a an the this is there it shows close - black and white colour color old vintage blurry blurred
    up-close aerial overhead side front rear back top view wide low angle high stock cropped
    beautiful nice good great funny cute small large framed digital oil watercolor pencil
    arafed araffe araf arafe
""")
_BEFORE_NOUNS = _DETERMINERS | _ADJECTIVES
_NO_NOUNS = _BEFORE_NOUNS | _PREPOSITIONS | {"and", "or", ",", "-"}
_BE = lexicon.words("is are was were be being been has have")
_CLAUSE_STARTS = _DETERMINERS | _PREPOSITIONS | {"to", ".", ",", "together", "next", "high", "for"}


@dataclass
class Mended:
    """The text to parse, and where its characters lie in the caption."""

    text: str
    # (start, end) in `text` -> (start, end) in the plain text; what is inserted has none.
    edits: list[tuple[int, int, int, int]] = field(default_factory=list)
    compounds: dict[int, str] = field(default_factory=dict)  # start in `text` -> singular compound
    prepositions: dict[int, str] = field(default_factory=dict)  # start in `text` -> "in front of"
    plain: Normal | None = None  # the way back from the plain text; None: it is the caption

    def place(self, start: int, end: int) -> tuple[int, int] | None:
        """Where ``text[start:end]`` lies in the caption; None for what is inserted."""
        start, end = self._before(start)[0], self._before(end - 1)[1]
        if end <= start:
            return None
        return self.plain.place(start, end) if self.plain is not None else (start, end)

    def _before(self, at: int) -> tuple[int, int]:
        """(start, end) in the plain text of what stands at a character of `text`."""
        number = bisect_right(self.edits, at, key=lambda edit: edit[0]) - 1
        if number < 0:
            return at, at + 1
        _, new_end, old_start, old_end = self.edits[number]
        if at < new_end:
            return old_start, old_end
        return at + old_end - new_end, at + old_end - new_end + 1


@dataclass
class _Unit:
    start: int
    end: int
    word: str  # lower case; a compound's stand-in
    compound: str = ""
    preposition: str = ""
    plural: bool = False
    before: str = ""  # what is put in front of it
    stand_in: str | None = None  # what is written in its place


def mend(text: str) -> Mended:
    """The text as the parser shall see it."""
    plain = normal(text)
    units = _units(plain.text)
    pieces: list[str] = []
    mended = Mended("", plain=plain if plain.places is not None else None)
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
        elif _is_bare_plural(units, number):
            units[number].before = "several "
    for unit in units:
        put(plain.text[old : unit.start])
        if unit.before:
            mended.edits.append((new, new + len(unit.before), unit.start, unit.start))
            put(unit.before)
        if unit.compound:
            mended.compounds[new] = unit.compound
        if unit.preposition:
            mended.prepositions[new] = unit.preposition
        if unit.stand_in is not None:
            mended.edits.append((new, new + len(unit.stand_in), unit.start, unit.end))
            put(unit.stand_in)
        else:
            put(plain.text[unit.start : unit.end])
        old = unit.end
    put(plain.text[old:])
    if units and not _STOPPED.search(plain.text):
        end = len(plain.text)
        mended.edits.append((new, new + 2, end, end))
        put(" .")
    mended.text = "".join(pieces)
    return mended


def _units(lower: str) -> list[_Unit]:
    """Words and punctuation, with known phrases as one unit, the longest first."""
    words = [_Unit(m.start(), m.end(), m.group()) for m in _WORD.finditer(lower)]
    units: list[_Unit] = []
    i = _frame(words)
    if i:
        after = words[i].start if i < len(words) else len(lower)
        units.append(_Unit(words[0].start, after, "", stand_in=""))
    while i < len(words):
        for length in (5, 4, 3, 2, 1):
            if len(words) - i < length:
                continue
            before = units[-1].word if units else ""
            following = words[i + length].word if i + length < len(words) else ""
            unit = _phrase(words[i : i + length], before, following)
            if unit is not None:
                # Of what is left out one of the two spaces around it goes too.
                if unit.stand_in == "" and lower[unit.start - 1 : unit.start] in ("", " "):
                    unit.end += len(lower[unit.end :]) - len(lower[unit.end :].lstrip())
                units.append(unit)
                i += length
                break
    return [u for n, u in enumerate(units) if u.word or u.stand_in is not None or n == 0]


def _frame(words: list[_Unit]) -> int:
    """How many words at the beginning only say that this is a picture: "a close up of"."""
    best = 0
    for i, unit in enumerate(words[:8]):
        if unit.word in _FRAME_ENDS and i and words[i - 1].word in _FRAME_NOUNS:
            best = i + 1 if i + 1 < len(words) else best
        elif unit.word not in _FRAME_WORDS:
            break
    return best


def _phrase(words: list[_Unit], before: str, after: str) -> _Unit | None:
    """What is read as one unit; None where several words are only several words."""
    start, end = words[0].start, words[-1].end
    phrase = " ".join(w.word for w in words)
    if len(words) == 1:
        if phrase == "&" or phrase in _NUMERALS:
            written = _NUMERALS.get(phrase, "and")
            return _Unit(start, end, written, stand_in=written)
        if phrase == '"' or _FLOURISH.fullmatch(phrase):
            return _Unit(start, end, "", stand_in="")
        return words[0]
    singular, plural = phrase, False
    if phrase not in compounds.COMPOUNDS:
        singular, plural = _singular(phrase), True
    if singular in compounds.COMPOUNDS:
        stand_in = compounds.COMPOUNDS[singular]
        if plural:
            stand_in += "es" if stand_in.endswith(("s", "x", "ch", "sh")) else "s"
        return _Unit(start, end, stand_in, singular, plural=plural, stand_in=stand_in)
    if phrase in compounds.IDIOMS:
        return _Unit(start, end, compounds.IDIOMS[phrase], stand_in=compounds.IDIOMS[phrase])
    name = compounds.preposition(phrase)
    if name:
        stand_in = compounds.PREPOSITIONS.get(name, "near")
        return _Unit(start, end, stand_in, preposition=name, stand_in=stand_in)
    quoted = phrase.startswith('"') and phrase.endswith('"') and phrase.count('"') == 2
    if quoted and before in _DETERMINERS and after in compounds.HEADS:
        return _Unit(start, end, "", stand_in="")  # what a "for sale" sign says
    if words[0].word in lexicon.GERUNDS and before not in _BEFORE_NOUNS:
        return None  # "a man cooking hamburgers" against "a cooking pot"
    head, singular = words[-1].word, _singular(words[-1].word)
    if compounds.is_attributed([w.word for w in words[:-1]], head, singular):
        one = head in compounds.HEADS
        compound = phrase if one else phrase[: len(phrase) - len(head)] + singular
        return _Unit(start, end, head, compound, plural=not one, stand_in=head)
    return None


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
        joined = before.word == "and" and after in _CLAUSE_STARTS and _has_verb(units[:i])
        if (
            joined
            or _is_first_verb(units, i, after)
            or (_is_somebody(before) and not _is_plural_noun(before))
        ):
            unit.stand_in = f"is {ing}"
    elif ing is not None and after in _CLAUSE_STARTS:  # "people ride a horse"
        several = _is_plural_noun(before) or any(u.word == "and" for u in units[max(0, i - 4) : i])
        if several and _is_somebody(before):
            unit.stand_in = f"are {ing}"


def _is_first_verb(units: list[_Unit], i: int, after: str) -> bool:
    """ "a man in glasses drinks from a cup", "a cat with orange fur looks at a bird"."""
    if i < 3 or after not in _CLAUSE_STARTS or units[i - 1].word in _NO_NOUNS:
        return False
    return not _has_verb(units[:i]) and any(_is_somebody(unit) for unit in units[: i - 1])


def _has_verb(units: list[_Unit]) -> bool:
    words = {unit.word for unit in units}
    return not words.isdisjoint(_BE) or any(
        w in lexicon.VERB_FORMS or w in lexicon.GERUNDS for w in words
    )


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
    if first > 1 and units[first - 2].word in _DETERMINERS:
        return None  # an adjective that no list has: "a burning house"
    return first


def _is_bare_noun(units: list[_Unit], i: int) -> bool:
    unit = units[i]
    if unit.compound:
        return not unit.plural
    if unit.word in lexicon.COUNTABLE_AFTER and i > 0:
        before = units[i - 1].word
        return before.endswith("ing") or before in _PREPOSITIONS
    return unit.word in lexicon.COUNTABLE


def _is_bare_plural(units: list[_Unit], i: int) -> bool:
    """ "slicing tomatoes", "boxes and bags": the parser takes such plurals for verbs."""
    word = units[i].word
    if i == 0 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return False
    if word in lexicon.ONE_IN_PLURAL:
        return False
    before = units[i - 1].word
    if before in lexicon.GERUNDS:
        return word not in _DETERMINERS and word not in _CLAUSE_STARTS
    joined = before in ("and", ",") and i > 1 and _is_plural_noun(units[i - 2])
    return joined and _is_plural_noun(units[i]) and word not in lexicon.VERB_FORMS


def _is_noun(unit: _Unit) -> bool:
    return bool(unit.compound) or unit.word in lexicon.COUNTABLE


def _is_plural_noun(unit: _Unit) -> bool:
    word = unit.word
    if word in ("men", "women", "people", "children", "policemen", "firemen", "teeth", "feet"):
        return True
    return unit.plural or (word.endswith("s") and _singular(word) in lexicon.COUNTABLE)
