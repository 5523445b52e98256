"""The drugs of a drafted treatment and of what is named beside it, each with dose, evidence and status."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from hnvlm.plan.conditions import Context, lookup
from hnvlm.plan.eligibility import Eligibility
from hnvlm.plan.kb import Document, KnowledgeBase, documents
from hnvlm.plan.options import (
    CHECKPOINT,
    CISPLATIN_AGENTS,
    Option,
    OptionSet,
    action,
    other_choices,
    pathology_may_ask,
    ruled_out,
)
from hnvlm.plan.words import STATUS_MEANING

_TO_CHOOSE = "one of these goes with the radiotherapy"
_INSTEAD = "instead of the other cisplatin schedule, never with it"


@dataclass(frozen=True)
class SystemicOption:
    """One systemic regimen with its dose, evidence and documents.

    Attributes:
        status: ``drafted`` (goes with the drafted treatment), ``addition``, ``alternative``, ``conditional``,
            ``avoid`` or ``not_eligible``.
        reason: Why the status, "" when it goes without saying.
        to_choose: One of several regimens of which the drafted treatment takes one.
    """

    id: str
    agent: str
    dose: str
    evidence: str
    strength: str
    status: str
    reason: str
    sources: tuple[Document, ...]
    doses_mg_m2: tuple[float, ...] = ()
    to_choose: bool = False

    @property
    def meaning(self) -> str:
        """What the status means, for a reader who meets the word beside the regimen."""
        return STATUS_MEANING["to_choose" if self.to_choose else self.status]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        out = {k: v for k, v in vars(self).items() if k not in ("sources", "doses_mg_m2")}
        return out | {"status_meaning": self.meaning, "sources": [d.title for d in self.sources]}


def systemic_option(kb: KnowledgeBase, agent_id: str, status: str, reason: str = "") -> SystemicOption | None:
    """Return a regimen of the agent table, or None when the table's entry is not verified."""
    entry = kb.entry(agent_id)
    if not entry["verified"]:
        return None
    parts = [entry.get("dose", "")]
    if "dose_mg_m2" in entry:
        parts.append(f"{entry['dose_mg_m2']} mg/m2")
    if "dose_mg" in entry:
        parts.append(f"{entry['dose_mg']} mg")
    if "loading_mg_m2" in entry:
        parts.append(f"loading {entry['loading_mg_m2']} mg/m2, then {entry['maintenance_mg_m2']} mg/m2")
    parts.append(entry.get("schedule", ""))
    if "cumulative_mg_m2" in entry:
        parts.append(f"{entry['cycles']} cycles, cumulative {entry['cumulative_mg_m2']} mg/m2")
    doses = tuple(float(entry[k]) for k in ("dose_mg_m2", "loading_mg_m2", "maintenance_mg_m2") if k in entry)
    return SystemicOption(
        agent_id, entry["agent"], ", ".join(p for p in parts if p), entry.get("evidence", ""),
        entry.get("strength", ""), status, reason, documents(entry), doses,
    )  # fmt: skip


def drug_cautions(systemic: Iterable[SystemicOption], cisplatin: Eligibility) -> tuple[str, ...]:
    """What speaks against cisplatin, where drugs are listed for which no such criteria were read."""
    given = (s for s in systemic if s.status not in ("avoid", "not_eligible") and s.agent not in CHECKPOINT)
    criteria = (*cisplatin.criteria, *cisplatin.set_aside)
    return tuple(c.text for c in criteria) if any("cisplatin" not in s.agent for s in given) else ()


def _also_named(kb: KnowledgeBase, option: Option, drafted: str | None, context: Context) -> list[str]:
    """Treatments of an entry whose drugs are listed beside the drafted ones."""
    either = other_choices(kb, option, drafted, context)
    against = option.against or ("",) * len(option.actions)
    beside = [
        token for token, why in zip(option.actions, against, strict=True)
        if drafted in option.actions and token != drafted and not why and "rt" in action(kb, token)["modalities"]
    ]  # fmt: skip
    kinds = ("addon", "systemic")
    named = [t for t in option.actions if t in either or t in beside or action(kb, t)["kind"] in kinds]
    if lookup(context, "patient.prior_platinum_induction") is True:  # its drugs were given
        named = [t for t in named if not action(kb, t).get("induction")]
    return named


def _regimen(
    kb: KnowledgeBase, agent_id: str, status: str, reason: str, eligibility: Eligibility, context: Context
) -> SystemicOption | None:
    """Return a regimen with its status, ``not_eligible`` where the form speaks against it; None if not verified."""
    agent, contraindicated = kb.entry(agent_id)["agent"], eligibility.verdict == "contraindicated"
    against = ruled_out(kb, agent_id, context)
    if not against and contraindicated and "cisplatin" in agent:
        against = "cisplatin is contraindicated"
    if not against and kb.entry(agent_id).get("full_dose_cisplatin") and eligibility.full_dose_unsuitable:
        dose = "this dose" if agent_id in CISPLATIN_AGENTS else "its dose of cisplatin"
        against = f"one source calls {dose} unsuitable at this creatinine clearance"
    if contraindicated and "platinum" in agent:
        reason = "; ".join(part for part in (reason, "the platinum is not cisplatin, which is contraindicated") if part)
    return systemic_option(kb, agent_id, *(("not_eligible", against) if against else (status, reason)))


def systemic_options(
    kb: KnowledgeBase, drafted: str | None, options: OptionSet, eligibility: Eligibility, context: Context
) -> tuple[SystemicOption, ...]:
    """List the regimens of the drafted treatment and its alternatives.

    Args:
        drafted: Option token of the drafted treatment, None when nothing was drafted.
        context: Nested facts of the case; what they rule out is listed as not suitable.
    """
    found: dict[str, SystemicOption] = {}
    drafted_action = action(kb, drafted) if drafted is not None else {}
    agents = list(drafted_action.get("agents", ()))

    def add(agent_id: str, status: str, reason: str = "") -> None:
        row = _regimen(kb, agent_id, status, reason, eligibility, context)
        if row is not None:
            found.setdefault(agent_id, replace(row, to_choose=reason == _TO_CHOOSE and row.status == status))

    if eligibility.verdict == "relative" and "cis_weekly40" in agents:
        agents.sort(key=lambda a: a in ("cis_q3w", "cis_q3w_x2"))  # relative contraindication: weekly dose first
    for agent in agents:
        cisplatin_drafted = any(a in CISPLATIN_AGENTS and found[a].status == "drafted" for a in found)
        if drafted_action.get("choose_one", False):
            add(agent, "alternative", _TO_CHOOSE)
        else:
            optional = "optional: may be offered" if drafted_action.get("optional") else ""
            if agent in CISPLATIN_AGENTS and cisplatin_drafted:
                add(agent, "alternative", _INSTEAD)
            else:
                add(agent, "drafted", optional if agent in CISPLATIN_AGENTS else "")
    if drafted_action.get("rt") == "postoperative" and not agents and eligibility.verdict != "contraindicated":
        order = ("cis_weekly40", "cis_q3w") if eligibility.verdict == "relative" else ("cis_q3w", "cis_weekly40")
        for agent in order if pathology_may_ask(context) else ():
            add(agent, "conditional", "after surgery, only if extranodal extension or a positive margin is found")
    for option in options.applies:
        for token in _also_named(kb, option, drafted, context):
            status = "addition" if action(kb, token)["kind"] == "addon" else "alternative"
            for agent in action(kb, token).get("agents", ()):
                add(agent, status, f"goes with: {action(kb, token)['label']}")
    return tuple(found.values())
