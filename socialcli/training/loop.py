"""The training loop that `train` and `invert` share; a method is one file that plugs into it.

`socialcli.training.method` says what a method has.

What the loop promises
    * The order of the data is a function of (seed, epoch), all noise one of (seed, step, position
      in the global batch, name): neither the number of processes, nor the micro-batch, nor a
      restart changes what is trained on. On the CPU a run that was killed at any moment and
      started again ends with the same bits as one that was not; for that, features are made one
      sample at a time there.
    * A checkpoint appears whole or not at all. SIGTERM and Ctrl-C save one first.
    * A loss that is no number ends the run before it reaches the weights, and names the samples.
    * A run is only resumed with the options that its result depends on unchanged.

Output folder: what the method saves, ``log.jsonl``, ``run.json`` (what the run is),
``checkpoints``, ``pictures``, ``cache``, and ``step-NNNNNN`` with ``--save-every``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from socialcli import backends, shards
from socialcli.backends import devices, naming
from socialcli.errors import UsageError
from socialcli.pipeline import domain
from socialcli.pipeline import plan as planning
from socialcli.pipeline.dry_run import show
from socialcli.pipeline.report import Report
from socialcli.randomness import seeded
from socialcli.training import checkpoints, data, examples, logs, options, pictures, provenance
from socialcli.training.features import Features, stamp
from socialcli.training.method import TrainMethod
from socialcli.training.options import TrainingOptions
from socialcli.training.place import gathered, here, idle, sole_owner
from socialcli.training.step import Stepper, optimiser

LOOKED_AT = 32  # samples, to see whether the models know such pictures
WARM = 2  # steps of a profile that are not counted


def run(
    command: str,
    name: str,
    method: TrainMethod,
    values: dict[str, Any],
    inputs: list[str],
    output: str,
    dry_run: bool = False,
) -> None:
    """Train, or go on with a training that stopped.

    Args:
        command: "train" or "invert". name: of the method. method: the method.
        values: of its Config, with device and dtype resolved (`backends.devices.resolved`).
        inputs: shards. output: a folder. dry_run: print what would be done, and do nothing.

    Raises:
        UsageError: options, data or a checkpoint that do not fit, before any model is loaded
            where that can be told before. SocialcliError: the run could not go on.
    """
    config = method.config_type(**options.resolved(values))
    options.check(config)
    method.check_options(config)
    if config.compile and not method.has("compiled"):
        raise UsageError(f"{command} --method {name} has no network that --compile makes faster")
    label = f"{command} --method {name}"
    backends.check_text_encoders(method.models(config), label, method.TWO_ENCODERS)
    backends.check_any_method(method.models(config), label, name)
    logs.check(options.logs(config))
    if not inputs:
        raise UsageError(f"{command}: which shards?")
    if output == "-" or shards.is_url(output):
        raise UsageError(f"-o {output}: training writes to a local folder")
    shards.refuse_file_name(output, "its results")
    if dry_run:
        latest = checkpoints.latest(Path(output) / naming.CHECKPOINTS)
        on = f", going on from {latest.name}" if latest is not None else ""
        what = f"{output} ({config.steps} steps of {config.batch_size} samples{on})"
        show(
            f"{command} --method {name}",
            shards.expand(inputs),
            [what],
            method.models(config),
            vars(config),
        )
        return
    shards.check_output_folder(output)
    if config.cache:
        shards.check_output_folder(config.cache, "--cache")
    backends.require(method.models(config))
    phases = method.phases(config, Path(output))
    for phase in phases:
        options.check(phase.config)
        backends.require(phase.method.models(phase.config))
    for phase in phases:
        run = Run(command, name, phase.method, phase.config, inputs, Path(output) / phase.name)
        run.go()


class Run:
    """One training run, in one of its processes."""

    def __init__(
        self, command: str, name: str, method: TrainMethod, config: TrainingOptions,
        inputs: list[str], output: Path,
    ) -> None:  # fmt: skip
        self.command, self.name, self.method, self.config = command, name, method, config
        self.inputs, self.output = inputs, output
        self.checkpoints = output / naming.CHECKPOINTS
        self.stopping: int | None = None  # the signal that asked for it
        self.log: logs.Log | None = None
        self.told: set[str] = set()  # keys of samples that the log names as skipped
        self.cut: set[str] = set()  # and as longer than the text encoder reads

    def go(self) -> None:
        """From options to a finished result."""
        config = self.config
        self.place = here(config)
        self.report = Report(config.log_json, config.quiet, mute=not self.place.first)
        with sole_owner(self.output, self.place):
            if self.place.first:
                lines = idle(config, self.place.processes), options.remark(config)
                for line in filter(None, lines):
                    self.report.warn(line)
                checkpoints.sweep(self.output, config.keep, config.checkpoint_every)
            cache = self.output / naming.CACHE / "shards"
            index = data.usable(self.method, config, self.inputs, cache, self.place, self.report)
            self.place.index, self.place.folder = index, self.output
            self.place.say = self.report.info
            self._say_what_models_know(index)
            what = (self.command, self.name, self.method, config, index)
            self.record = provenance.describe(*what)
            self.identity = provenance.identity(*what)
            checkpoint = None if config.profile_steps else checkpoints.latest(self.checkpoints)
            if checkpoint is not None:
                self._same_run(checkpoint)
                if not any(self.method.weights(config).values()):
                    checkpoint = None  # what was measured is not in it
                elif self._finished(checkpoint):
                    return
            self._load()
            if checkpoint is not None:
                self._same_models(checkpoint)
                checkpoints.load(checkpoint, self.stepper.module, self.stepper.optimiser)
                state = checkpoints.read_state(checkpoint)
                self.stepper.step = int(state["step"])
                self.stepper.scale = float(state.get("scale", self.stepper.scale))
                self.report.info(f"going on from step {self.stepper.step} of {config.steps}")
            with self._signals():
                if config.profile_steps:
                    self._profile()
                else:
                    self._train()

    def _say_what_models_know(self, index: Any) -> None:
        """Warn where frozen networks know one kind of picture only, and the data are of another."""
        known = domain.limited(self.method.models(self.config)) if self.place.first else {}
        numbers = range(0, len(index), max(1, len(index) // LOOKED_AT)) if known else ()
        sources = (domain.source_of(index.read(number)) for number in numbers)
        if warning := domain.strangers(sources, known, "of which they teach nothing"):
            self.report.warn(f"{warning} (looked at: some of the {len(index):,} samples)")

    def _same_run(self, checkpoint: Path) -> None:
        """Refuse to go on with a run of other options."""
        old = checkpoints.read_state(checkpoint).get("identity", {})
        if not provenance.agree(self.config, old, self.identity):
            raise UsageError(
                f"{self.output} holds a run of other options: "
                f"{planning.difference(old, self.identity)}. Use those again, or another -o"
            )

    def _same_models(self, checkpoint: Path) -> None:
        """Refuse to go on where a model's folder holds another one by now."""
        old = checkpoints.read_state(checkpoint).get("facts", self.facts)
        if old != self.facts:
            raise UsageError(
                f"{self.output} holds a run with other models: "
                f"{planning.difference(old, self.facts)}. Use those again, or another -o"
            )

    def _finished(self, checkpoint: Path) -> bool:
        known = shards.read_bytes(str(self.output / naming.RUN))
        step = checkpoints.step_of(checkpoint)
        if step > self.config.steps:
            self.report.warn(
                f"{self.output} has done {step} steps, more than --steps {self.config.steps}: its "
                f"result is of {step}"
            )
        if known is None or json.loads(known).get("finished") != step or step < self.config.steps:
            return False
        self.report.info(f"{self.output}: finished already, {step} steps")
        return True

    def _load(self) -> None:
        import torch

        torch.manual_seed(seeded(self.config.seed, "load"))  # of weights that are drawn
        state = self.method.load(self.config, self.place)
        if self.config.compile:
            for network in self.method.compiled(state):
                devices.compile_network(network, str(self.place.device))
        self.facts = self.method.facts(state)
        module = self.method.trainable(state)
        if not any(p.requires_grad for p in module.parameters()):
            raise UsageError(f"{self.command} --method {self.name}: nothing to train")
        if self.place.processes > 1 and _normalises_batches(module):
            raise UsageError(
                f"{self.command} --method {self.name} trains in one process: its batch "
                "normalisation would see the part of a batch that each process has; start it "
                "without torchrun"
            )
        cache = None
        if self.method.has("features"):
            # Without end, no variant comes twice: there is nothing to keep.
            again = self.config.variants > 0
            memory, disk = (self.config.cache_memory, self.config.cache_disk) if again else (0, 0)
            cache = Features(self._cache(), memory, disk, self.place.processes)
        stream = examples.Examples(
            self.method, state, self.config, self.place.index, cache,
            self.place.process, self.place.processes,
        )  # fmt: skip
        self.stepper = Stepper(
            self.method, state, self.config, self.place, module,
            optimiser(self.method, state, module, self.config), stream, cache,
        )  # fmt: skip

    def _cache(self) -> Path:
        """The folder of the features; runs whose features agree may share it.

        They agree when the method's own options do (or those that its FEATURES names), the files
        that such an option names, the data, and the seed.
        """
        root = Path(self.config.cache) if self.config.cache else self.output / naming.CACHE
        shared = {f.name for f in dataclasses.fields(TrainingOptions)}
        own = [f.name for f in dataclasses.fields(self.config) if f.name not in shared]
        depends = own if self.method.FEATURES is None else self.method.FEATURES
        names = [*depends, "seed", "variants", "dtype"]
        facts = {name: getattr(self.config, name) for name in names}
        # Where a model was there may be another one by now.
        facts["files"] = [stamp(value) for value in facts.values() if isinstance(value, str)]
        facts |= {k: self.identity[k] for k in ("command", "method", "version", "data")}
        return root / "features" / planning.fingerprint(facts)

    # --- steps ---

    def _train(self) -> None:
        if self.place.first:
            self._write_run(finished=None)
            self.log = logs.Log(
                self.output, options.logs(self.config), self.stepper.step, self.record
            )
            self.told |= self.log.named.get("skipped", set())
            self.cut |= self.log.named.get("text cut", set())
        bar = self._bar()
        try:
            self._steps(self.config.steps, bar)
        except Exception:
            # Where a neighbour stopped first, the connection breaks; the weights are whole.
            if self.stopping is None or self.place.processes == 1:
                raise
        finally:
            if bar is not None:
                bar.close()
        if self.stopping is not None:
            self._stop(self.stopping)
        self._save(self.output)
        if self.log is not None:
            self._write_run(finished=self.stepper.step)
            self.log.event(self.stepper.step, "finished")
            self.log.close()
        if self.told:
            self.report.warn(f"{len(self.told)} samples could not be used; log.jsonl names them")
        if self.cut:
            self.report.warn(f"the texts of {len(self.cut)} samples were cut; log.jsonl names them")
        self.report.info(
            f"{self.command}: {self.stepper.step} steps; the result is in {self.output}"
        )

    def _steps(self, last: int, bar: Any = None) -> None:
        """Steps until ``last``, with all that happens between them."""
        stepper, config = self.stepper, self.config
        stream = stepper.examples.micro_batches(stepper.step, last)
        with contextlib.closing(stream):
            while stepper.step < last:
                begun = time.monotonic()
                values = stepper.go(stream, lambda: self.stopping is not None, self._event)
                if values is None:
                    return
                values["seconds"] = time.monotonic() - begun
                values["samples_per_second"] = config.batch_size / max(values["seconds"], 1e-9)
                if bar is not None:
                    bar.update(1)
                    bar.set_postfix(loss=f"{values['loss']:.4g}", refresh=False)
                if not config.profile_steps:
                    self._between(values, stepper.step == last)

    def _between(self, values: dict[str, float], last: bool) -> None:
        """What is due after a step: log, checkpoint, a copy of the result, pictures."""
        config, step = self.config, self.stepper.step
        due = last or step % config.checkpoint_every == 0
        skipped = list(self.stepper.examples.skipped.items())
        cut = list(self.stepper.unread.items())
        if due:  # the other processes tell theirs
            skipped = gathered(skipped, self.place)
            cut = gathered(cut, self.place)
        for key, reason in sorted(skipped):
            if key not in self.told:
                self.told.add(key)
                self._event("skipped", key=key, reason=reason)
        for key, rest in sorted(cut):
            if key not in self.cut:
                if not self.cut:
                    self.report.warn(
                        f"{key}: its text is longer than the text encoder reads, which is trained "
                        "on the beginning; log.jsonl names all such samples with what is cut off"
                    )
                self.cut.add(key)
                self._event("text cut", key=key, unread=rest)
        if self.log is not None and (last or step % config.log_every == 0):
            self.log.step(step, {**values, "skipped": len(self.told)})
        if config.save_every and step % config.save_every == 0 and not last:
            self._save(self.output / naming.after(step))
        if config.validate_every and (last or step % config.validate_every == 0):
            self._validate()
        # Last: a run that is killed before does this step, and all that belongs to it, again.
        if due:
            self._checkpoint()

    # --- what is written ---

    def _event(self, event: str, **facts: Any) -> None:
        if self.log is not None:
            self.log.event(self.stepper.step, event, **facts)

    def _checkpoint(self) -> None:
        if self.place.first:
            checkpoints.save(
                self.checkpoints, self.stepper.step, self.stepper.module, self.stepper.optimiser,
                self._kept(), self.config.keep, self.config.checkpoint_every,
            )  # fmt: skip

    def _kept(self) -> dict[str, Any]:
        """What a checkpoint holds besides weights and moments."""
        scale = {"scale": self.stepper.scale} if self.stepper.scaled else {}
        return {"identity": self.identity, "facts": self.facts, **scale}

    def _save(self, folder: Path) -> None:
        """The method's result; its files get their names once all of them are on disk."""
        if not self.place.first:
            return
        facts = provenance.metadata(self.record, self.stepper.step)
        if folder != self.output:
            with shards.publish_folder(folder) as temporary:
                self.method.save(self.stepper.state, temporary, facts)
            return
        result = shards.FolderPublication(self.output, "result")
        try:
            with shards.explain_full_disk(str(folder)):
                self.method.save(self.stepper.state, result.path, facts)
                result.sync()
            for part in sorted(result.path.iterdir()):
                shards.settle(part, folder / part.name)
        finally:
            result.discard()

    def _validate(self) -> None:
        if not self.place.first or not self.method.has("validate"):
            return
        import torch

        self.stepper.module.eval()
        with torch.no_grad():
            drawn = self.method.validate(self.stepper.state)
        if drawn:
            sheet = pictures.grid(drawn)
            pictures.write(
                sheet, self.output / naming.PICTURES / f"{naming.after(self.stepper.step)}.png"
            )
            if self.log is not None:
                self.log.picture(self.stepper.step, sheet)

    def _write_run(self, finished: int | None) -> None:
        body = {**self.record, "identity": self.identity, "finished": finished}
        if self.cut:
            body["texts_cut"] = len(self.cut)
        text = json.dumps(body, indent=1, ensure_ascii=False, default=str)
        shards.write_bytes(str(self.output / naming.RUN), text.encode())

    # --- stopping, watching ---

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C ask for a stop; a second one insists. What was ignored when we were
        started (Ctrl-C of a script's background jobs) stays ignored."""

        def ask(number: int, _frame: Any) -> None:
            if self.stopping is not None:
                sys.exit(128 + number)
            self.stopping = number

        wanted = (signal.SIGTERM, signal.SIGINT)
        heard = [s for s in wanted if signal.getsignal(s) is not signal.SIG_IGN]
        old = {s: signal.signal(s, ask) for s in heard}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _stop(self, number: int) -> None:
        if not self.config.profile_steps:
            self._checkpoint()
        self._event("stopped")
        if self.log is not None:
            self.log.close()
        step = self.stepper.step
        self.report.info(f"stopped after step {step}; the same command goes on from there")
        sys.exit(128 + number)

    def _bar(self) -> Any:
        if not self.report.has_bar:
            return None
        from tqdm import tqdm

        return tqdm(
            total=self.config.steps, initial=self.stepper.step, desc=self.command, unit="step",
            file=sys.stderr,
        )  # fmt: skip

    def _profile(self) -> None:
        """``--profile-steps``: a table of where the time of some steps went, and nothing else."""
        count, clock = self.config.profile_steps, self.place.clock
        clock.on = True
        self._steps(WARM)
        clock.seconds.clear()
        begun = time.perf_counter()
        self._steps(WARM + count)
        seconds = time.perf_counter() - begun
        if self.stopping is not None:
            self._stop(self.stopping)
        clock.seconds["other"] = max(seconds - sum(clock.seconds.values()), 0.0)
        if self.place.first:
            print(clock.table(count))
            print(f"{self.config.batch_size * count / seconds:.2f} samples/s")


def _normalises_batches(module: Any) -> bool:
    """Whether what a network makes of a sample depends on the samples beside it."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return any(isinstance(part, _BatchNorm) for part in module.modules())
