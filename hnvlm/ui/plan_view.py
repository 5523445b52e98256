"""The drafted plan as cards: staging, open questions, contradictions, options, prescription, constraints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from hnvlm.services import planning
from hnvlm.services.limit_text import value_text
from hnvlm.ui import badges, html

Payload = dict[str, Any]
_CISPLATIN = {
    "contraindicated": "contraindicated", "relative": "relative contraindication, to be weighed",
    "eligible": "no contraindication among the facts that were stated", "undetermined": "eligibility not determined",
}  # fmt: skip
_STATUS = {"met": "met", "not_met": "NOT met", "not_evaluable": "not evaluable"}
_NOT_REVIEWED = "ov_review"
LONGEST_KEPT = 28
_ORDER = {"not_met": 0, "met": 1}
# Status of a regimen -> the words of the plan text, in the order of the table; and what they mean.
_REGIMEN = {
    "drafted": "drafted", "to_choose": "to choose from", "conditional": "conditional", "addition": "addition",
    "alternative": "alternative",
    "not_eligible": "not suitable", "avoid": "advised against",
}  # fmt: skip
_REGIMEN_MEANS = {
    "to_choose": "To choose from: the drafted treatment takes one of these.",
    "conditional": "Conditional: only if what stands under Why comes true.",
    "addition": "Addition: belongs to a treatment named here that adds a drug to surgery or to radiotherapy.",
    "alternative": "Alternative: belongs to another way to treat, instead of the one drafted and not added to it.",
}


def show(plan: Payload, *, signed: bool = False) -> None:
    """Show everything that was drafted, what is open first; ``signed``: a clinician signed this version."""
    tags = {s["title"]: s["tag"] for s in reversed(plan["sources"])}
    for line in plan["urgent"]:
        st.error(html.as_written(line))
    caveats = plan.get("caveats", {})
    staging(plan["staging"], tags, caveats.get("staging", ()), asked=any(n.get("id") == "site" for n in plan["needs"]))
    _findings(plan.get("facts", ()))
    _questions(plan)
    _contradictions(plan, signed=signed)
    _treatment(plan, tags)
    _prescription(plan["prescription"], tags)
    _constraints(plan["constraints"], tags, _judged_on(plan), caveats.get("limits", ()))
    _systemic(plan, tags)
    _lists(plan)
    _sources(plan)


def staging(stage: Payload, tags: dict[str, str], caveats: Sequence[str] = (), *, asked: bool = False) -> None:
    """Show T, N, M and stage group with the reason for each; ``asked``: the primary site is an open question."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown("**Staging**")
            if stage["provisional"]:
                st.badge("provisional", color="orange", help="Facts are missing that could change it.")
        group = stage["group"] or " or ".join(stage["possible_groups"]) or "open"
        html.tiles([*((k.upper(), stage[k] or f"{k.upper()}?") for k in ("t", "n", "m")), ("Stage", group)])
        lines = [_why(k.upper(), stage["basis"][k], tags) for k in ("t", "n", "m")]
        html.items(lines)
        site = stage.get("site_name") or stage["site"]
        none = "no table yet: the primary site is not known" if asked else "no table for this primary site"
        table = f"table of {site}" if site else none
        st.caption(f"{stage['edition']}, {stage['kind']}, {table}")
        for other in stage["alternatives"]:
            parts = [other[k] or f"{k.upper()}?" for k in ("t", "n", "m")]
            name = other.get("site_name") or other["site"] or ""
            st.text(f"If {name}: {' '.join(parts)}, stage {other['group'] or 'open'}")
        html.items(caveats)


def _why(name: str, basis: Payload, tags: dict[str, str]) -> str:
    if basis["value"] is None:
        possible = f"; possible {', '.join(basis['possible'])}" if basis["possible"] else ""
        return f"{name} cannot be derived yet{possible}"
    reason = basis["basis"] or "by the table"
    facts = f" (here {basis['facts']})" if basis["facts"] else ""
    disputed = "; sources disagree on this combination, a person decides" if basis.get("ambiguous") else ""
    others = [c for c in basis["possible"] if c != basis["value"]] if basis.get("provisional") else []
    # Which fact decides stands among the open questions below.
    change = f"; could become {', '.join(others)}, see the open questions" if others else ""
    return f"{basis['value']}: {reason}{facts}{disputed}{change}{tag(basis['sources'], tags)}"


def _findings(facts: Sequence[str]) -> None:
    """Show what the plan read from the CT."""
    if facts:
        with st.container(border=True):
            st.markdown("**Findings on CT**")
            html.items(facts)


def tag(titles: Sequence[str], tags: dict[str, str]) -> str:
    """Return the source tags of titles as they stand in the plan text: `` [S3][S7]``."""
    found = [f"[{tags[t]}]" for t in dict.fromkeys(titles) if t in tags]
    return " " + "".join(found) if found else ""


def _questions(plan: Payload) -> None:
    if not plan["needs"]:
        return
    with st.expander(f"Open questions ({len(plan['needs'])})", expanded=True, key="plan-questions"):
        st.caption("Not determinable from CT unless said. The most decisive first.")
        groups = {f.id: f.group for f in planning.form_fields()}
        html.items([_question(need, groups.get(need.get("id", ""))) for need in plan["needs"]])


def _question(need: Payload, group: str | None) -> str:
    """Say what is open, what it decides, and under which heading of the form it is asked."""
    where = f" (form: {group})" if group else ""
    return f"{need['question']}{where}: {need.get('why') or need['changes']}"


def _contradictions(plan: Payload, *, signed: bool) -> None:
    fired = [c for c in [*plan.get("text_checks", ()), *plan["checks"]] if c["status"] in ("fail", "warn")]
    if signed:  # the signature is later than the draft that this was said of
        fired = [c for c in fired if c["id"] != _NOT_REVIEWED]
    with st.container(border=True):
        st.markdown("**Contradictions and checks**")
        for check in sorted(fired, key=_weight):
            badges.check(_weight(check)[1], check["message"])
        # Three rules read what the text states: of a text that is not the draft's own they answered anew.
        by_text = {c["id"]: c for c in plan.get("text_checks", ())}
        answered = [by_text.get(c["id"], c) for c in plan["checks"]]
        passed = sum(c["status"] == "pass" for c in answered)
        silent = [c for c in answered if c["status"] == "not_evaluated"]
        itself = sum("reason" in c.get("details", {}) for c in silent)
        if not fired:
            st.text("Nothing disagrees.")
        agree = "1 rule agrees" if passed == 1 else f"{passed} rules agree"
        without = f"; {itself} would compare the draft with itself" if itself else ""
        st.caption(f"{agree}; {len(silent) - itself} could not be checked because facts are missing{without}.")


def _weight(check: Payload) -> tuple[int, str]:
    """What disagrees comes first, what is only noted last; with the badge of each."""
    if check["status"] == "fail":
        return 0, "fail"
    return (2, "note") if check.get("details", {}).get("severity") == "info" else (1, "warn")


def _treatment(plan: Payload, tags: dict[str, str]) -> None:
    modality, intent = plan["modality"], plan["intent"]
    with st.container(border=True):
        st.markdown("**Intent and treatment options**")
        confirm = ", to be confirmed" if intent["provisional"] else ""
        reason = intent["reason"]
        st.text(f"Intent: {intent['value'] or 'open'}{confirm}. {reason[:1].upper()}{reason[1:]}.")
        if modality["drafted"]:
            st.text(f"Drafted: {modality['drafted']}")
        if modality["withheld"]:
            st.text(f"No treatment drafted: {modality['withheld']}.")
        html.items(plan.get("caveats", {}).get("treatment", ()))
        fits, out = ([o for o in modality["options"] if o.get("ruled_out", False) is ruled] for ruled in (False, True))
        groups = (("Applies", fits), ("Named for this stage, ruled out by the form", out),
                  ("Depends on open facts", modality["depends"]), ("Advised against", modality["avoid"]))  # fmt: skip
        for name, options in groups:
            if options:
                st.caption(name)
                html.items([_option(o, tags) for o in options])
        if modality["branches"]:
            st.caption("If it turns out to be")
            html.items(modality["branches"])


def _option(option: Payload, tags: dict[str, str]) -> str:
    strength = f" ({option['strength']})" if option["strength"] else ""
    principle = f": {option['principle']}" if option["principle"] else ""
    words = option.get("in_words") or " / ".join(option["options"])
    return f"{words}{principle}{strength}{tag(option['sources'], tags)}"


def _prescription(prescription: Payload, tags: dict[str, str]) -> None:
    with st.container(border=True):
        st.markdown("**Prescription**")
        if prescription["withheld"]:
            st.text(f"Withheld: {prescription['withheld']}.")
        for scheme in prescription["schemes"]:
            if scheme["condition"]:
                st.caption(scheme["condition"][0].upper() + scheme["condition"][1:])
            rows = [
                (v["target"].replace("_", " "), v["purpose"], f"{v['dose_gy']:g} Gy", str(v["fractions"]),
                 f"{v['per_fraction_gy']:g} Gy", f"{v['eqd2_10_gy']:.1f} Gy", tag(v["sources"], tags).strip())
                for v in scheme["levels"]
            ]  # fmt: skip
            heads = ("Target", "For", "Dose", "Fractions", "Each", "EQD2 (α/β 10)", "Source")
            html.table(heads, rows, numeric=(2, 3, 4, 5), keep=(0,))
            told = (p.rstrip(".") for p in (scheme["schedule"], scheme["note"]) if p)
            st.caption(" ".join(f"{p[0].upper()}{p[1:]}." for p in told))
        others = [_scheme(s, tags) for s in prescription.get("alternatives", ())]
        if others:
            st.caption("Alternatives: each takes the place of what is drafted above, it is not added to it")
            html.items(others)


def _scheme(scheme: Payload, tags: dict[str, str]) -> str:
    """Say one scheme in a line: ``70 / 61.25 / 56 Gy in 35 fractions, 5 fractions a week``."""
    levels = scheme["levels"]
    if len({v["fractions"] for v in levels}) > 1:
        doses = " or ".join(f"{v['dose_gy']:g} Gy in {v['fractions']} fractions" for v in levels)
    else:
        doses = f"{' / '.join(format(v['dose_gy'], 'g') for v in levels)} Gy in {levels[0]['fractions']} fractions"
    parts = [doses, scheme["schedule"], scheme["condition"], scheme["note"]]
    return ", ".join(p.rstrip(".") for p in parts if p) + tag(scheme["sources"], tags)


def _judged_on(plan: Payload) -> str:
    """Which dose the limits are judged on; plans drafted before they said so tell its name alone."""
    used = plan.get("dose_used", "")
    return plan.get("dose_line") or (f"Judged on: {used}" if used and not used.startswith("no dose") else used)


def _constraints(constraints: Sequence[Payload], tags: dict[str, str], used: str, caveats: Sequence[str]) -> None:
    """Show the limits: what is not met first, as in the dose view; what cannot be judged apart, with the reason."""
    if not constraints:
        return
    judged = [c for c in constraints if c["status"] in _ORDER]
    waiting = [c for c in constraints if c["status"] not in _ORDER]
    with st.container(border=True):
        st.markdown("**Dose constraints**")
        if used:
            st.caption(f"{used[0].upper()}{used[1:].rstrip('.')}.")
        html.items(caveats)
        if judged:
            _judged(sorted(judged, key=lambda c: (_ORDER[c["status"]], c["priority"])), tags)
            if waiting:
                with st.expander(f"Not evaluable ({len(waiting)})", key="plan-constraints-open"):
                    _to_keep(waiting, tags)
        else:
            _to_keep(waiting, tags)
        st.caption("Priority 1: hard limit. 2: strong. 3: as low as reasonably achievable.")


def _judged(constraints: Sequence[Payload], tags: dict[str, str]) -> None:
    remarks = any(map(_remark, constraints))
    rows = [
        (_structure(c), _limit(c), _value(c), _STATUS[c["status"]], *([_remark(c)] if remarks else []),
         str(c["priority"]), _protects(c), tag(c["sources"], tags).strip())
        for c in constraints
    ]  # fmt: skip
    tones = [{"met": "good", "not_met": "bad"}[c["status"]] for c in constraints]
    told = ("Remark",) if remarks else ()
    heads = ("Structure", "Limit", "Value", "Status", *told, "Priority", "Protects from", "Source")
    html.table(heads, rows, numeric=(2,), keep=(0, 1, 3), tones=tones)


def _value(row: Payload) -> str:
    """The measured value; where another metric already tells, that."""
    if row["value"] is None:
        return str(row.get("reason", ""))
    return f"{value_text(row['value'], row['limit'])} {row['unit']}"


def _remark(row: Payload) -> str:
    """What else is to be known of a row's status; without a value that stands in its place."""
    return str(row.get("reason", "")) if row["value"] is not None else ""


def _to_keep(constraints: Sequence[Payload], tags: dict[str, str]) -> None:
    """Show limits that no dose was judged on; why stands in the table where it is not the same for all."""
    why = len({c.get("reason", "") for c in constraints}) > 1
    rows = [
        (_structure(c), _limit(c), str(c["priority"]), _protects(c), *([c.get("reason", "")] if why else []),
         tag(c["sources"], tags).strip())
        for c in constraints
    ]  # fmt: skip
    heads = ("Structure", "Limit", "Priority", "Protects from", *(["Why not judged"] if why else []), "Source")
    html.table(heads, rows, keep=(0, 1))
    if not why and constraints[0].get("reason"):
        st.caption(f"Not judged: {constraints[0]['reason'].rstrip('.')}.")


def _protects(row: Payload) -> str:
    return "; ".join(p for p in (row["endpoint"], row.get("applies", "")) if p)


def _structure(row: Payload) -> str:
    return row["structure"].replace("_", " ")


def _limit(row: Payload) -> str:
    sign = {"<=": "≤", ">=": "≥"}.get(row["op"], row["op"])
    return f"{row['metric'].replace('pct', '%')} {sign} {row['limit']:g} {row['unit']}"


def _systemic(plan: Payload, tags: dict[str, str]) -> None:
    verdict = plan["cisplatin"]["verdict"] if plan["cisplatin"] else ""
    if not plan["systemic"] and not verdict:
        return
    with st.container(border=True):
        st.markdown("**Systemic treatment**")
        if verdict:
            st.text(f"Cisplatin: {_CISPLATIN[verdict]}.")
            html.items([c["text"] for c in plan["cisplatin"]["criteria"]])
        order = list(_REGIMEN)
        regimens = sorted(plan["systemic"], key=lambda s: order.index(_standing(s)))
        rows = [
            (s["agent"], s["dose"], _REGIMEN[_standing(s)],
             "; ".join(p for p in (s["reason"], s.get("evidence", "")) if p), tag(s["sources"], tags).strip())
            for s in regimens
        ]  # fmt: skip
        if rows:
            # A short name stays whole: beside long reasons its column would be as narrow as a letter.
            whole = (0, 2) if max(len(s["agent"]) for s in regimens) <= LONGEST_KEPT else (2,)
            html.table(("Agent", "Dose", "Status", "Why", "Source"), rows, keep=whole)
            shown = {_standing(s) for s in regimens}
            if means := [text for status, text in _REGIMEN_MEANS.items() if status in shown]:
                st.caption(" ".join(means))


def _standing(regimen: Payload) -> str:
    """Status of a regimen; one of several of which the drafted treatment takes one is to be chosen."""
    return "to_choose" if regimen.get("to_choose") else str(regimen["status"])


def _lists(plan: Payload) -> None:
    parts = (("Target volumes", "targets"), ("Supportive care", "supportive_care"), ("Follow-up", "follow_up"),
             ("Not verified: check before use", "not_verified"))  # fmt: skip
    for name, key in parts:
        if plan[key]:
            with st.expander(f"{name} ({len(plan[key])})", key=f"plan-{key}"):
                html.items(plan[key])


def _sources(plan: Payload) -> None:
    with st.expander(f"Sources ({len(plan['sources'])})", key="plan-sources"):
        rows = [(s["tag"], s["title"], str(s["year"] or ""), s["doi"] or s["url"], s["grade"]) for s in plan["sources"]]
        html.table(("Tag", "Document", "Year", "DOI or address", "Grade"), rows)
