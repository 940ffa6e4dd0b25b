"""Silence for libraries: those that write to stderr past Python, and those that give advice."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Warnings that say nothing to whoever runs a command: their logger, and words of the message.
NOTHING_SAID = (
    ("diffusers.models.modeling_utils", "should be kept in float32: []"),  # a list of no modules
    ("transformers.utils.import_utils", "requires torchvision (not installed); falling back"),
)


def without_noise() -> None:
    """Leave out of the log, from now on, what `NOTHING_SAID` lists; all other warnings come."""
    for name, words in NOTHING_SAID:
        log = logging.getLogger(name)
        if not any(isinstance(one, _Without) for one in log.filters):
            log.addFilter(_Without(words))


class _Without(logging.Filter):
    """Drops the messages that have some words in them."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words

    def filter(self, record: logging.LogRecord) -> bool:
        return self.words not in record.getMessage()


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere for a while; errors raised inside still come out.

    For loading and warming up only: what other threads write meanwhile is lost as well.
    """
    # protobuf 4 warns about MediaPipe's use of it with every first result, long after loading
    warnings.filterwarnings("ignore", "SymbolDatabase.GetPrototype", UserWarning)
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def only_errors() -> Iterator[None]:
    """Let transformers and diffusers log errors alone for a while: not the weights they did not
    need, nor advice for people who call them directly. Both must have been imported before, or
    the import sets their levels anew."""
    logs = logging.getLogger("transformers"), logging.getLogger("diffusers")
    before = [log.level for log in logs]
    try:
        for log in logs:
            log.setLevel(logging.ERROR)
        yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)
