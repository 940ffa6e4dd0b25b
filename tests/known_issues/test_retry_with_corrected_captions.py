"""``--retry-failed`` refused a corrected captions file as "another run", though the captions
that it had lacked were why samples had failed."""

from __future__ import annotations

from conftest import members, picture

from socialcli import shards


def test_a_corrected_file_does_exactly_the_failed_ones_again(run_cli, tmp_path):
    for number in range(2):
        shards.write(
            tmp_path / f"in/{number}.tar",
            [(f"{number}{key}", {"jpg": picture()}) for key in "abc"],
        )
    file = tmp_path / "captions.csv"
    good = "0a,one\n0b,two\n1a,four\n1b,five\n1c,six\n"
    file.write_text("key,caption\n" + good)
    line = ["caption", tmp_path / "in", "-o", tmp_path / "out", "--captions", file]
    run_cli(*line, "--max-error-rate", 1)
    before = (tmp_path / "out/1.tar").read_bytes()
    # Corrected: what was missing is there; another row was edited too, and is not done again.
    file.write_text("key,caption\n0c,three\n" + good.replace("one", "ONE"))
    assert b"was made by another run" in run_cli(*line, code=2).stderr
    run_cli(*line, "--retry-failed")
    by_key = members(tmp_path / "out/0.tar")
    contents = {key: b"".join(by_key[key].values()) for key in by_key}
    assert b'"text":"one"' in contents["0a"].replace(b": ", b":")
    assert b'"text":"three"' in contents["0c"].replace(b": ", b":")
    assert (tmp_path / "out/1.tar").read_bytes() == before
    # All shards are of the corrected run now: the plain command finds nothing to do.
    done = run_cli(*line)
    assert b"2 of 2 shards are finished already" in done.stderr
    assert (tmp_path / "out/1.tar").read_bytes() == before


def test_other_options_are_still_another_run(run_cli, make_shards, tmp_path):
    file = tmp_path / "captions.csv"
    file.write_text("key,caption\n00000,one\n")
    line = ["caption", make_shards(1, 2), "-o", tmp_path / "out", "--captions", file]
    run_cli(*line, "--max-error-rate", 1)
    done = run_cli(*line, "--retry-failed", "--seed", 5, code=2)
    assert b"seed was 0, now 5" in done.stderr
