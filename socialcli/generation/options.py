"""The options every method of generate has; a method's Config inherits them and adds its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from socialcli.config import ModelOptions, check_bounds, option
from socialcli.diffusion import options
from socialcli.errors import UsageError

LONG = ("cut", "chunks")
FORMATS = ("shards", "files")
MATCHES = ("own", "key", "identity")
QUERIES = ("nouns", "phrases", "caption")


@dataclass
class GenerateOptions(ModelOptions):
    """What pictures are made of, by which model, and where they go."""

    FIRST: ClassVar[tuple[str, ...]] = (
        "prompt", "model", "steps", "guidance", "size", "per_prompt", "format", "grid",
        "attention_maps", "words", "reference", "query", "ssr_model", "adapter_model",
        "embedding",
    )  # fmt: skip
    GROUPS: ClassVar[dict[str, str]] = {
        "prompt": "What is drawn, and how",
        "backend": "Model",
        "format": "What is written",
    }

    prompt: list[str] = option([], "A prompt. Repeatable.")
    prompts: list[str] = option(
        [], "A .txt, .csv or .jsonl file of prompts (may be given as input too). Repeatable.",
        file=True,
    )  # fmt: skip
    caption: int = option(
        0,
        "Of shards: which caption is the prompt; 0 first, 1... the others.",
        at_least=0,
        only="shards",
    )
    captions: int = option(
        1,
        "Of shards: how many captions of each sample are drawn, from --caption on.",
        at_least=1,
        only="shards",
    )
    subject_word: str = option(
        "", "Of shards of subjects: draw the prompts that their data set gives (meta.json) with "
        "this word where the subject stands; {name} is the subject's name, so '<{name}>' is what "
        "invert calls it, and '{identifier} {class}' what train --method dreambooth does.",
        only="shards",
    )  # fmt: skip
    negative: str = option("", "What guidance leads away from.")
    long_prompts: str = option(
        "cut", "Prompts longer than the text encoder reads (CLIP: 75 tokens): cut, with a warning, "
        "or chunks, which encodes them so many tokens at a time.", choices=LONG,
    )  # fmt: skip
    words: list[str] = option(
        [], "Learned words that prompts may use, of any method of invert: FILE, FOLDER, or "
        "FILE:TOKEN (its name in prompts). Repeatable."
    )  # fmt: skip
    plain_word: list[str] = option(
        [], "What a learned word stands for in plain words, as TOKEN=WORD, for `socialcli score`. "
        "Repeatable.",
    )  # fmt: skip
    truncation: int = option(
        0, "Hidden units that words of --method neti are drawn with, of 128; fewer are easier to "
        "edit and less like their pictures. 0: all.", at_least=0
    )  # fmt: skip
    stages: list[str] = option(
        [], "Stages of a learned word: '<cat>=1-3' keeps these, and an ordinary word stands in the "
        "others; '<cat>=4-5:<other>' puts in those of another word; k1-3 and v1-3 mean keys and "
        "values alone. Repeatable.", affects_result=False,
    )  # fmt: skip
    per_prompt: int = option(1, "Pictures of each prompt.", at_least=1)
    steps: int = option(30, "Denoising steps.", at_least=1)
    guidance: float = option(5.0, "Scale of classifier-free guidance; 1: none.", at_least=1)
    scheduler: str = option("UniPCMultistepScheduler", "Class name in diffusers.")
    size: str | None = option(None, "Pixels, 512 or 768x512 (width x height); default: model's.")
    backend: str = options.backend()
    model: str = options.model()
    revision: str | None = options.revision()
    variant: str | None = options.variant()
    vae: str = option(
        "", "Autoencoder in place of the model's own: folder or hub id, as "
        "madebyollin/sdxl-vae-fp16-fix.", affects_result=False,
    )  # fmt: skip
    lora: list[str] = option(
        [], "A LoRA as FILE or FILE:SCALE, in the layout of diffusers or of kohya's tools. "
        "Repeatable."
    )  # fmt: skip
    custom_diffusion: list[str] = option(
        [], "Custom Diffusion weights as FILE, FILE:TOKEN (its name in prompts) or "
        "FILE:TOKEN=CLASS. Repeatable: several are merged in closed form.",
    )  # fmt: skip
    merge_captions: str = option(
        "", "File of texts, one a line, that such a merging changes as little as it can; default: "
        "200 ordinary ones.", file=True, only="custom_diffusion",
    )  # fmt: skip
    compile: bool = option(
        False, "Compile the UNet for this machine when it is called first: a minute or several, "
        "then faster pictures, whose last bits are others.", affects_result=False,
    )  # fmt: skip
    format: str = option(
        "shards", "shards, or files: PNG and JSON side by side in a folder.", choices=FORMATS
    )
    shard_size: int = option(
        1000, "Pictures per shard, where prompts are not from shards.", at_least=1, only="prompts"
    )
    provenance: bool = option(
        True, "Say in each PNG that it is generated, by which model, from what."
    )
    grid: str | None = option(
        None, "Also write a contact sheet with prompts to this .png.", affects_result=False
    )
    attention_maps: str | None = option(
        None, "Also keep where each word of a prompt was attended to, and write a contact sheet of "
        "that to this .png.", affects_result=False,
    )  # fmt: skip


@dataclass
class ReferenceOptions(GenerateOptions):
    """Where the subjects' pictures come from; rows of a prompt file may name their own."""

    GROUPS: ClassVar[dict[str, str]] = {"reference": "References"}

    reference: list[str] = option(
        [], "A reference picture: a file, or a key or subject of --references. Repeatable."
    )
    query: list[str] = option(
        [], "What in it is meant: words, or nouns, phrases, caption of its sample (default: "
        "nouns). One for all references, or one each.",
    )  # fmt: skip
    scale: list[float] = option(
        [], "How much a reference weighs. One for all, or one each; default: the method's."
    )
    references: list[str] = option([], "Shards with reference pictures. Repeatable.")
    match: str | None = option(
        None, "Of shards: whose picture is the reference. own (default), key: the same key in "
        "--references (default with it), identity: another picture of the same person.",
        choices=MATCHES, only="shards",
    )  # fmt: skip
    per_subject: bool = option(
        False,
        "Of shards: one reference for each subject, instead of one for all of them.",
        only="shards",
    )


@dataclass
class SourceOptions(GenerateOptions):
    """The pictures that are changed; rows of a prompt file may name their own."""

    GROUPS: ClassVar[dict[str, str]] = {"instruction": "The pictures that are changed"}

    instruction: str = option(
        "",
        "Of shards: what is to be changed in each picture; default: its caption says it.",
        only="shards",
    )
    reference: list[str] = option(
        [], "Of --prompt: the picture to be changed, a file, or a key or subject of --references."
    )
    references: list[str] = option(
        [], "Shards with pictures to be changed: of shards, those of the same keys instead of "
        "their own. Repeatable.",
    )  # fmt: skip
    image_guidance: float = option(
        1.5, "How much guidance keeps of the picture; a row's column 'scale' overrides it.",
        at_least=1,
    )  # fmt: skip


@dataclass
class LayoutOptions(GenerateOptions):
    """What methods have in common that read ``layout.json``; its prompt is the picture's."""

    GROUPS: ClassVar[dict[str, str]] = {
        "references": "References of segments", "attempts": "Drawing again",
    }  # fmt: skip

    references: list[str] = option(
        [], "Shards with the reference pictures that segments name. Repeatable."
    )
    ssr_model: str = option(
        "", "SSR-Encoder for segments with references: a folder with its two files."
    )
    clip_model: str = option(
        "", "CLIP whose vision tower it looks through: hub id or folder; default: image_encoder in "
        "--ssr-model, else openai/clip-vit-large-patch14."
    )  # fmt: skip
    adapter_model: str = option(
        "", "IP-Adapter for segments with references, in place of SSR-Encoder: an official file.",
        file=True,
    )  # fmt: skip
    image_encoder_model: str = option(
        "", "CLIP vision tower that it was trained with: hub id or folder (default: that of "
        "h94/IP-Adapter).",
    )  # fmt: skip
    attempts: int = option(
        1, "Draw a picture again, up to so many times in all, while a detector finds a subject "
        "missing, doubled, blended or swapped; keep the best.", at_least=1,
    )  # fmt: skip
    ground_backend: str = option(
        "grounding-dino", "Detector of --attempts.", role="ground", only="attempts"
    )
    ground_model: str = option("", "Its model: hub id or folder.", only="attempts")
    box_threshold: float = option(
        0.35, "A thing's box scores at least this (0 to 1).", at_least=0, at_most=1, only="attempts"
    )
    dino_backend: str = option(
        "vit", "What tells subjects apart for --attempts.", role="dino", only="attempts"
    )
    dino_model: str = option("", "Its model: hub id or folder.", only="attempts")
    price_missing: float = option(1.0, "What a missing subject costs.", above=0, only="attempts")
    price_surplus: float = option(0.5, "What a thing too many costs.", above=0, only="attempts")
    price_hybrid: float = option(
        0.75, "What a blend of two subjects costs.", at_least=0, only="attempts"
    )
    price_swapped: float = option(
        0.75, "What a subject at another's place costs.", at_least=0, only="attempts"
    )


@dataclass
class ControlOptions:
    """ControlNets and what they see."""

    GROUPS: ClassVar[dict[str, str]] = {"controlnet_model": "ControlNets"}

    controlnet_model: list[str] = option(
        [], "ControlNet: folder or hub id. Repeatable; what several say is summed."
    )
    control: list[str] = option(
        [], "What it sees: pose (the skeletons of layout.json, else of people.json), picture (the "
        "sample's own), or a picture file. One for all nets, or one each; default: pose.",
        only="controlnet_model",
    )  # fmt: skip
    control_scale: list[float] = option(
        [],
        "How much a net's word weighs. One for all, or one each; default: 1.",
        at_least=0,
        only="controlnet_model",
    )
    control_start: list[float] = option(
        [],
        "Share of the steps before which a net is not asked. One for all, or one each.",
        at_least=0,
        at_most=1,
        only="controlnet_model",
    )
    control_end: list[float] = option(
        [],
        "Share of the steps after which a net is not asked. One for all, or one each.",
        at_least=0,
        at_most=1,
        only="controlnet_model",
    )
    guess: bool = option(
        False, "Let the nets lead without the prompt: only the conditional half of guidance sees "
        "them. Take a guidance of 3 to 5.", only="controlnet_model",
    )  # fmt: skip
    pose_style: str = option(
        "v11", "How skeletons are drawn: as ControlNet 1.1's annotator draws them, the first "
        "one's (v10), or scaled with the picture.", choices=("v11", "v10", "scaled"),
        only="controlnet_model",
    )  # fmt: skip


def check(config: Any) -> None:
    """Refuse values that make no sense, before any model is loaded.

    Raises:
        UsageError: one line that names the option.
    """
    check_bounds(type(config), vars(config))
    for flag, name in (("grid", config.grid), ("attention-maps", config.attention_maps)):
        if name is not None and not name.lower().endswith(".png"):
            raise UsageError(f"--{flag} {name}: the name of a .png")
    size(config)
    for pair in config.plain_word:
        if not all(pair.partition("=")[::2]):
            raise UsageError(f"--plain-word {pair}: expected TOKEN=WORD")
    if config.stages and not (config.words or getattr(config, "embedding", None)):
        raise UsageError(f"--stages {config.stages[0]}: of which learned word? Give --words FILE")
    if any(not text.strip() for text in config.prompt):
        raise UsageError("--prompt is empty: say what the picture shall show")
    if not isinstance(config, ReferenceOptions):
        return
    if config.match in ("key", "identity") and not config.references:
        raise UsageError(f"--match {config.match} looks into --references: name those shards")
    for name in ("query", "scale"):
        count = len(getattr(config, name))
        wanted = len(config.reference)
        if count > 1 and not config.per_subject and count != wanted:
            raise UsageError(
                f"--{name} is there {count} times and --reference {wanted} times: give one for "
                "all, or one each"
            )


def size(config: Any) -> tuple[int, int] | None:
    """(width, height) asked for, None for the model's own.

    Raises:
        UsageError: not a size.
    """
    if config.size is None:
        return None
    parts = [part.strip() for part in str(config.size).lower().split("x")]
    # isdigit says yes to "²", and int reads no more than some thousand digits.
    numbers = [int(part) for part in parts if part.isdecimal() and len(part) < 9]
    if not len(parts) == len(numbers) <= 2 or not all(8 <= n <= 8192 for n in numbers):
        raise UsageError(
            f"--size {config.size}: pixels as 512 or 768x512 (width x height), each from 8 to 8192"
        )
    return numbers[0], numbers[-1]
