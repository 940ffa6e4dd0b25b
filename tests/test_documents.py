"""Every command that the documents print is one that this program takes; README's chain runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer

from socialcli import shards
from socialcli.cli import app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("results/*.md"))]
WEIGHTS = ROOT / "socialcli" / "miniature" / "weights"


def lines(page: Path) -> list[str]:
    """The lines of a page's blocks of commands, continued lines joined, without comments."""
    stripped = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.M | re.S):
        if language in ("", "console", "sh", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                stripped.append(re.sub(r"(^|\s)#.*", "", line).strip())
    return [line for line in stripped if line]


def commands(line: str) -> list[list[str]]:
    """The words after ``socialcli`` of each command in a line with pipes."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&")
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    for word in lexer:
        if word and set(word) <= set("|;&"):
            parts.append([])
        else:
            parts[-1].append(word)
    arguments = []
    for words in parts:
        at = next((n for n, word in enumerate(words) if Path(word).name == "socialcli"), None)
        if at is not None and (at == 0 or words[at - 1] == "-m"):
            rest = words[at + 1 :]
            arguments.append(rest[: rest.index(">")] if ">" in rest else rest)
    return arguments


PRINTED = [
    pytest.param(words, id=f"{page.name}: {' '.join(words)[:70]}")
    for page in PAGES
    for line in lines(page)
    if not line.startswith("socialcli: error")
    for words in commands(line)
]


def test_commands_are_found():
    assert len(PRINTED) > 60
    assert commands("cat a | socialcli caption - -o - | socialcli merge b > c") == [
        ["caption", "-", "-o", "-"],
        ["merge", "b"],
    ]


@pytest.mark.parametrize("words", PRINTED)
def test_every_printed_command_parses(words):
    group = typer.main.get_command(app.app)
    while True:
        context = click.Context(group, info_name="socialcli")
        if words[0].startswith("--"):
            assert words[0] in [o for p in group.get_params(context) for o in p.opts]
            return
        name, command, words = group.resolve_command(context, list(words))
        assert command is not None, name
        if not hasattr(command, "resolve_command"):
            break
        group = command
    if "--help" not in words:
        command.make_context(name, words)  # raises where an option or argument is unknown


def test_every_printed_make_has_its_file():
    for page in PAGES:
        for named in re.findall(r"make -f (\S+?\.mk)", page.read_text()):
            assert (ROOT / named).is_file(), f"{page.name}: {named}"
        for line in lines(page):
            if line.startswith("make "):
                target = [w for w in line.split()[1:] if re.fullmatch(r"[a-z-]+", w)]
                rules = (ROOT / "Makefile").read_text()
                assert "-f" in line or all(re.search(rf"^{t}.*:", rules, re.M) for t in target)


@pytest.mark.slow
def test_the_readmes_chain_feeds_the_readmes_training(run_cli, tmp_path):
    """Word for word, with the miniatures in the place of large models. What comes after training
    and the pipe are run by the demo's tests."""
    run_cli("import", "world", "test", "--scenes", 2, "--no-truth", "-o", tmp_path / "made")
    for sample in shards.read(str(tmp_path / "made/000000.tar")):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{sample.key}.png").write_bytes(sample.members["png"])
    (tmp_path / "models").mkdir()
    for name, place in (
        ("gazefollow.pt", "gaze/sharingan.pt"), ("ssr_encoder", "ssr"), ("arcface_r100", "face"),
    ):  # fmt: skip
        (tmp_path / "models" / name).symlink_to(WEIGHTS / place)
    printed = [words for line in lines(ROOT / "README.md") for words in commands(line)]
    chain = printed[: next(n for n, words in enumerate(printed) if words[0] == "train") + 1]
    chain = [words for words in chain if "-" not in words and words[0] != "inspect"]
    assert len(chain) == 8
    for words in chain:
        small = [word for word in words if word not in ("--profile", "sd15")]
        if words[0] == "train":
            small += ["--steps", "1", "--batch-size", "2", "--micro-batch", "2"]
        if words[0] not in ("import", "merge"):
            small += ["--profile", "mini"]
        run_cli(*small, cwd=tmp_path)
    assert (tmp_path / "runs/feedback").is_dir()


def test_the_tutorials_commands_run_in_miniature(tmp_path, monkeypatch):
    """Word for word, with ``--profile mini`` in the place of sd15, on bare rendered pictures, and
    one step of each training: from photographs to a picture of all three words."""
    from conftest import members

    from socialcli import records
    from socialcli.miniature.world import identities, interactions, split_subjects
    from socialcli.miniature.world.scenes import paint

    shown = {
        "rex": [shot.scene(96) for shot in split_subjects.shots(0, "train", 1)[:2]],
        "anna": [identities.portrait(0, 0, 96)],
        "handshakes": [paint(interactions.plan(0, 5 + 15 * n)[1], 96) for n in range(2)],
    }
    for folder, pictures in shown.items():
        (tmp_path / folder).mkdir()
        for number, scene in enumerate(pictures):
            scene.image.save(tmp_path / folder / f"{number}.png")
    printed = [words for line in lines(ROOT / "docs/handshake.md") for words in commands(line)]
    chain = [words for words in printed if "mini" not in words]
    assert [words[0] for words in chain].count("invert") == 3 and len(chain) == 16
    small = {
        "invert": ["--steps", "1", "--batch-size", "1"],
        "generate": ["--steps", "1", "--attention-maps", "maps.png"],
    }
    monkeypatch.chdir(tmp_path)
    program = typer.main.get_command(app.app)
    for words in chain:
        given = ["mini" if word == "sd15" else word for word in words]
        given += [*small.get(words[0], []), "--quiet"]
        if "interaction" in words:
            given += ["--pose-steps", "1", "--variants", "1", "--sampling-steps", "1"]
        program.main(args=given, standalone_mode=False)
    drawn = members(tmp_path / "shards/drawn")
    assert len(drawn) == 4 and (tmp_path / "maps.png").is_file()
    record = records.load(records.Generated, next(iter(drawn.values()))["generated.json"])
    tokens = {"<rex>", "<anna>", "<shake-1>", "<shake>", "<shake-2>"}
    assert tokens <= {*record.models["words"].options["tokens"]}
