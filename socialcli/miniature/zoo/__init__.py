"""The miniatures: small models of the real classes, trained on the rendered world.

One file per role; ``python -m socialcli.miniature.zoo ROLE`` trains it (resuming where it was),
writes its weights to ``socialcli/miniature/weights/ROLE`` in the format of the real thing, and
measures it on the world's test split through the production backend into its
card. See ``docs/mini.md``.
"""
