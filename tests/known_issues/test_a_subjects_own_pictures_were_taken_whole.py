"""`score` was to compare a subject's crop with the subject cut out of its own pictures, and
compared it with the whole of them: boxes of pictures that no sample names were not read. So CLIP-I
and SAS of subjects, and with them who was missing, swapped or blended, were told by backgrounds."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy
from PIL import Image

from socialcli import backends, shards
from socialcli.backends import ModelSpec

CLIP = Path(shards.__file__).parents[1] / "miniature" / "weights" / "clip"


def test_they_are_cut_out(tmp_path, run_cli):
    run_cli("import", "world", "eleven", "--scenes", "2", "-o", tmp_path / "own")
    run_cli("import", "world", "compositions", "--scenes", "1", "-o", tmp_path / "layouts")
    (layout,) = shards.read(str(tmp_path / "layouts" / "000000.tar"))
    own = list(shards.read(str(tmp_path / "own" / "000000.tar")))
    (name,) = {key.rpartition("/")[0] for key in (s.key for s in own)}
    segment = next(s for s in json.loads(layout.members["layout.json"])["segments"] if s["subject"])
    assert segment["subject"] == name
    record = {"prompt": "a woman", "source_key": layout.key, "method": "real", "schema": 1}
    drawn = {"png": own[0].picture(), "generated.json": json.dumps(record).encode()}
    shards.write(tmp_path / "drawn.tar", [("drawn", drawn)])
    run_cli(
        "score", tmp_path / "drawn.tar", "--reference", tmp_path / "layouts", "--reference",
        tmp_path / "own", "--against", "layout", "--metrics", "subjects", "--profile", "mini",
        "--features", tmp_path / "features", "--resamples", "0", "-o", tmp_path / "score",
    )  # fmt: skip
    (store,) = (tmp_path / "features").glob("clip-subjects-*/*.tar")
    with tarfile.open(store) as archive:
        files = [archive.extractfile(m).read() for m in archive if m.name.endswith(".npy")]
    kept = [numpy.atleast_2d(numpy.load(io.BytesIO(data))) for data in files]
    assert len(own) == 2
    clip = backends.load(ModelSpec("clip", "clip", str(CLIP)))
    for sample in own:
        image = Image.open(io.BytesIO(sample.picture())).convert("RGB")
        boxes = json.loads(sample.members["boxes.json"])["boxes"]
        parts = [_cut(image, box["xyxy"]) for box in boxes if box["label"] == "woman"]
        wanted = numpy.asarray(clip.images(parts))
        assert len(parts) == 1
        assert any(v.shape == wanted.shape and numpy.allclose(v, wanted, atol=1e-4) for v in kept)


def _cut(image: Image.Image, box: list[float]) -> Image.Image:
    """The pixels that a normalised xyxy box touches."""
    left, top, right, bottom = (v * n for v, n in zip(box, image.size * 2, strict=True))
    return image.crop((int(left), int(top), int(right + 0.999), int(bottom + 0.999)))
