"""What the zoo's auxiliary heads learn to read: the facts of a scene as class numbers.

Captions are a narrow way in: what they say of a picture is a dozen words. Heads that are asked for
the kind, colour and part in the action of every patch teach a vision tower the same in a tenth of
the time; they stay in the zoo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.miniature.world.identity import COATS
from socialcli.miniature.world.vocabulary import ANIMALS, COLOURS, LIGHTS, PLACES, THINGS, VERBS

if TYPE_CHECKING:
    import numpy

    from socialcli.miniature.world import Scene
    from socialcli.miniature.world.scenes import ScenePerson, SceneThing

KINDS = ("", "man", "woman", "boy", "girl", *ANIMALS, *THINGS)
HUES = ("", *dict.fromkeys([*COLOURS, *COATS]))
ROLES = ("", *VERBS, *(f"{verb} (object)" for verb in VERBS))
# Both people do it alike: the record names as subject whoever the scene was built around.
MUTUAL = ("shake hands with", "hug", "dance with", "high-five", "hold hands with")
PATCH_FACTS = (len(KINDS), len(HUES), len(ROLES))
_KIND, _HUE, _ROLE = ({name: i for i, name in enumerate(t)} for t in (KINDS, HUES, ROLES))
_PLACE, _LIGHT = ({name: i for i, name in enumerate(t)} for t in (PLACES, LIGHTS))
SCENE_FACTS = (len(PLACES), len(LIGHTS))
ACT_FACTS = (len(VERBS), len(KINDS), len(KINDS))  # verb, the subject's kind, the object's
_VERB = {name: i for i, name in enumerate(VERBS)}


def instances(scene: Scene) -> numpy.ndarray:
    """(1 + highest id, 3) int64: kind, colour word and part in the action of each instance.

    A person's colour is that of the shirt or dress. Row 0 is what belongs to nobody: all zero.
    """
    import numpy

    table = numpy.zeros((max((o.id for o in scene.everything), default=0) + 1, 3), numpy.int64)
    for person in scene.people:
        table[person.id, :2] = _KIND[person.who.noun], _HUE[person.wear.top]
    for thing in scene.things:
        table[thing.id, :2] = _KIND[thing.look.kind], _HUE[thing.look.colour]
    for relation in reversed(scene.relations):
        table[relation.subject, 2] = _ROLE[relation.pair.verb]
        table[relation.object, 2] = _ROLE[f"{relation.pair.verb} (object)"]
    return table


def patches(scene: Scene, patch: int) -> numpy.ndarray:
    """(patches, 3) int64: the facts of the instance in the middle of each patch, row by row."""
    import numpy

    table = instances(scene)
    ids = scene.instances[patch // 2 :: patch, patch // 2 :: patch].ravel()
    # Instances not listed are hidden but for a few pixels.
    return table[numpy.where(ids < len(table), ids, 0)]


def places(scene: Scene) -> tuple[int, int]:
    """Place and light of a scene."""
    return _PLACE[scene.place], _LIGHT[scene.light]


def acts(scene: Scene) -> tuple[int, int, int]:
    """Verb, subject's kind and object's kind of the first relation; -100 where there is none."""
    if not scene.relations:
        return -100, -100, -100
    first = scene.relations[0]
    table = instances(scene)
    return _VERB[first.pair.verb], int(table[first.subject, 0]), int(table[first.object, 0])


def relations(scene: Scene) -> set[tuple[int, str, int]]:
    """(subject id, verb, object id) of all that is true of a scene, `MUTUAL` acts both ways."""
    people = {p.id for p in scene.people}
    triples = set()
    for one in scene.relations:
        triples.add((one.subject, one.pair.verb, one.object))
        if one.pair.verb in MUTUAL and one.object in people:
            triples.add((one.object, one.pair.verb, one.subject))
    return triples


def noun(one: ScenePerson | SceneThing) -> str:
    """The object class of whatever is visible: "person", or what a thing or animal is."""
    return getattr(getattr(one, "look", None), "kind", "person")
