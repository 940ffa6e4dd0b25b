"""Where shards are: paths, globs, brace ranges, ``-``, URLs through fsspec, and ``a+b`` joins."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import stat
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any, cast

from socialcli import records
from socialcli.errors import SocialcliError, UsageError
from socialcli.shards import listing
from socialcli.shards.urls import filesystem, is_url, is_web, public, reaching

# What is read: an archive's suffix in capitals or not.
TAR_SUFFIXES = (
    ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst",
)  # fmt: skip
# What looks like a shard and is none that is read: other compressions, downloads under way.
_NOT_READ = re.compile(
    r"\.tar\.(lz4|lzma|lzo|lz|br|z|zip|7z|part\w*|partial|crdownload|download|incomplete|tmp|\d+)$"
    r"|\.(tlz|tlz4|tzo)$",
    re.I,
)
_ENDS = (*TAR_SUFFIXES, "/", "}", "*")
_APPLE_DOUBLE = b"\0\x05\x16\x07"  # what a Mac lays beside a file as ._NAME


def parts(location: str) -> list[str]:
    """The archives joined in one location: ``a.tar+b.tar`` -> two; a file whose own name has a
    plus sign is one."""
    pieces = location.split("+")
    archives: list[str] = []
    while pieces:
        runs = ["+".join(pieces[:n]) for n in range(1, len(pieces) + 1)]
        there = [n for n, run in enumerate(runs, 1) if run == "-" or _exists_literally(run)]
        # What is not there (a URL, a pattern) ends where an archive's name or a folder ends.
        ended = [n for n, run in enumerate(runs, 1) if run.lower().endswith(_ENDS)]
        taken = (there[-1:] or ended[:1] or [len(pieces)])[0]
        archives.append(runs[taken - 1])
        pieces = pieces[taken:]
    return [piece for piece in archives if piece]


def _exists_literally(location: str) -> bool:
    return bool(location) and not is_url(location) and Path(location).exists()


def expand(locations: list[str], check: bool = True) -> list[str]:
    """Every shard the arguments name, in order; each is readable by `read`.

    A folder stands for the tars in it, a glob for its matches (both sorted), a brace range for
    its members. In ``a+b`` both sides are joined one to one: where ``b`` is a folder, by the
    names of ``a``'s shards, else in order.

    Args:
        check: see that all of them are there. One slice of a run asks for its own shards only
            (`check_there`): the sidecars of another slice may still be in the making.

    Raises:
        UsageError: nothing there, no plain file, an archive in a folder that cannot be read, or
            the sides of a join have different numbers of shards.
    """
    expanded: list[str] = []
    for location in locations:
        first, *others = parts(location) or [""]
        if not first:
            raise UsageError(f"an input is '{location}', which names no shard")
        sides = [_expand_one(first)]
        for other in others:
            if other.endswith("/") or Path(other).is_dir():
                folder = other.rstrip("/")
                sides.append([f"{folder}/{PurePosixPath(shard).name}" for shard in sides[0]])
            else:
                sides.append(_expand_one(other))
        counts = [len(side) for side in sides]
        if len(set(counts)) > 1:
            numbers = " and ".join(map(str, counts))
            raise UsageError(
                f"{public(location)}: the joined sides have {numbers} shards; "
                "they are joined one to one, so the numbers must be equal"
            )
        expanded += ["+".join(joined) for joined in zip(*sides, strict=True)]
    if not expanded:
        raise UsageError("no input shards given")
    if check:
        check_there(expanded)
    return expanded


def matches(folder: str, pattern: str) -> list[str]:
    """The files of a folder or a prefix of URLs whose names match a pattern (``*.tar``), sorted."""
    if is_url(folder):
        return sorted(_glob_url(f"{folder.rstrip('/')}/{pattern}"))
    there = Path(folder)
    return sorted(f"{folder}/{file.name}" for file in there.glob(pattern) if file.is_file())


def check_there(locations: Iterable[str]) -> None:
    """See that every archive of these shards is there, as far as it is a local file.

    Raises:
        UsageError: one is not, or is no plain file.
    """
    for location in locations:
        for part in parts(location):
            if part != "-" and not is_url(part):
                plain_file(part)


def _expand_one(location: str) -> list[str]:
    if location == "-":
        return ["-"]
    if _exists_literally(location):
        return _tars(location) if Path(location).is_dir() else [location]
    braced = [location]
    if "{" in location:
        from braceexpand import braceexpand

        try:
            braced = list(braceexpand(location))
        except ValueError:
            raise UsageError(f"{public(location)}: unbalanced braces") from None
    expanded = []
    for one in braced:
        if is_url(one) and one.endswith("/"):
            expanded += _shards_of(one, _glob_url(one + "*"))
        elif is_url(one):
            matches = sorted(_glob_url(one)) if _has_magic(one) else [one]
            if not matches:  # a bucket that is not there has no matches either
                raise UsageError(f"{public(one)}: no such shards")
            expanded += matches
        elif Path(one).exists():
            expanded += _expand_one(one)
        else:
            matches = sorted(glob.glob(one))  # noqa: PTH207 - a pattern may be absolute
            expanded += matches or [one]
    return expanded


def _tars(folder: str) -> list[str]:
    """The shards in a local folder."""
    return _shards_of(folder, [str(p) for p in Path(folder).iterdir() if not _is_apple_double(p)])


def _shards_of(folder: str, files: Iterable[str]) -> list[str]:
    """Those of a folder's files that are shards, sorted.

    Raises:
        UsageError: there are none; or one that cannot be read would be passed over.
    """
    names = sorted(f for f in files if not PurePosixPath(f).name.startswith("._") or not is_url(f))
    for name in names:
        if _NOT_READ.search(name):
            raise UsageError(
                f"{public(name)}: neither .tar nor a compression that is read (.gz, .bz2, .xz, "
                f".zst); unpack it, or leave it out with '{public(folder).rstrip('/')}/*.tar'"
            )
    tars = [name for name in names if is_tar(name)]
    if not tars:
        what = "under this prefix" if is_url(folder) else "in this folder"
        mend = _import_first(folder) if _has_pictures(folder, names) else ""
        raise UsageError(f"{public(folder)}: no .tar files {what}{mend}")
    return tars


def _has_pictures(folder: str, names: list[str]) -> bool:
    """Whether a folder without shards holds pictures, itself or the folders in it."""
    inner = [] if is_url(folder) else Path(folder).glob("*/*")
    return any(_is_picture(name) for name in chain(names, map(str, islice(inner, 1000))))


def _is_picture(name: str) -> bool:
    return name.lower().endswith(tuple(f".{s}" for s in records.IMAGE_SUFFIXES))


def _import_first(folder: str) -> str:
    return f", but pictures; first make shards: socialcli import folder {folder} -o shards/images"


def is_tar(name: str) -> bool:
    """Whether a file's name is a shard's, in capitals or not."""
    return name.lower().endswith(TAR_SUFFIXES)


def without_suffix(name: str) -> str:
    """A shard's file name without ``.tar`` and the suffix of its compression."""
    for suffix in TAR_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _is_apple_double(file: Path) -> bool:
    """Whether a file holds only what a Mac knows of the file beside it."""
    if not file.name.startswith("._") or not file.is_file():
        return False
    with contextlib.suppress(OSError), open(file, "rb") as stream:
        return stream.read(4) == _APPLE_DOUBLE
    return False


def _has_magic(url: str) -> bool:
    """Whether a URL is a pattern; ``?`` begins the query of a web address."""
    return glob.has_magic(url.partition("?")[0] if is_web(url) else url)


def _glob_url(url: str) -> list[str]:
    fs, path = filesystem(url)
    scheme = url.partition("://")[0]
    fs.invalidate_cache()  # what another process wrote since is seen
    with reaching(url):
        return [m if is_url(m) else f"{scheme}://{m}" for m in fs.glob(path)]


def plain_file(location: str) -> None:
    """Refuse what is there but is no file that can be read twice.

    Raises:
        UsageError: a folder, a pipe, a socket or a device; or nothing is there.
    """
    try:
        mode = Path(location).stat().st_mode
    except OSError as error:
        there = Path(location).is_symlink()
        if there and error.errno == errno.ENOENT:
            target = os.readlink(location)  # noqa: PTH115
            raise UsageError(f"{location}: no such shard (a link to {target})") from None
        known = error.errno not in (errno.ENOENT, errno.ENOTDIR)
        why = f"no such shard ({error.strerror})" if known else "no such shard"
        raise UsageError(f"{location}: {why}") from None
    if stat.S_ISREG(mode):
        if _is_picture(location):
            raise UsageError(
                f"{location}: a picture, not a shard; first make shards: socialcli import folder "
                f"{PurePosixPath(location).parent} -o shards/images"
            )
        return
    if stat.S_ISDIR(mode):
        raise UsageError(f"{location}: a folder, not a shard; end it with / to mean its shards")
    if stat.S_ISFIFO(mode):
        mend = f"give it as standard input: socialcli ... - < {location}"
        raise UsageError(f"{location}: a pipe, and a shard is read more than once; {mend}")
    what = "a socket" if stat.S_ISSOCK(mode) else "a device"
    raise UsageError(f"{location}: {what}, not a file; standard input is given as -")


def size(location: str) -> int | None:
    """Bytes of one archive (not of a join), None where that cannot be known."""
    if is_url(location):
        return _facts(location).get("size")
    path = Path(location)
    with contextlib.suppress(OSError):
        return path.stat().st_size if location != "-" and path.is_file() else None
    return None


# What stores say of an object that changes with its content: S3, HTTP, Google, Azure, and others.
_VERSIONS = (
    "ETag", "etag", "Content-MD5", "Digest", "md5Hash", "crc32c", "generation", "LastModified",
    "Last-Modified", "last_modified", "updated", "mtime", "created",
)  # fmt: skip


def modified(location: str) -> int | str | None:
    """What changes when an archive is written again: a local one's time in nanoseconds, of a
    remote one the checksum, version or time that its store gives; None where nothing does."""
    if is_url(location):
        return _version(_facts(location))
    path = Path(location)
    return path.stat().st_mtime_ns if path.is_file() else None


def size_and_modified(location: str) -> tuple[int | None, int | str | None]:
    """`size` and `modified` from one question to a store, which answers it after a while."""
    if is_url(location):
        facts = _facts(location)
        return facts.get("size"), _version(facts)
    return size(location), modified(location)


def _facts(url: str) -> dict[str, Any]:
    """What a store says of a file, nothing where it is not there or cannot be asked."""
    there, info = listing.known(url)
    if there:
        return info or {}
    fs, path = filesystem(url)
    with contextlib.suppress(OSError, SocialcliError), reaching(url):
        facts: dict[str, Any] = fs.info(path)
        return facts
    return {}


def _version(facts: dict[str, Any]) -> str | None:
    return next((str(facts[name]) for name in _VERSIONS if facts.get(name)), None)


def read_bytes(location: str) -> bytes | None:
    """A small file's content, None if it is not there.

    Raises:
        SocialcliError: a store does not give it; a local one is a pipe or a device, of which
            some never end and none can be read twice.
    """
    try:
        if is_url(location):
            there, info = listing.known(location)
            if there and info is None:
                return None
            fs, path = filesystem(location)
            # Clients ask for the size first unless a range is asked for.
            part = {"start": 0, "end": info["size"]} if info and info.get("size") else {}
            with reaching(location):
                try:
                    return cast(bytes, fs.cat_file(path, **part))
                except FileNotFoundError:
                    return None
        mode = Path(location).stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise UsageError(f"{location}: not a plain file; write what it gives to a file first")
        return Path(location).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def remove(location: str) -> None:
    """Delete a file if it is there."""
    with contextlib.suppress(FileNotFoundError):
        if is_url(location):
            fs, path = filesystem(location)
            with reaching(location, "removed"):
                try:
                    fs.rm_file(path)
                except FileNotFoundError:
                    return
            fs.invalidate_cache(path)
        else:
            Path(location).unlink()
