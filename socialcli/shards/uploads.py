"""Files uploaded to a store: whole under their final names, or not there.

S3 takes a large object in parts, which nobody sees until the upload is completed, and which are
stored, and paid for, until it is completed or aborted. A process that is killed in between can do
neither; so the upload is noted beside the file that is uploaded, and whoever sweeps that file away
aborts it. Other stores forget unfinished uploads by themselves after some days.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import mimetypes
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from socialcli.errors import SocialcliError
from socialcli.shards.checksum import crc32
from socialcli.shards.urls import filesystem, public

LEAST, PART = 5 << 20, 8 << 20  # bytes of a part: by S3's rule at least, as a rule at most
MOST = 10_000  # parts of one upload, by S3's rule
AT_ONCE = 10  # parts that are sent at the same time
_made: set[str] = set()  # remote folders that are there


def upload(file: Path, location: str) -> None:
    """Upload a file under its final name: it has that only once all of it has arrived.

    Raises:
        SocialcliError: another number of bytes arrived.
    """
    fs, path = filesystem(location)
    folder = location.rpartition("/")[0]
    parent = path.rpartition("/")[0]
    if parent and folder not in _made:
        fs.makedirs(parent, exist_ok=True)
        _made.add(folder)
    length = file.stat().st_size
    proven = False
    if "s3" not in fs.protocol:
        fs.put_file(str(file), path)
    elif length >= 2 * LEAST:
        proven = _in_parts(fs, path, file, location)
    else:
        proven = _at_once(fs, path, file.read_bytes())
    fs.invalidate_cache(path)
    if proven:
        return
    arrived = fs.info(path).get("size")
    if arrived != length:
        raise SocialcliError(f"{public(location)}: uploaded {length} bytes but {arrived} arrived")


def _at_once(fs: Any, path: str, data: bytes) -> bool:
    """Upload bytes to S3 in one request; whether its answer proves that they have arrived."""
    facts = _facts(fs, path)
    sums = _sums(facts, data)
    answer = fs.call_s3("put_object", Body=data, **{**facts, **sums})
    return bool(sums) and answer.get("ChecksumCRC32") == sums["ChecksumCRC32"]


def _in_parts(fs: Any, path: str, file: Path, location: str) -> bool:
    """Upload a file to S3 in parts, several at the same time; aborted if it cannot be completed.

    Returns:
        Whether the store's answers prove that it is there: the checksums of all parts are right,
        and the object's tag is that of these parts in this order.
    """
    facts = _facts(fs, path)
    size = part_size(file.stat().st_size)
    count = -(-file.stat().st_size // size)
    begun: Future[dict[str, str]] = Future()
    right: list[int] = []  # parts whose checksum the store gave back

    def send(number: int) -> dict[str, Any]:
        with open(file, "rb") as stream:
            stream.seek(size * (number - 1))
            data = stream.read(size)
        # The client would take longer for them, and sum one part after the other.
        sums = _sums(facts, data)
        which = begun.result()
        answer = fs.call_s3("upload_part", PartNumber=number, Body=data, **sums, **which)
        if sums and answer.get("ChecksumCRC32") == sums["ChecksumCRC32"]:
            right.append(number)
        sums.pop("ChecksumAlgorithm", None)
        return {"PartNumber": number, "ETag": answer["ETag"], **sums}

    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="parts")
    try:
        sent = pool.map(send, range(1, count + 1))  # they are read while the upload is begun
        answer = fs.call_s3("create_multipart_upload", **facts)
        which = {name: facts[name] for name in ("Bucket", "Key")}
        which["UploadId"] = answer["UploadId"]
        try:
            noted = json.dumps({"location": location, "upload": which["UploadId"]})
            _note(file).write_text(noted, encoding="utf-8")
            begun.set_result(which)
            whole = {"Parts": list(sent)}
            answer = fs.call_s3("complete_multipart_upload", MultipartUpload=whole, **which)
        except BaseException:
            begun.cancel()
            pool.shutdown(cancel_futures=True)  # a part that comes after it outlives an abort
            with contextlib.suppress(Exception):
                fs.call_s3("abort_multipart_upload", **which)
            raise
        finally:
            _note(file).unlink(missing_ok=True)
    finally:
        begun.cancel()  # or the parts would wait for ever for what did not begin
        pool.shutdown(cancel_futures=True)
    tag = _tag([part["ETag"] for part in whole["Parts"]])
    return len(right) == count and answer.get("ETag") == tag


def part_size(length: int) -> int:
    """Bytes of each part of an upload but the last: as many parts as are sent at once where they
    are not too small for S3 then, more where they would be large."""
    count = max(min(length // LEAST, AT_ONCE), -(-length // PART), 1)
    return -(-length // min(count, MOST))


def _facts(fs: Any, path: str) -> dict[str, str]:
    """What every upload to S3 tells of its object. Checksums, by which the store sees that bytes
    have arrived, are part of it as the client's settings want it: there are stores without them."""
    bucket, key, _ = fs.split_path(path)
    facts = {"Bucket": bucket, "Key": key}
    if kind := mimetypes.guess_type(key)[0]:
        facts["ContentType"] = kind
    wish = getattr(fs.s3.meta.config, "request_checksum_calculation", "")
    if wish == "when_supported":
        facts["ChecksumAlgorithm"] = "CRC32"
    return facts


def _sums(facts: dict[str, str], data: bytes) -> dict[str, str]:
    """What is sent with these bytes where the object has checksums."""
    if "ChecksumAlgorithm" not in facts:
        return {}
    encoded = base64.b64encode(crc32(data).to_bytes(4, "big")).decode()
    return {"ChecksumAlgorithm": "CRC32", "ChecksumCRC32": encoded}


def _tag(parts: list[str]) -> str:
    """The tag that S3 gives an object of parts with these tags; encrypted ones have others."""
    with contextlib.suppress(ValueError):
        sums = b"".join(bytes.fromhex(tag.strip('"')) for tag in parts)
        return f'"{hashlib.md5(sums, usedforsecurity=False).hexdigest()}-{len(parts)}"'
    return ""


def _note(file: Path) -> Path:
    """Where it is noted that a file is being uploaded in parts."""
    return file.with_name(f".parts-of{file.name}")


def abort_noted(file: Path) -> None:
    """Abort the upload of a file whose process was killed in the middle of it, if there is one.

    Where the store cannot be reached, or not by us, the parts stay: what else removes them is a
    rule of the bucket.
    """
    note = _note(file)
    with contextlib.suppress(Exception):
        noted = json.loads(note.read_bytes())
        fs, path = filesystem(noted["location"])
        bucket, key, _ = fs.split_path(path)
        fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=noted["upload"])
    note.unlink(missing_ok=True)
