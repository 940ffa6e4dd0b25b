"""Requests on their way through the stage, with a method that draws nothing."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import scenes

from socialcli import shards
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import attempts, stage
from socialcli.generation.references import Reference
from socialcli.generation.requests import Request, Wanted
from socialcli.generation.stage import GenerateStage, Ready
from socialcli.pipeline.stage import Item, Noted
from socialcli.shards import Damage, Sample


class Method:
    """Embeds a text as itself; reads four letters and says what it did not read."""

    name, VERSION, config_type = "toy", 3, object
    REFERENCES, QUERIES, WHOLE = False, True, True

    def __init__(self, size: int = 2) -> None:
        self.size, self.batches = size, []

    def embed(self, config, loaded, ready):
        if "!" in ready.prompt:
            raise SampleFailed("no such word")
        for text in (ready.prompt, ready.negative):
            loaded.unread += [text[4:]] if text[4:] else []
        return ready.prompt

    def alike(self, embedded):
        return embedded[0]

    def part(self, config, loaded):
        return self.size

    def condition(self, config, loaded, embedded):
        self.batches.append(embedded)
        return embedded

    def layout(self, ready):
        return ready.prompt, ()

    def masks(self, config):
        return None

    def prepare(self, config, request):
        return f"plan of {request.prompt}"

    def models(self, config):
        return []

    def facts(self, config):
        return {}


@pytest.fixture
def drawn(monkeypatch) -> list:
    """(text, seed) of all that is drawn: that is also what a picture is."""
    seen = []

    def draw(config, loaded, given, seeds):
        seen.append(list(zip(given, seeds, strict=True)))
        return seen[-1]

    def of(method, config, loaded, work, image, seed, unread, more, tried=None):
        assert image == (work.prompt, seed)
        return {"png": image, "seed": seed, "unread": unread, "tried": tried, **more}

    monkeypatch.setattr(stage.drawing, "draw", draw)
    monkeypatch.setattr(stage.members, "of", of)
    return seen


def loaded(judge=None):
    return SimpleNamespace(
        unread=["of before"], lexicon=None, remarks={}, judge=judge,
        diffusion=SimpleNamespace(window=75),
    )  # fmt: skip


def item(prompt, seed=1, negative="", scale=None):
    shown = (Reference("r", None, "", scale),) if scale is not None else ()
    return Item("k", 0, Ready(Request(prompt, negative, seed), shown))


CONFIG = SimpleNamespace(attention_maps=None, attempts=3)


def process(method, items, judge=None):
    return GenerateStage(method).process(CONFIG, loaded(judge), items)


def test_what_is_alike_is_drawn_together_in_batches_of_one_size(drawn):
    """By the method's word and by the weights of references; results stand as they were asked."""
    method = Method()
    asked = ["a1", "b1", "a2", "a3", "b2"]
    results = process(method, [item(text, n) for n, text in enumerate(asked)])
    assert [r["png"] for r in results] == [(text, n) for n, text in enumerate(asked)]
    assert method.batches == [["a1", "a2"], ["a3", "a3"], ["b1", "b2"]]
    method = Method(3)
    process(method, [item(f"a{n}", scale=s) for n, s in enumerate((0.5, 1.0, 0.5, 1.0))])
    assert [batch[:2] for batch in method.batches] == [["a0", "a2"], ["a1", "a3"]]


def test_one_that_cannot_be_made_stops_no_other(drawn):
    one, failed, other = process(Method(), [item("a"), item("a!"), item("ab")])
    assert isinstance(failed, SampleFailed) and str(failed) == "no such word"
    assert (one["png"], other["png"]) == (("a", 1), ("ab", 1))


def test_each_picture_says_what_was_not_read_of_its_own_texts(drawn):
    texts = [("a", ""), ("along", ""), ("ab", ""), ("abcd more", "none more"), ("abcd", "not a x")]
    results = process(Method(), [item(text, negative=negative) for text, negative in texts])
    assert [r["unread"] for r in results] == [[], ["g"], [], [" more"], ["a x"]]
    assert [isinstance(r, Noted) for r in results] == [False, True, False, True, True]
    assert list(results[1].notes) == ["prompts_cut"]
    assert results[1].notes["prompts_cut"].startswith("prompts of more than 75 tokens are cut")


def test_a_seed_is_the_requests_or_53_bits_of_the_items(drawn):
    for given, own, expected in ((7, 5, 7), (0, 5 << 10, 0), (None, 2**63 - 1, 2**53 - 1),
                                 (None, 3 << 10, 3), (None, 1023, 0)):  # fmt: skip
        [one] = process(Method(1), [Item("k", own, Ready(Request("a", seed=given)))])
        assert one["seed"] == expected


class Prices:
    """A judge that knows the price of each text's attempts."""

    def __init__(self, **prices) -> None:
        self.prices, self.seen = prices, []

    def verdict(self, image, layout, pictures):
        text, seed = image
        assert layout == text and pictures == ()
        attempt = next(n for n in range(9) if attempts.seed(ord(text[-1]), n) == seed)
        self.seen.append((text, attempt))
        price = self.prices[text[-1]][attempt]
        return attempts.assignment.Verdict(missing=[0] * (price > 0), price=price)


def test_what_has_a_fault_is_drawn_again_and_the_cheapest_is_kept(drawn):
    judge = Prices(a=[0.0], b=[3.0, 1.0, 2.0], c=[2.0, 2.0, 2.0], d=[5.0, 0.0], e=[3.0, 4.0, 1.0])
    results = process(Method(), [item(text, ord(text)) for text in "abcde"], judge)
    kept = {r["png"][0]: (r["tried"].kept, r["tried"].count, r["tried"].price) for r in results}
    assert kept == {
        "a": (1, 1, 0.0), "b": (2, 3, 1.0), "c": (1, 3, 2.0), "d": (2, 2, 0.0), "e": (3, 3, 1.0),
    }  # fmt: skip
    for one in results:
        text, seed = one["png"]
        assert one["seed"] == attempts.seed(ord(text), one["tried"].kept - 1) == seed
    assert sorted(judge.seen) == [
        ("a", 0), *((text, n) for text in "bc" for n in range(3)), ("d", 0), ("d", 1),
        *(("e", n) for n in range(3)),
    ]  # fmt: skip
    assert {len(batch) for batch in drawn} == {2}  # as many at once as ever


def test_each_picture_of_a_batch_is_kept_with_its_own_seed(drawn):
    judge = Prices(a=[0.0], b=[0.0], c=[1.0, 0.0], d=[1.0, 0.0])
    texts = ["xa", "xb", "xc", "xd"]
    results = process(Method(), [item(text, ord(text[-1])) for text in texts], judge)
    seeds = [attempts.seed(ord(text[-1]), int(text > "xb")) for text in texts]
    assert [r["png"] for r in results] == list(zip(texts, seeds, strict=True))
    assert [r["seed"] for r in results] == seeds


# ------------------------------------------------------------- from inputs to requests


def config(**values):
    given = {
        "prompt": [], "prompts": [], "caption": 0, "captions": 1, "per_prompt": 1, "negative": "",
        "subject_word": "", "attention_maps": None, "compile": False, "words": [], "vae": "",
        "stages": [], "references": [], "format": "shards",
    }  # fmt: skip
    return SimpleNamespace(**{**given, **values})


def test_prompts_are_cut_by_their_numbers(monkeypatch):
    toy = GenerateStage(Method())
    given = [(f"{n}", Request(f"text {n}")) for n in range(5)]
    monkeypatch.setattr(stage.requests, "entries", lambda config, masks: given)
    for named in ({"prompt": ["x"]}, {"prompts": ["f.txt"]}):
        requested = list(toy.samples(config(**named), "1:3", []))
        assert [(s.key, s.work.prompt) for s in requested] == [("1", "text 1"), ("2", "text 2")]
        assert toy.numbered(vars(config(**named)))
        assert toy.count(config(**named)) == 5
    assert not toy.numbered(vars(config()))


def test_samples_become_requests_or_say_why_not(monkeypatch):
    whole = scenes.members()
    read = [
        Sample("a", whole), Damage("torn"), Sample("", whole),
        Sample("b", whole, problem="odd"), Sample("c", {"jpg": whole["jpg"]}, filtered="small"),
        Sample("d", {"jpg": whole["jpg"]}), Sample("e", {**whole, "caption.json": b"{"}),
    ]  # fmt: skip
    monkeypatch.setattr(stage.shards, "read_all", lambda source, checksums: iter(read))
    toy = GenerateStage(Method())
    requested = list(toy.samples(config(per_prompt=2), "s.tar", []))
    assert [getattr(s, "key", None) for s in requested] == ["a-0", "a-1", None, "b", "c", "d", "e"]
    assert requested[0].work.prompt == scenes.TEXT and requested[2] is read[1]
    assert (requested[3].problem, requested[3].filtered) == ("odd", None)
    assert (requested[4].problem, requested[4].filtered) == (None, "small")
    assert (
        requested[5].problem.startswith("no caption.json")
        and "caption.json" in requested[6].problem
    )


def test_looking_ends_with_the_first_that_can_be_drawn(monkeypatch):
    toy, seen = GenerateStage(Method()), []

    def samples(config, source, checksums):
        for one in sources[source]:
            seen.append(one)
            yield one

    monkeypatch.setattr(toy, "samples", samples)
    empty, good = Sample("b", work=Request("")), Sample("g", work=Request("x"))
    bad = [Damage("torn"), Sample("a", problem="odd"), Sample("f", filtered="small")]
    sources = {"s": [*bad, empty], "t": [good, good]}
    toy.look(config(), ["s", "t"])
    assert len(seen) == 5
    for last, reason in ((bad[0], "torn"), (bad[1], "odd"), (bad[2], "small"),
                         (empty, "the prompt is empty")):  # fmt: skip
        sources["s"] = [empty, last]
        with pytest.raises(UsageError, match=f"none of the 2 pictures can be drawn: {reason}"):
            toy.look(config(), ["s"])
    sources["s"] = []
    toy.look(config(), ["s"])


def test_references_are_looked_for_where_the_method_takes_them(monkeypatch):
    looked = []
    monkeypatch.setattr(stage.references, "find", lambda *given: looked.append(given) or given[0])
    wanted = (Wanted("r"), Wanted("s"))
    toy = GenerateStage(Method())
    sample = Sample("k", work=Request("a", references=wanted))
    assert toy.prepare(config(), sample) == Ready(sample.work, (), "plan of a") and not looked
    toy.method.REFERENCES = True
    ready = toy.prepare(config(references=["r.tar"]), sample)
    assert ready.references == wanted and ready.plan == "plan of a"
    assert looked == [(w, ("r.tar",), "k", "a") for w in wanted]
    with pytest.raises(SampleFailed, match="no reference picture: give --reference"):
        toy.prepare(config(), Sample("k", work=Request("a")))


def test_what_pictures_depend_on_is_said_where_it_is_used(monkeypatch):
    """Files by what is in them, and nothing of options that were not given: old runs go on."""
    monkeypatch.setattr(stage.naming, "content", lambda place: f"content of {place}")
    monkeypatch.setattr(stage.contents, "held", lambda place: f"held in {place}")
    monkeypatch.setattr(stage.words, "facts", lambda given: f"words of {given}")
    monkeypatch.setattr(stage.adapters, "facts", lambda config: {})
    toy = GenerateStage(Method())
    assert toy.facts(config()) == {"method": "toy"} and toy.VERSION == 1003
    for given, fact in (
        ({"attention_maps": "m.png"}, {"attention maps": True}),
        ({"compile": True}, {"compiled": True}),
        ({"references": ["a", "b"]}, {"option references": ["held in a", "held in b"]}),
        ({"words": ["w"]}, {"option words": "words of ['w']"}),
        ({"vae": "v"}, {"autoencoder": "content of v"}),
        ({"stages": ["<a>=1-3"]}, {"stages": ["<a>=1-3"]}),
    ):
        assert toy.facts(config(**given)) == {"method": "toy", **fact}
    model = SimpleNamespace(role="diffusion", model="sd")
    monkeypatch.setattr(toy.method, "models", lambda config: [model], raising=False)
    assert toy.facts(config())["weights of diffusion"] == "content of sd"


@dataclasses.dataclass(frozen=True)
class Task:
    target: str


@dataclasses.dataclass(frozen=True)
class Plan:
    config: dict
    tasks: tuple


def test_files_have_a_list_where_shards_would_be(tmp_path):
    tasks = (Task("out/a.tar"), Task("out/b.tar"))
    shown = Plan({"format": "shards"}, tasks)
    assert stage.targets(shown) is shown
    renamed = stage.targets(Plan({"format": "files"}, tasks))
    assert [task.target for task in renamed.tasks] == ["out/a.jsonl", "out/b.jsonl"]
    with pytest.raises(UsageError, match="--format files needs a folder: give -o FOLDER"):
        stage.targets(Plan({"format": "files"}, (tasks[0], Task("-"))))
    assert stage.targets(Plan({"format": "shards"}, (Task("-"),))).tasks == (Task("-"),)
    toy = GenerateStage(Method())
    with (tmp_path / "x").open("wb") as stream:
        assert isinstance(toy.writer(config(), "o/a.tar", stream), shards.Writer)
        # Keys are unique within a shard only: each shard's pictures have a folder of their own.
        for given, target, folder, prefix in (
            (config(format="files"), "o/p/a.jsonl", "o/p", "a/"),
            (config(format="files"), "a.jsonl", ".", "a/"),
            (config(format="files", prompt=["x"]), "o/a.jsonl", "o", ""),
            (config(format="files", prompts=["x"]), "o/a.jsonl", "o", ""),
        ):
            writer = toy.writer(given, target, stream)
            assert (writer.folder, writer.prefix) == (folder, prefix)
