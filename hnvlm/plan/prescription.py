"""Dose levels, fractions and targets from radiotherapy.yaml, with BED and EQD2 recomputed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hnvlm.plan.case import LARYNX_SITES, Line
from hnvlm.plan.conditions import Context, holds, lookup
from hnvlm.plan.kb import APP_LOGIC, CLINICAL_FORM, CT_FINDINGS, Document, KnowledgeBase, documents

# Convention for tumour effect; stated beside every figure that uses it because the table marks it unverified.
TUMOUR_ALPHA_BETA_GY = 10.0
# Their trials paired them with cisplatin 100 mg/m2.
_FULL_DOSE_CISPLATIN = ("def_accel_70_35_6fpw",)
_EARLY_GLOTTIS = ("T1", "T1a", "T1b", "T2")
# What a dose level of an integrated boost is for, by its rank.
_PURPOSE = {
    1: ("gross disease",), 2: ("gross disease", "elective volume"),
    3: ("gross disease", "intermediate-risk volume", "elective volume"),
}  # fmt: skip


# Targets of the schemes after surgery, by their names in the table.
_PURPOSE_OF_TARGET = {
    "CTV_primary_bed": "bed of the primary",
    "PTV_ENE_or_margin": "where extranodal extension or the positive margin was",
}


def bed_gy(fractions: float, per_fraction_gy: float, alpha_beta_gy: float) -> float:
    """Biologically effective dose in Gy, without a time factor: n d (1 + d / (alpha/beta))."""
    return fractions * per_fraction_gy * (1 + per_fraction_gy / alpha_beta_gy)


def eqd2_gy(fractions: float, per_fraction_gy: float, alpha_beta_gy: float) -> float:
    """Equivalent dose in 2 Gy fractions in Gy: BED / (1 + 2 / (alpha/beta))."""
    return bed_gy(fractions, per_fraction_gy, alpha_beta_gy) / (1 + 2 / alpha_beta_gy)


@dataclass(frozen=True)
class Level:
    """One dose level.

    Attributes:
        target: TG-263 style name (``PTV_7000``: dose in cGy).
        dose_gy: Total dose.
        bed10_gy: Biologically effective dose for alpha/beta 10 Gy, computed.
        eqd2_10_gy: The same as 2 Gy fractions.
    """

    target: str
    dose_gy: float
    fractions: int
    per_fraction_gy: float
    bed10_gy: float
    eqd2_10_gy: float
    purpose: str
    sources: tuple[Document, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return dict(vars(self), sources=[d.title for d in self.sources])


@dataclass(frozen=True)
class Scheme:
    """One way to fractionate: dose levels and schedule. ``condition`` says when it is the one to use."""

    id: str
    levels: tuple[Level, ...]
    schedule: str
    fractions_per_week: Any
    condition: str
    sources: tuple[Document, ...]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {
            "id": self.id, "levels": [level.to_json() for level in self.levels], "schedule": self.schedule,
            "condition": self.condition, "note": self.note, "sources": [d.title for d in self.sources],
        }  # fmt: skip


@dataclass(frozen=True)
class Prescription:
    """Drafted doses.

    Attributes:
        kind: definitive, postoperative, palliative or none.
        schemes: The drafted one, or several when something unknown decides (each with its ``condition``).
        alternatives: Other sourced ways to treat the same.
        withheld: Why nothing was drafted, "" otherwise.
    """

    kind: str
    schemes: tuple[Scheme, ...] = ()
    alternatives: tuple[Scheme, ...] = ()
    withheld: str = ""

    @property
    def lower_levels_open(self) -> bool:
        """Whether the tables leave lower dose levels to the department: after surgery, and beside a single level."""
        single = any(len(s.levels) == 1 and not s.id.startswith("glottic") for s in self.schemes)
        return bool(self.schemes) and (self.kind == "postoperative" or (self.kind == "definitive" and single))

    @property
    def levels(self) -> tuple[Level, ...]:
        """Dose levels of the drafted schemes."""
        return tuple(level for scheme in self.schemes for level in scheme.levels)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {
            "kind": self.kind, "levels": [level.to_json() for level in self.levels],
            "schemes": [s.to_json() for s in self.schemes], "alternatives": [s.to_json() for s in self.alternatives],
            "withheld": self.withheld, "lower_levels_open": self.lower_levels_open,
        }  # fmt: skip


def build_scheme(kb: KnowledgeBase, scheme_id: str, condition: str = "") -> Scheme | None:
    """Return a scheme of the table, or None when its entry is not verified."""
    entry = kb.entry(scheme_id)
    if not entry["verified"]:
        return None
    sources = documents(entry)
    purposes = _PURPOSE.get(len(entry["targets"]), ())
    sib = entry["intent"] == "definitive" and len({t["fractions"] for t in entry["targets"]}) == 1
    levels = []
    for rank, target in enumerate(entry["targets"]):
        dose, n = float(target["total_gy"]), int(target["fractions"])
        each = dose / n
        purpose = purposes[rank] if sib and purposes else _PURPOSE_OF_TARGET.get(target["name"], "")
        if not purpose and entry["intent"] in ("definitive", "palliative"):
            purpose = "gross disease"
        name = f"PTV_{round(dose * 100):04d}"
        levels.append(
            Level(
                name,
                dose,
                n,
                round(each, 3),
                round(bed_gy(n, each, TUMOUR_ALPHA_BETA_GY), 2),
                round(eqd2_gy(n, each, TUMOUR_ALPHA_BETA_GY), 2),
                purpose,
                sources,
            )
        )
    return Scheme(
        scheme_id, tuple(levels), _schedule(entry), entry.get("fractions_per_week"), condition, sources,
        entry.get("status", ""),
    )  # fmt: skip


def _schedule(entry: Mapping[str, Any]) -> str:
    parts = []
    if entry.get("fractions_per_day"):
        gap = f", at least {entry['min_interval_h']} h apart" if entry.get("min_interval_h") else ""
        parts.append(f"{entry['fractions_per_day']} fractions a day{gap}, {entry['days']} days")
    elif entry.get("fractions_per_week"):
        parts.append(f"{entry['fractions_per_week']} fractions a week")
    if entry.get("weeks"):
        parts.append(f"{entry['weeks']} weeks")
    if entry.get("repeat"):
        parts.append(entry["repeat"])
    return ", ".join(parts)


def _schemes(kb: KnowledgeBase, *wanted: tuple[str, str]) -> tuple[Scheme, ...]:
    built = (build_scheme(kb, scheme_id, condition) for scheme_id, condition in wanted)
    return tuple(s for s in built if s is not None)


def draft_prescription(
    kb: KnowledgeBase, context: Context, kind: str, *, concurrent: bool, cisplatin: bool = True,
    full_dose: bool = True, condition: str = "",
) -> Prescription:  # fmt: skip
    """Choose dose levels for a staged case.

    Args:
        context: Nested facts with ``case.site``, ``case.t`` and ``case.n`` as far as derived.
        kind: definitive, postoperative, palliative, or none.
        concurrent: Whether systemic treatment goes with it.
        cisplatin: False when cisplatin is contraindicated: schemes tied to it are left out.
        full_dose: False when three-weekly cisplatin is unsuitable: schemes tied to that dose are left out.
        condition: Words for a prescription that holds only once something else is known.
    """
    site = lookup(context, "case.site")
    if lookup(context, "patient.prior_neck_rt") is True:
        reason = (
            "previous head and neck radiotherapy: first-course doses do not apply; cumulative organ doses come first"
        )
        return Prescription("none", withheld=reason)
    if kind == "palliative":
        chosen = f"{condition}, choose one" if condition else "choose one"
        return Prescription(
            kind, _schemes(kb, *((s, chosen) for s in ("pall_30_10", "pall_20_5", "pall_quadshot_148_4")))
        )
    if site in (None, "major_salivary", "unknown_primary_neck") and kind != "none":
        what = "the primary site is not known" if site is None else "no sourced dose scheme for this site in the tables"
        return Prescription("none", withheld=what)
    if kind == "postoperative":
        drafted = _postoperative(kb, context)
        found = lookup(context, "tumour.primary_found") is not False
        return drafted if found else replace(drafted, schemes=tuple(map(_without_primary, drafted.schemes)))
    if kind == "definitive":
        drafted = _definitive(kb, context, site, concurrent, cisplatin, condition)
        kept = tuple(s for s in drafted.alternatives if full_dose or s.id not in _FULL_DOSE_CISPLATIN)
        return replace(drafted, alternatives=kept)
    return Prescription("none", withheld="no treatment with radiotherapy is drafted")


def _postoperative(kb: KnowledgeBase, context: Context) -> Prescription:
    ene, margin = lookup(context, "path.ene"), lookup(context, "path.margin")
    high = ("postop_66_33_high_risk", "after surgery, if extranodal extension or a positive margin is found")
    low = ("postop_60_30", "after surgery, if neither of these but another risk factor is found")
    if ene is True or margin == "positive":
        return Prescription("postoperative", _schemes(kb, (high[0], "extranodal extension or positive margin stated")))
    if ene is False and margin in ("negative", "close"):
        return Prescription("postoperative", _schemes(kb, (low[0], "no extranodal extension, margin not positive")))
    return Prescription("postoperative", _schemes(kb, high, low))


def _without_primary(scheme: Scheme) -> Scheme:
    """After a neck dissection without a primary there is no bed of one."""
    bed, neck = _PURPOSE_OF_TARGET["CTV_primary_bed"], "where the involved nodes were: no primary was found"
    levels = (replace(level, purpose=neck) if level.purpose == bed else level for level in scheme.levels)
    return replace(scheme, levels=tuple(levels))


def _definitive(
    kb: KnowledgeBase, context: Context, site: str, concurrent: bool, cisplatin: bool, condition: str
) -> Prescription:
    t, n = lookup(context, "case.t"), lookup(context, "case.n")
    if site == "larynx_glottis" and (t is None or n is None):
        return Prescription(
            "none", withheld="early and advanced glottic cancer get different doses: T and N come first"
        )
    if site == "larynx_glottis" and t in _EARLY_GLOTTIS and n == "N0":
        return _early_glottis(kb, t, condition)
    standard = ("def_sib_70_63_56_35", condition)
    others = [
        ("def_sib_hn004_70_6125_56_35", "other dose levels"),
        ("def_accel_70_35_6fpw", "accelerated, with two cycles of cisplatin"),
    ]
    if site == "nasopharynx":
        others = [("def_npc_70_33to35", "gross disease in 33 to 35 fractions")]
    elif site.startswith("oropharynx") or site in (*LARYNX_SITES, "hypopharynx"):
        others.append(("def_uk_65_54_30", "moderately hypofractionated, with cisplatin"))
    if not concurrent and site != "nasopharynx" and lookup(context, "case.stage_group") in ("III", "IVA", "IVB"):
        alone = "; ".join(part for part in ("accelerated, no systemic treatment", condition) if part)
        rest = [(standard[0], "standard fractionation"), ("def_dahanca_68_34_6fpw", "accelerated")]
        return Prescription("definitive", _schemes(kb, ("def_dahanca_66_33_6fpw", alone)), _schemes(kb, *rest))
    if (
        site == "oropharynx_p16_pos"
        and lookup(context, "plan.concurrent_systemic") == "none"
        and (t, n) != ("T1", "N0")
    ):
        others.append(("def_dahanca_66_33_6fpw", "accelerated, no systemic treatment"))
    if not (concurrent and cisplatin):
        others = [o for o in others if "cisplatin" not in o[1]]
    if concurrent and not cisplatin and site != "nasopharynx":
        others.append(("def_dahanca_66_33_6fpw", "accelerated, if no systemic treatment is given"))
    return Prescription("definitive", _schemes(kb, standard), _schemes(kb, *others))


def _early_glottis(kb: KnowledgeBase, t: str, condition: str) -> Prescription:
    tail = f"; {condition}" if condition else ""
    if t == "T2":
        return Prescription(
            "definitive", _schemes(kb, ("glottic_t2_70_35", f"T2 N0 glottis{tail}")),
            _schemes(kb, ("glottic_t2_hfx_792_66", "hyperfractionated, twice daily"), ("glottic_t1_55_20", "small T2")),
        )  # fmt: skip
    others = [
        ("glottic_t1_5625_25", "minimal T1"), ("glottic_t1_55_20", "hypofractionated"),
        ("glottic_t1_50_16", "hypofractionated"),
        ("glottic_t1_66_33", "2 Gy fractions, lower local control in the trial"),
    ]  # fmt: skip
    chosen = (
        "glottic_t1_63_28",
        f"T1 N0 glottis; the trial gave it where more than two thirds of the cord was involved{tail}",
    )
    return Prescription("definitive", _schemes(kb, chosen), _schemes(kb, *others))


def margins_of_primary(context: Context) -> bool:
    """Whether the tables hold CTV margins for the primary of a case: one was found, and not in the nasopharynx."""
    return lookup(context, "tumour.primary_found") is not False and lookup(context, "case.site") != "nasopharynx"


def draft_targets(
    kb: KnowledgeBase, context: Context, prescription: Prescription, *, induction: bool = False
) -> tuple[Line, ...]:
    """Return how to build the target volumes, as sourced sentences.

    Args:
        induction: Chemotherapy shrinks the tumour before radiotherapy.
    """
    if not prescription.schemes:
        return ()
    lines: list[Line] = []
    nasopharynx = lookup(context, "case.site") == "nasopharynx"
    early_glottis = prescription.schemes[0].id.startswith("glottic")
    if prescription.kind == "definitive":
        rules = ["ctvp1"] if early_glottis else ["ctvp1", "ctvp2", "ctvp_two_doses"]
        if lookup(context, "case.n") != "N0":
            rules.append("ctvn_ene_extent")
        if lookup(context, "tumour.primary_found") is False:
            rules = [rule for rule in rules if not rule.startswith("ctvp")]
            lines.append(
                Line(
                    "No primary was found, so there is no GTV-P: the meeting decides which mucosa is treated",
                    (APP_LOGIC,),
                )
            )
        elif not margins_of_primary(context):
            rules = [rule for rule in rules if not rule.startswith("ctvp")]
            rules += ["npc_postinduction_gtv"] if induction else []
            text = "CTV of the primary: no sourced margin for the nasopharynx in the tables; department protocol"
            lines.append(Line(text, (APP_LOGIC,)))
        for rule in rules:
            entry = kb.entry(rule)
            target = "CTV-P1 and CTV-P2" if entry["target"] == "both" else entry["target"]
            here = entry.get("at_site", {}).get(lookup(context, "case.site"))
            text = f"{target}: {entry['rule']}" + (f"; {here}" if here else "")
            lines.append(Line(text, documents(entry)))
    for side in ("left", "right") if lookup(context, "stated.n") != "N0" else ():
        levels = lookup(context, f"nodes.positive_levels_{side}")
        if levels and prescription.kind == "definitive":
            drafted = lookup(context, f"nodes.levels_drafted_{side}")
            text = f"Involved {side} neck, level {', '.join(levels)}{' (drafted from CT)' if drafted else ''}"
            origin = CT_FINDINGS if drafted else CLINICAL_FORM
            lines.append(Line(f"{text}: belongs to the high-dose target", (origin, APP_LOGIC)))
    if prescription.kind == "definitive" and lookup(context, "nodes.elsewhere"):
        text = f"Involved beside these: {'; '.join(lookup(context, 'nodes.elsewhere'))}"
        lines.append(Line(f"{text}: belongs to the high-dose target", (CT_FINDINGS, APP_LOGIC)))
    if nasopharynx and prescription.kind == "definitive":
        entry = kb.entry("nl_npc")
        lines.append(Line(f"Elective neck: {entry['rule']}", documents(entry)))
        lines += _level_ib(kb, context)
    if prescription.kind == "postoperative":
        text = "Target volumes after surgery: no sourced rule in the tables; department protocol"
        lines.append(Line(text, (APP_LOGIC,)))
    for rule in ("port_start", "package_time") if prescription.kind == "postoperative" else ():
        entry = kb.entry(rule)
        lines.append(Line(entry["rule"], documents(entry)))
    return tuple(lines)


def _level_ib(kb: KnowledgeBase, context: Context) -> list[Line]:
    """Say that level Ib is not to be left out where a condition of the guideline is met, on CT or on the form."""
    rule = kb.entry("rt_npc_ib")
    met: list[str] = []
    origin: list[Document] = []
    nodes = {k: v for k, v in (lookup(context, "nodes") or {}).items() if k != "level2_ene"}
    if holds(rule["when"], {**context, "plan": {"rt": {"ib_omitted": True}}, "nodes": nodes, "tumour": {}}):
        largest = nodes.get("level2_max_cm")
        seen = [f"largest {largest:g} cm"] if largest is not None else []
        seen += ["on both sides"] if nodes.get("level2_bilateral") is True else []
        met.append(f"level II nodes drafted from CT, {', '.join(seen)}")
        origin.append(CT_FINDINGS)
    stated = {
        "nodes.level2_ene": "a level II node with extranodal extension",
        "tumour.anterior_nasal_cavity": "a primary that reaches the anterior nasal cavity",
    }
    on_form = [what for fact, what in stated.items() if lookup(context, fact) is True]
    if on_form:
        met.append(f"{' and '.join(on_form)}, as stated on the form")
        origin.append(CLINICAL_FORM)
    return [Line(f"Level Ib is not left out here: {'; '.join(met)}", (*origin, *documents(rule)))] if met else []


def unverified_neck_levels(kb: KnowledgeBase, context: Context, prescription: Prescription) -> tuple[str, ...]:
    """Return elective neck levels that no graded source confirms, without numbers, for a human to check."""
    site, n, t = (lookup(context, f"case.{k}") for k in ("site", "n", "t"))
    if not prescription.schemes or prescription.kind == "palliative" or site is None:
        return ()
    family = "oropharynx" if site.startswith("oropharynx") else site
    found = []
    for entry in kb["radiotherapy"]["neck_levels"]["entries"]:
        if entry.get("site") != family or entry["verified"] or "ipsi" not in entry:
            continue
        neck = entry["neck"]
        fits = {
            "N0": n == "N0",
            "N+": n not in (None, "N0", "NX"),
            "any": True,
            "T1-T2 N0": t in _EARLY_GLOTTIS and n == "N0",
        }
        if not fits.get(neck, neck == "T3-T4 N0" and t in ("T3", "T4a", "T4b") and n == "N0"):
            continue
        sides = (
            f"ipsilateral {', '.join(entry['ipsi']) or 'none'}; contralateral {', '.join(entry['contra']) or 'none'}"
        )
        rest = _neck_conditions(entry, context)
        which = "" if neck == "any" else f" {neck}"
        found.append(f"Elective neck levels, {family.replace('_', ' ')}{which}: {sides}{rest}")
    if not found and n not in (None, "NX") and family != "nasopharynx":
        found.append(
            f"Elective neck levels, {family.replace('_', ' ')} {n}: no entry in the tables, department protocol"
        )
    return tuple(found)


def _neck_conditions(entry: Mapping[str, Any], context: Context) -> str:
    """What an entry adds to its levels, and where it leaves the other side out, in words."""
    parts = [
        f"{', '.join(levels)} added with {what.replace('_or_', ' or ').replace('_', ' ')}"
        for what, levels in entry.get("add", {}).items()
    ]
    lateral = lookup(context, "tumour.crosses_midline") is not True
    if entry.get("omit_contra_if") and lateral and lookup(context, "case.subsite") in (None, "tonsil"):
        parts.append(f"contralateral side may be left out with a {entry['omit_contra_if']}")
    return "".join(f"; {part}" for part in parts)
