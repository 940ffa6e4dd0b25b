"""Score generated pictures: alignment, identity, gaze, interactions, with intervals.

socialcli score GENERATED --reference SHARDS --metrics clip-t,clip-i,dino,face -o out/

writes score.json, table.md, table.tex, index.html and every picture's own figures.

socialcli score --compare A B -o out/

compares scores that are there already, picture by picture: the first is the baseline.
"""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from socialcli.cli import flags
from socialcli.evaluation.run import Options
from socialcli.evaluation.settings import config_type

INPUTS = (
    "Shards of generated pictures (or folders of pictures with their JSON); with --compare, "
    "folders that score wrote."
)


def run(ctx: typer.Context, **values: Any) -> None:
    import sys

    from socialcli import shards
    from socialcli.cli import profiles
    from socialcli.errors import UsageError
    from socialcli.evaluation import compare, settings, tables
    from socialcli.evaluation import run as running

    options = Options(**{name: values[name] for name in Options.__dataclass_fields__})
    inputs, output = values["inputs"], values["output"]
    if output:
        shards.refuse_file_name(output, "scores")
    if values["compare"]:
        if output:
            shards.check_output_folder(output)
        names = [n.strip() for n in values["names"].split(",")] if values["names"] else None
        result = compare.compare(inputs, names, options.resamples, options.seed)
        sys.stdout.write(tables.compared_markdown(result))
        for path in compare.write(result, output) if output else []:
            print(path, file=sys.stderr)
        return
    if not output:
        raise UsageError("score needs -o FOLDER, where the figures and the page go")
    Config = config_type()
    config = profiles.values(values["profile"], "score", Config, flags.given(ctx, values, Config))
    score_config = Config(**settings.resolved(config))
    if values["dry_run"]:
        running.show(inputs, output, score_config, options)
        return
    score = running.score(inputs, output, score_config, options)
    sys.stdout.write(tables.markdown(running.as_json(score)))


_output = Annotated[
    str | None, typer.Option("--output", "-o", help="Folder to write into.", show_default=False)
]
_compare = Annotated[bool, typer.Option("--compare", help="Compare scores instead of making one.")]
_names = Annotated[
    str | None,
    typer.Option(help="With --compare: what to call them, divided by commas.", show_default=False),
]
command = flags.signed(
    run,
    [
        flags.parameter("ctx", typer.Context, inspect.Parameter.empty),
        flags.inputs(INPUTS),
        flags.parameter("output", _output, None),
        flags.parameter("compare", _compare, False),
        flags.parameter("names", _names, None),
        *flags.of(Options, "Scoring"),
        *flags.of(config_type(), "Metrics and models"),
        flags.profile(),
        flags.dry_run(),
    ],
)
