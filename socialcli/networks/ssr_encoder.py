"""SSR-Encoder: subjects out of reference pictures, by name, into a diffusion model.

A picture's CLIP features are taken at several depths. A *query*, the text tokens of a subject's
name, looks up where in the picture the subject is; what the picture has there, at every depth, are
the subject's tokens. The UNet reads them through cross-attention layers of their own, beside those
that read the caption.

    features = image_features(vision, pixels)                    # what the picture has
    subject = encoder.subject_tokens(features, prompts(["dog"]))   # what it has of the dog
    encoder.attach(unet)
    noise = unet(latents, t, **encoder.condition(prompts(["a dog on a beach"]), [subject], [0.65]))

The design is Social Context Feedback's section 3 and the reference implementation's
(Xiaojiu-z/SSR_Encoder), whose numbers these are; weights are read and written by `ssr_layouts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from socialcli.errors import UsageError
from socialcli.networks.attention import attend, join_heads, split_heads

SCALES = 6
MASK_WEIGHT = 5.0


def image_features(vision: nn.Module, pixels: Tensor, scales: int = SCALES) -> Tensor:
    """A picture's features at ``scales`` depths, one after the other.

    Args:
        vision: transformers' CLIPVisionModel.
        pixels: (B, 3, S, S) as the vision tower wants them. The unconditional branch of guidance
            looks at zeros, ``torch.zeros_like(pixels)``: mid-grey, as CLIP normalises.
        scales: depths at equal steps that end at the last layer (4, 8, ..., 24 of 24 layers).

    Returns:
        (B, scales * T, C) hidden states, T = 1 + patches tokens a depth, the class token first;
        without the tower's last layer norm.

    Raises:
        UsageError: the tower has fewer layers than scales.
    """
    states = vision(pixel_values=pixels, output_hidden_states=True).hidden_states
    layers = len(states) - 1
    if not 1 <= scales <= layers:
        raise UsageError(f"{scales} scales of a vision tower that has {layers} layers")
    return torch.cat([states[round(layers * (i + 1) / scales)] for i in range(scales)], dim=1)


class Aligner(nn.Module):
    """One attention map, from the query's tokens to the deepest features, read at every depth."""

    def __init__(
        self, text_dim: int, image_dim: int, inner_dim: int, scales: int, heads: int
    ) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(text_dim, inner_dim, bias=False)
        self.to_k = nn.Linear(image_dim, inner_dim, bias=False)
        self.to_v = nn.ModuleList(
            nn.Linear(image_dim, inner_dim, bias=False) for _ in range(scales)
        )
        self.to_out = nn.ModuleList(
            nn.Linear(inner_dim, text_dim, bias=False) for _ in range(scales)
        )
        self.norm = nn.LayerNorm(text_dim)

    def forward(self, features: Sequence[Tensor], query: Tensor, bias: Tensor | None) -> Tensor:
        """(B, T, text_dim) query and one (B, N, image_dim) a depth -> (B, depths * T, text_dim)."""
        q = split_heads(self.to_q(query), self.heads)
        k = split_heads(self.to_k(features[-1]), self.heads)
        read = []
        for values, to_v, to_out in zip(features, self.to_v, self.to_out, strict=True):
            v = split_heads(to_v(values), self.heads)
            output = attend(q, k, v, bias)
            read.append(to_out(join_heads(output)))
        return self.norm(torch.cat(read, dim=1))


class SubjectLayer(nn.Module):
    """Keys and values of subject tokens for one cross-attention layer of the UNet."""

    def __init__(self, text_dim: int, hidden: int) -> None:
        super().__init__()
        self.to_k_SSR = nn.Linear(text_dim, hidden, bias=False)
        self.to_v_SSR = nn.Linear(text_dim, hidden, bias=False)


class SSREncoder(nn.Module):
    """The trained part: the aligner, and keys and values for every cross-attention layer.

    Neither CLIP's weights nor the UNet's are part of it.

    Attributes:
        places: where its layers stand among the UNet's attention processors, self-attention
            counted (1, 3, 5, ...): the numbers in the official files' names.
        compat: compute several subjects as the reference implementation does, see `condition`.
        seen_through: fingerprint of the vision tower it was trained with (`ssr_layouts`), "" where
            nobody knows.
    """

    def __init__(
        self,
        text_dim: int,
        image_dim: int,
        inner_dim: int,
        hidden: Sequence[int],
        places: Sequence[int],
        scales: int = SCALES,
        heads: int = 8,
    ) -> None:
        super().__init__()
        self.aligner = Aligner(text_dim, image_dim, inner_dim, scales, heads)
        self.layers = nn.ModuleList(SubjectLayer(text_dim, width) for width in hidden)
        self.places = tuple(places)
        self.scales = scales
        self.compat = False
        self.seen_through = ""

    @classmethod
    def create(
        cls,
        unet: Any,
        clip_vision_config: Any,
        text_dim: int,
        scales: int = SCALES,
        heads: int = 8,
        dim_head: int = 64,
    ) -> SSREncoder:
        """A fresh encoder for a UNet; its keys and values begin as the UNet's own for text."""
        attentions = cross_attentions(unet)
        layers = [layer for _, _, layer in attentions]
        encoder = cls(
            text_dim,
            clip_vision_config.hidden_size,
            heads * dim_head,
            [layer.to_k.out_features for layer in layers],
            [place for place, _, _ in attentions],
            scales,
            heads,
        )
        with torch.no_grad():
            for own, layer in zip(encoder.subject_layers, layers, strict=True):
                own.to_k_SSR.weight.copy_(layer.to_k.weight)
                own.to_v_SSR.weight.copy_(layer.to_v.weight)
        return encoder

    @property
    def subject_layers(self) -> list[SubjectLayer]:
        """The layers in the order of the UNet's attention processors."""
        return list(self.layers)  # type: ignore[arg-type]

    @property
    def text_dim(self) -> int:
        """Width of text tokens and of subject tokens."""
        return self.aligner.to_q.in_features

    @property
    def image_dim(self) -> int:
        """Width of the vision tower."""
        return self.aligner.to_k.in_features

    def attach(self, unet: Any, name: str = "these SSR-Encoder weights") -> None:
        """Let a UNet's cross-attention read subjects through this encoder's layers.

        The UNet refers to the layers, it does not own them: freezing, moving or saving the UNet
        leaves them alone. Without a subject (plain text tokens) it computes what it did before.
        ``name`` is what an error calls this encoder: the folder it came from.

        Raises:
            UsageError: the UNet has other cross-attention layers than these weights are for.
        """
        layers = cross_attentions(unet)
        own_shapes = [tuple(layer.to_k_SSR.weight.shape) for layer in self.subject_layers]
        its = [(layer.to_k.out_features, layer.to_k.in_features) for _, _, layer in layers]
        if own_shapes != its:
            raise UsageError(
                f"{name}: made for a UNet with {_widths(own_shapes)}; this one has {_widths(its)}. "
                f"An SSR-Encoder goes with the --model it was trained on, or one of its shape"
            )
        places = {place: i for i, (_, place, _) in enumerate(layers)}
        unet.set_attn_processor(
            {
                place: SubjectAttention(self.subject_layers[places[place]])
                if place in places
                else SubjectAttention()
                for place in unet.attn_processors
            }
        )

    def subject_tokens(
        self,
        image_features: Tensor | Sequence[Tensor],
        query: Tensor,
        masks: Tensor | None = None,
        mask_weight: float = MASK_WEIGHT,
    ) -> Tensor:
        """What a picture has of the subject that the query names.

        Args:
            image_features: (B, scales * N, image_dim) as `image_features` gives them, or a list
                of one (B, N, image_dim) a depth.
            query: (B, T, text_dim), the text encoder's last hidden state for the subject's name.
                The unconditional branch asks zeros' features for "".
            masks: (B, H, W) or (B, 1, H, W) in [0, 1], 1 where the subject is, in the frame of
                the picture the vision tower sees: then the query may be a whole caption.
            mask_weight: how much a mask binds; the reference implementation's demo uses 1.

        Returns:
            (B, scales * T, text_dim), depth by depth.

        Raises:
            UsageError: features, query or masks do not fit these weights.
        """
        depths = (
            image_features.chunk(self.scales, dim=1)
            if isinstance(image_features, Tensor)
            else tuple(image_features)
        )
        shape = (len(depths), depths[-1].shape[-1], query.shape[-1])
        wanted = (self.scales, self.image_dim, self.text_dim)
        if shape != wanted or any(d.shape != depths[0].shape for d in depths):
            raise UsageError(
                "SSR-Encoder wants {} scales of image features {} wide and a query {} wide, not "
                "{}, {} and {}".format(*wanted, *shape)
            )
        bias = None
        if masks is not None:
            bias = mask_bias(masks, depths[-1].shape[1] - 1, mask_weight).to(query.dtype)
        return self.aligner(depths, query, bias)

    def condition(
        self,
        text: Tensor,
        subjects: Sequence[Tensor] = (),
        scales: Sequence[float | Tensor] = (),
    ) -> dict[str, Any]:
        """What to call an attached UNet with: ``unet(latents, t, **encoder.condition(...))``.

        All subjects' tokens stand in one attention, whose output is added to the text's; what
        comes from a subject is multiplied by the subject's scale. With one subject that is the
        reference implementation's ``set_scale``. With several, the reference multiplies all
        tokens (keys too) by the first scale and ignores the others; ``compat`` does the same.

        Args:
            text: (B, L, text_dim) hidden states of the captions.
            subjects: one (B, scales * T, text_dim) a subject; none: the text alone.
            scales: one a subject, a number or (B,); 0.5 to 0.8 is usual at inference, 1 in
                training.

        Raises:
            UsageError: not one scale a subject.
        """
        if len(subjects) != len(scales):
            raise UsageError(f"{len(subjects)} subjects and {len(scales)} scales: one each")
        if not subjects:
            return {"encoder_hidden_states": text}
        tokens = torch.cat(tuple(subjects), dim=1)
        weights: Tensor | None = None
        if self.compat:
            tokens = tokens * _column(scales[0], tokens)
        else:
            parts = [
                _column(scale, one).expand(one.shape[0], one.shape[1], 1)
                for scale, one in zip(scales, subjects, strict=True)
            ]
            weights = torch.cat(parts, dim=1)
        return {
            "encoder_hidden_states": torch.cat([text, tokens], dim=1),
            "cross_attention_kwargs": {"subjects": Subjects(text.shape[1], weights)},
        }


@dataclass(frozen=True)
class Subjects:
    """Where subject tokens begin among the hidden states, and (B, tokens, 1) what each weighs."""

    text_tokens: int
    weights: Tensor | None
    _last: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list, repr=False)

    def split(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """(text, subject tokens) of hidden states. Where no gradient passes, all layers and steps
        that are given the same states get the same two objects."""
        at = self.text_tokens
        if torch.is_grad_enabled():  # else gradients would be summed in another order
            return states[:, :at], states[:, at:]
        if not self._last or self._last[0][0] is not states:
            self._last[:] = [(states, states[:, :at], states[:, at:])]
        _, text, tokens = self._last[0]
        return text, tokens


class SubjectAttention:
    """Attention processor of diffusers: text cross-attention plus subject cross-attention.

    Without a layer it is plain attention that takes no notice of subjects (diffusers' own would
    warn of them): self-attention's.
    """

    def __init__(self, layer: SubjectLayer | None = None) -> None:
        self.layer = layer

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        subjects: Subjects | None = None,
    ) -> Tensor:
        states = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        subjects = subjects if self.layer is not None else None
        if attn.norm_cross:
            states = attn.norm_encoder_hidden_states(states)
        text, tokens = (states, None) if subjects is None else subjects.split(states)
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(
                attention_mask, text.shape[1], hidden_states.shape[0]
            ).view(hidden_states.shape[0], attn.heads, -1, text.shape[1])
        q = split_heads(attn.to_q(hidden_states), attn.heads)
        k = split_heads(attn.to_k(text), attn.heads)
        v = split_heads(attn.to_v(text), attn.heads)
        out = attend(q, k, v, attention_mask)
        if self.layer is not None and subjects is not None and tokens is not None:
            value = self.layer.to_v_SSR(tokens)
            if subjects.weights is not None:
                value = value * subjects.weights.to(value.dtype)
            k = split_heads(self.layer.to_k_SSR(tokens), attn.heads)
            v = split_heads(value, attn.heads)
            more = attend(q, k, v)
            out = out + more if torch.is_grad_enabled() else out.add_(more)
        joined = attn.to_out[1](attn.to_out[0](join_heads(out)))
        if attn.residual_connection:
            joined = joined + hidden_states
        return joined if attn.rescale_output_factor == 1 else joined / attn.rescale_output_factor


def cross_attentions(unet: Any) -> list[tuple[int, str, Any]]:
    """(place among the attention processors, name, layer) of every text cross-attention.

    Raises:
        UsageError: the UNet has none, or of a kind that SSR-Encoder cannot stand beside.
    """
    layers = []
    modules = dict(unet.named_modules())
    for place, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            layers.append((place, name, modules[name.removesuffix(".processor")]))
    if not layers or any(getattr(layer, "added_kv_proj_dim", None) for _, _, layer in layers):
        raise UsageError(
            f"{type(unet).__name__} has no cross-attention that SSR-Encoder fits; it was made for "
            "Stable Diffusion 1.x and 2.x"
        )
    return layers


def mask_bias(masks: Tensor, patches: int, weight: float) -> Tensor:
    """What a mask adds to the aligner's attention logits, (B, 1, 1, 1 + patches).

    With w the weight: w^2 where the mask is 1, -w where it is 0, m w - (1 - m w) w between, and 1
    for the class token, as the reference implementation computes it.

    Raises:
        UsageError: not masks, or a vision tower whose patches make no square.
    """
    side = int(patches**0.5)
    masks = masks.unsqueeze(1) if masks.ndim == 3 else masks
    if side * side != patches or masks.ndim != 4:
        raise UsageError(f"masks {tuple(masks.shape)} do not fit a tower of {patches} patches")
    small = functional.interpolate(
        masks[:, :1].float(), (side, side), mode="bilinear", antialias=True
    )
    inside = small.flatten(1) * weight
    inside = torch.cat([torch.ones_like(inside[:, :1]), inside], dim=1)
    return (inside - (1 - inside) * weight)[:, None, None]


def _column(scale: float | Tensor, like: Tensor) -> Tensor:
    """A scale, or one a sample, as (1 or B, 1, 1) of another tensor's kind."""
    return torch.as_tensor(scale, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)


def _widths(shapes: Sequence[tuple[int, ...]]) -> str:
    """Shapes of key layers in words, runs of the same width once."""
    widths = [str(shape[0]) for shape in shapes]
    runs = [w for i, w in enumerate(widths) if i == 0 or w != widths[i - 1]]
    text = "/".join(sorted({str(shape[1]) for shape in shapes}))
    return f"{len(shapes)} cross-attention layers ({'-'.join(runs)} wide, text {text})"
