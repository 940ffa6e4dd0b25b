"""Lines that did not name the file: a reference, a mask, a region or a control that is no picture
was `not a picture`, without saying which; a reference that is a shard, or too narrow to show
anything, was taken for a picture. A file that outgrew `ulimit -f` was `writing failed`. On a disk
that cannot be written to, the line that said so was followed by a traceback."""

import resource

import disks
import pytest
from conftest import picture, samples

from socialcli import shards
from socialcli.errors import SampleFailed, SocialcliError
from socialcli.generation import references
from socialcli.generation.requests import Wanted
from socialcli.vision import images


@pytest.mark.parametrize(
    "name, data, why",
    [
        ("text.jpg", b"hello you", "text.jpg: not a picture"),
        ("empty.png", b"", "empty.png: the picture has zero bytes"),
        ("cut.jpg", picture()[:-60], "cut.jpg: the picture's header cannot be read"),
        ("thin.png", picture(0, (2, 900), "PNG"), "thin.png: a picture of 2x900 pixels is too"),
        ("a.tar", b"x", "a.tar is a shard: give it as --references"),
    ],
)
def test_a_reference_says_which(tmp_path, name, data, why):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SampleFailed) as error:
        references.find(Wanted(str(tmp_path / name), "dog"), (), "k", "a dog")
    assert str(error.value).startswith(f"the reference {tmp_path}/{why}")
    assert str(error.value).count(name) == 1


def test_a_mask_says_which(tmp_path):
    (tmp_path / "r.png").write_bytes(picture(kind="PNG"))
    (tmp_path / "m.png").write_bytes(b"no")
    wanted = Wanted(str(tmp_path / "r.png"), "dog", by_mask=True, mask=str(tmp_path / "m.png"))
    with pytest.raises(SampleFailed, match=r"m\.png: not a picture"):
        references.find(wanted, (), "k", "a dog")
    with pytest.raises(SampleFailed, match=r"gone\.png: cannot be read \(No such file"):
        images.decode_file(tmp_path / "gone.png")


def test_a_file_that_may_not_grow(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(SocialcliError, match=r"big\.tar: no file may grow that large here"):
            shards.write(tmp_path / "big.tar", [("a", {"bin": bytes(1 << 18)})])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_cannot_be_written_to(tmp_path, run_cli):
    with disks.mounted(tmp_path / "disk", "ro") as place:
        shards.write(tmp_path / "a.tar", samples(0, 2))
        done = run_cli("export", tmp_path / "a.tar", "-o", place / "coco.json", code=2)
    assert done.stderr.decode() == (
        f"socialcli: error: {place}/coco.json: nothing can be written in {place} (Read-only "
        "file system); give another place\n"
    )


@pytest.mark.parametrize(
    "words, line",
    [
        (("--limit", "0"), "--limit 0: at least 1"),
        (("--limit=1.5",), "--limit 1.5: expected a whole number"),
        (("--columns", "40"), "--columns 40: at most 12"),
    ],
)
def test_a_number_out_of_bounds_is_named(run_cli, words, line):
    """Typer said "Input should be greater than or equal to 1", and not what had been given."""
    done = run_cli("inspect", "a.tar", *words, code=2)
    assert done.stderr.decode().splitlines()[-1] == f"Error: {line}"
