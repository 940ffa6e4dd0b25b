"""The training loop that `train` and `invert` share; a method is one file that plugs into it.

A method is a module (``socialcli/methods/{train,invert}/NAME.py``) with

    ``__doc__``                first line: its line in `--help`
    ``VERSION``                raised when the same options train otherwise
    ``READS``                  members every sample must have, besides its picture
    ``Config``                 a dataclass that inherits `options.TrainingOptions`
    ``load(config, place)``    the state: networks on ``place.device``, frozen ones in
                               ``place.dtype``, and whatever else the method keeps
    ``trainable(state)``       one ``nn.Module``: its parameters with ``requires_grad`` are
                               trained, it is what a checkpoint holds
    ``prepare(state, sample, variant)``
                               one `shards.Sample` -> a dict of tensors (on the CPU) and plain
                               values; on a thread, so it changes nothing in ``state``;
                               ``variant.random`` gives augmentation its numbers (`draw.Variant`);
                               raises SampleFailed, and the sample is replaced by another
    ``losses(state, batch, draw)``
                               name -> (B,) float32: the loss of each sample, before the weight
                               below, 0 where it is silent; ``draw`` (`draw.Draw`) gives the noise,
                               the timesteps and all other numbers, by name
    ``weights(config)``        name -> factor of each of these losses
    ``save(state, folder, metadata)``
                               the result as files in ``folder``; ``metadata`` (str -> str) goes
                               into the header of every safetensors file

and, if it wants to,

    ``check_options(config)``  UsageError for options that make no sense
    ``models(config)``         the `ModelSpec` of every model it loads, for the record
    ``check(config, sample)``  SampleFailed if this sample cannot be used (no face, no subject);
                               asked before models are loaded, until one sample passes
    ``select(config, index)``  the `shards.index.Index` cut to what it trains on, before models
    ``features(state, examples)``
                               a list of `prepare`'s dicts (their tensors on the CPU) -> as many
                               dicts: all that ``losses`` needs of a sample that no step changes
                               (latents, embeddings of x_0, boxes, words). No gradient. Each is
                               made once per (key, variant), kept in memory and on disk, and then
                               stands in for the example: with ``--variants`` above 0 the picture
                               is not even decoded again. Values are tensors, or plain JSON
    ``collate(state, examples)``   the batch; default: tensors of equal shape are stacked and
                               moved to ``place.device``, everything else becomes a list of B
    ``groups(state)``          AdamW parameter groups; default: one, with the options' values
    ``after_step(state)``      after each optimiser step (projections, frozen rows)
    ``validate(state)``        list of (caption, PIL picture); must not draw from global
                               generators; the trainable module is in eval mode meanwhile

The sum over the losses of weight x value, averaged over the global batch, is what a step goes down
(a silent sample counts as 0), so that micro-batches, processes and one large batch agree.

What the loop promises
    * The order of the data is a function of (seed, epoch), all noise one of (seed, step, position
      in the global batch, name): neither the number of processes, nor the micro-batch, nor a
      restart changes what is trained on. On the CPU a run that was killed at any moment and
      started again ends with the same bits as one that was not; for that, features are made one
      sample at a time there.
    * A checkpoint appears whole or not at all. SIGTERM and Ctrl-C save one first.
    * A loss that is no number ends the run before it reaches the weights, and names the samples.
    * A run is only resumed with the options that its result depends on unchanged.

Output folder: what the method saves, ``log.jsonl``, ``run.json`` (what the run is), ``checkpoints``,
``pictures``, ``cache``, and ``step-NNNNNN`` with ``--save-every``.
"""
