"""Generate pictures from prompts and reference subjects (not there yet)."""

from __future__ import annotations


def command() -> None:
    from socialcli.errors import SocialcliError

    raise SocialcliError(
        "generate is not there yet: "
        "it will write generated pictures with their prompts, seeds and provenance into shards"
    )
