"""Generate pictures from prompts and reference subjects, each saying how it was made.

socialcli generate --prompt "a man walks a dog" -o out/ --format files

socialcli generate prompts.csv -o out/ --method ssr

socialcli generate SHARDS -o out/ --method ssr --query nouns
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from socialcli.pipeline.run import RunOptions

DEFAULT = "text"
INPUTS = (
    "Prompt files (.txt, .csv, .jsonl), or shards whose captions are the prompts: paths, globs, "
    "folders, {000..099} ranges, URLs, - for stdin. None with --prompt."
)
OUTPUT = "A folder; with shards as for every stage a pattern, a .tar, a URL prefix or - too."
RUNNING = True


def run(
    method: str, config: dict[str, Any], inputs: list[str], output: str, options: RunOptions
) -> None:
    """Plan and run, then draw the contact sheet.

    Raises:
        UsageError: the request makes no sense. SocialcliError: it could not be carried out.
    """
    from socialcli import backends, registry, shards
    from socialcli.backends import devices
    from socialcli.config import default, flag
    from socialcli.errors import UsageError
    from socialcli.generation import folder, requests
    from socialcli.generation import stage as generating
    from socialcli.pipeline import run as start
    from socialcli.pipeline.report import Report

    files = [name for name in inputs if requests.is_prompts(name)]
    places = [name for name in inputs if not requests.is_prompts(name)]
    config = {**config, "prompts": [*config["prompts"], *files]}
    from_prompts = bool(config["prompt"] or config["prompts"])
    if from_prompts and places:
        raise UsageError(
            f"{places[0]}: prompts come from --prompt and prompt files, or from shards, not both"
        )
    if not from_prompts and not places:
        raise UsageError("no prompt: give --prompt TEXT, a .txt, .csv or .jsonl file, or shards")
    report = Report(options.log_json, options.quiet)
    chosen = registry.load("methods.generate", method)
    of_references = chosen.unread(chosen.config_type(**config)) if config["prompts"] else {}
    for file in config["prompts"]:
        if columns := requests.unread(file, of_references):
            report.warn(f"{file}: columns that are not read: {', '.join(columns)}")
    for field in dataclasses.fields(chosen.config_type):
        only = field.metadata.get("only")
        given = config[field.name] != default(field)
        if given and only == ("shards" if from_prompts else "prompts"):
            where = "prompts are not from shards" if from_prompts else "prompts are from shards"
            report.warn(f"{flag(field.name)} changes nothing: the {where}")
    if config["format"] == "files" and (options.retry_failed or output.endswith(".tar")):
        what = "--retry-failed" if options.retry_failed else output
        raise UsageError(f"{what}: --format files writes a folder of pictures, not a shard")
    for sheet in ("grid", "attention_maps"):
        if config[sheet] and output == "-":
            raise UsageError(f"{flag(sheet)} reads the pictures again: give -o FOLDER instead of -")
        if config[sheet]:
            shards.check_output_file(config[sheet], flag(sheet))
    stage = chosen.as_stage()
    config = devices.resolved(config, elsewhere=options.engine != "local")
    stage.check(stage.config_type(**config))
    plan = start.planned(
        "methods.generate", stage.name, config, places, output, options, config["shard_size"]
    )
    plan = generating.targets(plan)
    sources = [task.source for task in plan.tasks]
    at_hand = not any(
        part == "-" or shards.is_url(part) for s in sources for part in shards.parts(s)
    )
    if at_hand and not options.dry_run and options.max_error_rate < 1:
        stage_config = stage.config_type(**config)
        backends.require(stage.models(stage_config))
        stage.look(stage_config, sources)
    try:
        start.carry_out(plan, options)
    finally:
        targets = [task.target for task in plan.tasks]
        if config["format"] == "files" and targets and not options.dry_run:
            folder.write_metadata(targets)
        if not options.dry_run:
            _sheets(config, targets, options)


def _sheets(config: dict[str, Any], targets: list[str], options: RunOptions) -> None:
    from socialcli.generation import attention_sheet, grid
    from socialcli.pipeline.report import Report

    writers = {"grid": grid.write, "attention_maps": attention_sheet.write}
    for name, write in writers.items():
        file = config[name]
        count = write(targets, file, config["provenance"]) if file else 0
        if count:
            Report(options.log_json, options.quiet).info(f"{file}: {count} pictures")
