"""Score generated pictures: alignment, identity, gaze, interaction (not there yet)."""

from __future__ import annotations


def command() -> None:
    from socialcli.errors import SocialcliError

    raise SocialcliError(
        "score is not there yet: "
        "it will compare generated shards with references and print tables with intervals"
    )
