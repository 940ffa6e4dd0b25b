"""What Pose-S and Pose-KP have in common: a judge's class against the one that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.evaluation.cases import Case, Context
from socialcli.evaluation.metrics import Column, Metric, Needs, _means

if TYPE_CHECKING:
    import numpy

MEMBERS = ("entities.json", "meta.json")


@dataclass
class Options:
    interaction_field: str = option(
        "concept", "Field of the references' meta.json extra that names the interaction."
    )


def columns(name: str, title: str, how: str) -> tuple[Column, ...]:
    """The accuracy, and beside it the judge's own on exemplars that it has not learned from."""
    return (
        Column(name, title, "higher", 0, 100, "%",
               f"pictures whose two subjects {how} say the interaction that was asked for; one "
               "without two subjects is wrong", digits=2),
        Column(f"{name}_held_out", f"{title} of exemplars", "", 0, 100, "%",
               "the judge's own accuracy on held-out exemplars", digits=2),
    )  # fmt: skip


class Judged(Metric, base=True):
    """The share of pictures in which the judge's class is the one that was asked for.

    ``COLUMNS`` is what `columns` gives; the first one's name is the answer's in `pose-judged` and
    in the judge's file.
    """

    SOURCE = "Customizing Text-to-Image Generation with Inverted Interaction, section 5.2"
    OPTIONS = ("interaction_field",)  # which judge it was, its feature's models say
    config_type = Options

    def needs(self, config: Any) -> Needs:
        return Needs(
            generated=("pose-judged",), members=MEMBERS, paired=True,
            speaks=lambda source: bool(_asked(source, config.interaction_field)),
            lacks=f"their meta.json names no interaction in extra.{config.interaction_field}",
        )  # fmt: skip

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """(N,) ``right`` and ``judged`` (1 or 0), ``bodies``, ``known`` (whether the judge knows
        the class), and ``held_out``, the same for all."""
        import numpy

        from socialcli.networks import pose_judge

        name = self.COLUMNS[0].name
        judge = pose_judge.read(context.config.pose_judge)
        arrays = {n: numpy.zeros(len(cases)) for n in ("right", "judged", "bodies", "known")}
        share = judge.held_out.get(name, numpy.nan)
        arrays["held_out"] = numpy.full(len(cases), share)
        arrays["exemplars"] = numpy.full(len(cases), judge.held_out.get("count", 0.0))
        arrays["classes"] = numpy.full(len(cases), float(len(judge.classes)))
        for number, case in enumerate(cases):
            answer = case.generated.get("pose-judged", name)
            asked = _asked(case.source, context.config.interaction_field) if case.source else ""
            if answer is None or not asked:
                continue
            arrays["known"][number] = asked in judge.classes
            if asked not in judge.classes:
                continue
            arrays["judged"][number] = 1
            arrays["right"][number] = answer == asked
            arrays["bodies"][number] = case.generated.get("pose-judged", "bodies")
        return arrays

    def estimate(
        self, rows: dict[str, numpy.ndarray], counts: numpy.ndarray
    ) -> dict[str, numpy.ndarray]:
        import numpy

        accuracy, held_out = (column.name for column in self.COLUMNS)
        return {
            accuracy: 100 * _means.ratio(rows["right"], rows["judged"], counts),
            held_out: numpy.full(len(counts), 100 * rows["held_out"][0]),
        }

    def pictures(self, rows: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
        return {self.COLUMNS[0].name: 100 * _means.each(rows["right"], rows["judged"])}

    def notes(self, rows: dict[str, numpy.ndarray]) -> list[str]:
        title = self.COLUMNS[0].title
        judged = rows["judged"] > 0
        fewer = int((rows["bodies"][judged] < 2).sum())
        classes = int(rows["classes"][0]) if len(judged) else 0
        lines = [
            f"{title}: of {int(judged.sum()):,} pictures {fewer:,} show fewer than two of the "
            f"subjects and count as wrong; the judge knows {classes} interactions (chance "
            f"{100 / max(classes, 1):.1f} %) and gets {100 * rows['held_out'][0]:.1f} % of "
            f"{int(rows['exemplars'][0])} held-out exemplars right"
        ]
        unknown = int((~judged & (rows["known"] == 0)).sum())
        if unknown:
            lines.append(f"{title}: {unknown:,} pictures ask for nothing that the judge knows")
        return lines


def _asked(source: Any, field: str) -> str:
    meta = source.records.get("meta.json") if source is not None else None
    name = meta.extra.get(field) if meta is not None else None
    return name if isinstance(name, str) else ""
