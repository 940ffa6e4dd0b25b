"""Scoring: generated pictures joined with their references, seen by models, turned into tables.

``samples`` reads, ``joining`` finds each picture's references, ``seeing`` says what models can say
of a picture, ``features`` has them say it and ``store`` keeps it. `socialcli.metrics` turns that
into figures, ``bootstrap`` says how sure they are, ``compare`` which differences are more than
noise; ``tables``, ``writing`` and `socialcli.looking.scores` write them down.
"""
