"""The few ways work can go wrong, each with the exit code or the sample status it leads to.

A message is one line: what is wrong, where (shard and key when known), and the mend.
"""

from __future__ import annotations


class SocialcliError(Exception):
    """Ends the command with one line on stderr and ``exit_code``."""

    exit_code = 1


class UsageError(SocialcliError):
    """The command line, a profile or a configuration cannot be used as given (exit code 2)."""

    exit_code = 2


class MissingPackage(UsageError):
    """An optional package is not installed; the message carries the line that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        line = f"pip install 'socialcli[{extra}]'"
        super().__init__(f"{what} is not installed. Install it with: {line}")


class ModelMissing(UsageError):
    """A model's files are not here and could not be fetched; the message says how to get them."""


class SampleFailed(Exception):
    """One sample cannot be processed; the run goes on. ``str(error)`` is the reason recorded."""


class SampleFiltered(Exception):
    """One sample is left out on purpose (a filter option asked for it); the reason is recorded."""
