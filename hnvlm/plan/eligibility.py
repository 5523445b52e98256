"""Cisplatin eligibility from the criteria of regimens.yaml: what speaks against it and what is not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hnvlm.plan.conditions import Context, judge, lookup
from hnvlm.plan.kb import Document, KnowledgeBase, documents
from hnvlm.plan.words import describe

Verdict = Literal["contraindicated", "relative", "eligible", "undetermined"]
# Nobody is called eligible before these are known; the other criteria are asked for but do not hold up the verdict.
KEY_FACTS = (
    "patient.ecog", "patient.crcl_ml_min", "patient.hearing_loss_or_tinnitus_grade", "patient.neuropathy_grade",
)  # fmt: skip

# Speaks against one dose of cisplatin, not against the drug.
_OF_THE_DOSE = "ce_crcl60_unsuitable"


@dataclass(frozen=True)
class Criterion:
    """One criterion that applies: ``kind`` is absolute or relative."""

    id: str
    kind: str
    text: str
    sources: tuple[Document, ...]


@dataclass(frozen=True)
class Eligibility:
    """Whether cisplatin can be given, as far as the form says.

    Attributes:
        verdict: ``contraindicated`` (an absolute criterion applies), ``relative`` (only relative ones),
            ``eligible`` (the key facts are known, none applies), ``undetermined``.
        missing: Case paths of the facts that are not known, key facts first.
        full_dose_unsuitable: A criterion speaks against 100 mg/m2 three-weekly in particular.
        set_aside: Relative criteria beside an absolute one: cisplatin is out without them, other drugs are not.
    """

    verdict: Verdict
    criteria: tuple[Criterion, ...] = ()
    missing: tuple[str, ...] = ()
    full_dose_unsuitable: bool = False
    set_aside: tuple[Criterion, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {
            "verdict": self.verdict, "missing": list(self.missing),
            "criteria": [{"id": c.id, "kind": c.kind, "text": c.text} for c in self.criteria],
        }  # fmt: skip


def cisplatin_eligibility(kb: KnowledgeBase, context: Context) -> Eligibility:
    """Judge every verified criterion on the facts of a case."""
    criteria: list[Criterion] = []
    missing: set[str] = set()
    for entry in kb["regimens"]["cisplatin_eligibility"]:
        kind = entry["class"]
        if (
            "when" not in entry
            or not entry["verified"]
            or kind not in ("absolute", "absolute_per_porceddu", "relative")
        ):
            continue
        verdict = judge(entry["when"], context)
        missing |= verdict.missing if verdict.truth is None else set()
        if verdict.truth:
            text = describe(entry["when"])
            if kind == "absolute_per_porceddu":
                kind, text = "relative", f"{text}; unsuitable for 100 mg/m2 by this source"
            criteria.append(Criterion(entry["id"], kind, text, documents(entry)))
    # One source draws its line at 60 mL/min for the three-weekly dose; below 50 all agree.
    unsuitable = any(c.id == _OF_THE_DOSE for c in criteria)
    absolute = [c for c in criteria if c.kind == "absolute"]
    order = tuple(sorted(missing, key=lambda path: (path not in KEY_FACTS, path)))
    if absolute:
        # The strongest reason alone: the relative criteria add nothing once it is out.
        relative = tuple(c for c in criteria if c.kind != "absolute" and c.id != _OF_THE_DOSE)
        return Eligibility("contraindicated", tuple(absolute), order, unsuitable, relative)
    if criteria:
        return Eligibility("relative", tuple(criteria), order, unsuitable)
    if all(lookup(context, path) is not None for path in KEY_FACTS):
        return Eligibility("eligible", (), order)
    return Eligibility("undetermined", (), order)
