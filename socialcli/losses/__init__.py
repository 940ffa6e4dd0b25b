"""The losses of Social Context Feedback (arXiv 2507.16095, section 3), one file each.

    ``denoise``          predicted against true noise
    ``regularisation``   subject tokens stay near the query's text tokens
    ``boundary``         Laplacians agree around the subjects' outlines, Eq. 2
    ``identity``         ArcFace embeddings of the faces agree, Eq. 3
    ``gaze``             gaze targets and gaze vectors agree, Eq. 4
    ``pose``             keypoints agree, Eq. 5
    ``interaction``      the recogniser sees the annotated interactions, Eq. 6

and of Customizing Text-to-Image Generation with Inverted Interaction:

    ``cross_attention``  a relation's attention map follows those of the poses, Eqs. 6 and 7

Of Towards More Accurate Personalized Image Generation there are ``masked`` (Eq. 4) and ``contrast``
(Eq. 5), of Multi-Subject Personalization ``subject_aware`` (section A.4), of Identity Embedding
``attention_region`` (Eq. 4), of ReVersion ``steering`` (Eq. 4), of FastComposer
``localisation`` (section 4.2). ``reconstruction`` and ``response`` teach small decoders.
The function ``loss`` of each file is a `Loss`; ``per_sample`` holds what several share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Loss(Protocol):
    """What the function ``loss`` of a file in ``socialcli/losses`` keeps to.

    It takes tensors and, behind them, options with a default. Pictures are (B, 3, H, W) in [-1, 1].
    Things that a picture has several of (faces, people, pairs) come as N rows with ``owners`` (N,),
    the number of each row's picture. It keeps no state and changes none of its arguments.

    Returns:
        One value per sample, (B,), at least 0, float32 or wider, and exactly 0 for a sample that
        the loss does not apply to; a scalar where the loss compares the samples of a batch with
        one another (``contrast``). Gradients reach what the model made; targets get none.

    Raises:
        UsageError: options or shapes that it does not know.
    """

    def __call__(self, *args: Any, **options: Any) -> Tensor: ...
