"""Fine-tune a diffusion model on annotated shards; --method says how.

Samples are read from shards at random, in an order that the seed decides. The output folder gets
the result, log.jsonl, and checkpoints: the same command goes on where a stopped run was. Several
processes: torchrun --nproc-per-node 4 -m socialcli train ...
"""

from __future__ import annotations

from typing import Any

DEFAULT = "feedback"
INPUTS = "Shards: paths, globs, folders, {000..099} ranges, URLs, a.tar+b.tar to join sidecars."
OUTPUT = "Folder of the result, its log and its checkpoints."
RUNNING = False


def run(method: str, config: dict[str, Any], inputs: list[str], output: str, options: Any) -> None:
    from socialcli import registry
    from socialcli.backends.devices import resolved
    from socialcli.training import loop

    module = registry.load("methods.train", method)
    loop.run("train", method, module, resolved(config), inputs, output, options.dry_run)
