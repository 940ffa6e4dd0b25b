"""The caption stage: four model families on tiny checkpoints, given captions, cleaning."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
from parts import part
from PIL import Image
from tiny import caption as tiny

from socialcli import backends, records
from socialcli.backends.caption._writing import SeededNucleus
from socialcli.backends.roles import Generation
from socialcli.errors import ModelMissing, SampleFailed, UsageError
from socialcli.pipeline.stage import Item
from socialcli.shards import Sample

stage = part("stages", "caption")

FAMILIES = list(tiny.BUILDERS)
GREEDY = Generation(beams=1, max_tokens=8)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """One tiny checkpoint folder per family, built when first asked for."""
    folders = {}

    def folder(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            if name == "blip2-t5":
                tiny.blip2(folders[name], encoder_decoder=True)
            else:
                tiny.BUILDERS[name](folders[name])
        return folders[name]

    return folder


@pytest.fixture(scope="session")
def captioner(checkpoints):
    loaded = {}

    def load(name: str):
        if name not in loaded:
            spec = backends.ModelSpec(
                "caption", name.removesuffix("-t5"), model=str(checkpoints(name))
            )
            loaded[name] = backends.load(spec)
        return loaded[name]

    return load


@pytest.fixture(scope="session")
def pictures():
    """Four pictures that differ in size, colour and pattern."""
    rng = numpy.random.default_rng(0)
    stripes = numpy.tile(numpy.array([0, 255], numpy.uint8).repeat(8), 4)
    arrays = [
        numpy.full((48, 64, 3), (250, 20, 20), numpy.uint8),
        rng.integers(0, 256, (40, 40, 3), dtype=numpy.uint8),
        numpy.broadcast_to(stripes[None, :, None], (30, 64, 3)).astype(numpy.uint8),
        numpy.full((64, 32, 3), (0, 30, 200), numpy.uint8),
    ]
    return [Image.fromarray(a) for a in arrays]


def directly(name: str, folder: Path, picture, how: Generation) -> str:
    """The caption as transformers' own processor and model give it, without this project's code."""
    import torch
    import transformers as t

    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    plan = {"max_new_tokens": how.max_tokens, "num_beams": how.beams, "do_sample": False}
    family = {
        "blip2": (t.Blip2ForConditionalGeneration, t.BlipImageProcessorPil),
        "blip2-t5": (t.Blip2ForConditionalGeneration, t.BlipImageProcessorPil),
        "blip": (t.BlipForConditionalGeneration, t.BlipImageProcessorPil),
        "florence2": (t.Florence2ForConditionalGeneration, t.CLIPImageProcessorPil),
        "qwen2-vl": (t.Qwen2VLForConditionalGeneration, t.Qwen2VLImageProcessorPil),
    }[name]
    model = family[0].from_pretrained(folder).eval()
    images = family[1].from_pretrained(folder)
    if name.startswith("blip2"):
        processor = t.Blip2Processor(images, tokenizer, num_query_tokens=4)
        inputs = processor(images=picture, text=how.prompt, return_tensors="pt")
        drop = inputs["input_ids"].shape[1] if name == "blip2" else 0
    elif name == "blip":
        processor = t.BlipProcessor(images, tokenizer)
        inputs = processor(images=picture, text=how.prompt or None, return_tensors="pt")
        drop = inputs["input_ids"].shape[1] - 1 if how.prompt else 1
    elif name == "florence2":
        processor = t.Florence2Processor(images, tokenizer)
        inputs = processor(images=picture, text=how.prompt or "<CAPTION>", return_tensors="pt")
        drop = 0
    else:
        from socialcli.backends.caption.qwen2_vl import PROMPT

        pixels = images(images=[picture], return_tensors="pt")
        count = int(pixels["image_grid_thw"].prod()) // 4
        text = (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
            f"<|vision_start|>{'<|image_pad|>' * count}<|vision_end|>{how.prompt or PROMPT}"
            "<|im_end|>\n<|im_start|>assistant\n"
        )
        inputs = {**tokenizer(text, return_tensors="pt"), **pixels}
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == model.config.image_token_id).int()
        drop = inputs["input_ids"].shape[1]
    with torch.inference_mode():
        output = model.generate(**inputs, **plan)
    return tokenizer.decode(output[0, drop:], skip_special_tokens=True)


@pytest.mark.parametrize("how", [GREEDY, Generation("a photo of", beams=3, max_tokens=8)])
@pytest.mark.parametrize("name", [*FAMILIES, "blip2-t5"])
def test_a_batch_reads_as_single_pictures_do_in_transformers(
    name, how, captioner, checkpoints, pictures
):
    together = captioner(name).caption(pictures, how, [0] * 4)
    apart = [directly(name, checkpoints(name), picture, how) for picture in pictures]
    assert together == apart
    assert len(set(together)) > 1, "the pictures make no difference: the comparison shows nothing"


def test_the_prompt_is_not_part_of_the_caption(captioner, pictures):
    for name in ("blip2", "blip", "qwen2-vl"):
        for text in captioner(name).caption(
            pictures, Generation("a photo of", max_tokens=4), [0] * 4
        ):
            assert "a photo of" not in text


def test_florence_tasks_that_write_no_caption_are_refused(captioner, pictures):
    with pytest.raises(UsageError, match="<DETAILED_CAPTION>"):
        captioner("florence2").caption(pictures[:1], Generation("<OD>"), [0])
    short, long = (
        captioner("florence2").caption(pictures[:1], Generation(p, max_tokens=8), [0])
        for p in ("<CAPTION>", "<MORE_DETAILED_CAPTION>")
    )
    assert short != long


@pytest.mark.parametrize("name", FAMILIES)
def test_nucleus_sampling_depends_on_the_seed_alone(name, captioner, pictures):
    how = Generation(nucleus=0.95, temperature=3.0, max_tokens=8)
    seeds = [11, 22, 33, 44]
    together = captioner(name).caption(pictures, how, seeds)
    apart = [
        captioner(name).caption([p], how, [s])[0] for p, s in zip(pictures, seeds, strict=True)
    ]
    backwards = captioner(name).caption(pictures[::-1], how, seeds[::-1])[::-1]
    assert together == apart == backwards
    other = captioner(name).caption(pictures, how, [s + 1 for s in seeds])
    assert other != together


def test_seeded_nucleus_draws_from_the_nucleus_in_proportion():
    import torch

    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    rows = 4000
    sampler = SeededNucleus(0.85, 1.0, list(range(rows)))
    drawn = sampler(torch.zeros(rows, 1), p.log().expand(rows, -1)).argmax(-1)
    share = torch.bincount(drawn, minlength=4) / rows
    expected = torch.tensor([0.5, 0.3, 0.15, 0.0]) / 0.95
    assert share[3] == 0
    assert torch.allclose(share, expected, atol=0.025)  # three standard errors
    colder = SeededNucleus(1.0, 0.5, list(range(rows)))
    drawn = colder(torch.zeros(rows, 1), p.log().expand(rows, -1)).argmax(-1)
    share = torch.bincount(drawn, minlength=4) / rows
    assert torch.allclose(share, p**2 / (p**2).sum(), atol=0.025)


def test_dtype_and_repetition_penalty_reach_the_model(checkpoints, pictures):
    import torch

    spec = backends.ModelSpec("caption", "blip2", model=str(checkpoints("blip2")), dtype="bfloat16")
    captioner = backends.load(spec)
    assert captioner.network.dtype == torch.bfloat16 and not captioner.network.training
    assert len(captioner.caption(pictures[:1], GREEDY, [0])) == 1
    assert captioner.model.options["dtype"] == "bfloat16"
    plain = captioner.caption(pictures, Generation(beams=1, max_tokens=12), [0] * 4)
    punished = captioner.caption(
        pictures, Generation(beams=1, max_tokens=12, repetition_penalty=5.0), [0] * 4
    )
    assert plain != punished


def test_blip2_files_from_before_the_picture_token(checkpoints, captioner, pictures, tmp_path):
    """Checkpoints saved before transformers 4.46 name no image_token_index."""
    import shutil

    old = tmp_path / "old"
    shutil.copytree(checkpoints("blip2"), old)
    config = json.loads((old / "config.json").read_text())
    del config["image_token_index"]
    (old / "config.json").write_text(json.dumps(config))
    loaded = backends.load(backends.ModelSpec("caption", "blip2", model=str(old)))
    assert loaded.caption(pictures, GREEDY, [0] * 4) == captioner("blip2").caption(
        pictures, GREEDY, [0] * 4
    )


def test_a_checkpoint_with_holes_is_refused(checkpoints, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(checkpoints("blip2"), broken)
    weights = load_file(broken / "model.safetensors")
    weights.pop("language_projection.weight")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"language_projection\.weight"):
        backends.load(backends.ModelSpec("caption", "blip2", model=str(broken)))


def test_what_is_missing_is_said_in_one_line_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for model, command in (
        ("", "hf download Salesforce/blip2-opt-2.7b"),
        ("nobody/nothing", "hf download nobody/nothing"),
        (str(tmp_path / "no"), f"hf download Salesforce/blip2-opt-2.7b --local-dir {tmp_path}/no"),
    ):
        with pytest.raises(ModelMissing) as caught:
            backends.load(backends.ModelSpec("caption", "blip2", model=model))
        assert str(caught.value).endswith(command) and "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="cannot be loaded as"):
        backends.load(backends.ModelSpec("caption", "blip2", model=str(tmp_path)))


def test_the_record_names_the_commit_a_folder_came_from(checkpoints, tmp_path):
    import shutil

    folder = tmp_path / "local"
    shutil.copytree(checkpoints("blip"), folder)
    note = folder / ".cache/huggingface/download/config.json.metadata"
    note.parent.mkdir(parents=True)
    note.write_text("0123abc\netag\n1700000000\n")
    loaded = backends.load(backends.ModelSpec("caption", "blip", model=str(folder)))
    assert loaded.model.options["commit"] == "0123abc"
    assert loaded.model.revision.startswith("sha256:")


# --- the stage


def run(config, samples, seed=7, loaded=None):
    """prepare and process of a list of samples, as the runner calls them."""
    loaded = stage.load(config) if loaded is None else loaded
    items = [Item(s.key, seed + i, stage.prepare(config, s)) for i, s in enumerate(samples)]
    return stage.process(config, loaded, items)


def config(**values):
    return stage.Config(**{"device": "cpu", "dtype": "float32", **values})


def png(picture) -> bytes:
    import io

    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def text_of(result) -> str:
    return records.load(records.Caption, result["caption.json"]).text


def test_stage_writes_text_and_how_it_came_about(checkpoints, pictures):
    conf = config(backend="blip", model=str(checkpoints("blip")), beams=2, max_tokens=6)
    samples = [Sample(f"k{i}", {"png": png(p)}) for i, p in enumerate(pictures)]
    results = run(conf, samples)
    caption = records.load(records.Caption, results[0]["caption.json"])
    assert caption.text == stage.clean(caption.text) != ""
    assert caption.model.backend == "blip"
    assert caption.model.options == {
        "dtype": "float32", "prompt": "", "max_tokens": 6, "repetition_penalty": 1.0, "beams": 2,
    }  # fmt: skip
    with pytest.raises(SampleFailed, match="cannot be read"):
        stage.prepare(conf, Sample("bad", {"png": png(pictures[0])[:40]}))


def test_an_empty_caption_is_a_failed_sample_and_the_others_go_on(pictures):
    class Mute:
        model = records.Model("mute")

        def caption(self, images, how, seeds):
            return ["", " \t\u200b\n", " a  cat\n"][: len(images)]

    samples = [Sample(f"k{i}", {"png": png(pictures[0])}) for i in range(3)]
    results = run(config(backend="mute"), samples, loaded=Mute())
    assert [type(r) for r in results[:2]] == [SampleFailed, SampleFailed]
    assert "empty caption" in str(results[0])
    assert text_of(results[2]) == "a cat"


def test_options_out_of_range_are_refused_before_anything_loads():
    for name, value in (
        ("beams", 0), ("nucleus", 1.5), ("temperature", 0.0), ("max_tokens", 0),
        ("repetition_penalty", 0.0),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')}"):
            stage.load(config(**{name: value}))


def test_keep_existing_leaves_the_bytes_alone(pictures):
    class Never:
        model = records.Model("never")

        def caption(self, images, how, seeds):
            assert len(images) == 1
            return ["new"]

    old = b'{"schema": 1,   "text": "as it was", "unknown": [1, 2]}'
    samples = [
        Sample("a", {"png": png(pictures[0]), "caption.json": old}),
        Sample("b", {"png": png(pictures[0])}),
        Sample("c", {"png": png(pictures[0]), "caption.json": b"{"}),
    ]
    results = run(config(backend="never", keep_existing=True), samples, loaded=Never())
    assert results[0]["caption.json"] == old
    assert text_of(results[1]) == "new"
    assert isinstance(results[2], SampleFailed)


def test_given_text_members():
    old = records.dump(records.Caption("an older one"))
    samples = [
        Sample("a", {"txt": "\ufeffA  man\r\nrides \x07a\u00a0horse.\n".encode()}),
        Sample("b", {"txt": b"\xe9t\xe9"}),
        Sample("c", {"txt": b" \n"}),
        Sample("d", {"caption.json": old}),
        Sample("e", {}),
        Sample("f", {"txt": b"newer", "caption.json": old}),
    ]
    a, b, c, d, e, f = run(config(backend="given"), samples)
    assert text_of(a) == "A man rides a horse."
    assert json.loads(a["caption.json"])["model"]["backend"] == "given"
    assert "UTF-8" in str(b) and isinstance(b, SampleFailed)
    assert str(c) == "its .txt member is empty"
    assert d["caption.json"] == old
    assert "neither a .txt member nor a caption.json" in str(e)
    assert text_of(f) == "newer"


TABLES = {
    "h.csv": 'filename,width,caption\na.jpg,3,"a man, smiling"\nsub/b.png,3,a dog\na.jpg,3,more\n',
    "plain.csv": 'a,"a man, smiling"\nsub/b,a dog\na,more\n',
    "h.tsv": "image\tCaption\r\na.jpg\ta man, smiling\r\nsub/b.png\ta dog\r\na.jpg\tmore\r\n",
    "l.jsonl": '{"key": "a", "caption": ["a man, smiling", "more"]}\n\n'
    '{"file_name": "sub/b.png", "text": "a dog"}\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_captions_from_a_file(name, tmp_path):
    file = tmp_path / name
    file.write_bytes(b"\xef\xbb\xbf" + TABLES[name].encode())
    samples = [Sample("a"), Sample("sub/b"), Sample("b"), Sample("nowhere", {"txt": b"unused"})]
    a, b, base, none = run(config(captions=str(file)), samples)
    caption = records.load(records.Caption, a["caption.json"])
    assert (caption.text, caption.others) == ("a man, smiling", ["more"])
    assert caption.model.model == file.name and len(caption.model.options["sha256"]) == 64
    assert text_of(b) == "a dog"
    assert "no caption for this key" in str(none)
    assert isinstance(base, SampleFailed)  # another folder's b: not the same picture


def test_a_table_of_captions_leaves_other_tables_their_limit(tmp_path):
    """`csv` has one limit for a process: what could be read depended on what was read before."""
    import csv

    limit = csv.field_size_limit()
    (tmp_path / "c.csv").write_text(f"key,caption\na,a dog\nb,{'x' * (limit + 1)}\n")
    (one,) = run(config(captions=str(tmp_path / "c.csv")), [Sample("a")])
    assert text_of(one) == "a dog" and csv.field_size_limit() == limit


def test_captions_by_source_and_base_name(tmp_path):
    file = tmp_path / "c.csv"
    file.write_text("filename,caption\n000.1.jpg,first\nx.jpg,jpeg\nx.png,png\n")
    meta = records.dump(records.Meta(1, 1, source="photos/000.1.jpg"))
    png_meta = records.dump(records.Meta(1, 1, source="x.png"))
    samples = [
        Sample("photos/000_1"), Sample("renamed", {"meta.json": meta}), Sample("x"),
        Sample("x-2", {"meta.json": png_meta}),
    ]  # fmt: skip
    by_key, by_source, two, exact = run(config(captions=str(file)), samples)
    assert text_of(by_key) == text_of(by_source) == "first"
    assert "several pictures" in str(two)
    assert text_of(exact) == "png"


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("c.csv", b"", "no captions"),
        ("c.csv", b"filename,note\na,b\n", "its header has filename, note"),
        ("c.csv", b"key,caption\na\n", "row 1"),
        ("c.csv", b"key,caption\na,\xff\n", "not UTF-8"),
        ("c.jsonl", b'{"key": "a"}\n', "line 1"),
        ("c.jsonl", b'{"key": "a", "caption": "b"}\n[1\n', "line 2"),
        ("c.xlsx", b"PK", "expected a .csv, .tsv or .jsonl"),
    ],
)
def test_captions_files_that_cannot_be_used(name, body, message, tmp_path):
    (tmp_path / name).write_bytes(body)
    with pytest.raises(UsageError, match=message):
        stage.load(config(captions=str(tmp_path / name)))
    with pytest.raises(UsageError, match="cannot be read"):
        stage.load(config(captions=str(tmp_path / "absent.csv")))


def test_cleaning_loses_no_word():
    assert stage.clean("a\tb\x00c\u2028d \u202ee\ufeff") == "a b c d e"
    assert stage.clean("x" * 10_000) == "x" * 10_000
    assert (
        stage.clean("\ud800héé 犬 \U0001f469\u200d\U0001f466")
        == "héé 犬 \U0001f469\u200d\U0001f466"
    )
