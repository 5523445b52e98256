"""What a drafted plan is made of. Plain values: the text is rendered from them and checked against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hnvlm.plan.case import Line
from hnvlm.plan.constraints import Constraint
from hnvlm.plan.eligibility import Eligibility
from hnvlm.plan.kb import Document
from hnvlm.plan.options import Option, OptionSet
from hnvlm.plan.prescription import Prescription
from hnvlm.plan.staging import Staging
from hnvlm.plan.systemic import SystemicOption
from hnvlm.types import CheckResult

HEADER = "AI DRAFT - RESEARCH USE ONLY. Not medical advice. To be reviewed, corrected and signed by a clinician."


@dataclass(frozen=True)
class Need:
    """An open question: what is not known, why it matters.

    Attributes:
        id: Form field that answers it; "" when only the images or a person can.
        question: Label of the field.
        changes: The branch of the plan that the answer would change.
        from_ct: Always False for what CT cannot show: it is asked for, never inferred.
    """

    id: str
    question: str
    changes: str
    sources: tuple[Document, ...] = ()
    from_ct: bool = False

    @property
    def why(self) -> str:
        """What the answer would change, as the end of a sentence: ``decides ...``, or ``T2 could become T3``."""
        # A change of stage is a sentence of its own.
        itself = not self.id or self.changes.startswith(("T", "N", "M"))
        return self.changes if itself or not self.changes else f"decides {self.changes}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {
            "id": self.id, "question": self.question, "changes": self.changes, "why": self.why,
            "determinable_from_ct": self.from_ct, "sources": [d.title for d in self.sources],
        }  # fmt: skip


@dataclass(frozen=True)
class Intent:
    """Curative, palliative or undecided (None), and why."""

    value: str | None
    reason: str
    sources: tuple[Document, ...]
    provisional: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {"value": self.value, "reason": self.reason, "provisional": self.provisional}


@dataclass(frozen=True)
class Modality:
    """The drafted treatment and every other option.

    Attributes:
        drafted: Option token of actions.yaml that prescription and systemic treatment follow, or None.
        label: The same in words.
        lead: Entry of the option table it comes from.
        branches: What would be drafted under each value of a missing fact.
        withheld: Why nothing was drafted, "" otherwise.
    """

    drafted: str | None
    label: str
    lead: Option | None
    options: OptionSet
    branches: tuple[Line, ...] = ()
    withheld: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {
            "drafted": self.label or None, "token": self.drafted, "withheld": self.withheld,
            "lead": self.lead.to_json() if self.lead else None,
            "options": [o.to_json() for o in self.options.applies],
            "depends": [o.to_json() for o in self.options.depends],
            "avoid": [o.to_json() for o in self.options.avoid],
            "branches": [b.text for b in self.branches],
            "without_surgery": self.options.without_surgery,
        }  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """A drafted treatment plan: an AI draft for research use, to be corrected and signed by a clinician.

    Attributes:
        urgent: What must be told before anything else.
        facts: What CT shows, as drafted or corrected.
        needs: Open questions, most decisive first.
        checks: Every contradiction rule: fired ones first (fail, warn), then not_evaluated, then pass.
        nodes_from_ct: The number of nodes was counted on CT, not stated.
        carries_tumour: Structures that carry the primary, which are no organs to spare.
        histology: As the form states it, None when it does not.
        recurrent: Recurrence without a distant metastasis.
        drug_cautions: What speaks against cisplatin, where drugs are listed for which no such criteria were read.
        dose_line: Which dose the limits are judged on, or why the one at hand does not; None without any.
        not_verified: Entries that no graded source confirms, named without their numbers.
        sources: Documents in the order of their tags in ``text`` ([S1] is the first).
        text: The plan with headings; every line ends with its source tags.
        caveats: What stands beside stage, treatment and limits in the text (``staging``, ``treatment``, ``limits``).
    """

    urgent: tuple[Line, ...]
    facts: tuple[Line, ...]
    staging: Staging
    intent: Intent
    modality: Modality
    prescription: Prescription
    targets: tuple[Line, ...]
    constraints: tuple[Constraint, ...]
    eligibility: Eligibility | None
    systemic: tuple[SystemicOption, ...]
    supportive: tuple[Line, ...]
    follow_up: tuple[Line, ...]
    needs: tuple[Need, ...]
    checks: tuple[CheckResult, ...]
    not_verified: tuple[str, ...]
    disease_seen: bool = True
    nodes_from_ct: bool = False
    dose_line: Line | None = None
    carries_tumour: tuple[str, ...] = ()
    histology: str | None = None
    recurrent: bool = False
    drug_cautions: tuple[str, ...] = ()
    sources: tuple[Document, ...] = field(default=())
    text: str = ""
    caveats: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as one JSON-serialisable dict."""
        return {
            "header": HEADER, "text": self.text, "caveats": {k: list(v) for k, v in self.caveats.items()},
            "urgent": [line.text for line in self.urgent],
            "facts": [line.text for line in self.facts], "staging": self.staging.to_json(),
            "intent": self.intent.to_json(), "modality": self.modality.to_json(),
            "prescription": self.prescription.to_json(), "targets": [line.text for line in self.targets],
            "carries_tumour": list(self.carries_tumour), "constraints": [c.to_json() for c in self.constraints],
            "dose_line": self.dose_line.text if self.dose_line else "",
            "cisplatin": self.eligibility.to_json() if self.eligibility else None,
            "systemic": [s.to_json() for s in self.systemic], "supportive_care": [x.text for x in self.supportive],
            "follow_up": [x.text for x in self.follow_up], "needs": [n.to_json() for n in self.needs],
            "open_questions": [f"{n.question}: {n.why}" for n in self.needs],
            "checks": [asdict(c) for c in self.checks], "not_verified": list(self.not_verified),
            "disease_seen": self.disease_seen,
            "sources": [{"tag": f"S{i}", **d.to_json()} for i, d in enumerate(self.sources, start=1)],
        }  # fmt: skip
