"""Find the pseudo-word of a subject in a few pictures of it; --method says how.

The output folder gets learned_embeds.safetensors, which diffusers and A1111 load, a log, and
checkpoints: the same command goes on where a stopped run was.
"""

from __future__ import annotations

from typing import Any

DEFAULT = "textual-inversion"
INPUTS = "Shards of the pictures: paths, globs, folders, {000..099} ranges, URLs."
OUTPUT = "Folder of the result, its log and its checkpoints."
RUNNING = False


def run(method: str, config: dict[str, Any], inputs: list[str], output: str, options: Any) -> None:
    from socialcli import registry
    from socialcli.backends.devices import resolved
    from socialcli.training import loop

    module = registry.load("methods.invert", method)
    loop.run("invert", method, module, resolved(config), inputs, output, options.dry_run)
