"""Files uploaded to a store: whole under their final names, or not there.

S3 takes a large object in parts, which nobody sees until the upload is completed, and which are
stored, and paid for, until it is completed or aborted. A process that is killed in between can do
neither; so the upload is noted beside the file that is uploaded, and whoever sweeps that file away
aborts it. Other stores forget unfinished uploads by themselves after some days.
"""

from __future__ import annotations

import contextlib
import json
import mimetypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from socialcli.errors import SocialcliError
from socialcli.shards.urls import filesystem, public

PART = 8 << 20  # bytes of a part
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
    if "s3" in fs.protocol and length >= 2 * PART:
        _in_parts(fs, path, file, location)
    else:
        fs.put_file(str(file), path)
    fs.invalidate_cache(path)
    arrived = fs.info(path).get("size")
    if arrived != length:
        raise SocialcliError(f"{public(location)}: uploaded {length} bytes but {arrived} arrived")


def _in_parts(fs: Any, path: str, file: Path, location: str) -> None:
    """Upload a file to S3 in parts, several at the same time; aborted if it cannot be completed."""
    from concurrent.futures import ThreadPoolExecutor

    bucket, key, _ = fs.split_path(path)
    length = file.stat().st_size
    kind = mimetypes.guess_type(key)[0]
    facts = {"ContentType": kind} if kind else {}
    begun = fs.call_s3("create_multipart_upload", Bucket=bucket, Key=key, **facts)["UploadId"]
    which = {"Bucket": bucket, "Key": key, "UploadId": begun}
    size = max(PART, -(-length // MOST))

    def send(number: int) -> dict[str, Any]:
        with open(file, "rb") as stream:
            stream.seek(size * (number - 1))
            data = stream.read(size)
        answer = fs.call_s3("upload_part", PartNumber=number, Body=data, **which)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    with _noted(file, location, begun):
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="parts")
        try:
            parts = list(pool.map(send, range(1, -(-length // size) + 1)))
            fs.call_s3("complete_multipart_upload", MultipartUpload={"Parts": parts}, **which)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # a part that arrives after it outlives an abort
            with contextlib.suppress(Exception):
                fs.call_s3("abort_multipart_upload", **which)
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _note(file: Path) -> Path:
    return file.with_name(f".parts-of{file.name}")


@contextlib.contextmanager
def _noted(file: Path, location: str, upload: str) -> Iterator[None]:
    """While it lasts, a note beside the file says that it is being uploaded in parts."""
    note = _note(file)
    note.write_text(json.dumps({"location": location, "upload": upload}), encoding="utf-8")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


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
