"""What both stages of `interaction` do alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.methods.invert.interaction import _exemplars, _options, _state
from socialcli.methods.invert.interaction._options import Config
from socialcli.training.method import TrainMethod

if TYPE_CHECKING:
    from socialcli.methods.invert.interaction._state import State
    from socialcli.shards import Sample
    from socialcli.shards.index import Index


class Stage(TrainMethod, base=True):
    """See `TrainMethod`: exemplars of two people, words that train, priors that hold them."""

    VERSION = 1
    READS = ("people.json", "masks.json")
    FEATURES: ClassVar[tuple[str, ...]] = (
        "backend", "model", "revision", "size", "crop", "flip", "concept", "by",
    )  # fmt: skip
    config_type = Config

    def check_options(self, config: Config) -> None:
        _options.check(config)

    def select(self, config: Config, index: Index) -> Index:
        return _state.select(config, index)

    def check(self, config: Config, sample: Sample) -> None:
        _exemplars.pair(sample)

    def trainable(self, state: State) -> Any:
        return state.trained

    def facts(self, state: State) -> dict[str, str]:
        return state.facts

    def after_step(self, state: State) -> None:
        _state.after_step(state)
