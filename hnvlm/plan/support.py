"""What goes with a drafted treatment: supportive care, follow-up, and what the tables could not confirm."""

from __future__ import annotations

from typing import Any

from hnvlm.plan.case import Line
from hnvlm.plan.conditions import lookup
from hnvlm.plan.decisions import follow_up_lines
from hnvlm.plan.kb import APP_LOGIC, CLINICAL_FORM, KnowledgeBase, documents
from hnvlm.plan.options import action
from hnvlm.plan.prescription import Prescription, unverified_neck_levels
from hnvlm.plan.result import Modality
from hnvlm.plan.words import sentence


def _supportive_entries(
    kb: KnowledgeBase, context: dict[str, Any], cisplatin: bool, fluorouracil: bool = False
) -> list[dict[str, Any]]:
    """Supportive care that fits: no extractions without teeth, no tests for cisplatin where it plays no part."""
    toothless = lookup(context, "patient.dental_status") == "edentulous"
    out = {"dental": toothless, "audiogram": not cisplatin, "dpd": not fluorouracil}
    return [e for e in kb["regimens"]["supportive"] if not out.get(e["id"])]


def supportive(kb: KnowledgeBase, context: dict[str, Any], prescription: Prescription) -> tuple[Line, ...]:
    """Return verified supportive care during radiotherapy; none without a dose."""
    if not prescription.schemes:
        return ()
    relief = prescription.kind == "palliative"  # nothing is to delay it
    entries = [e for e in _supportive_entries(kb, context, cisplatin=True) if not (relief and e["id"] == "dental")]
    stated = []
    if lookup(context, "patient.dental_status") == "extractions_needed" and not relief:
        text = "Extractions are needed: they come before radiotherapy"
        stated = [Line(text, (CLINICAL_FORM, *documents(kb.entry("dental"))))]
    lost = lookup(context, "patient.weight_loss_percent")
    if lost:
        text = f"Weight loss of {lost:g} % is stated: nutrition is assessed before treatment starts, and during it"
        stated.append(Line(text, (CLINICAL_FORM, APP_LOGIC)))
    shown = (e for e in entries if e["verified"] and not e.get("follow_up"))
    return (*stated, *(Line(sentence(e["rule"]), documents(e)) for e in shown))


def follow_up(
    kb: KnowledgeBase, modality: Modality, prescription: Prescription, context: dict[str, Any]
) -> tuple[Line, ...]:
    """Return response assessment after chemoradiotherapy, and late effects to look for after any curative course.

    What the form states of both comes first.
    """
    lines = follow_up_lines(context)
    chemoradiotherapy = modality.drafted is not None and "systemic" in action(kb, modality.drafted)["modalities"]
    if prescription.kind == "definitive" and chemoradiotherapy:
        found = [o for o in modality.options.applies if all(action(kb, t)["kind"] == "follow_up" for t in o.actions)]
        lines += [Line(o.principle or " / ".join(o.labels), o.sources) for o in found]
    if prescription.kind in ("definitive", "postoperative"):
        late = [e for e in kb["regimens"]["supportive"] if e["verified"] and e.get("follow_up")]
        lines += [Line(sentence(e["rule"]), documents(e)) for e in late]
    return tuple(lines)


def not_verified(
    kb: KnowledgeBase,
    context: dict[str, Any],
    modality: Modality,
    prescription: Prescription,
    *,
    cisplatin: bool,
    fluorouracil: bool,
) -> tuple[str, ...]:
    """Name unverified entries that a clinician may want to look up, without their numbers."""
    found = []
    for option in modality.options.unverified:
        against = "advice against " if "options_avoid" in kb.entry(option.id) else ""
        found.append(f"{sentence(against + ' / '.join(option.labels))} (option table)")
    found += unverified_neck_levels(kb, context, prescription)
    if lookup(context, "patient.prior_neck_rt") is True:
        (criteria,) = documents(kb.entry("rr_source"))
        found.append(
            "Irradiating again: interval since the first course, cumulative limits of cord, carotid and mandible, "
            f"target without elective nodes; not read here: {criteria.title}"
        )
    open_here = {
        "definitive": ["high-dose margin around involved nodes"] if lookup(context, "case.n") != "N0" else [],
        "postoperative": [
            "elective dose after surgery",
            *("dose to the rest of the bed" for s in prescription.schemes if s.id == "postop_66_33_high_risk"),
        ],
    }.get(prescription.kind)  # fmt: skip
    if prescription.kind == "definitive" and prescription.lower_levels_open:
        found.append(
            "Lower dose level (CTV-P2, elective neck) of this scheme: no entry in the tables, department protocol"
        )
    if open_here is not None and prescription.schemes:
        found.append(f"{', '.join(['PTV margin', *open_here])}: department protocol")
    unverified = [e for e in _supportive_entries(kb, context, cisplatin, fluorouracil) if not e["verified"]]
    # What a drug asks for does not hang on a dose of radiotherapy.
    found += [f"Supportive care: {e['label']}" for e in unverified if prescription.schemes or e["id"] == "dpd"]
    return tuple(found)
