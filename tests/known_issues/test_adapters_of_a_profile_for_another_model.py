"""With `--profile mini --model OTHER` the profile's adapter, made for the profile's model, was
refused in a line about a file that nobody had named; and gates of `--adapter-model`, of a profile
too, came in the place of those that a model had."""

import pytest
import scenes
from tiny import diffusion, interactdiffusion

from socialcli import shards

FLAGS = {
    "ssr": ("ssr-model", "--query", "nouns"), "ip-adapter": ("adapter-model",),
    "controlnet": ("controlnet-model",), "interactdiffusion": ("adapter-model",),
}  # fmt: skip


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A folder with a model of another shape, one with gates, and a shard."""
    root = tmp_path_factory.mktemp("other")
    diffusion.stable_diffusion(root / "plain")
    interactdiffusion.folder(root / "gated")
    shards.write(root / "s.tar", [("a", scenes.members())])
    return root


def line(run_cli, other, method, model, *more):
    words = ("generate", other / "s.tar", "-o", other / "out", "--profile", "mini", "--steps", 1)
    done = run_cli(*words, "--method", method, "--model", other / model, *more, code=2)
    assert done.stderr.count(b"\n") == 1 and not (other / "out").exists()
    return done.stderr.decode()


@pytest.mark.parametrize("method", FLAGS)
def test_the_line_says_whose_file_it_is_and_names_the_mend(run_cli, other, method):
    flag, *more = FLAGS[method]
    said = line(run_cli, other, method, "plain", *more)
    mend = f"with --model {other / 'plain'} give --{flag} too ('' for none)"
    assert f"It is the one of --profile mini, for the profile's own model: {mend}\n" in said
    own = line(run_cli, other, method, "plain", f"--{flag}", "none.safetensors", *more)
    assert "It is the one of" not in own  # what was named by hand is not the profile's


def test_gates_of_the_model_are_not_taken_away_in_silence(run_cli, other):
    said = line(run_cli, other, "interactdiffusion", "gated")
    assert "gated has gates of its own" in said and "give --adapter-model '' to draw" in said
