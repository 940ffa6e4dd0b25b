"""A method of generate seen as a stage: requests come as samples that are still to be made."""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from socialcli import backends, shards
from socialcli.backends import naming
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import (
    adapters,
    attempts,
    attention,
    concepts,
    contents,
    drawing,
    members,
    references,
    requests,
    sample_requests,
    words,
)  # fmt: skip
from socialcli.generation import options as generating
from socialcli.generation.folder import FolderWriter
from socialcli.generation.method import GenerateMethod
from socialcli.generation.requests import Request
from socialcli.pipeline import plan as planning
from socialcli.pipeline.stage import Item, Noted, Stage
from socialcli.shards import Damage, Sample
from socialcli.validation.members import refuse_malformed

VERSION = 1  # raised when the same options give other pictures, whatever the method
SEEDS = 53  # bits of a picture's seed: a whole number that every reader of JSON keeps exactly


@dataclass(frozen=True)
class Ready:
    """A request with its reference pictures."""

    request: Request
    references: tuple[references.Reference, ...] = ()
    plan: Any = None  # what `GenerateMethod.prepare` gave

    @property
    def prompt(self) -> str:
        return self.request.prompt

    @property
    def negative(self) -> str:
        return self.request.negative

    @property
    def sample(self) -> Sample | None:
        """The sample that the picture is made of, with all its members; None for a bare prompt."""
        return self.request.sample


class GenerateStage(Stage, base=True):
    """Gives a method the shape of a stage."""

    DOMAIN = False

    def __init__(self, method: GenerateMethod) -> None:
        self.method = method
        self.name = method.name
        self.config_type = method.config_type
        self.VERSION = VERSION * 1000 + method.VERSION

    @property
    def command(self) -> str:
        return "generate"

    def numbered(self, config: dict[str, Any]) -> bool:
        return bool(config["prompt"] or config["prompts"])

    def check(self, config: Any) -> None:
        """Refuse options that make no sense.

        Raises:
            UsageError: one line that names the option.
        """
        generating.check(config)
        self._check_backend(config)
        if config.attention_maps and not self.method.WHOLE:
            raise UsageError(
                f"--attention-maps shows the words of one prompt: --method {self.name} draws each "
                "segment by a text of its own, so there is no map of a word over the picture"
            )
        if config.attention_maps and getattr(config, "attempts", 1) > 1:
            raise UsageError("--attention-maps is of one drawing: leave --attempts at 1")
        concepts.check(config)
        self.method.check_options(config)
        several, label = self.method.TWO_ENCODERS, f"--method {self.name}"
        if config.custom_diffusion:
            several, label = False, "--custom-diffusion"
        backends.check_text_encoders(self.method.models(config), label, several)

    def _check_backend(self, config: Any) -> None:
        """Refuse a diffusion model that this method cannot draw with."""
        default = str(next(f.default for f in dataclasses.fields(config) if f.name == "backend"))
        wanted, own = (backends.info("diffusion", b).method for b in (default, config.backend))
        if own != wanted:
            right = f"{config.backend} is drawn by --method {own}" if own else f"leave it {default}"
            raise UsageError(
                f"--backend {config.backend}: --method {self.name} cannot draw with it; {right}"
            )

    def models(self, config: Any) -> list[Any]:
        return [*self.method.models(config), *attempts.specs(config)]

    def load(self, config: Any) -> Any:
        self.check(config)
        backends.require(self.models(config))
        if getattr(config, "references", None):
            references.library(tuple(config.references))
        judge = attempts.judge(config)
        loaded = self.method.load(config)
        getattr(loaded, "studio", loaded).judge = judge
        return loaded

    def count(self, config: Any) -> int:
        """How many pictures flags and prompt files ask for."""
        return len(self.entries(config))

    def each(self, config: Any) -> int | None:
        count: int = config.per_prompt
        return count if config.captions == 1 else None

    def entries(self, config: Any) -> list[tuple[str, Request]]:
        """(key, request) of every picture that flags and prompt files ask for."""
        return requests.entries(config, self.method.masks(config))

    def facts(self, config: Any) -> dict[str, Any]:
        """What pictures depend on besides the options: what lies where models and references are.

        A fact named like an option ("option references") takes its place.
        """
        facts: dict[str, Any] = {"method": self.name}
        for spec in self.models(config):
            facts[f"weights of {spec.role}"] = naming.content(spec.model)
        if config.attention_maps:  # pictures stay as they are, but have two members more
            facts["attention maps"] = True
        if config.compile:  # a fact, so that runs without it are what they were
            facts["compiled"] = True
        if getattr(config, "references", None):
            facts["option references"] = [contents.held(place) for place in config.references]
        named = (*getattr(config, "reference", ()), *(self.method.masks(config) or ()))
        if files := contents.of_files(named):
            facts["reference files"] = files
        if config.words:
            facts["option words"] = words.facts(config.words)
        if config.vae:  # facts, so that runs without any are what they were
            facts["autoencoder"] = naming.content(config.vae)
        if config.stages:
            facts["stages"] = list(config.stages)
        return facts | adapters.facts(config) | self.method.facts(config)

    def noted(self, config: Any) -> dict[str, Any]:
        """What the files hold that rows name (one that was missing may come, for --retry-failed),
        and the reference shards that a pattern names."""
        rows = requests.files_of_rows(self.entries(config)) if config.prompts else ""
        shown = contents.of_patterns(getattr(config, "references", None) or ())
        held = {planning.ROW_FILES: rows, planning.REFERENCE_SHARDS: shown}
        return {name: word for name, word in held.items() if word}

    def named_files(self, config: Any, sample: Sample) -> Sequence[str]:
        """Those that the sample of a request names; `noted` is of those that rows name."""
        return self.method.named_files(config, sample.work) if sample.work is not None else ()

    def samples(self, config: Any, source: str, checksums: list[Any]) -> Iterator[Sample | Damage]:
        """The requests numbered ``first:last``, or those that a shard's samples are."""
        if config.prompt or config.prompts:
            first, last = (int(n) for n in source.split(":"))
            for key, request in self.entries(config)[first:last]:
                yield Sample(key, work=request)
            return
        for sample in shards.read_all(source, checksums):
            if isinstance(sample, Damage):
                yield sample
            elif sample.key:
                yield from self._requests(config, sample)

    def _requests(self, config: Any, sample: Sample) -> Iterator[Sample]:
        problem = sample.problem
        if problem is None and sample.filtered is None:
            try:
                refuse_malformed(sample)
                wanted = sample_requests.all_of_sample(
                    config, sample, self.method.masks(config), self.method.QUERIES
                )
            except SampleFailed as error:
                problem = str(error)
        if problem is not None or sample.filtered is not None:
            yield Sample(sample.key, problem=problem, filtered=sample.filtered)
            return
        for key, one in wanted:
            if isinstance(one, SampleFailed):
                yield Sample(key, problem=str(one))
            else:
                yield Sample(key, work=one)

    def look(self, config: Any, sources: list[str]) -> None:
        """Read until one request can be drawn, so that no model is loaded for nothing.

        Raises:
            UsageError: there is none; the line has the last one's reason.
        """
        looked, reason = 0, ""
        for source in sources:
            for sample in self.samples(config, source, []):
                looked += 1
                try:
                    if isinstance(sample, Damage):
                        raise SampleFailed(sample.reason)
                    if sample.problem or sample.filtered:
                        raise SampleFailed(str(sample.problem or sample.filtered))
                    self.prepare(config, sample)
                    return
                except SampleFailed as error:
                    reason = str(error)
        if looked:
            raise UsageError(f"none of the {looked} pictures can be drawn: {reason}")

    def prepare(self, config: Any, sample: Sample) -> Ready:
        request: Request = sample.work
        if not request.prompt:
            raise SampleFailed("the prompt is empty")
        plan = self.method.prepare(config, request)
        if not self.method.REFERENCES:
            return Ready(request, (), plan)
        if not request.references:
            raise SampleFailed("no reference picture: give --reference, or a column 'reference'")
        places = tuple(config.references)
        pictures = [
            references.find(w, places, sample.key, request.prompt) for w in request.references
        ]
        return Ready(request, tuple(pictures), plan)

    def process(
        self, config: Any, loaded: Any, items: list[Item]
    ) -> list[dict[str, bytes] | Exception]:
        """Pictures of requests with equally many references of equal weights together."""
        results: dict[int, dict[str, bytes] | Exception] = {}
        alike: dict[Any, list[tuple[int, Any]]] = defaultdict(list)
        unread: dict[int, list[str]] = {}
        for number, item in enumerate(items):
            loaded.unread.clear()
            try:
                embedded = self.method.embed(config, loaded, item.work)
            except SampleFailed as error:
                results[number] = error
                continue
            unread[number] = list(dict.fromkeys(loaded.unread))
            weights = tuple(reference.scale for reference in item.work.references)
            alike[weights, self.method.alike(embedded)].append((number, embedded))
        size = self.method.part(config, loaded)
        for group in alike.values():
            for start in range(0, len(group), size):
                part = group[start : start + size]
                drawn = self._draw(config, loaded, items, part, size, unread)
                results.update(zip((number for number, _ in part), drawn, strict=True))
        for number, rest in unread.items():
            request = items[number].work.request
            notes = words.notes(loaded, [request.prompt, request.negative])
            if rest:
                notes["prompts_cut"] = _cut_off(loaded)
            if notes and isinstance(written := results[number], dict):
                results[number] = Noted(written, notes | getattr(written, "notes", {}))
        return [results[number] for number in range(len(items))]

    def _draw(
        self,
        config: Any,
        loaded: Any,
        items: list[Item],
        part: list[Any],
        size: int,
        unread: dict[int, list[str]],
    ) -> list[dict[str, bytes] | Exception]:
        """The members of a batch's pictures."""
        if getattr(loaded, "judge", None) is not None:
            return self._again(config, loaded, items, part, size, unread)
        more = [dict[str, bytes]() for _ in part]
        if not config.attention_maps:
            images, seeds = self._pictures(config, loaded, items, part, size)
        else:
            prompts = [self.method.read(items[n].work.prompt) for n, _ in _filled(part, size)]
            with attention.watch(config, loaded, prompts) as watch:
                images, seeds = self._pictures(config, loaded, items, part, size)
            more = [watch.members(at) for at in range(len(part))]
        of = functools.partial(members.of, self.method, config, loaded)
        return [
            of(items[number].work, image, seed, unread[number], more[at])
            for at, ((number, _), image, seed) in enumerate(zip(part, images, seeds, strict=False))
        ]

    def _pictures(
        self,
        config: Any,
        loaded: Any,
        items: list[Item],
        part: list[Any],
        size: int,
        attempt: int = 0,
    ) -> tuple[list[Any], list[int]]:
        """Pictures and seeds of one batch of ``size``."""
        full = _filled(part, size)
        seeds = [attempts.seed(_seed(items[number]), attempt) for number, _ in full]
        conditioning = self.method.condition(config, loaded, [embedded for _, embedded in full])
        return drawing.draw(config, loaded, conditioning, seeds), seeds

    def _again(
        self,
        config: Any,
        loaded: Any,
        items: list[Item],
        part: list[Any],
        size: int,
        unread: dict[int, list[str]],
    ) -> list[dict[str, bytes] | Exception]:
        """The same of ``--attempts``: what a judge finds a fault in is drawn again."""
        best: dict[int, Any] = {}  # number -> (verdict, attempt, seed, picture)
        tries: dict[int, int] = {}
        todo = part
        for attempt in range(config.attempts):
            images, seeds = self._pictures(config, loaded, items, todo, size, attempt)
            for (number, _), seed, image in zip(todo, seeds, images, strict=False):
                tries[number] = attempt + 1
                layout = self.method.layout(items[number].work)
                assert layout is not None
                verdict = loaded.judge.verdict(image, *layout)
                if number not in best or verdict.price < best[number][0].price:
                    best[number] = verdict, attempt, seed, image
            todo = [one for one in todo if not best[one[0]][0].faultless]
            if not todo:
                break
        of = functools.partial(members.of, self.method, config, loaded)
        results: list[dict[str, bytes] | Exception] = []
        for number, _ in part:
            verdict, attempt, seed, image = best[number]
            tried = attempts.record(tries[number], attempt, verdict)
            written = of(items[number].work, image, seed, unread[number], {}, tried)
            if verdict.unasked and isinstance(written, dict):
                written = Noted(written, {attempts.NOT_LOOKED_FOR: loaded.judge.remark})
            results.append(written)
        return results

    def writer(self, config: Any, target: str, stream: BinaryIO) -> Any:
        """What writes the samples: a tar, or files in a folder."""
        if config.format == "shards":
            return shards.Writer(stream)
        folder, _, name = target.rpartition("/")
        # Keys are unique within a shard only, so the pictures of each have a folder of their own.
        named = "" if config.prompt or config.prompts else f"{name.removesuffix('.jsonl')}/"
        return FolderWriter(folder or ".", named, stream)


@functools.cache
def of(method: GenerateMethod) -> GenerateStage:
    """The one stage of a method."""
    return GenerateStage(method)


def _cut_off(loaded: Any) -> str:
    return (
        f"prompts of more than {loaded.diffusion.window} tokens are cut: the text encoder reads no "
        "more (what is lost is in generated.json, under unread); --long-prompts chunks reads all"
    )


def _filled(part: list[Any], size: int) -> list[Any]:
    """A batch of ``size``: what is missing of it is the last picture again."""
    return part + [part[-1]] * (size - len(part))


def _seed(item: Item) -> int:
    given = item.work.request.seed
    return (item.seed >> (63 - SEEDS)) if given is None else given


def targets(plan: Any) -> Any:
    """The plan with lists of pictures instead of shards, where files are asked for.

    Raises:
        UsageError: files cannot go there.
    """
    if plan.config["format"] == "shards":
        return plan
    if any(task.target == "-" for task in plan.tasks):
        raise UsageError("--format files needs a folder: give -o FOLDER")
    renamed = [
        dataclasses.replace(task, target=task.target.removesuffix(".tar") + ".jsonl")
        for task in plan.tasks
    ]
    return dataclasses.replace(plan, tasks=tuple(renamed))
