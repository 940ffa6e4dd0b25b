"""`generate --subject-word` and `--captions`: the prompts of a data set with a learned word."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.generation import sample_requests
from socialcli.generation.options import GenerateOptions
from socialcli.shards import Sample


def sample(caption: str = "", **extra: object) -> Sample:
    members = {"meta.json": records.dump(records.Meta(8, 8, extra=extra))}
    if caption:
        members["caption.json"] = records.dump(records.Caption(caption, ["another"]))
    return Sample("rex/test/0", members)


def drawn(given: Sample, **options: object) -> list[tuple[str, str, str | None]]:
    config = dataclasses.replace(GenerateOptions(), **options)
    rows = sample_requests.all_of_sample(config, given)
    assert not any(isinstance(request, SampleFailed) for _, request in rows)
    return [(key, request.prompt, request.plain_prompt) for key, request in rows]


REX = {"subject": "my Rex", "class": "dog", "prompts": ["a {} here", "the {}, wet", "my {0} {1}"]}


def test_the_word_stands_where_the_subject_does() -> None:
    """Whatever captions the sample has besides, and with the class for `score`."""
    for caption in ("", "a man and a dog"):
        assert drawn(sample(caption, **REX), subject_word="<{name}>", caption=2) == [
            ("rex/test/0", "my <my-Rex>", "my dog")
        ]
    assert drawn(sample(**REX), caption=1)[0][1] == "the dog, wet"
    assert drawn(sample("a man", **REX))[0][1] == "a man"  # captions are as they were
    bare = {"concept": "x", "prompts": ["a {}"]}
    assert drawn(sample(**bare), subject_word="sks") == [("rex/test/0", "a sks", None)]


def test_several_captions_of_each_sample() -> None:
    rows = drawn(sample(**REX), subject_word="<x>", captions=10, caption=1, per_prompt=2)
    assert [key.removeprefix("rex/test/0-") for key, _, _ in rows] == [
        "caption-1-0", "caption-1-1", "caption-2-0", "caption-2-1",
    ]  # fmt: skip
    assert [prompt for _, prompt, _ in rows][::2] == ["the <x>, wet", "my <x>"]
    assert [p for _, p, _ in drawn(sample("one"), captions=2)] == ["one", "another"]
    with pytest.raises(SampleFailed, match=r"no caption 3: meta\.json's prompts has 3"):
        drawn(sample(**REX), subject_word="<x>", caption=3, captions=2)


def test_what_a_fine_tuned_model_calls_the_subject(tmp_path: Path) -> None:
    """Of a LoRA, of Custom Diffusion's words, and of a whole model: the headers know it."""

    def header(*names: tuple[str, str]) -> dict[str, str]:
        rows = [{"name": name, "identifier": word, "class": "dog"} for name, word in names]
        return {"subjects": json.dumps(rows)}

    nothing = {"x": torch.zeros(1)}
    save_file(nothing, tmp_path / "a.safetensors", header(("my Rex", "sks"), ("cat", "ktn")))
    save_file(nothing, tmp_path / "<new1>.safetensors", header(("my Rex", "<new1>")))
    (tmp_path / "sd" / "unet").mkdir(parents=True)
    weights = tmp_path / "sd" / "unet" / "diffusion_pytorch_model.safetensors"
    save_file(nothing, weights, header(("my Rex", "pll")))
    word = {"subject_word": "{identifier} {class}"}
    for given, known in (
        ({"lora": [f"{tmp_path}/a.safetensors:0.5"]}, "sks"),
        ({"custom_diffusion": [str(tmp_path)]}, "<new1>"),
        ({"custom_diffusion": [f"{tmp_path}:<rex>=dog"]}, "<rex>"),
        ({"model": str(tmp_path / "sd")}, "pll"),
    ):
        assert drawn(sample(**REX), **word, **given)[0][1:] == (f"a {known} dog here", "a dog here")
    with pytest.raises(SampleFailed, match=r"no file of --lora.* names the subject 'my Rex'"):
        drawn(sample(**REX), **word)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"subject": "rex"}, "--subject-word: meta.json has no prompts"),
        ({"prompts": ["a {}"]}, "meta.json names no subject"),
        ({"subject": "rex", "prompts": ["a {}"]}, "meta.json does not say what it is"),
    ],
)
def test_samples_of_no_benchmark_fail(extra: dict, message: str) -> None:
    with pytest.raises(SampleFailed, match=message):
        drawn(sample(**extra), subject_word="<{name}> {class}")
