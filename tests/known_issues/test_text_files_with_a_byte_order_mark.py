"""A byte-order mark, which editors of Windows write, made a profile "invalid statement (at line 1,
column 1)", and was taken for a letter of the first word, name, template or prompt of a list."""

from __future__ import annotations

import json

import pytest

from socialcli import backends, registry, textfiles
from socialcli.backends.caption import given
from socialcli.backends.ground import grounding_dino_original
from socialcli.cli import app, profiles
from socialcli.diffusion import language_prior, timesteps
from socialcli.errors import UsageError
from socialcli.generation import concepts
from socialcli.importers import concept101, dreambooth, layout
from socialcli.methods.invert import _templates, celeb_basis

DREAMBOOTH = """dog,dog
Classes
rex,dog
Object Prompts
'a {0} {1} on a table'.format(unique_token, class_token),
Live Subject Prompts
'a {0} {1} asleep'.format(unique_token, class_token),
"""
READERS = {
    "[ground]\nbox_threshold = 0.4\n": lambda f: profiles.load(str(f))[0],
    "a man\n\na dog\n": lambda f: concepts.captions(str(f)),
    "holds\nwalks\n": lambda f: language_prior.listed("verbs", str(f)),
    "Ann Lee\nBo Ray\n": lambda f: celeb_basis.listed(str(f)),
    "{} on grass\n": lambda f: _templates.read(str(f)),
    "a {} outside\n": lambda f: concept101._prompts(f.parent, f.name),
    DREAMBOOTH: lambda f: dreambooth._read_prompts(f),
    "prompt: a dog\nleft: a dog\n": lambda f: layout.of_text(layout._text(f.read_bytes())),
    "a man and a dog": lambda f: given.Given("").captions("a", "", f.read_bytes()),
    json.dumps({"gaze": [1.0, 2.0]}): lambda f: timesteps.read_curves(str(f)),
}
PYTHON = '"""Say it."""\nINFO = BackendInfo(summary="s", licence="l")\n'


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", READERS)
def test_users_files_are_read_as_every_editor_writes_them(tmp_path, text, encoding):
    file = tmp_path / "file.toml"
    file.write_text(text, encoding="utf-8")
    plain = READERS[text](file)
    file.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert READERS[text](file) == plain and plain
    assert "\ufeff" not in str(plain)


def test_parts_of_ones_own_may_have_one_too(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(PYTHON, encoding="utf-8-sig")
    assert registry.PartInfo("stages", "own", "own", file).summary == "Say it."
    assert app.first_line(file) == "Say it."
    assert backends.read_info(file, "caption", "own", "own").summary == "s"
    file.write_text("hidden_dim = 4\n", encoding="utf-8-sig")
    assert grounding_dino_original.read_config(str(file)) == {"hidden_dim": 4}


def test_another_encoding_has_one_line(tmp_path):
    (tmp_path / "a.toml").write_bytes("[caption]\n# f\xfcr".encode("latin-1"))
    with pytest.raises(UsageError, match=r"a\.toml: not UTF-8 text \(byte 13\); save it as UTF-8"):
        profiles.load(str(tmp_path / "a.toml"))
    with pytest.raises(UsageError, match=r"none: cannot be read \(No such file"):
        textfiles.read(tmp_path / "none")
