"""Shards: the only room that opens a tar. Reading, joining, writing, and where they are.

Everything here works on bytes: no picture is decoded, nothing is unpickled, no command that data
names is run.
"""

from socialcli.shards.behind import Behind
from socialcli.shards.checksum import Checksum, crc32_of
from socialcli.shards.failures import errors_location, read_errors, stem, why_missing
from socialcli.shards.folders import (
    FolderPublication,
    ManyFiles,
    publish_files,
    publish_folder,
    refuse_file_name,
    remove_folder,
    settle,
    sweep,
)
from socialcli.shards.keys import distinct_keys, file_stem, is_safe, safe_key, split_name
from socialcli.shards.listing import listed
from socialcli.shards.locations import (
    TAR_SUFFIXES,
    check_there,
    expand,
    is_tar,
    matches,
    modified,
    parts,
    read_bytes,
    remove,
    size,
    size_and_modified,
    without_suffix,
)
from socialcli.shards.outputs import (
    check_output_file,
    check_output_files,
    check_output_folder,
    refuse_names,
)
from socialcli.shards.publishing import (
    discard_unfinished,
    explain_full_disk,
    publish,
    write_bytes,
)
from socialcli.shards.reading import open_read
from socialcli.shards.sample import (
    STATUS,
    Damage,
    Sample,
    Writer,
    contents,
    read,
    read_all,
    scan,
    write,
)
from socialcli.shards.urls import is_url, public, public_text

__all__ = [
    "STATUS", "TAR_SUFFIXES", "Behind", "Checksum", "Damage", "FolderPublication", "ManyFiles",
    "Sample", "Writer", "check_output_file", "check_output_files", "check_output_folder",
    "check_there", "contents", "crc32_of", "discard_unfinished", "distinct_keys",
    "errors_location", "expand",
    "explain_full_disk", "file_stem", "is_safe", "is_tar", "is_url", "listed", "matches",
    "modified", "open_read", "parts", "public", "public_text", "publish", "publish_files",
    "publish_folder", "read", "read_all", "read_bytes", "read_errors", "refuse_file_name",
    "refuse_names", "remove", "remove_folder", "safe_key", "scan", "settle", "size",
    "size_and_modified", "split_name", "stem", "sweep", "why_missing", "without_suffix", "write",
    "write_bytes",
]  # fmt: skip
