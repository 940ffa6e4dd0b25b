"""Subject-aware loss: whether a segment of the picture shows its subject, for guidance.

Source: Multi-Subject Personalization (arXiv 2405.12742), section A.4. A segmentation network that
knows the subjects looks at one segment of the estimated picture, black around it, and gives for
every pixel the probability of the segment's subject. As printed,

    L = 1 - BCE(p, p),

the map is compared with itself: BCE(p, p) is the entropy of p, and going down L raises it, which
asks the network to doubt. So the printed form is here beside three readings of it.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

FORMS = ("printed", "pseudo-label", "entropy", "segment")


def loss(logits: Tensor, masks: Tensor, form: str) -> Tensor:
    """One value per segment; a segment is the sample here.

    Args:
        logits: (R, H, W), the segment's own subject at every pixel.
        masks: (R, H, W), 1 in the segment; what lies outside does not count.
        form: ``printed``: 1 - entropy of p; ``entropy``: entropy of p, so that going down makes the
            network certain; ``pseudo-label``: cross-entropy with its own verdict, p > 1/2, held
            fixed; ``segment``: cross-entropy with 1, the subject everywhere in its segment.

    Returns:
        (R,) means over the segment's pixels, in nats; 0 of an empty segment.
    """
    p = logits.sigmoid()
    if form == "pseudo-label":
        target = (p > 0.5).to(logits.dtype).detach()
    elif form == "segment":
        target = p.new_ones(()).expand_as(p)
    else:
        target = p
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    masks = masks.to(each.dtype)
    mean = (each * masks).flatten(1).sum(1) / masks.flatten(1).sum(1).clamp(min=1)
    value: Tensor = 1 - mean if form == "printed" else mean
    return value * (masks.flatten(1).sum(1) > 0)
