"""A shard that was packed after its run (``gzip 000000.tar``) lost what the run noted beside it:
`inspect` listed none of its failed samples, and later commands said to run a stage that had run."""

from __future__ import annotations

import gzip
import json
import lzma

import pytest
from conftest import picture

from socialcli import records, shards
from socialcli.cli.commands import validate
from socialcli.errors import SampleFailed

PACKED = [("a.tar.gz", gzip.compress), ("a.tgz", gzip.compress), ("A.TAR.XZ", lzma.compress)]


@pytest.fixture
def captioned(tmp_path, run_cli):
    """A shard of two samples of which `caption` failed on the second."""
    captions = tmp_path / "captions.csv"
    captions.write_text("key,caption\na,a dog\n")
    shards.write(tmp_path / "in.tar", [(key, {"jpg": picture(1)}) for key in "ab"])
    run_cli("caption", tmp_path / "in.tar", "-o", tmp_path / "out/a.tar", "--backend", "given",
            "--captions", captions, "--max-error-rate", 1)  # fmt: skip
    return tmp_path / "out" / "a.tar"


@pytest.mark.parametrize(("name", "pack"), PACKED)
def test_notes_of_a_packed_shard(captioned, run_cli, name, pack):
    packed = captioned.with_name(name)
    packed.write_bytes(pack(captioned.read_bytes()))
    captioned.unlink()
    if name[0] == "A":
        for notes in captioned.parent.glob("a.*.json*"):
            notes.rename(notes.with_name("A" + notes.name[1:]))

    seen = json.loads(run_cli("inspect", packed, "--json").stdout)
    assert seen["lost"] == {"failed": 1}
    *_, last = shards.read(str(packed))
    with pytest.raises(SampleFailed, match="`socialcli caption` failed on this sample"):
        last.record(records.Caption)
    assert list(validate.check_beside(str(packed))) == []


def test_a_changed_plain_shard_is_still_told(captioned):
    captioned.write_bytes(captioned.read_bytes() + b"\0" * 512)
    (problem,) = validate.check_beside(str(captioned))
    assert "its stats file says" in problem.what
