"""The few ways work can go wrong, each with the exit code or the sample status it leads to.

A message is one line: what is wrong, where (shard and key when known), and the mend.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

# The distribution is not called as the command is: the public index has another program under the
# plain name, and a line that installs that one would be worse than none.
DISTRIBUTION = "socialcli-toolkit"


def install(extra: str) -> str:
    """The command that adds an extra to this program, wherever it was installed from."""
    if extra == "mediapipe" and sys.version_info >= (3, 13):  # there the extra brings nothing
        return "Python 3.11 or 3.12 (MediaPipe 0.10.14 is not built for newer ones)"
    return f"pip install '{DISTRIBUTION}[{extra}]'" if extra else f"pip install {DISTRIBUTION}"


class SocialcliError(Exception):
    """Ends the command with one line on stderr and ``exit_code``."""

    exit_code = 1

    @property
    def lines(self) -> list[str]:
        """What is told, one line each."""
        return [str(self)]


class UsageError(SocialcliError):
    """The command line, a profile or a configuration cannot be used as given (exit code 2)."""

    exit_code = 2


class Mistakes(UsageError):
    """Several mistakes of one file, told at once: one line each."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes

    @property
    def lines(self) -> list[str]:
        return self.mistakes


class MissingPackage(UsageError):
    """An optional package is not installed; the message carries the line that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed. Install it with: {install(extra)}")


class UnknownName(UsageError):
    """A name that stands for nothing: the message has the nearest one and all there are.

    Args:
        what: what has no such name, as a clause that goes before it: ``"no caption backend"``,
            ``"--on-error"``.
        name: as it was given.
        known: every name there is, in the order in which they are listed.
        likely: the one that is meant, where that is known better than by its letters.
    """

    def __init__(
        self, what: str, name: str, known: Iterable[str], likely: str | None = None
    ) -> None:
        names = list(known)
        there = f"There are: {', '.join(names)}" if names else "There are none"
        super().__init__(f"{what} '{name}'. {near(likely or name, names)}{there}")


def near(name: str, known: Iterable[str]) -> str:
    """``"Did you mean 'caption'? "`` where a name that is like ``name`` is known, else ``""``."""
    from difflib import get_close_matches

    plain = {one.lower().replace("_", "-"): one for one in known}
    word = name.lower().replace("_", "-")
    close = get_close_matches(word, plain, n=1, cutoff=0.6)
    if not close and len(word) > 2:
        close = [one for one in plain if one.startswith(word)][:1]
    return f"Did you mean '{plain[close[0]]}'? " if close else ""


class ModelMissing(UsageError):
    """A model's files are not here and could not be fetched; the message says how to get them."""


class SampleFailed(Exception):
    """One sample cannot be processed; the run goes on. ``str(error)`` is the reason recorded."""


class SampleFiltered(Exception):
    """One sample is left out on purpose (a filter option asked for it); the reason is recorded."""
