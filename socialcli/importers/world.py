"""Render scenes of the project's own social world, with perfect ground truth."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from socialcli.config import check_bounds, option
from socialcli.errors import UnknownName
from socialcli.importers import Entry, Importer

SPLITS = ("train", "val", "test")
INTERACTIONS = ("interactions", "interaction-sentences")
IDENTITIES = {"identities": "picture", "identity-prompts": "question"}
SUBJECTS = {"subjects-train": "train", "subjects-test": "test"}
ELEVEN = ("eleven", "compositions")


@dataclass
class Config:
    """Nothing is read: scene ``i`` of a split is a function of the seed, ``i`` and the size."""

    source: str = option(
        "train",
        "Split: train, val or test (unseen people, things and verb-object pairs); or a "
        "benchmark: interactions (15 between two people), interaction-sentences, subjects-train "
        "(5 pictures of each of 20 unseen subjects), subjects-test (10 others, with captions), "
        "eleven (11 pictures of each of 11), compositions (layouts that put these together), "
        "identities (one picture of each unseen person), identity-prompts (13 of each of them).",
    )
    called: str = option(
        "a {class}",
        "Of compositions: how prompts call a subject; {class}, {name} and {identifier} are filled "
        "in.",
    )
    every: int = option(1, "Of compositions: take each so many only.", at_least=1)
    animals: float = option(
        0.5, "Of interaction-sentences: share of the subjects that are animals; 0: people alone.",
        at_least=0, at_most=1,
    )  # fmt: skip
    scenes: int = option(1000, "How many scenes.", at_least=1)
    first: int = option(0, "Number of the first scene.", at_least=0)
    seed: int = option(0, "Which world; scenes of different seeds are unrelated.", at_least=0)
    size: int = option(
        96, "Side of the square pictures in pixels, 48 to 1024.", at_least=48, at_most=1024
    )
    truth: bool = option(True, "Write the ground truth, or only the picture and its meta.json.")


class WorldImporter(Importer):
    """See `Importer`."""

    VERSION = 2
    config_type = Config

    def entries(self, config: Config) -> Iterator[Entry]:
        """One entry a scene; its work is the scene's number.

        Raises:
            UsageError: no such split, or a size or count out of range.
        """
        check_bounds(Config, vars(config))
        if config.source in INTERACTIONS:
            from socialcli.miniature.world import interactions

            numbers = range(config.first, config.first + config.scenes)
            yield from (Entry(interactions.key(config.source, n), n) for n in numbers)
            return
        if config.source in IDENTITIES:
            from socialcli.miniature.world import identities

            numbers = range(config.first, config.first + config.scenes)
            named = ((identities.key(config.source, config.seed, n), n) for n in numbers)
            yield from (Entry(key, number) for key, number in named)
            return
        if config.source in SUBJECTS:
            from socialcli.miniature.world import split_subjects

            shots = split_subjects.shots(config.seed, SUBJECTS[config.source])
            some = shots[config.first : config.first + config.scenes]
            yield from (Entry(shot.key, shot) for shot in some)
            return
        if config.source in ELEVEN:
            from socialcli.miniature.world import compositions

            key, most = compositions.composition_key, compositions.COMPOSITIONS
            if config.source == "eleven":
                most = compositions.PICTURES * len(compositions.KINDS)
                key = functools.partial(compositions.picture_key, config.seed)
            numbers = range(config.first, most, config.every)[: config.scenes]
            yield from (Entry(key(n), n) for n in numbers)
            return
        if config.source not in SPLITS:
            sources = (*SPLITS, *INTERACTIONS, *SUBJECTS, *ELEVEN, *IDENTITIES)
            raise UnknownName("the world has no split", config.source, sources)
        for index in range(config.first, config.first + config.scenes):
            yield Entry(f"world-{config.seed}-{config.source}-{index:07d}", index)

    def build(self, config: Config, entry: Entry) -> dict[str, bytes]:
        """Draw one scene and write down everything about it."""
        from socialcli.miniature.world import scene
        from socialcli.miniature.world.ground_truth import members

        if config.source in INTERACTIONS:
            from socialcli.miniature.world import interactions

            if config.source == "interactions":
                contents = interactions.exemplar(config.seed, entry.work, config.size)
            else:
                shown = (config.seed, entry.work, config.size, config.animals)
                contents = interactions.question(*shown)
        elif config.source in ELEVEN:
            from socialcli.miniature.world import compositions

            if config.source == "compositions":
                number, called = entry.work, config.called
                contents = compositions.composition(config.seed, number, config.size, called)
            else:
                contents = compositions.picture(config.seed, entry.work, config.size)
        elif config.source in IDENTITIES:
            from socialcli.miniature.world import identities

            build = getattr(identities, IDENTITIES[config.source])
            contents = build(config.seed, entry.work, config.size)
        elif config.source in SUBJECTS:
            from socialcli.miniature.world import split_subjects

            contents = split_subjects.members(entry.work, config.size)
        else:
            contents = members(scene(config.seed, entry.work, config.size, config.source))
        if config.source not in SPLITS:
            contents = _of_the_world(contents, f"world-{config.seed}-{config.source}-{entry.key}")
        if config.truth:
            return contents
        return {name: data for name, data in contents.items() if name in ("png", "meta.json")}


def _of_the_world(members: dict[str, bytes], source: str) -> dict[str, bytes]:
    """A benchmark's picture that says where it is from as scenes do: the miniatures know by that
    that it is no photograph."""
    from socialcli import records

    meta = records.load(records.Meta, members["meta.json"], "meta.json")
    meta.source = source
    return {**members, "meta.json": records.dump(meta)}
