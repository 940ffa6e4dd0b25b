"""An installation was heavier than its use: `make` took the CUDA build where no card is, the image
had Ray and the tests in it, webdataset was installed for one benchmark; and what a user runs, the
Makefiles, did not come along."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from socialcli import records, shards
from socialcli.exporters import loader

ROOT = Path(__file__).parents[2]


def setup(**given: str) -> str:
    """What `make setup` would run."""
    line = ["make", "-n", "-B", "setup", *(f"{k}={v}" for k, v in given.items())]
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "PIP_"))}
    return subprocess.run(
        line, cwd=ROOT, capture_output=True, text=True, check=True,
        env={**plain, "PIP_CONFIG_FILE": os.devnull},
    ).stdout  # fmt: skip


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="a card is here")
def test_without_a_card_make_takes_the_build_for_the_cpu():
    assert "index='https://download.pytorch.org/whl/cpu'" in setup()
    assert "index=''" in setup(TORCH_INDEX="")
    assert "index='https://example.org/simple'" in setup(TORCH_INDEX="https://example.org/simple")
    assert "-e '.[dev]'" in setup(EXTRAS="dev")


def test_pips_own_index_is_left_alone(tmp_path):
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://example.org/simple\n")
    done = subprocess.run(
        ["make", "-n", "-B", "setup"], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "PIP_CONFIG_FILE": str(config)},
    )  # fmt: skip
    assert "index=''" in done.stdout


def test_the_makefiles_travel_in_the_wheel(run_cli):
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    shipped = build["targets"]["wheel"]["force-include"]
    for file in (ROOT / "pipelines").glob("*.mk"):
        place = shipped.get(f"pipelines/{file.name}")
        assert place == (
            None if file.name == "zoo.mk" else f"socialcli/shipped_pipelines/{file.name}"
        )
    listed = run_cli("pipelines").stdout.decode()
    assert "hico-det " in listed and "photos " in listed and "\nchain" not in listed
    place = Path(run_cli("pipelines", "hico-det").stdout.decode().strip())
    assert place.name == "hico-det.mk" and place.is_file()
    assert b"Did you mean 'hico-det'" in run_cli("pipelines", "hico", code=2).stderr


def test_the_image_is_for_running():
    text = (ROOT / "Dockerfile").read_text()
    assert "COPY tests" not in text and "ray" not in text.partition("ARG EXTRAS=")[2].split()[0]
    kept = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if "!" in line[:1]]
    for line in text.splitlines():
        if line.startswith("COPY"):
            for name in line.split()[1:-1]:
                assert f"!{name}" in kept, name


def test_webdataset_reads_annotated_shards(run_cli, tmp_path):
    run_cli("import", "world", "test", "--scenes", 5, "--shard-size", 2, "-o", tmp_path / "w")
    expected = {s.key: s for f in sorted(tmp_path.glob("w/*.tar")) for s in shards.read(str(f))}
    rows = list(loader.dataset(str(tmp_path / "w")))
    assert [row["key"] for row in rows] == list(expected)
    for row in rows:
        sample = expected[row["key"]]
        assert row["people.json"] == sample.record(records.People)
        assert row["picture"].size == (96, 96) and row["picture"].mode == "RGB"
        assert row["generated.json"] is None and row["identity.npy"] is None
    shuffled = [row["key"] for row in loader.dataset(str(tmp_path / "w"), shuffle=100, seed=3)]
    assert sorted(shuffled) == sorted(expected) and shuffled != list(expected)


def test_its_workers_share_the_shards_and_bad_samples_are_left_out(make_shards, tmp_path):
    from torch.utils.data import DataLoader

    make_shards(2, 3)
    shards.write(tmp_path / "in/bad.tar", [("bad", {"people.json": b"[]"}), ("x", {"txt": b"y"})])
    calls: list[tuple[str, str]] = []
    rows = loader.dataset(str(tmp_path / "in"), failed=lambda *what: calls.append(what))
    assert len([row["key"] for row in rows]) == 7 and calls[0][0] == "bad"
    assert calls[0][1].startswith("people.json")
    plain = loader.dataset(str(tmp_path / "in")).map(lambda row: row["key"])
    keys = list(DataLoader(plain, batch_size=None, num_workers=0))
    assert sorted(keys) == sorted(["x", *(f"{n:05d}" for n in range(6))])
