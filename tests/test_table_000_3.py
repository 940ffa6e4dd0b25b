"""The Makefile of Table 3 of the feedback paper: every row and set by name, one set to its end."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import members
from test_pipelines import DATA, commands, make
from tiny import diffusion as tiny
from tiny import fastcomposer as tiny_composer

from socialcli.miniature.zoo import cards

__all__ = ["commands"]  # a fixture: `make` starts commands from one preloaded process


def test_all_rows_of_all_sets_with_the_real_profile(tmp_path: Path) -> None:
    """What would run: four methods on Concept101, alone and in pairs, and on both DreamBenches."""
    said = make("table-000-3.mk", "-n", f"OUT={tmp_path}", "DREAMBENCH=db", "DREAMBENCHPLUS=dbpp",
                "OURS=runs/feedback").replace("\\\n", " ")  # fmt: skip
    for command in ("import concept101 data/customconcept101", "import dreambooth db",
                    "import dreambench-plus dbpp", "benchmarks.concept101",
                    "--method ssr --ssr-model runs/feedback"):  # fmt: skip
        assert command in said, command
    drawn = re.findall(r"generate .* --method (\S+) .*--profile sd15", said)
    assert sorted(drawn) == sorted(["ip-adapter", "fastcomposer", "ssr", "ssr"] * 4)
    assert re.findall(r"--captions (\d+)", said) == ["20"] * 4 + ["25"] * 4 + ["9"] * 4
    judges = re.findall(r"--clip-model (\S+) --dino-model (\S+)", said)
    assert set(judges) == {("openai/clip-vit-base-patch32", "facebook/dino-vits16"),
                           ("openai/clip-vit-base-patch32", "facebook/dino-vits8")}  # fmt: skip
    assert sum(dino.endswith("vits8") for _, dino in judges) == 4
    listed = make("table-000-3.mk", "models")
    assert "hf download mit-han-lab/fastcomposer" in listed and "facebook/dino-vits16" in listed


def test_pairs_of_concepts_to_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both concepts of a prompt are fused into it, each at its class."""
    model = tiny.stable_diffusion(tmp_path / "sd")
    tiny_composer.checkpoint(tmp_path / "fast.bin")
    default = "models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    shutil.copytree(model, tmp_path / "hub" / default / "snapshots" / "0")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    out = tmp_path / "out"
    make(
        "table-000-3.mk", f"CONCEPT101={DATA}/concept101", f"OUT={out}", "PROFILE=mini", "SSR=",
        "SETS=concept101-pairs", "ROWS=fastcomposer ssr", "DRAW=--steps 1",
        f"method_fastcomposer=--method fastcomposer --model {tmp_path}/fast.bin",
        f"CLIP={cards.folder('clip')}", f"DINO={cards.folder('dino')}",
        "SCORE=--resamples 10 --show 0",
    )  # fmt: skip
    drawn = members(out / "concept101-pairs" / "fastcomposer")
    made = json.loads(drawn["000-00"]["generated.json"])
    assert made["prompt"] == "the cat on the chair" and made["method"] == "fastcomposer"
    assert [one["query"] for one in made["references"]] == ["cat", "chair"]
    reached, paper = (out / "results.md").read_text().split("The paper")
    for name, row in (("FastComposer", "fastcomposer"), ("SSR-Encoder", "ssr")):
        score = json.loads((out / f"concept101-pairs/scores/{row}/score.json").read_text())
        value = score["columns"]["clip_t_score"]["value"]
        assert re.search(rf"\| {name} \| \**{value:.4f}", reached), reached
    assert "| FastComposer | 0.7456 | 0.6552 | 0.3574 |" in paper
