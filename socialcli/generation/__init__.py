"""Generation: what `socialcli generate` has in common to all its methods.

method.py        what a method is
stage.py         a method seen as a stage
requests.py      requests out of files, flags and samples
references.py    the pictures that subjects come from
drawing.py       the models of a run, and a batch from embeddings to pictures
folder.py        pictures and JSON side by side instead of shards
grid.py          the contact sheet
"""
