"""Invert subjects, interactions and identities into pseudo-words (not there yet)."""

from __future__ import annotations


def command() -> None:
    from socialcli.errors import SocialcliError

    raise SocialcliError(
        "invert is not there yet: "
        "it will turn a few pictures of a subject, interaction or identity into a pseudo-word"
    )
