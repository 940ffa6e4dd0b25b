"""URLs through fsspec: what is one, what of it may be told, and what went wrong in reaching it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from socialcli.errors import MissingPackage, SocialcliError, UsageError

_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.I)
# In a message, joined ones too. Schemes are short: a word without end must not be looked through
# from each of its letters.
_IN_TEXT = re.compile(
    r"[a-z][a-z0-9.-]{0,30}://(?:(?!\+[a-z][a-z0-9.-]{0,30}://)[^\s'\"<>])+", re.I
)
# Parameters that let somebody in for a while: AWS, Google, Azure, Alibaba, CloudFront, and plain
# words. With one of them in a URL, those of its times and of Azure's grant go too.
_SIGNS = re.compile(
    r"^(x-(amz|goog|oss)-.*|googleaccessid|awsaccesskeyid|ossaccesskeyid|key-pair-id|policy|sig"
    r"|.*(signature|token|secret|passw|credential|hmac|jwt|session|api[-_]?key).*|key|sign|o?auth"
    r"|authorization)$",
    re.I,
)
_GRANT = re.compile(
    r"^(expir.*|exp|se|st|sp|sv|sr|spr|ss|srt|sip|si|sdd|skoid|sktid|skt|ske|sks|skv|saoid"
    r"|suoid|scid|ses|rscc|rscd|rsce|rscl|rsct|response-content-.*|date|time.*|ts|ttl|nonce|hash)$",
    re.I,
)


def is_url(location: str) -> bool:
    return bool(_URL.match(location))


def is_web(location: str) -> bool:
    return location.lower().startswith(("http://", "https://"))


def public(location: str) -> str:
    """A location as it may be written down: without password and signature.

    The same object under a renewed signature has the same public location. Everything but a URL
    comes back as it is.
    """
    if "://" not in location or not is_url(location):
        return location
    try:
        pieces = urlsplit(location)
        host = pieces.netloc
        user, at, rest = host.rpartition("@")
        if at and (":" in user or pieces.scheme.lower() in ("http", "https", "ftp", "ftps")):
            host = rest
        query = parse_qsl(pieces.query, keep_blank_values=True)
    except ValueError:
        return location.partition("?")[0]
    if host == pieces.netloc and not query:
        return location
    if any(_SIGNS.match(name) for name, _ in query):
        kept = [(n, v) for n, v in query if not _SIGNS.match(n) and not _GRANT.match(n)]
        return urlunsplit(pieces._replace(netloc=host, query=urlencode(kept), fragment=""))
    return urlunsplit(pieces._replace(netloc=host))


def public_text(text: str) -> str:
    """A message with every URL in it made public."""
    return _IN_TEXT.sub(lambda match: public(match[0]), text) if "://" in text else text


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path within it.

    Raises:
        MissingPackage: the package for this scheme is not installed.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        if isinstance(error, ValueError) and "Protocol not known" in str(error):
            raise UsageError(f"{public(url)}: {error}") from None
        raise MissingPackage(
            f"support for {url.partition('://')[0]}:// ({error})", "remote"
        ) from None


@contextlib.contextmanager
def reaching(url: str, done: str = "read") -> Iterator[None]:
    """Whatever a store's client raises becomes one line with the status the store gave.

    Args:
        done: what was being done to what the URL names, as a participle.

    Raises:
        SocialcliError: instead of any other exception.
    """
    try:
        yield
    except (SocialcliError, MemoryError):
        raise
    except Exception as error:
        raise SocialcliError(f"{public(url)}: {_why(error, done)}") from None


def _why(error: BaseException, done: str) -> str:
    """The reason in words, with an HTTP status where one of the chained exceptions has it."""
    chain: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in chain:
        chain.append(step)
        step = step.__cause__ or step.__context__
    for one in chain:
        status = getattr(one, "status", None)
        if isinstance(status, int):
            words = getattr(one, "message", "") or ""
            mend = {
                401: "; it wants a password or a token",
                403: "; a signature may have run out, or it is not for you",
                404: "; there is no such object",
                410: "; it is gone",
            }.get(status, "")
            return f"the server answers {status} {words}".rstrip() + mend
    if any(isinstance(one, FileNotFoundError) for one in chain):
        return "not found there (status 404, or no such bucket)"
    reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return f"cannot be {done} ({public_text(reason)})"
