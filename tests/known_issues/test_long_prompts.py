"""The end of a long prompt was cut off without a word, in `generate` and in `score`.

Stable Diffusion's text encoder reads 75 tokens between its two marks; what came after had no part
in the picture, and CLIP-T compared with the beginning alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import toy_method
from conftest import members, samples
from parts import part

import socialcli
from socialcli import backends, shards
from socialcli.backends import ModelSpec
from socialcli.evaluation.features import Look
from socialcli.evaluation.features.clip_text import ClipText
from socialcli.generation.drawing import Studio

WEIGHTS = Path(socialcli.__file__).parent / "miniature/weights"
SHORT = "a man holds a dog"
LONG = "a man holds a dog, " + "next to a big old tree with green leaves, " * 9 + "and a purple cat"


@pytest.fixture(scope="module")
def diffusion():
    return backends.load(
        ModelSpec("diffusion", "stable-diffusion", str(WEIGHTS / "diffusion"), device="cpu")
    )


def test_windows_are_the_states_of_each_part(diffusion):
    """Against transformers' own encoder, fed with ids that were put together by hand."""
    import torch

    tokenizer, encoder = diffusion.tokenizer, diffusion.text_encoder
    ids = tokenizer(LONG, add_special_tokens=False).input_ids
    length = tokenizer.model_max_length
    expected = []
    for start in range(0, len(ids), length - 2):
        row = [tokenizer.bos_token_id, *ids[start : start + length - 2], tokenizer.eos_token_id]
        row += [tokenizer.pad_token_id] * (length - len(row))
        with torch.inference_mode():
            expected.append(encoder(torch.tensor([row])).last_hidden_state[0])
    assert len(expected) > 2
    with torch.inference_mode():
        assert torch.equal(diffusion.windows(LONG), torch.cat(expected))
        assert torch.equal(diffusion.windows(SHORT), diffusion.prompts([SHORT])[0])
        assert torch.equal(diffusion.windows(""), diffusion.prompts([""])[0])
        assert torch.equal(diffusion.windows(LONG)[:length], diffusion.prompts([LONG])[0])


def test_what_is_not_read_is_the_end_of_the_text(diffusion):
    rest = diffusion.unread(LONG)
    assert rest and LONG.endswith(rest)
    ids = diffusion.tokenizer(LONG.removesuffix(rest), add_special_tokens=False).input_ids
    assert len(ids) == diffusion.window
    assert diffusion.unread(SHORT) == diffusion.unread("") == ""


def test_negative_and_prompt_have_one_length(diffusion):
    import torch

    studio = Studio(diffusion, long_prompts="chunks")
    negative, prompt = studio.texts("blurry", LONG)
    assert negative.shape == prompt.shape and studio.unread == []
    length = diffusion.tokenizer.model_max_length
    assert torch.equal(negative[:length], studio.text("blurry"))
    assert torch.equal(negative[length : 2 * length], studio.text(""))
    cut = Studio(diffusion)
    negative, prompt = cut.texts("", LONG)
    assert len(negative) == len(prompt) == length and cut.unread == [diffusion.unread(LONG)]
    cut.texts("", LONG)  # from what is kept: said again all the same
    assert len(cut.unread) == 2


def test_generate_says_it_once_counts_it_and_records_it(tmp_path, run_cli):
    rows = [{"key": f"k{n}", "prompt": LONG if n else SHORT, "seed": 1} for n in range(3)]
    rows.append({"key": "n", "prompt": SHORT, "negative": LONG, "seed": 1})
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = ("generate", tmp_path / "p.jsonl", "--profile", "mini", "--steps", 1)
    stderr = run_cli(*command, "-o", tmp_path / "cut").stderr.decode()
    assert stderr.count("tokens are cut") == 1 and "--long-prompts chunks" in stderr
    assert "3 prompts cut" in stderr
    stats = json.loads((tmp_path / "cut/000000.stats.json").read_text())
    assert stats["counts"]["prompts_cut"] == 3 and stats["counts"]["ok"] == 4
    generated = {k: json.loads(m["generated.json"]) for k, m in members(tmp_path / "cut").items()}
    assert "unread" not in generated["k0"] and "long_prompts" not in generated["k0"]
    for key in ("k1", "k2", "n"):
        (rest,) = generated[key]["unread"]
        assert LONG.endswith(rest)
    stderr = run_cli(*command, "-o", tmp_path / "all", "--long-prompts", "chunks").stderr.decode()
    assert "cut" not in stderr
    whole = members(tmp_path / "all")
    assert json.loads(whole["k1"]["generated.json"])["long_prompts"] == "chunks"
    assert pixels(whole["k1"]) != pixels(members(tmp_path / "cut")["k1"])
    # A text that fits gives the same picture, whatever stands beside it.
    assert pixels(whole["k0"]) == pixels(members(tmp_path / "cut")["k0"])
    assert pixels(whole["k1"]) == pixels(whole["k2"])
    run_cli("validate", tmp_path / "cut", tmp_path / "all")
    scored = ("score", tmp_path / "cut", "-o", tmp_path / "s", "--profile", "mini")
    stderr = run_cli(*scored, "--metrics", "clip-t", "--resamples", 0).stderr.decode()
    assert stderr.count("2 of 4 prompts are longer than CLIP reads") == 1
    lines = [json.loads(line) for line in (tmp_path / "s/samples.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines if "unread" in line] == ["k1", "k2"]
    run_cli(*command, "-o", tmp_path / "x", "--long-prompts", "all", code=2)


def pixels(sample: dict[str, bytes]) -> bytes:
    import io

    from PIL import Image

    return Image.open(io.BytesIO(sample["png"])).tobytes()


def test_score_says_what_clip_did_not_read():
    clip = backends.load(ModelSpec("clip", "clip", str(WEIGHTS / "clip"), device="cpu"))
    short, long = ClipText().run(None, [clip], [Look(text=SHORT), Look(text=LONG)])
    assert "unread" not in short and LONG.endswith(long["unread"])
    read = LONG.removesuffix(long["unread"])
    assert len(clip.tokenizer(read).input_ids) == clip.length


def test_training_says_what_it_does_not_read(diffusion):
    """Captions of `train`, queries of its feedback, and the captions that `invert` learns in."""
    state = SimpleNamespace(
        diffusion=diffusion, base=diffusion, concepts=[SimpleNamespace(token="<p>")]
    )
    state.lexicon = SimpleNamespace(expand=lambda text: text.replace("<p>", "dog"))
    rest = diffusion.unread(LONG)
    plain, feedback = part("methods.train", "text-to-image"), part("methods.train", "feedback")
    invert = part("methods.invert", "textual-inversion")
    for text, cut in ((SHORT, ""), (LONG, rest)):
        assert plain.unread(state, {"caption": text}) == cut
        assert feedback.unread(state, {"caption": text, "query": "a man"}) == cut
        assert feedback.unread(state, {"caption": SHORT, "query": text}) == cut
        own, filled = "a {} and " + text, "a dog and " + text
        unread = invert.unread(state, {"concepts": [0, 0], "texts": ["", own]})
        assert unread == diffusion.unread(filled) and bool(unread) == bool(cut)


def test_a_run_names_the_samples_whose_text_it_cut(tmp_path, monkeypatch, capsys):
    shards.write(tmp_path / "data.tar", samples(0, 6))
    monkeypatch.setattr(
        toy_method.ToyMethod, "unread", lambda self, state, e: "its end" * (e["number"] == 2),
        raising=False,
    )  # fmt: skip
    same = {"steps": 6, "variants": 2, "quiet": False, "cache": str(tmp_path / "cache")}
    toy_method.train(tmp_path / "out", [str(tmp_path / "data.tar")], **same)
    stderr = capsys.readouterr().err
    assert "00002: its text is longer" in stderr and "the texts of 1 samples were cut" in stderr

    def cut(folder: str) -> list[dict]:
        lines = (tmp_path / folder / "log.jsonl").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line.get("event") == "text cut"]

    (line,) = cut("out")
    assert (line["key"], line["unread"]) == ("00002", "its end")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["texts_cut"] == 1
    # A run that finds the features of this one says it too.
    toy_method.train(tmp_path / "again", [str(tmp_path / "data.tar")], **same)
    assert [line["key"] for line in cut("again")] == ["00002"]
