"""A column of a prompt file under another name than ours (`negative_prompt`, `guidance`) was passed
over in silence, and the picture was drawn without what it says."""

import pytest

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
    unread = {name: requests.unread(str(tmp_path / name)) for name in files}
    assert unread == {
        "all.csv": [], "p.csv": ["negative_prompt", "guidance"], "q.jsonl": ["steps"], "r.txt": []
    }  # fmt: skip
    options = type("O", (), {"log_json": False, "quiet": False, "retry_failed": True})()
    config = {"prompt": [], "prompts": [str(tmp_path / "all.csv")], "format": "files"}
    with pytest.raises(UsageError, match="writes a folder of pictures"):
        generate.run("text", config, [str(tmp_path / "p.csv")], "out", options)
    assert capsys.readouterr().err == (
        f"warning: {tmp_path}/p.csv: columns that are not read: negative_prompt, guidance\n"
    )
