"""Generation: what `socialcli generate` has in common to all its methods.

A method is one file, ``socialcli/methods/generate/NAME.py``, with

    ``__doc__``                  first line: its line in `--help`
    ``VERSION``                  raised when the same options give other pictures
    ``REFERENCES``               whether it takes reference pictures; ``SCALE``: their weight where
                                 none is given
    ``Config``                   a dataclass that inherits `options.GenerateOptions`, or
                                 `options.ReferenceOptions` if it takes references
    ``models(config)``           the `ModelSpec` of every model it loads
    ``load(config)``             a `drawing.Studio`, or one of its own that has all a Studio has
    ``embed(config, studio, request)``
                                 what one picture is conditioned on (tensors without a batch
                                 dimension); SampleFailed if that cannot be made
    ``condition(config, studio, embedded)``
                                 a `denoise.Conditioning` for a list of what ``embed`` gave

and, if it wants to, ``check_options(config)`` (UsageError before any model is loaded),
``files(config)`` (further files the pictures depend on) and ``plain(config, studio, prompt)`` (the
prompt in ordinary words, where it has others).

``embed`` sees one request at a time, so that a picture cannot depend on its neighbours; what it
makes can be kept by the studio (`drawing.Studio.text`). ``condition`` puts a batch together: the
UNet's keyword arguments for 2N rows, unconditional ones first, or a function of the step that gives
them (pseudo-words that change with time), and, where noise is not simply predicted (layouts,
composites), a function that predicts it (`denoise.Conditioning.predict`).

    prompts.py       requests out of files, flags and samples
    references.py    the pictures that subjects come from
    denoise.py       noise per key, the loop, schedulers by name
    drawing.py       the models of a run, and a batch from embeddings to pictures
    provenance.py    what a picture says of itself
    folder.py        pictures and JSON side by side instead of shards
    grid.py          the contact sheet
"""
