"""Scoring: generated pictures joined with their references, seen by models, turned into tables.

``samples`` reads and joins, ``features`` runs models over pictures (once: results are kept),
``socialcli.metrics`` turns features into figures, ``bootstrap`` says how sure they are, ``compare``
which differences are more than noise, and ``tables`` and ``socialcli.looking.scores`` write them.
"""
