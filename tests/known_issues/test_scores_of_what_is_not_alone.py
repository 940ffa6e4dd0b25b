"""Three numbers of `score` that depended on what lies around. Of a reference in two shards, once
with its annotations and once without, the last one counted, so that figures depended on the order
of --reference. Broken references were shares of the generated pictures ("3 of 2 pictures failed").
With --real, into a folder within the pictures' own, a second score took the small pictures of the
first one's page for pictures."""

from __future__ import annotations

import io
import itertools
import json

import alike
import pytest
from PIL import Image

from socialcli import records, shards
from socialcli.errors import SocialcliError
from socialcli.evaluation import run, samples
from socialcli.evaluation.settings import config_type

BOX = records.dump(records.Boxes(16, 16, [records.Box(1, (0.0, 0.0, 1.0, 1.0), "dog")]))
CAT = records.dump(records.Boxes(16, 16, [records.Box(1, (0.0, 0.0, 1.0, 1.0), "cat")]))
META = json.dumps({"schema": 1, "width": 16, "height": 16, "extra": {"subject": "rex"}}).encode()


def png(number: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (40 * number, 90, 90)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def score(tmp_path, monkeypatch):
    alike.take(monkeypatch)

    def score(inputs, metrics="clip-i", out="out", **options) -> run.Score:
        config = config_type()(metrics=metrics, device="cpu", dtype="float32")
        chosen = run.Options(resamples=0, **options)
        return run.score([str(tmp_path / inputs)], str(tmp_path / out), config, chosen)

    return score


def known(tmp_path, order, **shards_):
    for name, members in shards_.items():
        shards.write(tmp_path / f"{name}.tar", [("s", {"png": png(1), **members})])
    places = [str(tmp_path / f"{name}.tar") for name in order]
    return samples.reference(places, None, {"boxes.json", "meta.json"})[0]["s"]


@pytest.mark.parametrize("order", list(itertools.permutations(("bare", "boxes", "meta"))))
def test_a_reference_in_several_shards_has_the_records_of_all(tmp_path, order):
    one = known(tmp_path, order, bare={}, boxes={"boxes.json": BOX}, meta={"meta.json": META})
    assert set(one.records) == {"boxes.json", "meta.json"} and one.subject == "rex"


@pytest.mark.parametrize("order", [("dog", "cat"), ("cat", "dog")])
def test_references_that_contradict_each_other_are_refused(tmp_path, order):
    with pytest.raises(SocialcliError, match=r"with another boxes\.json; score them apart"):
        known(tmp_path, order, dog={"boxes.json": BOX}, cat={"boxes.json": CAT})


def test_broken_references_are_no_generated_pictures(tmp_path, score, capsys):
    info = json.dumps({"prompt": "a dog", "source_key": "s0"}).encode()
    shards.write(tmp_path / "gen.tar", [(f"g{n}", {"png": png(n), "generated.json": info})
                                        for n in range(2)])  # fmt: skip
    whole = [(f"s{n}", {"png": png(n % 6)}) for n in range(90)]
    broken = [(f"x{n}", {"png": b"no picture"}) for n in range(3)]
    shards.write(tmp_path / "ref.tar", whole + broken)
    result = score("gen.tar", reference=[str(tmp_path / "ref.tar")])
    assert len(result.cases) == 2 and len(result.lost) == 3
    said = capsys.readouterr().err
    assert "3 of 93 reference pictures could not be used whole" in said
    with pytest.raises(SocialcliError, match="3 of 93 reference pictures failed, more than"):
        score("gen.tar", reference=[str(tmp_path / "ref.tar")], max_error_rate=0.01)


def test_a_page_is_no_picture(tmp_path, score):
    (tmp_path / "real" / "pictures").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "real" / f"{number}.png").write_bytes(png(number))
    own = tmp_path / "real" / "pictures" / "4.jpg"  # somebody's own folder may be called so
    Image.new("RGB", (16, 16)).save(own)
    for out in ("real/score", "real", "real/score", "real"):
        assert len(score("real", out=out, real=True).cases) == 4
        assert list((tmp_path / out / "pictures").glob("*.jpg"))
