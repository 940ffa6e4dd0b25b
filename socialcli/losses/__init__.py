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

Each has a function ``loss`` that returns one value per sample, (B,), and exactly 0 for a sample it
has nothing to say about. Pictures are (B, 3, H, W) in [-1, 1]. Things that a picture has several
of (faces, people, pairs) come as N rows with ``owners`` (N,), the number of each row's picture.
Gradients reach the estimated picture through every loss; targets never get any.
"""
