"""The progress bar expected samples that an earlier stage had dropped (`--on-error drop`), or that
`generate` could not draw; pages and exports expected too few where failed samples are kept. With
`--captions N` it expected as many pictures as samples, and `--limit` drew more than it allows."""

import pytest
from parts import part

from socialcli import records, shards
from socialcli.errors import SampleFailed
from socialcli.pipeline import plan as planning
from socialcli.pipeline.run import RunOptions, planned, run_stage


@pytest.mark.parametrize("sidecar", [False, True])
@pytest.mark.parametrize("on_error", ["keep", "drop"])
def test_what_an_earlier_stage_left(make_shards, tmp_path, monkeypatch, on_error, sidecar):
    stage, out = part("stages", "caption"), tmp_path / "out"
    prepare = stage.prepare

    def some(config, sample):
        if sample.key == "00003":
            raise SampleFailed("torn")
        return prepare(config, sample)

    how = RunOptions(quiet=True, max_error_rate=1.0, on_error=on_error, sidecar=sidecar)
    with monkeypatch.context() as here:
        here.setattr(stage, "prepare", some)
        run_stage(
            "stages", "caption", {"backend": "given"}, [str(make_shards(1, 5))], str(out), how
        )
    source = str(out / "000.tar")
    keys = {sample.key for sample in shards.read(source)} if not sidecar else range(5)
    run = planned("stages", "caption", {"backend": "given"}, [source], str(tmp_path / "b"), how)
    assert planning.expected(run, list(run.tasks)) == len(keys)
    assert planning.samples([source]) == len(keys)


def test_pictures_of_several_captions(tmp_path):
    body = {"caption.json": records.dump(records.Caption("a", ["b", "c"]))}
    for name in ("0", "1"):
        keys = [f"{name}{n}" for n in range(3)]
        shards.write(tmp_path / f"{name}.tar", [(key, body) for key in keys])
    options = vars(part("methods.generate", "text").config_type(captions=2))
    sources, out = [str(tmp_path / f"{name}.tar") for name in ("0", "1")], str(tmp_path / "out")

    def run(limit):
        of = RunOptions(quiet=True, limit=limit)
        return planned("methods.generate", "text", options, sources, out, of)

    assert [task.limit for task in run(4).tasks] == [4]
    assert [task.limit for task in run(6).tasks] == [None]
    assert [task.limit for task in run(8).tasks] == [None, 2]
    assert planning.expected(run(4), list(run(4).tasks)) == 4
    assert planning.expected(run(8), list(run(8).tasks)) is None  # who knows how many texts
