"""`extract-entities` against the bare spaCy pipeline whose parse it reads.

Captions of rendered scenes. What the peer does, our extractor does too: it mends the captions
first, and reads noun phrases and triples off the parse after. Both in processor time, since neither
waits for anything.
"""

from __future__ import annotations

import statistics
import time

from socialcli import backends
from socialcli.benchmarks import Figure, Section, in_turns, ratio, table
from socialcli.miniature.world import scene
from socialcli.miniature.world.captions import captions as written

CAPTIONS, GOAL = 1000, 0.7


def run(turns: int, captions: int = CAPTIONS) -> Section:
    """A Markdown table of captions per second of the processor."""
    extractor = backends.load(backends.ModelSpec("entities", "spacy"))
    texts = [written(scene(0, number, 32), 1)[0].text for number in range(captions)]

    def bare() -> None:
        list(extractor.language.pipe(texts, batch_size=64))

    runs = {"spaCy": bare, "extract-entities": lambda: extractor.extract(texts)}
    seconds = in_turns(runs, turns, before=lambda: None, clock=time.process_time)
    speed = {name: captions / statistics.median(spent) for name, spent in seconds.items()}
    times = {name: ratio(seconds, name, "spaCy") for name in runs}
    rows = [[name, f"{speed[name]:,.0f}", f"{times[name]:.2f}"] for name in runs]
    text = f"## Entities of captions\n\n{captions} captions of rendered scenes, one thread.\n\n"
    text += table(["", "captions a second of the processor", "times spaCy"], rows)
    what = "captions to entities and triples over the bare spaCy pipeline"
    return Section(text, [Figure(what, times["extract-entities"], GOAL)])
