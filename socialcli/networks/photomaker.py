"""PhotoMaker's ID encoder: pictures of a person become the states of the word that names them.

Li et al., PhotoMaker (arXiv 2312.04461). CLIP's vision tower reads each picture; a small network
fuses each result with the text's state of the class word, which stands in the prompt once for each
of them. Version 1 makes one result a picture out of CLIP's pooled state; version 2 two, out of a
face embedding that asks CLIP's states.

The names of the weights are those of the published files; shapes are read off the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from socialcli.networks.resampler import Perceiver

HEAD = 64  # channels of a head in CLIP's towers
QUERY_HEAD = 128  # in version 2's perceiver


class MLP(nn.Module):
    """Two layers behind a norm, with or without a residual around them."""

    def __init__(self, given: int, out: int, residual: bool) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(given)
        self.fc1, self.fc2 = nn.Linear(given, out), nn.Linear(out, out)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.fc2(nn.functional.gelu(self.fc1(self.layernorm(x))))
        return x + fused if self.residual else fused


class Fuse(nn.Module):
    """(K, D) text states and (K, D) results for a person -> (K, D) states."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp1, self.mlp2 = MLP(2 * width, width, False), MLP(width, width, True)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, text: Tensor, person: Tensor) -> Tensor:
        x = self.mlp1(torch.cat([text, person], dim=-1)) + text
        fused: Tensor = self.layer_norm(self.mlp2(x))
        return fused


class Query(nn.Module):
    """Version 2: (N, F) face embeddings and (N, T, C) CLIP's states -> (N, tokens, D)."""

    def __init__(
        self, face: int, hidden: int, width: int, tokens: int, clip: int, inner: int, depth: int
    ) -> None:
        super().__init__()
        self.tokens, self.width = tokens, width
        self.token_proj = nn.Sequential(
            nn.Linear(face, hidden), nn.GELU(), nn.Linear(hidden, tokens * width)
        )
        self.token_norm = nn.LayerNorm(width)
        self.perceiver_resampler = Perceiver(
            width, clip, width, QUERY_HEAD, inner // QUERY_HEAD, depth
        )

    def forward(self, face: Tensor, states: Tensor) -> Tensor:
        x = self.token_norm(self.token_proj(face).reshape(-1, self.tokens, self.width))
        read: Tensor = x + self.perceiver_resampler(x, states)
        return read


class IdEncoder(nn.Module):
    """Pictures of a person -> results that are fused with the class word's states.

    Attributes:
        tokens: results of each picture: 1 of version 1, 2 of version 2.
        face: numbers of a face embedding; 0: it reads none.
        side: pixels of the square that CLIP sees.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        """An encoder in the shape of some weights.

        Raises:
            KeyError: weights of another network.
        """
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        patches = state["vision_model.embeddings.patch_embedding.weight"]
        places = len(state["vision_model.embeddings.position_embedding.weight"])
        layers = {n.split(".")[3] for n in state if n.startswith("vision_model.encoder.layers.")}
        hidden, patch = patches.shape[0], patches.shape[-1]
        self.side = round((places - 1) ** 0.5) * patch
        self.clip = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=hidden, num_hidden_layers=len(layers), patch_size=patch,
                intermediate_size=len(state["vision_model.encoder.layers.0.mlp.fc1.weight"]),
                num_attention_heads=max(1, hidden // HEAD), image_size=self.side,
                projection_dim=len(state["visual_projection.weight"]),
            )
        )  # fmt: skip
        second, given = state["visual_projection_2.weight"].shape
        self.visual_projection_2 = nn.Linear(given, second, bias=False)
        width = len(state["fuse_module.layer_norm.weight"])
        self.fuse_module = Fuse(width)
        self.tokens, self.face, self.qformer_perceiver = 1, 0, None
        first = state.get("qformer_perceiver.token_proj.0.weight")
        if first is not None:
            inside = "qformer_perceiver.perceiver_resampler.layers."
            depth = len({n.removeprefix(inside).split(".")[0] for n in state if inside in n})
            self.face = first.shape[1]
            self.tokens = len(state["qformer_perceiver.token_proj.2.weight"]) // width
            self.qformer_perceiver = Query(
                self.face, len(first), width, self.tokens, hidden,
                len(state[f"{inside}0.0.to_q.weight"]), depth,
            )  # fmt: skip

    def results(self, pixels: Tensor, faces: Tensor | None) -> Tensor:
        """(N * tokens, D): what is fused.

        Args:
            pixels: (N, 3, side, side) as CLIP's processor makes them.
            faces: (N, F) raw face embeddings, of version 2.
        """
        if self.qformer_perceiver is not None:
            states = self.clip.vision_model(pixels).last_hidden_state
            read: Tensor = self.qformer_perceiver(faces, states)
            return read.flatten(0, 1)
        pooled = self.clip.vision_model(pixels).pooler_output
        both = [self.clip.visual_projection(pooled), self.visual_projection_2(pooled)]
        return torch.cat(both, dim=-1)

    def forward(self, states: Tensor, places: Tensor, results: Tensor) -> Tensor:
        """(L, D) states of a prompt with a person in the place of its class word.

        Args:
            places: (K,) where the class word stands, K = N * tokens.
        """
        fused = self.fuse_module(states[places], results.to(states.dtype))
        return states.index_copy(0, places, fused.to(states.dtype))


def load(state: Mapping[str, Tensor]) -> IdEncoder:
    """The encoder with its weights, in eval mode.

    Raises:
        KeyError, RuntimeError: they are another network's.
    """
    encoder: Any = IdEncoder(state)
    own = set(encoder.state_dict())
    renamed = {}
    for name, tensor in state.items():
        inside = name.startswith(("vision_model.", "visual_projection."))
        full = f"clip.{name}" if inside else name
        if inside and full not in own:  # what newer versions of transformers leave out
            full = full.replace("clip.vision_model.", "clip.", 1)
        renamed[full] = tensor
    missing = [n for n in own if n.endswith("position_ids")]
    encoder.load_state_dict({**renamed, **{n: encoder.state_dict()[n] for n in missing}})
    frozen: IdEncoder = encoder.eval().requires_grad_(False)
    return frozen
