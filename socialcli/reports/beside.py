"""What a run left beside its shard: ``<stem>.stats.json`` (`shards.read_errors` has its failures).

Files of other programs may have this name too, so nothing here trusts its form.
"""

from __future__ import annotations

import json
from typing import Any

from socialcli.errors import SocialcliError


def stats(archive: str) -> dict[str, Any] | None:
    """The stats file of one archive (not of a join), None when there is none that can be read."""
    from socialcli import shards
    from socialcli.pipeline import plan as planning

    if archive == "-":
        return None
    try:
        body = json.loads(shards.read_bytes(planning.stats_location(archive)) or b"")
    except (ValueError, OSError, RecursionError, SocialcliError):
        return None
    return body if isinstance(body, dict) else None


def counts(body: dict[str, Any] | None) -> dict[str, int] | None:
    """How many samples ended how, from what `stats` gave: total, ok, filtered, failed, damaged."""
    numbers = (body or {}).get("counts")
    if not isinstance(numbers, dict):
        return None
    return {str(k): v for k, v in numbers.items() if isinstance(v, int)}
