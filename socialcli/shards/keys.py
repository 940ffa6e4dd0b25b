"""How a member's name splits into key and suffix, and how a safe key is made from a file path."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"\\|?*+{}\[\]]')

_NAME, _ENDING = 255, 35  # bytes of a file's name at most, and of them those kept for its suffix


def split_name(name: str) -> tuple[str, str] | None:
    """``"a/b/000.caption.json"`` -> ``("a/b/000", "caption.json")``, as WebDataset splits it.

    The key ends at the first dot of the base name; the suffix is lower-cased. None for a name
    that belongs to no sample: no suffix, a hidden file, or ``__meta__`` style names. A leading
    ``./`` (as ``tar -C folder .`` writes) stays part of the key, or new members would not join
    their sample in other readers.
    """
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    if not dot or not stem or not suffix or (base.startswith("__") and base.endswith("__")):
        return None
    return folder + slash + stem, suffix.lower()


def is_safe(name: str) -> bool:
    """Whether a member name stays inside the folder it would be unpacked in."""
    parts = name.replace("\\", "/").split("/")
    return not name.startswith(("/", "\\")) and ".." not in parts and "\0" not in name


def safe_key(relative_path: str) -> str:
    """A key that every WebDataset reader splits back correctly, from a file's relative path.

    The file's suffix goes; further dots in the base name, control characters, and characters
    that shells, globs or this program's own locations treat specially become ``_``; ``.`` and
    ``..`` folders are dropped; the text is normalised to NFC so that the same name typed on two
    systems is one key. Two different paths can meet in one key: whoever calls this for many
    files resolves that (see `distinct_keys`).
    """
    path = unicodedata.normalize("NFC", relative_path.replace("\\", "/"))
    folder, _, base = path.rpartition("/")
    stem = base.rpartition(".")[0] or base
    parts = [p for p in folder.split("/") if p not in ("", ".", "..")]
    parts = [_FORBIDDEN.sub("_", p) for p in parts]
    stem = _FORBIDDEN.sub("_", stem).replace(".", "_").strip() or "_"
    if stem.startswith("__"):  # WebDataset would take __x__ for shard metadata
        stem = "k" + stem
    return "/".join([*parts, stem]).encode("utf-8", "replace").decode()


def distinct_keys(relative_paths: list[str]) -> list[str]:
    """`safe_key` of each path; the second and later paths that meet in a key get ``-2``, ``-3``...

    The order of ``relative_paths`` decides, so give them sorted.
    """
    taken: set[str] = set()
    keys = []
    for path in relative_paths:
        key = base = safe_key(path)
        number = 1
        while key in taken:
            number += 1
            key = f"{base}-{number}"
        taken.add(key)
        keys.append(key)
    return keys


def file_stem(key: str) -> str:
    """A key as the path of a file, to which a suffix of at most 35 bytes is added.

    Nearly every file system limits a name to 255 bytes: see `shortened`.
    """
    *folders, base = key.split("/")
    parts = [shortened(folder, _NAME) for folder in folders]
    return "/".join([*parts, shortened(base, _NAME - _ENDING)])


def shortened(name: str, most: int) -> str:
    """A name of at most ``most`` bytes. Of a longer one the beginning stays, and a checksum of the
    whole stands for the rest: names stay different, and are the same on every run."""
    encoded = name.encode("utf-8", "surrogatepass")
    if len(encoded) <= most:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return f"{encoded[: most - 17].decode(errors='ignore')}-{digest}"
