"""Shards: the only room that opens a tar. Reading, joining, writing, and where they are.

Everything here works on bytes: no picture is decoded, nothing is unpickled, no command that data
names is run.
"""

from socialcli.shards.behind import Behind
from socialcli.shards.keys import distinct_keys, is_safe, safe_key, split_name
from socialcli.shards.locations import (
    TAR_SUFFIXES,
    discard_unfinished,
    expand,
    explain_full_disk,
    is_url,
    list_files,
    modified,
    open_read,
    parts,
    publish,
    read_bytes,
    remove,
    size,
    write_bytes,
)
from socialcli.shards.sample import (
    STATUS,
    Checksum,
    Damage,
    Sample,
    Writer,
    read,
    read_all,
    scan,
    write,
)

__all__ = [
    "STATUS", "TAR_SUFFIXES", "Behind", "Checksum", "Damage", "Sample", "Writer",
    "discard_unfinished", "distinct_keys", "expand", "explain_full_disk", "is_safe", "is_url",
    "list_files", "modified", "open_read", "parts", "publish", "read", "read_all", "read_bytes",
    "remove", "safe_key", "scan", "size", "split_name", "write", "write_bytes",
]  # fmt: skip
