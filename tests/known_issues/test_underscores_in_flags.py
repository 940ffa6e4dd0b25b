"""Lines of other tools are pasted with underscores in their flags, ``--batch_size 4``."""

from __future__ import annotations

from conftest import members, samples

from socialcli import registry, shards
from socialcli.cli.flags import dashed


def test_flags_and_commands_are_taken_as_meant(tmp_path, run_cli):
    shards.write(tmp_path / "a.tar", samples(0, 2))
    run_cli("caption", tmp_path / "a.tar", "-o", tmp_path / "o", "--backend", "given",
            "--max_error_rate=0.5", "--batch_size", 4)  # fmt: skip
    run_cli("extract_entities", tmp_path / "o", "-o", tmp_path / "e", "--max_entities", 3)
    assert len(members(tmp_path / "e")) == 2
    assert registry.load("methods.generate", "textual_inversion").name == "textual-inversion"


def test_values_keep_their_underscores():
    given = ["import", "a_b/c", "--split", "val_1", "--images=x_y", "--", "--as_it_is"]
    assert dashed(given) == given
    assert dashed(["train", "--learning_rate=1e-5", "-o", "a_b"])[1] == "--learning-rate=1e-5"
