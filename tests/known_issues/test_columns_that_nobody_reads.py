"""A column of a prompt file under another name than ours (`negative_prompt`, `guidance`) was passed
over in silence, and the picture was drawn without what it says."""

import dataclasses

import pytest

from socialcli import config as options_of
from socialcli import registry
from socialcli.cli.commands import generate
from socialcli.errors import UsageError
from socialcli.generation import requests


def test_a_line_names_them(tmp_path, capsys):
    known = "prompt,key,negative,seed,plain_prompt,reference,query_2,Scale-3,mask"
    files = {
        "all.csv": f"{known}\nx,k,,,,,,,\n",
        "p.csv": "Prompt,negative_prompt,empty,guidance\nx,rain,,7\ny,,,\n",
        "q.jsonl": '{"prompt": "x", "references": []}\n{"prompt": "y", "steps": 3}\n',
        "r.txt": "a dog\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    unread = {name: requests.unread(str(tmp_path / name), {}) for name in files}
    assert unread == {
        "all.csv": [], "p.csv": ["negative_prompt", "guidance"], "q.jsonl": ["steps"], "r.txt": []
    }  # fmt: skip
    assert warnings(capsys, "ssr", tmp_path / "p.csv") == [
        f"{tmp_path}/p.csv: columns that are not read: negative_prompt, guidance"
    ]


def warnings(capsys, method, file, **config):
    """What `generate` warns of before anything is loaded."""
    options = type("O", (), {"log_json": False, "quiet": False, "retry_failed": True})()
    config_type = registry.load("methods.generate", method).config_type
    config = vars(config_type(format="files", **config))
    with pytest.raises(UsageError, match="writes a folder of pictures"):
        generate.run(method, config, [str(file)], "out", options)
    lines = capsys.readouterr().err.splitlines()
    return [line.removeprefix("warning: ") for line in lines]


@pytest.mark.parametrize(
    "method, config, unread",
    [
        ("ssr", {}, ["mask (it is with --query-by mask)", "mask_2 (it is with --query-by mask)"]),
        ("ssr", {"query_by": "mask"}, []),
        ("fastcomposer", {}, ["mask (it is with --cut-out)", "mask_2 (it is with --cut-out)"]),
        ("fastcomposer", {"cut_out": True}, []),
        ("ip-adapter", {}, ["query", "mask", "mask_2"]),
        ("photomaker", {}, ["query", "scale", "mask", "mask_2"]),
        ("instruct-pix2pix", {}, ["query", "mask", "mask_2"]),
        ("text", {}, ["reference", "query", "scale", "mask", "mask_2"]),
        ("controlnet", {}, ["reference", "query", "scale", "mask", "mask_2"]),
    ],
)
def test_a_line_names_what_the_method_does_not_read(tmp_path, capsys, method, config, unread):
    """A row's `mask` was passed over in silence without `--query-by mask`, and so was all that a
    row says of references where the method takes none, or reads no words of them."""
    (tmp_path / "p.csv").write_text(
        "prompt,reference,query,scale,mask,mask_2\nx,r.png,hat,0.3,m.png,n.png\n"
    )
    line = f"{tmp_path}/p.csv: columns that are not read: {', '.join(unread)}"
    assert warnings(capsys, method, tmp_path / "p.csv", **config) == [line] * bool(unread)


def test_flags_that_are_for_shards_alone(tmp_path, capsys):
    (tmp_path / "p.txt").write_text("a dog\n")
    assert warnings(capsys, "ssr", tmp_path / "p.txt", match="own", captions=2) == [
        "--captions changes nothing: the prompts are not from shards",
        "--match changes nothing: the prompts are not from shards",
    ]
    assert warnings(capsys, "ssr", "shards/", match="own", shard_size=5) == [
        "--shard-size changes nothing: the prompts are from shards"
    ]


@pytest.mark.parametrize(
    "kind, method, values, line",
    [
        ("generate", "ssr", {"mask_weight": 2.0}, "--mask-weight changes nothing without "
         "--query-by mask"),
        ("generate", "composite", {"ground_model": "x"}, "--ground-model changes nothing without "
         "--attempts"),
        ("generate", "composite", {"control": ["pose"]}, "--control changes nothing without "
         "--controlnet-model"),
        ("train", "dreambooth", {"rank": 4}, "--rank changes nothing without --adapter lora"),
        ("train", "text-to-image", {"prompt": ["x"]}, "--prompt changes nothing without "
         "--validate-every"),
        ("invert", "attractor", {"bypass": 0.1}, "--bypass changes nothing without --over neti"),
        ("invert", "attractor", {"nested_dropout": 0.1},
         "--nested-dropout changes nothing without --over neti"),
        ("invert", "attractor", {"over": "neti", "vectors": 2},
         "--vectors changes nothing without --over textual-inversion"),
        ("invert", "attractor", {"over": "neti", "stages": 2},
         "--stages changes nothing without --over textual-inversion"),
    ],
)  # fmt: skip
def test_flags_that_only_another_flag_makes_count(kind, method, values, line):
    """They were passed over in silence; of a profile, which speaks of many runs, they still are."""
    config_type = registry.load(f"methods.{kind}", method).config_type
    whole = vars(config_type(**values))
    (flag,) = (name for name in values if line.startswith(f"--{name.replace('_', '-')} "))
    assert options_of.unread(config_type, whole, [flag]) == [line]
    assert options_of.unread(config_type, whole, []) == []
    mend = {"--query-by": {"query_by": "mask"}, "--attempts": {"attempts": 2},
            "--controlnet-model": {"controlnet_model": ["x"]}, "--adapter": {"adapter": "lora"},
            "--validate-every": {"validate_every": 5}, "--over neti": {"over": "neti"},
            "--over textual": {"over": "textual-inversion"}}  # fmt: skip
    (more,) = (v for flag, v in mend.items() if f"without {flag}" in line)
    assert options_of.unread(config_type, {**whole, **more}, [flag]) == []


@dataclasses.dataclass
class Options:
    how: str = options_of.option("one", "How.", choices=("one", "two", "three"))
    more: list[str] = options_of.option([], "More.")
    width: int = options_of.option(1, "Of the third.", only="how=three")
    least: int = options_of.option(1, "Of any but the default.", only="how")
    each: int = options_of.option(1, "Of each.", only="more")
    of_shards: int = options_of.option(1, "Of shards.", only="shards")


@pytest.mark.parametrize(
    "values, unread",
    [
        ({}, {"width": "how three", "least": "how", "each": "more"}),
        ({"how": "two"}, {"width": "how three", "each": "more"}),
        ({"how": "three", "more": ["x"]}, {}),
    ],
)
def test_an_option_with_several_values(values, unread):
    """Another one than the default is not yet the one that is asked for."""
    whole = vars(Options(**values))
    assert options_of.unread(Options, whole, ["width", "least", "each", "of_shards"]) == [
        f"--{flag} changes nothing without --{wanted}" for flag, wanted in unread.items()
    ]


def test_the_command_warns_of_them(tmp_path, run_cli):
    line = ("train", "--method", "dreambooth", tmp_path, "-o", tmp_path / "o", "--model", "m")
    done = run_cli(*line, "--rank", 4, code=2)
    assert b"warning: --rank changes nothing without --adapter lora\n" in done.stderr
    assert b"changes nothing" not in run_cli(*line, "--rank", 4, "--adapter", "lora", code=2).stderr


def test_every_condition_names_an_option():
    for kind in ("stages", "importers", "methods.generate", "methods.train", "methods.invert"):
        for name in registry.available(kind):
            config_type = registry.load(kind, name).config_type
            fields = {f.name: f for f in dataclasses.fields(config_type)}
            for field in fields.values():
                other, is_value, word = field.metadata.get("only", "").partition("=")
                known = {*fields, "shards", "prompts", "", "controlnet_model"}
                assert other in known, (name, field.name)
                if is_value:
                    assert word in options_of.choices(fields[other]), (name, field.name)
