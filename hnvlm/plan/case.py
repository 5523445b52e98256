"""One case: CT findings and the clinical form joined into the facts that the tables read, each with its origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hnvlm.plan.conditions import nest
from hnvlm.plan.form import form_field
from hnvlm.plan.kb import APP_LOGIC, CLINICAL_FORM, CT_FINDINGS, Document, KnowledgeBase, documents
from hnvlm.plan.words import sentence, words
from hnvlm.types import CheckResult, Finding

# Lexicon site of a mass -> (primary site, subsite) of the staging tables.
SITE_OF_MASS = {
    "oral tongue": ("oral_cavity", "oral_tongue"),
    "base of tongue": ("oropharynx", "base_of_tongue"),
    "palatine tonsil": ("oropharynx", "tonsil"),
    "supraglottis": ("larynx_supraglottis", "epiglottis"),
    "pyriform sinus": ("hypopharynx", "pyriform_sinus"),
    "parotid gland": ("major_salivary", "parotid"),
}
# Lexicon nodal level -> level of the 2013 delineation consensus.
LEVEL_NAMES = {"IB": "Ib", "II": "II", "III": "III", "IV": "IVa", "V": "Va", "retropharyngeal": "VIIa"}
_RETROPHARYNGEAL = "retropharyngeal"
_BELOW_CRICOID = ("IV", "supraclavicular")
# Sizes that differ by less are the same (rule fid_size).
SAME_SIZE_MM = 2.0
# Ends of a field of view that leave out the upper or the lower neck (landmarks of the CT report, bands from above).
_NECK_CUT_ABOVE = ("hard palate", "oropharynx", "hyoid", "larynx", "cricoid", "clavicle", "upper mediastinum")
_NECK_CUT_BELOW = ("vertex", "skull base", "nasopharynx", "hard palate", "oropharynx", "hyoid", "larynx", "cricoid")
PREGNANCY = "Pregnant or lactating: a specialist decision comes before any radiotherapy or chemotherapy"
# p16 is read in squamous cell carcinoma only.
NOT_P16 = ("salivary_carcinoma", "other")
LARYNX_SITES = ("larynx_supraglottis", "larynx_glottis", "larynx_subglottis")


@dataclass(frozen=True)
class Line:
    """One sentence of a plan with the documents it rests on."""

    text: str
    sources: tuple[Document, ...]


@dataclass(frozen=True)
class Case:
    """Facts of one case.

    Attributes:
        context: Nested facts, as the conditions of the tables read them; an unknown fact is absent.
        primary_site: Form choice (``oropharynx``), or None when nothing says where the primary is.
        site_keys: Keys of the staging site map; more than one when a missing fact (p16, EBV) decides.
        disease_seen: CT findings hold a mass or a suspicious node.
        nodes_from_ct: Their number was counted on CT, not stated.
        facts: What CT shows, as sentences.
        urgent: What must be told at once.
        conflicts: Disagreements between CT findings and form, and findings that were set aside.
    """

    context: dict[str, Any]
    form: dict[str, Any]
    primary_site: str | None
    site_keys: tuple[str, ...]
    disease_seen: bool
    facts: tuple[Line, ...]
    urgent: tuple[Line, ...]
    conflicts: tuple[CheckResult, ...]
    indeterminate: tuple[Finding, ...] = ()
    nodes_from_ct: bool = False


def build_case(kb: KnowledgeBase, findings: Sequence[Finding], form: Mapping[str, Any]) -> Case:
    """Join findings and a validated form; the form wins where both speak, and the disagreement is reported.

    Args:
        findings: As drafted from CT or corrected by a clinician. Sizes in millimetres.
        form: Output of ``validate_form``.
    """
    present = [f for f in findings if f.presence == "present"]
    mass, conflicts = _choose_mass(present, form)
    # The tables read "none of them" as an empty list, which is known, unlike an absent one.
    flat: dict[str, Any] = {form_field(k).path: [] if v == ["none"] else v for k, v in form.items()}
    site, subsite = _site(mass, form)
    # After an operation the specimen is what is staged: CT gives it neither a size nor a node.
    after_surgery = form.get("setting") == "postoperative"
    kind = form.get("staging_kind") or ("pathological" if after_surgery else "clinical")
    from_ct = kind == "clinical"
    facts: dict[str, Any] = {"case.setting": "definitive", "case.edition": "8", "case.staging_kind": kind}
    if mass is not None:
        facts |= {"case.subsite": subsite, "case.side": mass.side, "report.side": mass.side}
        if mass.size_mm is not None and from_ct:
            facts |= {"tumour.size_cm": mass.size_mm / 10, "report.size_cm": mass.size_mm / 10}
        facts["tumour.crosses_midline"] = mass.attributes.get("crosses_midline")
    flat = {**{k: v for k, v in facts.items() if v is not None}, **flat}
    flat["case.primary_site"] = site and site.split("_")[0] if site in LARYNX_SITES else site
    conflicts += [*_other_nodes(present, findings, flat), *_nasopharynx_nodes(present, flat, form)] if from_ct else []
    if flat.get("nodes.n_pos") == 0:
        flat["nodes.max_node_cm"] = 0.0
    else:
        flat |= _levels(present) | (_node_facts(present, findings, flat) if from_ct else {})
    conflicts += _partial_neck(present, flat) if from_ct and "nodes_n_pos" not in form else []
    conflicts += _other_side(present, flat.get("case.side"))
    conflicts += _after_surgery(present) if after_surgery else []
    _convert_lengths(flat)
    if after_surgery and flat.get("nodes.n_pos") == 0:  # a specimen without an involved node answers these, too
        flat = {"path.ene": False, "path.levels_iv_v": False} | flat
    if flat.get("path.perineural_multiple") is True:
        flat.setdefault("path.perineural", True)
    if "path.ene" in flat:
        flat["nodes.ene_path"] = flat["path.ene"]
    if "report.nirads" in flat:
        flat["report.post_treatment"] = _treated_before(form)
    if _untreated(form):
        flat.setdefault("case.platinum_refractory", False)
    airway = _airway(kb, present)
    if airway is not None:
        flat["report.airway_grade"] = airway[0]
    if site == "unknown_primary":
        flat = {k: v for k, v in flat.items() if not k.startswith("tumour.")}
        flat |= {"tumour.primary_found": False, "case.primary_site": "unknown"}
    keys = site_keys(site, form)
    flat["case.site"] = keys[0] if keys else None
    return Case(
        context=nest({k: v for k, v in flat.items() if v is not None}), form=dict(form), primary_site=site,
        site_keys=keys, disease_seen=any(f.kind in ("mass", "node") for f in present),
        facts=tuple(Line(describe_finding(f), (_origin(f),)) for f in _in_order(findings)),
        urgent=(*(airway[1] if airway else ()), *_pregnancy(kb, flat)), conflicts=tuple(conflicts),
        indeterminate=tuple(f for f in findings if f.presence == "indeterminate"),
        nodes_from_ct=from_ct
        and not {"nodes_n_pos", "stated_n"} & set(form)
        and any(f.kind == "node" and f.source != "clinician" for f in present),
    )  # fmt: skip


def _treated_before(form: Mapping[str, Any]) -> bool | None:
    """Whether this CT comes after a treatment; None where the form says neither."""
    if form.get("prior_neck_rt") is True or form.get("setting") in ("postoperative", "recurrent_metastatic"):
        return True
    return False if form.get("setting") == "definitive" else None


def _untreated(form: Mapping[str, Any]) -> bool:
    """Whether the form says that nothing was given yet: no drug can have failed then."""
    given = form.get("prior_neck_rt") or form.get("prior_platinum_induction") or "pet_response" in form
    return form.get("setting") == "definitive" and not given


def _choose_mass(present: list[Finding], form: Mapping[str, Any]) -> tuple[Finding | None, list[CheckResult]]:
    """Pick the primary among the masses: at the form's site when it names one, else the largest."""
    masses = sorted((f for f in present if f.kind == "mass"), key=lambda f: -(f.size_mm or 0.0))
    conflicts = []
    # A contour without a site that is known here lies elsewhere, at any other site.
    fitting = [m for m in masses if form.get("site") in (None, SITE_OF_MASS.get(m.site or "", (None,))[0])]
    fitting = fitting or [m for m in masses if m.site is None and m.attributes.get("contour")]
    if masses and not fitting:
        where = " ".join(word for word in (masses[0].side, masses[0].site or "neck") if word)
        conflicts.append(
            _conflict(
                "fid_site_primary",
                f"CT draft shows a mass in the {where}, the form names {words(form['site'])}: "
                "the form is used, and the size drafted from CT is not",
            )
        )
    chosen = fitting[0] if fitting else None
    if chosen and form.get("side") in ("left", "right") and chosen.side in ("left", "right"):
        same_side = [m for m in fitting if m.side == form["side"]]
        chosen = same_side[0] if same_side else chosen
    staged = form.get("setting") != "postoperative" and any(f.kind == "node" for f in present)
    nodes = ", and nodes counted here may be its own" if staged else ""
    for other in masses:
        if chosen is not None and other is not chosen:
            text = (
                f"More than one mass in the CT draft, not taken as the primary: {describe_finding(other)}. It is in no "
                "stage and no target of this draft; a second primary, if it is one, is staged and treated on its own"
                f"{nodes}"
            )
            conflicts.append(_conflict("fid_second_mass", text))
    return chosen, conflicts


def _other_side(present: list[Finding], side: str | None) -> list[CheckResult]:
    """A likely target region opposite the primary: a dose predicted for it spares the wrong side."""
    regions = {f.side for f in present if f.kind == "target"} & {"left", "right"}
    if side not in ("left", "right") or not regions or side in regions:
        return []
    text = (
        f"CT draft's likely high-dose target region lies {regions.pop()}, the primary {side}: correct the targets or "
        "upload the clinic's before reading a dose predicted for them"
    )
    return [_conflict("fid_side_target", text)]


def _other_nodes(present: list[Finding], findings: Sequence[Finding], flat: Mapping[str, Any]) -> list[CheckResult]:
    """Where the form counts, places or measures nodes otherwise than CT shows them.

    Args:
        flat: Facts of the form and of the primary; nodes of the form only.
    """
    nodes = [f for f in present if f.kind == "node"]
    stated, seen = flat.get("nodes.n_pos"), sum(2 if f.side == "bilateral" else 1 for f in nodes)
    looked = bool(nodes) or any(f.kind == "node" and f.presence == "absent" and f.level is None for f in findings)
    said: list[str] = []
    if stated is not None and looked and stated != seen:
        shown = f" ({'; '.join(describe_finding(f) for f in nodes)})" if nodes else ""
        said.append(f"number: CT draft {seen}{shown}, form {stated}")
    if nodes and stated != 0:
        side, sides = flat.get("case.side"), {f.side for f in nodes}
        drafted = _laterality(sides, side)
        wanted = flat.get("nodes.laterality")
        sure = side in ("left", "right") or drafted == "bilateral"
        if wanted and sure and wanted != drafted:
            said.append(f"side: CT draft {drafted}, form {wanted}")
        sizes = [f.size_mm for f in nodes if f.size_mm is not None]
        largest = flat.get("nodes.max_node_mm")
        if sizes and largest is not None and abs(max(sizes) - largest) > SAME_SIZE_MM:
            said.append(f"largest: CT draft {max(sizes):.0f} mm, form {largest:g} mm")
    if not said:
        return []
    lost = "; nodes that only CT shows are in no target here" if stated == 0 else ""
    return [_conflict("fid_nodes_form", f"Nodes differ ({'; '.join(said)}): the form is used{lost}")]


def _nasopharynx_nodes(present: list[Finding], flat: Mapping[str, Any], form: Mapping[str, Any]) -> list[CheckResult]:
    """Nodes of the CT that the answers on N of the nasopharynx do not fit: below the cricoid, and retropharyngeal.

    Level IV lies below the cricoid, which makes N3 and is for the clinician to answer.
    """
    if site_keys(flat.get("case.primary_site"), form) != ("nasopharynx",):
        return []
    low = [describe_finding(f) for f in present if f.kind == "node" and f.level in _BELOW_CRICOID]
    said = []
    if low and flat.get("nodes.below_cricoid") is not True:
        answer = "the form denies a node there" if "nodes.below_cricoid" in flat else "the form does not say"
        text = (
            f"CT draft shows {'; '.join(low)}, below the lower border of the cricoid, where level IV begins: {answer}"
        )
        said.append(_conflict("fid_below_cricoid", f"{text}; N3 if it is involved"))
    cervical = [describe_finding(f) for f in present if _is_cervical(f)]
    if cervical and flat.get("nodes.retropharyngeal_only") is True:
        text = f"CT draft shows {'; '.join(cervical)}, the form says retropharyngeal nodes only: the form is used"
        said.append(_conflict("fid_retropharyngeal", f"{text}; N2 if nodes on both sides of the neck are involved"))
    return said


def _is_cervical(finding: Finding) -> bool:
    return finding.kind == "node" and finding.level not in (None, _RETROPHARYNGEAL)


def _partial_neck(present: list[Finding], flat: Mapping[str, Any]) -> list[CheckResult]:
    """Nodes counted on a CT that does not show every level: what lies outside it is not excluded."""
    fields = [f.attributes for f in present if f.kind == "coverage"]
    above = next((a["superior"] for a in fields if a.get("superior") in _NECK_CUT_ABOVE), None)
    below = next((a["inferior"] for a in fields if a.get("inferior") in _NECK_CUT_BELOW), None)
    if "nodes.n_pos" not in flat or not (above or below):
        return []
    ends = [f"begins at the {above}" if above else "", f"ends at the {below}" if below else ""]
    text = (
        f"CT draft's field of view {' and '.join(e for e in ends if e)} and does not show the whole neck: nodes "
        f"outside it are not determinable from this CT, and N counts only those inside"
    )
    return [_conflict("fid_partial_neck", text)]


def _after_surgery(present: list[Finding]) -> list[CheckResult]:
    """Disease on the CT of an operated patient: what was taken out, or what was left behind."""
    seen = [describe_finding(f) for f in present if f.kind in ("mass", "node")]
    if not seen:
        return []
    text = (
        f"CT draft shows disease ({'; '.join(seen)}): the specimen is staged, not this CT. On a CT made after the "
        "operation it may be residual disease, which postoperative doses are not for"
    )
    return [_conflict("fid_after_surgery", text)]


def report_conflict(message: str) -> CheckResult:
    """What a clinician's report tells otherwise than the findings that a plan is made on."""
    told = message[:1].lower() + message[1:]
    return _conflict("fid_report", f"Clinician's report, not taken over into this plan: {told} Answer it in the form")


def _conflict(rule: str, message: str) -> CheckResult:
    return CheckResult(rule, "warn", message, APP_LOGIC.title, {"severity": "warn", "verified": True})


def _site(mass: Finding | None, form: Mapping[str, Any]) -> tuple[str | None, str | None]:
    from_ct = SITE_OF_MASS.get(mass.site or "", (None, None)) if mass else (None, None)
    return form.get("site") or from_ct[0], form.get("subsite") or from_ct[1]


def site_keys(site: str | None, form: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the staging table(s) of a site: p16 and EBV decide, and unknown means every table they leave open."""
    p16, ebv = form.get("p16"), form.get("ebv")
    if site == "oropharynx":
        if p16 is None and form.get("histology") in NOT_P16:
            return ("oropharynx_p16_neg",)
        # Without p16 the p16-negative table is the provisional one; the other is shown beside it.
        table = {"positive": ("oropharynx_p16_pos",), "negative": ("oropharynx_p16_neg",)}
        return table.get(p16, ("oropharynx_p16_neg", "oropharynx_p16_pos"))
    if site == "unknown_primary":
        if p16 == ebv == "positive":  # either points to a table of its own, and neither outweighs the other
            return ("oropharynx_p16_pos", "nasopharynx")
        if p16 == "positive":
            return ("oropharynx_p16_pos",)
        if ebv == "positive":
            return ("nasopharynx",)
        open_tables = [("oropharynx_p16_pos", p16), ("nasopharynx", ebv)]
        return ("unknown_primary_neck", *(key for key, answer in open_tables if answer is None))
    return (site,) if site and site != "other_site" else ()  # no table holds other sites


def _levels(present: list[Finding]) -> dict[str, Any]:
    """Return the involved levels of either side as drafted or corrected, and the nodes that have no side or level."""
    out: dict[str, Any] = {}
    for side in ("left", "right"):
        nodes = [f for f in present if f.kind == "node" and f.side in (side, "bilateral") and f.level]
        if nodes:
            out[f"nodes.positive_levels_{side}"] = sorted({LEVEL_NAMES.get(f.level, f.level) for f in nodes})
            out[f"nodes.levels_drafted_{side}"] = any(f.source != "clinician" for f in nodes)
    lateral = ("left", "right", "bilateral")
    elsewhere = [f for f in present if f.kind == "node" and not (f.level and f.side in lateral)]
    return out | ({"nodes.elsewhere": [describe_finding(f) for f in elsewhere]} if elsewhere else {})


def _node_facts(present: list[Finding], findings: Sequence[Finding], flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``nodes.*`` drafted from CT for what the form leaves open."""
    nodes = [f for f in present if f.kind == "node"]
    out: dict[str, Any] = {}
    if "nodes.n_pos" in flat:
        pass  # the form counts the nodes: CT may still say how large and on which side they are
    elif nodes or any(f.kind == "node" and f.presence == "absent" and f.level is None for f in findings):
        out["nodes.n_pos"] = sum(2 if f.side == "bilateral" else 1 for f in nodes)
    elif any(f.kind == "node" and f.presence == "absent" for f in findings):
        out["nodes.n_pos"] = 0
    if out.get("nodes.n_pos") == 0:
        out["nodes.max_node_cm"] = 0.0
    sizes = [f.size_mm for f in nodes if f.size_mm is not None]
    if sizes and "nodes.max_node_mm" not in flat:
        out |= {"nodes.max_node_cm": max(sizes) / 10, "nodes.size_axis": "long"}
    laterality = _laterality({f.side for f in nodes}, flat.get("case.side"))
    # One node by the form, yet nodes of both sides on CT: CT does not say which of them it is.
    unclear = flat.get("nodes.n_pos") == 1 and laterality == "bilateral"
    if laterality and "nodes.laterality" not in flat and not unclear:
        out["nodes.laterality"] = laterality
    if nodes and not {"nodes.retropharyngeal_only", "nodes.n_pos"} & set(flat):
        if any(_is_cervical(f) for f in nodes):
            out["nodes.retropharyngeal_only"] = False
        elif all(f.level == _RETROPHARYNGEAL for f in nodes):
            out["nodes.retropharyngeal_only"] = True
    level_two = [f for f in nodes if f.level == "II"]
    if level_two:
        out["nodes.level2_bilateral"] = len({f.side for f in level_two} & {"left", "right"}) == 2
        in_two = [f.size_mm for f in level_two if f.size_mm is not None]
        if in_two:
            out["nodes.level2_max_cm"] = max(in_two) / 10
    return out


def _laterality(sides: set[str | None], primary_side: str | None) -> str | None:
    """Midline nodes and an unstated side count as ipsilateral (rule of staging.yaml)."""
    if not sides:
        return None
    lateral = sides & {"left", "right"}
    if "bilateral" in sides or len(lateral) == 2:
        return "bilateral"
    if primary_side in ("left", "right") and lateral and primary_side not in lateral:
        return "contralateral" if sides == lateral else "bilateral"
    return "ipsilateral"


def _convert_lengths(flat: dict[str, Any]) -> None:
    """The form speaks millimetres, the TNM tables centimetres."""
    for millimetres, centimetres in (("tumour.size_mm", "tumour.size_cm"), ("nodes.max_node_mm", "nodes.max_node_cm")):
        if millimetres in flat:
            flat[centimetres] = flat.pop(millimetres) / 10


def _airway(kb: KnowledgeBase, present: list[Finding]) -> tuple[str, tuple[Line, ...]] | None:
    """Return the worst airway grade and what must be told at once, or None without an airway finding."""
    table = kb["urgent"]["airway"]
    worst: tuple[dict[str, Any], Finding] | None = None
    for finding in present:
        narrowing = finding.attributes.get("narrowing_pct") if finding.kind == "airway" else None
        if narrowing is None:
            continue
        grade = [g for g in table["grades"] if narrowing >= g["percent_from"]][-1:]
        if grade and (worst is None or grade[0]["percent_from"] > worst[0]["percent_from"]):
            worst = (grade[0], finding)
    if worst is None:
        return None
    grade, finding = worst
    if not grade["urgent"]:
        return grade["grade"], ()
    seen = describe_finding(finding).split(", ", 1)[-1]
    text = f"{grade['grade'].capitalize()} airway narrowing ({seen}). {sentence(table['action'])}"
    return grade["grade"], (Line(text, (CT_FINDINGS, *documents(table))),)


def _pregnancy(kb: KnowledgeBase, flat: Mapping[str, Any]) -> tuple[Line, ...]:
    """What comes before any radiotherapy or chemotherapy."""
    if flat.get("patient.pregnant_or_lactating") is not True:
        return ()
    return (Line(PREGNANCY, (CLINICAL_FORM, *documents(kb.entry("sys_pregnancy")))),)


def _origin(finding: Finding) -> Document:
    return CLINICAL_FORM if finding.source == "clinician" else CT_FINDINGS


def _in_order(findings: Sequence[Finding]) -> list[Finding]:
    order = {"mass": 0, "node": 1, "airway": 2, "target": 3, "artefact": 4, "coverage": 5}
    return sorted(findings, key=lambda f: (order[f.kind], f.presence != "present", f.side or "", f.level or ""))


def describe_finding(finding: Finding) -> str:
    """Return a finding as one short phrase: ``Mass, left palatine tonsil, 31 mm, probable (slice 62)``."""
    kinds = {
        "node": "Node", "mass": "Mass", "airway": "Airway narrowing", "target": "Predicted high-dose target region",
        "artefact": "Dental artefact", "coverage": "Field of view",
    }  # fmt: skip
    if finding.presence == "absent":
        place = " ".join(p for p in (finding.side, finding.level and f"level {finding.level}", finding.site) if p)
        return f"No {kinds[finding.kind].lower()} seen{' (' + place + ')' if place else ''}"
    details = finding.attributes
    if finding.kind == "coverage":
        ends = {"superior", "inferior"} <= set(details)
        return kinds["coverage"] + (
            f" from the {details['superior']} to the {details['inferior']}" if ends else " not stated"
        )
    site = " ".join(p for p in (finding.side, finding.level and f"level {finding.level}", finding.site) if p)
    parts = [kinds[finding.kind], site, f"{finding.size_mm:.0f} mm" if finding.size_mm is not None else ""]
    parts.append(str(details.get("texture", "")))
    if details.get("narrowing_pct") is not None:
        parts.append(f"{details['narrowing_pct']:.0f}%")
    if details.get("min_area_mm2") is not None:
        parts.append(f"smallest area {details['min_area_mm2']:.0f} mm²")
    if details.get("volume_ml") is not None:
        parts.append(f"{details['volume_ml']:.0f} ml")
    contour = details.get("contour")
    said = f"on the clinic's contour {contour}" if contour else finding.certainty
    if finding.source == "clinician":
        said = "confirmed by a clinician"
    parts.append("indeterminate" if finding.presence == "indeterminate" else said)
    where = f" (slice {finding.slice_index + 1})" if finding.slice_index is not None else ""
    return ", ".join(p for p in parts if p) + where
