"""Features on disk: every value a model gave, under the fingerprint of what it looked at.

A feature's values are in a folder named after the feature and everything it depends on (models,
their files, options), as shards like any other: one sample per fingerprint with ``value.json`` and
``NAME.npy`` members. So a second score of the same pictures costs nothing, a score that was killed
goes on where it was, references shared by many methods are looked at once, and a model that changed
is asked again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import Any

from socialcli import backends, records, shards
from socialcli.backends import ModelSpec, naming
from socialcli.errors import SocialcliError
from socialcli.evaluation import samples
from socialcli.evaluation.features import Feature, Value, before

KEEP_EVERY = 256  # new values, and seconds, after which they are written to disk
KEEP_SECONDS = 60.0


def identity(feature: Feature, config: Any) -> dict[str, Any]:
    """Everything a feature's values depend on besides the picture."""
    return {
        "name": feature.name,
        "version": feature.VERSION,
        "models": [_spec_identity(spec) for spec in feature.models(config)],
        "options": feature.options(config),
        "after": [identity(earlier, config) for earlier in before(feature)],
    }


def place(root: Path, feature: Feature, config: Any) -> Path:
    """The folder of a feature's values."""
    text = json.dumps(identity(feature, config), sort_keys=True, default=str)
    return root / f"{feature.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _spec_identity(spec: ModelSpec) -> dict[str, Any]:
    """A model without the device it runs on and the folder it lies in, with what it holds."""
    facts = {k: v for k, v in dataclasses.asdict(spec).items() if k != "device"}
    model = spec.model or backends.info(spec.role, spec.backend).model
    facts["model"] = naming.content(model)
    facts["options"] = {
        name: naming.content(value) if isinstance(value, str) else value
        for name, value in spec.options.items()
    }
    if not naming.fingerprint(model) and (place := backends.where(model)) is not None:
        facts["snapshot"] = Path(place).name  # a hub checkpoint's commit
    return facts


def entry(digest: str, extra: Any) -> str:
    """The name of a value in its store."""
    if extra is None:
        return digest
    encoded = json.dumps(extra, sort_keys=True)
    return samples.digest(f"{digest} {encoded}".encode())


class Store:
    """The values of one feature that are known, on disk and in memory."""

    def __init__(self, root: Path, feature: Feature, config: Any) -> None:
        self.folder = place(root, feature, config)
        self.values: dict[str, Value] = {}
        self.failed: dict[str, str] = {}
        self.fresh: list[tuple[str, dict[str, bytes]]] = []
        self.since = time.monotonic()
        for path in sorted(self.folder.glob("*.tar")):
            try:
                for sample in shards.read(str(path)):
                    if not sample.problem:
                        self.values[sample.key] = _decode(sample.members)
            except SocialcliError:
                path.unlink()  # not readable: computed again
        self.models: list[dict[str, Any]] = []
        if (self.folder / "models.json").is_file():
            self.models = json.loads((self.folder / "models.json").read_bytes())

    def put(self, name: str, value: Value) -> None:
        self.values[name] = value
        self.fresh.append((name, _encode(value)))
        if len(self.fresh) >= KEEP_EVERY or time.monotonic() - self.since > KEEP_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Write what is new as one more shard of the folder."""
        self.since = time.monotonic()
        if self.fresh:
            fresh = dict(self.fresh)  # a picture that came twice is written once
            name = hashlib.sha256("".join(fresh).encode()).hexdigest()[:16]
            shards.write(self.folder / f"{name}.tar", fresh.items())
            self.fresh = []

    def credit(self, models: list[records.Model]) -> None:
        """Note which models made the values."""
        self.models = [json.loads(records.dump(model)) for model in models]
        for model in self.models:
            model.pop("schema")
        shards.write_bytes(str(self.folder / "models.json"), json.dumps(self.models).encode())


def _encode(value: Value) -> dict[str, bytes]:
    import numpy

    plain = {k: v for k, v in value.items() if not isinstance(v, numpy.ndarray)}
    arrays = {k: v for k, v in value.items() if isinstance(v, numpy.ndarray)}
    npy_files = {f"{name}.npy": records.dump_npy(array) for name, array in arrays.items()}
    return {**npy_files, "value.json": json.dumps(plain, allow_nan=False).encode()}


def _decode(members: dict[str, bytes]) -> Value:
    value: Value = json.loads(members["value.json"])
    for suffix, data in members.items():
        if suffix.endswith(".npy"):
            value[suffix.removesuffix(".npy")] = records.load_npy(data, suffix)
    return value
