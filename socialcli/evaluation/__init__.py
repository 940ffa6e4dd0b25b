"""Scoring: generated pictures joined with their references, seen by models, turned into tables.

``samples`` reads, ``joining`` finds each picture's references, ``features`` runs models on
pictures and keeps what they say. `socialcli.evaluation.metrics` turns that into figures,
``bootstrap`` says how sure they are, ``compare`` which differences are more than
noise; ``tables``, ``writing`` and `socialcli.evaluation.page` write them down.
"""
