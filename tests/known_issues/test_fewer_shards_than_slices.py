"""``make -jN`` of every data-set Makefile broke where a data set has fewer shards than N slices: an
empty slice makes no folder, and the Makefile could not leave its mark in it. And a slice asked for
the sidecars of all the others, which are not made yet when slices run at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import members

CHAIN = Path(__file__).parents[2] / "pipelines" / "chain.mk"
# The real command line with captions that are given, in the place of every stage.
STAND_IN = """
import sys
from socialcli.cli.app import main
words = sys.argv[1:]
images = next(w for w in words if "/images/" in w)
output, part = words[words.index("-o") + 1], words[words.index("--slice") + 1]
sys.argv[1:] = ["caption", images, "-o", output, "--slice", part, "--sidecar",
                "--backend", "given"]
main()
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_chain_runs_to_its_end(make_shards, tmp_path):
    make_shards(1, 2, "out/images")
    (tmp_path / "out/images/.done").touch()
    (tmp_path / "stage.py").write_text(STAND_IN)
    line = [
        "make", "-s", "-j2", "-f", str(CHAIN), "N=2", f"OUT={tmp_path}/out", "RUN=--quiet",
        f"SOCIALCLI={sys.executable} {tmp_path}/stage.py",
    ]  # fmt: skip
    # The empty slice first, and nothing else: the order that -j gives by chance.
    done = subprocess.run([*line, f"{tmp_path}/out/people/.slice-1"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert not list((tmp_path / "out").glob("people/*.tar"))
    done = subprocess.run([*line, f"{tmp_path}/out/people/.slice-0"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert len(members(tmp_path / "out/people/000.tar")) == 2


def test_an_empty_slice_says_so_and_ends_well(run_cli, make_shards, tmp_path):
    line = ["caption", make_shards(1, 2), "-o", tmp_path / "o", "--backend", "given"]
    done = run_cli(*line, "--slice", "1/3")
    assert b"this slice has no shards" in done.stderr and not (tmp_path / "o").exists()
