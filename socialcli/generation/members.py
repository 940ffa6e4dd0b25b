"""The members of a generated picture's sample: the picture, what made it, and what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.generation import adapters, words
from socialcli.vision import provenance

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.generation.method import GenerateMethod
    from socialcli.generation.requests import Request
    from socialcli.generation.stage import Ready


def of(
    method: GenerateMethod,
    config: Any,
    loaded: Any,
    ready: Ready,
    image: Image,
    seed: int,
    unread: list[str],
    more: dict[str, bytes],
    tried: records.Attempts | None = None,
) -> dict[str, bytes] | Exception:
    """Suffix -> bytes, or why a record of the picture cannot be written.

    Args:
        loaded: what the method's `load` gave.
        seed: of the picture's noise. unread: what of its texts the encoder did not read.
        more: members besides. tried: of ``--attempts``.
    """
    request: Request = ready.request
    plain = request.plain_prompt
    if plain is None:
        plain = method.plain(config, loaded, request.prompt)
        plain = words.plain(loaded, plain or request.prompt) or plain
        without = adapters.in_plain_words(plain or request.prompt, loaded.identifiers)
        plain = without or plain
    default = method.SCALE
    record = records.Generated(
        prompt=request.prompt,
        plain_prompt=plain,
        negative=request.negative,
        seed=seed,
        attempts=tried,
        method=method.name,
        model=loaded.diffusion.model,
        models=loaded.models,
        scheduler=loaded.scheduler,
        steps=config.steps,
        guidance=config.guidance,
        size=image.size,
        unread=unread or None,
        long_prompts=None if config.long_prompts == "cut" else config.long_prompts,
        source_key=request.source_key,
        references=[
            records.Shown(r.key, r.query, default if r.scale is None else r.scale)
            for r in ready.references
        ],
    )
    try:
        body = records.dump(record)
    except SampleFailed as error:
        return error
    meta = records.Meta(image.width, image.height, source="socialcli generate")
    text = records.Caption(plain or request.prompt, model=records.Model("prompt"))
    return {
        "png": provenance.png(image, record, config.provenance),
        "generated.json": body,
        "caption.json": records.dump(text),
        "meta.json": records.dump(meta),
        **more,
        **method.members(config, ready, image.size),
    }
