"""Checkpoints in Hugging Face form (a folder or a hub id): found, loaded, named in the record.

    pretrained("SamModel", spec, DEFAULT, GET)      a model: right dtype, on its device, eval mode
    pretrained("SamProcessor", spec, DEFAULT, GET)  a processor, tokenizer or configuration
    describe(spec, DEFAULT, options)                what the record says about it

What lies in the hub's cache is used as it lies there, without a word to the network; what does not
is asked for on the hub once, so that a machine without a network learns in a second, and not after
minutes of retries, which command fetches the files. A checkpoint that lacks weights its model
needs is refused: transformers would fill them with random numbers and only warn. Code that comes
with a checkpoint is never run, and nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.backends import is_path, naming, variants, where
from socialcli.backends.devices import dtype
from socialcli.backends.quiet import only_errors
from socialcli.errors import ModelMissing, UsageError
from socialcli.records import Model

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec

HUB_SECONDS = 10.0  # how long the hub may take to say whether it has a model


def pretrained(cls: str | type, spec: ModelSpec, default_model: str, get: str, **kw: Any) -> Any:
    """``cls.from_pretrained`` of ``spec.model`` (or ``default_model``), ready to use.

    Args:
        cls: a class, or the name of one in transformers (``"SamModel"``, ``"AutoProcessor"``).
        spec: model, revision, device and dtype.
        default_model: hub id or folder when ``spec.model`` is empty.
        get: the command that fetches ``default_model``, shown when it is missing.
        kw: passed on to ``from_pretrained``; ``dtype=`` overrides ``spec.dtype``.

    Returns:
        A model in eval mode on ``spec.device``, or whatever else the class makes.

    Raises:
        ModelMissing: not here and not to be fetched; the line names the command that gets it.
        UsageError: it is here but lacks weights, or is another kind of checkpoint.
    """
    if isinstance(cls, str):
        import transformers

        # Its bar for every loaded weight; downloads have the hub's own bar, which stays.
        transformers.utils.logging.disable_progress_bar()
        cls = getattr(transformers, cls)
    assert isinstance(cls, type)
    model = spec.model or default_model
    is_model = _is_model(cls)
    if is_model:
        kw = {"dtype": dtype(spec.dtype), "output_loading_info": True, **kw}
        here = _place(model, spec.revision)
        weights = None if here is None else here / kw.get("subfolder", "")
        variant = variants.chosen(weights, spec.options.get("variant"))
        if variant is not None:
            kw = {"variant": variant, **kw}
    command = _command(spec, default_model, get)
    with _no_report():
        model_or_part = _load(cls, model, spec.revision, command, kw)
    if not is_model:
        return model_or_part
    network, loading = model_or_part
    holes = sorted([*loading["missing_keys"], *(str(k) for k in loading["mismatched_keys"])])
    if holes:
        raise UsageError(
            f"{model}: not a {cls.__name__} checkpoint: {len(holes)} of its weights are missing "
            f"or of another shape ({', '.join(holes[:3])}{', ...' if len(holes) > 3 else ''}). "
            f"A right one: {get}"
        )
    return network.to(spec.device).eval()


def one_file(model: str, suffix: str, what: str) -> Path:
    """The file of a checkpoint: what was named, or the one of this suffix in the folder that was.

    Raises:
        UsageError: the folder has none, or several.
    """
    path = Path(model).expanduser()
    if not path.is_dir():
        return path
    inside = sorted(path.glob(f"*{suffix}"))
    if len(inside) != 1:
        raise UsageError(
            f"{model}: {len(inside)} {suffix} files in this folder, one {what} is wanted"
        )
    return inside[0]


@contextlib.contextmanager
def _no_report() -> Iterator[None]:
    """Without transformers' table of weights it did not need (CLIP's text tower, where only the
    vision tower is wanted), and without diffusers' word on files that are not there; what is
    missing is told by `pretrained`."""
    twice = logging.getLogger("diffusers.models.modeling_utils")  # says what it then raises
    level = twice.level
    twice.setLevel(logging.CRITICAL)
    try:
        with only_errors():
            yield
    finally:
        twice.setLevel(level)


def _load(cls: Any, model: str, revision: str | None, command: str, kw: dict[str, Any]) -> Any:
    """From a folder; else from the hub's cache; else from the hub, at one commit throughout."""
    kw = {**kw, "trust_remote_code": False}
    if is_path(model):
        folder = Path(model).expanduser()
        if not folder.is_dir():
            what = "it is a file, a folder is wanted" if folder.exists() else "no such folder"
            raise ModelMissing(f"{model}: {what}. Get it with: {command}")
        return _attempt(cls, model, str(folder), command, {**kw, "local_files_only": True})
    commit = _cached_commit(model, revision)
    if commit is not None:
        try:
            return cls.from_pretrained(model, revision=commit, local_files_only=True, **kw)
        except OSError:
            pass  # only part of it is in the cache
    commit = commit or _ask_hub(model, revision, command)
    return _attempt(cls, model, model, command, {**kw, "revision": commit})


def _attempt(cls: Any, model: str, place: str, command: str, kw: dict[str, Any]) -> Any:
    from torch import OutOfMemoryError

    try:
        return cls.from_pretrained(place, **kw)
    except OutOfMemoryError:
        raise
    except ImportError as error:
        raise UsageError(f"{model} needs a package that is not here ({_line(error)})") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        if isinstance(error, OSError) and "local_files_only" not in kw:
            raise ModelMissing(
                f"{model} is not on this machine and could not be fetched ({_line(error)}). "
                f"Get it with: {command}"
            ) from None
        raise UsageError(
            f"{model} cannot be loaded as {cls.__name__} ({_line(error)}). A right one: {command}"
        ) from None


def _ask_hub(model: str, revision: str | None, command: str) -> str | None:
    """The commit the hub has for this revision, asked once and without retries."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError

    try:
        return HfApi().model_info(model, revision=revision, timeout=HUB_SECONDS).sha
    except GatedRepoError:
        why = f"the hub wants a log-in: accept its terms at hf.co/{model}, then `hf auth login`"
    except Exception as error:  # the hub's client has a dozen kinds, and they change
        why = _line(error)
    raise ModelMissing(
        f"{model} is not on this machine and could not be fetched ({why}). Get it with: {command}"
    )


def describe(spec: ModelSpec, default: str, options: dict[str, Any]) -> Model:
    """What a record says about a model: of a hub id the commit where it can be known, of a local
    one its name and the fingerprint of its content (`naming`).

    Call it after `pretrained`, when the files are there. A hub id's commit is read from the cache,
    a folder's from what ``hf download --local-dir`` leaves in it.
    """
    model = spec.model or default
    options = {"dtype": spec.dtype, **options}
    if is_path(model):
        commit = _folder_commit(Path(model))
        return naming.describe(spec, default, {**options, **({"commit": commit} if commit else {})})
    commit = _cached_commit(model, spec.revision)
    return Model(spec.backend, model, commit or spec.revision, spec.role, options)


def _place(model: str, revision: str | None) -> Path | None:
    """The folder of a checkpoint on this machine; None where it is not here."""
    if is_path(model):
        return Path(model).expanduser()
    commit = _cached_commit(model, revision)
    place = where(model)
    return Path(place).with_name(commit) if commit and place else None


def _cached_commit(model: str, revision: str | None) -> str | None:
    """The commit of this revision in the hub's cache, or None; the network is not asked."""
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        for file in (
            "config.json",
            "preprocessor_config.json",
            "tokenizer_config.json",
            "model_index.json",
        ):
            cached = try_to_load_from_cache(
                model, file, revision=revision or "main", cache_dir=constants.HF_HUB_CACHE
            )
            if isinstance(cached, str):
                return Path(cached).parent.name
    except HFValidationError:
        raise UsageError(f"'{model}' is neither a folder nor a hub id (owner/name)") from None
    return None


def _folder_commit(folder: Path) -> str | None:
    note = folder.expanduser() / ".cache/huggingface/download/config.json.metadata"
    try:
        return note.read_text(encoding="utf-8").split()[0]
    except (OSError, IndexError):
        return None


def _command(spec: ModelSpec, default_model: str, get: str) -> str:
    if not spec.model or (spec.model == default_model and spec.revision is None) or not get:
        return get or f"hf download {default_model}"
    if is_path(spec.model):
        return f"hf download {default_model} --local-dir {spec.model}"
    revision = f" --revision {spec.revision}" if spec.revision else ""
    return f"hf download {spec.model}{revision}"


def _is_model(cls: type) -> bool:
    """Whether from_pretrained takes a dtype: networks do, processors and configurations do not."""
    import torch

    if issubclass(cls, torch.nn.Module):
        return True
    return cls.__name__.startswith("AutoModel") or hasattr(cls, "_model_mapping")


def _line(error: BaseException) -> str:
    """An exception's first line, without transformers' page of advice."""
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else text[:157] + "..."
