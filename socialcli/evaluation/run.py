"""One score from beginning to end: read, join, see, measure, resample, write."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import __version__, shards
from socialcli.config import check_bounds, option
from socialcli.errors import SocialcliError, UsageError
from socialcli.evaluation import bootstrap, joining, samples, settings, training_set
from socialcli.evaluation.cases import Case, Context, Picture
from socialcli.evaluation.features import Subject, _compute
from socialcli.evaluation.features._compute import Seen, Want
from socialcli.evaluation.joining import Joined
from socialcli.evaluation.metrics import Column, Metric, Needs
from socialcli.evaluation.samples import Known, Lost
from socialcli.pipeline import domain
from socialcli.pipeline.plan import public, shown
from socialcli.pipeline.report import Report

if TYPE_CHECKING:
    import numpy

SCHEMA = 1


@dataclass
class Options:
    """How a score is made; none of it chooses models."""

    reference: list[str] = option([], "Shards the pictures were generated from. Repeatable.")
    test_set: list[str] = option(
        [], "Pictures of the subjects that no training saw: what --reference is, said beside "
        "--train-set. Repeatable.",
    )  # fmt: skip
    train_set: list[str] = option(
        [], "Pictures that were trained on: clip-i and dino are measured to these too, and how far "
        "that exceeds the other, which shows overfitting. Repeatable.",
    )  # fmt: skip
    real: bool = option(
        False, "The pictures are real ones standing in for generated ones (each its own source)."
    )
    limit: int | None = option(None, "Score the first N generated pictures only.", at_least=1)
    resamples: int = option(2000, "Bootstrap resamples for the 95 % intervals.", at_least=0)
    seed: int = option(0, "Seed of the resampling.", at_least=0)
    features: str | None = option(
        None, "Folder where features are kept and looked up (default: OUTPUT/features)."
    )
    show: int = option(6, "Best and worst pictures of each figure on the page.", at_least=0)
    title: str | None = option(None, "Heading of the page and name in tables.")
    max_error_rate: float = option(
        0.05,
        "Exit with 1 when a larger share of pictures, or references, failed.",
        at_least=0,
        at_most=1,
    )
    quiet: bool = option(False, "Say only warnings and errors.")


@dataclass
class Score:
    """Everything a score found, before it is written."""

    title: str
    inputs: list[str]
    reference: list[str]
    training: list[str]
    config: dict[str, Any]
    metrics: dict[str, Metric]
    cases: list[Case]
    joined: list[Joined]
    contexts: dict[str, Context]
    rows: dict[str, dict[str, numpy.ndarray]]
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    pictures: dict[str, numpy.ndarray] = field(default_factory=dict)
    models: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    options: Options = field(default_factory=Options)


def score(inputs: list[str], output: str, config: Any, options: Options) -> Score:
    """Score generated pictures and write everything into a folder.

    Args:
        inputs: generated shards, or folders of pictures with their JSON.
        output: folder for score.json, tables, page, rows and features.

    Raises:
        UsageError: something needed is missing; nothing heavy was done. SocialcliError: more
            pictures failed than ``max_error_rate`` allows; the outputs are written all the same.
    """
    report = Report(quiet=options.quiet)
    metrics = training_set.metrics(settings.chosen(config), bool(options.train_set))
    needs = {name: metric.needs(config) for name, metric in metrics.items()}
    check_bounds(Options, vars(options))
    shards.check_output_folder(output)
    if options.features:
        shards.check_output_folder(options.features, "--features")
    seen = _seen(needs, config, Path(options.features or Path(output) / "features"))
    generated = samples.locations(inputs)
    asked = [*options.reference, *options.test_set] or (inputs if options.real else [])
    reference = samples.locations(asked) if asked else []
    pictures, lost, bare = samples.generated(generated, options.limit, options.real)
    members = joining.HELPFUL | {m for need in needs.values() for m in need.members}
    believed = settings.estimates(config)
    known, unread = samples.reference(reference, joining.wanted(pictures, needs), members, believed)
    where = (", ".join(public(inputs)), ", ".join(public(asked)))
    joined, unjoined = joining.join(pictures, known, needs, config.against, where)
    notes = _left_out(bare)
    if options.train_set:
        unreadable, more = training_set.attach(joined, options.train_set)
        unread += unreadable
        notes += more
    reading = [name for name, need in needs.items() if need.text]
    if reading and not any(j.generated.prompt for j in joined):
        raise UsageError(
            f"{where[0]}: no sample has a prompt, which {', '.join(reading)} compares with"
        )
    sources = [one.real for one in joined if one.real is not None]
    targets = Targets(seen, sources)
    classes = {name: metric.classes(config, sources) for name, metric in metrics.items()}
    everything = {name for need in needs.values() for name in need.everything}
    unseen = _compute.compute(
        seen, _wants(joined, known, needs, targets), config.batch_size, report
    )
    cases = [_case(one, needs, seen, targets) for one in joined]
    every = [
        Picture(one.key, {name: seen.value(name, one.digest) or {} for name in everything})
        for one in (known.values() if everything else ())
    ]
    contexts = {name: Context(config, every, classes[name]) for name in metrics}
    rows = {name: metric.rows(cases, contexts[name]) for name, metric in metrics.items()}
    result = Score(
        options.title or shards.public(shards.parts(inputs[0])[0]).rstrip("/").rpartition("/")[2],
        inputs, asked, options.train_set, dataclasses.asdict(config), metrics, cases, joined,
        contexts, rows, notes=notes,
        models={name: store.models for name, store in seen.stores.items()},
        lost=_distinct([*lost, *unread, *unjoined, *unseen]), options=options,
    )  # fmt: skip
    _measure(result, report)
    specs = [spec for feature in seen.features.values() for spec in feature.models(config)]
    alone = sum(one.source is not None and not one.subjects for one in joined)
    if alone and any(need.references for need in needs.values()):
        result.notes.append(
            f"{alone:,} of {len(joined):,} pictures were made without reference pictures: there is "
            f"nothing to compare them with by --against {config.against}"
        )
    if any("crops" in metric.OPTIONS for metric in metrics.values()) and config.crops != "none":
        result.notes += _uncut(joined)
    kinds = map(_kind, joined)
    if warning := domain.strangers(kinds, domain.limited(specs), "of which scores mean nothing"):
        result.notes.append(warning)
    cut = sum(cut_off(case) != "" for case in cases)
    if cut:
        result.notes.append(
            f"{cut:,} of {len(cases):,} prompts are longer than CLIP reads: clip-t compares with "
            "their beginning (samples.jsonl has what is left out, under unread)"
        )
    from socialcli.evaluation import writing

    for path in writing.write(result, Path(output)):
        report.info(path)
    trained = {(p.location, p.key) for one in joined for p, _ in one.training}
    total = len(pictures) + len(lost), len(known) + len(unread) + len(trained)
    _say(result, report, set(generated), total)
    return result


def _uncut(joined: list[Joined]) -> list[str]:
    """A note of the reference pictures out of which `--crops` can cut nothing."""
    parts = [
        pair for one in joined for subject in [*one.subjects, one.training] for pair in subject
    ]
    every = {(known.location, known.key) for known, _ in parts}
    bare = {(known.location, known.key) for known, boxes in parts if not boxes}
    if not bare:
        return []
    return [
        f"{len(bare):,} of {len(every):,} reference pictures have no box of their subject (first "
        f"{min(bare)[1]}): --crops compares with the whole of them; `socialcli ground` finds boxes"
    ]


def _left_out(bare: list[Lost]) -> list[str]:
    """A note of the pictures that nothing is said about."""
    if not bare:
        return []
    return [
        f"{len(bare):,} pictures without a {samples.RECORD} or .json beside them are left out, as "
        f"contact sheets are (first {bare[0].key} of {public(bare[0].location)}); --real scores all"
    ]


def show(inputs: list[str], output: str, config: Any, options: Options) -> None:
    """The dry run: what would be looked at, with which models, and what would be written."""
    from socialcli.pipeline import dry_run

    check_bounds(Options, vars(options))
    metrics = training_set.metrics(settings.chosen(config), bool(options.train_set))
    needs = {name: metric.needs(config) for name, metric in metrics.items()}
    seen = _seen(needs, config, Path(options.features or Path(output) / "features"), check=False)
    specs = [spec for feature in seen.features.values() for spec in feature.models(config)]
    generated = samples.locations(inputs)
    others = [*options.reference, *options.test_set, *options.train_set]
    reference = samples.locations(others) if others else []
    places = [*generated, *reference]
    tars = [place for place in places if not Path(place).is_dir()]
    folders = [place for place in places if Path(place).is_dir()]
    files = [f"{output}/{name}" for name in ("score.json", "table.md", "table.tex", "index.html")]
    distinct = list({repr(spec): spec for spec in specs}.values())
    dry_run.show("score", tars, files, distinct, vars(config))
    dry_run.say(f"pictures in {folder}" for folder in folders)


class Targets:
    """What features look for in each picture."""

    def __init__(self, seen: Seen, sources: list[Picture]) -> None:
        self.seen = seen
        self.shared = {
            name: feature.prepare(seen.config, sources) for name, feature in seen.features.items()
        }

    def generated(self, name: str, one: Joined) -> Any:
        """In a generated picture; None where a feature looks at the picture alone."""
        return self._of(name, Subject(one.real, tuple(one.queries)))

    def reference(self, name: str, boxes: joining.Boxes) -> Any:
        """In a reference picture of a thing that has these boxes in it."""
        return self._of(name, Subject(boxes=tuple(boxes)))

    def _of(self, name: str, subject: Subject) -> Any:
        subject = dataclasses.replace(subject, shared=self.shared[name])
        return self.seen.features[name].target(self.seen.config, subject)


def _kind(one: Joined) -> str:
    """Where what a picture shows came from: the source of the picture it was made of; without one
    a miniature draws scenes of its world, and of other pictures nobody knows."""
    if one.source is not None and "meta.json" in one.source.records:
        return str(one.source.records["meta.json"].source)
    model = one.generated.info.get("model")
    name = str(model.get("model", "")) if isinstance(model, dict) else ""
    return "world-0-train-0" if name.startswith("mini/") else ""


def _distinct(lost: list[Lost]) -> list[Lost]:
    """Each complaint once: a reference of several pictures is wanted several times."""
    return list({(one.key, one.location, one.reason): one for one in lost}.values())


def _seen(needs: dict[str, Needs], config: Any, root: Path, check: bool = True) -> Seen:
    """The features that some metric asks for, with what is known of them."""
    names: set[str] = set()
    for need in needs.values():
        names |= {*need.generated, *need.references, *need.text, *need.everything, *need.training}
    seen = Seen(root, sorted(names), config)
    if check:
        seen.check()
    return seen


def _wants(
    joined: list[Joined], references: dict[str, Known], needs: dict[str, Needs], targets: Targets
) -> list[Want]:
    """Every picture and text with the features that some metric asks of it."""
    features = sorted({name for need in needs.values() for name in need.generated})
    texts = sorted({name for need in needs.values() for name in need.text})
    reference_features = sorted({name for need in needs.values() for name in need.references})
    every = sorted({name for need in needs.values() for name in need.everything})
    trained = sorted({name for need in needs.values() for name in need.training})
    wants: list[Want] = []
    for one in joined:
        picture = one.generated
        jobs = [(name, targets.generated(name, one)) for name in features]
        wants.append(Want(picture.key, picture.digest, jobs, picture.location))
        if picture.prompt and texts:
            jobs = [(name, None) for name in texts]
            wants.append(
                Want(picture.key, _text_digest(picture), jobs, picture.location, picture.prompt)
            )
        for sample, boxes in _references(one):
            jobs = [(name, targets.reference(name, boxes)) for name in reference_features]
            wants.append(Want(sample.key, sample.digest, jobs, sample.location))
        for sample, boxes in one.training:
            jobs = [(name, targets.reference(name, boxes)) for name in trained]
            wants.append(Want(sample.key, sample.digest, jobs, sample.location))
    for sample in references.values() if every else ():
        jobs = [(name, None) for name in every]
        wants.append(Want(sample.key, sample.digest, jobs, sample.location))
    return [want for want in wants if want.jobs]


def _references(one: Joined) -> list[tuple[Known, joining.Boxes]]:
    whole = [(one.source, list[list[float]]())] if one.source is not None else []
    return [*(pair for subject in one.subjects for pair in subject), *whole]


def _text_digest(sample: Known) -> str:
    return samples.digest(sample.prompt.encode("utf-8", "surrogatepass"))


def _case(one: Joined, needs: dict[str, Needs], seen: Seen, targets: Targets) -> Case:
    """A joined sample with everything that was seen of it."""

    def picture(sample: Known, names: set[str], extra: Any) -> Picture:
        values = {name: seen.value(name, sample.digest, extra(name)) for name in names}
        there = {name: value for name, value in values.items() if value is not None}
        return Picture(sample.key, there, sample.records)

    features = {name for need in needs.values() for name in need.generated}
    reference_features = {name for need in needs.values() for name in need.references}
    texts = {name for need in needs.values() for name in need.text}
    trained = {name for need in needs.values() for name in need.training}
    states = {name: seen.value(name, _text_digest(one.generated)) for name in texts}
    plain = {name for name in reference_features if not seen.features[name].has("target")}
    return Case(
        one.generated.key,
        one.unit,
        one.generated.prompt,
        picture(one.generated, features, lambda name: targets.generated(name, one)),
        {name: value for name, value in states.items() if value is not None},
        picture(one.source, plain, lambda name: None) if one.source is not None else None,
        [
            [
                picture(s, reference_features, lambda name, b=boxes: targets.reference(name, b))
                for s, boxes in subject
            ]
            for subject in one.subjects
        ],
        [
            picture(s, trained, lambda name, b=boxes: targets.reference(name, b))
            for s, boxes in one.training
        ],
    )


def _measure(result: Score, report: Report) -> None:
    """Figures, intervals and each picture's own figures."""
    import numpy

    units = {unit: n for n, unit in enumerate(dict.fromkeys(case.unit for case in result.cases))}
    members = numpy.array([units[case.unit] for case in result.cases])
    ones = numpy.ones((1, len(result.cases)))
    for name, metric in result.metrics.items():
        rows = result.rows[name]
        plain = {k: float(v[0]) for k, v in metric.estimate(rows, ones).items()}
        count = at_most(result.options.resamples, metric)
        count = count if len(units) > 1 else 0  # one source says nothing about others
        if count and any(numpy.isfinite(v) for v in plain.values()):
            report.info(f"{name}: {count:,} resamples of {len(units):,} sources")
        estimate = functools.partial(metric.estimate, rows)
        drawn = bootstrap.resampled(estimate, members, len(units), count, result.options.seed)
        own = metric.pictures(rows)
        for column in metric.COLUMNS:
            value = plain[column.name]
            values = drawn.get(column.name, numpy.zeros(0))
            span = bootstrap.interval(values, value, metric.INTERVAL)
            span = span.within(column.low, column.high)
            result.columns[column.name] = {
                "value": value if numpy.isfinite(value) else None,
                "low": span.low,
                "high": span.high,
                "n": _count(metric, rows, own.get(column.name)),
                "resamples": span.resamples,
                "interval": metric.INTERVAL,
                "metric": name,
                **_plain(column),
            }
        result.pictures.update(own)
        result.notes += metric.notes(rows)


def at_most(resamples: int, metric: Metric) -> int:
    """As many resamples as were asked for, or as the metric can afford."""
    return resamples if metric.RESAMPLES is None else min(resamples, metric.RESAMPLES)


def cut_off(case: Case) -> str:
    """The end of the prompt that CLIP's length cut off, "" where there is none."""
    return str(case.text.get("clip-text", {}).get("unread", ""))


def _count(metric: Metric, rows: dict[str, numpy.ndarray], own: numpy.ndarray | None) -> int:
    """How many pictures a figure is of."""
    import numpy

    count = metric.count(rows)
    if count is not None:
        return count
    return int(numpy.isfinite(own).sum()) if own is not None else 0


def _plain(column: Column) -> dict[str, Any]:
    """A column's own facts, with None for a range's open end."""
    facts = dataclasses.asdict(column)
    for end in ("low", "high"):
        value = facts.pop(end)
        facts[f"range_{end}"] = value if abs(value) != float("inf") else None
    return facts


def as_json(result: Score) -> dict[str, Any]:
    """What score.json holds."""
    from importlib import metadata

    versions = {}
    for package in ("numpy", "torch", "transformers", "scipy", "torchmetrics"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    methods = Counter(str(j.generated.info.get("method", "")) for j in result.joined)
    return {
        "schema": SCHEMA,
        "title": result.title,
        "generated": public(result.inputs),
        "reference": public(result.reference),
        **({"training": public(result.training)} if result.training else {}),
        "pictures": len(result.cases),
        "units": len({case.unit for case in result.cases}),
        "lost": len(result.lost),
        "methods": dict(methods),
        "resamples": result.options.resamples,
        "seed": result.options.seed,
        "level": bootstrap.LEVEL,
        "columns": result.columns,
        "notes": result.notes,
        "models": result.models,
        "config": shown(
            {k: v for k, v in result.config.items() if k not in ("device", "batch_size")}
        ),
        "metrics": {name: metric.SOURCE for name, metric in result.metrics.items()},
        "socialcli": __version__,
        "versions": versions,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _say(result: Score, report: Report, generated: set[str], totals: tuple[int, int]) -> None:
    """Notes, and what was lost, of generated pictures and of what they are compared with.

    Args:
        generated: where the generated pictures are. totals: of both how many there are.

    Raises:
        SocialcliError: of either more failed than `max_error_rate` allows.
    """
    for note in result.notes:
        report.info(note)
    for one in result.lost[:5]:
        report.warn(f"{one.location}: {one.key}: {one.reason}")
    keys = {(one.location, one.key) for one in result.lost}
    own = {key for key in keys if key[0] in generated}
    sides = (("pictures", own, totals[0]), ("reference pictures", keys - own, totals[1]))
    more = f"; all {len(result.lost):,} in errors.jsonl" if len(result.lost) > 5 else ""
    for what, lost, total in sides:
        if lost:
            report.warn(f"{len(lost):,} of {total:,} {what} could not be used whole{more}")
    for what, lost, total in sides:
        if len(lost) > result.options.max_error_rate * max(total, 1):
            raise SocialcliError(
                f"score: {len(lost):,} of {total:,} {what} failed, more than --max-error-rate "
                f"{result.options.max_error_rate:g}; what could be scored is written, see "
                "errors.jsonl"
            )


def load(folder: str) -> tuple[Path, dict[str, Any]]:
    """The score.json of an output folder, or of the folder ``score`` in a folder of shards.

    Raises:
        UsageError: there is none, or it is another program's.
    """
    for place in (Path(folder), Path(folder) / "score"):
        data = shards.read_bytes(str(place / "score.json"))
        if data is not None:
            return place, _body(data, f"{place / 'score.json'}")
    raise UsageError(f"{folder}: no score.json here: run `socialcli score {folder} -o ...` first")


def _body(data: bytes, where: str) -> dict[str, Any]:
    """What score.json holds, with what `--compare` needs of it."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not valid JSON ({error}); run the score again") from None
    kinds = {"title": str, "metrics": dict, "models": dict, "config": dict}
    if not isinstance(body, dict) or not all(isinstance(body.get(n), k) for n, k in kinds.items()):
        raise UsageError(f"{where}: not a score of `socialcli score`: it lacks {', '.join(kinds)}")
    return body
