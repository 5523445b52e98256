"""Which dose a plan's limits are judged on, and whether that dose is one of this plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hnvlm.imaging.target_names import ptv_gy
from hnvlm.plan.case import Line
from hnvlm.plan.constraints import Constraint, DoseMetrics, evaluate
from hnvlm.plan.kb import APP_LOGIC, DOSE_METRICS
from hnvlm.types import CheckResult

# Levels that differ by less are the same prescription.
SAME_GY = 0.5
# Why a target is not judged on a dose of the clinic.
GUESSED = "the AI guessed this target, and the clinic's dose was not planned on it"
_FIRST_COURSE = (
    "previous radiotherapy is stated, they are those of a first course, and the cumulative dose is not known"
)


def off_prescription(
    names: Iterable[str], prescribed_gy: Iterable[float], *, open_below: bool = False
) -> tuple[str, ...]:
    """Return the targets whose names carry a dose that no level of the prescription has; none without levels.

    Args:
        open_below: The tables leave the lower levels to the department. A target below a level that is there is one
            of those; a set of targets without that level was drawn for another prescription.
    """
    levels = list(prescribed_gy)
    doses = {name: gy for name in names if (gy := ptv_gy(name)) is not None}
    drawn = [gy for gy in levels if any(abs(dose - gy) < SAME_GY for dose in doses.values())]
    below = max(drawn, default=0.0) if open_below else 0.0
    return tuple(
        name
        for name, dose in doses.items()
        if levels and dose >= below and all(abs(dose - gy) >= SAME_GY for gy in levels)
    )


def target_checks(strange: Sequence[str]) -> list[CheckResult]:
    """Warn of targets that were drawn for another prescription than the one drafted."""
    if not strange:
        return []
    verb = "does" if len(strange) == 1 else "do"
    message = f"{', '.join(strange)} {verb} not fit the prescription drafted: coverage is not judged"
    return [CheckResult("fid_target_dose", "warn", message, APP_LOGIC.title, {"severity": "warn", "verified": True})]


def coverage_checks(rows: Sequence[Constraint]) -> list[CheckResult]:
    """Warn of every target that the dose does not cover as its limits ask: what a reader looks for first."""
    found: dict[str, list[Constraint]] = {}
    for row in rows:
        if row.status == "not_met" and row.structure.upper().startswith(("PTV", "CTV")):
            found.setdefault(row.structure, []).append(row)
    return [
        CheckResult(
            "dose_target_coverage", "warn",
            f"{name} is not covered as asked: " + "; ".join(map(_missed, missed)),
            missed[0].sources[0].title if missed[0].sources else "", {"severity": "warn", "verified": True},
        )
        for name, missed in found.items()
    ]  # fmt: skip


def _missed(row: Constraint) -> str:
    asked = {">=": "at least", "<=": "at most", "<": "below"}.get(row.op, row.op)
    return f"{row.metric.replace('pct', '%')} {row.value:g} {row.unit}, {asked} {row.limit:g} {row.unit} asked"


@dataclass(frozen=True)
class DoseBasis:
    """The dose at hand.

    Attributes:
        label: What it is, in words.
        levels_gy: Target -> Gy that it was planned or predicted for; empty when nobody says.
        predicted: A model drew it, as it would be for these levels.
        guessed_targets: A model drew its targets, too; of a dose of the clinic, which was not planned on them, the
            targets at hand.
        beyond: Structures that lie partly outside its grid: what they get there nobody knows.
        cut_off: Structures that the CT shows in part only.
        drawn_by_model: Organs that a model contoured, not the clinic.
        failed: Why a prediction is not to be used, "" where it gives its targets what it was asked for.
    """

    label: str
    levels_gy: Mapping[str, float] = field(default_factory=dict)
    predicted: bool = False
    guessed_targets: bool = False
    beyond: tuple[str, ...] = ()
    cut_off: tuple[str, ...] = ()
    drawn_by_model: tuple[str, ...] = ()
    failed: str = ""

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> DoseBasis | None:
        """Inverse of ``to_json``; None stays None."""
        if value is None:
            return None
        return cls(**{**value, **{key: tuple(value.get(key, ())) for key in ("beyond", "cut_off", "drawn_by_model")}})

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return asdict(self)

    def misfit(self, prescribed_gy: Iterable[float], *, irradiated: bool = False) -> str:
        """Why the limits of the tables cannot be judged on this dose, or "".

        A dose predicted for 70 Gy to a tumour is not the dose of a plan that gives 60 Gy to its bed. What the clinic
        planned stands for itself. A neck irradiated before has a dose already, which no single dose tells.

        Args:
            prescribed_gy: Highest level of each scheme that the plan drafts; none: no prescription to disagree with.
            irradiated: Previous radiotherapy is stated.
        """
        if irradiated:
            return _FIRST_COURSE
        if self.failed:
            return self.failed
        asked = list(dict.fromkeys(prescribed_gy))
        if not self.predicted or not self.levels_gy or not asked:
            return ""
        top = max(self.levels_gy.values())
        if any(abs(top - gy) < SAME_GY for gy in asked):
            return ""
        wanted = " or ".join(f"{gy:g}" for gy in asked)
        return f"the dose at hand was predicted for {top:g} Gy, this plan prescribes {wanted} Gy"

    def judge(self, rows: Iterable[Constraint], metrics: DoseMetrics | None, misfit: str) -> tuple[Constraint, ...]:
        """Judge rows on figures of this dose; with a misfit nothing is judged, and its targets are not the plan's."""
        if misfit:
            return evaluate([row for row in rows if not row.structure.upper().startswith("PTV")], None, misfit)
        judged = evaluate(rows, metrics)
        if self.predicted or not self.guessed_targets:
            return judged
        return tuple(
            evaluate([row], None, GUESSED)[0] if row.structure.upper().startswith(("PTV", "CTV")) else row
            for row in judged
        )

    def line(self, misfit: str, *, prescribed: bool = True) -> Line:
        """One sentence for the plan's text.

        Args:
            prescribed: The plan drafts a dose; without one, figures of a predicted dose are those of an example.
        """
        if misfit:
            return Line(f"Limits are named but not judged: {misfit}", (APP_LOGIC,))
        levels = " / ".join(f"{gy:g}" for gy in sorted(set(self.levels_gy.values()), reverse=True))
        text = f"Judged on: {self.label[:1].lower()}{self.label[1:]}" + (
            f" for {levels} Gy" if levels and self.predicted else ""
        )
        if self.predicted and not prescribed:
            text += "; no dose is drafted: this is what such a dose would give, not what this patient is to get"
        if self.guessed_targets and not self.predicted:
            text += "; no target of the clinic is at hand, so what targets get is not judged"
        elif self.guessed_targets:
            text += "; its targets were guessed from the CT alone, and it is far from what the clinic's targets give"
        if self.drawn_by_model:
            text += f"; contoured by the AI, not by the clinic: {', '.join(self.drawn_by_model)}"
        if self.beyond:
            text += f"; partly outside its grid: {', '.join(self.beyond)}"
        if self.cut_off:
            text += f"; cut off by the CT, judged on the part shown: {', '.join(self.cut_off)}"
        return Line(text, (DOSE_METRICS,))
