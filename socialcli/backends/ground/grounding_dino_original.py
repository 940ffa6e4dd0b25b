"""GroundingDINO through its original package, for its original ``.pth`` checkpoints.

The checkpoint needs two companions: a configuration, which is one of the two that the package
ships (chosen by the backbone's width) unless ``--model-config`` names another, and the tokenizer of
``bert-base-uncased`` (``--text-encoder`` names a folder). BERT's weights come with the checkpoint.
Configurations are Python files; they are read as literals and never run.
"""

from __future__ import annotations

import ast
import contextlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo, naming
from socialcli.backends.ground import phrases as phrases_
from socialcli.backends.ground._remembered import Remembered
from socialcli.errors import UsageError

if TYPE_CHECKING:
    import numpy

    from socialcli.backends import ModelSpec

INFO = BackendInfo(
    summary="GroundingDINO's original .pth checkpoints through the original package",
    licence="Apache-2.0",
    model="groundingdino_swinb_cogcoor.pth",
    get="curl -LO https://github.com/IDEA-Research/GroundingDINO/releases/download/v0.1.0-alpha2/"
    "groundingdino_swinb_cogcoor.pth && hf download bert-base-uncased",
    size="0.9 GB",
    packages=("torch", "torchvision", "transformers", "groundingdino"),
    extra="originals",
)
TOKENIZER = "bert-base-uncased"
_CONFIGS = {96: "GroundingDINO_SwinT_OGC.py", 128: "GroundingDINO_SwinB_cfg.py"}  # by width


class OriginalGroundingDino:
    """See `roles.Grounder`. Options: model_config, text_encoder, phrase_score."""

    def __init__(self, spec: ModelSpec) -> None:
        from dataclasses import replace

        from transformers import GroundingDinoImageProcessorPil

        from socialcli.backends import checkpoints

        if spec.dtype != "float32":
            raise UsageError(
                "the original GroundingDINO runs in float32 only: --dtype float32, "
                "or --backend grounding-dino"
            )
        text = spec.options.get("text_encoder") or TOKENIZER
        tokenizer = checkpoints.pretrained(
            "AutoTokenizer",
            replace(spec, model=text, revision=None),
            TOKENIZER,
            f"hf download {TOKENIZER}",
        )
        state = read(spec.model or INFO.model)
        config = read_config(spec.options.get("model_config") or _shipped_config(state))
        self.network = build(config, tokenizer, state).to(spec.device).eval()
        # The package's own preprocessing, shortest side 800 and longest at most 1333, is this.
        self.remembered = Remembered(GroundingDinoImageProcessorPil())
        _look_once(self.network.backbone[0], self.remembered)
        self.words = phrases_.vocabulary(tokenizer, config["max_text_len"])
        self.pooling = spec.options.get("phrase_score", "max")
        self.device = spec.device
        self.model = checkpoints.describe(
            spec,
            INFO.model,
            {
                "phrase_score": self.pooling,
                "backbone": config["backbone"],
                "text_encoder": naming.label(text),
            },
        )

    ground = phrases_.ground

    def remember(self) -> None:
        """Keep features of the pictures of each call, of which the next asks for more."""
        self.remembered.keep = True

    def forward(
        self, pixels: Any, texts: list[phrases_.Text]
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        import torch
        from transformers import BatchEncoding

        def as_tokenized(rows: list[list[int]], **_: Any) -> BatchEncoding:
            ids, mask = phrases_.pad(rows)
            encoded = {
                "input_ids": torch.tensor(ids),
                "token_type_ids": torch.zeros(len(ids), len(ids[0]), dtype=torch.long),
                "attention_mask": torch.tensor(mask),
            }
            return BatchEncoding(encoded)

        # The network tokenises its captions itself. It is given token ids and a tokenizer that
        # passes them on, so that the spans of the phrases are those of the very same ids.
        self.network.tokenizer = as_tokenized
        with torch.inference_mode():
            out = self.network(pixels.to(self.device), captions=[text.ids for text in texts])
        return out["pred_logits"].float().cpu().numpy(), out["pred_boxes"].float().cpu().numpy()


def _look_once(backbone: Any, remembered: Remembered) -> None:
    """Have the package's Swin compute only what is not remembered.

    It takes and gives pairs of a tensor and a mask of padding, of which there is none: pictures of
    one shape are looked at together (see `phrases.by_shape`).
    """
    import torch
    from groundingdino.util.misc import NestedTensor

    compute = backbone.forward

    def unpadded(tensor: torch.Tensor) -> Any:
        rows, _, height, width = tensor.shape
        return NestedTensor(tensor, torch.zeros(rows, height, width, device=tensor.device).bool())

    def maps_of(pixels: torch.Tensor) -> list[torch.Tensor]:
        return [level.tensors for level in compute(unpadded(pixels)).values()]

    def forward(batch: Any) -> dict[int, Any]:
        return dict(enumerate(map(unpadded, remembered.maps(batch.tensors, maps_of))))

    backbone.forward = forward


def read(path: str) -> dict[str, Any]:
    """The weights of an original checkpoint; nothing in the file is unpickled but tensors.

    Raises:
        ModelMissing: no such file. UsageError: it is not a GroundingDINO checkpoint.
    """
    from socialcli.networks import weights

    state = weights.read(path, "GroundingDINO", INFO.get)
    state = {name.removeprefix("module."): value for name, value in state.items()}
    if "backbone.0.patch_embed.proj.weight" not in state:
        raise UsageError(f"{path} is not a GroundingDINO checkpoint: it has no patch_embed")
    return state


def _shipped_config(state: dict[str, Any]) -> str:
    """The package's configuration for these weights."""
    import groundingdino

    width = state["backbone.0.patch_embed.proj.weight"].shape[0]
    if width not in _CONFIGS:
        raise UsageError(
            f"no configuration is shipped for a backbone of width {width}: name one with "
            "--model-config"
        )
    return str(Path(groundingdino.__file__).parent / "config" / _CONFIGS[width])


def read_config(path: str) -> dict[str, Any]:
    """The assignments of a configuration file, as literals.

    Raises:
        UsageError: no such file, or it holds more than plain values.
    """
    try:
        tree = ast.parse(Path(path).expanduser().read_bytes())
        return {
            node.targets[0].id: ast.literal_eval(node.value)  # type: ignore[attr-defined]
            for node in tree.body
            if isinstance(node, ast.Assign)
        }
    except OSError:
        raise UsageError(f"no configuration file {path}") from None
    except (SyntaxError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} holds more than plain values ({error})") from None


def build(config: dict[str, Any], tokenizer: Any, state: dict[str, Any]) -> Any:
    """The package's network with these weights.

    Raises:
        UsageError: weights are missing or do not fit.
    """
    from groundingdino.models import build_model
    from groundingdino.util import get_tokenlizer

    values = {**config, "use_checkpoint": False, "use_transformer_ckpt": False, "device": "cpu"}
    kept = get_tokenlizer.get_tokenlizer, get_tokenlizer.get_pretrained_language_model
    # The package fetches BERT only to overwrite it with the checkpoint's.
    get_tokenlizer.get_tokenlizer = lambda _: tokenizer
    get_tokenlizer.get_pretrained_language_model = lambda _: _bert(state)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            network = build_model(SimpleNamespace(**values))
        missing, _ = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        why = " ".join(str(error).split())[:200]
        raise UsageError(f"the checkpoint does not fit its configuration ({why})") from None
    finally:
        get_tokenlizer.get_tokenlizer, get_tokenlizer.get_pretrained_language_model = kept
    if missing:
        raise UsageError(f"the checkpoint lacks {len(missing)} weights, {missing[0]} among them")
    return network


def _bert(state: dict[str, Any]) -> Any:
    """A BERT of the checkpoint's size, with three methods that it had before transformers 5.

    Its width and depth come from the weights; a head is 64 wide as in every BERT, or the width
    itself where it is smaller.
    """
    import torch
    from transformers import BertConfig, BertModel

    words, width = state["bert.embeddings.word_embeddings.weight"].shape
    layers = {name.split(".")[3] for name in state if name.startswith("bert.encoder.layer.")}
    config = BertConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=len(layers),
        num_attention_heads=max(1, width // 64),
        intermediate_size=state["bert.encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=state["bert.embeddings.position_embeddings.weight"].shape[0],
    )
    bert: Any = BertModel(config)

    def extended(mask: Any, *_: Any, **__: Any) -> Any:
        """1 and 0 in (N, [T,] T) to what is added to attention scores: 0 and very small."""
        mask = mask[:, None, :, :] if mask.dim() == 3 else mask[:, None, None, :]
        return (1.0 - mask.float()) * torch.finfo(torch.float32).min

    bert.get_extended_attention_mask = extended
    bert.invert_attention_mask = extended
    bert.get_head_mask = lambda head_mask, layers, *_: [None] * layers
    return bert


def load(spec: ModelSpec) -> OriginalGroundingDino:
    return OriginalGroundingDino(spec)
