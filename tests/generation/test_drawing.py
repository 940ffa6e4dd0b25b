"""What a run keeps of texts, and how a batch becomes pictures, with models that are stand-ins."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
import torch

from socialcli.diffusion import inference, sampling
from socialcli.errors import SampleFailed
from socialcli.generation import drawing
from socialcli.generation.drawing import Studio

LONG = 4  # rows of one window


class Encoded(Studio):
    """Each letter is a window of states that are its number; what is above two is cut."""

    def _encoded(self, text, whole):
        self.models.setdefault(text, []).append(whole)
        read = text if whole else text[:2]
        states = torch.cat([torch.full((LONG, 1), float(ord(c))) for c in read or "-"])
        return (states if whole else states[:LONG]), text[2:] if not whole else ""


def studio(**more) -> Encoded:
    return Encoded(SimpleNamespace(), **more)


@pytest.fixture(autouse=True)
def zeros(monkeypatch):
    """A model that has zeros for the text that is not given."""
    monkeypatch.setattr(drawing.conditioning, "no_text", lambda model, text: text * 0)


def letters(states: torch.Tensor) -> str:
    """One letter a window: 0 for zeros, - for the empty text."""
    return "".join(chr(int(v)) if v else "0" for v in states[::LONG, 0])


def test_a_text_is_encoded_once_and_its_end_is_told_each_time():
    one = studio()
    for _ in range(2):
        assert letters(one.text("abc")) == "a"
    assert one.models["abc"] == [False] and one.unread == ["c", "c"]
    assert letters(one.text("abc", whole=True)) == "abc" and one.unread == ["c", "c"]
    one.forget()
    one.text("abc")
    assert one.models["abc"] == [False, True, False]


def test_the_texts_that_were_asked_for_last_are_kept(monkeypatch):
    monkeypatch.setattr(drawing, "KEPT", 3)
    one = studio()
    for text in ("a", "b", "c", "a", "d"):  # b is the one that nobody asked for longest
        one.text(text)
    assert [text for text, _ in one._texts] == ["c", "a", "d"]
    for text in ("a", "b"):
        one.text(text)
    assert (len(one.models["a"]), len(one.models["b"])) == (1, 2)


def test_fewer_large_texts_are_kept_and_small_ones_beside_them(monkeypatch):
    monkeypatch.setattr(drawing, "LAYERED", 2)
    monkeypatch.setattr(drawing, "_plain", lambda states: states[0, 0] < ord("a"))  # not capitals
    one = studio()
    for text in ("A", "a", "B", "b", "c", "C", "a"):
        one.text(text)
    assert [text for text, _ in one._texts] == ["A", "B", "c", "C", "a"]


def test_the_shorter_text_goes_on_with_what_stands_for_no_text():
    one = studio(long_prompts="chunks")
    for negative, prompt, expected in (
        ("", "abc", ("000", "abc")),
        ("n", "abc", ("n--", "abc")),
        ("nop", "a", ("nop", "a--")),
        ("nop", "abc", ("nop", "abc")),
        ("", "a", ("0", "a")),
        ("nop", "", ("nop", "---")),
    ):
        assert tuple(map(letters, one.texts(negative, prompt))) == expected
    assert not one.unread
    cut = studio()
    assert tuple(map(letters, cut.texts("nop", "abc"))) == ("n", "a") and cut.unread == ["p", "c"]


def test_an_unknown_learned_word_is_refused_in_either_text(monkeypatch):
    def check(lexicon, text):
        if "<x>" in text:
            raise SampleFailed(f"{lexicon} has no <x>")

    monkeypatch.setattr(drawing.words, "check", check)
    one = studio(lexicon="the lexicon")
    assert len(one.texts("a", "b")) == 2
    for given in (("<x>", "b"), ("a", "<x>")):
        with pytest.raises(SampleFailed, match="the lexicon has no <x>"):
            one.texts(*given)


class Reader:
    """A text encoder of two words; learned words are written in capitals."""

    def encoded(self, texts):
        return torch.stack([torch.full((LONG, 1), float(len(t))) for t in texts]), None

    def encoded_whole(self, text):
        return torch.full((3 * LONG, 1), float(len(text))), None

    def unread(self, text):
        return " ".join(text.split()[2:])


class Capitals:
    """Learned words, each of two tokens."""

    def used(self, text):
        return text.isupper()

    def expand(self, text):
        return " ".join(f"{word} {word}_1" for word in text.split())

    def state(self, text, timesteps, whole):
        return text, timesteps, whole


@pytest.mark.parametrize("lexicon", [None, Capitals()])
def test_a_text_that_is_read_whole_leaves_nothing_unread(lexicon):
    one = Studio(Reader(), lexicon=lexicon, timesteps=[9, 1])
    assert one.text("a dog runs").shape == (LONG, 1) and one.unread == ["runs"]
    assert one.text("a dog runs", whole=True).shape == (3 * LONG, 1) and one.unread == ["runs"]
    if lexicon is not None:
        assert one.text("A DOG") == ("A DOG", [9, 1], False) and one.unread[1:] == ["DOG DOG_1"]
        assert one.text("A DOG", whole=True) == ("A DOG", [9, 1], True)
        assert len(one.unread) == 2


class Diffusion:
    """Latents of a quarter of a picture's side; it decodes to the latent's value."""

    factor, picture_size, scheduler = 4, 32, "own"

    def __init__(self, device: str = "cpu") -> None:
        self.unet = SimpleNamespace(device=torch.device(device))
        self.decoded: list[int] = []

    def latent_shape(self, height, width):
        return 3, height // 4, width // 4

    def decode(self, latents):
        self.decoded.append(len(latents))
        grown = latents.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
        return grown.to(torch.bfloat16)


def options(**more):
    given = {"size": None, "batch_size": 3, "scheduler": "x", "steps": 5, "guidance": 2.0}
    return SimpleNamespace(**{**given, **more})


def test_a_cpu_draws_equally_many_at_once_whatever_the_batch_size():
    here = Studio(Diffusion())
    assert drawing.part(options(size="128"), here) == sampling.TOGETHER
    for size, count in (("128x128", 4), ("132x128", 1), ("64x256", 4), ("512", 1), (None, 4)):
        for batch in (1, 3, 9):
            assert drawing.part(options(size=size, batch_size=batch), here) == count
    there = Studio(Diffusion("cuda"))
    assert [drawing.part(options(batch_size=n, size="512"), there) for n in (1, 3)] == [1, 3]
    assert drawing.part(options(batch_size=0), there) == 1


@pytest.mark.parametrize(("device", "rows"), [("cpu", [1, 1]), ("meta", [2])])
def test_a_batch_is_denoised_with_its_seeds_and_decoded(monkeypatch, device, rows):
    asked = []

    def denoise(unet, scheduler, generators, shape, given, steps, guidance):
        asked.append((scheduler, [g.initial_seed() for g in generators], shape, given, steps,
                      guidance, torch.is_inference_mode_enabled()))  # fmt: skip
        values = torch.tensor([-1.0, 1.0]).reshape(-1, 1, 1, 1)
        return values.expand(2, *shape)

    monkeypatch.setattr(sampling, "denoise", denoise)
    monkeypatch.setattr(sampling, "scheduler", lambda name, like: (name, like))
    monkeypatch.setattr(inference, "lean", lambda unet: contextlib.nullcontext())
    attached = []
    lexicon = SimpleNamespace(attach=lambda: attached.append(True))
    model = Diffusion(device)
    config = options(size="40x24")
    images = drawing.draw(config, Studio(model, lexicon=lexicon), "given", [7, 8])
    assert asked == [(("x", "own"), [7, 8], (3, 6, 10), "given", 5, 2.0, True)]
    assert [image.size for image in images] == [(40, 24)] * 2 and model.decoded == rows
    assert [image.getpixel((39, 23)) for image in images] == [(0, 0, 0), (255, 255, 255)]
    assert attached == [True]


def test_the_size_is_the_flags_or_the_models():
    one = Studio(Diffusion())
    assert drawing.size(options(), one) == (32, 32)
    assert drawing.size(options(size="40x24"), one) == (40, 24)


def test_the_model_is_named_with_its_variant_and_autoencoder():
    config = SimpleNamespace(
        backend="stable-diffusion", model="sd", revision="r", device="cpu", dtype="float32",
        variant=None, vae="",
    )  # fmt: skip
    plain = drawing.spec(config)
    assert (plain.role, plain.model, plain.revision) == ("diffusion", "sd", "r")
    assert (plain.device, plain.dtype, plain.options) == ("cpu", "float32", {})
    config.vae, config.variant = "v", "fp16"
    assert drawing.spec(config).options == {"variant": "fp16", "vae": "v"}
