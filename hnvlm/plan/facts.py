"""A draft put into the words of the contradiction rules: ``plan.*`` of safety.yaml."""

from __future__ import annotations

from typing import Any

from hnvlm.plan.conditions import lookup
from hnvlm.plan.constraints import DoseMetrics, canonical_metric
from hnvlm.plan.decisions import decided, scheme_decided
from hnvlm.plan.eligibility import Eligibility
from hnvlm.plan.kb import KnowledgeBase
from hnvlm.plan.options import SystemicOption, action
from hnvlm.plan.prescription import Prescription
from hnvlm.plan.result import Modality

# Doses of a drug with radiotherapy that a rule knows.
_DOSES = ("loading_mg_m2", "maintenance_mg_m2", "dose_mg_m2")
_DRUGS = ("cisplatin", "cetuximab", "docetaxel", "pembrolizumab", "nivolumab", "carboplatin")


def plan_facts(
    kb: KnowledgeBase, context: dict[str, Any], modality: Modality, prescription: Prescription,
    systemic: tuple[SystemicOption, ...], names: list[str] | None, dose_metrics: DoseMetrics | None,
    eligibility: Eligibility | None,
) -> dict[str, Any]:  # fmt: skip
    """Return ``plan.*`` as the contradiction rules read it."""
    token = action(kb, modality.drafted) if modality.drafted else {"modalities": []}
    # Where one of several drugs is to be chosen, each is held against the rules.
    open_choice = token.get("agents", ()) if token.get("choose_one") else ()
    drafted = [
        kb.entry(s.id) for s in systemic if s.status == "drafted" or (s.status == "alternative" and s.id in open_choice)
    ]
    agents = {drug for entry in drafted for drug in _DRUGS if drug in entry["agent"]}
    if any("platinum" in entry["agent"] for entry in drafted):
        agents.add("carboplatin")  # platinum of choice: counted as the one that the kidney limits less
    stated = decided(context)
    plan: dict[str, Any] = stated | {
        "intent": context["case"].get("intent"), "side": context["case"].get("side"), "agents": sorted(agents),
        "modalities": list(token["modalities"]), "induction": bool(token.get("induction")),
        "larynx_preservation": bool(token.get("preserves_larynx")), "clinician_reviewed": False,
        "n_uncited_statements": 0, "kb_ids_unverified": _unverified(kb, modality, prescription, systemic),
    }  # fmt: skip
    if modality.drafted is None:
        plan["no_chemo_reason"] = "no treatment is drafted"
    elif plan["intent"] == "palliative":
        plan["no_chemo_reason"] = "palliative intent"
    elif context.get("plan", {}).get("concurrent_systemic") == "none":
        plan["no_chemo_reason"] = "form: systemic treatment not possible or not wanted"
    elif eligibility is not None and eligibility.verdict == "contraindicated":
        plan["no_chemo_reason"] = "cisplatin is contraindicated"
    if lookup(context, "report.airway_grade") in ("severe", "obliterated"):
        plan["airway_action"] = "urgent review, see the top of the plan"
    cisplatin = next((e for e in drafted if e["id"] in ("cis_q3w", "cis_weekly40")), None)
    if cisplatin is not None:
        cycles = int(str(cisplatin["cycles"]).split("-")[0])
        dose = cisplatin["dose_mg_m2"]
        plan["cisplatin"] = {
            "dose_mg_m2": dose,
            "interval_days": cisplatin["interval_days"],
            "cycles": cycles,
            "cumulative_mg_m2": dose * cycles,
        }
    plan |= {
        drug: {key: entry[key] for key in _DOSES if key in entry}
        for entry in drafted
        if (drug := entry["agent"]) in ("cetuximab", "docetaxel")
    }
    if prescription.schemes:
        plan["rt"] = _rt_facts(context, prescription, names)
        plan["targets"] = [
            {"name": v.target, "total_gy": v.dose_gy, "fractions": v.fractions, "per_fraction_gy": v.per_fraction_gy,
             "bed10": v.bed10_gy, "eqd2_10": v.eqd2_10_gy}
            for v in prescription.schemes[0].levels
        ]  # fmt: skip
    elif stated.get("rt"):
        # What was decided is held against the rules where no dose is drafted, too; no level is left out there.
        plan["rt"] = stated["rt"] | _levels(context)
    if dose_metrics:
        plan |= _dvh_facts(dose_metrics)
    return {k: v for k, v in plan.items() if v is not None}


def _unverified(
    kb: KnowledgeBase, modality: Modality, prescription: Prescription, systemic: tuple[SystemicOption, ...]
) -> list[str]:
    """Return ids of unverified entries that the draft leans on: there should be none."""
    ids = [o.id for o in modality.options.applies] + [s.id for s in prescription.schemes] + [s.id for s in systemic]
    return [i for i in ids if not kb.entry(i)["verified"]]


def _rt_facts(context: dict[str, Any], prescription: Prescription, names: list[str] | None) -> dict[str, Any]:
    scheme = scheme_decided(context, prescription)
    top = scheme.levels[0]
    nasopharynx = lookup(context, "case.site") == "nasopharynx"
    rt: dict[str, Any] = {
        "scheme": scheme.id, "fractions": top.fractions, "per_fraction_gy": top.per_fraction_gy,
        "gross_gy": top.dose_gy,
        "fractions_per_week": scheme.fractions_per_week if isinstance(scheme.fractions_per_week, int) else None,
        "elective_gy": scheme.levels[-1].dose_gy if len(scheme.levels) > 1 else None,
        "elective_nodes": len(scheme.levels) > 1, "oars_contoured": names,
        "ctvp1_margin_mm": 5 if prescription.kind == "definitive" and not nasopharynx else None,
    }  # fmt: skip
    rt |= decided(context).get("rt", {})
    if prescription.kind == "postoperative":
        rt["high_risk_gy"] = top.dose_gy
        rt["gross_gy"] = None
        rt["package_days"] = _package_days(prescription, rt.get("days_from_surgery"))
    if scheme.id.startswith("pall_quadshot"):
        rt |= {"fractions_per_day": 2, "interfraction_h": 6}
    return {k: v for k, v in (rt | _levels(context)).items() if v is not None}


def _levels(context: dict[str, Any]) -> dict[str, list[str]]:
    elective = ["VIIa", "II", "III", "IVa", "Va", "Vb"] if lookup(context, "case.site") == "nasopharynx" else []
    involved = {side: lookup(context, f"nodes.positive_levels_{side}") or [] for side in ("left", "right")}
    return {f"levels_{side}": sorted({*elective, *levels}) for side, levels in involved.items()}


def _package_days(prescription: Prescription, start: int | None) -> int | None:
    """Days from surgery to the last fraction of the shortest scheme: begun on a Monday, no day lost."""
    spans = [
        7 * ((scheme.levels[0].fractions - 1) // scheme.fractions_per_week)
        + (scheme.levels[0].fractions - 1) % scheme.fractions_per_week
        for scheme in prescription.schemes
        if isinstance(scheme.fractions_per_week, int) and scheme.fractions_per_week <= 7
    ]
    return start + min(spans) if start is not None and spans else None


def _dvh_facts(dose_metrics: DoseMetrics) -> dict[str, Any]:
    rows = [
        {"structure": structure, "metric": canonical_metric(metric), "value": value}
        for structure, metrics in dose_metrics.items()
        for metric, value in metrics.items()
        if value is not None
    ]
    means = {r["structure"]: r["value"] for r in rows if r["metric"] == "Dmean"}
    summary = {f"parotid_{side.lower()}_mean": means.get(f"Parotid_{side}") for side in "LR"}
    return {"dvh": rows, "dvh_summary": {k: v for k, v in summary.items() if v is not None}}
